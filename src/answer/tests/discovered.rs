//! Where tags may give names: what is said before it is known, and while it is old.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::dns::ede::{INVALID_DATA, NOT_READY, STALE};
use crate::source::allocation::Allocation;
use crate::source::discover::{Remembered, Rules};
use crate::source::error::Class;
use crate::source::inventory::{Health, Inventory};

const VPC: usize = 0;
const PEERED: usize = 1;

const DISCOVERED: &str = "records = \"one.zone\"\n[names]\nfixed = { address = \"10.0.0.5\" }\n\
    [discover]\ntag = \"dns-name\"\nanswer = { peered = \"none\" }\n";
const RECORDS: &str = "@ MX 10 m\nm A 10.0.0.1\ntext TXT \"t\"\n*.w TXT \"w\"\nx.y TXT \"e\"\n\
    cut NS ns.elsewhere.test.\nal CNAME nothere\ndn DNAME elsewhere.test.\n";

/// How the source is that may have names.
#[derive(Clone, Copy)]
enum Source {
    Well,
    /// Has never said anything.
    Silent,
    /// Has failed for so many seconds.
    Stalled(u64),
}

fn inventory_of(config: &Config, source: Source) -> Inventory {
    let ip = Ipv4Addr::new(198, 51, 100, 1);
    let mut inventory = testing::inventory(&[(ip, Some(Ipv4Addr::new(10, 0, 0, 1)))]);
    let known = &mut inventory.sources[0];
    let entries = Arc::make_mut(known.entries.as_mut().unwrap());
    let entry = entries.get_mut(&Allocation::from(ip)).unwrap();
    Arc::make_mut(&mut entry.address).tags = [("dns-name", "web")].into();
    match source {
        Source::Well => {}
        Source::Silent => known.entries = None,
        Source::Stalled(seconds) => {
            let since = testing::noon() - Duration::from_secs(seconds);
            known.health = Health::Stalled { since, class: Class::Other, why: "test".into() };
            known.delivered_at = Some(since);
        }
    }
    inventory.discover(&Rules::of(config), None, &Remembered::new(), testing::noon());
    inventory
}

fn snapshot(source: Source) -> Snapshot {
    let server = format!("{SERVER}\n[serve]\nmax_stale = \"10m\"\n");
    let config = testing::config(&[
        ("server.toml", server.as_str()),
        ("example.com.toml", DISCOVERED),
        ("one.zone", RECORDS),
    ]);
    testing::snapshot(&config, &inventory_of(&config, source))
}

/// The response code, how many answers there are, and the code of an Extended DNS Error.
fn asked(
    snapshot: &Snapshot,
    view: usize,
    name: &str,
    rtype: RecordType,
) -> (ResponseCode, usize, Option<u16>) {
    let name = match name {
        "@" => "example.com.".to_owned(),
        name => format!("{name}.example.com."),
    };
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(name.parse().unwrap(), rtype));
    message.edns = Some(Edns::new());
    let mut reply = Vec::new();
    answer_in_view(snapshot, view, &message.to_vec().unwrap(), &mut (), &mut reply);
    let reply = Message::from_vec(&reply).unwrap();
    let options = reply.edns.as_ref().unwrap().options().as_ref();
    let code = options.iter().find_map(|(code, option)| match option {
        EdnsOption::Unknown(_, octets) if u16::from(*code) == 15 => {
            Some(u16::from_be_bytes([octets[0], octets[1]]))
        }
        _ => None,
    });
    (reply.metadata.response_code, reply.answers.len(), code)
}

use RecordType::{A, AAAA, CNAME, MX, NS, SOA, TXT};

/// What rests on it that no tag gives a name.
const RESTING: [(&str, RecordType, ResponseCode, usize); 11] = [
    ("db", A, ResponseCode::NXDomain, 0),
    ("db", AAAA, ResponseCode::NXDomain, 0),
    // With the name there would be no such answer.
    ("db", TXT, ResponseCode::NXDomain, 0),
    ("text", A, ResponseCode::NoError, 0),
    ("text", AAAA, ResponseCode::NoError, 0),
    ("text", CNAME, ResponseCode::NoError, 0),
    ("q.w", TXT, ResponseCode::NoError, 1),
    ("q.w", A, ResponseCode::NoError, 0),
    ("w", A, ResponseCode::NoError, 0),
    ("y", A, ResponseCode::NoError, 0),
    ("al", A, ResponseCode::NXDomain, 1),
];

