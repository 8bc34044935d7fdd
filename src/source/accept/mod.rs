//! How losses are taken: what a source said before, what it says now, and
//! what is answered. Pure.
//!
//! Gains and moves pass at once; nothing here delays them. A loss is kept:
//!
//! * An address that a good answer shows *unassociated* keeps its last
//!   association; a good answer that still shows it so `hold` later ends that.
//! * An address *missing* from good answers keeps its last state; a good
//!   answer `missing_hold` later that still lacks it ends that.
//! * While more than half of three or more bound addresses are lost at the
//!   same time, it is a *mass loss*: more likely a wrong filter, role or
//!   region, or a fault of EC2, than meant. Every loss of the source then
//!   lasts `release_after`, unless an operator accepts it. Addresses the
//!   guard lets go count as lost until the event is over, so that those lost
//!   a little later wait their time as well.
//!
//! Only a good answer ends anything: with EC2 out of reach all of it stands.
//! [`Losses::wake_at`] is when something becomes due: a call made then (and
//! not at the next poll, which may be a minute away) brings that answer.
//!
//! EC2 is eventually consistent: a call may see an older state than the one
//! before it. An association that another one has superseded is ignored when
//! it comes back within [`STALE_READ`]. (It never comes back in truth: EC2
//! gives each association a new id.) When it comes back later it is believed,
//! but does not make a stale read of the one it pushes aside: that one may
//! well be the newer of the two, and must pass at once.
//!
//! An entry that cannot be used ([`usable`](super::usable)) is no loss either:
//! what is known of its address stays as it is, and nothing kept of it ends.
//!
//! Times are those of [`clock`](super::clock). One in the future, from before
//! a restart with the clock set back, is taken as now.
//!
//! An address is the same one for as long as its [`Allocation`] is. So an id that a
//! file or the state of an older eipdns lacked changes nothing when it comes, and an
//! Elastic IP that was released and recovered, under a new id, goes on in place of
//! what was kept of it: it is missing no longer, its new association is answered at
//! once, and without one it is an address that is unassociated.
//!
//! * `news`: how an answer differs from what is accepted.
//! * `guard`: what is kept and until when, mass losses, what is let go.

mod guard;
mod news;
mod settled;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use guard::{Held, Losses, MASS_LEAST};
pub use settled::Settled;

use super::allocation::Allocation;
use super::usable::Said;
use crate::config::Guard;
use crate::source::inventory::{Address, Entries, Entry, Standing};
use news::News;

/// How long after it was superseded an association that is seen again is
/// taken for a stale read.
pub const STALE_READ: Duration = Duration::from_secs(10);

/// How long a superseded association is remembered: long enough to know it
/// when it comes back after [`STALE_READ`].
const REMEMBERED: Duration = Duration::from_secs(60);

/// What is accepted of one source, and what must be remembered to accept
/// the next answer. Goes into the state on disk as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// What is answered.
    pub entries: Arc<Entries>,
    /// Addresses the guard has let go while the mass loss goes on.
    pub released: BTreeSet<Allocation>,
    /// Associations (their ids) that another one superseded in the last
    /// minute, and when; for [`STALE_READ`].
    pub superseded: BTreeMap<Allocation, BTreeMap<String, SystemTime>>,
}

impl Accepted {
    /// Nothing but what is answered matters for the next answer.
    fn remembers_nothing(&self) -> bool {
        self.superseded.is_empty() && self.released.is_empty()
    }
}

/// What decides how losses are taken.
#[derive(Clone, Copy)]
pub struct Policy<'p> {
    /// `[guard]`
    pub guard: Guard,
    /// None: no binding names the address. Else the longest hold of the
    /// bindings that do, the guard's where they give none.
    pub bound: &'p dyn Fn(&Address) -> Option<Duration>,
    /// An operator takes all losses in this answer as they are: no hold, no
    /// guard.
    pub accept_losses: bool,
}

/// Takes a good answer of an `ec2` source.
///
/// The same answer at the same time again changes nothing, and an answer
/// equal to what is accepted returns the very same entries.
pub fn accept(
    previous: &Accepted,
    answer: &Said,
    now: SystemTime,
    policy: &Policy<'_>,
) -> (Accepted, Losses) {
    let news = News::of(previous, answer);
    let unknown = &answer.left_out.unknown;
    if news.is_none() && previous.remembers_nothing() && unknown.is_empty() {
        return (previous.clone(), Losses::default());
    }
    let mut superseded = previous.superseded.clone();
    superseded.values_mut().for_each(|ids| ids.retain(|_, at| is_within(REMEMBERED, *at, now)));
    let mut stale = unknown.clone();
    let mut entries = news.beside(previous);
    for (allocation, said) in &news.said {
        let entry = match previous.entries.get(allocation) {
            None => Entry { address: Arc::clone(said), standing: Standing::Live, since: now },
            Some(before) => {
                let said = &with_id(before, said);
                let superseded = superseded.entry(allocation.clone()).or_default();
                take(before, said, now, superseded).unwrap_or_else(|| {
                    stale.insert(allocation.clone());
                    before.clone()
                })
            }
        };
        entries.insert(allocation.clone(), entry);
    }
    for (allocation, before) in &news.unsaid {
        entries.insert(Allocation::clone(allocation), missing(before, now));
    }
    superseded.retain(|_, ids| !ids.is_empty());

    let mut next = Accepted { entries: Arc::new(entries), released: BTreeSet::new(), superseded };
    next.released = previous.released.iter().filter(|one| !next.counts(one)).cloned().collect();
    next.release(&stale, now, policy);
    if next.entries == previous.entries {
        next.entries = Arc::clone(&previous.entries);
    }
    let losses = next.losses(now, policy);
    (next, losses)
}

