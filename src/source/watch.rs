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
//! one edit. Whoever waits here compares contents, of a file by itself or with
//! [`fingerprint`]. Neighbours' events say nothing: who writes aside and
//! renames writes many times.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::hash::Hasher;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use notify::event::{AccessKind, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use siphasher::sip128::{Hasher128, SipHasher24};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::background;

/// How often to look although no event came. Events are missed on network
/// file systems, or when a directory above the watched ones is renamed.
const RESCAN: Duration = Duration::from_secs(3);

/// How often to look when there are no events at all.
const POLL: Duration = Duration::from_secs(1);

/// How many symlinks may lie on the way to a file: Linux's own limit
/// (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// How often the walk is repeated when links move under our feet. After that
/// the next look heals what is left.
const MAX_WALKS: usize = 4;

/// Waits for changes of some files or directories. A directory stands for
/// the entries directly in it.
#[derive(Debug)]
pub struct Watch {
    inner: Arc<Mutex<Inner>>,
    told: mpsc::Receiver<()>,
    /// None until the first look.
    next_look: Option<Instant>,
    rescan: Duration,
}

impl Watch {
    /// Watches `paths`, which need not exist yet.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        // One place is enough: any number of events is one reason to look.
        let (tell, told) = mpsc::channel(1);
        let inner = Inner {
            paths,
            tell,
            ways: Arc::default(),
            make: watcher,
            watcher: None,
            watched: BTreeMap::new(),
            polling: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)), told, next_look: None, rescan: RESCAN }
    }

    /// Watches other paths from the next [`changed`](Self::changed) on,
    /// which returns at once.
    pub fn set_paths(&mut self, paths: Vec<PathBuf>) {
        self.lock().paths = paths;
        self.next_look = None;
    }

    /// Returns when it is time to look: at once the first time, then after
    /// an event (several are one), at the latest after a few seconds. What
    /// happens from then on is told by the next call. Cancel safe.
    pub async fn changed(&mut self) {
        if let Some(at) = self.next_look {
            tokio::select! {
                // The channel stays open: `inner` holds a sender.
                _ = self.told.recv() => {}
                () = tokio::time::sleep_until(at) => {}
            }
            // Should the next lines be cancelled, the reason to look stays.
            self.next_look = None;
        }
        let inner = Arc::clone(&self.inner);
        // Touches the file system, which may be slow or gone.
        let walk = move || inner.lock().unwrap_or_else(PoisonError::into_inner).walk();
        let polling = background::run(walk).await.unwrap_or(true);
        self.next_look = Some(Instant::now() + if polling { POLL } else { self.rescan });
    }

    /// Why there are no events, when there are none and contents are looked
    /// at each second instead.
    pub fn polling(&self) -> Option<String> {
        self.lock().polling.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Inner {
    paths: Vec<PathBuf>,
    tell: mpsc::Sender<()>,
    /// For the watcher.
    ways: Arc<Mutex<Ways>>,
    make: fn(mpsc::Sender<()>, Arc<Mutex<Ways>>) -> notify::Result<RecommendedWatcher>,
    watcher: Option<RecommendedWatcher>,
    /// Directories, free of symlinks, with the inode that is watched: two
    /// names of one directory would share one watch in the kernel.
    watched: BTreeMap<PathBuf, Inode>,
    polling: Option<String>,
}

/// Device and inode.
type Inode = (u64, u64);

/// Directories, and which of their entries matter.
type Ways = BTreeMap<PathBuf, Names>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    all: bool,
    some: BTreeSet<OsString>,
}

impl Inner {
    /// Watches what has to be watched now. Returns whether that has failed
    /// and contents must be polled instead.
    fn walk(&mut self) -> bool {
        let failed = self.try_walk().err().map(|e| e.to_string());
        if failed.is_some() != self.polling.is_some() {
            match &failed {
                Some(why) => tracing::warn!(
                    paths = ?self.paths, why,
                    "no file events (fs.inotify limits?); contents are looked at each second"
                ),
                None => tracing::info!(paths = ?self.paths, "file events are back"),
            }
        }
        self.polling = failed;
        self.polling.is_some()
    }

