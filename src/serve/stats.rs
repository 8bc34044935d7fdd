//! Counters of what happens at the sockets. Reading them never holds up a worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::answer::Transport;
use crate::host::descriptors::Share;
use crate::host::histogram::{Histogram, Reading};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: usize) {
        // Nearly always nothing, for most counters; a locked addition waits for
        // all that was written before.
        if count == 0 {
            return;
        }
        // Relaxed: a count orders nothing.
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one UDP worker, alone on their cache lines: 128 octets
/// because processors fetch lines of 64 in pairs, and some have 128.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct UdpCounters {
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) silent: Counter,
    pub(super) dropped: Counter,
    pub(super) no_room: Counter,
    pub(super) send_errors: Counter,
    pub(super) receive_errors: Counter,
    /// From receiving a batch to having sent its answers, of some batches.
    pub(super) took: Histogram,
}

/// The counters of all connections over one transport.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounters {
    pub(super) accepted: Counter,
    pub(super) refused_full: Counter,
    pub(super) refused_client: Counter,
    pub(super) accept_errors: Counter,
    pub(super) requests: Counter,
    pub(super) replies: Counter,
    pub(super) finished: Counter,
    pub(super) idle: Counter,
    pub(super) evicted: Counter,
    pub(super) malformed: Counter,
    pub(super) broken: Counter,
    pub(super) cut: Counter,
    pub(super) strangers_accepted: Counter,
    pub(super) strangers_refused: Counter,
    pub(super) strangers_evicted: Counter,
}

/// The counters of the HTTP side.
#[derive(Debug, Default)]
pub(crate) struct HttpCounters {
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) finished: Counter,
    pub(crate) idle: Counter,
    pub(crate) slow: Counter,
    pub(crate) evicted: Counter,
    pub(crate) malformed: Counter,
    pub(crate) broken: Counter,
    /// In the order of [`STATUSES`], and all others.
    requests: [Counter; STATUSES.len() + 1],
}

/// The status codes that are told apart.
pub(crate) const STATUSES: [u16; 12] = [200, 400, 401, 403, 404, 405, 408, 413, 421, 429, 500, 503];

impl HttpCounters {
    /// Counts a request by its answer.
    pub(crate) fn answered(&self, status: u16) {
        let at = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        if let Some(counter) = self.requests.get(at) {
            counter.add(1);
        }
    }
}

/// UDP since the start, all workers together. Once the workers are at rest,
/// `received` is `sent` + `silent` + `dropped` + `no_room` + `send_errors`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UdpTotals {
    /// Datagrams that came in.
    pub received: u64,
    /// Answers handed to the kernel.
    pub sent: u64,
    /// Datagrams the responder chose not to answer.
    pub silent: u64,
    /// Datagrams never shown to the responder: from source port 0, or too
    /// long.
    pub dropped: u64,
    /// Requests for which an upstream would have to be asked, when too many waited
    /// for that already.
    pub no_room: u64,
    /// Answers the kernel would not send.
    pub send_errors: u64,
    /// Errors while receiving; no datagram is lost by them.
    pub receive_errors: u64,
}

/// The connections over one transport since the start. Each accepted one ends as
/// exactly one of `finished`, `idle`, `evicted`, `malformed`, `broken` and `cut`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionTotals {
    /// Connections that were served.
    pub accepted: u64,
    /// Connections closed at once: at the total limit with none to evict.
    pub refused_full: u64,
    /// Connections closed at once: their client has as many as it may.
    pub refused_client: u64,
    /// Errors of accept(2), such as no descriptors left.
    pub accept_errors: u64,
    /// Requests taken.
    pub requests: u64,
    /// Answers queued for sending.
    pub replies: u64,
    /// Connections ended by the client's close, or ours when draining.
    pub finished: u64,
    /// Connections closed because they were silent or slow.
    pub idle: u64,
    /// Connections closed in favour of a new one.
    pub evicted: u64,
    /// Connections closed because what came is no DNS message.
    pub malformed: u64,
    /// Connections lost to an error, such as a reset.
    pub broken: u64,
    /// Connections still busy when a drain ran out of time.
    pub cut: u64,
    /// Of those accepted: of clients in no view.
    pub strangers_accepted: u64,
    /// Connections closed at once: of a client in no view that has as many as
    /// it may.
    pub strangers_refused: u64,
    /// Of those evicted: of clients in no view, by others in no view.
    pub strangers_evicted: u64,
}

impl ConnectionTotals {
    /// Connections that are open.
    pub(crate) fn open(&self) -> u64 {
        let ended =
            self.finished + self.idle + self.evicted + self.malformed + self.broken + self.cut;
        self.accepted.saturating_sub(ended)
    }
}

/// The HTTP side since the start. Each accepted connection ends as exactly one
/// of `finished`, `idle`, `slow`, `evicted`, `malformed` and `broken`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct HttpTotals {
    /// Connections that were served.
    pub accepted: u64,
    /// Connections closed at once: all places are taken, by requests that are
    /// being worked on.
    pub refused: u64,
    /// Errors of accept(2), such as no descriptors left.
    pub accept_errors: u64,
    /// Connections ended by the client, or after an answer.
    pub finished: u64,
    /// Connections closed because there was no further request.
    pub idle: u64,
    /// Connections closed because a request did not come, or its answer was not
    /// taken, in time.
    pub slow: u64,
    /// Connections closed in favour of a new one.
    pub evicted: u64,
    /// Connections closed because what came is no HTTP/1, or too much.
    pub malformed: u64,
    /// Connections lost to an error, such as a reset.
    pub broken: u64,
    /// Requests by status code; 0 stands for those not in [`STATUSES`].
    pub requests: Vec<(u16, u64)>,
}

