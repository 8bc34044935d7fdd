//! The system calls no safe crate offers: datagrams in batches, and options of
//! sockets. The only `unsafe` of the crate.

#![expect(
    unsafe_code,
    reason = "socket2 and rustix have no recvmmsg, sendmmsg, IP_PKTINFO and IP_MTU_DISCOVER"
)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::slice;

use libc::{c_int, c_void, mmsghdr, msghdr, socklen_t};

use crate::answer::MAX_BATCH;
use crate::dns::wire::MAX_UDP;

/// Datagrams per system call: 64. The call itself is then a small part of what each
/// costs; more would only evict each other from the cache.
pub(super) const BATCH: usize = MAX_BATCH;

/// Octets of the longest request taken: what our OPT says we take (RFC 6891
/// section 6.2.4). Queries stay far below; the kernel cuts what is longer and
/// says so. Short slots keep a batch in few pages of memory.
pub(super) const MAX_REQUEST: usize = MAX_UDP;

/// Octets for control messages: one PKTINFO of either family (40) fits.
const CONTROL: usize = 64;

/// Octets for the sender's address: of the longer family.
const NAME_SIZE: socklen_t = mem::size_of::<libc::sockaddr_in6>() as socklen_t;

/// How long [`Batch::receive`] waits for the first datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until there is one, or the socket is shut down for reading.
    ForOne,
    /// Not at all.
    Never,
}

/// One received datagram.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    /// Who sent it.
    pub client: SocketAddr,
    /// The address it was sent to, on a wildcard socket.
    pub local: Option<IpAddr>,
    /// It was longer than [`MAX_REQUEST`]; the rest is lost.
    pub cut: bool,
    /// Its payload.
    pub octets: &'a [u8],
    /// What the way back needs besides the client's address.
    control: &'a [u8],
}

impl Datagram<'_> {
    /// An empty one.
    #[cfg(test)]
    pub(crate) fn of(client: SocketAddr, cut: bool) -> Self {
        Self { client, local: None, cut, octets: &[], control: &[] }
    }

    /// How an answer that comes later finds its way.
    pub(super) fn way_back(&self) -> WayBack {
        let mut control = [0; CONTROL];
        let length = self.control.len().min(CONTROL);
        control[..length].copy_from_slice(&self.control[..length]);
        WayBack { client: self.client, control: Control(control), length }
    }
}

/// Where an answer goes, and from which of our addresses.
#[derive(Debug, Clone)]
pub(super) struct WayBack {
    client: SocketAddr,
    /// As the kernel filled it for the request, its first `length` octets.
    control: Control,
    length: usize,
}

/// Aligned for a `cmsghdr`.
#[derive(Debug, Clone)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);
const _: () = assert!(mem::align_of::<Control>() >= mem::align_of::<libc::cmsghdr>());

