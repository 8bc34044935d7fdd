//! What survives a restart: accepted addresses with their holds, and serials.
//!
//! One file in a directory of its own, replaced as a whole (temporary file,
//! fsync, rename, fsync of the directory): after kill -9 or a power cut it is
//! the old or the new one. A file that is not to the last octet what was
//! written is set aside, never half used.
//!
//! Nothing here stops the server: a disk that is full or read-only is an
//! error to log, and answers go on. Only a second eipdns on the directory is
//! refused.
//!
//! Calls wait for the disk: make them where that holds nobody up, and after
//! publishing.

mod format;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use format::FormatError;

use crate::background::{PIECE, breathe};
use crate::config::{Source, SourceKind};
use crate::source::accept::Accepted;
use crate::source::clock::elapsed;

/// The state itself.
const FILE: &str = "state.json";
/// What becomes it.
const NEW_FILE: &str = "state.json.new";
/// Held, and with our process id in it, while we live.
const LOCK_FILE: &str = "lock";

/// How old delivered addresses may be to be served at once after a restart.
pub const FRESH: Duration = Duration::from_secs(5 * 60);

/// How often the file is written when nothing but times has changed: often
/// enough that a crash does not make a healthy source look older than
/// [`FRESH`], seldom enough for a cheap disk.
const REWRITE: Duration = Duration::from_secs(60);

/// How long to leave a disk alone that has just failed.
const RETRY: Duration = Duration::from_secs(10);

/// How many files set aside are kept.
const KEEP_ASIDE: usize = 5;

/// Everything that survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// By name of the source.
    pub sources: BTreeMap<String, SourceState>,
    /// By origin of the zone, as text.
    pub serials: BTreeMap<String, ZoneSerial>,
}

/// What survives of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// What it is the state of: see [`fingerprint`].
    pub of: BTreeMap<String, String>,
    /// The region the source found itself in.
    pub region: Option<String>,
    /// Time of the last good answer.
    pub delivered_at: SystemTime,
    /// What was accepted by then.
    pub accepted: Accepted,
}

/// The serial of one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneSerial {
    /// Last published.
    pub serial: u32,
    /// Digest of the contents it stands for, in hex.
    pub digest: String,
}

impl SourceState {
    /// Young enough to be served at once. A time in the future says nothing
    /// about the age: the clock was set back.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.delivered_at).is_ok_and(|age| age < FRESH)
    }
}

/// What decides which addresses a source sees: with other values, its state
/// is that of another source. Poll intervals and the like are not in it.
pub fn fingerprint(source: &Source) -> BTreeMap<String, String> {
    let mut of = BTreeMap::new();
    let mut put = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            of.insert(key.to_owned(), value.to_owned());
        }
    };
    put("region", source.region.as_deref());
    match &source.kind {
        SourceKind::File { path } => {
            put("type", Some("file"));
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            put("path", Some(&path.to_string_lossy()));
        }
        SourceKind::Ec2(ec2) => {
            put("type", Some("ec2"));
            put("endpoint_url", ec2.endpoint_url.as_deref());
            put("profile", ec2.profile.as_deref());
            put("role_arn", ec2.role_arn.as_deref());
            put("external_id", ec2.external_id.as_deref());
            for (name, values) in &ec2.filters {
                put(&format!("filter {name}"), Some(&values.join(",")));
            }
        }
    }
    of
}

/// Why a directory cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error(
        "another eipdns{} uses the state in {}; stop it, or give this one its own `[state] directory`",
        pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process, if the lock file says.
        pid: Option<String>,
    },
}

/// Why state cannot be kept or had. Each is to be logged; none stops the
/// server.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory or the lock in it cannot be had.
    #[error(
        "the state directory {} is of no use: {cause}; after a restart names wait for \
         their sources; check `[state] directory` and its owner",
        directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A step of writing has failed; the file is as before, or whole and new.
    #[error(
        "cannot {step} {}: {cause}; answers go on, but a restart would know older ones only",
        path.display()
    )]
    Write {
        /// What could not be done.
        step: Step,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// There is a file that cannot be read.
    #[error("cannot read {}: {cause}; names wait for their sources", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// There is a file, but not ours, or not whole.
    #[error("the state in {} is of no use: {cause}; {kept}; names wait for their sources", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: FormatError,
        /// What became of it.
        kept: Aside,
    },
}

