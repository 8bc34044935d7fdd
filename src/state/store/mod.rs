//! The state directory: made ours, read once, written to.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error::{Aside, OpenError, StateError, Step};
use super::format::{self, FormatError};
use super::journal::{Journal, Past};
use super::{SourceState, State, ages, serials, trust};
use crate::config::Source;
use crate::host::background::{PIECE, breathe};
use crate::source::clock::{Drift, elapsed};
use crate::source::successor::{self, Former};

/// The state itself.
const FILE: &str = "state.json";
/// When each source last answered.
const AGES_FILE: &str = "ages.json";
/// The serial of each zone in each view.
const SERIALS_FILE: &str = "serials.json";
/// What a file is called until it is whole.
const NEW: &str = ".new";
/// Held, and with our process id in it, while we live.
const LOCK_FILE: &str = "lock";

/// How often the ages are written when nothing else has changed. The disk is
/// not waited for: a killed process loses a second of age, and no disk is worn
/// out.
const TOUCH: Duration = Duration::from_secs(1);

/// How often the ages are on the disk for certain, whatever its cache does in
/// a power cut: often enough that it does not make a healthy source look older
/// than [`FRESH`](super::FRESH).
const SYNC: Duration = Duration::from_secs(60);

/// How long to leave a disk alone that has just failed.
const RETRY: Duration = Duration::from_secs(10);

/// How many files set aside are kept.
const KEEP_ASIDE: usize = 5;

/// State as it was found.
#[derive(Debug)]
pub struct Loaded {
    /// Of the sources that are configured now, under their names of now.
    pub state: State,
    /// When it was written.
    pub written: SystemTime,
    /// Sources that are not as they were then, to be told.
    pub carried: Vec<Carried>,
    /// Sources whose state is of no use, to be told.
    pub mismatched: Vec<Mismatch>,
}

/// A source whose state is that of a source with other settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "source {source_name} is not as it was when its state was written: {what}; what was known \
     then is answered until it has delivered"
)]
pub struct Carried {
    /// The source's name.
    pub source_name: String,
    /// What differs.
    pub what: String,
}

/// A source in the state that none configured carries on.
#[derive(Debug, thiserror::Error)]
#[error("the state of source {source_name} is not used: no source carries it on; {kept}")]
pub struct Mismatch {
    /// The source's name.
    pub source_name: String,
    /// What became of the file as it was.
    pub kept: Aside,
}

/// What a call of [`Store::save`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The file is new.
    Written,
    /// Only ages have changed, and are written.
    Touched,
    /// What is on the disk is true still, or was a second ago.
    Unchanged,
    /// The disk has failed just now and is left alone for some seconds.
    Later,
}

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    trouble: Option<StateError>,
    written: Option<Written>,
    failed_at: Option<SystemTime>,
    /// Apart from the state: ages that cannot be written hold back no news.
    ages_failed_at: Option<SystemTime>,
    journal: Journal,
    /// Apart from the state: a history that cannot be written delays no state.
    journal_failed_at: Option<SystemTime>,
    /// Unlocks when dropped.
    lock: Option<File>,
}

/// What is on the disk.
#[derive(Debug)]
struct Written {
    state: State,
    /// The wall clock's when it was written: after a step all times are
    /// written anew.
    drift: Drift,
    /// The file's last line.
    seal: String,
    /// When the ages were last written, and when they were last waited for.
    touched: SystemTime,
    synced: SystemTime,
}

