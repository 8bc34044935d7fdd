//! What the files of a directory say, and which of them is believed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::super::error::{Aside, StateError, Then};
use super::super::format::seal::{SEAL, seal_of, unseal};
use super::super::format::version_2::Second;
use super::super::format::{FormatError, version_1, version_2};
use super::super::{State, ages, serials, trust};
use super::{AGES_FILE, FIRST, SECOND, SERIALS_FILE};

/// What a directory's files say.
pub(super) struct Reading {
    /// What is believed; none: there is no state that can be.
    pub(super) found: Option<Found>,
    /// Files that are there and of no use.
    pub(super) unusable: Vec<StateError>,
}

/// What the last process has left.
pub(super) struct Found {
    pub(super) state: State,
    pub(super) written: SystemTime,
    /// The last line of its version 1.
    pub(super) seal: String,
    /// Which files say so.
    pub(super) by: By,
}

/// Which files say what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Both.
    Both,
    /// Version 2; version 1 is older, cannot be used, or is gone.
    Second,
    /// Version 1; there is no version 2 that can be used.
    First,
    /// Version 1, which an older eipdns has written since version 2.
    OlderEipdns,
}

/// Reads what is in a directory, and changes nothing.
///
/// # Errors
/// Others may write the directory.
pub(super) fn read(directory: &Path) -> Result<Reading, StateError> {
    if let Ok(about) = fs::metadata(directory)
        && let Err(why) = trust::check(&about)
    {
        return Err(StateError::Untrusted { directory: directory.to_owned(), why });
    }
    let mut unusable = Vec::new();
    let second = good(second(directory), &mut unusable).flatten();
    let first = good(Sealed::at(directory), &mut unusable).flatten();
    let found = match (second, first) {
        (Some(second), Some(first)) if !second.beside.knows(&first.seal) => {
            match good(first.parse(directory, By::OlderEipdns), &mut unusable) {
                Some(mut newer) => {
                    newer.state.complete(second.state);
                    Some(newer)
                }
                None => Some(Found::of(second, None)),
            }
        }
        (Some(second), first) => Some(Found::of(second, first.as_ref())),
        (None, Some(first)) => good(first.parse(directory, By::First), &mut unusable),
        (None, None) => None,
    };
    let found = found.map(|mut found| {
        found.grow_younger(ages_of(directory, &found.seal));
        unusable.iter_mut().for_each(|error| error.is_stood_in_for(found.by.file()));
        found
    });
    Ok(Reading { found, unusable })
}

/// What could be read; what not is noted.
fn good<T>(read: Result<T, StateError>, unusable: &mut Vec<StateError>) -> Option<T> {
    read.map_err(|error| unusable.push(error)).ok()
}

impl By {
    pub(super) fn file(self) -> &'static str {
        match self {
            By::Both | By::Second => SECOND,
            By::First | By::OlderEipdns => FIRST,
        }
    }
}

impl Found {
    fn of(second: Second, first: Option<&Sealed>) -> Self {
        let Second { state, written, beside } = second;
        let is_whole = first.is_some_and(|first| first.seal == beside.with);
        let by = if is_whole { By::Both } else { By::Second };
        Self { state, written, seal: beside.with, by }
    }

    fn grow_younger(&mut self, ages: BTreeMap<String, SystemTime>) {
        for (name, at) in ages {
            if let Some(source) = self.state.sources.get_mut(&name) {
                source.delivered_at = source.delivered_at.max(at);
            }
        }
    }
}

/// Version 2; none: there is no such file.
fn second(directory: &Path) -> Result<Option<Second>, StateError> {
    let path = directory.join(SECOND);
    let Some(octets) = octets(&path)? else { return Ok(None) };
    version_2::parse(&octets).map(Some).map_err(|cause| of_no_use(path, cause))
}

/// Version 1, whole, but not taken apart yet: mostly version 2 is believed.
struct Sealed {
    octets: Vec<u8>,
    seal: String,
}

impl Sealed {
    /// None: there is no such file.
    fn at(directory: &Path) -> Result<Option<Self>, StateError> {
        let path = directory.join(FIRST);
        let Some(octets) = octets(&path)? else { return Ok(None) };
        unseal(&octets).map_err(|cause| of_no_use(path, cause))?;
        let seal = seal_of(&octets).unwrap_or_default().to_owned();
        Ok(Some(Self { octets, seal }))
    }

    fn parse(self, directory: &Path, by: By) -> Result<Found, StateError> {
        let (mut state, written) = version_1::parse(&self.octets)
            .map_err(|cause| of_no_use(directory.join(FIRST), cause))?;
        Arc::make_mut(&mut state.serials).views = view_serials(directory);
        Ok(Found { state, written, seal: self.seal, by })
    }
}

fn octets(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match trust::read(path) {
        Ok(octets) => Ok(Some(octets)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => {
            let (path, kept, then) = (path.to_owned(), Aside::Left, Then::NamesWait);
            Err(StateError::Read { path, cause, kept, then })
        }
    }
}

fn of_no_use(path: PathBuf, cause: FormatError) -> StateError {
    StateError::Unusable { path, cause, kept: Aside::Left, then: Then::NamesWait }
}

/// The last line of the version 1 that lies there now, be it whole or not.
pub(super) fn seal_there(directory: &Path) -> Option<String> {
    // Not to wait for a pipe's other end.
    let path = directory.join(FIRST);
    let open = || OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let is_file = fs::metadata(&path).is_ok_and(|about| about.is_file());
    let file: File = is_file.then(open)?.ok()?;
    let mut tail = [0; SEAL];
    let at = file.metadata().ok()?.len().checked_sub(tail.len() as u64)?;
    file.read_exact_at(&mut tail, at).ok()?;
    seal_of(&tail).map(str::to_owned)
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
