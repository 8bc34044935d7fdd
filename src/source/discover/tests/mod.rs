//! Who has a name, row by row of what is promised; `model` tries all orders of events,
//! `bounds` what there is too much of.

mod bounds;
mod model;
mod values;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::source::accept::STALE_READ;
use crate::source::inventory::{Address, Entries, Standing};
use crate::source::tags::Tags;
use crate::source::testing::address;
use crate::testing;

const EAST: SourceId = 0;
const WEST: SourceId = 1;
const FILE: SourceId = 2;

const SERVER: &str = r#"
[listen]
dns = ["127.0.0.1:0"]
[guard]
hold = "30s"
missing_hold = "300s"
release_after = "900s"

[[source]]
name = "east"
type = "ec2"
region = "us-east-1"
[[source]]
name = "west"
type = "ec2"
region = "us-west-2"
[[source]]
name = "file"
type = "file"
path = "addresses.json"
region = "us-east-1"

[[view]]
name = "vpc"
clients = ["10.0.0.0/8"]
answer = "private"
[[view]]
name = "outside"
clients = ["192.0.2.0/24"]
answer = "cname"
"#;

/// Of two zones that discover, the second with sets.
const ZONES: [(&str, &str); 2] = [
    ("one.test.toml", "[discover]\ntag = \"dns-name\"\n"),
    ("set.test.toml", "[discover]\ntag = \"dns-name\"\nsets = true\nhold = \"60s\"\n"),
];

fn config(files: &[(&str, &str)]) -> Config {
    let server = [("server.toml", SERVER)];
    testing::config(&[&server, files].concat())
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, n)
}

/// Address `n` with a tag, associated or not.
fn entry(n: u8, tag: &str, associated: bool) -> Entry {
    let private_ip = associated.then(|| Ipv4Addr::new(10, 0, 0, n));
    let tags = match tag {
        "" => Tags::default(),
        value => [("dns-name", value)].into(),
    };
    let association_id = associated.then(|| format!("eipassoc-{n}"));
    let address = Address { private_ip, association_id, tags, ..address(ip(n)) };
    Entry { address: address.into(), standing: Standing::Live, since: at(0) }
}

/// Associated.
fn good(n: u8, tag: &str) -> Entry {
    entry(n, tag, true)
}

/// Associated no longer, and kept.
fn kept(n: u8, tag: &str) -> Entry {
    Entry { standing: Standing::Unassociated { since: at(0) }, ..entry(n, tag, true) }
}

fn idle(n: u8, tag: &str) -> Entry {
    entry(n, tag, false)
}

fn entries(all: &[Entry]) -> Arc<Entries> {
    Arc::new(all.iter().map(|entry| (entry.address.allocation(), entry.clone())).collect())
}

