//! An overlay zone answers as a zone of that one name would, octet for octet.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::Name;

use super::super::*;
use crate::compile::{Input, Serials, compile};
use crate::config::Config;
use crate::dns::name::Key;
use crate::snapshot::overlay::Authority;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::error::Class;
use crate::source::inventory::{Entry, Health, Inventory, Standing};
use crate::testing::{self, noon};

/// In each pair of views, the first answers the name from an overlay zone, the
/// second from a zone that a file says all of.
const PAIRS: [(&str, &str); 3] =
    [("laid", "filed"), ("laid-public", "filed-public"), ("laid-forward", "filed-forward")];
const FORWARDS: [bool; 3] = [false, false, true];
/// What public EC2 names end in; the SOA's names may end in the same.
const SUFFIXES: [&str; 4] = ["compute-1.amazonaws.com", "ec2.invalid", "localhost", "a.localhost"];
const IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

fn config(suffix: &str) -> Config {
    let mut server = testing::HEAD.to_owned();
    server += &format!("public_suffix = \"{suffix}\"\nttl = 7\n[serve]\nmax_stale = \"1h\"\n");
    for (nth, ((laid, filed), forward)) in PAIRS.iter().zip(FORWARDS).enumerate() {
        let answer = if nth == 1 { "public" } else { "private" };
        for (view, ec2_names) in [(laid, true), (filed, false)] {
            let network = 2 * nth + usize::from(!ec2_names);
            server += &testing::view(view, &format!("10.{network}.0.0/16"), answer);
            server += &format!("forward = {forward}\nec2_names = {ec2_names}\n");
        }
    }
    // With a binding, a zone's serial is the time of its first compilation.
    let records = "$TTL 7\n@ SOA localhost. nobody.invalid. ( 1 3600 1200 604800 7 )\n\
                   @ NS localhost.\n";
    let zone = "views = [\"filed\", \"filed-public\", \"filed-forward\"]\nrecords = \"all.zone\"\n\
                ttl = 7\n[names]\n\"@\" = \"198.51.100.1\"\n";
    let file = format!("{}.toml", name(suffix));
    testing::config(&[("server.toml", &server), (&file, zone), ("all.zone", records)])
}

fn name(suffix: &str) -> String {
    format!("ec2-198-51-100-1.{suffix}")
}

/// As the address may stand, and the source, so long after noon.
fn inventories() -> Vec<(Inventory, Duration)> {
    let entry = |inventory: &mut Inventory, change: &dyn Fn(&mut Entry)| {
        let entries = Arc::make_mut(inventory.sources[0].entries.as_mut().unwrap());
        change(entries.get_mut(&Allocation::from(IP)).unwrap());
    };
    let fresh = |later: Duration| {
        let mut inventory = testing::inventory(&[(IP, Some([10, 9, 8, 7].into()))]);
        // An overlay zone's serial is the time of the association.
        entry(&mut inventory, &|entry| entry.since = noon() + later);
        (inventory, later)
    };
    let mut held = fresh(Duration::ZERO);
    entry(&mut held.0, &|entry| entry.standing = Standing::Missing { since: noon() });
    let stalled = |later| {
        let (mut inventory, later) = fresh(later);
        let why = "a reason".into();
        inventory.sources[0].health = Health::Stalled { since: noon(), class: Class::Other, why };
        (inventory, later)
    };
    // One is too old at last.
    let (minute, day) = (Duration::from_secs(60), Duration::from_secs(86_400));
    vec![fresh(Duration::ZERO), held, stalled(minute), stalled(day)]
}

/// Every type at a name and below it, in either spelling, as stubs and resolvers ask.
pub(super) fn requests(name: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let names = [name.into(), name.to_uppercase(), format!("x.{name}"), format!("a.B.x.{name}")];
    for name in names {
        // ANY may be answered with whichever RRset comes first.
        for rtype in (1..=65).chain([99, 257, 4_660]) {
            for (edns, desired) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut message = Message::new(9, MessageType::Query, OpCode::Query);
                message.metadata.recursion_desired = desired;
                let name: Name = format!("{name}.").parse().unwrap();
                message.queries.push(Query::query(name, rtype.into()));
                message.edns = edns.then(Edns::new);
                all.push(message.to_vec().unwrap());
            }
        }
    }
    all
}

#[test]
fn an_overlay_zone_answers_as_a_zone_of_that_name() {
    for suffix in SUFFIXES {
        answers_as_a_zone(&config(suffix), &name(suffix));
    }
}

fn answers_as_a_zone(config: &Config, name: &str) {
    let key = Key::parse(name, None).unwrap();
    let view = |name: &str| config.server.views.iter().position(|v| v.name == name).unwrap();
    let mut answered = 0;
    for (inventory, later) in inventories() {
        let input = Input {
            config,
            epoch: 1,
            inventory: &inventory,
            addresses: &[],
            now: noon() + later,
            drift: Drift::NONE,
        };
        let snapshot = compile(&input, &mut Serials::default(), None);
        for (laid, filed) in PAIRS.map(|(laid, filed)| (view(laid), view(filed))) {
            let kind = |view: usize| snapshot.views[view].authority_of(key.octets()).unwrap();
            assert!(matches!(kind(laid), Authority::Overlay(_)));
            assert!(matches!(kind(filed), Authority::Zone(_)));
            for request in requests(name) {
                let ask = |view: usize, prebuilt: bool| {
                    let client = std::net::SocketAddr::from(([10, view as u8, 0, 1], 5353));
                    let asker = Asker { client, local: ([127, 0, 0, 1], 53).into() };
                    let path = if prebuilt { answer } else { ordinary };
                    let mut reply = Vec::new();
                    let outcome =
                        path(&snapshot, &asker, Transport::Udp, &request, &mut (), &mut reply);
                    match outcome {
                        Outcome::Reply { rcode, stale, .. } => Ok((rcode, stale, reply)),
                        Outcome::Ask(question) => Err(question),
                        Outcome::Drop => panic!("no answer"),
                    }
                };
                let expected = ask(filed, false);
                answered += usize::from(expected.is_ok());
                assert_eq!(ask(laid, false), expected, "{request:02x?}");
                assert_eq!(ask(laid, true), expected, "prebuilt: {request:02x?}");
            }
        }
    }
    assert!(answered > 10_000, "{answered} answers were compared");
}
