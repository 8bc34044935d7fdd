//! Record data from its presentation form to wire octets.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::slice;
use std::str::FromStr;

use domain::base::iana::{Rtype, SecurityAlgorithm};
use domain::rdata::dnssec::RtypeBitmapBuilder;
use domain::utils::{base16, base64};

use super::fault::DataFault;
use super::layout::{Digests, Field, Layout, is_tag};
use super::lex::{Token, symbols};
use super::{loc, svcb, ttl};
use crate::dns::name::MAX_NAME;

/// The longest record data (RFC 1035 section 3.2.1).
const MAX_DATA: usize = u16::MAX as usize;
/// The longest label (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;
/// RFC 4398 section 2.1.
const CERT_TYPES: [(&str, u16); 10] = [
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// The tokens of an entry that are not yet read.
pub(super) struct Cursor<'e, 'a> {
    rest: slice::Iter<'e, Token<'a>>,
    /// Offset of the token last read: where a fault is reported.
    pub at: usize,
    /// What relative names are completed with, in wire form.
    pub origin: &'e [u8],
}

impl<'e, 'a> Cursor<'e, 'a> {
    /// Over `tokens`, which stand at or behind `at`.
    pub(super) fn new(tokens: &'e [Token<'a>], at: usize, origin: &'e [u8]) -> Self {
        Self { rest: tokens.iter(), at, origin }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.as_slice().is_empty()
    }

    pub(super) fn next(&mut self) -> Result<Token<'a>, DataFault> {
        let token = self.rest.next().ok_or(DataFault::Early)?;
        self.at = token.at;
        Ok(*token)
    }

    /// The next token, if it is a quoted one that touches the last.
    pub(super) fn next_glued(&mut self) -> Option<Token<'a>> {
        let next = self.rest.as_slice().first()?;
        if next.glued && next.quoted { self.next().ok() } else { None }
    }

    /// Refuses tokens that are left.
    pub(super) fn end(&mut self) -> Result<(), DataFault> {
        match self.next() {
            Ok(token) => Err(DataFault::Trailing(token.shown())),
            Err(_) => Ok(()),
        }
    }

    fn next_is_generic(&self) -> bool {
        self.rest.as_slice().first().is_some_and(Token::is_generic_mark)
    }
}

/// Reads the data of one record over `out`: in the form of `layout`, or in
/// the `\#` form of RFC 3597, the only one there is without a layout.
pub(super) fn data(
    layout: Option<&Layout>,
    cursor: &mut Cursor<'_, '_>,
    out: &mut Vec<u8>,
) -> Result<(), DataFault> {
    out.clear();
    match layout {
        _ if cursor.next_is_generic() => {
            let at = cursor.next()?.at;
            generic(cursor, out)?;
            if layout.is_some_and(|l| l.split(out).is_none()) {
                cursor.at = at;
                return Err(DataFault::Malformed);
            }
        }
        Some(layout) => {
            for &field in layout.fields {
                scan(field, cursor, out)?;
            }
            cursor.end()?;
        }
        None => {
            let found = cursor.next()?.shown();
            return Err(DataFault::Expected { what: r"`\#`", found });
        }
    }
    if out.len() > MAX_DATA {
        return Err(DataFault::LongData(out.len()));
    }
    debug_assert!(layout.is_none_or(|l| l.split(out).is_some()), "{layout:?}: {out:?}");
    Ok(())
}

/// Length and octets, behind `\#`.
fn generic(cursor: &mut Cursor<'_, '_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let announced = integer(cursor, "a length up to 65535", MAX_DATA as u64)?;
    let at = cursor.at;
    hex(cursor, out)?;
    if u64::try_from(out.len()) != Ok(announced) {
        cursor.at = at;
        let announced = usize::try_from(announced).unwrap_or(MAX_DATA);
        return Err(DataFault::Length { announced, given: out.len() });
    }
    Ok(())
}

