//! What the data of each record type is made of.
//!
//! One table, and three walks along it: [`scan`](super::scan) reads the text
//! of each field, [`write`](super::write) writes it, and [`Layout::split`]
//! checks octets given in the `\#` form. So a type is known to all three or to none.

use std::ops::RangeInclusive;

use super::{loc, svcb};
use crate::dns::name::wire_len;

/// One field of record data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    U8,
    U16,
    U32,
    /// 32 bits of seconds; units are read.
    Seconds,
    /// A DNSSEC algorithm: a number or its mnemonic.
    Algorithm,
    /// A certificate type (RFC 4398 section 2.1): a number or its mnemonic.
    CertType,
    Ipv4,
    Ipv6,
    Name,
    /// One character-string.
    Text,
    /// One character-string, or nothing.
    OptionalText,
    /// Character-strings to the end, at least one.
    Texts,
    /// A character-string of letters and digits, at least one.
    Tag,
    /// Octets to the end, written as one string of any length from the least
    /// given here.
    Octets(usize),
    /// Octets to the end, at least one, in hexadecimal.
    Hex,
    /// The same; the octet before says which kind of digest it is.
    Digest(Digests),
    /// Octets to the end, at least one, in Base64.
    Base64,
    /// 64 bits as four groups of hexadecimal digits (RFC 6742).
    Locator,
    /// As many octets, as pairs of hexadecimal digits (RFC 7043).
    Eui(usize),
    /// A type bitmap to the end (RFC 4034 section 4.1.2).
    Types,
    /// Service parameters to the end (RFC 9460).
    Parameters,
    /// The whole of LOC (RFC 1876).
    Location,
}

/// How long digests are, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digests {
    /// Of kinds not listed: at least this long.
    least: usize,
    /// Kind and length.
    fixed: &'static [(u8, usize)],
}

/// The fields of one record type.
#[derive(Debug)]
pub(super) struct Layout {
    /// Its number.
    pub code: u16,
    /// Its mnemonic.
    pub name: &'static str,
    /// Its data.
    pub fields: &'static [Field],
    /// Its data for a person.
    pub form: &'static str,
}

const fn row(
    code: u16,
    name: &'static str,
    fields: &'static [Field],
    form: &'static str,
) -> Layout {
    Layout { code, name, fields, form }
}

use Field::*;

/// RFC 3658, RFC 4509, RFC 6605.
const DS_DIGESTS: Field = Digest(Digests { least: 1, fixed: &[(1, 20), (2, 32), (4, 48)] });
/// RFC 4255, RFC 6594.
const SSHFP_DIGESTS: Field = Digest(Digests { least: 1, fixed: &[(1, 20), (2, 32)] });
/// RFC 8976 sections 2.2.3 and 2.2.4.
const ZONEMD_DIGESTS: Field = Digest(Digests { least: 12, fixed: &[(1, 48), (2, 64)] });

const CERTIFICATE: &str = "<usage> <selector> <matching type> <hexadecimal octets>";
const HOST: &str = "<name>";
const KEY: &str = "<flags> <protocol> <algorithm> <Base64>";
const PREFERRED: &str = "<preference> <name>";
const SERVICE: &str = r#"<priority> <name> [<key>="<value>"...]"#;
const SIGNER: &str = "<key tag> <algorithm> <digest type> <hexadecimal octets>";
const STRINGS: &str = r#""<string>"..."#;

