//! Starts everything, reloads, drains: `Config -> bind -> run -> drain`.
//!
//! Every address is bound before anything else happens. Then one loop owns the
//! [`Writer`], the sources and the sockets, and waits for whatever comes next:
//! a delivery, a signal, a changed file, the end of a task. A long-lived task
//! that ends without being told to ends the process, with the reason.

mod descriptors;
mod error;
mod forwarding;
mod peers;
mod process;
mod reload;
mod settle;
mod silence;
mod sources;
mod start;
mod surroundings;
mod tell;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use descriptors::Descriptors;
pub(crate) use error::RunError;
use forwarding::Forwarding;
use peers::Peers;
use reload::Reload;
use silence::Silence;
use sources::Sources;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::config::{AtStart, SourceId, SourceKind};
use crate::host::background;
use crate::host::pulse::{BEAT, Pulse};
use crate::host::timer::sleep_until;
use crate::peers::is_news;
use crate::respond::Responder;
use crate::serve::Listeners;
use crate::source::Delivery;
use crate::source::clock::{Clock, Drift};
use crate::source::interfaces::Told;
use crate::source::inventory::Entries;
use crate::status::board::{Facts, Reloads};
use crate::status::reloaded::Asked;
use crate::writer::Writer;
use crate::writer::history::What;
use crate::writer::keeper::Keeper;
use process::Signals;
pub(crate) use process::{Options, Process};

/// How long clients get to take their answers when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// How soon snapshots that somebody still read are looked at again: answers
/// take microseconds, whole transfers seconds.
const FREE_AGAIN: Duration = Duration::from_secs(1);

/// A running server.
struct App {
    clock: Clock,
    /// The wall clock's, as far as it is known.
    drift: Drift,
    pulse: Pulse,
    silence: Silence,
    writer: Writer,
    sources: Sources,
    descriptors: Descriptors,
    forwarding: Forwarding,
    peers: Peers,
    listeners: Listeners<Responder>,
    deliveries: mpsc::Receiver<Delivery>,
    /// What is told of interfaces.
    told: mpsc::Receiver<Told>,
    reload: Reload,
    /// Who asks for a reload over HTTP.
    asked: mpsc::Receiver<Asked>,
    /// What a reload does not change.
    at_start: AtStart,
    keeper: Keeper,
    keeping: JoinHandle<()>,
    known: watch::Sender<Arc<Facts>>,
    http: Option<JoinHandle<std::io::Result<()>>>,
    stop: watch::Sender<bool>,
    /// Until when state that is not fresh waits for a source's first word.
    state_waits: Option<Instant>,
    reloads: Reloads,
    signals: Signals,
}

impl App {
    /// One thing after the other, until told to stop.
    async fn serve(&mut self) -> Result<(), RunError> {
        let mut beat = tokio::time::interval(BEAT);
        loop {
            self.pulse.beat();
            self.want_interfaces();
            let due = self.due();
            // A delivery that waits comes first: the turn after it frees.
            let is_idle = self.deliveries.is_empty();
            let is_left = self.writer.free_retired(is_idle) > 0;
            let free_again = is_left.then(|| Instant::now() + FREE_AGAIN);
            tokio::select! {
                Some(delivery) = self.deliveries.recv() => {
                    if let Some(id) = self.sources.index(delivery.source) {
                        let taken = background::here(|| {
                            let before = self.entries(id);
                            let taken = self.writer.take(id, &delivery);
                            self.hint_peers(id, delivery.hinted, before);
                            self.tell();
                            taken
                        });
                        delivery.published(taken.err().map(|panicked| panicked.to_string()));
                    }
                }
                Some(told) = self.told.recv() => {
                    if let Some(id) = self.sources.index(told.source) {
                        background::here(|| {
                            // What cannot be compiled is told by that.
                            let _ = self.writer.take_interfaces(id, &told);
                            self.tell();
                        });
                    }
                }
                failure = self.listeners.failed() => return Err(RunError::Listener(failure)),
                error = self.sources.failed() => return Err(error),
                error = self.peers.failed() => return Err(error),
                probed = self.forwarding.event() => match probed {
                    Ok(()) => self.tell(),
                    Err(error) => return Err(error),
                },
                ended = ended(&mut self.http) => return Err(RunError::HttpEnded(ended)),
                ended = &mut self.keeping => return Err(RunError::Keeping(ended.err())),
                _ = self.signals.hangup.recv() => self.reload.ask(),
                Some(asked) = self.asked.recv() => self.reload.ask_for(asked),
                read = self.reload.event() => {
                    let reloaded = self.take_configuration(read).await;
                    self.reload.dealt(self.writer.config(), reloaded);
                }
                () = self.keeper.trouble_changed() => self.tell(),
                () = sleep_until(self.state_waits) => {
                    self.state_waits = None;
                    background::here(|| {
                        self.writer.serve_waiting_state();
                        self.tell();
                    });
                }
                () = sleep_until(due) => background::here(|| self.take_due()),
                () = sleep_until(free_again) => {}
                _ = beat.tick() => {
                    self.follow_wall_clock();
                    self.look_for_silent_sources();
                }
                _ = self.signals.terminate.recv() => return Ok(()),
                _ = self.signals.interrupt.recv() => return Ok(()),
            }
        }
    }

