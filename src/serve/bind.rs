//! Addresses to sockets: TCP first, as the lock, then UDP.
//!
//! SO_REUSEPORT lets several sockets share a UDP address, one a worker. It
//! would also let a forgotten second process of the same user take part of the
//! queries in silence. TCP is bound without it, and before UDP: whoever has the
//! TCP port has the address.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::holder::{self, Holder};
use super::options::{self, Family};

/// Connections the kernel completes for us before we accept them. When there
/// are more, it drops their segments, and a client tries again after a second.
/// The kernel caps it at net.core.somaxconn, 4,096 since Linux 5.4.
pub(crate) const BACKLOG: i32 = 4096;

/// Octets asked for as receive buffer of each UDP socket. A query takes about
/// 800 octets of kernel memory: this holds some 10,000, a tenth of a second at
/// full load. The kernel gives at most net.core.rmem_max.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Octets asked for as send buffer of each UDP socket: a few batches of the
/// largest answers. The kernel gives at most net.core.wmem_max.
const SEND_BUFFER: usize = 1 << 20;

/// How long a UDP worker waits at most for room in the send buffer.
const SEND_WAIT: Duration = Duration::from_millis(200);

/// Fresh ports tried for port 0 until one is free for TCP and UDP alike. A
/// host where this many random ports are all taken has none to give.
const PORT_TRIES: usize = 16;

/// The half of an address that could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// UDP
    Udp,
    /// TCP
    Tcp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Why an address cannot be listened on. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// EADDRINUSE, and we know by whom.
    #[error(
        "cannot listen on {address} ({protocol}): {holder} already does; stop it, or give \
         listen.dns another address"
    )]
    Held {
        /// The address.
        address: SocketAddr,
        /// Its half.
        protocol: Protocol,
        /// Who has it.
        holder: Holder,
    },
    /// EADDRINUSE by ourselves: a new address overlaps an open one.
    #[error(
        "cannot listen on {address} ({protocol}): this server already listens on an address that \
         covers it or is covered by it; keep one of them, and restart to exchange them"
    )]
    Overlap {
        /// The address.
        address: SocketAddr,
        /// Its half.
        protocol: Protocol,
    },
    /// EADDRINUSE by we do not know whom.
    #[error(
        "cannot listen on {address} ({protocol}): another process already does; see who with \
         `ss -lnptu 'sport = :{}'` as root, stop it, or give listen.dns another address",
        address.port()
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Its half.
        protocol: Protocol,
    },
    /// EACCES or EPERM.
    #[error(
        "cannot listen on {address} ({protocol}): {cause}; a port below 1024 needs the capability \
         CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE; else: setcap \
         cap_net_bind_service=+ep on the program)"
    )]
    Denied {
        /// The address.
        address: SocketAddr,
        /// Its half.
        protocol: Protocol,
        /// What the system said.
        cause: io::Error,
    },
    /// Port 0, and no port is free for both TCP and UDP.
    #[error(
        "cannot listen on {address}: no port found in {PORT_TRIES} tries that is free for both \
         TCP and UDP; give listen.dns a port"
    )]
    NoPort {
        /// The address.
        address: SocketAddr,
    },
    /// Anything else the system refused.
    #[error("cannot listen on {address} ({protocol}): {step}: {cause}; {}", remedy(cause))]
    Failed {
        /// The address.
        address: SocketAddr,
        /// Its half.
        protocol: Protocol,
        /// What was tried.
        step: &'static str,
        /// What the system said.
        cause: io::Error,
    },
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => {
            "this host has that address family switched off: take it out of listen.dns"
        }
        Some(libc::EMFILE | libc::ENFILE) => "allow more open files (systemd: LimitNOFILE=)",
        Some(libc::EAGAIN) => "allow more threads (systemd: TasksMax=), or lower listen.workers",
        _ => "check this address in listen.dns",
    }
}

impl BindError {
    pub(super) fn new(
        address: SocketAddr,
        protocol: Protocol,
        step: &'static str,
        cause: io::Error,
    ) -> Self {
        match cause.kind() {
            io::ErrorKind::AddrInUse => match holder::find(address, protocol) {
                Some(holder) if holder.pid == std::process::id() => {
                    Self::Overlap { address, protocol }
                }
                Some(holder) => Self::Held { address, protocol, holder },
                None => Self::InUse { address, protocol },
            },
            io::ErrorKind::PermissionDenied => Self::Denied { address, protocol, cause },
            _ => Self::Failed { address, protocol, step, cause },
        }
    }

