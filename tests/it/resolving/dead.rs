//! Upstreams that are gone: stale answers (RFC 8767), and our own names.

use std::net::UdpSocket;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use super::Client;
use crate::fixtures::records::knows;
use crate::fixtures::upstream::{Answer, Asked, FOREIGN, Upstream};
use crate::fixtures::waiting::{eventually, until};
use crate::harness::{Dir, PRIVATE, Server, query, remarks};

fn server(upstream: &Upstream) -> (Dir, Server) {
    let dir = Dir::forwarding(&[upstream.at], "");
    let server = Server::start(dir.path());
    (dir, server)
}

/// An answer that no cache keeps.
fn good(asked: &Asked) -> Message {
    asked.with(&[&format!("{} 0 A {FOREIGN}", asked.name())])
}

/// A TTL of a second passes with real time and nothing else.
fn expire() {
    std::thread::sleep(Duration::from_millis(1_100));
}

/// In what time a stale answer comes, and that it comes at once from then on, is
/// tested on a virtual clock (`forward::tests::timing`).
#[test]
fn stale_answers_then_fresh_again() {
    const RECORDS: [&str; 1] = ["www.test. 1 A 192.0.2.80"];
    let upstream = Upstream::start(|asked| {
        let mut message = match knows(&RECORDS)(asked) {
            Answer::Say(all) => Message::from_vec(&all[0]).unwrap(),
            _ => unreachable!("it always says something"),
        };
        message.authorities.iter_mut().for_each(|soa| soa.ttl = 1);
        message.into()
    });
    let (_dir, mut server) = server(&upstream);
    let client = Client::of(server.dns);
    let cases =
        [("www.test.", ResponseCode::NoError, 3), ("none.test.", ResponseCode::NXDomain, 19)];
    for (name, rcode, _) in cases {
        let told = client.ask(name, RecordType::A);
        assert_eq!((told.metadata.response_code, remarks(&told)), (rcode, vec![]));
    }
    upstream.change(|_| Answer::Silence);
    expire();
    std::thread::scope(|scope| {
        for (name, rcode, code) in cases {
            scope.spawn(move || {
                for when in ["at first", "then", "and then"] {
                    let told = client.ask(name, RecordType::A);
                    assert_eq!(told.metadata.response_code, rcode, "{name} {when}");
                    let why = remarks(&told);
                    assert_eq!(why[0].0, code, "{why:?}");
                    let records = told.answers.iter().chain(&told.authorities);
                    assert!(records.clone().all(|record| record.ttl == 30), "{told}");
                    assert_eq!(records.count(), 1);
                }
            });
        }
    });
    server.wait_for_start("upstream is down");
    upstream.change(knows(&["www.test. 60 A 192.0.2.81"]));
    let fresh = until("that it answers again is noticed", || {
        let told = client.ask("www.test.", RecordType::A);
        if remarks(&told).is_empty() { Ok(told) } else { Err(told.to_string()) }
    });
    assert_eq!(fresh.answers[0].data.to_string(), "192.0.2.81");
    server.wait_for("upstream answers again");
}

/// An alias to a name whose upstream is gone: stale too, never bare.
#[test]
fn an_alias_leads_to_a_stale_answer() {
    let upstream = Upstream::start(knows(&["www.test. 1 A 192.0.2.80"]));
    let (dir, mut server) = server(&upstream);
    dir.write("alias.zone", "alias 5 CNAME www.test.\n");
    dir.write("more.test.toml", "records = \"alias.zone\"\n");
    server.reload();
    let client = Client::of(server.dns);
    assert_eq!(client.data("alias.more.test.", RecordType::A), ["www.test.", "192.0.2.80"]);
    upstream.change(|_| Answer::Silence);
    expire();
    for _ in ["at first", "then"] {
        let told = client.ask("alias.more.test.", RecordType::A);
        assert_eq!(told.answers.len(), 2);
        assert_eq!(told.answers[1].ttl, 30);
        assert_eq!(remarks(&told)[0].0, 3, "{told}");
    }
}

/// Names without an answer, one after the other, while others are answered: nothing
/// is said, and nothing is to be said. Then the upstream dies and comes back.
#[test]
fn a_slow_name_is_no_dead_upstream() {
    let upstream = Upstream::start(|asked| match asked.label().starts_with("dead") {
        true => Answer::Silence,
        false => good(asked).into(),
    });
    let (_dir, mut server) = server(&upstream);
    let client = Client::of(server.dns);
    let said = |server: &Server, what: &str| {
        let text = |line: &serde_json::Value| {
            line["fields"]["message"].as_str().unwrap_or_default().starts_with(what)
        };
        server.lines().into_iter().filter(text).count()
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut n = 0;
    eventually("the first is given up", || {
        let octets = query(&format!("dead{n}.test."), RecordType::A).to_vec().unwrap();
        socket.send(&octets).unwrap();
        n += 1;
        assert_eq!(client.data("good.test.", RecordType::A), [FOREIGN]);
        socket.recv(&mut [0; 512]).is_ok()
    });
    // The last ones are given up: nothing else was answered meanwhile.
    let last = client.ask("dead.test.", RecordType::A);
    assert_eq!(last.metadata.response_code, ResponseCode::ServFail);
    assert_eq!((said(&server, "upstream is down"), said(&server, "upstream answers")), (0, 0));
    assert!(upstream.checks() > 0, "but it was asked whether it lives");

    upstream.change(|_| Answer::Silence);
    assert_eq!(client.ask("x.test.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    server.wait("upstream is down", |line| {
        line["fields"]["upstream"] == upstream.at.to_string() && line["fields"]["left_out"] == 0
    });
    upstream.change(|asked| good(asked).into());
    assert_eq!(client.data("y.test.", RecordType::A), [FOREIGN]);
    server.wait_for("upstream answers again");
    assert_eq!((said(&server, "upstream is down"), said(&server, "upstream answers")), (1, 1));
}

/// Our own name is answered while questions for others' names wait.
#[test]
fn own_names_do_not_notice() {
    /// More than may be under way at once.
    const FOREIGNERS: usize = 2_000;
    const OWN: usize = 200;
    let upstream = Upstream::start(|_| Answer::Silence);
    let (_dir, server) = server(&upstream);
    let client = Client::of(server.dns);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    let foreign = |n: usize| {
        let mut message = query(&format!("x{n}.test."), RecordType::A);
        message.metadata.id = n as u16;
        socket.send(&message.to_vec().unwrap()).unwrap();
    };
    (0..FOREIGNERS).for_each(foreign);
    upstream.wait_for("x0.test.", 1);
    // The first waits for four seconds; those for which there was no place are told so
    // at once.
    socket.set_nonblocking(true).unwrap();
    let is_over = || {
        let mut reply = [0; 512];
        while socket.recv(&mut reply).is_ok() {
            if reply[..2] == [0, 0] {
                return true;
            }
        }
        false
    };
    let mut meanwhile = 0;
    for _ in 0..OWN {
        assert_eq!(client.data("db.example.com.", RecordType::A), [PRIVATE]);
        if is_over() {
            break;
        }
        meanwhile += 1;
    }
    println!("{meanwhile} own answers while a question was under way that was asked before");
    assert!(meanwhile > 0, "an own name waited for others");
    assert_eq!(client.from("127.3.0.1").data("db.example.com.", RecordType::A), [PRIVATE]);
}
