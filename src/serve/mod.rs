//! Sockets around [`answer`](crate::answer): UDP workers and TCP connections.

use crate::answer::{Asker, Transport};

/// What a transport does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send the octets in `reply`.
    Send,
    /// Say nothing.
    Drop,
}

/// What stands behind the sockets. Each UDP worker and each TCP connection
/// owns a clone, so an implementation keeps its counters and caches to itself.
pub trait Respond: Clone + Send + 'static {
    /// Answers one request. `reply` comes empty, with room for the largest
    /// answer of the transport. Never blocks, never panics.
    fn respond(
        &mut self,
        asker: &Asker,
        transport: Transport,
        request: &[u8],
        reply: &mut Vec<u8>,
    ) -> Action;
}
