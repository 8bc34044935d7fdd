//! The one place a snapshot is swapped.
//!
//! Readers load without a lock and never free anything large: the writer keeps
//! each retired snapshot until no reader holds it, and frees it when it has
//! nothing better to do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::snapshot::Snapshot;

/// The current snapshot.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    current: ArcSwap<Snapshot>,
    retired: Mutex<Vec<Arc<Snapshot>>>,
}

impl Store {
    /// Starts with a first snapshot.
    pub fn new(first: Snapshot) -> Self {
        Self(Arc::new(Inner { current: ArcSwap::from_pointee(first), retired: Mutex::default() }))
    }

    /// The current snapshot, for one answer, or for those to requests that came
    /// together. Load once, pass the reference on.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.current.load()
    }

    /// The current snapshot, to keep for longer than an answer.
    pub fn full(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Makes `next` current for every answer that starts from now on. The one
    /// before is kept until [`free_retired`](Self::free_retired).
    pub fn publish(&self, next: Arc<Snapshot>) {
        let old = self.0.current.swap(next);
        self.retired().push(old);
    }

    /// Frees the retired snapshots that nobody reads any longer; returns how
    /// many are left. May take a while after a large one was replaced.
    pub fn free_retired(&self) -> usize {
        let mut retired = self.retired();
        // A swap gives every reader under way a count of its own. So a count of
        // one is ours alone, and as the snapshot is not the current one, nobody
        // can come by another.
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        retired.len()
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Snapshot>>> {
        self.0.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(generation: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot { generation, ..Snapshot::empty() })
    }

    #[test]
    fn a_retired_snapshot_lives_as_long_as_its_readers() {
        let store = Store::new(Snapshot::empty());
        let first = numbered(1);
        let weak = Arc::downgrade(&first);
        store.publish(first);
        assert_eq!(store.free_retired(), 0, "the empty one");
        let reader = store.load();
        let keeper = store.full();
        store.publish(numbered(2));
        assert_eq!(reader.generation, 1);
        assert_eq!(store.load().generation, 2);
        assert_eq!(store.free_retired(), 1);
        drop(keeper);
        assert_eq!(store.free_retired(), 1, "an answer is still being made from it");
        drop(reader);
        assert!(weak.upgrade().is_some(), "a reader frees nothing");
        assert_eq!(store.free_retired(), 0);
        assert!(weak.upgrade().is_none());
    }
}
