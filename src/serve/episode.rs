//! A trouble that comes many times a second is logged once.

use std::time::{Duration, Instant};

/// An episode is over when the trouble has stayed away this long. Long enough
/// that a server at its limit for an hour says so once, not each minute.
const QUIET: Duration = Duration::from_secs(60);

/// One kind of trouble.
#[derive(Debug, Default)]
pub struct Episode {
    last: Option<Instant>,
}

impl Episode {
    /// The trouble occurred at `now`: is it the first of its episode?
    pub fn begins(&mut self, now: Instant) -> bool {
        let last = self.last.replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) > QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_an_episode() {
        let start = Instant::now();
        let mut episode = Episode::default();
        assert!(episode.begins(start));
        // An hour of trouble each 30 s is one episode.
        for half_minute in 1..120 {
            assert!(!episode.begins(start + QUIET / 2 * half_minute));
        }
        assert!(episode.begins(start + QUIET / 2 * 119 + QUIET + Duration::from_millis(1)));
    }
}