/// What is known, and how it came to be.
struct World {
    rules: Rules,
    sources: Vec<Option<Arc<Entries>>>,
    known: Discovered,
    now: u64,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let config = config(files);
        let sources = vec![Some(Arc::default()); config.server.sources.len()];
        Self { rules: Rules::of(&config), sources, known: Discovered::default(), now: 0 }
    }

    /// A good answer of a source, `seconds` from the beginning.
    fn says(&mut self, seconds: u64, source: SourceId, all: &[Entry]) {
        self.said(seconds, source, all, false);
    }

    fn said(&mut self, seconds: u64, source: SourceId, all: &[Entry], accept_losses: bool) {
        let said = entries(all);
        if self.sources[source].as_ref() != Some(&said) {
            self.sources[source] = Some(said);
        }
        self.now = seconds;
        self.look(Some(Answered { source, accept_losses }), &Remembered::new());
    }

    fn look(&mut self, answered: Option<Answered>, remembered: &Remembered) {
        let by = answered.map(|answered| answered.source);
        let now =
            Now { rules: &self.rules, sources: &self.sources, at: at(self.now), answered: by };
        self.known = discover(&self.known, &now, answered, remembered);
    }

    /// Begins anew with what is remembered of names.
    fn again(&mut self, seconds: u64, remembered: &Remembered) {
        let released: Vec<_> = (0..self.sources.len()).map(|id| self.known.released(id)).collect();
        self.known = Discovered::default();
        for (id, released) in released.into_iter().enumerate() {
            self.known.remember_released(id, released);
        }
        self.now = seconds;
        self.look(None, remembered);
    }

    /// What a restart finds.
    fn state(&self) -> Remembered {
        let of = |id| self.known.notable(id).into_iter().map(move |(name, m)| (name, (id, m)));
        (0..self.sources.len()).flat_map(of).collect()
    }

    /// Source and last octet of all that have a name; with `-` where no tag says so.
    fn has(&self, name: &str) -> String {
        let name = Key::parse(name, None).unwrap();
        let Some(named) = self.known.names.get(&name) else { return "nobody".into() };
        let member = |member: &Member| {
            let [.., last] = member.entry.address.public_ip().unwrap().octets();
            format!("{}{last}{}", ["east", "west", "file"][member.source], held(member.tagged))
        };
        named.members.iter().map(member).collect::<Vec<_>>().join(" ")
    }

    fn problems(&self) -> Vec<(Kind, String)> {
        let of = |problem: &Problem| (problem.kind, problem.name.to_string());
        self.known.problems().map(of).collect()
    }

    fn wakes_at(&self, source: SourceId) -> Option<u64> {
        let at_least = self.known.losses[source].wake_at?;
        Some(at_least.duration_since(at(0)).unwrap().as_secs())
    }
}

fn held(tagged: bool) -> &'static str {
    if tagged { "" } else { "-" }
}

const DB: &str = "db.one.test";
const POOL: &str = "db.set.test";

#[test]
fn whoever_has_a_name_keeps_it_while_it_is_tagged_and_associated() {
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(2, "db")]);
    assert_eq!((world.has(DB), world.problems()), ("east2".into(), vec![]));
    // A lower address comes later.
    world.says(1, EAST, &[good(1, "db"), good(2, "db")]);
    assert_eq!(world.has(DB), "east2");
    assert_eq!(world.problems(), [(Kind::SecondAddress, "db.one.test.".into())]);
    assert_eq!(world.has(POOL), "east1 east2", "with sets all are answered");
    // create, then delete: it moves at the delete.
    world.says(2, EAST, &[good(1, "db"), good(2, "")]);
    assert_eq!((world.has(DB), world.problems()), ("east1".into(), vec![]));
}

#[test]
fn delete_then_create_moves_at_the_create() {
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(1, "db"), good(2, "")]);
    world.says(1, EAST, &[good(1, ""), good(2, "")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("east1-".into(), "east1-".into()));
    world.says(2, EAST, &[good(1, ""), good(2, "db")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("east2".into(), "east2".into()));
    assert_eq!(world.known.losses[EAST], NameLosses::default());
}

#[test]
fn at_first_sight_the_first_source_and_then_the_lower_address_wins() {
    let mut world = World::new(&ZONES);
    world.sources[WEST] = Some(entries(&[good(1, "db")]));
    world.says(0, EAST, &[good(3, "db"), good(2, "db")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("east2".into(), "east2 east3".into()));
    let others: Vec<_> = world.known.problems().map(|p| (p.kind, p.claim.source)).collect();
    let of = |source| (Kind::SecondAddress, source);
    assert_eq!(others, [of(EAST), of(WEST), of(WEST)]);
    // One that is associated is worth more than one that is not.
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[idle(1, "db"), kept(2, "db"), good(3, "db")]);
    assert_eq!(world.has(DB), "east3");
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[idle(1, "db"), kept(2, "db")]);
    assert_eq!(world.has(DB), "east2");
}

