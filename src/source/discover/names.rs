//! All names from tags, brought up to date at the price of what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use imbl::OrdSet;
use imbl::ordmap::DiffItem;

use super::decide::{Before, decide};
use super::problem::{Kind, Problem, Problems};
use super::rules::{Given, Rules};
use super::{Claim, MAX_CLAIMS, MAX_NAMES, Member, NameLosses, Named, Names};
use crate::config::SourceId;
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::source::allocation::Allocation;
use crate::source::inventory::{Address, Entries, Entry};

/// The names that tags give, and what must be remembered to go on from there.
#[derive(Debug, Clone, Default)]
pub struct Discovered {
    /// Who has each name.
    pub names: Names,
    /// Of each source, what of its names is held.
    pub losses: Vec<NameLosses>,
    /// Names that are not just as tags say: held, wanted by another address as well, just
    /// come from one, or of an address that is held. Every good answer is asked about them,
    /// and a restart must know them.
    pub(super) notable: OrdSet<Key>,
    /// Words in the tags of an address that give no name.
    of_values: Problems<Claim>,
    /// Addresses that have no name because another has it.
    of_names: Problems<Key>,
    /// How many names each zone has.
    counts: Vec<usize>,
    /// Was anything left out, because there is too much of it, or because it is not known
    /// yet who has it?
    incomplete: bool,
    /// The addresses it was made from.
    seen: Vec<Option<Arc<Entries>>>,
}

impl PartialEq for Discovered {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
            && self.losses == other.losses
            && self.notable == other.notable
            && self.of_values == other.of_values
            && self.of_names == other.of_names
    }
}

impl Eq for Discovered {}

