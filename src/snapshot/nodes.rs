//! The names of a zone and their prebuilt answers, packed.
//!
//! What an answer costs is waiting for memory that was last read thousands of
//! answers ago. Here that is two places. The first is a slot in an index, which
//! tells nearly all names apart by 32 bits of their hash. The second is where
//! the [`Ready`] of the name begins; those of many names stand one after the
//! other, so that all of them are in few pages of memory.
//!
//! Names are spread by hash over small sheets, each behind an `Arc` of its own.
//! A copy shares all of them; a change copies the one it lands in. So a
//! snapshot in which one name differs from the last costs microseconds, with
//! ten names or with a million.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::dns::name::Key;
use crate::host::background::{breathe, breathing};
use crate::snapshot::Node;
use crate::snapshot::ready::Ready;
use crate::snapshot::spot::{self, MEAN, Spot};

/// Octets that a processor reads at once.
const LINE: usize = 64;

/// Octets before what is ready: its length, and the number of the node.
const BEFORE: usize = 8;

/// The names of a zone.
#[derive(Clone)]
pub struct Nodes {
    hasher: RandomState,
    /// At least one.
    sheets: Arc<[Arc<Sheet>]>,
    len: usize,
}

/// What is at a name from now on; none: there is no such name any longer.
pub(crate) type NodeChange = (Key, Option<Arc<Node>>);

/// Some names.
#[derive(Default)]
pub struct Sheet {
    /// The index: open addressing; the number of slots is a power of two.
    slots: Box<[Slot]>,
    /// For each name the length of what is ready, the number of its node, and
    /// what is ready.
    octets: Box<[u8]>,
    nodes: Box<[Arc<Node>]>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// As in a name's [`Spot`].
    tag: u32,
    /// Where it begins among the octets, and 1; 0: the slot is free.
    begins: u32,
}

/// A name of a zone, found.
#[derive(Clone, Copy)]
pub struct Entry<'s> {
    sheet: &'s Sheet,
    /// Where it begins among the sheet's octets.
    begins: usize,
}

