//! The `file` source: a JSON file that is read again whenever it changes.
//!
//! What is in the file is the truth at once; but a file that cannot be read
//! or understood says nothing, and the last good contents stand. Nor does one
//! of which reading does not end: a disk or a file server may hang in any call.

mod error;
mod following;
mod judge;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::host::aside::Cause;
use crate::source::json::Listing;
use crate::source::usable::Said;
use crate::source::{Answer, Ended, Handle, Pending, Post, Setup};
pub(crate) use error::FileError;
use following::Due;
pub(crate) use following::{Following, read_as};
pub(crate) use judge::{Look, Seen};

/// The largest file taken, in octets: some 100,000 addresses with tags.
/// More is not a list of addresses.
const MAX_FILE: u64 = 64 << 20;

/// How long reading may take before the source is stalled: as long as a call of
/// EC2 may.
pub(super) const WITHIN: Duration = Duration::from_secs(3);

/// A file that is read again and again and stays as it is, is told so often:
/// its age is that of the last good look.
const STILL: Duration = Duration::from_secs(1);

/// Reads the addresses in a file, once, in a few seconds at most.
///
/// # Errors
/// When the file cannot be read in time or is not what
/// `aws ec2 describe-addresses` prints.
pub(crate) fn read(path: &Path) -> Result<Said, FileError> {
    read_as::<Listing>(path).map(|listing| listing.said().clone())
}

/// One source of type `file`, ready to [`run`](Self::run).
pub(crate) struct FileSource {
    file: Following<Listing>,
    region: Option<String>,
    post: Post,
    pending: Pending,
    /// When an unchanged file was last told.
    told: Option<Instant>,
}

impl FileSource {
    /// A source that will deliver what is in `path`.
    pub(crate) fn new(setup: Setup, region: Option<String>, path: PathBuf) -> (Self, Handle) {
        let (post, handle) = Post::new(setup);
        let (file, pending) = (Following::new(&path), Pending::default());
        (Self { file, region, post, pending, told: None }, handle)
    }

    /// Delivers the file's addresses at once, after each change and after each
    /// look now and then, until nobody takes them or nobody can ask any longer.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            let due = tokio::select! {
                due = self.file.due() => due,
                ask = self.post.asked() => match ask {
                    Ok(ask) => {
                        self.pending.add(ask);
                        Due::Look(Cause::Told)
                    }
                    Err(ended) => return ended,
                },
            };
            let due = self.for_those_who_ask(due);
            if let Some(look) = self.file.look(due).await
                && let Err(ended) = self.take(look).await
            {
                return ended;
            }
        }
    }

    /// A look is for all who have asked by then, and whoever asks is answered.
    fn for_those_who_ask(&mut self, due: Due) -> Due {
        let Due::Look(_) = due else { return due };
        while let Some(ask) = self.post.ask_at_hand() {
            self.pending.add(ask);
        }
        if self.pending.asked { Due::Look(Cause::Told) } else { due }
    }

    /// Tells what is to be told.
    async fn take(&mut self, look: Look<Listing>) -> Result<(), Ended> {
        let (now, took) = (Instant::now(), self.file.took());
        let said = |seen: Seen<Listing>| -> Answer { seen.map(|listing| listing.said().clone()) };
        let (answer, tell) = match look {
            Look::Same(seen) => {
                let long_ago = self.told.is_none_or(|told| now - told >= STILL);
                let still = seen.is_ok() && long_ago;
                (said(seen), still || self.pending.asked)
            }
            Look::New(seen) => (said(seen), true),
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
