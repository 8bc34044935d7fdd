//! The one writer: takes what sources deliver and what an operator configures,
//! makes the next snapshot aside, swaps it in and says what changed.
//!
//! A plain value without tasks or sockets; [`server`](crate::server) drives it. What
//! cannot be compiled changes nothing: the snapshot, and what the writer knows,
//! stay as they were, and the next delivery tries again.
//!
//! * `reload`: another configuration; what carries on what.
//! * `silence`: sources that say nothing at all.
//! * `tell`: what of moves is logged; `losses`: of losses, for the history too.

pub mod history;
pub(crate) mod holds;
pub(crate) mod keeper;
mod losses;
mod reload;
mod silence;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::debug;

pub use reload::{Next, Prepared};

use crate::compile::changes::{Changes, Kind, changes};
use crate::compile::{Input, Serials, compile};
use crate::config::{Config, SourceId, SourceKind};
use crate::forward::Forwarder;
use crate::host::background::breathe;
use crate::host::often::Often;
use crate::snapshot::Snapshot;
use crate::source::accept::{Accepted, Losses, Policy, accept, accept_file};
use crate::source::clock::Clock;
use crate::source::inventory::{Health, Inventory, SourceInventory};
use crate::source::successor::{Former, Settings, fingerprint};
use crate::source::{Delivery, silent};
use crate::state::{self, State};
use crate::store::{Current, Store};
use crate::writer::history::{History, What};
use crate::writer::holds::Holds;

/// How long state that is not fresh any longer waits for the first answer of
/// its source before it is served.
pub const STATE_WAITS: Duration = Duration::from_secs(3);

