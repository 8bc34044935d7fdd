//! File work with a deadline. A disk, a mount or a file server that hangs blocks a
//! thread in the kernel, and nothing can cancel that.
//!
//! Each attempt runs on a thread of its own, so that one that hangs delays no other.
//! The number of threads that hang is bounded, for each file and in all. The result
//! of an attempt that ends after its deadline still counts, unless a newer attempt
//! has ended before it.

mod attempt;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::host::background;
use crate::host::timer::sleep_until;
use attempt::{Attempt, start};
pub(crate) use attempt::{MAX_EACH, hanging};

/// Why something is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Something has changed, or somebody asks.
    Told,
    /// It was not looked at for a while.
    Time,
}

/// Why there is no outcome. The text goes on from what is done with which file:
/// "reading it".
#[derive(Debug, thiserror::Error)]
pub enum AsideError {
    /// It did not end in time, but may yet.
    #[error(
        "does not end: nothing for {}; mend its disk, mount or file server, or put another file there",
        humantime::format_duration(*.0)
    )]
    Late(Duration),
    /// Earlier attempts hang, so none more was begun.
    #[error(
        "does not end: earlier attempts hang, none more is made until one ends; mend its disk, \
         mount or file server, and restart if that ends none"
    )]
    TooMany,
    /// An earlier attempt hangs that was begun a short while ago.
    #[error("does not end: an earlier attempt hangs")]
    NotYet,
    /// There is no thread for it.
    #[error("cannot begin: no thread for it: {0}")]
    Thread(#[from] io::Error),
    /// It panicked.
    #[error("failed. This is a bug: report it with the file")]
    Panicked,
}

/// What is done with a path: attempts are counted for each of these by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    what: What,
    path: PathBuf,
}

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Its contents are read.
    Read,
    /// Events are asked for.
    Watch,
}

impl Place {
    /// `path` is read.
    pub fn read(path: &Path) -> Self {
        Self { what: What::Read, path: path.to_owned() }
    }

    /// Events at `path` are asked for.
    pub(crate) fn watch(path: &Path) -> Self {
        Self { what: What::Watch, path: path.to_owned() }
    }
}

/// Does `work` at `place` on a thread of its own and waits for it, at most for
/// `within`. For whoever has no event loop; with the priority of who waits.
///
/// # Errors
/// It does not end in time, or was not begun.
pub fn within<T: Send + 'static>(
    place: &Place,
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AsideError> {
    let (sender, ended) = sync_channel(1);
    let attempt = start(Attempt::new(place, Cause::Told, None)?, work, move |outcome| {
        // Given up by then.
        let _ = sender.send(outcome);
    })?;
    match ended.recv_timeout(within) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => {
            attempt.give_up();
            Err(AsideError::Late(within))
        }
        Err(RecvTimeoutError::Disconnected) => Err(AsideError::Panicked),
    }
}

/// Attempts at one thing, one after the other.
#[derive(Debug)]
pub struct Aside<T> {
    place: Place,
    within: Duration,
    newest: Option<Newest>,
    /// The number of the newest one that has ended.
    ended: u64,
    sender: mpsc::Sender<Ended<T>>,
    receiver: mpsc::Receiver<Ended<T>>,
}

#[derive(Debug)]
struct Newest {
    number: u64,
    begun: Instant,
    /// Whether it is waited for still.
    awaited: bool,
    attempt: Arc<Attempt>,
}

#[derive(Debug)]
struct Ended<T> {
    number: u64,
    outcome: Result<T, AsideError>,
}

impl<T: Send + 'static> Aside<T> {
    /// Attempts at `place`, each waited for at most for `within`.
    pub fn new(place: Place, within: Duration) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_EACH);
        Self { place, within, newest: None, ended: 0, sender, receiver }
    }

    /// Is an attempt under way that is within its time?
    pub(crate) fn is_awaited(&self) -> bool {
        self.newest.as_ref().is_some_and(|newest| newest.awaited)
    }

    /// Begins an attempt; the one before is not waited for any longer.
    ///
    /// # Errors
    /// Too many hang, or it is [`Cause::Time`] and the one before hangs that was
    /// begun a short while ago.
    pub fn begin(
        &mut self,
        cause: Cause,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(), AsideError> {
        let number = self.newest.as_ref().map_or(0, |newest| newest.number) + 1;
        let (sender, begun) = (self.sender.clone(), Instant::now());
        let hangs = self.newest.as_ref().filter(|newest| newest.attempt.is_under_way());
        let hangs = hangs.map(|newest| newest.begun);
        let attempt = Attempt::new(&self.place, cause, hangs)?;
        let work = || background::lowered(work);
        let attempt = start(attempt, work, move |outcome| {
            // Nobody is there who would wait.
            let _ = sender.blocking_send(Ended { number, outcome });
        })?;
        self.give_up();
        self.newest = Some(Newest { number, begun, awaited: true, attempt });
        Ok(())
    }

    /// Waits for what the attempt under way brings, or for its time to be over;
    /// after that, and without one, for what late ones bring. Cancel safe.
    ///
    /// # Errors
    /// The attempt does not end in time, or its work panicked.
    pub async fn next(&mut self) -> Result<T, AsideError> {
        loop {
            let deadline =
                self.newest.as_ref().filter(|n| n.awaited).map(|n| n.begun + self.within);
            let ended = tokio::select! {
                biased;
                ended = self.receiver.recv() => ended,
                () = sleep_until(deadline) => {
                    self.give_up();
                    return Err(AsideError::Late(self.within));
                }
            };
            // `self` has a sender.
            let Some(Ended { number, outcome }) = ended else { continue };
            let newest = self.newest.as_mut().filter(|newest| newest.awaited);
            let is_newest = newest.as_ref().is_none_or(|newest| newest.number == number);
            if number > self.ended && is_newest {
                self.ended = number;
                if let Some(newest) = newest {
                    newest.awaited = false;
                }
                return outcome;
            }
        }
    }

    fn give_up(&mut self) {
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.awaited) {
            newest.awaited = false;
            newest.attempt.give_up();
        }
    }
}

impl<T> Drop for Aside<T> {
    fn drop(&mut self) {
        if let Some(newest) = self.newest.as_ref().filter(|newest| newest.awaited) {
            newest.attempt.give_up();
        }
    }
}
