//! Slow work (files, compiling, state) that must not delay answers.
//!
//! Reading files and writing state run on threads of their own, with a lower
//! priority: [`run`]. Making a snapshot keeps the priority of the threads that
//! answer: [`here`]. Both yield the processor every [`TURN`]: [`breathe`]. How long
//! they may be kept waiting by that is bounded, so that a flood of queries does not
//! keep a move from being published.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::task::{JoinHandle, spawn_blocking};

/// The nice value of threads that only do such work, unless it is higher
/// already (see sched(7)).
const NICE: i32 = 10;

/// The longest that work which calls [`breathe`] runs before it yields. Else the
/// scheduler would leave it on the processor until its next tick, up to 10 ms, and
/// answers would wait for as long.
const TURN: Duration = Duration::from_micros(100);

/// How much longer than it has worked such work may have waited, in [`run`] and in
/// [`here`], before it goes on without yielding. One yield may take milliseconds,
/// with a low priority a dozen. A move costs some yields, a new configuration
/// thousands.
const PATIENCE_ASIDE: Duration = Duration::from_millis(500);
const PATIENCE_HERE: Duration = Duration::from_millis(100);

/// [`breathing`] looks at the clock once for so many items: that takes as long as
/// some of them.
const EVERY: usize = 32;

/// How often to yield until others have run. Linux credits a thread for having
/// slept and may give it the processor back at once although others wait; each
/// yield takes some milliseconds off that credit, which lasts for about four.
/// Where nobody waits, they take a microsecond.
const ASKED: usize = 4;

/// In a yield that takes longer than this others have run.
const PASSED: Duration = Duration::from_micros(5);

/// So many octets are read, written or hashed between two calls of [`breathe`].
pub(crate) const PIECE: usize = 1 << 16;

thread_local! {
    /// When the work on this thread is to yield; none where it never does.
    static TURN_NOW: Cell<Option<Turn>> = const { Cell::new(None) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    began: Instant,
    /// Of the turns before, and between them.
    worked: Duration,
    waited: Duration,
    patience: Duration,
}

impl Turn {
    fn new(patience: Duration) -> Self {
        let (worked, waited) = Default::default();
        Self { began: Instant::now(), worked, waited, patience }
    }

    /// The next one.
    fn next(self) -> Self {
        let asked = Instant::now();
        let worked = self.worked + (asked - self.began);
        let is_patient = self.waited < self.patience + worked;
        let began = if is_patient { pass(asked) } else { asked };
        Self { began, worked, waited: self.waited + (began - asked), ..self }
    }
}

/// Does `work` on a thread of lower priority; it yields at each [`breathe`].
pub(crate) fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // Nothing else in the process runs on the runtime's blocking threads that
    // an answer waits for, so they may keep their priority.
    spawn_blocking(move || lowered(work))
}

/// Does `work` on this thread, whose priority is lowered for good: nothing that an
/// answer waits for may run on it afterwards.
pub(crate) fn lowered<T>(work: impl FnOnce() -> T) -> T {
    lower();
    in_turns(PATIENCE_ASIDE, work)
}

/// Does `work` on this thread, with its priority; it yields at each [`breathe`].
pub(crate) fn here<T>(work: impl FnOnce() -> T) -> T {
    in_turns(PATIENCE_HERE, work)
}

fn in_turns<T>(patience: Duration, work: impl FnOnce() -> T) -> T {
    /// Ends the turn, also when the work panics.
    struct Around(Option<Turn>);
    impl Drop for Around {
        fn drop(&mut self) {
            TURN_NOW.set(self.0);
        }
    }
    let _around = Around(TURN_NOW.replace(Some(Turn::new(patience))));
    work()
}

/// Yields the processor if this work has run for [`TURN`]: to be called often in
/// work that takes longer. Does nothing outside [`run`], [`lowered`] and [`here`].
pub(crate) fn breathe() {
    if let Some(turn) = TURN_NOW.get().filter(|turn| turn.began.elapsed() >= TURN) {
        TURN_NOW.set(Some(turn.next()));
    }
}

