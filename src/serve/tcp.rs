//! Accepts TCP connections at one address, and drains them when it is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::admit::{Gate, Refusal};
use super::bind::BACKLOG;
use super::connection::{self, End, Exchange};
use super::stats::{ConnectionCounters, Stats};
use super::trouble::{ERROR_PAUSE, is_about_one_connection, is_want_of_room};
use super::{Respond, canonical};
use crate::answer::{Asker, Transport};
use crate::host::often::Often;

/// Paces what is logged of connections that ended in a panic: a client may cause that
/// again and again.
static LOST: Often = Often::new();

/// Whether connections are to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not yet: what comes waits in the backlog.
    Held,
    /// Yes.
    Serving,
    /// No: answer what was received, and end by then.
    Draining {
        /// When the rest is cut off.
        until: Instant,
    },
}

/// Waits until the connections are to end, and returns by when. If nobody is left
/// to say so, that is now.
pub(super) async fn draining(phase: &mut watch::Receiver<Phase>) -> Instant {
    match phase.wait_for(|phase| matches!(phase, Phase::Draining { .. })).await.as_deref() {
        Ok(Phase::Draining { until }) => *until,
        _ => Instant::now(),
    }
}

/// A listening socket and what answers behind it.
pub(super) struct Acceptor<R> {
    pub listener: TcpListener,
    /// What it is bound to, for the log.
    pub address: SocketAddr,
    pub transport: Transport,
    pub responder: R,
    pub gate: Arc<Gate>,
    pub stats: Arc<Stats>,
    pub phase: watch::Receiver<Phase>,
}

impl<R: Respond> Acceptor<R> {
    /// Accepts until told to drain. Then closes the listening socket, waits for
    /// the connections, and says how many had to be cut off.
    pub(super) async fn run(mut self) -> usize {
        if self.phase.wait_for(|phase| *phase != Phase::Held).await.is_err() {
            // Not wanted after all.
            return 0;
        }
        let mut phase = self.phase.clone();
        let mut connections = JoinSet::new();
        let trouble = Often::new();
        let mut paused = None;
        let until = loop {
            tokio::select! {
                biased;
                until = draining(&mut phase) => break until,
                Some(ended) = connections.join_next() => {
                    count(self.counters(), ended);
                }
                () = sleep_until(paused.unwrap_or_else(Instant::now)), if paused.is_some() => {
                    paused = None;
                }
                accepted = self.accept(), if paused.is_none() => match accepted {
                    Ok((stream, client)) => self.welcome(&mut connections, stream, client),
                    Err(error) => {
                        self.counters().accept_errors.add(1);
                        if !is_about_one_connection(&error) {
                            paused = Some(Instant::now() + ERROR_PAUSE);
                            self.make_room(&error, &trouble);
                        }
                    }
                },
            }
        };
        // An error says that time is up: the rest of the backlog is cut off.
        let _ = timeout_at(until, self.take_backlog(&mut connections)).await;
        let Self { listener, transport, stats, .. } = self;
        let counters = stats.counters(transport);
        drop(listener);
        while let Ok(Some(ended)) = timeout_at(until, connections.join_next()).await {
            count(counters, ended);
        }
        connections.abort_all();
        let mut cut = 0;
        while let Some(ended) = connections.join_next().await {
            cut += usize::from(count(counters, ended));
        }
        cut
    }

    fn counters(&self) -> &ConnectionCounters {
        self.stats.counters(self.transport)
    }

    /// The next connection, once those that lost their place to others have
    /// ended: each still has its descriptor. Cancel safe.
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.gate.settled().await;
        self.listener.accept().await
    }

    /// Starts serving a connection, unless it is one too many.
    fn welcome(&self, connections: &mut JoinSet<End>, stream: TcpStream, client: SocketAddr) {
        let counters = self.counters();
        // Answers leave in whole writes: nothing is gained by holding them
        // back. Both fail only on a connection that is already reset.
        let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else {
            counters.accepted.add(1);
            return counters.broken.add(1);
        };
        let asker = Asker { client: canonical(client), local: canonical(local) };
        let is_known = self.responder.is_known(&asker);
        let admission = match self.gate.admit(asker.client.ip(), is_known) {
            Ok(admission) => admission,
            Err(_) if !is_known => return counters.strangers_refused.add(1),
            Err(Refusal::Client) => return counters.refused_client.add(1),
            Err(Refusal::Full) => return counters.refused_full.add(1),
        };
        counters.accepted.add(1);
        counters.strangers_accepted.add(usize::from(!is_known));
        let transport = self.transport;
        let exchange = Exchange::new(asker, transport, self.responder.clone());
        let (phase, stats) = (self.phase.clone(), Arc::clone(&self.stats));
        connections.spawn(async move {
            let counters = stats.counters(transport);
            let end = connection::serve(stream, exchange, &admission, phase, counters).await;
            if end == End::Evicted && !admission.is_known() {
                counters.strangers_evicted.add(1);
            }
            end
        });
    }

    /// Nothing can be accepted for now: logs it, and closes a connection if it is
    /// descriptors or memory that are wanting.
    fn make_room(&self, error: &io::Error, trouble: &Often) {
        if is_want_of_room(error) {
            self.gate.evict();
        }
        if let Some(left_out) = trouble.may(std::time::Instant::now()) {
            tracing::warn!(
                address = %self.address, %error, left_out,
                "cannot accept TCP connections; trying on, closing idle ones to make room; if \
                 this lasts, allow more open files (LimitNOFILE=) or lower listen.tcp_clients"
            );
        }
    }

    /// Accepts the connections the kernel has completed already: their clients
    /// believe them open and may have sent requests.
    async fn take_backlog(&mut self, connections: &mut JoinSet<End>) {
        // Asks the kernel itself: the reactor may not have heard of all yet.
        let listener = SockRef::from(&self.listener);
        for _ in 0..BACKLOG {
            self.gate.settled().await;
            let (socket, client) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_about_one_connection(&error) => continue,
                Err(_) => break,
            };
            let stream =
                socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket.into()));
            if let (Ok(stream), Some(client)) = (stream, client.as_socket()) {
                self.welcome(connections, stream, client);
            }
        }
    }
}

/// Counts the end of a connection: moves exactly one counter. Says whether it
/// was cut off.
fn count(counters: &ConnectionCounters, ended: Result<End, JoinError>) -> bool {
    match ended {
        Ok(End::Finished) => counters.finished.add(1),
        Ok(End::Idle) => counters.idle.add(1),
        Ok(End::Evicted) => counters.evicted.add(1),
        Ok(End::Malformed) => counters.malformed.add(1),
        Ok(End::Broken) => counters.broken.add(1),
        Err(error) if error.is_cancelled() => {
            counters.cut.add(1);
            return true;
        }
        Err(error) => {
            counters.broken.add(1);
            if let Some(left_out) = LOST.may(std::time::Instant::now()) {
                tracing::error!(%error, left_out, "a TCP connection was lost to a bug");
            }
        }
    }
    false
}
