//! The one place a snapshot is swapped.
//!
//! Readers load without a lock and never free anything large: the writer keeps
//! each retired snapshot until no reader holds it.

use std::sync::{Arc, Mutex, PoisonError};

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

    /// The current snapshot, for one answer. Load once, pass the reference on.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.current.load()
    }

    /// The current snapshot, to keep for longer than an answer.
    pub fn full(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Makes `next` current for every answer that starts from now on.
    pub fn publish(&self, next: Snapshot) {
        let old = self.0.current.swap(Arc::new(next));
        let mut retired = self.0.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push(old);
        // A count of one is ours alone: nobody can get at it any more.
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}