/// Every type whose presentation form is read, in order of number.
static LAYOUTS: &[Layout] = &[
    row(1, "A", &[Ipv4], "<IPv4 address>"),
    row(2, "NS", &[Name], HOST),
    row(5, "CNAME", &[Name], HOST),
    row(
        6,
        "SOA",
        &[Name, Name, U32, Seconds, Seconds, Seconds, Seconds],
        "<primary> <mailbox> <serial> <refresh> <retry> <expire> <minimum>",
    ),
    row(7, "MB", &[Name], HOST),
    row(8, "MG", &[Name], HOST),
    row(9, "MR", &[Name], HOST),
    row(12, "PTR", &[Name], HOST),
    row(13, "HINFO", &[Text, Text], r#""<CPU>" "<OS>""#),
    row(14, "MINFO", &[Name, Name], "<mailbox> <mailbox for errors>"),
    row(15, "MX", &[U16, Name], PREFERRED),
    row(16, "TXT", &[Texts], STRINGS),
    row(17, "RP", &[Name, Name], "<mailbox> <name of a TXT>"),
    row(18, "AFSDB", &[U16, Name], "<subtype> <name>"),
    row(19, "X25", &[Text], r#""<PSDN address>""#),
    row(20, "ISDN", &[Text, OptionalText], r#""<address>" ["<subaddress>"]"#),
    row(28, "AAAA", &[Ipv6], "<IPv6 address>"),
    row(29, "LOC", &[Location], loc::FORM),
    row(33, "SRV", &[U16, U16, U16, Name], "<priority> <weight> <port> <name>"),
    row(
        35,
        "NAPTR",
        &[U16, U16, Text, Text, Text, Name],
        r#"<order> <preference> "<flags>" "<services>" "<regexp>" <name>"#,
    ),
    row(36, "KX", &[U16, Name], PREFERRED),
    row(37, "CERT", &[CertType, U16, Algorithm, Base64], "<type> <key tag> <algorithm> <Base64>"),
    row(39, "DNAME", &[Name], HOST),
    row(43, "DS", &[U16, Algorithm, U8, DS_DIGESTS], SIGNER),
    row(44, "SSHFP", &[U8, U8, SSHFP_DIGESTS], "<algorithm> <type> <hexadecimal octets>"),
    row(48, "DNSKEY", &[U16, U8, Algorithm, Base64], KEY),
    row(49, "DHCID", &[Base64], "<Base64>"),
    row(52, "TLSA", &[U8, U8, U8, Hex], CERTIFICATE),
    row(53, "SMIMEA", &[U8, U8, U8, Hex], CERTIFICATE),
    row(59, "CDS", &[U16, Algorithm, U8, DS_DIGESTS], SIGNER),
    row(60, "CDNSKEY", &[U16, U8, Algorithm, Base64], KEY),
    row(61, "OPENPGPKEY", &[Base64], "<Base64>"),
    row(62, "CSYNC", &[U32, U16, Types], "<serial> <flags> [<type>...]"),
    row(
        63,
        "ZONEMD",
        &[U32, U8, U8, ZONEMD_DIGESTS],
        "<serial> <scheme> <hash algorithm> <hexadecimal octets>",
    ),
    row(64, "SVCB", &[U16, Name, Parameters], SERVICE),
    row(65, "HTTPS", &[U16, Name, Parameters], SERVICE),
    row(99, "SPF", &[Texts], STRINGS),
    row(104, "NID", &[U16, Locator], "<preference> <xxxx:xxxx:xxxx:xxxx>"),
    row(105, "L32", &[U16, Ipv4], "<preference> <IPv4 locator>"),
    row(106, "L64", &[U16, Locator], "<preference> <xxxx:xxxx:xxxx:xxxx>"),
    row(107, "LP", &[U16, Name], PREFERRED),
    row(108, "EUI48", &[Eui(6)], "<xx-xx-xx-xx-xx-xx>"),
    row(109, "EUI64", &[Eui(8)], "<xx-xx-xx-xx-xx-xx-xx-xx>"),
    row(256, "URI", &[U16, U16, Octets(1)], r#"<priority> <weight> "<URI>""#),
    row(257, "CAA", &[U8, Tag, Octets(0)], r#"<flags> <tag> "<value>""#),
];

/// The layout of type `code`.
pub(super) fn of(code: u16) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|l| l.code == code)
}

/// The known type called `name`, in any case.
pub(super) fn named(name: &[u8]) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|l| l.name.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Layout> {
    LAYOUTS.iter()
}

impl Layout {
    /// Cuts `data` into one slice a field; none unless it is exactly data of
    /// this type, with names not compressed.
    pub(super) fn split<'d>(&self, data: &'d [u8]) -> Option<Vec<(Field, &'d [u8])>> {
        let mut at = 0;
        let mut pieces = Vec::with_capacity(self.fields.len());
        for &field in self.fields {
            let (done, rest) = data.split_at_checked(at)?;
            let len = field.len(done, rest)?;
            pieces.push((field, rest.get(..len)?));
            at += len;
        }
        (at == data.len()).then_some(pieces)
    }

    /// `data` with the names in it in lower case: equal data of two records
    /// is the same record (RFC 4034 section 6.2).
    pub(super) fn folded(&self, mut data: Vec<u8>) -> Vec<u8> {
        let lengths: Vec<_> = match self.split(&data) {
            Some(pieces) => pieces.iter().map(|(field, piece)| (*field, piece.len())).collect(),
            None => return data,
        };
        let mut rest = data.as_mut_slice();
        for (field, len) in lengths {
            let (piece, tail) = rest.split_at_mut(len);
            if field == Name {
                piece.make_ascii_lowercase();
            }
            rest = tail;
        }
        data
    }
}

impl Field {
    /// How many octets of `rest` are this field, `done` being those before it.
    fn len(self, done: &[u8], rest: &[u8]) -> Option<usize> {
        match self {
            U8 | Algorithm => Some(1),
            U16 | CertType => Some(2),
            U32 | Seconds | Ipv4 => Some(4),
            Locator => Some(8),
            Ipv6 => Some(16),
            Eui(len) => Some(len),
            Name => wire_len(rest),
            Text => text_len(rest),
            OptionalText if rest.is_empty() => Some(0),
            OptionalText => text_len(rest),
            Texts => {
                let mut at = text_len(rest)?;
                while at < rest.len() {
                    at += text_len(rest.get(at..)?)?;
                }
                Some(at)
            }
            Tag => {
                let len = text_len(rest)?;
                is_tag(rest.get(1..len)?).then_some(len)
            }
            Octets(least) => (rest.len() >= least).then_some(rest.len()),
            Hex | Base64 => (!rest.is_empty()).then_some(rest.len()),
            Digest(kinds) => kinds.lengths(done).contains(&rest.len()).then_some(rest.len()),
            Types => bitmap_is_sound(rest).then_some(rest.len()),
            Parameters => svcb::check(rest).is_ok().then_some(rest.len()),
            Location => loc::is_sound(rest).then_some(rest.len()),
        }
    }
}

impl Digests {
    /// The lengths allowed behind `done`, whose last octet is the kind.
    pub(super) fn lengths(&self, done: &[u8]) -> RangeInclusive<usize> {
        match self.fixed.iter().find(|(kind, _)| Some(kind) == done.last()) {
            Some(&(_, len)) => len..=len,
            None => self.least..=usize::MAX,
        }
    }
}

/// The length of the character-string `octets` begin with, its length octet
/// included.
fn text_len(octets: &[u8]) -> Option<usize> {
    Some(usize::from(*octets.first()?) + 1)
}

/// Is this a CAA property tag (RFC 8659 section 4.1)?
pub(super) fn is_tag(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(u8::is_ascii_alphanumeric)
}

/// Windows in ascending order, of 1 to 32 octets, the last not zero.
fn bitmap_is_sound(mut octets: &[u8]) -> bool {
    let mut least = 0u16;
    while let [window, len @ 1..=32, rest @ ..] = octets {
        let Some((bits, rest)) = rest.split_at_checked(usize::from(*len)) else { return false };
        if u16::from(*window) < least || bits.last() == Some(&0) {
            return false;
        }
        least = u16::from(*window) + 1;
        octets = rest;
    }
    octets.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_registry() {
        use domain::base::iana::Rtype;
        for layout in all() {
            assert_eq!(Rtype::from_int(layout.code).to_string(), layout.name);
            assert_eq!(of(layout.code).map(|l| l.name), Some(layout.name));
            assert_eq!(
                named(layout.name.to_lowercase().as_bytes()).map(|l| l.code),
                Some(layout.code)
            );
        }
    }

    #[test]
    fn octets_of_another_shape_are_refused() {
        let fits = |name: &str, data: &[u8]| named(name.as_bytes()).unwrap().split(data).is_some();
        assert!(fits("A", &[10, 0, 0, 1]));
        assert!(!fits("A", &[10, 0, 0]));
        assert!(!fits("A", &[10, 0, 0, 1, 0]));
        assert!(fits("MX", b"\x00\x0a\x01a\x00"));
        assert!(!fits("MX", b"\x00\x0a\xc0\x0c"), "a compressed name");
        assert!(fits("TXT", b"\x01a\x00"));
        assert!(!fits("TXT", b""));
        assert!(!fits("TXT", b"\x02a"));
        assert!(fits("ISDN", b"\x01a") && fits("ISDN", b"\x01a\x00"));
        assert!(!fits("ISDN", b"\x01a\x00\x00"));
        assert!(!fits("CAA", b"\x00\x00"), "an empty tag");
        assert!(!fits("CAA", b"\x00\x02a b"), "a blank in a tag");
        assert!(!fits("DS", &[0, 1, 8, 2, 0xab]), "a cut digest");
        assert!(fits("DS", &[0, 1, 8, 200, 0xab]));
        assert!(fits("CSYNC", b"\0\0\0\x01\0\x03"));
        assert!(fits("CSYNC", b"\0\0\0\x01\0\x03\x00\x01\x40\x01\x01\x40"));
        assert!(
            !fits("CSYNC", b"\0\0\0\x01\0\x03\x01\x01\x40\x00\x01\x40"),
            "windows out of order"
        );
        assert!(!fits("CSYNC", b"\0\0\0\x01\0\x03\x00\x02\x40\x00"), "a trailing zero");
    }

    #[test]
    fn folds_names_only() {
        let naptr = named(b"NAPTR").unwrap();
        let data = b"\0\x01\0\x01\x01U\x01S\x01R\x01N\x00".to_vec();
        assert_eq!(naptr.folded(data), b"\0\x01\0\x01\x01U\x01S\x01R\x01n\x00");
    }
}
