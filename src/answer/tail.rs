//! Prebuilt answers: the octets behind the question, encoded when a snapshot is
//! made, so that answering copies them.
//!
//! A [`Tail`] is made by the path that answers everything else, for one
//! question. Names in it may point into that question, and all that does is
//! counted from the question's end: for another name of the same zone the
//! pointers move by the difference in length. That holds as long as the names
//! in the tail share nothing with the other question but what they share with
//! the name above both, which is checked here and in [`Negative::for_name`].

use std::iter::{empty, once};

use hickory_proto::op::{MessageType, Metadata, OpCode, Query, emit_message_parts};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;

use super::MAX_UDP;
use super::lookup::{self, Found};
use super::message::HEADER;
use crate::dns::name::Key;
use crate::snapshot::nodes::Sheet;
use crate::snapshot::ready::Ready;
use crate::snapshot::{RrSet, ZoneTable};

/// Octets of ANCOUNT, NSCOUNT and ARCOUNT.
const COUNTS: usize = 6;
/// Octets of QTYPE and QCLASS.
const TYPE_AND_CLASS: usize = 4;
/// Octets of TYPE, CLASS, TTL and RDLENGTH (RFC 1035 section 3.2.1).
const BETWEEN: usize = 10;
/// The longest tail kept: a longer one fits into no UDP answer.
const MAX_TAIL: usize = MAX_UDP;
/// A pointer to the question's name (RFC 1035 section 4.1.4).
const TO_QUESTION: [u8; 2] = [0xc0, HEADER as u8];
/// Labels, without the root, of the longest question a moved tail is for: the
/// encoder remembers 64 names to point to, and what two names of
/// `MAX_MOVED_LABELS` take of them must be left. IPv6 addresses have 34.
pub const MAX_LABELS: usize = 40;
/// Labels, without the root, of the longest name in a tail that is moved.
const MAX_MOVED_LABELS: usize = 12;

/// The octets behind a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail<O = Box<[u8]>> {
    /// ANCOUNT, NSCOUNT, ARCOUNT as in the header, then the records.
    octets: O,
    /// Length of the question's name this was made for.
    made_for: u8,
    /// Where in `octets` pointers stand that move with the question's length;
    /// 0 for none.
    moving: [u16; 3],
    /// Made for a wildcard, and right for the names it stands in for.
    synthesis: bool,
}

impl Tail {
    /// What a set of records answers a question for their own name with; none
    /// when that takes more than the set, or would be too long.
    pub fn of_set(records: &[Record]) -> Option<Self> {
        let first = records.first()?;
        let octets = match plain(records) {
            Some(octets) => octets,
            None => {
                // The addresses of what these name belong to the answer too.
                use RecordType::{HTTPS, MX, NS, SRV, SVCB};
                if matches!(first.record_type(), NS | MX | SRV | SVCB | HTTPS) {
                    return None;
                }
                let sections = (records.iter(), empty(), empty());
                encode(&first.name, first.record_type(), sections)?
            }
        };
        let mut tail = Self::new(octets, &first.name)?;
        if first.name.is_wildcard() {
            tail.synthesise(records);
        }
        Some(tail)
    }

    /// What `found` is answered with.
    fn of_found(name: &Name, rtype: RecordType, found: &Found<'_>) -> Option<Self> {
        let sections = (
            found.answers.iter().map(|r| -> &Record { r }),
            found.authority.iter().map(|r| -> &Record { r }),
            found.glue.iter().copied().chain(found.extra.iter().map(|r| -> &Record { r })),
        );
        Self::new(encode(name, rtype, sections)?, name)
    }

    fn new(octets: Vec<u8>, name: &Name) -> Option<Self> {
        // Labels with their length octets, and the root.
        let made_for = name.iter().map(|label| label.len() + 1).sum::<usize>() + 1;
        let made_for = u8::try_from(made_for).ok()?;
        (octets.len() <= COUNTS + MAX_TAIL).then(|| Self {
            octets: octets.into(),
            made_for,
            moving: [0; 3],
            synthesis: false,
        })
    }

