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

#[cfg(test)]
mod tests;
mod walker;
mod ways;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::host::aside::{Aside, AsideError, Cause, Place};
use walker::{Make, Walker, watcher};
use ways::Wanted;

/// How often to look although no event came. Events are missed on network
/// file systems, or when a directory above the watched ones is renamed.
const RESCAN: Duration = Duration::from_secs(3);

/// How often to look when there are no events at all.
const POLL: Duration = Duration::from_secs(1);

/// How long walking the ways may take before the files are looked at all the
/// same. It takes microseconds.
const WITHIN: Duration = Duration::from_secs(1);

/// The least time between two walks without an event, as a multiple of how long a
/// walk takes: with thousands of files they take a small part of one processor.
const REST: u32 = 20;

/// And the longest.
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
