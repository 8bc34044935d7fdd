//! All orders of events, against a plain model and against what is promised.

use proptest::prelude::*;

use super::*;
use crate::source::clock::elapsed;

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
    /// Released and recovered: under a new id, and in a new association.
    Recovered,
    /// The same, not associated yet.
    RecoveredLoose,
}

#[derive(Debug, Clone)]
enum Step {
    Answer([Says; ADDRESSES as usize]),
    /// The answer of before again.
    Again,
    /// An operator accepts the answer of before.
    Accept,
    /// The answer of before, with ids of allocations or without.
    Ids(bool),
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
        1 => Just(Says::Recovered),
        1 => Just(Says::RecoveredLoose),
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
        1 => any::<bool>().prop_map(Step::Ids),
        2 => Just(Step::Failure),
    ];
    proptest::collection::vec((gap, step), 1..40)
}

/// EC2 as the test plays it: which association comes next, and which allocation.
#[derive(Default)]
struct Ec2 {
    now: u64,
    last: [u8; ADDRESSES as usize],
    recovered: [u8; ADDRESSES as usize],
    /// Without at first, as an older eipdns or a file may have it.
    ids: bool,
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
            Step::Ids(ids) => self.ids = *ids,
            Step::Answer(all) => {
                self.answer =
                    (0..ADDRESSES).zip(all).filter_map(|(n, s)| self.one(n, *s)).collect();
            }
        }
        let mut answer = self.answer.clone();
        if !self.ids {
            answer = answer.iter().map(|address| with_id(None, address)).collect();
        }
        Some((answer, matches!(step, Step::Accept)))
    }

    fn one(&mut self, n: u8, says: Says) -> Option<Address> {
        let at = usize::from(n);
        let last = &mut self.last[at];
        if matches!(says, Says::Recovered | Says::RecoveredLoose) {
            self.recovered[at] += 1;
        }
        let said = match says {
            Says::Absent => return None,
            Says::Loose | Says::RecoveredLoose => loose(n),
            Says::Same => held_by(n, *last),
            Says::New | Says::Recovered => {
                *last += 1;
                held_by(n, *last)
            }
            Says::Stale => held_by(n, last.saturating_sub(1)),
        };
        let id = format!("eipalloc-{n}-{}", self.recovered[at]);
        Some(with_id(Some(&id), &said))
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
                let said = answer.iter().find(|a| a.allocation() == of(n));
                let is_stale = said.and_then(|s| s.association_id.as_ref()).is_some_and(|id| {
                    before.entries.contains_key(&of(n)) &&
                    before.superseded.get(&of(n)).and_then(|ids| ids.get(id))
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

            // Where nothing is kept, it changes nothing at any time, whoever asks.
            let said = Said::from(Arc::clone(&source.said));
            let settled = Settled::after(&source.accepted, &said, (&again, &losses));
            let kept = again.entries.values().any(|entry| !entry.is_live());
            prop_assert_eq!(settled.is(&again, &said), !kept && again.remembers_nothing());
            if settled.is(&again, &said) {
                for policy in [POLICY, UNGUARDED, OPERATOR] {
                    for later in [now, now + 1, now + 10_000] {
                        let (later, losses) = accept(&again, &said, at(later), &policy);
                        prop_assert!(Arc::ptr_eq(&later.entries, &again.entries));
                        prop_assert_eq!((later, losses), (again.clone(), Losses::default()));
                    }
                }
            }

            let had = |n: u8| before.entries.get(&of(n)).and_then(|e| e.address.private_ip);
            let has = |n: u8| source.accepted.entries.get(&of(n)).and_then(|e| e.address.private_ip);
            let said = |n: u8| answer.iter().find(|a| a.allocation() == of(n));

            for n in 0..ADDRESSES {
                let lost = &mut lost_at[usize::from(n)];
                match said(n) {
                    Some(a) if a.private_ip.is_some() => {
                        let stale = before.superseded.get(&of(n))
                            .and_then(|ids| ids.get(a.association_id.as_ref().unwrap()))
                            .is_some_and(|t| elapsed(*t, at(now)) < STALE_READ);
                        if !stale || !before.entries.contains_key(&of(n)) {
                            // Gains and moves pass at once.
                            let entry = source.entry(n).unwrap();
                            // Under the id it had, if the answer has none.
                            let had = before.entries.get(&of(n));
                            let id = had.and_then(|e| e.address.allocation_id());
                            let is = with_id(a.allocation_id().or(id), a);
                            prop_assert_eq!((&*entry.address, entry.is_live()), (&is, true));
                            *lost = None;
                        } else {
                            prop_assert_eq!(source.entry(n), before.entries.get(&of(n)));
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
                    let Some(Entry { standing, .. }) = before.entries.get(&of(n)) else {
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
            let stale = ec2.answer.iter().any(|a| before.superseded.contains_key(&a.allocation()));
            prop_assert!(stale || before.entries != source.accepted.entries);
            prop_assert!(source.wakes_at().is_none_or(|next| next > ec2.now));
        }
        source.says(ec2.now + 10_000, &ec2.answer.clone());
        let kept = source.accepted.entries.values().filter(|e| !e.is_live()).count();
        prop_assert_eq!(kept, 0);
    }

    /// An id that comes, goes or is another one, because the address was released
    /// and recovered, makes no difference but that it is the last one that was said.
    #[test]
    fn ids_make_no_difference(steps in steps()) {
        let mut ec2 = Ec2::default();
        let (mut source, mut without_ids) = (Source::default(), Source::default());
        for step in &steps {
            let Some((answer, accepts)) = ec2.step(step) else { continue };
            let policy = if accepts { OPERATOR } else { POLICY };
            let before = Arc::clone(&source.accepted.entries);
            source.says_to(&policy, ec2.now, &answer);
            let stripped: Vec<_> =
                answer.iter().map(|a| with_id(None, a)).collect();
            without_ids.says_to(&policy, ec2.now, &stripped);

            let entries = source.accepted.entries.iter().map(|(one, entry)| {
                let address = with_id(None, &entry.address);
                (one.clone(), Entry { address: address.into(), ..entry.clone() })
            });
            let entries = Arc::new(entries.collect());
            prop_assert_eq!(&Accepted { entries, ..source.accepted.clone() }, &without_ids.accepted);
            prop_assert_eq!(&source.losses, &without_ids.losses);
            // Of what is not stale, the id is the one that is said, or else the one before.
            for said in &answer {
                let entry = &source.accepted.entries[&said.allocation()];
                let ours = &entry.address;
                let is_stale =
                    said.association_id.is_some() && ours.association_id != said.association_id;
                let known = || before.get(&said.allocation())?.address.allocation_id();
                let id = said.allocation_id().or_else(known);
                prop_assert!(is_stale || ours.allocation_id() == id);
            }
        }
    }
}