    /// A wildcard's tail fits the names it stands in for when all names in it
    /// are known to share no more with them than with the closest encloser.
    fn synthesise(&mut self, records: &[Record]) {
        match records {
            [Record { data: RData::A(_) | RData::AAAA(_) | RData::TXT(_), .. }, ..] => {
                self.synthesis = true;
            }
            [Record { name, data: RData::CNAME(target), .. }] if is_short(&target.0) => {
                let encloser = name.base_name();
                // The owner of the CNAME is a pointer to the question.
                let at = COUNTS + TO_QUESTION.len() + BETWEEN;
                if !encloser.zone_of(&target.0)
                    && let Some((pointer, _)) = pointer_of(&self.octets, at)
                {
                    self.moving[0] = pointer;
                    self.synthesis = true;
                }
            }
            _ => {}
        }
    }

    /// Appends it to what is [`Ready`]: its length, what else has to be known of
    /// it, its octets.
    pub fn keep(&self, place: &mut Vec<u8>) {
        place.extend_from_slice(&(self.octets.len() as u16).to_be_bytes());
        place.push(self.synthesis.into());
        // Of the tails of names only those of aliases move, and in one place.
        let [moving, ..] = self.moving;
        place.extend_from_slice(&moving.to_be_bytes());
        place.extend_from_slice(&self.octets);
    }

    fn borrow(&self) -> Tail<&[u8]> {
        let Self { octets, made_for, moving, synthesis } = self;
        Tail { octets, made_for: *made_for, moving: *moving, synthesis: *synthesis }
    }
}

impl<'r> Tail<&'r [u8]> {
    /// What [`keep`](Tail::keep) kept.
    pub fn kept(octets: &'r [u8], made_for: u8, synthesis: u8, moving: [u8; 2]) -> Self {
        let moving = [u16::from_be_bytes(moving), 0, 0];
        Self { octets, made_for, moving, synthesis: synthesis != 0 }
    }

    /// Does it answer for a name that a wildcard stands in for?
    pub fn is_for_synthesis(&self) -> bool {
        self.synthesis
    }

    /// ANCOUNT, NSCOUNT and ARCOUNT, in network order.
    pub fn counts(&self) -> [u8; COUNTS] {
        self.octets.first_chunk().copied().unwrap_or_default()
    }

    /// Octets of the records.
    pub fn size(&self) -> usize {
        self.octets.len().saturating_sub(COUNTS)
    }

    /// Appends the records to `reply`, which ends with a question whose name
    /// has `name_len` octets.
    pub fn append(&self, name_len: usize, reply: &mut Vec<u8>) {
        let start = reply.len();
        reply.extend_from_slice(self.octets.get(COUNTS..).unwrap_or_default());
        let by = (name_len as u16).wrapping_sub(u16::from(self.made_for));
        if by == 0 {
            return;
        }
        for at in self.moving.iter().filter(|at| **at != 0) {
            let at = start + usize::from(*at) - COUNTS;
            if let Some(place) = reply.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                *place = u16::from_be_bytes(*place).wrapping_add(by).to_be_bytes();
            }
        }
    }
}

/// What a zone denies with: its SOA, for whatever name is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negative {
    tail: Tail,
    /// Labels, with their length octets, that stand directly below the origin
    /// in the SOA's own names: a question that has one there too is a place
    /// for the SOA's names to point to.
    near: Box<[Box<[u8]>]>,
}

impl Negative {
    /// From the SOA as negative answers show it.
    pub fn new(origin: &Key, soa: &Record) -> Option<Self> {
        let RData::SOA(data) = &soa.data else { return None };
        // Any name of the zone that the SOA does not hold.
        let asked = origin.child(b"\0")?.to_name();
        let names = [&data.mname, &data.rname];
        if asked.iter().count() > MAX_LABELS || !names.iter().all(|name| is_short(name)) {
            return None;
        }
        let sections = (empty(), once(soa), empty());
        let mut tail = Tail::new(encode(&asked, RecordType::A, sections)?, &asked)?;
        let (owner, behind) = pointer_of(&tail.octets, COUNTS)?;
        let (mname, behind) = pointer_of(&tail.octets, behind + BETWEEN)?;
        let (rname, _) = pointer_of(&tail.octets, behind)?;
        tail.moving = [owner, mname, rname];
        let near = names.into_iter().filter_map(|name| label_below(origin, name)).collect();
        Some(Self { tail, near })
    }

