//! Upstreams that misbehave, and what a client gets to see of it.

use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::Client;
use crate::fixtures::records::record;
use crate::fixtures::upstream::{Answer, Asked, FOREIGN, Upstream, Via, everything};
use crate::harness::{Dir, Server, query, remarks, tcp};

pub(super) fn server(upstreams: &[&Upstream]) -> (Dir, Server) {
    let all: Vec<_> = upstreams.iter().map(|upstream| upstream.at).collect();
    let dir = Dir::forwarding(&all, "");
    let server = Server::start(dir.path());
    (dir, server)
}

fn vias(upstream: &Upstream) -> Vec<Via> {
    upstream.asked().iter().map(|asked| asked.via).collect()
}

fn octets(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap()
}

/// Replies to some other question than ours, each wrong in one thing.
pub(super) fn wrong(asked: &Asked) -> Vec<Vec<u8>> {
    let forged = asked.with(&[&format!("{} 300 A 192.0.2.66", asked.name())]);
    let change = |change: &dyn Fn(&mut Message)| {
        let mut message = forged.clone();
        change(&mut message);
        octets(&message)
    };
    let other = Name::from_ascii("other.test.").unwrap();
    vec![
        change(&|m| m.metadata.id = m.metadata.id.wrapping_add(1)),
        change(&|m| {
            m.queries[0].set_name(other.clone());
        }),
        change(&|m| {
            m.queries[0].set_query_type(RecordType::AAAA);
        }),
        change(&|m| m.metadata.message_type = MessageType::Query),
        change(&|m| m.queries.clear()),
        octets(&forged)[..11].to_vec(),
        vec![],
    ]
}

#[test]
fn wrong_replies_are_no_replies() {
    let upstream = Upstream::start(|asked| {
        let mut all = wrong(asked);
        all.push(octets(&everything(asked)));
        Answer::Say(all)
    });
    let (_dir, server) = server(&[&upstream]);
    assert_eq!(Client::of(server.dns).data("www.test.", RecordType::A), [FOREIGN]);
    assert_eq!(upstream.asked().len(), 1);
}

/// Somebody guesses: TCP cannot be guessed into.
#[test]
fn a_flood_of_wrong_replies_leads_to_tcp() {
    let upstream = Upstream::start(|asked| match asked.via {
        Via::Udp => Answer::Say(vec![wrong(asked).swap_remove(0); 40]),
        Via::Tcp => everything(asked).into(),
    });
    let (_dir, server) = server(&[&upstream]);
    assert_eq!(Client::of(server.dns).data("www.test.", RecordType::A), [FOREIGN]);
    assert_eq!(vias(&upstream), [Via::Udp, Via::Tcp]);
}

/// Truncated for the upstream, and in the end for the client.
#[test]
fn what_is_truncated_is_asked_for_over_tcp() {
    let upstream = Upstream::start(|asked| match asked.via {
        Via::Udp => asked.truncated().into(),
        Via::Tcp => {
            let lines: Vec<_> =
                (0..40).map(|n| format!("big.test. 300 TXT \"{n:0>200}\"")).collect();
            asked.with(&lines.iter().map(String::as_str).collect::<Vec<_>>()).into()
        }
    });
    let (_dir, server) = server(&[&upstream]);
    let client = Client::of(server.dns);
    for _ in ["new", "from the cache"] {
        assert_eq!(
            client.told("big.test.", RecordType::TXT),
            "NoError tc rd ra\n? big.test. IN TXT\nedns 0 1232"
        );
        let whole = tcp(server.dns, &octets(&query("big.test.", RecordType::TXT)));
        assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 40);
    }
    assert_eq!(vias(&upstream), [Via::Udp, Via::Tcp], "once");
}

#[test]
fn nearly_64_kib() {
    const RECORDS: usize = 236;
    let upstream = Upstream::start(|asked| match asked.via {
        Via::Udp => asked.truncated().into(),
        Via::Tcp => {
            let lines: Vec<_> =
                (0..RECORDS).map(|n| format!("huge.test. 300 TXT \"{n:0>255}\"")).collect();
            asked.with(&lines.iter().map(String::as_str).collect::<Vec<_>>()).into()
        }
    });
    let (_dir, server) = server(&[&upstream]);
    for _ in ["new", "from the cache"] {
        let whole = tcp(server.dns, &octets(&query("huge.test.", RecordType::TXT)));
        assert!(whole.len() > 63_000, "{} octets", whole.len());
        let message = Message::from_vec(&whole).unwrap();
        assert_eq!(message.answers.len(), RECORDS);
        assert!(!message.metadata.truncation && message.edns.is_some());
        let last = message.answers[RECORDS - 1].data.to_string();
        assert!(last.contains(&format!("{:0>255}", RECORDS - 1)), "{last}");
    }
    assert_eq!(vias(&upstream), [Via::Udp, Via::Tcp]);
}

#[test]
fn tcp_that_ends_early_is_a_failure_of_that_upstream() {
    let cut = Upstream::start(|asked| match asked.via {
        Via::Udp => asked.truncated().into(),
        Via::Tcp => Answer::Half(octets(&everything(asked))),
    });
    let (_dir, alone) = server(&[&cut]);
    let told = Client::of(alone.dns).ask("www.test.", RecordType::A);
    assert_eq!(told.metadata.response_code, ResponseCode::ServFail);
    let why = remarks(&told);
    assert!(why[0].1.contains(&cut.at.to_string()), "{why:?}");
    assert_eq!(vias(&cut), [Via::Udp, Via::Tcp]);

    let whole = Upstream::start(|asked| everything(asked).into());
    let (_dir, both) = server(&[&cut, &whole]);
    assert_eq!(Client::of(both.dns).data("www.test.", RecordType::A), [FOREIGN]);
}