/// Sends one answer, without waiting for room in the socket's buffer.
pub(super) fn send(socket: &UdpSocket, octets: &[u8], back: &mut WayBack) -> io::Result<()> {
    let client = socket2::SockAddr::from(back.client);
    let mut vector =
        libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
    // SAFETY: a msghdr is integers and raw pointers: zero octets are valid.
    let mut header = unsafe { mem::zeroed::<msghdr>() };
    header.msg_name = client.as_ptr().cast_mut().cast();
    header.msg_namelen = client.len();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if back.length > 0 {
        header.msg_control = back.control.0.as_mut_ptr().cast();
        header.msg_controllen = back.length as _;
    }
    // SAFETY: the header points at an address, a vector, octets and control
    // messages that live until the call returns, with their true sizes; the
    // kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the kernel writes for one datagram, and what it reads for its answer.
/// Laid out so that a query takes two or three lines of a processor's cache.
#[repr(C, align(64))]
struct Slot {
    request: libc::iovec,
    reply: libc::iovec,
    name: libc::sockaddr_in6,
    octets: [u8; MAX_REQUEST],
    control: Control,
}

/// Room for [`BATCH`] datagrams and their answers, allocated once.
///
/// An answer goes out with the very address and PKTINFO its request came with,
/// so nothing is converted back and forth.
pub(super) struct Batch {
    wildcard: bool,
    /// Owns the slots. Used through `first` only: the headers point into them.
    _slots: Vec<Slot>,
    first: *mut Slot,
    inbound: Vec<mmsghdr>,
    /// How many of `inbound` the kernel filled last.
    received: usize,
    outbound: Vec<mmsghdr>,
    /// How many of `outbound` hold an answer, and how many of them are done.
    queued: usize,
    done: usize,
    replies: Vec<Vec<u8>>,
}

impl Batch {
    /// For a socket that is bound to the wildcard address, or not.
    pub(super) fn new(wildcard: bool) -> Self {
        // SAFETY: a Slot is integers, arrays of them and raw pointers, for
        // all of which zero octets are a valid value.
        let mut slots: Vec<Slot> = (0..BATCH).map(|_| unsafe { mem::zeroed() }).collect();
        // SAFETY: as above, an mmsghdr is integers and raw pointers.
        let header = || unsafe { mem::zeroed::<mmsghdr>() };
        let mut batch = Self {
            wildcard,
            first: slots.as_mut_ptr(),
            _slots: slots,
            inbound: (0..BATCH).map(|_| header()).collect(),
            received: 0,
            outbound: (0..BATCH).map(|_| header()).collect(),
            queued: 0,
            done: 0,
            replies: (0..BATCH).map(|_| Vec::with_capacity(MAX_UDP)).collect(),
        };
        for (index, header) in batch.inbound.iter_mut().enumerate() {
            // SAFETY: `index` < BATCH, the number of slots; no reference into
            // a slot exists.
            unsafe {
                let slot = batch.first.add(index);
                (*slot).request = libc::iovec {
                    iov_base: (&raw mut (*slot).octets).cast::<c_void>(),
                    iov_len: MAX_REQUEST,
                };
                header.msg_hdr.msg_iov = &raw mut (*slot).request;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_name = (&raw mut (*slot).name).cast();
            }
        }
        batch.received = BATCH;
        batch.rearm();
        batch
    }

    /// Gives back to the kernel what it used up in the last batch: the sizes
    /// of the rooms for the addresses and control messages.
    fn rearm(&mut self) {
        for (index, header) in self.inbound.iter_mut().take(self.received).enumerate() {
            let header = &mut header.msg_hdr;
            header.msg_namelen = NAME_SIZE;
            header.msg_flags = 0;
            if self.wildcard {
                // SAFETY: `index` < BATCH, the number of slots; only an
                // address is taken.
                header.msg_control = unsafe { (&raw mut (*self.first.add(index)).control).cast() };
                header.msg_controllen = CONTROL as _;
            }
        }
        self.received = 0;
    }

    /// Receives up to [`BATCH`] datagrams and forgets those of before. Waits
    /// for the first only.
    pub(super) fn receive(&mut self, socket: &UdpSocket, wait: Wait) -> io::Result<usize> {
        self.rearm();
        let flags = match wait {
            Wait::ForOne => libc::MSG_WAITFORONE,
            Wait::Never => libc::MSG_DONTWAIT,
        };
        // SAFETY: the headers are BATCH long; each points at the address,
        // control, vector and octets of its own slot with their true sizes;
        // the slots live as long as `self` and nothing refers to them now.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.inbound.as_mut_ptr(),
                BATCH as _,
                flags as _,
                ptr::null_mut(),
            )
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// How many datagrams were received last.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// The first datagram received last; none if it isn't from an IP address.
    pub(super) fn first(&mut self) -> Option<Datagram<'_>> {
        let header = self.inbound.get_mut(..self.received)?.first_mut()?;
        // SAFETY: the kernel has filled the first slot as its header says, and
        // nobody writes to it while `self` is borrowed.
        unsafe { datagram(self.first, header) }
    }

    /// The octets of each datagram received last.
    pub(super) fn requests(&self) -> impl Iterator<Item = &[u8]> {
        self.inbound.iter().take(self.received).enumerate().map(|(index, header)| {
            let length = (header.msg_len as usize).min(MAX_REQUEST);
            // SAFETY: `index` < BATCH, the number of slots; the kernel has
            // written `length` octets to this one, and nobody writes to it
            // while `self` is borrowed.
            unsafe {
                let slot = self.first.add(index);
                slice::from_raw_parts((&raw const (*slot).octets).cast(), length)
            }
        })
    }

    /// Shows each datagram received last to `answer`, with its number among the
    /// [`requests`](Self::requests) and an empty reply. If it says `true`, the
    /// reply is queued. Forgets what was queued before.
    pub(super) fn answer(
        &mut self,
        mut answer: impl FnMut(usize, &Datagram<'_>, &mut Vec<u8>) -> bool,
    ) {
        self.queued = 0;
        self.done = 0;
        let received = self.inbound.iter_mut().take(self.received);
        for (index, (inbound, reply)) in received.zip(&mut self.replies).enumerate() {
            // SAFETY: `index` < BATCH, the number of slots.
            let slot = unsafe { self.first.add(index) };
            // SAFETY: the kernel has filled the slot as the header says; the
            // datagram borrows it only until the next lines are done.
            let Some(datagram) = (unsafe { datagram(slot, inbound) }) else { continue };
            reply.clear();
            if !answer(index, &datagram, reply) {
                continue;
            }
            let Some(outbound) = self.outbound.get_mut(self.queued) else { break };
            self.queued += 1;
            // SAFETY: only this slot's address and control message are handed
            // on, both as the kernel filled them, and the octets of `reply`,
            // which stay in place until the next call of `answer`.
            unsafe {
                (*slot).reply = libc::iovec {
                    iov_base: reply.as_mut_ptr().cast::<c_void>(),
                    iov_len: reply.len(),
                };
                outbound.msg_hdr.msg_iov = &raw mut (*slot).reply;
            }
            outbound.msg_hdr.msg_iovlen = 1;
            outbound.msg_hdr.msg_name = inbound.msg_hdr.msg_name;
            outbound.msg_hdr.msg_namelen = inbound.msg_hdr.msg_namelen;
            let control = datagram.local.is_some();
            outbound.msg_hdr.msg_control =
                if control { inbound.msg_hdr.msg_control } else { ptr::null_mut() };
            outbound.msg_hdr.msg_controllen =
                if control { inbound.msg_hdr.msg_controllen } else { 0 };
        }
    }

    /// How many answers are queued and neither sent nor skipped.
    pub(super) fn unsent(&self) -> usize {
        self.queued - self.done
    }

    /// Sends what is queued, as far as the kernel takes it: at least one, or
    /// the error of the first.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let Some(rest) = self.outbound.get_mut(self.done..self.queued) else { return Ok(0) };
        if rest.is_empty() {
            return Ok(0);
        }
        // SAFETY: every header of `rest` was filled by `answer` since the
        // last `receive`-and-`answer` round began: name and control point
        // into living slots, the vector at a reply that is untouched since.
        let count =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as _, 0) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.done += count;
        Ok(count)
    }

    /// Gives up the first queued answer.
    pub(super) fn skip(&mut self) {
        self.done = (self.done + 1).min(self.queued);
    }
}

