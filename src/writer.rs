//! The one writer: takes what sources deliver and what an operator configures,
//! makes the next snapshot aside, swaps it in and says what changed.
//!
//! A plain value without tasks or sockets; [`run`](crate::run) drives it.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, error, info, warn};

use crate::background::breathe;
use crate::board::History;
use crate::changes::{Change, changes};
use crate::compile::serial::Serial;
use crate::compile::{Input, Serials, compile};
use crate::config::{Config, Source, SourceId, SourceKind};
use crate::forward::Forwarder;
use crate::holds::Holds;
use crate::inventory::{Health, Inventory, SourceInventory};
use crate::name::Key;
use crate::offline;
use crate::snapshot::Snapshot;
use crate::source::accept::{Accepted, Losses, Policy, accept, accept_file};
use crate::source::clock::Clock;
use crate::source::{Delivery, accept};
use crate::state::{self, State};
use crate::store::Store;

/// How many moved names one swap logs by name; the rest is a number.
const MAX_LOGGED: usize = 20;

/// How long state that is not fresh any longer waits for the first answer of
/// its source before it is served.
pub const STATE_WAITS: Duration = Duration::from_secs(3);

/// Everything the next snapshot is made from.
pub struct Writer {
    config: Arc<Config>,
    epoch: u64,
    inventory: Inventory,
    sources: Vec<Kept>,
    serials: Serials,
    addresses: Vec<IpAddr>,
    store: Store,
    history: Arc<History>,
    clock: Clock,
    forwarder: Option<Forwarder>,
    moves: u64,
    built_in: Duration,
    published_at: SystemTime,
}

/// What the writer keeps of a source besides what is answered.
#[derive(Debug, Default)]
struct Kept {
    accepted: Accepted,
    losses: Losses,
    holds: Holds,
    /// State too old to be served at once.
    waiting: Option<state::SourceState>,
}

impl Writer {
    /// Starts with what is known before any source was asked: files, and the
    /// state of the last process.
    pub fn new(
        config: Arc<Config>,
        state: State,
        addresses: Vec<IpAddr>,
        forwarder: Option<Forwarder>,
        history: Arc<History>,
        clock: Clock,
    ) -> Self {
        let now = clock.now();
        let inventory = offline::at_hand(&config);
        let began = Instant::now();
        let mut serials = Serials::default();
        for (origin, known) in &state.serials {
            if let (Ok(origin), Ok(digest)) =
                (Key::parse(origin, None), u128::from_str_radix(&known.digest, 16))
            {
                serials.set(&origin, Serial { serial: known.serial, digest });
            }
        }
        let sources = kept(&config, &inventory);
        // Made at once, so that there is something to answer from; the state
        // is part of it already.
        let mut writer = Self {
            store: Store::new(Snapshot::empty()),
            config,
            epoch: 1,
            inventory,
            sources,
            serials,
            addresses,
            history,
            clock,
            forwarder,
            moves: 0,
            built_in: Duration::ZERO,
            published_at: now,
        };
        for (id, source) in writer.config.clone().server.sources.iter().enumerate() {
            if let Some(known) = state.sources.get(&source.name) {
                writer.take_state(id, known.clone(), now);
            }
        }
        writer.publish(began);
        writer
    }

    /// State of the last process: fresh, it is served at once; older, it waits
    /// for the source's first word. A file that could be read knows better.
    fn take_state(&mut self, id: SourceId, known: state::SourceState, now: SystemTime) {
        let Some(source) = self.inventory.sources.get(id) else { return };
        if source.entries.is_some() {
            return;
        }
        if known.is_fresh(now) {
            self.serve_state(id, known);
        } else {
            self.sources[id].waiting = Some(known);
        }
    }

    fn serve_state(&mut self, id: SourceId, known: state::SourceState) {
        let source = &mut self.inventory.sources[id];
        source.entries = Some(Arc::clone(&known.accepted.entries));
        source.delivered_at = Some(known.delivered_at);
        if source.region.is_none() {
            source.region = known.region;
        }
        self.sources[id].accepted = known.accepted;
        self.judge(id);
    }

