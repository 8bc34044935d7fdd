//! The guard: what is kept although the source does not say it any longer, until
//! when, and what is let go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Accepted, Policy};
use crate::host::background::breathing;
use crate::source::allocation::Allocation;
use crate::source::clock::elapsed;
use crate::source::inventory::{Address, Entry, Standing};

/// Of how many bound addresses more than half must be lost to make a mass
/// loss. With one or two, losing one is everyday business.
pub const MASS_LEAST: usize = 3;

/// What is kept although the source does not say it any longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// More than half of the bound addresses are lost: all losses wait for
    /// `release_after` or an operator.
    pub mass: bool,
    /// Each address that is kept, in order.
    pub held: Vec<Held>,
    /// When the first of those becomes due that are not due yet.
    pub wake_at: Option<SystemTime>,
}

/// One address that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub allocation: Allocation,
    /// Unassociated or missing, and since when.
    pub standing: Standing,
    /// From when on a good answer ends it; none: never by itself.
    pub until: Option<SystemTime>,
    /// Does a binding name it?
    pub bound: bool,
}

impl Accepted {
    /// What is kept, and until when. Needed by itself after a restart and
    /// when `policy` changes; [`accept`](super::accept) returns it otherwise.
    pub fn losses(&self, now: SystemTime, policy: &Policy<'_>) -> Losses {
        let mass = self.is_mass_loss(policy);
        let held: Vec<Held> = breathing(self.entries.iter())
            .filter_map(|(allocation, entry)| {
                let (since, kept_for) = kept_for(entry, mass, policy)?;
                Some(Held {
                    allocation: allocation.clone(),
                    standing: entry.standing,
                    until: since.checked_add(kept_for),
                    bound: (policy.bound)(&entry.address).is_some(),
                })
            })
            .collect();
        let wake_at = held.iter().filter_map(|h| h.until).filter(|at| *at > now).min();
        Losses { mass, held, wake_at }
    }

    /// Does the entry of `allocation` count in [`is_mass_loss`](Self::is_mass_loss)
    /// by itself: has it something to lose, or lost it already?
    pub(super) fn counts(&self, allocation: &Allocation) -> bool {
        self.entries
            .get(allocation)
            .is_some_and(|e| !e.is_live() || e.address.associated().is_some())
    }

    fn is_mass_loss(&self, policy: &Policy<'_>) -> bool {
        if self.entries.values().all(Entry::is_live) {
            return false;
        }
        let bound = self
            .entries
            .iter()
            .filter(|(one, entry)| self.counts(one) && (policy.bound)(&entry.address).is_some());
        let (mut all, mut held) = (0, 0);
        for (_, entry) in bound {
            all += 1;
            held += usize::from(!entry.is_live());
        }
        let (all, lost) = (all + self.released.len(), held + self.released.len());
        held > 0 && all >= MASS_LEAST && lost * 2 > all
    }

    /// Lets go what is due, but not what the answer was `stale` about, or said
    /// nothing of that can be used.
    pub(super) fn release(
        &mut self,
        stale: &BTreeSet<Allocation>,
        now: SystemTime,
        policy: &Policy<'_>,
    ) {
        let mut mass = !policy.accept_losses && self.is_mass_loss(policy);
        loop {
            self.release_due(mass, stale, now, policy);
            let goes_on = self.is_mass_loss(policy);
            if !goes_on {
                self.released.clear();
            }
            // An event that has just ended held others back as well.
            if !mass || goes_on {
                return;
            }
            mass = false;
        }
    }

    fn release_due(
        &mut self,
        mass: bool,
        stale: &BTreeSet<Allocation>,
        now: SystemTime,
        policy: &Policy<'_>,
    ) {
        let is_due = |entry: &Entry| {
            kept_for(entry, mass, policy).is_some_and(|(since, kept_for)| {
                policy.accept_losses || elapsed(since, now) >= kept_for
            })
        };
        let due: Vec<Allocation> = self
            .entries
            .iter()
            .filter(|(one, entry)| !stale.contains(*one) && is_due(entry))
            .map(|(one, _)| one.clone())
            .collect();
        for allocation in due {
            let entries = Arc::make_mut(&mut self.entries);
            let Some(entry) = entries.remove(&allocation) else { continue };
            if let Standing::Unassociated { .. } = entry.standing {
                let address = without_association(&entry.address).into();
                let live = Entry { address, standing: Standing::Live, since: now };
                entries.insert(allocation.clone(), live);
            }
            if mass && (policy.bound)(&entry.address).is_some() {
                self.released.insert(allocation);
            }
        }
    }
}

/// Since when an entry is kept, and for how long; none for what is live.
fn kept_for(entry: &Entry, mass: bool, policy: &Policy<'_>) -> Option<(SystemTime, Duration)> {
    let guard = &policy.guard;
    let (since, kept_for) = match entry.standing {
        Standing::Live => return None,
        Standing::Unassociated { since } => {
            (since, (policy.bound)(&entry.address).unwrap_or(guard.hold))
        }
        Standing::Missing { since } => (since, guard.missing_hold),
    };
    Some((since, if mass { kept_for.max(guard.release_after) } else { kept_for }))
}

/// The address once its association is let go.
fn without_association(address: &Address) -> Address {
    Address {
        association_id: None,
        instance_id: None,
        network_interface_id: None,
        network_interface_owner_id: None,
        private_ip: None,
        ..address.clone()
    }
}
