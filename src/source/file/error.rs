//! Why a file gives no addresses.

use std::io;
use std::path::PathBuf;

use super::MAX_FILE;
use crate::host::aside::AsideError;
use crate::source::json::ParseError;

/// Why a file gives no addresses.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Reading it does not end.
    #[error("reading {} {cause}", path.display())]
    Hangs {
        /// The file.
        path: PathBuf,
        /// What is known.
        cause: AsideError,
    },
    /// It is too large to be meant.
    #[error("{} has more than {MAX_FILE} octets; is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its contents are not a list of addresses.
    #[error("{}: {cause}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        cause: ParseError,
    },
}
