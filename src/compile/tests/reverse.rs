//! PTR records: each says a name that has the address, each covered address has them, and step by
//! step they are as from nothing.

use hickory_proto::op::ResponseCode;

use super::*;
use crate::dns::reverse::owner;
use crate::snapshot::reverse::MAX_POINTERS;
use crate::snapshot::{Freshness, ViewTable};
use crate::source::discover::{Answered, Remembered, Rules};

/// What the reverse zone is, if there is one: its origin, its views and its records.
const ZONES: [Option<(&str, &str, &str)>; 6] = [
    None,
    Some(("10.in-addr.arpa", "", "")),
    Some((
        "10.in-addr.arpa",
        "views = [\"vpc\", \"open\"]",
        "1.0.0 PTR still.example.org.\n2.0.0 CNAME x\nx TXT \"x\"\n7.7 NS ns.example.org.\n3.0.0 TXT \"beside\"\n",
    )),
    Some((
        "0.0.10.in-addr.arpa",
        "views = [\"vpc\", \"peered\"]",
        "0 DNAME elsewhere.test.\n1 PTR still.example.org.\n* PTR any.example.org.\n",
    )),
    Some(("in-addr.arpa", "", "7.10 DNAME elsewhere.test.\n0.0.0.10 NS ns.example.org.\n")),
    Some((".", "views = [\"vpc\", \"other\"]", "1.0.0.10.in-addr.arpa. MX 10 a.\n")),
];

const BLOCKS: [&str; 4] = [
    "[[reverse]]\nnetworks = [\"10.0.0.0/8\", \"fd00::/8\"]\n",
    "[[reverse]]\nnetworks = [\"10.0.0.0/31\"]\nviews = [\"vpc\", \"open\"]\nttl = 7\n\
     [[reverse]]\nnetworks = [\"10.0.0.2/31\", \"10.7.0.0/16\"]\nviews = [\"open\", \"peered\"]\n",
    "[[reverse]]\nnetworks = [\"0.0.0.0/0\", \"::/0\"]\nviews = [\"vpc\", \"peered\", \"outside\", \"alike\", \"open\"]\n",
    "[[reverse]]\nnetworks = [\"198.51.100.0/24\", \"10.0.0.0/30\"]\nviews = [\"outside\", \"open\", \"other\"]\n",
];

/// Addresses to ask for, beside those that names have.
const POOL: [&str; 12] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.9",
    "10.7.7.0",
    "10.7.7.1",
    "10.7.7.4",
    "198.51.100.0",
    "198.51.100.4",
    "fd00::1",
    "fd01::1",
];

/// What a configuration is made of.
#[derive(Debug, Clone)]
struct Made {
    names: Vec<Option<Bound>>,
    without: Vec<bool>,
    block: usize,
    zone: usize,
    /// Is there a name in the reverse zone itself, and one at the name of an address?
    inside: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let names = vec(option::weighted(0.7, bound()), NAMES.len());
    let without = vec(prop::bool::weighted(0.2), NAMES.len());
    (names, without, 0..BLOCKS.len(), 0..ZONES.len(), any::<bool>()).prop_map(
        |(names, without, block, zone, inside)| Made { names, without, block, zone, inside },
    )
}

fn config_of(made: &Made) -> Config {
    let entry = |((name, bound), without): ((&&str, &Option<Bound>), &bool)| {
        let text = entry_text(name, &Bound { beside: false, ..bound.clone()? });
        let end = if *without { ", ptr = false }\n" } else { " }\n" };
        Some(text.strip_suffix(" }\n").unwrap().to_owned() + end)
    };
    let entries: String =
        NAMES.iter().zip(&made.names).zip(&made.without).filter_map(entry).collect();
    let mut files = vec![
        ("server.toml".to_owned(), format!("{SERVER}{}", BLOCKS[made.block])),
        ("example.com.toml".to_owned(), format!("[names]\n{entries}")),
        (
            "sub.example.com.toml".to_owned(),
            "views = [\"vpc\"]\n[names]\ndb = \"198.51.100.1\"\n".to_owned(),
        ),
        (
            "tags.test.toml".to_owned(),
            "[discover]\ntag = \"Role\"\nsets = true\nanswer = { outside = \"private\" }\n"
                .to_owned(),
        ),
    ];
    if let Some((origin, views, records)) = ZONES[made.zone] {
        let names = match made.inside {
            true if origin.ends_with("0.0.10.in-addr.arpa") => {
                "[names]\n3 = \"198.51.100.2\"\ninside = \"198.51.100.3\"\n"
            }
            true if origin == "10.in-addr.arpa" => {
                "[names]\n\"9.0.0\" = \"198.51.100.2\"\ninside = \"198.51.100.3\"\n"
            }
            true => "[names]\ninside = \"198.51.100.3\"\n",
            false => "",
        };
        let text = format!("origin = \"{origin}\"\n{views}\nrecords = \"reverse.zone\"\n{names}");
        files.push(("reverse.toml".to_owned(), text));
        files.push(("reverse.zone".to_owned(), format!("@ TXT \"reverse\"\n{records}")));
    }
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    testing::config(&files)
}

