//! The poll loop of an `ec2` source: when to call, and who is told.
//!
//! The loop is the only retry there is. Decisions are `Pace`'s, which knows
//! neither clock nor network; what is called is a [`Describe`], so tests
//! script it.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::{Class, PollError};
use super::known::shared;
use super::usable::{LeftOut, Said};
use super::{Answer, Ask, By, Ended, Handle, Pending, Post, Setup};
use crate::source::inventory::Address;

/// The least part of `poll` between the starts of two calls; the most is all
/// of it. Replicas started together drift apart.
const LEAST_PART: f64 = 0.85;

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

/// Something that says, when called, which addresses there are.
pub(crate) trait Describe: Send {
    /// One call, with its own deadline. Dropping it ends it. No Elastic IP
    /// stands twice in what it says.
    fn describe(&mut self) -> impl Future<Output = Result<Described, PollError>> + Send;

    /// The region that is asked, once known.
    fn region(&self) -> Option<String>;
}

/// What a call brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Described {
    /// The addresses, each Elastic IP once.
    pub addresses: Vec<Address>,
    /// What of the answer cannot be used.
    pub left_out: LeftOut,
}

impl Described {
    /// The same, in the memory of what was said `before` where that is equal.
    pub(crate) fn beside(self, before: &Said) -> Said {
        let left_out = match &before.left_out {
            known if **known == self.left_out => Arc::clone(known),
            _ => self.left_out.into(),
        };
        Said { addresses: shared(&before.addresses, self.addresses), left_out }
    }
}

/// One source of type `ec2`, ready to [`run`](Self::run).
#[derive(Debug)]
pub(crate) struct Poller<D> {
    called: D,
    pace: Pace,
    post: Post,
    /// Who asked while a call was under way.
    later: Pending,
    /// The last good answer.
    said: Said,
}

impl<D: Describe> Poller<D> {
    /// A source that calls `called` each `poll`, and delivers what it says.
    pub(crate) fn new(setup: Setup, poll: Duration, called: D) -> (Self, Handle) {
        let pace = setup.throttled.map_or_else(|| Pace::new(poll), |p| Pace::throttled(poll, p));
        let (post, handle) = Post::new(setup);
        let (later, said) = (Pending::default(), Said::default());
        (Self { called, pace, post, later, said }, handle)
    }

    /// Calls at once, and again and again, until nobody takes deliveries or
    /// nobody can ask any longer.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            if let Err(ended) = self.round().await {
                return ended;
            }
        }
    }

    /// Waits for the time of the next call, makes it, delivers.
    async fn round(&mut self) -> Result<(), Ended> {
        let mut asked = std::mem::take(&mut self.later);
        loop {
            while let Some(ask) = self.post.ask_at_hand() {
                self.pace.hear(ask, &mut asked);
            }
            let at = self.pace.next_start(asked.by(), Instant::now());
            tokio::select! {
                () = tokio::time::sleep_until(at) => break,
                ask = self.post.asked() => self.pace.hear(ask?, &mut asked),
            }
        }
        let began = Instant::now();
        self.pace.started(began, asked.by());
        let said = self.call().await?;
        let took = began.elapsed();
        self.pace.ended(said.as_ref().err().map(PollError::class), jitter());
        self.post.throttled.set(self.pace.throttled_pause());
        let answer: Answer = match said {
            Ok(said) => {
                self.said = said.beside(&self.said);
                Ok(self.said.clone())
            }
            Err(error) => Err(Arc::new(error.into())),
        };
        self.post.deliver(took, self.called.region(), answer, asked).await
    }

    /// One call. Whoever asks meanwhile may know of a change that it does not
    /// show: they are for the next one.
    async fn call(&mut self) -> Result<Result<Described, PollError>, Ended> {
        let mut call = pin!(self.called.describe());
        loop {
            tokio::select! {
                biased;
                said = &mut call => return Ok(said),
                ask = self.post.asked() => self.pace.hear(ask?, &mut self.later),
            }
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
    pub(super) fn new(pause: Option<Pause>) -> Self {
        Self(Mutex::new(pause))
    }

    pub(super) fn get(&self) -> Option<Pause> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, pause: Option<Pause>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pause;
    }
}