fn scan(field: Field, cursor: &mut Cursor<'_, '_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    match field {
        Field::U8 => {
            let n = integer(cursor, "a number up to 255", u8::MAX.into())?;
            // `integer` keeps to the bound, so no bit is lost here or below.
            out.push(n as u8);
        }
        Field::U16 => {
            let n = integer(cursor, "a number up to 65535", u16::MAX.into())?;
            out.extend((n as u16).to_be_bytes());
        }
        Field::U32 => {
            let n = integer(cursor, "a number up to 4294967295", u32::MAX.into())?;
            out.extend((n as u32).to_be_bytes());
        }
        Field::Seconds => out.extend(ttl::seconds(&cursor.next()?)?.to_be_bytes()),
        Field::Algorithm => out.push(algorithm(cursor)?),
        Field::CertType => out.extend(certificate_type(cursor)?.to_be_bytes()),
        Field::Ipv4 => out.extend(word(cursor, "an IPv4 address", parse::<Ipv4Addr>)?.octets()),
        Field::Ipv6 => out.extend(word(cursor, "an IPv6 address", parse::<Ipv6Addr>)?.octets()),
        Field::Name => name(&cursor.next()?, cursor.origin, out)?,
        Field::Text => text(&cursor.next()?, out)?,
        Field::OptionalText => {
            if !cursor.is_empty() {
                text(&cursor.next()?, out)?;
            }
        }
        Field::Texts => texts(cursor, out)?,
        Field::Tag => tag(&cursor.next()?, out)?,
        Field::Octets(least) => escaped(&cursor.next()?, least, out)?,
        Field::Hex => {
            let before = out.len();
            hex(cursor, out)?;
            at_least_one(before, out)?;
        }
        Field::Digest(kinds) => digest(cursor, kinds, out)?,
        Field::Base64 => {
            let before = out.len();
            base64(cursor, out)?;
            at_least_one(before, out)?;
        }
        Field::Locator => {
            let what = "four groups of hexadecimal digits, as in 14:4fff:ff20:ee64";
            out.extend(word(cursor, what, locator)?);
        }
        Field::Eui(len) => {
            let what = "pairs of hexadecimal digits with hyphens between";
            out.extend(word(cursor, what, |raw| eui(raw, len))?);
        }
        Field::Types => types(cursor, out)?,
        Field::Parameters => svcb::scan(cursor, out)?,
        Field::Location => loc::scan(cursor, out)?,
    }
    Ok(())
}

fn algorithm(cursor: &mut Cursor<'_, '_>) -> Result<u8, DataFault> {
    word(cursor, "a DNSSEC algorithm", |raw| {
        let named = SecurityAlgorithm::from_mnemonic(raw).map(|a| a.to_int());
        named.or_else(|| number(raw, u8::MAX.into()).and_then(|n| u8::try_from(n).ok()))
    })
}

fn certificate_type(cursor: &mut Cursor<'_, '_>) -> Result<u16, DataFault> {
    word(cursor, "a certificate type", |raw| {
        let named = CERT_TYPES.iter().find(|(n, _)| n.as_bytes().eq_ignore_ascii_case(raw));
        let numbered = || number(raw, u16::MAX.into()).and_then(|n| u16::try_from(n).ok());
        named.map(|&(_, value)| value).or_else(numbered)
    })
}

/// One character string or more.
fn texts(cursor: &mut Cursor<'_, '_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    text(&cursor.next()?, out)?;
    while !cursor.is_empty() {
        text(&cursor.next()?, out)?;
    }
    Ok(())
}

fn tag(token: &Token<'_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    if token.quoted || !is_tag(token.raw) {
        let what = "a tag of letters and digits";
        return Err(DataFault::Expected { what, found: token.shown() });
    }
    text(token, out)
}

/// Octets as in a character string, without a length before them.
fn escaped(token: &Token<'_>, least: usize, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let octets = token.octets()?;
    if octets.len() < least {
        return Err(DataFault::Early);
    }
    out.extend_from_slice(&octets);
    Ok(())
}

fn digest(cursor: &mut Cursor<'_, '_>, kinds: Digests, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let before = out.len();
    let lengths = kinds.lengths(out);
    hex(cursor, out)?;
    let given = out.len() - before;
    if lengths.contains(&given) {
        return Ok(());
    }
    let (least, exact) = (*lengths.start(), lengths.start() == lengths.end());
    Err(DataFault::Digest { least, exact, given })
}

fn types(cursor: &mut Cursor<'_, '_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let mut builder = RtypeBitmapBuilder::new_vec();
    while !cursor.is_empty() {
        let rtype = word(cursor, "a record type", Rtype::from_bytes)?;
        // A vector takes whatever is appended.
        let Ok(()) = builder.add(rtype);
    }
    out.extend_from_slice(builder.finalize().as_slice());
    Ok(())
}

/// Appends the wire form of the name `token` is, completed with `origin` when
/// it has no final dot. The case of letters is kept.
pub(super) fn name(token: &Token<'_>, origin: &[u8], out: &mut Vec<u8>) -> Result<(), DataFault> {
    if token.quoted {
        return Err(DataFault::QuotedName);
    }
    match token.raw {
        b"@" => {
            out.extend_from_slice(origin);
            return Ok(());
        }
        b"." => {
            out.push(0);
            return Ok(());
        }
        _ => {}
    }
    let start = out.len();
    let mut label = Vec::with_capacity(MAX_LABEL);
    let mut relative = true;
    for symbol in symbols(token.raw) {
        let symbol = symbol?;
        relative = symbol.escaped || symbol.octet != b'.';
        if !relative {
            end_label(&mut label, out)?;
        } else if symbol.escaped || symbol.octet.is_ascii_graphic() {
            label.push(symbol.octet);
        } else {
            return Err(DataFault::OddName(token.shown()));
        }
    }
    if relative {
        end_label(&mut label, out)?;
        out.extend_from_slice(origin);
    } else {
        out.push(0);
    }
    if out.len() - start > MAX_NAME { Err(DataFault::LongName) } else { Ok(()) }
}

