//! Many questions for names that no cache knows.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;

use crate::harness::{PATIENCE, query};

/// What the clients of a flood got.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sent: u32,
    pub(super) answered: usize,
    pub(super) failed: u32,
}

impl Tally {
    /// Takes what has come.
    fn drain(&mut self, socket: &UdpSocket) {
        let mut reply = [0; 1_500];
        while let Ok(len) = socket.recv(&mut reply) {
            match reply[..len][3] & 0x0f {
                0 => self.answered += 1,
                _ => self.failed += 1,
            }
        }
    }
}

/// Asks for another name each time, `rate` a second, from one client after the
/// other, until it is over.
pub(super) fn flood(at: SocketAddr, from: &[Ipv4Addr], rate: u32, over: &AtomicBool) -> Tally {
    let socket = |from: &Ipv4Addr| {
        let socket = UdpSocket::bind((*from, 0)).unwrap();
        socket.connect(at).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let sockets: Vec<_> = from.iter().map(socket).collect();
    let mut tally = Tally::default();
    let template = query("0123456789abcdef.flood.test.", RecordType::A).to_vec().unwrap();
    let begun = Instant::now();
    for (n, socket) in (0u32..).zip(sockets.iter().cycle()) {
        let due = Duration::from_secs(1) * n / rate;
        if over.load(Ordering::Relaxed) || due > PATIENCE {
            break;
        }
        // A pace; behind its time it sends without a pause.
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            std::thread::sleep(early);
        }
        let mut octets = template.clone();
        octets[..2].copy_from_slice(&(n as u16).to_be_bytes());
        octets[13..29].copy_from_slice(format!("{n:016x}").as_bytes());
        tally.drain(socket);
        tally.sent += u32::from(socket.send(&octets).is_ok());
    }
    sockets.iter().for_each(|socket| tally.drain(socket));
    tally
}

/// Ends a flood when it is dropped, also by a test that fails.
pub(super) struct Ends<'a>(pub(super) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The one in the middle.
pub(super) fn median<T: Ord + Copy>(all: &[T]) -> T {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
