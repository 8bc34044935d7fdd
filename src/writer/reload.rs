//! Another configuration: compiled aside, then swapped in.
//!
//! What a source has said stands until its successor has delivered. A reload
//! that is refused, or whose answers cannot be built, changes nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::info;

use super::interfaces::Wants;
use super::{Panicked, SourceMemory, World, Writer, kept};
use crate::compile::Serials;
use crate::config::{Config, Source, SourceId};
use crate::forward::Forwarder;
use crate::source::discover::{Remembered, Rules};
use crate::source::inventory::{Health, Inventory, SourceInventory};
use crate::source::successor::{self, Former};
use crate::store::Current;

/// A configuration to turn to, with what was read beside it.
pub struct Next {
    /// The configuration.
    pub config: Arc<Config>,
    /// What files hold; nothing of EC2.
    pub at_hand: Inventory,
    /// Our own addresses.
    pub addresses: Vec<IpAddr>,
    /// When any view forwards.
    pub forwarder: Option<Forwarder>,
}

/// Answers of another configuration, not yet given.
pub struct Prepared {
    world: World,
    current: Current,
    serials: Serials,
    began: Instant,
    /// For each source the number of the one in the configuration before that
    /// it carries on.
    pub predecessors: Vec<Option<SourceId>>,
}

impl Writer {
    /// Makes the answers of another configuration, and gives none of them.
    ///
    /// # Errors
    /// They cannot be built: a bug. All is as it was.
    pub fn prepare(&self, next: Next) -> Result<Prepared, Panicked> {
        let began = Instant::now();
        let predecessors = self.predecessors(&next.config);
        let world = self.carry_on(next, &predecessors);
        let mut serials = self.serials.clone();
        let current = self.build(&world, &mut serials)?;
        Ok(Prepared { world, current, serials, began, predecessors })
    }

    /// Turns to what was prepared. Nothing may have been delivered in between.
    pub fn commit(&mut self, prepared: Prepared) {
        let Prepared { world, current, serials, began, predecessors } = prepared;
        let old = std::mem::replace(&mut self.world, world);
        self.wants = Wants::new(&self.world.config);
        self.swap(current, serials, began);
        self.tell_changes(&old, &predecessors);
        self.telling(|writer| writer.tell_tags(&old.inventory.discovered, None));
    }

    fn predecessors(&self, config: &Config) -> Vec<Option<SourceId>> {
        let World { config: old, inventory, sources, .. } = &self.world;
        let former: Vec<Former<'_>> = old
            .server
            .sources
            .iter()
            .zip(&inventory.sources)
            .zip(sources)
            .map(|((source, inventory), kept)| Former {
                name: &source.name,
                of: &kept.of,
                region: inventory.region.as_deref(),
            })
            .collect();
        successor::predecessors(&former, &config.server.sources)
    }

    fn carry_on(&self, next: Next, predecessors: &[Option<SourceId>]) -> World {
        let Next { config, at_hand, addresses, forwarder } = next;
        let epoch = self.world.epoch + 1;
        let sources = kept(&config, &at_hand);
        let rules = Rules::of(&config).into();
        let (inventory, remembered) = (at_hand, Arc::default());
        let mut world =
            World { config, rules, remembered, epoch, inventory, sources, addresses, forwarder };
        // Found anew: zones and tags may be others.
        world.inventory.discovered = Arc::default();
        for (id, predecessor) in predecessors.iter().enumerate() {
            let Some(former) = *predecessor else { continue };
            self.carry_on_one(&mut world, id, former);
        }
        self.carry_on_names(&mut world, predecessors);
        world.discover(None, self.clock.now());
        for id in predecessors.iter().enumerate().filter_map(|(id, former)| former.map(|_| id)) {
            world.judge(id, self.clock);
        }
        world
    }

