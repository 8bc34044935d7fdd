//! When each source last answered, in a small file beside the state.
//!
//! While nothing else changes a healthy source says so with each poll, and a
//! restart must know how old its addresses are: `max_stale` and the texts of
//! Extended DNS Errors count from there. Writing all addresses for that would
//! wear a disk out. The file names the state it belongs to, so that an age
//! never makes other addresses look young: by version 1, for an older eipdns reads it
//! too, and version 2 knows its version 1.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::format::seal::{seal, unseal};
use super::format::{FormatError, Time};
use super::{SourceState, State};
use crate::source::clock::Drift;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgesFile {
    /// The last line of version 1 of the state.
    of: String,
    /// When each source last answered.
    delivered: BTreeMap<String, Time>,
}

/// The file beside the state whose version 1 ends with the line `of`.
///
/// # Errors
/// None that a state can cause; serde's signature has one.
pub(super) fn render(state: &State, of: &str, drift: Drift) -> Result<Vec<u8>, serde_json::Error> {
    let at = |source: &SourceState| Time(drift.shown(source.delivered_at));
    let delivered = state.sources.iter().map(|(name, source)| (name.clone(), at(source)));
    seal(&AgesFile { of: of.to_owned(), delivered: delivered.collect() })
}

/// When each source last answered, if `octets` belong to the state whose
/// version 1 ends with the line `of`.
///
/// # Errors
/// They are not what [`render`] makes: cut short by a power cut, say.
pub(super) fn parse(octets: &[u8], of: &str) -> Result<BTreeMap<String, SystemTime>, FormatError> {
    let file: AgesFile = serde_json::from_slice(unseal(octets)?)?;
    if file.of != of {
        return Ok(BTreeMap::new());
    }
    Ok(file.delivered.into_iter().map(|(name, at)| (name, at.0)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::tests::{small, states};
    use super::*;

    #[test]
    fn they_belong_to_one_state() {
        let octets = render(&small(), "this", Drift::NONE).unwrap();
        let at = small().sources["east"].delivered_at;
        assert_eq!(parse(&octets, "this").unwrap(), [("east".to_owned(), at)].into());
        assert_eq!(parse(&octets, "that").unwrap(), BTreeMap::new());
        for cut in 0..octets.len() {
            parse(&octets[..cut], "this").unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn round_trip(state in states(), of in ".{0,40}") {
            let all = state.sources.iter().map(|(name, s)| (name.clone(), s.delivered_at));
            let all: BTreeMap<_, _> = all.collect();
            let octets = render(&state, &of, Drift::NONE).unwrap();
            prop_assert_eq!(parse(&octets, &of), Ok(all));
        }

        #[test]
        fn any_octets(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&octets, "").unwrap_err();
        }
    }
}
