//! Whom to ask for the endpoints of EC2, and whom this host asks itself: never us.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::lookup;
use crate::config::{Config, Listen};
use crate::host::addresses::host_addresses;
use crate::host::aside::{self, Place};
use crate::host::files;

/// A resolv.conf of more octets is none: glibc takes three servers of it.
const MAX_RESOLV_CONF: u64 = 64 << 10;

/// How long the disk has for it.
const WITHIN: Duration = Duration::from_secs(1);

/// Whom to ask for the endpoints of EC2: never ourselves.
pub(crate) fn aws_resolvers(config: &Config) -> Vec<SocketAddr> {
    resolvers(&config.server.aws_resolvers, &config.server.listen)
}

/// Whom this host asks itself, less ourselves; else the VPC's resolver.
pub(crate) fn host_resolvers(listen: &Listen) -> Vec<SocketAddr> {
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
