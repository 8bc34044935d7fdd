//! What `aws ec2 describe-addresses` prints (JSON), as addresses.
//!
//! The file is written by people and scripts, so the reader is strict about
//! what it would have to guess (an address that is none) and lenient about what
//! it does not use: unknown keys are skipped, every key but `PublicIp` may be
//! absent, `null` or `""`. [`usable`] says what of it can be
//! used. Items are UTF-8 as a whole, as JSON is (RFC 8259
//! section 8.1).

mod error;
mod item;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::host::background;
use crate::source::inventory::Address;
use crate::source::known::KnownAddresses;
use crate::source::usable::{self, Gather, Said, Unusable};
pub use error::ParseError;
use error::from_json;
use item::{Object, PrintedItem};

/// UTF-8 byte order mark: some editors write one.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The addresses in a text that was read. Of the text digests are kept, which tell
/// whether another is the same: it is as long as all that is answered from it.
#[derive(Debug, Default)]
pub struct Listing {
    /// Of the whole text.
    digest: u128,
    /// Of the text of each address.
    items: Vec<u128>,
    said: Said,
}

impl Listing {
    /// Reads the output of `aws ec2 describe-addresses`
    /// (EC2 API reference, `DescribeAddresses`, in the CLI's JSON form).
    ///
    /// Items with the same text as in `before`, in the same order, are not read
    /// once more, and addresses that are as in `before` are the very same.
    ///
    /// # Errors
    /// Any text that leaves a doubt about which addresses it has; nothing is
    /// returned for a part of it.
    pub fn read(text: &[u8], before: &Listing) -> Result<Self, ParseError> {
        let json = text.strip_prefix(BOM).unwrap_or(text);
        if json.trim_ascii().is_empty() {
            return Err(ParseError::Empty);
        }
        let mut reader = Reader::new(text, before);
        let mut json = serde_json::Deserializer::from_slice(json);
        let found = WholeReply(&mut reader).deserialize(&mut json);
        match (found.and_then(|found| json.end().map(|()| found)), reader.fault.take()) {
            (Ok(true), _) => {}
            (Ok(false), _) => return Err(ParseError::NoAddresses),
            (Err(_), Some(fault)) => return Err(fault),
            (Err(error), None) => return Err(from_json(&error, error.line(), error.column())),
        }
        let (all, left_out) = reader.gather.finish();
        let (items, addresses): (_, Vec<_>) = all.map(|read| (read.digest, read.address)).unzip();
        let said = Said { addresses: addresses.into(), left_out: left_out.into() };
        Ok(Self { digest: digest(text), items, said })
    }

    /// Is it what was read from this very text?
    pub fn is_of(&self, text: &[u8]) -> bool {
        self.digest == digest(text)
    }

    /// What it says: the addresses, in their order.
    pub fn said(&self) -> &Said {
        &self.said
    }
}

/// Equal for equal octets, and for others once in 2^128.
fn digest(octets: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(octets);
    hasher.finish128().as_u128()
}

/// An address, and the digest of its text.
struct Read {
    digest: u128,
    address: Arc<Address>,
}

impl Borrow<Address> for Read {
    fn borrow(&self) -> &Address {
        &self.address
    }
}

/// Takes one item after the other.
struct Reader<'r> {
    text: &'r [u8],
    before: &'r Listing,
    known: KnownAddresses<'r>,
    gather: Gather<Read>,
    /// What is wrong with the last item: an error of serde carries only text.
    fault: Option<ParseError>,
}

impl<'r> Reader<'r> {
    fn new(text: &'r [u8], before: &'r Listing) -> Self {
        let known = KnownAddresses::new(&before.said.addresses);
        Self { text, before, known, gather: Gather::default(), fault: None }
    }

    /// Takes the text of an item. It is JSON, and nothing else is known of it.
    fn take(&mut self, item: &str) -> Result<(), ParseError> {
        let digest = digest(item.as_bytes());
        let again = self.before.items.get(self.known.next()).filter(|before| **before == digest);
        let address = match again.and_then(|_| self.known.again()) {
            Some(address) => address,
            None => match address(item, &place_of(item, self.text), self.text)? {
                Ok(address) => self.known.share(address.into()),
                Err(why) => {
                    self.gather.leave_out(why);
                    return Ok(());
                }
            },
        };
        self.gather.take(Read { digest, address });
        Ok(())
    }
}

/// Where in `text` a part of it stands.
fn place_of(part: &str, text: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The address that an item at a place in the text is, or why it is none.
fn address(
    item: &str,
    place: &Range<usize>,
    text: &[u8],
) -> Result<Result<Address, Unusable>, ParseError> {
    let Object(item) = serde_json::from_str::<Object<PrintedItem>>(item).map_err(|error| {
        let lines = item.split_inclusive('\n').take(error.line().saturating_sub(1));
        let behind = lines.map(str::len).sum::<usize>() + error.column();
        let (line, column) = line_and_column(text, place.start + behind);
        from_json(&error, line, column)
    })?;
    usable::Item::from(item).judge().map_err(|fault| {
        let (line, column) = line_and_column(text, place.end);
        ParseError::Item { line, column, fault }
    })
}

/// Line and column of the last of the first `count` octets.
fn line_and_column(text: &[u8], count: usize) -> (usize, usize) {
    let text = text.get(..count).unwrap_or(text);
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let lines = text.iter().filter(|octet| **octet == b'\n').count();
    (lines + 1, text.rsplit(|octet| *octet == b'\n').next().map_or(0, <[u8]>::len))
}

/// The whole reply: did it have a list of items?
struct WholeReply<'a, 'r>(&'a mut Reader<'r>);

impl<'de> DeserializeSeed<'de> for WholeReply<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WholeReply<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"Addresses\"")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<bool, M::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != "Addresses" {
                map.next_value::<IgnoredAny>()?;
            } else if found {
                return Err(M::Error::custom("\"Addresses\" stands twice"));
            } else {
                map.next_value_seed(Items(self.0))?;
                found = true;
            }
        }
        Ok(found)
    }
}

/// The list of items.
struct Items<'a, 'r>(&'a mut Reader<'r>);

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of addresses")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            background::breathe();
            if let Err(fault) = self.0.take(item.get()) {
                let error = S::Error::custom(&fault);
                self.0.fault = Some(fault);
                return Err(error);
            }
        }
        Ok(())
    }
}
