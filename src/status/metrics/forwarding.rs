//! What is asked elsewhere; nothing where no view forwards.

use super::page::Page;
use crate::forward::{Forwarder, UpstreamStatus};
use crate::status::board::{Board, Facts};

pub(super) fn write(page: &mut Page, board: &Board, known: &Facts) {
    let current = board.store.full();
    let Some(forwarder) = &current.forwarder else { return };
    upstreams(page, &forwarder.upstreams());
    load(page, forwarder);
    let help = "Upstreams through which our own questions come back";
    page.gauge("eipdns_forward_loops", help).is(known.loops.len());
}

fn upstreams(page: &mut Page, all: &[UpstreamStatus]) {
    let all: Vec<(String, &UpstreamStatus)> =
        all.iter().map(|one| (one.address.to_string(), one)).collect();
    let help = "Questions for upstreams, by fate";
    let mut queries = page.counter("eipdns_upstream_queries_total", help);
    for (address, one) in &all {
        for (event, count) in [
            ("sent", one.sent),
            ("answer", one.answers),
            ("timeout", one.timeouts),
            ("error", one.errors),
            ("stray", one.strays),
            ("throttled", one.throttled),
            ("check", one.checks),
        ] {
            queries.with(&[("upstream", address), ("event", event)], count);
        }
    }
    let mut up = page.gauge("eipdns_upstream_up", "1: it answers, as far as is known");
    for (address, one) in &all {
        up.with(&[("upstream", address)], one.up);
    }
    let help = "Questions that wait for their turn, because of max_rate";
    let mut waiting = page.gauge("eipdns_upstream_waiting", help);
    for (address, one) in &all {
        waiting.with(&[("upstream", address)], one.waiting as f64);
    }
    let help = "Smoothed time to an answer; missing before the first";
    let mut time = page.gauge("eipdns_upstream_round_trip_seconds", help);
    for (address, one) in &all {
        // Nothing, and no number, of one that never answered.
        if let Some(round_trip) = one.round_trip {
            time.with(&[("upstream", address)], round_trip.as_secs_f64());
        }
    }
}

fn load(page: &mut Page, forwarder: &Forwarder) {
    let (cache, load) = (forwarder.cache().stats(), forwarder.load());
    let mut lookups = page.counter("eipdns_cache_lookups_total", "Look-ups in the cache");
    for (result, count) in [("hit", cache.hits), ("miss", cache.misses), ("stale", cache.stale)] {
        lookups.with(&[("result", result)], count);
    }
    let help = "Questions turned away (refreshes: stale answers not renewed) because their client \
                has its share";
    let mut shed = page.counter("eipdns_forward_shed_total", help);
    for (limit, count) in [
        ("flights", load.shed.flights),
        ("waiting", load.shed.waiting),
        ("refreshes", load.shed.refreshes),
    ] {
        shed.with(&[("limit", limit)], count);
    }
    page.counter("eipdns_cache_evictions_total", "Entries that gave way to others")
        .is(cache.evictions);
    page.counter("eipdns_forward_panics_total", "Forwarded questions that ended in a panic")
        .is(load.panics);
    for (name, help, value) in [
        ("eipdns_cache_entries", "Answers in the cache, stale ones included", cache.entries),
        ("eipdns_cache_bytes", "Octets they take, about", cache.bytes),
        ("eipdns_forward_outstanding", "Questions on their way to upstreams", load.outstanding),
        ("eipdns_forward_waiting", "Clients waiting for answers from elsewhere", load.waiting),
    ] {
        page.gauge(name, help).is(value as f64);
    }
}
