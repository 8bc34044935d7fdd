//! Work that nobody waits for within a millisecond, beside the threads that
//! answer. Where both want the same processor, the answers come first.
//!
//! Reading files and writing state has threads of its own, of lower priority:
//! [`run`]. Making a snapshot has the priority of answers, because a move is
//! not to be delayed by a flood of queries: [`here`]. Both work in turns, and
//! between two of them they let answers pass: [`breathe`].

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::task::{JoinHandle, spawn_blocking};

/// The nice value of threads that only do such work, unless it is higher already (see
/// sched(7)). Of a processor that answers would fill alone such a thread still
/// gets a tenth: a flood of queries does not keep a move from being seen.
const NICE: i32 = 10;

/// So long work that [breathes](breathe) goes on at a time. A scheduler that has
/// once given it a processor would else let it stay there until its next tick,
/// up to 10 ms, and as long would every answer wait.
const TURN: Duration = Duration::from_micros(100);

/// After how many of many small things to [breathe](breathing): looking at the
/// clock takes as long as some of them.
const EVERY: usize = 32;

/// A scheduler may owe a thread some time for having slept, and give it the
/// processor back at once although others wait: Linux does, and takes off a few
/// milliseconds of that debt with each yield. Its limit is some four yields.
/// Where nobody waits they take a microsecond.
const ASKED: usize = 4;

/// A yield that takes longer than this has let others pass.
const PASSED: Duration = Duration::from_micros(5);

/// So many octets are read, written or hashed between two breaths.
pub const PIECE: usize = 1 << 16;

thread_local! {
    /// When this thread began a turn; none while it does no such work.
    static TURN_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does `work` on a thread of lower priority, in turns.
pub fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // Nothing else in the process runs on the runtime's blocking threads that
    // an answer waits for, so they may keep their priority.
    spawn_blocking(move || {
        if TURN_BEGAN.replace(Some(Instant::now())).is_none() {
            lower();
        }
        work()
    })
}

/// Does `work` on this thread, with its priority, in turns.
pub fn here<T>(work: impl FnOnce() -> T) -> T {
    let before = TURN_BEGAN.replace(Some(Instant::now()));
    let done = work();
    TURN_BEGAN.set(before);
    done
}

/// Lets others have the processor if this turn is over: to be called often in
/// work that takes longer. Does nothing where work is not done in turns.
pub fn breathe() {
    if TURN_BEGAN.get().is_some_and(|began| began.elapsed() >= TURN) {
        TURN_BEGAN.set(Some(pass()));
    }
}

/// Gives the processor up to whoever waits for it; returns when it is ours
/// again.
fn pass() -> Instant {
    let mut before = Instant::now();
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

/// Many small things, with a [breath](breathe) now and then.
pub fn breathing<I: IntoIterator>(many: I) -> impl Iterator<Item = I::Item> {
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

    #[test]
    fn turns_begin_where_work_is_done_in_turns_and_end_with_it() {
        breathe();
        assert_eq!(TURN_BEGAN.get(), None);
        here(|| {
            let long_ago = Instant::now().checked_sub(TURN).unwrap();
            TURN_BEGAN.set(Some(long_ago));
            breathe();
            let second = TURN_BEGAN.get().unwrap();
            assert!(second > long_ago, "the turn was over");
            assert_eq!(here(|| 7), 7);
            assert_eq!(TURN_BEGAN.get(), Some(second), "of the work around it");
        });
        assert_eq!(TURN_BEGAN.get(), None);
    }

    #[test]
    fn a_breath_between_things_changes_nothing_about_them() {
        here(|| assert!(breathing(0..1_000).eq(0..1_000)));
        assert_eq!(breathing(Vec::<u8>::new()).next(), None);
    }
}
