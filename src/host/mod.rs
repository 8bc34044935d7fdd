//! What this process has from its host, each thing in one place.
//!
//! * [`addresses`]: this host's own.
//! * [`aside`]: reading what may hang.
//! * [`client`]: whom limits count as one.
//! * [`descriptors`]: how many there are, and who may take how many.
//! * [`files`]: reading what somebody else writes.
//! * [`log`]: lines on their way to stderr; [`panics`]: what is said of a panic.
//! * [`often`]: messages that come many times a second.
//! * [`process`]: what the kernel counts of this process.
//! * [`pulse`]: whether a loop still runs.
//! * [`timer`]: a moment that there may not be.

pub(crate) mod addresses;
pub mod aside;
pub(crate) mod background;
pub(crate) mod client;
pub mod descriptors;
pub mod files;
pub(crate) mod histogram;
pub(crate) mod log;
pub mod often;
pub(crate) mod panics;
pub(crate) mod process;
pub(crate) mod pulse;
pub mod text;
pub(crate) mod timer;
