//! What this host's addresses are, and who its resolvers.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tracing::warn;

use crate::config::{Config, Listen};
use crate::host::aside::{self, Place};
use crate::host::files;
use crate::source::lookup;

/// A resolv.conf of more octets is none: glibc takes three servers of it.
const MAX_RESOLV_CONF: u64 = 64 << 10;

/// How long the disk has for it.
const WITHIN: Duration = Duration::from_secs(1);

/// The addresses under which we can be reached: those listened at, and for a
/// wildcard those of the host's interfaces, loopback only when there is no
/// other.
pub fn own_addresses(listen: &Listen) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for at in &listen.dns {
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
fn host_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        warn!(%error, "cannot list this host's addresses; give `nameservers` in each zone");
        Vec::new()
    });
    interfaces.iter().filter(|i| !i.is_link_local()).map(|i| i.ip()).collect()
}

/// Whom to ask for the endpoints of EC2: never ourselves.
pub fn aws_resolvers(config: &Config) -> Vec<SocketAddr> {
    resolvers(&config.server.aws_resolvers, &config.server.listen)
}

/// Whom this host asks itself, less ourselves; else the VPC's resolver.
pub fn host_resolvers(listen: &Listen) -> Vec<SocketAddr> {
    resolvers(&[], listen)
}

fn resolvers(configured: &[IpAddr], listen: &Listen) -> Vec<SocketAddr> {
    // A file that is not there, or does not come, names nobody.
    let read = |path: &'static str| {
        let path = Path::new(path);
        let reading = move || files::read(path, MAX_RESOLV_CONF).unwrap_or_default();
        let octets = aside::within(&Place::read(path), WITHIN, reading).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    };
    lookup::resolvers(
        configured,
        &read("/etc/resolv.conf"),
        &read("/run/systemd/resolve/resolv.conf"),
        &listen.dns,
        &host_addresses(),
    )
}
