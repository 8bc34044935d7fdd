//! What was asked of interfaces so far, for metrics and status.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::InterfaceId;
use super::usable::{LeftOut, MAX_SHOWN};
use crate::host::text::brief;
use crate::source::error::{Class, SourceError};
use crate::source::usable::SHOWN;

/// Counters of one source: written by its second task, read by whoever shows them.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Totals>);

/// One reading of [`Stats`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests sent to EC2: one for each page of an answer.
    pub requests: u64,
    /// Times it was asked, or the file read. EC2 is asked for [`MAX_IDS`](super::MAX_IDS)
    /// interfaces at a time.
    pub rounds: u64,
    /// Those of them that failed, by [`Class`] in the order of [`Class::ALL`].
    pub failures: [u64; Class::ALL.len()],
    /// When the last answer came of which all was good.
    pub last_good: Option<SystemTime>,
    /// Since when it fails, and why it did last; none: it does not, or nothing is wanted.
    pub failing: Option<Failing>,
    /// Interfaces that cannot be used.
    pub left_out: LeftOut,
    /// Interfaces that are wanted and were not in the last good answer that should have had them.
    pub missing: Missing,
}

/// Interfaces that were asked for and are not in a good answer: deleted ones, new ones that EC2
/// does not show yet (EC2 API reference, "Eventual consistency"), those of somebody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// How many there are.
    pub count: usize,
    /// The first [`SHOWN`] of them.
    pub first: Vec<String>,
}

impl Missing {
    /// These.
    pub(super) fn of<'i>(ids: impl Iterator<Item = &'i InterfaceId>) -> Self {
        let mut missing = Self::default();
        for id in ids {
            missing.count += 1;
            if missing.first.len() < SHOWN {
                missing.first.push(brief(id, MAX_SHOWN));
            }
        }
        missing
    }
}

/// Trouble with interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The first failure after a good answer.
    pub since: SystemTime,
    /// The last one.
    pub why: Arc<str>,
    /// Its kind.
    pub class: Class,
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
        self.lock().clone()
    }

    /// Counts requests.
    pub(super) fn count_requests(&self, sent: u64) {
        self.lock().requests += sent;
    }

    /// Counts a good answer while another one is still missed.
    pub(super) fn count_one(&self) {
        self.lock().rounds += 1;
    }

    /// Counts a time it was asked or read, after which nothing is missed or one more is.
    pub(super) fn count(&self, now: SystemTime, failed: Option<&SourceError>) {
        let mut totals = self.lock();
        totals.rounds += 1;
        let Some(error) = failed else {
            (totals.last_good, totals.failing) = (Some(now), None);
            return;
        };
        let class = error.class();
        totals.failures[class as usize] += 1;
        let since = totals.failing.as_ref().map_or(now, |failing| failing.since);
        totals.failing = Some(Failing { since, why: error.to_string().into(), class });
    }

    /// Nothing is missed by what fails or cannot be used.
    pub(super) fn nothing_is_wanted(&self) {
        let mut totals = self.lock();
        (totals.failing, totals.left_out, totals.missing) = Default::default();
    }

    /// These cannot be used now.
    pub(super) fn set_left_out(&self, left_out: LeftOut) {
        self.lock().left_out = left_out;
    }

    /// These are not shown now.
    pub(super) fn set_missing(&self, missing: Missing) {
        self.lock().missing = missing;
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