    /// Serves state that has waited long enough. Call [`STATE_WAITS`] after
    /// the start.
    pub fn serve_waiting_state(&mut self) {
        let waiting: Vec<_> = self
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
            self.serve_state(id, known);
        }
        self.publish(began);
    }

    fn tell_old_state(&self, id: SourceId, known: &state::SourceState) {
        warn!(
            source = %self.inventory.sources[id].name,
            delivered_at = %humantime::format_rfc3339_seconds(known.delivered_at),
            addresses = known.accepted.entries.len(),
            "no word from the source yet: serving what it said before the restart, marked stale"
        );
    }

    /// Where the snapshots are.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The configuration in use.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What the sources say.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Of each source, what is kept although it is not said any longer.
    pub fn losses(&self) -> Vec<Losses> {
        self.sources.iter().map(|kept| kept.losses.clone()).collect()
    }

    /// Names moved since the start.
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

    /// Takes what source number `id` of the configuration delivered. Whoever
    /// waits for it is told by the caller, once the status surfaces know too.
    pub fn take(&mut self, id: SourceId, delivery: &Delivery) {
        let began = Instant::now();
        let Some(config) = self.config.server.sources.get(id).cloned() else { return };
        let before = self.inventory.sources[id].clone();
        if delivery.answer.is_err()
            && let Some(known) = self.sources[id].waiting.take()
        {
            self.tell_old_state(id, &known);
            self.serve_state(id, known);
        }
        let source = &mut self.inventory.sources[id];
        source.health = delivery.health.clone();
        if delivery.region.is_some() {
            source.region.clone_from(&delivery.region);
        }
        if let Ok(answer) = &delivery.answer {
            source.delivered_at = Some(delivery.at);
            let kept = &mut self.sources[id];
            kept.waiting = None;
            let accepted = match &config.kind {
                SourceKind::File { .. } => accept_file(&kept.accepted, answer, delivery.at),
                SourceKind::Ec2(_) => {
                    let policy = Policy {
                        guard: self.config.server.guard,
                        bound: &|address| kept.holds.bound(address),
                        accept_losses: delivery.accept_losses,
                    };
                    let (accepted, losses) = accept(&kept.accepted, answer, delivery.at, &policy);
                    tell_losses(&config, &kept.losses, &losses);
                    kept.losses = losses;
                    accepted
                }
            };
            source.entries = Some(Arc::clone(&accepted.entries));
            kept.accepted = accepted;
        }
        // The time of the last good answer alone changes no answer.
        let source = &self.inventory.sources[id];
        let same = source.entries == before.entries
            && source.health == before.health
            && source.region == before.region;
        if !same {
            self.publish(began);
        }
    }

    /// Takes a new configuration. `same` gives, for each of its sources, the
    /// number of the same source in the old one.
    pub fn reload(
        &mut self,
        config: Arc<Config>,
        same: &[Option<SourceId>],
        addresses: Vec<IpAddr>,
        forwarder: Option<Forwarder>,
    ) {
        self.forwarder = forwarder;
        let began = Instant::now();
        let old = std::mem::take(&mut self.inventory.sources);
        let mut old_kept: Vec<_> =
            std::mem::take(&mut self.sources).into_iter().map(Some).collect();
        self.inventory = offline::at_hand(&config);
        self.sources = kept(&config, &self.inventory);
        self.config = config;
        self.epoch += 1;
        self.addresses = addresses;
        for (new, same) in same.iter().enumerate() {
            let Some(same) = *same else { continue };
            let (Some(source), Some(kept)) = (old.get(same), old_kept[same].take()) else {
                continue;
            };
            self.inventory.sources[new] = source.clone();
            self.sources[new].accepted = kept.accepted;
            self.sources[new].waiting = kept.waiting;
            self.judge(new);
        }
        self.publish(began);
    }

    /// Looks anew at what is kept: the state or the configuration came in.
    fn judge(&mut self, id: SourceId) {
        let kept = &mut self.sources[id];
        let policy = Policy {
            guard: self.config.server.guard,
            bound: &|address| kept.holds.bound(address),
            accept_losses: false,
        };
        kept.losses = kept.accepted.losses(self.clock.now(), &policy);
    }

    /// When to look again: sources of which something kept becomes due, and
    /// the moment at which a stalled source becomes too old to be answered.
    pub fn due(&self) -> Due {
        let now = self.clock.now();
        let holds = self.sources.iter().filter_map(|kept| kept.losses.wake_at).min();
        let too_old = self.config.server.serve.max_stale.and_then(|max| {
            let ends = self.inventory.sources.iter().filter_map(|source| {
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
        for (id, kept) in self.sources.iter_mut().enumerate() {
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
        self.publish(Instant::now());
    }

    /// Frees snapshots that nobody reads any longer; returns how many are left
    /// for another time. Call when nothing else is to be done.
    pub fn free_retired(&self) -> usize {
        self.store.free_retired()
    }

    /// What a restart should find.
    pub fn state(&self) -> State {
        let pairs = self.config.server.sources.iter().zip(&self.inventory.sources);
        let sources = pairs.zip(&self.sources).filter_map(|((config, source), kept)| {
            let waiting = kept.waiting.clone();
            let known = waiting.or_else(|| {
                Some(state::SourceState {
                    of: state::fingerprint(config),
                    region: source.region.clone(),
                    delivered_at: source.delivered_at?,
                    accepted: kept.accepted.clone(),
                })
            })?;
            Some((config.name.clone(), known))
        });
        let serials = self.serials.iter().map(|(origin, serial)| {
            let digest = format!("{:032x}", serial.digest);
            (origin.to_string(), state::ZoneSerial { serial: serial.serial, digest })
        });
        State { sources: sources.collect(), serials: serials.collect() }
    }

    /// Compiles and swaps; all else comes after that. A panic in compile keeps
    /// the old snapshot.
    fn publish(&mut self, began: Instant) {
        let before = self.store.full();
        let now = self.clock.now();
        let input = Input {
            config: &self.config,
            epoch: self.epoch,
            inventory: &self.inventory,
            addresses: &self.addresses,
            now,
        };
        let mut serials = self.serials.clone();
        let made = catch_unwind(AssertUnwindSafe(|| compile(&input, &mut serials, Some(&before))));
        let Ok(mut next) = made else {
            error!("building the answers failed; the old ones stand. This is a bug: report it");
            return;
        };
        next.forwarder.clone_from(&self.forwarder);
        let next = Arc::new(next);
        self.store.publish(Arc::clone(&next));
        self.built_in = began.elapsed();
        self.serials = serials;
        self.published_at = now;
        let generation = next.generation;
        breathe();
        let moved = changes(&before, &next);
        self.moves += moved.len() as u64;
        self.history.add(&moved, generation, now);
        debug!(generation, took_us = self.built_in.as_micros() as u64, "published");
        self.log(&moved, generation, now);
    }

    /// A swap is one line for each name.
    fn log(&self, moved: &[Change], generation: u64, now: SystemTime) {
        for change in moved.iter().take(MAX_LOGGED) {
            breathe();
            let delivered = change.source_ids.iter().filter_map(|id| {
                let at = self.inventory.sources.get(*id)?.delivered_at?;
                now.duration_since(at).ok()
            });
            info!(
                name = %change.name,
                old = %change.old,
                new = %change.new,
                views = %change.views.join(","),
                source = %change.sources.join(","),
                age_ms = delivered.max().unwrap_or_default().as_millis() as u64,
                generation,
                took_us = self.built_in.as_micros() as u64,
                "moved"
            );
        }
        if moved.len() > MAX_LOGGED {
            info!(more = moved.len() - MAX_LOGGED, generation, "and more names moved");
        }
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
        holds: Holds::new(config, id),
        ..Kept::default()
    };
    inventory.sources.iter().enumerate().map(of).collect()
}

/// Says once what begins to be held and what is let go.
fn tell_losses(source: &Source, before: &Losses, now: &Losses) {
    let is_in = |all: &Losses, held: &accept::Held| {
        all.held.iter().any(|h| h.public_ip == held.public_ip && h.standing == held.standing)
    };
    for held in now.held.iter().filter(|h| h.bound && !is_in(before, h)).take(MAX_LOGGED) {
        let (standing, _) = held.standing.kept().unwrap_or(("live", SystemTime::UNIX_EPOCH));
        warn!(
            source = %source.name,
            elastic_ip = %held.public_ip,
            standing,
            until = %held.until.map_or_else(|| "-".into(), |at| humantime::format_rfc3339_seconds(at).to_string()),
            "a bound address is lost; its last state is kept"
        );
    }
    if now.mass && !before.mass {
        warn!(
            source = %source.name,
            lost = now.held.iter().filter(|h| h.bound).count(),
            "more than half of the bound addresses are lost at once: all are kept until \
             release_after, or `eipdns refresh --accept`"
        );
    } else if before.mass && !now.mass {
        info!(source = %source.name, "the mass loss is over");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Address;
    use crate::source::Waiters;
    use crate::testing;

    #[test]
    fn what_a_swap_replaced_is_freed_without_another_swap() {
        let config = testing::config(&[
            ("server.toml", testing::SERVER),
            ("example.com.toml", "[names]\ndb = \"198.51.100.1\"\n"),
        ]);
        let (state, history) = (State::default(), Arc::default());
        let mut writer =
            Writer::new(Arc::new(config), state, vec![], None, history, Clock::start());
        let first = Arc::downgrade(&writer.store().full());
        let ip = [198, 51, 100, 1].into();
        let address = testing::entry(ip, Some([10, 0, 0, 1].into())).address;
        let delivery = Delivery {
            source: 0,
            at: SystemTime::now(),
            took: Duration::ZERO,
            region: None,
            answer: Ok([Arc::new(Address::clone(&address))].into()),
            health: Health::Healthy,
            accept_losses: false,
            waiters: Waiters::default(),
        };
        writer.take(0, &delivery);
        // One for those who see the address, one for those who see the alias.
        assert_eq!(writer.moves(), 2);
        assert_eq!(writer.free_retired(), 0);
        assert!(first.upgrade().is_none());
    }
}
