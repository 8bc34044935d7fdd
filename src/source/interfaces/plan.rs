//! When to ask for which interfaces. Pure: knows neither clock nor network.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{InterfaceId, Wanted};
use crate::source::error::Class;
use crate::source::poll::{doubled, part};

/// From the start of one round over all interfaces to that of the next, at most: the addresses
/// of an interface change seldom, and a new interface is asked for at once.
const EVERY: Duration = Duration::from_secs(30);

/// The least time between the end of a call and the start of the next. Names that move one after
/// the other are asked for together, and EC2 grants 20 calls a second (EC2 developer guide,
/// "Request throttling").
const SPACING: Duration = Duration::from_millis(200);

/// The first pause after a failure; doubled with each further one.
const BACKOFF: Duration = Duration::from_secs(1);

/// The same after calls that EC2 throttled: slower at once, as with addresses.
const THROTTLED: Duration = Duration::from_secs(4);

/// The longest pause after failures.
const BACKOFF_CAP: Duration = EVERY;

/// What is to be asked, and when.
#[derive(Debug, Default)]
pub(super) struct Plan {
    wanted: Wanted,
    /// Not answered yet since they became wanted or the last round began.
    due: BTreeSet<InterfaceId>,
    /// When all are due again; none: no call was made yet.
    round_at: Option<Instant>,
    /// No call begins before.
    not_before: Option<Instant>,
    /// Calls in a row that have failed.
    failures: u32,
    /// One of them was throttled.
    throttled: bool,
}

/// What to ask now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// For these.
    pub(super) ids: BTreeSet<InterfaceId>,
    /// They are all that are wanted.
    pub(super) is_round: bool,
}

/// A pause that throttling has made, for whoever asks on for the same account and region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    failures: u32,
    until: Instant,
}

impl Plan {
    /// Goes on with a pause of a source that this one carries on.
    pub(super) fn throttled(Pause { failures, until }: Pause) -> Self {
        Self { failures, throttled: true, not_before: Some(until), ..Self::default() }
    }

    /// The pause under way, if throttling has made it.
    pub(super) fn throttled_pause(&self) -> Option<Pause> {
        let until = self.not_before.filter(|_| self.throttled)?;
        Some(Pause { failures: self.failures, until })
    }

