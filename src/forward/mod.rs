//! Forwarding: what is not ours, from upstream resolvers, through a cache.
//!
//! ```text
//! Question -> Forwarder::cached ----------------------> compose -> reply
//!                 \ nothing known -> ask -> Ticket ..... /
//!                                     \ Driver: fetch -> Upstream -> Network
//! ```
//!
//! The left-hand side is synchronous, allocates nothing and takes the clock as
//! an argument: it is for the threads that serve. What has to be asked goes to
//! one task, the [`Driver`]. There is no resolver in here: the upstreams are
//! resolvers, and their messages pass through as they are ([`message`]).
//!
//! * [`wire`], [`message`], [`question`]: octets read and written.
//! * [`cache`], [`hit`], [`compose`](mod@compose): an answer kept, in hand, and sent.
//! * `upstream` with `health` and `watch`, `line`, `turns` and `pace`, and
//!   `network`: one upstream, whether it lives, whose turn it is, how to get
//!   there.
//! * `special`: names that are asked of nobody.
//! * `chain`, `svcb`: what of a reply has to be read to hand it on.
//! * `fetch`: one question among many upstreams; `flights` with `shares`: many
//!   clients for one question; `forwarder`: all of it together.
//! * Loops are seen by `probe`.

pub(crate) mod cache;
pub(crate) mod compose;
pub(crate) mod hit;
pub(crate) mod message;
pub(crate) mod question;
pub(crate) mod wire;

mod chain;
mod counters;
mod fetch;
mod flights;
mod forwarder;
mod health;
mod line;
mod network;
mod pace;
mod probe;
mod shares;
mod special;
mod svcb;
#[cfg(test)]
mod tests;
mod turns;
mod upstream;
mod watch;

pub use cache::{Cache, CacheStats};
pub use compose::{Edns, Query, compose};
pub use fetch::{DEADLINE, TRY};
pub use flights::{
    Load, MAX_FLIGHTS, MAX_REFRESHES, MAX_SOCKETS, MAX_WAITING, Shed, flights_within,
};
pub use forwarder::{Asked, CLIENT_PATIENCE, Driver, Forwarder, Ticket, failure};
pub use hit::{Age, Hit, STALE_TTL};
pub use message::Message;
pub use probe::{Looped, PROBE_WAIT};
pub use question::{OwnedQuestion, Question, Unforwardable};
pub(crate) use special::special;
pub use upstream::{UpstreamStatus, VPC_MAX_RATE, VPC_RESOLVERS};

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use crate::config::ForwardConfig;
use crate::dns::name::Key;
use upstream::Upstream;

/// Why a [`ForwardConfig`] cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody to ask.
    #[error("[[forward]] for {0} has no upstreams; name at least one")]
    NoUpstream(Key),
    /// Which of the two is meant?
    #[error("two [[forward]] are for {0}; keep one")]
    Twice(Key),
    /// Nothing could ever be sent.
    #[error("[[forward]] for {0} has max_rate 0; it must be at least 1")]
    NoRate(Key),
    /// Port 0, or no address of one host.
    #[error("[[forward]] for {name}: nothing can be sent to {upstream}; give a unicast address")]
    Address {
        /// The rule's first name.
        name: Key,
        /// The address.
        upstream: SocketAddr,
    },
}

/// Upstreams by index for each name, and the upstreams. An upstream that stands
/// in several rules is one: it has one health, the lowest of their rates, and
/// is checked with the shortest of their names.
type Routes = (HashMap<Key, Vec<usize>>, Vec<Upstream>);

fn routes(config: &ForwardConfig) -> Result<Routes, ConfigError> {
    let mut known: Vec<(SocketAddr, Key, Option<NonZeroU32>)> = Vec::new();
    let mut routes = HashMap::new();
    for rule in &config.rules {
        let name = rule.names.first().cloned().unwrap_or_else(Key::root);
        if rule.upstreams.is_empty() {
            return Err(ConfigError::NoUpstream(name));
        }
        let rate = match rule.max_rate {
            Some(0) => return Err(ConfigError::NoRate(name)),
            rate => rate.and_then(NonZeroU32::new),
        };
        let mut route: Vec<usize> = Vec::new();
        for upstream in &rule.upstreams {
            let ip = upstream.ip();
            if upstream.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
                return Err(ConfigError::Address { name, upstream: *upstream });
            }
            let at = known.iter().position(|(address, ..)| address == upstream);
            let at = at.unwrap_or_else(|| {
                known.push((*upstream, name.clone(), None));
                known.len() - 1
            });
            if let Some((_, checked, known)) = known.get_mut(at) {
                *known = [*known, rate].into_iter().flatten().min();
                if let Some(name) = shortest(&rule.names, checked) {
                    *checked = name.clone();
                }
            }
            if !route.contains(&at) {
                route.push(at);
            }
        }
        for name in &rule.names {
            if routes.insert(name.clone(), route.clone()).is_some() {
                return Err(ConfigError::Twice(name.clone()));
            }
        }
    }
    let upstream = |(address, name, rate)| Upstream::new(address, name, rate);
    Ok((routes, known.into_iter().map(upstream).collect()))
}

/// The shortest of these names, if it is shorter than `than`.
fn shortest<'n>(names: &'n [Key], than: &Key) -> Option<&'n Key> {
    let shortest = names.iter().min_by_key(|name| name.octets().len())?;
    (shortest.octets().len() < than.octets().len()).then_some(shortest)
}
