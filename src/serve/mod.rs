//! Sockets around [`answer`](crate::answer): UDP workers and TCP connections.
//!
//! ```text
//! bind(&Listen) -> Bound --start(responder)--> Listeners --prepare(&Listen), close, open--> Listeners --drain--> end
//! ```
//!
//! Everything is bound before anything runs, and nothing that stays configured
//! is ever closed: a reload binds the new addresses first, closes the removed
//! ones before the new answers are published, and answers at the new ones
//! after that.
//!
//! * [`listeners`]: owns all of it; starts, reloads, drains.
//! * [`mod@bind`]: addresses to sockets; `holder`: who has them already.
//! * `udp`: one thread per socket, over `sys`: batches of datagrams.
//! * `later`: answers that have to be waited for, sent by one task.
//! * `tcp`: accepts; `connection`: one client; `admit`: who may have one, by
//!   `places`: how many, and who makes room; `trouble`: when accepting fails.
//! * [`stats`]: what the sockets count.

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
    /// A clone for one more UDP worker, which runs as long as the process.
    fn worker(&self) -> Self {
        self.clone()
    }

    /// Does it answer `asker` with anything but REFUSED? Who is in no view has
    /// fewer connections and less time. Asked once for each TCP connection.
    fn is_known(&self, _asker: &Asker) -> bool {
        true
    }

    /// Answers one request. `reply` comes empty; over UDP it has room for
    /// [`MAX_UDP`](crate::dns::wire::MAX_UDP) octets, over TCP it grows as it is
    /// filled and keeps its memory for the next answer. Never blocks, never
    /// panics.
    fn respond(
        &mut self,
        asker: &Asker,
        transport: Transport,
        request: &[u8],
        reply: &mut Vec<u8>,
    ) -> Action;

    /// Answers requests that have come over UDP together, each as [`respond`]
    /// does: what is the same for all of them need be done only once.
    ///
    /// [`respond`]: Self::respond
    fn respond_together(&mut self, requests: &mut impl Together) {
        requests
            .each(|_, asker, request, reply| self.respond(asker, Transport::Udp, request, reply));
    }
}

/// Requests that have come together.
pub(crate) trait Together {
    /// Who sent the first, and all of them: to look ahead. None if there are
    /// too few for that to be worth it, or the first deserves no answer.
    fn ahead(&mut self) -> Option<(Asker, impl Iterator<Item = &[u8]>)>;

    /// Has each answered; with it comes the number it has, from 0, among those
    /// seen ahead. To be called once.
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