/// Takes the contents of a `file` source: edits are the truth, losses too.
pub fn accept_file(previous: &Accepted, answer: &Said, now: SystemTime) -> Accepted {
    let news = News::of(previous, answer);
    if news.is_none() {
        return Accepted { entries: Arc::clone(&previous.entries), ..Accepted::default() };
    }
    let mut entries = news.beside(previous);
    for (allocation, said) in &news.said {
        let before = previous.entries.get(allocation);
        let before = before.filter(|before| is_same(&before.address, said));
        let since = before.map_or(now, |before| before.since);
        let address = Arc::clone(said);
        let entry = Entry { address, standing: Standing::Live, since };
        entries.insert(allocation.clone(), entry);
    }
    for (allocation, _) in &news.unsaid {
        entries.remove(*allocation);
    }
    Accepted { entries: entries.into(), ..Accepted::default() }
}

/// With the id it had, where the answer lacks one: EC2 shows one with every Elastic IP,
/// and names bound to it must not lose their address to an answer that does not.
fn with_id(before: &Entry, said: &Arc<Address>) -> Arc<Address> {
    if said.allocation_id().is_some() || before.address.allocation_id().is_none() {
        return Arc::clone(said);
    }
    // The allocation is the same, so this says no more than the id.
    let address = Address { identity: before.address.identity.clone(), ..(**said).clone() };
    if *before.address == address { Arc::clone(&before.address) } else { address.into() }
}

/// An address that was there before and is in the answer; none when the
/// answer is a stale read of it. `superseded` is this address's.
fn take(
    before: &Entry,
    said: &Arc<Address>,
    now: SystemTime,
    superseded: &mut BTreeMap<String, SystemTime>,
) -> Option<Entry> {
    let live = |since| Some(Entry { address: Arc::clone(said), standing: Standing::Live, since });
    if said.associated().is_none() && before.address.associated().is_some() {
        let since = match before.standing {
            Standing::Unassociated { since } => since.min(now),
            Standing::Live | Standing::Missing { .. } => now,
        };
        let address = keep_association(&before.address, said);
        return Some(Entry {
            address: match &before.address {
                same if **same == address => Arc::clone(same),
                _ => address.into(),
            },
            standing: Standing::Unassociated { since },
            since: before.since,
        });
    }
    if is_same(&before.address, said) {
        return live(before.since);
    }
    if let Some(id) = &said.association_id {
        let old = before.address.association_id.clone().filter(|old| old != id);
        match (superseded.get(id), old) {
            (Some(at), _) if is_within(STALE_READ, *at, now) => return None,
            (Some(_), _) => drop(superseded.remove(id)),
            (None, Some(old)) => drop(superseded.insert(old, now)),
            (None, None) => {}
        }
    }
    live(now)
}

/// An address that was there before and is not in the answer.
fn missing(before: &Entry, now: SystemTime) -> Entry {
    let since = match before.standing {
        Standing::Missing { since } => since.min(now),
        Standing::Live | Standing::Unassociated { .. } => now,
    };
    Entry { standing: Standing::Missing { since }, ..before.clone() }
}

/// Is it the same association, or none in both? Other fields, the tags
/// among them, follow the answer without being a move.
fn is_same(a: &Address, b: &Address) -> bool {
    (&a.association_id, a.private_ip) == (&b.association_id, b.private_ip)
}

/// What the answer says, with the association of before.
fn keep_association(before: &Address, said: &Address) -> Address {
    Address {
        association_id: before.association_id.clone(),
        instance_id: before.instance_id.clone(),
        network_interface_id: before.network_interface_id.clone(),
        network_interface_owner_id: before.network_interface_owner_id.clone(),
        private_ip: before.private_ip,
        ..said.clone()
    }
}

/// Is `at` less than `span` ago? A time in the future is not: the clock was
/// set back, and a move must not wait for it to catch up.
pub(super) fn is_within(span: Duration, at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|age| age < span)
}
