//! Random data of every type, and random files.

use domain::base::iana::Rtype;
use domain::base::rdata::ComposeRecordData as _;
use domain::rdata::ZoneRecordData;
use domain::rdata::dnssec::RtypeBitmapBuilder;
use domain::zonefile::inplace::{Entry, Zonefile};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::records::data::{typed, wire};
use crate::records::layout::{self, Field, Layout};

/// A record of any type, known or not: its number and octets.
pub(super) fn record() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let known = (0..layout::all().count()).prop_flat_map(|n| {
        let layout = layout::all().nth(n).unwrap();
        of_type(layout).prop_map(|data| (layout.code, data))
    });
    let unknown = (65280..65534u16, vec(any::<u8>(), 0..100));
    prop_oneof![20 => known, 1 => unknown]
}

/// Octets that are data of the type.
pub(super) fn of_type(layout: &'static Layout) -> impl Strategy<Value = Vec<u8>> {
    let fields: Vec<_> = layout.fields.iter().map(|&f| octets(f)).collect();
    fields.prop_map(|pieces| {
        let mut data = Vec::new();
        for (&field, mut piece) in layout.fields.iter().zip(pieces) {
            if let Field::Digest(kinds) = field {
                if layout.name == "DS" {
                    // Knot refuses digests it does not know.
                    let kind = data.last_mut().unwrap();
                    *kind = [1, 2, 4][usize::from(*kind % 3)];
                }
                let lengths = kinds.lengths(&data);
                piece.resize(piece.len().clamp(*lengths.start(), *lengths.end()), 0xab);
            }
            data.extend(piece);
        }
        match layout.name {
            // BIND looks into regular expressions and wants digits.
            "NAPTR" => data = [&data[..4], b"\x01u\x03E2U\x0b!^.*$!m:x!i\x01x\0"].concat(),
            "X25" => data = string(b"311061700956"),
            _ => {}
        }
        assert!(layout.split(&data).is_some(), "{}: {data:?}", layout.name);
        data
    })
}

fn octets(field: Field) -> BoxedStrategy<Vec<u8>> {
    let some = |len| vec(any::<u8>(), len).boxed();
    match field {
        Field::U8 => prop_oneof![some(1..2), vec(0..5u8, 1)].boxed(),
        // Knot refuses those it does not know.
        Field::Algorithm => {
            prop::sample::select(vec![5u8, 7, 8, 10, 13, 14, 15, 16]).prop_map(|a| vec![a]).boxed()
        }
        Field::U16 | Field::CertType => some(2..3),
        Field::U32 | Field::Seconds | Field::Ipv4 => some(4..5),
        Field::Locator => some(8..9),
        Field::Ipv6 => prop_oneof![some(16..17), vec(0..2u8, 16)].boxed(),
        Field::Eui(len) => some(len..len + 1),
        Field::Name => name().boxed(),
        Field::Text => text().boxed(),
        Field::OptionalText => prop_oneof![Just(Vec::new()), text()].boxed(),
        Field::Texts => vec(text(), 1..5).prop_map(|t| t.concat()).boxed(),
        // NSD refuses upper case.
        Field::Tag => "[a-z0-9]{1,15}".prop_map(|t| string(t.as_bytes())).boxed(),
        Field::Octets(least) => some(least..300),
        Field::Hex | Field::Digest(_) | Field::Base64 => some(1..100),
        Field::Types => btree_set(any::<u16>(), 0..20)
            .prop_map(|types| {
                let mut builder = RtypeBitmapBuilder::new_vec();
                types.into_iter().for_each(|t| builder.add(Rtype::from_int(t)).unwrap());
                builder.finalize().as_slice().to_vec()
            })
            .boxed(),
        Field::Parameters => parameters().boxed(),
        Field::Location => location().boxed(),
    }
}

fn string(octets: &[u8]) -> Vec<u8> {
    let mut out = vec![octets.len() as u8];
    out.extend(octets);
    out
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=255).prop_map(|t| string(&t))
}

