//! Properties of the seam: any octets get an answer that can be read, of the
//! right size, and the same one however the snapshot came about.

mod discovered;
mod elsewhere;
mod overlay;
mod reverse;
mod sizes;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RecordType};
use proptest::prelude::*;

use super::*;
use crate::compile::Serials;
use crate::config::Config;
use crate::dns::wire::MAX_UDP;
use crate::testing::{self, SERVER};

const ZONE: &str = r#"
[names]
db = "198.51.100.1"
www = { elastic_ip = "198.51.100.2", answer = "cname" }
idle = "198.51.100.9"
pool = { tag = { Role = "db" } }
"deep.down.below" = { address = ["10.0.0.9", "fd00::9"] }
"*.shard" = "198.51.100.3"
"#;

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        testing::config(&[
            ("server.toml", SERVER),
            ("example.com.toml", ZONE),
            ("sub.example.com.toml", "views = [\"vpc\"]\n[names]\ndb = \"198.51.100.4\"\n"),
        ])
    })
}

/// Private addresses of 198.51.100.1 to .4; 0 for unassociated.
fn snapshot_of(last: [u8; 4]) -> Snapshot {
    testing::snapshot(config(), &inventory(last))
}

fn inventory(last: [u8; 4]) -> crate::source::inventory::Inventory {
    let all: Vec<_> = (1..=4u8)
        .zip(last)
        .map(|(n, to)| {
            let private = (to > 0).then(|| Ipv4Addr::new(10, 0, to % 3, to));
            (Ipv4Addr::new(198, 51, 100, n), private)
        })
        .collect();
    testing::inventory(&all)
}

fn asker(client: &str) -> Asker {
    Asker {
        client: SocketAddr::new(client.parse().unwrap(), 5353),
        local: ([127, 0, 0, 1], 53).into(),
    }
}

fn octets(name: &str, rtype: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(name.parse::<Name>().unwrap(), rtype));
    message.edns = edns.map(|payload| {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        edns.options_mut().insert(EdnsOption::Unknown(10, vec![1, 2, 3, 4, 5, 6, 7, 8]));
        edns
    });
    message.to_vec().unwrap()
}

/// A small fast source of numbers, so that millions of packets are cheap.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

/// A well-formed packet with a few octets of damage, or mere noise.
fn damaged(dice: &mut Dice, good: &[Vec<u8>]) -> Vec<u8> {
    if dice.roll(8) == 0 {
        return (0..dice.roll(80)).map(|_| dice.roll(256) as u8).collect();
    }
    let mut packet = good[dice.roll(good.len())].clone();
    for _ in 0..=dice.roll(6) {
        let len = packet.len();
        match dice.roll(6) {
            0 if len > 0 => packet.truncate(dice.roll(len)),
            1 => packet.extend((0..dice.roll(30)).map(|_| dice.roll(256) as u8)),
            2 if len > 12 => {
                packet[12 + dice.roll(len - 12)] = [0xc0, 0xff, 0x3f, 0x40][dice.roll(4)]
            }
            3 if len > 12 => packet[4 + dice.roll(8)] = dice.roll(3) as u8,
            _ if len > 0 => {
                let at = dice.roll(len);
                packet[at] = dice.roll(256) as u8;
            }
            _ => {}
        }
    }
    packet
}

