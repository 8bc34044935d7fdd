//! The short way to most answers: the question is read where it stands, and
//! what follows it in the reply was made with the snapshot.
//!
//! Nothing is decided here that [`lookup`](super::lookup) and
//! [`message`](super::message) decide otherwise: whatever is not plainly a
//! question with one definite, prebuilt answer is left to them. A property
//! test holds the two equal, octet for octet.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};

use super::lookup::{Place, comes_back, walk};
use super::message::{HEADER, NSID, limit};
use super::ready::Known;
use super::subnet::ECS;
use super::tail::{MAX_LABELS, Tail};
use super::{Asker, Elsewhere, MAX_UDP, Outcome, Path, Transport, at_hand, path_of};
use crate::config::ViewId;
use crate::forward;
use crate::name::MAX_NAME;
use crate::name_map::{Spot, TOGETHER};
use crate::snapshot::{Node, Snapshot, ViewTable, ZoneTable};

/// QR and OPCODE in the third octet of the header: a query has neither.
const NOT_A_QUERY: u8 = 0xf8;
/// QR and AA, and RD, in the same octet.
const RESPONSE_AA: u8 = 0x84;
const RD: u8 = 0x01;
/// RA and CD in the fourth octet.
const RA: u8 = 0x80;
const CD: u8 = 0x10;
/// QCLASS and CLASS IN.
const IN: u16 = 1;
/// CNAME.
const CNAME: u16 = 5;
/// TYPE of OPT, and its octets without options (RFC 6891 section 6.1.2).
const OPT: u16 = 41;
const OPT_LEN: usize = 11;
/// DO, in the first octet of an OPT's flags.
const DO: u8 = 0x80;

/// Is it a type that the ordinary path treats in a way of its own: none, DS,
/// OPT, TSIG, IXFR, AXFR, ANY?
const fn is_special(rtype: u16) -> bool {
    matches!(rtype, 0 | 43 | OPT | 250 | 251 | 252 | 255)
}

/// Answers a request that has a prebuilt answer, or one that came from
/// elsewhere before; none leaves it, and `reply`, to the ordinary path.
pub(super) fn answer(
    snapshot: &Snapshot,
    asker: &Asker,
    transport: Transport,
    request: &[u8],
    elsewhere: &mut impl Elsewhere,
    reply: &mut Vec<u8>,
) -> Option<Outcome> {
    let mut folded = [0; MAX_NAME];
    let query = Query::read(request, &mut folded)?;
    let view = snapshot.selector.select(asker.client.ip(), asker.local)?;
    let table = snapshot.views.get(view)?;
    let limit = limit(transport, query.opt.map(|opt| opt.payload));
    let Some(zone) = table.zone_of(query.name) else {
        return pass_on(table, view, &query, limit, elsewhere, reply);
    };
    let (tail, rcode) = find(snapshot, table, zone, &query)?;
    let opt_len = query.opt.map_or(0, |_| OPT_LEN);
    if query.asked.len() + tail.size() + opt_len > limit {
        return None;
    }
    query.write(tail, rcode, table.forward, reply);
    let path = match table.ec2_name(query.name) {
        Some(_) => Path::Ec2,
        None => Path::Zone,
    };
    Some(Outcome::Reply { rcode, view: Some(view), path })
}

/// Reads what the requests of one batch will need, as if all of them were like
/// the first: from the same view, for names of the same zone. Where they are
/// not, they are answered all the same, and wait for memory one by one.
pub(super) fn expect<'r>(
    snapshot: &Snapshot,
    asker: &Asker,
    requests: impl Iterator<Item = &'r [u8]>,
) -> Option<()> {
    let mut requests = requests.peekable();
    let mut octets = [0; MAX_NAME];
    let first = Query::read(requests.peek()?, &mut octets)?;
    let view = snapshot.selector.select(asker.client.ip(), asker.local)?;
    let zone = snapshot.views.get(view)?.zone_of(first.name)?;
    let mut spots = [Spot::default(); TOGETHER];
    let mut count = 0;
    for request in requests {
        let body = request.get(HEADER..).unwrap_or_default();
        let name = name_len(body).and_then(|len| fold(body.get(..len)?, &mut octets));
        if let (Some(name), Some(spot)) = (name, spots.get_mut(count)) {
            *spot = zone.nodes.spot(name);
            count += 1;
        }
    }
    zone.nodes.fetch(spots.get(..count)?);
    Some(())
}

