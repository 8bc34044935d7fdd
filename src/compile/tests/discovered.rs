//! Names from tags: with or without a previous snapshot, the same answers.

use super::*;
use crate::source::discover::{Answered, Remembered, Rules};

const SERVER: &str = r#"
[listen]
dns = ["127.0.0.1:0"]
[serve]
max_stale = "1h"

[[source]]
name = "s0"
type = "ec2"
region = "us-east-1"
[[source]]
name = "s1"
type = "ec2"
region = "eu-west-1"

[[view]]
name = "vpc"
clients = ["10.0.0.0/8"]
answer = "private"
[[view]]
name = "peered"
clients = ["10.9.0.0/16"]
answer = "private"
reaches = ["10.0.0.0/31"]
[[view]]
name = "outside"
clients = ["192.0.2.0/24"]
answer = "cname"
"#;

const RECORDS: &str = "@ MX 10 a\na MX 10 b\ntext TXT \"t\"\nstill A 10.8.8.8\n*.s TXT \"star\"\n\
    cut NS ns.cut\nns.cut A 10.8.8.1\ndn DNAME elsewhere.test.\nt.u.v TXT \"t\"\nal CNAME db\n";

const TAGS: [&str; 10] = [
    "",
    "db",
    "db web",
    "@ *",
    "*.w q.w",
    "x.y.z y.z",
    "text a own",
    "still cut k.cut dn k.dn q.s",
    "u.v/db.one.test",
    "db.two.test. a..b",
];

const ASKED: [&str; 23] = [
    "@", "pool", "db", "web", "q", "w", "q.w", "r.w", "x.y.z", "y.z", "z", "text", "a", "own",
    "still", "cut", "k.cut", "k.dn", "q.s", "r.s", "u.v", "v", "al",
];

/// One address in an answer: its number, its tag, where it is, and how it stands.
type Said = (u8, usize, Option<u8>, bool);

#[derive(Debug, Clone)]
enum Event {
    Answer(usize, Vec<Said>),
    Fails(usize),
    Time(u64),
}

fn said() -> impl Strategy<Value = Vec<Said>> {
    let one = (0..TAGS.len(), option::weighted(0.8, 0u8..3), prop::bool::weighted(0.8));
    vec(option::weighted(0.7, one), 4).prop_map(|all| {
        let all = (0u8..).zip(all).filter_map(|(n, one)| Some((n, one?)));
        all.map(|(n, (tag, to, live))| (n, tag, to, live)).collect()
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0usize..2, said()).prop_map(|(source, said)| Event::Answer(source, said)),
        1 => (0usize..2).prop_map(Event::Fails),
        2 => prop_oneof![Just(7u64), Just(31), Just(1_000), Just(90_000)].prop_map(Event::Time),
    ]
}

/// With the association of its address, so that what is kept is as it was. The last address
/// of each source has no public one.
fn entry(source: usize, (n, tag, to, live): &Said, at: SystemTime) -> Entry {
    let private = to.map(|to| Ipv4Addr::new(10, 0, 0, to));
    let ip = Ipv4Addr::new(198, 51, 100, source as u8 * 10 + n);
    let mut entry = match n {
        3 => testing::edge_entry(&format!("eipalloc-0{source}"), private),
        _ => testing::entry(ip, private),
    };
    Arc::make_mut(&mut entry.address).tags = [("dns-name", TAGS[*tag])].into();
    if !live {
        entry.standing = Standing::Unassociated { since: at };
    }
    entry
}

struct Given {
    rules: Rules,
    inventory: Inventory,
    now: SystemTime,
}

impl Given {
    fn happens(&mut self, event: &Event) {
        match event {
            Event::Time(seconds) => self.now += Duration::from_secs(*seconds),
            Event::Fails(id) => {
                let source = &mut self.inventory.sources[*id];
                source.health =
                    Health::Stalled { since: self.now, class: Class::Other, why: "test".into() };
            }
            Event::Answer(id, said) => {
                self.now += Duration::from_secs(1);
                let entry = |said| {
                    let entry = entry(*id, said, self.now);
                    (entry.address.allocation(), entry)
                };
                let entries: Entries = said.iter().map(entry).collect();
                let source = &mut self.inventory.sources[*id];
                source.entries = Some(entries.into());
                (source.health, source.delivered_at) = (Health::Healthy, Some(self.now));
                let answered = Answered { source: *id, accept_losses: false };
                self.inventory.discover(&self.rules, Some(answered), &Remembered::new(), self.now);
            }
        }
    }
}

fn config_of(sets: bool, outside: &str) -> Config {
    let one = format!(
        "records = \"one.zone\"\n[names]\nown = \"198.51.100.1\"\n\
         pool = {{ tag = {{ dns-name = \"db web\" }} }}\n[discover]\n\
         tag = \"dns-name\"\napex_and_wildcards = true\n{outside}"
    );
    let two = format!("[discover]\ntag = \"dns-name\"\nsource = \"s1\"\nsets = {sets}\n");
    testing::config(&[
        ("server.toml", SERVER),
        ("one.test.toml", one.as_str()),
        ("one.zone", RECORDS),
        ("two.test.toml", two.as_str()),
    ])
}