#[test]
fn across_sources_whoever_has_a_name_keeps_it() {
    let mut world = World::new(&ZONES);
    world.says(0, WEST, &[good(9, "db")]);
    world.says(1, EAST, &[good(1, "db")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("west9".into(), "west9".into()));
    // Nobody else's tag wins while its address is between two instances.
    world.says(2, WEST, &[kept(9, "db")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("west9".into(), "west9".into()));
    // Within one source the next one does.
    world.says(3, WEST, &[good(8, "db"), kept(9, "db")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("west8".into(), "west8 west9".into()));
    world.says(20, WEST, &[good(8, ""), kept(9, "")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("east1".into(), "east1".into()));
}

#[test]
fn an_address_that_is_tagged_before_it_is_associated_waits() {
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(1, "db"), idle(2, "db")]);
    assert_eq!((world.has(DB), world.problems()), ("east1".into(), vec![]));
    world.says(1, EAST, &[good(1, ""), idle(2, "db")]);
    assert_eq!(world.has(DB), "east1-", "the old one is answered");
    world.says(2, EAST, &[good(1, ""), good(2, "db")]);
    assert_eq!(world.has(DB), "east2");
    // The old one stays tagged and loses its association.
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(1, "db"), idle(2, "db")]);
    world.says(1, EAST, &[kept(1, "db"), idle(2, "db")]);
    assert_eq!(world.has(DB), "east1");
    world.says(2, EAST, &[kept(1, "db"), good(2, "db")]);
    assert_eq!(world.has(DB), "east2");
}

#[test]
fn an_address_that_several_sources_have_is_as_who_saw_its_last_association_says() {
    let moved = |since| Entry { since: at(since), ..good(1, "db") };
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(1, "db")]);
    world.says(1, WEST, &[moved(1)]);
    assert_eq!((world.has(DB), world.problems()), ("west1".into(), vec![]));
    world.says(2, EAST, &[moved(2)]);
    assert_eq!((world.has(DB), world.problems()), ("east1".into(), vec![]));
    // It is not lost to the one that does not see it associated.
    world.says(3, EAST, &[Entry { since: at(2), ..kept(1, "db") }]);
    assert_eq!(world.has(DB), "west1");
}

#[test]
fn a_name_whose_tag_is_gone_is_held_and_follows_its_allocation() {
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(1, "db"), good(2, "x y z")]);
    world.says(10, EAST, &[good(1, ""), good(2, "x y z")]);
    assert_eq!((world.has(DB), world.wakes_at(EAST)), ("east1-".into(), Some(40)));
    let held = world.known.held(&world.rules);
    let untils: Vec<_> = held.iter().map(|h| (h.name.to_string(), h.since, h.until)).collect();
    let held = |name: &str, until| (name.to_owned(), at(10), Some(at(until)));
    assert_eq!(untils, [held("db.one.test.", 40), held("db.set.test.", 70)]);
    let address =
        Address { private_ip: Some(Ipv4Addr::new(10, 0, 0, 77)), ..(*good(1, "").address).clone() };
    let moved = Entry { address: address.into(), ..good(1, "") };
    world.says(20, EAST, &[moved.clone(), good(2, "x y z")]);
    let named = &world.known.names[&Key::parse(DB, None).unwrap()];
    assert_eq!(named.members[0].entry, moved);
    // Only a good answer of its own source ends it, and not a second early.
    world.says(39, EAST, &[moved.clone(), good(2, "x y z")]);
    world.says(50, WEST, &[]);
    assert_eq!(world.has(DB), "east1-");
    world.says(51, EAST, &[moved.clone(), good(2, "x y z")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("nobody".into(), "east1-".into()));
    assert_eq!(world.wakes_at(EAST), Some(70));
    world.says(70, EAST, &[moved, good(2, "x y z")]);
    assert_eq!(world.has(POOL), "nobody");
    assert_eq!(world.known.losses[EAST], NameLosses::default());
}

#[test]
fn a_tag_that_is_back_ends_the_hold() {
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(1, "db")]);
    world.says(10, EAST, &[good(1, "")]);
    world.says(20, EAST, &[good(1, "db")]);
    assert_eq!((world.has(DB), world.wakes_at(EAST)), ("east1".into(), None));
    world.says(30, EAST, &[good(1, "")]);
    assert_eq!(world.wakes_at(EAST), Some(60), "a new hold");
}