/// What became of a file that was set aside.
#[derive(Debug)]
pub enum Aside {
    /// It has this name now.
    Kept(PathBuf),
    /// It could not be renamed or copied.
    Failed(io::Error),
}

impl std::fmt::Display for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Aside::Kept(path) => write!(f, "it is kept as {}", path.display()),
            Aside::Failed(e) => write!(f, "it could not be set aside ({e})"),
        }
    }
}

/// The steps of writing, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The contents, in memory.
    Render,
    /// The temporary file.
    Create,
    /// Its contents.
    Write,
    /// Its contents, on the disk.
    Sync,
    /// In place of the old one.
    Rename,
    /// That too on the disk.
    SyncDirectory,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Step::Render => "render",
            Step::Create => "create",
            Step::Write => "write",
            Step::Sync | Step::SyncDirectory => "sync",
            Step::Rename => "replace",
        })
    }
}

/// State as it was found.
#[derive(Debug)]
pub struct Loaded {
    /// Only of sources that are configured as they were then.
    pub state: State,
    /// When it was written.
    pub written: SystemTime,
    /// Sources whose state is of no use, to be logged.
    pub mismatched: Vec<Mismatch>,
}

/// A source in the state that is not the one configured.
#[derive(Debug, thiserror::Error)]
#[error("the state of source {source_name} is not used: {why}; {kept}")]
pub struct Mismatch {
    /// The source's name.
    pub source_name: String,
    /// What differs.
    pub why: String,
    /// What became of the file as it was.
    pub kept: Aside,
}

/// What a call of [`Store::save`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The file is new.
    Written,
    /// What it says is true still, or was a minute ago.
    Unchanged,
    /// The disk has failed just now and is left alone for some seconds.
    Later,
}

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    trouble: Option<StateError>,
    /// What is on the disk, and since when.
    written: Option<(State, SystemTime)>,
    failed_at: Option<SystemTime>,
    /// Unlocks when dropped.
    lock: Option<File>,
}

