//! What replicas tell each other of their answers, and what a status says of peers.
//!
//! Replicas may be of different versions: what one does not know it ignores, and digests of
//! another kind are not compared.

use serde::{Deserialize, Serialize};

/// What digests are made of and how. Another kind is another number.
pub(crate) const DIGEST_KIND: u32 = 1;

/// What `/api/digests` answers, from one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Digests {
    /// Of the program.
    pub version: String,
    /// [`DIGEST_KIND`]
    pub kind: u32,
    /// Of the snapshot.
    pub generation: u64,
    /// Each zone in each view.
    pub zones: Vec<ZoneDigest>,
    /// Each source.
    pub sources: Vec<SourceAge>,
}

/// A zone as one view is answered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ZoneDigest {
    /// Its origin.
    pub zone: String,
    /// The view.
    pub view: String,
    /// Of all its records, less the serial in the SOA: 32 hexadecimal digits.
    pub digest: String,
    /// The serial.
    pub serial: u32,
}

/// How old the word of a source is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceAge {
    /// Its name.
    pub name: String,
    /// Of its last good answer, in seconds; none: there was none yet.
    #[serde(deserialize_with = "Option::deserialize")]
    pub age: Option<f64>,
    /// How often it is asked, in seconds; none for a file.
    #[serde(deserialize_with = "Option::deserialize")]
    pub poll: Option<f64>,
}

/// One peer, in a status.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerReport {
    /// As configured.
    pub url: String,
    /// Does it answer? None: it was not asked yet.
    #[serde(deserialize_with = "Option::deserialize")]
    pub reached: Option<bool>,
    /// Since when.
    #[serde(deserialize_with = "Option::deserialize")]
    pub since: Option<String>,
    /// Why it did not answer the last time that it did not, or why its answer cannot be compared.
    #[serde(deserialize_with = "Option::deserialize")]
    pub last_error: Option<String>,
    /// Of the program there.
    #[serde(deserialize_with = "Option::deserialize")]
    pub version: Option<String>,
    /// Zones and views of which it answers the same.
    pub same: usize,
    /// Zones and views of which it has answered otherwise for too long.
    pub differing: usize,
    /// What it answers otherwise, the first ones.
    pub differences: Vec<PeerDifference>,
    /// How many more there are.
    pub more_differences: usize,
    /// Hints sent to it.
    pub hints_sent: u64,
    /// Those of them that it did not take.
    pub hints_failed: u64,
}

/// A zone in a view that a peer answers otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerDifference {
    /// Its origin.
    pub zone: String,
    /// The view.
    pub view: String,
    /// `answers`, `only here` or `only there`.
    pub what: String,
    /// Since when.
    pub since: String,
    /// For too long?
    pub lasts: bool,
    /// Our serial, where we have it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub serial: Option<u32>,
    /// The peer's, where it has it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub their_serial: Option<u32>,
}
