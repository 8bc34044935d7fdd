//! The one writer: takes what sources deliver and what an operator configures,
//! makes the next snapshot aside, swaps it in and says what changed.
//!
//! A plain value without tasks or sockets; [`server`](crate::server) drives it. What
//! cannot be compiled changes nothing: the snapshot, and what the writer knows,
//! stay as they were, and the next delivery tries again.
//!
//! * `start`: the first snapshot; `world`: what one is made from; `publish`: the next.
//! * `reload`: another configuration; which source carries on which.
//! * `interfaces`: the IPv6 addresses that names want.
//! * `silence`: sources that say nothing at all.
//! * `tell`: what of moves is logged; `losses`: of losses, for the history too; `tags`: of
//!   names from tags; `reverse`: of PTR records.

pub(crate) mod bound;
pub mod history;
pub(crate) mod interfaces;
pub(crate) mod keeper;
pub(crate) mod losses;
mod publish;
mod reload;
mod reverse;
mod silence;
mod start;
mod tags;
mod tell;
#[cfg(test)]
mod tests;
mod world;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use reload::{Next, Prepared};

use crate::compile::{Serials, compile};
use crate::config::{Config, SourceId};
use crate::host::often::Often;
use crate::snapshot::Freshness;
use crate::source::Delivery;
use crate::source::accept::Losses;
use crate::source::allocation::Allocation;
use crate::source::clock::Clock;
use crate::source::discover::{Answered, Rules};
use crate::source::inventory::{Health, Inventory};
use crate::state::{self, SerialsKept, State};
use crate::store::Store;
use crate::writer::history::History;
use interfaces::Wants;
use publish::Compile;
pub use publish::Panicked;
use start::kept;
pub use start::{STATE_WAITS, Start};
use world::{SourceMemory, World};

/// What the writer makes snapshots from, keeps, and publishes.
pub struct Writer {
    world: World,
    /// The interfaces that names want to know of.
    wants: Wants,
    serials: Serials,
    /// The same, as a restart should find them.
    serials_kept: Arc<SerialsKept>,
    store: Store,
    /// Addresses of which changes of names have told with the current snapshot.
    told: HashSet<Allocation>,
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

    /// What the configuration says of names from tags.
    pub(crate) fn rules(&self) -> &Arc<Rules> {
        &self.world.rules
    }

