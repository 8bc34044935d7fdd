//! What can go wrong with state on disk.

use std::io;
use std::path::PathBuf;

use super::format::FormatError;
use super::trust::Untrusted;

/// Why a directory cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error(
        "another eipdns{} uses the state in {}; stop it, or give this one its own `[state] directory`",
        pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process, if the lock file says.
        pid: Option<String>,
    },
}

/// Why state cannot be kept or had. Each is to be logged; none stops the
/// server.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory or the lock in it cannot be had.
    #[error(
        "the state directory {} is of no use: {cause}; after a restart names wait for \
         their sources; check `[state] directory` and its owner",
        directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Others may write the directory.
    #[error(
        "the state directory {} is not used: {why}; after a restart names wait for their \
         sources",
        directory.display()
    )]
    Untrusted {
        /// The directory.
        directory: PathBuf,
        /// Who may write it.
        why: Untrusted,
    },
    /// A step of writing has failed; the file is as before, or whole and new.
    #[error("cannot {step} {}: {cause}", path.display())]
    Write {
        /// What could not be done.
        step: Step,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Only version 1, which an older eipdns reads, could not be written: version 2 is.
    #[error(transparent)]
    OfOlder(Box<StateError>),
    /// There is a file that cannot be read, or that others may write.
    #[error("the state in {} is not used: {cause}; {kept}; {then}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says, or who may write it.
        cause: io::Error,
        /// What became of it.
        kept: Aside,
        /// What is answered.
        then: Then,
    },
    /// There is a file, but not ours, or not whole.
    #[error("the state in {} is of no use: {cause}; {kept}; {then}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: FormatError,
        /// What became of it.
        kept: Aside,
        /// What is answered.
        then: Then,
    },
}

impl StateError {
    /// What the file `name` says is used instead.
    pub(super) fn is_stood_in_for(&mut self, name: &'static str) {
        if let StateError::Read { then, .. } | StateError::Unusable { then, .. } = self {
            *then = Then::StandsIn(name);
        }
    }
}

/// What is answered where a file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing is known.
    NamesWait,
    /// This other file is used.
    StandsIn(&'static str),
}

impl std::fmt::Display for Then {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Then::NamesWait => f.write_str("names wait for their sources"),
            Then::StandsIn(name) => write!(f, "what {name} says is used"),
        }
    }
}

/// What became of a file that was set aside.
#[derive(Debug)]
pub enum Aside {
    /// It has this name now.
    Kept(PathBuf),
    /// It could not be renamed or copied.
    Failed(io::Error),
    /// It was only looked at.
    Left,
}

impl std::fmt::Display for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Aside::Kept(path) => write!(f, "it is kept as {}", path.display()),
            Aside::Left => f.write_str("it is left where it is"),
            Aside::Failed(e) => write!(f, "it could not be set aside ({e})"),
        }
    }
}

/// The steps of writing, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The contents, in memory.
    Render,
    /// The temporary file.
    Create,
    /// Its contents.
    Write,
    /// Its contents, on the disk.
    Sync,
    /// In place of the old one.
    Rename,
    /// That too on the disk.
    SyncDirectory,
    /// A file that is not used any longer.
    Remove,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Step::Render => "render",
            Step::Create => "create",
            Step::Write => "write",
            Step::Sync | Step::SyncDirectory => "sync",
            Step::Rename => "replace",
            Step::Remove => "remove",
        })
    }
}
