//! Everything that a snapshot is made from, and how a delivery changes it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::bound::Holds;
use crate::config::{Config, SourceId, SourceKind};
use crate::forward::Forwarder;
use crate::source::Delivery;
use crate::source::accept::{Accepted, Losses, Policy, Settled, accept, accept_file};
use crate::source::clock::Clock;
use crate::source::discover::{Answered, Discovered, Remembered, Rules};
use crate::source::inventory::{Address, Inventory};
use crate::source::successor::{Former, Settings, fingerprint};
use crate::state;

/// Everything the next snapshot is made from, and what is kept for the ones
/// after that.
pub(super) struct World {
    pub(super) config: Arc<Config>,
    /// What it says of names from tags.
    pub(super) rules: Arc<Rules>,
    /// Who had names before a restart or a reload, of sources that have not said anything.
    pub(super) remembered: Arc<Remembered>,
    pub(super) epoch: u64,
    pub(super) inventory: Inventory,
    pub(super) sources: Vec<SourceMemory>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) forwarder: Option<Forwarder>,
}

/// What the writer keeps of a source besides what is answered.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceMemory {
    pub(super) accepted: Accepted,
    pub(super) losses: Losses,
    /// When the first of its names becomes due that are held.
    pub(super) names_wake_at: Option<SystemTime>,
    pub(super) settled: Settled,
    pub(super) holds: Arc<Holds>,
    /// The settings of the source that said what is accepted, and the region
    /// it was in: after a reload, perhaps not those configured.
    pub(super) of: Settings,
    pub(super) region: Option<String>,
    /// State too old to be served at once.
    pub(super) waiting: Option<state::SourceState>,
    /// Nothing was heard of it for too long.
    pub(super) silent: bool,
}

impl World {
    pub(super) fn serve_state(&mut self, id: SourceId, known: state::SourceState, clock: Clock) {
        let source = &mut self.inventory.sources[id];
        source.entries = Some(Arc::clone(&known.accepted.entries));
        source.delivered_at = Some(known.delivered_at);
        if source.region.is_none() {
            source.region.clone_from(&known.region);
        }
        let kept = &mut self.sources[id];
        kept.accepted = known.accepted;
        (kept.of, kept.region) = (known.of, known.region);
        self.discover(None, clock.now());
        self.judge(id, clock);
    }

    /// Who had which of a source's names. What is remembered already counts more.
    pub(super) fn remember(&mut self, id: SourceId, names: state::Names) {
        let remembered = Arc::make_mut(&mut self.remembered);
        for (name, memory) in names.held {
            remembered.entry(name).or_insert((id, memory));
        }
        let discovered = Arc::make_mut(&mut self.inventory.discovered);
        discovered.remember_released(id, names.released);
    }

    /// Finds names in the tags of what is accepted.
    pub(super) fn discover(&mut self, answered: Option<Answered>, at: SystemTime) {
        let Self { rules, remembered, inventory, sources, .. } = self;
        inventory.discover(rules, answered, remembered, at);
        // What is known of a source from now on counts more.
        let is_silent =
            |id: &SourceId| inventory.sources.get(*id).is_some_and(|s| s.entries.is_none());
        if !remembered.values().all(|(id, _)| is_silent(id)) {
            Arc::make_mut(remembered).retain(|_, (id, _)| is_silent(id));
        }
        names_due(sources, &inventory.discovered);
    }

    /// What is known of names, to go back to.
    pub(super) fn names(&self) -> (Arc<Discovered>, Arc<Remembered>) {
        (Arc::clone(&self.inventory.discovered), Arc::clone(&self.remembered))
    }

    /// Back to that.
    pub(super) fn restore_names(&mut self, names: (Arc<Discovered>, Arc<Remembered>)) {
        (self.inventory.discovered, self.remembered) = names;
        names_due(&mut self.sources, &self.inventory.discovered);
    }

    /// Looks anew at what is kept: the state or the configuration came in.
    pub(super) fn judge(&mut self, id: SourceId, clock: Clock) {
        let bound = self.bound(id);
        let kept = &mut self.sources[id];
        let policy =
            Policy { guard: self.config.server.guard, bound: &bound, accept_losses: false };
        kept.losses = kept.accepted.losses(clock.now(), &policy);
    }

    /// What source number `id` delivered becomes what is known of it.
    pub(super) fn take(&mut self, id: SourceId, delivery: &Delivery) {
        let Some(config) = self.config.server.sources.get(id) else { return };
        let source = &mut self.inventory.sources[id];
        source.health = delivery.health.clone();
        self.sources[id].silent = false;
        if delivery.region.is_some() {
            source.region.clone_from(&delivery.region);
        }
        let Ok(answer) = &delivery.answer else { return };
        source.delivered_at = Some(delivery.at);
        let bound = self.bound(id);
        let source = &mut self.inventory.sources[id];
        let kept = &mut self.sources[id];
        kept.waiting = None;
        let of = fingerprint(config);
        let former = Former { name: &config.name, of: &kept.of, region: kept.region.as_deref() };
        let elsewhere = former.is_elsewhere(&of, source.region.as_deref());
        let accepted = match &config.kind {
            SourceKind::Ec2(_) if !elsewhere && kept.settled.is(&kept.accepted, answer) => {
                kept.losses = Losses::default();
                kept.accepted.clone()
            }
            SourceKind::Ec2(_) if !elsewhere => {
                let accept_losses = delivery.accept_losses;
                let policy =
                    Policy { guard: self.config.server.guard, bound: &bound, accept_losses };
                let (accepted, losses) = accept(&kept.accepted, answer, delivery.at, &policy);
                kept.settled = Settled::after(&kept.accepted, answer, (&accepted, &losses));
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
        // Elsewhere, or in a file, losses are the truth.
        let accept_losses = delivery.accept_losses || elsewhere;
        self.discover(Some(Answered { source: id, accept_losses }), delivery.at);
    }

    /// How long the loss of an address of a source is held: as long as names are bound to
    /// it, come from its tags, or are held although its tags give them no longer.
    pub(super) fn bound(&self, id: SourceId) -> impl Fn(&Address) -> Option<Duration> + use<> {
        let holds = Arc::clone(&self.sources[id].holds);
        let rules = Arc::clone(&self.rules);
        let held = self.inventory.discovered.holds(&rules, id);
        move |address| {
            let by_tag = rules.bound(id, address);
            let held = held.get(&address.allocation()).copied();
            holds.bound(address).max(by_tag).max(held)
        }
    }
}

/// When the first of each source's names becomes due.
fn names_due(sources: &mut [SourceMemory], discovered: &Discovered) {
    for (kept, losses) in sources.iter_mut().zip(&discovered.losses) {
        kept.names_wake_at = losses.wake_at;
    }
}
