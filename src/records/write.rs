//! Records as lines of a master file: what `dump` prints.
//!
//! Every line is whole in itself (absolute names, TTL, class) and is read
//! back to the same octets, here and by other servers. Data that is not of
//! its type's shape is written in the `\#` form (RFC 3597 section 5).

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype;
use domain::rdata::dnssec::RtypeBitmap;
use domain::utils::{base16, base64};
use hickory_proto::ProtoError;
use hickory_proto::rr::{RData, Record};

use super::layout::{self, Field};
use super::{data, loc, svcb};
use crate::dns::name::{Key, labels};

/// MB, MG, MR, X25 and ISDN: Knot does not know them.
const UNKNOWN_TO_SOME: [u16; 5] = [7, 8, 9, 19, 20];

/// One record as a line, without a line feed.
///
/// # Errors
///
/// Data that has no wire form, such as a string of more than 255 octets.
pub fn write_record(owner: &Key, ttl: u32, data: &RData) -> Result<String, ProtoError> {
    let octets = data::wire(data)?;
    let code = u16::from(data.record_type());
    let mut out = String::new();
    name(owner.octets(), &mut out);
    // Writing to a string does not fail, here and below.
    let _ = write!(out, " {ttl} IN ");
    let pieces = layout::of(code)
        .filter(|_| !UNKNOWN_TO_SOME.contains(&code))
        .and_then(|layout| Some((layout.name, layout.split(&octets)?)));
    match pieces {
        Some((name, pieces)) => {
            out += name;
            for (field, octets) in pieces {
                piece(field, octets, &mut out);
            }
        }
        None => {
            let _ = write!(out, r"TYPE{code} \# {}", octets.len());
            if !octets.is_empty() {
                out.push(' ');
                out += &base16::encode_string(&octets);
            }
        }
    }
    Ok(out)
}

/// As [`write_record`]; data that has no wire form becomes a comment.
pub fn record_line(record: &Record) -> String {
    let owner = Key::from_name(&record.name);
    write_record(&owner, record.ttl, &record.data)
        .unwrap_or_else(|error| format!("; {owner} {}: {error}", record.record_type()))
}

/// The mnemonic of a type we read, else `TYPEnnn`, which everybody reads.
pub(super) fn type_name(code: u16) -> String {
    layout::of(code).map_or_else(|| format!("TYPE{code}"), |l| l.name.into())
}

/// A blank and the text of one field.
fn piece(field: Field, octets: &[u8], out: &mut String) {
    if field == Field::Parameters {
        return svcb::write(octets, out);
    }
    if octets.is_empty() && !matches!(field, Field::Octets(_)) {
        return;
    }
    out.push(' ');
    match field {
        Field::U8
        | Field::U16
        | Field::U32
        | Field::Seconds
        | Field::Algorithm
        | Field::CertType => {
            let value = octets.iter().fold(0u32, |value, &octet| value << 8 | u32::from(octet));
            let _ = write!(out, "{value}");
        }
        Field::Ipv4 => {
            let _ = octets.try_into().map(|a: [u8; 4]| write!(out, "{}", Ipv4Addr::from(a)));
        }
        Field::Ipv6 => {
            let _ = octets.try_into().map(|a: [u8; 16]| write!(out, "{}", Ipv6Addr::from(a)));
        }
        Field::Name => name(octets, out),
        Field::Text | Field::OptionalText | Field::Texts => {
            let strings: Vec<_> = strings(octets).map(quoted).collect();
            *out += &strings.join(" ");
        }
        Field::Tag => {
            let tag = octets.get(1..).unwrap_or_default();
            out.extend(tag.iter().map(|&octet| char::from(octet)));
        }
        Field::Octets(_) => quote(octets, out),
        Field::Hex | Field::Digest(_) => *out += &base16::encode_string(octets),
        Field::Base64 => *out += &base64::encode_string(octets),
        Field::Locator => {
            let groups = octets.as_chunks().0.iter();
            let groups: Vec<_> =
                groups.map(|&pair| format!("{:04x}", u16::from_be_bytes(pair))).collect();
            *out += &groups.join(":");
        }
        Field::Eui(_) => {
            let pairs: Vec<_> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            *out += &pairs.join("-");
        }
        Field::Types => {
            let types = RtypeBitmap::from_octets(octets);
            let types = types.iter().flatten();
            let names: Vec<_> = types.map(|t: Rtype| type_name(t.to_int())).collect();
            *out += &names.join(" ");
        }
        Field::Location => loc::write(octets, out),
        Field::Parameters => {}
    }
}

/// A wire name, absolute. What any server could take for something else than
/// a part of the label is written as `\DDD`: Knot takes little plain, and BIND
/// takes `\[` for a bit-string label.
fn name(octets: &[u8], out: &mut String) {
    if octets == [0] {
        out.push('.');
    }
    for label in labels(octets) {
        for &octet in label {
            match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'*' | b'/' => {
                    out.push(octet.into());
                }
                b'.' => *out += r"\.",
                _ => decimal(octet, out),
            }
        }
        out.push('.');
    }
}

/// The character-strings in `octets`.
fn strings(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let (&len, tail) = rest.split_first()?;
        let (string, tail) = tail.split_at_checked(len.into())?;
        rest = tail;
        Some(string)
    })
}

/// Octets in quotes.
pub(super) fn quote(octets: &[u8], out: &mut String) {
    out.push('"');
    for &octet in octets {
        match octet {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(octet.into());
            }
            b' '..=b'~' => out.push(octet.into()),
            _ => decimal(octet, out),
        }
    }
    out.push('"');
}

fn quoted(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len() + 2);
    quote(octets, &mut out);
    out
}

fn decimal(octet: u8, out: &mut String) {
    let _ = write!(out, r"\{octet:03}");
}
