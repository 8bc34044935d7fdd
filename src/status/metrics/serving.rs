//! Questions and answers, connections, and how long they take.

use super::page::Page;
use crate::answer::Transport;
use crate::serve::stats::ConnectionTotals;
use crate::status::board::{Board, Facts};

pub(super) fn write(page: &mut Page, board: &Board, known: &Facts) {
    board.counters.show(known.config.server.views.iter().map(|view| view.name.as_str()));
    answers(page, board);
    udp(page, board);
    for transport in Transport::ALL.into_iter().filter(|transport| transport.is_stream()) {
        connections(page, transport.as_str(), &board.sockets.over(transport));
    }
    http(page, board);
    let sockets = &known.upstream_sockets;
    page.gauge("eipdns_upstream_sockets", "Sockets of questions to upstreams").is(sockets.taken());
    let help = "Times that a question to an upstream had no socket, because all were in use";
    page.counter("eipdns_upstream_no_socket_total", help).is(sockets.refused());
}

fn answers(page: &mut Page, board: &Board) {
    let help = "Answers sent, by view (empty: none), transport, path and response code";
    let mut queries = page.counter("eipdns_queries_total", help);
    for total in board.counters.totals() {
        let labels = [
            ("view", total.view.as_str()),
            ("transport", total.transport.as_str()),
            ("path", total.path.as_str()),
            ("rcode", total.rcode),
        ];
        queries.with(&labels, total.count);
    }
    let help = "Answers that rest on a source that is stalled, or (path cached) on an answer \
                beyond its TTL";
    let mut stale = page.counter("eipdns_stale_answers_total", help);
    for (view, path, count) in board.counters.stale() {
        stale.with(&[("view", &view), ("path", path.as_str())], count);
    }
    page.counter("eipdns_panics_total", "Answers that ended in a panic and so in SERVFAIL")
        .is(board.counters.panics());
    page.histogram(
        "eipdns_udp_batch_duration_seconds",
        "From a batch of datagrams to its answers; one in 64 is timed",
        &board.sockets.batches(),
    );
    page.histogram(
        "eipdns_forwarded_duration_seconds",
        "From a question to its answer, where an upstream was waited for",
        &board.counters.waited().read(),
    );
}

fn udp(page: &mut Page, board: &Board) {
    let udp = board.sockets.udp();
    let mut datagrams = page.counter("eipdns_udp_datagrams_total", "UDP datagrams by fate");
    for (event, count) in [
        ("received", udp.received),
        ("sent", udp.sent),
        ("silent", udp.silent),
        ("dropped", udp.dropped),
        ("no_room", udp.no_room),
        ("send_error", udp.send_errors),
        ("receive_error", udp.receive_errors),
    ] {
        datagrams.with(&[("event", event)], count);
    }
}

/// The connections over the transport of this name.
fn connections(page: &mut Page, over: &str, totals: &ConnectionTotals) {
    let shown = over.to_uppercase();
    let name = format!("eipdns_{over}_connections_total");
    let mut connections = page.counter(&name, &format!("{shown} connections by event"));
    for (event, count) in [
        ("accepted", totals.accepted),
        ("refused_full", totals.refused_full),
        ("refused_client", totals.refused_client),
        ("accept_error", totals.accept_errors),
        ("finished", totals.finished),
        ("idle", totals.idle),
        ("evicted", totals.evicted),
        ("malformed", totals.malformed),
        ("broken", totals.broken),
        ("cut", totals.cut),
    ] {
        connections.with(&[("event", event)], count);
    }
    let help = format!("{shown} connections that are open");
    page.gauge(&format!("eipdns_{over}_open"), &help).is(totals.open() as f64);
    let name = format!("eipdns_{over}_strangers_total");
    let help = format!("{shown} connections of clients in no view, by event");
    let mut strangers = page.counter(&name, &help);
    for (event, count) in [
        ("accepted", totals.strangers_accepted),
        ("refused", totals.strangers_refused),
        ("evicted", totals.strangers_evicted),
    ] {
        strangers.with(&[("event", event)], count);
    }
}

fn http(page: &mut Page, board: &Board) {
    let http = board.sockets.http();
    let help = "HTTP connections by event";
    let mut connections = page.counter("eipdns_http_connections_total", help);
    for (event, count) in [
        ("accepted", http.accepted),
        ("refused", http.refused),
        ("accept_error", http.accept_errors),
        ("finished", http.finished),
        ("idle", http.idle),
        ("slow", http.slow),
        ("evicted", http.evicted),
        ("malformed", http.malformed),
        ("broken", http.broken),
    ] {
        connections.with(&[("event", event)], count);
    }
    page.gauge("eipdns_http_open", "HTTP connections that are open").is(http.open() as f64);
    let help = "HTTP requests by status of the answer";
    let mut requests = page.counter("eipdns_http_requests_total", help);
    for (status, count) in http.requests.iter().filter(|(_, count)| *count > 0) {
        let status = if *status == 0 { "other".into() } else { status.to_string() };
        requests.with(&[("status", &status)], *count);
    }
}
