//! Names that are held although no tag gives them any longer: until when, mass losses,
//! and what is let go.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use super::decide::{Before, decide};
use super::names::{Answered, Discovered, Now};
use super::{Named, Rules};
use crate::config::SourceId;
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::source::accept::MASS_LEAST;
use crate::source::allocation::Allocation;
use crate::source::clock::elapsed;

/// What of a source's names is held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameLosses {
    /// More than half of them are gone: all wait for `release_after` or an operator.
    pub mass: bool,
    /// Names that were let go while a mass loss goes on.
    pub released: BTreeSet<Key>,
    /// When the first of those becomes due that are not due yet.
    pub wake_at: Option<SystemTime>,
}

/// A name that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldName {
    /// The name.
    pub name: Key,
    /// Whose it is.
    pub source: SourceId,
    /// Since when no tag gives it.
    pub since: SystemTime,
    /// From when on a good answer ends it; none: never by itself.
    pub until: Option<SystemTime>,
}

impl Discovered {
    /// The names that are held, in order.
    pub fn held(&self, rules: &Rules) -> Vec<HeldName> {
        let held = |name: &Key| {
            let named = self.names.get(name)?;
            let (source, since) = (named.source(), named.gone?);
            Some(HeldName { name: name.clone(), source, since, until: self.until(rules, name) })
        };
        breathing(self.notable.iter()).filter_map(held).collect()
    }

    /// From when on a good answer ends the hold of a name; none: never by itself, or it is
    /// not held.
    pub fn until(&self, rules: &Rules, name: &Key) -> Option<SystemTime> {
        let named = self.names.get(name)?;
        let mass = self.losses.get(named.source()).is_some_and(|losses| losses.mass);
        named.gone?.checked_add(kept_for(rules, named, mass))
    }

    /// For how long names are held that stand for addresses of a source whose tags give
    /// them no longer.
    pub fn holds(&self, rules: &Rules, source: SourceId) -> HashMap<Allocation, Duration> {
        let mut holds: HashMap<Allocation, Duration> = HashMap::new();
        for named in self.notable.iter().filter_map(|name| self.names.get(name)) {
            for member in named.members.iter().filter(|m| m.source == source && !m.tagged) {
                let hold = holds.entry(member.entry.address.allocation()).or_default();
                *hold = (*hold).max(rules.hold(named.zone, source));
            }
        }
        holds
    }

    /// Names that the last process, or the configuration before, has let go in a mass loss
    /// of a source that goes on.
    pub fn remember_released(&mut self, source: SourceId, released: BTreeSet<Key>) {
        if self.losses.len() <= source {
            self.losses.resize_with(source + 1, NameLosses::default);
        }
        self.losses[source].released = released;
    }

    /// Those of a source.
    pub fn released(&self, source: SourceId) -> BTreeSet<Key> {
        self.losses.get(source).map(|losses| losses.released.clone()).unwrap_or_default()
    }

    /// The names of a source that are held.
    fn gone(&self, source: SourceId) -> Vec<(Key, SystemTime)> {
        let gone = self.notable.iter().filter_map(|name| {
            let named = self.names.get(name)?;
            Some((name.clone(), named.gone.filter(|_| named.source() == source)?))
        });
        gone.collect()
    }

    fn is_mass_loss(&self, source: SourceId, gone: usize, released: usize) -> bool {
        if gone == 0 {
            return false;
        }
        let all = breathing(self.names.values()).filter(|named| named.source() == source).count();
        all + released >= MASS_LEAST && (gone + released) * 2 > all + released
    }

    /// Lets go what is due, if the source has just said that it is still gone.
    pub(super) fn settle(&mut self, now: &Now<'_>, answered: Option<&Answered>) {
        // What is let go may be another source's then. What is remembered of a source that
        // has said nothing yet stands.
        let answered_by = answered.map(|answered| answered.source);
        let others = (0..now.sources.len()).filter(|source| Some(*source) != answered_by);
        for source in answered_by.into_iter().chain(others).filter(|id| !now.is_silent(*id)) {
            let answered = answered.filter(|answered| answered.source == source);
            self.settle_one(now, source, answered);
        }
    }

    fn settle_one(&mut self, now: &Now<'_>, source: SourceId, answered: Option<&Answered>) {
        let before = self.losses.get(source).cloned().unwrap_or_default();
        let is_back = |name: &Key| self.names.get(name).is_some_and(|named| named.gone.is_none());
        let mut released: BTreeSet<Key> =
            before.released.into_iter().filter(|name| !is_back(name)).collect();
        let mut gone = self.gone(source);
        if gone.is_empty() {
            if let Some(losses) = self.losses.get_mut(source) {
                *losses = NameLosses::default();
            }
            return;
        }
        let accept = answered.is_some_and(|answered| answered.accept_losses);
        let mut mass = !accept && self.is_mass_loss(source, gone.len(), released.len());
        while let Some(answered) = answered {
            for name in self.due(now, &gone, mass, answered) {
                self.let_go(now, &name);
                // What another has is not lost.
                let is_lost = !self.names.contains_key(&name);
                released.extend((mass && is_lost).then_some(name));
            }
            gone = self.gone(source);
            let goes_on = self.is_mass_loss(source, gone.len(), released.len());
            if !goes_on {
                released.clear();
            }
            // An event that has just ended held others back as well.
            if !mass || goes_on {
                mass = goes_on;
                break;
            }
            mass = false;
        }
        let until = |(name, since): &(Key, SystemTime)| {
            since.checked_add(kept_for(now.rules, self.names.get(name)?, mass))
        };
        let wake_at = gone.iter().filter_map(until).filter(|at| *at > now.at).min();
        if let Some(losses) = self.losses.get_mut(source) {
            *losses = NameLosses { mass, released, wake_at };
        }
    }

    fn due(
        &self,
        now: &Now<'_>,
        gone: &[(Key, SystemTime)],
        mass: bool,
        answered: &Answered,
    ) -> Vec<Key> {
        let is_due = |(name, since): &&(Key, SystemTime)| {
            let Some(named) = self.names.get(name) else { return false };
            // A second answer must say so.
            let waits = named.goes_back && !answered.accept_losses;
            let over = elapsed(*since, now.at) >= kept_for(now.rules, named, mass);
            !waits && (answered.accept_losses || over)
        };
        gone.iter().filter(is_due).map(|(name, _)| name.clone()).collect()
    }

    /// Who waits for the name has it now, or nobody.
    fn let_go(&mut self, now: &Now<'_>, name: &Key) {
        let Some(named) = self.names.get(name).cloned() else { return };
        let claims = named.claims();
        let next = decide(now, named.zone, &Before::default(), &claims);
        self.put(now, name, named.zone, next);
    }
}

fn kept_for(rules: &Rules, named: &Named, mass: bool) -> Duration {
    let hold = rules.hold(named.zone, named.source());
    if mass { hold.max(rules.release_after()) } else { hold }
}
