//! Writes a message anew, names compressed.

use std::collections::HashMap;

use super::rdata::{Piece, is_compressible};
use super::{MAX_MESSAGE, Malformed, POINTER_REACH, Record, Section, WireName};
use crate::dns::name;
use crate::dns::wire::{HEADER, count_up, overlay};

/// Writes a message anew, names compressed.
///
/// Names are compared in their case: what pointed to the question does so
/// again and follows the asker's spelling, and no other name changes its case.
pub(crate) struct Encoder {
    octets: Vec<u8>,
    names: HashMap<Box<[u8]>, u16>,
}

impl Encoder {
    /// Begins with `start`: a header and a question. Its record counts must
    /// be 0, they are counted up.
    pub(crate) fn new(start: &[u8]) -> Self {
        let mut encoder = Self { octets: start.to_vec(), names: HashMap::new() };
        let question = start.get(HEADER..).unwrap_or_default();
        let question = name::wire_len(question).and_then(|len| question.get(..len));
        encoder.remember(question.unwrap_or_default(), HEADER);
        encoder
    }

    /// Appends a record with this TTL and perhaps other RDATA, in which names
    /// are not compressed. Sections must come in order.
    pub(crate) fn push(&mut self, record: &Record<'_>, ttl: u32, rdata: Option<&[u8]>) {
        self.name(&record.owner);
        self.octets.extend_from_slice(&record.rtype.to_be_bytes());
        self.octets.extend_from_slice(&record.class.to_be_bytes());
        self.octets.extend_from_slice(&ttl.to_be_bytes());
        let length_at = self.octets.len();
        self.octets.extend_from_slice(&[0, 0]);
        match rdata {
            Some(rdata) => self.octets.extend_from_slice(rdata),
            None => {
                record.parts(|piece| match piece {
                    Piece::Name(name) if is_compressible(record.rtype) => self.name(name),
                    Piece::Name(name) => self.octets.extend_from_slice(name.octets()),
                    Piece::Plain(octets) => self.octets.extend_from_slice(octets),
                });
            }
        }
        // RDATA beyond 65,535 octets makes the message too long anyway.
        let length = (self.octets.len() - length_at - 2) as u16;
        overlay(&mut self.octets, length_at, &length.to_be_bytes());
        let count_at = match record.section {
            Section::Answer => 6,
            Section::Authority => 8,
            Section::Additional => 10,
        };
        count_up(&mut self.octets, count_at);
    }

    /// The message.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Malformed> {
        match self.octets.len() {
            0..=MAX_MESSAGE => Ok(self.octets),
            _ => Err(Malformed::TooLong),
        }
    }

    fn name(&mut self, name: &WireName) {
        let whole = name.octets();
        let begin = self.octets.len();
        let known = name::suffixes(whole)
            .filter(|suffix| suffix.len() > 1)
            .find_map(|suffix| Some((suffix.len(), *self.names.get(suffix)?)));
        match known {
            Some((tail, target)) => {
                let head = whole.get(..whole.len() - tail).unwrap_or_default();
                self.octets.extend_from_slice(head);
                self.octets.extend_from_slice(&(0xc000 | target).to_be_bytes());
            }
            None => self.octets.extend_from_slice(whole),
        }
        self.remember(whole, begin);
    }

    /// Notes where the name and its parents stand, but for those known before.
    fn remember(&mut self, whole: &[u8], begin: usize) {
        for suffix in name::suffixes(whole).filter(|suffix| suffix.len() > 1) {
            let at = begin + whole.len() - suffix.len();
            if at > POINTER_REACH || self.names.contains_key(suffix) {
                break;
            }
            self.names.insert(suffix.into(), at as u16);
        }
    }
}
