//! The short way to most answers: the question is read where it stands, and
//! what follows it in the reply was made with the snapshot.
//!
//! Nothing is decided here that [`lookup`](super::lookup) and
//! [`message`](super::message) decide otherwise: whatever is not plainly a
//! question with one definite, prebuilt answer is left to them. A property
//! test holds the two equal, octet for octet.

use std::hint::black_box;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};

use super::lookup::{Place, comes_back, walk_to};
use super::message::{HEADER, NSID, limit};
use super::ready::Known;
use super::subnet::ECS;
use super::tail::{MAX_LABELS, Tail};
use super::{Asker, Elsewhere, MAX_UDP, Outcome, Path, Transport, at_hand, path_of};
use crate::config::ViewId;
use crate::forward;
use crate::name::MAX_NAME;
use crate::nodes::{Entry, Spot};
use crate::snapshot::{Node, Snapshot, ViewTable, ZoneTable};

/// QR and OPCODE in the third octet of the header: a query has neither.
const NOT_A_QUERY: u8 = 0xf8;
/// QR and AA, and RD, in the same octet.
const RESPONSE_AA: u8 = 0x84;
const RD: u8 = 0x01;
/// RA and CD in the fourth octet.
const RA: u8 = 0x80;
const CD: u8 = 0x10;
/// Octets of QTYPE and QCLASS.
const TYPE_AND_CLASS: usize = 4;
/// Room for a name, in whole chunks.
const NAME: usize = MAX_NAME.next_multiple_of(16);
/// So many requests are read ahead at most.
pub const TOGETHER: usize = 64;
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
    let mut query = Query::default();
    query.read(request)?;
    let (view, table) = view_of(snapshot, asker)?;
    let limit = limit(transport, query.opt.map(|opt| opt.payload));
    let Some(sight) = Sight::of(table, &query) else {
        return pass_on((view, table), &query, request, limit, elsewhere, reply);
    };
    let (rcode, path) = reply_from(snapshot, table, sight, &query, request, limit, reply)?;
    Some(Outcome::Reply { rcode, view: Some(view), path })
}

/// A worker's room to read requests into.
#[derive(Debug, Clone, Default)]
pub struct Room(Vec<Query>);