/// When the next call is due. Pure.
#[derive(Debug)]
struct Pace {
    poll: Duration,
    failures: u32,
    /// From the start of the last call to that of the next.
    pause: Duration,
    started: Option<Instant>,
    started_asked: Option<Instant>,
    /// A call was throttled, and none was good since.
    throttled: bool,
    /// Since then a refresh has cut a pause.
    cut: bool,
}

impl Pace {
    fn new(poll: Duration) -> Self {
        let poll = poll.min(LONGEST_POLL);
        Self {
            poll,
            failures: 0,
            pause: poll,
            started: None,
            started_asked: None,
            throttled: false,
            cut: false,
        }
    }

    /// Goes on with a pause of a source that this one carries on.
    fn throttled(poll: Duration, pause: Pause) -> Self {
        let Pause { failures, lasts, started, started_asked, cut } = pause;
        let (started, throttled) = (Some(started), true);
        let fresh = Self::new(poll);
        Self { failures, pause: lasts, started, started_asked, throttled, cut, ..fresh }
    }

    /// The one under way, if throttling has made it.
    fn throttled_pause(&self) -> Option<Pause> {
        let Self { failures, pause: lasts, started_asked, cut, .. } = *self;
        let started = self.started.filter(|_| self.throttled)?;
        Some(Pause { failures, lasts, started, started_asked, cut })
    }

    /// An ask is about the pace, or for the next call.
    fn hear(&mut self, ask: Ask, next: &mut Pending) {
        match ask {
            Ask::Poll(poll) => self.set_poll(poll),
            ask => next.add(ask),
        }
    }

    /// Turns to another pace. A pause that failures have made stays as it is.
    fn set_poll(&mut self, poll: Duration) {
        self.poll = poll.min(LONGEST_POLL);
        if self.failures == 0 {
            self.pause = self.poll;
        }
    }

    /// When the next call is due, `now` if that has passed. A pause that
    /// throttling has made is cut by a refresh only: once, then once a second.
    fn next_start(&self, by: By, now: Instant) -> Instant {
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

    fn started(&mut self, now: Instant, by: By) {
        let is_early = self.scheduled().is_some_and(|at| now < at);
        self.cut |= self.throttled && is_early && by == By::Refresh;
        self.started = Some(now);
        if by != By::Time {
            self.started_asked = Some(now);
        }
    }

    /// A call has ended, well or with trouble of a class. `jitter` is from 0
    /// to 1.
    fn ended(&mut self, trouble: Option<Class>, jitter: f64) {
        self.failures = if trouble.is_some() { self.failures.saturating_add(1) } else { 0 };
        self.throttled |= trouble == Some(Class::Throttled);
        if trouble.is_none() {
            (self.throttled, self.cut) = (false, false);
        }
        let doubled = |first: Duration, times: u32| first.saturating_mul(1 << times.min(16));
        let longest = match trouble {
            None => self.poll,
            // Slower at once, and never faster than when all is well.
            Some(Class::Throttled) => {
                doubled(BACKOFF, self.failures).min(THROTTLED_CAP).max(self.poll)
            }
            Some(_) => doubled(BACKOFF.min(self.poll), self.failures - 1).min(BACKOFF_CAP),
        };
        self.pause = longest.mul_f64(LEAST_PART + (1.0 - LEAST_PART) * jitter.clamp(0.0, 1.0));
    }
}

/// A number from 0 to 1, another one each time: the standard library's hash
/// keys are random, which is all that is needed to drift apart.
fn jitter() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use tokio::sync::{mpsc, oneshot};

