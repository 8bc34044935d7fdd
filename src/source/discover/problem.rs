//! What of tags gives no name, and why.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use super::{Claim, MAX_PROBLEMS};
use crate::host::text::brief;

/// As many characters of a word in a tag are shown.
const MAX_WORD: usize = 64;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is no domain name.
    BadName,
    /// It lies in no zone that discovers this tag.
    Outside,
    /// `[names]`, a nameserver or records have the name.
    Shadowed,
    /// Another address has it.
    SecondAddress,
    /// There are too many.
    TooMany,
}

impl Kind {
    /// All of them, in the order of metrics.
    pub const ALL: [Kind; 5] =
        [Kind::BadName, Kind::Outside, Kind::Shadowed, Kind::SecondAddress, Kind::TooMany];

    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::BadName => "bad_name",
            Kind::Outside => "outside",
            Kind::Shadowed => "shadowed",
            Kind::SecondAddress => "second_address",
            Kind::TooMany => "too_many",
        }
    }
}

/// One word of one address' tag that gives no name, or not everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What is wrong.
    pub kind: Kind,
    /// The address.
    pub claim: Claim,
    /// The name, or the word that is none.
    pub name: Box<str>,
    /// Why it is none, for people.
    pub why: Box<str>,
}

impl Problem {
    pub(super) fn new(kind: Kind, claim: Claim, name: &str, why: impl fmt::Display) -> Self {
        let shown: String = name.chars().flat_map(char::escape_debug).collect();
        Self { kind, claim, name: brief(&shown, MAX_WORD).into(), why: why.to_string().into() }
    }
}

/// What is wrong with each of many, [`MAX_PROBLEMS`] in all.
#[derive(Debug, Clone)]
pub(super) struct Problems<K: Ord> {
    all: OrdMap<K, Arc<[Problem]>>,
    count: usize,
}

impl<K: Ord> Default for Problems<K> {
    fn default() -> Self {
        Self { all: OrdMap::new(), count: 0 }
    }
}

impl<K: Ord> PartialEq for Problems<K> {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl<K: Ord + Clone> Problems<K> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.all.values().flat_map(|some| some.iter())
    }

    /// Those that were not there `before`.
    pub(super) fn news(&self, before: &Self) -> Vec<&Problem> {
        let mut all = Vec::new();
        for difference in before.all.diff(&self.all) {
            let (old, new) = match difference {
                DiffItem::Add(key, _) => (None, self.all.get(key)),
                DiffItem::Update { old: (_, old), new: (key, _) } => (Some(old), self.all.get(key)),
                DiffItem::Remove(..) => (None, None),
            };
            let is_new = |one: &&Problem| old.is_none_or(|old| !old.contains(one));
            all.extend(new.into_iter().flat_map(|new| new.iter()).filter(is_new));
        }
        all
    }

    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        self.all.ptr_eq(&other.all)
    }

    /// Sets or removes what is wrong with `key`. False if not all of it has room.
    pub(super) fn set(&mut self, key: &K, mut problems: Vec<Problem>) -> bool {
        let known = self.all.get(key);
        let others = self.count - known.map_or(0, |known| known.len());
        let fits = others + problems.len() <= MAX_PROBLEMS;
        problems.truncate(MAX_PROBLEMS.saturating_sub(others));
        self.count = others + problems.len();
        if problems.is_empty() {
            if known.is_some() {
                self.all.remove(key);
            }
        } else if known.is_none_or(|known| **known != *problems) {
            self.all.insert(key.clone(), problems.into());
        }
        fits
    }
}
