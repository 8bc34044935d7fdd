//! The second task of a file source: a file with interfaces, read again whenever it changes.
//!
//! It tells of all that are in it whenever it changes, and of those that become wanted. A file that
//! cannot be read or understood says nothing, and what was known stands.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::post::{Handle, Post, Setup};
use super::{Described, Interface, InterfaceId, Wanted};
use crate::source::Ended;
use crate::source::error::SourceError;
use crate::source::file::{FileError, Following, Look, Seen, read_as};
use crate::source::json::interfaces::Listing;

/// Reads the interfaces in a file, once, in a few seconds at most.
///
/// # Errors
/// When the file cannot be read in time or is not what
/// `aws ec2 describe-network-interfaces` prints.
pub(crate) fn read(path: &Path) -> Result<Described, FileError> {
    read_as::<Listing>(path).map(|listing| listing.described().clone())
}

/// The task, ready to [`run`](Self::run).
pub(crate) struct FileInterfaces {
    file: Following<Listing>,
    post: Post,
    /// The contents, while they are good.
    known: Option<Arc<Listing>>,
    wanted: Wanted,
}

impl FileInterfaces {
    /// One that tells what is in `path`.
    pub(crate) fn new(setup: Setup, path: &Path) -> (Self, Handle) {
        let (post, handle) = Post::new(setup);
        (Self { file: Following::new(path), post, known: None, wanted: Wanted::default() }, handle)
    }

    /// Tells of the file at once and after each change, until nobody is to be told or nobody can
    /// want anything any longer.
    pub(crate) async fn run(mut self) -> Ended {
        loop {
            if let Err(ended) = self.step().await {
                return ended;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Ended> {
        tokio::select! {
            due = self.file.due() => match self.file.look(due).await {
                Some(look) => self.take(look).await,
                None => Ok(()),
            },
            wanted = self.post.wanted() => self.want(wanted?).await,
        }
    }

    /// Tells what is new.
    async fn take(&mut self, look: Look<Listing>) -> Result<(), Ended> {
        let (seen, is_new) = match look {
            Look::Same(seen) => (seen, false),
            Look::New(seen) => (seen, true),
        };
        let failed = seen.as_ref().err().map(|error| &**error);
        let left_out = seen.as_ref().ok().map(|listing| &listing.described().left_out);
        let at = self.post.note(failed, left_out);
        self.known = seen.as_ref().ok().map(Arc::clone);
        if is_new {
            self.post.tell(at, Arc::clone(&self.wanted), said(&seen)).await
        } else {
            Ok(())
        }
    }

    /// Tells of those that were not wanted before: whoever wants them may know nothing of them.
    async fn want(&mut self, wanted: Wanted) -> Result<(), Ended> {
        let before = std::mem::replace(&mut self.wanted, Arc::clone(&wanted));
        let new: BTreeSet<_> = wanted.difference(&before).cloned().collect();
        let Some(known) = self.known.as_ref().filter(|_| !new.is_empty()) else { return Ok(()) };
        let said = new.iter().filter_map(|id| find(&known.described().interfaces, id)).collect();
        self.post.tell(self.post.now(), Wanted::new(new), Ok(said)).await
    }
}

/// An interface among those of a file, which are in order of their ids.
fn find(all: &[Interface], id: &InterfaceId) -> Option<Interface> {
    let at = all.binary_search_by(|interface| interface.id.cmp(id)).ok()?;
    all.get(at).cloned()
}

fn said(seen: &Seen<Listing>) -> Result<Vec<Interface>, Arc<SourceError>> {
    seen.as_ref().map(|listing| listing.described().interfaces.clone()).map_err(Arc::clone)
}