fn end_label(label: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    match label.len() {
        0 => return Err(DataFault::EmptyLabel),
        len @ 1..=MAX_LABEL => out.push(len as u8),
        _ => return Err(DataFault::LongLabel),
    }
    out.append(label);
    Ok(())
}

/// Appends a character-string.
fn text(token: &Token<'_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let octets = token.octets()?;
    out.push(u8::try_from(octets.len()).map_err(|_| DataFault::LongString(octets.len()))?);
    out.extend_from_slice(&octets);
    Ok(())
}

/// Reads an unquoted word through `read`.
fn word<T>(
    cursor: &mut Cursor<'_, '_>,
    what: &'static str,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, DataFault> {
    let token = cursor.next()?;
    let value = if token.quoted { None } else { read(token.raw) };
    value.ok_or_else(|| DataFault::Expected { what, found: token.shown() })
}

fn integer(cursor: &mut Cursor<'_, '_>, what: &'static str, most: u64) -> Result<u64, DataFault> {
    word(cursor, what, |raw| number(raw, most))
}

/// A decimal number of digits only, up to `most`.
pub(super) fn number(raw: &[u8], most: u64) -> Option<u64> {
    let text = std::str::from_utf8(raw).ok()?;
    let value = text.parse().ok()?;
    (raw.iter().all(u8::is_ascii_digit) && value <= most).then_some(value)
}

fn parse<T: FromStr>(raw: &[u8]) -> Option<T> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

/// Appends the octets that all tokens left are in hexadecimal, blanks being
/// of no account.
fn hex(cursor: &mut Cursor<'_, '_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let what = "pairs of hexadecimal digits";
    let mut decoder = base16::Decoder::<Vec<u8>>::new();
    let found = digits(cursor, what, |digit| decoder.push(digit).is_ok())?;
    out.extend(decoder.finalize().map_err(|_| DataFault::Expected { what, found })?);
    Ok(())
}

/// The same in Base64.
fn base64(cursor: &mut Cursor<'_, '_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let what = "Base64";
    let mut decoder = base64::Decoder::<Vec<u8>>::new();
    let found = digits(cursor, what, |digit| decoder.push(digit).is_ok())?;
    out.extend(decoder.finalize().map_err(|_| DataFault::Expected { what, found })?);
    Ok(())
}

/// Hands every character left to `push`; the last token, to be shown when the
/// end comes too early.
fn digits(
    cursor: &mut Cursor<'_, '_>,
    what: &'static str,
    mut push: impl FnMut(char) -> bool,
) -> Result<String, DataFault> {
    let mut last = String::new();
    while !cursor.is_empty() {
        let token = cursor.next()?;
        last = token.shown();
        if token.quoted || !token.raw.iter().all(|&octet| push(octet.into())) {
            return Err(DataFault::Expected { what, found: last });
        }
    }
    Ok(last)
}

/// Four groups of one to four hexadecimal digits with colons between.
fn locator(raw: &[u8]) -> Option<[u8; 8]> {
    let mut out = [0; 8];
    let mut groups = raw.split(|&o| o == b':');
    for pair in out.as_chunks_mut::<2>().0 {
        *pair = u16::try_from(hex_number(groups.next()?, 1..=4)?).ok()?.to_be_bytes();
    }
    groups.next().is_none().then_some(out)
}

/// `len` pairs of hexadecimal digits with hyphens between.
fn eui(raw: &[u8], len: usize) -> Option<Vec<u8>> {
    let octets = raw
        .split(|&o| o == b'-')
        .map(|pair| u8::try_from(hex_number(pair, 2..=2)?).ok())
        .collect::<Option<Vec<_>>>()?;
    (octets.len() == len).then_some(octets)
}

fn hex_number(raw: &[u8], len: RangeInclusive<usize>) -> Option<u32> {
    let digits = len.contains(&raw.len()) && raw.iter().all(u8::is_ascii_hexdigit);
    u32::from_str_radix(std::str::from_utf8(raw).ok().filter(|_| digits)?, 16).ok()
}

fn at_least_one(before: usize, out: &[u8]) -> Result<(), DataFault> {
    if out.len() > before { Ok(()) } else { Err(DataFault::Early) }
}