    /// Names moved since the start, each once with a swap, however many views see it;
    /// neither first answers nor losses.
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
        let names = self.world.names();
        let before = (source.clone(), kept.clone());
        let waited = self.world.sources[id].waiting.take_if(|_| delivery.answer.is_err());
        let is_served_now = waited.is_some();
        if let Some(known) = waited {
            self.world.serve_state(id, known, self.clock);
        }
        self.world.take(id, delivery);
        // The time of the last good answer alone changes no answer, nor does
        // the cause of a failure, unless it is all there is to say.
        let source = &self.world.inventory.sources[id];
        let same_health = match &source.entries {
            Some(_) => source.health.is_like(&before.0.health),
            None => {
                let trouble = source.health.trouble() == before.0.health.trouble();
                trouble && source.health.is_like(&before.0.health)
            }
        };
        let same = source.entries == before.0.entries
            && same_health
            && source.region == before.0.region
            && self.world.inventory.discovered.is_same(&names.0);
        if (!same || self.trouble.is_some())
            && let Err(panicked) = self.publish(began)
        {
            (self.world.inventory.sources[id], self.world.sources[id]) = before;
            self.world.restore_names(names);
            return Err(panicked);
        }
        let (discovered, _) = names;
        self.telling(|writer| {
            if before.1.silent {
                silence::heard_again(&writer.world.inventory.sources[id]);
            }
            if is_served_now {
                writer.tell_old_state(id);
            }
            writer.tell_losses(id, &before.1, delivery.accept_losses);
            writer.tell_holders(id, &before.1);
            if !Arc::ptr_eq(&discovered, &writer.world.inventory.discovered) {
                let answered = Answered { source: id, accept_losses: delivery.accept_losses };
                writer.tell_tags(&discovered, Some(answered));
            }
        });
        Ok(())
    }

    /// When to look again: sources of which something kept becomes due, and
    /// the moment at which a stalled source becomes too old to be answered.
    pub fn due(&self) -> Due {
        let both = |kept: &SourceMemory| [kept.losses.wake_at, kept.names_wake_at];
        let holds = self.world.sources.iter().flat_map(both).flatten().min();
        let max_stale = self.world.config.server.serve.max_stale;
        Due { holds, too_old: max_stale.and_then(|max| self.too_old_at(max)) }
    }

    /// When the first of the sources becomes too old that are not answered so yet.
    fn too_old_at(&self, max_stale: Duration) -> Option<SystemTime> {
        let (now, current) = (self.clock.now(), self.store.full());
        let pairs = self.world.inventory.sources.iter().zip(&current.snapshot.sources);
        let ends = pairs.filter_map(|(source, answered)| {
            // Beyond the moment itself: at it, the age is not yet exceeded.
            let at = source
                .delivered_at?
                .checked_add(max_stale.saturating_add(Duration::from_millis(1)))?;
            let is_due = match source.health {
                Health::Healthy => false,
                // The moment may have passed while something else was done. What cannot
                // be compiled is tried again with the next delivery, not at once.
                Health::Stalled { .. } if self.trouble.is_none() => {
                    !matches!(answered.freshness, Freshness::TooOld(_))
                }
                Health::Starting | Health::Stalled { .. } => at > now,
            };
            (is_due && source.entries.is_some()).then_some(at)
        });
        ends.min()
    }

    /// Sources of which something kept is due at `now`: a call made now may
    /// end it.
    pub fn due_sources(&mut self, now: SystemTime) -> Vec<SourceId> {
        let mut due = Vec::new();
        let World { sources, inventory, rules, .. } = &mut self.world;
        for (id, kept) in sources.iter_mut().enumerate() {
            let is_due = |at: Option<SystemTime>| at.is_some_and(|at| at <= now);
            let (address, name) = (is_due(kept.losses.wake_at), is_due(kept.names_wake_at));
            let next =
                |ends: &mut dyn Iterator<Item = SystemTime>| ends.filter(|at| *at > now).min();
            if address {
                let mut ends = kept.losses.held.iter().filter_map(|held| held.until);
                kept.losses.wake_at = next(&mut ends);
            }
            if name {
                let held = inventory.discovered.held(rules).into_iter();
                let mut ends = held.filter(|held| held.source == id).filter_map(|held| held.until);
                kept.names_wake_at = next(&mut ends);
            }
            if address || name {
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
    /// for another time. Unless nothing else is to be done (`is_idle`), only what
    /// has piled up.
    pub fn free_retired(&self, is_idle: bool) -> usize {
        self.store.free_retired(is_idle)
    }

    /// What a restart should find.
    pub fn state(&self) -> State {
        let World { config, inventory, sources, .. } = &self.world;
        let pairs = config.server.sources.iter().zip(&inventory.sources);
        let all = pairs.zip(sources).enumerate();
        let sources = all.filter_map(|(id, ((config, source), kept))| {
            let known = kept.waiting.clone().or_else(|| {
                Some(state::SourceState {
                    of: kept.of.clone(),
                    region: kept.region.clone(),
                    delivered_at: source.delivered_at?,
                    accepted: kept.accepted.clone(),
                    names: state::Names {
                        held: inventory.discovered.notable(id),
                        released: inventory.discovered.released(id),
                    },
                    interfaces: source.interfaces.clone(),
                })
            })?;
            Some((config.name.clone(), known))
        });
        State { sources: sources.collect(), serials: Arc::clone(&self.serials_kept) }
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
