//! A file that is read whenever it changes, whatever is in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::judge::{Judge, Look};
use super::{FileError, MAX_FILE, WITHIN};
use crate::host::aside::{self, Aside, AsideError, Cause, Place};
use crate::host::timer::sleep_until;
use crate::host::{background, files};
use crate::source::json::Contents;
use crate::source::watch::Watch;

/// How soon a bad file is looked at again within [`SETTLE`](super::judge::SETTLE).
pub(super) const AGAIN: Duration = Duration::from_millis(20);

/// Reads a file once, in a few seconds at most.
///
/// # Errors
/// It cannot be read in time, or understood.
pub(crate) fn read_as<T: Contents>(path: &Path) -> Result<Arc<T>, FileError> {
    let reading = path.to_owned();
    let octets = aside::within(&Place::read(path), WITHIN, move || octets(&reading))
        .unwrap_or_else(|cause| Err(FileError::Hangs { path: path.to_owned(), cause }))?;
    contents(path, &octets, None)
}

pub(super) fn octets(path: &Path) -> Result<Vec<u8>, FileError> {
    files::read(path, MAX_FILE).map_err(|cause| match cause.kind() {
        io::ErrorKind::FileTooLarge => FileError::TooLarge { path: path.to_owned() },
        _ => FileError::Read { path: path.to_owned(), cause },
    })
}

/// What `text` says; `known` itself if it is the same text.
pub(super) fn contents<T: Contents>(
    path: &Path,
    text: &[u8],
    known: Option<&Arc<T>>,
) -> Result<Arc<T>, FileError> {
    if let Some(known) = known.filter(|known| known.is_of(text)) {
        return Ok(Arc::clone(known));
    }
    T::read(text, known.map_or(&T::default(), |known| known))
        .map(Arc::new)
        .map_err(|cause| FileError::Parse { path: path.to_owned(), cause })
}

/// How the octets of a file are had.
type Octets = Arc<dyn Fn(&Path) -> Result<Vec<u8>, FileError> + Send + Sync>;

/// A file that is read again and again.
pub(crate) struct Following<T> {
    pub(super) path: PathBuf,
    watch: Watch,
    pub(super) octets: Octets,
    pub(super) reading: Aside<Result<Vec<u8>, FileError>>,
    /// When the newest reading began.
    began: Instant,
    judge: Judge<T>,
    /// When to look again at a file that is bad for the moment.
    again: Option<Instant>,
}

/// What a reading brought.
type Read = Result<Result<Vec<u8>, FileError>, AsideError>;

/// What is to be done about a file.
pub(crate) enum Due {
    /// To read it.
    Look(Cause),
    /// To take a reading that was given up and has ended after all.
    Late(Read),
}

impl<T: Contents> Following<T> {
    /// Follows the file at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            watch: Watch::new(path),
            octets: Arc::new(octets),
            reading: Aside::new(Place::read(path), WITHIN),
            began: Instant::now(),
            judge: Judge::new(),
            again: None,
        }
    }

    /// Waits until something is to be done: at once the first time, then after each change and
    /// now and then. Cancel safe.
    pub(crate) async fn due(&mut self) -> Due {
        tokio::select! {
            cause = self.watch.changed() => Due::Look(cause),
            () = sleep_until(self.again) => Due::Look(Cause::Told),
            late = self.reading.next() => Due::Late(late),
        }
    }

    /// Does it, in [`WITHIN`] at most. None: nothing is new, or not for sure yet.
    pub(crate) async fn look(&mut self, due: Due) -> Option<Look<T>> {
        let read = match due {
            Due::Look(cause) => self.read(cause).await?,
            Due::Late(read) => read,
        };
        let path = self.path.clone();
        let known = self.judge.known().cloned();
        let seen = match read {
            Ok(Ok(octets)) => understand(path, octets, known).await,
            Ok(Err(error)) => Err(error),
            Err(cause) => Err(FileError::Hangs { path, cause }),
        };
        let now = Instant::now();
        let look = self.judge.judge(seen, now);
        if look.is_none() {
            self.again = Some(now + AGAIN);
        }
        look
    }

    /// How long ago the newest reading began.
    pub(crate) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// Reads the file. None: an earlier reading hangs, and that is known.
    async fn read(&mut self, cause: Cause) -> Option<Read> {
        self.again = None;
        self.began = Instant::now();
        let (path, octets) = (self.path.clone(), Arc::clone(&self.octets));
        match self.reading.begin(cause, move || octets(&path)) {
            Ok(()) => Some(self.reading.next().await),
            Err(AsideError::NotYet) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Understands where the time that megabytes take holds up no answer.
async fn understand<T: Contents>(
    path: PathBuf,
    octets: Vec<u8>,
    known: Option<Arc<T>>,
) -> Result<Arc<T>, FileError> {
    let of = path.clone();
    // As long as the process lives, it can only have panicked.
    background::run(move || contents(&of, &octets, known.as_ref())).await.unwrap_or_else(|_| {
        let cause = io::Error::other("reading it failed. This is a bug: report it with the file");
        Err(FileError::Read { path, cause })
    })
}
