//! Files of the directory, replaced as a whole: after kill -9 or a power cut there is
//! the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::super::error::{StateError, Step};
use crate::host::background::{PIECE, breathe};

/// What a file is called until it is whole.
pub(super) const NEW: &str = ".new";

/// One file of the directory, to be replaced as a whole.
pub(super) struct Replaced<'d> {
    pub(super) directory: &'d Path,
    pub(super) name: &'static str,
    /// Wait until it is on the disk.
    pub(super) sync: bool,
}

impl Replaced<'_> {
    /// The octets, or that they could not be made.
    pub(super) fn rendered(
        &self,
        made: Result<Vec<u8>, serde_json::Error>,
    ) -> Result<Vec<u8>, StateError> {
        let path = self.directory.join(self.name);
        made.map_err(|e| StateError::Write { step: Step::Render, path, cause: e.into() })
    }

    /// Puts `octets` in its place. `after` is called after each step, and ends it all
    /// by failing: that is how tests pull the plug.
    pub(super) fn replace(
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
        sync(self.directory)
            .and_then(|()| after(Step::SyncDirectory))
            .map_err(failed(Step::SyncDirectory, self.directory))
    }
}

/// Removes a file that may be there, for certain.
pub(super) fn remove(directory: &Path, name: &str) -> Result<(), StateError> {
    let path = directory.join(name);
    match fs::remove_file(&path) {
        Ok(()) => sync(directory).map_err(|cause| {
            let path = directory.to_owned();
            StateError::Write { step: Step::SyncDirectory, path, cause }
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(StateError::Write { step: Step::Remove, path, cause }),
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
