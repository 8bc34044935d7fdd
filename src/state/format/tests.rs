use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::*;

use super::seal::{checksum_line, seal_of};
use super::version_2::{Beside, Second};
use super::*;
use crate::dns::name::Key;
use crate::source::discover::Memory;
use crate::source::testing::{address, addresses, edge, with_id};
use crate::state::{SerialsKept, ZoneSerial};

/// A time in whole milliseconds, of any year the form knows.
fn times() -> impl Strategy<Value = SystemTime> {
    (0..253_402_300_799_000u64).prop_map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
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

fn serials() -> impl Strategy<Value = SerialsKept> {
    let serial = || {
        (any::<u32>(), "[0-9a-f]{0,32}").prop_map(|(serial, digest)| ZoneSerial { serial, digest })
    };
    let views = btree_map(".{0,9}", btree_map(".{0,9}", serial(), 0..3), 0..3);
    (btree_map(".{0,9}", serial(), 0..3), views)
        .prop_map(|(zones, views)| SerialsKept { zones, views })
}

fn names() -> impl Strategy<Value = Names> {
    let name = || "[a-z*]{1,9}".prop_map(|label| Key::parse(&label, None).unwrap());
    let members = proptest::collection::vec(allocations(), 0..3);
    let came_from = proptest::option::of((allocations(), times()));
    let memory = (members, proptest::option::of(times()), came_from, any::<bool>()).prop_map(
        |(members, gone, came_from, goes_back)| Memory { members, gone, came_from, goes_back },
    );
    (btree_map(name(), memory, 0..3), btree_set(name(), 0..3))
        .prop_map(|(held, released)| Names { held, released })
}

pub(crate) fn states() -> impl Strategy<Value = State> {
    let of = btree_map("[a-z: ]{0,9}", ".{0,9}", 0..4);
    let region = proptest::option::of(".{0,9}");
    let ipv6 = proptest::option::of(any::<std::net::Ipv6Addr>());
    let interfaces = btree_map("eni-[0-9a-f]{1,5}".prop_map(Into::into), ipv6, 0..3)
        .prop_map(|all| all.into_iter().collect());
    let source = (of, region, times(), accepted(), names(), interfaces).prop_map(
        |(of, region, delivered_at, accepted, names, interfaces)| SourceState {
            of,
            region,
            delivered_at,
            accepted,
            names,
            interfaces,
        },
    );
    (btree_map(".{0,9}", source, 0..3), serials())
        .prop_map(|(sources, serials)| State { sources, serials: serials.into() })
}

/// What version 1 has of a state.
pub(crate) fn of_version_1(mut state: State) -> State {
    let has_public_ip = |allocation: &Allocation| matches!(allocation, Allocation::PublicIp(_));
    for source in state.sources.values_mut() {
        let entries = source.accepted.entries.iter().filter(|(one, _)| has_public_ip(one));
        let entries = entries.map(|(one, entry)| (one.clone(), entry.clone())).collect();
        source.accepted.entries = Arc::new(entries);
        source.accepted.released.retain(has_public_ip);
        source.accepted.superseded.retain(|allocation, _| has_public_ip(allocation));
        source.names = Names::default();
        source.interfaces = Default::default();
    }
    Arc::make_mut(&mut state.serials).views.clear();
    state
}

pub(crate) fn small() -> State {
    let written = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_340_862_123);
    let held = Address {
        association_id: Some("eipassoc-01".into()),
        private_ip: Some(Ipv4Addr::new(10, 0, 1, 5)),
        ..with_id(Some("eipalloc-01"), &address(Ipv4Addr::new(75, 101, 137, 243)))
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
            entries: Arc::new(entries.map(|e| (e.address.allocation(), e)).into_iter().collect()),
            ..Accepted::default()
        },
        names: Names::default(),
        interfaces: Default::default(),
    };
    let serial = ZoneSerial { serial: 1_795_340_862, digest: "00ff".into() };
    State {
        sources: [("east".to_owned(), source)].into(),
        serials: SerialsKept {
            zones: [("example.com".to_owned(), serial)].into(),
            views: BTreeMap::new(),
        }
        .into(),
    }
}

#[test]
fn it_can_be_read_by_people() {
    let state = small();
    let written = state.sources["east"].delivered_at;
    let octets = version_1::render(&state, written, Drift::NONE).unwrap();
    let first = str::from_utf8(&octets).unwrap();
    assert_eq!(
        first,
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
    let beside = Beside {
        with: seal_of(&octets).unwrap().to_owned(),
        before: Some("{\"checksum\":\"siphash128:of before\"}".into()),
    };
    let mut state = state;
    let vpc = state.serials.zones["example.com"].clone();
    Arc::make_mut(&mut state.serials)
        .views
        .insert("example.com".into(), [("vpc".to_owned(), vpc)].into());
    let accepted = &mut state.sources.get_mut("east").unwrap().accepted;
    accepted.released.insert(Allocation::Id("eipalloc-02".into()));
    let private_ip = Some(Ipv4Addr::new(10, 0, 1, 7));
    let carrier = Address { private_ip, ..edge("eipalloc-03") };
    let entry = Entry { address: carrier.into(), standing: Standing::Live, since: written };
    Arc::make_mut(&mut accepted.entries).insert(entry.address.allocation(), entry);
    let octets = version_2::render(&state, written, Drift::NONE, beside).unwrap();
    let second = str::from_utf8(&octets).unwrap();
    let expected = first
        .replace("\"version\": 1", "\"version\": 2")
        .replace(
            "  \"sources\": {",
            r#"  "version_1": {
    "with": "{\"checksum\":\"siphash128:e881f888fbb48f696bb744cf856d1d4a\"}",
    "before": "{\"checksum\":\"siphash128:of before\"}"
  },
  "sources": {"#,
        )
        .replace(
            "      ]\n    }\n  },\n  \"serials\"",
            r#"      ],
      "without_public_ip": [
        {
          "allocation_id": "eipalloc-03",
          "carrier_ip": "155.146.10.111",
          "private_ip": "10.0.1.7",
          "since": "2026-11-22T09:47:42.123Z"
        }
      ],
      "released": [
        "eipalloc-02"
      ]
    }
  },
  "serials""#,
        )
        .replace(
            "    }\n  }\n}\n{\"checksum",
            r#"    }
  },
  "view_serials": {
    "example.com": {
      "vpc": {
        "serial": 1795340862,
        "digest": "00ff"
      }
    }
  }
}
{"checksum"#,
        );
    let body = |text: &str| text.rsplit_once("{\"checksum").unwrap().0.to_owned();
    assert_eq!(body(second), body(&expected));
    // What version 1 has of it.
    let octets = version_1::render(&state, written, Drift::NONE).unwrap();
    assert_eq!(str::from_utf8(&octets).unwrap(), first);
}

