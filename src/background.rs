//! Work that nobody waits for within a millisecond: reading files, writing
//! state. It has threads of its own, whose priority is lower than that of the
//! threads that answer. Where both want the same processor, the answers come
//! first.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};
use tokio::task::{JoinHandle, spawn_blocking};

/// The nice value of such a thread, unless it is higher already (see
/// sched(7)). Of a processor that answers would fill alone such a thread still
/// gets a tenth: a flood of queries does not keep a move from being seen.
const NICE: i32 = 10;

/// So long work that [breathes](breathe) goes on at a time. A scheduler that has
/// once given it a processor would else let it stay there until its next tick,
/// up to 10 ms, and as long would every answer wait.
const TURN: Duration = Duration::from_micros(200);

thread_local! {
    /// When a thread of ours began the work, or was given the processor again;
    /// none on other threads.
    static TURN_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does `work` on such a thread.
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

/// Lets others have the processor if this thread has had it for 200 us: to be
/// called often in work that takes longer. Does nothing on other threads.
pub fn breathe() {
    if TURN_BEGAN.get().is_some_and(|began| began.elapsed() >= TURN) {
        thread::yield_now();
        TURN_BEGAN.set(Some(Instant::now()));
    }
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
}
