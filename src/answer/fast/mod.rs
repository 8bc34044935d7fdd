//! The short way to most answers: the question is read where it stands, and
//! what follows it in the reply was made with the snapshot.
//!
//! Nothing is decided here that [`lookup`](super::lookup) and
//! [`reply`](super::reply) decide otherwise: whatever is not plainly a
//! question with one definite, prebuilt answer is left to them. A property
//! test holds the two equal, octet for octet.

mod query;

use std::hint::black_box;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use self::query::Query;
use super::lookup::{Place, comes_back, walk_to};
use super::{Asker, Elsewhere, Outcome, Path, Transport, at_hand, path_of};
use crate::config::ViewId;
use crate::dns::name::{MAX_NAME, folded};
use crate::dns::wire::HEADER;
use crate::forward;
use crate::snapshot::nodes::Entry;
use crate::snapshot::overlay::Overlay;
use crate::snapshot::ready::{Known, Stale};
use crate::snapshot::spot::Spot;
use crate::snapshot::tail::Tail;
use crate::snapshot::{Node, Snapshot, ViewTable, ZoneTable};

/// So many requests are read ahead at most.
pub const TOGETHER: usize = 64;
/// CNAME.
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
    let sight = Sight::of(table, &query);
    let plain = Plain { snapshot, view, query: &query, request, transport };
    plain.answer(sight, elsewhere, reply)
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
        let (snapshot, view) = (self.snapshot, self.view);
        // Many come from few: from a forwarder, all.
        let is_alike =
            asker.client.ip() == self.first.client.ip() && asker.local == self.first.local;
        if !is_alike && view_of(snapshot, asker).map(|(view, _)| view) != Some(view.0) {
            return None;
        }
        let plain = Plain { snapshot, view, query, request, transport: Transport::Udp };
        plain.answer(*self.sights.get(nth)?, elsewhere, reply)
    }
}

fn view_of<'s>(snapshot: &'s Snapshot, asker: &Asker) -> Option<(ViewId, &'s ViewTable)> {
    let view = asker.view(&snapshot.selector)?;
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

/// A plain request, and what it is answered from.
struct Plain<'s, 'r> {
    snapshot: &'s Snapshot,
    view: (ViewId, &'s ViewTable),
    query: &'r Query,
    request: &'r [u8],
    transport: Transport,
}

impl<'s> Plain<'s, '_> {
    /// With no `sight` the name is in none of our zones.
    #[inline]
    fn answer(
        &self,
        sight: Option<Sight<'s>>,
        elsewhere: &mut impl Elsewhere,
        reply: &mut Vec<u8>,
    ) -> Option<Outcome> {
        if let Some(sight) = sight {
            return self.in_zone(sight, reply);
        }
        let (_, table) = self.view;
        match table.overlay_of(self.query.name()) {
            Some(overlay) => self.in_overlay(overlay, reply),
            None => self.pass_on(elsewhere, reply),
        }
    }

    /// Octets of the largest reply.
    fn limit(&self) -> usize {
        self.transport.limit(self.query.opt.map(|opt| opt.payload))
    }

    /// Answers from a zone of ours.
    fn in_zone(&self, sight: Sight<'s>, reply: &mut Vec<u8>) -> Option<Outcome> {
        self.write(self.find(sight)?, Path::Zone, reply)
    }

    /// Answers from an overlay zone.
    fn in_overlay(&self, overlay: &Overlay, reply: &mut Vec<u8>) -> Option<Outcome> {
        let (query, ready) = (self.query, overlay.ready());
        if ready.name() != query.name() {
            let denial = overlay.negative(query.name())?;
            return self.write((denial, ResponseCode::NXDomain, Stale(false)), Path::Zone, reply);
        }
        let stale = ready.plain(self.snapshot, query.opt.is_none())?;
        let tail = match ready.get(query.rtype) {
            Known::Tail(tail) => tail,
            Known::Parts => return None,
            Known::Nothing => overlay.negative(query.name())?,
        };
        self.write((tail, ResponseCode::NoError, stale), Path::Ec2, reply)
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
    fn find(&self, sight: Sight<'s>) -> Option<(Tail<&'s [u8]>, ResponseCode, Stale)> {
        let (zone, query, name) = (sight.zone, self.query, self.query.name());
        let negative = || zone.negative.as_ref()?.for_name(name, zone.zone.origin.octets());
        let entry = sight.entry(name);
        let known = entry.filter(|entry| entry.ready().is_reached());
        let synthesised = known.is_none();
        let known = match known {
            Some(known) => known,
            None => {
                let own = entry.and_then(|entry| entry.node());
                match walk_to(zone, name, own.map(|node| &**node), query.rtype.into()) {
                    Place::Wildcard(node) => zone.entry(node.key.octets())?,
                    Place::Nowhere => {
                        return Some((negative()?, ResponseCode::NXDomain, Stale(false)));
                    }
                    Place::Exact(_) | Place::Cut(_) | Place::Dname(_) => return None,
                }
            }
        };
        let ready = known.ready();
        // Remarks stand in the OPT: without one there is no place for them.
        let stale = ready.plain(self.snapshot, query.opt.is_none())?;
        let found = match ready.get(query.rtype) {
            Known::Parts if ready.is_alias() && self.is_all_we_know(known.node()?) => {
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

    /// Does an alias lead out of our zones, and stays there?
    fn is_all_we_know(&self, node: &Node) -> bool {
        let (_, table) = self.view;
        let alias = node.rrset(RecordType::CNAME).and_then(|set| set.records.first());
        let Some(RData::CNAME(target)) = alias.map(|record| &record.data) else {
            return false;
        };
        let mut octets = [0; MAX_NAME];
        let target = folded(&target.0, &mut octets);
        let outside = target.is_some_and(|name| table.authority_of(name).is_none());
        outside && !self.query.may_ask(table)
    }
}

#[cfg(test)]
mod tests;