impl Discovered {
    /// What gives no name: at most [`MAX_PROBLEMS`](super::MAX_PROBLEMS) of values and as many of names.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.of_values.iter().chain(self.of_names.iter())
    }

    /// Is it the same as far as answers and problems go, at the price of looking?
    pub fn is_same(&self, other: &Self) -> bool {
        self.names.ptr_eq(&other.names)
            && self.notable.ptr_eq(&other.notable)
            && self.of_values.ptr_eq(&other.of_values)
            && self.of_names.ptr_eq(&other.of_names)
            || self == other
    }

    /// Names that are not just as tags say; of those that are held a remark says for how
    /// long.
    pub fn notable_names(&self) -> impl Iterator<Item = (&Key, &Named)> {
        let named = |name| self.names.get_key_value(name);
        self.notable.iter().filter_map(named).map(|(name, named)| (name, &**named))
    }

    /// The names that tags give: without sets that `[names]` binds.
    pub fn by_tag(&self) -> impl Iterator<Item = &Named> {
        breathing(self.names.values()).map(|named| &**named).filter(|named| !named.is_bound)
    }

    /// The bound set of this name, if no address has its tags any longer, and it is held.
    pub fn held_set(&self, name: &Key) -> Option<&Arc<Named>> {
        self.names.get(name).filter(|named| named.is_bound && named.gone.is_some())
    }

    /// The addresses that a name stands for.
    pub fn allocations(&self, name: &Key) -> Vec<Allocation> {
        let members = self.names.get(name).into_iter().flat_map(|named| named.members.iter());
        members.map(|member| member.entry.address.allocation()).collect()
    }

    /// The names that an address of a source has: by its tags, or held. Not those that
    /// `[names]` binds to its tags.
    pub fn names_at(&self, rules: &Rules, source: SourceId, address: &Address) -> Vec<&Key> {
        let claim = Claim { source, allocation: address.allocation() };
        let given = rules.given(source, address).names;
        let by_tag = given.keys().filter_map(|name| self.names.get_key_value(name));
        let held = self.notable.iter().filter_map(|name| self.names.get_key_value(name));
        let has = |named: &Named| {
            let is_bound = |member: &Member| named.is_bound && member.tagged;
            named.members.iter().any(|member| member.claim() == claim && !is_bound(member))
        };
        let all: BTreeSet<&Key> =
            by_tag.chain(held).filter(|(_, named)| has(named)).map(|(name, _)| name).collect();
        all.into_iter().collect()
    }

    /// What is wrong now and was not `before`, or otherwise.
    pub fn new_problems(&self, before: &Self) -> Vec<&Problem> {
        let mut all = self.of_values.news(&before.of_values);
        all.extend(self.of_names.news(&before.of_names));
        all
    }

    /// Who has which name: what a reload must know.
    pub fn memories(&self) -> Remembered {
        let all = breathing(self.names.iter());
        all.map(|(name, named)| (name.clone(), (named.source(), Memory::of(named)))).collect()
    }

    /// What of a source's names is not known from tags alone: what a restart must know.
    pub fn notable(&self, source: SourceId) -> BTreeMap<Key, Memory> {
        let memory = |name: &Key| {
            let named = self.names.get(name).filter(|named| named.source() == source)?;
            Some((name.clone(), Memory::of(named)))
        };
        breathing(self.notable.iter()).filter_map(memory).collect()
    }

    pub(super) fn put(&mut self, now: &Now<'_>, name: &Key, zone: usize, next: Option<Named>) {
        let was_there = self.names.contains_key(name);
        let Some(count) = self.counts.get_mut(zone) else { return };
        let mut problems: Vec<Problem> = Vec::new();
        match next {
            Some(next) if !was_there && *count >= MAX_NAMES => {
                self.incomplete = true;
                let why = format!("the zone has {MAX_NAMES} names from tags, which is the most");
                let claims = next.claims();
                let problem = |claim| Problem::new(Kind::TooMany, claim, &name.to_string(), &why);
                problems.extend(claims.into_iter().take(1).map(problem));
            }
            Some(next) => {
                *count += usize::from(!was_there);
                problems = seconds(now, name, &next);
                // What is as it was stays the same memory.
                match (next.is_plain(), self.notable.contains(name)) {
                    (true, true) => drop(self.notable.remove(name)),
                    (false, false) => drop(self.notable.insert(name.clone())),
                    _ => {}
                }
                if self.names.get(name).is_none_or(|known| **known != next) {
                    self.names.insert(name.clone(), next.into());
                }
            }
            None if was_there => {
                *count -= 1;
                self.names.remove(name);
                self.notable.remove(name);
            }
            None => {}
        }
        self.incomplete |= !self.of_names.set(name, problems);
    }

    /// What the tags of an address give instead of what they gave.
    fn take_address(
        &mut self,
        now: &Now<'_>,
        past: &Past<'_>,
        source: SourceId,
        [old, new]: [Option<&Entry>; 2],
        touched: &mut Touched,
    ) {
        let Some(one) = new.or(old) else { return };
        let claim = Claim { source, allocation: one.address.allocation() };
        let given = |entry: Option<&Entry>| {
            entry.map_or_else(Given::default, |entry| now.rules.given(source, &entry.address))
        };
        let (before, given) = (given(old), given(new));
        for (name, zone) in before.names {
            let claims = touched.claims(self, name, zone);
            claims.retain(|known| *known != claim);
        }
        for (name, zone) in given.names {
            let has_it = || past.has(&name, &claim);
            let claims = touched.claims(self, name.clone(), zone);
            if claims.len() >= MAX_CLAIMS && !has_it() {
                self.incomplete = true;
            } else if let Err(at) = claims.binary_search(&claim) {
                claims.insert(at, claim.clone());
            }
        }
        self.incomplete |= !self.of_values.set(&claim, given.problems);
    }
}

/// Others that have a name's tag and could be answered.
fn seconds(now: &Now<'_>, name: &Key, named: &Named) -> Vec<Problem> {
    let Some(member) = named.members.first() else { return Vec::new() };
    let is_second = |claim: &&Claim| {
        let entry = now.entry(claim);
        named.members.iter().all(|m| m.entry.address.allocation() != claim.allocation)
            && entry.is_some_and(|entry| entry.is_live() && entry.address.associated().is_some())
    };
    let has = member.entry.address.allocation();
    let source = now.rules.source_name(member.source);
    let why = format!(
        "{has} of source {source} has it, and keeps it while it has the tag and is associated"
    );
    let problem =
        |claim: &Claim| Problem::new(Kind::SecondAddress, claim.clone(), &name.to_string(), &why);
    // One name is one line, however many want it.
    named.others.iter().filter(is_second).take(SHOWN_SECONDS).map(problem).collect()
}

