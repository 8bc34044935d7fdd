//! The state file's form: JSON one can read at 3 a.m., times in UTC, and a
//! last line that proves the rest whole.
//!
//! ```json
//! {
//!   "format": "eipdns state",
//!   "version": 1,
//!   "written": "2026-11-22T09:47:42.123Z",
//!   "sources": { "east": { "delivered": "…", "addresses": [ … ], … } },
//!   "serials": { "example.com": { "serial": 1795340862, "digest": "…" } }
//! }
//! {"checksum":"siphash128:…"}
//! ```
//!
//! Both parts are JSON, so `jq` reads the file as it is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};
use siphasher::sip128::{Hasher128, SipHasher24};

use super::{SerialsKept, SourceState, State, ZoneSerial};
use crate::host::background::{self, PIECE};
use crate::source::accept::Accepted;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::inventory::{Address, Entries, Entry, Standing};

/// What the file says it is.
const FORMAT: &str = "eipdns state";

/// Of this form. A change that an older eipdns would misread adds one.
const VERSION: u64 = 1;

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
    #[error("it has version {found}, and this eipdns knows version {VERSION} only")]
    Newer {
        /// Its version.
        found: u64,
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

/// The octets of a state file. Times are stored as the wall clock has them
/// now (`drift` says how far it is from the process's), and lose what is below
/// a millisecond.
///
/// # Errors
/// None that a state can cause; serde's signature has one.
pub(super) fn render(
    state: &State,
    written: SystemTime,
    drift: Drift,
) -> Result<Vec<u8>, serde_json::Error> {
    let file = StateFile {
        format: FORMAT.to_owned(),
        version: VERSION,
        written: drift.shown(written),
        sources: state.sources.iter().map(|(n, s)| (n.clone(), SourceFile::of(s, drift))).collect(),
        serials: state.serials.zones.clone(),
    };
    seal(&file)
}

/// A file's contents with the line that proves them whole.
pub(super) fn seal(file: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut octets = serde_json::to_vec_pretty(file)?;
    octets.push(b'\n');
    let last = checksum_line(&octets);
    octets.extend_from_slice(last.as_bytes());
    Ok(octets)
}

/// The last line of a sealed file, which tells its contents from all others.
pub(super) fn seal_of(octets: &[u8]) -> Option<&str> {
    let at = octets.len().checked_sub(SEAL)?;
    str::from_utf8(octets.get(at..)?).ok().map(str::trim_ascii_end)
}

/// What stands before the seal, if that is right.
pub(super) fn unseal(octets: &[u8]) -> Result<&[u8], FormatError> {
    let at = octets.len().checked_sub(SEAL);
    let (body, last) =
        at.and_then(|at| octets.split_at_checked(at)).ok_or(FormatError::NoChecksum)?;
    if last != checksum_line(body).as_bytes() {
        let looks_right = last.starts_with(CHECKSUM_START.as_bytes()) && last.ends_with(b"\"}\n");
        return Err(if looks_right { FormatError::Damaged } else { FormatError::NoChecksum });
    }
    Ok(body)
}

/// The state in the octets of a file, and when it was written.
///
/// # Errors
/// Whenever they are not, to the last octet, what [`render`] makes.
pub(super) fn parse(octets: &[u8]) -> Result<(State, SystemTime), FormatError> {
    let body = unseal(octets)?;
    let Header { format, version } = serde_json::from_slice(body)?;
    if format != FORMAT {
        return Err(FormatError::Foreign { found: format });
    }
    if version != VERSION {
        return Err(FormatError::Newer { found: version });
    }
    let file: StateFile<'_> = serde_json::from_slice(body)?;
    let mut sources = BTreeMap::new();
    for (name, source) in file.sources {
        let source = source.into_state(&name)?;
        sources.insert(name, source);
    }
    let serials = SerialsKept { zones: file.serials, views: BTreeMap::new() };
    Ok((State { sources, serials }, file.written))
}

const CHECKSUM_START: &str = "{\"checksum\":\"siphash128:";

/// Octets of a checksum line: 32 hex digits, `"}` and the end of the line.
const SEAL: usize = CHECKSUM_START.len() + 32 + 3;

/// SipHash 2-4 with 128 bits and a key of zeros: against bad disks and
/// editors, not against people.
fn checksum_line(body: &[u8]) -> String {
    let mut hasher = SipHasher24::new();
    for piece in body.chunks(PIECE) {
        background::breathe();
        hasher.write(piece);
    }
    format!("{CHECKSUM_START}{:032x}\"}}\n", hasher.finish128().as_u128())
}

/// What stands in a file of any version.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile<'s> {
    format: String,
    version: u64,
    #[serde(with = "rfc3339")]
    written: SystemTime,
    sources: BTreeMap<String, SourceFile<'s>>,
    serials: BTreeMap<String, ZoneSerial>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFile<'s> {
    /// What the state belongs to.
    of: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(with = "rfc3339")]
    delivered: SystemTime,
    #[serde(serialize_with = "in_turns")]
    addresses: Vec<EntryFile<'s>>,
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
        SourceFile {
            of: state.of.clone(),
            region: state.region.clone(),
            delivered: drift.shown(state.delivered_at),
            addresses: accepted.entries.values().map(|e| EntryFile::of(e, drift)).collect(),
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
        for entry in self.addresses {
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

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use proptest::collection::{btree_map, btree_set};
    use proptest::prelude::*;

    use super::*;
    use crate::source::testing::{address, addresses};

    /// A time in whole milliseconds, of any year the form knows.
    fn times() -> impl Strategy<Value = SystemTime> {
        (0..253_402_300_799_000u64)
            .prop_map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    }

    fn standings() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::Live),
            times().prop_map(|since| Standing::Unassociated { since }),
            times().prop_map(|since| Standing::Missing { since }),
        ]
    }

    fn allocations() -> impl Strategy<Value = Allocation> {
        prop_oneof![
            any::<Ipv4Addr>().prop_map(Allocation::from),
            "eipalloc-[0-9a-f]{1,17}".prop_map(|id| Allocation::Id(id.into())),
        ]
    }

    fn accepted() -> impl Strategy<Value = Accepted> {
        let entries = (addresses(), proptest::collection::vec((standings(), times()), 8));
        let entries = entries.prop_map(|(all, rest)| {
            let entry = |(address, (standing, since)): (Address, _)| {
                (address.allocation(), Entry { address: address.into(), standing, since })
            };
            all.into_iter().zip(rest).map(entry).collect::<Entries>()
        });
        let superseded = btree_map(allocations(), btree_map(".{0,9}", times(), 0..3), 0..3);
        (entries, btree_set(allocations(), 0..3), superseded).prop_map(
            |(entries, released, superseded)| Accepted {
                entries: Arc::new(entries),
                released,
                superseded,
            },
        )
    }

    /// What this file keeps of serials.
    fn of_zones(zones: BTreeMap<String, ZoneSerial>) -> SerialsKept {
        SerialsKept { zones, views: BTreeMap::new() }
    }

    pub(crate) fn states() -> impl Strategy<Value = State> {
        let of = btree_map("[a-z: ]{0,9}", ".{0,9}", 0..4);
        let source = (of, proptest::option::of(".{0,9}"), times(), accepted()).prop_map(
            |(of, region, delivered_at, accepted)| SourceState {
                of,
                region,
                delivered_at,
                accepted,
            },
        );
        let serial = (any::<u32>(), "[0-9a-f]{0,32}")
            .prop_map(|(serial, digest)| ZoneSerial { serial, digest });
        (btree_map(".{0,9}", source, 0..3), btree_map(".{0,9}", serial, 0..3))
            .prop_map(|(sources, zones)| State { sources, serials: of_zones(zones) })
    }

    pub(crate) fn small() -> State {
        let written = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_340_862_123);
        let held = Address {
            allocation_id: Some("eipalloc-01".into()),
            association_id: Some("eipassoc-01".into()),
            private_ip: Some(Ipv4Addr::new(10, 0, 1, 5)),
            ..address(Ipv4Addr::new(75, 101, 137, 243))
        };
        let spare = address(Ipv4Addr::new(75, 101, 137, 244));
        let entries = [
            Entry {
                address: held.into(),
                standing: Standing::Unassociated { since: written },
                since: written - Duration::from_secs(3600),
            },
            Entry { address: spare.into(), standing: Standing::Live, since: written },
        ];
        let source = SourceState {
            of: [("type".to_owned(), "ec2".to_owned())].into(),
            region: Some("us-east-1".into()),
            delivered_at: written,
            accepted: Accepted {
                entries: Arc::new(
                    entries.map(|e| (e.address.allocation(), e)).into_iter().collect(),
                ),
                ..Accepted::default()
            },
        };
        let serial = ZoneSerial { serial: 1_795_340_862, digest: "00ff".into() };
        State {
            sources: [("east".to_owned(), source)].into(),
            serials: of_zones([("example.com".to_owned(), serial)].into()),
        }
    }

    #[test]
    fn it_can_be_read_by_people() {
        let state = small();
        let octets = render(&state, state.sources["east"].delivered_at, Drift::NONE).unwrap();
        let text = String::from_utf8(octets).unwrap();
        assert_eq!(
            text,
            r#"{
  "format": "eipdns state",
  "version": 1,
  "written": "2026-11-22T09:47:42.123Z",
  "sources": {
    "east": {
      "of": {
        "type": "ec2"
      },
      "region": "us-east-1",
      "delivered": "2026-11-22T09:47:42.123Z",
      "addresses": [
        {
          "public_ip": "75.101.137.243",
          "allocation_id": "eipalloc-01",
          "association_id": "eipassoc-01",
          "private_ip": "10.0.1.5",
          "since": "2026-11-22T08:47:42.123Z",
          "kept": {
            "unassociated-since": "2026-11-22T09:47:42.123Z"
          }
        },
        {
          "public_ip": "75.101.137.244",
          "since": "2026-11-22T09:47:42.123Z"
        }
      ]
    }
  },
  "serials": {
    "example.com": {
      "serial": 1795340862,
      "digest": "00ff"
    }
  }
}
{"checksum":"siphash128:e881f888fbb48f696bb744cf856d1d4a"}
"#
        );
    }

    /// A file with a right checksum, whatever stands in it.
    pub(crate) fn sealed(body: &str) -> Vec<u8> {
        (body.to_owned() + &checksum_line(body.as_bytes())).into_bytes()
    }

    #[test]
    fn what_is_whole_but_not_ours_is_told_apart() {
        let said = |body: &str| parse(&sealed(body)).unwrap_err().to_string();
        assert_eq!(
            said(r#"{"format": "knot", "version": 1}"#),
            "it says it is \"knot\", not \"eipdns state\""
        );
        assert_eq!(
            said(r#"{"format": "eipdns state", "version": 2, "new": []}"#),
            "it has version 2, and this eipdns knows version 1 only"
        );
        assert!(said("[]").contains("invalid type") || said("[]").contains("invalid length"));
        assert!(said(r#"{"format": "eipdns state", "version": 1}"#).contains("missing field"));
        let twice = r#"{"format": "eipdns state", "version": 1, "written": "2026-01-01T00:00:00Z",
            "serials": {}, "sources": {"east": {"of": {}, "delivered": "2026-01-01T00:00:00Z",
            "addresses": [{"public_ip": "1.2.3.4", "since": "2026-01-01T00:00:00Z"},
                          {"public_ip": "1.2.3.4", "since": "2026-01-01T00:00:00Z"}]}}}"#;
        assert_eq!(said(twice), "source east has 1.2.3.4 twice");
        let bad_time =
            twice.replace("\"written\": \"2026-01-01T00", "\"written\": \"2026-13-01T00");
        assert!(said(&bad_time).contains("is no time"));
    }

    #[test]
    fn no_octet_may_differ() {
        let state = small();
        let octets = render(&state, SystemTime::UNIX_EPOCH, Drift::NONE).unwrap();
        for at in 0..octets.len() {
            for bits in [0x01, 0x20, 0x80, 0xff] {
                let mut bad = octets.clone();
                bad[at] ^= bits;
                parse(&bad).unwrap_err();
            }
            assert!(parse(&octets[..at]).is_err(), "cut at {at}");
            assert!(parse(&octets[at + 1..]).is_err(), "begun at {}", at + 1);
        }
        assert_eq!(parse(&[]), Err(FormatError::NoChecksum));
        assert_eq!(parse(&vec![0; 4096]), Err(FormatError::NoChecksum));
        let mut longer = octets;
        longer.push(b'\n');
        parse(&longer).unwrap_err();
    }

    #[test]
    fn times_beyond_the_form_do_not_panic() {
        let mut state = small();
        let source = state.sources.get_mut("east").unwrap();
        source.delivered_at = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        let (read, written) = parse(&render(&state, late, Drift::NONE).unwrap()).unwrap();
        assert_eq!(read.sources["east"].delivered_at, SystemTime::UNIX_EPOCH);
        assert!(written < late);
    }

    proptest! {
        #[test]
        fn round_trip(state in states(), written in times()) {
            prop_assert_eq!(parse(&render(&state, written, Drift::NONE).unwrap()), Ok((state, written)));
        }

        #[test]
        fn any_octets(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&octets).unwrap_err();
        }

        #[test]
        fn any_sealed_octets(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut sealed = octets.clone();
            sealed.extend(checksum_line(&octets).bytes());
            prop_assert!(parse(&sealed).is_err());
        }
    }
}
