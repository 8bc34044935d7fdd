//! Constants of messages on the wire.

/// Octets of a message's header (RFC 1035 section 4.1.1).
pub const HEADER: usize = 12;

/// The largest UDP answer, and what our OPT advertises: fits into every path's
/// MTU unfragmented (DNS flag day 2020).
pub const MAX_UDP: usize = 1232;
