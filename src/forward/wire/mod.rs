//! DNS messages octet by octet: names, records, and the names in RDATA.
//!
//! All of it comes from outside: no index without a check, and every walk ends,
//! because a compression pointer may only point backwards.

mod encoder;
mod rdata;
#[cfg(test)]
mod tests;
mod wire_name;

use std::net::Ipv4Addr;
use std::ops::Range;

use crate::dns::wire::{IN, u16_at, u32_at};
pub(crate) use encoder::Encoder;
use rdata::{Part, Piece, layout};
pub(crate) use wire_name::WireName;

/// The longest message (RFC 1035 section 4.2.2).
pub(crate) const MAX_MESSAGE: usize = u16::MAX as usize;

/// Type A.
pub(crate) const A: u16 = 1;

/// Type CNAME.
pub(crate) const CNAME: u16 = 5;

/// Type SOA.
pub(crate) const SOA: u16 = 6;

/// Type HINFO.
pub(crate) const HINFO: u16 = 13;

/// Type SIG; as a record of a transaction, SIG(0) (RFC 2931).
pub(crate) const SIG: u16 = 24;

/// Type AAAA.
pub(crate) const AAAA: u16 = 28;

/// Type DNAME (RFC 6672).
pub(crate) const DNAME: u16 = 39;

/// Type RRSIG (RFC 4034).
pub(crate) const RRSIG: u16 = 46;

/// Type SVCB (RFC 9460).
pub(crate) const SVCB: u16 = 64;

/// Type HTTPS (RFC 9460).
pub(crate) const HTTPS: u16 = 65;

/// Type TSIG (RFC 8945).
pub(crate) const TSIG: u16 = 250;

/// Question type ANY.
pub(crate) const ANY: u16 = 255;

/// Offsets up to here can be named by a compression pointer.
const POINTER_REACH: usize = 0x3fff;

/// Why octets are not a DNS message. Offsets count from the message's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Shorter than a header.
    #[error("shorter than a header")]
    Header,
    /// The question is not the one that was asked.
    #[error("another question than the one asked")]
    Question,
    /// A name or a record runs out of the message, or a name is no name.
    #[error("a broken record at octet {0}")]
    Record(usize),
    /// RDATA that is not what its type says.
    #[error("broken data of type {rtype} at octet {at}")]
    Data {
        /// Where the RDATA begins.
        at: usize,
        /// The record's type.
        rtype: u16,
    },
    /// More octets than records.
    #[error("something behind the last record, at octet {0}")]
    Trailing(usize),
    /// More than one OPT, or one where none may be (RFC 6891 section 6.1.1).
    #[error("a misplaced OPT")]
    Opt,
    /// Answers, none of which is for the question's name.
    #[error("no answer is for the name asked for")]
    Chain,
    /// Longer than 65,535 octets once written anew.
    #[error("too long once written anew")]
    TooLong,
}

/// The part of a message a record stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// The answer section.
    Answer,
    /// The authority section.
    Authority,
    /// The additional section.
    Additional,
}

/// A record where it stands in its message.
#[derive(Debug, Clone)]
pub struct Record<'m> {
    message: &'m [u8],
    /// Its section.
    pub section: Section,
    /// Its owner, in the case it was written in.
    pub owner: WireName,
    /// TYPE.
    pub rtype: u16,
    /// CLASS.
    pub class: u16,
    /// TTL in seconds, as it stands in the message.
    pub ttl: u32,
    /// Where the record begins.
    pub(crate) start: usize,
    /// Where the TTL stands.
    pub(crate) ttl_at: usize,
    /// Where the RDATA stands.
    pub(crate) place: Range<usize>,
}

