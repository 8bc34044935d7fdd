//! A map from names to values that is read like any other and copied cheaply.
//!
//! Its entries are spread by hash over small tables, each behind an `Arc` of
//! its own. A copy shares all of them; an insertion copies the one it lands
//! in. So a snapshot in which one name differs from the last costs
//! microseconds, with ten names or with a million.
//!
//! What a look-up costs is waiting for memory that was last read thousands of
//! queries ago. Here that is two places: the slot in its table, which tells
//! nearly all other names apart by 32 bits of their hash, and the key.

use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::dns::name::Key;
use crate::snapshot::spot::{self, MEAN, Spot};

/// So many slots behind the first one to look in are too many.
const FAR: usize = 32;

/// A map by folded wire name.
pub struct NameMap<V> {
    hasher: RandomState,
    /// At least one.
    tables: Arc<[Table<V>]>,
    len: usize,
}

/// Open addressing; the number of slots is a power of two.
type Table<V> = Arc<[Option<Named<V>>]>;

/// A name and its value.
#[derive(Clone)]
struct Named<V> {
    /// As in its [`Spot`].
    tag: u32,
    key: Key,
    value: V,
}

impl<V> NameMap<V> {
    /// An empty map, laid out for about `names` names. With more than twice as
    /// many it is laid out anew.
    pub fn with_capacity(names: usize) -> Self {
        Self { hasher: RandomState::default(), tables: tables_for(names), len: 0 }
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a folded wire name.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        let spot = self.spot(name);
        let table = self.tables.get(spot.part)?;
        let at = find(table, spot.tag, |key| key.octets() == name).ok()?;
        table.get(at)?.as_ref().map(|entry| &entry.value)
    }

    /// A folded wire name as it is in here, and its value. Not the way of `get`, which
    /// answers wait for: it costs instructions there.
    pub fn named(&self, name: &[u8]) -> Option<(&Key, &V)> {
        let spot = self.spot(name);
        let table = self.tables.get(spot.part)?;
        let at = find(table, spot.tag, |key| key.octets() == name).ok()?;
        table.get(at)?.as_ref().map(|entry| (&entry.key, &entry.value))
    }

    /// Where a folded wire name would be found.
    fn spot(&self, name: &[u8]) -> Spot {
        Spot::of(&self.hasher, self.tables.len(), name)
    }

    /// Is a folded wire name in it?
    pub fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Every name and its value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.tables.iter().flat_map(|table| pairs(table))
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The names that may have another value than in `before`, or none there:
    /// those in tables that the two do not share.
    pub fn unshared<'m>(&'m self, before: &'m Self) -> impl Iterator<Item = (&'m Key, &'m V)> {
        let shared = |(at, table): &(usize, &Table<V>)| {
            before.tables.get(*at).is_some_and(|old| Arc::ptr_eq(old, table))
        };
        let tables = self.tables.iter().enumerate().filter(move |at| !shared(at));
        tables.flat_map(|(_, table)| pairs(table))
    }
}

impl<V: Clone> NameMap<V> {
    /// Gives a name its value, in place of the one it had, which is returned.
    pub fn insert(&mut self, key: Key, value: V) -> Option<V> {
        let Spot { part, tag } = self.spot(key.octets());
        let table = Arc::make_mut(&mut self.tables).get_mut(part)?;
        let is_it = |known: &Key| known.octets() == key.octets();
        let at = match find(table, tag, is_it) {
            Ok(at) => at,
            Err(free) => {
                self.len += 1;
                match free.filter(|at| !is_far(*at, tag, table.len())) {
                    Some(at) => at,
                    None => {
                        grow(table);
                        // However far: no table is full that was grown.
                        find(table, tag, is_it).unwrap_or_else(Option::unwrap_or_default)
                    }
                }
            }
        };
        let entry = Named { tag, key, value };
        let old = Arc::make_mut(table).get_mut(at)?.replace(entry).map(|old| old.value);
        if self.len > 2 * MEAN * self.tables.len() {
            self.spread();
        }
        old
    }

    /// Lays it out for twice the names it has.
    fn spread(&mut self) {
        let tables = tables_for(2 * self.len);
        let hasher = self.hasher.clone();
        let old = std::mem::replace(self, Self { hasher, tables, len: 0 });
        for (key, value) in old.iter() {
            self.insert(key.clone(), value.clone());
        }
    }

