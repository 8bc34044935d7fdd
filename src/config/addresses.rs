//! Readers of addresses, with ports and without, and of prefixes.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::value::Value;
use super::words::quote;

/// An IP address.
pub(super) fn ip(v: &Value<'_>) -> Option<IpAddr> {
    let Some(text) = v.as_str() else {
        v.wrong("an IP address in quotes", &v.written("\"10.0.1.5\""));
        return None;
    };
    match text.parse() {
        Ok(ip) => unmapped(v, ip),
        Err(_) => {
            v.error(
                format!("{} in {} is not an IP address", quote(text), v.name()),
                "write an IPv4 or IPv6 address such as \"10.0.1.5\" or \"fd00::5\", without port or prefix length",
            );
            None
        }
    }
}

/// IPv4-mapped IPv6 addresses never arrive as such: they are refused rather
/// than silently matched by nothing.
fn unmapped(v: &Value<'_>, ip: IpAddr) -> Option<IpAddr> {
    if ip.to_canonical() != ip {
        v.error(
            format!("\"{ip}\" in {} is an IPv4 address written as IPv6", v.name()),
            format!("write \"{}\"", ip.to_canonical()),
        );
        return None;
    }
    Some(ip)
}

/// An IP address with a port. `example` is one, without quotes.
pub(super) fn socket(example: &str) -> impl Fn(&Value<'_>) -> Option<SocketAddr> {
    move |v| {
        let takes = "an IP address with a port";
        let written = v.written(&format!("\"{example}\""));
        let Some(text) = v.as_str() else {
            v.wrong(&format!("{takes} in quotes"), &written);
            return None;
        };
        if let Ok(found) = text.parse::<SocketAddr>() {
            return unmapped(v, found.ip()).map(|_| found);
        }
        let remedy = match text.parse::<IpAddr>() {
            Ok(ip) => format!("add the port, as in \"{}\"", SocketAddr::new(ip, 53)),
            Err(_) => format!("{written} (IPv6 as \"[fd00::53]:53\"); names are not looked up"),
        };
        v.error(format!("{} in {} is not {takes}", quote(text), v.name()), remedy);
        None
    }
}

/// An IP address, with a port or without: port 0 stands for every port.
pub(super) fn ip_or_socket(v: &Value<'_>) -> Option<SocketAddr> {
    match v.as_str().and_then(|text| text.parse::<SocketAddr>().ok()) {
        Some(found) => unmapped(v, found.ip()).map(|_| found),
        None => Some(SocketAddr::new(ip(v)?, 0)),
    }
}

/// An IP address, or a prefix.
pub(super) fn ip_or_prefix(v: &Value<'_>) -> Option<IpNet> {
    match v.as_str().and_then(|text| text.parse::<IpAddr>().ok()) {
        Some(found) => unmapped(v, found).map(IpNet::from),
        None => prefix(v),
    }
}

/// A prefix: an address and a length, with no bits set beyond it.
pub(super) fn prefix(v: &Value<'_>) -> Option<IpNet> {
    let Some(text) = v.as_str() else {
        v.wrong("a prefix in quotes", &v.written("\"10.0.0.0/8\""));
        return None;
    };
    let name = v.name();
    if let Ok(found) = text.parse::<IpNet>() {
        unmapped(v, found.addr())?;
        if found.trunc() != found {
            v.error(
                format!("{} in {name} has bits set beyond its length", quote(text)),
                format!(
                    "write \"{}\" for the network or \"{}\" for the one address",
                    found.trunc(),
                    IpNet::from(found.addr())
                ),
            );
            return None;
        }
        return Some(found);
    }
    let remedy = match text.parse::<IpAddr>() {
        Ok(ip) => format!("write \"{}\" for this one address", IpNet::from(ip)),
        Err(_) => "write an address and a length, as in \"10.0.0.0/8\" or \"fd00::/8\"".into(),
    };
    v.error(format!("{} in {name} is not a prefix", quote(text)), remedy);
    None
}
