//! What a swap changes, name by name: for the log and the history.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::background::breathing;
use crate::compile::Data;
use crate::config::SourceId;
use crate::name::Key;
use crate::snapshot::Snapshot;

/// One bound name's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The name, with its final dot.
    pub name: String,
    /// Views that see the change.
    pub views: Vec<String>,
    /// What was answered.
    pub old: String,
    /// What is answered now.
    pub new: String,
    /// Names of the sources whose word the new answer is.
    pub sources: Vec<String>,
    /// The same, as indices of the configuration.
    #[serde(skip)]
    pub source_ids: Vec<SourceId>,
}

/// The changes of bound names from `old` to `new`, in order of name. Zones
/// that were read anew from their files in between are left out: what changed
/// there is the operator's own doing.
pub fn changes(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let mut all: BTreeMap<(Key, String, String), Change> = BTreeMap::new();
    for (before, after) in old.views.iter().zip(&new.views) {
        for (origin, table) in after.zones.iter() {
            let Some(was) = before.zones.get(origin.octets()) else { continue };
            if Arc::ptr_eq(was, table) || !Arc::ptr_eq(&was.zone, &table.zone) {
                continue;
            }
            for (name, is) in breathing(table.resolved.unshared(&was.resolved)) {
                let Some(was) = was.resolved.get(name.octets()) else { continue };
                if was.data == is.data {
                    continue;
                }
                let (old, now) = (was.data.to_string(), is.data.to_string());
                let change =
                    all.entry((name.clone(), old.clone(), now.clone())).or_insert_with(|| Change {
                        name: name.to_string(),
                        views: Vec::new(),
                        old,
                        new: now,
                        sources: Vec::new(),
                        source_ids: Vec::new(),
                    });
                change.views.push(after.name.to_string());
                for id in is.basis.iter().flat_map(|b| &b.sources) {
                    if !change.source_ids.contains(id) {
                        change.source_ids.push(*id);
                        change.sources.extend(new.sources.get(*id).map(|s| s.name.clone()));
                    }
                }
            }
        }
    }
    all.into_values().collect()
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Data::Absent => f.write_str("absent"),
            Data::NotReady => f.write_str("not ready"),
            Data::Cname(name) => write!(f, "{name}"),
            Data::Nothing(why) => write!(f, "no address ({why})"),
            Data::Addresses(all) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                f.write_str(&all.join(" "))
            }
        }
    }
}
