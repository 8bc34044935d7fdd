//! Version 1, in `state.json`: what every eipdns so far reads.
//!
//! It is written beside version 2, so that going back to one of them serves what was
//! last known. They refuse keys that they do not know. So it has what they have:
//! addresses that have a public one, and one serial for a zone.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::seal::seal;
use super::{FORMAT, FormatError, SourceFiles, contents, into_states, rfc3339, source_files};
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::state::{SerialsKept, State, ZoneSerial};

/// As its file says.
pub(super) const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile<'s> {
    format: String,
    version: u64,
    #[serde(with = "rfc3339")]
    written: SystemTime,
    sources: SourceFiles<'s>,
    serials: BTreeMap<String, ZoneSerial>,
}

/// The octets of the file, written at a time that the process's clock has shown.
///
/// # Errors
/// None that a state can cause; serde's signature has one.
pub(crate) fn render(
    state: &State,
    written: SystemTime,
    drift: Drift,
) -> Result<Vec<u8>, serde_json::Error> {
    let has_public_ip = |allocation: &Allocation| matches!(allocation, Allocation::PublicIp(_));
    let mut sources = source_files(state, drift);
    for source in sources.values_mut() {
        source.without_public_ip.clear();
        source.released.retain(has_public_ip);
        source.superseded.retain(|allocation, _| has_public_ip(allocation));
    }
    seal(&StateFile {
        format: FORMAT.to_owned(),
        version: VERSION,
        written: drift.shown(written),
        sources,
        serials: state.serials.zones.clone(),
    })
}

/// The state in the octets of the file, and when it was written.
///
/// # Errors
/// Whenever they are not, to the last octet, what [`render`] makes.
pub(crate) fn parse(octets: &[u8]) -> Result<(State, SystemTime), FormatError> {
    let file: StateFile<'_> = serde_json::from_slice(contents(octets, VERSION)?)?;
    let serials = SerialsKept { zones: file.serials, views: BTreeMap::new() };
    Ok((State { sources: into_states(file.sources)?, serials: serials.into() }, file.written))
}
