//! What a name lookup brings: addresses, or why there are none.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) until: Instant,
}

/// Why a name has no address. Names of servers tell where to look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// It cannot be asked for.
    #[error("it is not a domain name")]
    NotAName,
    /// There is nobody to ask.
    #[error("there is no resolver to ask")]
    NoResolver,
    /// There is no such name.
    #[error("{server} says there is no such name")]
    NoSuchName {
        /// The resolver.
        server: SocketAddr,
    },
    /// There is one, without addresses.
    #[error("{server} says the name has no address")]
    NoAddress {
        /// The resolver.
        server: SocketAddr,
    },
    /// The last resolver asked could not answer.
    #[error("{server} answers {code}")]
    Refused {
        /// The resolver.
        server: SocketAddr,
        /// The response code.
        code: ResponseCode,
    },
    /// The last resolver asked did not answer.
    #[error("no answer from {server}")]
    NoAnswer {
        /// The resolver.
        server: SocketAddr,
    },
    /// The last resolver asked could not be reached.
    #[error("cannot ask {server}: {cause}")]
    Unreachable {
        /// The resolver.
        server: SocketAddr,
        /// What the system says.
        cause: String,
    },
}

impl LookupError {
    /// Would another resolver say the same?
    pub(super) fn is_final(&self) -> bool {
        matches!(self, LookupError::NoSuchName { .. } | LookupError::NoAddress { .. })
    }
}
