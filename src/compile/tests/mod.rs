//! With or without a previous snapshot, the same inputs give the same answers;
//! `discovered`: with names from tags; `edge`: with addresses without a public one;
//! `interfaces`: with AAAA records; `reverse`: with PTR records.

mod discovered;
mod edge;
mod interfaces;
mod reverse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::answer::answer_in_view;
use crate::compile::changes::changes;
use crate::dns::name::Key;
use crate::snapshot::{Data, Node, ZoneTable};
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::error::Class;
use crate::source::identity::Identity;
use crate::source::interfaces::{Interface, InterfaceId};
use crate::source::inventory::{Address, Entries, Entry, Health, SourceInventory, Standing};
use crate::source::testing::{edge, with_id};
use crate::testing::{self, noon};

const SERVER: &str = r#"
[listen]
dns = ["127.0.0.1:0"]
[serve]
max_stale = "1h"

[[source]]
name = "s0"
type = "file"
path = "s0.json"
region = "us-east-1"
[[source]]
name = "s1"
type = "file"
path = "s1.json"
region = "eu-west-1"
[[source]]
name = "s2"
type = "file"
path = "s2.json"
region = "us-east-1"

[[view]]
name = "vpc"
clients = ["10.0.0.0/8"]
answer = "private"
[[view]]
name = "peered"
clients = ["10.9.0.0/16"]
answer = "private"
reaches = ["10.0.0.0/31", "fd00::2/127"]
ec2_names = true
rewrite = true
[[view]]
name = "outside"
clients = ["192.0.2.0/24"]
answer = "cname"
forward = true
[[view]]
name = "other"
clients = ["198.18.0.0/15"]
answer = "private"
[[view]]
name = "alike"
clients = ["198.20.0.0/15"]
answer = "private"
ec2_names = true
rewrite = true
[[view]]
name = "open"
clients = ["198.22.0.0/15"]
answer = "public"
forward = true
"#;

/// Views that names choose a mode for.
const VIEWS: [&str; 4] = ["vpc", "peered", "outside", "other"];
const SOURCES: usize = 3;
/// Elastic IPs that sources may have.
const ADDRESSES: u8 = 5;
/// The one of them that has no public address.
const EDGE: u8 = 4;
/// Interfaces that they may stand on.
const INTERFACES: u8 = 3;
/// Names that may be bound.
const NAMES: [&str; 8] = ["@", "*", "a", "b", "ns1", "*.w", "x.y.z", "y.z"];
/// More names, to be asked for.
const ASKED: [&str; 5] = ["q", "q.w", "z", "q.y.z", "still"];

fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, n)
}

/// A set has members that answer; a single name in public mode has its address
/// however it stands, as a promise to those who have it in their firewalls.
#[test]
fn a_set_leaves_out_what_is_not_associated() {
    let names = "[names]\nall = { tag = { Role = \"db\" }, answer = { vpc = \"private\", \
                 peered = \"public\", outside = \"public\" } }\n\
                 one = { elastic_ip = \"198.51.100.2\", answer = \"public\" }\n";
    let server = testing::SERVER.replace("answer = \"cname\"", "answer = \"public\"");
    let config = testing::config(&[("server.toml", server.as_str()), ("example.com.toml", names)]);
    let private = |n| Some(Ipv4Addr::new(10, 0, 0, n));
    let said = |snapshot: &Snapshot, view: &str, name: &str| {
        let view = snapshot.views.iter().find(|v| &*v.name == view).unwrap();
        let zone = view.zones.values().next().unwrap();
        zone.resolved.get(Key::parse(name, None).unwrap().octets()).unwrap().data.clone()
    };
    let addresses = |all: &[[u8; 4]]| {
        Data::Addresses(all.iter().map(|ip| IpAddr::from(*ip)).collect::<Vec<_>>().into())
    };
    let inventory = testing::inventory(&[(ip(1), private(1)), (ip(2), None), (ip(3), private(3))]);
    let some = testing::snapshot(&config, &inventory);
    for view in ["peered", "outside"] {
        let both = addresses(&[[198, 51, 100, 1], [198, 51, 100, 3]]);
        assert_eq!(said(&some, view, "all.example.com."), both, "{view}");
        let one = addresses(&[[198, 51, 100, 2]]);
        assert_eq!(said(&some, view, "one.example.com."), one, "{view}");
    }
    let both = addresses(&[[10, 0, 0, 1], [10, 0, 0, 3]]);
    assert_eq!(said(&some, "vpc", "all.example.com."), both);
    let none = testing::snapshot(&config, &testing::inventory(&[(ip(1), None), (ip(2), None)]));
    for view in ["vpc", "peered", "outside"] {
        let Data::Nothing(why) = said(&none, view, "all.example.com.") else { panic!("{view}") };
        assert!(
            why.starts_with("no address that has ") && why.ends_with(" is associated"),
            "{why}"
        );
    }
    // An address that is kept is a member: its association stands.
    let mut kept = inventory;
    let entries = Arc::make_mut(kept.sources[0].entries.as_mut().unwrap());
    entries.get_mut(&Allocation::from(ip(3))).unwrap().standing =
        Standing::Unassociated { since: noon() };
    let kept = testing::snapshot(&config, &kept);
    assert_eq!(said(&kept, "vpc", "all.example.com."), both);
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    ElasticIp,
    Allocation,
    Role,
    RoleAndSite,
    Fixed,
}