/// Answers a question for a name that is not ours with what is known of it.
fn pass_on(
    table: &ViewTable,
    view: ViewId,
    query: &Query<'_>,
    limit: usize,
    elsewhere: &mut impl Elsewhere,
    reply: &mut Vec<u8>,
) -> Option<Outcome> {
    if !query.may_ask(table) || elsewhere.is_probe(query.name) {
        return None;
    }
    let hit = match at_hand(table, elsewhere, &query.elsewhere()) {
        Ok(hit) => hit,
        Err(question) => {
            reply.clear();
            return Some(Outcome::Ask(question));
        }
    };
    if comes_back(table, &hit, query.rtype.into()) {
        return None;
    }
    let [id0, id1, flags0, flags1, ..] = *query.header;
    let passed_on = forward::Query {
        head: [id0, id1, flags0, flags1],
        question: query.asked.get(HEADER..)?,
        limit,
        edns: query.opt.map(|opt| forward::Edns { dnssec_ok: opt.dnssec_ok, options: &[] }),
    };
    forward::compose(&hit, &passed_on, &[], reply);
    Some(Outcome::Reply { rcode: hit.rcode(), view: Some(view), path: path_of(&hit) })
}

/// What answers a query for a name of `zone`, and with which response code.
fn find<'s>(
    snapshot: &Snapshot,
    view: &ViewTable,
    zone: &'s ZoneTable,
    query: &Query<'_>,
) -> Option<(Tail<&'s [u8]>, ResponseCode)> {
    let name = query.name;
    let negative = || zone.negative.as_ref()?.for_name(name, &zone.zone.origin);
    let known = zone.entry(name).filter(|(ready, _)| ready.is_reached());
    let synthesised = known.is_none();
    let (ready, node) = match known {
        Some(known) => known,
        None => match walk(zone, name, query.rtype.into()) {
            Place::Wildcard(node) => zone.entry(node.key.octets())?,
            Place::Nowhere => return Some((negative()?, ResponseCode::NXDomain)),
            Place::Exact(_) | Place::Cut(_) | Place::Dname(_) => return None,
        },
    };
    // Remarks stand in the OPT: without one there is no place for them.
    if !ready.is_plain(snapshot, query.opt.is_none()) {
        return None;
    }
    let found = match ready.get(query.rtype) {
        Known::Parts if ready.is_alias() && is_all_we_know(view, node, query) => ready.get(CNAME),
        found => found,
    };
    let tail = match found {
        Known::Tail(tail) if !synthesised || tail.is_for_synthesis() => tail,
        Known::Tail(_) | Known::Parts => return None,
        Known::Nothing => negative()?,
    };
    Some((tail, ResponseCode::NoError))
}

/// Does an alias lead out of our zones, and stays there?
fn is_all_we_know(view: &ViewTable, node: &Node, query: &Query<'_>) -> bool {
    let alias = node.rrset(RecordType::CNAME).and_then(|set| set.records.first());
    let Some(RData::CNAME(target)) = alias.map(|record| &record.data) else {
        return false;
    };
    let mut octets = [0; MAX_NAME];
    let outside = folded(&target.0, &mut octets).is_some_and(|name| view.zone_of(name).is_none());
    outside && !query.may_ask(view)
}

/// The folded wire octets of a name.
fn folded<'o>(name: &Name, octets: &'o mut [u8; MAX_NAME]) -> Option<&'o [u8]> {
    let mut at = 0;
    for label in name.iter() {
        let end = at + 1 + label.len();
        *octets.get_mut(at)? = label.len() as u8;
        octets.get_mut(at + 1..end)?.copy_from_slice(label);
        at = end;
    }
    *octets.get_mut(at)? = 0;
    let octets = octets.get_mut(..=at)?;
    octets.make_ascii_lowercase();
    Some(octets)
}

/// A plain query, read in place.
struct Query<'r> {
    header: &'r [u8; HEADER],
    /// The header and the question as asked: name, type and class.
    asked: &'r [u8],
    rtype: u16,
    opt: Option<Opt>,
    /// The name, folded wire octets.
    name: &'r [u8],
}

/// What an OPT asks for.
#[derive(Clone, Copy)]
struct Opt {
    payload: u16,
    dnssec_ok: bool,
}

