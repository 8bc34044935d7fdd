//! When the next call is due, and how a pause that throttling has made is
//! carried on. Pure: knows neither clock nor network.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::source::error::Class;
use crate::source::{Ask, By, Pending};

/// The least part of `poll` between the starts of two calls; the most is all
/// of it. Replicas started together drift apart.
const LEAST_PART: f64 = 0.85;

/// The mean of that.
pub(crate) const MEAN_PART: f64 = (LEAST_PART + 1.0) / 2.0;

/// The least part of `poll`, or of [`BACKOFF`] if that is shorter, between the end of a call and
/// the start of the next: whoever answers slowly is not asked without a pause.
const LEAST_REST: f64 = 0.5;

/// So many slow calls in a row are no accident, as a lost packet is one.
const SLOW_CALLS: u32 = 3;

/// The first pause after a failure, unless `poll` is shorter; doubled with
/// each further one.
const BACKOFF: Duration = Duration::from_secs(2);

/// The longest pause after failures.
const BACKOFF_CAP: Duration = Duration::from_secs(10);

/// The longest pause after calls that EC2 throttled.
const THROTTLED_CAP: Duration = Duration::from_secs(30);

/// The least time between the starts of two calls that were asked for: five
/// a second, a quarter of what EC2 grants an account and region (EC2
/// developer guide, "Request throttling").
const ASKED_SPACING: Duration = Duration::from_millis(200);

/// The same after calls that EC2 throttled, but for the first: EC2 asks for
/// less, and an operator gets an answer all the same.
const THROTTLED_SPACING: Duration = Duration::from_secs(1);

/// The longest `poll`: more is a mistake, or "never", which refreshes serve
/// as well. Keeps sums of times in range.
const LONGEST_POLL: Duration = Duration::from_secs(24 * 60 * 60);

/// When the next call is due. Pure.
#[derive(Debug)]
pub(super) struct Pace {
    poll: Duration,
    failures: u32,
    /// Good calls in a row that took so long that the next one is late.
    slow: u32,
    /// From the start of the last call to that of the next.
    pub(super) pause: Duration,
    started: Option<Instant>,
    started_asked: Option<Instant>,
    /// A call was throttled, and none was good since.
    throttled: bool,
    /// Since then a refresh has cut a pause.
    cut: bool,
}

impl Pace {
    pub(super) fn new(poll: Duration) -> Self {
        let poll = poll.min(LONGEST_POLL);
        Self {
            poll,
            failures: 0,
            slow: 0,
            pause: poll,
            started: None,
            started_asked: None,
            throttled: false,
            cut: false,
        }
    }

    /// Goes on with a pause of a source that this one carries on.
    pub(super) fn throttled(poll: Duration, pause: Pause) -> Self {
        let Pause { failures, lasts, started, started_asked, cut } = pause;
        let (started, throttled) = (Some(started), true);
        let fresh = Self::new(poll);
        Self { failures, pause: lasts, started, started_asked, throttled, cut, ..fresh }
    }

    /// The one under way, if throttling has made it.
    pub(super) fn throttled_pause(&self) -> Option<Pause> {
        let Self { failures, pause: lasts, started_asked, cut, .. } = *self;
        let started = self.started.filter(|_| self.throttled)?;
        Some(Pause { failures, lasts, started, started_asked, cut })
    }

    /// Calls come less often than `poll` says: how, if not because they fail, which is told
    /// by itself.
    pub(super) fn slowed(&self) -> Option<Slowed> {
        let by = match () {
            () if self.throttled => SlowedBy::Throttling,
            () if self.slow >= SLOW_CALLS => SlowedBy::SlowCalls,
            () => return None,
        };
        (self.pause > self.poll).then_some(Slowed { every: self.pause, by })
    }

    /// An ask is about the pace, or for the next call.
    pub(super) fn hear(&mut self, ask: Ask, next: &mut Pending) {
        match ask {
            Ask::Poll(poll) => self.set_poll(poll),
            ask => next.add(ask),
        }
    }

    /// Turns to another pace. A pause that failures have made stays as it is.
    pub(super) fn set_poll(&mut self, poll: Duration) {
        self.poll = poll.min(LONGEST_POLL);
        if self.failures == 0 {
            self.pause = self.poll;
        }
    }