#[derive(Debug, Clone)]
struct Bound {
    kind: Kind,
    /// Which address, allocation or role.
    what: u8,
    modes: [&'static str; 4],
    ttl: Option<u32>,
    source: Option<usize>,
    pin: Option<u8>,
    ipv6: bool,
    /// Has it records of other types beside its own?
    beside: bool,
}

fn bound() -> impl Strategy<Value = Bound> {
    let kind = prop_oneof![
        Just(Kind::ElasticIp),
        Just(Kind::Allocation),
        Just(Kind::Role),
        Just(Kind::RoleAndSite),
        Just(Kind::Fixed),
    ];
    let mode = || prop_oneof![Just("private"), Just("cname"), Just("public"), Just("none")];
    let modes = [mode(), mode(), mode(), mode()];
    let (source, pin) = (option::weighted(0.3, 0..SOURCES), option::weighted(0.1, 0..4u8));
    let rest = (option::of(1u32..9), source, pin, any::<bool>());
    (kind, 0..ADDRESSES, modes, rest, any::<bool>()).prop_map(
        |(kind, what, modes, (ttl, source, pin, ipv6), beside)| Bound {
            kind,
            what,
            modes,
            ttl,
            source,
            pin,
            ipv6,
            beside,
        },
    )
}

/// One entry of `[names]`. A CNAME stands alone, has one target, and is not
/// at the apex.
fn entry_text(name: &str, bound: &Bound) -> String {
    let mut text = format!("{name:?} = {{ ");
    let what = bound.what;
    let alone = !bound.beside && name != "@";
    let mut ec2 = true;
    let one = match bound.kind {
        Kind::ElasticIp => {
            write!(text, "elastic_ip = \"{}\"", ip(what)).unwrap();
            true
        }
        Kind::Allocation => {
            write!(text, "allocation_id = \"eipalloc-{what:08x}\"").unwrap();
            true
        }
        Kind::Role => {
            write!(text, "tag = {{ Role = \"r{}\" }}", what % 2).unwrap();
            false
        }
        Kind::RoleAndSite => {
            write!(text, "tag = {{ Role = \"r{}\", Site = \"x\" }}", what % 2).unwrap();
            false
        }
        Kind::Fixed => {
            write!(text, "address = [\"10.7.7.{what}\", \"fd00::{what}\"]").unwrap();
            ec2 = false;
            false
        }
    };
    let modes = VIEWS.iter().zip(bound.modes).map(|(view, mode)| match mode {
        "cname" if !(one && alone) => format!("{view} = \"public\""),
        mode => format!("{view} = \"{mode}\""),
    });
    write!(text, ", answer = {{ {} }}", modes.collect::<Vec<_>>().join(", ")).unwrap();
    if let Some(ttl) = bound.ttl {
        write!(text, ", ttl = {ttl}").unwrap();
    }
    if let Some(source) = bound.source.filter(|_| ec2) {
        write!(text, ", source = \"s{source}\"").unwrap();
    }
    if let Some(pin) = bound.pin.filter(|_| ec2) {
        write!(text, ", pin = \"10.0.0.{pin}\"").unwrap();
    }
    if bound.ipv6 && ec2 {
        text += ", ipv6 = true";
    }
    text + " }\n"
}

/// What `records` of the zone is, if anything.
#[derive(Debug, Clone, Copy)]
enum Files {
    None,
    /// One for all views.
    One,
    /// Two views have files of their own, the others none.
    Two,
}

fn config_of(names: &[Option<Bound>], files: Files, with_soa: bool) -> Config {
    let bound: Vec<_> =
        NAMES.iter().zip(names).filter_map(|(name, b)| Some((name, b.as_ref()?))).collect();
    let entries: String = bound.iter().map(|(name, b)| entry_text(name, b)).collect();
    let mut file = String::from("still A 10.8.8.8\nstill TXT \"still\"\n");
    for (name, _) in bound.iter().filter(|(_, b)| b.beside) {
        writeln!(file, "{name} MX 10 mail.example.org.\n{name} TXT \"beside\"").unwrap();
    }
    if with_soa {
        file = format!("@ 77 SOA ns1 hostmaster 7 60 50 40 30\n{file}");
    }
    let second = format!("{file}still TXT \"of another file\"\n");
    let records = match files {
        Files::None => "",
        Files::One => "records = \"one.zone\"\n",
        Files::Two => "records = { vpc = \"one.zone\", other = \"two.zone\" }\n",
    };
    testing::config(&[
        ("server.toml", SERVER),
        ("example.com.toml", &format!("{records}[names]\n{entries}")),
        ("one.zone", &file),
        ("two.zone", &second),
        ("sub.example.com.toml", "views = [\"vpc\"]\n[names]\ndb = \"198.51.100.1\"\n"),
        ("still.test.toml", "records = \"one.zone\"\n"),
    ])
}

/// What happens between one compilation and the next.
#[derive(Debug, Clone)]
enum Step {
    /// One address of a source: gone, or as given.
    Address(usize, u8, Option<Entry>),
    /// All addresses of a source at once; none: it never delivered.
    Source(usize, Option<Vec<Option<Entry>>>),
    Health(usize, Health),
    Region(usize, Option<String>),
    /// What a source says of an interface; none: nothing any longer.
    Interface(usize, u8, Option<Interface>),
    Time(u64),
}

fn entry() -> impl Strategy<Value = Entry> {
    let since = || (0u64..100).prop_map(|hours| noon() - Duration::from_secs(hours * 3600));
    let standing = prop_oneof![
        4 => Just(Standing::Live),
        1 => since().prop_map(|since| Standing::Unassociated { since }),
        1 => since().prop_map(|since| Standing::Missing { since }),
    ];
    let tags = (option::of(0..2u8), any::<bool>());
    // Most are reached from "peered", so that it often sees what others see.
    let private = prop_oneof![4 => 0..2u8, 1 => 2..4u8];
    let on = option::weighted(0.9, 0..INTERFACES);
    let ids = (option::weighted(0.8, 0..ADDRESSES), option::weighted(0.8, private), on);
    (ids, tags, standing, since()).prop_map(
        |((allocation, private, on), (role, site), standing, since)| {
            let role = role.map(|r| ("Role".to_string(), format!("r{r}")));
            let site = site.then(|| ("Site".to_string(), "x".to_string()));
            let address = Address {
                private_ip: private.map(|n| Ipv4Addr::new(10, 0, 0, n)),
                network_interface_id: private.and(on).map(|n| format!("eni-{n}")),
                tags: role.into_iter().chain(site).collect(),
                ..crate::source::testing::address(ip(0))
            };
            let id = allocation.map(|n| format!("eipalloc-{n:08x}"));
            let address = with_id(id.as_deref(), &address);
            Entry { address: address.into(), standing, since }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop_oneof![
        Just(Health::Starting),
        Just(Health::Healthy),
        Just(Health::Stalled { since: noon(), class: Class::Other, why: "a reason".into() }),
    ];
    let region = option::of(prop_oneof![Just("us-east-1"), Just("eu-west-1")]);
    prop_oneof![
        8 => (0..SOURCES, 0..ADDRESSES, option::weighted(0.8, entry()))
            .prop_map(|(source, n, entry)| Step::Address(source, n, entry)),
        2 => (0..SOURCES, option::weighted(0.8, addresses()))
            .prop_map(|(source, all)| Step::Source(source, all)),
        2 => (0..SOURCES, health).prop_map(|(source, health)| Step::Health(source, health)),
        1 => (0..SOURCES, region)
            .prop_map(|(source, region)| Step::Region(source, region.map(Into::into))),
        4 => (0..SOURCES, 0..INTERFACES, option::weighted(0.8, interface()))
            .prop_map(|(source, n, said)| Step::Interface(source, n, said)),
        2 => (1u64..100_000).prop_map(Step::Time),
    ]
}

/// What a source says of an interface, but for its id: a few addresses, one of them perhaps
/// the primary one.
fn interface() -> impl Strategy<Value = Interface> {
    let all = prop::collection::btree_set(0..4u16, 0..3);
    (all, option::of(any::<prop::sample::Index>())).prop_map(|(all, primary)| {
        let addresses: Vec<_> =
            all.into_iter().map(|n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n)).collect();
        let primary = primary.filter(|_| !addresses.is_empty());
        let primary = primary.map(|primary| *primary.get(&addresses));
        Interface { id: "".into(), addresses, primary }
    })
}

fn at(n: u8, mut entry: Entry) -> (Allocation, Entry) {
    let address = Arc::make_mut(&mut entry.address);
    match &mut address.identity {
        identity if n == EDGE => *identity = edge("eipalloc-00000004").identity,
        Identity::Public { public_ip, .. } => *public_ip = ip(n),
        Identity::Edge { .. } => {}
    }
    (address.allocation(), entry)
}

fn take(step: &Step, inventory: &mut Inventory, now: &mut SystemTime) {
    match step.clone() {
        Step::Address(source, n, entry) => {
            // A source that never delivered has no single address either.
            let Some(entries) = &mut inventory.sources[source].entries else { return };
            let entries = Arc::make_mut(entries);
            match entry {
                Some(entry) => entries.extend([at(n, entry)]),
                None if n == EDGE => drop(entries.remove(&edge("eipalloc-00000004").allocation())),
                None => drop(entries.remove(&Allocation::from(ip(n)))),
            }
        }
        Step::Source(source, all) => {
            inventory.sources[source].entries = all.map(entries_of);
            inventory.sources[source].delivered_at = Some(*now);
        }
        Step::Health(source, health) => inventory.sources[source].health = health,
        Step::Region(source, region) => inventory.sources[source].region = region,
        Step::Interface(source, n, said) => {
            let id: InterfaceId = format!("eni-{n}").into();
            let known = &mut inventory.sources[source].interfaces;
            match said {
                Some(said) => known.hear(&[Interface { id, ..said }]),
                None => *known = known.iter().filter(|(is, _)| **is != id).map(owned).collect(),
            }
        }
        Step::Time(seconds) => *now += Duration::from_secs(seconds),
    }
}

fn owned((id, ip): (&InterfaceId, Option<Ipv6Addr>)) -> (InterfaceId, Option<Ipv6Addr>) {
    (Arc::clone(id), ip)
}

/// What all sources say at first.
fn first_words() -> impl Strategy<Value = Inventory> {
    let source = (option::weighted(0.8, addresses()), any::<bool>());
    vec(source, SOURCES).prop_map(|all| {
        let source = |(id, (all, healthy)): (usize, (Option<_>, bool))| SourceInventory {
            name: format!("s{id}"),
            region: Some("us-east-1".into()),
            delivered_at: all.is_some().then(noon),
            entries: all.map(entries_of),
            interfaces: Default::default(),
            health: if healthy { Health::Healthy } else { Health::Starting },
        };
        all.into_iter().enumerate().map(source).collect::<Vec<_>>().into()
    })
}

/// Perhaps all addresses of a source, by number.
fn addresses() -> impl Strategy<Value = Vec<Option<Entry>>> {
    vec(option::of(entry()), usize::from(ADDRESSES))
}

fn entries_of(all: Vec<Option<Entry>>) -> Arc<Entries> {
    Arc::new((0u8..).zip(all).filter_map(|(n, entry)| Some(at(n, entry?))).collect())
}

fn records_of(node: &Node) -> Vec<Record> {
    let owner = node.key.to_name();
    node.rrsets.iter().flat_map(|set| set.records(&owner)).collect()
}

/// All that a node holds, in words.
fn words(node: &Node) -> String {
    let mut words = format!("{} {:?} {:?} {:x}", node.key, node.kind, node.basis, node.digest);
    for record in records_of(node) {
        write!(words, "\n  {record}").unwrap();
    }
    words
}

/// What is counted, counted anew; and every name is there that has to be, no other
/// (RFC 4592 section 2.2.2).
fn assert_consistent(zone: &ZoneTable) {
    let nodes: Vec<_> = zone.nodes.values().collect();
    let wildcards = nodes.iter().filter(|node| node.key.is_wildcard()).count();
    assert_eq!(zone.wildcards, wildcards);
    let mut children: BTreeMap<Key, u32> = BTreeMap::new();
    for above in nodes.iter().filter_map(|node| node.key.parent()) {
        if above != zone.zone.origin {
            assert!(zone.nodes.get(above.octets()).is_some(), "{above} is missing");
            *children.entry(above).or_default() += 1;
        }
    }
    let known: BTreeMap<Key, u32> =
        zone.children.iter().map(|(name, count)| (name.clone(), *count)).collect();
    assert_eq!(known, children);
    for node in nodes {
        let is_above = children.contains_key(&node.key);
        assert!(!node.is_empty_non_terminal() || is_above, "{} is not needed", node.key);
    }
}

fn table_words(zone: &ZoneTable) -> BTreeSet<String> {
    assert_consistent(zone);
    let resolved = zone.resolved.iter().map(|(name, is)| format!("{name} is {is:?}"));
    assert!(Arc::ptr_eq(zone.top.one().unwrap().node().unwrap(), &zone.apex));
    let nodes = zone.nodes.entries().chain(zone.top.one());
    let nodes = nodes.map(|entry| format!("{} {entry:?}", words(entry.node().unwrap())));
    let rest = format!("{} {:x} {} {}", zone.serial, zone.digest, zone.negative_soa, zone.own_soa);
    let denial = format!("{} {:?} {:?}", zone.wildcards, zone.negative, zone.denial);
    let children = zone.children.iter().map(|(name, count)| format!("{name} has {count}"));
    let beside = zone.beside.iter().map(|(name, sets)| format!("beside {name}: {sets:?}"));
    resolved.chain(nodes).chain(children).chain(beside).chain([rest, denial]).collect()
}

/// Every zone of every view.
pub(super) fn all_words(snapshot: &Snapshot) -> Vec<(String, BTreeSet<String>)> {
    let mut all = Vec::new();
    for view in &snapshot.views {
        for (origin, zone) in view.zones.iter() {
            all.push((format!("{origin} in {}", view.name), table_words(zone)));
        }
        for (name, overlay) in view.overlays.iter() {
            all.push((format!("{name} in {}", view.name), [format!("{overlay:?}")].into()));
        }
        let rewrites = view.rewrites.iter().map(|(old, new)| format!("{old} to {new:?}"));
        all.push((format!("rewrites in {}", view.name), rewrites.collect()));
        let pointers = view.reverse.pointers.iter().map(|(owner, all)| format!("{owner} {all:?}"));
        let crowded = view.reverse.crowded.iter().map(|owner| format!("{owner} is crowded"));
        all.push((format!("pointers in {}", view.name), pointers.chain(crowded).collect()));
    }
    all.sort();
    all
}

/// Every question of interest.
fn questions() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let below = |name: &&str| match *name {
        "@" => "example.com.".to_string(),
        name => format!("{name}.example.com."),
    };
    let names = NAMES.iter().chain(&ASKED).map(below);
    let others = ["db.sub.example.com.", "sub.example.com.", "still.test.", "still.still.test."];
    let public = (0..ADDRESSES).flat_map(|n| {
        let suffixes = ["compute-1.amazonaws.com.", "eu-west-1.compute.amazonaws.com."];
        suffixes.map(|suffix| format!("ec2-198-51-100-{n}.{suffix}"))
    });
    for name in names.chain(others.map(String::from)).chain(public) {
        for rtype in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
            all.push(question(&name, rtype));
        }
    }
    all
}

