//! Reading a file that somebody else writes: a pipe or a device in its place
//! is refused and not waited for, and no file is read without end.
//!
//! What this cannot have is an end: a disk, a mount or a file server may hang
//! in any call. Where somebody waits, reading goes through [`aside`](super::aside).

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::host::background::{self, PIECE};

/// All octets of a regular file of at most `limit` octets; symbolic links are
/// followed.
///
/// # Errors
/// It cannot be read, or is no regular file; of kind
/// [`FileTooLarge`](io::ErrorKind::FileTooLarge) when it has more octets.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_if(path, limit, |_| Ok(()))
}

/// [`read`], if `may` says so of what was opened.
///
/// # Errors
/// As there, or what `may` says.
pub fn read_if(
    path: &Path,
    limit: u64,
    may: impl FnOnce(&Metadata) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    // Before opening: to open a device may set it going.
    regular(&fs::metadata(path)?)?;
    // What was opened may be something else. Without waiting: to open a pipe
    // waits for its writer.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)?;
    let about = file.metadata()?;
    regular(&about)?;
    may(&about)?;
    let mut octets = Vec::with_capacity(about.len().min(limit) as usize + 1);
    while file.by_ref().take(PIECE as u64).read_to_end(&mut octets)? > 0 {
        if octets.len() as u64 > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has more than {limit} octets"),
            ));
        }
        background::breathe();
    }
    Ok(octets)
}

fn regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_regular_files_up_to_the_limit_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(read(&path, 5).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let large = vec![7; 3 * PIECE + 1];
        fs::write(&path, &large).unwrap();
        assert_eq!(read(&path, large.len() as u64).unwrap(), large);
        assert_eq!(read(&path, 1).unwrap_err().kind(), ErrorKind::FileTooLarge);

        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, dir.path(), Path::new("/dev/zero"), Path::new("/dev/null")] {
            let said = read(path, 5).unwrap_err().to_string();
            assert_eq!(said, "it is not a regular file", "{}", path.display());
        }
    }
}
