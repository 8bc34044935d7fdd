//! Which process holds an address we could not bind, as far as /proc tells.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bind::Protocol;

/// The state of a listening TCP socket in /proc/net/tcp: TCP_LISTEN.
const LISTENING: &str = "0A";

/// A process that holds an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name, as ps(1) shows it.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Finds the process whose socket keeps `address` from being bound. None if it
/// belongs to another user, whose descriptors only root may see.
pub(super) fn find(address: SocketAddr, protocol: Protocol) -> Option<Holder> {
    let tables: &[&str] = match (protocol, address.is_ipv4()) {
        // A socket of both families shows up in the second.
        (Protocol::Tcp, true) => &["/proc/net/tcp", "/proc/net/tcp6"],
        (Protocol::Tcp, false) => &["/proc/net/tcp6"],
        (Protocol::Udp, true) => &["/proc/net/udp", "/proc/net/udp6"],
        (Protocol::Udp, false) => &["/proc/net/udp6"],
    };
    let sockets = tables.iter().find_map(|table| {
        let found = conflicts(&fs::read_to_string(table).ok()?, address, protocol);
        (!found.is_empty()).then_some(found)
    })?;
    let sockets: Vec<String> = sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|fd| {
            fs::read_link(fd.path())
                .is_ok_and(|to| sockets.iter().any(|s| to.as_os_str() == s.as_str()))
        });
        let name = || fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        holds.then(|| Holder { pid, name: name().trim_end().to_owned() })
    })
}

/// The inodes of the sockets in `table` that keep `address` from being bound:
/// same port, and the same address or a wildcard on either side.
fn conflicts(table: &str, address: SocketAddr, protocol: Protocol) -> Vec<u64> {
    let conflict = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let local = parse(fields.nth(1)?)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let hit = local.port() == address.port()
            && (protocol == Protocol::Udp || state == LISTENING)
            && (local.ip() == address.ip()
                || local.ip().is_unspecified()
                || address.ip().is_unspecified());
        hit.then_some(inode)
    };
    table.lines().skip(1).filter_map(conflict).collect()
}

/// An address as /proc/net shows it: words of 32 bits in the host's order.
fn parse(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |text: &str| Some(u32::from_str_radix(text, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(ip)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (index, octets) in octets.chunks_exact_mut(4).enumerate() {
                octets.copy_from_slice(&word(ip.get(index * 8..index * 8 + 8)?)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn this_process_is_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (address, protocol) in
            [(tcp.local_addr().unwrap(), Protocol::Tcp), (udp.local_addr().unwrap(), Protocol::Udp)]
        {
            assert_eq!(find(address, protocol).unwrap().pid, std::process::id());
            let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            assert_eq!(find(wildcard, protocol).unwrap().pid, std::process::id());
            let other = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 9).into(), address.port());
            assert_eq!(find(other, protocol), None);
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn tables_are_read() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000   991        0 22871 1 0 100 0 0 10 5
   1: 0100007F:0035 0100007F:A2D4 01 00000000:00000000 00:00000000 00000000     0        0 31000 1 0 100 0 0 10 0
   2: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 555 1
   3: garbage
";
        let at = |text: &str| conflicts(table, text.parse().unwrap(), Protocol::Tcp);
        assert_eq!(at("0.0.0.0:53"), [22871, 555]);
        assert_eq!(at("127.0.0.53:53"), [22871, 555]);
        assert_eq!(at("127.0.0.1:53"), [555]);
        assert!(at("127.0.0.53:54").is_empty());
        assert_eq!(parse("00000000000000000000000001000000:1F90"), "[::1]:8080".parse().ok());
    }
}
