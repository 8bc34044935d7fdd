//! PTR records that stand in no zone are answered as in a zone of that one name, octet for octet,
//! and by the fast path as by the ordinary one.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};

use super::super::*;
use super::overlay::requests;
use crate::config::Config;
use crate::dns::name::Key;
use crate::snapshot::overlay::Authority;
use crate::source::error::Class;
use crate::source::inventory::Health;
use crate::testing::{self, noon};

/// Names of `[names]` and their number: some share suffixes with each other, one with the
/// question, and one set fits into no datagram.
const SETS: [(&str, usize); 4] = [
    ("h{n} = { address = \"10.0.0.1\" }", 1),
    ("\"a{n}.b\" = { address = \"10.0.0.1\" }", 3),
    (
        "\"long-long-long-long-long-long-long-long-long-long-long-label-{n}.and-another\" = { address = \"10.0.0.1\" }",
        16,
    ),
    ("bound{n} = \"198.51.100.1\"", 2),
];
const OWNER: &str = "1.0.0.10.in-addr.arpa";

/// In "laid" the records stand alone, in "filed" a zone has them; "laid-forward" forwards.
fn config(set: usize, origin: &str) -> Config {
    let mut server = testing::HEAD.to_owned();
    server += &testing::view("laid", "10.0.0.0/16", "private");
    server += &testing::view("filed", "10.1.0.0/16", "private");
    server += &testing::view("laid-forward", "10.2.0.0/16", "private");
    server += "forward = true\n";
    server += &testing::view("filed-forward", "10.3.0.0/16", "private");
    server += "forward = true\n[[reverse]]\nnetworks = [\"10.0.0.0/8\"]\nttl = 7\n\
               views = [\"laid\", \"laid-forward\"]\n";
    let (line, count) = SETS[set];
    let lines = |line: &str| -> String {
        (0..count).map(|n| line.replace("{n}", &format!("{n:02}")) + "\n").collect()
    };
    let names = format!("[names]\n{}", lines(line));
    let target = line.split(" = ").next().unwrap().trim_matches('"');
    let records = format!(
        "$TTL 7\n@ SOA localhost. nobody.invalid. ( 1 3600 1200 604800 7 )\n@ NS localhost.\n{}",
        lines(&format!("@ PTR {target}.{origin}."))
    );
    let zone = "views = [\"filed\", \"filed-forward\"]\nrecords = \"all.zone\"\n";
    testing::config(&[
        ("server.toml", &server),
        (&format!("{origin}.toml"), &names),
        (&format!("{OWNER}.toml"), zone),
        ("all.zone", &records),
    ])
}

#[test]
fn an_address_alone_answers_as_a_zone_of_that_name() {
    let ip = Ipv4Addr::new(198, 51, 100, 1);
    let (mut compared, mut answered) = (0, 0);
    for (set, origin) in (0..SETS.len()).flat_map(|set| [(set, "example.com"), (set, "x.arpa")]) {
        let config = config(set, origin);
        let mut inventory = testing::inventory(&[(ip, Some(Ipv4Addr::new(10, 0, 0, 1)))]);
        for stalled in [false, true] {
            if stalled {
                let since = noon() - Duration::from_secs(60);
                inventory.sources[0].health =
                    Health::Stalled { since, class: Class::Other, why: "test".into() };
            }
            let snapshot = testing::snapshot(&config, &inventory);
            let key = Key::parse(OWNER, None).unwrap();
            let kind = |view: usize| snapshot.views[view].authority_of(key.octets()).unwrap();
            assert!(matches!(kind(0), Authority::Pointer(_)));
            assert!(matches!(kind(1), Authority::Zone(_)));
            for (request, views) in requests(OWNER).iter().flat_map(|r| [(r, (0, 1)), (r, (2, 3))])
            {
                let ask = |view: usize, prebuilt: bool| {
                    let client = SocketAddr::from(([10, view as u8, 0, 1], 5353));
                    let asker = Asker { client, local: ([127, 0, 0, 1], 53).into() };
                    let path = if prebuilt { answer } else { ordinary };
                    let mut reply = Vec::new();
                    match path(&snapshot, &asker, Transport::Udp, request, &mut (), &mut reply) {
                        Outcome::Reply { rcode, stale, path, .. } => {
                            Ok((rcode, stale, path, reply))
                        }
                        Outcome::Ask(question) => Err(question),
                        Outcome::Drop => panic!("no answer"),
                    }
                };
                let said = ask(views.0, false);
                answered += usize::from(said.is_ok());
                assert_eq!(ask(views.0, true), said, "prebuilt: {request:02x?}");
                // A file's records rest on no source.
                if !stalled {
                    assert_eq!(ask(views.1, false), said, "{request:02x?}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 4_000 && answered > 4_000, "{compared} {answered}");
}

#[test]
fn the_question_that_all_ask_takes_the_fast_path() {
    let snapshot = testing::snapshot(&config(1, "example.com"), &testing::inventory(&[]));
    let client = SocketAddr::from(([10, 0, 0, 1], 5353));
    let asker = Asker { client, local: ([127, 0, 0, 1], 53).into() };
    let mut message = Message::new(9, MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(format!("{OWNER}.").parse().unwrap(), RecordType::PTR));
    for edns in [None, Some(Edns::new())] {
        message.edns = edns;
        let (request, mut reply) = (message.to_vec().unwrap(), Vec::new());
        let said = fast::answer(&snapshot, &asker, Transport::Udp, &request, &mut (), &mut reply);
        assert!(matches!(said, Some(Outcome::Reply { path: Path::Zone, .. })), "{said:?}");
        assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 3);
    }
}