    /// When the next call is due, `now` if that has passed. A pause that
    /// throttling has made is cut by a refresh only: once, then once a second.
    pub(super) fn next_start(&self, by: By, now: Instant) -> Instant {
        let scheduled = self.scheduled().unwrap_or(now);
        let spacing = match by {
            By::Time => None,
            By::Look => (!self.throttled).then_some(ASKED_SPACING),
            By::Refresh if self.cut => Some(THROTTLED_SPACING),
            By::Refresh => Some(ASKED_SPACING),
        };
        let asked = spacing.map(|spacing| self.started_asked.map_or(now, |start| start + spacing));
        asked.map_or(scheduled, |asked| asked.min(scheduled)).max(now)
    }

    /// When the next call is due if nobody asks; none: at once.
    fn scheduled(&self) -> Option<Instant> {
        self.started.map(|start| start + self.pause)
    }

    pub(super) fn started(&mut self, now: Instant, by: By) {
        let is_early = self.scheduled().is_some_and(|at| now < at);
        self.cut |= self.throttled && is_early && by == By::Refresh;
        self.started = Some(now);
        if by != By::Time {
            self.started_asked = Some(now);
        }
    }

    /// The least time between the end of a call and the start of the next.
    fn rest(&self) -> Duration {
        self.poll.min(BACKOFF).mul_f64(LEAST_REST)
    }

    /// A call has ended after so long, well or with trouble of a class. `jitter` is from 0
    /// to 1.
    pub(super) fn ended(&mut self, trouble: Option<Class>, took: Duration, jitter: f64) {
        self.failures = if trouble.is_some() { self.failures.saturating_add(1) } else { 0 };
        self.throttled |= trouble == Some(Class::Throttled);
        if trouble.is_none() {
            (self.throttled, self.cut) = (false, false);
        }
        let longest = match trouble {
            None => self.poll,
            // Slower at once, and never faster than when all is well.
            Some(Class::Throttled) => {
                doubled(BACKOFF, self.failures).min(THROTTLED_CAP).max(self.poll)
            }
            Some(_) => doubled(BACKOFF.min(self.poll), self.failures - 1).min(BACKOFF_CAP),
        };
        let rested = took.saturating_add(self.rest()).min(LONGEST_POLL);
        let is_slow = trouble.is_none() && rested > self.poll;
        self.slow = if is_slow { self.slow.saturating_add(1) } else { 0 };
        self.pause = longest.mul_f64(part(jitter)).max(rested);
    }
}

/// A source that is asked less often than its `poll` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slowed {
    /// From the start of the last call to that of the next.
    pub every: Duration,
    /// Why.
    pub by: SlowedBy,
}

/// Why a source is asked less often than its `poll` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowedBy {
    /// EC2 has said that there are too many calls.
    Throttling,
    /// Each call takes so long that a pause after it makes the next one late.
    SlowCalls,
}

impl SlowedBy {
    /// For an operator.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttling => "EC2 throttles calls of this account and region",
            Self::SlowCalls => "each call takes long, and a pause follows it",
        }
    }
}

/// A pause that throttling has made. EC2 throttles an account in a region: whoever
/// goes on asking for that one keeps to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    failures: u32,
    lasts: Duration,
    started: Instant,
    started_asked: Option<Instant>,
    cut: bool,
}

/// The pause of a source while EC2 throttles it, told to whoever carries it on.
#[derive(Debug)]
pub(crate) struct Throttled(Mutex<Option<Pause>>);

impl Throttled {
    pub(crate) fn new(pause: Option<Pause>) -> Self {
        Self(Mutex::new(pause))
    }

    pub(crate) fn get(&self) -> Option<Pause> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, pause: Option<Pause>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pause;
    }
}

/// The part of a pause that is kept, from [`LEAST_PART`] to all of it. `jitter` is from 0 to 1.
pub(in crate::source) fn part(jitter: f64) -> f64 {
    LEAST_PART + (1.0 - LEAST_PART) * jitter.clamp(0.0, 1.0)
}

/// `first`, doubled so many times.
pub(in crate::source) fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16))
}

