//! What is current: a snapshot and whom to ask for the rest, swapped in one step.
//!
//! Readers load without a lock and never free anything large: the writer keeps what
//! was replaced until no reader holds it, and frees it then, when nothing is to be
//! published.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::forward::Forwarder;
use crate::snapshot::Snapshot;

/// So many replaced snapshots are kept while there is no time to free them: memory
/// must not grow for as long as deliveries come without a pause.
const MAX_RETIRED: usize = 16;

/// What answers are made from, until the next one is published.
#[derive(Debug)]
pub struct Current {
    /// Our own names.
    pub snapshot: Snapshot,
    /// Asks upstreams about names that are not ours; none if no view forwards. It
    /// is in here so that a reload changes views and upstreams in one step.
    pub forwarder: Option<Forwarder>,
}

impl Current {
    /// Nobody is in a view and nothing is served: before the first snapshot.
    pub fn empty() -> Self {
        Self::from(Snapshot::empty())
    }
}

impl From<Snapshot> for Current {
    /// No upstream is asked about other names.
    fn from(snapshot: Snapshot) -> Self {
        Self { snapshot, forwarder: None }
    }
}

/// Holds what is current. A clone is a handle to the same.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    current: ArcSwap<Current>,
    retired: Mutex<Vec<Arc<Current>>>,
}

impl Store {
    /// Starts with what is current first.
    pub fn new(first: impl Into<Current>) -> Self {
        let current = ArcSwap::from_pointee(first.into());
        Self(Arc::new(Inner { current, retired: Mutex::default() }))
    }

    /// What is current, for one answer, or for those to a batch of requests. Load
    /// once, pass the reference on.
    pub fn load(&self) -> Guard<Arc<Current>> {
        self.0.current.load()
    }

    /// What is current, to keep for longer than an answer.
    pub fn full(&self) -> Arc<Current> {
        self.0.current.load_full()
    }

    /// Makes `next` current for every answer that starts from now on. The one
    /// before is kept until [`free_retired`](Self::free_retired).
    pub fn publish(&self, next: Arc<Current>) {
        let old = self.0.current.swap(next);
        self.retired().push(old);
    }

    /// Frees what was replaced and nobody reads any longer; returns how many are
    /// left. May take a while after a large snapshot was replaced: unless the caller
    /// `is_idle`, that waits until more than [`MAX_RETIRED`] are kept.
    pub fn free_retired(&self, is_idle: bool) -> usize {
        let mut retired = self.retired();
        if !is_idle && retired.len() <= MAX_RETIRED {
            return retired.len();
        }
        // A swap gives every reader under way a count of its own. So a count of
        // one is ours alone, and as the snapshot is not the current one, nobody
        // can come by another.
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        retired.len()
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Arc<Current>>> {
        self.0.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(generation: u64) -> Arc<Current> {
        Arc::new(Snapshot { generation, ..Snapshot::empty() }.into())
    }

    #[test]
    fn a_retired_snapshot_lives_as_long_as_its_readers() {
        let store = Store::new(Current::empty());
        let first = numbered(1);
        let weak = Arc::downgrade(&first);
        store.publish(first);
        assert_eq!(store.free_retired(true), 0, "the empty one");
        let reader = store.load();
        let keeper = store.full();
        store.publish(numbered(2));
        assert_eq!(reader.snapshot.generation, 1);
        assert_eq!(store.load().snapshot.generation, 2);
        assert_eq!(store.free_retired(true), 1);
        drop(keeper);
        assert_eq!(store.free_retired(true), 1, "an answer is still being made from it");
        drop(reader);
        assert!(weak.upgrade().is_some(), "a reader frees nothing");
        assert_eq!(store.free_retired(true), 0);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn while_something_waits_only_what_has_piled_up_is_freed() {
        let store = Store::new(Current::empty());
        let first = numbered(1);
        let weak = Arc::downgrade(&first);
        store.publish(first);
        for generation in 2..=MAX_RETIRED as u64 {
            store.publish(numbered(generation));
            assert_eq!(store.free_retired(false), generation as usize);
        }
        assert!(weak.upgrade().is_some());
        store.publish(numbered(0));
        assert_eq!(store.free_retired(false), 0);
        assert!(weak.upgrade().is_none());
    }
}
