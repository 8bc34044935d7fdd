//! The `file` source: a JSON file that is read again whenever it changes.
//!
//! What is in the file is the truth at once; but a file that cannot be read
//! or understood says nothing, and the last good contents stand. Nor does one
//! of which reading does not end: a disk or a file server may hang in any call.

mod error;
mod judge;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::host::aside::{self, Aside, AsideError, Cause, Place};
use crate::host::background;
use crate::host::files;
use crate::source::json::Listing;
use crate::source::usable::Said;
use crate::source::watch::Watch;
use crate::source::{Ended, Handle, Pending, Post, Setup};
pub(crate) use error::FileError;
use judge::{Judge, Look};

/// The largest file taken, in octets: some 100,000 addresses with tags.
/// More is not a list of addresses.
const MAX_FILE: u64 = 64 << 20;

/// How long reading may take before the source is stalled: as long as a call of
/// EC2 may.
pub(super) const WITHIN: Duration = Duration::from_secs(3);

/// A file that is read again and again and stays as it is, is told so often:
/// its age is that of the last good look.
const STILL: Duration = Duration::from_secs(1);

/// How soon a bad file is looked at again within [`judge::SETTLE`].
const AGAIN: Duration = Duration::from_millis(20);

/// Reads the addresses in a file, once, in a few seconds at most.
///
/// # Errors
/// When the file cannot be read in time or is not what
/// `aws ec2 describe-addresses` prints.
pub(crate) fn read(path: &Path) -> Result<Said, FileError> {
    let reading = path.to_owned();
    let octets = aside::within(&Place::read(path), WITHIN, move || contents(&reading))
        .unwrap_or_else(|cause| Err(FileError::Hangs { path: path.to_owned(), cause }))?;
    listing(path, &octets, None).map(|listing| listing.said().clone())
}

fn contents(path: &Path) -> Result<Vec<u8>, FileError> {
    files::read(path, MAX_FILE).map_err(|cause| match cause.kind() {
        io::ErrorKind::FileTooLarge => FileError::TooLarge { path: path.to_owned() },
        _ => FileError::Read { path: path.to_owned(), cause },
    })
}

/// What `text` says; `known` itself if it is the same text.
fn listing(
    path: &Path,
    text: &[u8],
    known: Option<&Arc<Listing>>,
) -> Result<Arc<Listing>, FileError> {
    if let Some(known) = known.filter(|known| known.is_of(text)) {
        return Ok(Arc::clone(known));
    }
    Listing::read(text, known.map_or(&Listing::default(), |known| known))
        .map(Arc::new)
        .map_err(|cause| FileError::Parse { path: path.to_owned(), cause })
}

/// How the octets of a file are had.
type Contents = Arc<dyn Fn(&Path) -> Result<Vec<u8>, FileError> + Send + Sync>;

/// One source of type `file`, ready to [`run`](Self::run).
pub(crate) struct FileSource {
    path: PathBuf,
    region: Option<String>,
    post: Post,
    contents: Contents,
    reading: Aside<Result<Vec<u8>, FileError>>,
    /// When the newest reading began.
    began: Instant,
    judge: Judge,
    pending: Pending,
    /// When an unchanged file was last told.
    told: Option<Instant>,
    /// When to look again at a file that is bad for the moment.
    again: Option<Instant>,
}

impl FileSource {
    /// A source that will deliver what is in `path`.
    pub(crate) fn new(setup: Setup, region: Option<String>, path: PathBuf) -> (Self, Handle) {
        let (post, handle) = Post::new(setup);
        let source = Self {
            reading: Aside::new(Place::read(&path), WITHIN),
            path,
            region,
            post,
            contents: Arc::new(contents),
            began: Instant::now(),
            judge: Judge::default(),
            pending: Pending::default(),
            told: None,
            again: None,
        };
        (source, handle)
    }

    /// Delivers the file's addresses at once, after each change and after each
    /// look now and then, until nobody takes them or nobody can ask any longer.
    pub(crate) async fn run(mut self) -> Ended {
        let mut watch = Watch::new(&self.path);
        loop {
            let read = tokio::select! {
                cause = watch.changed() => self.read(cause).await,
                () = sleep_until(self.again) => self.read(Cause::Told).await,
                ask = self.post.asked() => match ask {
                    Ok(ask) => {
                        self.pending.add(ask);
                        self.read(Cause::Told).await
                    }
                    Err(ended) => return ended,
                },
                // One that was given up ends after all.
                late = self.reading.next() => Some(late),
            };
            if let Some(read) = read
                && let Err(ended) = self.take(read).await
            {
                return ended;
            }
        }
    }

    /// Reads the file, at most for [`WITHIN`]. None: an earlier reading hangs,
    /// and that is known.
    async fn read(&mut self, cause: Cause) -> Option<Read> {
        self.again = None;
        while let Some(ask) = self.post.ask_at_hand() {
            self.pending.add(ask);
        }
        // Whoever asks is answered.
        let cause = if self.pending.asked { Cause::Told } else { cause };
        self.began = Instant::now();
        let (path, contents) = (self.path.clone(), Arc::clone(&self.contents));
        match self.reading.begin(cause, move || contents(&path)) {
            Ok(()) => Some(self.reading.next().await),
            Err(AsideError::NotYet) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Judges what was read, and tells if it is to be told.
    async fn take(&mut self, read: Read) -> Result<(), Ended> {
        let path = self.path.clone();
        let known = self.judge.known().cloned();
        let seen = match read {
            Ok(Ok(octets)) => understand(path, octets, known).await,
            Ok(Err(error)) => Err(error),
            Err(cause) => Err(FileError::Hangs { path, cause }),
        };
        let (now, took) = (Instant::now(), self.began.elapsed());
        let (answer, tell) = match self.judge.judge(seen, now) {
            Look::Again => {
                self.again = Some(now + AGAIN);
                return Ok(());
            }
            Look::Same(answer) => {
                let long_ago = self.told.is_none_or(|told| now - told >= STILL);
                let still = answer.is_ok() && long_ago;
                (answer, still || self.pending.asked)
            }
            Look::New(answer) => (answer, true),
        };
        if !tell {
            self.post.note(took, &answer);
            return Ok(());
        }
        self.told = Some(now);
        let asked = std::mem::take(&mut self.pending);
        self.post.deliver(took, self.region.clone(), answer, asked).await
    }
}

/// What a reading brought.
type Read = Result<Result<Vec<u8>, FileError>, AsideError>;

/// Until `at`; without one, for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Understands where the time that megabytes take holds up no answer.
async fn understand(
    path: PathBuf,
    octets: Vec<u8>,
    known: Option<Arc<Listing>>,
) -> Result<Arc<Listing>, FileError> {
    let of = path.clone();
    // As long as the process lives, it can only have panicked.
    background::run(move || listing(&of, &octets, known.as_ref())).await.unwrap_or_else(|_| {
        let cause = io::Error::other("reading it failed. This is a bug: report it with the file");
        Err(FileError::Read { path, cause })
    })
}