#[test]
fn a_hold_that_began_in_the_future_begins_now() {
    let mut world = World::new(&ZONES);
    world.says(1_000, EAST, &[good(1, "db")]);
    world.says(1_010, EAST, &[good(1, "")]);
    // A restart, with the clock set back.
    world.again(0, &world.state());
    assert_eq!(world.wakes_at(EAST), Some(30));
    world.says(30, EAST, &[good(1, "")]);
    assert_eq!(world.has(DB), "nobody");
}

#[test]
fn a_mass_loss_of_names_waits_for_time_or_an_operator() {
    let lost = [good(1, ""), good(2, ""), good(3, "c")];
    let mut world = World::new(&ZONES[..1]);
    world.says(0, EAST, &[good(1, "a"), good(2, "b"), good(3, "c")]);
    world.says(10, EAST, &lost);
    assert!(world.known.losses[EAST].mass);
    assert_eq!(world.wakes_at(EAST), Some(910));
    world.says(909, EAST, &lost);
    assert_eq!(world.has("a.one.test"), "east1-");
    // One that is lost a little later waits its time as well.
    let more = [good(1, ""), good(2, ""), good(3, "")];
    world.says(910, EAST, &more);
    assert_eq!(
        (world.has("a.one.test"), world.has("c.one.test")),
        ("nobody".into(), "east3-".into())
    );
    assert_eq!(world.known.released(EAST).len(), 2);
    world.says(1_809, EAST, &more);
    assert_eq!(world.has("c.one.test"), "east3-");
    world.says(1_810, EAST, &more);
    assert_eq!(world.has("c.one.test"), "nobody");
    assert_eq!(world.known.losses[EAST], NameLosses::default());

    let mut world = World::new(&ZONES[..1]);
    world.says(0, EAST, &[good(1, "a"), good(2, "b"), good(3, "c")]);
    world.says(10, EAST, &lost);
    world.said(11, EAST, &lost, true);
    assert_eq!(
        (world.has("a.one.test"), world.has("b.one.test")),
        ("nobody".into(), "nobody".into())
    );
    assert_eq!(world.known.losses[EAST], NameLosses::default());
}

#[test]
fn a_file_is_the_truth() {
    let mut world = World::new(&ZONES);
    world.says(0, FILE, &[good(1, "db"), good(2, "")]);
    world.says(1, FILE, &[good(1, ""), good(2, "")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("nobody".into(), "nobody".into()));
    // It may go back at once, too.
    world.says(2, FILE, &[good(1, "db"), good(2, "")]);
    world.says(3, FILE, &[good(1, ""), good(2, "db")]);
    world.says(4, FILE, &[good(1, "db"), good(2, "")]);
    assert_eq!(world.has(DB), "file1");
}

#[test]
fn a_name_that_would_go_back_at_once_waits_for_a_second_answer() {
    let (before, after) = ([good(1, "db"), good(2, "")], [good(1, ""), good(2, "db")]);
    let moved = || {
        let mut world = World::new(&ZONES);
        world.says(0, EAST, &before);
        world.says(5, EAST, &after);
        world
    };
    let mut world = moved();
    world.says(6, EAST, &before);
    assert_eq!(world.has(DB), "east2-", "a stale read");
    // The answer of another source says nothing of it.
    world.says(7, WEST, &[]);
    assert_eq!(world.has(DB), "east2-");
    world.says(8, EAST, &after);
    assert_eq!((world.has(DB), world.wakes_at(EAST)), ("east2".into(), None));
    // One answer of each does not make two of one.
    world.says(9, EAST, &before);
    assert_eq!(world.has(DB), "east2-");
    world.says(10, EAST, &before);
    assert_eq!(world.has(DB), "east1");
    // In a new association it is where it is now.
    let mut world = moved();
    let again = Entry { since: at(6), ..good(1, "db") };
    world.says(6, EAST, &[again, good(2, "")]);
    assert_eq!(world.has(DB), "east1");
    // After ten seconds it is believed at once.
    let mut world = moved();
    world.says(5 + STALE_READ.as_secs(), EAST, &before);
    assert_eq!(world.has(DB), "east1");
    // And a restart or a reload in between remembers.
    let mut world = moved();
    world.says(6, EAST, &before);
    world.again(7, &world.state());
    assert_eq!(world.has(DB), "east2-");
    world.again(7, &world.known.memories());
    assert_eq!(world.has(DB), "east2-");
    world.says(8, EAST, &before);
    assert_eq!(world.has(DB), "east1");
}

#[test]
fn a_restart_and_a_reload_keep_who_has_a_name() {
    let all = [good(1, "db"), good(2, "db")];
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(2, "db")]);
    world.says(1, EAST, &all);
    assert_eq!(world.has(DB), "east2");
    world.again(2, &world.state());
    assert_eq!(world.has(DB), "east2");
    world.again(3, &world.known.memories());
    assert_eq!(world.has(DB), "east2");
    // Of names without a tag it is the configuration that says so, unless they were held.
    world.sources[EAST] = Some(entries(&[good(2, "")]));
    world.again(4, &world.known.memories());
    assert_eq!(world.has(DB), "nobody");
}

