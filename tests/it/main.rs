//! The integration tests, as one binary: the crate is linked once.
//!
//! `tests/run` runs them with every peer installed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop where it stands"
)]

mod alerts;
mod answers;
mod atomic;
mod authority;
mod changes;
mod checking;
mod commands;
mod crowd;
#[cfg(feature = "ec2")]
mod ec2;
mod edge;
mod fixtures;
mod forward;
mod hanging;
mod harness;
mod ipv6;
mod logs;
mod metrics;
mod peers;
mod readme;
mod reload;
mod replicas;
mod resolving;
mod reverse;
mod rooms;
mod serials;
mod tags;
mod unusable;
mod watching;