/// Requests that have come over UDP together, read, and where in memory their
/// answers are: got there for all of them at once, where each alone would wait
/// for it.
pub struct Ahead<'s, 'r> {
    snapshot: &'s Snapshot,
    /// Who asks the first.
    first: Asker,
    /// What all are taken to be in: the first one's.
    view: (ViewId, &'s ViewTable),
    queries: &'r [Query],
    sights: [Option<Sight<'s>>; TOGETHER],
}

impl<'s, 'r> Ahead<'s, 'r> {
    /// Reads ahead what the requests will need if all are from the view of the
    /// first one's `asker`. Those that are not are answered all the same.
    pub fn read<'a>(
        snapshot: &'s Snapshot,
        asker: &Asker,
        requests: impl Iterator<Item = &'a [u8]>,
        room: &'r mut Room,
    ) -> Option<Self> {
        let view @ (_, table) = view_of(snapshot, asker)?;
        room.0.resize_with(TOGETHER, Query::default);
        let mut count = 0;
        for (request, query) in requests.zip(&mut room.0) {
            // One that is not plain remains unread.
            let _ = query.take(request);
            count += 1;
        }
        // In a turn of its own: what was just written in pieces of one size a
        // processor reads in those of another only after a wait.
        room.0.iter_mut().take(count).for_each(Query::fold);
        let queries = room.0.get(..count)?;
        let mut sights = [None; TOGETHER];
        let mut spots = [Spot::default(); TOGETHER];
        let mut guess = None;
        for ((query, sight), spot) in queries.iter().zip(&mut sights).zip(&mut spots) {
            let zone = query.is_read().then(|| table.zone_near(query.name(), guess)).flatten();
            if let Some(zone) = zone {
                *spot = zone.nodes.spot(query.name());
                *sight = Some(Sight { zone, likely: None });
                guess = Some(zone);
            }
        }
        // What waits for memory is done by itself, in few instructions: so the
        // processor has many of it under way at a time.
        let mut touched = 0;
        for (sight, spot) in sights.iter().zip(&spots).take(count) {
            touched ^= sight.map_or(0, |sight| sight.zone.nodes.touch(*spot));
        }
        for ((query, sight), spot) in queries.iter().zip(&mut sights).zip(&spots) {
            if let Some(sight) = sight {
                sight.likely = sight.zone.likely(query.name(), *spot);
            }
        }
        for sight in sights.iter().take(count) {
            touched ^= sight.and_then(|sight| sight.likely).map_or(0, |entry| entry.touch());
        }
        black_box(touched);
        Some(Self { snapshot, first: *asker, view, queries, sights })
    }

    /// As [`answer`](super::answer) does, the `nth` request read.
    pub fn answer(
        &self,
        nth: usize,
        asker: &Asker,
        request: &[u8],
        elsewhere: &mut impl Elsewhere,
        reply: &mut Vec<u8>,
    ) -> Outcome {
        match self.known(nth, asker, request, elsewhere, reply) {
            Some(outcome) => outcome,
            None => super::answer(self.snapshot, asker, Transport::Udp, request, elsewhere, reply),
        }
    }

    /// Likewise, if it is plain and from that view.
    #[inline]
    fn known(
        &self,
        nth: usize,
        asker: &Asker,
        request: &[u8],
        elsewhere: &mut impl Elsewhere,
        reply: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let query = self.queries.get(nth).filter(|query| query.is_read())?;
        debug_assert!(query.is_of(request), "another request was read as this one");
        let (view, table) = self.view;
        // Many come from few: from a forwarder, all.
        let is_alike =
            asker.client.ip() == self.first.client.ip() && asker.local == self.first.local;
        if !is_alike && view_of(self.snapshot, asker).map(|(view, _)| view) != Some(view) {
            return None;
        }
        let limit = limit(Transport::Udp, query.opt.map(|opt| opt.payload));
        let Some(sight) = *self.sights.get(nth)? else {
            return pass_on((view, table), query, request, limit, elsewhere, reply);
        };
        let (rcode, path) = reply_from(self.snapshot, table, sight, query, request, limit, reply)?;
        Some(Outcome::Reply { rcode, view: Some(view), path })
    }
}

fn view_of<'s>(snapshot: &'s Snapshot, asker: &Asker) -> Option<(ViewId, &'s ViewTable)> {
    let view = snapshot.selector.select(asker.client.ip(), asker.local)?;
    Some((view, snapshot.views.get(view)?))
}

/// Where the answer to a question for one of our names is.
#[derive(Debug, Clone, Copy)]
struct Sight<'s> {
    zone: &'s ZoneTable,
    /// What is at the name, as far as its hash tells; with none the name is not
    /// there.
    likely: Option<Entry<'s>>,
}

impl<'s> Sight<'s> {
    /// None if the name is in none of the view's zones.
    fn of(table: &'s ViewTable, query: &Query) -> Option<Self> {
        let zone = table.zone_of(query.name())?;
        let likely = zone.likely(query.name(), zone.nodes.spot(query.name()));
        Some(Self { zone, likely })
    }

    /// What is at the name.
    fn entry(&self, name: &[u8]) -> Option<Entry<'s>> {
        match self.likely {
            Some(entry) if entry.ready().name() != name => self.zone.entry(name),
            known => known,
        }
    }
}

