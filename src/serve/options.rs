//! Options of UDP sockets: which address a datagram came to, and paths whose MTU
//! is too small for an answer.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use super::sys::set;

/// How often one answer is tried in fragments.
const FRAGMENTING: usize = 3;

/// The kind of a socket's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// That of `address`.
    pub(super) fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Has the kernel say which address each datagram was sent to (RFC 3542
/// section 4 for IPv6, ip(7) for IPv4).
pub(super) fn tell_destination(socket: &impl AsFd, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        Family::V6 => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Has the socket believe no claim about a path's MTU: a "fragmentation needed"
/// can be forged, and our answers are small enough for every path as it is.
///
/// Over IPv4 datagrams go out with "don't fragment", as RFC 9715 section 3.1 wants
/// it; that also saves the kernel making up an identification for each. It has a
/// price: the kernel notes such claims, for other sockets that believe them.
pub(super) fn distrust_path_mtu(socket: &impl AsFd, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        // Whatever a link takes, it takes 1,280 octets (RFC 8200 section 5).
        Family::V6 => {
            set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
        }
    }
}

/// Sends. What our own link has no room for (EMSGSIZE) goes out in fragments:
/// that is better than no answer.
pub(super) fn fragmenting<T>(
    socket: &UdpSocket,
    mut send: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let is_too_long = |sent: &io::Result<T>| {
        sent.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EMSGSIZE))
    };
    let mut sent = send();
    if !is_too_long(&sent) || Family::of(&socket.local_addr()?) == Family::V6 {
        return sent;
    }
    // Several times, if another thread that shares the socket ends this
    // meanwhile.
    for _ in 0..FRAGMENTING {
        set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)?;
        sent = send();
        if !is_too_long(&sent) {
            break;
        }
    }
    // Where that fails, the next ones may be cut on their way: no loss.
    let _ = distrust_path_mtu(socket, Family::V4);
    sent
}
