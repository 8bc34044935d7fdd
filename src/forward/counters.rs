//! Counts that many threads add to and one reads now and then.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows. On a cache line of its own (two, for processors
/// that fetch pairs), so that neighbours do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