    /// From now on these are wanted. Those that were not before are due.
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.due.retain(|id| wanted.contains(id));
        self.due.extend(wanted.difference(&self.wanted).cloned());
        self.wanted = wanted;
    }

    /// When the next call is due; none: never, as nothing is wanted.
    pub(super) fn next_start(&self, now: Instant) -> Option<Instant> {
        if self.wanted.is_empty() {
            return None;
        }
        let round = self.round_at.unwrap_or(now);
        let at = if self.due.is_empty() { round } else { now };
        Some(at.max(self.not_before.unwrap_or(now)).max(now))
    }

    /// A call begins. `jitter` is from 0 to 1.
    pub(super) fn start(&mut self, now: Instant, jitter: f64) -> Call {
        let is_round = self.round_at.is_none_or(|at| at <= now);
        if is_round {
            self.due = (*self.wanted).clone();
            self.round_at = Some(now + EVERY.mul_f64(part(jitter)));
        }
        Call { ids: self.due.clone(), is_round }
    }

    /// It has ended, well or with trouble of a class; `answered` are those of which an answer
    /// could tell, whether it did or not. `jitter` is from 0 to 1.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        answered: &BTreeSet<InterfaceId>,
        trouble: Option<Class>,
        jitter: f64,
    ) {
        self.due.retain(|id| !answered.contains(id));
        let before = self.failures;
        let pause = match trouble {
            None => {
                (self.failures, self.throttled) = (0, false);
                self.not_before = Some(now + SPACING);
                return;
            }
            Some(Class::Throttled) => {
                self.throttled = true;
                doubled(THROTTLED, before)
            }
            Some(_) => doubled(BACKOFF, before),
        };
        self.failures = before.saturating_add(1);
        self.not_before = Some(now + pause.min(BACKOFF_CAP).mul_f64(part(jitter)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<InterfaceId> {
        numbers.into_iter().map(|n| format!("eni-{n}").into()).collect()
    }

    /// With what it takes to make time pass.
    struct World {
        plan: Plan,
        now: Instant,
        begun: Instant,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self { plan: Plan::default(), now, begun: now }
        }

        fn want(&mut self, numbers: impl IntoIterator<Item = u8>) {
            self.plan.want(ids(numbers).into());
        }

        /// Waits for the next call, which ends at once; gives when it came, in milliseconds
        /// from the begin, and for what.
        fn call(&mut self, trouble: Option<Class>) -> (u128, usize, bool) {
            self.now = self.plan.next_start(self.now).expect("something is wanted");
            let Call { ids, is_round } = self.plan.start(self.now, 1.0);
            let answered = if trouble.is_some() { BTreeSet::new() } else { ids.clone() };
            self.plan.ended(self.now, &answered, trouble, 1.0);
            ((self.now - self.begun).as_millis(), ids.len(), is_round)
        }
    }

    #[test]
    fn nothing_is_asked_while_nothing_is_wanted() {
        let mut world = World::new();
        assert_eq!(world.plan.next_start(world.now), None);
        world.want([1]);
        assert_eq!(world.call(None), (0, 1, true), "at once");
        world.want([]);
        assert_eq!(world.plan.next_start(world.now + Duration::from_secs(60)), None);
        // All of it is new again.
        world.now += Duration::from_secs(60);
        world.want([1, 2]);
        assert_eq!(world.call(None), (60_000, 2, true));
    }

    #[test]
    fn all_are_asked_for_each_round_and_new_ones_at_once() {
        let mut world = World::new();
        world.want(0..3);
        assert_eq!(world.call(None), (0, 3, true));
        assert_eq!(world.call(None), (30_000, 3, true));
        world.now += Duration::from_secs(7);
        world.want(1..5);
        assert_eq!(world.call(None), (37_000, 2, false), "those that are new, and no others");
        // The next ones come too soon, and together.
        world.want(1..6);
        world.want(1..8);
        assert_eq!(world.call(None), (37_200, 3, false));
        assert_eq!(world.call(None), (60_000, 7, true), "the round is not put off by that");
        // What is not wanted any longer is not asked for.
        world.want(1..9);
        world.want(1..8);
        assert_eq!(world.call(None), (90_000, 7, true));
    }

    #[test]
    fn pauses_after_failures_grow_and_new_interfaces_do_not_cut_them() {
        let pauses = |trouble| {
            let mut world = World::new();
            let mut last = 0;
            let mut pauses = Vec::new();
            for n in 0..9 {
                world.want(0..=n);
                let (at, asked, _) = world.call(Some(trouble));
                assert_eq!(asked, usize::from(n) + 1, "what has no answer stays due");
                pauses.push((at - last) / 1000);
                last = at;
            }
            // A good one ends it.
            let (at, ..) = world.call(None);
            world.want(0..100);
            assert_eq!(world.call(None), (at + 200, 91, false));
            pauses
        };
        assert_eq!(pauses(Class::Unauthorised), [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pauses(Class::Throttled), [0, 4, 8, 16, 30, 30, 30, 30, 30]);
    }

    #[test]
    fn what_some_chunks_said_is_not_asked_again() {
        let mut world = World::new();
        world.want(0..3);
        let call = world.plan.start(world.now, 1.0);
        assert_eq!(call.ids, ids(0..3));
        world.plan.ended(world.now, &ids([0, 2]), Some(Class::NotWhole), 1.0);
        let call = |world: &mut World| {
            world.now = world.plan.next_start(world.now).unwrap();
            world.plan.start(world.now, 1.0)
        };
        assert_eq!(call(&mut world), Call { ids: ids([1]), is_round: false });
        assert_eq!(world.now - world.begun, BACKOFF);
        world.plan.ended(world.now, &ids([1]), None, 1.0);
        assert_eq!(call(&mut world), Call { ids: ids(0..3), is_round: true });
        assert_eq!(world.now - world.begun, EVERY);
    }

    #[test]
    fn what_becomes_wanted_while_a_call_is_under_way_is_for_the_next() {
        let mut world = World::new();
        world.want([1]);
        let call = world.plan.start(world.now, 1.0);
        world.want([1, 2]);
        world.plan.ended(world.now, &call.ids, None, 1.0);
        assert_eq!(world.call(None), (200, 1, false));
    }

    #[test]
    fn a_pause_that_throttling_has_made_is_carried_on() {
        let mut world = World::new();
        world.want([1]);
        world.call(Some(Class::Server));
        assert_eq!(world.plan.throttled_pause(), None);
        world.call(Some(Class::Throttled));
        let pause = world.plan.throttled_pause().unwrap();
        world.plan = Plan::throttled(pause);
        world.want([1]);
        assert_eq!(world.call(Some(Class::Throttled)), (9_000, 1, true));
        assert_eq!(world.call(None).0, 25_000);
        assert_eq!(world.plan.throttled_pause(), None);
    }

    proptest! {
        /// Whatever is wanted and whatever fails: calls are apart, none is for what is not
        /// wanted, and what is wanted is asked for within a round of the last good call.
        #[test]
        fn calls_are_spaced_as_promised(
            steps in proptest::collection::vec(
                (
                    proptest::collection::btree_set(0..20u8, 0..6),
                    proptest::option::weighted(0.3, 0..Class::ALL.len()),
                    0..4000u64,
                    0.0..=1.0,
                ),
                1..40,
            ),
        ) {
            let mut plan = Plan::default();
            let mut now = Instant::now();
            let mut last: Option<(Instant, bool)> = None;
            for (numbers, trouble, took, jitter) in steps {
                let wanted: Wanted = ids(numbers).into();
                plan.want(wanted.clone());
                let Some(at) = plan.next_start(now) else {
                    prop_assert!(wanted.is_empty());
                    continue;
                };
                prop_assert!(at >= now && at <= now + EVERY.max(BACKOFF_CAP));
                if let Some((ended, failed)) = last {
                    let least = if failed { BACKOFF.mul_f64(part(0.0)) } else { SPACING };
                    prop_assert!(at >= ended + least);
                }
                let call = plan.start(at, jitter);
                prop_assert!(!call.ids.is_empty() && call.ids.is_subset(&wanted));
                prop_assert_eq!(plan.next_start(at), Some(at.max(plan.not_before.unwrap_or(at))));
                now = at + Duration::from_millis(took);
                let trouble = trouble.map(|at| Class::ALL[at]);
                let answered = if trouble.is_some() { BTreeSet::new() } else { call.ids.clone() };
                plan.ended(now, &answered, trouble, jitter);
                prop_assert_eq!(plan.due.is_empty(), trouble.is_none());
                last = Some((now, trouble.is_some()));
            }
        }
    }
}
