//! One address that is listened on, and what runs behind it: an accept loop and
//! UDP workers. The one place where both are started.

use std::io;
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task;
use tokio::time::{Instant, timeout_at};

use super::Respond;
use super::admit::Gate;
use super::bind::{BindError, Protocol, Sockets};
use super::later::{self, LaterSender};
use super::stats::Stats;
use super::tcp::{Acceptor, Phase};
use super::udp::Worker;
use crate::answer::Transport;

/// A worker or accept loop is gone that should run as long as the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} ended by a panic: queries to that address are no longer answered; restart")]
pub(crate) struct Failure {
    /// Which one.
    pub what: String,
}

/// What all endpoints have in common.
pub(super) struct Shared<R> {
    pub responder: R,
    pub gate: Arc<Gate>,
    pub stats: Arc<Stats>,
    later: LaterSender,
    failures: mpsc::UnboundedSender<Failure>,
}

/// The task that sends what workers do not wait for. It ends when the
/// [`Shared`] it came with and all workers are gone.
pub(super) type LaterTask = task::JoinHandle<()>;

impl<R: Respond> Shared<R> {
    /// Starts the task of answers that come later; whatever fails behind any
    /// endpoint is received. Must be called within a tokio runtime.
    pub(super) fn start(
        responder: R,
        gate: Gate,
        stats: Arc<Stats>,
    ) -> (Self, LaterTask, mpsc::UnboundedReceiver<Failure>) {
        let (failures, failed) = mpsc::unbounded_channel();
        let (later, receiver) = later::channel();
        let shared = Self { responder, gate: Arc::new(gate), stats, later, failures };
        let alarm = shared.alarm("task of forwarded answers".into());
        let task = task::spawn(async move {
            let _alarm = alarm;
            receiver.run().await;
        });
        (shared, task, failed)
    }

    /// Starts everything behind one address, held back until
    /// [`begin`](Endpoint::begin).
    pub(super) fn endpoint(&self, sockets: Sockets) -> Result<Endpoint, BindError> {
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

    /// Starts a thread for each socket, held back until
    /// [`begin`](WorkerHandle::begin).
    pub(super) fn workers(
        &self,
        address: SocketAddr,
        sockets: Vec<UdpSocket>,
    ) -> Result<Vec<WorkerHandle>, BindError> {
        sockets.into_iter().map(|socket| self.worker(address, Arc::new(socket))).collect()
    }

    fn worker(
        &self,
        address: SocketAddr,
        socket: Arc<UdpSocket>,
    ) -> Result<WorkerHandle, BindError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (alive, ended) = oneshot::channel();
        let (begin, begun) = std::sync::mpsc::sync_channel(1);
        let alarm = self.alarm(format!("UDP worker of {address}"));
        let (responder, later) = (self.responder.worker(), self.later.clone());
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
                Worker { socket, address, responder, counters, later, stop }.run();
            })
            .map_err(|e| BindError::new(address, Protocol::Udp, "starting a thread", e))?;
        Ok(WorkerHandle { stop, begin, socket: waits_at, ended: Some(ended), thread })
    }

    fn alarm(&self, what: String) -> Alarm {
        Alarm { what, failures: self.failures.clone() }
    }
}

/// One address and what runs behind it.
pub(super) struct Endpoint {
    pub configured: SocketAddr,
    pub address: SocketAddr,
    pub on_host: bool,
    pub workers: Vec<WorkerHandle>,
    /// Dropped, it ends the accept loop and its connections at once.
    phase: watch::Sender<Phase>,
    accepting: task::JoinHandle<usize>,
}

impl Endpoint {
    /// Begins to answer.
    pub(super) fn begin(&self) {
        self.phase.send_replace(Phase::Serving);
        self.workers.iter().for_each(WorkerHandle::begin);
    }

    /// Has all of it end: connections that are not done by `until` are cut off.
    pub(super) fn stop(&self, until: Instant) {
        self.phase.send_replace(Phase::Draining { until });
        self.workers.iter().for_each(WorkerHandle::stop);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.accepting.is_finished() && self.workers.iter().all(WorkerHandle::has_ended)
    }

    /// Waits for all of it, once stopped; says how many connections were cut.
    pub(super) async fn ended(mut self, until: Instant) -> usize {
        for worker in &mut self.workers {
            worker.ended(until).await;
        }
        // A panic has been reported by the alarm.
        (&mut self.accepting).await.unwrap_or(0)
    }
}

/// A UDP thread. Dropped, it stops: the thread drains its socket and ends.
pub(super) struct WorkerHandle {
    stop: Arc<AtomicBool>,
    /// Lets the thread begin.
    begin: std::sync::mpsc::SyncSender<()>,
    /// The one it waits at; its own to close.
    socket: Weak<UdpSocket>,
    /// Resolves when the thread is done; none once it has.
    ended: Option<oneshot::Receiver<()>>,
    thread: thread::JoinHandle<()>,
}

impl WorkerHandle {
    pub(super) fn begin(&self) {
        // Full: it has begun already. Gone: that is reported by its alarm.
        let _ = self.begin.try_send(());
    }

    pub(super) fn stop(&self) {
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

    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread, once stopped, but not beyond `until`.
    pub(super) async fn ended(&mut self, until: Instant) {
        let Some(ended) = &mut self.ended else { return };
        // An error says that the thread has dropped its end: it is done.
        if timeout_at(until, ended).await.is_ok() {
            self.ended = None;
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reports the panic that takes its owner down.
struct Alarm {
    what: String,
    failures: mpsc::UnboundedSender<Failure>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody listens: the process is about to end anyway.
            let _ = self.failures.send(Failure { what: std::mem::take(&mut self.what) });
        }
    }
}
