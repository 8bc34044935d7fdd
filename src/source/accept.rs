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

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::clock::elapsed;
use super::usable::Said;
use crate::config::Guard;
use crate::host::background::breathing;
use crate::source::inventory::{Address, Entries, Entry, Standing};

/// How long after it was superseded an association that is seen again is
/// taken for a stale read.
pub const STALE_READ: Duration = Duration::from_secs(10);

/// How long a superseded association is remembered: long enough to know it
/// when it comes back after [`STALE_READ`].
const REMEMBERED: Duration = Duration::from_secs(60);

/// Of how many bound addresses more than half must be lost to make a mass
/// loss. With one or two, losing one is everyday business.
pub const MASS_LEAST: usize = 3;

/// What is accepted of one source, and what must be remembered to accept
/// the next answer. Goes into the state on disk as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// What is answered.
    pub entries: Arc<Entries>,
    /// Addresses the guard has let go while the mass loss goes on.
    pub released: BTreeSet<Ipv4Addr>,
    /// Associations (their ids) that another one superseded in the last
    /// minute, and when; for [`STALE_READ`].
    pub superseded: BTreeMap<Ipv4Addr, BTreeMap<String, SystemTime>>,
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
    /// The Elastic IP.
    pub public_ip: Ipv4Addr,
    /// Unassociated or missing, and since when.
    pub standing: Standing,
    /// From when on a good answer ends it; none: never by itself.
    pub until: Option<SystemTime>,
    /// Does a binding name it?
    pub bound: bool,
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
    let nothing_else = previous.superseded.is_empty() && previous.released.is_empty();
    if news.is_none() && nothing_else && unknown.is_empty() {
        return (previous.clone(), Losses::default());
    }
    let mut superseded = previous.superseded.clone();
    superseded.values_mut().for_each(|ids| ids.retain(|_, at| is_within(REMEMBERED, *at, now)));
    let mut stale = unknown.clone();
    let mut entries = news.beside(previous);
    for (ip, said) in &news.said {
        let entry = match previous.entries.get(ip) {
            None => Entry { address: Arc::clone(said), standing: Standing::Live, since: now },
            Some(before) => match take(before, said, now, superseded.entry(*ip).or_default()) {
                Some(entry) => entry,
                None => {
                    stale.insert(*ip);
                    before.clone()
                }
            },
        };
        entries.insert(*ip, entry);
    }
    for (ip, before) in &news.unsaid {
        entries.insert(*ip, missing(before, now));
    }
    superseded.retain(|_, ids| !ids.is_empty());

    let mut next = Accepted { entries: Arc::new(entries), released: BTreeSet::new(), superseded };
    next.released = previous.released.iter().filter(|ip| !next.counts(ip)).copied().collect();
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
    for (ip, said) in &news.said {
        let before = previous.entries.get(ip).filter(|before| is_same(&before.address, said));
        let since = before.map_or(now, |before| before.since);
        let address = Arc::clone(said);
        entries.insert(*ip, Entry { address, standing: Standing::Live, since });
    }
    for (ip, _) in &news.unsaid {
        entries.remove(ip);
    }
    Accepted { entries: entries.into(), ..Accepted::default() }
}

/// How an answer differs from what is accepted.
struct News<'a> {
    /// What is new, or said otherwise than it is answered.
    said: BTreeMap<Ipv4Addr, &'a Arc<Address>>,
    /// What is answered and not in the answer.
    unsaid: Vec<(Ipv4Addr, &'a Entry)>,
    /// What is said as it is answered, but is other memory: what is answered
    /// came from the state of the last process, say, or was read at the start.
    copies: Vec<&'a Arc<Address>>,
}

impl<'a> News<'a> {
    /// Of thousands of addresses nearly all are as they were. To find that out
    /// is the price of a poll; it is small where they are the same memory.
    fn of(previous: &'a Accepted, answer: &'a Said) -> Self {
        let (answer, unknown) = (&answer.addresses, &answer.left_out.unknown);
        debug_assert!(
            answer.len() == answer.iter().map(|a| a.public_ip).collect::<BTreeSet<_>>().len(),
            "an Elastic IP stands twice in an answer"
        );
        let mut said = BTreeMap::new();
        let mut copies = Vec::new();
        let mut found = 0;
        for address in breathing(answer.iter()) {
            let ip = address.public_ip;
            let before = previous.entries.get(&ip);
            found += usize::from(before.is_some());
            match before.filter(|before| before.is_live()).map(|before| &before.address) {
                Some(known) if Arc::ptr_eq(known, address) => {}
                Some(known) if *known == *address => copies.push(address),
                _ => drop(said.insert(ip, address)),
            }
        }
        let mut unsaid = Vec::new();
        if found < previous.entries.len() {
            let all: BTreeSet<_> = answer.iter().map(|address| address.public_ip).collect();
            let before = previous.entries.iter().map(|(ip, entry)| (*ip, entry));
            unsaid.extend(before.filter(|(ip, _)| !all.contains(ip) && !unknown.contains(ip)));
        }
        Self { said, unsaid, copies }
    }