/// The source of who has it is the last to be heard of after a restart.
#[test]
fn nobody_takes_a_name_over_before_the_source_of_who_has_it_is_heard_of() {
    let mut world = World::new(&ZONES);
    world.says(0, WEST, &[good(9, "db")]);
    world.says(1, EAST, &[good(1, "db"), good(2, "db")]);
    let state = world.state();
    let west = world.sources[WEST].take();
    world.again(2, &state);
    assert_eq!((world.has(DB), world.has(POOL)), ("nobody".into(), "nobody".into()));
    world.look(Some(Answered { source: EAST, accept_losses: false }), &state);
    assert_eq!(world.has(DB), "nobody");
    world.sources[WEST] = west;
    world.look(None, &state);
    assert_eq!((world.has(DB), world.has(POOL)), ("west9".into(), "west9".into()));
    let seconds = world.problems().iter().filter(|p| p.0 == Kind::SecondAddress).count();
    assert_eq!(seconds, 4, "who else wants it is not forgotten");
    world.says(3, WEST, &[good(9, "")]);
    assert_eq!((world.has(DB), world.has(POOL)), ("east1".into(), "east1 east2".into()));

    // It has lost its tag in the meantime.
    let mut world = World::new(&ZONES);
    world.says(0, WEST, &[good(9, "db")]);
    world.says(1, EAST, &[good(1, "db")]);
    let state = world.state();
    world.sources[WEST] = None;
    world.again(2, &state);
    world.sources[WEST] = Some(entries(&[good(9, "")]));
    world.look(Some(Answered { source: WEST, accept_losses: false }), &state);
    assert_eq!((world.has(DB), world.has(POOL)), ("east1".into(), "east1".into()));
}

/// What a mass loss has let go is known until its source is heard of.
#[test]
fn what_was_let_go_is_remembered_while_its_source_is_silent() {
    let mut world = World::new(&ZONES[..1]);
    world.says(0, WEST, &[good(1, "a"), good(2, "b"), good(3, "c"), good(4, "d e f")]);
    world.says(10, WEST, &[good(1, ""), good(2, ""), good(3, ""), good(4, "d")]);
    world.says(20, WEST, &[good(1, ""), good(2, ""), good(3, ""), good(4, "")]);
    world.says(910, WEST, &[good(1, ""), good(2, ""), good(3, ""), good(4, "")]);
    let (state, released) = (world.state(), world.known.released(WEST));
    assert_eq!(released.len(), 5);
    let west = world.sources[WEST].take();
    world.again(911, &state);
    world.says(912, EAST, &[]);
    assert_eq!(world.known.released(WEST), released);
    world.sources[WEST] = west;
    world.look(None, &state);
    assert_eq!(world.known.released(WEST), released);
    assert!(world.known.losses[WEST].mass);
}

