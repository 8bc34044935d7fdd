//! Owns every socket: binds, starts, reloads and drains them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Respond;
use super::admit::{Gate, Limits};
use super::bind::{self, BindError, Sockets};
use super::endpoint::{Endpoint, Failure, LaterTask, Shared, WorkerHandle};
use super::stats::Stats;
use crate::config::Listen;

/// How long the connections of an address that a reload removed may take to
/// end: what was received is answered at once, so only slow readers need it.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

/// How long a reload waits for the UDP workers of addresses it closes. They wait for
/// no client, and their sockets hold milliseconds of work.
const LAST_DATAGRAMS: Duration = Duration::from_millis(500);

/// An address that was newly bound, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// As it is: with the port that port 0 became.
    pub address: SocketAddr,
    /// False if the host does not have the address yet: queries come once it
    /// has.
    pub on_host: bool,
    /// Octets the kernel gives each UDP socket for waiting queries. Linux
    /// counts its own overhead in and shows twice what was set.
    pub receive_buffer: usize,
    /// Octets the kernel gives each UDP socket for waiting answers.
    pub send_buffer: usize,
}

/// What a new configuration asks for, bound and started, but not yet answering.
/// Dropped, it is closed again.
pub(crate) struct Prepared {
    wanted: Vec<SocketAddr>,
    workers: usize,
    limits: Limits,
    fresh: Vec<Endpoint>,
    /// For each address that stays, in order.
    more: Vec<Vec<WorkerHandle>>,
    pub(super) opened: Vec<Opened>,
}

/// All addresses of `listen`, bound; nothing is read from them yet. What comes
/// until [`Bound::start`] waits in the kernel.
#[derive(Debug)]
pub(crate) struct Bound {
    sockets: Vec<Sockets>,
    limits: Limits,
}

/// Binds all addresses, or none.
pub(crate) fn bind(listen: &Listen) -> Result<Bound, BindError> {
    let sockets = distinct(&listen.dns)
        .into_iter()
        .map(|address| bind::address(address, listen.workers))
        .collect::<Result<_, _>>()?;
    Ok(Bound { sockets, limits: limits(listen) })
}

impl Bound {
    /// What was bound, in the order of `listen.dns`.
    pub(crate) fn opened(&self) -> Vec<Opened> {
        self.sockets.iter().map(opened).collect()
    }

    /// Starts answering with `responder`. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// The system has no more threads or descriptors.
    pub(crate) fn start<R: Respond>(
        self,
        responder: R,
        stats: Arc<Stats>,
    ) -> Result<Listeners<R>, BindError> {
        let (shared, later, failures) = Shared::start(responder, Gate::new(&self.limits), stats);
        let mut listeners = Listeners {
            shared,
            later,
            open: Vec::new(),
            leaving: Vec::new(),
            retired: Vec::new(),
            failures,
        };
        for sockets in self.sockets {
            let endpoint = listeners.shared.endpoint(sockets)?;
            endpoint.begin();
            listeners.open.push(endpoint);
        }
        Ok(listeners)
    }
}

/// The running sockets. Dropping it ends them without waiting.
pub(crate) struct Listeners<R> {
    shared: Shared<R>,
    later: LaterTask,
    open: Vec<Endpoint>,
    /// Removed by a reload, and perhaps not yet done draining.
    leaving: Vec<Endpoint>,
    /// Single workers that a reload removed.
    retired: Vec<WorkerHandle>,
    failures: mpsc::UnboundedReceiver<Failure>,
}

