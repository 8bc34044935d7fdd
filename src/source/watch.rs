//! Tells when files may have changed: the kernel's events, and a slow look
//! from time to time in case one was missed.
//!
//! Directories are watched, not files: an editor that renames a new file over
//! the old one leaves a watch on the old one behind. On the way to a file
//! every symlink's directory is watched too, so that swapping a link counts
//! (Kubernetes keeps ConfigMaps as `name -> ..data/name`, `..data -> ..2026_…`
//! and swaps `..data`). After each event the way is walked anew.
//!
//! An event says "look", not "changed": events come for permissions, twice for
//! one edit. Whoever waits here compares contents. Neighbours' events say
//! nothing: who writes aside and renames writes many times.
//!
//! Walking the way touches the file system, which may hang: it is done
//! [aside](crate::host::aside), and while it hangs contents are looked at now
//! and then, as without events.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ways::{Inode, Wanted, Ways, look, matters};
use crate::host::aside::{Aside, AsideError, Cause, Place};

/// How often to look although no event came. Events are missed on network
/// file systems, or when a directory above the watched ones is renamed.
const RESCAN: Duration = Duration::from_secs(3);

/// How often to look when there are no events at all.
const POLL: Duration = Duration::from_secs(1);

/// How often the walk is repeated when links move under our feet. After that
/// the next look heals what is left.
const MAX_WALKS: usize = 4;

/// How long walking the ways may take before the files are looked at all the
/// same. It takes microseconds.
const WITHIN: Duration = Duration::from_secs(1);

/// So many times as long as walking takes is the least time between two walks
/// that no event calls for: with thousands of files they take a part of one
/// processor that nobody notices.
const REST: u32 = 20;

/// But they are no rarer than this.
pub(super) const LONGEST_REST: Duration = Duration::from_secs(60);

/// Waits for changes of some files.
#[derive(Debug)]
pub(crate) struct Watch {
    wanted: Wanted,
    /// No walk has begun since it was changed.
    is_new: bool,
    walking: Aside<(Walker, notify::Result<()>)>,
    began: Instant,
    /// None while a walk is under way or hangs.
    walker: Option<Walker>,
    make: Make,
    tell: mpsc::Sender<()>,
    told: mpsc::Receiver<()>,
    /// Why the walk that is due is made.
    due: Option<Cause>,
    /// When to look although no event came.
    next_look: Instant,
    rescan: Duration,
    /// Why there are no events, when there are none.
    polling: Option<String>,
}

impl Watch {
    /// Watches the file at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self::start(path, Wanted { files: vec![path.to_owned()], entries: None })
    }

    /// Watches the entries of `directory` whose names end in `ending`.
    pub(crate) fn entries(directory: &Path, ending: &'static str) -> Self {
        let entries = Some((directory.to_owned(), ending));
        Self::start(directory, Wanted { files: Vec::new(), entries })
    }

    fn start(path: &Path, wanted: Wanted) -> Self {
        // One place is enough: any number of events is one reason to look.
        let (tell, told) = mpsc::channel(1);
        let now = Instant::now();
        Self {
            wanted,
            is_new: true,
            walking: Aside::new(Place::watch(path), WITHIN),
            began: now,
            walker: None,
            make: watcher,
            tell,
            told,
            due: Some(Cause::Told),
            next_look: now,
            rescan: RESCAN,
            polling: None,
        }
    }

    /// Watches these files too, in place of those given before, from the next
    /// [`changed`](Self::changed) on, which returns at once.
    pub(crate) fn set_files(&mut self, files: Vec<PathBuf>) {
        if self.wanted.files != files {
            self.wanted.files = files;
            self.is_new = true;
            self.due = Some(Cause::Told);
        }
    }

    /// Returns when it is time to look: at once the first time, then after
    /// an event (several are one), at the latest after a few seconds. What
    /// happens from then on is told by the next call. Cancel safe.
    pub(crate) async fn changed(&mut self) -> Cause {
        let cause = match self.due {
            Some(cause) => cause,
            None => self.reason().await,
        };
        // Should the walk be cancelled, the reason to look stays.
        self.due = Some(cause);
        loop {
            if !self.walking.is_awaited()
                && let Err(error) = self.begin(cause)
            {
                self.failed(Some(error));
                break;
            }
            let walked = self.walking.next().await;
            self.walked(walked);
            if !self.is_new {
                break;
            }
        }
        self.due = None;
        cause
    }

    /// Waits for a reason to look; takes in walks that end late.
    async fn reason(&mut self) -> Cause {
        loop {
            tokio::select! {
                // The channel stays open: `self` holds a sender.
                _ = self.told.recv() => return Cause::Told,
                () = tokio::time::sleep_until(self.next_look) => return Cause::Time,
                late = self.walking.next() => self.walked(late),
            }
        }
    }

    fn begin(&mut self, cause: Cause) -> Result<(), AsideError> {
        let walker = self.walker.take();
        let (make, tell) = (self.make, self.tell.clone());
        let wanted = self.wanted.clone();
        self.is_new = false;
        self.began = Instant::now();
        self.walking.begin(cause, move || {
            let mut walker = walker.unwrap_or_else(|| Walker::new(tell));
            let walked = walker.walk(&wanted, make);
            (walker, walked)
        })
    }

    fn walked(&mut self, walked: Result<(Walker, notify::Result<()>), AsideError>) {
        match walked {
            Ok((walker, walked)) => {
                self.walker = Some(walker);
                self.failed(walked.err());
            }
            Err(error) => self.failed(Some(error)),
        }
    }

    /// Notes whether there are events, and when to look next.
    fn failed(&mut self, why: Option<impl std::fmt::Display>) {
        let now = Instant::now();
        let why = why.map(|why| why.to_string());
        if why.is_some() != self.polling.is_some() {
            let path = self.wanted.path().display();
            match &why {
                Some(why) => tracing::warn!(
                    %path, why,
                    "no file events (fs.inotify limits, a disk that hangs?); contents are looked \
                     at each second"
                ),
                None => tracing::info!(%path, "file events are back"),
            }
        }
        let rest = (now - self.began).saturating_mul(REST).min(LONGEST_REST);
        self.next_look = now + if why.is_some() { POLL } else { self.rescan.max(rest) };
        self.polling = why;
    }

    /// Why there are no events, when there are none and contents are looked
    /// at each second instead.
    #[cfg(test)]
    fn polling(&self) -> Option<String> {
        self.polling.clone()
    }
}