/// Of the addresses that want one name so many are told.
const SHOWN_SECONDS: usize = 10;

/// What names are given by, and when.
#[derive(Clone, Copy)]
pub struct Now<'a> {
    /// What the configuration says.
    pub rules: &'a Rules,
    /// The accepted addresses of each source.
    pub sources: &'a [Option<Arc<Entries>>],
    /// The time.
    pub at: SystemTime,
    /// The source whose good answer it is.
    pub answered: Option<SourceId>,
}

impl Now<'_> {
    /// An address as it is accepted.
    pub(super) fn entry(&self, claim: &Claim) -> Option<&Entry> {
        self.sources.get(claim.source)?.as_ref()?.get(&claim.allocation)
    }

    /// Has the source, and its state, said nothing yet?
    pub(super) fn is_silent(&self, source: SourceId) -> bool {
        self.sources.get(source).is_some_and(Option::is_none)
    }
}

/// A good answer.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Whose.
    pub source: SourceId,
    /// An operator takes the losses in it as they are.
    pub accept_losses: bool,
}

/// Who had a name of a source, before a restart or a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What the name stood for.
    pub members: Vec<Allocation>,
    /// Since when no tag gives it.
    pub gone: Option<SystemTime>,
    /// Where it was before, in the same source, and since when not any longer.
    pub came_from: Option<(Allocation, SystemTime)>,
    /// One answer has said that it goes back.
    pub goes_back: bool,
}

/// Who had which name, and of which source. Counts for names that are not known otherwise.
pub type Remembered = HashMap<Key, (SourceId, Memory)>;

/// Names to decide anew, with the numbers of their zones and all who have their tags.
#[derive(Default)]
struct Touched(BTreeMap<Key, (usize, Vec<Claim>)>);

impl Touched {
    fn claims(&mut self, all: &Discovered, name: Key, zone: usize) -> &mut Vec<Claim> {
        let known = |name: &Key| {
            let mut claims = all.names.get(name).map(|named| named.claims()).unwrap_or_default();
            claims.sort_unstable();
            claims
        };
        let claims = || known(&name);
        let (_, claims) = match self.0.contains_key(&name) {
            true => self.0.entry(name).or_default(),
            false => {
                let claims = claims();
                self.0.entry(name).or_insert((zone, claims))
            }
        };
        claims
    }
}

/// Who had names.
#[derive(Clone, Copy)]
struct Past<'a> {
    known: &'a Discovered,
    /// Counts for names that are not known.
    remembered: &'a Remembered,
}

impl Past<'_> {
    fn before(&self, name: &Key) -> Option<Before> {
        let known = self.known.names.get(name).map(|named| Before::from(&**named));
        let memory = || self.remembered.get(name).map(|(source, memory)| memory.before(*source));
        known.or_else(memory)
    }

    fn has(&self, name: &Key, claim: &Claim) -> bool {
        self.before(name).is_some_and(|before| before.members.contains(claim))
    }
}

/// The names of now. Pure, and the same whether the addresses came one by one or all at
/// once, but for who was there first.
///
/// `previous` is of the same rules; after a reload it is the default, and `remembered`
/// says what was before.
pub fn discover(
    previous: &Discovered,
    now: &Now<'_>,
    answered: Option<Answered>,
    remembered: &Remembered,
) -> Discovered {
    let past = Past { known: previous, remembered };
    let next = brought_up(previous, &past, now, answered);
    let is_same = is_same(&previous.seen, now.sources) && next.names.ptr_eq(&previous.names);
    if !next.incomplete || is_same {
        return next;
    }
    // There may be room now for what was left out. An answer counts once, and what is
    // remembered has counted where its source has spoken.
    let silent = remembered.iter().filter(|(_, (source, _))| now.is_silent(*source));
    let remembered = &silent.map(|(name, memory)| (name.clone(), memory.clone())).collect();
    let none = Discovered { losses: next.losses.clone(), ..Discovered::default() };
    let past = Past { known: &next, remembered };
    let whole = brought_up(&none, &past, &Now { answered: None, ..*now }, None);
    match whole == next {
        // What is as it was stays the same memory.
        true => Discovered { incomplete: whole.incomplete, ..next },
        false => whole,
    }
}

