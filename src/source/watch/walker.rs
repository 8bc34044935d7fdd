//! Keeps the kernel watches on the directories on the way to the files.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::ways::{Inode, Wanted, Ways, look, matters};

/// How often the walk is repeated when links change during it. After that the next
/// look finds what is left.
const MAX_WALKS: usize = 4;

/// Makes what asks the kernel for events.
pub(super) type Make = fn(mpsc::Sender<()>, Arc<Mutex<Ways>>) -> notify::Result<RecommendedWatcher>;

/// Walks the ways and keeps the watches on them.
#[derive(Debug)]
pub(super) struct Walker {
    tell: mpsc::Sender<()>,
    /// For the watcher.
    ways: Arc<Mutex<Ways>>,
    watcher: Option<RecommendedWatcher>,
    /// Directories, free of symlinks, with the inode that is watched: two
    /// names of one directory would share one watch in the kernel.
    watched: BTreeMap<PathBuf, Inode>,
}

impl Walker {
    pub(super) fn new(tell: mpsc::Sender<()>) -> Self {
        Self { tell, ways: Arc::default(), watcher: None, watched: BTreeMap::new() }
    }

    /// Watches what has to be watched now.
    pub(super) fn walk(&mut self, wanted: &Wanted, make: Make) -> notify::Result<()> {
        let (mut ways, mut directories) = look(wanted);
        for _ in 0..MAX_WALKS {
            // Before the watches, which may tell at once.
            self.ways.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&ways);
            self.watch_all(&directories, make)?;
            // A link swapped before its watch was there has told nobody.
            let now = look(wanted);
            if now == (ways, directories) {
                break;
            }
            (ways, directories) = now;
        }
        Ok(())
    }

    fn watch_all(&mut self, wanted: &BTreeMap<PathBuf, Inode>, make: Make) -> notify::Result<()> {
        let mut watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => {
                self.watched.clear();
                make(self.tell.clone(), Arc::clone(&self.ways))?
            }
        };
        self.watched.retain(|dir, id| {
            let keep = wanted.get(dir) == Some(id);
            if !keep {
                // The kernel may have dropped it already.
                let _ = watcher.unwatch(dir);
            }
            keep
        });
        let mut outcome = Ok(());
        for (dir, id) in wanted {
            // Also where a watch is thought to be: a directory removed and
            // made again can get the same inode, but has lost its watch.
            match watcher.watch(dir, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(dir.clone(), *id);
                }
                // It went away since; the next walk sees that.
                Err(e) if is_gone(&e) => {}
                Err(e) => outcome = Err(e),
            }
        }
        self.watcher = Some(watcher);
        outcome
    }
}

pub(super) fn watcher(
    tell: mpsc::Sender<()>,
    ways: Arc<Mutex<Ways>>,
) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ways = || ways.lock().unwrap_or_else(PoisonError::into_inner);
        if event.map_or(true, |event| matters(&event, &ways())) {
            // Full: a look is due already.
            let _ = tell.try_send(());
        }
    })
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(e) => {
            matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }
        _ => false,
    }
}