/// The names that PTR records of an address are to say, read from what the names stand for.
fn expected(
    config: &Config,
    snapshot: &Snapshot,
    view: usize,
) -> BTreeMap<IpAddr, BTreeSet<(bool, Key)>> {
    let mut all: BTreeMap<IpAddr, BTreeSet<(bool, Key)>> = BTreeMap::new();
    let table = &snapshot.views[view];
    let covers = |ip: &IpAddr| {
        let blocks = config.server.reverse.iter().filter(|block| block.views.contains(&view));
        blocks.flat_map(|block| &block.networks).any(|net| net.contains(ip))
    };
    for zone in table.zones.values() {
        for (name, resolved) in zone.resolved.iter() {
            let Data::Addresses(addresses) = &resolved.data else { continue };
            let is_reached = Arc::ptr_eq(table.zone_of(name.octets()).unwrap(), zone);
            let binding = zone.zone.names.iter().find(|binding| binding.name == *name);
            if name.is_wildcard() || !is_reached || binding.is_some_and(|binding| !binding.ptr) {
                continue;
            }
            for ip in addresses.iter().filter(|ip| covers(ip)) {
                all.entry(*ip).or_default().insert((binding.is_none(), name.clone()));
            }
        }
    }
    all
}

/// Does what stands in the reverse zone forbid PTR records of ours?
fn is_forbidden(made: &Made, view: &ViewTable, ip: IpAddr) -> bool {
    let owner = owner(ip);
    let Some(zone) = view.zone_of(owner.octets()) else { return false };
    let records = ZONES[made.zone].map_or("", |(.., records)| records);
    let under = |name: &str| owner.is_under(&Key::parse(name, Some(&zone.zone.origin)).unwrap());
    let by_records = records.lines().any(|line| {
        let mut words = line.split(' ');
        let (name, rtype) = (words.next().unwrap(), words.next().unwrap());
        let is_it = Key::parse(name, Some(&zone.zone.origin)).unwrap() == owner;
        match rtype {
            "NS" | "DNAME" => under(name),
            "PTR" | "CNAME" => is_it,
            _ => false,
        }
    });
    by_records || zone.zone.names.iter().any(|binding| binding.name == owner)
}

/// What a question for PTR records is answered with.
fn asked(snapshot: &Snapshot, view: usize, name: &Key) -> (ResponseCode, BTreeSet<Key>, Vec<u32>) {
    let mut reply = Vec::new();
    answer_in_view(
        snapshot,
        view,
        &question(&name.to_string(), RecordType::PTR),
        &mut (),
        &mut reply,
    );
    let message = Message::from_vec(&reply).unwrap();
    let own = message.answers.iter().filter(|record| Key::from_name(&record.name) == *name);
    let names = own.clone().filter_map(|record| match &record.data {
        RData::PTR(target) => Some(Key::from_name(&target.0)),
        _ => None,
    });
    (message.metadata.response_code, names.collect(), own.map(|record| record.ttl).collect())
}

/// The invariant, by asking.
fn assert_points(made: &Made, config: &Config, snapshot: &Snapshot) {
    let is_sound = snapshot.sources.iter().all(|s| !matches!(s.freshness, Freshness::TooOld(_)))
        && snapshot.inventory.sources.iter().all(|source| source.entries.is_some());
    for (id, view) in snapshot.views.iter().enumerate() {
        let expected = expected(config, snapshot, id);
        let pool = POOL.iter().map(|ip| ip.parse().unwrap());
        for ip in pool.chain(expected.keys().copied()).collect::<BTreeSet<IpAddr>>() {
            let (owner, names) = (owner(ip), expected.get(&ip).cloned().unwrap_or_default());
            let (rcode, said, ttls) = asked(snapshot, id, &owner);
            let context = format!("{owner} in {}: {rcode} {said:?}, expected {names:?}", view.name);
            if is_forbidden(made, view, ip) {
                assert!(names.iter().all(|(_, name)| !said.contains(name)), "{context}");
                continue;
            }
            if rcode == ResponseCode::ServFail {
                assert!(!is_sound, "{context}");
                continue;
            }
            let first: BTreeSet<Key> =
                names.iter().take(MAX_POINTERS).map(|(_, name)| name.clone()).collect();
            if first.is_empty() {
                assert!(
                    said.iter().all(|name| name.to_string().ends_with("example.org.")),
                    "{context}"
                );
                let is_ours = view.zone_of(owner.octets()).is_some();
                assert_eq!(rcode == ResponseCode::Refused, !is_ours, "{context}");
            } else {
                assert_eq!((rcode, &said), (ResponseCode::NoError, &first), "{context}");
                assert!(ttls.iter().all(|ttl| Some(*ttl) == view.reverse.ttl(ip)), "{context}");
            }
        }
    }
}

