//! What is found around a configuration: the contents of address files, this
//! host's addresses, and whom it asks itself. Reading that may wait for a disk,
//! so it is done beside the loop.

use std::net::{IpAddr, SocketAddr};

use crate::config::Config;
use crate::host::addresses::own_addresses;
use crate::source::inventory::Inventory;
use crate::source::once;
use crate::source::resolvers::{aws_resolvers, host_resolvers};

/// What a configuration needs to be carried out besides itself.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// What address files hold.
    pub(super) at_hand: Inventory,
    /// Our own addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// How the endpoints of EC2 are found: never through ourselves.
    pub(super) aws_resolvers: Vec<SocketAddr>,
    /// Whom this host asks itself, less ourselves.
    pub(super) host_resolvers: Vec<SocketAddr>,
}

impl Surroundings {
    /// Reads all of it.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            at_hand: once::at_hand(config),
            addresses: own_addresses(&config.server.listen.dns),
            aws_resolvers: aws_resolvers(config),
            host_resolvers: host_resolvers(&config.server.listen),
        }
    }
}
