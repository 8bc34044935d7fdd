//! How losses are taken, by examples; `model` tries all orders of events.

mod model;

use std::net::Ipv4Addr;

use super::*;
use crate::source::inventory::Addresses;
use crate::source::known::shared;
use crate::source::testing::{address, edge, with_id};
use crate::source::usable::LeftOut;

const GUARD: Guard = Guard {
    hold: Duration::from_secs(30),
    missing_hold: Duration::from_secs(300),
    release_after: Duration::from_secs(900),
};

/// Addresses 0 to 5; 0 to 3 are bound, 0 with a hold of its own.
const ADDRESSES: u8 = 6;
const BOUND: u8 = 4;
const LONG_HOLD: Duration = Duration::from_secs(60);

/// Those without a public address. One is bound.
const EDGES: [u8; 2] = [3, 5];

/// Address `n`, which nothing holds.
fn loose(n: u8) -> Address {
    match EDGES.contains(&n) {
        true => edge(&format!("eipalloc-0{n}")),
        false => address(Ipv4Addr::new(75, 101, 137, n)),
    }
}

/// What address `n` is known by.
fn of(n: u8) -> Allocation {
    loose(n).allocation()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// Address `n` in its `k`-th association.
fn held_by(n: u8, k: u8) -> Address {
    Address {
        association_id: Some(format!("eipassoc-{n}-{k}")),
        private_ip: Some(Ipv4Addr::new(10, 0, n, k)),
        ..loose(n)
    }
}

fn bound(address: &Address) -> Option<Duration> {
    match (0..ADDRESSES).find(|n| of(*n) == address.allocation())? {
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
        let unknown = unknown.iter().map(|n| of(*n)).collect();
        let left_out = LeftOut { unknown, ..LeftOut::default() }.into();
        let said = Said { addresses: shared(&self.said, answer.to_vec()), left_out };
        (self.accepted, self.losses) = accept(&self.accepted, &said, at(seconds), &POLICY);
        self.said = said.addresses;
    }

    fn private(&self, n: u8) -> Option<u8> {
        self.entry(n)?.address.private_ip.map(|ip| ip.octets()[3])
    }

    fn entry(&self, n: u8) -> Option<&Entry> {
        self.accepted.entries.get(&of(n))
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
    let mut loose = loose(1);
    loose.tags.insert("Role", "db");
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
    source.says(10, &[loose(1)]);
    source.says(12, &[held_by(1, 1)]);
    assert_eq!(
        source.entry(1),
        Some(&Entry { address: held_by(1, 1).into(), standing: Standing::Live, since: at(0) })
    );
    source.says(20, &[loose(1)]);
    source.says(49, &[loose(1)]);
    assert_eq!(source.private(1), Some(1), "a new hold");
}

#[test]
fn the_longest_hold_of_the_bindings_counts() {
    let mut source = Source::default();
    source.says(0, &[held_by(0, 1)]);
    source.says(1, &[loose(0)]);
    assert_eq!(source.wakes_at(), Some(61));
    source.says(60, &[loose(0)]);
    assert_eq!(source.private(0), Some(1));
    source.says(61, &[loose(0)]);
    assert_eq!(source.private(0), None);
}

#[test]
fn a_missing_address_is_kept_longer() {
    let mut source = Source::default();
    source.says(0, &[held_by(1, 1), loose(2)]);
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
    let one_left = [held_by(0, 1), loose(1), loose(2)];
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
    source.says(909, &[held_by(0, 1), held_by(1, 1), loose(2), held_by(3, 1)]);
    assert_eq!((source.private(2), source.private(3)), (None, Some(1)));
}

#[test]
fn what_the_guard_lets_go_counts_until_the_event_is_over() {
    let mut source = Source::default();
    let said = |lost: u8| -> Vec<_> {
        (0..4).map(|n| if n < lost { loose(n) } else { held_by(n, 1) }).collect()
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
    let none: Vec<_> = [1, 2, 4, 5].map(loose).into();
    source.says(10, &none);
    assert!(!source.losses.mass);
    source.says(40, &none);
    assert_eq!([1, 2, 4, 5].map(|n| source.private(n)), [None; 4]);
}

#[test]
fn half_is_no_mass_loss() {
    let mut source = Source::default();
    let said = |lost: u8| -> Vec<_> {
        (0..4).map(|n| if n < lost { loose(n) } else { held_by(n, 1) }).collect()
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
    source.says(0, &[held_by(1, 1), held_by(2, 1), held_by(3, 1), held_by(4, 1), rest[0].clone()]);
    source.says(10, &[held_by(4, 1), rest[0].clone()]);
    // Not bound, lost during the event, and due long before its end.
    source.says(20, &rest);
    source.says(909, &rest);
    assert!(source.losses.mass && source.private(4) == Some(1));
    source.says(910, &rest);
    assert_eq!(source.accepted.entries.keys().cloned().collect::<Vec<_>>(), [of(5)]);
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
    assert_eq!(source.accepted.released, BTreeSet::from([of(2), of(3)]));
}

#[test]
fn spare_addresses_do_not_weaken_the_guard() {
    let mut source = Source::default();
    // One bound address is held by somebody, three are spare.
    source.says(0, &[held_by(0, 1), loose(1), loose(2), loose(3)]);
    source.says(10, &[]);
    assert!(source.losses.mass, "all four went at once");
    let mut source = Source::default();
    source.says(0, &[held_by(0, 1), held_by(1, 1), held_by(2, 1), loose(3)]);
    source.says(10, &[held_by(0, 1), loose(1), loose(2), loose(3)]);
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
    source.says(29, &[loose(1)]);
    source.says(37, &[held_by(1, 1)]);
    assert_eq!(source.private(1), Some(2));
    source.says(58, &[loose(1)]);
    assert_eq!(source.private(1), Some(2));
    source.says(59, &[loose(1)]);
    assert_eq!(source.private(1), None);
    // A hold that is due does not end on a stale read either.
    let brief = Policy { bound: &|_| Some(Duration::from_secs(5)), ..POLICY };
    source.says(100, &[held_by(1, 3)]);
    source.says(101, &[held_by(1, 4)]);
    source.says(102, &[loose(1)]);
    source.says_to(&brief, 108, &[held_by(1, 3)]);
    assert_eq!((source.private(1), source.wakes_at()), (Some(4), None));
    source.says_to(&brief, 109, &[loose(1)]);
    assert_eq!(source.private(1), None);
}

#[test]
fn a_clock_set_back_prolongs_a_hold_by_one_hold_at_most() {
    let mut source = Source::default();
    source.says(5000, &[held_by(1, 1), held_by(2, 1)]);
    source.says(5001, &[loose(1)]);
    source.says(100, &[loose(1)]);
    assert_eq!(source.wakes_at(), Some(130));
    source.says(130, &[loose(1)]);
    assert_eq!(source.private(1), None);
    source.says(400, &[loose(1)]);
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
    source.says(10_001, &[held_by(0, 1), loose(1), held_by(2, 1)]);
    source.says_but(10_002, &[held_by(0, 1), held_by(2, 1)], &[1]);
    assert_eq!(source.losses.held.len(), 1, "still told");
    source.says_but(10_040, &[held_by(0, 1), held_by(2, 1)], &[1]);
    assert_eq!(source.private(1), Some(1));
    source.says(10_041, &[held_by(0, 1), loose(1), held_by(2, 1)]);
    assert_eq!(source.private(1), None);
    // An address that was not known is not known now, and others move.
    source.says_but(10_050, &[held_by(0, 2), loose(1), held_by(2, 1)], &[3]);
    assert_eq!((source.entry(3), source.private(0)), (None, Some(2)));
}

#[test]
fn what_cannot_be_used_in_a_file_changes_nothing() {
    let said = |all: &[Address], unknown: &[u8]| {
        let unknown = unknown.iter().map(|n| of(*n)).collect();
        let left_out = LeftOut { unknown, ..LeftOut::default() }.into();
        Said { addresses: shared(&[], all.to_vec()), left_out }
    };
    let first =
        accept_file(&Accepted::default(), &said(&[held_by(1, 1), held_by(2, 1)], &[]), at(0));
    let next = accept_file(&first, &said(&[held_by(2, 2)], &[1, 3]), at(5));
    let private = |n: u8| next.entries.get(&of(n)).and_then(|e| e.address.private_ip);
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
    let since = |n| moved.entries.get(&of(n)).map(|e| (e.since, e.is_live()));
    assert_eq!((since(1), since(2)), (Some((at(10), true)), None));
    let mut tagged = held_by(1, 2);
    tagged.tags.insert("Role", "db");
    let moved = accept_file(&moved, &[tagged.clone()], at(20));
    let entry = Entry { address: tagged.into(), standing: Standing::Live, since: at(10) };
    assert_eq!(moved.entries.get(&of(1)), Some(&entry));
}

/// The address as its `k`-th allocation, if it is an Elastic IP: of others, the id says which
/// address it is.
fn allocated(k: u8, address: Address) -> Address {
    with_id(Some(&format!("eipalloc-{k}")), &address)
}

#[test]
fn an_id_that_comes_is_neither_a_loss_nor_a_move() {
    let mut source = Source::default();
    // As a file or the state of an older eipdns has them.
    source.says(0, &[held_by(0, 1), held_by(1, 1), held_by(2, 1)]);
    source.says(5, &[held_by(0, 1), loose(1), held_by(2, 1)]);
    let known = [held_by(0, 1), loose(1), held_by(2, 1)].map(|a| allocated(1, a));
    source.says(10, &known);
    assert_eq!(source.accepted.entries.len(), 3);
    for n in 0..3 {
        let entry = source.entry(n).unwrap();
        assert_eq!(entry.address.allocation_id(), Some("eipalloc-1"));
        assert_eq!((entry.since, source.private(n)), (at(0), Some(1)));
    }
    // The hold goes on as it was.
    assert_eq!(source.entry(1).unwrap().standing, Standing::Unassociated { since: at(5) });
    assert_eq!((source.losses.held.len(), source.wakes_at()), (1, Some(35)));
    assert_eq!((&source.accepted.superseded, source.losses.mass), (&BTreeMap::new(), false));
    // EC2 shows one with every Elastic IP: an answer without them takes no name's away.
    source.says(12, &known.clone().map(|a| with_id(None, &a)));
    for n in 0..3 {
        let entry = source.entry(n).unwrap();
        assert_eq!(entry.address.allocation_id(), Some("eipalloc-1"));
    }
    // Nor in a file.
    let file = |before: &Accepted, said: &[Address], seconds| {
        accept_file(before, &shared(&[], said.to_vec()).into(), at(seconds))
    };
    let accepted = file(&Accepted::default(), &[held_by(1, 1)], 0);
    let accepted = file(&accepted, &[allocated(1, held_by(1, 1))], 5);
    let entry = &accepted.entries[&of(1)];
    assert_eq!((accepted.entries.len(), entry.since), (1, at(0)));
    assert_eq!(entry.address.allocation_id(), Some("eipalloc-1"));
}

#[test]
fn an_address_that_was_recovered_takes_its_place_at_once() {
    let mut source = Source::default();
    let all = |k, association| [0, 1, 2].map(|n| allocated(k, held_by(n, association)));
    source.says(0, &all(1, 1));
    source.says(10, &[]);
    assert!(source.losses.mass && source.losses.held.len() == 3);
    source.says(20, &all(2, 2));
    assert_eq!(source.losses, Losses::default());
    for n in 0..3 {
        let entry = source.entry(n).unwrap();
        assert_eq!((&*entry.address, entry.is_live()), (&allocated(2, held_by(n, 2)), true));
        assert_eq!(entry.since, at(20));
    }
    // What answered before it was recovered is a stale read.
    source.says(25, &all(1, 1));
    assert_eq!(source.private(1), Some(2));
    // Recovered and not associated yet, it is missing no longer; what it was last
    // associated with is kept for its hold.
    source.says(30, &[all(2, 2)[0].clone(), all(2, 2)[2].clone()]);
    source.says(40, &[all(2, 2)[0].clone(), allocated(3, loose(1)), all(2, 2)[2].clone()]);
    let entry = source.entry(1).unwrap();
    assert_eq!(entry.standing, Standing::Unassociated { since: at(40) });
    assert_eq!(entry.address.allocation_id(), Some("eipalloc-3"));
    assert_eq!((source.private(1), source.wakes_at()), (Some(2), Some(70)));
}

#[test]
fn an_address_that_the_guard_let_go_is_lost_no_longer_once_it_is_recovered() {
    let mut source = Source::default();
    let said = |lost: u8| -> Vec<_> { (lost..4).map(|n| allocated(1, held_by(n, 1))).collect() };
    source.says(0, &said(0));
    source.says(10, &said(2));
    source.says(20, &said(3));
    source.says(910, &said(3));
    assert_eq!(source.accepted.released, BTreeSet::from([of(0), of(1)]));
    // Two of four are left: the event is over, and 2 has had its time.
    let mut recovered = said(3);
    recovered.push(allocated(2, held_by(0, 2)));
    source.says(911, &recovered);
    assert_eq!((source.accepted.released.len(), source.losses.mass), (0, false));
    assert_eq!((source.private(0), source.private(2)), (Some(2), None));
}

#[test]
fn a_binding_by_id_ends_with_the_allocation() {
    let by_id: Policy<'_> = Policy {
        bound: &|address| (address.allocation_id() == Some("eipalloc-1")).then_some(GUARD.hold),
        ..POLICY
    };
    let mut source = Source::default();
    let all = |k| [0, 1, 2].map(|n| allocated(k, held_by(n, k)));
    source.says_to(&by_id, 0, &all(1));
    source.says_to(&by_id, 10, &[]);
    assert!(source.losses.mass && source.losses.held.iter().all(|held| held.bound));
    // Nothing is bound to what came in their place, and nothing is lost of that.
    source.says_to(&by_id, 20, &all(2));
    assert_eq!((&source.losses, source.accepted.released.len()), (&Losses::default(), 0));
}
