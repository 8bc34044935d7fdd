//! What this process has from its host, each thing in one place.
//!
//! * [`often`]: messages that come many times a second.
//! * [`pulse`]: whether a loop still turns.

pub mod often;
pub mod pulse;
