//! Configuration and inventory to a snapshot. Pure: no clock, no I/O.
//!
//! * First, what every name stands for: [`names`], by `resolve` out of the `index`. Those
//!   will do that may stand for something else than in the previous snapshot (`touched`
//!   says which).
//! * Then the tables, from that alone: `zone` gathers the views that see the same,
//!   `draft` lays names into the zone's records (`standing`) or into the table
//!   before, [`serial`] decides whether the serial moves, and `difference` says from
//!   what to what. `reverse` adds the PTR records of what names stand for, in zones of
//!   ours and beside them. `overlay` adds the zones of one name, such as public EC2 names.
//!
//! What did not change is shared with the previous snapshot: an unchanged zone
//! is the same `Arc`, and a name that comes, goes or moves costs itself. That is for
//! speed alone: with or without a previous snapshot the answers, digests and serials
//! are the same.

#[cfg(any(test, debug_assertions))]
mod agree;
pub(crate) mod changes;
mod difference;
mod draft;
mod freshness;
mod index;
pub(crate) mod names;
mod overlay;
pub(crate) mod prebuilt;
pub(crate) mod reloaded;
mod resolve;
mod reverse;
pub(crate) mod serial;
mod standing;
#[cfg(test)]
mod tests;
mod touched;
mod zone;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Config, View, ViewId, Zone};
use crate::snapshot::name_map::NameMap;
use crate::snapshot::reverse::ReverseTable;
use crate::snapshot::{Identity, Lengths, Rewrites, Selector, Snapshot, ViewTable, ZoneTable};
use crate::source::clock::Drift;
use crate::source::inventory::Inventory;

pub(crate) use index::{Index, Sighting};
use names::Names;
pub(crate) use serial::Serials;
use touched::Touched;

/// Everything a snapshot is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Counts configurations, from 1.
    pub epoch: u64,
    /// What the sources say.
    pub inventory: &'a Inventory,
    /// Our own addresses: those of `ns1.<origin>` where a zone names no
    /// nameservers. The same for as long as the epoch is.
    pub addresses: &'a [IpAddr],
    /// The time of the process: for ages.
    pub now: SystemTime,
    /// What the wall clock makes of it: for serials and for times in texts.
    pub drift: Drift,
}

/// Makes the next snapshot. `serials` are those in use and are brought up to
/// date; `previous` lends what did not change.
pub(crate) fn compile(
    input: &Input<'_>,
    serials: &mut Serials,
    previous: Option<&Snapshot>,
) -> Snapshot {
    let ground = Ground::of(input, previous);
    let index = ground.index();
    let touched = ground.touched.as_ref();
    let zones = input.config.zones.iter().enumerate();
    let names = zones.map(|(nth, zone)| {
        let mut names = names::configured(input, zone, &index, touched);
        names.discover(input, nth, &index, touched);
        names
    });
    let names: Vec<Names> = names.collect();
    let snapshot = ground.snapshot(&index, &names, serials);
    #[cfg(any(test, debug_assertions))]
    agree::assert_agrees(input, &snapshot);
    snapshot
}

/// What the next snapshot is made from, beside what names stand for.
pub(crate) struct Ground<'a> {
    input: &'a Input<'a>,
    previous: Option<&'a Snapshot>,
    /// The previous snapshot, if this very configuration made it.
    related: Option<&'a Snapshot>,
    /// What lies between its inventory and this one; none: perhaps everything.
    touched: Option<Touched<'a>>,
}

impl<'a> Ground<'a> {
    pub(crate) fn of(input: &'a Input<'a>, previous: Option<&'a Snapshot>) -> Self {
        let related = previous.filter(|previous| is_of(previous, input));
        let touched = related.and_then(|p| Touched::between(&p.inventory, input.inventory));
        Self { input, previous, related, touched }
    }