/// What the kernel left in `slot`; none if it isn't from an IP address.
///
/// # Safety
/// `slot` must be filled as `header` says, and not be written to while the
/// datagram lives.
#[inline]
unsafe fn datagram<'a>(slot: *mut Slot, header: &mut mmsghdr) -> Option<Datagram<'a>> {
    let length = (header.msg_len as usize).min(MAX_REQUEST);
    // Another type with other C libraries.
    let filled: usize = header.msg_hdr.msg_controllen as _;
    let control = if header.msg_hdr.msg_control.is_null() { 0 } else { filled.min(CONTROL) };
    // SAFETY: by contract the slot is valid, its first `length` octets are
    // those of the datagram and the first `control` those of its control
    // messages. The address is a plain value.
    unsafe {
        Some(Datagram {
            client: address(&raw const (*slot).name, header.msg_hdr.msg_namelen)?,
            local: local(&mut header.msg_hdr),
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            octets: slice::from_raw_parts((&raw const (*slot).octets).cast(), length),
            control: slice::from_raw_parts((&raw const (*slot).control).cast(), control),
        })
    }
}

/// The address in `name`; none unless IPv4 or IPv6.
///
/// # Safety
/// `name` must be valid, and its first `length` octets written by the kernel.
#[inline]
unsafe fn address(name: *const libc::sockaddr_in6, length: socklen_t) -> Option<SocketAddr> {
    let length = length as usize;
    // SAFETY: `name` is valid and large enough for each kind; which one it is
    // says its family, at the same place in both, and each is made of integers
    // only.
    unsafe {
        match c_int::from((*name).sin6_family) {
            libc::AF_INET if length >= mem::size_of::<libc::sockaddr_in>() => {
                let name = name.cast::<libc::sockaddr_in>().read();
                let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 if length >= mem::size_of::<libc::sockaddr_in6>() => {
                let name = name.read();
                let (ip, port) =
                    (Ipv6Addr::from(name.sin6_addr.s6_addr), u16::from_be(name.sin6_port));
                Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// The address a datagram was sent to, from its PKTINFO. That same control
/// message then goes out with the answer, which makes the address its source.
///
/// The interface is taken out of it: the way back is up to the routing table,
/// as it would be from a socket bound to that address. Only an IPv6 link-local
/// address means nothing without its interface.
///
/// # Safety
/// `header` must be as the kernel, or this function before, left it, its control
/// room still valid.
unsafe fn local(header: &mut msghdr) -> Option<IpAddr> {
    // SAFETY: CMSG_FIRSTHDR gives null or a header that is whole. The room is
    // larger than one PKTINFO of either family, so its data are inside. They
    // may be unaligned for their type, so they are copied out and in.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if message.is_null() {
            return None;
        }
        match ((*message).cmsg_level, (*message).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let data = libc::CMSG_DATA(message).cast::<libc::in_pktinfo>();
                let mut info = data.read_unaligned();
                info.ipi_ifindex = 0;
                data.write_unaligned(info);
                // Not `ipi_addr`: for a broadcast that is no address of ours.
                Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let data = libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>();
                let mut info = data.read_unaligned();
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                if !ip.is_unicast_link_local() {
                    info.ipi6_ifindex = 0;
                    data.write_unaligned(info);
                }
                Some(ip.into())
            }
            _ => None,
        }
    }
}

/// Sets an option of a socket, whose value is a number.
pub(super) fn set(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed; `value` is read only, and
    // its true size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            mem::size_of_val(&value) as socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