/// Answers from a zone of ours.
fn reply_from(
    snapshot: &Snapshot,
    table: &ViewTable,
    sight: Sight<'_>,
    query: &Query,
    request: &[u8],
    limit: usize,
    reply: &mut Vec<u8>,
) -> Option<(ResponseCode, Path)> {
    let (tail, rcode) = find(snapshot, table, sight, query)?;
    let opt_len = query.opt.map_or(0, |_| OPT_LEN);
    if query.asked_len() + tail.size() + opt_len > limit {
        return None;
    }
    query.write(request, tail, rcode, table.forward, reply)?;
    let path = match table.ec2_name(query.name()) {
        Some(_) => Path::Ec2,
        None => Path::Zone,
    };
    Some((rcode, path))
}

/// Answers a question for a name that is not ours with what is known of it.
fn pass_on(
    (view, table): (ViewId, &ViewTable),
    query: &Query,
    request: &[u8],
    limit: usize,
    elsewhere: &mut impl Elsewhere,
    reply: &mut Vec<u8>,
) -> Option<Outcome> {
    if !query.may_ask(table) || elsewhere.is_probe(query.name()) {
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
    let passed_on = forward::Query {
        head: *request.first_chunk()?,
        question: request.get(HEADER..query.asked_len())?,
        limit,
        edns: query.opt.map(|opt| forward::Edns { dnssec_ok: opt.dnssec_ok, options: &[] }),
    };
    forward::compose(&hit, &passed_on, &[], reply);
    Some(Outcome::Reply { rcode: hit.rcode(), view: Some(view), path: path_of(&hit) })
}

/// What answers a query for a name of ours, and with which response code.
fn find<'s>(
    snapshot: &Snapshot,
    view: &ViewTable,
    sight: Sight<'s>,
    query: &Query,
) -> Option<(Tail<&'s [u8]>, ResponseCode)> {
    let (zone, name) = (sight.zone, query.name());
    let negative = || zone.negative.as_ref()?.for_name(name, &zone.zone.origin);
    let entry = sight.entry(name);
    let known = entry.filter(|entry| entry.ready().is_reached());
    let synthesised = known.is_none();
    let known = match known {
        Some(known) => known,
        None => {
            let own = entry.and_then(|entry| entry.node());
            match walk_to(zone, name, own.map(|node| &**node), query.rtype.into()) {
                Place::Wildcard(node) => zone.entry(node.key.octets())?,
                Place::Nowhere => return Some((negative()?, ResponseCode::NXDomain)),
                Place::Exact(_) | Place::Cut(_) | Place::Dname(_) => return None,
            }
        }
    };
    let ready = known.ready();
    // Remarks stand in the OPT: without one there is no place for them.
    if !ready.is_plain(snapshot, query.opt.is_none()) {
        return None;
    }
    let found = match ready.get(query.rtype) {
        Known::Parts if ready.is_alias() && is_all_we_know(view, known.node()?, query) => {
            ready.get(CNAME)
        }
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
fn is_all_we_know(view: &ViewTable, node: &Node, query: &Query) -> bool {
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

/// A plain query. Room for one is used again for the next. Laid out so that
/// most of them take one line of a processor's cache.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
struct Query {
    /// Length of the name; 0 as long as nothing is read.
    len: u8,
    /// The third and fourth octet of the header.
    flags: [u8; 2],
    rtype: u16,
    opt: Option<Opt>,
    /// The name, folded wire octets, and what was there before.
    name: [u8; NAME],
}

/// What an OPT asks for.
#[derive(Debug, Clone, Copy)]
struct Opt {
    payload: u16,
    dnssec_ok: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self { len: 0, flags: [0; 2], rtype: 0, opt: None, name: [0; NAME] }
    }
}

impl Query {
    /// Reads a request; none when it is anything but a plain query.
    fn read(&mut self, request: &[u8]) -> Option<()> {
        self.take(request)?;
        self.fold();
        Some(())
    }

    /// Likewise, but for the letters of its name: see [`fold`](Self::fold).
    fn take(&mut self, request: &[u8]) -> Option<()> {
        self.len = 0;
        let (header, body) = request.split_first_chunk::<HEADER>()?;
        let [_, _, flags, more, counts @ ..] = *header;
        let [0, 1, 0, 0, 0, 0, 0, additional @ (0 | 1)] = counts else { return None };
        if flags & NOT_A_QUERY != 0 {
            return None;
        }
        let (name, behind) = body.split_at_checked(name_len(body)?)?;
        let ([t0, t1, c0, c1], behind) = behind.split_first_chunk()?;
        self.rtype = u16::from_be_bytes([*t0, *t1]);
        if u16::from_be_bytes([*c0, *c1]) != IN || is_special(self.rtype) {
            return None;
        }
        self.opt = match (additional, behind) {
            (0, []) => None,
            (1, opt) => Some(Opt::read(opt)?),
            _ => return None,
        };
        self.flags = [flags, more];
        self.name.get_mut(..name.len())?.copy_from_slice(name);
        self.len = u8::try_from(name.len()).ok()?;
        Some(())
    }

    /// Puts the letters of the name in lower case.
    fn fold(&mut self) {
        // By whole chunks: each is one of the processor's vectors.
        let count = usize::from(self.len).div_ceil(16);
        for chunk in self.name.as_chunks_mut::<16>().0.iter_mut().take(count) {
            chunk.make_ascii_lowercase();
        }
    }

    /// Is its name the one in `request`?
    fn is_of(&self, request: &[u8]) -> bool {
        let asked = request.get(HEADER..HEADER + usize::from(self.len));
        asked.is_some_and(|asked| asked.eq_ignore_ascii_case(self.name()))
    }

    fn is_read(&self) -> bool {
        self.len > 0
    }

    /// The name, folded wire octets.
    fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Octets of the header and the question.
    fn asked_len(&self) -> usize {
        HEADER + usize::from(self.len) + TYPE_AND_CLASS
    }

    /// Is what we do not know to be asked elsewhere?
    fn may_ask(&self, view: &ViewTable) -> bool {
        view.forward && self.flags[0] & RD != 0
    }

    /// What it asks, as it would be asked elsewhere.
    fn elsewhere(&self) -> forward::Question<'_> {
        forward::Question {
            name: self.name(),
            rtype: self.rtype,
            class: IN,
            dnssec_ok: self.opt.is_some_and(|opt| opt.dnssec_ok),
            checking_disabled: self.flags[1] & CD != 0,
        }
    }

    /// Writes the answer to the request that was read.
    fn write(
        &self,
        request: &[u8],
        tail: Tail<&[u8]>,
        rcode: ResponseCode,
        recursion_available: bool,
        reply: &mut Vec<u8>,
    ) -> Option<()> {
        let asked = request.get(..self.asked_len())?;
        let [id0, id1, flags, more] = *asked.first_chunk()?;
        let [an0, an1, ns0, ns1, ar0, ar1] = tail.counts();
        let additional = u16::from_be_bytes([ar0, ar1]) + u16::from(self.opt.is_some());
        let [ar0, ar1] = additional.to_be_bytes();
        let ra = if recursion_available { RA } else { 0 };
        let (flags, more) = (RESPONSE_AA | (flags & RD), ra | (more & CD) | rcode.low());
        reply.clear();
        reply.extend_from_slice(asked);
        if let Some(header) = reply.first_chunk_mut() {
            *header = [id0, id1, flags, more, 0, 1, an0, an1, ns0, ns1, ar0, ar1];
        }
        tail.append(usize::from(self.len), reply);
        if let Some(opt) = self.opt {
            // Version 0, no option (RFC 6891 section 6).
            let [payload0, payload1] = (MAX_UDP as u16).to_be_bytes();
            let flags = if opt.dnssec_ok { DO } else { 0 };
            let octets: [u8; OPT_LEN] = [0, 0, OPT as u8, payload0, payload1, 0, 0, flags, 0, 0, 0];
            reply.extend_from_slice(&octets);
        }
        Some(())
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