/// A wire name of up to 4 labels, mostly of octets people use.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let plain = "[a-zA-Z0-9_*-]{1,12}".prop_map(String::into_bytes);
    let label = prop_oneof![4 => plain, 1 => vec(any::<u8>(), 1..=62)];
    vec(label, 0..=4).prop_map(|labels| {
        let mut out: Vec<u8> = labels.iter().flat_map(|l| string(l)).collect();
        out.push(0);
        out
    })
}

fn parameters() -> impl Strategy<Value = Vec<u8>> {
    // Knot 3.2 does not read a first protocol of one octet before another.
    let protocol = vec(any::<u8>(), 1..20).prop_map(|tail| string(&[b"h", &tail[..]].concat()));
    let alpn = vec(protocol, 1..4).prop_map(|protocols| protocols.concat());
    let known = (
        any::<[bool; 8]>(),
        alpn,
        any::<[u8; 2]>(),
        vec(any::<[u8; 4]>(), 1..4),
        vec(any::<u8>(), 1..50),
        vec(any::<[u8; 16]>(), 1..4),
    );
    let unknown = btree_map(9..65535u16, vec(any::<u8>(), 0..30), 0..4);
    (known, unknown).prop_map(|((with, alpn, port, v4, ech, v6), unknown)| {
        let mut all = unknown;
        let known = [
            (1, alpn),
            (3, port.to_vec()),
            (4, v4.concat()),
            (5, ech),
            (6, v6.concat()),
            (7, b"/q{?dns}".to_vec()),
        ];
        all.extend(known.into_iter().zip(with).filter(|(_, with)| *with).map(|(p, _)| p));
        if with[6] && all.contains_key(&1) {
            all.insert(2, Vec::new());
        }
        if with[7] && !all.is_empty() {
            let keys: Vec<u8> = all.keys().flat_map(|k| k.to_be_bytes()).collect();
            all.insert(0, keys);
        }
        let mut out = Vec::new();
        for (key, value) in all {
            out.extend(u16::to_be_bytes(key));
            out.extend((value.len() as u16).to_be_bytes());
            out.extend(value);
        }
        out
    })
}

fn location() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![Just(0u8), (1..=9u8, 0..=9u8).prop_map(|(m, e)| m << 4 | e)];
    let angle = |degrees: i64| {
        let most = degrees * 3_600_000;
        (-most..=most).prop_map(|a| u32::try_from(a + (1 << 31)).unwrap())
    };
    (vec(size, 3), angle(90), angle(180), any::<u32>()).prop_map(|(sizes, lat, lon, alt)| {
        let words = [lat, lon, alt].map(u32::to_be_bytes);
        [&[0], sizes.as_slice(), words.as_flattened()].concat()
    })
}

/// Types that `domain` reads too. Not SVCB and HTTPS: see [`svcb`](crate::records::svcb).
const OF_DOMAIN: &[&str] = &[
    "A",
    "NS",
    "CNAME",
    "SOA",
    "PTR",
    "HINFO",
    "MINFO",
    "MX",
    "TXT",
    "RP",
    "AAAA",
    "SRV",
    "NAPTR",
    "DNAME",
    "DS",
    "SSHFP",
    "DNSKEY",
    "TLSA",
    "CDS",
    "CDNSKEY",
    "OPENPGPKEY",
    "ZONEMD",
    "CAA",
];

/// The octets `domain` finds in `line`.
fn domain_reads(line: &str) -> Vec<u8> {
    let mut zone = Zonefile::from(format!("{line}\n").as_str());
    let Ok(Some(Entry::Record(record))) = zone.next_entry() else { panic!("{line}") };
    assert!(!matches!(record.data(), ZoneRecordData::Unknown(_)), "{line}");
    let mut octets = Vec::new();
    record.data().compose_rdata(&mut octets).unwrap();
    octets
}