/// Gives the processor up to whoever waits for it; says when it is ours again.
fn pass(asked: Instant) -> Instant {
    let mut before = asked;
    for _ in 0..ASKED {
        thread::yield_now();
        let now = Instant::now();
        if now - before > PASSED {
            return now;
        }
        before = now;
    }
    before
}

/// The items of `many`, with a [`breathe`] now and then.
pub(crate) fn breathing<I: IntoIterator>(many: I) -> impl Iterator<Item = I::Item> {
    many.into_iter().enumerate().map(|(nth, one)| {
        if nth % EVERY == 0 {
            breathe();
        }
        one
    })
}

/// Lowers the priority of the calling thread. On Linux it is each thread's own;
/// without a pid it is the caller's.
fn lower() {
    let nice = getpriority_process(None).unwrap_or(0);
    if nice < NICE {
        // Always allowed. Where it fails, work is done as soon as it can be.
        let _ = setpriority_process(None, NICE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn its_threads_have_a_lower_priority_and_no_others() {
        let before = getpriority_process(None).unwrap();
        for _ in 0..3 {
            let there = run(|| getpriority_process(None).unwrap()).await.unwrap();
            assert_eq!(there, before.max(NICE));
        }
        assert_eq!(getpriority_process(None).unwrap(), before);
        assert!(run(|| panic!("a test")).await.unwrap_err().is_panic());
    }

    /// As if the turn had begun long ago.
    fn long_ago() -> Turn {
        let began = Instant::now().checked_sub(TURN).unwrap();
        let turn = Turn { began, ..TURN_NOW.get().unwrap() };
        TURN_NOW.set(Some(turn));
        turn
    }

    #[test]
    fn turns_begin_where_work_is_done_in_turns_and_end_with_it() {
        breathe();
        assert_eq!(TURN_NOW.get(), None);
        here(|| {
            let first = long_ago();
            breathe();
            let second = TURN_NOW.get().unwrap();
            assert!(second.began > first.began, "the first was over");
            assert!(second.worked >= first.worked + TURN);
            assert!(second.waited > first.waited);
            assert_eq!(here(|| 7), 7);
            assert_eq!(TURN_NOW.get(), Some(second), "of the work around it");
        });
        assert_eq!(TURN_NOW.get(), None);
        assert!(std::panic::catch_unwind(|| here(|| panic!("a test"))).is_err());
        assert_eq!(TURN_NOW.get(), None);
    }

    #[test]
    fn patience_has_an_end_and_work_earns_it() {
        here(|| {
            let waited = |waited| {
                let before = Turn { waited, ..long_ago() };
                before.next().waited > waited
            };
            assert!(waited(PATIENCE_HERE));
            let second = Duration::from_secs(1);
            assert!(!waited(PATIENCE_HERE + second));
            TURN_NOW.set(TURN_NOW.get().map(|turn| Turn { worked: second, ..turn }));
            assert!(waited(PATIENCE_HERE + second));
            assert!(!waited(PATIENCE_HERE + 2 * second));
        });
    }

    #[test]
    fn a_breath_between_things_changes_nothing_about_them() {
        here(|| {
            assert!(breathing(0..1_000).eq(0..1_000));
            let first = long_ago();
            let mut things = breathing(0..=EVERY);
            assert_eq!(things.next(), Some(0));
            let second = TURN_NOW.get().unwrap();
            assert!(second.began > first.began);
            let third = long_ago();
            assert_eq!(things.nth(EVERY - 2), Some(EVERY - 1));
            assert_eq!(TURN_NOW.get(), Some(third), "not before each of them");
            assert_eq!(things.next(), Some(EVERY));
            assert_ne!(TURN_NOW.get(), Some(third));
        });
    }
}
