//! What this host's addresses are, and which of what is sent reaches ourselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use tracing::warn;

/// The addresses under which we can be reached: those listened at, and for a
/// wildcard those of the host's interfaces, loopback only when there is no
/// other.
pub(crate) fn own_addresses(listen: &[SocketAddr]) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for at in listen {
        if !at.ip().is_unspecified() {
            all.push(at.ip());
            continue;
        }
        let mut here = host_addresses();
        here.retain(|ip| ip.is_ipv6() == at.is_ipv6());
        let outside = here.iter().any(|ip| !ip.is_loopback());
        all.extend(here.iter().filter(|ip| !(outside && ip.is_loopback())));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The addresses of the host's interfaces, less link-local ones.
pub(crate) fn host_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        warn!(%error, "cannot list this host's addresses; give `nameservers` in each zone");
        Vec::new()
    });
    interfaces.iter().filter(|i| !i.is_link_local()).map(|i| i.ip()).collect()
}

/// Does what is sent to `upstream` arrive at a socket on `listen`?
pub(crate) fn reaches(upstream: SocketAddr, listen: SocketAddr) -> bool {
    let (to, at) = (upstream.ip().to_canonical(), listen.ip().to_canonical());
    upstream.port() == listen.port()
        && to.is_ipv4() == at.is_ipv4()
        && (to == at || at.is_unspecified() && is_on_this_host(to))
}

/// Beyond loopback, a host reaches itself with the very address as the source
/// too. Connecting a UDP socket looks up the route and sends nothing.
fn is_on_this_host(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, 53))?;
        socket.local_addr()
    };
    address.is_loopback() || source().is_ok_and(|source| source.ip() == address)
}
