//! The tags of an address.
//!
//! There are up to fifty of each of thousands of addresses, read often and never
//! changed: so the texts of one address stand in one piece of memory, and an address
//! without tags has none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Tags: each key once, in order of key. A copy shares them. Read and written by serde
/// as a map.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<Texts>>);

#[derive(PartialEq, Eq)]
struct Texts {
    /// A key, its value, the next key, and so on.
    all: Box<str>,
    /// Where each of them ends. What an answer may have in all is far below 4 GiB.
    ends: Box<[u32]>,
}

impl Tags {
    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |texts| texts.ends.len() / 2)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find_map(|(known, value)| (known == key).then_some(value))
    }

    /// Each key and its value, in order of key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.0.iter();
        texts.flat_map(|texts| (0..texts.ends.len() / 2).filter_map(|nth| texts.pair(nth)))
    }

    /// With another tag, in place of the one with its key.
    pub fn insert(&mut self, key: &str, value: &str) {
        *self = self.iter().chain([(key, value)]).collect();
    }
}

impl Texts {
    fn pair(&self, nth: usize) -> Option<(&str, &str)> {
        Some((self.text(2 * nth)?, self.text(2 * nth + 1)?))
    }

    fn text(&self, nth: usize) -> Option<&str> {
        let begin = nth.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before))?;
        self.all.get(*begin as usize..*self.ends.get(nth)? as usize)
    }
}

/// The last of several with one key counts, as in any map.
impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        let all: Vec<(K, V)> = all.into_iter().collect();
        let in_order: BTreeMap<&str, &str> =
            all.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        if in_order.is_empty() {
            return Self::default();
        }
        let length = in_order.iter().map(|(key, value)| key.len() + value.len()).sum();
        let mut texts = String::with_capacity(length);
        let mut ends = Vec::with_capacity(2 * in_order.len());
        for text in in_order.into_iter().flat_map(|(key, value)| [key, value]) {
            texts.push_str(text);
            ends.push(texts.len() as u32);
        }
        Self(Some(Arc::new(Texts { all: texts.into(), ends: ends.into() })))
    }
}

impl<K: AsRef<str>, V: AsRef<str>> From<BTreeMap<K, V>> for Tags {
    fn from(all: BTreeMap<K, V>) -> Self {
        all.into_iter().collect()
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> From<[(K, V); N]> for Tags {
    fn from(all: [(K, V); N]) -> Self {
        all.into_iter().collect()
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        BTreeMap::<String, String>::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is put in, and however often.
        #[test]
        fn they_are_as_any_map_of_texts(
            all in vec(("[a-cä]{0,3}", ".{0,5}"), 0..12),
            others in vec(("[a-cä]{0,3}", ".{0,5}"), 0..3),
        ) {
            let map: BTreeMap<String, String> = all.iter().cloned().collect();
            let tags: Tags = all.into_iter().collect();
            let pairs = map.iter().map(|(key, value)| (&**key, &**value));
            prop_assert!(tags.iter().eq(pairs));
            prop_assert_eq!((tags.len(), tags.is_empty()), (map.len(), map.is_empty()));
            for key in map.keys().chain(others.iter().map(|(key, _)| key)) {
                prop_assert_eq!(tags.get(key), map.get(key).map(|value| &**value));
            }
            let json = serde_json::to_string(&tags).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&map).unwrap());
            prop_assert_eq!(&serde_json::from_str::<Tags>(&json).unwrap(), &tags);
            prop_assert_eq!(format!("{:?}", tags), format!("{:?}", map));
            let (mut more, mut more_in_map) = (tags.clone(), map.clone());
            for (key, value) in others {
                more.insert(&key, &value);
                more_in_map.insert(key, value);
            }
            prop_assert_eq!(more == tags, more_in_map == map);
            prop_assert_eq!(more, Tags::from(more_in_map));
        }
    }
}
