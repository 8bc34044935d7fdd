//! Looks for sources of which nothing is heard any longer, at each beat of the loop
//! that publishes.

use std::time::{Duration, SystemTime};

use super::App;
use crate::host::background;
use crate::host::pulse::BEAT;
use crate::source::clock::elapsed;

/// A beat that comes so much too late says that the process did not run, or the
/// loop did not: then no source could be heard either.
const LATE: Duration = Duration::from_secs(3 * BEAT.as_secs());

/// From when on silence counts.
#[derive(Debug)]
pub(super) struct Silence {
    last_beat: SystemTime,
    /// The loop has beaten in time since then.
    since: SystemTime,
}

impl Silence {
    pub(super) fn start(now: SystemTime) -> Self {
        Self { last_beat: now, since: now }
    }

    /// The beat at `now`: no silence is counted that began before what is
    /// returned.
    fn beat(&mut self, now: SystemTime) -> SystemTime {
        if elapsed(self.last_beat, now) > LATE {
            self.since = now;
        }
        self.last_beat = now;
        self.since
    }
}

impl App {
    /// A source that hangs says nothing, so that its last word would stand for
    /// ever.
    pub(super) fn look_for_silent_sources(&mut self) {
        let since = self.silence.beat(self.clock.now());
        let mut heard = self.sources.heard();
        heard.iter_mut().flatten().for_each(|heard| *heard = since.max(*heard));
        if background::here(|| self.writer.judge_silent(&heard)) {
            self.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_process_is_stopped_no_source_is_silent() {
        let at = |s: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + s);
        let mut silence = Silence::start(at(0));
        for second in 1..100 {
            assert_eq!(silence.beat(at(second)), at(0), "{second}");
        }
        // Stopped for a minute; the beats that were missed come all at once.
        assert_eq!(silence.beat(at(160)), at(160));
        assert_eq!(silence.beat(at(160)), at(160));
        assert_eq!(silence.beat(at(162)), at(160), "a busy machine is none");
    }
}
