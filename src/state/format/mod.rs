//! The state's form on disk: JSON one can read at 3 a.m., times in UTC, and a
//! last line that proves the rest whole.
//!
//! ```json
//! {
//!   "format": "eipdns state",
//!   "version": 2,
//!   "written": "2026-11-22T09:47:42.123Z",
//!   "version_1": { "with": "…" },
//!   "sources": { "east": { "delivered": "…", "addresses": [ … ], … } },
//!   "serials": { "example.com.": { "serial": 1795340862, "digest": "…" } },
//!   "view_serials": { "example.com.": { "vpc": { "serial": 1795340862, "digest": "…" } } }
//! }
//! {"checksum":"siphash128:…"}
//! ```
//!
//! Both parts are JSON, so `jq` reads the file as it is. There are two versions, each
//! in a file of its own; what they have in common is here. A change that an older
//! eipdns would misread makes a new version. Keys that version 2 does not know are
//! skipped: a later eipdns may add some, and going back works then.
//!
//! * [`seal`]: the last line. `names`: what version 2 has of names from tags.
//! * [`version_1`]: read by every eipdns so far; strict, because the older ones are.
//! * [`version_2`]: what this one goes by.

mod interfaces;
mod names;
pub(super) mod seal;
pub(super) mod version_1;
pub(super) mod version_2;

#[cfg(test)]
pub(super) mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};

use seal::unseal;

use super::{Names, SourceState, State};
use crate::host::background;
use crate::source::accept::Accepted;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::inventory::{Address, Entries, Entry, Standing};

/// What the file says it is.
const FORMAT: &str = "eipdns state";

/// Why octets are not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The last line is no checksum.
    #[error("it ends without its checksum: cut short, or not a state file")]
    NoChecksum,
    /// The last line is a checksum, but not that of what stands before it.
    #[error("its checksum is wrong: damaged, or edited by hand")]
    Damaged,
    /// Whole, but not ours.
    #[error("it says it is {found:?}, not {FORMAT:?}")]
    Foreign {
        /// What it says.
        found: String,
    },
    /// Of an eipdns that is newer than this one.
    #[error("it has version {found}, and this eipdns knows version {known} only")]
    Newer {
        /// Its version.
        found: u64,
        /// The one that belongs there.
        known: u64,
    },
    /// Of an older version, which has a file of its own.
    #[error("it has version {found}, and only version {belongs} belongs into this file")]
    Older {
        /// Its version.
        found: u64,
        /// The one that belongs there.
        belongs: u64,
    },
    /// Whole, but its contents make no sense.
    #[error("{what}")]
    Contents {
        /// What is wrong, and at which line.
        what: String,
    },
    /// Whole, but one source has an allocation twice.
    #[error("source {name} has {allocation} twice")]
    Twice {
        /// The source.
        name: String,
        /// The allocation.
        allocation: Allocation,
    },
}

impl From<serde_json::Error> for FormatError {
    fn from(e: serde_json::Error) -> Self {
        FormatError::Contents { what: e.to_string() }
    }
}

/// What stands in a file of any version.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
}

/// What stands before the seal of a file of this `version`.
fn contents(octets: &[u8], version: u64) -> Result<&[u8], FormatError> {
    let body = unseal(octets)?;
    let header: Header = serde_json::from_slice(body)?;
    if header.format != FORMAT {
        return Err(FormatError::Foreign { found: header.format });
    }
    let found = header.version;
    match found.cmp(&version) {
        Ordering::Equal => Ok(body),
        Ordering::Greater => Err(FormatError::Newer { found, known: version }),
        Ordering::Less => Err(FormatError::Older { found, belongs: version }),
    }
}

/// By name of the source.
type SourceFiles<'s> = BTreeMap<String, SourceFile<'s>>;

/// Times are stored as the wall clock has them now (`drift` says how far it is from
/// the process's), and lose what is below a millisecond.
fn source_files(state: &State, drift: Drift) -> SourceFiles<'_> {
    state.sources.iter().map(|(n, s)| (n.clone(), SourceFile::of(s, drift))).collect()
}

fn into_states(files: SourceFiles<'_>) -> Result<BTreeMap<String, SourceState>, FormatError> {
    let state = |(name, file): (String, SourceFile<'_>)| {
        let state = file.into_state(&name)?;
        Ok((name, state))
    };
    files.into_iter().map(state).collect()
}

