//! Starts everything, reloads, drains: `Config -> bind -> run -> drain`.
//!
//! Every address is bound before anything else happens. Then one loop owns the
//! [`Writer`], the sources and the sockets, and waits for whatever comes next:
//! a delivery, a signal, a changed file, the end of a task. A long-lived task
//! that ends without being told to ends the process, with the reason.

mod descriptors;
mod error;
mod forwarding;
mod reload;
mod settle;
mod silence;
mod sources;
mod surroundings;
mod turn;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::config::{Config, Overrides, Seen};
use crate::host::background;
use crate::host::pulse::{BEAT, Pulse};
use crate::http;
use crate::respond::Responder;
use crate::respond::counters::Counters;
use crate::serve::{self, Listeners, Opened, Stats};
use crate::source::Delivery;
use crate::source::clock::{Clock, Drift};
use crate::source::lookup::Resolver;
use crate::status::board::{Board, Known, Readiness, Reloads};
use crate::writer::history::{Started, What};
use crate::writer::keeper::{self, Keeper};
use crate::writer::{STATE_WAITS, Start, Writer};
use descriptors::Descriptors;
use forwarding::Forwarding;
use reload::Reload;
use silence::Silence;
use sources::Sources;
use surroundings::Surroundings;

pub(crate) use error::RunError;

/// How long clients get to take their answers when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// How soon snapshots that somebody still read are looked at again: answers
/// take microseconds, whole transfers seconds.
const FREE_AGAIN: Duration = Duration::from_secs(1);

/// Deliveries on their way to the writer. Each source has one at a time.
const MAX_DELIVERIES: usize = 64;

/// Threads that read and write files: one for the state, one or two for the
/// configuration and each file source. More only wait for a disk that does not
/// answer.
const MAX_BLOCKING: usize = 256;

/// What a server is started with besides its configuration.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where the configuration came from and is read anew.
    pub directory: PathBuf,
    /// What flags and environment say.
    pub overrides: Overrides,
    /// The files that were read for it.
    pub seen: Seen,
    /// Read it anew whenever a file in it changes.
    pub watch: bool,
    /// Answer without what is prebuilt: the same octets, slower.
    pub ordinary_path: bool,
}

/// The process before anything is read. It hears its signals already: while a
/// large configuration is read, SIGHUP ends nothing and SIGTERM is no failure.
pub(crate) struct Process {
    runtime: Runtime,
    signals: Signals,
}

/// Signals that came and were not acted on wait here.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Process {
    /// Hears signals from now on.
    ///
    /// # Errors
    /// The system has no threads or descriptors for that.
    pub(crate) fn start() -> Result<Self, RunError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(MAX_BLOCKING)
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        drop(entered);
        Ok(Self { runtime, signals })
    }

    /// Serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// Nothing can be served, or something ended that never should.
    pub(crate) fn run(self, config: Config, options: Options) -> Result<(), RunError> {
        let Self { runtime, signals } = self;
        let descriptors = Descriptors::raise(&config.server);
        let dns = serve::bind(&descriptors.listen(&config.server))?;
        let http = http::bind(&config)?;
        let ended = runtime.block_on(async {
            let (directory, sources) = (&config.server.state_directory, &config.server.sources);
            let state = keeper::open(directory, sources).await?;
            let mut server = App::start(config, options, signals, descriptors, dns, http, state)?;
            let ended = server.serve().await;
            server.drain().await;
            ended
        });
        // Blocking tasks, such as a read from a dead disk, are not waited for.
        runtime.shutdown_background();
        ended
    }
}

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
    listeners: Listeners<Responder>,
    deliveries: mpsc::Receiver<Delivery>,
    reload: Reload,
    keeper: Keeper,
    keeping: JoinHandle<()>,
    known: watch::Sender<Arc<Known>>,
    http: Option<JoinHandle<std::io::Result<()>>>,
    stop: watch::Sender<bool>,
    /// Until when state that is not fresh waits for a source's first word.
    state_waits: Option<Instant>,
    reloads: Reloads,
    signals: Signals,
}

