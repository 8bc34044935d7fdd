//! DNS messages octet by octet: names, records, and where names hide in RDATA.
//!
//! Everything here reads what a stranger wrote: no index without a check, and
//! every walk ends, because a compression pointer may only point backwards.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use crate::dns::name::{self, MAX_NAME};
use crate::dns::wire::{HEADER, IN, count_up, overlay, u16_at, u32_at};

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

/// A name in wire form, uncompressed, in a buffer of its own.
#[derive(Clone, Copy)]
pub struct WireName {
    octets: [u8; MAX_NAME],
    len: u8,
}

impl WireName {
    /// Reads the name at `at`, following pointers, and says where it ends.
    ///
    /// A pointer must lead to before the piece of name it ends (RFC 1035
    /// section 4.1.4: "a prior occurrence"), so reading ends.
    pub(crate) fn read(message: &[u8], mut at: usize) -> Option<(Self, usize)> {
        let mut name = Self { octets: [0; MAX_NAME], len: 0 };
        let mut piece = at;
        let mut end = None;
        loop {
            let len = match name::Piece::at(message, at)? {
                name::Piece::Label(len) => len,
                name::Piece::Root => 0,
                name::Piece::Pointer => {
                    let target = usize::from(u16_at(message, at)?) & POINTER_REACH;
                    if target >= piece || target < HEADER {
                        return None;
                    }
                    end.get_or_insert(at + 2);
                    (at, piece) = (target, target);
                    continue;
                }
            };
            let next = at + 1 + len;
            let label = message.get(at..next)?;
            let place = usize::from(name.len)..usize::from(name.len) + label.len();
            name.octets.get_mut(place)?.copy_from_slice(label);
            // No more than the octets that it has just been copied into.
            name.len += label.len() as u8;
            if len == 0 {
                return Some((name, end.unwrap_or(next)));
            }
            at = next;
        }
    }

    /// The wire octets, root label included.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The same name in lower case (RFC 4343).
    pub fn folded(mut self) -> Self {
        self.octets.make_ascii_lowercase();
        self
    }
}

impl std::fmt::Debug for WireName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", name::Key::from_folded(self.octets()))
    }
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

/// A piece of RDATA.
enum Piece<'p> {
    Plain(&'p [u8]),
    Name(&'p WireName),
}

/// What RDATA is made of.
enum Part {
    /// So many octets.
    Octets(usize),
    /// A character string.
    Text,
    /// A name.
    Name,
    /// All that is left.
    Rest,
}

/// The RDATA of types in which a sender may have compressed a name: those of
/// RFC 1035, and those RFC 3597 section 4 wants decompressed on receipt.
fn layout(rtype: u16) -> &'static [Part] {
    use Part::{Name, Octets, Rest, Text};
    match rtype {
        // NS MD MF CNAME MB MG MR PTR DNAME
        2..=5 | 7..=9 | 12 | 39 => &[Name],
        SOA => &[Name, Name, Octets(20)],
        // MINFO RP
        14 | 17 => &[Name, Name],
        // MX AFSDB RT KX
        15 | 18 | 21 | 36 => &[Octets(2), Name],
        SIG | RRSIG => &[Octets(18), Name, Rest],
        // PX
        26 => &[Octets(2), Name, Name],
        // NXT NSEC
        30 | 47 => &[Name, Rest],
        // SRV
        33 => &[Octets(6), Name],
        // NAPTR
        35 => &[Octets(4), Text, Text, Text, Name],
        _ => &[Rest],
    }
}

/// May a name in this type's RDATA be compressed when sent: only in the types
/// of RFC 1035 (RFC 3597 section 4).
fn is_compressible(rtype: u16) -> bool {
    matches!(rtype, 2..=9 | 12 | 14 | 15)
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

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;
    use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
    use proptest::prelude::*;

    use super::*;
    use crate::dns::name::tests::octets;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// What both read of a name is the same, pointers followed. Hickory is
        /// stricter about where a pointer may lead.
        #[test]
        fn names_are_read_as_hickory_reads_them(before in octets(), octets in octets()) {
            let at = HEADER + before.len();
            let message = [&[0; HEADER], &before[..], &octets].concat();
            let mut decoder = BinDecoder::new(&message).clone(at as u16);
            let theirs = Name::read(&mut decoder);
            if let (Some((ours, end)), Ok(theirs)) = (WireName::read(&message, at), theirs) {
                prop_assert!(name::labels(ours.octets()).eq(theirs.iter()));
                prop_assert_eq!(end, decoder.index());
            }
        }
    }

    #[test]
    fn names_follow_pointers_backwards_only() {
        let mut message = vec![0; HEADER];
        message.extend_from_slice(b"\x07Example\x03com\0"); // 12
        message.extend_from_slice(b"\x02db\xc0\x0c"); // 25
        let (name, end) = WireName::read(&message, 25).unwrap();
        assert_eq!((name.octets(), end), (&b"\x02db\x07Example\x03com\0"[..], 30));
        assert_eq!(name.folded().octets(), b"\x02db\x07example\x03com\0");

        for bad in [
            &b"\xc0\x0c"[..],    // to itself
            b"\xc0\x0e\xc0\x0c", // forwards
            b"\x01a\xc0\x0c",    // to its own beginning: a loop
            b"\xc0\x00",         // into the header
            b"\x40",             // an extended label
            b"\x05abc",          // beyond the end
            b"\xc0",             // half a pointer
            b"",                 // nothing
        ] {
            let message = [&[0; HEADER], bad].concat();
            assert!(WireName::read(&message, HEADER).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_ends_at_255_octets() {
        let label = [&[63][..], &[b'x'; 63]].concat();
        let long = [&[0; HEADER], &label[..], &label, &label, &[61], &[b'x'; 61], &[0]].concat();
        assert_eq!(WireName::read(&long, HEADER).unwrap().0.octets().len(), 255);
        let longer = [&[0; HEADER], &label[..], &label, &label, &[62], &[b'x'; 62], &[0]].concat();
        assert!(WireName::read(&longer, HEADER).is_none());
    }
}