impl Store {
    /// Makes `directory` ours. When it cannot be written to, the store says
    /// so in [`trouble`](Self::trouble) and reads what is there all the same.
    ///
    /// # Errors
    /// Only when another process uses it.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let directory = directory.to_owned();
        let (lock, trouble) = match lock(&directory) {
            Ok(lock) => (Some(lock), None),
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(directory.join(LOCK_FILE)).ok();
                let pid = pid.map(|p| p.trim().to_owned()).filter(|p| !p.is_empty());
                return Err(OpenError::InUse { directory, pid });
            }
            Err(TryLockError::Error(cause)) => {
                (None, Some(StateError::Directory { directory: directory.clone(), cause }))
            }
        };
        Ok(Self { directory, trouble, written: None, failed_at: None, lock })
    }

    /// Why the directory cannot be written to, when that showed at once.
    pub fn trouble(&self) -> Option<&StateError> {
        self.trouble.as_ref()
    }

    /// Reads the state, leaving out what belongs to other sources than those
    /// configured; none when there is no file.
    ///
    /// # Errors
    /// A file that cannot be read or is of no use. The latter is set aside.
    pub fn load(&mut self, sources: &[Source]) -> Result<Option<Loaded>, StateError> {
        let path = self.directory.join(FILE);
        let octets = match fs::read(&path) {
            Ok(octets) => octets,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(StateError::Read { path, cause }),
        };
        let (mut state, written) = match format::parse(&octets) {
            Ok(read) => read,
            Err(cause) => {
                let name = match &cause {
                    FormatError::Newer { .. } => "newer",
                    FormatError::Foreign { .. } => "foreign",
                    _ => "damaged",
                };
                return Err(StateError::Unusable { path, cause, kept: self.set_aside(name) });
            }
        };
        self.written = Some((state.clone(), written));
        let mismatched = self.leave_out(&mut state, sources);
        Ok(Some(Loaded { state, written, mismatched }))
    }

    fn leave_out(&self, state: &mut State, sources: &[Source]) -> Vec<Mismatch> {
        let mut mismatched = Vec::new();
        state.sources.retain(|name, found| {
            let source = sources.iter().find(|s| s.name == *name);
            let why = match source {
                None => "there is no such source any longer".to_owned(),
                Some(source) => differences(&found.of, &fingerprint(source)),
            };
            let same = why.is_empty();
            if !same {
                mismatched.push((name.clone(), why));
            }
            same
        });
        let mut all = Vec::new();
        for (source_name, why) in mismatched {
            // One copy holds them all.
            let kept = match all.first() {
                Some(Mismatch { kept: Aside::Kept(path), .. }) => Aside::Kept(path.clone()),
                _ => self.aside("mismatched", |from, to| fs::copy(from, to).map(drop)),
            };
            all.push(Mismatch { source_name, why, kept });
        }
        all
    }

    /// Renames the state file, so that the next start is without it and
    /// somebody can look into it: for state that cannot be used. `why` is a
    /// word for its new name.
    pub fn set_aside(&mut self, why: &str) -> Aside {
        self.written = None;
        self.aside(why, |from, to| fs::rename(from, to))
    }

    fn aside(&self, why: &str, act: impl Fn(&Path, &Path) -> io::Result<()>) -> Aside {
        // Colons make trouble in scp and on foreign disks.
        let now = humantime::format_rfc3339_millis(SystemTime::now().max(SystemTime::UNIX_EPOCH));
        let time = now.to_string().replace([':', '-'], "");
        let to = self.directory.join(format!("{FILE}.{why}-{time}"));
        match act(&self.directory.join(FILE), &to) {
            Ok(()) => {
                self.forget_oldest();
                Aside::Kept(to)
            }
            Err(e) => Aside::Failed(e),
        }
    }

    /// Keeps the number of files set aside small. They end in their time.
    fn forget_oldest(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let mut aside: Vec<(String, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let rest = name.strip_prefix(FILE)?;
                let (_, time) = rest.rsplit_once('-')?;
                Some((time.to_owned(), entry.path()))
            })
            .collect();
        aside.sort();
        for (_, path) in aside.iter().rev().skip(KEEP_ASIDE) {
            // One too many does no harm.
            let _ = fs::remove_file(path);
        }
    }

    /// Writes `state` if it differs from what is on the disk in more than
    /// times, or in those by a minute.
    ///
    /// # Errors
    /// Whatever the disk says; the file is then as it was, or whole and new.
    pub fn save(&mut self, state: &State, now: SystemTime) -> Result<Saved, StateError> {
        if let Some((written, at)) = &self.written
            && (written == state || is_alike(written, state) && elapsed(*at, now) < REWRITE)
        {
            return Ok(Saved::Unchanged);
        }
        if self.failed_at.is_some_and(|at| now.duration_since(at).is_ok_and(|d| d < RETRY)) {
            return Ok(Saved::Later);
        }
        match self.lock_late().and_then(|()| self.replace(state, now, &mut |_| Ok(()))) {
            Ok(()) => {
                self.written = Some((state.clone(), now));
                self.failed_at = None;
                Ok(Saved::Written)
            }
            Err(error) => {
                // Gives a full disk its room back. What stays is overwritten.
                let _ = fs::remove_file(self.directory.join(NEW_FILE));
                self.failed_at = Some(now);
                Err(error)
            }
        }
    }

    /// The lock, where it could not be had at the start.
    fn lock_late(&mut self) -> Result<(), StateError> {
        if self.lock.is_none() {
            let directory = || self.directory.clone();
            let failed = |cause| StateError::Directory { directory: directory(), cause };
            self.lock = Some(lock(&self.directory).map_err(|e| failed(e.into()))?);
        }
        Ok(())
    }

    /// `after` is called after each step, and ends it all by failing: that
    /// is how tests pull the plug.
    fn replace(
        &self,
        state: &State,
        now: SystemTime,
        after: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<(), StateError> {
        let (file, new_file) = (self.directory.join(FILE), self.directory.join(NEW_FILE));
        let failed = |step, path: &Path| {
            let path = path.to_owned();
            move |cause| StateError::Write { step, path, cause }
        };
        let octets = format::render(state, now)
            .map_err(io::Error::from)
            .map_err(failed(Step::Render, &file))?;
        let create = || {
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new_file)
        };
        breathe();
        let mut new = create()
            .and_then(|new| after(Step::Create).map(|()| new))
            .map_err(failed(Step::Create, &new_file))?;
        let write = |piece: &[u8]| {
            breathe();
            new.write_all(piece)
        };
        octets
            .chunks(PIECE)
            .try_for_each(write)
            .and_then(|()| after(Step::Write))
            .map_err(failed(Step::Write, &new_file))?;
        breathe();
        new.sync_all().and_then(|()| after(Step::Sync)).map_err(failed(Step::Sync, &new_file))?;
        breathe();
        fs::rename(&new_file, &file)
            .and_then(|()| after(Step::Rename))
            .map_err(failed(Step::Rename, &file))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .and_then(|()| after(Step::SyncDirectory))
            .map_err(failed(Step::SyncDirectory, &self.directory))
    }
}