proptest! {
    #[test]
    fn a_record_survives_text((code, octets) in record(), owner in name(), ttl in 0..=i32::MAX as u32) {
        let data = typed(code, &octets);
        prop_assert_eq!(u16::from(data.record_type()), code);
        prop_assert_eq!(&wire(&data).unwrap(), &octets);
        let owner = Key::from_folded(&owner.to_ascii_lowercase());
        let line = write_record(&owner, ttl, &data).unwrap();
        let origin = if code == 6 { owner.clone() } else { Key::root() };
        let (file, problems) = read_all(line.as_bytes(), &origin, &[]);
        prop_assert_eq!(problems, Vec::<String>::new(), "{}", line);
        prop_assert_eq!(file.records.len(), 1);
        let read = &file.records[0];
        prop_assert_eq!((&read.owner, read.ttl), (&owner, ttl));
        prop_assert_eq!(u16::from(read.rtype), code);
        prop_assert_eq!(wire(&read.data).unwrap(), octets.clone(), "{}", line);
        if layout::of(code).is_some_and(|l| OF_DOMAIN.contains(&l.name)) {
            prop_assert_eq!(domain_reads(&line), octets, "{}", line);
        }
    }

    #[test]
    fn the_generic_form_is_the_same_record((code, octets) in record()) {
        let hex = domain::utils::base16::encode_string(&octets);
        let line = format!(r"@ 1 IN TYPE{code} \# {} {hex}", octets.len());
        let (file, problems) = read_all(line.as_bytes(), &key("example.com"), &[]);
        prop_assert_eq!(problems, Vec::<String>::new(), "{}", line);
        prop_assert_eq!(&file.records[0].data, &typed(code, &octets));
    }

    #[test]
    fn any_octets_are_read_or_refused(text in vec(any::<u8>(), 0..400)) {
        consistent(&text);
    }

    #[test]
    fn any_tokens_are_read_or_refused(tokens in vec(prop::sample::select(TOKENS), 0..60)) {
        consistent(tokens.join(" ").as_bytes());
        consistent(tokens.concat().as_bytes());
    }
}

/// Pieces of master files, in any order: gets further than random octets.
const TOKENS: &[&str] = &[
    "@",
    "a",
    "*",
    ".",
    "a.example.com.",
    "example.org.",
    "$TTL",
    "$ORIGIN",
    "$INCLUDE",
    "$GENERATE",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\n ",
    "\t",
    "(",
    ")",
    "\"",
    "\"x y\"",
    ";",
    "\\",
    "\\#",
    "\\065",
    "\\300",
    "IN",
    "CH",
    "CLASS1",
    "0",
    "1",
    "4",
    "255",
    "65536",
    "1h",
    "2147483648",
    "A",
    "AAAA",
    "NS",
    "SOA",
    "MX",
    "TXT",
    "CAA",
    "LOC",
    "N",
    "E",
    "-1.5m",
    "SVCB",
    "HTTPS",
    "alpn=",
    "key1=\"x\"",
    "mandatory=alpn",
    "port=1",
    "NAPTR",
    "DS",
    "CSYNC",
    "TYPE1",
    "TYPE65280",
    "EUI48",
    "L64",
    "WKS",
    "RRSIG",
    "OPT",
    "10.0.0.1",
    "::1",
    "0A000001",
    "AAAA==",
    "\u{e9}",
    "\0",
    "1:2:3:4",
    "00-11-22-33-44-55",
    "zone",
];

/// Whatever was read can be written and read again.
fn consistent(text: &[u8]) {
    let (file, _) = read_all(text, &key("example.com"), &[]);
    for (record, line) in file.records.iter().zip(lines(&file)) {
        let (again, problems) = read_all(line.as_bytes(), &key("example.com"), &[]);
        let soa = problems.iter().all(|p| p.contains("apex"));
        assert!(soa, "{line}: {problems:?}");
        assert_eq!(again.records[0].data, record.data, "{line}");
    }
}
