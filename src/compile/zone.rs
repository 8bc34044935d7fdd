//! One zone's tables of records, one per view it exists in.

use std::collections::HashSet;
use std::sync::Arc;

use hickory_proto::rr::{RData, Record, RecordType};

use super::draft::{Draft, News};
use super::names::{NameNow, Names};
use super::serial::{InView, Serials};
use super::{Input, difference, prebuilt, standing};
use crate::config::{ViewId, Zone};
use crate::host::background::breathing;
use crate::snapshot::name_map::NameMap;
use crate::snapshot::nodes::Sheet;
use crate::snapshot::{Basis, Resolved, RrSet, ZoneTable};

/// A zone as some of its views see it.
pub(super) struct Part {
    /// The views.
    pub views: Vec<ViewId>,
    /// What they see.
    pub table: Arc<ZoneTable>,
}

/// What the views of a zone saw in the snapshot before.
pub(super) struct Past<'p, 'f> {
    /// A view's table, whatever configuration made it.
    pub table: &'f dyn Fn(ViewId) -> Option<&'p Arc<ZoneTable>>,
    /// Did this very configuration make all of them? Then what did not change is
    /// taken from there.
    pub is_related: bool,
}

/// What the zone's names stand for in some of its views.
struct Seen<'p> {
    first: ViewId,
    /// All of them, the first included.
    views: Vec<ViewId>,
    /// The table that the views had before, to be brought up to date.
    before: Option<&'p Arc<ZoneTable>>,
    /// Each name that stands for something else than it did `before`.
    news: Vec<News>,
}

/// A part before its serial is known.
enum Content<'p> {
    Same(&'p Arc<ZoneTable>),
    New(Box<Draft>),
}

/// Views that see the same now, with the same serial, and saw the same before.
struct Alike<'p> {
    serial: u32,
    old: Option<&'p Arc<ZoneTable>>,
    denial: Option<&'p Arc<Basis>>,
    views: Vec<ViewId>,
}

/// The zone's tables, with its `names` laid into them.
pub(super) fn parts<'p>(
    input: &Input<'_>,
    zone: &Arc<Zone>,
    names: &'p Names,
    past: &Past<'p, '_>,
    serials: &mut Serials,
) -> Vec<Part> {
    let views = &input.config.server.views;
    let seen: Vec<Seen<'_>> = seen(zone, views.len(), names, past);
    let contents = contents(input, zone, seen);
    let in_views = contents.iter().flat_map(|(ids, content)| {
        // A zone into which nothing is laid has the serial its file gives it.
        let given = content.own_serial().filter(|_| !names.laid);
        let digest = content.digest();
        let named = ids.iter().filter_map(|id| views.get(*id));
        named.map(move |view| InView { view: &view.name, digest, given })
    });
    let in_views: Vec<InView<'_>> = in_views.collect();
    let now = input.drift.shown(input.now);
    let replica = input.config.server.replica;
    let mut serials = serials.advance(&zone.origin, &in_views, now, replica).into_iter();
    let room = difference::room(input.config);
    let mut all: Vec<Part> = Vec::with_capacity(contents.len());
    // Where tags give nothing, nothing rests on them.
    let may_have = |view: ViewId| {
        let mode = zone.discover.as_ref().and_then(|discover| *discover.modes.get(view)?);
        mode.is_some()
    };
    let denial = |view: ViewId| match &names.points {
        Some((views, denial)) if views.contains(&view) => Some(denial),
        _ => names.denial.as_ref().filter(|_| may_have(view)),
    };
    for (views, content) in &contents {
        for Alike { serial, old, denial, views } in alike(views, &mut serials, past, denial) {
            let table = content.table(zone, serial, old, room, denial);
            all.push(Part { views, table });
        }
    }
    all
}

/// What the zone's `names` stand for in each of its views, as far as they have a place.
pub(super) fn resolved<'p>(
    input: &Input<'_>,
    zone: &Zone,
    names: &'p Names,
    past: &Past<'p, '_>,
) -> Vec<(Vec<ViewId>, NameMap<Arc<Resolved>>)> {
    let seen = seen(zone, input.config.server.views.len(), names, past);
    let laid = |content: Content<'_>| match content {
        Content::Same(table) => table.resolved.clone(),
        Content::New(draft) => draft.resolved,
    };
    let contents = contents(input, zone, seen);
    contents.into_iter().map(|(views, content)| (views, laid(content))).collect()
}

/// What each part sees. Where several are made from nothing, those of one file share
/// what stands in it.
fn contents<'p>(
    input: &Input<'_>,
    zone: &Zone,
    seen: Vec<Seen<'p>>,
) -> Vec<(Vec<ViewId>, Content<'p>)> {
    let is_one = seen.iter().filter(|seen| seen.before.is_none()).count() == 1;
    let mut files: Vec<(ViewId, Draft)> = Vec::new();
    let content = |Seen { first, views, before, news }| {
        let content = match before {
            Some(old) => match Draft::patched(zone, old, &news) {
                Some(draft) => Content::New(draft.into()),
                None => Content::Same(old),
            },
            None if is_one => Content::New(Draft::new(input, zone, first, &news).into()),
            None => {
                let known = files.iter().find(|(view, _)| standing::same_file(zone, *view, first));
                let laid = known.map(|(_, file)| file.laid(zone, &news));
                let laid = laid.unwrap_or_else(|| {
                    let file = Draft::new(input, zone, first, &[]);
                    let laid = file.laid(zone, &news);
                    files.push((first, file));
                    laid
                });
                Content::New(laid.into())
            }
        };
        (views, content)
    };
    seen.into_iter().map(content).collect()
}