/// Malformed packets do no harm. A small number by
/// default; `EIPDNS_PACKETS=10000000 cargo test --release malformed` for many.
#[test]
fn malformed_packets_do_no_harm() {
    let count: u64 =
        std::env::var("EIPDNS_PACKETS").map_or(200_000, |n| n.parse().expect("a number"));
    let snapshot = snapshot_of([1, 2, 3, 0]);
    let names =
        ["db.example.com.", "nope.example.com.", "x.shard.example.com.", "example.com.", "."];
    let types = [RecordType::A, RecordType::ANY, RecordType::SOA, RecordType::AXFR];
    let mut good = Vec::new();
    for name in names {
        for rtype in types {
            for edns in [None, Some(512), Some(4096)] {
                good.push(octets(name, rtype, edns));
            }
        }
    }
    let askers = [asker("10.1.1.1"), asker("192.0.2.1"), asker("203.0.113.1")];
    let mut dice = Dice(0x5eed_cafe);
    let mut reply = Vec::new();
    let mut seen = std::collections::BTreeMap::<String, u64>::new();
    for _ in 0..count {
        let packet = damaged(&mut dice, &good);
        let transport = if dice.roll(4) == 0 { Transport::Tcp } else { Transport::Udp };
        let asker = &askers[dice.roll(askers.len())];
        let outcome = answer(&snapshot, asker, transport, &packet, &mut (), &mut reply);
        let what = match outcome {
            Outcome::Ask(question) => panic!("nothing is forwarded: {question:?}"),
            Outcome::Drop => {
                assert!(reply.is_empty() && (packet.len() < 12 || packet[2] & 0x80 != 0));
                "drop".to_string()
            }
            Outcome::Reply { rcode, .. } => {
                assert_eq!(reply[..2], packet[..2], "the ID comes back");
                assert!(reply[2] & 0x80 != 0, "a response");
                assert!(transport == Transport::Tcp || reply.len() <= MAX_UDP);
                let parsed = Message::from_vec(&reply);
                assert!(parsed.is_ok(), "{packet:02x?} -> {reply:02x?}: {parsed:?}");
                assert_ne!(rcode, ResponseCode::ServFail, "{packet:02x?}");
                format!("{rcode:?}")
            }
        };
        *seen.entry(what).or_default() += 1;
    }
    // The damage must not be so great that nothing is exercised.
    for what in ["drop", "FormErr", "NoError", "NXDomain", "Refused", "NotImp", "BADVERS"] {
        assert!(seen.contains_key(what), "{what} never came: {seen:?}");
    }
    println!("{count} packets: {seen:?}");
}

