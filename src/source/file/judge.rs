//! Whether what was read of a file is new, the same, or bad for a moment only. Pure;
//! the clock is passed in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::FileError;
use crate::source::error::SourceError;

/// How long a file may be bad before that is told. A writer that truncates
/// first, or removes before it renames, shows nothing or half for a moment.
pub(super) const SETTLE: Duration = Duration::from_millis(200);

/// What a file says, or why it says nothing.
pub(crate) type Seen<T> = Result<Arc<T>, Arc<SourceError>>;

/// What a look at the file means.
pub(crate) enum Look<T> {
    /// As it was when last told.
    Same(Seen<T>),
    /// To be told.
    New(Seen<T>),
}

/// Compares what is seen with what was told.
pub(super) struct Judge<T> {
    told: Option<Seen<T>>,
    bad_since: Option<Instant>,
}

impl<T> Judge<T> {
    pub(super) fn new() -> Self {
        Self { told: None, bad_since: None }
    }

    /// What was told last, if it is good.
    pub(super) fn known(&self) -> Option<&Arc<T>> {
        self.told.as_ref()?.as_ref().ok()
    }

    /// None: bad, but perhaps only for a moment; look again soon.
    pub(super) fn judge(
        &mut self,
        seen: Result<Arc<T>, FileError>,
        now: Instant,
    ) -> Option<Look<T>> {
        match (seen, &self.told) {
            (Ok(seen), told) => {
                self.bad_since = None;
                if matches!(told, Some(Ok(told)) if Arc::ptr_eq(told, &seen)) {
                    return Some(Look::Same(Ok(seen)));
                }
                self.told = Some(Ok(Arc::clone(&seen)));
                Some(Look::New(Ok(seen)))
            }
            (Err(error), _)
                if *self.bad_since.get_or_insert(now) + SETTLE > now
                    // That has taken its time already.
                    && !matches!(error, FileError::Hangs { .. }) =>
            {
                None
            }
            (Err(error), Some(Err(told))) if told.to_string() == error.to_string() => {
                Some(Look::Same(Err(Arc::clone(told))))
            }
            (Err(error), _) => {
                let error = Arc::new(SourceError::from(error));
                self.told = Some(Err(Arc::clone(&error)));
                Some(Look::New(Err(error)))
            }
        }
    }
}
