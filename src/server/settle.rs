//! When a configuration that has changed under `--watch` is taken: not while
//! its files are being written, and what would be lost altogether not at all.
//! Pure: knows neither files nor clock.
//!
//! ```text
//!          look            differs          still the same        still the same
//! Idle ---------> Comparing -----> Reading -> Settling -> Checking ------------> taken
//!                                     ^         ^            |  | loses something,
//!                                     '---------+---differs--'  | for long enough
//!                                               '---not for long'----------------> refused
//! ```
//!
//! What an operator asks for is read and taken at once, as it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Seen;

/// A changed configuration is taken once its files have stayed the same for so
/// long: who truncates and writes, or copies several files one after the other,
/// takes less between two steps.
pub(super) const QUIET: Duration = Duration::from_millis(150);

/// One that would lose something altogether is refused once its files have
/// stayed the same for so long: the next step of who writes them may bring it
/// back.
pub(super) const QUIET_LOSS: Duration = Duration::from_secs(2);

/// Files that go on changing for longer than this are told.
const RESTLESS: Duration = Duration::from_secs(30);

/// What was read.
#[derive(Debug, Clone)]
pub(super) struct Found<R> {
    /// The files.
    pub seen: Arc<Seen>,
    /// Something of what is in use is not in it at all.
    pub loses: bool,
    /// The configuration.
    pub read: R,
}

/// What is to be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Reading the configuration; an operator has asked for it.
    Read {
        /// Or a file has changed.
        asked: bool,
    },
    /// Looking whether the files of [`Settle::seen`] are as they were.
    Compare,
}

/// What follows from what was done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled<R> {
    /// Take it.
    Take(R),
    /// Do not: it loses something.
    Refuse(R),
    /// It loses something, which may yet come back. Told once.
    Waits,
    /// The files change all the time. Told once.
    Restless,
}

/// One configuration directory.
#[derive(Debug)]
pub(super) struct Settle<R> {
    /// What was read last and taken or refused.
    dealt: Arc<Seen>,
    step: Step<R>,
    due: Option<Due>,
    /// Somebody asked while a reading for another one was under way.
    asked: bool,
    /// There was reason to look while something was under way.
    look: bool,
    changing: Option<Changing>,
}

#[derive(Debug)]
enum Step<R> {
    Idle,
    Comparing,
    Reading { asked: bool },
    Settling(Settling<R>),
    Checking(Settling<R>),
}

/// It differs from what was dealt with.
#[derive(Debug)]
struct Settling<R> {
    found: Found<R>,
    /// Its files are as they are since then, or longer.
    since: Instant,
    /// When to look whether they still are.
    at: Instant,
}

/// Since when files change, and what was told of that.
#[derive(Debug, Clone, Copy)]
struct Changing {
    since: Instant,
    told_waits: bool,
    told_restless: bool,
}

impl<R> Settle<R> {
    /// What was `seen` is in use.
    pub(super) fn new(seen: Arc<Seen>) -> Self {
        let (asked, look) = (false, false);
        Self { dealt: seen, step: Step::Idle, due: None, asked, look, changing: None }
    }

    /// The files to compare with what they were.
    pub(super) fn seen(&self) -> &Arc<Seen> {
        match &self.step {
            Step::Settling(settling) | Step::Checking(settling) => &settling.found.seen,
            Step::Idle | Step::Comparing | Step::Reading { .. } => &self.dealt,
        }
    }

    /// What was found and waits.
    pub(super) fn found(&self) -> Option<&R> {
        match &self.step {
            Step::Settling(settling) | Step::Checking(settling) => Some(&settling.found.read),
            Step::Idle | Step::Comparing | Step::Reading { .. } => None,
        }
    }

    /// What is to be begun now.
    pub(super) fn take_due(&mut self) -> Option<Due> {
        self.due.take()
    }

    /// When to [`wake`](Self::wake) it.
    pub(super) fn wakes(&self) -> Option<Instant> {
        match &self.step {
            Step::Settling(settling) => Some(settling.at),
            _ => None,
        }
    }

    /// An operator asks for what is there.
    pub(super) fn ask(&mut self) {
        match self.step {
            // It has not begun, so it is for both.
            Step::Reading { asked: true } if self.due.is_some() => {}
            Step::Reading { asked: true } => self.asked = true,
            // What is under way may be older than what is there, or may hang.
            _ => self.read(true),
        }
    }

    /// Something may have changed.
    pub(super) fn look(&mut self, now: Instant) {
        match &mut self.step {
            Step::Idle => {
                self.step = Step::Comparing;
                self.due = Some(Due::Compare);
            }
            Step::Settling(settling) => settling.at = settling.at.min(now + QUIET),
            Step::Comparing | Step::Reading { .. } | Step::Checking(_) => self.look = true,
        }
    }

    /// It is [`wakes`](Self::wakes).
    pub(super) fn wake(&mut self) {
        self.step = match std::mem::replace(&mut self.step, Step::Idle) {
            Step::Settling(settling) => {
                self.due = Some(Due::Compare);
                Step::Checking(settling)
            }
            other => other,
        };
    }