impl App {
    fn start(
        config: Config,
        options: Options,
        signals: Signals,
        descriptors: Descriptors,
        dns: serve::Bound,
        http: Option<http::Bound>,
        mut opened_state: keeper::Opened,
    ) -> Result<Self, RunError> {
        let clock = Clock::start();
        let opened = dns.opened();
        let surroundings = Surroundings::of(&config);
        let (sender, deliveries) = mpsc::channel(MAX_DELIVERIES);
        let resolver = Resolver::new(surroundings.aws_resolvers);
        let mut sources = Sources::new(sender, clock, resolver);
        let config = Arc::new(config);
        let history = opened_state.history();
        let state = opened_state.state();
        let started = Started { version: env!("CARGO_PKG_VERSION"), held: state.held() };
        history.add(clock.drift().shown(clock.now()), 0, &[What::Started(&started)]);
        let mut forwarding = Forwarding::new(descriptors.upstreams());
        let prepared = forwarding.prepare(&config, &surroundings.host_resolvers)?;
        let forwarder = forwarding.after(&prepared);
        forwarding.apply(prepared);
        let (writer, of_no_use) = Writer::new(Start {
            config: Arc::clone(&config),
            at_hand: surroundings.at_hand,
            state,
            addresses: surroundings.addresses,
            forwarder,
            history: Arc::clone(&history),
            clock,
        })?;
        if let Some(panicked) = of_no_use {
            let kept = opened_state.set_aside("panicked");
            error!("{panicked}: with the state of the last run. {kept}; starting without it");
        }
        let (keeper, keeping) = opened_state.keep(clock);
        let keeping = tokio::spawn(keeping);
        sources.apply(&config, &[], writer.inventory());
        let counters = Arc::<Counters>::default();
        let sockets = Arc::<Stats>::default();
        let responder =
            Responder::new(writer.store().clone(), Arc::clone(&counters), options.ordinary_path);
        let listeners = dns.start(responder, Arc::clone(&sockets))?;
        tell_opened(&opened);
        let store = writer.store().clone();
        let reload = Reload::new(&options, writer.config());
        let reloads = Reloads::none(clock.now());
        let first = Arc::new(Known::new(
            &writer,
            &sources,
            &listeners,
            &descriptors,
            &forwarding,
            &reloads,
            None,
        ));
        let (known, readers) = watch::channel(first);
        let (stop, stopped) = watch::channel(false);
        let pulse = Pulse::start();
        let board = Board {
            store,
            counters,
            sockets,
            known: readers,
            history,
            started: clock.now(),
            clock,
            pulse: pulse.clone(),
            deliveries: sources.deliveries().clone(),
            readiness: Readiness::default(),
            names: Arc::default(),
        };
        let http = http.zip(descriptors.http().cloned()).map(|(bound, places)| {
            info!(address = %bound.address, "listening for HTTP");
            tokio::spawn(http::serve(bound, places, board, stopped))
        });
        let app = Self {
            clock,
            drift: Drift::NONE,
            pulse,
            silence: Silence::start(clock.now()),
            writer,
            sources,
            descriptors,
            forwarding,
            listeners,
            deliveries,
            reload,
            keeper,
            keeping,
            known,
            http,
            stop,
            state_waits: Some(Instant::now() + STATE_WAITS),
            reloads,
            signals,
        };
        app.keeper.keep(app.writer.state());
        app.tell_serving("serving");
        Ok(app)
    }

    /// One thing after the other, until told to stop.
    async fn serve(&mut self) -> Result<(), RunError> {
        let mut beat = tokio::time::interval(BEAT);
        loop {
            self.pulse.beat();
            let due = self.due();
            let free_again = (self.writer.free_retired() > 0).then(|| Instant::now() + FREE_AGAIN);
            tokio::select! {
                Some(delivery) = self.deliveries.recv() => {
                    if let Some(id) = self.sources.index(delivery.source) {
                        let taken = background::here(|| {
                            let taken = self.writer.take(id, &delivery);
                            self.tell();
                            taken
                        });
                        delivery.published(taken.err().map(|panicked| panicked.to_string()));
                    }
                }
                failure = self.listeners.failed() => return Err(RunError::Listener(failure)),
                error = self.sources.failed() => return Err(error),
                probed = self.forwarding.event() => match probed {
                    Ok(()) => self.tell(),
                    Err(error) => return Err(error),
                },
                ended = ended(&mut self.http) => return Err(RunError::HttpEnded(ended)),
                ended = &mut self.keeping => return Err(RunError::Keeping(ended.err())),
                _ = self.signals.hangup.recv() => self.reload.ask(),
                read = self.reload.event() => {
                    self.take_configuration(read).await;
                    self.reload.dealt(self.writer.config());
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

    /// Brings the status surfaces and the state on disk up to date.
    fn tell(&self) {
        let trouble = self.keeper.trouble();
        let known = Known::new(
            &self.writer,
            &self.sources,
            &self.listeners,
            &self.descriptors,
            &self.forwarding,
            &self.reloads,
            trouble,
        );
        self.known.send_replace(Arc::new(known));
        self.keeper.keep(self.writer.state());
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

    fn tell_serving(&self, what: &str) {
        let addresses = self.listeners.addresses();
        let dns: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let config = self.writer.config();
        info!(
            dns = %dns.join(" "),
            zones = config.zones.len(),
            names = config.zones.iter().map(|z| z.names.len()).sum::<usize>(),
            views = config.server.views.len(),
            sources = config.server.sources.len(),
            took_us = self.writer.built_in().as_micros() as u64,
            "{what}"
        );
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

/// Until `at`; without one, for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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

impl Known {
    fn new(
        writer: &Writer,
        sources: &Sources,
        listeners: &Listeners<Responder>,
        descriptors: &Descriptors,
        forwarding: &Forwarding,
        reloads: &Reloads,
        state_trouble: Option<String>,
    ) -> Self {
        Self {
            config: Arc::clone(writer.config()),
            inventory: writer.inventory().clone(),
            losses: writer.losses(),
            handles: sources.handles(),
            listening: listeners.addresses(),
            moves: writer.moves(),
            built_in: writer.built_in(),
            published_at: writer.published_at(),
            loops: forwarding.loops().to_vec(),
            reloads: reloads.clone(),
            state_trouble,
            publish_trouble: writer.trouble().map(ToString::to_string),
            budget: descriptors.budget(),
            upstream_sockets: descriptors.upstreams().clone(),
        }
    }
}

fn tell_opened(opened: &[Opened]) {
    for one in opened {
        if one.on_host {
            info!(
                address = %one.address,
                receive_buffer = one.receive_buffer,
                send_buffer = one.send_buffer,
                "listening"
            );
        } else {
            warn!(address = %one.address, "listening at an address this host does not have yet");
        }
    }
}