impl<'m> Record<'m> {
    fn read(message: &'m [u8], start: usize, section: Section) -> Result<Self, Malformed> {
        let broken = Malformed::Record(start);
        let (owner, at) = WireName::read(message, start).ok_or(broken)?;
        let number = |at| u16_at(message, at).ok_or(broken);
        let begin = at + 10;
        let place = begin..begin + usize::from(number(at + 8)?);
        let record = Self {
            message,
            section,
            owner,
            rtype: number(at)?,
            class: number(at + 2)?,
            ttl: u32_at(message, at + 4).ok_or(broken)?,
            start,
            ttl_at: at + 4,
            place,
        };
        if message.len() < record.place.end {
            return Err(broken);
        }
        if !record.is_sound() {
            return Err(Malformed::Data { at: record.place.start, rtype: record.rtype });
        }
        Ok(record)
    }

    /// The message it stands in.
    pub(crate) fn message(&self) -> &'m [u8] {
        self.message
    }

    /// The RDATA as it stands in the message; names in it may be compressed.
    pub fn rdata(&self) -> &'m [u8] {
        self.message.get(self.place.clone()).unwrap_or_default()
    }

    /// The RDATA with all names written out.
    pub fn uncompressed(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.place.len());
        self.parts(|piece| match piece {
            Piece::Plain(octets) => data.extend_from_slice(octets),
            Piece::Name(name) => data.extend_from_slice(name.octets()),
        });
        data
    }

    /// The address of an A record of class IN.
    pub fn address(&self) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.rdata().try_into().ok()?;
        (self.rtype == A && self.class == IN).then(|| octets.into())
    }

    fn is_sound(&self) -> bool {
        match self.rtype {
            A if self.class == IN => self.place.len() == 4,
            AAAA if self.class == IN => self.place.len() == 16,
            _ => self.parts(|_| ()).is_some(),
        }
    }

    /// Visits the RDATA piece by piece; none when it is not what the type says.
    fn parts(&self, mut visit: impl FnMut(Piece<'_>)) -> Option<()> {
        let mut at = self.place.start;
        let plain = |at: usize, len: usize, visit: &mut dyn FnMut(Piece<'_>)| {
            let end = at + len;
            visit(Piece::Plain(self.message.get(at..end)?));
            (end <= self.place.end).then_some(end)
        };
        for part in layout(self.rtype) {
            at = match part {
                Part::Octets(count) => plain(at, *count, &mut visit)?,
                Part::Text => {
                    let len = usize::from(*self.message.get(at)?);
                    plain(at, len + 1, &mut visit)?
                }
                Part::Rest => plain(at, self.place.end.checked_sub(at)?, &mut visit)?,
                Part::Name => {
                    let (name, end) = WireName::read(self.message, at)?;
                    visit(Piece::Name(&name));
                    end
                }
            };
        }
        (at == self.place.end).then_some(())
    }
}

/// The records of a message, one after the other; ends with the first error.
#[derive(Debug, Clone)]
pub(crate) struct Walk<'m> {
    message: &'m [u8],
    at: usize,
    left: [u16; 3],
}

impl<'m> Walk<'m> {
    /// Begins behind the question, at `at`.
    pub(crate) fn new(message: &'m [u8], at: usize) -> Result<Self, Malformed> {
        let count = |at| u16_at(message, at).ok_or(Malformed::Header);
        Ok(Self { message, at, left: [count(6)?, count(8)?, count(10)?] })
    }

    fn section(&mut self) -> Option<Section> {
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let (left, section) = self.left.iter_mut().zip(sections).find(|(left, _)| **left > 0)?;
        *left -= 1;
        Some(section)
    }
}

impl<'m> Iterator for Walk<'m> {
    type Item = Result<Record<'m>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = match self.section() {
            Some(section) => Record::read(self.message, self.at, section),
            None if self.at < self.message.len() => Err(Malformed::Trailing(self.at)),
            None => return None,
        };
        match &read {
            Ok(record) => self.at = record.place.end,
            Err(_) => (self.at, self.left) = (self.message.len(), [0; 3]),
        }
        Some(read)
    }
}