/// A resolver that says no is not the end, and what it said is told when
/// nobody else has more to say.
#[test]
fn the_second_is_asked_when_the_first_fails() {
    let first = Upstream::start(|asked| match asked.label().as_str() {
        "warm" | "servfail" => asked.error(ResponseCode::ServFail).into(),
        "refused" => asked.error(ResponseCode::Refused).into(),
        "notimp" => asked.error(ResponseCode::NotImp).into(),
        "garbage" => {
            let mut octets = octets(&everything(asked));
            octets.truncate(octets.len() - 13);
            Answer::Say(vec![octets])
        }
        "referral" => {
            let mut message = asked.reply();
            message.metadata.recursion_available = false;
            message.authorities.push(record("test. 300 NS ns.test."));
            message.into()
        }
        other => panic!("{other}"),
    });
    // Slower, so that the first is asked first once both have been asked: real time
    // is what that choice is made by.
    let second = Upstream::start(|asked| {
        std::thread::sleep(Duration::from_millis(200));
        everything(asked).into()
    });
    for label in ["servfail", "refused", "notimp", "garbage", "referral"] {
        let name = format!("{label}.test.");
        let (_dir, both) = server(&[&first, &second]);
        let client = Client::of(both.dns);
        assert_eq!(client.data("warm.test.", RecordType::A), [FOREIGN]);
        assert_eq!(client.data(&name, RecordType::A), [FOREIGN], "{label}");
        assert_eq!((first.count(&name), second.count(&name)), (1, 1), "{label}");

        let (_dir, alone) = server(&[&first]);
        let told = Client::of(alone.dns).ask(&name, RecordType::A);
        assert_eq!(told.metadata.response_code, ResponseCode::ServFail, "{label}");
        let why = remarks(&told);
        assert!(why[0].1.contains(&first.at.to_string()), "{label}: {why:?}");
    }
}

#[test]
fn an_upstream_without_edns_is_asked_without() {
    let upstream = Upstream::start(|asked| match asked.message.edns {
        Some(_) => {
            let mut message = asked.error(ResponseCode::FormErr);
            message.edns = None;
            message.into()
        }
        None => everything(asked).into(),
    });
    let (_dir, server) = server(&[&upstream]);
    let client = Client::of(server.dns);
    for name in ["a.test.", "b.test."] {
        let told = client.ask(name, RecordType::A);
        assert_eq!(told.answers[0].data.to_string(), FOREIGN);
        assert!(told.edns.is_some(), "our own");
    }
    let with: Vec<_> = upstream.asked().iter().map(|asked| asked.message.edns.is_some()).collect();
    assert_eq!(with, [true, false, false], "and that is remembered");
}

/// dnsmasq passes on the FORMERR of a name's own server: that says nothing of
/// dnsmasq, and others are to get their signatures.
#[test]
fn an_error_passed_on_does_not_switch_edns_off() {
    let upstream = Upstream::start(|asked| match asked.label().as_str() {
        "odd" => {
            let mut message = asked.error(ResponseCode::FormErr);
            message.edns = None;
            message.into()
        }
        _ => everything(asked).into(),
    });
    let (_dir, server) = server(&[&upstream]);
    let client = Client::of(server.dns);
    let told = client.ask("odd.test.", RecordType::A);
    assert_eq!(told.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(client.data("a.test.", RecordType::A), [FOREIGN]);
    let with: Vec<_> = upstream.asked().iter().map(|asked| asked.message.edns.is_some()).collect();
    assert_eq!(with, [true, false, true]);
}

/// As the trade calls it, not as hickory does.
#[test]
fn badvers_is_told_as_such() {
    let upstream = Upstream::start(|asked| {
        let mut message = asked.error(ResponseCode::BADVERS);
        message.edns.as_mut().unwrap().set_rcode_high(1);
        message.into()
    });
    let (_dir, server) = server(&[&upstream]);
    let why = remarks(&Client::of(server.dns).ask("a.test.", RecordType::A));
    assert_eq!(why[0].1, format!("{}: BADVERS", upstream.at));
}

/// At most a day (RFC 8767 section 4); with the top bit set 0 (RFC 2181
/// section 8), which is not kept.
#[test]
fn huge_ttls() {
    let upstream = Upstream::start(|asked| {
        let ttl = match asked.label().as_str() {
            "week" => 604_800,
            "most" => i32::MAX as u32,
            _ => u32::MAX,
        };
        asked.with(&[&format!("{} {ttl} A {FOREIGN}", asked.name())]).into()
    });
    let (_dir, server) = server(&[&upstream]);
    let client = Client::of(server.dns);
    for (name, ttl, asked) in
        [("week.test.", 86_400, 1), ("most.test.", 86_400, 1), ("top.test.", 0, 2)]
    {
        for _ in 0..2 {
            let told = client.ask(name, RecordType::A).answers[0].ttl;
            assert!(told <= ttl && told + 20 > ttl, "{name}: {told}");
        }
        assert_eq!(upstream.count(name), asked, "{name}");
    }
}
