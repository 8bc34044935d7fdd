//! The one writer: takes what sources deliver and what an operator configures,
//! makes the next snapshot aside, swaps it in and says what changed.
//!
//! A plain value without tasks or sockets; [`run`](crate::run) drives it.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, error, info};

use crate::changes::{Change, changes};
use crate::compile::{Input, Serials, compile};
use crate::config::{Config, SourceId};
use crate::inventory::{Inventory, SourceInventory};
use crate::offline;
use crate::source::Delivery;
use crate::source::accept::{Accepted, accept_file};
use crate::store::Store;

/// How many moved names one swap logs by name; the rest is a number.
const MAX_LOGGED: usize = 20;

/// Everything the next snapshot is made from.
pub struct Writer {
    config: Arc<Config>,
    epoch: u64,
    inventory: Inventory,
    /// Of each source, what losses are judged by.
    accepted: Vec<Accepted>,
    serials: Serials,
    addresses: Vec<IpAddr>,
    store: Store,
}

impl Writer {
    /// Starts with what is known before any source was asked.
    pub fn new(config: Arc<Config>, inventory: Inventory, addresses: Vec<IpAddr>) -> Self {
        let mut serials = Serials::default();
        let now = SystemTime::now();
        let epoch = 1;
        let input =
            Input { config: &config, epoch, inventory: &inventory, addresses: &addresses, now };
        let store = Store::new(compile(&input, &mut serials, None));
        let accepted = inventory.sources.iter().map(known).collect();
        Self { config, epoch, inventory, accepted, serials, addresses, store }
    }

    /// Where the snapshots are.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The configuration in use.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Takes what source number `id` of the configuration delivered.
    pub fn take(&mut self, id: SourceId, delivery: Delivery) {
        let Some(source) = self.inventory.sources.get_mut(id) else { return };
        let before = source.clone();
        source.health = delivery.health.clone();
        if delivery.region.is_some() {
            source.region.clone_from(&delivery.region);
        }
        if let Ok(answer) = &delivery.answer {
            let accepted = &mut self.accepted[id];
            *accepted = accept_file(accepted, answer, delivery.at);
            source.entries = Some(Arc::clone(&accepted.entries));
            source.delivered_at = Some(delivery.at);
        }
        // The time of the last good answer alone changes no answer.
        let same = source.entries == before.entries
            && source.health == before.health
            && source.region == before.region;
        if !same {
            self.publish();
        }
        delivery.published();
    }

    /// Takes a new configuration. `kept` gives, for each of its sources, the
    /// number of the same source in the old one.
    pub fn reload(
        &mut self,
        config: Arc<Config>,
        kept: &[Option<SourceId>],
        addresses: Vec<IpAddr>,
    ) {
        let old = std::mem::take(&mut self.inventory.sources);
        let accepted = std::mem::take(&mut self.accepted);
        let mut inventory = offline::at_hand(&config);
        self.accepted = inventory.sources.iter().map(known).collect();
        for (new, kept) in kept.iter().enumerate() {
            if let Some(kept) = kept
                && let (Some(source), Some(accepted)) = (old.get(*kept), accepted.get(*kept))
            {
                inventory.sources[new] = source.clone();
                self.accepted[new] = accepted.clone();
            }
        }
        self.inventory = inventory;
        self.config = config;
        self.epoch += 1;
        self.addresses = addresses;
        self.publish();
    }

    /// Compiles and swaps. A panic in compile keeps the old snapshot.
    fn publish(&mut self) {
        let began = Instant::now();
        let before = self.store.full();
        let now = SystemTime::now();
        let input = Input {
            config: &self.config,
            epoch: self.epoch,
            inventory: &self.inventory,
            addresses: &self.addresses,
            now,
        };
        let mut serials = self.serials.clone();
        let made = catch_unwind(AssertUnwindSafe(|| compile(&input, &mut serials, Some(&before))));
        let Ok(next) = made else {
            error!("building the answers failed; the old ones stand. This is a bug: report it");
            return;
        };
        let moved = changes(&before, &next);
        self.serials = serials;
        let generation = next.generation;
        self.store.publish(next);
        debug!(generation, took_us = began.elapsed().as_micros() as u64, "published");
        self.log(&moved, generation, began.elapsed(), now);
    }

    /// A swap is one line for each name.
    fn log(&self, moved: &[Change], generation: u64, took: Duration, now: SystemTime) {
        for change in moved.iter().take(MAX_LOGGED) {
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
                took_us = took.as_micros() as u64,
                "moved"
            );
        }
        if moved.len() > MAX_LOGGED {
            info!(more = moved.len() - MAX_LOGGED, generation, "and more names moved");
        }
    }
}

/// What is accepted of a source whose inventory came from elsewhere.
fn known(source: &SourceInventory) -> Accepted {
    Accepted { entries: source.entries.clone().unwrap_or_default(), ..Accepted::default() }
}
