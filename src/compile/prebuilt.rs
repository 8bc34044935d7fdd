//! Makes prebuilt answers: the octets behind the question, encoded when a snapshot
//! is made, so that answering copies them.
//!
//! They are made by the path that answers everything else, so that there is one
//! meaning and two speeds.

use std::iter::{empty, once};
use std::net::IpAddr;

use hickory_proto::op::{MessageType, Metadata, OpCode, Query, emit_message_parts};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;

use crate::answer::lookup::{self, Found};
use crate::dns::name::{self, End, Key, MAX_NAME};
use crate::dns::wire::{HEADER, TYPE_AND_CLASS};
use crate::snapshot::nodes::Sheet;
use crate::snapshot::ready::Ready;
use crate::snapshot::tail::{COUNTS, MAX_ASKED_LABELS, MAX_TAIL, Negative, Tail};
use crate::snapshot::{RrSet, ZoneTable};

/// Octets of TYPE, CLASS, TTL and RDLENGTH (RFC 1035 section 3.2.1).
const BETWEEN: usize = 10;
/// A pointer to the question's name (RFC 1035 section 4.1.4).
const TO_QUESTION: [u8; 2] = [0xc0, HEADER as u8];
/// Labels, without the root, of the longest name in a tail that is moved.
const MAX_MOVED_LABELS: usize = 12;

/// Makes what depends on a whole zone: the tails of its apex, whose records
/// may bring addresses of other names along, and the negative one.
pub(crate) fn prebuild(table: &mut ZoneTable) {
    let name = &table.apex.key;
    let tail = |set: &RrSet| of_found(name, set.rtype, &lookup::at_apex(table, set.rtype));
    let ready = Ready::new(&table.apex, true, tail);
    table.top = Sheet::of_one(ready.borrow(), &table.apex);
    table.negative = negative(&table.zone.origin, &table.negative_soa);
}

/// What a set of records answers a question for their own name with; none
/// when that takes more than the set, or would be too long.
pub(crate) fn of_set(owner: &Key, set: &RrSet) -> Option<Tail> {
    let octets = match plain(owner, set) {
        Some(octets) => octets,
        None => {
            // The addresses of what these name belong to the answer too.
            use RecordType::{HTTPS, MX, NS, SRV, SVCB};
            if matches!(set.rtype, NS | MX | SRV | SVCB | HTTPS) {
                return None;
            }
            let owner = owner.to_name();
            let records: Vec<Record> = set.records(&owner).collect();
            encode(&owner, set.rtype, (records.iter(), empty(), empty()))?
        }
    };
    let mut tail = Tail::new(octets, owner.octets().len())?;
    if owner.is_wildcard() {
        synthesise(&mut tail, owner, set);
    }
    Some(tail)
}

/// What `found` is answered with.
fn of_found(name: &Key, rtype: RecordType, found: &Found<'_>) -> Option<Tail> {
    let sections = (
        found.answers.iter(),
        found.authority.iter().map(|r| -> &Record { r }),
        found.glue.iter().chain(&found.extra),
    );
    Tail::new(encode(&name.to_name(), rtype, sections)?, name.octets().len())
}

/// A wildcard's tail fits the names it stands in for when all names in it
/// are known to share no more with them than with the closest encloser.
fn synthesise(tail: &mut Tail, owner: &Key, set: &RrSet) {
    if matches!(set.rtype, RecordType::A | RecordType::AAAA | RecordType::TXT) {
        return tail.fits_synthesis();
    }
    let mut place = [0; MAX_NAME];
    let (Some(target), Some(encloser)) = (set.target(&mut place), name::parent(owner.octets()))
    else {
        return;
    };
    // The owner of the CNAME is a pointer to the question.
    let at = COUNTS + TO_QUESTION.len() + BETWEEN;
    if name::labels(target).count() <= MAX_MOVED_LABELS
        && !name::is_under(target, encloser)
        && let Some((pointer, _)) = pointer_of(tail.octets(), at)
    {
        tail.move_at([pointer, 0, 0]);
        tail.fits_synthesis();
    }
}

/// What a zone denies with, from the SOA as negative answers show it.
fn negative(origin: &Key, soa: &Record) -> Option<Negative> {
    let RData::SOA(data) = &soa.data else { return None };
    // Any name of the zone that the SOA does not hold.
    let asked = origin.child(b"\0")?;
    let (length, asked) = (asked.octets().len(), asked.to_name());
    let names = [&data.mname, &data.rname];
    if asked.iter().count() > MAX_ASKED_LABELS || !names.iter().all(|name| is_short(name)) {
        return None;
    }
    let sections = (empty(), once(soa), empty());
    let mut tail = Tail::new(encode(&asked, RecordType::A, sections)?, length)?;
    let (owner, behind) = pointer_of(tail.octets(), COUNTS)?;
    let (mname, behind) = pointer_of(tail.octets(), behind + BETWEEN)?;
    let (rname, _) = pointer_of(tail.octets(), behind)?;
    tail.move_at([owner, mname, rname]);
    let near = names.into_iter().filter_map(|name| label_below(origin, name)).collect();
    Some(Negative::new(tail, near))
}

/// Addresses, which are most of what there is, without the encoder's detours.
fn plain(owner: &Key, set: &RrSet) -> Option<Vec<u8>> {
    let ips = set.ips()?;
    // Nothing is shorter than the root, so nobody points to it.
    let is_root = owner.octets().len() == 1;
    if is_root || set.len() > MAX_TAIL / (TO_QUESTION.len() + BETWEEN + 4) {
        return None;
    }
    let longest = TO_QUESTION.len() + BETWEEN + 16;
    let mut octets = Vec::with_capacity(COUNTS + set.len() * longest);
    octets.extend_from_slice(&(set.len() as u16).to_be_bytes());
    octets.extend_from_slice(&[0; 4]);
    let mut add = |data: &[u8]| {
        octets.extend_from_slice(&TO_QUESTION);
        octets.extend_from_slice(&u16::from(set.rtype).to_be_bytes());
        octets.extend_from_slice(&u16::from(DNSClass::IN).to_be_bytes());
        octets.extend_from_slice(&set.ttl.to_be_bytes());
        octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
        octets.extend_from_slice(data);
    };
    for ip in ips.iter() {
        match ip {
            IpAddr::V4(ip) => add(&ip.octets()),
            IpAddr::V6(ip) => add(&ip.octets()),
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
    let question = name::wire_len(message.get(HEADER..)?)? + TYPE_AND_CLASS;
    octets.extend_from_slice(message.get(HEADER + question..)?);
    Some(octets)
}

/// Where the name at `at` ends in a pointer (0: it does not), and what is
/// behind it.
fn pointer_of(octets: &[u8], at: usize) -> Option<(u16, usize)> {
    let end = End::of(octets, at)?;
    let pointer = if end.is_pointer { u16::try_from(end.at).ok()? } else { 0 };
    Some((pointer, end.behind()))
}

/// Has a name few enough labels for the encoder to remember them all?
fn is_short(name: &Name) -> bool {
    name.iter().count() <= MAX_MOVED_LABELS
}

/// The label of `name` directly below `origin`, with its length octet; none
/// when the name is not below it.
fn label_below(origin: &Key, name: &Name) -> Option<Box<[u8]>> {
    let name = Key::from_name(name);
    let above = |suffix: &&[u8]| name::parent(suffix) == Some(origin.octets());
    let suffix = name::suffixes(name.octets()).find(above)?;
    suffix.get(..suffix.len() - origin.octets().len()).map(Into::into)
}
