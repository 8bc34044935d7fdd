//! The time that holds and ages are measured with, and the time that is shown.
//!
//! Holds and ages are compared within a process and across restarts. Across
//! restarts only wall-clock times mean anything, so those are what is stored.
//! Within a process the wall clock may be stepped (NTP after boot, an
//! operator), and an hour's step must neither end every hold nor prolong it
//! by an hour. So times within the process are the wall clock's at the start
//! plus the monotonic clock. They are compared with each other only.
//!
//! What is shown or stored follows the wall clock: [`Drift`] turns a time of
//! the process into the one that the wall clock gives it now.
//!
//! What remains is a step between two processes. Forwards it counts as time
//! that passed. Backwards it leaves stored times in the future; those are
//! taken as "now" when met, so that a hold is prolonged by at most its own
//! length.

use std::time::{Duration, Instant, SystemTime};

/// A wall clock that is off by more than this was stepped. NTP slews by less
/// than a millisecond a second, and between two looks is about one second.
const STEP: Duration = Duration::from_secs(1);

/// See the [module](self). A copy tells the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: SystemTime,
    steady: Instant,
}

impl Clock {
    /// Starts with what the wall clock shows.
    pub fn start() -> Self {
        Self { wall: wall(), steady: Instant::now() }
    }

    /// Now, in whole milliseconds: what the state on disk keeps of a time.
    pub fn now(&self) -> SystemTime {
        whole_millis(self.wall + self.steady.elapsed())
    }

    /// How far the wall clock has gone its own way since the start.
    pub fn drift(&self) -> Drift {
        Drift::between(self.now(), whole_millis(wall()))
    }
}

fn wall() -> SystemTime {
    SystemTime::now().max(SystemTime::UNIX_EPOCH)
}

/// How far the wall clock is ahead of the process's own time, or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drift {
    ahead: Duration,
    behind: Duration,
}

impl Drift {
    /// None: the wall clock was not touched.
    pub const NONE: Self = Self { ahead: Duration::ZERO, behind: Duration::ZERO };

    fn between(process: SystemTime, wall: SystemTime) -> Self {
        Self { ahead: elapsed(process, wall), behind: elapsed(wall, process) }
    }

    /// Of a wall clock that was set forwards.
    #[cfg(test)]
    pub(crate) fn by(ahead: Duration) -> Self {
        Self { ahead, behind: Duration::ZERO }
    }

    /// What the wall clock calls this time of the process.
    pub fn shown(self, time: SystemTime) -> SystemTime {
        let ahead = time.checked_add(self.ahead).unwrap_or(time);
        ahead.checked_sub(self.behind).unwrap_or(ahead).max(SystemTime::UNIX_EPOCH)
    }

    /// Was the wall clock stepped between the two? Else it runs a little
    /// faster or slower than the monotonic clock, as all clocks do.
    pub fn is_step_from(self, before: Self) -> bool {
        self.ahead.abs_diff(before.ahead) + self.behind.abs_diff(before.behind) > STEP
    }
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (size, way) = match self.behind.is_zero() {
            true => (self.ahead, "ahead of"),
            false => (self.behind, "behind"),
        };
        write!(f, "{:.1} s {way} where it was at the start", size.as_secs_f64())
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
    fn a_step_moves_what_is_shown_and_nothing_else() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let forwards = Drift::between(at(10_000), at(13_600));
        assert_eq!(forwards.shown(at(9_000)), at(12_600));
        let back = Drift::between(at(10_000), at(6_400));
        assert_eq!(back.shown(at(9_000)), at(5_400));
        assert_eq!(back.shown(at(10)), SystemTime::UNIX_EPOCH, "before it all");
        assert_eq!(Drift::NONE.shown(at(7)), at(7));
        assert!(forwards.is_step_from(Drift::NONE) && back.is_step_from(forwards));
        let slewed = Drift::between(at(10_000), at(13_600) + Duration::from_millis(40));
        assert!(!slewed.is_step_from(forwards));
        assert_eq!(forwards.to_string(), "3600.0 s ahead of where it was at the start");
        assert_eq!(back.to_string(), "3600.0 s behind where it was at the start");
    }

    #[test]
    fn the_future_has_not_elapsed() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(elapsed(now - Duration::from_secs(3), now), Duration::from_secs(3));
        assert_eq!(elapsed(now + Duration::from_secs(3), now), Duration::ZERO);
    }
}
