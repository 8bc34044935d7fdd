//! A wall clock that does not jump while the process lives.
//!
//! Holds and ages are compared within a process and across restarts. Across
//! restarts only wall-clock times mean anything, so those are what is stored.
//! Within a process the wall clock may be stepped (NTP after boot, an
//! operator), and an hour's step must neither end every hold nor prolong it
//! by an hour: so the wall clock is read once, at start, and the monotonic
//! clock is added to it.
//!
//! What remains is a step between two processes. Forwards it counts as time
//! that passed. Backwards it leaves stored times in the future; those are
//! taken as "now" when met, so that a hold is prolonged by at most its own
//! length.

use std::time::{Duration, Instant, SystemTime};

/// See the [module](self). A copy tells the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: SystemTime,
    steady: Instant,
}

impl Clock {
    /// Reads the wall clock, for the last time.
    pub fn start() -> Self {
        Self { wall: SystemTime::now().max(SystemTime::UNIX_EPOCH), steady: Instant::now() }
    }

    /// Now, in whole milliseconds: what the state on disk keeps of a time.
    pub fn now(&self) -> SystemTime {
        whole_millis(self.wall + self.steady.elapsed())
    }
}

/// How long ago `since` was; nothing, if it is yet to come.
pub fn elapsed(since: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(since).unwrap_or(Duration::ZERO)
}

/// `time` without the part of it below a millisecond.
fn whole_millis(time: SystemTime) -> SystemTime {
    let below = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.subsec_nanos() % 1_000_000,
        Err(_) => 0,
    };
    time - Duration::from_nanos(below.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_milliseconds_and_never_go_back() {
        let clock = Clock::start();
        let mut before = clock.now();
        for _ in 0..1000 {
            let now = clock.now();
            let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(since.subsec_nanos() % 1_000_000, 0);
            assert!(now >= before);
            before = now;
        }
    }

    #[test]
    fn the_future_has_not_elapsed() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(elapsed(now - Duration::from_secs(3), now), Duration::from_secs(3));
        assert_eq!(elapsed(now + Duration::from_secs(3), now), Duration::ZERO);
    }
}