    fn in_use(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Overlap { .. } | Self::InUse { .. })
    }
}

/// The sockets of one address. Clients may connect and send from now on; the
/// kernel keeps it all until somebody reads.
#[derive(Debug)]
pub(super) struct Sockets {
    /// As it was asked for.
    pub configured: SocketAddr,
    /// As it is: with the port that port 0 became.
    pub address: SocketAddr,
    /// Non-blocking.
    pub tcp: TcpListener,
    /// One for each worker; blocking.
    pub udp: Vec<UdpSocket>,
    /// False if the host does not have the address yet (IP_FREEBIND).
    pub on_host: bool,
}

/// Binds TCP and `workers` UDP sockets on `configured`.
pub(super) fn address(configured: SocketAddr, workers: usize) -> Result<Sockets, BindError> {
    for _ in 0..PORT_TRIES {
        let (listener, on_host) = tcp(configured)?;
        let address = listener
            .local_addr()
            .map_err(|e| BindError::new(configured, Protocol::Tcp, "reading its port", e))?;
        match udp(address, on_host, workers) {
            Ok(udp) => return Ok(Sockets { configured, address, tcp: listener, udp, on_host }),
            // The port came from the kernel, for TCP only; UDP may be taken.
            Err(error) if configured.port() == 0 && error.in_use() => {}
            Err(error) => return Err(error),
        }
    }
    Err(BindError::NoPort { address: configured })
}

/// A listening TCP socket, and whether the host has its address.
fn tcp(address: SocketAddr) -> Result<(TcpListener, bool), BindError> {
    let fail = |step| move |cause| BindError::new(address, Protocol::Tcp, step, cause);
    let socket = socket(address, Type::STREAM).map_err(fail("opening a socket"))?;
    // Connections of our predecessor in TIME_WAIT are no reason to wait; a
    // second listener is still refused.
    socket.set_reuse_address(true).map_err(fail("setting SO_REUSEADDR"))?;
    let on_host = bind(&socket, address).map_err(fail("binding"))?;
    // Listening is part of the lock: until then, Linux lets two bind.
    socket.listen(BACKLOG).map_err(fail("listening"))?;
    socket.set_nonblocking(true).map_err(fail("setting O_NONBLOCK"))?;
    Ok((socket.into(), on_host))
}

/// `count` UDP sockets that share `address`; the caller holds its TCP half.
pub(super) fn udp(
    address: SocketAddr,
    on_host: bool,
    count: usize,
) -> Result<Vec<UdpSocket>, BindError> {
    let fail = |step| move |cause| BindError::new(address, Protocol::Udp, step, cause);
    let one = || {
        let socket = socket(address, Type::DGRAM).map_err(fail("opening a socket"))?;
        let family = Family::of(&address);
        socket.set_reuse_port(true).map_err(fail("setting SO_REUSEPORT"))?;
        if address.ip().is_unspecified() {
            options::tell_destination(&socket, family).map_err(fail("setting IP_PKTINFO"))?;
        }
        // A kernel that does not know the option behaves as of old, which
        // answers of MAX_UDP octets survive too.
        if let Err(error) = options::distrust_path_mtu(&socket, family) {
            tracing::debug!(%address, %error, "IP_MTU_DISCOVER not available");
        }
        enlarge_buffers(&socket).map_err(fail("setting the buffer sizes"))?;
        socket.set_write_timeout(Some(SEND_WAIT)).map_err(fail("setting SO_SNDTIMEO"))?;
        if !on_host {
            freebind(&socket, address).map_err(fail("setting IP_FREEBIND"))?;
        }
        bind(&socket, address).map_err(fail("binding"))?;
        Ok(socket.into())
    };
    (0..count).map(|_| one()).collect()
}

fn socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        // [::] and 0.0.0.0 are two addresses, each with its own sockets.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Binds, on an address the host does not have yet if need be: says whether it
/// has it.
fn bind(socket: &Socket, address: SocketAddr) -> io::Result<bool> {
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            freebind(socket, address)?;
            socket.bind(&address.into())?;
            Ok(false)
        }
        result => result.map(|()| true),
    }
}

