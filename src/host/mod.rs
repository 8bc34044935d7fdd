//! What this process has from its host, each thing in one place.
//!
//! * [`addresses`]: this host's own.
//! * [`aside`]: reading what may hang.
//! * [`descriptors`]: how many there are, and who may take how many.
//! * [`files`]: reading what somebody else writes.
//! * [`log`]: lines on their way to stderr; [`panics`]: what is said of a panic.
//! * [`often`]: messages that come many times a second.
//! * [`process`]: what the kernel counts of this process.
//! * [`pulse`]: whether a loop still turns.

pub mod addresses;
pub mod aside;
pub mod background;
pub mod descriptors;
pub mod files;
pub mod histogram;
pub mod log;
pub mod often;
pub mod panics;
pub mod process;
pub mod pulse;
pub mod text;