/// Views that see the same now, but did not always, differ in serial, in what led
/// there, or in what it rests on.
fn alike<'p>(
    views: &[ViewId],
    serials: &mut impl Iterator<Item = u32>,
    past: &Past<'p, '_>,
    denial: impl Fn(ViewId) -> Option<&'p Arc<Basis>>,
) -> Vec<Alike<'p>> {
    let mut all: Vec<Alike<'p>> = Vec::new();
    for (view, serial) in views.iter().zip(serials) {
        let (old, denial) = ((past.table)(*view), denial(*view));
        let is_it = |known: &&mut Alike<'_>| {
            known.serial == serial
                && old.map(Arc::as_ptr) == known.old.map(Arc::as_ptr)
                && denial == known.denial
        };
        match all.iter_mut().find(is_it) {
            Some(known) => known.views.push(*view),
            None => all.push(Alike { serial, old, denial, views: vec![*view] }),
        }
    }
    all
}

impl Content<'_> {
    /// The table that follows `old` in the views that see it.
    fn table(
        &self,
        zone: &Arc<Zone>,
        serial: u32,
        old: Option<&Arc<ZoneTable>>,
        room: usize,
        denial: Option<&Arc<Basis>>,
    ) -> Arc<ZoneTable> {
        let mut draft = match self {
            Content::Same(same) if same.serial == serial && same.denial.as_ref() == denial => {
                return Arc::clone(same);
            }
            Content::Same(same) => Draft::of(zone, same),
            Content::New(draft) => (**draft).clone(),
        };
        let changed = draft.changed.take();
        let mut table = finish(zone, draft, serial);
        table.denial = denial.cloned();
        table.differences = difference::behind(&table, old.map(|old| &**old), changed, room);
        table.into()
    }

    /// Of all that is seen, the SOA's serial apart.
    fn digest(&self) -> u128 {
        match self {
            Content::Same(table) => table.digest.wrapping_add(table.apex.digest),
            Content::New(draft) => draft.digest.wrapping_add(draft.apex.digest),
        }
    }

    /// The serial that the zone's file gives.
    fn own_serial(&self) -> Option<u32> {
        match self {
            Content::Same(table) => table.own_soa.then_some(table.serial),
            Content::New(draft) => draft.own_soa.then_some(draft.soa.1.serial),
        }
    }
}

/// What is new in each of the zone's views. Those that see the same come together, and
/// share one table. `count`: how many views the configuration has.
fn seen<'p>(zone: &Zone, count: usize, names: &Names, past: &Past<'p, '_>) -> Vec<Seen<'p>> {
    let mut all: Vec<Seen<'p>> = Vec::with_capacity(zone.views.len());
    for (nth, &view) in zone.views.iter().enumerate().filter(|(_, view)| **view < count) {
        let before = (past.table)(view).filter(|_| past.is_related);
        let news = news(names, nth, before.map(|before| &**before));
        let twin = all.iter_mut().find(|other| {
            let is_alike = match (before, other.before) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => standing::same_file(zone, view, other.first),
                _ => false,
            };
            is_alike && other.news == news
        });
        match twin {
            Some(twin) => twin.views.push(view),
            None => all.push(Seen { first: view, views: vec![view], before, news }),
        }
    }
    all
}

/// The names that stand for something else than `before` in the `nth` view of the zone.
fn news(names: &Names, nth: usize, before: Option<&ZoneTable>) -> Vec<News> {
    let is = |now: &NameNow| now.views.get(nth).and_then(Option::as_ref).cloned();
    let was = |now: &NameNow| before?.resolved.get(now.name.octets());
    let mut known = 0;
    let mut news: Vec<News> = Vec::new();
    for now in breathing(&names.names) {
        let (was, is) = (was(now), is(now));
        known += usize::from(was.is_some());
        if was != is.as_ref() {
            news.push((now.name.clone(), is));
        }
    }
    if let Some(before) = before.filter(|before| names.all && known < before.resolved.len()) {
        let still: HashSet<&[u8]> = breathing(&names.names).map(|now| now.name.octets()).collect();
        let gone = before.resolved.iter().filter(|(name, _)| !still.contains(name.octets()));
        news.extend(gone.map(|(name, _)| (name.clone(), None)));
    }
    news
}

/// Puts the SOA with its serial in place.
fn finish(zone: &Arc<Zone>, draft: Draft, serial: u32) -> ZoneTable {
    let (ttl, mut soa) = draft.soa;
    soa.serial = serial;
    // RFC 2308 section 3: a negative answer lives as long as the smaller.
    let negative_ttl = ttl.min(soa.minimum);
    let soa = RData::SOA(soa);
    let negative_soa = Record::from_rdata(zone.origin.to_name(), negative_ttl, soa.clone());
    let mut apex = draft.apex;
    let set = RrSet::new(RecordType::SOA, ttl, vec![soa]);
    apex.rrsets = std::iter::once(set).chain(apex.rrsets).collect();
    let mut table = ZoneTable {
        zone: zone.clone(),
        serial,
        negative_soa,
        // The next three are made from all of it.
        negative: None,
        top: Sheet::default(),
        differences: Default::default(),
        apex: Arc::new(apex),
        nodes: draft.nodes,
        wildcards: draft.wildcards,
        children: draft.children,
        resolved: draft.resolved,
        beside: draft.beside,
        occluders: draft.occluders,
        digest: draft.digest,
        own_soa: draft.own_soa,
        denial: None,
    };
    prebuilt::prebuild(&mut table);
    table
}
