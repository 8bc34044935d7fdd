//! All orders of events, against a plain model and against what is promised.
//!
//! The model keeps whole maps, looks at every name at every event, and is made from what
//! is written of `[discover]`. Addresses come through the real `accept`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::config::Guard;
use crate::source::accept::{Accepted, Policy, accept, accept_file};
use crate::source::known::shared;

const HOLD: u64 = 30;
const SET_HOLD: u64 = 60;
const RELEASE_AFTER: u64 = 900;
const GUARD: Guard = Guard {
    hold: Duration::from_secs(HOLD),
    missing_hold: Duration::from_secs(300),
    release_after: Duration::from_secs(RELEASE_AFTER),
};

/// Of each source.
const ADDRESSES: u8 = 4;

/// What tags say, the names of that in the two zones, and the words that are none.
type Value = (&'static str, &'static [&'static str], &'static [&'static str]);
const VALUES: [Value; 9] = [
    ("", &[], &[]),
    ("db", &["db.one.test.", "db.set.test."], &[]),
    ("web", &["web.one.test.", "web.set.test."], &[]),
    ("db,web", &["db.one.test.", "web.one.test.", "db.set.test.", "web.set.test."], &[]),
    ("db.one.test", &["db.one.test."], &[]),
    ("web.set.test. a..b", &["web.set.test."], &["a..b"]),
    (
        "DB/cache mail.ONE.test.",
        &["db.one.test.", "cache.one.test.", "mail.one.test.", "db.set.test.", "cache.set.test."],
        &[],
    ),
    ("mail.one.test cache.one.test", &["mail.one.test.", "cache.one.test."], &[]),
    ("cache", &["cache.one.test.", "cache.set.test."], &[]),
];

#[derive(Debug, Clone)]
enum Step {
    /// What happens to addresses of a source, and its answer.
    Answer(SourceId, Vec<(u8, Edit)>),
    /// The tag of one address is moved to another, by one call or by two.
    Move(SourceId, u8, u8),
    /// All tags of a source are taken off.
    Strip(SourceId),
    /// A source's answer once more.
    Again(SourceId),
    /// The answer before the last.
    Stale(SourceId),
    Accept(SourceId),
    Restart,
    Reload,
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Tag(usize),
    Associate,
    Disassociate,
    Release,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let gap = prop_oneof![
        6 => 1..4u64,
        2 => 5..20u64,
        2 => 25..65u64,
        1 => 250..400u64,
        1 => 850..1000u64,
    ];
    let source = || prop_oneof![4 => Just(EAST), 2 => Just(WEST), 1 => Just(FILE)];
    let edit = prop_oneof![
        6 => (0..VALUES.len()).prop_map(Edit::Tag),
        3 => Just(Edit::Associate),
        2 => Just(Edit::Disassociate),
        1 => Just(Edit::Release),
    ];
    let edits = proptest::collection::vec((0..ADDRESSES, edit), 0..4);
    let step = prop_oneof![
        8 => (source(), edits).prop_map(|(source, edits)| Step::Answer(source, edits)),
        3 => (source(), 0..ADDRESSES, 0..ADDRESSES).prop_map(|(s, from, to)| Step::Move(s, from, to)),
        1 => source().prop_map(Step::Strip),
        4 => source().prop_map(Step::Again),
        2 => source().prop_map(Step::Stale),
        1 => source().prop_map(Step::Accept),
        1 => Just(Step::Restart),
        1 => Just(Step::Reload),
    ];
    (gap, step)
}

/// EC2, or a file, as the test plays it: of each address its tag and its association.
#[derive(Debug, Clone, Default)]
struct Said {
    all: BTreeMap<u8, (usize, Option<u8>)>,
    associations: u8,
}

impl Said {
    fn edit(&mut self, n: u8, edit: Edit) {
        let known = self.all.entry(n).or_default();
        match edit {
            Edit::Tag(value) => known.0 = value,
            Edit::Associate => {
                self.associations = self.associations.wrapping_add(1);
                known.1 = Some(self.associations);
            }
            Edit::Disassociate => known.1 = None,
            Edit::Release => drop(self.all.remove(&n)),
        }
    }

    fn answer(&self, source: SourceId) -> Vec<Address> {
        let one = |(n, (value, association)): (&u8, &(usize, Option<u8>))| {
            let entry = good(source as u8 * 10 + n, VALUES[*value].0);
            let private = association.map(|k| Ipv4Addr::new(10, source as u8, *n, k));
            let association_id = association.map(|k| format!("eipassoc-{source}-{n}-{k}"));
            Address { private_ip: private, association_id, ..(*entry.address).clone() }
        };
        self.all.iter().map(one).collect()
    }
}

/// A source, and what is accepted of it.
#[derive(Debug, Clone, Default)]
struct Source {
    is: Said,
    was: Said,
    accepted: Accepted,
}

/// An address.
type Who = (SourceId, u8);

/// What is known of an address.
#[derive(Debug, Clone, Copy)]
struct Seen {
    value: usize,
    /// As it is answered: associated, kept, or neither.
    rank: u8,
    /// When its association was seen first.
    since: u64,
}

const GOOD: u8 = 0;
const IDLE: u8 = 2;

/// Who has a name, in the model.
#[derive(Debug, Clone, Default, PartialEq)]
struct Has {
    members: BTreeSet<Who>,
    gone: Option<u64>,
    came_from: Option<(Who, u64)>,
    goes_back: bool,
}

impl Has {
    fn one(who: Who) -> Self {
        Self { members: [who].into(), ..Self::default() }
    }

    fn source(&self) -> SourceId {
        self.members.first().unwrap().0
    }
}

#[derive(Debug, Clone, Default)]
struct Model {
    names: BTreeMap<&'static str, Has>,
    released: [BTreeSet<&'static str>; 3],
    mass: [bool; 3],
    /// Was it known before a restart or a reload?
    remembered: bool,
}

struct Event<'e> {
    seen: &'e BTreeMap<Who, Seen>,
    at: u64,
    answered: Option<SourceId>,
    accepts: bool,
}

impl Event<'_> {
    fn claims(&self, name: &str) -> Vec<(Who, u8)> {
        let has = |seen: &Seen| VALUES[seen.value].1.contains(&name);
        self.seen
            .iter()
            .filter(|(_, seen)| has(seen))
            .map(|(who, seen)| (*who, seen.rank))
            .collect()
    }

    fn is_within(&self, since: u64) -> bool {
        self.at - since < STALE_READ.as_secs()
    }
}

fn is_set(name: &str) -> bool {
    name.ends_with(".set.test.")
}

fn hold(name: &str, source: SourceId) -> u64 {
    match (source, is_set(name)) {
        (FILE, _) => 0,
        (_, true) => SET_HOLD,
        (_, false) => HOLD,
    }
}

fn names() -> BTreeSet<&'static str> {
    VALUES.iter().flat_map(|value| value.1).copied().collect()
}

impl Model {
    fn happens(&mut self, event: &Event<'_>) {
        for name in names() {
            let before = self.names.remove(name);
            let after = match is_set(name) {
                true => self.set(name, before, event),
                false => self.one(name, before, event),
            };
            self.names.extend(after.map(|has| (name, has)));
        }
        // What one lets go may be another's then.
        let others = [EAST, WEST, FILE].into_iter().filter(|id| event.answered != Some(*id));
        for source in event.answered.into_iter().chain(others) {
            self.losses(source, event);
        }
        self.remembered = false;
    }

    /// The first sight of a name.
    fn first(name: &str, event: &Event<'_>) -> Option<Has> {
        let claims = event.claims(name);
        let best = claims.iter().min_by_key(|(who, rank)| (*rank, *who))?;
        Some(Has::one(best.0))
    }

    fn one(&self, name: &str, before: Option<Has>, event: &Event<'_>) -> Option<Has> {
        let Some(before) = before else { return Self::first(name, event) };
        let holder = *before.members.first().unwrap();
        let claims = event.claims(name);
        let own = claims.iter().find(|(who, _)| *who == holder).map(|(_, rank)| *rank);
        if own == Some(GOOD) {
            return Some(Has { came_from: before.came_from, ..Has::one(holder) });
        }
        // From another source only once the tag or the association is lost for good.
        let may_leave = own != Some(1);
        let rivals = claims
            .iter()
            .filter(|((source, _), rank)| *rank == GOOD && (*source == holder.0 || may_leave));
        if let Some((next, _)) =
            rivals.min_by_key(|((source, n), _)| (*source != holder.0, *source, *n))
        {
            let comes_from = before.came_from.is_some_and(|(from, at)| {
                from == *next && event.is_within(at) && event.seen[next].since <= at
            });
            let second = before.goes_back && event.answered == Some(next.0);
            let waits = comes_from && next.0 != FILE && !second && event.seen.contains_key(&holder);
            if !waits {
                return Some(Has { came_from: Some((holder, event.at)), ..Has::one(*next) });
            }
            let goes_back = before.goes_back || event.answered == Some(next.0);
            let gone = own.is_none().then(|| before.gone.unwrap_or(event.at));
            return Some(Has { gone, goes_back, came_from: before.came_from, ..Has::one(holder) });
        }
        if own.is_some() {
            return Some(Has { came_from: before.came_from, ..Has::one(holder) });
        }
        if event.seen.contains_key(&holder) && self.holds(holder.0, &before) {
            let gone = Some(before.gone.unwrap_or(event.at));
            return Some(Has { gone, came_from: before.came_from, ..Has::one(holder) });
        }
        Self::first(name, event)
    }

    /// A file is the truth, and so is the configuration.
    fn holds(&self, source: SourceId, before: &Has) -> bool {
        source != FILE && (!self.remembered || before.gone.is_some())
    }

    fn set(&self, name: &str, before: Option<Has>, event: &Event<'_>) -> Option<Has> {
        let claims = event.claims(name);
        let of = |source| -> BTreeSet<Who> {
            claims.iter().filter(|(who, _)| who.0 == source).map(|(who, _)| *who).collect()
        };
        let all = |source| Has { members: of(source), ..Has::default() };
        let is_answered = |source| claims.iter().any(|(who, rank)| who.0 == source && *rank < IDLE);
        let has = before.as_ref().map(Has::source);
        if let Some(source) = has.filter(|source| is_answered(*source)) {
            return Some(all(source));
        }
        if let Some((who, _)) = claims.iter().find(|(_, rank)| *rank == GOOD) {
            return Some(all(who.0));
        }
        if let (Some(before), Some(source)) = (&before, has) {
            let is_left = |who: &&Who| {
                let is_there = event.seen.get(who).is_some_and(|seen| seen.rank < IDLE);
                is_there && !of(source).contains(who)
            };
            let left: BTreeSet<Who> = before.members.iter().filter(is_left).copied().collect();
            if !left.is_empty() && self.holds(source, before) {
                let gone = Some(before.gone.unwrap_or(event.at));
                return Some(Has { members: &of(source) | &left, gone, ..Has::default() });
            }
            if !of(source).is_empty() {
                return Some(all(source));
            }
        }
        claims.iter().min_by_key(|(who, rank)| (*rank, *who)).map(|(who, _)| all(who.0))
    }

    fn gone(&self, source: SourceId) -> Vec<(&'static str, u64)> {
        let all = self.names.iter().filter(|(_, has)| has.source() == source);
        all.filter_map(|(name, has)| Some((*name, has.gone?))).collect()
    }

    fn is_mass(&self, source: SourceId) -> bool {
        let released = self.released[source].len();
        let all = self.names.values().filter(|has| has.source() == source).count() + released;
        let gone = self.gone(source).len();
        gone > 0 && all >= 3 && (gone + released) * 2 > all
    }

    fn losses(&mut self, source: SourceId, event: &Event<'_>) {
        let names = &self.names;
        let is_back = |name: &&str| names.get(name).is_some_and(|has| has.gone.is_none());
        self.released[source].retain(|name| !is_back(name));
        if self.gone(source).is_empty() {
            (self.released[source], self.mass[source]) = (BTreeSet::new(), false);
            return;
        }
        let answered = event.answered == Some(source);
        let accepts = answered && event.accepts;
        self.mass[source] = !accepts && self.is_mass(source);
        if !answered {
            return;
        }
        loop {
            let mass = self.mass[source];
            for (name, since) in self.gone(source) {
                let least = hold(name, source).max(if mass { RELEASE_AFTER } else { 0 });
                let waits = self.names[name].goes_back;
                if accepts || !waits && event.at - since >= least {
                    self.names.remove(name);
                    let next = match is_set(name) {
                        true => self.set(name, None, event),
                        false => Self::first(name, event),
                    };
                    let is_lost = next.is_none();
                    self.names.extend(next.map(|has| (name, has)));
                    if mass && is_lost {
                        self.released[source].insert(name);
                    }
                }
            }
            self.mass[source] = self.is_mass(source);
            if !self.mass[source] {
                self.released[source].clear();
            }
            if !mass || self.mass[source] {
                break;
            }
        }
    }

    /// What a restart, or a reload, does not know.
    fn forget(&mut self) {
        self.remembered = true;
        for has in self.names.values_mut() {
            let source = has.source();
            has.came_from = has.came_from.filter(|(from, _)| from.0 == source);
        }
    }
}

fn who(claim: &Claim) -> Who {
    match claim.allocation {
        Allocation::PublicIp(ip) => (claim.source, ip.octets()[3] % 10),
        Allocation::Id(_) => panic!("all have addresses"),
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(super::at(0)).unwrap().as_secs()
}

struct Test {
    world: World,
    model: Model,
    sources: [Source; 3],
}

impl Test {
    fn new() -> Self {
        let world = World::new(&ZONES);
        Self { world, model: Model::default(), sources: Default::default() }
    }

    fn seen(&self) -> BTreeMap<Who, Seen> {
        let one = |source: usize, entry: &Entry| {
            let address = &entry.address;
            let value = address.tags.get("dns-name").unwrap_or_default();
            let value = VALUES.iter().position(|known| known.0 == value).unwrap();
            let rank = match (address.private_ip, entry.is_live()) {
                (None, _) => IDLE,
                (_, true) => GOOD,
                (_, false) => 1,
            };
            (
                who(&Claim { source, allocation: address.allocation() }),
                Seen { value, rank, since: seconds(entry.since) },
            )
        };
        let all = self.world.sources.iter().enumerate();
        let all = all.flat_map(|(id, entries)| entries.iter().map(move |e| (id, e)));
        all.flat_map(|(id, entries)| entries.values().map(move |entry| one(id, entry))).collect()
    }

    fn takes(&mut self, source: SourceId, said: &Said, accepts: bool) {
        let now = at(self.world.now);
        let (rules, known) = (&self.world.rules, &self.world.known);
        let held = known.holds(rules, source);
        let bound = |address: &Address| {
            rules.bound(source, address).max(held.get(&address.allocation()).copied())
        };
        let policy = Policy { guard: GUARD, bound: &bound, accept_losses: accepts };
        let answer = shared(&[], said.answer(source)).into();
        let accepted = &mut self.sources[source].accepted;
        *accepted = match source {
            FILE => accept_file(accepted, &answer, now),
            _ => accept(accepted, &answer, now, &policy).0,
        };
        self.world.sources[source] = Some(Arc::clone(&accepted.entries));
        let answered = Answered { source, accept_losses: accepts };
        self.world.look(Some(answered), &Remembered::new());
        let (at, seen) = (self.world.now, self.seen());
        let event = Event { seen: &seen, at, answered: Some(source), accepts };
        self.model.happens(&event);
    }

    fn begins_anew(&mut self, remembered: &Remembered) {
        self.world.again(self.world.now, remembered);
        self.model.forget();
        let (at, seen) = (self.world.now, self.seen());
        self.model.happens(&Event { seen: &seen, at, answered: None, accepts: false });
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Restart => self.begins_anew(&self.world.state()),
            Step::Reload => self.begins_anew(&self.world.known.memories()),
            Step::Again(source) => self.takes(*source, &self.sources[*source].is.clone(), false),
            Step::Accept(source) => self.takes(*source, &self.sources[*source].is.clone(), true),
            Step::Stale(source) => self.takes(*source, &self.sources[*source].was.clone(), false),
            Step::Answer(source, edits) => self.edit(*source, edits),
            Step::Move(source, from, to) => {
                let value = self.sources[*source].is.all.get(from).map_or(0, |known| known.0);
                self.edit(*source, &[(*from, Edit::Tag(0)), (*to, Edit::Tag(value))]);
            }
            Step::Strip(source) => {
                let all = self.sources[*source].is.all.keys();
                let edits: Vec<_> = all.map(|n| (*n, Edit::Tag(0))).collect();
                self.edit(*source, &edits);
            }
        }
    }

    fn edit(&mut self, source: SourceId, edits: &[(u8, Edit)]) {
        let said = &mut self.sources[source];
        said.was = said.is.clone();
        edits.iter().for_each(|(n, edit)| said.is.edit(*n, *edit));
        let is = said.is.clone();
        self.takes(source, &is, false);
    }

    /// The names as the model has them.
    fn names(&self) -> BTreeMap<String, (BTreeSet<Who>, Option<u64>)> {
        let one = |(name, named): (&Key, &Arc<Named>)| {
            let members = named.members.iter().map(|member| who(&member.claim())).collect();
            (name.to_string(), (members, named.gone.map(seconds)))
        };
        self.world.known.names.iter().map(one).collect()
    }

    fn like_the_model(&self) -> Result<(), TestCaseError> {
        let model = self.model.names.iter();
        let model = model.map(|(name, has)| (name.to_string(), (has.members.clone(), has.gone)));
        prop_assert_eq!(self.names(), model.collect());
        for source in [EAST, WEST, FILE] {
            let released = self.world.known.released(source);
            let released: BTreeSet<_> = released.iter().map(ToString::to_string).collect();
            let expected: BTreeSet<_> =
                self.model.released[source].iter().map(|n| n.to_string()).collect();
            prop_assert_eq!(released, expected);
            let mass = self.model.mass[source];
            prop_assert_eq!(self.world.known.losses[source].mass, mass);
            let ends = self.model.gone(source).into_iter();
            let ends = ends.map(|(name, since)| {
                since + hold(name, source).max(if mass { RELEASE_AFTER } else { 0 })
            });
            let ends: Vec<u64> = ends.collect();
            let wake_at = ends.iter().copied().filter(|end| *end > self.world.now).min();
            prop_assert_eq!(self.world.wakes_at(source), wake_at);
        }
        Ok(())
    }

    /// What holds whoever decides.
    fn is_sound(&self) -> Result<(), TestCaseError> {
        let (seen, known) = (self.seen(), &self.world.known);
        for (name, named) in &known.names {
            prop_assert!(!named.members.is_empty());
            prop_assert!(is_set(&name.to_string()) || named.members.len() == 1);
            for member in &named.members {
                prop_assert_eq!(member.source, named.source());
                let entries = self.world.sources[member.source].as_ref().unwrap();
                prop_assert_eq!(entries.get(&member.claim().allocation), Some(&member.entry));
                let has = VALUES[seen[&who(&member.claim())].value].1.contains(&&*name.to_string());
                prop_assert_eq!(member.tagged, has);
            }
            // Who else has the tag waits, all of them.
            let event = Event { seen: &seen, at: self.world.now, answered: None, accepts: false };
            let claims: BTreeSet<Who> =
                event.claims(&name.to_string()).into_iter().map(|(who, _)| who).collect();
            let tagged = named.members.iter().filter(|member| member.tagged).map(Member::claim);
            let all: Vec<Who> =
                tagged.chain(named.others.iter().cloned()).map(|c| who(&c)).collect();
            prop_assert_eq!(all.len(), claims.len());
            prop_assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), claims);
        }
        let mut problems: Vec<(Kind, Who, String)> = known
            .problems()
            .map(|problem| (problem.kind, who(&problem.claim), problem.name.to_string()))
            .collect();
        problems.sort();
        let bad = seen.iter().flat_map(|(who, seen)| {
            VALUES[seen.value].2.iter().map(|word| (Kind::BadName, *who, word.to_string()))
        });
        let seconds = known.names.iter().flat_map(|(name, named)| {
            let others = named.others.iter().map(who).filter(|other| seen[other].rank == GOOD);
            others.map(|other| (Kind::SecondAddress, other, name.to_string()))
        });
        let mut expected: Vec<_> = bad.chain(seconds).collect();
        expected.sort();
        prop_assert_eq!(problems, expected);
        Ok(())
    }

    /// Nothing waits that is there, but for a stale read.
    fn nothing_waits(
        &self,
        before: &BTreeMap<String, (BTreeSet<Who>, Option<u64>)>,
    ) -> Result<(), TestCaseError> {
        let (seen, is) = (self.seen(), self.names());
        let event = Event { seen: &seen, at: self.world.now, answered: None, accepts: false };
        for name in names() {
            let claims = event.claims(name);
            let is_good = claims.iter().any(|(_, rank)| *rank == GOOD);
            match is.get(name) {
                None => prop_assert!(claims.is_empty(), "{} is wanted", name),
                Some((members, Some(_))) if is_good => {
                    let (from, at) = self.model.names[name].came_from.unwrap();
                    prop_assert!(event.is_within(at) && seen[&from].rank == GOOD);
                    prop_assert_eq!(&before[name].0, members);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Nothing more happens if nothing more is said; and all at once it is the same.
    fn is_settled(&self) -> Result<(), TestCaseError> {
        let World { rules, sources, known, .. } = &self.world;
        let now = Now { rules, sources, at: at(self.world.now), answered: None };
        let again = discover(known, &now, None, &Remembered::new());
        prop_assert!(again.names.ptr_eq(&known.names));
        prop_assert_eq!(&again, known);
        let equal: Vec<Option<Arc<Entries>>> = sources
            .iter()
            .map(|some| {
                some.as_ref().map(|some| {
                    Arc::new(some.iter().map(|(a, e)| (a.clone(), e.clone())).collect())
                })
            })
            .collect();
        let again = discover(known, &Now { sources: &equal, ..now }, None, &Remembered::new());
        prop_assert_eq!(&again, known);

        let mut anew = Discovered::default();
        for source in [EAST, WEST, FILE] {
            anew.remember_released(source, known.released(source));
        }
        let whole = discover(&anew, &now, None, &known.memories());
        // Of what came from another source a reload does not know that it may go back.
        let is_known = |named: &Arc<Named>| {
            let from = named.came_from.as_ref();
            from.is_none_or(|from| from.0.source == named.source())
        };
        if !known.names.values().all(is_known) {
            return Ok(());
        }
        prop_assert_eq!(&whole.names, &known.names);
        prop_assert_eq!(&whole.losses, &known.losses);
        prop_assert!(whole.problems().eq(known.problems()));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    #[test]
    fn whatever_happens_it_is_as_promised(steps in proptest::collection::vec(step(), 1..40)) {
        let mut test = Test::new();
        for (gap, step) in &steps {
            test.world.now += gap;
            let before = test.names();
            test.step(step);
            test.like_the_model()?;
            test.is_sound()?;
            test.nothing_waits(&before)?;
            test.is_settled()?;
            // A name goes only when its hold is over, an operator says so, or its address
            // or its file does.
            let is = test.names();
            for (name, (members, gone)) in before.iter().filter(|(name, _)| !is.contains_key(*name)) {
                let source = members.first().unwrap().0;
                let seen = test.seen();
                let is_released = members.iter().all(|who| seen.get(who).is_none_or(|s| s.rank == IDLE));
                let is_over = gone.is_some_and(|since| test.world.now - since >= hold(name, source));
                let accepts = matches!(step, Step::Accept(_));
                prop_assert!(source == FILE || is_released || is_over || accepts, "{}", name);
            }
        }
        // All that is held ends at the time that was said.
        while let Some((source, end)) = [EAST, WEST]
            .into_iter()
            .filter_map(|source| Some((source, test.world.wakes_at(source)?)))
            .min_by_key(|(_, end)| *end)
        {
            test.world.now = end;
            let held = test.world.known.held(&test.world.rules).len();
            test.step(&Step::Again(source));
            test.like_the_model()?;
            let is = test.world.known.held(&test.world.rules).len();
            prop_assert!(is < held || test.world.wakes_at(source).is_none_or(|next| next > end));
        }
    }
}
