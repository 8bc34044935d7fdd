//! Whom to ask for the endpoints of EC2, and whom this host asks itself: never us.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Listen};
use crate::host::addresses::host_addresses;
use crate::host::aside::{self, Place};
use crate::host::files;

/// A resolv.conf of more octets is none: glibc takes three servers of it.
const MAX_RESOLV_CONF: u64 = 64 << 10;

/// How long the disk has for it.
const WITHIN: Duration = Duration::from_secs(1);

/// The VPC's resolver, at every instance (VPC user guide, "DNS attributes").
const VPC_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253));

/// Where systemd-resolved answers, and forwards to servers that may be us.
const RESOLVED_STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

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
    choose(
        configured,
        &read("/etc/resolv.conf"),
        &read("/run/systemd/resolve/resolv.conf"),
        &listen.dns,
        &host_addresses(),
    )
}

/// The resolvers to ask: those configured; else those of `resolv_conf`
/// (resolv.conf(5)) that are not us; else the VPC's.
///
/// `listen` is where we answer and `local` what addresses this host has.
/// `behind_stub` is the resolv.conf of systemd-resolved's own servers
/// (`/run/systemd/resolve/resolv.conf`), which take its stub's place.
fn choose(
    configured: &[IpAddr],
    resolv_conf: &str,
    behind_stub: &str,
    listen: &[SocketAddr],
    local: &[IpAddr],
) -> Vec<SocketAddr> {
    let is_us = |server: &IpAddr| {
        let is_here = server.is_loopback() || local.contains(server);
        listen
            .iter()
            .any(|l| l.port() == 53 && (l.ip() == *server || l.ip().is_unspecified() && is_here))
    };
    let mut found = configured.to_vec();
    if found.is_empty() {
        found = nameservers(resolv_conf);
        if found.contains(&RESOLVED_STUB) {
            let real = nameservers(behind_stub);
            if !real.is_empty() {
                found = real;
            }
        }
        found.retain(|server| !is_us(server));
    }
    if found.is_empty() {
        found.push(VPC_RESOLVER);
    }
    found.into_iter().map(|server| SocketAddr::new(server, 53)).collect()
}

/// The addresses after `nameserver`; those with a zone index (`fe80::1%eth0`)
/// are left out.
fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next().filter(|word| *word == "nameserver")?;
            words.next()?.parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn it_is_never_us_that_is_asked() {
        let listen: Vec<SocketAddr> =
            ["10.0.0.53:53", "127.0.0.1:53", "[::1]:5300"].map(|a| a.parse().unwrap()).into();
        let any = ["0.0.0.0:53".parse().unwrap()];
        let local = ips(&["10.0.0.53", "10.0.0.99"]);
        let asked = |configured: &[&str], conf: &str, stub: &str, listen: &[SocketAddr]| {
            choose(&ips(configured), conf, stub, listen, &local)
                .into_iter()
                .map(|server| server.to_string())
                .collect::<Vec<_>>()
        };
        let conf = "# made by dhclient\nsearch ec2.internal\nnameserver 10.0.0.53\n\
                    nameserver 10.0.0.2\nnameserver fe80::1%eth0\noptions edns0\n";
        assert_eq!(asked(&[], conf, "", &listen), ["10.0.0.2:53"]);
        assert_eq!(asked(&[], conf, "", &[]), ["10.0.0.53:53", "10.0.0.2:53"]);
        assert_eq!(asked(&[], "nameserver 10.0.0.99", "", &listen), ["10.0.0.99:53"]);
        assert_eq!(asked(&[], "nameserver 10.0.0.99", "", &any), ["169.254.169.253:53"]);
        assert_eq!(asked(&[], "nameserver 127.0.0.9", "", &any), ["169.254.169.253:53"]);
        assert_eq!(asked(&[], "nameserver ::1", "", &listen), ["[::1]:53"], "at port 5300 only");
        assert_eq!(asked(&[], "", "", &listen), ["169.254.169.253:53"]);
        assert_eq!(asked(&["10.9.9.9"], conf, "", &listen), ["10.9.9.9:53"]);
        // systemd-resolved, which was told of us by DHCP.
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad";
        assert_eq!(asked(&[], stub, conf, &listen), ["10.0.0.2:53"]);
        assert_eq!(asked(&[], stub, "", &listen), ["127.0.0.53:53"]);
    }
}
