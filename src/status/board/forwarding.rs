//! The state of forwarding.

use crate::forward::{Forwarder, Looped, UpstreamStatus};
use crate::status::report::{ForwardingReport, UpstreamReport};

pub(super) fn report(forwarder: &Forwarder, loops: &[Looped]) -> ForwardingReport {
    let (load, cache) = (forwarder.load(), forwarder.cache().stats());
    ForwardingReport {
        upstreams: forwarder.upstreams().into_iter().map(upstream).collect(),
        loops: loops.iter().map(|one| format!("{} for {}", one.upstream, one.name)).collect(),
        outstanding: load.outstanding,
        waiting: load.waiting,
        shed: load.shed.questions(),
        not_renewed: load.shed.refreshes,
        cached: cache.entries,
        cached_bytes: cache.bytes,
    }
}

fn upstream(one: UpstreamStatus) -> UpstreamReport {
    UpstreamReport {
        address: one.address,
        up: one.up,
        round_trip_ms: one.round_trip.map(|time| time.as_secs_f64() * 1000.0),
        sent: one.sent,
        timeouts: one.timeouts,
        throttled: one.throttled,
        waiting: one.waiting,
        checks: one.checks,
    }
}