impl Store {
    /// Makes `directory` ours. When it cannot be written to, or others may
    /// write to it, the store says so in [`trouble`](Self::trouble).
    ///
    /// # Errors
    /// Only when another process uses it.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let directory = directory.to_owned();
        let (lock, trouble) = match lock(&directory) {
            Ok(lock) => (Some(lock), None),
            Err(LockError::Taken) => {
                let pid = fs::read_to_string(directory.join(LOCK_FILE)).ok();
                let pid = pid.map(|p| p.trim().to_owned()).filter(|p| !p.is_empty());
                return Err(OpenError::InUse { directory, pid });
            }
            Err(LockError::State(trouble)) => (None, Some(trouble)),
        };
        Ok(Self::with(directory, lock, trouble))
    }

    /// For a directory that does not answer: nothing is known of it, and each
    /// [`save`](Self::save) tries to make it ours.
    pub fn out_of_reach(directory: &Path, cause: io::Error) -> Self {
        let directory = directory.to_owned();
        let trouble = Some(StateError::Directory { directory: directory.clone(), cause });
        Self::with(directory, None, trouble)
    }

    /// Nothing is known of what is on the disk.
    fn with(directory: PathBuf, lock: Option<File>, trouble: Option<StateError>) -> Self {
        Self {
            journal: Journal::of(&directory),
            directory,
            trouble,
            written: None,
            failed_at: None,
            ages_failed_at: None,
            journal_failed_at: None,
            lock,
        }
    }

    /// Why the directory cannot be used, when that showed at once.
    pub fn trouble(&self) -> Option<&StateError> {
        self.trouble.as_ref()
    }

    /// What in the directory a group may write: odd, and used all the same.
    pub fn group_writes(&self) -> Vec<PathBuf> {
        let files = [FILE, SERIALS_FILE].map(|name| self.directory.join(name));
        let all = [self.directory.clone()].into_iter().chain(files);
        let group_writes =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|about| trust::check(&about) == Ok(true));
        all.filter(group_writes).collect()
    }

    /// Reads the state, leaving out what no configured source carries on; none
    /// when there is no file.
    ///
    /// # Errors
    /// A file that cannot be read, that others may write, or that is of no
    /// use. It is set aside.
    pub fn load(&mut self, sources: &[Source]) -> Result<Option<Loaded>, StateError> {
        if let Some(StateError::Untrusted { .. }) = self.trouble {
            return Ok(None);
        }
        let found = read(&self.directory).map_err(|error| self.put_aside(error))?;
        let Some(Found { state, written, seal }) = found else { return Ok(None) };
        let (carried, left) = carried_on(&state, sources);
        let mut loaded =
            Loaded { state: carried.state, written, carried: carried.told, mismatched: Vec::new() };
        for source_name in left {
            // One copy holds them all.
            let kept = match loaded.mismatched.first() {
                Some(Mismatch { kept: Aside::Kept(path), .. }) => Aside::Kept(path.clone()),
                _ => self.aside("mismatched", |from, to| fs::copy(from, to).map(drop)),
            };
            loaded.mismatched.push(Mismatch { source_name, kept });
        }
        let drift = Drift::NONE;
        self.written = Some(Written { state, drift, seal, touched: written, synced: written });
        Ok(Some(loaded))
    }

    /// Reads the history; nothing where others may write it. What is damaged is
    /// set aside.
    pub fn history(&mut self) -> Past {
        if self.lock.is_none() { Past::default() } else { self.journal.read() }
    }

    /// Adds `events` to the history.
    ///
    /// # Errors
    /// Whatever the disk says; they are not in it then.
    pub fn add_history(
        &mut self,
        events: &[Arc<str>],
        now: SystemTime,
    ) -> Result<Saved, StateError> {
        if events.is_empty() {
            return Ok(Saved::Unchanged);
        }
        if is_left_alone(self.failed_at.max(self.journal_failed_at), now) {
            return Ok(Saved::Later);
        }
        let added = self.locked().and_then(|()| self.journal.add(events));
        self.journal_failed_at = added.is_err().then_some(now);
        added.map(|()| Saved::Written)
    }

    fn put_aside(&mut self, error: StateError) -> StateError {
        match error {
            StateError::Read { path, cause, .. } => {
                StateError::Read { path, cause, kept: self.set_aside("unread") }
            }
            StateError::Unusable { path, cause, .. } => {
                let name = match &cause {
                    FormatError::Newer { .. } => "newer",
                    FormatError::Foreign { .. } => "foreign",
                    _ => "damaged",
                };
                StateError::Unusable { path, cause, kept: self.set_aside(name) }
            }
            other => other,
        }
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

    /// Writes `state` if it says something else than the disk; if only ages
    /// have changed, those. `drift` is the wall clock's now.
    ///
    /// # Errors
    /// Whatever the disk says; the file is then as it was, or whole and new.
    pub fn save(
        &mut self,
        state: &State,
        now: SystemTime,
        drift: Drift,
    ) -> Result<Saved, StateError> {
        let is_news = self.written.as_ref().is_none_or(|written| {
            !is_alike(&written.state, state) || drift.is_step_from(written.drift)
        });
        if !is_news && !self.has_aged(state, now) {
            return Ok(Saved::Unchanged);
        }
        if is_left_alone(if is_news { self.failed_at } else { self.ages_failed_at }, now) {
            return Ok(Saved::Later);
        }
        let saved = self.locked().and_then(|()| match is_news {
            true => self.write(state, now, drift),
            // Unless the directory turned out to be another one.
            false if self.written.is_some() => self.touch(state, now, drift),
            false => self.write(state, now, drift),
        });
        let failed_at = if is_news { &mut self.failed_at } else { &mut self.ages_failed_at };
        *failed_at = saved.is_err().then_some(now);
        if saved.is_err() {
            // Gives a full disk its room back. What stays is overwritten.
            for name in [SERIALS_FILE, FILE] {
                let _ = fs::remove_file(self.directory.join(name.to_owned() + NEW));
            }
        }
        saved
    }

    /// Did sources answer since the ages were written, and is it time to say so?
    fn has_aged(&self, state: &State, now: SystemTime) -> bool {
        self.written.as_ref().is_some_and(|written| {
            written.state != *state && elapsed(written.touched, now) >= TOUCH
        })
    }

    /// The lock, where it could not be had at the start, or where the directory
    /// is not the one it was: removed and made again, or open to others since.
    fn locked(&mut self) -> Result<(), StateError> {
        if self.lock.as_ref().is_some_and(|lock| !is_still(lock, &self.directory)) {
            self.lock = None;
            self.written = None;
        }
        if self.lock.is_none() {
            self.lock = Some(match lock(&self.directory) {
                Ok(lock) => lock,
                Err(LockError::State(error)) => return Err(error),
                Err(LockError::Taken) => {
                    let directory = self.directory.clone();
                    let cause = io::Error::other("another eipdns uses it");
                    return Err(StateError::Directory { directory, cause });
                }
            });
        }
        Ok(())
    }

    fn write(&mut self, state: &State, now: SystemTime, drift: Drift) -> Result<Saved, StateError> {
        let seal = self.replace(state, now, drift, &mut |_| Ok(()))?;
        let state = state.clone();
        self.written = Some(Written { state, drift, seal, touched: now, synced: now });
        Ok(Saved::Written)
    }

    /// `after` is called after each step, and ends it all by failing: that
    /// is how tests pull the plug. Returns the file's last line.
    fn replace(
        &self,
        state: &State,
        now: SystemTime,
        drift: Drift,
        after: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<String, StateError> {
        let views = &state.serials.views;
        let known = self.written.as_ref().map(|written| &written.state.serials.views);
        // First, so that no zone's serial is higher than all of its views'.
        if !views.is_empty() && known != Some(views) {
            let file = Replaced { directory: &self.directory, name: SERIALS_FILE, sync: true };
            file.replace(&file.rendered(serials::render(views))?, after)?;
        }
        let file = Replaced { directory: &self.directory, name: FILE, sync: true };
        let octets = file.rendered(format::render(state, now, drift))?;
        file.replace(&octets, after)?;
        Ok(format::seal_of(&octets).unwrap_or_default().to_owned())
    }

    fn touch(&mut self, state: &State, now: SystemTime, drift: Drift) -> Result<Saved, StateError> {
        let Some(written) = &mut self.written else { return Ok(Saved::Unchanged) };
        let sync = elapsed(written.synced, now) >= SYNC;
        let file = Replaced { directory: &self.directory, name: AGES_FILE, sync };
        let octets = file.rendered(ages::render(state, &written.seal, drift))?;
        file.replace(&octets, &mut |_| Ok(()))?;
        written.state.clone_from(state);
        written.touched = now;
        if sync {
            written.synced = now;
        }
        Ok(Saved::Touched)
    }
}

/// Has a disk that failed then failed just now?
fn is_left_alone(failed_at: Option<SystemTime>, now: SystemTime) -> bool {
    failed_at.is_some_and(|at| now.duration_since(at).is_ok_and(|d| d < RETRY))
}

/// One file of the directory, to be replaced as a whole.
struct Replaced<'d> {
    directory: &'d Path,
    name: &'static str,
    /// Wait until it is on the disk.
    sync: bool,
}

