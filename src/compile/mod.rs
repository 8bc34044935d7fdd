//! Configuration and inventory to a snapshot. Pure: no clock, no I/O.
//!
//! [`resolve`] says what each bound name stands for, `zone` makes a zone's
//! table of records out of that, [`serial`] decides whether its serial moves;
//! `overlay` adds the zones of one name, such as public EC2 names.
//! What did not change is shared with the previous snapshot: an unchanged zone
//! is the same `Arc`, a moved address costs the names bound to it (`touched`
//! says which those are). That is for speed alone: with or without a previous
//! snapshot the answers, digests and serials are the same.

pub(crate) mod changes;
mod overlay;
pub(crate) mod prebuilt;
pub(crate) mod resolve;
pub(crate) mod serial;
#[cfg(test)]
mod tests;
mod touched;
mod zone;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Config, Source, SourceKind, ViewId, Zone};
use crate::dns::ede::{self, Remark};
use crate::snapshot::name_map::NameMap;
use crate::snapshot::{Freshness, Identity, Lengths, Selector, Snapshot, SourceStatus, ViewTable};
use crate::source::clock::{Drift, elapsed};
use crate::source::inventory::{Health, Inventory, SourceInventory};
use crate::state;

pub(crate) use resolve::{Index, Sighting};
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
    let config = input.config;
    let related = previous.filter(|previous| is_of(previous, input));
    let touched = related.and_then(|p| Touched::between(&p.inventory, input.inventory));
    let index = Index::of(input, touched.as_ref());
    let mut views: Vec<ViewTable> = config
        .server
        .views
        .iter()
        .map(|view| ViewTable {
            name: view.name.as_str().into(),
            zones: NameMap::with_capacity(config.zones.len()),
            lengths: Lengths::default(),
            forward: view.forward,
            overlays: NameMap::default(),
            rewrites: Arc::default(),
        })
        .collect();
    for zone in &config.zones {
        let before = |view: ViewId| related?.views.get(view)?.zones.get(zone.origin.octets());
        for part in zone::parts(input, zone, &index, touched.as_ref(), &before, serials) {
            for view in part.views {
                views[view].insert(Arc::clone(&part.table));
            }
        }
    }
    overlay::lay(input, &index, touched.as_ref(), related, &mut views);
    Snapshot {
        generation: previous.map_or(1, |p| p.generation + 1),
        epoch: input.epoch,
        selector: related.map_or_else(|| selector(config).into(), |p| Arc::clone(&p.selector)),
        views,
        inventory: input.inventory.clone(),
        sources: input
            .inventory
            .sources
            .iter()
            .enumerate()
            .map(|(id, source)| SourceStatus {
                name: source.name.clone(),
                health: source.health.clone(),
                delivered_at: source.delivered_at,
                freshness: freshness(config.server.sources.get(id), source, input),
            })
            .collect(),
        identity: Identity {
            version: config.server.listen.version.clone(),
            id: config.server.listen.id.clone(),
        },
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

/// What answers resting on this source have to say about its age.
fn freshness(config: Option<&Source>, source: &SourceInventory, input: &Input<'_>) -> Freshness {
    let (Some(config), Some(delivered)) = (config, source.delivered_at) else {
        return Freshness::Fresh;
    };
    let age = elapsed(delivered, input.now);
    let fresh = match source.health {
        Health::Healthy => true,
        // What the last process was told, not long ago.
        Health::Starting => age < state::FRESH,
        Health::Stalled { .. } => false,
    };
    if fresh || source.entries.is_none() {
        return Freshness::Fresh;
    }
    let since = short_time(delivered, input.now, input.drift);
    let text = match (&config.kind, &source.region) {
        (SourceKind::File { path }, _) => {
            format!("{} not readable since {since}", path.display())
        }
        (SourceKind::Ec2(_), Some(region)) => format!("EC2 {region} not reached since {since}"),
        (SourceKind::Ec2(_), None) => format!("EC2 ({}) not reached since {since}", source.name),
    };
    let max_stale = input.config.server.serve.max_stale;
    if max_stale.is_some_and(|max| age > max) {
        return Freshness::TooOld(Remark { code: ede::INVALID_DATA, text: text.into() });
    }
    Freshness::Stale(Remark { code: ede::STALE, text: text.into() })
}

/// `12:03:01Z` for a time within the last day, else the whole date.
pub(crate) fn short_time(time: SystemTime, now: SystemTime, drift: Drift) -> String {
    let whole = humantime::format_rfc3339_seconds(drift.shown(time)).to_string();
    let age = now.duration_since(time).or_else(|e| Ok::<_, ()>(e.duration())).unwrap_or_default();
    match whole.split_once('T') {
        Some((_, clock)) if age.as_secs() < 24 * 3600 => clock.to_string(),
        _ => whole,
    }
}