    /// The files have this digest.
    pub(super) fn compared(&mut self, digest: u128, now: Instant) -> Option<Settled<R>> {
        let outcome = match std::mem::replace(&mut self.step, Step::Idle) {
            // Idle: that took so long that it was not waited for.
            Step::Comparing | Step::Idle if digest == self.dealt.digest => {
                self.changing = None;
                None
            }
            Step::Checking(settling) if digest == settling.found.seen.digest => {
                self.still(settling, now)
            }
            Step::Comparing | Step::Idle | Step::Checking(_) => self.changed(now),
            other => {
                self.step = other;
                None
            }
        };
        self.go_on(now);
        outcome
    }

    /// This was read, from `began` on; `asked` as it was due.
    pub(super) fn was_read(
        &mut self,
        found: Found<R>,
        asked: bool,
        began: Instant,
        now: Instant,
    ) -> Option<Settled<R>> {
        let mut outcome = None;
        self.step = Step::Idle;
        if asked {
            outcome = Some(Settled::Take(self.deal(found)));
        } else if found.seen.digest == self.dealt.digest {
            self.changing = None;
        } else {
            self.step = Step::Settling(Settling { found, since: began, at: began + QUIET });
        }
        self.go_on(now);
        outcome
    }

    /// What was begun does not end, or could not be begun. Returns whether an
    /// operator waits for it.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let asked = matches!(self.step, Step::Reading { asked: true });
        self.step = Step::Idle;
        self.look = false;
        self.go_on(now);
        asked
    }

    fn read(&mut self, asked: bool) {
        self.step = Step::Reading { asked };
        self.due = Some(Due::Read { asked });
    }

    /// The files are not as they were.
    fn changed(&mut self, now: Instant) -> Option<Settled<R>> {
        self.read(false);
        let new = Changing { since: now, told_waits: false, told_restless: false };
        let changing = self.changing.get_or_insert(new);
        let tell = now - changing.since >= RESTLESS && !changing.told_restless;
        changing.told_restless |= tell;
        tell.then_some(Settled::Restless)
    }

    /// What was read is still there.
    fn still(&mut self, mut settling: Settling<R>, now: Instant) -> Option<Settled<R>> {
        let loses = settling.found.loses;
        let quiet = if loses { QUIET_LOSS } else { QUIET };
        let at = settling.since + quiet;
        if now >= at {
            let read = self.deal(settling.found);
            return Some(if loses { Settled::Refuse(read) } else { Settled::Take(read) });
        }
        settling.at = at;
        self.step = Step::Settling(settling);
        let changing = self.changing.as_mut()?;
        let tell = loses && !std::mem::replace(&mut changing.told_waits, true);
        tell.then_some(Settled::Waits)
    }

    fn deal(&mut self, found: Found<R>) -> R {
        self.dealt = found.seen;
        self.changing = None;
        found.read
    }

    /// Begins what was asked for meanwhile.
    fn go_on(&mut self, now: Instant) {
        if std::mem::take(&mut self.asked) {
            self.read(true);
        } else if std::mem::take(&mut self.look) {
            self.look(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory whose digest is what a test says, read and compared in no
    /// time.
    struct World {
        settle: Settle<u128>,
        /// Of these, each reading loses something.
        empty: &'static [u128],
        files: u128,
        start: Instant,
        log: Vec<String>,
    }

    fn seen(digest: u128) -> Arc<Seen> {
        let mut seen = Seen::default();
        seen.digest = digest;
        seen.into()
    }

    impl World {
        fn new() -> Self {
            let (settle, log) = (Settle::new(seen(1)), Vec::new());
            Self { settle, empty: &[8, 9], files: 1, start: Instant::now(), log }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// Does what is due until nothing is.
        fn work(&mut self, ms: u64) {
            while let Some(due) = self.settle.take_due() {
                let now = self.at(ms);
                let outcome = match due {
                    Due::Compare => self.settle.compared(self.files, now),
                    Due::Read { asked } => {
                        let loses = self.empty.contains(&self.files);
                        let found = Found { seen: seen(self.files), loses, read: self.files };
                        self.settle.was_read(found, asked, now, now)
                    }
                };
                self.log.extend(outcome.map(|outcome| format!("{ms} {outcome:?}")));
            }
        }

        /// The files become `files` at `ms`, which is told.
        fn write(&mut self, ms: u64, files: u128) {
            self.until(ms);
            self.files = files;
            self.settle.look(self.at(ms));
            self.work(ms);
        }

        fn ask(&mut self, ms: u64) {
            self.until(ms);
            self.settle.ask();
            self.work(ms);
        }

        /// Wakes it as often as it wants until `ms`.
        fn until(&mut self, ms: u64) {
            while let Some(at) = self.settle.wakes().filter(|at| *at <= self.at(ms)) {
                self.settle.wake();
                self.work((at - self.start).as_millis() as u64);
            }
        }

        /// What has followed until `ms`.
        fn log(&mut self, ms: u64) -> Vec<String> {
            self.until(ms);
            std::mem::take(&mut self.log)
        }
    }

    #[test]
    fn a_change_is_taken_once_it_has_stayed() {
        let mut world = World::new();
        world.write(0, 1);
        assert_eq!(world.log(9_999), [""; 0], "only touched");
        world.write(10_000, 2);
        assert_eq!(world.log(10_149), [""; 0]);
        assert_eq!(world.log(10_150), ["10150 Take(2)"]);
        world.write(10_200, 2);
        // In three steps, less than QUIET apart.
        for (ms, files) in [(20_000, 3), (20_100, 4), (20_200, 5)] {
            world.write(ms, files);
        }
        assert_eq!(world.log(30_000), ["20450 Take(5)"]);
        // And back.
        world.write(40_000, 6);
        world.write(40_100, 5);
        assert_eq!(world.log(50_000), [""; 0]);
        assert!(world.settle.wakes().is_none());
    }

    #[test]
    fn what_loses_something_waits_and_is_refused() {
        let mut world = World::new();
        world.write(0, 9);
        assert_eq!(world.log(1_999), ["150 Waits"]);
        assert_eq!(world.log(2_000), ["2000 Refuse(9)"]);
        // Touched: nothing new.
        world.write(3_000, 9);
        assert_eq!(world.log(9_000), [""; 0]);
        // What brings the names back is taken as ever, ...
        world.write(10_000, 2);
        assert_eq!(world.log(10_150), ["10150 Take(2)"]);
        // ... also within the time it waits, and then at once.
        world.write(20_000, 9);
        world.write(21_000, 3);
        assert_eq!(world.log(30_000), ["20150 Waits", "21300 Take(3)"]);
        // Each change lengthens it.
        world.write(40_000, 9);
        world.write(41_000, 8);
        assert_eq!(world.log(50_000), ["40150 Waits", "43150 Refuse(8)"]);
    }

    #[test]
    fn what_is_asked_for_is_taken_as_it_is() {
        let mut world = World::new();
        world.ask(0);
        assert_eq!(world.log(0), ["0 Take(1)"], "unchanged");
        world.write(10, 9);
        world.ask(1_000);
        assert_eq!(world.log(9_000), ["160 Waits", "1000 Take(9)"]);
        world.write(10_000, 2);
        world.log(11_000);
        world.write(20_000, 9);
        assert_eq!(world.log(29_000), ["20150 Waits", "22000 Refuse(9)"]);
        world.ask(30_000);
        assert_eq!(world.log(40_000), ["30000 Take(9)"]);
    }

    #[test]
    fn asks_and_looks_while_something_is_under_way_follow_it() {
        let mut settle = Settle::<u128>::new(seen(1));
        let now = Instant::now();
        settle.look(now);
        assert_eq!(settle.take_due(), Some(Due::Compare));
        settle.look(now);
        assert_eq!(settle.take_due(), None);
        // An operator does not wait for it; two before it has begun are one.
        settle.ask();
        settle.ask();
        assert_eq!(settle.take_due(), Some(Due::Read { asked: true }));
        settle.ask();
        settle.ask();
        settle.look(now);
        assert_eq!(settle.take_due(), None);
        let found = |digest| Found { seen: seen(digest), loses: false, read: digest };
        assert_eq!(settle.was_read(found(1), true, now, now), Some(Settled::Take(1)));
        assert_eq!(settle.take_due(), Some(Due::Read { asked: true }), "of the second one");
        assert_eq!(settle.was_read(found(2), true, now, now), Some(Settled::Take(2)));
        assert_eq!(settle.take_due(), Some(Due::Compare), "of the look");
        assert_eq!(settle.compared(2, now), None);
        assert_eq!(settle.take_due(), None);

        // What hangs: asks are not lost, looks are for the next one.
        settle.ask();
        assert_eq!(settle.take_due(), Some(Due::Read { asked: true }));
        settle.ask();
        assert!(settle.failed(now));
        assert_eq!(settle.take_due(), Some(Due::Read { asked: true }));
        settle.look(now);
        assert!(settle.failed(now));
        assert_eq!(settle.take_due(), None);
        // It ends after all.
        assert_eq!(settle.was_read(found(3), true, now, now), Some(Settled::Take(3)));
        settle.look(now);
        assert_eq!(settle.take_due(), Some(Due::Compare));
        assert!(!settle.failed(now));
        assert_eq!(settle.compared(4, now), None);
        assert_eq!(settle.take_due(), Some(Due::Read { asked: false }));
    }

    #[test]
    fn files_that_never_rest_are_told_once_and_not_taken() {
        let mut world = World::new();
        for step in 0..600 {
            world.write(step * 100, 2 + u128::from(step));
        }
        let log = world.log(59_900);
        let [told] = log.as_slice() else { panic!("{log:?}") };
        assert!(told.ends_with(" Restless") && told.starts_with("30"), "{told}");
        assert_eq!(world.log(99_000), ["60150 Take(601)"]);
    }
}