/// A number from 0 to 1, another one each time: the standard library's hash
/// keys are random, which is all that is needed to drift apart.
pub(in crate::source) fn jitter() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_after_failures() {
        let pauses = |poll, trouble: Class| -> Vec<u64> {
            let mut pace = Pace::new(Duration::from_secs(poll));
            (0..6)
                .map(|_| {
                    pace.ended(Some(trouble), Duration::ZERO, 1.0);
                    pace.pause.as_secs()
                })
                .collect()
        };
        assert_eq!(pauses(2, Class::Timeout), [2, 4, 8, 10, 10, 10]);
        assert_eq!(pauses(60, Class::Timeout), [2, 4, 8, 10, 10, 10]);
        assert_eq!(pauses(1, Class::Timeout), [1, 2, 4, 8, 10, 10]);
        assert_eq!(pauses(2, Class::Throttled), [4, 8, 16, 30, 30, 30]);
        assert_eq!(pauses(60, Class::Throttled), [60; 6]);
    }

    #[test]
    fn slow_calls_are_not_made_one_after_the_other_and_that_is_said() {
        let mut pace = Pace::new(Duration::from_secs(1));
        let (millis, now) = (Duration::from_millis, Instant::now());
        let mut call = |trouble, took| {
            pace.started(now, By::Time);
            pace.ended(trouble, millis(took), 1.0);
            (pace.next_start(By::Time, now) - now, pace.slowed())
        };
        let slow = |every| Some(Slowed { every: millis(every), by: SlowedBy::SlowCalls });
        assert_eq!(call(None, 20), (millis(1000), None));
        assert_eq!(call(None, 500), (millis(1000), None));
        // One or two are no reason to say anything.
        assert_eq!(call(None, 900), (millis(1400), None));
        assert_eq!(call(None, 900), (millis(1400), None));
        assert_eq!(call(None, 900), (millis(1400), slow(1400)));
        assert_eq!(call(None, 2900), (millis(3400), slow(3400)));
        assert_eq!(call(None, 20), (millis(1000), None));
        // A failure is told by itself, but for what it says of the pace.
        assert_eq!(call(Some(Class::Timeout), 3000), (millis(3500), None));
        let throttled = |every| Some(Slowed { every: millis(every), by: SlowedBy::Throttling });
        assert_eq!(call(Some(Class::Throttled), 20), (millis(8000), throttled(8000)));
        assert_eq!(call(Some(Class::Server), 20), (millis(4000), throttled(4000)));
        assert_eq!(call(None, 20), (millis(1000), None));
    }

    #[test]
    fn another_pace_holds_from_the_next_call_on_and_ends_no_backoff() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let now = Instant::now();
        pace.started(now, By::Time);
        pace.ended(None, Duration::ZERO, 1.0);
        pace.set_poll(Duration::from_secs(5));
        assert_eq!(pace.next_start(By::Time, now), now + Duration::from_secs(5));
        pace.ended(Some(Class::Throttled), Duration::ZERO, 1.0);
        pace.set_poll(Duration::from_secs(1));
        assert_eq!(pace.next_start(By::Time, now), now + Duration::from_secs(5));
        pace.ended(None, Duration::ZERO, 1.0);
        assert_eq!(pace.next_start(By::Time, now), now + Duration::from_secs(1));
    }

    /// Five refreshes a second for half a minute, EC2 throttling all of it.
    #[test]
    fn a_refresh_cuts_the_pause_of_throttling_once_and_then_once_a_second() {
        let mut pace = Pace::new(Duration::from_secs(2));
        let start = Instant::now();
        pace.started(start, By::Time);
        pace.ended(Some(Class::Throttled), Duration::ZERO, 1.0);
        let mut starts = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(30) {
            let at = pace.next_start(By::Refresh, now);
            assert_eq!(pace.next_start(By::Look, now), pace.next_start(By::Time, now));
            pace.started(at, By::Refresh);
            pace.ended(Some(Class::Throttled), Duration::ZERO, 1.0);
            starts.push(at);
            now = at + Duration::from_millis(200);
        }
        assert_eq!(starts[0], start, "the first one cuts it at once");
        for two in starts.windows(2) {
            assert_eq!(two[1] - two[0], THROTTLED_SPACING);
        }
        // Any other failure does not let it go on faster; a good answer does.
        pace.ended(Some(Class::Timeout), Duration::ZERO, 1.0);
        let last = starts[starts.len() - 1];
        assert_eq!(pace.next_start(By::Refresh, last), last + THROTTLED_SPACING);
        pace.ended(None, Duration::ZERO, 1.0);
        assert_eq!(pace.next_start(By::Refresh, last), last + ASKED_SPACING);
        assert_eq!(pace.next_start(By::Look, last), last + ASKED_SPACING);
    }

    #[test]
    fn a_pause_that_throttling_has_made_is_carried_on() {
        let (mut pace, now) = (Pace::new(Duration::from_secs(2)), Instant::now());
        for pause in [4, 8] {
            pace.started(now, By::Time);
            pace.ended(Some(Class::Throttled), Duration::ZERO, 1.0);
            let carried = pace.throttled_pause().unwrap();
            let mut next = Pace::throttled(Duration::from_secs(1), carried);
            let due = now + Duration::from_secs(pause);
            assert_eq!(next.next_start(By::Time, now), due);
            assert_eq!(next.next_start(By::Look, now), due);
            assert_eq!(next.next_start(By::Refresh, now), now, "a refresh cuts it");
            // And grows on from there; it is cut at once no more than before.
            next.started(now, By::Refresh);
            next.ended(Some(Class::Throttled), Duration::ZERO, 1.0);
            let last = Pace::throttled(Duration::from_secs(1), next.throttled_pause().unwrap());
            assert_eq!(last.next_start(By::Time, now), now + Duration::from_secs(2 * pause));
            assert_eq!(last.next_start(By::Refresh, now), now + THROTTLED_SPACING);
        }
    }

    #[test]
    fn no_poll_is_too_long() {
        let mut pace = Pace::new(Duration::MAX);
        let now = Instant::now();
        pace.started(now, By::Time);
        for trouble in [None, Some(Class::Throttled), Some(Class::Dns)] {
            pace.ended(trouble, Duration::ZERO, 1.0);
            assert!(pace.next_start(By::Time, now) <= now + LONGEST_POLL);
        }
    }

    proptest! {
        #[test]
        fn starts_are_spaced_as_promised(
            poll in 500..100_000u64,
            calls in proptest::collection::vec(
                (0..4000u64, proptest::option::of(0..Class::ALL.len()), any::<bool>(), 0.0..=1.0),
                1..30,
            ),
        ) {
            let poll = Duration::from_millis(poll);
            let mut pace = Pace::new(poll);
            let mut now = Instant::now();
            prop_assert_eq!(pace.next_start(By::Time, now), now, "at once");
            let (mut failures, mut throttled) = (0, false);
            for (took, trouble, asked, jitter) in calls {
                let trouble = trouble.map(|i| Class::ALL[i]);
                pace.started(now, if asked { By::Refresh } else { By::Time });
                let began = now;
                let took = Duration::from_millis(took);
                now += took;
                pace.ended(trouble, took, jitter);
                failures = if trouble.is_some() { failures + 1 } else { 0 };
                let by_itself = pace.next_start(By::Time, now);
                let when_asked = pace.next_start(By::Refresh, now);
                let when_looked = pace.next_start(By::Look, now);
                prop_assert!(by_itself >= now && when_asked >= now);
                prop_assert!(when_asked <= by_itself);
                prop_assert!(when_asked <= when_looked && when_looked <= by_itself);
                // Whoever asks waits for the running call and the spacing.
                throttled = trouble == Some(Class::Throttled) || (throttled && trouble.is_some());
                let spacing = if throttled { THROTTLED_SPACING } else { ASKED_SPACING };
                prop_assert!(when_asked <= now.max(began + spacing));
                prop_assert!(!throttled || when_looked == by_itself, "only a refresh cuts it");
                // However long it took, nobody is called without a pause.
                prop_assert!(by_itself - now >= pace.rest());
                let (pause, rested) = (by_itself - began, took + pace.rest());
                prop_assert!(pause >= rested);
                match trouble {
                    None => {
                        prop_assert!(pause >= poll.mul_f64(LEAST_PART));
                        prop_assert!(pause <= poll.max(rested));
                    }
                    Some(Class::Throttled) => {
                        prop_assert!(pause <= THROTTLED_CAP.max(poll).max(rested));
                        prop_assert!(pause >= poll.mul_f64(LEAST_PART));
                    }
                    Some(_) => {
                        prop_assert!(pause <= BACKOFF_CAP.max(rested));
                        prop_assert!(failures > 1 || pause <= poll.max(rested));
                    }
                }
                let slowed = pace.slowed().map(|slowed| slowed.every);
                prop_assert!(slowed.is_none_or(|every| every == pause && every > poll));
                now = by_itself;
            }
        }

        #[test]
        fn jitter_is_a_part(_ in 0..100) {
            let jitter = jitter();
            prop_assert!((0.0..=1.0).contains(&jitter));
        }
    }
}
