//! Owns every socket: binds, starts, reloads and drains them. The one place
//! where workers and accept loops are started.

use std::io;
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task;
use tokio::time::{Instant, timeout_at};

use super::Respond;
use super::admit::{Gate, Limits};
use super::bind::{self, BindError, Protocol, Sockets};
use super::later::{self, Desk};
use super::stats::Stats;
use super::tcp::{Acceptor, Phase};
use super::udp;
use crate::answer::Transport;
use crate::config::Listen;

/// How long the connections of an address that a reload removed may take to
/// end: what was received is answered at once, so only slow readers need it.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);

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
    more: Vec<Vec<Worker>>,
    pub(super) opened: Vec<Opened>,
}

/// How long a reload waits for the UDP workers of addresses it closes. They
/// wait for nobody, and their sockets hold milliseconds of work.
const LAST_DATAGRAMS: Duration = Duration::from_millis(500);

/// A worker or accept loop is gone that should run as long as the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} ended by a panic: queries to that address are no longer answered; restart")]
pub(crate) struct Failure {
    /// Which one.
    pub what: String,
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
        let (report_failure, failures) = mpsc::unbounded_channel();
        let (desk, clerk) = later::desk();
        let alarm =
            Alarm { what: "task of forwarded answers".into(), report: report_failure.clone() };
        let waiting = task::spawn(async move {
            let _alarm = alarm;
            clerk.run().await;
        });
        let mut listeners = Listeners {
            responder,
            desk,
            waiting,
            gate: Arc::new(Gate::new(&self.limits)),
            stats,
            open: Vec::new(),
            leaving: Vec::new(),
            retired: Vec::new(),
            report_failure,
            failures,
        };
        for sockets in self.sockets {
            let endpoint = listeners.endpoint(sockets)?;
            endpoint.begin();
            listeners.open.push(endpoint);
        }
        Ok(listeners)
    }
}

/// The running sockets. Dropping it ends them without waiting.
pub(crate) struct Listeners<R> {
    responder: R,
    desk: Desk,
    /// Waits for answers that come later; ends when all desks are gone.
    waiting: task::JoinHandle<()>,
    gate: Arc<Gate>,
    stats: Arc<Stats>,
    open: Vec<Endpoint>,
    /// Removed by a reload, and perhaps not yet done draining.
    leaving: Vec<Endpoint>,
    /// The same for single workers.
    retired: Vec<Worker>,
    report_failure: mpsc::UnboundedSender<Failure>,
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
        let fresh =
            fresh.into_iter().map(|sockets| self.endpoint(sockets)).collect::<Result<_, _>>()?;
        let more = more
            .into_iter()
            .map(|(address, sockets)| self.workers(address, sockets))
            .collect::<Result<_, _>>()?;
        let (workers, limits) = (listen.workers, limits(listen));
        Ok(Prepared { wanted, workers, limits, fresh, more, opened })
    }

    /// Closes the addresses that are no longer wanted, before answers that are
    /// none for their clients are published. What was received by then is
    /// answered; connections may take up to [`DRAIN`] to end, in the
    /// background.
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

    /// Answers at what was prepared. Sockets of unchanged addresses stay as
    /// they are, with all that waits in them; if there are fewer workers, the
    /// last ones are drained and closed.
    pub(crate) fn open(&mut self, prepared: Prepared) -> Vec<Opened> {
        let Prepared { wanted, workers, limits, fresh, more, opened } = prepared;
        self.retired.retain(|worker| !worker.thread.is_finished());
        for (endpoint, more) in self.open.iter_mut().zip(more) {
            more.iter().for_each(Worker::begin);
            endpoint.workers.extend(more);
            let keep = workers.min(endpoint.workers.len());
            self.retired.extend(endpoint.workers.drain(keep..).inspect(Worker::stop));
        }
        fresh.iter().for_each(Endpoint::begin);
        self.open.extend(fresh);
        self.open.sort_by_key(|e| wanted.iter().position(|address| *address == e.configured));
        self.gate.set(&limits);
        opened
    }

    /// Waits until a worker or accept loop has ended that never should. The
    /// process had better end then, with the reason.
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
        drop(self.desk);
        let stop = self.waiting.abort_handle();
        if timeout_at(until, self.waiting).await.is_err() {
            stop.abort();
        }
        cut
    }

    /// Starts everything behind one address, held back until
    /// [`begin`](Endpoint::begin).
    fn endpoint(&self, sockets: Sockets) -> Result<Endpoint, BindError> {
        let Sockets { configured, address, tcp, udp, on_host } = sockets;
        let listener = TcpListener::from_std(tcp).map_err(|cause| {
            BindError::new(address, Protocol::Tcp, "registering with the event loop", cause)
        })?;
        let workers = self.workers(address, udp)?;
        let (phase, phases) = watch::channel(Phase::Held);
        let acceptor = Acceptor {
            listener,
            address,
            transport: Transport::Tcp,
            responder: self.responder.clone(),
            gate: Arc::clone(&self.gate),
            stats: Arc::clone(&self.stats),
            phase: phases,
        };
        let alarm = self.alarm(format!("accept loop of {address}"));
        let accepting = task::spawn(async move {
            let _alarm = alarm;
            acceptor.run().await
        });
        Ok(Endpoint { configured, address, on_host, workers, phase, accepting })
    }

    /// Starts a thread for each socket, held back until [`begin`](Worker::begin).
    fn workers(
        &self,
        address: SocketAddr,
        sockets: Vec<UdpSocket>,
    ) -> Result<Vec<Worker>, BindError> {
        let start = |socket| {
            let stop = Arc::new(AtomicBool::new(false));
            let (alive, ended) = oneshot::channel();
            let (begin, begun) = std::sync::mpsc::sync_channel(1);
            let alarm = self.alarm(format!("UDP worker of {address}"));
            let (responder, desk) = (self.responder.worker(), self.desk.clone());
            let socket = Arc::new(socket);
            let waits_at = Arc::downgrade(&socket);
            let (stopped, counters) = (Arc::clone(&stop), self.stats.worker());
            let thread = thread::Builder::new()
                .name("udp".to_owned())
                .spawn(move || {
                    // Both are dropped at the end, however that comes.
                    let _guards: (Alarm, oneshot::Sender<()>) = (alarm, alive);
                    if begun.recv().is_err() {
                        // Not wanted after all.
                        return;
                    }
                    let (stop, counters) = (&*stopped, &counters);
                    udp::Worker { socket, address, responder, counters, desk, stop }.run();
                })
                .map_err(|e| BindError::new(address, Protocol::Udp, "starting a thread", e))?;
            Ok(Worker { stop, begin, socket: waits_at, ended: Some(ended), thread })
        };
        sockets.into_iter().map(start).collect()
    }

    fn alarm(&self, what: String) -> Alarm {
        Alarm { what, report: self.report_failure.clone() }
    }
}