impl<R: Respond> Listeners<R> {
    /// Where we listen, with ports as they are.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.iter().map(|endpoint| endpoint.address).collect()
    }

    /// Opens what a new configuration asks for, and reads nothing from it yet:
    /// what comes waits in the kernel. If there are more workers, each address
    /// gets the missing sockets. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A new address cannot be bound, or there are no more threads or
    /// descriptors; then nothing has changed.
    pub(crate) fn prepare(&self, listen: &Listen) -> Result<Prepared, BindError> {
        let wanted = distinct(&listen.dns);
        let is_new = |address: &&SocketAddr| self.open.iter().all(|e| e.configured != **address);
        let mut fresh = Vec::new();
        for address in wanted.iter().filter(is_new) {
            fresh.push(bind::address(*address, listen.workers)?);
        }
        let mut more = Vec::new();
        for endpoint in self.open.iter().filter(|e| wanted.contains(&e.configured)) {
            let missing = listen.workers.saturating_sub(endpoint.workers.len());
            more.push((endpoint.address, bind::udp(endpoint.address, endpoint.on_host, missing)?));
        }
        // All is bound. What is started now and not wanted after all ends by
        // being dropped.
        let opened = fresh.iter().map(opened).collect();
        let fresh = fresh.into_iter().map(|s| self.shared.endpoint(s)).collect::<Result<_, _>>()?;
        let more = more
            .into_iter()
            .map(|(address, sockets)| self.shared.workers(address, sockets))
            .collect::<Result<_, _>>()?;
        let (workers, limits) = (listen.workers, limits(listen));
        Ok(Prepared { wanted, workers, limits, fresh, more, opened })
    }

    /// Closes the addresses that are no longer wanted; to be called before answers
    /// are published that are not for clients of those. What was received by then
    /// is answered; connections may take up to [`DRAIN`] to end, in the background.
    pub(crate) async fn close(&mut self, prepared: &Prepared) -> Vec<SocketAddr> {
        let (open, mut gone): (Vec<_>, Vec<_>) =
            self.open.drain(..).partition(|e| prepared.wanted.contains(&e.configured));
        self.open = open;
        self.leaving.retain(|endpoint| !endpoint.has_ended());
        gone.iter().for_each(|endpoint| endpoint.stop(Instant::now() + DRAIN));
        let until = Instant::now() + LAST_DATAGRAMS;
        for worker in gone.iter_mut().flat_map(|endpoint| &mut endpoint.workers) {
            worker.ended(until).await;
        }
        let closed = gone.iter().map(|e| e.address).collect();
        self.leaving.extend(gone);
        closed
    }

    /// Begins to answer at what was prepared. Sockets of unchanged addresses stay
    /// open, with all that waits in them; if there are fewer workers, the last ones
    /// are drained and closed.
    pub(crate) fn open(&mut self, prepared: Prepared) -> Vec<Opened> {
        let Prepared { wanted, workers, limits, fresh, more, opened } = prepared;
        self.retired.retain(|worker| !worker.has_ended());
        for (endpoint, more) in self.open.iter_mut().zip(more) {
            more.iter().for_each(WorkerHandle::begin);
            endpoint.workers.extend(more);
            let keep = workers.min(endpoint.workers.len());
            self.retired.extend(endpoint.workers.drain(keep..).inspect(WorkerHandle::stop));
        }
        fresh.iter().for_each(Endpoint::begin);
        self.open.extend(fresh);
        self.open.sort_by_key(|e| wanted.iter().position(|address| *address == e.configured));
        self.shared.gate.set(&limits);
        opened
    }

    /// Waits until a worker or accept loop has ended by a panic. The process is to
    /// end then, with that reason.
    pub(crate) async fn failed(&mut self) -> Failure {
        match self.failures.recv().await {
            Some(failure) => failure,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// Accepts nothing new, answers what has been received, and closes
    /// everything. Says how many TCP connections did not end by themselves
    /// within `limit`.
    pub(crate) async fn drain(self, limit: Duration) -> usize {
        let until = Instant::now() + limit;
        for endpoint in self.open.iter().chain(&self.leaving) {
            endpoint.stop(until);
        }
        let mut cut = 0;
        for endpoint in self.open.into_iter().chain(self.leaving) {
            cut += endpoint.ended(until).await;
        }
        for mut worker in self.retired {
            worker.ended(until).await;
        }
        drop(self.shared);
        let stop = self.later.abort_handle();
        if timeout_at(until, self.later).await.is_err() {
            stop.abort();
        }
        cut
    }
}

/// `addresses` without repetitions, in their order.
fn distinct(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut distinct = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !distinct.contains(address) {
            distinct.push(*address);
        }
    }
    distinct
}

fn limits(listen: &Listen) -> Limits {
    Limits { clients: listen.tcp_clients, per_client: listen.tcp_per_client, idle: listen.tcp_idle }
}

fn opened(sockets: &Sockets) -> Opened {
    // Sizes are for the log only; 0 if the system will not say.
    let udp = sockets.udp.first().map(SockRef::from);
    let size = |read: fn(&socket2::Socket) -> std::io::Result<usize>| {
        udp.as_ref().and_then(|socket| read(socket).ok()).unwrap_or(0)
    };
    Opened {
        address: sockets.address,
        on_host: sockets.on_host,
        receive_buffer: size(socket2::Socket::recv_buffer_size),
        send_buffer: size(socket2::Socket::send_buffer_size),
    }
}
