//! How the sources do, and what answers that rest on them say of that.

use std::time::SystemTime;

use super::Input;
use crate::config::{Source, SourceKind};
use crate::dns::ede::{self, Remark};
use crate::snapshot::{Freshness, SourceStatus};
use crate::source::clock::{Drift, elapsed};
use crate::source::inventory::{Health, SourceInventory};
use crate::state;

/// Every source, in the order of the configuration.
pub(super) fn statuses(input: &Input<'_>) -> Vec<SourceStatus> {
    let status = |(id, source): (usize, &SourceInventory)| SourceStatus {
        name: source.name.clone(),
        health: source.health.clone(),
        delivered_at: source.delivered_at,
        freshness: freshness(input.config.server.sources.get(id), source, input),
    };
    input.inventory.sources.iter().enumerate().map(status).collect()
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
        (SourceKind::File { path, .. }, _) => {
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
