//! What each source has done so far, for metrics and status.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::Answer;
use super::error::Class;
use super::poll::Slowed;
use super::usable::LeftOut;

/// Counters of one source: written by its loop a few times a second, read by
/// whoever shows them.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Totals>);

/// One reading of [`Stats`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that ended, or readings of the file.
    pub polls: u64,
    /// Those of them that failed, by [`Class`] in the order of [`Class::ALL`].
    pub failures: [u64; Class::ALL.len()],
    /// Good answers that were equal to the one before, and not read again.
    pub unchanged: u64,
    /// Requests that calls of EC2 have sent: a slow call sends a second one.
    pub requests: u64,
    /// EC2 is asked less often than `poll` says.
    pub slowed: Option<Slowed>,
    /// When the last good answer came.
    pub last_good: Option<SystemTime>,
    /// When the source was heard of last: the end of its last call, good or not,
    /// or when it was started or given another pace.
    pub heard: Option<SystemTime>,
    /// How long the last call took, good or not.
    pub last_took: Option<Duration>,
    /// How long all calls took together.
    pub took: Duration,
    /// What of the last good answer cannot be used.
    pub left_out: Arc<LeftOut>,
}

impl Totals {
    /// Failures of one class.
    pub fn failed(&self, class: Class) -> u64 {
        self.failures[class as usize]
    }

    /// Failures in all.
    pub fn failed_in_all(&self) -> u64 {
        self.failures.iter().sum()
    }
}

impl Stats {
    /// All of it at one moment.
    pub fn read(&self) -> Totals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its calls are counted from now on, or come at another pace.
    pub(crate) fn begin(&self, now: SystemTime) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals.heard = totals.heard.max(Some(now));
    }

    /// When the source was heard of last.
    pub fn heard(&self) -> Option<SystemTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).heard
    }

    /// Counts an answer that is equal to the one before.
    pub(super) fn count_unchanged(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unchanged += 1;
    }

    /// Counts requests, and says how often there will be.
    pub(super) fn count_requests(&self, sent: u64, slowed: Option<Slowed>) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals.requests += sent;
        totals.slowed = slowed;
    }

    /// Counts a call.
    pub(super) fn count(&self, now: SystemTime, took: Duration, answer: &Answer) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals.polls += 1;
        totals.heard = Some(now);
        totals.last_took = Some(took);
        totals.took += took;
        match answer {
            Ok(said) => {
                totals.last_good = Some(now);
                totals.left_out.clone_from(&said.left_out);
            }
            Err(error) => totals.failures[error.class() as usize] += 1,
        }
    }
}
