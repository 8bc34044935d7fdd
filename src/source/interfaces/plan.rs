//! When to ask for which interfaces. Pure: knows neither clock nor network.
//!
//! One call after the other, each for [`MAX_IDS`] interfaces at most: first for those that are
//! newly wanted, then for those that EC2 did not show, then for the next ones of the round.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::round::is_of_one_call;
use super::stats::Missing;
use super::{InterfaceId, MAX_IDS, Wanted};
use crate::source::error::Class;
use crate::source::poll::{doubled, part};

/// From the start of one round over all interfaces to that of the next, at most: the addresses
/// of an interface change seldom, and a new interface is asked for at once.
const EVERY: Duration = Duration::from_secs(30);

/// The least time between the end of a call and the start of the next. Names that move one after
/// the other are asked for together, and EC2 grants 20 calls a second (EC2 developer guide,
/// "Request throttling").
const SPACING: Duration = Duration::from_millis(200);

/// The first pause after a failure, and before an interface that was not shown is asked for
/// again; doubled with each further one.
const BACKOFF: Duration = Duration::from_secs(1);

/// The same after calls that EC2 throttled: slower at once, as with addresses.
const THROTTLED: Duration = Duration::from_secs(4);

/// The longest pause.
const BACKOFF_CAP: Duration = EVERY;

/// As many that were not shown are in one call: however many there are, the round goes on.
const MAX_AGAIN: usize = MAX_IDS / 2;

/// What is to be asked, and when.
#[derive(Debug, Default)]
pub(super) struct Plan {
    wanted: Wanted,
    /// Not asked for yet since they became wanted.
    new: BTreeSet<InterfaceId>,
    /// The rest of the round.
    round: BTreeSet<InterfaceId>,
    /// Of all that are wanted, some were not answered yet since the round began.
    round_is_open: bool,
    /// When the next round begins; none: none has begun yet.
    round_at: Option<Instant>,
    /// Calls for them have failed, and none was good since.
    failed: BTreeSet<InterfaceId>,
    /// Good answers did not show them.
    missing: BTreeMap<InterfaceId, Again>,
    /// No call begins before.
    spaced: Option<Instant>,
    /// After failures: no call begins before, but for the rest when it `goes_on`.
    paused: Option<Instant>,
    /// A call has failed in a way that others need not; those that failed wait for the pause.
    goes_on: bool,
    /// Failures in a row; those of one round are one.
    failures: u32,
    /// One of them was throttled.
    throttled: bool,
}

/// When to ask for one again that was not shown.
#[derive(Debug)]
struct Again {
    at: Instant,
    /// How many good answers in a row were without it.
    times: u32,
}

/// What to ask now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// For these; [`MAX_IDS`] at most.
    pub(super) ids: BTreeSet<InterfaceId>,
    /// It is the first one of a round.
    pub(super) begins_round: bool,
}

