//! Serials that no other may come before, whoever wrote the state last.
//!
//! The eipdns before this one kept the serial of each zone in each view in a file of
//! its own, beside version 1, which has one serial for a zone: the highest of all
//! views. That file is read with version 1. Version 2 has both, and the file is removed
//! when version 2 is written: going back, each view goes on from its zone's serial.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::format::FormatError;
use super::format::seal::unseal;
use super::{SerialsKept, ZoneSerial};
use crate::dns::serial::is_later;

/// What the file says it is.
const FORMAT: &str = "eipdns serials";

/// Of this form.
const VERSION: u64 = 1;

/// The digest of contents that nobody has: whatever is seen gets a later serial.
const OF_NOTHING: &str = "00000000000000000000000000000000";

/// By origin of the zone and name of the view.
pub(super) type Views = BTreeMap<String, BTreeMap<String, ZoneSerial>>;

#[derive(Serialize, Deserialize)]
struct SerialsFile {
    format: String,
    version: u64,
    zones: Views,
}

/// The serials in the octets of a file.
///
/// # Errors
/// It is damaged, or something else.
pub(super) fn parse(octets: &[u8]) -> Result<Views, FormatError> {
    let body = unseal(octets)?;
    let file: SerialsFile = serde_json::from_slice(body)?;
    if file.format != FORMAT {
        return Err(FormatError::Foreign { found: file.format });
    }
    if file.version != VERSION {
        return Err(FormatError::Newer { found: file.version, known: VERSION });
    }
    Ok(file.zones)
}

impl SerialsKept {
    /// Makes sure that no zone's serial comes before one that was `known`, in no view,
    /// nor is the same for other contents.
    pub(super) fn go_on_from(&mut self, mut known: Self) {
        for (origin, zone) in known.zones {
            let views = known.views.remove(&origin).unwrap_or_default();
            let Some(ours) = self.zones.get_mut(&origin) else {
                if !views.is_empty() {
                    self.views.insert(origin.clone(), views);
                }
                self.zones.insert(origin, zone);
                continue;
            };
            ours.go_on_from(&zone);
            let of_views = self.views.get_mut(&origin).into_iter().flatten();
            for (view, ours) in of_views {
                if let Some(known) = views.get(view) {
                    ours.go_on_from(known);
                }
            }
        }
    }
}

impl ZoneSerial {
    fn go_on_from(&mut self, known: &Self) {
        let is_other = self.serial == known.serial && self.digest != known.digest;
        if is_later(self.serial, known.serial) || is_other {
            *self = Self { serial: known.serial, digest: OF_NOTHING.to_owned() };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::super::format::seal::seal;
    use super::*;
    use crate::dns::serial::highest;

    fn file(format: &str, version: u64, zones: Views) -> Vec<u8> {
        seal(&SerialsFile { format: format.into(), version, zones }).unwrap()
    }

    /// Serials whose zones have the highest of their views.
    fn kept() -> impl Strategy<Value = SerialsKept> {
        let serial =
            (1_000u32..1_010, "[ab]").prop_map(|(serial, digest)| ZoneSerial { serial, digest });
        btree_map("[xyz]", (btree_map("[vw]", serial, 0..3), "[ab]"), 0..4).prop_map(|all| {
            let mut kept = SerialsKept::default();
            for (origin, (views, digest)) in all {
                let serial = highest(views.values().map(|known| known.serial));
                kept.zones.insert(origin.clone(), ZoneSerial { serial, digest });
                if !views.is_empty() {
                    kept.views.insert(origin, views);
                }
            }
            kept
        })
    }

    proptest! {
        #[test]
        fn what_is_not_whole_is_not_read(
            all in btree_map(".{0,9}", btree_map(".{0,9}", (any::<u32>(), "[0-9a-f]{32}"), 0..4), 0..4),
        ) {
            let of = |(serial, digest)| ZoneSerial { serial, digest };
            let views = |views: BTreeMap<String, _>| {
                views.into_iter().map(|(view, known)| (view, of(known))).collect()
            };
            let all: Views = all.into_iter().map(|(zone, known)| (zone, views(known))).collect();
            let octets = file(FORMAT, VERSION, all.clone());
            prop_assert_eq!(parse(&octets), Ok(all));
            for cut in 0..octets.len() {
                parse(&octets[..cut]).unwrap_err();
            }
        }

        #[test]
        fn no_serial_goes_back(ours in kept(), known in kept()) {
            let mut both = ours.clone();
            both.go_on_from(known.clone());
            let not_before = |a: &ZoneSerial, b: &ZoneSerial| {
                let is_one = b.serial != a.serial || b == a || b.digest == OF_NOTHING;
                !is_later(b.serial, a.serial) && is_one
            };
            for from in [&ours, &known] {
                for (origin, zone) in &from.zones {
                    prop_assert!(not_before(zone, &both.zones[origin]), "{origin}: {both:?}");
                }
                for (origin, views) in &from.views {
                    // Without a serial of its own a view goes on from its zone's.
                    for (view, known) in views {
                        let of_view = both.views.get(origin).and_then(|views| views.get(view));
                        let is = of_view.unwrap_or(&both.zones[origin]);
                        prop_assert!(not_before(known, is) || of_view.is_none(), "{origin} {view}");
                        prop_assert!(!is_later(is.serial, known.serial), "{origin} {view}");
                    }
                }
            }
        }
    }

    #[test]
    fn of_another_form() {
        for (format, version) in [("eipdns state", VERSION), (FORMAT, VERSION + 1)] {
            parse(&file(format, version, Views::new())).unwrap_err();
        }
    }
}
