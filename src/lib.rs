//! eipdns: names that follow Elastic IPs.
//!
//! One direction of flow, one writer:
//!
//! ```text
//! poll:   source (ec2 | file) -> accept -> writer -> compile (pure) --Snapshot--> store
//! query:  serve -> respond: store.load() ONCE -> its view's table -> answer -> octets
//!                                     \ not ours, not cached -> forward (async, bounded)
//! ```
//!
//! The rooms, from the ground to the roof: each uses what is below it, and nothing
//! above (`tests/it/rooms.rs` holds that). Start with [`snapshot`], the one thing
//! both halves share, then [`compile`] and [`answer`].
//!
//! * [`host`]: what the process has from its host: clock and files, threads for slow
//!   work, descriptors, the log. [`diag`]: what is wrong with a configuration.
//! * [`dns`]: names as folded wire octets, constants of messages, OPT, EDE, our queries.
//! * [`records`]: master files.
//! * [`config`]: `zones/` as typed values.
//! * [`source`]: where addresses come from, how losses are taken, and the inventory:
//!   what the sources say right now.
//! * [`state`]: what of it survives a restart.
//! * [`snapshot`]: an immutable, complete picture of every answer of our own; data only.
//! * [`forward`]: what is not ours, from upstream resolvers, through a cache.
//! * [`answer`]: the seam: octets in, octets out, against one snapshot; pure.
//! * [`compile`]: configuration and inventory to a snapshot, and what that changes;
//!   pure.
//! * [`store`]: what is current, swapped in one step.
//! * [`serve`]: sockets, UDP and TCP.
//! * [`respond`]: what stands behind every socket: one load, one answer, one count.
//! * [`writer`]: the one writer; the history, and who keeps the state on disk.
//! * [`status`]: what the surfaces read.
//! * [`http`]: health, metrics, status, refresh, reload.
//! * [`peers`]: the other replicas: they are told to look, and asked what they answer.
//! * [`server`]: starts all of the above, reloads, drains.
//! * [`cli`]: the commands.
//!
//! Every call of the AWS SDK is in a crate above this one, `aws/`, which the program
//! [installs](source::ec2::install).

#![deny(unsafe_code)]
// These panic when nobody reads: `cli/print.rs` has what does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod answer;
pub mod cli;
mod compile;
pub mod config;
pub mod diag;
pub mod dns;
pub mod forward;
pub mod host;
mod http;
mod peers;
pub mod records;
mod respond;
mod serve;
mod server;
pub mod snapshot;
pub mod source;
pub mod state;
mod status;
mod store;
#[cfg(test)]
mod testing;
pub mod writer;
