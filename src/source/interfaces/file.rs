//! The second task of a file source: a file with interfaces, read again whenever it changes.
//!
//! Whenever it changes it tells of those that are wanted, and at once of those that become so: what
//! else is in the file, and that may be much, concerns nobody. A file that cannot be read or
//! understood says nothing, and what was known stands.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::post::{Handle, Post, Setup};
use super::stats::Missing;
use super::{Described, Interface, InterfaceId, Wanted};
use crate::host::background::breathing;
use crate::source::Ended;
use crate::source::file::{FileError, Following, Look, read_as};
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
        self.note_missing();
        if !is_new {
            return Ok(());
        }
        let answer = seen.map(|listing| said(listing.described(), &self.wanted));
        self.post.tell(at, Arc::clone(&self.wanted), answer).await
    }

    /// Tells of those that were not wanted before: whoever wants them may know nothing of them.
    async fn want(&mut self, wanted: Wanted) -> Result<(), Ended> {
        let before = std::mem::replace(&mut self.wanted, wanted);
        self.note_missing();
        let new: BTreeSet<_> = breathing(self.wanted.difference(&before)).cloned().collect();
        let Some(known) = self.known.as_ref().filter(|_| !new.is_empty()) else { return Ok(()) };
        let said = said(known.described(), &new);
        self.post.tell(self.post.now(), Wanted::new(new), Ok(said)).await
    }

    /// Those that are wanted and not in the file, while it is good.
    fn note_missing(&mut self) {
        let Some(known) = &self.known else { return };
        let Described { interfaces, unusable, .. } = known.described();
        let missing = breathing(&*self.wanted)
            .filter(|id| find(interfaces, id).is_none() && unusable.binary_search(id).is_err());
        self.post.note_missing(Missing::of(missing));
    }
}

/// What is said of `ids`.
fn said(described: &Described, ids: &BTreeSet<InterfaceId>) -> Vec<Interface> {
    breathing(ids).filter_map(|id| find(&described.interfaces, id)).cloned().collect()
}

/// An interface among those of a file, which are in order of their ids.
fn find<'a>(all: &'a [Interface], id: &InterfaceId) -> Option<&'a Interface> {
    let at = all.binary_search_by(|interface| interface.id.cmp(id)).ok()?;
    all.get(at)
}