pub(super) fn question(name: &str, rtype: RecordType) -> Vec<u8> {
    let mut message = Message::new(9, MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(name.parse::<Name>().unwrap(), rtype));
    message.edns = Some(hickory_proto::op::Edns::new());
    message.to_vec().unwrap()
}

pub(super) fn answers(snapshot: &Snapshot, questions: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let asked = (0..snapshot.views.len()).flat_map(|view| questions.iter().map(move |q| (view, q)));
    let ask = |(view, question): (usize, &Vec<u8>)| {
        let mut reply = Vec::new();
        answer_in_view(snapshot, view, question, &mut (), &mut reply);
        reply
    };
    asked.map(ask).collect()
}

/// What [`changes`] should say, found by looking at everything. First answers are none.
fn all_changes(old: &Snapshot, new: &Snapshot) -> BTreeSet<[String; 4]> {
    let mut all = BTreeSet::new();
    for (was, is) in old.views.iter().zip(&new.views) {
        for (origin, table) in is.zones.iter() {
            for (name, now) in table.resolved.iter() {
                let then =
                    was.zones.get(origin.octets()).unwrap().resolved.get(name.octets()).unwrap();
                let is_first = then.data == Data::NotReady && !matches!(now.data, Data::Nothing(_));
                if then.data != now.data && !is_first {
                    let (old, new) = (then.data.to_string(), now.data.to_string());
                    all.insert([is.name.to_string(), name.to_string(), old, new]);
                }
            }
        }
    }
    all
}

