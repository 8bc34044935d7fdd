//! A map from names to values that is read like any other and copied cheaply.
//!
//! Its entries are spread by hash over small tables, each behind an `Arc` of
//! its own. A copy shares all of them; an insertion copies the one it lands
//! in. So a snapshot in which one name differs from the last costs
//! microseconds, with ten names or with a million, and a look-up is one hash
//! and one probe.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::name::Key;

/// How many names a small table is meant to hold: few, because a change copies
/// them all; many, because a change copies the list of tables, too. And so
/// many that a table of 128 places, 112 of them usable, rarely overflows.
const MEAN: usize = 80;

/// A map by folded wire name.
///
/// The hash is keyed, but not against people who choose the names that are
/// *in* the map: those are an operator's.
pub struct NameMap<V> {
    hasher: DefaultHashBuilder,
    /// At least one.
    tables: Arc<[Table<V>]>,
    len: usize,
}

type Table<V> = Arc<HashTable<(Key, V)>>;

impl<V> NameMap<V> {
    /// An empty map, laid out for about `names` names. More slow down only
    /// insertions into copies.
    pub fn with_capacity(names: usize) -> Self {
        let tables = names.div_ceil(MEAN).max(1);
        // Chance puts more into some than into others.
        let each = names.div_ceil(tables) * 5 / 4;
        Self {
            hasher: DefaultHashBuilder::default(),
            tables: (0..tables).map(|_| Arc::new(HashTable::with_capacity(each))).collect(),
            len: 0,
        }
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
        let hash = self.hash(name);
        let table = self.tables.get(self.place(hash))?;
        table.find(hash, |(key, _)| key.octets() == name).map(|(_, value)| value)
    }

    /// Is a folded wire name in it?
    pub fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Every name and its value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &V)> {
        self.tables.iter().flat_map(|table| table.iter()).map(|(key, value)| (key, value))
    }

    /// Every name, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.iter().map(|(key, _)| key)
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
        tables.flat_map(|(_, table)| table.iter()).map(|(key, value)| (key, value))
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        hasher.finish()
    }

    /// The number of the table for a hash. Inside a table the lowest bits of
    /// the hash and the seven highest count: here it is those between.
    fn place(&self, hash: u64) -> usize {
        let middle = u64::from((hash >> 24) as u32);
        ((middle * self.tables.len() as u64) >> 32) as usize
    }
}

impl<V: Clone> NameMap<V> {
    /// Gives a name its value; returns the one it had.
    pub fn insert(&mut self, key: Key, value: V) -> Option<V> {
        let hash = self.hash(key.octets());
        let at = self.place(hash);
        let hasher = &self.hasher;
        let rehash = |(key, _): &(Key, V)| {
            let mut hasher = hasher.build_hasher();
            hasher.write(key.octets());
            hasher.finish()
        };
        let table = Arc::make_mut(Arc::make_mut(&mut self.tables).get_mut(at)?);
        match table.find_mut(hash, |(known, _)| *known == key) {
            Some((_, known)) => Some(std::mem::replace(known, value)),
            None => {
                table.insert_unique(hash, (key, value), rehash);
                self.len += 1;
                None
            }
        }
    }
}

impl<V: Clone> NameMap<V> {
    /// Takes a name out; returns its value.
    pub fn remove(&mut self, name: &[u8]) -> Option<V> {
        // What is not there must not cost a copy.
        self.get(name)?;
        let hash = self.hash(name);
        let at = self.place(hash);
        let table = Arc::make_mut(Arc::make_mut(&mut self.tables).get_mut(at)?);
        let entry = table.find_entry(hash, |(key, _)| key.octets() == name).ok()?;
        self.len -= 1;
        Some(entry.remove().0.1)
    }
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
            assert_eq!(map.keys().count(), map.values().count());
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
        let sizes = map.tables.iter().map(|table| table.len());
        let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
        // Six standard deviations are 54 names.
        assert!(least > MEAN / 8 && most < 2 * MEAN, "from {least} to {most} in a table");
    }
}