fn is_same(was: &[Option<Arc<Entries>>], is: &[Option<Arc<Entries>>]) -> bool {
    let same = |(was, is): (&Option<Arc<Entries>>, &Option<Arc<Entries>>)| match (was, is) {
        (Some(was), Some(is)) => Arc::ptr_eq(was, is),
        (was, is) => was.is_none() && is.is_none(),
    };
    was.len() == is.len() && was.iter().zip(is).all(same)
}

/// `previous`, with what has changed since; `past` says who had the names of which that is.
fn brought_up(
    previous: &Discovered,
    past: &Past<'_>,
    now: &Now<'_>,
    answered: Option<Answered>,
) -> Discovered {
    let mut next = previous.clone();
    next.counts.resize(now.rules.zones(), 0);
    next.losses.resize_with(now.sources.len(), NameLosses::default);
    let touched = touched(previous, past, now, &mut next);
    // Those that are there first: they keep their place.
    let all = breathing(touched.0).map(|(name, of)| (past.before(&name), name, of));
    let (known, new): (Vec<_>, Vec<_>) = all.partition(|(before, ..)| before.is_some());
    for (before, name, (zone, claims)) in breathing(known.into_iter().chain(new)) {
        let decided = decide(now, zone, &before.unwrap_or_default(), &claims);
        next.incomplete |= decided.is_none() && !claims.is_empty();
        next.put(now, &name, zone, decided);
    }
    next.settle(now, answered.as_ref());
    next.seen = now.sources.to_vec();
    next
}

/// The names that may be another's than they were.
fn touched(
    previous: &Discovered,
    past: &Past<'_>,
    now: &Now<'_>,
    next: &mut Discovered,
) -> Touched {
    let mut touched = Touched::default();
    let none = Arc::new(Entries::new());
    for (source, is) in now.sources.iter().enumerate() {
        let was = previous.seen.get(source).and_then(Option::as_ref).unwrap_or(&none);
        let is = is.as_ref().unwrap_or(&none);
        if Arc::ptr_eq(was, is) {
            continue;
        }
        for difference in breathing(was.diff(is)) {
            let change = match difference {
                DiffItem::Add(_, new) => [None, Some(new)],
                DiffItem::Remove(_, old) => [Some(old), None],
                DiffItem::Update { old: (_, old), new: (_, new) } => [Some(old), Some(new)],
            };
            next.take_address(now, past, source, change, &mut touched);
        }
    }
    for name in &past.known.notable {
        if let Some(named) = past.known.names.get(name) {
            touched.claims(previous, name.clone(), named.zone);
        }
    }
    for (name, (source, _)) in past.remembered.iter().filter(|(_, (_, m))| m.gone.is_some()) {
        if let Some(zone) = now.rules.zone_that_discovers(name, *source) {
            touched.claims(previous, name.clone(), zone);
        }
    }
    touched
}

impl Memory {
    fn of(named: &Named) -> Self {
        let source = named.source();
        let came_from = named.came_from.as_ref().filter(|from| from.0.source == source);
        Self {
            members: named.members.iter().map(|member| member.claim().allocation).collect(),
            gone: named.gone,
            came_from: came_from.map(|from| (from.0.allocation.clone(), from.1)),
            goes_back: named.goes_back,
        }
    }

    fn before(&self, source: SourceId) -> Before {
        let claim = |allocation: &Allocation| Claim { source, allocation: allocation.clone() };
        let came_from = self.came_from.as_ref();
        Before {
            members: self.members.iter().map(claim).collect(),
            gone: self.gone,
            came_from: came_from.map(|(from, at)| Box::new((claim(from), *at))),
            goes_back: self.goes_back,
            remembered: true,
        }
    }
}
