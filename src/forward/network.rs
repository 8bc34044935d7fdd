//! How a query reaches an upstream: sockets, or a script in tests.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::future::{BoxFuture, ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::counters::Counter;
use crate::dns::query::Outgoing;
use crate::host::descriptors::Share;

/// Room for a UDP reply: upstreams that ignore our 1232 octets stay below what
/// servers usually allow themselves.
const UDP_ROOM: usize = 4096;

/// So many datagrams on one socket that are no reply to its query are no
/// accident: somebody guesses. TCP cannot be guessed into.
const MAX_STRAYS: u32 = 32;

/// What carries a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Udp,
    Tcp,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    /// We have no socket for it: no fault of the upstream.
    #[error("no socket: {0}")]
    NoSocket(#[source] io::Error),
    /// The way there fails, or somebody at its end said no.
    #[error("{0}")]
    Unreachable(#[source] io::Error),
    /// Wrong replies without end.
    #[error("flooded with wrong replies")]
    Flooded,
    /// Over TCP, something else than a reply.
    #[error("a wrong reply over TCP")]
    Wrong,
}

impl NetworkError {
    /// What an error of a socket means. Descriptors, ports and memory that are
    /// used up say nothing about the upstream: a flood of questions can use
    /// them up.
    fn of(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(
                libc::EMFILE
                | libc::ENFILE
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EAGAIN
                | libc::EADDRINUSE
                | libc::EADDRNOTAVAIL,
            ) => Self::NoSocket(error),
            _ => Self::Unreachable(error),
        }
    }
}

/// Sends a query and waits, without limit, for its reply.
pub(crate) trait Network: Send + Sync {
    /// Returns a reply that [`Outgoing::is_answered_by`] accepts. `strays`
    /// counts datagrams that were none.
    fn exchange<'a>(
        &'a self,
        to: SocketAddr,
        via: Via,
        query: &'a Outgoing,
        strays: &'a Counter,
    ) -> BoxFuture<'a, Result<Vec<u8>, NetworkError>>;
}

/// The real network. Each query has a socket and so a port of its own, which
/// the system picks at random (RFC 5452 section 9.2); the socket is connected,
/// so only the upstream's address gets through, and its "port unreachable"
/// reaches us at once. Each socket is one of those that forwarding may have.
pub(crate) struct Sockets(pub(crate) Share);

impl Network for Sockets {
    fn exchange<'a>(
        &'a self,
        to: SocketAddr,
        via: Via,
        query: &'a Outgoing,
        strays: &'a Counter,
    ) -> BoxFuture<'a, Result<Vec<u8>, NetworkError>> {
        let Some(socket) = self.0.take() else {
            let most = self.0.most();
            let text = format!("all {most} that forwarding may have are in use");
            return Box::pin(ready(Err(NetworkError::NoSocket(io::Error::other(text)))));
        };
        Box::pin(async move {
            let _until_the_end = socket;
            match via {
                Via::Udp => udp(to, query, strays).await,
                Via::Tcp => tcp(to, query).await,
            }
        })
    }
}

async fn udp(to: SocketAddr, query: &Outgoing, strays: &Counter) -> Result<Vec<u8>, NetworkError> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(NetworkError::NoSocket)?;
    socket.connect(to).await.map_err(NetworkError::of)?;
    socket.send(query.octets()).await.map_err(NetworkError::of)?;
    let mut reply = vec![0; UDP_ROOM];
    for _ in 0..MAX_STRAYS {
        let len = socket.recv(&mut reply).await.map_err(NetworkError::of)?;
        if query.is_answered_by(reply.get(..len).unwrap_or_default()) {
            reply.truncate(len);
            return Ok(reply);
        }
        strays.add(1);
    }
    Err(NetworkError::Flooded)
}

async fn tcp(to: SocketAddr, query: &Outgoing) -> Result<Vec<u8>, NetworkError> {
    let mut stream = TcpStream::connect(to).await.map_err(NetworkError::of)?;
    // Length and query in one segment.
    let length = (query.octets().len() as u16).to_be_bytes();
    let framed = [&length, query.octets()].concat();
    stream.write_all(&framed).await.map_err(NetworkError::of)?;
    let length = stream.read_u16().await.map_err(NetworkError::of)?;
    let mut reply = vec![0; length.into()];
    stream.read_exact(&mut reply).await.map_err(NetworkError::of)?;
    match query.is_answered_by(&reply) {
        true => Ok(reply),
        false => Err(NetworkError::Wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_have_used_up_is_no_fault_of_the_upstream() {
        let is_ours = |code| {
            let error = NetworkError::of(io::Error::from_raw_os_error(code));
            matches!(error, NetworkError::NoSocket(_))
        };
        assert!([libc::EMFILE, libc::EADDRNOTAVAIL, libc::ENOBUFS].into_iter().all(is_ours));
        assert!(![libc::ECONNREFUSED, libc::ENETUNREACH, libc::EPERM].into_iter().any(is_ours));
        let early = NetworkError::of(io::ErrorKind::UnexpectedEof.into());
        assert!(matches!(early, NetworkError::Unreachable(_)), "its stream ended");
    }
}
