//! The state directory: made ours, read once, written to.
//!
//! * `aside`: what becomes of files that cannot be used. `lock`: who has it. `read`: which of its files is believed. `loaded`: for which
//!   sources. `replace`: how a file is written.

mod aside;
mod loaded;
mod lock;
mod read;
mod replace;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use loaded::{Loaded, Mismatch, peek};

use super::error::{Aside, OpenError, StateError, Step};
use super::format::seal::seal_of;
use super::format::version_2::Beside;
use super::format::{version_1, version_2};
use super::journal::{Journal, Past};
use super::{SourceState, State, ages, trust};
use crate::config::Source;
use crate::source::clock::{Drift, elapsed};
use loaded::{CarriedOn, carried_on};
use lock::{LOCK_FILE, LockError, is_still, lock};
use read::{By, Reading, read};
use replace::{NEW, Replaced};

/// The state: version 2, which is believed.
const SECOND: &str = "state-2.json";
/// Version 1, for an older eipdns.
const FIRST: &str = "state.json";
/// When each source last answered.
const AGES_FILE: &str = "ages.json";
/// Where the eipdns before this one kept the serial of each zone in each view.
const SERIALS_FILE: &str = "serials.json";

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
    /// What has changed is written, in version 2: version 1 has failed just now and is
    /// left alone for some seconds.
    WithoutOlder,
}

/// The directory, locked for as long as this lives.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    trouble: Option<StateError>,
    written: Option<Written>,
    failed_at: Option<SystemTime>,
    /// Apart from version 2, which is the one that is believed.
    first_failed_at: Option<SystemTime>,
    /// Apart from the state: ages that cannot be written hold back no news.
    ages_failed_at: Option<SystemTime>,
    journal: Journal,
    /// Apart from the state: a history that cannot be written delays no state.
    journal_failed_at: Option<SystemTime>,
    earlier: Earlier,
    /// Unlocks when dropped.
    lock: Option<File>,
}

/// What an earlier process has left, as far as nobody was given it.
#[derive(Debug)]
enum Earlier {
    /// Perhaps something: the directory was out of reach.
    Unread,
    /// Others could have written it.
    Untrusted,
    /// Nothing: it was read when it should be.
    Read,
    /// This, found when the directory was in reach again. It stays on the disk, each
    /// source until it has delivered.
    Late(Box<State>),
}