impl Nodes {
    /// The node of a folded wire name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.entry(name)?.node()
    }

    /// All that is known of a folded wire name.
    pub fn entry(&self, name: &[u8]) -> Option<Entry<'_>> {
        let spot = self.spot(name);
        self.sheets.get(spot.part)?.find(spot.tag, |entry| entry.ready().name() == name)
    }

    /// Where a folded wire name would be found.
    pub fn spot(&self, name: &[u8]) -> Spot {
        Spot::of(&self.hasher, self.sheets.len(), name)
    }

    /// Reads the first slot that a look-up at this spot reads, so that it is at
    /// hand by then. What it returns means nothing.
    pub fn touch(&self, spot: Spot) -> u32 {
        let sheet = self.sheets.get(spot.part);
        sheet.and_then(|sheet| sheet.slot(spot.tag, 0)).map_or(0, |slot| slot.tag)
    }

    /// What is at this spot, by the hash alone: the name that was looked for,
    /// or, once in billions of names, another one. With none it is not there.
    pub fn likely(&self, spot: Spot) -> Option<Entry<'_>> {
        self.sheets.get(spot.part)?.find(spot.tag, |_| true)
    }

    /// Every node, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.sheets.iter().flat_map(|sheet| &sheet.nodes)
    }

    /// Every name, in no order.
    #[cfg(test)]
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.sheets.iter().flat_map(|sheet| sheet.entries())
    }

    /// Puts nodes in place of those of the same names, adds those of names that
    /// come and takes out names that go, each name once. `ready` makes what answers
    /// for a node. Copies each sheet once that one of the names is on, and all of
    /// them when there are more than twice the names they were laid out for.
    pub fn change(&mut self, changed: &[NodeChange], ready: impl Fn(&Node) -> Ready) {
        let mut len = self.len;
        for (name, node) in breathing(changed) {
            match (self.get(name.octets()), node) {
                (None, Some(_)) => len += 1,
                (Some(_), None) => len -= 1,
                _ => {}
            }
        }
        if self.len == 0 || len > 2 * MEAN * self.sheets.len() {
            // Names that come one by one find room for as many again.
            let is_slow = len < self.len + self.len / 2;
            self.lay_out(if is_slow { 2 * len } else { len }, changed, &ready);
        } else {
            self.patch(changed, &ready);
        }
        self.len = len;
    }

    fn patch(&mut self, changed: &[NodeChange], ready: &impl Fn(&Node) -> Ready) {
        let mut by_sheet = BTreeMap::<usize, BTreeMap<&[u8], Option<&Arc<Node>>>>::new();
        for (name, node) in breathing(changed) {
            let some = by_sheet.entry(self.spot(name.octets()).part).or_default();
            some.insert(name.octets(), node.as_ref());
        }
        for (at, some) in by_sheet {
            let Some(sheet) = self.sheets.get(at) else { continue };
            let kept = sheet.entries().filter(|entry| !some.contains_key(entry.ready().name()));
            let new = some.values().copied().flatten().map(Item::New);
            let items: Vec<Item<'_>> = kept.map(Item::Kept).chain(new).collect();
            let sheet = Arc::new(Sheet::of_items(&items, ready, |name| self.spot(name).tag));
            if let Some(place) = Arc::make_mut(&mut self.sheets).get_mut(at) {
                *place = sheet;
            }
        }
    }

    /// Lays all out anew, for about so many names.
    fn lay_out(&mut self, names: usize, changed: &[NodeChange], ready: &impl Fn(&Node) -> Ready) {
        let count = names.div_ceil(MEAN).max(1);
        let spot = |name: &[u8]| Spot::of(&self.hasher, count, name);
        let concerned: HashSet<&[u8]> = match self.len {
            0 => HashSet::new(),
            _ => breathing(changed).map(|(name, _)| name.octets()).collect(),
        };
        let kept = self.sheets.iter().flat_map(|sheet| sheet.entries());
        let kept = kept.filter(|entry| !concerned.contains(entry.ready().name()));
        let new = changed.iter().filter_map(|(_, node)| node.as_ref());
        let mut by_sheet = vec![Vec::new(); count];
        for item in breathing(kept.map(Item::Kept).chain(new.map(Item::New))) {
            if let Some(some) = by_sheet.get_mut(spot(item.name()).part) {
                some.push(item);
            }
        }
        let sheet =
            |items: Vec<Item<'_>>| Sheet::of_items(&items, ready, |name| spot(name).tag).into();
        let sheets = by_sheet.into_iter().map(sheet).collect();
        self.sheets = sheets;
    }

    /// How many sheets it shares with `other`, and how many it has.
    #[cfg(test)]
    pub fn shared(&self, other: &Self) -> (usize, usize) {
        let pairs = self.sheets.iter().zip(other.sheets.iter());
        (pairs.filter(|(one, other)| Arc::ptr_eq(one, other)).count(), self.sheets.len())
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self { hasher: RandomState::default(), sheets: [Arc::default()].into(), len: 0 }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

impl Sheet {
    /// A sheet of one name.
    pub fn of_one(ready: Ready<&[u8]>, node: &Arc<Node>) -> Self {
        Self::new(std::iter::once((ready, node)), |_| 0)
    }

    /// `ready` makes what answers for what is new.
    fn of_items(
        items: &[Item<'_>],
        ready: &impl Fn(&Node) -> Ready,
        tag: impl Fn(&[u8]) -> u32,
    ) -> Self {
        breathe();
        let made = |item: &Item<'_>| match item {
            Item::Kept(_) => None,
            Item::New(node) => Some(ready(node)),
        };
        let made: Vec<Option<Ready>> = items.iter().map(made).collect();
        let names = items.iter().zip(&made).filter_map(|(item, made)| match item {
            Item::Kept(entry) => Some((entry.ready(), entry.node()?)),
            Item::New(node) => Some((made.as_ref()?.borrow(), *node)),
        });
        Self::new(names, tag)
    }

    /// Its only name, if it has one.
    pub fn one(&self) -> Option<Entry<'_>> {
        self.entries().next()
    }

    /// `tag` says how a name is found.
    fn new<'a>(
        names: impl Iterator<Item = (Ready<&'a [u8]>, &'a Arc<Node>)>,
        tag: impl Fn(&[u8]) -> u32,
    ) -> Self {
        let (mut octets, mut nodes, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for (ready, node) in names {
            // Some kilobytes, and never four gigabytes: those would have to be read
            // from files that are kept in memory, too.
            found.push(Slot { tag: tag(ready.name()), begins: octets.len() as u32 + 1 });
            octets.extend_from_slice(&(ready.octets().len() as u32).to_ne_bytes());
            octets.extend_from_slice(&(nodes.len() as u32).to_ne_bytes());
            octets.extend_from_slice(ready.octets());
            nodes.push(Arc::clone(node));
        }
        // Room enough that most names are in the first slot looked in, which is
        // as much as a processor guesses; and at least one is free.
        let count = (found.len() * 3).next_power_of_two();
        let mut slots = vec![Slot::default(); count];
        for slot in found {
            let mut places = (0..count).map(|step| spot::slot(slot.tag, step, count));
            let free = places.find(|at| slots.get(*at).is_some_and(|slot| slot.begins == 0));
            if let Some(place) = free.and_then(|at| slots.get_mut(at)) {
                *place = slot;
            }
        }
        Self { slots: slots.into(), octets: octets.into(), nodes: nodes.into() }
    }

    /// The slot that is looked in after so many others.
    fn slot(&self, tag: u32, step: usize) -> Option<&Slot> {
        self.slots.get(spot::slot(tag, step, self.slots.len()))
    }

    /// The name with a tag that is the one looked for.
    fn find<'s>(&'s self, tag: u32, is_it: impl Fn(&Entry<'s>) -> bool) -> Option<Entry<'s>> {
        for step in 0..self.slots.len() {
            let slot = self.slot(tag, step)?;
            let begins = (slot.begins as usize).checked_sub(1)?;
            let entry = Entry { sheet: self, begins };
            if slot.tag == tag && is_it(&entry) {
                return Some(entry);
            }
        }
        None
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let entry = Entry { sheet: self, begins: at };
            let (length, _) = entry.before()?;
            at += BEFORE + length;
            Some(entry)
        })
    }
}

