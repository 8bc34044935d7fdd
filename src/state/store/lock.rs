//! Who has the directory: one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::super::error::StateError;
use super::super::trust;

/// Held, and with our process id in it, while we live.
pub(super) const LOCK_FILE: &str = "lock";

/// Why the directory is not ours.
pub(super) enum LockError {
    /// Another process has it.
    Taken,
    /// It cannot be had.
    State(StateError),
}

/// Makes the directory, sees who may write to it, and locks it.
pub(super) fn lock(directory: &Path) -> Result<File, LockError> {
    let failed =
        |cause| LockError::State(StateError::Directory { directory: directory.to_owned(), cause });
    // What is in it is nobody's business: names, hosts, accounts.
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let about = fs::metadata(directory).map_err(failed)?;
    if let Err(why) = trust::check(&about) {
        let directory = directory.to_owned();
        return Err(LockError::State(StateError::Untrusted { directory, why }));
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Not to wait for a pipe's other end.
        .custom_flags(libc::O_NONBLOCK)
        .open(directory.join(LOCK_FILE))
        .map_err(failed)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => LockError::Taken,
        TryLockError::Error(cause) => failed(cause),
    })?;
    // For the error of a second process only: the lock holds without it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Is `lock` still the lock file of a directory that only we may write?
pub(super) fn is_still(lock: &File, directory: &Path) -> bool {
    let id = |about: fs::Metadata| (about.dev(), about.ino());
    let same = match (lock.metadata(), fs::metadata(directory.join(LOCK_FILE))) {
        (Ok(ours), Ok(there)) => id(ours) == id(there),
        _ => false,
    };
    same && fs::metadata(directory).is_ok_and(|about| trust::check(&about).is_ok())
}