fn freebind(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv4() { socket.set_freebind_v4(true) } else { socket.set_freebind_v6(true) }
}

/// Asks for larger buffers; never makes them smaller than the host's default.
fn enlarge_buffers(socket: &Socket) -> io::Result<()> {
    if socket.recv_buffer_size()? < RECEIVE_BUFFER {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    if socket.send_buffer_size()? < SEND_BUFFER {
        socket.set_send_buffer_size(SEND_BUFFER)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:0";

    fn any_port() -> Sockets {
        address(LOOPBACK.parse().unwrap(), 2).unwrap()
    }

    #[test]
    fn port_0_is_one_port_for_all() {
        let bound = any_port();
        assert_ne!(bound.address.port(), 0);
        assert_eq!(bound.tcp.local_addr().unwrap(), bound.address);
        assert_eq!(bound.udp.len(), 2);
        for udp in &bound.udp {
            assert_eq!(udp.local_addr().unwrap(), bound.address);
        }
    }

    #[test]
    fn the_tcp_half_is_the_lock() {
        let first = any_port();
        // The UDP half alone could be shared; that is the trap.
        assert_eq!(udp(first.address, true, 1).unwrap().len(), 1);
        let second = address(first.address, 1).unwrap_err();
        assert!(matches!(second, BindError::Overlap { protocol: Protocol::Tcp, .. }), "{second}");
    }

    #[test]
    fn a_taken_udp_port_is_an_error_that_names_it() {
        // An address of its own: the TCP half must be free.
        let taken = UdpSocket::bind("127.0.0.77:0").unwrap();
        let port = taken.local_addr().unwrap();
        let error = address(port, 1).unwrap_err();
        assert!(matches!(error, BindError::Overlap { protocol: Protocol::Udp, .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("cannot listen on {port} (UDP): ")));
    }

    #[test]
    fn an_address_not_on_the_host_is_bound_and_said() {
        // TEST-NET-1 and the documentation prefix: on no host.
        for text in ["192.0.2.53:0", "[2001:db8::53]:0"] {
            match address(text.parse().unwrap(), 1) {
                Ok(bound) => assert!(!bound.on_host, "{text}"),
                Err(BindError::Failed { cause, .. })
                    if cause.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(any_port().on_host);
    }

    #[test]
    fn buffers_are_never_below_the_default() {
        let default = UdpSocket::bind(LOOPBACK).unwrap();
        let default = socket2::SockRef::from(&default).recv_buffer_size().unwrap();
        let bound = any_port();
        for udp in &bound.udp {
            assert!(socket2::SockRef::from(udp).recv_buffer_size().unwrap() >= default);
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let address = "192.0.2.1:53".parse().unwrap();
        let error = |code| {
            let cause = io::Error::from_raw_os_error(code);
            BindError::new(address, Protocol::Tcp, "binding", cause).to_string()
        };
        assert_eq!(
            error(libc::EACCES),
            "cannot listen on 192.0.2.1:53 (TCP): Permission denied (os error 13); a port below \
             1024 needs the capability CAP_NET_BIND_SERVICE (systemd: \
             AmbientCapabilities=CAP_NET_BIND_SERVICE; else: setcap cap_net_bind_service=+ep on \
             the program)"
        );
        assert_eq!(
            error(libc::EMFILE),
            "cannot listen on 192.0.2.1:53 (TCP): binding: Too many open files (os error 24); \
             allow more open files (systemd: LimitNOFILE=)"
        );
        assert_eq!(
            BindError::InUse { address, protocol: Protocol::Udp }.to_string(),
            "cannot listen on 192.0.2.1:53 (UDP): another process already does; see who with `ss \
             -lnptu 'sport = :53'` as root, stop it, or give listen.dns another address"
        );
        let holder = Holder { pid: 812, name: "dnsmasq".into() };
        assert_eq!(
            BindError::Held { address, protocol: Protocol::Udp, holder }.to_string(),
            "cannot listen on 192.0.2.1:53 (UDP): dnsmasq (pid 812) already does; stop it, or give \
             listen.dns another address"
        );
    }
}