/// Every zone of every view: its serial, and its content without that.
fn contents(snapshot: &Snapshot) -> BTreeMap<(String, String), (u32, bool, BTreeSet<String>)> {
    let mut all = BTreeMap::new();
    for view in &snapshot.views {
        for (origin, zone) in view.zones.iter() {
            let nodes = zone.nodes.values().chain([&zone.apex]);
            let said = nodes.flat_map(|node| records_of(node)).map(|record| match &record.data {
                RData::SOA(soa) => {
                    let mut soa = soa.clone();
                    soa.serial = 0;
                    format!("{} {} {soa}", record.name, record.ttl)
                }
                _ => record.to_string(),
            });
            let of_file = zone.own_soa && zone.zone.names.is_empty();
            let content = (zone.serial, of_file, said.collect());
            all.insert((origin.to_string(), view.name.to_string()), content);
        }
    }
    all
}

fn files() -> impl Strategy<Value = Files> {
    prop_oneof![Just(Files::None), Just(Files::One), Just(Files::Two)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In each view a serial moves when what is seen there does, only then, and
    /// only forward; be it after restarts, with the clock set back.
    #[test]
    fn no_serial_goes_back_and_equal_content_keeps_its_own(
        names in vec(option::weighted(0.7, bound()), NAMES.len()),
        files in files(),
        with_soa in any::<bool>(),
        mut inventory in first_words(),
        steps in vec((step(), any::<bool>(), 0u64..100_000), 1..12),
    ) {
        let config = config_of(&names, files, with_soa);
        let mut now = noon();
        let mut serials = Serials::default();
        let mut previous: Option<Snapshot> = None;
        let mut known = BTreeMap::new();
        for (step, restarts, back) in steps {
            take(&step, &mut inventory, &mut now);
            if restarts {
                serials = Serials::restored(&serials.kept());
                previous = None;
                now -= Duration::from_secs(back);
            }
            let input =
                Input { config: &config, epoch: 1, inventory: &inventory, addresses: &[], now, drift: Drift::NONE };
            let next = compile(&input, &mut serials, previous.as_ref());
            let is = contents(&next);
            for (of, (serial, of_file, content)) in &is {
                let Some((was, _, before)) = known.get(of) else { continue };
                let ahead = serial.wrapping_sub(*was) as i32;
                if content == before {
                    prop_assert_eq!(ahead, 0, "{:?} has a new serial", of);
                } else {
                    prop_assert!(ahead > 0 || *of_file, "{:?} goes on by {}", of, ahead);
                }
            }
            known = is;
            previous = Some(next);
        }
    }

    /// Whatever happens, in whatever order: what is made from the snapshot
    /// before is what would be made from nothing.
    #[test]
    fn step_by_step_is_as_from_nothing(
        mut names in vec(option::weighted(0.7, bound()), NAMES.len()),
        alike in any::<bool>(),
        files in files(),
        with_soa in any::<bool>(),
        mut inventory in first_words(),
        steps in vec(step(), 1..12),
    ) {
        if alike {
            // Views that see the same, for as long as all can be reached.
            for bound in names.iter_mut().flatten() {
                bound.modes = [bound.modes[0], bound.modes[0], bound.modes[2], bound.modes[0]];
            }
        }
        let config = config_of(&names, files, with_soa);
        let addresses = [IpAddr::from([127, 0, 0, 1])];
        let questions = questions();
        let mut now = noon();
        let mut serials = Serials::default();
        let mut previous: Option<Snapshot> = None;
        for step in [None].into_iter().chain(steps.iter().map(Some)) {
            if let Some(step) = step {
                take(step, &mut inventory, &mut now);
            }
            let input =
                Input { config: &config, epoch: 1, inventory: &inventory, addresses: &addresses, now, drift: Drift::NONE };
            let mut fresh_serials = serials.clone();
            let fresh = compile(&input, &mut fresh_serials, None);
            let next = compile(&input, &mut serials, previous.as_ref());
            prop_assert_eq!(&serials, &fresh_serials);
            prop_assert_eq!(all_words(&next), all_words(&fresh));
            prop_assert_eq!(&next.sources, &fresh.sources);
            prop_assert!(answers(&next, &questions) == answers(&fresh, &questions), "octets differ");
            if let Some(previous) = &previous {
                let said: BTreeSet<_> = changes(&config, previous, &next)
                    .names
                    .into_iter()
                    .flat_map(|c| c.views.into_iter().map(move |v| [v, c.name.clone(), c.old.clone(), c.new.clone()]))
                    .collect();
                prop_assert_eq!(said, all_changes(previous, &next));
            }
            previous = Some(next);
        }
    }
}

/// A configuration with many names, and the inventory it starts with.
fn many(count: u16) -> (Config, Inventory) {
    let name = |n: u16| format!("h{n} = \"52.0.{}.{}\"\n", n >> 8, n & 255);
    let names: String = (0..count).map(name).collect();
    let config = testing::config(&[
        ("server.toml", testing::SERVER),
        ("example.com.toml", &format!("[names]\n{names}")),
        ("still.test.toml", "[names]\na = { address = \"10.0.0.1\" }\n"),
    ]);
    let all: Vec<_> = (0..count)
        .map(|n| (Ipv4Addr::new(52, 0, (n >> 8) as u8, n as u8), Some(Ipv4Addr::new(10, 9, 0, 1))))
        .collect();
    (config, testing::inventory(&all))
}

#[test]
fn a_move_shares_all_that_it_does_not_touch() {
    let (config, mut inventory) = many(2_000);
    let mut serials = Serials::default();
    let before = testing::after(&config, &inventory, &mut serials, None);
    let entries = Arc::make_mut(inventory.sources[0].entries.as_mut().unwrap());
    let moved =
        &mut entries.get_mut(&Allocation::from(Ipv4Addr::new(52, 0, 1, 0))).unwrap().address;
    Arc::make_mut(moved).private_ip = Some(Ipv4Addr::new(10, 9, 0, 2));
    let after = testing::after(&config, &inventory, &mut serials, Some(&before));
    assert!(Arc::ptr_eq(&before.selector, &after.selector));
    let zone = |snapshot: &Snapshot, view: usize, origin: &str| {
        Arc::clone(
            snapshot.views[view]
                .zones
                .get(crate::dns::name::Key::parse(origin, None).unwrap().octets())
                .unwrap(),
        )
    };
    for view in 0..3 {
        let still = [&before, &after].map(|s| zone(s, view, "still.test"));
        assert!(Arc::ptr_eq(&still[0], &still[1]), "a zone without moves");
        let [was, is] = [&before, &after].map(|s| zone(s, view, "example.com"));
        let is_new =
            |node: &&Arc<Node>| !Arc::ptr_eq(was.nodes.get(node.key.octets()).unwrap(), node);
        let new: Vec<_> =
            is.nodes.values().filter(is_new).map(|node| node.key.to_string()).collect();
        // Outside, a CNAME stands for the address whoever holds it; and 10.9
        // is not reached from "peered".
        let expected: &[&str] = if view == 0 { &["h256.example.com."] } else { &[] };
        assert_eq!(new, expected, "view {view}");
        let (shared, all) = is.nodes.shared(&was.nodes);
        assert!(shared + 1 >= all && all > 2, "{shared} of {all} sheets are shared");
    }
}

/// Views in which public EC2 names are answered, by what they see of them.
fn overlaid_server() -> String {
    let forwards = "forward = true\nrewrite = true\n";
    let half = format!("reaches = [\"10.9.0.1/32\"]\n{forwards}");
    [
        testing::HEAD.to_owned(),
        testing::view("one", "10.0.0.0/16", "private") + forwards,
        testing::view("as-one", "10.1.0.0/16", "cname") + forwards,
        testing::view("half", "10.2.0.0/16", "private") + &half,
        testing::view("public", "10.3.0.0/16", "public") + &half,
        testing::view("with-a-zone", "10.4.0.0/16", "private") + forwards,
        testing::view("none", "10.5.0.0/16", "private"),
    ]
    .concat()
}

const ONE: usize = 0;
const AS_ONE: usize = 1;
const HALF: usize = 2;
const PUBLIC: usize = 3;
const WITH_A_ZONE: usize = 4;

fn overlaid(count: u16) -> (Config, Inventory) {
    let config = testing::config(&[
        ("server.toml", &overlaid_server()),
        ("example.com.toml", "[names]\na = \"52.0.0.0\"\n"),
        // Below and beside names of EC2: these are of no concern to the layers.
        ("x.ec2-52-0-0-1.compute-1.amazonaws.com.toml", "[names]\na = \"52.0.0.0\"\n"),
        (
            "ec2-52-0-0-2.compute-1.amazonaws.com.toml",
            "views = [\"with-a-zone\"]\n[names]\na = \"52.0.0.0\"\n",
        ),
    ]);
    let private = |n: u16| Ipv4Addr::new(10, 9, 0, 1 + (n % 2) as u8);
    let all: Vec<_> = (0..count)
        .map(|n| (Ipv4Addr::new(52, 0, (n >> 8) as u8, n as u8), Some(private(n))))
        .collect();
    (config, testing::inventory(&all))
}

fn ec2_key(ip: [u8; 4]) -> Key {
    let [a, b, c, d] = ip;
    Key::parse(&format!("ec2-{a}-{b}-{c}-{d}.compute-1.amazonaws.com"), None).unwrap()
}

fn moved(inventory: &mut Inventory, ip: [u8; 4], private: [u8; 4]) {
    let entries = Arc::make_mut(inventory.sources[0].entries.as_mut().unwrap());
    let entry = entries.get_mut(&Allocation::from(Ipv4Addr::from(ip))).unwrap();
    entry.since += Duration::from_secs(60);
    Arc::make_mut(&mut entry.address).private_ip = Some(private.into());
}

#[test]
fn views_that_see_the_same_share_a_map_of_overlay_zones() {
    let (config, mut inventory) = overlaid(1_000);
    let mut serials = Serials::default();
    let first = testing::after(&config, &inventory, &mut serials, None);
    moved(&mut inventory, [52, 0, 1, 1], [10, 9, 0, 1]);
    let second = testing::after(&config, &inventory, &mut serials, Some(&first));
    let of = |snapshot: &Snapshot, view: usize, ip: [u8; 4]| {
        snapshot.views[view].overlays.get(ec2_key(ip).octets()).cloned()
    };
    let is_same = |snapshot: &Snapshot, a: usize, b: usize, ip: [u8; 4]| {
        of(snapshot, a, ip).unwrap() == of(snapshot, b, ip).unwrap()
    };
    for snapshot in [&first, &second] {
        let map = |view: usize| &snapshot.views[view].overlays;
        assert_eq!(map(ONE).len(), 1_000);
        assert_eq!(map(ONE).unshared(map(AS_ONE)).count(), 0, "one map");
        let last = [52, 0, 3, 231];
        assert!(is_same(snapshot, ONE, HALF, [52, 0, 0, 2]));
        assert!(!is_same(snapshot, ONE, HALF, last) && is_same(snapshot, PUBLIC, HALF, last));
        assert!(!is_same(snapshot, ONE, PUBLIC, last));
        assert!(is_same(snapshot, ONE, WITH_A_ZONE, last));
        assert!(of(snapshot, WITH_A_ZONE, [52, 0, 0, 2]).is_none(), "left to the zone");
        assert!(map(5).is_empty());
        assert!(snapshot.views[ONE].rewrites.ptr_eq(&snapshot.views[AS_ONE].rewrites));
    }
    // What was moved is new, and of the rest all but what is stored beside it.
    for view in [ONE, AS_ONE, HALF, WITH_A_ZONE] {
        let (was, is) = (&first.views[view].overlays, &second.views[view].overlays);
        let new = is
            .iter()
            .filter(|(name, overlay)| was.get(name.octets()).is_none_or(|known| known != *overlay));
        let new: Vec<_> = new.map(|(name, _)| name.clone()).collect();
        assert_eq!(new, [ec2_key([52, 0, 1, 1])], "view {view}");
        let copied = is.unshared(was).count();
        assert!((1..300).contains(&copied), "{copied} of 1000 are not shared");
    }
    assert!(!is_same(&first, ONE, HALF, [52, 0, 1, 1]));
    assert!(is_same(&second, ONE, HALF, [52, 0, 1, 1]), "now both reach it");
    // Serials grow with every move, also where the address stays what it was.
    let serial = |s: &Snapshot, view| of(s, view, [52, 0, 1, 1]).unwrap().serial;
    for view in [ONE, PUBLIC] {
        assert_eq!(serial(&second, view), serial(&first, view) + 60, "view {view}");
    }
}

#[test]
fn a_view_that_does_not_change_keeps_its_serial_and_its_table() {
    let (config, mut inventory) = many(3);
    let mut serials = Serials::default();
    let before = testing::after(&config, &inventory, &mut serials, None);
    // Outside, a CNAME stands for the address whoever holds it; and 10.9 is not
    // reached from "peered".
    moved(&mut inventory, [52, 0, 0, 1], [10, 9, 0, 2]);
    let after = testing::after(&config, &inventory, &mut serials, Some(&before));
    let origin = Key::parse("example.com", None).unwrap();
    let table =
        |s: &Snapshot, view: usize| Arc::clone(s.views[view].zones.get(origin.octets()).unwrap());
    let serial = |s: &Snapshot, view| table(s, view).serial;
    assert!(serial(&after, 0) > serial(&before, 0));
    for view in [1, 2] {
        assert!(Arc::ptr_eq(&table(&after, view), &table(&before, view)), "view {view}");
    }
    let restored = Serials::restored(&serials.kept());
    let again = testing::after(&config, &inventory, &mut restored.clone(), None);
    for view in 0..3 {
        assert_eq!(serial(&again, view), serial(&after, view), "view {view} after a restart");
    }
}

#[test]
fn views_that_come_to_see_the_same_differ_in_serial_only() {
    let (config, mut inventory) = many(200);
    let mut serials = Serials::default();
    testing::after(&config, &inventory, &mut serials, None);
    // "vpc" moves once more than "peered", to which all of this is one address.
    for private in [[10, 9, 0, 2], [10, 9, 0, 3]] {
        moved(&mut inventory, [52, 0, 0, 7], private);
        testing::after(&config, &inventory, &mut serials, None);
    }
    // Now all can be reached from "peered", too.
    for n in 0..200 {
        moved(&mut inventory, [52, 0, 0, n], [10, 0, 0, 1]);
    }
    let fresh = testing::after(&config, &inventory, &mut serials, None);
    let origin = Key::parse("example.com", None).unwrap();
    let [vpc, peered] = [0, 1].map(|view| fresh.views[view].zones.get(origin.octets()).unwrap());
    assert!(vpc.serial > peered.serial, "{} and {}", vpc.serial, peered.serial);
    assert_eq!(vpc.digest, peered.digest);
    let (shared, all) = vpc.nodes.shared(&peered.nodes);
    assert_eq!(shared, all, "all but the apex is shared");
}

#[test]
fn views_that_differ_in_a_name_share_what_stands_in_their_file() {
    let names: String = (0..1_000).map(|n| format!("h{n} A 10.1.0.1\n")).collect();
    let zone = "records = \"one.zone\"\n[names]\na = \"198.51.100.1\"\n";
    let config = testing::config(&[
        ("server.toml", testing::SERVER),
        ("example.com.toml", zone),
        ("one.zone", &names),
    ]);
    let private = Some(Ipv4Addr::new(10, 0, 0, 1));
    let snapshot = testing::snapshot(&config, &testing::inventory(&[(ip(1), private)]));
    let origin = Key::parse("example.com", None).unwrap();
    let [vpc, outside] =
        [0, 2].map(|view| snapshot.views[view].zones.get(origin.octets()).unwrap());
    assert_ne!(vpc.digest, outside.digest);
    let (shared, all) = vpc.nodes.shared(&outside.nodes);
    assert!(shared + 1 == all && all > 10, "{shared} of {all} sheets are shared");
}

#[test]
fn a_zone_of_the_view_wins_over_an_overlay_zone_above_it() {
    let (config, inventory) = overlaid(3);
    let snapshot = testing::snapshot(&config, &inventory);
    let origin = |view: usize, name: &str| {
        let key = Key::parse(name, None).unwrap();
        let origin = snapshot.views[view].authority_of(key.octets())?.origin().to_vec();
        Some(Key::from_folded(&origin).to_string())
    };
    let suffix = "compute-1.amazonaws.com.";
    let of = |name: &str| Some(format!("{name}.{suffix}"));
    let below = format!("a.x.ec2-52-0-0-1.{suffix}");
    assert_eq!(origin(ONE, &below), of("x.ec2-52-0-0-1"));
    assert_eq!(origin(ONE, &format!("y.ec2-52-0-0-1.{suffix}")), of("ec2-52-0-0-1"));
    assert_eq!(origin(ONE, &format!("ec2-52-0-0-9.{suffix}")), None);
    assert_eq!(origin(WITH_A_ZONE, &format!("a.ec2-52-0-0-2.{suffix}")), of("ec2-52-0-0-2"));
}

#[test]
fn another_configuration_is_compiled_as_a_whole() {
    let (first, inventory) = many(3);
    let (second, _) = many(4);
    let mut serials = Serials::default();
    let before = testing::after(&first, &inventory, &mut serials, None);
    // The fourth name's address is in no source: found out only if looked for.
    let after = testing::after(&second, &inventory, &mut serials.clone(), Some(&before));
    let fresh = testing::after(&second, &inventory, &mut serials, None);
    assert_eq!(all_words(&after), all_words(&fresh));
}

/// An id may be said of two addresses, and each of these by two sources.
#[test]
fn each_elastic_ip_is_answered_once_whatever_names_it() {
    let zone = "[names]\nid = \"eipalloc-0000000a\"\nset = { tag = { Role = \"db\" } }\n";
    let config = testing::config(&[("server.toml", SERVER), ("example.com.toml", zone)]);
    let of = |last: [u8; 2]| {
        let ip = |n| Ipv4Addr::new(198, 51, 100, n);
        let private = |n| Some(Ipv4Addr::new(10, 0, 0, n));
        let both = [(ip(1), private(last[0])), (ip(2), private(last[1]))];
        let mut source = testing::inventory(&both).sources.remove(0);
        let entries = Arc::make_mut(source.entries.as_mut().unwrap());
        for n in [1, 2] {
            let entry = entries.get_mut(&Allocation::from(ip(n))).unwrap();
            entry.address = with_id(Some("eipalloc-0000000a"), &entry.address).into();
        }
        source
    };
    let mut stalled = of([8, 9]);
    stalled.health = Health::Stalled { since: noon(), class: Class::Other, why: "a test".into() };
    let silent = SourceInventory { entries: None, ..of([0, 0]) };
    let inventory = Inventory::from(vec![stalled, of([1, 2]), silent]);
    let snapshot = testing::snapshot(&config, &inventory);
    let zone = snapshot.views[0].zones.values().next().unwrap();
    for name in ["id.example.com", "set.example.com"] {
        let name = Key::parse(name, None).unwrap();
        let data = &zone.resolved.get(name.octets()).unwrap().data;
        assert_eq!(data.to_string(), "10.0.0.1 10.0.0.2", "{name}");
    }
}
