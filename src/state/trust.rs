//! Who may have written what is in the state directory.
//!
//! State is answered as it is found: whoever may write it says where databases
//! are. So neither the directory nor a file in it may be writable by everybody
//! or belong to somebody else. A group that may write is told: Kubernetes'
//! `fsGroup` makes volumes so.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::host::files;

/// The largest file that is read: more than half a million addresses. What is
/// larger, or never ends, is no state.
const MAX_FILE: u64 = 256 << 20;

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Why something in the directory is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Everybody may write it.
    #[error("everybody may write to it; `chmod o-w` it, and look whether anybody has")]
    Everybody,
    /// It belongs to another user.
    #[error("it belongs to user {owner}, and eipdns runs as {us}; `chown` it")]
    Owner {
        /// Its owner.
        owner: u32,
        /// Our effective user id.
        us: u32,
    },
}

/// May the thing behind `about` be believed? If so, does its group write?
pub(super) fn check(about: &Metadata) -> Result<bool, Untrusted> {
    judge(about.uid(), about.mode(), rustix::process::geteuid().as_raw())
}

fn judge(owner: u32, mode: u32, us: u32) -> Result<bool, Untrusted> {
    if owner != us && owner != 0 {
        return Err(Untrusted::Owner { owner, us });
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(Untrusted::Everybody);
    }
    Ok(mode & GROUP_WRITES != 0)
}

/// The whole of a file that may be believed.
///
/// # Errors
/// What the system says; an error with [`Untrusted`] in it; or it is no
/// regular file, or too large.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(path, MAX_FILE)
}

/// The same, of at most `limit` octets.
pub(super) fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    files::read_if(path, limit, |about| match check(about) {
        Ok(_) => Ok(()),
        Err(why) => Err(io::Error::other(why)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_or_roots_and_nobody_elses_to_write() {
        assert_eq!(judge(991, 0o100_600, 991), Ok(false));
        assert_eq!(judge(0, 0o040_755, 991), Ok(false));
        assert_eq!(judge(0, 0o042_775, 991), Ok(true), "fsGroup");
        assert_eq!(judge(991, 0o100_666, 991), Err(Untrusted::Everybody));
        assert_eq!(judge(991, 0o041_777, 991), Err(Untrusted::Everybody), "as /tmp");
        assert_eq!(judge(1000, 0o100_600, 991), Err(Untrusted::Owner { owner: 1000, us: 991 }));
        assert_eq!(judge(1000, 0o100_600, 0), Err(Untrusted::Owner { owner: 1000, us: 0 }));
    }

    #[test]
    fn what_never_ends_is_not_read() {
        for path in ["/dev/zero", "/dev/null", "/proc"] {
            let said = read(Path::new(path)).unwrap_err().to_string();
            assert!(said.contains("regular file"), "{path}: {said}");
        }
    }
}