    /// The tail for `name` (folded wire octets) of the zone of `origin`; none
    /// when the name shares more with the SOA than the origin.
    pub fn for_name(&self, name: &[u8], origin: &Key) -> Option<Tail<&[u8]>> {
        let below = name.get(..name.len().checked_sub(origin.octets().len())?)?;
        let shares = self.near.iter().any(|label| below.ends_with(label));
        (!shares).then(|| self.tail.borrow())
    }
}

/// Makes what depends on a whole zone: the tails of its apex, whose records
/// may bring addresses of other names along, and the negative one.
pub fn prebuild(table: &mut ZoneTable) {
    let name = table.apex.key.to_name();
    let tail = |set: &RrSet| Tail::of_found(&name, set.rtype, &lookup::at_apex(table, set.rtype));
    let ready = Ready::new(&table.apex, true, tail);
    table.top = Sheet::of_one(ready.borrow(), &table.apex);
    table.negative = Negative::new(&table.zone.origin, &table.negative_soa);
}

/// Addresses, which are most of what there is, without the encoder's detours.
fn plain(records: &[Record]) -> Option<Vec<u8>> {
    if records.len() > MAX_TAIL / (TO_QUESTION.len() + BETWEEN + 4) {
        return None;
    }
    let longest = TO_QUESTION.len() + BETWEEN + 16;
    let mut octets = Vec::with_capacity(COUNTS + records.len() * longest);
    octets.extend_from_slice(&(records.len() as u16).to_be_bytes());
    octets.extend_from_slice(&[0; 4]);
    for record in records {
        let mut add = |data: &[u8]| {
            octets.extend_from_slice(&TO_QUESTION);
            octets.extend_from_slice(&u16::from(record.record_type()).to_be_bytes());
            octets.extend_from_slice(&u16::from(record.dns_class).to_be_bytes());
            octets.extend_from_slice(&record.ttl.to_be_bytes());
            octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
            octets.extend_from_slice(data);
        };
        match &record.data {
            // Nothing is shorter than the root, so nobody points to it.
            _ if record.name.is_root() => return None,
            RData::A(ip) => add(&ip.octets()),
            RData::AAAA(ip) => add(&ip.octets()),
            _ => return None,
        }
    }
    Some(octets)
}

/// Counts and records of a whole answer, as the encoder writes them behind a
/// question for `name`.
fn encode<'a>(
    name: &Name,
    rtype: RecordType,
    (mut answers, mut authority, mut additional): (
        impl Iterator<Item = &'a Record>,
        impl Iterator<Item = &'a Record>,
        impl Iterator<Item = &'a Record>,
    ),
) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut message);
    let header = emit_message_parts(
        &Metadata::new(0, MessageType::Response, OpCode::Query),
        &mut once(&Query::query(name.clone(), rtype)),
        &mut answers,
        &mut authority,
        &mut additional,
        None,
        None,
        &mut encoder,
    )
    .ok()?;
    if header.metadata.truncation {
        return None;
    }
    let mut octets = message.get(HEADER - COUNTS..HEADER)?.to_vec();
    let question = crate::dns::name::wire_len(message.get(HEADER..)?)? + TYPE_AND_CLASS;
    octets.extend_from_slice(message.get(HEADER + question..)?);
    Some(octets)
}

/// Where the name at `at` ends in a pointer (0: it does not), and what is
/// behind it.
fn pointer_of(octets: &[u8], mut at: usize) -> Option<(u16, usize)> {
    loop {
        match usize::from(*octets.get(at)?) {
            0 => return Some((0, at + 1)),
            len if len < 64 => at += len + 1,
            _ => return Some((u16::try_from(at).ok()?, at + 2)),
        }
    }
}

/// Has a name few enough labels for the encoder to remember them all?
fn is_short(name: &Name) -> bool {
    name.iter().count() <= MAX_MOVED_LABELS
}

/// The label of `name` directly below `origin`, with its length octet; none
/// when the name is not below it.
fn label_below(origin: &Key, name: &Name) -> Option<Box<[u8]>> {
    let name = Key::from_name(name);
    let above = |suffix: &&[u8]| crate::dns::name::parent(suffix) == Some(origin.octets());
    let suffix = crate::dns::name::suffixes(name.octets()).find(above)?;
    suffix.get(..suffix.len() - origin.octets().len()).map(Into::into)
}
