//! Tells the log when a source is asked less often than its `poll` says, and when it is asked
//! as often again.

use std::time::Instant;

use super::{Slowed, SlowedBy};
use crate::host::often::Often;

/// What was told of one source.
#[derive(Debug)]
pub(super) struct Teller {
    source: String,
    told: Option<SlowedBy>,
    /// What comes and goes is told once a minute.
    often: Often,
}

impl Teller {
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.to_owned(), told: None, often: Often::new() }
    }

    /// A call has ended. What may not be told now is told later, if it still is so.
    pub(super) fn hear(&mut self, slowed: Option<Slowed>) {
        let by = slowed.map(|slowed| slowed.by);
        if by == self.told || self.often.may(Instant::now()).is_none() {
            return;
        }
        self.told = by;
        let source = self.source.as_str();
        match slowed {
            Some(Slowed { every, by }) => tracing::warn!(
                source,
                every_ms = every.as_millis() as u64,
                why = by.as_str(),
                "EC2 is asked less often than `poll` says"
            ),
            None => tracing::info!(source, "EC2 is asked as often as `poll` says again"),
        }
    }
}