    /// What a source says, as far as it is believed.
    fn entries(&self, id: SourceId) -> Option<Arc<Entries>> {
        self.writer.inventory().sources.get(id)?.entries.clone()
    }

    /// A source of EC2 says something else than `before`, and that is answered: peers look
    /// now, unless one of them has hinted at it. The first word of a source is no change.
    fn hint_peers(&self, id: SourceId, hinted: bool, before: Option<Arc<Entries>>) {
        let Some(source) = self.writer.config().server.sources.get(id) else { return };
        let is_ec2 = matches!(source.kind, SourceKind::Ec2(_));
        if is_ec2 && is_news(before.as_ref(), self.entries(id).as_ref(), hinted) {
            self.peers.hint(&source.name);
        }
    }

    /// Says of which interfaces names want to know the IPv6 address.
    fn want_interfaces(&mut self) {
        for (id, wanted) in self.writer.wanted_interfaces().iter().enumerate() {
            self.sources.want(id, wanted);
        }
    }

    /// When something changes without anybody delivering.
    fn due(&self) -> Option<Instant> {
        let due = self.writer.due();
        let at = [due.holds, due.too_old].into_iter().flatten().min()?;
        let left = at.duration_since(self.clock.now()).unwrap_or_default();
        Some(Instant::now() + left)
    }

    /// What is kept may end: only a good answer ends it, so one is asked for.
    /// Answers may have become too old: that is published.
    fn take_due(&mut self) {
        let now = self.clock.now();
        for id in self.writer.due_sources(now) {
            self.sources.look(id);
        }
        self.writer.tick();
        self.tell();
    }

    /// Times are shown and stored as the wall clock has them. When that was
    /// stepped, they are made anew; holds and ages go on as they were.
    fn follow_wall_clock(&mut self) {
        let drift = self.clock.drift();
        if !drift.is_step_from(self.drift) {
            return;
        }
        warn!("the wall clock was stepped: it is {drift}; times follow it, holds and ages do not");
        self.drift = drift;
        background::here(|| self.writer.tick());
        self.tell();
    }

    async fn drain(self) {
        info!("stopping");
        self.writer.note(&[What::Stopping]);
        self.stop.send_replace(true);
        // What is still under way there ends with the process.
        let http = async { timeout(DRAIN, self.http?).await.ok() };
        let (cut, _) = tokio::join!(self.listeners.drain(DRAIN), http);
        if cut > 0 {
            warn!(connections = cut, "TCP connections did not end in time and were cut");
        }
        self.keeper.keep(self.writer.state());
        drop(self.keeper);
        if !self.keeping.is_finished() && timeout(DRAIN, self.keeping).await.is_err() {
            warn!("the disk takes too long: the last state may not be on it");
        }
        info!("stopped");
    }
}

/// Why the HTTP side ended. Cancel safe.
async fn ended(http: &mut Option<JoinHandle<std::io::Result<()>>>) -> String {
    let Some(task) = http else { return std::future::pending().await };
    match task.await {
        Ok(Ok(())) => "it was not told to".into(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}
