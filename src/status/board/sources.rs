//! How each source does.

use std::time::SystemTime;

use super::Known;
use super::status::time;
use crate::config::SourceKind;
use crate::source::accept;
use crate::source::clock::{Drift, elapsed};
use crate::source::inventory::Health;
use crate::status::report::{Held, Source};

impl Known {
    /// Each source at one moment, in the order of the configuration.
    pub(super) fn sources(&self, now: SystemTime, drift: Drift) -> Vec<Source> {
        let all = 0..self.inventory.sources.len();
        all.filter_map(|id| self.source(id, now, drift)).collect()
    }

    fn source(&self, id: usize, now: SystemTime, drift: Drift) -> Option<Source> {
        let source = self.inventory.sources.get(id)?;
        let config = self.config.server.sources.get(id)?;
        let losses = self.losses.get(id)?;
        let totals = self.handles.get(id)?.as_ref().map(|h| h.stats().read()).unwrap_or_default();
        let (since, why) = match &source.health {
            Health::Stalled { since, why } => (Some(time(*since, drift)), Some(why.clone())),
            Health::Starting | Health::Healthy => (None, None),
        };
        let (kind, poll) = match &config.kind {
            SourceKind::File { .. } => ("file", None),
            SourceKind::Ec2(ec2) => ("ec2", Some(ec2.poll.as_secs_f64())),
        };
        // An equal answer publishes nothing, so the totals know of later ones.
        let last_good = totals.last_good.max(source.delivered_at);
        Some(Source {
            name: source.name.clone(),
            kind: kind.to_owned(),
            region: source.region.clone(),
            health: source.health.as_str().to_owned(),
            since,
            why,
            last_good: last_good.map(|at| time(at, drift)),
            age: last_good.map(|at| elapsed(at, now).as_secs_f64()),
            poll,
            polls: totals.polls,
            failures: totals.failed_in_all(),
            last_call_ms: totals.last_took.map(|t| t.as_secs_f64() * 1000.0),
            addresses: source.entries.as_ref().map_or(0, |e| e.len()),
            left_out: totals.left_out.count,
            left_out_first: totals.left_out.first.iter().map(ToString::to_string).collect(),
            mass_loss: losses.mass,
            held: losses.held.iter().filter_map(|one| held(one, drift)).collect(),
        })
    }
}

fn held(held: &accept::Held, drift: Drift) -> Option<Held> {
    let (standing, since) = held.standing.kept()?;
    Some(Held {
        elastic_ip: held.allocation.clone(),
        standing: standing.to_owned(),
        since: time(since, drift),
        until: held.until.map(|at| time(at, drift)),
    })
}
