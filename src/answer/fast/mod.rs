//! The fast path: the question is read where it stands in the request, and what
//! follows it in the reply was prebuilt with the snapshot.
//!
//! Nothing is decided here that [`lookup`](super::lookup) and
//! [`reply`](super::reply) decide otherwise: whatever is not plainly a
//! question with one definite, prebuilt answer is left to them. A property
//! test holds the two equal, octet for octet.

mod overlay;
mod query;
mod reverse;

use std::hint::black_box;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use self::query::Query;
use super::lookup::{Match, comes_back, walk_to};
use super::{Asker, Elsewhere, Outcome, Path, Transport, at_hand, path_of};
use crate::config::ViewId;
use crate::dns::name::MAX_NAME;
use crate::dns::wire::HEADER;
use crate::forward;
use crate::snapshot::nodes::Entry;
use crate::snapshot::ready::{Known, Stale};
use crate::snapshot::spot::Spot;
use crate::snapshot::tail::Tail;
use crate::snapshot::{Node, Snapshot, ViewTable, ZoneTable};

/// Requests of a batch, at most; more are answered one by one.
pub const MAX_BATCH: usize = 64;
/// TYPE of CNAME (RFC 1035 section 3.2.2).
const CNAME: u16 = 5;

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
    let view = view_of(snapshot, asker)?;
    let (_, table) = view;
    let candidate = Candidate::of(table, &query);
    let plain = Plain { snapshot, view, query: &query, request, transport };
    plain.answer(candidate, elsewhere, reply)
}

/// Memory of a worker that batches are parsed into, allocated once.
#[derive(Debug, Clone, Default)]
pub struct AheadBuffer(Vec<Query>);

/// A batch of UDP requests, parsed, with what answers them fetched from memory: the
/// cache misses of all overlap, where each request alone would wait for its own.
pub struct Ahead<'s, 'r> {
    snapshot: &'s Snapshot,
    /// Who asks the first.
    first: Asker,
    /// The first one's, which most others are in too.
    view: (ViewId, &'s ViewTable),
    queries: &'r [Query],
    candidates: [Option<Candidate<'s>>; MAX_BATCH],
}

impl<'s, 'r> Ahead<'s, 'r> {
    /// Parses `requests` into `buffer` and fetches what each needs if it is of the
    /// same view as the first, whose client is `asker`. Those that are not are
    /// answered all the same. None if the first is of no view.
    pub fn read<'a>(
        snapshot: &'s Snapshot,
        asker: &Asker,
        requests: impl Iterator<Item = &'a [u8]>,
        buffer: &'r mut AheadBuffer,
    ) -> Option<Self> {
        let view @ (_, table) = view_of(snapshot, asker)?;
        buffer.0.resize_with(MAX_BATCH, Query::default);
        let mut count = 0;
        for (request, query) in requests.zip(&mut buffer.0) {
            // One that is not plain remains unread.
            let _ = query.take(request);
            count += 1;
        }
        // A second loop: rereading octets just written at another width stalls
        // the processor.
        buffer.0.iter_mut().take(count).for_each(Query::fold);
        let queries = buffer.0.get(..count)?;
        let mut candidates = [None; MAX_BATCH];
        let mut spots = [Spot::default(); MAX_BATCH];
        let mut guess = None;
        for ((query, candidate), spot) in queries.iter().zip(&mut candidates).zip(&mut spots) {
            let zone = query.is_read().then(|| table.zone_near(query.name(), guess)).flatten();
            if let Some(zone) = zone {
                *spot = zone.nodes.spot(query.name());
                *candidate = Some(Candidate { zone, likely: None });
                guess = Some(zone);
            }
        }
        // Loops of few instructions that do nothing but wait for memory: so the
        // processor has many cache misses under way at once.
        let mut touched = 0;
        for (candidate, spot) in candidates.iter().zip(&spots).take(count) {
            touched ^= candidate.map_or(0, |candidate| candidate.zone.nodes.touch(*spot));
        }
        for ((query, candidate), spot) in queries.iter().zip(&mut candidates).zip(&spots) {
            if let Some(candidate) = candidate {
                candidate.likely = candidate.zone.likely(query.name(), *spot);
            }
        }
        for candidate in candidates.iter().take(count) {
            touched ^=
                candidate.and_then(|candidate| candidate.likely).map_or(0, |entry| entry.touch());
        }
        black_box(touched);
        Some(Self { snapshot, first: *asker, view, queries, candidates })
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
        let (snapshot, view) = (self.snapshot, self.view);
        // Many come from few: from a forwarder, all.
        let is_alike =
            asker.client.ip() == self.first.client.ip() && asker.local == self.first.local;
        if !is_alike && view_of(snapshot, asker).map(|(view, _)| view) != Some(view.0) {
            return None;
        }
        let plain = Plain { snapshot, view, query, request, transport: Transport::Udp };
        plain.answer(*self.candidates.get(nth)?, elsewhere, reply)
    }
}

fn view_of<'s>(snapshot: &'s Snapshot, asker: &Asker) -> Option<(ViewId, &'s ViewTable)> {
    let view = asker.view(&snapshot.selector)?;
    Some((view, snapshot.views.get(view)?))
}

/// What probably answers a question for one of our names.
#[derive(Debug, Clone, Copy)]
struct Candidate<'s> {
    zone: &'s ZoneTable,
    /// What stands at the name, going by its hash alone; with none the name is
    /// certainly not there.
    likely: Option<Entry<'s>>,
}

