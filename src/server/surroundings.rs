//! What is found around a configuration: the contents of address files, this
//! host's addresses, whom it asks itself, and the token of its peers. Reading that may wait for a disk,
//! so it is done beside the loop.

use std::net::{IpAddr, SocketAddr};

use crate::config::Config;
use crate::host::addresses::own_addresses;
use crate::http::{self, HttpError};
use crate::source::inventory::Inventory;
use crate::source::once;
use crate::source::resolvers::{aws_resolvers, host_resolvers};
use crate::status::board::peers::Token;

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
    /// The token that peers have; none: there are no peers.
    pub(super) peer_token: Result<Option<Token>, HttpError>,
}

impl Surroundings {
    /// Reads all of it.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            at_hand: once::at_hand(config),
            addresses: own_addresses(&config.server.listen.dns),
            aws_resolvers: aws_resolvers(config),
            host_resolvers: host_resolvers(&config.server.listen),
            peer_token: peer_token(config),
        }
    }
}

fn peer_token(config: &Config) -> Result<Option<Token>, HttpError> {
    let Some(peers) = &config.server.peers else { return Ok(None) };
    let path = &peers.token_file;
    let failed = |cause| HttpError::PeerToken { path: path.display().to_string(), cause };
    let token = http::read_peer_token(path, http::TOKEN).map_err(failed)?;
    Ok(Some(Token::new(&token)))
}