    use super::super::clock::Clock;
    use super::super::testing::address;
    use super::super::{Delivery, Gone, Refreshed};
    use super::*;
    use crate::source::inventory::Health;

    const PATIENCE: Duration = Duration::from_secs(20);
    /// Longer than any test.
    const NEVER: Duration = Duration::from_secs(3600);

    type Reply = Result<Described, PollError>;

    /// Each call is handed to the test, which answers it.
    struct Script {
        calls: mpsc::Sender<oneshot::Sender<Reply>>,
    }

    impl Describe for Script {
        async fn describe(&mut self) -> Reply {
            let (answer, said) = oneshot::channel();
            self.calls.send(answer).await.unwrap();
            said.await.unwrap()
        }

        fn region(&self) -> Option<String> {
            Some("us-east-1".into())
        }
    }

    struct Running {
        handle: Handle,
        calls: mpsc::Receiver<oneshot::Sender<Reply>>,
        deliveries: mpsc::Receiver<Delivery>,
        task: tokio::task::JoinHandle<Ended>,
    }

    async fn soon<T>(future: impl Future<Output = Option<T>>) -> T {
        tokio::time::timeout(PATIENCE, future).await.expect("in time").expect("still running")
    }

    impl Running {
        fn start(poll: Duration) -> Self {
            let (calls_in, calls) = mpsc::channel(1);
            let (deliver, deliveries) = mpsc::channel(4);
            let script = Script { calls: calls_in };
            let setup = Setup::new(3, "east", Clock::start(), deliver);
            let (poller, handle) = Poller::new(setup, poll, script);
            Self { handle, calls, deliveries, task: tokio::spawn(poller.run()) }
        }

        async fn call(&mut self) -> oneshot::Sender<Reply> {
            soon(self.calls.recv()).await
        }

        async fn delivery(&mut self) -> Delivery {
            soon(self.deliveries.recv()).await
        }

        /// Somebody asks; returns when the request is on its way.
        async fn ask(&self, accept_losses: bool) -> oneshot::Receiver<Refreshed> {
            let (reply, done) = oneshot::channel();
            self.handle
                .asks
                .send(super::super::Ask::Refresh { accept_losses, reply })
                .await
                .unwrap();
            done
        }
    }

    fn one(last: u8) -> Reply {
        let addresses = vec![address(Ipv4Addr::new(75, 101, 137, last))];
        Ok(Described { addresses, ..Described::default() })
    }

    fn server_error() -> PollError {
        PollError::Server { status: 503, code: "Unavailable".into() }
    }