fn silent(name: &str, region: &str) -> SourceInventory {
    let (name, region) = (name.into(), Some(region.into()));
    SourceInventory {
        name,
        region,
        entries: None,
        interfaces: Default::default(),
        health: Health::Starting,
        delivered_at: None,
    }
}

fn given(config: &Config) -> Given {
    let sources = vec![silent("s0", "us-east-1"), silent("s1", "eu-west-1")];
    Given { rules: Rules::of(config), inventory: sources.into(), now: noon() }
}

fn questions() -> Vec<Vec<u8>> {
    let below = |zone: &'static str| {
        ASKED.iter().map(move |name| match *name {
            "@" => format!("{zone}.test."),
            name => format!("{name}.{zone}.test."),
        })
    };
    let types = [RecordType::A, RecordType::TXT, RecordType::CNAME];
    let names = below("one").chain(below("two"));
    names.flat_map(|name| types.map(|rtype| question(&name, rtype))).collect()
}

/// Names that are laid into a zone in a view.
fn laid(snapshot: &Snapshot, view: usize, zone: &str) -> BTreeSet<String> {
    let origin = Key::parse(zone, None).unwrap();
    let table = snapshot.views[view].zones.get(origin.octets()).unwrap();
    table.resolved.iter().map(|(name, _)| name.to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However names come and go, are held and wanted by several: what is made from the
    /// snapshot before is what would be made from nothing. And each name that a tag gives
    /// has a place in one view at least, unless it is answered nowhere.
    #[test]
    fn names_that_come_and_go_are_as_from_nothing(
        sets in any::<bool>(),
        outside in prop::sample::select(&["", "answer = { outside = \"none\" }\n", "answer = \"private\"\n"][..]),
        events in vec(event(), 1..14),
    ) {
        let config = config_of(sets, outside);
        let (mut given, questions) = (given(&config), questions());
        let mut serials = Serials::default();
        let mut previous: Option<Snapshot> = None;
        for event in &events {
            given.happens(event);
            let Given { inventory, now, .. } = &given;
            let input =
                Input { config: &config, epoch: 1, inventory, addresses: &[], now: *now, drift: Drift::NONE };
            let mut fresh_serials = serials.clone();
            let fresh = compile(&input, &mut fresh_serials, None);
            let next = compile(&input, &mut serials, previous.as_ref());
            prop_assert_eq!(&serials, &fresh_serials);
            prop_assert_eq!(all_words(&next), all_words(&fresh));
            prop_assert_eq!(&next.sources, &fresh.sources);
            prop_assert!(answers(&next, &questions) == answers(&fresh, &questions), "octets differ");
            let all: BTreeSet<String> =
                (0..3).flat_map(|view| [laid(&next, view, "one.test"), laid(&next, view, "two.test")]).flatten().collect();
            let mut known: BTreeSet<String> =
                inventory.discovered.names.keys().map(ToString::to_string).collect();
            known.extend(["own.one.test.".into(), "pool.one.test.".into()]);
            prop_assert_eq!(all, known);
            if let Some(previous) = &previous {
                changes(&config, previous, &next);
            }
            previous = Some(next);
        }
    }
}

/// A name from a tag that moves, comes and goes gives the views that see it, and no
/// other, a new serial.
#[test]
fn each_view_has_a_new_serial_for_what_it_sees() {
    let config = config_of(false, "answer = { outside = \"none\" }\n");
    let mut given = given(&config);
    let mut serials = Serials::default();
    let mut previous: Option<Snapshot> = None;
    let mut serial = |said: &[Said]| {
        given.happens(&Event::Answer(0, said.to_vec()));
        let Given { inventory, now, .. } = &given;
        let input = Input {
            config: &config,
            epoch: 1,
            inventory,
            addresses: &[],
            now: *now,
            drift: Drift::NONE,
        };
        let next = compile(&input, &mut serials, previous.as_ref());
        let origin = Key::parse("one.test", None).unwrap();
        let all = [0, 1, 2].map(|view| next.views[view].zones.get(origin.octets()).unwrap().serial);
        previous = Some(next);
        all
    };
    // `own` is not ready before, and the first word of a source is another content.
    serial(&[]);
    let first = serial(&[(1, 0, Some(1), true)]);
    let named = serial(&[(1, 1, Some(1), true)]);
    assert!(named[0] != first[0] && named[1] != first[1] && named[2] == first[2]);
    // The tag is gone: it is held, and that is no change.
    let held = serial(&[(1, 0, Some(1), true)]);
    assert_eq!(held, named);
    // It moves where it is not reached: the Elastic IP is answered there before and after.
    let moved = serial(&[(1, 0, Some(1), true), (2, 1, Some(2), true)]);
    assert!(moved[0] != held[0] && moved[1] != held[1] && moved[2] == held[2]);
}