#[derive(Serialize, Deserialize)]
struct SourceFile<'s> {
    /// What the state belongs to.
    of: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(with = "rfc3339")]
    delivered: SystemTime,
    #[serde(serialize_with = "in_turns")]
    addresses: Vec<EntryFile<'s>>,
    /// Those without a public address, apart from the others: an eipdns that does not know
    /// them can use the rest. Version 1 has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty", serialize_with = "in_turns")]
    without_public_ip: Vec<EntryFile<'s>>,
    /// Let go by the guard while a mass loss goes on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    released: BTreeSet<Allocation>,
    /// Association ids that came before, and when they were superseded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    superseded: BTreeMap<Allocation, BTreeMap<String, Time>>,
}

#[derive(Serialize, Deserialize)]
struct EntryFile<'s> {
    #[serde(flatten)]
    address: Cow<'s, Address>,
    /// When this association was first seen.
    #[serde(with = "rfc3339")]
    since: SystemTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Kept>,
}

/// Why and since when an address is kept although the source does not say it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kept {
    UnassociatedSince(Time),
    MissingSince(Time),
}

/// A time.
#[derive(Serialize, Deserialize)]
pub(super) struct Time(#[serde(with = "rfc3339")] pub(super) SystemTime);

/// There may be thousands of them.
fn in_turns<S: Serializer>(entries: &[EntryFile<'_>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(background::breathing(entries))
}

impl<'s> SourceFile<'s> {
    fn of(state: &'s SourceState, drift: Drift) -> Self {
        let accepted = &state.accepted;
        let times = |ids: &BTreeMap<String, SystemTime>| {
            ids.iter().map(|(id, at)| (id.clone(), Time(drift.shown(*at)))).collect()
        };
        let (addresses, without_public_ip) = accepted
            .entries
            .values()
            .map(|entry| EntryFile::of(entry, drift))
            .partition(|file| file.address.public_ip().is_some());
        SourceFile {
            of: state.of.clone(),
            region: state.region.clone(),
            delivered: drift.shown(state.delivered_at),
            addresses,
            without_public_ip,
            released: accepted.released.clone(),
            superseded: accepted
                .superseded
                .iter()
                .map(|(a, ids)| (a.clone(), times(ids)))
                .collect(),
        }
    }
}

impl SourceFile<'_> {
    fn into_state(self, name: &str) -> Result<SourceState, FormatError> {
        let mut entries = Entries::new();
        for entry in self.addresses.into_iter().chain(self.without_public_ip) {
            let allocation = entry.address.allocation();
            if entries.insert(allocation.clone(), entry.into()).is_some() {
                return Err(FormatError::Twice { name: name.to_owned(), allocation });
            }
        }
        let times =
            |ids: BTreeMap<String, Time>| ids.into_iter().map(|(id, at)| (id, at.0)).collect();
        Ok(SourceState {
            of: self.of,
            region: self.region,
            delivered_at: self.delivered,
            accepted: Accepted {
                entries: Arc::new(entries),
                released: self.released,
                superseded: self.superseded.into_iter().map(|(a, ids)| (a, times(ids))).collect(),
            },
            names: Names::default(),
            interfaces: Default::default(),
        })
    }
}

impl<'s> EntryFile<'s> {
    fn of(entry: &'s Entry, drift: Drift) -> Self {
        let shown = |since| Time(drift.shown(since));
        let kept = match entry.standing {
            Standing::Live => None,
            Standing::Unassociated { since } => Some(Kept::UnassociatedSince(shown(since))),
            Standing::Missing { since } => Some(Kept::MissingSince(shown(since))),
        };
        let since = drift.shown(entry.since);
        EntryFile { address: Cow::Borrowed(&*entry.address), since, kept }
    }
}

impl From<EntryFile<'_>> for Entry {
    fn from(file: EntryFile<'_>) -> Self {
        let standing = match file.kept {
            None => Standing::Live,
            Some(Kept::UnassociatedSince(Time(since))) => Standing::Unassociated { since },
            Some(Kept::MissingSince(Time(since))) => Standing::Missing { since },
        };
        Entry { address: file.address.into_owned().into(), standing, since: file.since }
    }
}

/// Times as RFC 3339 in UTC, to the millisecond.
mod rfc3339 {
    use std::time::{Duration, SystemTime};

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// The last second with a year of four digits.
    const LAST: Duration = Duration::from_secs(253_402_300_799);

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        // humantime panics outside of these years.
        let epoch = SystemTime::UNIX_EPOCH;
        let time = (*time).clamp(epoch, epoch + LAST);
        to.collect_str(&humantime::format_rfc3339_millis(time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text)
            .map_err(|e| D::Error::custom(format_args!("\"{text}\" is no time: {e}")))
    }
}
