//! Starts every part of a server, in the order in which they need one another.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info};

use super::descriptors::Descriptors;
use super::forwarding::Forwarding;
use super::peers::Peers;
use super::process::{Options, Signals};
use super::reload::Reload;
use super::silence::Silence;
use super::sources::Sources;
use super::surroundings::Surroundings;
use super::tell::tell_opened;
use super::{App, RunError};
use crate::config::{AtStart, Config};
use crate::host::pulse::Pulse;
use crate::http;
use crate::peers::Ours;
use crate::respond::Responder;
use crate::respond::counters::Counters;
use crate::serve::{self, Listeners, Stats};
use crate::source::clock::{Clock, Drift};
use crate::source::lookup::Resolver;
use crate::status::board::{Board, Facts, Readiness, Reloads};
use crate::status::reloaded::Asks;
use crate::writer::history::{History, Started, What};
use crate::writer::{STATE_WAITS, Start, Writer, keeper};

/// Deliveries on their way to the writer. Each source has one at a time.
const MAX_DELIVERIES: usize = 64;

/// What is told of interfaces on its way to the writer. Each source has one or two at a time.
const MAX_TOLD: usize = 64;

/// What is opened before anything is served: sockets, and what was kept on disk.
pub(super) struct OpenedParts {
    pub(super) dns: serve::Bound,
    pub(super) http: Option<http::Bound>,
    pub(super) state: keeper::Opened,
}

/// What the status surfaces share with what fills it.
struct SurfaceParts {
    counters: Arc<Counters>,
    sockets: Arc<Stats>,
    history: Arc<History>,
    known: watch::Receiver<Arc<Facts>>,
    asks: Asks,
    stopped: watch::Receiver<bool>,
}

impl App {
    /// Answers from now on; the status surfaces come last.
    pub(super) fn start(
        config: Config,
        options: &Options,
        signals: Signals,
        descriptors: Descriptors,
        opened: OpenedParts,
    ) -> Result<Self, RunError> {
        let OpenedParts { dns, http, state } = opened;
        let (mut app, shared) = Self::assemble(config, options, signals, descriptors, dns, state)?;
        app.serve_http(http, shared);
        app.keeper.keep(app.writer.state());
        app.tell_serving("serving");
        Ok(app)
    }

    fn assemble(
        config: Config,
        options: &Options,
        signals: Signals,
        descriptors: Descriptors,
        dns: serve::Bound,
        mut state: keeper::Opened,
    ) -> Result<(Self, SurfaceParts), RunError> {
        let (clock, config, history) = (Clock::start(), Arc::new(config), state.history());
        let mut surroundings = Surroundings::of(&config);
        let peer_token = std::mem::replace(&mut surroundings.peer_token, Ok(None))?;
        let (sender, deliveries) = mpsc::channel(MAX_DELIVERIES);
        let resolver = Resolver::new(std::mem::take(&mut surroundings.aws_resolvers));
        let (tell, told) = mpsc::channel(MAX_TOLD);
        let mut sources = Sources::new(sender, tell, clock, resolver);
        let mut forwarding = Forwarding::new(descriptors.upstreams());
        let writer = first_answers(&config, surroundings, &mut state, &mut forwarding, clock)?;
        let (keeper, keeping) = state.keep(clock);
        sources.apply(&config, &[], writer.inventory());
        let (counters, sockets) = <(Arc<Counters>, Arc<Stats>)>::default();
        let store = writer.store().clone();
        let responder = Responder::new(store, Arc::clone(&counters), options.ordinary_path);
        let listeners = listen(dns, responder, &sockets)?;
        let reloads = Reloads::none(clock.now());
        let first = Facts::new(&writer, &sources, &listeners, &descriptors, &forwarding, &reloads);
        let (known, readers) = watch::channel(Arc::new(first));
        let (stop, stopped) = watch::channel(false);
        let ours = Ours { store: writer.store().clone(), known: readers.clone(), clock };
        let mut peers = Peers::new(ours);
        peers.apply(&config, peer_token);
        let (asks, asked) = Asks::channel();
        let app = Self {
            clock,
            drift: Drift::NONE,
            pulse: Pulse::start(),
            silence: Silence::start(clock.now()),
            reload: Reload::new(options, writer.config()),
            asked,
            at_start: AtStart::of(&config.server),
            writer,
            sources,
            descriptors,
            forwarding,
            peers,
            listeners,
            deliveries,
            told,
            keeper,
            keeping: tokio::spawn(keeping),
            known,
            http: None,
            stop,
            state_waits: Some(Instant::now() + STATE_WAITS),
            reloads,
            signals,
        };
        Ok((app, SurfaceParts { counters, sockets, history, known: readers, asks, stopped }))
    }

    fn serve_http(&mut self, bound: Option<http::Bound>, shared: SurfaceParts) {
        let Some((bound, places)) = bound.zip(self.descriptors.http().cloned()) else { return };
        let board = Board {
            store: self.writer.store().clone(),
            counters: shared.counters,
            sockets: shared.sockets,
            known: shared.known,
            history: shared.history,
            started: self.clock.now(),
            clock: self.clock,
            pulse: self.pulse.clone(),
            deliveries: self.sources.deliveries().clone(),
            asks: shared.asks,
            readiness: Readiness::default(),
            names: Arc::default(),
            peers: self.peers.seen().clone(),
        };
        info!(address = %bound.address, "listening for HTTP");
        self.http = Some(tokio::spawn(http::serve(bound, places, board, shared.stopped)));
    }
}

/// The first snapshot, from files and from what the last process knew.
fn first_answers(
    config: &Arc<Config>,
    surroundings: Surroundings,
    opened: &mut keeper::Opened,
    forwarding: &mut Forwarding,
    clock: Clock,
) -> Result<Writer, RunError> {
    let (history, state) = (opened.history(), opened.state());
    let started = Started { version: env!("CARGO_PKG_VERSION"), held: state.held() };
    history.add(clock.drift().shown(clock.now()), 0, &[What::Started(&started)]);
    let prepared = forwarding.prepare(config, &surroundings.host_resolvers)?;
    let forwarder = forwarding.after(&prepared);
    forwarding.apply(prepared);
    let (writer, of_no_use) = Writer::new(Start {
        config: Arc::clone(config),
        at_hand: surroundings.at_hand,
        state,
        addresses: surroundings.addresses,
        forwarder,
        history,
        clock,
    })?;
    if let Some(panicked) = of_no_use {
        let kept = opened.set_aside("panicked");
        error!("{panicked}: with the state of the last run. {kept}; starting without it");
    }
    Ok(writer)
}

fn listen(
    dns: serve::Bound,
    responder: Responder,
    sockets: &Arc<Stats>,
) -> Result<Listeners<Responder>, RunError> {
    let opened = dns.opened();
    let listeners = dns.start(responder, Arc::clone(sockets))?;
    tell_opened(&opened);
    Ok(listeners)
}
