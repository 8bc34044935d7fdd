//! The serial of each zone in each view, in a file beside the state.
//!
//! The state has one serial for a zone, the highest of all views: an eipdns that
//! gives all views one reads that and refuses keys that it does not know. This
//! file is written first, and only when it changes: it is never older than the
//! state, unless such an eipdns has written that.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ZoneSerial;
use super::format::{FormatError, seal, unseal};

/// What the file says it is.
const FORMAT: &str = "eipdns serials";

/// Of this form.
const VERSION: u64 = 1;

/// By origin of the zone and name of the view.
pub(super) type Views = BTreeMap<String, BTreeMap<String, ZoneSerial>>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SerialsFile {
    format: String,
    version: u64,
    zones: Views,
}

/// The octets of the file.
///
/// # Errors
/// None that serials can cause; serde's signature has one.
pub(super) fn render(views: &Views) -> Result<Vec<u8>, serde_json::Error> {
    seal(&SerialsFile { format: FORMAT.to_owned(), version: VERSION, zones: views.clone() })
}

/// The serials in the octets of a file.
///
/// # Errors
/// They are not what [`render`] makes: damaged, or of another version.
pub(super) fn parse(octets: &[u8]) -> Result<Views, FormatError> {
    let body = unseal(octets)?;
    let file: SerialsFile = serde_json::from_slice(body)?;
    if file.format != FORMAT {
        return Err(FormatError::Foreign { found: file.format });
    }
    if file.version != VERSION {
        return Err(FormatError::Newer { found: file.version });
    }
    Ok(file.zones)
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(
            all in btree_map(".{0,9}", btree_map(".{0,9}", (any::<u32>(), "[0-9a-f]{32}"), 0..4), 0..4),
        ) {
            let of = |(serial, digest)| ZoneSerial { serial, digest };
            let views = |views: BTreeMap<String, _>| {
                views.into_iter().map(|(view, known)| (view, of(known))).collect()
            };
            let all: Views = all.into_iter().map(|(zone, known)| (zone, views(known))).collect();
            let octets = render(&all).unwrap();
            prop_assert_eq!(parse(&octets), Ok(all));
            for cut in 0..octets.len() {
                parse(&octets[..cut]).unwrap_err();
            }
        }
    }

    #[test]
    fn of_another_form() {
        for (format, version) in [("eipdns state", VERSION), (FORMAT, VERSION + 1)] {
            let file = SerialsFile { format: format.into(), version, zones: Views::new() };
            parse(&seal(&file).unwrap()).unwrap_err();
        }
    }
}
