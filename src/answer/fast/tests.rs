//! One meaning, two speeds: whatever the fast path answers, the ordinary path
//! answers with the same octets and counts in the same place.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query as HickoryQuery};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{RData, Record};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, TestRunner};

use super::*;
use crate::answer::ordinary;
use crate::dns::name::Key;
use crate::forward::Hit;
use crate::source::allocation::Allocation;
use crate::source::discover::{Remembered, Rules};
use crate::source::error::Class;
use crate::source::inventory::Health;
use crate::testing::{self, SERVER};

/// What may stand at a name of the random zone, in a master file; `@@` is the
/// name. Absent first: that is what failures shrink to.
const SHAPES: &[&str] = &[
    "",
    "@@ A 10.0.0.1\n",
    "@@ 77 A 10.0.0.2\n@@ 77 A 10.0.0.3\n@@ AAAA fd00::1\n",
    "@@ TXT \"one\" \"two\"\n@@ A 10.0.0.4\n",
    "@@ CNAME a\n",
    "@@ CNAME b\n",
    "@@ CNAME x.star\n",
    "@@ CNAME host.other.org.\n",
    "@@ CNAME db.kid\n",
    "@@ CNAME ec2-198-51-100-1.compute-1.amazonaws.com.\n",
    "@@ CNAME Away.Example.NET.\n",
    "@@ MX 10 a\n@@ MX 20 b.example.net.\n",
    "@@ SRV 1 2 389 ns1\n@@ A 10.0.0.5\n",
    "@@ PTR A.Example.com.\n@@ HINFO \"a\" \"b\"\n",
    "@@ CAA 0 issue \"ca.example.net\"\n@@ TYPE65280 \\# 4 0a000001\n",
    "@@ HTTPS 1 . alpn=h2\n",
    "MANY", // More addresses than fit into 512 octets, or into any datagram.
    "MORE",
    "TEXT",
];

/// Where those shapes stand. An asterisk twice: with names below the encloser
/// and without.
const OWNERS: &[&str] = &[
    "a",
    "b",
    "c",
    "x.y",
    "deep.er.est",
    "*.star",
    "x.star",
    "*.x.y",
    "*",
    "hostmaster",
    "a.lot.of.labels.1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.21.22.23.24",
];

