//! Version 2, in `state-2.json`: by allocation, and with the serial of each zone in
//! each view.
//!
//! It names the version 1 that is written with it, and the one that lay there then.
//! Any other that is found there was written since, by an older eipdns, and is the
//! newer of the two. No clock has a say in that: it may have been set back in between.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::interfaces;
use super::names::{self, NamesFile};
use super::seal::seal;
use super::{FORMAT, FormatError, SourceFiles, contents, into_states, rfc3339, source_files};
use crate::source::clock::Drift;
use crate::state::{SerialsKept, State, ZoneSerial};

/// As its file says.
pub(super) const VERSION: u64 = 2;

/// The state in a file, and which files of version 1 are not newer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Second {
    /// What it says.
    pub state: State,
    /// When it was written.
    pub written: SystemTime,
    /// The version 1 beside it.
    pub beside: Beside,
}

/// Files of version 1, by their last line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// The one with the same contents, written next.
    pub with: String,
    /// The one that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

impl Beside {
    /// Is the version 1 that ends with this line not newer?
    pub(crate) fn knows(&self, seal: &str) -> bool {
        self.with == seal || self.before.as_deref() == Some(seal)
    }
}

#[derive(Serialize, Deserialize)]
struct StateFile<'s> {
    format: String,
    version: u64,
    #[serde(with = "rfc3339")]
    written: SystemTime,
    version_1: Beside,
    sources: SourceFiles<'s>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    names: BTreeMap<String, NamesFile>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    interfaces: BTreeMap<String, interfaces::File>,
    serials: BTreeMap<String, ZoneSerial>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    view_serials: BTreeMap<String, BTreeMap<String, ZoneSerial>>,
}

/// The octets of the file, written at a time that the process's clock has shown.
///
/// # Errors
/// None that a state can cause; serde's signature has one.
pub(crate) fn render(
    state: &State,
    written: SystemTime,
    drift: Drift,
    beside: Beside,
) -> Result<Vec<u8>, serde_json::Error> {
    seal(&StateFile {
        format: FORMAT.to_owned(),
        version: VERSION,
        written: drift.shown(written),
        version_1: beside,
        sources: source_files(state, drift),
        names: names::files(state, drift),
        interfaces: interfaces::files(state),
        serials: state.serials.zones.clone(),
        view_serials: state.serials.views.clone(),
    })
}

/// What the octets of the file say.
///
/// # Errors
/// They are not what [`render`] makes, here or in a later eipdns that only adds keys.
pub(crate) fn parse(octets: &[u8]) -> Result<Second, FormatError> {
    let file: StateFile<'_> = serde_json::from_slice(contents(octets, VERSION)?)?;
    let serials = SerialsKept { zones: file.serials, views: file.view_serials };
    let mut sources = into_states(file.sources)?;
    names::put(file.names, &mut sources)?;
    interfaces::put(file.interfaces, &mut sources);
    let state = State { sources, serials: serials.into() };
    Ok(Second { state, written: file.written, beside: file.version_1 })
}