/// What is known after a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// No interface waits for an answer because a call for it has failed.
    pub(super) is_well: bool,
    /// All that are wanted were answered since the round began; said once in a round.
    pub(super) ends_round: bool,
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
        Self { failures, throttled: true, paused: Some(until), ..Self::default() }
    }

    /// The pause under way, if throttling has made it.
    pub(super) fn throttled_pause(&self) -> Option<Pause> {
        let until = self.paused.filter(|_| self.throttled)?;
        Some(Pause { failures: self.failures, until })
    }

    /// All that are wanted.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Those of them that the last good answer did not show.
    pub(super) fn missing(&self) -> Missing {
        Missing::of(self.missing.keys())
    }

    /// From now on these are wanted. Those that were not before are due.
    pub(super) fn want(&mut self, wanted: Wanted) {
        for due in [&mut self.new, &mut self.round, &mut self.failed] {
            due.retain(|id| wanted.contains(id));
        }
        self.missing.retain(|id, _| wanted.contains(id));
        if self.new.len() > MAX_IDS {
            // All came at once: the one that comes after them must not wait for them.
            self.round.append(&mut self.new);
        }
        self.new.extend(wanted.difference(&self.wanted).cloned());
        self.wanted = wanted;
        self.goes_on &= self.has_rest();
    }

    /// When the next call is due; none: never, as nothing is wanted.
    pub(super) fn next_start(&self, now: Instant) -> Option<Instant> {
        if self.wanted.is_empty() {
            return None;
        }
        let no_sooner = self.spaced.unwrap_or(now).max(now);
        if self.goes_on {
            return Some(no_sooner);
        }
        let at = if self.has_rest() || !self.failed.is_empty() {
            now
        } else {
            let again = self.missing.values().map(|again| again.at);
            again.fold(self.round_at.unwrap_or(now), Instant::min)
        };
        Some(at.max(self.paused.unwrap_or(now)).max(no_sooner))
    }

    /// A call begins. `jitter` is from 0 to 1.
    pub(super) fn start(&mut self, now: Instant, jitter: f64) -> Call {
        let begins_round = match self.round_at {
            Some(at) => at <= now && self.round.is_empty(),
            None => true,
        };
        if begins_round {
            self.round = self.wanted.difference(&self.new).cloned().collect();
            self.round_is_open = true;
            self.round_at = Some(now + EVERY.mul_f64(part(jitter)));
        } else if !self.goes_on {
            self.round.extend(self.failed.iter().cloned());
        }
        Call { ids: self.next_ids(now), begins_round }
    }

    /// A call for `ids` has ended, with an answer that shows some, or with trouble of a class.
    /// `jitter` is from 0 to 1.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        ids: &BTreeSet<InterfaceId>,
        shown: Result<&BTreeSet<InterfaceId>, Class>,
        jitter: f64,
    ) -> Progress {
        for id in ids {
            self.new.remove(id);
            self.round.remove(id);
        }
        self.spaced = Some(now + SPACING);
        match shown {
            Ok(shown) => self.answered(now, ids, shown, jitter),
            Err(class) => self.has_failed(now, ids, class, jitter),
        }
        let is_well = self.failed.is_empty();
        let ends_round = self.round_is_open && is_well && !self.has_rest();
        self.round_is_open &= !ends_round;
        Progress { is_well, ends_round }
    }

    fn answered(
        &mut self,
        now: Instant,
        ids: &BTreeSet<InterfaceId>,
        shown: &BTreeSet<InterfaceId>,
        jitter: f64,
    ) {
        for id in ids {
            self.failed.remove(id);
            if shown.contains(id) || !self.wanted.contains(id) {
                self.missing.remove(id);
                continue;
            }
            let again = self.missing.entry(id.clone()).or_insert(Again { at: now, times: 0 });
            let pause = doubled(BACKOFF, again.times).min(BACKOFF_CAP);
            again.at = now + pause.mul_f64(part(jitter));
            again.times = again.times.saturating_add(1);
        }
        if self.failed.is_empty() {
            (self.paused, self.failures, self.throttled) = Default::default();
        }
        self.goes_on &= !self.failed.is_empty() && self.has_rest();
    }

    fn has_failed(&mut self, now: Instant, ids: &BTreeSet<InterfaceId>, class: Class, jitter: f64) {
        self.failed.extend(ids.iter().filter(|id| self.wanted.contains(*id)).cloned());
        if !self.goes_on {
            self.failures = self.failures.saturating_add(1);
        }
        let before = self.failures.saturating_sub(1);
        let pause = match class {
            Class::Throttled => {
                self.throttled = true;
                doubled(THROTTLED, before)
            }
            _ => doubled(BACKOFF, before),
        };
        self.paused = Some(now + pause.min(BACKOFF_CAP).mul_f64(part(jitter)));
        self.goes_on = is_of_one_call(class) && self.has_rest();
    }

    /// Is any due that did not fail?
    fn has_rest(&self) -> bool {
        !self.new.is_empty() || !self.round.is_empty()
    }

    /// As many as one call may ask for.
    fn next_ids(&self, now: Instant) -> BTreeSet<InterfaceId> {
        let is_due = |id: &InterfaceId, again: &Again| again.at <= now && !self.failed.contains(id);
        let again = self.missing.iter().filter(|(id, again)| is_due(id, again)).map(|(id, _)| id);
        let mut ids = BTreeSet::new();
        for id in self.new.iter().chain(again.take(MAX_AGAIN)).chain(&self.round) {
            if ids.len() == MAX_IDS {
                break;
            }
            ids.insert(id.clone());
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<InterfaceId> {
        numbers.into_iter().map(id).collect()
    }

    fn id(number: u16) -> InterfaceId {
        format!("eni-{number:04}").into()
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

        fn want(&mut self, numbers: impl IntoIterator<Item = u16>) {
            self.plan.want(ids(numbers).into());
        }

        /// Waits for the next call, which ends at once; gives when it came, in milliseconds
        /// from the begin, and for what.
        fn call(&mut self, trouble: Option<Class>) -> (u128, usize, bool) {
            self.now = self.plan.next_start(self.now).expect("something is wanted");
            let Call { ids, begins_round } = self.plan.start(self.now, 1.0);
            self.plan.ended(self.now, &ids, trouble.map_or(Ok(&ids), Err), 1.0);
            ((self.now - self.begun).as_millis(), ids.len(), begins_round)
        }

        /// The same, with its numbers; the answer does not show `hidden`.
        fn shows_all_but(
            &mut self,
            hidden: impl IntoIterator<Item = u16>,
        ) -> (u128, BTreeSet<InterfaceId>, Progress) {
            self.now = self.plan.next_start(self.now).expect("something is wanted");
            let call = self.plan.start(self.now, 1.0);
            let shown = &call.ids - &ids(hidden);
            let progress = self.plan.ended(self.now, &call.ids, Ok(&shown), 1.0);
            ((self.now - self.begun).as_millis(), call.ids, progress)
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

    const GOES_ON: Progress = Progress { is_well: true, ends_round: false };
    const ENDS: Progress = Progress { is_well: true, ends_round: true };

    #[test]
    fn a_new_interface_waits_for_no_round() {
        let mut world = World::new();
        world.want(0..1000);
        assert_eq!(world.shows_all_but([]), (0, ids(0..200), GOES_ON));
        assert_eq!(world.shows_all_but([]), (200, ids(200..400), GOES_ON));
        world.want((0..1000).chain([5000, 5001]));
        assert_eq!(
            world.shows_all_but([]),
            (400, &ids([5000, 5001]) | &ids(400..598), GOES_ON),
            "the rest of the call is the round's"
        );
        assert_eq!(world.shows_all_but([]), (600, ids(598..798), GOES_ON));
        assert_eq!(world.shows_all_but([]), (800, ids(798..998), GOES_ON));
        assert_eq!(world.shows_all_but([]), (1000, ids([998, 999]), ENDS));
        assert_eq!(world.call(None), (30_000, 200, true));
    }

    #[test]
    fn what_is_not_shown_is_asked_for_again_soon_and_then_less_often() {
        let mut world = World::new();
        world.want(0..3);
        assert_eq!(world.shows_all_but([1]), (0, ids(0..3), ENDS));
        let one = Missing { count: 1, first: vec!["eni-0001".into()] };
        assert_eq!(world.plan.missing(), one);
        for at in [1_000, 3_000, 7_000, 15_000] {
            assert_eq!(world.shows_all_but([1]), (at, ids([1]), GOES_ON));
        }
        // It is in the round, too, and the next pause is from there.
        assert_eq!(world.shows_all_but([1]), (30_000, ids(0..3), ENDS));
        assert_eq!(world.shows_all_but([1]), (60_000, ids(0..3), ENDS));
        // What fails and what is throttled sets the pace.
        assert_eq!(world.call(Some(Class::Throttled)), (90_000, 3, true));
        assert_eq!(world.call(Some(Class::Throttled)), (94_000, 3, false));
        assert_eq!(world.plan.missing().count, 1, "that says nothing of it");
        let (at, asked, _) = world.shows_all_but([]);
        assert_eq!((at, asked), (102_000, ids(0..3)));
        assert_eq!(world.plan.missing(), Missing::default());
        // What is not wanted is not missed.
        assert_eq!(world.shows_all_but([2]).0, 120_000);
        world.want(0..2);
        assert_eq!(world.plan.missing(), Missing::default());
        assert_eq!(world.call(None).0, 150_000);
    }

    #[test]
    fn a_round_goes_on_however_many_are_not_shown() {
        let mut world = World::new();
        world.want(0..2000);
        let mut rounds = 0;
        while world.now - world.begun < Duration::from_secs(120) {
            rounds += usize::from(world.shows_all_but(0..2000).2 == ENDS);
        }
        assert!(rounds >= 3, "{rounds}");
    }

    #[test]
    fn a_call_that_always_fails_alone_keeps_no_other_from_its_turn() {
        let mut world = World::new();
        world.want(0..600);
        let mut asked = Vec::new();
        for _ in 0..5 {
            world.now = world.plan.next_start(world.now).unwrap();
            let call = world.plan.start(world.now, 1.0);
            let shown = match call.ids.first() == Some(&id(400)) {
                true => Ok(&call.ids),
                false => Err(Class::NotWhole),
            };
            let progress = world.plan.ended(world.now, &call.ids, shown, 1.0);
            assert_eq!(progress, Progress { is_well: false, ends_round: false });
            asked.push(((world.now - world.begun).as_millis(), call.ids));
        }
        let (first, second, third) = (ids(0..200), ids(200..400), ids(400..600));
        assert_eq!(
            asked,
            [
                (0, first.clone()),
                (200, second.clone()),
                (400, third),
                (1_200, first),
                (1_400, second),
            ]
        );
        assert_eq!(world.call(None), (3_400, 200, false));
        assert_eq!(world.shows_all_but([]), (3_600, ids(200..400), ENDS));
    }

    #[test]
    fn what_some_chunks_said_is_not_asked_again() {
        let mut world = World::new();
        world.want(0..450);
        assert_eq!(world.call(None), (0, 200, true));
        assert_eq!(world.call(Some(Class::Unauthorised)), (200, 200, false), "ends the round");
        assert_eq!(world.call(None), (1_200, 200, false));
        assert_eq!(world.shows_all_but([]), (1_400, ids(350..400), ENDS));
        assert_eq!(world.call(None), (30_000, 200, true));
    }

    #[test]
    fn what_becomes_wanted_while_a_call_is_under_way_is_for_the_next() {
        let mut world = World::new();
        world.want([1]);
        let call = world.plan.start(world.now, 1.0);
        world.want([1, 2]);
        world.plan.ended(world.now, &call.ids, Ok(&call.ids), 1.0);
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
                    proptest::collection::btree_set(0..20u16, 0..6),
                    proptest::option::weighted(0.3, 0..Class::ALL.len()),
                    0..4000u64,
                    0.0..=1.0,
                    proptest::collection::btree_set(0..20u16, 0..3),
                ),
                1..40,
            ),
        ) {
            let mut plan = Plan::default();
            let mut now = Instant::now();
            let mut last: Option<(Instant, bool)> = None;
            for (numbers, trouble, took, jitter, hidden) in steps {
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
                now = at + Duration::from_millis(took);
                let trouble = trouble.map(|at| Class::ALL[at]);
                let shown = &call.ids - &ids(hidden);
                let progress = plan.ended(now, &call.ids, trouble.map_or(Ok(&shown), Err), jitter);
                // All of them are in one call.
                prop_assert_eq!(progress.is_well, trouble.is_none());
                prop_assert_eq!(plan.has_rest() || !plan.failed.is_empty(), trouble.is_some());
                prop_assert_eq!(plan.missing().count > 0, plan.missing.keys().any(|id| wanted.contains(id)));
                last = Some((now, trouble.is_some()));
            }
        }
    }
}
