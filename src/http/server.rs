//! Accepts HTTP connections, each within its limits, until told to stop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

use super::connection::{self, End, Pulse, TIMES, Times};
use crate::host::often::Often;
use crate::serve::Stats;
use crate::serve::places::{AtOwnLimit, Permit, Pool, Refusal};
use crate::serve::stats::HttpCounters;
use crate::serve::trouble::{ERROR_PAUSE, is_about_one_connection, is_want_of_room};

/// Connections in all.
pub(crate) const MAX_CONNECTIONS: usize = 256;

/// Of those for clients on this host: whatever others do, an operator gets in,
/// and whatever goes on here, Prometheus does.
const MAX_LOCAL: usize = 32;

/// Connections of one client elsewhere, such as a proxy in front.
const PER_CLIENT: usize = 32;

/// The places for connections: of clients on this host, and of all others. A
/// newcomer gets the place of the longest idle one. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    local: Arc<Pool>,
    remote: Arc<Pool>,
}

impl Default for Places {
    /// [`MAX_CONNECTIONS`].
    fn default() -> Self {
        let pool = || Pool::new(0, 0, AtOwnLimit::Replace);
        let places = Self { local: pool(), remote: pool() };
        places.set(MAX_CONNECTIONS);
        places
    }
}

impl Places {
    /// So many in all.
    pub(crate) fn set(&self, most: usize) {
        let local = (most / (MAX_CONNECTIONS / MAX_LOCAL)).max(1);
        let remote = most.saturating_sub(local).max(1);
        // All on this host are one client.
        self.local.set(local, local);
        self.remote.set(remote, remote.min(PER_CLIENT));
    }

    /// Places taken, by clients on this host and elsewhere.
    #[cfg(test)]
    pub(super) fn taken(&self) -> (usize, usize) {
        (self.local.taken(), self.remote.taken())
    }

    pub(super) fn admit(&self, ip: IpAddr) -> Result<Permit, Refusal> {
        match ip.to_canonical() {
            ip if ip.is_loopback() => self.local.admit(IpAddr::from(Ipv4Addr::LOCALHOST).into()),
            ip => self.remote.admit(ip.into()),
        }
    }

    fn evict(&self) -> bool {
        self.remote.evict() || self.local.evict()
    }

    /// Waits until most connections that lost their place have ended. Cancel
    /// safe.
    async fn settled(&self) {
        self.local.settled().await;
        self.remote.settled().await;
    }
}

/// Accepts until told to stop, then waits for the connections, of which each
/// ends after the answer under way.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    places: Places,
    stats: Arc<Stats>,
    stop: watch::Receiver<bool>,
) {
    Acceptor::new(listener, router, places, stats, TIMES, stop).run().await;
}

/// The listening socket and what answers behind it.
pub(super) struct Acceptor {
    listener: TcpListener,
    router: TowerToHyperService<Router>,
    places: Places,
    stats: Arc<Stats>,
    times: Times,
    stop: watch::Receiver<bool>,
}

impl Acceptor {
    pub(super) fn new(
        listener: TcpListener,
        router: Router,
        places: Places,
        stats: Arc<Stats>,
        times: Times,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let router = TowerToHyperService::new(router);
        Self { listener, router, places, stats, times, stop }
    }

    /// Accepts until told to stop, then waits for the connections.
    pub(super) async fn run(self) {
        let mut stop = self.stop.clone();
        let mut connections = JoinSet::new();
        let trouble = Often::new();
        let mut paused = None;
        loop {
            tokio::select! {
                biased;
                // An error means that the sender is gone: stop as well.
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = connections.join_next() => count(&self.stats.http, ended),
                () = sleep_until(paused.unwrap_or_else(Instant::now)), if paused.is_some() => {
                    paused = None;
                }
                accepted = self.accept(), if paused.is_none() => match accepted {
                    Ok((stream, client)) => self.welcome(&mut connections, stream, client),
                    Err(error) => {
                        self.stats.http.accept_errors.add(1);
                        if !is_about_one_connection(&error) {
                            paused = Some(Instant::now() + ERROR_PAUSE);
                            self.make_room(&error, &trouble);
                        }
                    }
                },
            }
        }
        let Self { listener, stats, .. } = self;
        drop(listener);
        while let Some(ended) = connections.join_next().await {
            count(&stats.http, ended);
        }
    }

    /// The next connection, once those that lost their place to others have
    /// ended: each still has its descriptor. Cancel safe.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.places.settled().await;
        self.listener.accept().await
    }

    fn welcome(&self, connections: &mut JoinSet<End>, stream: TcpStream, client: SocketAddr) {
        let Ok(permit) = self.places.admit(client.ip()) else {
            return self.stats.http.refused.add(1);
        };
        self.stats.http.accepted.add(1);
        // Fails only on a connection that is already reset.
        if stream.set_nodelay(true).is_err() {
            return self.stats.http.broken.add(1);
        }
        let pulse = Arc::new(Pulse::new(permit, self.times));
        let (router, stop) = (self.router.clone(), self.stop.clone());
        let stats = Arc::clone(&self.stats);
        connections.spawn(async move {
            connection::serve(stream, client, router, pulse, stop, &stats.http).await
        });
    }

    /// Nothing can be accepted for now: says so, and closes a connection if that
    /// is what helps.
    fn make_room(&self, error: &io::Error, trouble: &Often) {
        if is_want_of_room(error) {
            self.places.evict();
        }
        if let Some(left_out) = trouble.may(std::time::Instant::now()) {
            warn!(
                %error, left_out,
                "cannot accept HTTP connections; trying on, closing idle ones to make room"
            );
        }
    }
}

/// Counts the end of a connection: moves exactly one counter.
fn count(counters: &HttpCounters, ended: Result<End, JoinError>) {
    let counter = match ended {
        Ok(End::Finished) => &counters.finished,
        Ok(End::Idle) => &counters.idle,
        Ok(End::Slow) => &counters.slow,
        Ok(End::Evicted) => &counters.evicted,
        Ok(End::Malformed) => &counters.malformed,
        Ok(End::Broken) => &counters.broken,
        Err(error) => {
            error!(%error, "an HTTP connection was lost to a bug");
            &counters.broken
        }
    };
    counter.add(1);
}