#[test]
fn a_set_that_would_become_empty_is_held() {
    let mut world = World::new(&ZONES[1..]);
    world.says(0, EAST, &[good(1, "db"), good(2, "db"), idle(3, "db")]);
    assert_eq!(world.has(POOL), "east1 east2 east3");
    // One less is no loss.
    world.says(1, EAST, &[good(1, ""), good(2, "db"), idle(3, "db")]);
    assert_eq!((world.has(POOL), world.wakes_at(EAST)), ("east2 east3".into(), None));
    world.says(2, EAST, &[good(1, ""), good(2, ""), idle(3, "db")]);
    assert_eq!((world.has(POOL), world.wakes_at(EAST)), ("east2- east3".into(), Some(62)));
    // Whoever comes ends that.
    world.says(3, EAST, &[good(1, ""), good(2, ""), good(3, "db")]);
    assert_eq!((world.has(POOL), world.wakes_at(EAST)), ("east3".into(), None));
}

/// As one with `sets`, but of all sources together, and beside names from tags.
#[test]
fn a_bound_set_that_would_become_empty_is_held() {
    let set = "[names]\npool = { tag = { dns-name = \"db\" }, hold = \"40s\" }\n\
               east = { tag = { dns-name = \"db\" }, source = \"east\" }\n";
    let (pool, east) = ("pool.bound.test", "east.bound.test");
    let mut world = World::new(&[ZONES[0], ("bound.test.toml", set)]);
    world.says(0, EAST, &[good(1, "db"), idle(3, "db")]);
    world.says(0, WEST, &[good(2, "db")]);
    world.says(0, FILE, &[good(4, "db")]);
    assert_eq!(
        (world.has(pool), world.has(east)),
        ("east1 east3 west2 file4".into(), "east1 east3".into())
    );
    assert_eq!(world.known.by_tag().count(), 1, "db.one.test");
    // Nobody of its source: held. Of all sources there are others.
    world.says(1, EAST, &[good(1, ""), idle(3, "")]);
    assert_eq!((world.has(pool), world.has(east)), ("west2 file4".into(), "east1-".into()));
    // A file is the truth, and what it had is not held with the others.
    world.says(2, FILE, &[good(4, "")]);
    world.says(3, WEST, &[good(2, "")]);
    assert_eq!((world.has(pool), world.has(DB)), ("west2-".into(), "west2-".into()));
    let wakes_at = (world.wakes_at(EAST), world.wakes_at(WEST));
    assert_eq!(wakes_at, (Some(31), Some(33)), "as the guard says");
    world.says(33, WEST, &[good(2, "")]);
    assert_eq!((world.has(DB), world.wakes_at(WEST)), ("nobody".into(), Some(43)));
    let state = world.state();
    world.again(34, &state);
    assert_eq!((world.has(pool), world.has(east)), ("west2-".into(), "east1-".into()));
    // Whoever comes ends that; time too.
    world.says(35, EAST, &[good(1, ""), good(5, "db")]);
    assert_eq!((world.has(pool), world.has(east)), ("east5".into(), "east5".into()));
    world.says(36, EAST, &[good(1, ""), good(5, "")]);
    assert!(world.known.losses[EAST].mass, "with db.one.test: three of three");
    world.says(76, EAST, &[good(1, ""), good(5, "")]);
    assert_eq!((world.has(pool), world.has(east)), ("east5-".into(), "east5-".into()));
    world.says(936, EAST, &[good(1, ""), good(5, "")]);
    assert_eq!((world.has(pool), world.has(east)), ("nobody".into(), "nobody".into()));
    assert!(world.known.problems().next().is_none());
}

#[test]
fn an_address_that_is_released_takes_its_name_with_it() {
    let mut world = World::new(&ZONES);
    world.says(0, EAST, &[good(1, "db"), good(2, "db")]);
    // `accept` has held it for its time.
    world.says(1, EAST, &[good(2, "db")]);
    assert_eq!(world.has(DB), "east2");
    world.says(2, EAST, &[]);
    assert_eq!((world.has(DB), world.has(POOL)), ("nobody".into(), "nobody".into()));
    assert!(world.known.problems().next().is_none());
}
