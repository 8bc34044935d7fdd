//! What this process has from its host, each thing in one place.
//!
//! * [`often`]: messages that come many times a second.

pub mod often;
