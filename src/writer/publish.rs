//! Compiles the next snapshot aside, swaps it in, and says what that changes.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, error};

use super::Writer;
use super::history::What;
use super::world::World;
use crate::compile::changes::{Changes, Kind, changes};
use crate::compile::{Input, Serials};
use crate::host::background::breathe;
use crate::snapshot::Snapshot;
use crate::store::Current;

/// Makes a snapshot: [`compile`](crate::compile::compile), or what a test has in its place.
pub(super) type Compile = fn(&Input<'_>, &mut Serials, Option<&Snapshot>) -> Snapshot;

/// Compiling has panicked: what it said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("building the answers failed ({0}). This is a bug: report it with the log")]
pub struct Panicked(pub String);

impl Writer {
    /// Compiles and swaps; all else comes after that.
    pub(super) fn publish(&mut self, began: Instant) -> Result<(), Panicked> {
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
    pub(super) fn build(&self, world: &World, serials: &mut Serials) -> Result<Current, Panicked> {
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
        let snapshot = made.map_err(|said| Panicked(text_of(&*said)))?;
        Ok(Current { snapshot, forwarder: world.forwarder.clone() })
    }

    pub(super) fn swap(&mut self, next: Current, serials: Serials, began: Instant) {
        let before = self.store.full();
        let next = Arc::new(next);
        self.store.publish(Arc::clone(&next));
        self.built_in = began.elapsed();
        self.serials_kept = serials.kept().into();
        self.serials = serials;
        self.trouble = None;
        self.published_at = self.clock.now();
        breathe();
        self.telling(|writer| writer.tell_swap(&before, &next));
    }

    /// Tells what has changed, in the log and the history. The answers stand, whatever
    /// becomes of that.
    pub(super) fn telling(&mut self, tell: impl FnOnce(&mut Self)) {
        let told = catch_unwind(AssertUnwindSafe(|| tell(self)));
        if let Err(said) = told
            && let Some(left_out) = self.panics.may(Instant::now())
        {
            error!(
                generation = self.store.full().snapshot.generation,
                left_out,
                "what has changed is not told: that failed ({}). The answers are not concerned. \
                 This is a bug: report it with the log",
                text_of(&*said)
            );
        }
    }

    fn tell_swap(&mut self, before: &Current, next: &Current) {
        let generation = next.snapshot.generation;
        let Changes { names: all, first, addresses } =
            changes(&self.world.config, &before.snapshot, &next.snapshot);
        self.told = addresses;
        // In order of name; views that see it otherwise make another change of a name.
        let mut moved: Vec<_> = all.iter().filter(|change| change.kind == Kind::Moved).collect();
        moved.dedup_by_key(|change| &change.name);
        self.moves += moved.len() as u64;
        let events: Vec<_> = all.iter().map(What::of).collect();
        self.note(&events);
        debug!(generation, took_us = self.built_in.as_micros() as u64, "published");
        self.tell_moves(&all, first, generation);
        self.tell_pointers(&before.snapshot, &next.snapshot);
    }

    /// Adds to the history what came with the current snapshot.
    pub(crate) fn note(&self, events: &[What<'_>]) {
        let shown = self.clock.drift().shown(self.clock.now());
        self.history.add(shown, self.store.full().snapshot.generation, events);
    }
}

/// What a panic said.
fn text_of(said: &(dyn Any + Send)) -> String {
    let text = said.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| said.downcast_ref().cloned()).unwrap_or_default()
}