/// What is on the disk.
#[derive(Debug)]
struct Written {
    state: State,
    /// The wall clock's when it was written: after a step all times are
    /// written anew.
    drift: Drift,
    /// The last line of version 1.
    seal: String,
    /// Is version 1 written too?
    has_first: bool,
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
            first_failed_at: None,
            ages_failed_at: None,
            journal_failed_at: None,
            earlier: Earlier::Unread,
            lock,
        }
    }

    /// Why the directory cannot be used, when that showed at once.
    pub fn trouble(&self) -> Option<&StateError> {
        self.trouble.as_ref()
    }

    /// What in the directory a group may write: odd, and used all the same.
    pub fn group_writes(&self) -> Vec<PathBuf> {
        let files = [SECOND, FIRST, SERIALS_FILE].map(|name| self.directory.join(name));
        let all = [self.directory.clone()].into_iter().chain(files);
        let group_writes =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|about| trust::check(&about) == Ok(true));
        all.filter(group_writes).collect()
    }

    /// Reads the state, leaving out what no configured source carries on; none
    /// when there is none.
    ///
    /// # Errors
    /// No file there can be used. Of each: it cannot be read, others may write it, or
    /// it is of no use. It is set aside.
    pub fn load(&mut self, sources: &[Source]) -> Result<Option<Loaded>, Vec<StateError>> {
        self.earlier = Earlier::Untrusted;
        if let Some(StateError::Untrusted { .. }) = self.trouble {
            return Ok(None);
        }
        let Reading { found, unusable } =
            read(&self.directory).map_err(|untrusted| vec![untrusted])?;
        self.earlier = Earlier::Read;
        let unused: Vec<_> = unusable.into_iter().map(|error| self.put_aside(error)).collect();
        let Some(found) = found else {
            return if unused.is_empty() { Ok(None) } else { Err(unused) };
        };
        let (CarriedOn { state, told: carried }, left) = carried_on(&found.state, sources);
        let mut mismatched: Vec<Mismatch> = Vec::new();
        for source_name in left {
            // One copy holds them all.
            let kept = match mismatched.first() {
                Some(Mismatch { kept: Aside::Kept(path), .. }) => Aside::Kept(path.clone()),
                _ => self.aside(found.by.file(), "mismatched", |a, b| fs::copy(a, b).map(drop)),
            };
            mismatched.push(Mismatch { source_name, kept });
        }
        let (written, by_older) = (found.written, found.by == By::OlderEipdns);
        // What only one file says is written to both with the first save.
        self.written = (found.by == By::Both).then(|| Written {
            state: found.state,
            drift: Drift::NONE,
            seal: found.seal,
            has_first: true,
            touched: written,
            synced: written,
        });
        Ok(Some(Loaded { state, written, by_older, unused, carried, mismatched }))
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

    /// The next writing is tried however short a time ago the last one failed.
    pub fn forget_failures(&mut self) {
        (self.failed_at, self.first_failed_at) = (None, None);
        (self.ages_failed_at, self.journal_failed_at) = (None, None);
    }

    /// Writes `state` if it says something else than the disk; if only ages
    /// have changed, those. `drift` is the wall clock's now.
    ///
    /// # Errors
    /// Whatever the disk says; each file is then as it was, or whole and new. With
    /// [`StateError::OfOlder`] version 2 is new.
    pub fn save(
        &mut self,
        state: &State,
        now: SystemTime,
        drift: Drift,
    ) -> Result<Saved, StateError> {
        let state = &*self.completed(state);
        // Version 1 is written with version 2 only, which names it.
        let is_first_due = self.lacks_first() && !is_left_alone(self.first_failed_at, now);
        let is_news = is_first_due
            || self.written.as_ref().is_none_or(|written| {
                !is_alike(&written.state, state) || drift.is_step_from(written.drift)
            });
        if !is_news && !self.has_aged(state, now) {
            return Ok(if self.lacks_first() { Saved::Later } else { Saved::Unchanged });
        }
        if is_left_alone(if is_news { self.failed_at } else { self.ages_failed_at }, now) {
            return Ok(Saved::Later);
        }
        let saved = self.locked().and_then(|()| {
            // The directory may have been in reach for the first time.
            let state = &*self.completed(state);
            match is_news {
                true => self.write(state, now, drift),
                // Unless the directory turned out to be another one.
                false if self.written.is_some() => self.touch(state, now, drift),
                false => self.write(state, now, drift),
            }
        });
        let failed_at = if is_news { &mut self.failed_at } else { &mut self.ages_failed_at };
        let is_failed = saved.as_ref().is_err_and(|e| !matches!(e, StateError::OfOlder(_)));
        *failed_at = is_failed.then_some(now);
        if saved.is_err() {
            // Gives a full disk its room back. What stays is overwritten.
            for name in [SECOND, FIRST] {
                let _ = fs::remove_file(self.directory.join(name.to_owned() + NEW));
            }
        }
        saved
    }

    fn lacks_first(&self) -> bool {
        self.written.as_ref().is_some_and(|written| !written.has_first)
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
            self.journal = Journal::of(&self.directory);
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
        match self.earlier {
            Earlier::Unread => self.read_late(),
            Earlier::Untrusted => {
                self.set_aside("untrusted");
                self.earlier = Earlier::Read;
                Ok(())
            }
            Earlier::Read | Earlier::Late(_) => Ok(()),
        }
    }

    /// Reads what the last process left, before anything is written over it.
    fn read_late(&mut self) -> Result<(), StateError> {
        let Reading { found, unusable } = read(&self.directory)?;
        for error in unusable {
            let error = self.put_aside(error);
            tracing::warn!("{error}");
        }
        self.earlier = match found {
            None => Earlier::Read,
            Some(found) => {
                tracing::warn!(
                    directory = %self.directory.display(),
                    "state of the last run was out of reach at the start: it is kept on the disk, \
                     and used with the next start of sources that have not answered by then"
                );
                Earlier::Late(found.state.into())
            }
        };
        Ok(())
    }

    /// With what only the disk knows.
    fn completed<'s>(&self, state: &'s State) -> Cow<'s, State> {
        match &self.earlier {
            Earlier::Late(earlier) => {
                let mut state = state.clone();
                state.complete((**earlier).clone());
                Cow::Owned(state)
            }
            _ => Cow::Borrowed(state),
        }
    }

    fn write(&mut self, state: &State, now: SystemTime, drift: Drift) -> Result<Saved, StateError> {
        let replaced = self.replace(state, now, drift, &mut |_| Ok(()));
        // If that fails, perhaps version 2 is new.
        self.written = None;
        let (seal, first) = replaced?;
        let (state, has_first) = (state.clone(), matches!(first, Some(Ok(()))));
        self.written = Some(Written { state, drift, seal, has_first, touched: now, synced: now });
        match first {
            None => Ok(Saved::WithoutOlder),
            Some(Ok(())) => {
                self.first_failed_at = None;
                Ok(Saved::Written)
            }
            Some(Err(error)) => {
                self.first_failed_at = Some(now);
                Err(StateError::OfOlder(error.into()))
            }
        }
    }

    /// Version 2 first: it names the version 1 that follows, so that wherever this is
    /// cut off, it is known which of the two is the newer. Returns the last line of
    /// version 1, and what became of that; none: it has failed just now. `after` is called
    /// after each step, and ends it all by failing: that is how tests pull the plug.
    fn replace(
        &self,
        state: &State,
        now: SystemTime,
        drift: Drift,
        after: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<(String, Option<Result<(), StateError>>), StateError> {
        let directory = &*self.directory;
        let first = Replaced { directory, name: FIRST, sync: true };
        let octets = first.rendered(version_1::render(state, now, drift))?;
        let seal = seal_of(&octets).unwrap_or_default().to_owned();
        let second = Replaced { directory, name: SECOND, sync: true };
        let beside = Beside { with: seal.clone(), before: read::seal_there(directory) };
        second.replace(&second.rendered(version_2::render(state, now, drift, beside))?, after)?;
        if is_left_alone(self.first_failed_at, now) {
            return Ok((seal, None));
        }
        // It would be older than the version 1 that follows.
        let removed = replace::remove(directory, SERIALS_FILE);
        Ok((seal, Some(removed.and_then(|()| first.replace(&octets, after)))))
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
        Ok(if written.has_first { Saved::Touched } else { Saved::WithoutOlder })
    }
}

/// Has a disk that failed then failed just now?
fn is_left_alone(failed_at: Option<SystemTime>, now: SystemTime) -> bool {
    failed_at.is_some_and(|at| now.duration_since(at).is_ok_and(|d| d < RETRY))
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