impl Replaced<'_> {
    fn rendered(&self, made: Result<Vec<u8>, serde_json::Error>) -> Result<Vec<u8>, StateError> {
        let path = self.directory.join(self.name);
        made.map_err(|e| StateError::Write { step: Step::Render, path, cause: e.into() })
    }

    fn replace(
        &self,
        octets: &[u8],
        after: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<(), StateError> {
        let file = self.directory.join(self.name);
        let new_file = self.directory.join(self.name.to_owned() + NEW);
        let failed = |step, path: &Path| {
            let path = path.to_owned();
            move |cause| StateError::Write { step, path, cause }
        };
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
        let synced = if self.sync { new.sync_all() } else { Ok(()) };
        synced.and_then(|()| after(Step::Sync)).map_err(failed(Step::Sync, &new_file))?;
        breathe();
        fs::rename(&new_file, &file)
            .and_then(|()| after(Step::Rename))
            .map_err(failed(Step::Rename, &file))?;
        if !self.sync {
            return Ok(());
        }
        File::open(self.directory)
            .and_then(|directory| directory.sync_all())
            .and_then(|()| after(Step::SyncDirectory))
            .map_err(failed(Step::SyncDirectory, self.directory))
    }
}

/// What a directory's files say.
struct Found {
    state: State,
    written: SystemTime,
    seal: String,
}