/// Names bound to the four Elastic IPs, in example.com and in other.org.
const BOUND: &str = "[names]
db = \"198.51.100.1\"
www = { elastic_ip = \"198.51.100.2\", answer = \"cname\" }
idle = \"198.51.100.9\"
pool = { tag = { Role = \"db\" } }
\"*.shard\" = \"198.51.100.3\"
\"*.alias\" = { elastic_ip = \"198.51.100.4\", answer = \"cname\" }
none = { elastic_ip = \"198.51.100.1\", answer = { vpc = \"none\" } }
";

/// A zone whose names come from tags, beside records.
const DISCOVER: &str = "records = \"disc.test.zone\"\n[discover]\ntag = \"dns-name\"\n\
    apex_and_wildcards = true\nanswer = { peered = \"none\", outside = \"cname\" }\n";
const DISCOVERS: &str = "@ MX 10 a\ntext TXT \"t\"\nlab NS ns.lab\nns.lab A 10.0.0.8\n\
    c CNAME b\nold DNAME star\n*.x.y TXT \"w\"\n";

const MNAMES: &[&str] = &["ns1", "@", "a.b.kid", "ns.other.org.", "NS1.Example.COM.", "."];
const RNAMES: &[&str] = &["hostmaster", "who\\.ever.x.y", "@", "root.example.org."];

/// One in each view, and one in none.
const CLIENTS: [[u8; 4]; 3] = [[10, 1, 1, 1], [10, 9, 1, 1], [192, 0, 2, 1]];
const STRANGER: [u8; 4] = [203, 0, 113, 1];

/// What a random snapshot is made from.
#[derive(Debug, Clone)]
struct World {
    shapes: Vec<usize>,
    soa: Option<(usize, usize)>,
    delegation: bool,
    dname: bool,
    apex: usize,
    kid: bool,
    forward: bool,
    last: [u8; 4],
    health: u8,
}

fn world() -> impl Strategy<Value = World> {
    (
        vec(0..SHAPES.len(), OWNERS.len()),
        prop::option::of((0..MNAMES.len(), 0..RNAMES.len())),
        any::<bool>(),
        any::<bool>(),
        select(vec![0, 1, 2, 3, 11, 12, 15, 16]),
        any::<bool>(),
        any::<bool>(),
        prop::array::uniform4(0u8..6),
        prop_oneof![4 => Just(0u8), 1 => 1u8..4],
    )
        .prop_map(|(shapes, soa, delegation, dname, apex, kid, forward, last, health)| World {
            shapes,
            soa,
            delegation,
            dname,
            apex,
            kid,
            forward,
            last,
            health,
        })
}

impl World {
    fn records(&self) -> String {
        let mut text = String::from("$TTL 300\n");
        if let Some((mname, rname)) = self.soa {
            let names = (MNAMES[mname], RNAMES[rname]);
            writeln!(text, "@ SOA {} {} 7 30 5 1209600 60", names.0, names.1).unwrap();
            text.push_str("@ NS ns1\n@ NS ns.other.org.\n");
        }
        text.push_str("ns1 A 10.0.0.53\n");
        if self.delegation {
            text.push_str("lab NS ns.lab\nlab NS ns1\nns.lab A 10.0.0.8\nfar NS ns.example.net.\n");
        }
        if self.dname {
            text.push_str("old DNAME star\ngone DNAME example.net.\n");
        }
        let placed = std::iter::once(("@", self.apex));
        for (owner, shape) in placed.chain(OWNERS.iter().copied().zip(self.shapes.iter().copied()))
        {
            match SHAPES[shape] {
                "MANY" | "MORE" => {
                    let count = if SHAPES[shape] == "MANY" { 40 } else { 90 };
                    for n in 0..count {
                        writeln!(text, "{owner} A 10.1.0.{n}").unwrap();
                    }
                }
                "TEXT" => writeln!(text, "{owner} TXT \"{}\"", "x".repeat(250)).unwrap(),
                shape => text.push_str(&shape.replace("@@", owner)),
            }
        }
        text
    }

    fn snapshot(&self) -> Snapshot {
        let server = SERVER.replace("[listen]", "[listen]\nid = \"one\"\nversion = \"2\"");
        let forwards = "reaches = [\"10.0.0.0/16\"]\nforward = true\nrewrite = true\n";
        let server = match self.forward {
            true => server.replace("reaches = [\"10.0.0.0/16\"]\n", forwards),
            false => server,
        };
        let server = format!("{server}\n[serve]\nmax_stale = \"10m\"\n");
        let mut zone = String::from("records = \"example.com.zone\"\n");
        zone.push_str(BOUND);
        let records = self.records();
        let mut files = vec![
            ("server.toml", server.as_str()),
            ("example.com.toml", &zone),
            ("example.com.zone", &records),
            ("other.org.toml", BOUND),
            ("disc.test.toml", DISCOVER),
            ("disc.test.zone", DISCOVERS),
            (
                "8.b.d.0.1.0.0.2.ip6.arpa.toml",
                "[names]\n\"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0\" = { address = \"10.0.0.9\" }\n",
            ),
        ];
        if self.kid {
            let kid = "views = [\"vpc\"]\n[names]\ndb = \"198.51.100.1\"\n";
            files.push(("kid.example.com.toml", kid));
        }
        let config = testing::config(&files);
        let all: Vec<_> = (1..=4u8)
            .zip(self.last)
            .map(|(n, to)| {
                let private = (to > 0).then(|| Ipv4Addr::new(10, 0, to % 3, to));
                (Ipv4Addr::new(198, 51, 100, n), private)
            })
            .collect();
        let mut inventory = testing::inventory(&all);
        let source = &mut inventory.sources[0];
        let entries = Arc::make_mut(source.entries.as_mut().unwrap());
        for (ip, tag) in [(1, "a"), (2, "x.y text"), (3, "* @ deep.er.est"), (4, "*.star pool")] {
            let ip = Ipv4Addr::new(198, 51, 100, ip);
            let entry = entries.get_mut(&Allocation::from(ip)).unwrap();
            let address = Arc::make_mut(&mut entry.address);
            address.tags.insert("dns-name", tag);
        }
        match self.health {
            // Within max_stale, beyond it, and never heard of.
            1 => source.delivered_at = Some(testing::noon() - Duration::from_secs(60)),
            2 => source.delivered_at = Some(testing::noon() - Duration::from_secs(3600)),
            3 => source.entries = None,
            _ => {}
        }
        if self.health > 0 {
            let since = testing::noon() - Duration::from_secs(50);
            source.health = Health::Stalled { since, class: Class::Other, why: "test".into() };
        }
        let (rules, none) = (Rules::of(&config), Remembered::new());
        inventory.discover(&rules, None, &none, testing::noon());
        testing::snapshot(&config, &inventory)
    }
}

/// What is known of names that are not ours: of each name something else.
struct Others;

impl Elsewhere for Others {
    fn answer(&mut self, question: &forward::Question<'_>) -> Option<Hit> {
        let owner = Key::from_folded(question.name).to_name();
        let mut reply = Message::new(0, MessageType::Response, OpCode::Query);
        reply.queries.push(HickoryQuery::query(owner.clone(), question.rtype.into()));
        let alias = |to: &str| RData::CNAME(CNAME(to.parse().unwrap()));
        let data = match question.name.len() % 6 {
            0 => return None,
            1 => return Some(forward::failure(question, "nobody is there")),
            2 => alias("db.example.com."),
            3 => alias("a.example.net."),
            // An Elastic IP, which the views that forward rewrite.
            _ if !matches!(question.rtype, 1 | 255) => alias("a.example.net."),
            _ => RData::A(Ipv4Addr::new(198, 51, 100, 1).into()),
        };
        let mut record = Record::from_rdata(owner, 60, data);
        record.dns_class = question.class.into();
        reply.answers.push(record);
        Some(Hit::from_reply(&reply.to_vec().unwrap(), question))
    }

    fn is_probe(&self, name: &[u8]) -> bool {
        name.len() == 20
    }
}

/// A request, and how it comes.
#[derive(Debug, Clone)]
struct Ask {
    octets: Vec<u8>,
    client: Ipv4Addr,
    transport: Transport,
    /// Nothing about it is odd, and it is asked by someone in a view.
    sound: bool,
}

/// Wire octets of a name from the labels in a text.
fn wire(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let mut owners: Vec<&str> = OWNERS.to_vec();
    owners
        .extend(["", "ns1", "db", "www", "idle", "pool", "shard", "alias", "none", "y", "er.est"]);
    owners.extend(["lab", "ns.lab", "far", "old", "gone", "kid", "db.kid", "ns1.kid", "star"]);
    owners.extend(["text"]);
    let origins = [
        "example.com",
        "example.com",
        "example.com",
        "other.org",
        "com",
        "example.net",
        "disc.test",
        "disc.test",
    ];
    let ec2 = "ec2-198-51-100-1.compute-1.amazonaws.com";
    let arpa = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let below = ["x", "a", "b", "ns1", "hostmaster", "*", "kid", "\0", "an-absent-one"];
    let below = select(below.to_vec());
    let below = prop_oneof![3 => Just(vec![]), 2 => vec(below.clone(), 1), 1 => vec(below, 2)];
    let plain = (below, select(owners), select(origins.to_vec()))
        .prop_map(|(below, owner, origin)| format!("{}.{owner}.{origin}", below.join(".")));
    let long = (1usize..60, select(origins.to_vec()))
        .prop_map(|(labels, origin)| format!("{}{origin}", "n.".repeat(labels)));
    let text = prop_oneof![
        12 => plain,
        1 => long,
        1 => Just(arpa.to_string()),
        1 => Just(format!("x.{arpa}")),
        3 => Just(ec2.to_string()),
        1 => Just(format!("x.{ec2}")),
        1 => Just(arpa[2..].to_string()),
        1 => Just(String::new()),
    ];
    (text, prop_oneof![2 => Just(0u64), 1 => any::<u64>()]).prop_map(|(text, upper)| {
        let mut octets = wire(&text);
        for (at, octet) in octets.iter_mut().enumerate() {
            if upper >> (at % 64) & 1 == 1 {
                octet.make_ascii_uppercase();
            }
        }
        octets
    })
}

/// An OPT, well formed or nearly so.
fn opt() -> impl Strategy<Value = Vec<u8>> {
    let code = select(vec![3u16, 8, 8, 10, 12, 11, 65001]);
    let subnet = select(vec![&[0u8, 1, 24, 0, 192, 0, 2][..], &[0, 1, 24, 0], &[0, 9, 1, 0, 1]]);
    let data = prop_oneof![2 => vec(any::<u8>(), 0..20), 1 => subnet.prop_map(<[u8]>::to_vec)];
    let options = prop_oneof![1 => Just(vec![]), 1 => vec((code, data), 1..4)];
    let zero = |rest: u32| prop_oneof![rest => Just(0u8), 1 => any::<u8>()];
    let len = prop_oneof![12 => Just(0i32), 1 => -3i32..4];
    (0u16..4097, zero(9), zero(9), any::<bool>(), zero(4), zero(20), options, len).prop_map(
        |(payload, high, version, dnssec_ok, z, owner, options, len)| {
            let mut data = Vec::new();
            for (code, octets) in options {
                data.extend_from_slice(&code.to_be_bytes());
                data.extend_from_slice(&(octets.len() as u16).to_be_bytes());
                data.extend(octets);
            }
            let mut all = vec![owner & 1];
            all.extend(vec![b'o'; usize::from(owner & 1)]);
            all.extend(vec![0; usize::from(owner & 1)]);
            all.extend([0, 41]);
            all.extend(payload.to_be_bytes());
            all.extend([high, version, if dnssec_ok { z | 0x80 } else { z & 0x7f }, z]);
            all.extend((data.len() as i32 + len).max(0).to_be_bytes()[2..].iter());
            all.extend(data);
            all
        },
    )
}

/// An OPT as resolvers and dig send it.
fn plain_opt() -> impl Strategy<Value = Vec<u8>> {
    let payload = select(vec![512u16, 1232, 1400, 4096]);
    let option = select(vec![&[][..], &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], &[0, 12, 0, 0]]);
    (payload, any::<bool>(), option).prop_map(|(payload, dnssec_ok, option)| {
        let mut all = vec![0, 0, 41];
        all.extend(payload.to_be_bytes());
        all.extend([0, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, option.len() as u8]);
        all.extend(option);
        all
    })
}

/// One octet of a request set to something else, or its end cut or extended.
fn damage() -> impl Strategy<Value = Option<(u8, usize, u8)>> {
    prop_oneof![
        12 => Just(None),
        1 => (0u8..4, 0usize..90, any::<u8>()).prop_map(Some),
        1 => (Just(0u8), 2usize..12, 0u8..3).prop_map(Some),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    use RecordType::*;
    let types = vec![A, A, A, AAAA, TXT, MX, NS, SOA, CNAME, SRV, PTR, HTTPS, DS, ANY, AXFR, CAA];
    let rtype = prop_oneof![
        9 => select(types).prop_map(u16::from),
        1 => any::<u16>(),
        1 => 0u16..300,
    ];
    let class = prop_oneof![12 => Just(1u16), 1 => select(vec![3u16, 0, 254, 255, 0x8001])];
    let flags = (prop_oneof![9 => 0u8..8, 1 => any::<u8>()], any::<u8>());
    let opts = prop_oneof![
        4 => Just((vec![], true)),
        4 => plain_opt().prop_map(|opt| (vec![opt], true)),
        2 => opt().prop_map(|opt| (vec![opt], false)),
        1 => vec(opt(), 2).prop_map(|opts| (opts, false)),
    ];
    let client = prop_oneof![9 => select(&CLIENTS[..]), 1 => Just(STRANGER)];
    (name(), rtype, class, flags, opts, damage(), client, any::<bool>()).prop_map(
        |(name, rtype, class, flags, (opts, plain), damage, client, udp)| {
            let mut octets = vec![4, 2, flags.0, flags.1, 0, 1, 0, 0, 0, 0, 0, opts.len() as u8];
            octets.extend(name);
            octets.extend(rtype.to_be_bytes());
            octets.extend(class.to_be_bytes());
            octets.extend(opts.concat());
            match damage {
                Some((0 | 1, at, to)) => {
                    if let Some(octet) = octets.get_mut(at) {
                        *octet = to;
                    }
                }
                Some((2, at, _)) => octets.truncate(at),
                Some((_, _, to)) => octets.push(to),
                None => {}
            }
            Ask {
                octets,
                client: client.into(),
                transport: if udp { Transport::Udp } else { Transport::Tcp },
                sound: damage.is_none() && client != STRANGER && plain && class == 1,
            }
        },
    )
}

/// Is this what tails are for: records or a denial from one name of ours, that
/// were neither reached through an alias nor cut?
fn is_definite(ask: &Ask, outcome: &Outcome, reply: &[u8]) -> bool {
    use RecordType::{ANY, CNAME, DS};
    let Outcome::Reply { rcode: ResponseCode::NoError | ResponseCode::NXDomain, path, .. } =
        outcome
    else {
        return false;
    };
    let question = Message::from_vec(&ask.octets).unwrap().queries.pop().unwrap();
    let reply = Message::from_vec(reply).unwrap();
    let alias = reply.answers.first().is_some_and(|record| record.record_type() == CNAME);
    matches!(path, Path::Zone | Path::Ec2)
        && !alias
        && !matches!(question.query_type(), ANY | DS)
        && reply.metadata.authoritative
        && !reply.metadata.truncation
}

#[test]
fn fast_and_ordinary_answers_are_the_same_octets() {
    let [asked, definite, fast, known, ahead] = [(); 5].map(|()| Cell::new(0u32));
    let seen = RefCell::new(BTreeMap::<String, u32>::new());
    let add = |count: &Cell<u32>| count.set(count.get() + 1);
    let mut runner = TestRunner::new(Cases { failure_persistence: None, ..Cases::with_cases(128) });
    let outcome = runner.run(&(world(), vec(ask(), 1..200)), |(world, asks)| {
        let snapshot = world.snapshot();
        let asker_of = |ask: &Ask| Asker {
            client: SocketAddr::from((ask.client, 5353)),
            local: ([127, 0, 0, 1], 53).into(),
        };
        let mut buffer = AheadBuffer::default();
        // A batch is read ahead; one more than there is room for.
        for some in asks.chunks(MAX_BATCH + 1) {
            let first = asker_of(&some[0]);
            let requests = some.iter().map(|ask| &ask.octets[..]);
            let batch = Ahead::read(&snapshot, &first, requests, &mut buffer);
            for (nth, ask) in some.iter().enumerate() {
                let asker = asker_of(ask);
                let (mut quick, mut slow) = (b"left over".to_vec(), Vec::new());
                let (request, transport) = (&ask.octets[..], ask.transport);
                let expected =
                    ordinary(&snapshot, &asker, transport, request, &mut Others, &mut slow);
                add(&asked);
                let counts = ask.sound && is_definite(ask, &expected, &slow);
                if counts {
                    add(&definite);
                }
                let outcome =
                    answer(&snapshot, &asker, transport, request, &mut Others, &mut quick);
                if let (Some(batch), Transport::Udp) = (&batch, transport) {
                    let mut seen = b"left over".to_vec();
                    let found = batch.known(nth, &asker, request, &mut Others, &mut seen);
                    let same_view = view_of(&snapshot, &asker).map(|(view, _)| view)
                        == view_of(&snapshot, &first).map(|(view, _)| view);
                    if same_view && nth < MAX_BATCH {
                        prop_assert_eq!(&found, &outcome, "{:02x?}", request);
                        prop_assert_eq!(&seen, &quick);
                        add(&known);
                    } else {
                        prop_assert_eq!((found, &seen[..]), (None, &b"left over"[..]));
                    }
                    let whole = batch.answer(nth, &asker, request, &mut Others, &mut seen);
                    prop_assert_eq!((&whole, &seen), (&expected, &slow));
                    if outcome.is_some() {
                        add(&ahead);
                    }
                }
                let Some(outcome) = outcome else {
                    prop_assert_eq!(&quick, b"left over", "touched, yet not answered");
                    continue;
                };
                if counts {
                    add(&fast);
                }
                prop_assert_eq!(&outcome, &expected);
                prop_assert_eq!(&quick, &slow, "{:02x?}\n{:02x?}\n{:02x?}", request, &quick, &slow);
                let what = match outcome {
                    Outcome::Reply { rcode, path, .. } => {
                        format!("{} {rcode:?} {}", path.as_str(), quick[7].min(1))
                    }
                    Outcome::Ask(_) => "ask".into(),
                    Outcome::Drop => "drop".into(),
                };
                *seen.borrow_mut().entry(what).or_default() += 1;
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let [asked, definite, fast, known, ahead] =
        [asked, definite, fast, known, ahead].map(|count| count.get());
    let seen = seen.into_inner();
    println!("{asked} asked, {definite} of them definite, {fast} of those fast; fast: {seen:#?}");
    println!(
        "over UDP {known} read ahead in their view; {ahead} fast answers with that or without"
    );
    // The rest has remarks, brings other records along, or asks next to a name
    // that the SOA holds.
    assert!(fast * 4 > definite * 3, "{fast} fast answers to {definite} definite questions");
    assert!(known * 8 > asked && ahead * 16 > asked, "{known} and {ahead} of {asked}");
    for what in ["zone NoError 1", "zone NoError 0", "zone NXDomain 0", "ec2 NoError 1", "ask"] {
        assert!(seen.contains_key(what), "{what} never came: {seen:?}");
    }
}

/// Once in billions of names the hash alone leads to another name.
#[test]
fn another_name_with_the_same_hash_answers_nothing() {
    let config = testing::config(&[
        ("server.toml", SERVER),
        (
            "example.com.toml",
            "[names]\na = { address = \"10.0.0.1\" }\nb = { address = \"10.0.0.2\" }\n",
        ),
    ]);
    let snapshot = testing::snapshot(&config, &testing::inventory(&[]));
    let table = &snapshot.views[0];
    let zone = table.zone_of(&wire("example.com")).unwrap();
    let likely = zone.entry(&wire("b.example.com"));
    assert!(likely.is_some());
    let candidate = Candidate { zone, likely };
    let found =
        |name: &str| candidate.entry(&wire(name)).map(|entry| entry.ready().name().to_vec());
    assert_eq!(found("b.example.com"), Some(wire("b.example.com")));
    assert_eq!(found("a.example.com"), Some(wire("a.example.com")));
    assert_eq!(found("c.example.com"), None);
}
