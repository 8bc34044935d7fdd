//! Questions for others, to be shown.

use serde::Serialize;

use crate::forward::{Forwarder, Looped, UpstreamStatus};

/// What is asked elsewhere.
#[derive(Debug, Serialize)]
pub(crate) struct ForwardingStatus {
    /// Each upstream.
    pub upstreams: Vec<UpstreamState>,
    /// Upstreams through which our own questions come back.
    pub loops: Vec<String>,
    /// Questions on their way to upstreams.
    pub outstanding: u64,
    /// Clients waiting for answers.
    pub waiting: u64,
    /// Questions turned away since the start, because their client had its
    /// share of what may be under way.
    pub shed: u64,
    /// Stale answers that were not renewed for that reason.
    pub not_renewed: u64,
    /// Cached answers.
    pub cached: u64,
    /// Octets they take, about.
    pub cached_bytes: u64,
}

/// One upstream.
#[derive(Debug, Serialize)]
pub(crate) struct UpstreamState {
    /// Its address.
    pub address: String,
    /// It answers, as far as is known.
    pub up: bool,
    /// Smoothed time to an answer, in milliseconds; null before the first.
    pub round_trip_ms: Option<f64>,
    /// Queries sent.
    pub sent: u64,
    /// Tries without a reply.
    pub timeouts: u64,
    /// Questions it was not asked because of its `max_rate`.
    pub throttled: u64,
    /// Questions that wait for their turn, for the same reason.
    pub waiting: u64,
    /// Queries to see whether it lives.
    pub checks: u64,
}

impl ForwardingStatus {
    pub(super) fn of(forwarder: &Forwarder, loops: &[Looped]) -> Self {
        let (load, cache) = (forwarder.load(), forwarder.cache().stats());
        let upstream = |one: UpstreamStatus| UpstreamState {
            address: one.address.to_string(),
            up: one.up,
            round_trip_ms: one.round_trip.map(|time| time.as_secs_f64() * 1000.0),
            sent: one.sent,
            timeouts: one.timeouts,
            throttled: one.throttled,
            waiting: one.waiting,
            checks: one.checks,
        };
        Self {
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
}