/// Makes the directory and locks it.
fn lock(directory: &Path) -> Result<File, TryLockError> {
    // What is in it is nobody's business: names, hosts, accounts.
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(TryLockError::Error)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(LOCK_FILE))
        .map_err(TryLockError::Error)?;
    file.try_lock()?;
    // For the error of a second process only: the lock holds without it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Equal but for the times of delivery.
fn is_alike(a: &State, b: &State) -> bool {
    let alike = |a: &SourceState, b: &SourceState| {
        (&a.of, &a.region, &a.accepted) == (&b.of, &b.region, &b.accepted)
    };
    a.serials == b.serials
        && a.sources.len() == b.sources.len()
        && a.sources.iter().zip(&b.sources).all(|((m, a), (n, b))| m == n && alike(a, b))
}

/// What differs between two fingerprints, for people; empty if nothing.
fn differences(was: &BTreeMap<String, String>, is: &BTreeMap<String, String>) -> String {
    let keys: std::collections::BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let shown = |of: &BTreeMap<String, String>, key| match of.get(key) {
        Some(value) => format!("{value:?}"),
        None => "not set".to_owned(),
    };
    keys.into_iter()
        .filter(|key| was.get(*key) != is.get(*key))
        .map(|key| format!("its `{key}` was {} and is {}", shown(was, key), shown(is, key)))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::format::tests::{sealed, small};
    use super::*;
    use crate::config::Ec2Source;
    use crate::diag::Place;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_340_000 + seconds)
    }

    fn source(name: &str, region: &str) -> Source {
        Source {
            name: name.to_owned(),
            kind: SourceKind::Ec2(Ec2Source {
                poll: Duration::from_secs(2),
                endpoint_url: None,
                profile: None,
                role_arn: None,
                external_id: None,
                filters: BTreeMap::new(),
            }),
            region: Some(region.to_owned()),
            public_suffix: None,
            ttl: 5,
            place: Place::file(Path::new("server.toml")),
        }
    }

    /// The small state, of the source `east`, with a serial of its own.
    fn state(serial: u32) -> State {
        let mut state = small();
        state.serials.insert("example.net".into(), ZoneSerial { serial, digest: "aa".into() });
        let east = state.sources.get_mut("east").unwrap();
        east.of = fingerprint(&source("east", "us-east-1"));
        state
    }

    fn found(directory: &Path) -> Option<State> {
        let mut store = Store::open(directory).unwrap();
        assert!(store.trouble().is_none());
        store.load(&[source("east", "us-east-1")]).unwrap().map(|loaded| {
            assert!(loaded.mismatched.is_empty());
            loaded.state
        })
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_saved_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("a/b");
        assert_eq!(found(&directory), None);
        let mut store = Store::open(&directory).unwrap();
        assert_eq!(store.save(&state(1), at(0)).unwrap(), Saved::Written);
        drop(store);
        assert_eq!(found(&directory), Some(state(1)));
        assert_eq!(names(&directory), [LOCK_FILE, FILE]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join(FILE))), (0o700, 0o600));
    }

    #[test]
    fn it_is_written_when_it_says_something_new() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let delivered = |serial, seconds| {
            let mut state = state(serial);
            state.sources.get_mut("east").unwrap().delivered_at = at(seconds);
            state
        };
        assert_eq!(store.save(&delivered(1, 0), at(0)).unwrap(), Saved::Written);
        assert_eq!(store.save(&delivered(1, 2), at(2)).unwrap(), Saved::Unchanged);
        assert_eq!(store.save(&delivered(2, 3), at(3)).unwrap(), Saved::Written);
        // Times alone: each minute, so that fresh stays fresh.
        assert_eq!(store.save(&delivered(2, 62), at(62)).unwrap(), Saved::Unchanged);
        assert_eq!(store.save(&delivered(2, 63), at(63)).unwrap(), Saved::Written);
        // Nothing at all, as long as it takes.
        assert_eq!(store.save(&delivered(2, 63), at(6300)).unwrap(), Saved::Unchanged);
        // What a restart finds is not written again either.
        drop(store);
        let mut store = Store::open(dir.path()).unwrap();
        let loaded = store.load(&[source("east", "us-east-1")]).unwrap().unwrap();
        assert_eq!(loaded.written, at(63));
        assert_eq!(store.save(&loaded.state, at(6400)).unwrap(), Saved::Unchanged);
    }

    #[test]
    fn the_plug_may_be_pulled_after_any_step() {
        use Step::{Create, Rename, Sync, SyncDirectory, Write};
        for (step, kept) in [(Create, 1), (Write, 1), (Sync, 1), (Rename, 2), (SyncDirectory, 2)] {
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::open(dir.path()).unwrap();
            store.save(&state(1), at(0)).unwrap();
            let mut seen = Vec::new();
            let error = store
                .replace(&state(2), at(1), &mut |done| {
                    seen.push(done);
                    if done == step { Err(io::Error::other("unplugged")) } else { Ok(()) }
                })
                .unwrap_err();
            assert!(matches!(&error, StateError::Write { step: failed, .. } if *failed == step));
            assert_eq!(seen.last(), Some(&step));
            drop(store);
            assert_eq!(found(dir.path()), Some(state(kept)), "after {step:?}");
            // And life goes on.
            let mut store = Store::open(dir.path()).unwrap();
            store.save(&state(3), at(2)).unwrap();
            drop(store);
            assert_eq!(found(dir.path()), Some(state(3)));
            assert_eq!(names(dir.path()), [LOCK_FILE, FILE]);
        }
    }

    #[test]
    fn a_second_process_is_refused_and_told_who_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path()).unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        let said = format!("another eipdns (process {}) uses the state in ", std::process::id());
        assert!(error.starts_with(&said), "{error}");
        drop(first);
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn damage_is_set_aside_and_a_new_file_written() {
        let dir = tempfile::tempdir().unwrap();
        type Damage = fn(&mut Vec<u8>);
        const NEWER: &str = r#"{"format": "eipdns state", "version": 2}"#;
        const FOREIGN: &str = r#"{"format": "other state", "version": 1}"#;
        let cases: [(&str, Damage); 5] = [
            ("damaged", |octets| octets[7] ^= 1),
            ("damaged", |octets| octets.truncate(100)),
            ("damaged", Vec::clear),
            ("newer", |octets| *octets = sealed(NEWER)),
            ("foreign", |octets| *octets = sealed(FOREIGN)),
        ];
        for (name, damage) in cases {
            let mut store = Store::open(dir.path()).unwrap();
            store.save(&state(1), at(0)).unwrap();
            let path = dir.path().join(FILE);
            let mut octets = fs::read(&path).unwrap();
            damage(&mut octets);
            fs::write(&path, &octets).unwrap();
            drop(store);

            let mut store = Store::open(dir.path()).unwrap();
            let error = store.load(&[]).unwrap_err();
            let StateError::Unusable { kept: Aside::Kept(kept), .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(fs::read(kept).unwrap(), octets);
            assert!(kept.display().to_string().contains(name), "{error}");
            assert!(error.to_string().contains(&kept.display().to_string()));
            assert!(store.load(&[]).unwrap().is_none());
            store.save(&state(2), at(1)).unwrap();
            drop(store);
            assert_eq!(found(dir.path()), Some(state(2)));
            // Names of files set aside are unique per millisecond.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn few_files_are_kept_aside_and_the_newest_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let mut last = None;
        for round in 0..KEEP_ASIDE + 3 {
            fs::write(dir.path().join(FILE), round.to_string()).unwrap();
            std::thread::sleep(Duration::from_millis(2));
            let why = if round % 2 == 0 { "panicked" } else { "damaged" };
            let Aside::Kept(path) = store.set_aside(why) else { panic!() };
            last = Some(path);
        }
        let aside: Vec<_> =
            names(dir.path()).into_iter().filter(|n| n.starts_with("state.json.")).collect();
        assert_eq!(aside.len(), KEEP_ASIDE);
        assert_eq!(fs::read_to_string(last.unwrap()).unwrap(), (KEEP_ASIDE + 2).to_string());
        assert!(matches!(store.set_aside("panicked"), Aside::Failed(_)));
    }

    #[test]
    fn state_of_another_source_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let mut both = state(1);
        let mut west = both.sources["east"].clone();
        west.of = fingerprint(&source("west", "us-west-2"));
        both.sources.insert("west".into(), west.clone());
        both.sources.insert("north".into(), west);
        store.save(&both, at(0)).unwrap();

        let mut moved = source("west", "eu-west-1");
        if let SourceKind::Ec2(ec2) = &mut moved.kind {
            ec2.role_arn = Some("arn:aws:iam::111122223333:role/dns".into());
            ec2.poll = Duration::from_secs(9);
        }
        let loaded = store.load(&[source("east", "us-east-1"), moved]).unwrap().unwrap();
        assert_eq!(loaded.state, state(1));
        let said: Vec<_> = loaded.mismatched.iter().map(ToString::to_string).collect();
        assert!(
            said[0].starts_with("the state of source north is not used: there is no such source"),
            "{said:?}"
        );
        assert!(
            said[1].starts_with(
                "the state of source west is not used: its `region` was \"us-west-2\" and is \
                 \"eu-west-1\", its `role_arn` was not set and is \"arn:aws:iam::"
            ),
            "{said:?}"
        );
        let Aside::Kept(copy) = &loaded.mismatched[0].kept else { panic!("{said:?}") };
        assert_eq!(fs::read(copy).unwrap(), fs::read(dir.path().join(FILE)).unwrap());
    }

    #[test]
    fn a_directory_that_cannot_be_had_is_said_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("state");
        fs::write(&in_the_way, "").unwrap();
        let mut store = Store::open(&in_the_way).unwrap();
        let said = store.trouble().unwrap().to_string();
        assert!(said.contains("is of no use") && said.contains("[state] directory"), "{said}");
        let error = store.save(&state(1), at(0)).unwrap_err();
        assert!(matches!(error, StateError::Directory { .. }), "{error}");
        assert_eq!(store.save(&state(1), at(9)).unwrap(), Saved::Later);
        fs::remove_file(&in_the_way).unwrap();
        assert_eq!(store.save(&state(1), at(10)).unwrap(), Saved::Written);
        assert!(matches!(Store::open(&in_the_way), Err(OpenError::InUse { .. })));
    }

    #[test]
    fn a_failing_disk_leaves_the_old_file_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        store.save(&state(1), at(0)).unwrap();
        // Something that rename cannot replace.
        let path = dir.path().join(FILE);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = store.save(&state(2), at(1)).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("cannot replace ") && said.contains("answers go on"), "{said}");
        assert_eq!(names(dir.path()), [LOCK_FILE, FILE]);
        // A full disk.
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join(NEW_FILE)).unwrap();
        let error = store.save(&state(2), at(20)).unwrap_err();
        assert!(matches!(&error, StateError::Write { step: Step::Write, .. }), "{error}");
        assert_eq!(store.save(&state(2), at(40)).unwrap(), Saved::Written);
    }

    #[test]
    fn freshness_needs_a_clock_that_agrees() {
        let mut east = state(1).sources["east"].clone();
        east.delivered_at = at(0);
        assert!(east.is_fresh(at(0)) && east.is_fresh(at(299)));
        assert!(!east.is_fresh(at(300)));
        assert!(!east.is_fresh(at(0) - Duration::from_secs(1)));
    }

    #[test]
    fn a_fingerprint_holds_what_decides_which_addresses_are_seen() {
        let mut east = source("east", "us-east-1");
        let plain = fingerprint(&east);
        assert_eq!(plain.len(), 2);
        if let SourceKind::Ec2(ec2) = &mut east.kind {
            ec2.filters.insert("tag:Role".into(), vec!["db".into(), "web".into()]);
            ec2.profile = Some("dns".into());
        }
        let of = fingerprint(&east);
        assert_eq!(of["filter tag:Role"], "db,web");
        assert_eq!(of["profile"], "dns");
        east.kind = SourceKind::File { path: "addresses.json".into() };
        assert!(Path::new(&fingerprint(&east)["path"]).is_absolute());
    }
}
