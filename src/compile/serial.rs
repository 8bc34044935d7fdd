//! Serials: they move when a zone's content moves, and never back.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::time::SystemTime;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::dns::name::Key;
use crate::snapshot::RrSet;

/// The serial of each zone and the content it stands for; kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Serials(BTreeMap<Key, Serial>);

/// A zone's serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Serial {
    /// As in the SOA.
    pub serial: u32,
    /// Of the content it was given for.
    pub digest: u128,
}

impl Serials {
    /// The serial for content `digest`: the one in use if that has not
    /// changed, else max(last + 1, `now`) in the order of RFC 1982.
    pub(crate) fn advance(&mut self, origin: &Key, digest: u128, now: SystemTime) -> u32 {
        let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as u32;
        let serial = match self.0.get(origin) {
            Some(last) if last.digest == digest => last.serial,
            Some(last) => later(last.serial.wrapping_add(1), unix),
            None => unix,
        };
        self.0.insert(origin.clone(), Serial { serial, digest });
        serial
    }

    /// Takes a serial given from outside (a zone file's SOA).
    pub(crate) fn set(&mut self, origin: &Key, serial: Serial) {
        self.0.insert(origin.clone(), serial);
    }

    /// Every zone's serial.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Serial)> {
        self.0.iter()
    }
}

/// The later of two serials (RFC 1982 section 3.2).
fn later(a: u32, b: u32) -> u32 {
    if (b.wrapping_sub(a) as i32) > 0 { b } else { a }
}

/// The hash of one name's records, the same in every process. Order of records
/// does not count. Nodes' hashes are added up, so that a zone's digest follows
/// a change without reading the whole zone.
pub(crate) fn node_digest(owner: &Key, rrsets: &[RrSet]) -> u128 {
    let mut sum = 0u128;
    for set in rrsets {
        for record in set.records.iter() {
            sum = sum.wrapping_add(record_digest(owner, record));
        }
    }
    sum
}

/// An SOA counts without its serial.
fn record_digest(owner: &Key, record: &Record) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(owner.octets());
    hasher.write_u16(record.record_type().into());
    hasher.write_u32(record.ttl);
    let mut octets = Vec::with_capacity(64);
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    let emitted = match &record.data {
        RData::SOA(soa) => {
            let mut soa = soa.clone();
            soa.serial = 0;
            soa.emit(&mut encoder)
        }
        data => data.emit(&mut encoder),
    };
    // Encoding one record into 64 KiB fails only for RDATA that the reader
    // refused; such a record would count by its owner and type alone.
    drop(emitted);
    hasher.write(&octets);
    hasher.finish128().as_u128()
}

/// The hash of an SOA, which counts without its serial.
pub(crate) fn soa_digest(origin: &Key, ttl: u32, soa: &SOA) -> u128 {
    record_digest(origin, &Record::from_rdata(origin.to_name(), ttl, RData::SOA(soa.clone())))
}

/// A zone's digest over the views it exists in.
pub(crate) fn zone_digest<'a>(parts: impl Iterator<Item = (&'a str, u128)>) -> u128 {
    parts.fold(0u128, |sum, (view, digest)| {
        let mut hasher = SipHasher13::new();
        hasher.write(view.as_bytes());
        hasher.write_u8(0);
        hasher.write_u128(digest);
        sum.wrapping_add(hasher.finish128().as_u128())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    #[test]
    fn moves_on_change_only_and_never_back() {
        let origin = Key::parse("example.com", None).unwrap();
        let mut serials = Serials::default();
        assert_eq!(serials.advance(&origin, 1, at(1000)), 1000);
        assert_eq!(serials.advance(&origin, 1, at(2000)), 1000);
        assert_eq!(serials.advance(&origin, 2, at(2000)), 2000);
        assert_eq!(serials.advance(&origin, 3, at(2000)), 2001);
        assert_eq!(serials.advance(&origin, 4, at(1500)), 2002, "a clock set back");
    }

    #[test]
    fn wraps_as_rfc_1982_says() {
        assert_eq!(later(u32::MAX, 5), 5);
        assert_eq!(later(5, u32::MAX), 5);
        assert_eq!(later(0, 0x7fff_ffff), 0x7fff_ffff);
    }
}