/// Reads the state in `directory` for `sources` and changes nothing: for those
/// who only look. None when there is none.
///
/// # Errors
/// It cannot be read, others may write it, or it is of no use.
pub fn peek(directory: &Path, sources: &[Source]) -> Result<Option<Loaded>, StateError> {
    let Some(Found { state, written, .. }) = read(directory)? else { return Ok(None) };
    let (carried, left) = carried_on(&state, sources);
    let mismatched =
        left.into_iter().map(|source_name| Mismatch { source_name, kept: Aside::Left }).collect();
    Ok(Some(Loaded { state: carried.state, written, carried: carried.told, mismatched }))
}

fn read(directory: &Path) -> Result<Option<Found>, StateError> {
    if let Ok(about) = fs::metadata(directory)
        && let Err(why) = trust::check(&about)
    {
        return Err(StateError::Untrusted { directory: directory.to_owned(), why });
    }
    let path = directory.join(FILE);
    let octets = match trust::read(&path) {
        Ok(octets) => octets,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(StateError::Read { path, cause, kept: Aside::Left }),
    };
    let (mut state, written) = match format::parse(&octets) {
        Ok(read) => read,
        Err(cause) => return Err(StateError::Unusable { path, cause, kept: Aside::Left }),
    };
    let seal = format::seal_of(&octets).unwrap_or_default().to_owned();
    for (name, at) in ages_of(directory, &seal) {
        if let Some(source) = state.sources.get_mut(&name) {
            source.delivered_at = source.delivered_at.max(at);
        }
    }
    state.serials.views = view_serials(directory);
    Ok(Some(Found { state, written, seal }))
}