/// Every answer of a table of questions, as octets, with serials left out.
fn all_answers(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let names = [
        "db.example.com.",
        "www.example.com.",
        "idle.example.com.",
        "pool.example.com.",
        "deep.down.below.example.com.",
        "down.below.example.com.",
        "a.shard.example.com.",
        "shard.example.com.",
        "nope.example.com.",
        "db.sub.example.com.",
        "sub.example.com.",
        "example.com.",
        "ns1.example.com.",
        "elsewhere.org.",
    ];
    for client in ["10.1.1.1", "10.9.1.1", "192.0.2.1", "203.0.113.1"] {
        for name in names {
            for rtype in
                [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::ANY, RecordType::NS]
            {
                let mut reply = Vec::new();
                let request = octets(name, rtype, Some(1232));
                answer(snapshot, &asker(client), Transport::Udp, &request, &mut (), &mut reply);
                all.push(reply);
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any sequence of moves, compiled one after the other from the snapshot
    /// before, answers with the octets that a compilation from nothing gives.
    #[test]
    fn moves_in_any_order_end_where_a_fresh_start_does(
        moves in prop::collection::vec(prop::array::uniform4(0u8..6), 1..8),
    ) {
        let mut serials = Serials::default();
        let mut snapshot = None;
        for last in &moves {
            let next = testing::after(config(), &inventory(*last), &mut serials, snapshot.as_ref());
            snapshot = Some(next);
        }
        let stepwise = snapshot.unwrap();
        let mut known = serials.clone();
        let fresh = testing::after(config(), &inventory(*moves.last().unwrap()), &mut known, None);
        prop_assert_eq!(&known, &serials, "equal content, equal serial");
        prop_assert_eq!(all_answers(&stepwise), all_answers(&fresh));
    }

    /// The serial moves exactly when some answer does.
    #[test]
    fn serials_move_with_content(a in prop::array::uniform4(0u8..4), b in prop::array::uniform4(0u8..4)) {
        let mut serials = Serials::default();
        let first = testing::after(config(), &inventory(a), &mut serials, None);
        let before = serials.clone();
        let second = testing::after(config(), &inventory(b), &mut serials, Some(&first));
        let moved = serials != before;
        prop_assert_eq!(moved, all_answers(&first) != all_answers(&second));
        if !moved {
            for (was, is) in first.views.iter().zip(&second.views) {
                for (origin, table) in is.zones.iter() {
                    prop_assert!(std::sync::Arc::ptr_eq(table, was.zones.get(origin.octets()).unwrap()), "shared");
                }
            }
        }
    }
}

#[test]
fn views_that_see_the_same_share_one_table() {
    let config = testing::config(&[
        ("server.toml", &SERVER.replace("reaches = [\"10.0.0.0/16\"]", "")),
        ("example.com.toml", ZONE),
    ]);
    let snapshot = testing::snapshot(&config, &inventory([1, 2, 3, 4]));
    let tables: Vec<_> = snapshot.views.iter().flat_map(|v| v.zones.values()).collect();
    assert!(std::sync::Arc::ptr_eq(tables[0], tables[1]), "vpc and peered");
    assert!(!std::sync::Arc::ptr_eq(tables[0], tables[2]), "vpc and outside");
}

/// What a master file may hold, and what comes of it: sections as text.
#[test]
fn names_lead_where_the_records_say() {
    const FILE: &str = "\
@       MX    10 a.wild\n\
ns1     A     10.0.0.53\n\
*.wild  A     10.0.0.7\n\
x.y     TXT   \"x\"\n\
loop    CNAME pool\n\
pool    CNAME loop\n\
old     DNAME wild\n\
round   DNAME a.round\n\
lab     NS    ns.lab\n\
ns.lab  A     10.0.0.8\n";
    let config = testing::config(&[
        ("server.toml", SERVER),
        ("example.com.toml", "records = \"example.com.zone\"\n"),
        ("example.com.zone", FILE),
        ("kid.example.com.toml", "[names]\nns1 = { address = \"10.0.0.1\" }\n"),
    ]);
    let snapshot = testing::snapshot(&config, &testing::inventory(&[]));
    let ask = |name: &str, rtype| {
        let mut reply = Vec::new();
        let name = format!("{name}.example.com.");
        answer_in_view(&snapshot, 0, &octets(&name, rtype, None), &mut (), &mut reply);
        let message = Message::from_vec(&reply).unwrap();
        let show = |all: &[Record]| {
            let one = |r: &Record| {
                let owner = r.name.to_string().replace(".example.com.", "");
                format!("{owner} {}", r.record_type())
            };
            all.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let code = message.metadata.response_code;
        let all = [&message.answers, &message.authorities, &message.additionals];
        format!("{code:?}: {}", all.map(|section| show(section)).join(" | "))
    };
    let soa = "example.com. SOA";
    let loops = "loop CNAME, pool CNAME";
    use RecordType as Type;
    for (name, rtype, expected) in [
        ("y", Type::A, format!("NoError:  | {soa} | ")),
        ("z.y", Type::A, format!("NXDomain:  | {soa} | ")),
        ("q.wild", Type::A, "NoError: q.wild A |  | ".into()),
        ("q.wild", Type::TXT, format!("NoError:  | {soa} | ")),
        ("loop", Type::A, format!("NoError: {loops} |  | ")),
        ("q.old", Type::CNAME, "NoError: old DNAME, q.old CNAME |  | ".into()),
        ("q.old", Type::A, "NoError: old DNAME, q.old CNAME, q.wild A |  | ".into()),
        ("host.lab", Type::A, "NoError:  | lab NS | ns.lab A".into()),
        ("lab", Type::DS, format!("NoError:  | {soa} | ")),
        // Not delegated, and there all the same.
        ("kid", Type::DS, format!("NoError:  | {soa} | ")),
    ] {
        assert_eq!(ask(name, rtype), expected, "{name} {rtype}");
    }
    let mail = answer_texts(&snapshot, "example.com.", RecordType::MX);
    assert_eq!(mail, ["example.com. MX", "a.wild.example.com. A"]);
    // As many aliases as are followed, and the DNAME once.
    let round = answer_texts(&snapshot, "q.round.example.com.", RecordType::A);
    assert_eq!(round.len(), 1 + lookup::MAX_CHAIN + 1);
}

/// RFC 9471 section 3: glue of the delegation's own fits or TC is set, and the
/// delegation is there all the same. RRsets come whole or not at all.
#[test]
fn what_does_not_fit_is_left_out_by_whole_rrsets() {
    let many = |owner: &str, count: u8| -> String {
        (1..=count).map(|n| format!("{owner} A 10.0.0.{n}\n")).collect()
    };
    let file = [
        "lab NS ns.lab\nlab NS small.lab\nsmall.lab A 10.0.1.1\n".to_owned(),
        many("ns.lab", 40),
        "aside NS ns1\naside NS ns.lab\nns1 A 10.0.0.53\n".to_owned(),
        "@ MX 10 ns.lab\n@ MX 20 ns1\n".to_owned(),
    ];
    let config = testing::config(&[
        ("server.toml", SERVER),
        ("example.com.toml", "records = \"example.com.zone\"\n"),
        ("example.com.zone", &file.concat()),
    ]);
    let snapshot = testing::snapshot(&config, &testing::inventory(&[]));
    let ask = |name: &str, rtype, transport, size| {
        let mut reply = Vec::new();
        let client = asker("10.1.1.1");
        answer(&snapshot, &client, transport, &octets(name, rtype, size), &mut (), &mut reply);
        let message = Message::from_vec(&reply).unwrap();
        let mut sets = std::collections::BTreeMap::<_, usize>::new();
        for record in &message.additionals {
            *sets.entry(record.name.to_string().replace(".example.com.", "")).or_default() += 1;
        }
        let sets: Vec<_> = sets.iter().map(|(owner, count)| format!("{owner} {count}")).collect();
        let tc = if message.metadata.truncation { " TC" } else { "" };
        let lead = message.answers.len() + message.authorities.len();
        format!("{lead}{tc} | {}", sets.join(", "))
    };
    use {RecordType as Type, Transport::*};
    for (name, rtype, transport, size, expected) in [
        ("a.lab", Type::A, Udp, None, "2 TC | small.lab 1"),
        ("a.lab", Type::A, Udp, Some(512), "2 TC | small.lab 1"),
        ("a.lab", Type::A, Udp, Some(1232), "2 | ns.lab 40, small.lab 1"),
        ("a.lab", Type::A, Tcp, None, "2 | ns.lab 40, small.lab 1"),
        // Beside the delegation, addresses only save a question.
        ("a.aside", Type::A, Udp, None, "2 | ns1 1"),
        ("a.aside", Type::A, Tcp, None, "2 | ns.lab 40, ns1 1"),
        ("@", Type::MX, Udp, None, "2 | ns1 1"),
        ("@", Type::MX, Udp, Some(1232), "2 | ns.lab 40, ns1 1"),
    ] {
        let name = format!("{name}.example.com.").replace("@.", "");
        assert_eq!(ask(&name, rtype, transport, size), expected, "{name} {transport:?} {size:?}");
    }
}

/// Owner and type of the records in the answer and additional sections.
fn answer_texts(snapshot: &Snapshot, name: &str, rtype: RecordType) -> Vec<String> {
    let mut reply = Vec::new();
    answer_in_view(snapshot, 0, &octets(name, rtype, None), &mut (), &mut reply);
    let message = Message::from_vec(&reply).unwrap();
    let records = message.answers.iter().chain(&message.additionals);
    records.map(|r| format!("{} {}", r.name, r.record_type())).collect()
}
