//! The board as a status.

use std::time::{Instant, SystemTime};

use super::{Board, Facts, Reloads, forwarding};
use crate::config::Config;
use crate::dns::serial::highest;
use crate::host::aside;
use crate::host::log::STDERR;
use crate::snapshot::Snapshot;
use crate::source::clock::{Drift, elapsed};
use crate::source::inventory::Health;
use crate::status::report::{self, Status};

impl Board {
    /// All of it at one moment.
    pub(crate) fn status(&self) -> Status {
        let known = self.known.borrow().clone();
        let current = self.store.full();
        let snapshot = &current.snapshot;
        let (now, drift) = (self.clock.now(), self.clock.drift());
        let (publishing, worst_case) = (self.publishing(), known.worst_case());
        let not_ready = self.ready().err();
        let forwarder = current.forwarder.as_ref();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: elapsed(self.started, now).as_secs(),
            healthy: is_healthy(&known) && !publishing.hangs,
            dns: known.listening.clone(),
            generation: snapshot.generation,
            published_at: time(known.published_at, drift),
            built_in_ms: known.built_in.as_secs_f64() * 1000.0,
            worst_case: worst_case.total().as_secs_f64(),
            worst_case_of: worst_case,
            moves: known.moves,
            zones: zones(&known.config, snapshot),
            sources: known.sources(now, drift),
            budgets: known.budgets(),
            forwarding: forwarder.map(|forwarder| forwarding::report(forwarder, &known.loops)),
            state_trouble: known.state_trouble.clone(),
            file_readings_hanging: aside::hanging().0,
            descriptors: known.budget.status(),
            connections: self.sockets.connections(&known.upstream_sockets),
            log: STDERR.status(Instant::now()),
            publish_trouble: known.publish_trouble.clone(),
            publishing,
            reloads: reloads(&known.reloads, drift),
            ready: not_ready.is_none(),
            not_ready,
            views: self.names.of(snapshot).to_vec(),
            peers: self.peers.all().iter().map(|peer| peer.report(drift)).collect(),
            hints: self.peers.hints(),
            stale_answers: self.counters.stale().iter().map(|(_, _, count)| count).sum(),
        }
    }
}

/// Is every source healthy, and what they say published?
fn is_healthy(known: &Facts) -> bool {
    let mut sources = known.inventory.sources.iter();
    sources.all(|source| source.health == Health::Healthy) && known.publish_trouble.is_none()
}

fn zones(config: &Config, snapshot: &Snapshot) -> Vec<report::ZoneReport> {
    let mut by_tag = vec![0; config.zones.len()];
    for named in snapshot.inventory.discovered.by_tag() {
        by_tag.get_mut(named.zone).into_iter().for_each(|count| *count += 1);
    }
    let zones = config.zones.iter().enumerate().map(|(nth, zone)| {
        let tables = snapshot.views.iter().filter_map(|view| {
            let table = view.zones.get(zone.origin.octets())?;
            Some((view.name.to_string(), table.serial))
        });
        let (views, serials): (Vec<_>, Vec<_>) = tables.unzip();
        report::ZoneReport {
            origin: zone.origin.to_string(),
            serial: highest(serials),
            views,
            names: zone.names.len(),
            names_from_tags: by_tag.get(nth).copied().unwrap_or_default(),
        }
    });
    zones.collect()
}

fn reloads(reloads: &Reloads, drift: Drift) -> report::ReloadsReport {
    report::ReloadsReport {
        refused: reloads.refused,
        trouble: reloads.trouble.clone(),
        taken_at: time(reloads.taken_at, drift),
    }
}

/// A time of the process as the wall clock has it, RFC 3339.
pub(super) fn time(at: SystemTime, drift: Drift) -> String {
    humantime::format_rfc3339_millis(drift.shown(at)).to_string()
}