impl fmt::Debug for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.nodes).finish()
    }
}

/// A name that a sheet is made with.
#[derive(Clone, Copy)]
enum Item<'s> {
    /// As it is on another sheet.
    Kept(Entry<'s>),
    /// To be made ready.
    New(&'s Arc<Node>),
}

impl<'s> Item<'s> {
    fn name(&self) -> &'s [u8] {
        match self {
            Item::Kept(entry) => entry.ready().name(),
            Item::New(node) => node.key.octets(),
        }
    }
}

impl<'s> Entry<'s> {
    /// The name and its answers.
    pub fn ready(&self) -> Ready<&'s [u8]> {
        let length = self.before().map_or(0, |(length, _)| length);
        let begins = self.begins + BEFORE;
        Ready::of(self.sheet.octets.get(begins..begins + length).unwrap_or_default())
    }

    /// The node of the name.
    pub fn node(&self) -> Option<&'s Arc<Node>> {
        let (_, number) = self.before()?;
        self.sheet.nodes.get(number)
    }

    /// Reads where it begins, and a cache line further, so that it is at hand
    /// when it is wanted. What it returns means nothing.
    pub fn touch(&self) -> u32 {
        let at = |at: usize| self.sheet.octets.get(at).copied().unwrap_or_default();
        (at(self.begins) ^ at(self.begins + LINE - 1)).into()
    }

    /// The length of what is ready, and the number of the node.
    fn before(&self) -> Option<(usize, usize)> {
        let octets = self.sheet.octets.get(self.begins..)?;
        let (length, octets) = octets.split_first_chunk()?;
        let number = octets.first_chunk()?;
        Some((u32::from_ne_bytes(*length) as usize, u32::from_ne_bytes(*number) as usize))
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ready().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::NodeKind;

    fn key(n: usize) -> Key {
        Key::parse(&format!("h{n}.example.com"), None).unwrap()
    }

    /// A node that is told from others by its digest.
    fn node(n: usize, digest: usize) -> Arc<Node> {
        let digest = digest as u128;
        let kind = NodeKind::Plain;
        Arc::new(Node { key: key(n), rrsets: [].into(), kind, basis: None, digest })
    }

    fn ready(node: &Node) -> Ready {
        Ready::new(node, true, |_| None)
    }

    fn at(n: usize, digest: Option<usize>) -> NodeChange {
        (key(n), digest.map(|digest| node(n, digest)))
    }

    fn nodes(count: usize) -> Nodes {
        let mut nodes = Nodes::default();
        nodes.change(&(0..count).map(|n| at(n, Some(n))).collect::<Vec<_>>(), ready);
        nodes
    }

    fn digest(nodes: &Nodes, n: usize) -> Option<u128> {
        let entry = nodes.entry(key(n).octets())?;
        let node = entry.node().unwrap();
        assert_eq!(entry.ready().name(), node.key.octets(), "answers of another name");
        assert!(Arc::ptr_eq(node, nodes.get(key(n).octets()).unwrap()));
        Some(node.digest)
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        for count in [0, 1, 2, 79, 81, 5_000] {
            let nodes = nodes(count);
            for n in 0..count + 100 {
                assert_eq!(digest(&nodes, n), (n < count).then_some(n as u128));
            }
            let mut all: Vec<u128> = nodes.values().map(|node| node.digest).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count as u128));
            assert_eq!(nodes.entries().count(), count);
        }
    }

    #[test]
    fn the_hash_alone_tells_most() {
        let (some, other) = (nodes(1_000), nodes(100));
        let likely = |n: usize| {
            let spot = some.spot(key(n).octets());
            some.touch(spot);
            some.likely(spot).map(|entry| {
                entry.touch();
                entry.node().unwrap().digest
            })
        };
        assert!((0..1_000).all(|n| likely(n) == Some(n as u128)));
        // One in millions of those has the tag of another on its sheet.
        assert!((1_000..2_000).filter(|n| likely(*n).is_some()).count() < 3);
        // Spots are those of one zone; in another there are others, or none.
        for n in 0..1_000 {
            let spot = some.spot(key(n).octets());
            other.touch(spot);
            assert!(other.likely(spot).is_none_or(|entry| entry.node().unwrap().digest < 100));
        }
    }

    #[test]
    fn equal_tags_are_told_apart_by_name() {
        let all: Vec<_> = (0..50).map(|n| node(n, n)).collect();
        let items: Vec<_> = all.iter().map(Item::New).collect();
        let sheet = Sheet::of_items(&items, &ready, |_| 7);
        let at = |n: usize| sheet.find(7, |entry| entry.ready().name() == key(n).octets());
        for n in 0..50 {
            assert_eq!(at(n).unwrap().node().unwrap().digest, n as u128);
        }
        assert!(at(50).is_none() && sheet.find(8, |_| true).is_none());
    }

    #[test]
    fn a_change_copies_one_sheet() {
        let before = nodes(10_000);
        let mut after = before.clone();
        after.change(&[at(17, Some(1))], ready);
        assert_eq!((digest(&before, 17), digest(&after, 17)), (Some(17), Some(1)));
        let (shared, all) = after.shared(&before);
        assert_eq!((shared + 1, all), (all, 125));
        // One that comes, one that goes, and one that was never there.
        for (n, now) in [(10_000, Some(1)), (18, None), (20_000, None)] {
            let mut next = before.clone();
            next.change(&[at(n, now)], ready);
            assert_eq!(digest(&next, n), now.map(|now| now as u128));
            let (shared, all) = next.shared(&before);
            assert!(shared + 1 >= all, "{} are copied", all - shared);
        }
    }

    #[test]
    fn it_grows_with_its_names() {
        let mut nodes = nodes(10);
        for n in 10..5_000 {
            nodes.change(&[at(n, Some(n))], ready);
        }
        assert!((0..5_000).all(|n| digest(&nodes, n) == Some(n as u128)));
        let sizes: Vec<usize> = nodes.sheets.iter().map(|sheet| sheet.nodes.len()).collect();
        assert!(sizes.iter().all(|size| *size < 3 * MEAN), "{sizes:?}");
        let all: Vec<NodeChange> = (0..5_000).map(|n| at(n, None)).collect();
        nodes.change(&all, ready);
        assert_eq!(nodes.values().count(), 0);
        assert_eq!(digest(&nodes, 17), None);
        nodes.change(&[at(17, Some(3))], ready);
        assert_eq!(digest(&nodes, 17), Some(3));
    }

    #[test]
    fn names_are_spread_evenly() {
        let nodes = nodes(50_000);
        let sizes: Vec<usize> = nodes.sheets.iter().map(|sheet| sheet.nodes.len()).collect();
        // Six standard deviations are 54 names.
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!(*least > MEAN / 8 && *most < 2 * MEAN, "from {least} to {most} on a sheet");
    }

    proptest! {
        /// As a plain map, whatever comes, goes and is replaced, and as are its copies.
        #[test]
        fn any_changes(
            count in 0usize..300,
            steps in vec(prop::collection::btree_map(0usize..640, any::<bool>(), 0..200), 0..10),
        ) {
            let mut plain: BTreeMap<usize, u128> = (0..count).map(|n| (n, n as u128)).collect();
            let mut some = nodes(count);
            let (copy, plain_copy) = (some.clone(), plain.clone());
            for (nth, names) in steps.into_iter().enumerate() {
                let digest = |n: usize| 1_000 * (nth + 1) + n;
                let changed: Vec<NodeChange> =
                    names.iter().map(|(n, there)| at(*n, there.then(|| digest(*n)))).collect();
                some.change(&changed, ready);
                for (n, there) in names {
                    match there {
                        true => drop(plain.insert(n, digest(n) as u128)),
                        false => drop(plain.remove(&n)),
                    }
                }
            }
            for (some, plain) in [(some, plain), (copy, plain_copy)] {
                prop_assert_eq!(some.len, plain.len());
                for n in 0..640 {
                    prop_assert_eq!(digest(&some, n), plain.get(&n).copied());
                }
                let all: HashSet<u128> = some.values().map(|node| node.digest).collect();
                prop_assert_eq!(all, plain.into_values().collect::<HashSet<u128>>());
            }
        }
    }
}