/// One address and what runs behind it.
struct Endpoint {
    configured: SocketAddr,
    address: SocketAddr,
    on_host: bool,
    workers: Vec<Worker>,
    /// Dropped, it ends the accept loop and its connections at once.
    phase: watch::Sender<Phase>,
    accepting: task::JoinHandle<usize>,
}

impl Endpoint {
    /// Begins to answer.
    fn begin(&self) {
        self.phase.send_replace(Phase::Serving);
        self.workers.iter().for_each(Worker::begin);
    }

    fn stop(&self, until: Instant) {
        self.phase.send_replace(Phase::Draining { until });
        self.workers.iter().for_each(Worker::stop);
    }

    fn has_ended(&self) -> bool {
        self.accepting.is_finished() && self.workers.iter().all(|w| w.thread.is_finished())
    }

    /// Waits for all of it, once stopped; says how many connections were cut.
    async fn ended(mut self, until: Instant) -> usize {
        for worker in &mut self.workers {
            worker.ended(until).await;
        }
        // A panic has been reported by the alarm.
        (&mut self.accepting).await.unwrap_or(0)
    }
}

/// A UDP thread. Dropped, it stops: the thread drains its socket and ends.
struct Worker {
    stop: Arc<AtomicBool>,
    /// Lets the thread begin.
    begin: std::sync::mpsc::SyncSender<()>,
    /// The one it waits at; its own to close.
    socket: Weak<UdpSocket>,
    /// Resolves when the thread is done; none once it has.
    ended: Option<oneshot::Receiver<()>>,
    thread: thread::JoinHandle<()>,
}

impl Worker {
    fn begin(&self) {
        // Full: it has begun already. Gone: that is reported by its alarm.
        let _ = self.begin.try_send(());
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread; that the socket is not connected is said by an
        // error, and does not keep Linux from it. A thread that looks for this
        // itself from time to time pays for a timer with each wait: 1 % of
        // all an answer costs.
        if let Some(socket) = self.socket.upgrade()
            && let Err(error) = SockRef::from(&*socket).shutdown(Shutdown::Read)
            && error.kind() != io::ErrorKind::NotConnected
        {
            tracing::debug!(%error, "a UDP worker is not woken: it ends with its next query");
        }
    }

    async fn ended(&mut self, until: Instant) {
        let Some(ended) = &mut self.ended else { return };
        // An error says that the thread has dropped its end: it is done.
        if timeout_at(until, ended).await.is_ok() {
            self.ended = None;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reports the panic that takes its owner down.
struct Alarm {
    what: String,
    report: mpsc::UnboundedSender<Failure>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody listens: the process is about to end anyway.
            let _ = self.report.send(Failure { what: std::mem::take(&mut self.what) });
        }
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