    fn try_walk(&mut self) -> notify::Result<()> {
        let (mut ways, mut wanted) = self.wanted();
        for _ in 0..MAX_WALKS {
            // Before the watches, which may tell at once.
            self.ways.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&ways);
            self.watch_all(&wanted)?;
            // A link swapped before its watch was there has told nobody.
            let now = self.wanted();
            if now == (ways, wanted) {
                break;
            }
            (ways, wanted) = now;
        }
        Ok(())
    }

    fn wanted(&self) -> (Ways, BTreeMap<PathBuf, Inode>) {
        let ways = ways(&self.paths);
        let watched = ways.keys().filter_map(|dir| Some((dir.clone(), inode(dir)?))).collect();
        (ways, watched)
    }

    fn watch_all(&mut self, wanted: &BTreeMap<PathBuf, Inode>) -> notify::Result<()> {
        let mut watcher = match self.watcher.take() {
            Some(watcher) => watcher,
            None => {
                self.watched.clear();
                (self.make)(self.tell.clone(), Arc::clone(&self.ways))?
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

/// Can the event have made one of the ways lead elsewhere, or changed what is
/// at its end?
fn matters(event: &notify::Event, ways: &Ways) -> bool {
    // Opening a file to look at it is an event as well.
    if matches!(event.kind, EventKind::Access(AccessKind::Open(_))) {
        return false;
    }
    let entry = |path: &PathBuf| {
        // A directory tells of itself, too. What is not known is looked at.
        let known =
            path.parent().and_then(|dir| ways.get(dir)).filter(|_| !ways.contains_key(path));
        known.is_none_or(|of| of.all || path.file_name().is_none_or(|n| of.some.contains(n)))
    };
    event.paths.is_empty() || event.paths.iter().any(entry)
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

fn inode(path: &Path) -> Option<Inode> {
    fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// The entries that can make one of `paths` another file.
fn ways(paths: &[PathBuf]) -> Ways {
    let (mut ways, mut passed) = (Ways::new(), Vec::new());
    for path in paths.iter().filter_map(|path| std::path::absolute(path).ok()) {
        way(&path, &mut ways, &mut passed);
    }
    // A directory on the way may be renamed. That is told where its own
    // directory is watched for something else, and else found out later.
    for (dir, name) in passed {
        if let Some(names) = ways.get_mut(&dir) {
            names.some.insert(name);
        }
    }
    ways
}

/// Adds each symlink on the way and the file at its end; when the way ends
/// early, the name that is missing in the last directory there is. `passed`
/// gets the directories on the way.
fn way(path: &Path, ways: &mut Ways, passed: &mut Vec<(PathBuf, OsString)>) {
    let mut here = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let there = here.join(&name);
        let about = fs::symlink_metadata(&there);
        match about.as_ref().map(|m| m.file_type()) {
            Ok(kind) if kind.is_dir() && !rest.is_empty() => {
                passed.push((std::mem::replace(&mut here, there), name));
            }
            Ok(kind) if kind.is_dir() => {
                // The path itself is a directory.
                ways.entry(here).or_default().some.insert(name);
                ways.entry(there).or_default().all = true;
                return;
            }
            Ok(kind) if kind.is_symlink() => {
                ways.entry(here.clone()).or_default().some.insert(name);
                links += 1;
                let Ok(target) = fs::read_link(&there) else { return };
                if links > MAX_LINKS {
                    return;
                }
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for name in names(&target).into_iter().rev() {
                    rest.push_front(name);
                }
            }
            // The file, something that is none, or nothing.
            Ok(_) | Err(_) => {
                let names = ways.entry(here).or_default();
                names.some.insert(name);
                // Events name the link that is written through; one made since,
                // or elsewhere, is left to the slow look.
                names.all |= about.is_ok_and(|about| about.nlink() > 1);
                return;
            }
        }
    }
    // A path that ends in `..`, or the root.
    ways.entry(here).or_default().all = true;
}

/// The names a path is made of, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// A digest of the contents of files, symlinks followed: equal while nothing
/// that is read has changed. A file that cannot be read counts by its error.
pub fn fingerprint<'p>(files: impl IntoIterator<Item = &'p Path>) -> u128 {
    let mut hasher = SipHasher24::new();
    for file in files {
        let name = file.as_os_str().as_encoded_bytes();
        let contents = fs::read(file).map_err(|e| e.kind().to_string());
        let (found, octets) = match &contents {
            Ok(octets) => (1, octets.as_slice()),
            Err(why) => (0, why.as_bytes()),
        };
        // Lengths keep neighbours apart.
        hasher.write_usize(name.len());
        hasher.write(name);
        hasher.write_u8(found);
        hasher.write_usize(octets.len());
        hasher.write(octets);
    }
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Longer than any event takes, shorter than a test may hang.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A watch that has looked once. Its slow look is beyond any patience:
    /// only events count.
    async fn ready(path: &Path) -> Watch {
        let mut watch = Watch::new(vec![path.to_owned()]);
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

    #[test]
    fn what_is_at_a_way_matters() {
        use notify::event::{CreateKind, ModifyKind, RenameMode};
        let names =
            |names: &[&str], all| Names { all, some: names.iter().map(Into::into).collect() };
        let ways = Ways::from([
            ("/etc/eipdns".into(), names(&["a.json", "link"], false)),
            ("/etc/eipdns/zones".into(), names(&[], true)),
        ]);
        let created = EventKind::Create(CreateKind::File);
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        let opened = EventKind::Access(AccessKind::Open(notify::event::AccessMode::Any));
        for (kind, paths, expected) in [
            (created, &["/etc/eipdns/a.json"][..], true),
            (created, &["/etc/eipdns/link"], true),
            (created, &["/etc/eipdns/.a.json.swp"], false),
            (created, &["/etc/eipdns/zones/any.toml"], true),
            (renamed, &["/etc/eipdns/.a.json.swp", "/etc/eipdns/a.json"], true),
            (renamed, &["/etc/eipdns/a.json", "/etc/eipdns/b"], true),
            (renamed, &["/etc/eipdns/b", "/etc/eipdns/c"], false),
            (opened, &["/etc/eipdns/a.json"], false),
            // The directories themselves, others, and lost events.
            (EventKind::Any, &["/etc/eipdns"], true),
            (EventKind::Any, &["/etc/eipdns/zones"], true),
            (EventKind::Any, &["/srv/a.json"], true),
            (EventKind::Other, &[], true),
        ] {
            let mut event = notify::Event::new(kind);
            event.paths = paths.iter().map(PathBuf::from).collect();
            assert_eq!(matters(&event, &ways), expected, "{event:?}");
        }
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
        let mut watch = ready(&zones).await;
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
        let mut watch = Watch::new(vec![path.clone()]);
        watch.rescan = PATIENCE * 10;
        watch.lock().make = |_, _| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
        watch.changed().await;
        assert_eq!(watch.polling().as_deref(), Some("OS file watch limit reached."));
        fs::write(&path, "1").unwrap();
        until(&mut watch, || read(&path) == "1").await;
        assert!(watch.polling().is_some());
        watch.lock().make = watcher;
        watch.changed().await;
        assert_eq!(watch.polling(), None);
        fs::write(&path, "2").unwrap();
        until(&mut watch, || read(&path) == "2").await;
    }

    #[tokio::test]
    async fn a_slow_look_comes_without_any_event() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = ready(&dir.path().join("a.json")).await;
        watch.rescan = Duration::from_millis(1);
        watch.next_look = None;
        for _ in 0..3 {
            tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap();
        }
    }

    #[test]
    fn the_way_names_the_directory_of_each_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("real/deep")).unwrap();
        fs::create_dir(root.join("links")).unwrap();
        fs::write(root.join("real/deep/a"), "").unwrap();
        symlink("../real", root.join("links/one")).unwrap();
        symlink(root.join("links/one/deep"), root.join("two")).unwrap();
        let walked = |path: &Path| {
            let ways = ways(&[path.to_owned()]);
            let entries = ways.iter().map(|(dir, names)| {
                let some: Vec<_> = names.some.iter().map(|n| n.to_str().unwrap()).collect();
                let dir = dir.strip_prefix(&root).map_or("above", |dir| dir.to_str().unwrap());
                format!("{dir}:{}{}", some.join(","), if names.all { "*" } else { "" })
            });
            entries.collect::<Vec<_>>()
        };
        assert_eq!(walked(&root.join("two/a")), [":links,real,two", "links:one", "real/deep:a"]);
        assert_eq!(walked(&root.join("two/../b")), [":links,real,two", "links:one", "real:b,deep"]);
        assert_eq!(
            walked(&root.join("two/none/a")),
            [":links,real,two", "links:one", "real/deep:none"]
        );
        assert_eq!(walked(&root.join("two/..")), [":links,real,two", "links:one", "real:deep*"]);
        assert_eq!(walked(&root.join("links")), [":links", "links:*"]);
        // A link to itself ends.
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(walked(&root.join("loop")), [":loop"]);
    }

    #[test]
    fn fingerprints_follow_contents_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let all = || fingerprint([a.as_path(), b.as_path()]);
        let none = all();
        fs::write(&a, "1").unwrap();
        let one = all();
        fs::write(&b, "").unwrap();
        let empty = all();
        fs::write(&b, "1").unwrap();
        let both = all();
        fs::remove_file(&a).unwrap();
        let other = all();
        let distinct: BTreeSet<_> = [none, one, empty, both, other].into();
        assert_eq!(distinct.len(), 5);
        fs::write(&a, "1").unwrap();
        assert_eq!(all(), both);
    }
}
