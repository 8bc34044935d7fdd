//! Sockets around [`answer`](crate::answer): UDP workers and TCP connections.
//!
//! ```text
//! bind(&Listen) -> Bound --start(responder)--> Listeners --prepare(&Listen), close, open--> Listeners --drain--> end
//! ```
//!
//! All addresses are bound before anything runs, and no socket of an address that
//! stays configured is ever closed. A reload binds the new addresses first, closes
//! the removed ones before the new answers are published, and answers at the new
//! ones after that.
//!
//! * [`listeners`]: owns all of it; starts, reloads, drains. `endpoint`: what runs
//!   behind one address.
//! * [`mod@bind`]: addresses to sockets; `holder`: which process has one already.
//! * `udp`: one thread per socket. Its system calls are in `sys`, which takes a batch
//!   of datagrams from one recvmmsg, and in `options`.
//! * `later`: answers over UDP that an upstream is asked for, sent by one task.
//! * `tcp`: accepts connections. `connection`: requests in and answers out, over any
//!   stream. `admit` with [`places`]: how many there may be, and which is closed for
//!   a new one. `trouble`: errors of accept(2).
//! * [`stats`]: what is counted at the sockets.

pub(crate) mod admit;
pub(crate) mod bind;
mod connection;
mod endpoint;
mod holder;
mod later;
pub(crate) mod listeners;
mod options;
pub(crate) mod places;
pub(crate) mod stats;
mod sys;
mod tcp;
pub(crate) mod trouble;
mod udp;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::pin::Pin;

use futures_util::Stream;

use crate::answer::{Asker, Transport};

pub(crate) use bind::BindError;
pub(crate) use endpoint::Failure;
pub(crate) use listeners::{Bound, Listeners, Opened, bind};
pub(crate) use stats::Stats;

/// What a transport does with a request.
pub(crate) enum Action {
    /// Send the octets in `reply`.
    Send,
    /// Say nothing.
    Drop,
    /// Send these messages as they come: the answer is not at hand yet, or is
    /// more than one message.
    Later(Messages),
}

/// The messages of an answer, in order; none if nothing is to be sent after all.
/// The first comes, or the end, within seconds and by itself. Where messages
/// share a connection, no further one is asked for before the client has taken
/// most of those before; over UDP none is. May be dropped at any time.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>;

/// What stands behind the sockets. Each UDP worker and each TCP connection
/// owns a clone, so an implementation keeps its counters and caches to itself.
pub(crate) trait Respond: Clone + Send + 'static {
    /// A clone for one more UDP worker.
    fn worker(&self) -> Self {
        self.clone()
    }

    /// Is `asker` answered with anything but REFUSED? Clients in no view have fewer
    /// connections and less time. Called once for each connection.
    fn is_known(&self, _asker: &Asker) -> bool {
        true
    }

    /// Answers one request. `reply` comes empty; over UDP it has room for
    /// [`MAX_UDP`](crate::dns::wire::MAX_UDP) octets, over others it grows as it is
    /// filled and keeps its memory for the next answer. Never blocks, never
    /// panics.
    fn respond(
        &mut self,
        asker: &Asker,
        transport: Transport,
        request: &[u8],
        reply: &mut Vec<u8>,
    ) -> Action;

    /// Answers a batch from one recvmmsg, each request as [`respond`](Self::respond)
    /// does; what is the same for all of them need be done only once.
    fn respond_to_batch(&mut self, requests: &mut impl RequestBatch) {
        requests
            .each(|_, asker, request, reply| self.respond(asker, Transport::Udp, request, reply));
    }
}

/// The requests of a batch from one recvmmsg.
pub(crate) trait RequestBatch {
    /// Who sent the first, and the octets of all: to read them ahead. None if they
    /// are too few for that to be worth it, or the first gets no answer.
    fn ahead(&mut self) -> Option<(Asker, impl Iterator<Item = &[u8]>)>;

    /// Has each answered, with its number, from 0, among those of
    /// [`ahead`](Self::ahead). To be called once.
    fn each(&mut self, answer: impl FnMut(usize, &Asker, &[u8], &mut Vec<u8>) -> Action);
}

/// `address`, with an IPv4-mapped IPv6 address turned into IPv4.
#[inline]
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(mapped) => match mapped.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), mapped.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}