/// Makes what asks the kernel for events.
type Make = fn(mpsc::Sender<()>, Arc<Mutex<Ways>>) -> notify::Result<RecommendedWatcher>;

/// Walks the ways and keeps the watches on them.
#[derive(Debug)]
struct Walker {
    tell: mpsc::Sender<()>,
    /// For the watcher.
    ways: Arc<Mutex<Ways>>,
    watcher: Option<RecommendedWatcher>,
    /// Directories, free of symlinks, with the inode that is watched: two
    /// names of one directory would share one watch in the kernel.
    watched: BTreeMap<PathBuf, Inode>,
}

impl Walker {
    fn new(tell: mpsc::Sender<()>) -> Self {
        Self { tell, ways: Arc::default(), watcher: None, watched: BTreeMap::new() }
    }

    /// Watches what has to be watched now.
    fn walk(&mut self, wanted: &Wanted, make: Make) -> notify::Result<()> {
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

fn watcher(tell: mpsc::Sender<()>, ways: Arc<Mutex<Ways>>) -> notify::Result<RecommendedWatcher> {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Condvar;

    use super::*;

    /// Longer than any event takes, shorter than a test may hang.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A watch that has looked once. Its slow look is beyond any patience:
    /// only events count.
    async fn ready(path: &Path) -> Watch {
        let mut watch = Watch::new(path);
        watch.rescan = PATIENCE * 10;
        watch.changed().await;
        assert_eq!(watch.polling(), None);
        watch
    }

    /// Looks after each event until `seen` is true.
    async fn until(watch: &mut Watch, mut seen: impl FnMut() -> bool) {
        let look = async {
            while !seen() {
                watch.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the change was never told");
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[tokio::test]
    async fn writes_renames_and_removals_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut watch = ready(&path).await;
        fs::write(&path, "1").unwrap();
        until(&mut watch, || read(&path) == "1").await;
        let other = dir.path().join(".a.json.swp");
        fs::write(&other, "2").unwrap();
        fs::rename(&other, &path).unwrap();
        until(&mut watch, || read(&path) == "2").await;
        fs::remove_file(&path).unwrap();
        until(&mut watch, || !path.exists()).await;
    }

    #[tokio::test]
    async fn neither_looking_nor_a_neighbour_is_an_event() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, "1").unwrap();
        let mut watch = ready(&path).await;
        let other = dir.path().join(".a.json.swp");
        for _ in 0..10 {
            read(&path);
            fs::read_dir(dir.path()).unwrap().for_each(drop);
            fs::write(&other, "2").unwrap();
        }
        // Events come in order: the first one told is that of the rename.
        let first = async {
            watch.changed().await;
            read(&path)
        };
        let (first, ()) = tokio::join!(tokio::time::timeout(PATIENCE, first), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            fs::rename(&other, &path).unwrap();
        });
        assert_eq!(first.expect("the rename was never told"), "2");
    }

    #[tokio::test]
    async fn a_directory_on_the_way_may_be_renamed_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir_all(at(version).join("data")).unwrap();
            fs::write(at(version).join("data/a.json"), version).unwrap();
        }
        symlink("v1", at("current")).unwrap();
        let path = at("current/data/a.json");
        let mut watch = ready(&path).await;
        fs::rename(at("v1"), at("old")).unwrap();
        fs::rename(at("v2"), at("v1")).unwrap();
        until(&mut watch, || read(&path) == "v2").await;
    }

    #[tokio::test]
    async fn a_config_map_swap_is_told_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let swap = |version: &str, text: &str| {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.json"), text).unwrap();
            symlink(version, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        swap("..1", "1");
        symlink("..data/a.json", at("a.json")).unwrap();
        let path = at("a.json");
        let mut watch = ready(&path).await;
        let mut before: Option<String> = Some("..1".into());
        for version in ["..2", "..3", "..4"] {
            swap(version, version);
            until(&mut watch, || read(&path) == version).await;
            // As the kubelet does: the old version goes afterwards.
            if let Some(old) = before.replace(version.into()) {
                fs::remove_dir_all(at(&old)).unwrap();
            }
        }
        // And in place, behind both links.
        fs::write(at("..4").join("a.json"), "5").unwrap();
        until(&mut watch, || read(&path) == "5").await;
    }

    #[tokio::test]
    async fn directories_on_the_way_may_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x/y/a.json");
        let mut watch = ready(&path).await;
        for round in ["1", "2", "3"] {
            fs::create_dir_all(dir.path().join("x/y")).unwrap();
            fs::write(&path, round).unwrap();
            until(&mut watch, || read(&path) == round).await;
            fs::remove_dir_all(dir.path().join("x")).unwrap();
            until(&mut watch, || !path.exists()).await;
        }
        fs::create_dir_all(dir.path().join("new/y")).unwrap();
        fs::write(dir.path().join("new/y/a.json"), "moved").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("x")).unwrap();
        until(&mut watch, || read(&path) == "moved").await;
    }

    #[tokio::test]
    async fn a_directory_stands_for_its_entries() {
        let dir = tempfile::tempdir().unwrap();
        let zones = dir.path().join("zones");
        fs::create_dir(&zones).unwrap();
        let mut watch = Watch::entries(&zones, ".toml");
        watch.rescan = PATIENCE * 10;
        watch.changed().await;
        // The second and third are told only if the directory that took the
        // place of the first is watched in turn.
        for round in ["1", "2", "3"] {
            let file = zones.join("example.com.toml");
            fs::write(&file, round).unwrap();
            tokio::time::timeout(PATIENCE, watch.changed()).await.expect("no event");
            fs::rename(&zones, dir.path().join(round)).unwrap();
            fs::create_dir(&zones).unwrap();
            drain(&mut watch).await;
        }
    }

    /// Looks until all events so far are told.
    async fn drain(watch: &mut Watch) {
        while tokio::time::timeout(Duration::from_millis(100), watch.changed()).await.is_ok() {}
    }

    #[tokio::test]
    async fn without_events_the_contents_are_polled_until_they_are_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut watch = Watch::new(&path);
        watch.rescan = PATIENCE * 10;
        watch.make = |_, _| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        watch.changed().await;
        assert_eq!(watch.polling().as_deref(), Some("OS file watch limit reached."));
        fs::write(&path, "1").unwrap();
        until(&mut watch, || read(&path) == "1").await;
        assert!(watch.polling().is_some());
        watch.make = watcher;
        watch.changed().await;
        assert_eq!(watch.polling(), None);
        fs::write(&path, "2").unwrap();
        until(&mut watch, || read(&path) == "2").await;
    }

    #[tokio::test]
    async fn a_walk_that_hangs_holds_nothing_up() {
        static HANGS: Mutex<bool> = Mutex::new(true);
        static GOES_ON: Condvar = Condvar::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut watch = Watch::new(&path);
        watch.rescan = PATIENCE * 10;
        watch.walking = Aside::new(Place::watch(&path), Duration::from_millis(500));
        watch.make = |tell, ways| {
            drop(GOES_ON.wait_while(HANGS.lock().unwrap(), |hangs| *hangs).unwrap());
            watcher(tell, ways)
        };
        // Time to look all the same, and each second.
        assert_eq!(watch.changed().await, Cause::Told);
        assert!(
            watch.polling().unwrap().starts_with("does not end: nothing for 500ms"),
            "{watch:?}"
        );
        assert_eq!(watch.changed().await, Cause::Time);
        assert_eq!(watch.polling().as_deref(), Some("does not end: an earlier attempt hangs"));
        // Something else to watch is a reason for another attempt, which ends.
        watch.make = watcher;
        watch.set_files(vec![dir.path().join("b.json")]);
        assert_eq!(watch.changed().await, Cause::Told);
        assert_eq!(watch.polling(), None);
        fs::write(dir.path().join("b.json"), "1").unwrap();
        assert_eq!(watch.changed().await, Cause::Told);
        *HANGS.lock().unwrap() = false;
        GOES_ON.notify_all();
    }

    #[tokio::test]
    async fn other_files_are_watched_though_a_walk_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&dir.path().join("a.json"));
        watch.rescan = PATIENCE * 10;
        // Cancelled while it walks.
        assert!(futures_util::FutureExt::now_or_never(watch.changed()).is_none());
        watch.set_files(vec![dir.path().join("b.json")]);
        watch.changed().await;
        fs::write(dir.path().join("b.json"), "1").unwrap();
        let told = tokio::time::timeout(PATIENCE, watch.changed());
        assert_eq!(told.await.expect("no event"), Cause::Told);
    }

    #[tokio::test]
    async fn a_slow_look_comes_without_any_event() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = ready(&dir.path().join("a.json")).await;
        watch.rescan = Duration::from_millis(1);
        watch.due = Some(Cause::Time);
        for _ in 0..3 {
            tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap();
        }
    }
}
