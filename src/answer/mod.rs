//! The seam: octets in, octets out, against one snapshot.
//!
//! No socket, no clock, no lock. Fuzzers, tests and every transport call
//! the same function.

use std::net::SocketAddr;

/// Who asks, and at which of our addresses. Both with IPv4-mapped IPv6
/// addresses already turned into IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The client's address.
    pub client: SocketAddr,
    /// The address of ours the query arrived at.
    pub local: SocketAddr,
}

/// How the query came: decides nothing but the size of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// At most 512 octets, or what EDNS allows up to [`MAX_UDP`].
    Udp,
    /// At most 65,535 octets.
    Tcp,
}

/// The largest UDP answer, and what our OPT advertises: fits into every
/// path's MTU unfragmented (DNS flag day 2020).
pub const MAX_UDP: usize = 1232;