/// A file with a right checksum, whatever stands in it.
pub(crate) fn sealed(body: &str) -> Vec<u8> {
    (body.to_owned() + &checksum_line(body.as_bytes())).into_bytes()
}

#[test]
fn what_is_whole_but_not_ours_is_told_apart() {
    let said = |body: &str| version_1::parse(&sealed(body)).unwrap_err().to_string();
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
    let second = |body: &str| version_2::parse(&sealed(body)).unwrap_err().to_string();
    assert_eq!(
        second(r#"{"format": "eipdns state", "version": 3}"#),
        "it has version 3, and this eipdns knows version 2 only"
    );
    assert_eq!(
        second(r#"{"format": "eipdns state", "version": 1}"#),
        "it has version 1, and only version 2 belongs into this file"
    );
    let bad_time = twice.replace("\"written\": \"2026-01-01T00", "\"written\": \"2026-13-01T00");
    assert!(said(&bad_time).contains("is no time"));
}

#[test]
fn version_2_skips_what_a_later_eipdns_adds() {
    let later = r#"{"format": "eipdns state", "version": 2, "written": "2026-01-01T00:00:00Z",
        "version_1": {"with": "x", "more": 1}, "more": [], "view_serials": {},
        "serials": {"a.": {"serial": 7, "digest": "00", "more": 1}},
        "sources": {"east": {"of": {}, "delivered": "2026-01-01T00:00:00Z", "more": {},
        "addresses": [{"public_ip": "1.2.3.4", "since": "2026-01-01T00:00:00Z", "more": 1}]}}}"#;
    let read = version_2::parse(&sealed(later)).unwrap();
    assert_eq!(read.state.sources["east"].accepted.entries.len(), 1);
    assert_eq!(read.state.serials.zones["a."].serial, 7);
}

#[test]
fn no_octet_may_differ() {
    let state = small();
    let first = version_1::render(&state, SystemTime::UNIX_EPOCH, Drift::NONE).unwrap();
    let beside = Beside { with: "x".into(), before: None };
    let second = version_2::render(&state, SystemTime::UNIX_EPOCH, Drift::NONE, beside).unwrap();
    let first_fails = |octets: &[u8]| version_1::parse(octets).is_err();
    let second_fails = |octets: &[u8]| version_2::parse(octets).is_err();
    each_octet_counts(&first, first_fails);
    each_octet_counts(&second, second_fails);
    assert_eq!(version_1::parse(&[]), Err(FormatError::NoChecksum));
    assert_eq!(version_1::parse(&vec![0; 4096]), Err(FormatError::NoChecksum));
}

fn each_octet_counts(octets: &[u8], fails: impl Fn(&[u8]) -> bool) {
    for at in 0..octets.len() {
        for bits in [0x01, 0x20, 0x80, 0xff] {
            let mut bad = octets.to_vec();
            bad[at] ^= bits;
            assert!(fails(&bad), "{bits:x} at {at}");
        }
        assert!(fails(&octets[..at]), "cut at {at}");
        assert!(fails(&octets[at + 1..]), "begun at {}", at + 1);
    }
    assert!(fails(&[octets, b"\n"].concat()));
}

#[test]
fn times_beyond_the_form_do_not_panic() {
    let mut state = small();
    let source = state.sources.get_mut("east").unwrap();
    source.delivered_at = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
    let octets = version_1::render(&state, late, Drift::NONE).unwrap();
    let (read, written) = version_1::parse(&octets).unwrap();
    assert_eq!(read.sources["east"].delivered_at, SystemTime::UNIX_EPOCH);
    assert!(written < late);
}

proptest! {
    #[test]
    fn round_trip(
        state in states(),
        written in times(),
        with in ".{0,40}",
        before in option::of(".{0,40}"),
    ) {
        let octets = version_1::render(&state, written, Drift::NONE).unwrap();
        prop_assert_eq!(version_1::parse(&octets), Ok((of_version_1(state.clone()), written)));
        let beside = Beside { with, before };
        let octets = version_2::render(&state, written, Drift::NONE, beside.clone()).unwrap();
        prop_assert_eq!(version_2::parse(&octets), Ok(Second { state, written, beside }));
    }

    #[test]
    fn any_octets(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        version_1::parse(&octets).unwrap_err();
        version_2::parse(&octets).unwrap_err();
    }

    #[test]
    fn any_sealed_octets(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut sealed = octets.clone();
        sealed.extend(checksum_line(&octets).bytes());
        prop_assert!(version_1::parse(&sealed).is_err());
        prop_assert!(version_2::parse(&sealed).is_err());
    }
}
