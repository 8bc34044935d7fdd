//! eipdns: names that follow Elastic IPs.
//!
//! One direction of flow, one writer:
//!
//! ```text
//! poll:   source (ec2 | file) -> accept -> Inventory --changed?--> compile --Snapshot--> store
//! query:  octets -> store.load() ONCE -> its view's table -> answer -> octets
//! ```
//!
//! The parts, in the order of that flow. Start with [`snapshot`], the one
//! thing both halves share, then [`compile`] and [`answer`].
//!
//! * [`config`]: `zones/` as typed values; [`diag`]: what is wrong with it.
//! * [`records`]: the master files beside it.
//! * [`source`]: where addresses come from, and how losses are taken.
//! * [`state`]: what of it survives a restart.
//! * [`inventory`]: what the sources say right now.
//! * [`compile`]: configuration and inventory to a snapshot; pure.
//! * [`snapshot`]: an immutable, complete picture of every answer.
//! * [`store`]: the one place a snapshot is swapped.
//! * [`answer`]: octets in, octets out, against one snapshot; pure.
//! * [`forward`]: what is not ours, from upstream resolvers, through a cache.
//! * [`serve`]: UDP and TCP around `answer`.
//! * [`run`]: starts all of the above, reloads, drains.
//! * [`changes`], [`history`]: what a swap changes, and what has happened.
//! * [`explain`], [`dump`], [`wish`]: what is answered, for those who ask over HTTP
//!   or on the command line; [`offline`]: the same without a server.
//! * [`name`]: names as folded wire octets, the key of every table;
//!   [`name_map`]: such a table, cheap to copy; [`nodes`]: a zone's, with its
//!   prebuilt answers; [`spot`]: where a name stands in either.
//! * [`prefixes`]: client prefixes to views.
//! * [`counters`], [`histogram`]: what became of packets, and in what time.
//! * [`background`]: work that answers come before.
//! * [`host`]: what the process has from its host.
//! * [`text`]: text from outside, made fit to be shown.

#![deny(unsafe_code)]
// These panic when nobody reads: `cli/print.rs` has what does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod answer;
pub mod cli;
pub mod compile;
pub mod config;
pub mod diag;
pub mod dns;
pub mod forward;
pub mod host;
pub mod http;
pub mod records;
pub mod respond;
pub mod serve;
pub mod server;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod status;
pub mod store;
#[cfg(test)]
mod testing;
pub mod writer;
