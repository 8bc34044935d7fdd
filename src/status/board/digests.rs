//! What is answered, so short that replicas can compare it.

use std::time::{Duration, SystemTime};

use super::{Board, Facts};
use crate::config::SourceKind;
use crate::snapshot::Snapshot;
use crate::source::clock::elapsed;
use crate::status::report::peers::{DIGEST_KIND, Digests, SourceAge, ZoneDigest};

impl Board {
    /// Of the current answers.
    pub(crate) fn digests(&self) -> Digests {
        let known = self.known.borrow().clone();
        digests(&self.store.full().snapshot, &known, self.clock.now())
    }
}

/// Each zone in each view, in this order, and how old the word of each source is. Takes
/// microseconds: digests are kept with their zones.
pub(crate) fn digests(snapshot: &Snapshot, known: &Facts, now: SystemTime) -> Digests {
    let mut zones: Vec<_> = snapshot
        .views
        .iter()
        .flat_map(|view| view.zones.iter().map(move |(origin, table)| (view, origin, table)))
        .map(|(view, origin, table)| ZoneDigest {
            zone: origin.to_string(),
            view: view.name.to_string(),
            digest: format!("{:032x}", table.digest.wrapping_add(table.apex.digest)),
            serial: table.serial,
        })
        .collect();
    zones.sort_by(|a, b| (&a.zone, &a.view).cmp(&(&b.zone, &b.view)));
    Digests {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kind: DIGEST_KIND,
        generation: snapshot.generation,
        zones,
        sources: sources(known, now),
    }
}

fn sources(known: &Facts, now: SystemTime) -> Vec<SourceAge> {
    let all = known.config.server.sources.iter().zip(&known.inventory.sources);
    let all = all.zip(&known.handles).map(|((config, source), handle)| {
        let totals = handle.as_ref().map(|handle| handle.stats().read()).unwrap_or_default();
        let last_good = totals.last_good.max(source.delivered_at);
        let slowed = totals.slowed.map_or(Duration::ZERO, |slowed| slowed.every);
        let poll = match &config.kind {
            SourceKind::File { .. } => None,
            SourceKind::Ec2(ec2) => Some(ec2.poll.max(slowed).as_secs_f64()),
        };
        let age = last_good.map(|at| elapsed(at, now).as_secs_f64());
        SourceAge { name: config.name.clone(), age, poll }
    });
    all.collect()
}
