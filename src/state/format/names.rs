//! Names from tags that tags alone do not give: held, or wanted by several addresses.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{FormatError, Time};
use crate::dns::name::Key;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::discover::Memory;
use crate::state::{Names, SourceState, State};

/// Those of one source.
#[derive(Serialize, Deserialize)]
pub(super) struct NamesFile {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    held: BTreeMap<String, NameFile>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    released: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct NameFile {
    addresses: Vec<Allocation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone_since: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    came_from: Option<CameFrom>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    goes_back: bool,
}

#[derive(Serialize, Deserialize)]
struct CameFrom {
    address: Allocation,
    at: Time,
}

/// By name of the source.
pub(super) fn files(state: &State, drift: Drift) -> BTreeMap<String, NamesFile> {
    let some = state.sources.iter().filter(|(_, source)| source.names != Names::default());
    some.map(|(name, source)| (name.clone(), NamesFile::of(&source.names, drift))).collect()
}

/// Puts them to their sources.
pub(super) fn put(
    files: BTreeMap<String, NamesFile>,
    sources: &mut BTreeMap<String, SourceState>,
) -> Result<(), FormatError> {
    for (name, file) in files {
        let names = file.into_names()?;
        if let Some(source) = sources.get_mut(&name) {
            source.names = names;
        }
    }
    Ok(())
}

impl NamesFile {
    fn of(names: &Names, drift: Drift) -> Self {
        let time = |at| Time(drift.shown(at));
        let name = |(name, memory): (&Key, &Memory)| {
            let came_from = memory.came_from.as_ref();
            let file = NameFile {
                addresses: memory.members.clone(),
                gone_since: memory.gone.map(time),
                came_from: came_from
                    .map(|(address, at)| CameFrom { address: address.clone(), at: time(*at) }),
                goes_back: memory.goes_back,
            };
            (name.to_string(), file)
        };
        Self {
            held: names.held.iter().map(name).collect(),
            released: names.released.iter().map(ToString::to_string).collect(),
        }
    }

    fn into_names(self) -> Result<Names, FormatError> {
        let name = |(name, file): (String, NameFile)| {
            let memory = Memory {
                members: file.addresses,
                gone: file.gone_since.map(|Time(at)| at),
                came_from: file.came_from.map(|from| (from.address, from.at.0)),
                goes_back: file.goes_back,
            };
            Ok((key(&name)?, memory))
        };
        Ok(Names {
            held: self.held.into_iter().map(name).collect::<Result<_, FormatError>>()?,
            released: self.released.iter().map(|name| key(name)).collect::<Result<_, _>>()?,
        })
    }
}

fn key(name: &str) -> Result<Key, FormatError> {
    Key::parse(name, None)
        .map_err(|e| FormatError::Contents { what: format!("{name:?} is no domain name: {e}") })
}
