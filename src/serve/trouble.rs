//! What an error of accept(2) means.

use std::io;
use std::time::Duration;

/// The wait after accept(2) failed for want of descriptors or memory. The connection
/// stays in the backlog, so trying again at once would only spin.
pub(crate) const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Did accept(2) report what had happened to a connection before it was
/// accepted? Then the next one may be fine.
pub(crate) fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::ECONNRESET | libc::EPROTO | libc::EPERM | libc::EINTR)
    )
}

/// Is there no descriptor or memory for another one, so that closing one helps?
pub(crate) fn is_want_of_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