    /// The inventory, for what is touched.
    pub(crate) fn index(&self) -> Index<'_> {
        Index::of(self.input, self.touched.as_ref())
    }

    /// The next snapshot, in which `names` are laid into the zones of the configuration,
    /// in their order. Names that are not all of a zone's are for a previous
    /// snapshot that is related.
    pub(crate) fn snapshot(
        &self,
        index: &Index<'_>,
        names: &[Names],
        serials: &mut Serials,
    ) -> Snapshot {
        let Self { input, previous, related, .. } = *self;
        let config = input.config;
        let mut views: Vec<ViewTable> =
            config.server.views.iter().map(|v| empty(config, v)).collect();
        let pointers = reverse::Plan::of(self);
        let zones = config.zones.iter().zip(names).enumerate();
        let has_pointers = |nth: usize| pointers.as_ref().is_some_and(|plan| plan.may_hold(nth));
        for (_, (zone, names)) in zones.filter(|(nth, _)| !has_pointers(*nth)) {
            self.lay(zone, names, &mut views, serials);
        }
        if let Some(plan) = &pointers {
            for (zone, names) in plan.point(index, names, &mut views) {
                self.lay(zone, &names, &mut views, serials);
            }
        }
        overlay::lay(input, index, self.touched.as_ref(), related, &mut views);
        Snapshot {
            generation: previous.map_or(1, |p| p.generation + 1),
            epoch: input.epoch,
            selector: related.map_or_else(|| selector(config).into(), |p| Arc::clone(&p.selector)),
            views,
            inventory: input.inventory.clone(),
            sources: freshness::statuses(input),
            identity: Identity {
                version: config.server.listen.version.clone(),
                id: config.server.listen.id.clone(),
            },
        }
    }

    /// Lays the tables of a zone, with its names, into the views that have it.
    fn lay(&self, zone: &Arc<Zone>, names: &Names, views: &mut [ViewTable], serials: &mut Serials) {
        debug_assert!(names.all || self.related.is_some(), "the other names are not known");
        let table = |view: ViewId| self.table_before(zone, view);
        let past = zone::Past { table: &table, is_related: self.related.is_some() };
        for part in zone::parts(self.input, zone, names, &past, serials) {
            for view in part.views {
                if let Some(view) = views.get_mut(view) {
                    view.insert(Arc::clone(&part.table));
                }
            }
        }
    }

    /// What the view of that name saw of the zone.
    fn table_before(&self, zone: &Zone, view: ViewId) -> Option<&'a Arc<ZoneTable>> {
        let before = match self.related {
            Some(related) => related.views.get(view)?,
            None => {
                let name = self.input.config.server.views.get(view)?.name.as_str();
                self.previous?.views.iter().find(|before| &*before.name == name)?
            }
        };
        before.zones.get(zone.origin.octets())
    }
}

/// A view in which nothing is yet.
fn empty(config: &Config, view: &View) -> ViewTable {
    ViewTable {
        name: view.name.as_str().into(),
        zones: NameMap::with_capacity(config.zones.len()),
        lengths: Lengths::default(),
        forward: view.forward,
        overlays: NameMap::default(),
        rewrites: Rewrites::default(),
        reverse: ReverseTable::default(),
    }
}

/// What bound names stood for and stand for: looks into the inventories of two
/// snapshots. Where the two differ little, only what differs is found by
/// allocation or tag.
pub(crate) fn compared<T>(
    config: &Config,
    before: &Snapshot,
    now: &Snapshot,
    look: impl FnOnce(&Index<'_>, &Index<'_>) -> T,
) -> T {
    let touched = Touched::between(&before.inventory, &now.inventory);
    let input = |inventory| Input {
        config,
        epoch: now.epoch,
        inventory,
        addresses: &[],
        now: SystemTime::UNIX_EPOCH,
        drift: Drift::NONE,
    };
    let (was, is) = (input(&before.inventory), input(&now.inventory));
    look(&Index::of(&was, touched.as_ref()), &Index::of(&is, touched.as_ref()))
}

/// Was the snapshot made from this very configuration, every zone of it?
fn is_of(snapshot: &Snapshot, input: &Input<'_>) -> bool {
    let has = |zone: &Arc<Zone>, view: ViewId| {
        let table = snapshot.views.get(view).and_then(|view| view.zones.get(zone.origin.octets()));
        table.is_some_and(|table| Arc::ptr_eq(&table.zone, zone))
    };
    snapshot.epoch == input.epoch
        && snapshot.views.len() == input.config.server.views.len()
        && input.config.zones.iter().all(|zone| zone.views.iter().all(|view| has(zone, *view)))
}

fn selector(config: &Config) -> Selector {
    let mut selector = Selector::default();
    for (id, view) in config.server.views.iter().enumerate() {
        selector.insert(&view.clients, &view.listen, id);
    }
    selector.trust(&config.server.listen.trust_ecs_from);
    selector
}