/// What does not.
const PLAIN: [(&str, RecordType, ResponseCode, usize); 16] = [
    ("@", SOA, ResponseCode::NoError, 1),
    ("@", NS, ResponseCode::NoError, 1),
    ("@", MX, ResponseCode::NoError, 1),
    // No tag gives the origin, or a wildcard, without leave.
    ("@", A, ResponseCode::NoError, 0),
    ("*.w", A, ResponseCode::NoError, 0),
    ("*.w", TXT, ResponseCode::NoError, 1),
    ("m", A, ResponseCode::NoError, 1),
    ("m", AAAA, ResponseCode::NoError, 0),
    ("text", TXT, ResponseCode::NoError, 1),
    ("text", MX, ResponseCode::NoError, 0),
    ("y", TXT, ResponseCode::NoError, 0),
    ("fixed", A, ResponseCode::NoError, 1),
    ("fixed", AAAA, ResponseCode::NoError, 0),
    ("ns1", A, ResponseCode::NoError, 1),
    ("x.cut", A, ResponseCode::NoError, 0),
    ("al", CNAME, ResponseCode::NoError, 1),
];

fn assert_all(
    snapshot: &Snapshot,
    all: &[(&str, RecordType, ResponseCode, usize)],
    expected: impl Fn(ResponseCode, usize) -> (ResponseCode, usize, Option<u16>),
) {
    for (name, rtype, rcode, count) in all {
        let found = asked(snapshot, VPC, name, *rtype);
        assert_eq!(found, expected(*rcode, *count), "{name} {rtype}");
    }
}

#[test]
fn what_a_tag_could_change_is_not_answered_before_it_is_known() {
    let snapshot = snapshot(Source::Silent);
    assert_all(&snapshot, &RESTING, |_, _| (ResponseCode::ServFail, 0, Some(NOT_READY)));
    assert_all(&snapshot, &PLAIN, |rcode, count| (rcode, count, None));
}

#[test]
fn what_rests_on_a_stalled_source_says_so() {
    let good = snapshot(Source::Well);
    assert_all(&good, &RESTING, |rcode, count| (rcode, count, None));
    assert_all(&good, &PLAIN, |rcode, count| (rcode, count, None));
    assert_eq!(asked(&good, VPC, "web", A), (ResponseCode::NoError, 1, None));

    let stale = snapshot(Source::Stalled(60));
    assert_all(&stale, &RESTING, |rcode, count| (rcode, count, Some(STALE)));
    assert_all(&stale, &PLAIN, |rcode, count| (rcode, count, None));
    assert_eq!(asked(&stale, VPC, "web", A), (ResponseCode::NoError, 1, Some(STALE)));

    let too_old = snapshot(Source::Stalled(3_600));
    assert_all(&too_old, &RESTING, |_, _| (ResponseCode::ServFail, 0, Some(INVALID_DATA)));
    assert_all(&too_old, &PLAIN, |rcode, count| (rcode, count, None));
    assert_eq!(asked(&too_old, VPC, "web", A), (ResponseCode::ServFail, 0, Some(INVALID_DATA)));
}

/// In a view that tags give nothing, nothing rests on them.
#[test]
fn a_view_without_names_from_tags_waits_for_none() {
    for source in [Source::Silent, Source::Stalled(60), Source::Stalled(3_600), Source::Well] {
        let snapshot = snapshot(source);
        for (name, rtype, rcode, count) in RESTING.iter().chain(&PLAIN) {
            let found = asked(&snapshot, PEERED, name, *rtype);
            assert_eq!(found, (*rcode, *count, None), "{name} {rtype}");
        }
        assert_eq!(asked(&snapshot, PEERED, "web", A).0, ResponseCode::NXDomain);
    }
}

/// Which sources may have names is said by the zone.
#[test]
fn a_zone_that_names_its_source_waits_for_that_alone() {
    let two = "[[source]]\nname = \"other\"\ntype = \"file\"\npath = \"other.json\"\nregion = \"eu-west-1\"\n[[view]]\n";
    let server = SERVER.replacen("[[view]]\n", two, 1);
    let one = "[discover]\ntag = \"dns-name\"\nsource = \"sample\"\n";
    let config = testing::config(&[
        ("server.toml", server.as_str()),
        ("example.com.toml", one),
        ("example.net.toml", "[discover]\ntag = \"dns-name\"\n"),
    ]);
    let mut inventory = inventory_of(&config, Source::Well);
    let mut other = inventory.sources[0].clone();
    (other.name, other.entries) = ("other".into(), None);
    inventory.sources.push(other);
    let snapshot = testing::snapshot(&config, &inventory);
    assert_eq!(asked(&snapshot, VPC, "db", A), (ResponseCode::NXDomain, 0, None));
    let mut reply = Vec::new();
    let request = octets("db.example.net.", A, Some(1232));
    answer_in_view(&snapshot, VPC, &request, &mut (), &mut reply);
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
}