    /// The entries before, in the answer's memory where it says the same.
    fn beside(&self, previous: &Accepted) -> Entries {
        let mut entries = Entries::clone(&previous.entries);
        for said in &self.copies {
            if let Some(entry) = entries.get_mut(&said.public_ip) {
                entry.address = Arc::clone(said);
            }
        }
        entries
    }

    /// The everyday poll.
    fn is_none(&self) -> bool {
        self.said.is_empty() && self.unsaid.is_empty()
    }
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

/// Is `at` less than `span` ago? A time in the future is not: the clock was
/// set back, and a move must not wait for it to catch up.
fn is_within(span: Duration, at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|age| age < span)
}

impl Accepted {
    /// What is kept, and until when. Needed by itself after a restart and
    /// when `policy` changes; [`accept`] returns it otherwise.
    pub fn losses(&self, now: SystemTime, policy: &Policy<'_>) -> Losses {
        let mass = self.is_mass_loss(policy);
        let held: Vec<Held> = breathing(self.entries.iter())
            .filter_map(|(ip, entry)| {
                let (since, kept_for) = kept_for(entry, mass, policy)?;
                Some(Held {
                    public_ip: *ip,
                    standing: entry.standing,
                    until: since.checked_add(kept_for),
                    bound: (policy.bound)(&entry.address).is_some(),
                })
            })
            .collect();
        let wake_at = held.iter().filter_map(|h| h.until).filter(|at| *at > now).min();
        Losses { mass, held, wake_at }
    }

    /// Does the entry of `ip` count in [`is_mass_loss`](Self::is_mass_loss)
    /// by itself: has it something to lose, or lost it already?
    fn counts(&self, ip: &Ipv4Addr) -> bool {
        self.entries.get(ip).is_some_and(|e| !e.is_live() || e.address.associated().is_some())
    }

