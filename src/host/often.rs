//! A message that may come many times a second is logged once a minute, with
//! how many were left out since.
//!
//! Whatever somebody outside can cause again and again is logged through this:
//! a client, an upstream or a full disk must not fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one line of a kind in so long.
pub(crate) const QUIET: Duration = Duration::from_secs(60);

/// One kind of message. It can be a `static`.
#[derive(Debug, Default)]
pub struct Often(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    left_out: u64,
}

impl Often {
    /// Nothing was said yet.
    pub const fn new() -> Self {
        Self(Mutex::new(State { said: None, left_out: 0 }))
    }

    /// May the message be logged at `now`? If so, with how many were left out
    /// since the last one; if not, it is counted as left out.
    pub fn may(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.said.is_some_and(|said| now.saturating_duration_since(said) < QUIET) {
            state.left_out += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_and_the_rest_is_counted() {
        let start = Instant::now();
        let often = Often::new();
        assert_eq!(often.may(start), Some(0));
        for second in 1..60 {
            assert_eq!(often.may(start + Duration::from_secs(second)), None);
        }
        assert_eq!(often.may(start + QUIET), Some(59));
        assert_eq!(often.may(start + QUIET * 3), Some(0));
    }
}
