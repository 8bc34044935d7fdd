//! The parameters of SVCB and HTTPS (RFC 9460).
//!
//! `domain` has a reader of them, but as of 0.12 it refuses keys that hold a
//! `9` or a `z`, and its errors have no place.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use domain::utils::base64;

use super::fault::DataFault;
use super::lex::Token;
use super::scan::{Cursor, number};
use super::write::quote;

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
/// Reserved as an invalid key (RFC 9460 section 14.3.2).
const INVALID: u16 = 65535;

/// The keys with a name, in order of number; further ones (RFC 9461, RFC
/// 9540) are read by name and written by number, which older servers know.
const NAMES: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];
const WRITTEN_BY_NAME: usize = 7;

/// Reads parameters up to the end and appends their octets.
pub(super) fn scan(cursor: &mut Cursor<'_, '_>, out: &mut Vec<u8>) -> Result<(), DataFault> {
    let mut all = BTreeMap::new();
    while !cursor.is_empty() {
        let token = cursor.next()?;
        let (name, given) = match token.raw.iter().position(|&o| o == b'=') {
            Some(at) if !token.quoted => {
                let (name, given) = token.raw.split_at(at);
                let given = Token { raw: given.get(1..).unwrap_or_default(), ..token };
                // In key="value" the quoted part is a token of its own.
                let quoted = if given.raw.is_empty() { cursor.next_glued() } else { None };
                (name, Some(quoted.unwrap_or(given)))
            }
            _ => (token.raw, None),
        };
        let key = key(name)
            .filter(|_| !token.quoted)
            .ok_or_else(|| DataFault::Expected { what: "a parameter key", found: token.shown() })?;
        if all.insert(key, value(key, given)?).is_some() {
            return Err(DataFault::Parameters("a parameter is given twice"));
        }
    }
    let start = out.len();
    for (key, value) in all {
        let len = u16::try_from(value.len()).map_err(|_| DataFault::LongData(value.len()))?;
        out.extend(key.to_be_bytes());
        out.extend(len.to_be_bytes());
        out.extend(value);
    }
    check(out.get(start..).unwrap_or_default())
}

/// Writes the octets as text; they have been checked.
pub(super) fn write(data: &[u8], out: &mut String) {
    let mut rest = data;
    while let Some((key, value, tail)) = first(rest) {
        rest = tail;
        out.push(' ');
        *out += &key_name(key);
        let text: Vec<u8> = match key {
            NO_DEFAULT_ALPN => continue,
            _ if value.is_empty() => continue,
            MANDATORY => {
                let keys: Vec<_> = pairs(value).map(key_name).collect();
                keys.join(",").into()
            }
            ALPN => {
                let items: Vec<_> = items(value).map(escape_item).collect();
                items.join(&b',')
            }
            PORT => pairs(value).map(|p| p.to_string()).collect::<String>().into(),
            IPV4HINT => join(value.as_chunks().0.iter().map(|a: &[u8; 4]| Ipv4Addr::from(*a))),
            ECH => base64::encode_string(value).into(),
            IPV6HINT => join(value.as_chunks().0.iter().map(|a: &[u8; 16]| Ipv6Addr::from(*a))),
            _ => value.to_vec(),
        };
        out.push('=');
        quote(&text, out);
    }
}

/// Are these octets parameters a client may rely on (RFC 9460 sections 2.2,
/// 7 and 8)?
pub(super) fn check(data: &[u8]) -> Result<(), DataFault> {
    let mut rest = data;
    let mut keys = Vec::new();
    let mut mandatory: &[u8] = &[];
    while let Some((key, value, tail)) = first(rest) {
        if keys.last().is_some_and(|&last| last >= key) || key == INVALID {
            return Err(DataFault::Parameters("parameter keys are out of order"));
        }
        let fits = match key {
            MANDATORY => {
                mandatory = value;
                let ascending = pairs(value).is_sorted_by(|a, b| a < b);
                !value.is_empty() && value.len() % 2 == 0 && ascending
            }
            ALPN => alpn_is_sound(value),
            NO_DEFAULT_ALPN => value.is_empty(),
            PORT => value.len() == 2,
            IPV4HINT => !value.is_empty() && value.len() % 4 == 0,
            ECH => !value.is_empty(),
            IPV6HINT => !value.is_empty() && value.len() % 16 == 0,
            _ => true,
        };
        if !fits {
            return Err(DataFault::Parameters("a parameter has no valid value"));
        }
        keys.push(key);
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(DataFault::Parameters("the parameters are cut"));
    }
    if pairs(mandatory).any(|key| key == MANDATORY || keys.binary_search(&key).is_err()) {
        return Err(DataFault::Parameters("`mandatory` names a key that is not given"));
    }
    if keys.contains(&NO_DEFAULT_ALPN) && !keys.contains(&ALPN) {
        return Err(DataFault::Parameters("`no-default-alpn` needs `alpn` beside it"));
    }
    Ok(())
}