/// The serials of each view. Without the file each view goes on from its zone's
/// serial, which is as high as any.
fn view_serials(directory: &Path) -> serials::Views {
    let path = directory.join(SERIALS_FILE);
    let used = match trust::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return serials::Views::new(),
        Err(error) => Err(error.to_string()),
        Ok(octets) => serials::parse(&octets).map_err(|error| error.to_string()),
    };
    used.unwrap_or_else(|error| {
        tracing::warn!(
            path = %path.display(), %error,
            "the views' serials are not used: in each view a zone goes on from its highest serial"
        );
        serials::Views::new()
    })
}

/// Later ages than the state itself has. Without the file, or with one that a
/// power cut has emptied, sources look older than they are, which harms less
/// than the opposite.
fn ages_of(directory: &Path, seal: &str) -> BTreeMap<String, SystemTime> {
    let path = directory.join(AGES_FILE);
    let octets = match trust::read(&path) {
        Ok(octets) => octets,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the ages beside the state are not used");
            return BTreeMap::new();
        }
    };
    ages::parse(&octets, seal).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "the ages beside the state are of no use");
        BTreeMap::new()
    })
}

/// State under the names of the sources that carry it on.
struct CarriedOn {
    state: State,
    told: Vec<Carried>,
}

/// What of `found` the configured `sources` carry on, and the names of those
/// sources that none does.
fn carried_on(found: &State, sources: &[Source]) -> (CarriedOn, Vec<String>) {
    let former: Vec<Former<'_>> = found
        .sources
        .iter()
        .map(|(name, state)| Former { name, of: &state.of, region: state.region.as_deref() })
        .collect();
    let predecessors = successor::predecessors(&former, sources);
    let states: Vec<(&String, &SourceState)> = found.sources.iter().collect();
    let mut state = State { sources: BTreeMap::new(), serials: found.serials.clone() };
    let mut told = Vec::new();
    for (source, predecessor) in sources.iter().zip(&predecessors) {
        let Some((name, known)) = predecessor.and_then(|at| states.get(at)) else { continue };
        let mut what = successor::differences(&known.of, &successor::fingerprint(source));
        if **name != source.name {
            let renamed = format!("its `name` was {name:?}");
            what = if what.is_empty() { renamed } else { format!("{renamed}, {what}") };
        }
        if !what.is_empty() {
            told.push(Carried { source_name: source.name.clone(), what });
        }
        state.sources.insert(source.name.clone(), SourceState::clone(known));
    }
    let left = states.iter().enumerate().filter(|(at, _)| !predecessors.contains(&Some(*at)));
    let left = left.map(|(_, (name, _))| (*name).clone()).collect();
    (CarriedOn { state, told }, left)
}

enum LockError {
    /// Another process has it.
    Taken,
    /// It cannot be had.
    State(StateError),
}

/// Makes the directory, sees who may write to it, and locks it.
fn lock(directory: &Path) -> Result<File, LockError> {
    let failed =
        |cause| LockError::State(StateError::Directory { directory: directory.to_owned(), cause });
    // What is in it is nobody's business: names, hosts, accounts.
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let about = fs::metadata(directory).map_err(failed)?;
    if let Err(why) = trust::check(&about) {
        let directory = directory.to_owned();
        return Err(LockError::State(StateError::Untrusted { directory, why }));
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Not to wait for a pipe's other end.
        .custom_flags(libc::O_NONBLOCK)
        .open(directory.join(LOCK_FILE))
        .map_err(failed)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => LockError::Taken,
        TryLockError::Error(cause) => failed(cause),
    })?;
    // For the error of a second process only: the lock holds without it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Is `lock` still the lock file of a directory that only we may write?
fn is_still(lock: &File, directory: &Path) -> bool {
    let id = |about: fs::Metadata| (about.dev(), about.ino());
    let same = match (lock.metadata(), fs::metadata(directory.join(LOCK_FILE))) {
        (Ok(ours), Ok(there)) => id(ours) == id(there),
        _ => false,
    };
    same && fs::metadata(directory).is_ok_and(|about| trust::check(&about).is_ok())
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

#[cfg(test)]
mod tests;