fn reverse_questions() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for ip in POOL.iter().map(|ip| ip.parse().unwrap()) {
        let owner = owner(ip);
        let above = owner.parent().unwrap();
        for name in [owner.to_string(), format!("x.{owner}"), above.to_string()] {
            for rtype in [RecordType::PTR, RecordType::SOA, RecordType::ANY, RecordType::DS] {
                all.push(question(&name, rtype));
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_covered_address_has_the_names_that_have_it(
        made in made(),
        mut inventory in first_words(),
        steps in vec(step(), 1..10),
    ) {
        let config = config_of(&made);
        let (rules, questions) = (Rules::of(&config), reverse_questions());
        let mut now = noon();
        let mut serials = Serials::default();
        let mut previous: Option<Snapshot> = None;
        for step in [None].into_iter().chain(steps.iter().map(Some)) {
            if let Some(step) = step {
                take(step, &mut inventory, &mut now);
            }
            let source = match step {
                Some(Step::Address(source, ..) | Step::Source(source, _)) => *source,
                _ => 0,
            };
            let answered = Answered { source, accept_losses: false };
            inventory.discover(&rules, Some(answered), &Remembered::new(), now);
            let input =
                Input { config: &config, epoch: 1, inventory: &inventory, addresses: &[], now, drift: Drift::NONE };
            let mut fresh_serials = serials.clone();
            let fresh = compile(&input, &mut fresh_serials, None);
            let next = compile(&input, &mut serials, previous.as_ref());
            prop_assert_eq!(&serials, &fresh_serials);
            prop_assert_eq!(all_words(&next), all_words(&fresh));
            prop_assert!(answers(&next, &questions) == answers(&fresh, &questions), "octets differ");
            assert_points(&made, &config, &next);
            previous = Some(next);
        }
    }
}

fn key(name: &str) -> Key {
    Key::parse(name, None).unwrap()
}

fn with_reverse(more: &str, zones: &[(&str, &str)]) -> Config {
    let server = format!("{}[[reverse]]\nnetworks = [\"10.0.0.0/8\"]\n{more}", testing::SERVER);
    let files: Vec<_> =
        [("server.toml", server.as_str())].into_iter().chain(zones.iter().copied()).collect();
    testing::config(&files)
}

#[test]
fn at_most_sixteen_names_in_order_those_of_the_file_first() {
    let names: String =
        (0..20).map(|n| format!("h{n:02} = {{ address = \"10.0.0.1\" }}\n")).collect();
    let config = with_reverse("", &[("example.com.toml", &format!("[names]\n{names}"))]);
    let snapshot = testing::snapshot(&config, &testing::inventory(&[]));
    let owner = key("1.0.0.10.in-addr.arpa");
    let (_, said, _) = asked(&snapshot, 0, &owner);
    let first: BTreeSet<Key> = (0..16).map(|n| key(&format!("h{n:02}.example.com"))).collect();
    assert_eq!(said, first);
    let table = &snapshot.views[0].reverse;
    assert!(table.crowded.contains(&owner));
    let left_out: Vec<_> = table
        .of("10.0.0.1".parse().unwrap())
        .unwrap()
        .left_out()
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    assert_eq!(
        left_out,
        ["h16.example.com.", "h17.example.com.", "h18.example.com.", "h19.example.com."]
    );
    // The same in views that see the same.
    let at = |view: usize| {
        Arc::clone(snapshot.views[view].reverse.pointers.get(owner.octets()).unwrap())
    };
    assert!(Arc::ptr_eq(&at(0), &at(1)));
    assert!(snapshot.views[2].reverse.pointers.is_empty(), "it answers public names");
}

/// Where EC2 has not been heard yet, nobody can say that an address has no name.
#[test]
fn nothing_is_denied_before_every_source_has_said_something() {
    let names = "[names]\ndb = \"198.51.100.1\"\nfixed = { address = \"10.0.0.9\" }\n";
    let zones = [
        ("example.com.toml", names),
        ("10.in-addr.arpa.toml", "views = [\"vpc\"]\nrecords = \"r\"\n"),
        ("r", "9.9.9 PTR old.example.org.\n8.8.8 TXT \"t\"\n"),
    ];
    let config = with_reverse("", &zones);
    let mut silent = testing::inventory(&[]);
    silent.sources[0].entries = None;
    let snapshot = testing::snapshot(&config, &silent);
    let rcode = |name: &str| asked(&snapshot, 0, &key(name)).0;
    assert_eq!(rcode("1.0.0.10.in-addr.arpa"), ResponseCode::ServFail);
    assert_eq!(rcode("8.8.8.10.in-addr.arpa"), ResponseCode::ServFail, "NODATA is a denial too");
    assert_eq!(rcode("9.0.0.10.in-addr.arpa"), ResponseCode::NoError, "a fixed address");
    assert_eq!(rcode("9.9.9.10.in-addr.arpa"), ResponseCode::NoError, "records");
    assert_eq!(rcode("7.10.in-addr.arpa"), ResponseCode::ServFail, "there may be names below");
    // As a public EC2 name would, it goes on to where the rest of that space is.
    assert_eq!(asked(&snapshot, 1, &key("1.0.0.10.in-addr.arpa")).0, ResponseCode::Refused);
    let known = testing::snapshot(&config, &testing::inventory(&[]));
    assert_eq!(asked(&known, 0, &key("1.0.0.10.in-addr.arpa")).0, ResponseCode::NXDomain);
}

#[test]
fn a_move_costs_what_it_touches_and_tells_of_names_alone() {
    let names: String = (0..2_000)
        .map(|n| format!("h{n} = {{ address = \"10.1.{}.{}\" }}\n", n / 256, n % 256))
        .collect();
    let zone = format!("[names]\ndb = \"198.51.100.1\"\n{names}");
    let config = with_reverse(
        "",
        &[
            ("example.com.toml", &zone),
            ("10.in-addr.arpa.toml", "views = [\"peered\"]\nrecords = \"r\"\n"),
            ("r", "@ SOA ns hostmaster 7 60 50 40 30\n@ NS ns.example.org.\n"),
        ],
    );
    let at = |n: u8| testing::inventory(&[(ip(1), Some(Ipv4Addr::new(10, 0, 0, n)))]);
    let mut serials = Serials::default();
    let before = testing::after(&config, &at(1), &mut serials, None);
    let after = testing::after(&config, &at(2), &mut serials, Some(&before));
    let (was, is) = (&before.views[0].reverse.pointers, &after.views[0].reverse.pointers);
    assert_eq!((was.len(), is.len()), (2_001, 2_001));
    assert!(is.unshared(was).count() < 600, "most are shared");
    let zone = |snapshot: &Snapshot| {
        Arc::clone(snapshot.views[1].zones.get(key("10.in-addr.arpa").octets()).unwrap())
    };
    let (was, is) = (zone(&before), zone(&after));
    assert!(is.serial != was.serial && was.serial != 7, "a zone into which PTR records are laid");
    let last = is.differences.since(was.serial).unwrap();
    let owners: BTreeSet<_> =
        last[0].changed.iter().map(|changed| changed.owner.to_string()).collect();
    assert_eq!(
        owners,
        ["1.0.0.10.in-addr.arpa.".to_owned(), "2.0.0.10.in-addr.arpa.".to_owned()].into()
    );
    let told = changes(&config, &before, &after).names;
    assert!(told.iter().all(|change| change.name == "db.example.com."), "{told:?}");
    assert_eq!(told.len(), 1);
    for view in [0, 1] {
        assert_eq!(asked(&after, view, &key("1.0.0.10.in-addr.arpa")).1, BTreeSet::new());
        assert_eq!(
            asked(&after, view, &key("2.0.0.10.in-addr.arpa")).1,
            [key("db.example.com")].into()
        );
    }
}

#[test]
fn an_answer_rests_on_the_sources_of_its_names() {
    let config = with_reverse("", &[("example.com.toml", "[names]\ndb = \"198.51.100.1\"\n")]);
    let mut inventory = testing::inventory(&[(ip(1), Some(Ipv4Addr::new(10, 0, 0, 1)))]);
    inventory.sources[0].health =
        Health::Stalled { since: noon(), class: Class::Other, why: "test".into() };
    let snapshot = testing::snapshot(&config, &inventory);
    let ask = |name: &str, rtype| {
        let mut reply = Vec::new();
        answer_in_view(&snapshot, 0, &question(name, rtype), &mut (), &mut reply);
        reply
    };
    // EDE 3 (RFC 8914): option 15, of any length.
    let is_stale = |reply: &[u8]| reply.windows(6).any(|w| w[..2] == [0, 15] && w[4..] == [0, 3]);
    let (a, ptr) =
        (ask("db.example.com.", RecordType::A), ask("1.0.0.10.in-addr.arpa.", RecordType::PTR));
    assert!(is_stale(&a) && is_stale(&ptr), "{a:02x?} {ptr:02x?}");
}