    #[tokio::test]
    async fn a_request_waits_for_a_call_that_began_after_it_and_shares_it() {
        let mut east = Running::start(NEVER);
        let first = east.call().await;
        let (a, b) = (east.ask(false).await, east.ask(true).await);
        first.send(one(1)).unwrap();
        let delivery = east.delivery().await;
        assert_eq!((delivery.source, delivery.region.as_deref()), (3, Some("us-east-1")));
        assert!(delivery.waiters.0.is_empty() && !delivery.accept_losses);
        delivery.published(None);

        let second = east.call().await;
        let c = east.ask(false).await;
        second.send(one(2)).unwrap();
        let delivery = east.delivery().await;
        assert_eq!((delivery.waiters.0.len(), delivery.accept_losses), (2, true));
        delivery.published(None);
        assert!(a.await.unwrap().failed.is_none());
        assert!(b.await.unwrap().failed.is_none());

        let third = east.call().await;
        third.send(Err(server_error())).unwrap();
        let delivery = east.delivery().await;
        assert_eq!((delivery.waiters.0.len(), delivery.accept_losses), (1, false));
        delivery.published(None);
        assert_eq!(c.await.unwrap().failed.unwrap().to_string(), server_error().to_string());
        // Nobody else has asked: no further call until the next poll.
        assert!(east.calls.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_request_cuts_poll_and_backoff_short() {
        let mut east = Running::start(NEVER);
        let throttled = PollError::Throttled { code: "RequestLimitExceeded".into() };
        east.call().await.send(Err(throttled)).unwrap();
        east.delivery().await.published(None);
        for n in 0..3 {
            let asked = east.ask(false).await;
            east.call().await.send(one(n)).unwrap();
            east.delivery().await.published(None);
            asked.await.unwrap();
        }
        east.handle.look();
        east.call().await.send(one(9)).unwrap();
        assert!(east.delivery().await.waiters.0.is_empty());
    }

    #[tokio::test]
    async fn it_goes_on_by_itself_and_tells_health_and_counts() {
        let mut east = Running::start(Duration::from_millis(1));
        east.call().await.send(one(1)).unwrap();
        let delivery = east.delivery().await;
        assert_eq!(delivery.health, Health::Healthy);
        let first = delivery.answer.unwrap().addresses;
        assert_eq!(first.len(), 1);
        east.call().await.send(Err(server_error())).unwrap();
        let stalled = east.delivery().await;
        let Health::Stalled { since, why } = stalled.health else { panic!("{stalled:?}") };
        assert_eq!((since, why), (stalled.at, server_error().to_string()));
        east.call().await.send(Err(server_error())).unwrap();
        let Health::Stalled { since: still, .. } = east.delivery().await.health else { panic!() };
        assert_eq!(still, since);
        east.call().await.send(one(1)).unwrap();
        let healed = east.delivery().await;
        assert_eq!(healed.health, Health::Healthy);
        let again = healed.answer.unwrap().addresses;
        assert!(Arc::ptr_eq(&first[0], &again[0]), "an address that is as before was copied");
        let totals = east.handle.stats().read();
        assert_eq!((totals.polls, totals.failed(Class::Server), totals.failed_in_all()), (4, 2, 2));
        assert!(totals.last_good.is_some_and(|at| at >= since));
    }

    #[tokio::test]
    async fn it_ends_when_one_side_is_gone() {
        let mut east = Running::start(NEVER);
        let call = east.call().await;
        let asked = east.ask(false).await;
        drop(east.handle);
        let ended = tokio::time::timeout(PATIENCE, east.task).await.unwrap();
        assert_eq!(ended.unwrap(), Ended::NoHandle);
        asked.await.unwrap_err();
        assert!(call.is_closed(), "a call under way is dropped");

        let mut east = Running::start(NEVER);
        east.deliveries.close();
        east.call().await.send(one(1)).unwrap();
        assert_eq!(east.task.await.unwrap(), Ended::NoWriter);
        assert_eq!(east.handle.refresh(false).await.unwrap_err(), Gone);
    }

    #[test]
    fn pauses_after_failures() {
        let pauses = |poll, trouble: Class| -> Vec<u64> {
            let mut pace = Pace::new(Duration::from_secs(poll));
            (0..6)
                .map(|_| {
                    pace.ended(Some(trouble), 1.0);
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
    fn another_pace_holds_from_the_next_call_on_and_ends_no_backoff() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let now = Instant::now();
        pace.started(now, By::Time);
        pace.ended(None, 1.0);
        pace.set_poll(Duration::from_secs(5));
        assert_eq!(pace.next_start(By::Time, now), now + Duration::from_secs(5));
        pace.ended(Some(Class::Throttled), 1.0);
        pace.set_poll(Duration::from_secs(1));
        assert_eq!(pace.next_start(By::Time, now), now + Duration::from_secs(5));
        pace.ended(None, 1.0);
        assert_eq!(pace.next_start(By::Time, now), now + Duration::from_secs(1));
    }

    /// Five refreshes a second for half a minute, EC2 throttling all of it.
    #[test]
    fn a_refresh_cuts_the_pause_of_throttling_once_and_then_once_a_second() {
        let mut pace = Pace::new(Duration::from_secs(2));
        let start = Instant::now();
        pace.started(start, By::Time);
        pace.ended(Some(Class::Throttled), 1.0);
        let mut starts = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(30) {
            let at = pace.next_start(By::Refresh, now);
            assert_eq!(pace.next_start(By::Look, now), pace.next_start(By::Time, now));
            pace.started(at, By::Refresh);
            pace.ended(Some(Class::Throttled), 1.0);
            starts.push(at);
            now = at + Duration::from_millis(200);
        }
        assert_eq!(starts[0], start, "the first one cuts it at once");
        for two in starts.windows(2) {
            assert_eq!(two[1] - two[0], THROTTLED_SPACING);
        }
        // Any other failure does not let it go on faster; a good answer does.
        pace.ended(Some(Class::Timeout), 1.0);
        let last = starts[starts.len() - 1];
        assert_eq!(pace.next_start(By::Refresh, last), last + THROTTLED_SPACING);
        pace.ended(None, 1.0);
        assert_eq!(pace.next_start(By::Refresh, last), last + ASKED_SPACING);
        assert_eq!(pace.next_start(By::Look, last), last + ASKED_SPACING);
    }

    #[test]
    fn a_pause_that_throttling_has_made_is_carried_on() {
        let (mut pace, now) = (Pace::new(Duration::from_secs(2)), Instant::now());
        for pause in [4, 8] {
            pace.started(now, By::Time);
            pace.ended(Some(Class::Throttled), 1.0);
            let carried = pace.throttled_pause().unwrap();
            let mut next = Pace::throttled(Duration::from_secs(1), carried);
            let due = now + Duration::from_secs(pause);
            assert_eq!(next.next_start(By::Time, now), due);
            assert_eq!(next.next_start(By::Look, now), due);
            assert_eq!(next.next_start(By::Refresh, now), now, "a refresh cuts it");
            // And grows on from there; it is cut at once no more than before.
            next.started(now, By::Refresh);
            next.ended(Some(Class::Throttled), 1.0);
            let last = Pace::throttled(Duration::from_secs(1), next.throttled_pause().unwrap());
            assert_eq!(last.next_start(By::Time, now), now + Duration::from_secs(2 * pause));
            assert_eq!(last.next_start(By::Refresh, now), now + THROTTLED_SPACING);
        }
    }

    #[tokio::test]
    async fn throttling_is_told_to_whoever_carries_on() {
        let mut east = Running::start(NEVER);
        assert_eq!(east.handle.throttled(), None);
        let throttled = PollError::Throttled { code: "RequestLimitExceeded".into() };
        for (said, is_throttled) in
            [(Err(throttled), true), (Err(server_error()), true), (one(1), false)]
        {
            let asked = east.ask(false).await;
            east.call().await.send(said).unwrap();
            let delivery = east.delivery().await;
            assert_eq!(east.handle.throttled().is_some(), is_throttled);
            delivery.published(None);
            drop(asked);
        }
    }

    #[test]
    fn no_poll_is_too_long() {
        let mut pace = Pace::new(Duration::MAX);
        let now = Instant::now();
        pace.started(now, By::Time);
        for trouble in [None, Some(Class::Throttled), Some(Class::Dns)] {
            pace.ended(trouble, 1.0);
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
                now += Duration::from_millis(took);
                pace.ended(trouble, jitter);
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
                let pause = by_itself - began;
                match trouble {
                    None => {
                        prop_assert!(pause >= poll.mul_f64(LEAST_PART) || by_itself == now);
                        prop_assert!(pause <= poll || by_itself == now);
                    }
                    Some(Class::Throttled) => {
                        prop_assert!(pause <= THROTTLED_CAP.max(poll) || by_itself == now);
                        prop_assert!(pause >= poll.mul_f64(LEAST_PART) || by_itself == now);
                    }
                    Some(_) => {
                        prop_assert!(pause <= BACKOFF_CAP || by_itself == now);
                        prop_assert!(failures > 1 || pause <= poll || by_itself == now);
                    }
                }
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