    fn is_mass_loss(&self, policy: &Policy<'_>) -> bool {
        if self.entries.values().all(Entry::is_live) {
            return false;
        }
        let bound = self
            .entries
            .iter()
            .filter(|(ip, entry)| self.counts(ip) && (policy.bound)(&entry.address).is_some());
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
    fn release(&mut self, stale: &BTreeSet<Ipv4Addr>, now: SystemTime, policy: &Policy<'_>) {
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
        stale: &BTreeSet<Ipv4Addr>,
        now: SystemTime,
        policy: &Policy<'_>,
    ) {
        let is_due = |entry: &Entry| {
            kept_for(entry, mass, policy).is_some_and(|(since, kept_for)| {
                policy.accept_losses || elapsed(since, now) >= kept_for
            })
        };
        let due: Vec<Ipv4Addr> = self
            .entries
            .iter()
            .filter(|(ip, entry)| !stale.contains(ip) && is_due(entry))
            .map(|(ip, _)| *ip)
            .collect();
        for ip in due {
            let entries = Arc::make_mut(&mut self.entries);
            let Some(entry) = entries.remove(&ip) else { continue };
            if let Standing::Unassociated { .. } = entry.standing {
                let address = without_association(&entry.address).into();
                entries.insert(ip, Entry { address, standing: Standing::Live, since: now });
            }
            if mass && (policy.bound)(&entry.address).is_some() {
                self.released.insert(ip);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::known::shared;
    use super::super::testing::address;
    use super::super::usable::LeftOut;
    use super::*;
    use crate::source::inventory::Addresses;

    const GUARD: Guard = Guard {
        hold: Duration::from_secs(30),
        missing_hold: Duration::from_secs(300),
        release_after: Duration::from_secs(900),
    };

    /// Addresses 0 to 5; 0 to 3 are bound, 0 with a hold of its own.
    const ADDRESSES: u8 = 6;
    const BOUND: u8 = 4;
    const LONG_HOLD: Duration = Duration::from_secs(60);

    fn ip(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(75, 101, 137, n)
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    /// Address `n` in its `k`-th association.
    fn held_by(n: u8, k: u8) -> Address {
        Address {
            association_id: Some(format!("eipassoc-{n}-{k}")),
            private_ip: Some(Ipv4Addr::new(10, 0, n, k)),
            ..address(ip(n))
        }
    }

    fn bound(address: &Address) -> Option<Duration> {
        match address.public_ip.octets()[3] {
            0 => Some(LONG_HOLD),
            n if n < BOUND => Some(GUARD.hold),
            _ => None,
        }
    }

    fn unbound(_: &Address) -> Option<Duration> {
        None
    }

    const POLICY: Policy<'static> = Policy { guard: GUARD, bound: &bound, accept_losses: false };
    const UNGUARDED: Policy<'static> = Policy { bound: &unbound, ..POLICY };
    const OPERATOR: Policy<'static> = Policy { accept_losses: true, ..POLICY };

    /// A source under test, answered at the times given.
    #[derive(Default)]
    struct Source {
        accepted: Accepted,
        losses: Losses,
        said: Addresses,
    }

    impl Source {
        fn says(&mut self, seconds: u64, answer: &[Address]) {
            self.says_to(&POLICY, seconds, answer);
        }

        fn says_to(&mut self, policy: &Policy<'_>, seconds: u64, answer: &[Address]) {
            let answer = shared(&self.said, answer.to_vec());
            let said = Said::from(Arc::clone(&answer));
            (self.accepted, self.losses) = accept(&self.accepted, &said, at(seconds), policy);
            self.said = answer;
        }

        /// An answer in which the entries of `unknown` cannot be used.
        fn says_but(&mut self, seconds: u64, answer: &[Address], unknown: &[u8]) {
            let unknown = unknown.iter().map(|n| ip(*n)).collect();
            let left_out = LeftOut { unknown, ..LeftOut::default() }.into();
            let said = Said { addresses: shared(&self.said, answer.to_vec()), left_out };
            (self.accepted, self.losses) = accept(&self.accepted, &said, at(seconds), &POLICY);
            self.said = said.addresses;
        }

        fn private(&self, n: u8) -> Option<u8> {
            self.entry(n)?.address.private_ip.map(|ip| ip.octets()[3])
        }

        fn entry(&self, n: u8) -> Option<&Entry> {
            self.accepted.entries.get(&ip(n))
        }

        fn wakes_at(&self) -> Option<u64> {
            self.losses.wake_at.map(|t| t.duration_since(at(0)).unwrap().as_secs())
        }
    }

    #[test]
    fn an_unassociated_address_keeps_its_association_for_the_hold() {
        let mut source = Source::default();
        source.says(0, &[held_by(1, 1), held_by(2, 1)]);
        assert_eq!(source.losses, Losses::default());
        let mut loose = address(ip(1));
        loose.tags.insert("Role".into(), "db".into());
        source.says(10, &[loose.clone(), held_by(2, 1)]);
        assert_eq!(source.private(1), Some(1));
        let entry = source.entry(1).unwrap();
        assert_eq!(entry.standing, Standing::Unassociated { since: at(10) });
        assert_eq!(entry.address.tags, loose.tags, "tags are not held");
        assert_eq!(source.wakes_at(), Some(40));
        source.says(39, &[loose.clone(), held_by(2, 1)]);
        assert_eq!(source.private(1), Some(1));
        source.says(40, &[loose.clone(), held_by(2, 1)]);
        assert_eq!(*source.entry(1).unwrap().address, loose);
        assert_eq!(source.losses, Losses::default());
        source.says(41, &[held_by(1, 2), held_by(2, 1)]);
        assert_eq!(source.private(1), Some(2));
    }

    #[test]
    fn an_association_that_returns_ends_the_hold_and_keeps_its_age() {
        let mut source = Source::default();
        source.says(0, &[held_by(1, 1)]);
        source.says(10, &[address(ip(1))]);
        source.says(12, &[held_by(1, 1)]);
        assert_eq!(
            source.entry(1),
            Some(&Entry { address: held_by(1, 1).into(), standing: Standing::Live, since: at(0) })
        );
        source.says(20, &[address(ip(1))]);
        source.says(49, &[address(ip(1))]);
        assert_eq!(source.private(1), Some(1), "a new hold");
    }

    #[test]
    fn the_longest_hold_of_the_bindings_counts() {
        let mut source = Source::default();
        source.says(0, &[held_by(0, 1)]);
        source.says(1, &[address(ip(0))]);
        assert_eq!(source.wakes_at(), Some(61));
        source.says(60, &[address(ip(0))]);
        assert_eq!(source.private(0), Some(1));
        source.says(61, &[address(ip(0))]);
        assert_eq!(source.private(0), None);
    }

    #[test]
    fn a_missing_address_is_kept_longer() {
        let mut source = Source::default();
        source.says(0, &[held_by(1, 1), address(ip(2))]);
        source.says(1, &[]);
        assert_eq!(source.entry(1).unwrap().standing, Standing::Missing { since: at(1) });
        assert_eq!(source.wakes_at(), Some(301));
        source.says(300, &[]);
        assert_eq!(source.private(1), Some(1));
        assert!(source.entry(2).is_some());
        source.says(301, &[]);
        assert_eq!(source.accepted, Accepted::default());
    }

    #[test]
    fn a_mass_loss_waits_for_time_or_an_operator() {
        let all: Vec<_> = (0..4).map(|n| held_by(n, 1)).collect();
        let one_left = [held_by(0, 1), address(ip(1)), address(ip(2))];
        let start = || {
            let mut source = Source::default();
            source.says(0, &all);
            source.says(10, &one_left);
            assert!(source.losses.mass);
            assert_eq!(source.wakes_at(), Some(910));
            source.says(909, &one_left);
            assert_eq!([1, 2, 3].map(|n| source.private(n)), [Some(1); 3]);
            source
        };
        let mut source = start();
        source.says(910, &one_left);
        assert_eq!([1, 2, 3].map(|n| source.private(n)), [None; 3]);
        assert_eq!((source.private(0), &source.losses), (Some(1), &Losses::default()));

        let mut source = start();
        source.says_to(&OPERATOR, 909, &one_left);
        assert_eq!([1, 2, 3].map(|n| source.private(n)), [None; 3]);

        // Half of them back: no mass loss any longer, and the rest is due.
        let mut source = start();
        source.says(909, &[held_by(0, 1), held_by(1, 1), address(ip(2)), held_by(3, 1)]);
        assert_eq!((source.private(2), source.private(3)), (None, Some(1)));
    }

    #[test]
    fn what_the_guard_lets_go_counts_until_the_event_is_over() {
        let mut source = Source::default();
        let said = |lost: u8| -> Vec<_> {
            (0..4).map(|n| if n < lost { address(ip(n)) } else { held_by(n, 1) }).collect()
        };
        source.says(0, &said(0));
        source.says(10, &said(2));
        source.says(20, &said(3));
        assert!(source.losses.mass);
        source.says(910, &said(3));
        assert_eq!([0, 1, 2].map(|n| source.private(n)), [None, None, Some(1)]);
        // One of two is no mass loss by itself, but it was one of three.
        source.says(919, &said(3));
        assert_eq!((source.private(2), source.wakes_at()), (Some(1), Some(920)));
        source.says(920, &said(3));
        assert_eq!((source.private(2), source.losses.mass), (None, false));
        assert_eq!(source.accepted.released, BTreeSet::new());
    }

    #[test]
    fn two_of_two_and_what_is_not_bound_make_no_mass_loss() {
        let mut source = Source::default();
        source.says(0, &[held_by(1, 1), held_by(2, 1), held_by(4, 1), held_by(5, 1)]);
        let none: Vec<_> = [1, 2, 4, 5].map(|n| address(ip(n))).into();
        source.says(10, &none);
        assert!(!source.losses.mass);
        source.says(40, &none);
        assert_eq!([1, 2, 4, 5].map(|n| source.private(n)), [None; 4]);
    }

    #[test]
    fn half_is_no_mass_loss() {
        let mut source = Source::default();
        let said = |lost: u8| -> Vec<_> {
            (0..4).map(|n| if n < lost { address(ip(n)) } else { held_by(n, 1) }).collect()
        };
        source.says(0, &said(0));
        source.says(10, &said(2));
        assert!(!source.losses.mass);
        source.says(11, &said(3));
        assert!(source.losses.mass);
    }

    #[test]
    fn the_end_of_an_event_frees_what_it_held_back() {
        let mut source = Source::default();
        let rest = [held_by(5, 1)];
        source.says(
            0,
            &[held_by(1, 1), held_by(2, 1), held_by(3, 1), held_by(4, 1), rest[0].clone()],
        );
        source.says(10, &[held_by(4, 1), rest[0].clone()]);
        // Not bound, lost during the event, and due long before its end.
        source.says(20, &rest);
        source.says(909, &rest);
        assert!(source.losses.mass && source.private(4) == Some(1));
        source.says(910, &rest);
        assert_eq!(source.accepted.entries.keys().copied().collect::<Vec<_>>(), [ip(5)]);
        assert_eq!(source.accepted.released, BTreeSet::new());
    }

    #[test]
    fn only_bound_addresses_count_once_let_go() {
        let mut source = Source::default();
        let all: Vec<_> = (0..6).map(|n| held_by(n, 1)).collect();
        source.says(0, &all);
        source.says(10, &all[..2]);
        // 4 and 5 are not bound.
        source.says(20, &all[..1]);
        assert!(source.losses.mass);
        source.says(910, &all[..1]);
        assert_eq!(source.accepted.released, BTreeSet::from([ip(2), ip(3)]));
    }

    #[test]
    fn spare_addresses_do_not_weaken_the_guard() {
        let mut source = Source::default();
        // One bound address is held by somebody, three are spare.
        source.says(0, &[held_by(0, 1), address(ip(1)), address(ip(2)), address(ip(3))]);
        source.says(10, &[]);
        assert!(source.losses.mass, "all four went at once");
        let mut source = Source::default();
        source.says(0, &[held_by(0, 1), held_by(1, 1), held_by(2, 1), address(ip(3))]);
        source.says(10, &[held_by(0, 1), address(ip(1)), address(ip(2)), address(ip(3))]);
        assert!(source.losses.mass, "two of the three that had something to lose");
    }

    #[test]
    fn a_stale_read_is_ignored_and_a_newer_move_is_not() {
        let mut source = Source::default();
        source.says(0, &[held_by(1, 1)]);
        source.says(2, &[held_by(1, 2)]);
        assert_eq!(source.private(1), Some(2));
        let before = source.accepted.entries.clone();
        source.says(4, &[held_by(1, 1)]);
        assert!(Arc::ptr_eq(&before, &source.accepted.entries), "nothing to publish");
        source.says(5, &[held_by(1, 3)]);
        assert_eq!(source.private(1), Some(3));
        source.says(11, &[held_by(1, 2)]);
        assert_eq!(source.private(1), Some(3));
        // Later it is believed, and the other passes at once when it returns.
        source.says(15, &[held_by(1, 2)]);
        assert_eq!(source.private(1), Some(2));
        source.says(16, &[held_by(1, 3)]);
        assert_eq!(source.private(1), Some(3));
    }

    #[test]
    fn a_stale_read_during_a_hold_neither_ends_nor_resets_it() {
        let mut source = Source::default();
        source.says(0, &[held_by(1, 1)]);
        source.says(28, &[held_by(1, 2)]);
        source.says(29, &[address(ip(1))]);
        source.says(37, &[held_by(1, 1)]);
        assert_eq!(source.private(1), Some(2));
        source.says(58, &[address(ip(1))]);
        assert_eq!(source.private(1), Some(2));
        source.says(59, &[address(ip(1))]);
        assert_eq!(source.private(1), None);
        // A hold that is due does not end on a stale read either.
        let brief = Policy { bound: &|_| Some(Duration::from_secs(5)), ..POLICY };
        source.says(100, &[held_by(1, 3)]);
        source.says(101, &[held_by(1, 4)]);
        source.says(102, &[address(ip(1))]);
        source.says_to(&brief, 108, &[held_by(1, 3)]);
        assert_eq!((source.private(1), source.wakes_at()), (Some(4), None));
        source.says_to(&brief, 109, &[address(ip(1))]);
        assert_eq!(source.private(1), None);
    }

    #[test]
    fn a_clock_set_back_prolongs_a_hold_by_one_hold_at_most() {
        let mut source = Source::default();
        source.says(5000, &[held_by(1, 1), held_by(2, 1)]);
        source.says(5001, &[address(ip(1))]);
        source.says(100, &[address(ip(1))]);
        assert_eq!(source.wakes_at(), Some(130));
        source.says(130, &[address(ip(1))]);
        assert_eq!(source.private(1), None);
        source.says(400, &[address(ip(1))]);
        assert_eq!(source.entry(2), None);
        // Nor does a superseded association in the future hold a move back.
        source.says(5000, &[held_by(1, 1)]);
        source.says(5001, &[held_by(1, 2)]);
        source.says(100, &[held_by(1, 1)]);
        assert_eq!(source.private(1), Some(1));
    }

    #[test]
    fn what_cannot_be_used_is_no_loss_and_changes_nothing() {
        let mut source = Source::default();
        source.says(0, &[held_by(0, 1), held_by(1, 1), held_by(2, 1)]);
        let before = Arc::clone(&source.accepted.entries);
        // Two of three bound addresses: as a loss that would be a mass loss.
        source.says_but(10, &[held_by(0, 1)], &[1, 2]);
        assert!(Arc::ptr_eq(&before, &source.accepted.entries), "nothing to publish");
        assert_eq!(source.losses, Losses::default());
        source.says_but(10_000, &[held_by(0, 1)], &[1, 2]);
        assert_eq!((source.private(1), source.private(2)), (Some(1), Some(1)));
        // What was kept stays kept, and does not end on it.
        source.says(10_001, &[held_by(0, 1), address(ip(1)), held_by(2, 1)]);
        source.says_but(10_002, &[held_by(0, 1), held_by(2, 1)], &[1]);
        assert_eq!(source.losses.held.len(), 1, "still told");
        source.says_but(10_040, &[held_by(0, 1), held_by(2, 1)], &[1]);
        assert_eq!(source.private(1), Some(1));
        source.says(10_041, &[held_by(0, 1), address(ip(1)), held_by(2, 1)]);
        assert_eq!(source.private(1), None);
        // An address that was not known is not known now, and others move.
        source.says_but(10_050, &[held_by(0, 2), address(ip(1)), held_by(2, 1)], &[3]);
        assert_eq!((source.entry(3), source.private(0)), (None, Some(2)));
    }

    #[test]
    fn what_cannot_be_used_in_a_file_changes_nothing() {
        let said = |all: &[Address], unknown: &[u8]| {
            let unknown = unknown.iter().map(|n| ip(*n)).collect();
            let left_out = LeftOut { unknown, ..LeftOut::default() }.into();
            Said { addresses: shared(&[], all.to_vec()), left_out }
        };
        let first =
            accept_file(&Accepted::default(), &said(&[held_by(1, 1), held_by(2, 1)], &[]), at(0));
        let next = accept_file(&first, &said(&[held_by(2, 2)], &[1, 3]), at(5));
        let private = |n: u8| next.entries.get(&ip(n)).and_then(|e| e.address.private_ip);
        assert_eq!(private(1), held_by(1, 1).private_ip);
        assert_eq!(private(2), held_by(2, 2).private_ip);
        assert_eq!(private(3), None);
    }

    #[test]
    fn the_contents_of_a_file_are_the_truth() {
        let accept_file = |before: &Accepted, said: &[Address], at| {
            accept_file(before, &shared(&[], said.to_vec()).into(), at)
        };
        let first = accept_file(&Accepted::default(), &[held_by(1, 1), held_by(2, 1)], at(0));
        let again = accept_file(&first, &[held_by(1, 1), held_by(2, 1)], at(5));
        assert!(Arc::ptr_eq(&first.entries, &again.entries));
        let moved = accept_file(&again, &[held_by(1, 2)], at(10));
        let since = |n| moved.entries.get(&ip(n)).map(|e| (e.since, e.is_live()));
        assert_eq!((since(1), since(2)), (Some((at(10), true)), None));
        let mut tagged = held_by(1, 2);
        tagged.tags.insert("Role".into(), "db".into());
        let moved = accept_file(&moved, &[tagged.clone()], at(20));
        let entry = Entry { address: tagged.into(), standing: Standing::Live, since: at(10) };
        assert_eq!(moved.entries.get(&ip(1)), Some(&entry));
    }

    /// What happens to one address in an answer.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Says {
        Absent,
        Loose,
        /// In the association of before.
        Same,
        /// In a new one.
        New,
        /// In the one before the last.
        Stale,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Answer([Says; ADDRESSES as usize]),
        /// The answer of before again.
        Again,
        /// An operator accepts the answer of before.
        Accept,
        /// No answer.
        Failure,
    }

    fn says() -> impl Strategy<Value = Says> {
        prop_oneof![
            2 => Just(Says::Absent),
            3 => Just(Says::Loose),
            6 => Just(Says::Same),
            2 => Just(Says::New),
            1 => Just(Says::Stale),
        ]
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
        let gap = prop_oneof![
            4 => 1..4u64,
            2 => 5..20u64,
            2 => 25..40u64,
            1 => 200..400u64,
            1 => 800..1000u64,
        ];
        let step = prop_oneof![
            6 => proptest::array::uniform6(says()).prop_map(Step::Answer),
            1 => Just(Step::Answer([Says::Same; 6])),
            1 => Just(Step::Answer([Says::Absent; 6])),
            1 => Just(Step::Answer([Says::Loose; 6])),
            4 => Just(Step::Again),
            1 => Just(Step::Accept),
            2 => Just(Step::Failure),
        ];
        proptest::collection::vec((gap, step), 1..40)
    }

    /// EC2 as the test plays it: which association comes next.
    #[derive(Default)]
    struct Ec2 {
        now: u64,
        last: [u8; ADDRESSES as usize],
        answer: Vec<Address>,
    }

    impl Ec2 {
        /// The answer of a step, if it is a good one, and whether an operator
        /// accepts it.
        fn step(&mut self, (gap, step): &(u64, Step)) -> Option<(Vec<Address>, bool)> {
            self.now += gap;
            match step {
                Step::Failure => return None,
                Step::Again | Step::Accept => {}
                Step::Answer(all) => {
                    self.answer =
                        (0..ADDRESSES).zip(all).filter_map(|(n, s)| self.one(n, *s)).collect();
                }
            }
            Some((self.answer.clone(), matches!(step, Step::Accept)))
        }

        fn one(&mut self, n: u8, says: Says) -> Option<Address> {
            let last = &mut self.last[usize::from(n)];
            match says {
                Says::Absent => return None,
                Says::Loose => return Some(address(ip(n))),
                Says::Same => {}
                Says::New => *last += 1,
                Says::Stale => return Some(held_by(n, last.saturating_sub(1))),
            }
            Some(held_by(n, *last))
        }
    }

    /// What was seen of one address so far.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Seen {
        Absent,
        Loose,
        In(u8),
    }

    /// A model without a guard: looks at everything ever said of an address,
    /// stale reads left out, and remembers nothing itself.
    fn model(log: &[(u64, Seen)]) -> Option<Option<u8>> {
        let last = log.iter().rposition(|(_, seen)| matches!(seen, Seen::In(_)));
        let association = last.and_then(|i| match log[i].1 {
            Seen::In(k) => Some(k),
            Seen::Absent | Seen::Loose => None,
        });
        // Runs of equal sightings since then: (what, how long).
        let mut runs: Vec<(Seen, u64, u64)> = Vec::new();
        for (t, seen) in log.iter().skip(last.map_or(0, |i| i + 1)) {
            match runs.last_mut() {
                Some((what, _, end)) if what == seen => *end = *t,
                _ => runs.push((*seen, *t, *t)),
            }
        }
        let is_over = |(what, from, to): &(Seen, u64, u64)| match what {
            Seen::Loose => to - from >= GUARD.hold.as_secs(),
            Seen::Absent => to - from >= GUARD.missing_hold.as_secs(),
            Seen::In(_) => false,
        };
        let was_there = last.is_some() || runs.iter().any(|(what, ..)| *what == Seen::Loose);
        let gone = runs.last().is_some_and(|run| run.0 == Seen::Absent && is_over(run));
        let kept = association.filter(|_| !runs.iter().any(is_over));
        (was_there && !gone).then_some(kept)
    }

    proptest! {
        /// Without bound addresses there is no guard, and everything follows
        /// from what was said of each address alone.
        #[test]
        fn like_the_model(steps in steps()) {
            let mut ec2 = Ec2::default();
            let mut source = Source::default();
            let mut logs = vec![Vec::new(); usize::from(ADDRESSES)];
            for step in steps.iter().filter(|(_, step)| !matches!(step, Step::Accept)) {
                let Some((answer, _)) = ec2.step(step) else { continue };
                let before = source.accepted.clone();
                source.says_to(&UNGUARDED, ec2.now, &answer);
                for n in 0..ADDRESSES {
                    let said = answer.iter().find(|a| a.public_ip == ip(n));
                    let is_stale = said.and_then(|s| s.association_id.as_ref()).is_some_and(|id| {
                        before.entries.contains_key(&ip(n)) &&
                        before.superseded.get(&ip(n)).and_then(|ids| ids.get(id))
                            .is_some_and(|t| elapsed(*t, at(ec2.now)) < STALE_READ)
                    });
                    let log = &mut logs[usize::from(n)];
                    if !is_stale {
                        log.push((ec2.now, match said {
                            None => Seen::Absent,
                            Some(a) => a.private_ip.map_or(Seen::Loose, |ip| Seen::In(ip.octets()[3])),
                        }));
                    }
                    let found = source.entry(n).map(|_| source.private(n));
                    prop_assert_eq!(found, model(log), "address {} at {}: {:?}", n, ec2.now, log);
                }
            }
        }

        #[test]
        fn promises(steps in steps()) {
            let mut ec2 = Ec2::default();
            let mut source = Source::default();
            // Since when each address has not been seen as it is answered.
            let mut lost_at = [None; ADDRESSES as usize];
            for step in &steps {
                let Some((answer, accepts)) = ec2.step(step) else {
                    // Nothing happens without a good answer: there is no
                    // function to call.
                    continue;
                };
                let now = ec2.now;
                let before = source.accepted.clone();
                let policy = if accepts { OPERATOR } else { POLICY };
                source.says_to(&policy, now, &answer);

                // An equal answer gives an equal result: nothing is published.
                // Also where no memory is shared.
                let said = shared(&[], answer.clone()).into();
                let (again, losses) = accept(&source.accepted, &said, at(now), &policy);
                prop_assert!(Arc::ptr_eq(&again.entries, &source.accepted.entries));
                prop_assert_eq!(&again, &source.accepted);
                prop_assert_eq!(&losses, &source.losses);

                let had = |n: u8| before.entries.get(&ip(n)).and_then(|e| e.address.private_ip);
                let has = |n: u8| source.accepted.entries.get(&ip(n)).and_then(|e| e.address.private_ip);
                let said = |n: u8| answer.iter().find(|a| a.public_ip == ip(n));

                for n in 0..ADDRESSES {
                    let lost = &mut lost_at[usize::from(n)];
                    match said(n) {
                        Some(a) if a.private_ip.is_some() => {
                            let stale = before.superseded.get(&ip(n))
                                .and_then(|ids| ids.get(a.association_id.as_ref().unwrap()))
                                .is_some_and(|t| elapsed(*t, at(now)) < STALE_READ);
                            if !stale || !before.entries.contains_key(&ip(n)) {
                                // Gains and moves pass at once.
                                let entry = source.entry(n).unwrap();
                                prop_assert_eq!((&*entry.address, entry.is_live()), (a, true));
                                *lost = None;
                            } else {
                                prop_assert_eq!(source.entry(n), before.entries.get(&ip(n)));
                            }
                        }
                        // A gain too: it can be answered as public.
                        Some(_) => prop_assert!(source.entry(n).is_some()),
                        None => {}
                    }
                    let unsaid = said(n).is_none_or(|a| a.private_ip.is_none());
                    if unsaid && had(n).is_some() {
                        lost.get_or_insert(now);
                    }
                    if had(n).is_some() && has(n).is_none() {
                        // A loss: said now, and said for long enough.
                        prop_assert!(unsaid);
                        let least = if n == 0 { LONG_HOLD } else { GUARD.hold }
                            .min(GUARD.missing_hold);
                        let since = lost.take().unwrap();
                        prop_assert!(accepts || now - since >= least.as_secs());
                    }
                }

                // A mass loss passes with time or an operator only.
                let of_bound = |f: &dyn Fn(u8) -> bool| (0..BOUND).filter(|n| f(*n)).count();
                                let unsaid = |n: u8| said(n).is_none_or(|a| a.private_ip.is_none());
                let at_stake = of_bound(&|n| had(n).is_some() || !unsaid(n));
                let lost = of_bound(&|n| had(n).is_some() && unsaid(n));
                if at_stake >= 3 && lost * 2 > at_stake && !accepts {
                    for n in (0..BOUND).filter(|n| had(*n).is_some() && has(*n).is_none()) {
                        let Some(Entry { standing, .. }) = before.entries.get(&ip(n)) else {
                            panic!("answered before")
                        };
                        let since = match standing {
                            Standing::Unassociated { since } | Standing::Missing { since } => *since,
                            Standing::Live => at(now),
                        };
                        prop_assert!(elapsed(since, at(now)) >= GUARD.release_after);
                    }
                }

                if accepts {
                    let kept: Vec<_> = (0..ADDRESSES).filter(|n| unsaid(*n) && has(*n).is_some()).collect();
                    prop_assert_eq!(kept, Vec::<u8>::new());
                }
            }
            // Every loss that good answers go on showing ends, at the time
            // that was announced.
            while let Some(wake_at) = source.wakes_at() {
                ec2.now = ec2.now.max(wake_at);
                let before = source.accepted.clone();
                source.says(ec2.now, &ec2.answer.clone());
                let stale = ec2.answer.iter().any(|a| before.superseded.contains_key(&a.public_ip));
                prop_assert!(stale || before.entries != source.accepted.entries);
                prop_assert!(source.wakes_at().is_none_or(|next| next > ec2.now));
            }
            source.says(ec2.now + 10_000, &ec2.answer.clone());
            let kept = source.accepted.entries.values().filter(|e| !e.is_live()).count();
            prop_assert_eq!(kept, 0);
        }
    }
}