impl<'r> Query<'r> {
    /// Reads a request; none when it is anything but a plain query. `folded` is
    /// room for its name.
    fn read(request: &'r [u8], folded: &'r mut [u8; MAX_NAME]) -> Option<Self> {
        let (header, body) = request.split_first_chunk::<HEADER>()?;
        let [_, _, flags, _, counts @ ..] = header;
        let [0, 1, 0, 0, 0, 0, 0, additional @ (0 | 1)] = counts else { return None };
        if flags & NOT_A_QUERY != 0 {
            return None;
        }
        let (name, behind) = body.split_at_checked(name_len(body)?)?;
        let ([t0, t1, c0, c1], behind) = behind.split_first_chunk()?;
        let rtype = u16::from_be_bytes([*t0, *t1]);
        if u16::from_be_bytes([*c0, *c1]) != IN || is_special(rtype) {
            return None;
        }
        let asked = request.get(..HEADER + name.len() + 4)?;
        let opt = match (additional, behind) {
            (0, []) => None,
            (1, opt) => Some(Opt::read(opt)?),
            _ => return None,
        };
        Some(Self { header, asked, rtype, opt, name: fold(name, folded)? })
    }

    /// Is what we do not know to be asked elsewhere?
    fn may_ask(&self, view: &ViewTable) -> bool {
        view.forward && self.header[2] & RD != 0
    }

    /// What it asks, as it would be asked elsewhere.
    fn elsewhere(&self) -> forward::Question<'_> {
        forward::Question {
            name: self.name,
            rtype: self.rtype,
            class: IN,
            dnssec_ok: self.opt.is_some_and(|opt| opt.dnssec_ok),
            checking_disabled: self.header[3] & CD != 0,
        }
    }

    /// Writes the answer.
    fn write(
        &self,
        tail: Tail<&[u8]>,
        rcode: ResponseCode,
        recursion_available: bool,
        reply: &mut Vec<u8>,
    ) {
        let [id0, id1, flags, more, ..] = *self.header;
        let [an0, an1, ns0, ns1, ar0, ar1] = tail.counts();
        let additional = u16::from_be_bytes([ar0, ar1]) + u16::from(self.opt.is_some());
        let [ar0, ar1] = additional.to_be_bytes();
        let ra = if recursion_available { RA } else { 0 };
        let (flags, more) = (RESPONSE_AA | (flags & RD), ra | (more & CD) | rcode.low());
        reply.clear();
        reply.extend_from_slice(self.asked);
        if let Some(header) = reply.first_chunk_mut() {
            *header = [id0, id1, flags, more, 0, 1, an0, an1, ns0, ns1, ar0, ar1];
        }
        tail.append(self.name.len(), reply);
        if let Some(opt) = self.opt {
            // Version 0, no option (RFC 6891 section 6).
            let [payload0, payload1] = (MAX_UDP as u16).to_be_bytes();
            let flags = if opt.dnssec_ok { DO } else { 0 };
            let octets: [u8; OPT_LEN] = [0, 0, OPT as u8, payload0, payload1, 0, 0, flags, 0, 0, 0];
            reply.extend_from_slice(&octets);
        }
    }
}

impl Opt {
    /// Reads an OPT that ends the message: version 0, any options but those
    /// that need an answer.
    fn read(octets: &[u8]) -> Option<Self> {
        let (fixed, mut options) = octets.split_first_chunk::<OPT_LEN>()?;
        let [0, t0, t1, payload0, payload1, _, 0, flags, _, len0, len1] = *fixed else {
            return None;
        };
        let len = u16::from_be_bytes([len0, len1]);
        if u16::from_be_bytes([t0, t1]) != OPT || usize::from(len) != options.len() {
            return None;
        }
        while let Some(([c0, c1, len0, len1], data)) = options.split_first_chunk() {
            let code = u16::from_be_bytes([*c0, *c1]);
            // Those that the ordinary path does more with than skip them.
            if matches!(code, NSID | ECS) {
                return None;
            }
            options = data.get(usize::from(u16::from_be_bytes([*len0, *len1]))..)?;
        }
        let payload = u16::from_be_bytes([payload0, payload1]);
        options.is_empty().then_some(Self { payload, dnssec_ok: flags & DO != 0 })
    }
}

/// The wire octets of a name, folded into `room`.
fn fold<'o>(name: &[u8], room: &'o mut [u8; MAX_NAME]) -> Option<&'o [u8]> {
    let place = room.get_mut(..name.len())?;
    place.copy_from_slice(name);
    place.make_ascii_lowercase();
    Some(place)
}

/// The length of the uncompressed name that `octets` begin with; none when it
/// is none, or has more labels than prebuilt answers are for.
fn name_len(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    for _ in 0..=MAX_LABELS {
        match usize::from(*octets.get(at)?) {
            0 => return (at < MAX_NAME).then_some(at + 1),
            len if len < 64 => at += len + 1,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests;
