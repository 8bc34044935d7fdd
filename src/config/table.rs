//! One table of a file: hands out its keys, and reports those nobody asks for.

use super::scope::Scope;
use super::toml::{DeTable, File, KeyAndValue};
use super::value::{At, Value};
use super::words::{nearest, tick};
use crate::diag::Place;

/// A table whose keys are asked for one by one.
pub(super) struct Table<'f> {
    file: &'f File<'f>,
    scope: Scope,
    place: Place,
    /// None: a section that is not in the file.
    map: Option<&'f DeTable<'f>>,
    /// Stands in for something that is no table, which has been reported.
    stand_in: bool,
    /// Every key that was asked for: the known ones.
    seen: Vec<&'static str>,
}

impl<'f> Table<'f> {
    /// A table that begins at `place`; without a map, one that is not there.
    pub(super) fn new(
        file: &'f File<'f>,
        scope: Scope,
        place: Place,
        map: Option<&'f DeTable<'f>>,
    ) -> Self {
        Self { file, scope, place, map, stand_in: false, seen: vec![] }
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// The keys that were asked for so far.
    pub(super) fn known(&self) -> &[&'static str] {
        &self.seen
    }

    /// Has it no entries?
    pub(super) fn is_empty(&self) -> bool {
        !self.stand_in && self.map.is_none_or(DeTable::is_empty)
    }

    /// Asks for `key` without looking into it.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Value<'f>> {
        if !self.seen.contains(&key) {
            self.seen.push(key);
        }
        self.map?.get_key_value(key).map(|entry| Value::of(self.file, entry))
    }

    /// Reads `key`, if it is there.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'f>) -> Option<T>,
    ) -> Option<T> {
        self.get(key).and_then(|v| read(&v))
    }

    /// Reads `key`; without it `consequence`, and `example` as the remedy.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        consequence: &str,
        example: &str,
        read: impl FnOnce(&Value<'f>) -> Option<T>,
    ) -> Option<T> {
        if let Some(value) = self.get(key) {
            return read(&value);
        }
        // Reported as an unknown key, it is not missing as well.
        if !self.has_slip_of(&[key]) {
            let scope = self.scope.label();
            self.missing(
                format!("`{key}` is missing in {scope}: {consequence}"),
                format!("add `{key} = {example}`"),
            );
        }
        None
    }

    /// Is there an unknown key that looks like one of these?
    pub(super) fn has_slip_of(&self, keys: &[&str]) -> bool {
        self.rest().iter().any(|(rest, _)| nearest(rest.value, keys.iter().copied()).is_some())
    }

    /// An error about the whole table.
    pub(super) fn error(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.file.error(self.place(), what, remedy);
    }

    /// Says that something is missing here, unless a mistake that has been
    /// reported may have swallowed it.
    pub(super) fn missing(&self, what: impl Into<String>, remedy: impl Into<String>) {
        if !self.file.is_broken() && !self.stand_in {
            self.error(what, remedy);
        }
    }

    /// A warning that something is missing here.
    pub(super) fn lacks(&self, what: impl Into<String>, remedy: impl Into<String>) {
        if !self.file.is_broken() && !self.stand_in {
            self.file.warn(self.place(), what, remedy);
        }
    }

    /// The section `[key]`; an empty one when it is not there.
    pub(super) fn section(&mut self, key: &'static str, scope: Scope) -> Table<'f> {
        let empty = Table::new(self.file, scope, self.place(), None);
        let Some(value) = self.get(key) else { return empty };
        let remedy = format!("write `[{key}]` once");
        let blocks = value.as_list().unwrap_or_default();
        match blocks.first().filter(|first| first.is_table()) {
            Some(first) => {
                let what =
                    format!("`{key}` is written with double brackets, but there is only one");
                value.error(what, &remedy);
                first.table(scope, &remedy)
            }
            None => value.table(scope, &remedy),
        }
        .unwrap_or(Table { stand_in: true, ..empty })
    }

    /// The blocks `[[key]]`, in order.
    pub(super) fn blocks(&mut self, key: &'static str, scope: Scope) -> Vec<Table<'f>> {
        let Some(value) = self.get(key) else { return vec![] };
        let remedy = format!("write `[[{key}]]` above the keys of each one");
        if value.is_table() {
            let what = format!("`{key}` is written with single brackets, but there may be several");
            value.error(what, format!("write `[[{key}]]`"));
            return value.table(scope, &remedy).into_iter().collect();
        }
        match value.as_list() {
            Some(all) if !all.is_empty() => {
                all.iter().filter_map(|v| v.table(scope, &remedy)).collect()
            }
            _ => {
                value.wrong(&format!("`[[{key}]]` blocks"), &remedy);
                vec![]
            }
        }
    }

    /// Every entry that can be trusted, in order of place.
    pub(super) fn entries(&self) -> Vec<(At<&'f str>, Value<'f>)> {
        let mut all: Vec<KeyAndValue<'f>> =
            self.map.map_or_else(Vec::new, |map| map.iter().collect());
        all.sort_by_key(|(key, _)| key.span().start);
        all.into_iter()
            .filter_map(|(key, value)| {
                let place = self.file.trusted(key.span().start)?;
                let at = At { place, value: key.get_ref().as_ref() };
                Some((at, Value::of(self.file, (key, value))))
            })
            .collect()
    }

    /// The entries nobody asked for so far.
    pub(super) fn rest(&self) -> Vec<(At<&'f str>, Value<'f>)> {
        let mut all = self.entries();
        all.retain(|(key, _)| !self.seen.contains(&key.value));
        all
    }

    /// Reports every key nobody asked for.
    pub(super) fn finish(self) {
        for (key, value) in self.rest() {
            let known = self.seen.iter().copied();
            let what = format!("unknown key {} in {}", tick(key.value), self.scope.label());
            let remedy = match nearest(key.value, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => self.scope.unknown_key_remedy(&self.seen),
            };
            value.at_key().error(what, remedy);
        }
    }
}