impl HttpTotals {
    /// Connections that are open.
    pub(crate) fn open(&self) -> u64 {
        let ended =
            self.finished + self.idle + self.slow + self.evicted + self.malformed + self.broken;
        self.accepted.saturating_sub(ended)
    }
}

/// Connections that are open, and those turned away since the start: for `status`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// DNS over TCP, and over what TCP carries: open.
    pub tcp: u64,
    /// Closed at once: their client has as many as it may.
    pub tcp_refused: u64,
    /// Closed for a newcomer.
    pub tcp_evicted: u64,
    /// Of clients in no view, closed at once or for others of those.
    pub strangers_turned_away: u64,
    /// HTTP: open.
    pub http: u64,
    /// Closed at once, or for a newcomer.
    pub http_turned_away: u64,
    /// Closed because they were slow.
    pub http_slow: u64,
    /// Sockets to upstreams: open.
    pub upstream_sockets: usize,
    /// Times that a question to an upstream had none.
    pub no_upstream_socket: u64,
}

/// The handle to all counters of the sockets. Totals never go back, whatever
/// a reload opens and closes.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    workers: Mutex<Vec<Arc<UdpCounters>>>,
    /// By transport; that of UDP has none.
    connections: [ConnectionCounters; Transport::ALL.len()],
    pub(crate) http: HttpCounters,
}

impl Stats {
    /// Counters for one more worker: those of one that has ended, else new.
    pub(super) fn worker(&self) -> Arc<UdpCounters> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = workers.iter().find(|w| Arc::strong_count(w) == 1) {
            return Arc::clone(free);
        }
        let new = Arc::<UdpCounters>::default();
        workers.push(Arc::clone(&new));
        new
    }

    /// The sum over all UDP workers.
    pub(crate) fn udp(&self) -> UdpTotals {
        let mut sum = UdpTotals::default();
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sum.received += worker.received.get();
            sum.sent += worker.sent.get();
            sum.silent += worker.silent.get();
            sum.dropped += worker.dropped.get();
            sum.no_room += worker.no_room.get();
            sum.send_errors += worker.send_errors.get();
            sum.receive_errors += worker.receive_errors.get();
        }
        sum
    }

    /// How long batches of datagrams took, of all UDP workers: one batch in 64 is
    /// timed, from when the kernel has handed it over to when it has all the
    /// answers. What waited in a socket's queue is not in it.
    pub(crate) fn batches(&self) -> Reading {
        let mut sum = Reading::default();
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sum.add(&worker.took.read());
        }
        sum
    }

    /// Those of the connections over `transport`.
    pub(super) fn counters(&self, transport: Transport) -> &ConnectionCounters {
        &self.connections[transport as usize]
    }

    /// All connections over `transport`.
    pub(crate) fn over(&self, transport: Transport) -> ConnectionTotals {
        let all = self.counters(transport);
        ConnectionTotals {
            accepted: all.accepted.get(),
            refused_full: all.refused_full.get(),
            refused_client: all.refused_client.get(),
            accept_errors: all.accept_errors.get(),
            requests: all.requests.get(),
            replies: all.replies.get(),
            finished: all.finished.get(),
            idle: all.idle.get(),
            evicted: all.evicted.get(),
            malformed: all.malformed.get(),
            broken: all.broken.get(),
            cut: all.cut.get(),
            strangers_accepted: all.strangers_accepted.get(),
            strangers_refused: all.strangers_refused.get(),
            strangers_evicted: all.strangers_evicted.get(),
        }
    }

    /// All of it in short, with the sockets to upstreams.
    pub(crate) fn connections(&self, upstreams: &Share) -> Connections {
        let http = self.http();
        let mut all = Connections {
            http: http.open(),
            http_turned_away: http.refused + http.evicted,
            http_slow: http.slow,
            upstream_sockets: upstreams.taken(),
            no_upstream_socket: upstreams.refused(),
            ..Connections::default()
        };
        for over in Transport::ALL.map(|transport| self.over(transport)) {
            all.tcp += over.open();
            all.tcp_refused += over.refused_client + over.refused_full;
            all.tcp_evicted += over.evicted.saturating_sub(over.strangers_evicted);
            all.strangers_turned_away += over.strangers_refused + over.strangers_evicted;
        }
        all
    }

    /// The HTTP side.
    pub(crate) fn http(&self) -> HttpTotals {
        let all = &self.http;
        let statuses = STATUSES.iter().copied().chain([0]);
        HttpTotals {
            accepted: all.accepted.get(),
            refused: all.refused.get(),
            accept_errors: all.accept_errors.get(),
            finished: all.finished.get(),
            idle: all.idle.get(),
            slow: all.slow.get(),
            evicted: all.evicted.get(),
            malformed: all.malformed.get(),
            broken: all.broken.get(),
            requests: statuses.zip(all.requests.iter().map(Counter::get)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_an_ended_worker_are_used_again_and_never_go_back() {
        let stats = Stats::default();
        let (first, second) = (stats.worker(), stats.worker());
        first.received.add(2);
        second.received.add(3);
        drop(first);
        let third = stats.worker();
        third.received.add(5);
        assert_eq!(stats.udp().received, 10);
        assert_eq!(stats.workers.lock().unwrap().len(), 2);
    }
}
