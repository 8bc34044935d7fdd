//! Sets that `[names]` binds by tag. `compile` finds their addresses by itself; here it is
//! known who was in a set that would become empty, so that its loss is taken as that of
//! a name from tags.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::config::{Binding, Config, SourceId, Target, tag_words};
use crate::dns::name::Key;
use crate::source::inventory::Address;

/// A set, and who may be in it.
#[derive(Debug)]
pub(super) struct BoundSet {
    pub name: Key,
    /// The tags that an address must have.
    tags: BTreeMap<String, String>,
    /// The source that counts; none: all.
    pub source: Option<SourceId>,
    /// How long it is held; none: as the guard says.
    pub hold: Option<Duration>,
}

/// All of a configuration, by number.
#[derive(Debug, Default)]
pub(super) struct BoundSets {
    all: Vec<BoundSet>,
    by_name: HashMap<Key, usize>,
    /// By the first tag that is asked for: its key, then its value.
    by_tag: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl BoundSets {
    pub(super) fn of(config: &Config) -> Self {
        let bindings = config.zones.iter().flat_map(|zone| &zone.names);
        let mut sets = Self::default();
        for set in bindings.filter_map(BoundSet::of) {
            let nth = sets.all.len();
            sets.by_name.insert(set.name.clone(), nth);
            if let Some((key, value)) = set.tags.first_key_value() {
                let of_key = sets.by_tag.entry(key.clone()).or_default();
                of_key.entry(value.clone()).or_default().push(nth);
            }
            sets.all.push(set);
        }
        sets
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, nth: usize) -> Option<&BoundSet> {
        self.all.get(nth)
    }

    pub(super) fn of_name(&self, name: &Key) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Those that an address of a source is in.
    pub(super) fn with(
        &self,
        source: SourceId,
        address: &Address,
    ) -> impl Iterator<Item = (usize, &BoundSet)> {
        // Most configurations have none.
        let tags = (!self.all.is_empty()).then(|| address.tags.iter()).into_iter().flatten();
        let candidates = tags.filter_map(|(key, value)| self.by_tag.get(key)?.get(value)).flatten();
        let all = candidates.filter_map(|nth| Some((*nth, self.all.get(*nth)?)));
        all.filter(move |(_, set)| set.may(source) && set.has(address))
    }
}

impl BoundSet {
    fn of(binding: &Binding) -> Option<Self> {
        let Target::Tags(tags) = &binding.target else { return None };
        let (name, tags) = (binding.name.clone(), tags.clone());
        Some(Self { name, tags, source: binding.source, hold: binding.hold })
    }

    /// May addresses of this source be in it?
    pub(super) fn may(&self, source: SourceId) -> bool {
        self.source.is_none_or(|only| only == source)
    }

    fn has(&self, address: &Address) -> bool {
        self.tags.iter().all(|(key, value)| address.tags.get(key) == Some(value.as_str()))
    }

    /// The tags as an operator reads them.
    pub(super) fn tag(&self) -> String {
        tag_words(&self.tags)
    }
}