impl<'s> Candidate<'s> {
    /// None if the name is in none of the view's zones.
    fn of(table: &'s ViewTable, query: &Query) -> Option<Self> {
        let zone = table.zone_of(query.name())?;
        let likely = zone.likely(query.name(), zone.nodes.spot(query.name()));
        Some(Self { zone, likely })
    }

    /// What stands at the name, certainly.
    fn entry(&self, name: &[u8]) -> Option<Entry<'s>> {
        match self.likely {
            Some(entry) if entry.ready().name() != name => self.zone.entry(name),
            known => known,
        }
    }
}

/// A plain query, and what it is answered from.
struct Plain<'s, 'r> {
    snapshot: &'s Snapshot,
    view: (ViewId, &'s ViewTable),
    query: &'r Query,
    request: &'r [u8],
    transport: Transport,
}

impl<'s> Plain<'s, '_> {
    /// With no `candidate` the name is in none of our zones.
    #[inline]
    fn answer(
        &self,
        candidate: Option<Candidate<'s>>,
        elsewhere: &mut impl Elsewhere,
        reply: &mut Vec<u8>,
    ) -> Option<Outcome> {
        if let Some(candidate) = candidate {
            return self.in_zone(candidate, reply);
        }
        let (_, table) = self.view;
        match table.overlay_of(self.query.name()) {
            Some(overlay) => self.in_overlay(overlay, reply),
            None => match table.pointer_of(self.query.name()) {
                Some(pointer) => self.at_pointer(pointer, reply),
                None => self.pass_on(elsewhere, reply),
            },
        }
    }

    /// Octets of the largest reply.
    fn limit(&self) -> usize {
        self.transport.limit(self.query.opt.map(|opt| opt.payload))
    }

    /// Answers from a zone of ours.
    fn in_zone(&self, candidate: Candidate<'s>, reply: &mut Vec<u8>) -> Option<Outcome> {
        self.write(self.find(candidate)?, Path::Zone, reply)
    }

    /// Writes what was found, if there is room for it.
    fn write(
        &self,
        (tail, rcode, stale): (Tail<&[u8]>, ResponseCode, Stale),
        path: Path,
        reply: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let (query, (view, table)) = (self.query, self.view);
        if query.asked_len() + tail.size() + query.opt_len() > self.limit() {
            return None;
        }
        query.write(self.request, tail, rcode, table.forward, reply)?;
        Some(Outcome::Reply { rcode, view: Some(view), path, stale })
    }

    /// Answers a question for a name that is not ours with what is known of it.
    fn pass_on(&self, elsewhere: &mut impl Elsewhere, reply: &mut Vec<u8>) -> Option<Outcome> {
        let (query, (view, table)) = (self.query, self.view);
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
            head: *self.request.first_chunk()?,
            question: self.request.get(HEADER..query.asked_len())?,
            limit: self.limit(),
            edns: query.opt.map(|opt| forward::Edns { dnssec_ok: opt.dnssec_ok, options: &[] }),
        };
        forward::compose(&hit, &passed_on, &[], reply);
        let (path, stale) = (path_of(&hit), Stale::of(&hit));
        Some(Outcome::Reply { rcode: hit.rcode(), view: Some(view), path, stale })
    }

    /// What answers a query for a name of ours, with which response code, and
    /// whether that is stale.
    fn find(&self, candidate: Candidate<'s>) -> Option<(Tail<&'s [u8]>, ResponseCode, Stale)> {
        let (zone, query, name) = (candidate.zone, self.query, self.query.name());
        let negative = || {
            let negative = zone.negative.as_ref().filter(|_| zone.denies_plainly(self.snapshot));
            negative?.for_name(name, zone.zone.origin.octets())
        };
        let entry = candidate.entry(name);
        let known = entry.filter(|entry| entry.ready().is_reached());
        let synthesised = known.is_none();
        let known = match known {
            Some(known) => known,
            None => {
                let own = entry.and_then(|entry| entry.node());
                match walk_to(zone, name, own.map(|node| &**node), query.rtype.into()) {
                    // A tag may give the name itself.
                    Match::Wildcard(_) if !zone.denies_plainly(self.snapshot) => return None,
                    Match::Wildcard(node) => zone.entry(node.key.octets())?,
                    Match::Nowhere => {
                        return Some((negative()?, ResponseCode::NXDomain, Stale(false)));
                    }
                    Match::Exact(_) | Match::Cut(_) | Match::Dname(_) => return None,
                }
            }
        };
        let ready = known.ready();
        // Remarks stand in the OPT: without one there is no place for them.
        let stale = ready.plain(self.snapshot, query.opt.is_none())?;
        let found = match ready.get(query.rtype) {
            Known::Parts if ready.is_alias() && self.ends_outside(known.node()?) => {
                ready.get(CNAME)
            }
            found => found,
        };
        let tail = match found {
            Known::Tail(tail) if !synthesised || tail.is_for_synthesis() => tail,
            Known::Tail(_) | Known::Parts => return None,
            Known::Nothing => negative()?,
        };
        Some((tail, ResponseCode::NoError, stale))
    }

    /// Does the CNAME leave our zones, with no recursion to follow it?
    fn ends_outside(&self, node: &Node) -> bool {
        let (_, table) = self.view;
        let mut octets = [0; MAX_NAME];
        let alias = node.rrset(RecordType::CNAME);
        let target = alias.and_then(|set| set.target(&mut octets));
        let outside = target.is_some_and(|name| table.authority_of(name).is_none());
        outside && !self.query.may_ask(table)
    }
}

#[cfg(test)]
mod tests;