/// Makes a snapshot: [`compile`], or what a test has in its place.
type Compile = fn(&Input<'_>, &mut Serials, Option<&Snapshot>) -> Snapshot;

/// Compiling has panicked: what it said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("building the answers failed ({0}). This is a bug: report it with the log")]
pub struct Panicked(pub String);

/// What the writer makes snapshots from, keeps, and publishes.
pub struct Writer {
    world: World,
    serials: Serials,
    store: Store,
    /// Elastic IPs of which changes of names have told with the current snapshot.
    told: HashSet<Ipv4Addr>,
    history: Arc<History>,
    clock: Clock,
    compile: Compile,
    /// Why what was delivered last is not answered.
    trouble: Option<Panicked>,
    panics: Often,
    moves: u64,
    built_in: Duration,
    published_at: SystemTime,
}

/// Everything the next snapshot is made from, and what is kept for the ones
/// after that.
struct World {
    config: Arc<Config>,
    epoch: u64,
    inventory: Inventory,
    sources: Vec<Kept>,
    addresses: Vec<IpAddr>,
    forwarder: Option<Forwarder>,
}

/// What the writer keeps of a source besides what is answered.
#[derive(Debug, Clone, Default)]
struct Kept {
    accepted: Accepted,
    losses: Losses,
    holds: Arc<Holds>,
    /// The settings of the source that said what is accepted, and the region
    /// it was in: after a reload, perhaps not those configured.
    of: Settings,
    region: Option<String>,
    /// State too old to be served at once.
    waiting: Option<state::SourceState>,
    /// Nothing was heard of it for too long.
    silent: bool,
}

/// What a writer starts with.
pub struct Start {
    /// The configuration.
    pub config: Arc<Config>,
    /// What is known before any source was asked: the contents of files.
    pub at_hand: Inventory,
    /// Of the last process.
    pub state: State,
    /// Our own addresses.
    pub addresses: Vec<IpAddr>,
    /// When any view forwards.
    pub forwarder: Option<Forwarder>,
    /// Where moves and losses are noted.
    pub history: Arc<History>,
    /// The time.
    pub clock: Clock,
}

impl Writer {
    /// Starts with what is known before any source was asked: files, and the
    /// state of the last process. Made at once, so that there is something to
    /// answer from. The second value says why the state could not be used: set
    /// it aside.
    ///
    /// # Errors
    /// The configuration alone cannot be compiled.
    pub fn new(start: Start) -> Result<(Self, Option<Panicked>), Panicked> {
        Self::with(start, compile)
    }

    fn with(start: Start, compile: Compile) -> Result<(Self, Option<Panicked>), Panicked> {
        let Start { config, at_hand, state, addresses, forwarder, history, clock } = start;
        let world = |inventory: &Inventory| World {
            sources: kept(&config, inventory),
            config: Arc::clone(&config),
            epoch: 1,
            inventory: inventory.clone(),
            addresses: addresses.clone(),
            forwarder: forwarder.clone(),
        };
        let none = nothing(&config);
        let mut writer = Self {
            store: Store::new(Current::empty()),
            told: HashSet::new(),
            world: world(&none),
            serials: Serials::default(),
            history,
            clock,
            compile,
            trouble: None,
            panics: Often::new(),
            moves: 0,
            built_in: Duration::ZERO,
            published_at: clock.now(),
        };
        // All of it; else without what the last process knew; else without
        // what files hold now; else with nothing but the configuration.
        let mut first = None;
        for (with_state, inventory) in
            [(true, &at_hand), (false, &at_hand), (true, &none), (false, &none)]
        {
            writer.world = world(inventory);
            writer.serials = Serials::default();
            if with_state {
                writer.take_states(state.clone());
            }
            match writer.publish(Instant::now()) {
                Ok(()) => {
                    let of_state = first.clone().filter(|_| !with_state);
                    // Healthy only if nothing that is still said is left out.
                    writer.trouble = first.filter(|_| *inventory != at_hand);
                    return Ok((writer, of_state));
                }
                Err(panicked) => first = first.or(Some(panicked)),
            }
        }
        Err(first.unwrap_or(Panicked(String::new())))
    }

    fn take_states(&mut self, state: State) {
        self.serials = Serials::restored(&state.serials);
        let now = self.clock.now();
        let mut states = state.sources;
        for (id, source) in self.world.config.clone().server.sources.iter().enumerate() {
            if let Some(known) = states.remove(&source.name) {
                self.take_state(id, known, now);
            }
        }
    }

    /// State of the last process: fresh, it is served at once; older, it waits
    /// for the source's first word. A file that could be read knows better.
    fn take_state(&mut self, id: SourceId, mut known: state::SourceState, now: SystemTime) {
        let Some(source) = self.world.inventory.sources.get(id) else { return };
        if source.entries.is_some() {
            return;
        }
        let is_fresh = known.is_fresh(now);
        // From before the clock was set back: it is at least as old as now.
        known.delivered_at = known.delivered_at.min(now);
        if is_fresh {
            self.world.serve_state(id, known, self.clock);
        } else {
            self.world.sources[id].waiting = Some(known);
        }
    }

    /// Serves state that has waited long enough. Call [`STATE_WAITS`] after
    /// the start.
    pub fn serve_waiting_state(&mut self) {
        let waiting: Vec<_> = self
            .world
            .sources
            .iter_mut()
            .enumerate()
            .filter_map(|(id, kept)| Some((id, kept.waiting.take()?)))
            .collect();
        if waiting.is_empty() {
            return;
        }
        let began = Instant::now();
        for (id, known) in waiting {
            self.tell_old_state(id, &known);
            self.world.serve_state(id, known, self.clock);
        }
        // What cannot be compiled is told by that.
        let _ = self.publish(began);
    }

    /// Where the snapshots are.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The configuration in use.
    pub fn config(&self) -> &Arc<Config> {
        &self.world.config
    }

    /// What the sources say.
    pub fn inventory(&self) -> &Inventory {
        &self.world.inventory
    }

    /// Of each source, what is kept although it is not said any longer.
    pub fn losses(&self) -> Vec<Losses> {
        self.world.sources.iter().map(|kept| kept.losses.clone()).collect()
    }

    /// Names moved since the start; neither first answers nor losses.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// How long the last snapshot took: from what called for it, a delivery or
    /// a configuration, to the swap.
    pub fn built_in(&self) -> Duration {
        self.built_in
    }

    /// When the current snapshot was published.
    pub fn published_at(&self) -> SystemTime {
        self.published_at
    }

    /// Why what was delivered last is not answered, when it is not.
    pub fn trouble(&self) -> Option<&Panicked> {
        self.trouble.as_ref()
    }

    /// Takes what source number `id` of the configuration delivered. Whoever
    /// waits for it is told by the caller, once the status surfaces know too.
    ///
    /// # Errors
    /// It cannot be compiled: all is as if it had not come.
    pub fn take(&mut self, id: SourceId, delivery: &Delivery) -> Result<(), Panicked> {
        let began = Instant::now();
        let (Some(source), Some(kept)) =
            (self.world.inventory.sources.get(id), self.world.sources.get(id))
        else {
            return Ok(());
        };
        let before = (source.clone(), kept.clone());
        if delivery.answer.is_err()
            && let Some(known) = self.world.sources[id].waiting.take()
        {
            self.tell_old_state(id, &known);
            self.world.serve_state(id, known, self.clock);
        }
        self.world.take(id, delivery);
        // The time of the last good answer alone changes no answer, nor does
        // the cause of a failure.
        let source = &self.world.inventory.sources[id];
        let same = source.entries == before.0.entries
            && source.health.is_like(&before.0.health)
            && source.region == before.0.region;
        if (!same || self.trouble.is_some())
            && let Err(panicked) = self.publish(began)
        {
            (self.world.inventory.sources[id], self.world.sources[id]) = before;
            return Err(panicked);
        }
        if before.1.silent {
            silence::heard_again(&self.world.inventory.sources[id]);
        }
        self.tell_losses(id, &before.1, delivery.accept_losses);
        self.tell_holders(id, &before.1);
        Ok(())
    }

    /// When to look again: sources of which something kept becomes due, and
    /// the moment at which a stalled source becomes too old to be answered.
    pub fn due(&self) -> Due {
        let now = self.clock.now();
        let holds = self.world.sources.iter().filter_map(|kept| kept.losses.wake_at).min();
        let too_old = self.world.config.server.serve.max_stale.and_then(|max| {
            let ends = self.world.inventory.sources.iter().filter_map(|source| {
                let stalled = source.health != Health::Healthy && source.entries.is_some();
                source.delivered_at.filter(|_| stalled)?.checked_add(max)
            });
            // Beyond the moment itself: at it, the age is not yet exceeded.
            ends.map(|at| at + Duration::from_millis(1)).filter(|at| *at > now).min()
        });
        Due { holds, too_old }
    }

    /// Sources of which something kept is due at `now`: a call made now may
    /// end it.
    pub fn due_sources(&mut self, now: SystemTime) -> Vec<SourceId> {
        let mut due = Vec::new();
        for (id, kept) in self.world.sources.iter_mut().enumerate() {
            if kept.losses.wake_at.is_some_and(|at| at <= now) {
                kept.losses.wake_at =
                    kept.losses.held.iter().filter_map(|h| h.until).filter(|at| *at > now).min();
                due.push(id);
            }
        }
        due
    }

    /// Publishes what time alone has changed.
    pub fn tick(&mut self) {
        // What cannot be compiled is told by that.
        let _ = self.publish(Instant::now());
    }

    /// Frees snapshots that nobody reads any longer; returns how many are left
    /// for another time. Call when nothing else is to be done.
    pub fn free_retired(&self) -> usize {
        self.store.free_retired()
    }

    /// What a restart should find.
    pub fn state(&self) -> State {
        let World { config, inventory, sources, .. } = &self.world;
        let pairs = config.server.sources.iter().zip(&inventory.sources);
        let sources = pairs.zip(sources).filter_map(|((config, source), kept)| {
            let known = kept.waiting.clone().or_else(|| {
                Some(state::SourceState {
                    of: kept.of.clone(),
                    region: kept.region.clone(),
                    delivered_at: source.delivered_at?,
                    accepted: kept.accepted.clone(),
                })
            })?;
            Some((config.name.clone(), known))
        });
        State { sources: sources.collect(), serials: self.serials.kept() }
    }

    /// Compiles and swaps; all else comes after that.
    fn publish(&mut self, began: Instant) -> Result<(), Panicked> {
        let mut serials = self.serials.clone();
        match self.build(&self.world, &mut serials) {
            Ok(next) => {
                self.swap(next, serials, began);
                Ok(())
            }
            Err(panicked) => {
                self.tell_panicked(&panicked);
                self.trouble = Some(panicked.clone());
                Err(panicked)
            }
        }
    }

    /// The next snapshot, aside.
    fn build(&self, world: &World, serials: &mut Serials) -> Result<Current, Panicked> {
        let before = self.store.full();
        let input = Input {
            config: &world.config,
            epoch: world.epoch,
            inventory: &world.inventory,
            addresses: &world.addresses,
            now: self.clock.now(),
            drift: self.clock.drift(),
        };
        let made = catch_unwind(AssertUnwindSafe(|| {
            (self.compile)(&input, serials, Some(&before.snapshot))
        }));
        let snapshot = made.map_err(|said| {
            let text = said.downcast_ref::<&str>().map(|text| (*text).to_owned());
            Panicked(text.or_else(|| said.downcast_ref().cloned()).unwrap_or_default())
        })?;
        Ok(Current { snapshot, forwarder: world.forwarder.clone() })
    }

    fn swap(&mut self, next: Current, serials: Serials, began: Instant) {
        let before = self.store.full();
        let next = Arc::new(next);
        self.store.publish(Arc::clone(&next));
        self.built_in = began.elapsed();
        self.serials = serials;
        self.trouble = None;
        self.published_at = self.clock.now();
        let generation = next.snapshot.generation;
        breathe();
        let Changes { names: all, elastic_ips } =
            changes(&self.world.config, &before.snapshot, &next.snapshot);
        self.told = elastic_ips;
        self.moves += all.iter().filter(|change| change.kind == Kind::Moved).count() as u64;
        let events: Vec<_> = all.iter().filter_map(What::of).collect();
        self.note(&events);
        debug!(generation, took_us = self.built_in.as_micros() as u64, "published");
        self.tell_moves(&all, generation);
    }

    /// Adds to the history what came with the current snapshot.
    pub(crate) fn note(&self, events: &[What<'_>]) {
        let shown = self.clock.drift().shown(self.clock.now());
        self.history.add(shown, self.store.full().snapshot.generation, events);
    }
}

impl World {
    fn serve_state(&mut self, id: SourceId, known: state::SourceState, clock: Clock) {
        let source = &mut self.inventory.sources[id];
        source.entries = Some(Arc::clone(&known.accepted.entries));
        source.delivered_at = Some(known.delivered_at);
        if source.region.is_none() {
            source.region.clone_from(&known.region);
        }
        let kept = &mut self.sources[id];
        kept.accepted = known.accepted;
        (kept.of, kept.region) = (known.of, known.region);
        self.judge(id, clock);
    }

    /// Looks anew at what is kept: the state or the configuration came in.
    fn judge(&mut self, id: SourceId, clock: Clock) {
        let kept = &mut self.sources[id];
        let holds = Arc::clone(&kept.holds);
        let policy = Policy {
            guard: self.config.server.guard,
            bound: &|address| holds.bound(address),
            accept_losses: false,
        };
        kept.losses = kept.accepted.losses(clock.now(), &policy);
    }

    /// What source number `id` delivered becomes what is known of it.
    fn take(&mut self, id: SourceId, delivery: &Delivery) {
        let Some(config) = self.config.server.sources.get(id) else { return };
        let source = &mut self.inventory.sources[id];
        source.health = delivery.health.clone();
        self.sources[id].silent = false;
        if delivery.region.is_some() {
            source.region.clone_from(&delivery.region);
        }
        let Ok(answer) = &delivery.answer else { return };
        source.delivered_at = Some(delivery.at);
        let kept = &mut self.sources[id];
        kept.waiting = None;
        let of = fingerprint(config);
        let former = Former { name: &config.name, of: &kept.of, region: kept.region.as_deref() };
        let elsewhere = former.is_elsewhere(&of, source.region.as_deref());
        let accepted = match &config.kind {
            SourceKind::Ec2(_) if !elsewhere => {
                let holds = Arc::clone(&kept.holds);
                let policy = Policy {
                    guard: self.config.server.guard,
                    bound: &|address| holds.bound(address),
                    accept_losses: delivery.accept_losses,
                };
                let (accepted, losses) = accept(&kept.accepted, answer, delivery.at, &policy);
                kept.losses = losses;
                accepted
            }
            // The truth, losses too: a file, or EC2 in another place, which
            // cannot know what was said of the one before.
            SourceKind::Ec2(_) | SourceKind::File { .. } => {
                kept.losses = Losses::default();
                accept_file(&kept.accepted, answer, delivery.at)
            }
        };
        source.entries = Some(Arc::clone(&accepted.entries));
        kept.accepted = accepted;
        (kept.of, kept.region) = (of, source.region.clone());
    }
}

/// Moments at which something changes without anybody delivering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// A hold may end.
    pub holds: Option<SystemTime>,
    /// A stalled source becomes too old to be answered.
    pub too_old: Option<SystemTime>,
}

/// What is kept of sources of which nothing but the inventory is known.
fn kept(config: &Config, inventory: &Inventory) -> Vec<Kept> {
    let of = |(id, source): (SourceId, &SourceInventory)| Kept {
        accepted: Accepted {
            entries: source.entries.clone().unwrap_or_default(),
            ..Accepted::default()
        },
        holds: Arc::new(Holds::new(config, id)),
        of: config.server.sources.get(id).map(fingerprint).unwrap_or_default(),
        region: source.region.clone(),
        ..Kept::default()
    };
    inventory.sources.iter().enumerate().map(of).collect()
}

/// The inventory of sources that have said nothing.
fn nothing(config: &Config) -> Inventory {
    Inventory { sources: config.server.sources.iter().map(silent).collect() }
}