    /// Takes a name out; returns its value.
    pub fn remove(&mut self, name: &[u8]) -> Option<V> {
        let Spot { part, tag } = self.spot(name);
        // What is not there must not cost a copy.
        let at = find(self.tables.get(part)?, tag, |key| key.octets() == name).ok()?;
        let table = Arc::make_mut(&mut self.tables).get_mut(part)?;
        let removed = Arc::make_mut(table).get_mut(at)?.take()?;
        self.len -= 1;
        // Others may have been put behind it.
        *table = laid_out(table, table.len());
        Some(removed.value)
    }
}

fn tables_for<V>(names: usize) -> Arc<[Table<V>]> {
    let tables = names.div_ceil(MEAN).max(1);
    // Room enough to find a free slot soon.
    let slots = (names.div_ceil(tables) * 3 / 2).next_power_of_two();
    (0..tables).map(|_| empty(slots)).collect()
}

fn empty<V>(slots: usize) -> Table<V> {
    (0..slots).map(|_| None).collect()
}

fn pairs<V>(table: &Table<V>) -> impl Iterator<Item = (&Key, &V)> {
    table.iter().flatten().map(|entry| (&entry.key, &entry.value))
}

/// The slot of the key with a tag that is the one looked for, or the free slot
/// where it would be looked for last; neither where the table is full.
fn find<V>(
    table: &[Option<Named<V>>],
    tag: u32,
    is_it: impl Fn(&Key) -> bool,
) -> Result<usize, Option<usize>> {
    for step in 0..table.len() {
        let at = spot::slot(tag, step, table.len());
        match table.get(at) {
            Some(Some(entry)) if entry.tag == tag && is_it(&entry.key) => return Ok(at),
            Some(Some(_)) => {}
            Some(None) | None => return Err(Some(at)),
        }
    }
    Err(None)
}

/// Is a slot so far from where the tag is looked for first that the table
/// should be larger?
fn is_far(at: usize, tag: u32, slots: usize) -> bool {
    at.wrapping_sub(tag as usize) & (slots - 1) > (slots / 4).min(FAR)
}

fn grow<V: Clone>(table: &mut Table<V>) {
    let used = table.iter().flatten().count();
    // Equal tags would be far apart in any table.
    if used * 4 > table.len() {
        *table = laid_out(table, table.len() * 2);
    }
}

/// The entries of a table in one of `slots` slots, of which there must be
/// enough.
fn laid_out<V: Clone>(table: &[Option<Named<V>>], slots: usize) -> Table<V> {
    let mut new = vec![None; slots];
    for entry in table.iter().flatten() {
        // All are different.
        if let Err(Some(at)) = find(&new, entry.tag, |_| false)
            && let Some(slot) = new.get_mut(at)
        {
            *slot = Some(entry.clone());
        }
    }
    new.into()
}

