//! The first snapshot: from what files hold and what the last process kept.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Writer;
use super::bound::Holds;
use super::interfaces::Wants;
use super::publish::{Compile, Panicked};
use super::world::{SourceMemory, World};
use crate::compile::Serials;
use crate::config::{Config, Source, SourceId};
use crate::forward::Forwarder;
use crate::host::often::Often;
use crate::source::accept::Accepted;
use crate::source::clock::Clock;
use crate::source::discover::{Discovered, Rules};
use crate::source::inventory::{Inventory, SourceInventory};
use crate::source::silent;
use crate::source::successor::fingerprint;
use crate::state::{self, State};
use crate::store::{Current, Store};
use crate::writer::history::History;

/// How long state that is not fresh any longer waits for the first answer of
/// its source before it is served.
pub const STATE_WAITS: Duration = Duration::from_secs(3);

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
    pub(super) fn with(
        start: Start,
        compile: Compile,
    ) -> Result<(Self, Option<Panicked>), Panicked> {
        let Start { config, at_hand, state, addresses, forwarder, history, clock } = start;
        let rules = Arc::new(Rules::of(&config));
        let world = |inventory: &Inventory| World {
            sources: kept(&config, inventory),
            config: Arc::clone(&config),
            rules: Arc::clone(&rules),
            remembered: Arc::default(),
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
            wants: Wants::new(&config),
            serials: Serials::default(),
            serials_kept: Arc::default(),
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
            writer.world.discover(None, clock.now());
            match writer.publish(Instant::now()) {
                Ok(()) => {
                    let of_state = first.clone().filter(|_| !with_state);
                    writer.telling(|writer| writer.tell_tags(&Discovered::default(), None));
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
        let (config, now) = (Arc::clone(&self.world.config), self.clock.now());
        let mut states = state.sources;
        let known = config.server.sources.iter().enumerate();
        let known = known.filter_map(|(id, source)| Some((id, states.remove(&source.name)?)));
        let known: Vec<(SourceId, state::SourceState)> = known.collect();
        // Who had which name, of all sources before any of them is served: else one takes a
        // name over that another had. Of two that had one, the last to be heard of.
        let mut newest: Vec<_> = known.iter().collect();
        newest.sort_by_key(|(_, known)| Reverse(known.delivered_at));
        for (id, known) in newest {
            self.world.remember(*id, known.names.clone());
        }
        for (id, known) in known {
            self.take_state(id, known, now);
        }
    }

    /// State of the last process: fresh, it is served at once; older, it waits
    /// for the source's first word. A file that could be read knows better.
    fn take_state(&mut self, id: SourceId, mut known: state::SourceState, now: SystemTime) {
        let Some(source) = self.world.inventory.sources.get_mut(id) else { return };
        // Whatever becomes of the addresses: it is of interfaces by their ids.
        if self.world.config.server.sources.get(id).is_some_and(Source::tells_of_interfaces) {
            source.interfaces = known.interfaces.clone();
        }
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
        let before = (self.world.inventory.clone(), self.world.sources.clone());
        let names = self.world.names();
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
        let served: Vec<_> = waiting.iter().map(|(id, _)| *id).collect();
        for (id, known) in waiting {
            self.world.serve_state(id, known, self.clock);
        }
        // What cannot be compiled is told by that. It goes on waiting for its source, and
        // no other source's word has to be compiled with it.
        match self.publish(began) {
            Ok(()) => served.into_iter().for_each(|id| self.tell_old_state(id)),
            Err(_) => {
                (self.world.inventory, self.world.sources) = before;
                self.world.restore_names(names);
            }
        }
    }
}

/// What is kept of sources of which nothing but the inventory is known.
pub(super) fn kept(config: &Config, inventory: &Inventory) -> Vec<SourceMemory> {
    let of = |(id, source): (SourceId, &SourceInventory)| SourceMemory {
        accepted: Accepted {
            entries: source.entries.clone().unwrap_or_default(),
            ..Accepted::default()
        },
        holds: Arc::new(Holds::new(config, id)),
        of: config.server.sources.get(id).map(fingerprint).unwrap_or_default(),
        region: source.region.clone(),
        ..SourceMemory::default()
    };
    inventory.sources.iter().enumerate().map(of).collect()
}

/// The inventory of sources that have said nothing.
pub(super) fn nothing(config: &Config) -> Inventory {
    config.server.sources.iter().map(silent).collect::<Vec<_>>().into()
}
