//! Whether what was read of a file is new, the same, or bad for a moment only. Pure;
//! the clock is passed in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::FileError;
use crate::source::Answer;
use crate::source::error::SourceError;
use crate::source::json::Listing;

/// How long a file may be bad before that is told. A writer that truncates
/// first, or removes before it renames, shows nothing or half for a moment.
pub(super) const SETTLE: Duration = Duration::from_millis(200);

/// What a look at the file means.
pub(super) enum Look {
    /// Bad, but perhaps only for a moment: look again soon.
    Again,
    /// As it was when last told.
    Same(Answer),
    /// To be told.
    New(Answer),
}

/// Compares what is seen with what was told.
#[derive(Default)]
pub(super) struct Judge {
    told: Option<Result<Arc<Listing>, Arc<SourceError>>>,
    bad_since: Option<Instant>,
}

impl Judge {
    /// What was told last, if it is good.
    pub(super) fn known(&self) -> Option<&Arc<Listing>> {
        self.told.as_ref()?.as_ref().ok()
    }

    pub(super) fn judge(&mut self, seen: Result<Arc<Listing>, FileError>, now: Instant) -> Look {
        match (seen, &self.told) {
            (Ok(seen), told) => {
                self.bad_since = None;
                let answer = Ok(seen.said().clone());
                if matches!(told, Some(Ok(told)) if Arc::ptr_eq(told, &seen)) {
                    return Look::Same(answer);
                }
                self.told = Some(Ok(seen));
                Look::New(answer)
            }
            (Err(error), _)
                if *self.bad_since.get_or_insert(now) + SETTLE > now
                    // That has taken its time already.
                    && !matches!(error, FileError::Hangs { .. }) =>
            {
                Look::Again
            }
            (Err(error), Some(Err(told))) if told.to_string() == error.to_string() => {
                Look::Same(Err(Arc::clone(told)))
            }
            (Err(error), _) => {
                let error = Arc::new(SourceError::from(error));
                self.told = Some(Err(Arc::clone(&error)));
                Look::New(Err(error))
            }
        }
    }
}