impl<V> Clone for NameMap<V> {
    fn clone(&self) -> Self {
        Self { hasher: self.hasher.clone(), tables: Arc::clone(&self.tables), len: self.len }
    }
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<V: fmt::Debug> fmt::Debug for NameMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V: Clone> FromIterator<(Key, V)> for NameMap<V> {
    fn from_iter<I: IntoIterator<Item = (Key, V)>>(all: I) -> Self {
        let all = all.into_iter();
        let mut map = Self::with_capacity(all.size_hint().0);
        all.for_each(|(key, value)| drop(map.insert(key, value)));
        map
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn key(n: usize) -> Key {
        Key::parse(&format!("h{n}.example.com"), None).unwrap()
    }

    #[test]
    fn behaves_as_a_map() {
        for size in [0, 1, 100, 5_000] {
            let mut map: NameMap<usize> = (0..size).map(|n| (key(n), n)).collect();
            assert_eq!((map.len(), map.is_empty()), (size, size == 0));
            for n in (0..size).step_by(3) {
                assert_eq!(map.insert(key(n), n + size), Some(n));
            }
            // Beyond what it was laid out for.
            for n in size..size + 1_000 {
                assert_eq!(map.get(key(n).octets()), None);
                assert_eq!(map.insert(key(n), n), None);
            }
            let expected: HashMap<Key, usize> = (0..size + 1_000)
                .map(|n| (key(n), if n < size && n % 3 == 0 { n + size } else { n }))
                .collect();
            for (key, n) in &expected {
                assert_eq!(map.get(key.octets()), Some(n));
            }
            let all: HashMap<Key, usize> = map.iter().map(|(k, n)| (k.clone(), *n)).collect();
            assert_eq!(all, expected);
            assert_eq!(map.len(), expected.len());
            assert_eq!(map.values().count(), expected.len());
        }
    }

    #[test]
    fn tables_grow_when_they_are_full_and_take_equal_tags() {
        let entry = |tag: u32| Named { tag, key: key(tag as usize), value: tag };
        let mut table: Table<u32> = empty(1);
        for tag in 0..50 {
            // As an insertion, but all at the same place.
            let at = match find(&table, 7, |known| *known == key(tag as usize)) {
                Err(Some(at)) if !is_far(at, 7, table.len()) => at,
                Err(_) => {
                    grow(&mut table);
                    find(&table, 7, |_| false).unwrap_err().unwrap()
                }
                Ok(_) => panic!("{tag} is not there yet"),
            };
            let Named { key, value, .. } = entry(tag);
            Arc::make_mut(&mut table)[at] = Some(Named { tag: 7, key, value });
        }
        for n in 0..50 {
            let at = find(&table, 7, |known| *known == key(n as usize)).unwrap();
            assert_eq!(table[at].as_ref().unwrap().value, n);
        }
        assert!(table.len() <= 256, "{} slots for 50 names", table.len());
    }

    proptest! {
        /// As a plain map, whatever is put in and taken out, and as are its
        /// copies.
        #[test]
        fn any_changes(names in 0usize..200, steps in vec((0usize..300, any::<bool>()), 0..400)) {
            let mut map: NameMap<usize> = (0..names).map(|n| (key(n), n)).collect();
            let mut plain: HashMap<Key, usize> = (0..names).map(|n| (key(n), n)).collect();
            let (copy, plain_copy) = (map.clone(), plain.clone());
            for (at, (n, put)) in steps.into_iter().enumerate() {
                match put {
                    true => prop_assert_eq!(map.insert(key(n), at), plain.insert(key(n), at)),
                    false => prop_assert_eq!(map.remove(key(n).octets()), plain.remove(&key(n))),
                }
            }
            for (map, plain) in [(map, plain), (copy, plain_copy)] {
                prop_assert_eq!(map.len(), plain.len());
                for n in 0..300 {
                    prop_assert_eq!(map.get(key(n).octets()), plain.get(&key(n)));
                }
                let all: HashMap<Key, usize> = map.iter().map(|(k, v)| (k.clone(), *v)).collect();
                prop_assert_eq!(all, plain);
            }
        }
    }

    #[test]
    fn an_insertion_into_a_copy_leaves_the_rest_shared() {
        let before: NameMap<usize> = (0..10_000).map(|n| (key(n), n)).collect();
        let mut after = before.clone();
        assert_eq!(after.unshared(&before).count(), 0);
        after.insert(key(17), 0);
        assert_eq!(
            (before.get(key(17).octets()), after.get(key(17).octets())),
            (Some(&17), Some(&0))
        );
        let unshared: HashSet<_> = after.unshared(&before).map(|(key, _)| key.clone()).collect();
        assert!(unshared.contains(&key(17)));
        assert!(unshared.len() < 4 * MEAN, "{} names were copied", unshared.len());
        let other: NameMap<usize> = (0..10).map(|n| (key(n), n)).collect();
        assert_eq!(other.unshared(&before).count(), 10, "nothing in common");
    }

    #[test]
    fn names_are_spread_evenly() {
        let map: NameMap<()> = (0..100_000).map(|n| (key(n), ())).collect();
        assert_evenly(&map, 1);
        // Laid out for none.
        let mut map: NameMap<()> = NameMap::default();
        for n in 0..100_000 {
            assert_eq!(map.insert(key(n), ()), None);
        }
        assert_evenly(&map, 4);
    }

    fn assert_evenly(map: &NameMap<()>, sparse: usize) {
        let sizes = map.tables.iter().map(|table| pairs(table).count());
        let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
        // Six standard deviations are 54 names.
        assert!(least > MEAN / 8 / sparse && most < 3 * MEAN, "from {least} to {most} in a table");
    }
}