/// Takes key and value off the front.
fn first(data: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (key, rest) = data.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
    Some((u16::from_be_bytes(*key), value, rest))
}

fn key(name: &[u8]) -> Option<u16> {
    if let Some(at) = NAMES.iter().position(|n| n.as_bytes() == name) {
        return u16::try_from(at).ok();
    }
    let digits = name.strip_prefix(b"key")?;
    if digits.starts_with(b"0") && digits.len() > 1 {
        return None;
    }
    number(digits, u16::MAX.into()).and_then(|n| u16::try_from(n).ok()).filter(|&n| n != INVALID)
}

fn key_name(key: u16) -> String {
    match NAMES.get(usize::from(key)) {
        Some(name) if usize::from(key) < WRITTEN_BY_NAME => (*name).into(),
        _ => format!("key{key}"),
    }
}

/// The octets of one value.
fn value(key: u16, given: Option<Token<'_>>) -> Result<Vec<u8>, DataFault> {
    let Some(token) = given else { return Ok(Vec::new()) };
    let octets = token.octets()?;
    let expected = |what| DataFault::Expected { what, found: token.shown() };
    match key {
        MANDATORY => {
            let mut keys = octets
                .split(|&o| o == b',')
                .map(|name| self::key(name).ok_or_else(|| expected("a list of keys")))
                .collect::<Result<Vec<_>, _>>()?;
            keys.sort_unstable();
            Ok(keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        ALPN => alpn(&octets).ok_or_else(|| expected("a list of protocols of 1 to 255 octets")),
        NO_DEFAULT_ALPN => Err(expected("no value")),
        PORT => {
            let port = number(&octets, u16::MAX.into()).and_then(|n| u16::try_from(n).ok());
            Ok(port.ok_or_else(|| expected("a port"))?.to_be_bytes().into())
        }
        IPV4HINT => list::<Ipv4Addr>(&octets)
            .map(|all| all.iter().flat_map(Ipv4Addr::octets).collect())
            .ok_or_else(|| expected("a list of IPv4 addresses")),
        IPV6HINT => list::<Ipv6Addr>(&octets)
            .map(|all| all.iter().flat_map(Ipv6Addr::octets).collect())
            .ok_or_else(|| expected("a list of IPv6 addresses")),
        ECH => std::str::from_utf8(&octets)
            .ok()
            .and_then(|text| base64::decode(text).ok())
            .ok_or_else(|| expected("Base64")),
        _ => Ok(octets.into_owned()),
    }
}

/// A comma-separated list, `\,` and `\\` standing for themselves (RFC 9460
/// appendix A.1), as character-strings; none when an item is empty or too long.
fn alpn(octets: &[u8]) -> Option<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let mut rest = octets.iter();
    while let Some(&octet) = rest.next() {
        let octet = match octet {
            b',' => {
                items.push(Vec::new());
                continue;
            }
            b'\\' => *rest.next().filter(|&&o| o == b',' || o == b'\\')?,
            octet => octet,
        };
        items.last_mut()?.push(octet);
    }
    let mut out = Vec::with_capacity(octets.len() + 1);
    for item in items {
        out.push(u8::try_from(item.len()).ok().filter(|&len| len > 0)?);
        out.extend(item);
    }
    Some(out)
}

/// The items of an `alpn` value; it ends early when the value is cut.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (&len, tail) = rest.split_first()?;
        let (item, tail) = tail.split_at_checked(len.into())?;
        rest = tail;
        Some(item)
    })
}

fn alpn_is_sound(value: &[u8]) -> bool {
    let whole: usize = items(value).map(|item| item.len() + 1).sum();
    !value.is_empty() && whole == value.len() && items(value).all(|item| !item.is_empty())
}

fn escape_item(item: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(item.len());
    for &octet in item {
        if matches!(octet, b',' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out
}

/// The 16-bit numbers in `value`.
fn pairs(value: &[u8]) -> impl Iterator<Item = u16> {
    value.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair))
}

fn list<T: FromStr>(octets: &[u8]) -> Option<Vec<T>> {
    let text = std::str::from_utf8(octets).ok()?;
    text.split(',').map(|item| item.parse().ok()).collect()
}

fn join(items: impl Iterator<Item = impl ToString>) -> Vec<u8> {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",").into()
}