    /// Who had which name. One that is held goes on so where the same tag still gives
    /// names; all others are those that the tags give now.
    fn carry_on_names(&self, world: &mut World, predecessors: &[Option<SourceId>]) {
        let old = &self.world;
        let mut known = old.inventory.discovered.memories();
        known.extend(old.remembered.iter().map(|(name, memory)| (name.clone(), memory.clone())));
        let mut remembered = Remembered::new();
        for (name, (former, memory)) in known {
            let is = predecessors.iter().position(|known| *known == Some(former));
            let same =
                memory.gone.is_none() || old.rules.tag_of(&name) == world.rules.tag_of(&name);
            if let Some(id) = is.filter(|_| same) {
                remembered.insert(name, (id, memory));
            }
        }
        world.remembered = remembered.into();
        for (id, former) in predecessors.iter().enumerate() {
            let losses = former.and_then(|former| old.inventory.discovered.losses.get(former));
            let released = losses.map(|losses| losses.released.clone()).unwrap_or_default();
            let discovered = Arc::make_mut(&mut world.inventory.discovered);
            discovered.remember_released(id, released);
        }
    }

    /// What `former` said becomes what source number `id` says until it says
    /// something itself. A file that was read already is its own word.
    fn carry_on_one(&self, world: &mut World, id: SourceId, former: SourceId) {
        let (Some(old), Some(old_kept)) =
            (self.world.inventory.sources.get(former), self.world.sources.get(former))
        else {
            return;
        };
        let was = &self.world.config.server.sources[former];
        let is = &world.config.server.sources[id];
        let source = &mut world.inventory.sources[id];
        // It is of interfaces by their ids, whoever said it.
        if is.tells_of_interfaces() {
            source.interfaces = old.interfaces.clone();
        }
        let other = successor::fingerprint(was) != successor::fingerprint(is);
        if other && source.entries.is_some() {
            return;
        }
        // Another file that cannot be read now is stalled from now on. The same
        // one is judged by who has watched it for longer.
        let health = match &source.health {
            stalled @ Health::Stalled { .. } if other && old.health == Health::Healthy => {
                stalled.clone()
            }
            _ => old.health.clone(),
        };
        let (name, interfaces) = (is.name.clone(), source.interfaces.clone());
        *source = SourceInventory { name, health, interfaces, ..old.clone() };
        world.sources[id] = SourceMemory {
            holds: Arc::clone(&world.sources[id].holds),
            losses: Default::default(),
            ..old_kept.clone()
        };
    }

    /// What a reload changed about sources.
    fn tell_changes(&self, old: &World, predecessors: &[Option<SourceId>]) {
        for (source, former) in self.config().server.sources.iter().zip(predecessors) {
            let former = former
                .and_then(|id| Some((old.config.server.sources.get(id)?, old.sources.get(id)?)));
            match former {
                None => info!(source = %source.name, "a new source"),
                Some((was, kept)) => tell_change(was, kept, source),
            }
        }
        for (id, was) in old.config.server.sources.iter().enumerate() {
            if !predecessors.contains(&Some(id)) {
                info!(source = %was.name, "the source is gone, and so is what it said");
            }
        }
    }
}

/// What becomes of what is answered depends on who said it, which may have been
/// a source before the last one.
fn tell_change(was: &Source, kept: &SourceMemory, is: &Source) {
    let what = successor::changes(was, is);
    let (before, after) = (&kept.of, &successor::fingerprint(is));
    let former = Former { name: &was.name, of: before, region: kept.region.as_deref() };
    let then = match () {
        () if what.is_empty() => return,
        () if before == after => "",
        () if former.is_elsewhere(after, is.region.as_deref()) => {
            "; what was known is answered until it has delivered, and is then replaced as a whole"
        }
        () => {
            "; what was known is answered until it has delivered. What it does not say then is \
             held as a loss; `eipdns refresh --accept` takes it at once"
        }
    };
    info!(source = %is.name, "the source has changed: {what}{then}");
}
