//! A UDP worker: one thread, one socket, one batch of datagrams after the other.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::later::{LaterSender, Waiting};
use super::options::fragmenting;
use super::stats::UdpCounters;
use super::sys::{Batch, Datagram, Wait};
use super::{Action, RequestBatch, Respond, canonical};
use crate::answer::Asker;
use crate::host::often::Often;

/// The wait after a second receive error in a row: a socket that keeps failing
/// must not cost a processor.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The least kernel memory one queued datagram takes, in octets: with the
/// buffer's size it bounds how many can be waiting.
const LEAST_DATAGRAM: usize = 512;

/// One batch in so many is timed, so that reading the clock twice costs answers
/// nothing that can be measured.
const TIMED: u32 = 64;

/// Fewer requests in a batch are not worth reading ahead.
const LEAST_AHEAD: usize = 4;

/// A socket and what answers on it.
pub(super) struct Worker<'a, R> {
    /// Blocking. Shut down for reading, it wakes the worker.
    pub socket: Arc<UdpSocket>,
    /// What it is bound to.
    pub address: SocketAddr,
    pub responder: R,
    pub counters: &'a Arc<UdpCounters>,
    /// Where answers that come later are waited for.
    pub later: LaterSender,
    /// Set by whoever wants the worker to end.
    pub stop: &'a AtomicBool,
}

impl<R: Respond> Worker<'_, R> {
    /// Answers until told to stop, and then what is left in the socket's queue.
    pub(super) fn run(mut self) {
        let mut batch = Batch::new(self.address.ip().is_unspecified());
        let (mut failing, mut batches) = (false, 0u32);
        let trouble = Often::new();
        while !self.stop.load(Ordering::Relaxed) {
            match batch.receive(&self.socket, Wait::ForOne) {
                Ok(_) => {
                    failing = false;
                    // The first one too: it may be the only one for a while.
                    match batches % TIMED {
                        0 => self.timed(&mut batch),
                        _ => self.exchange(&mut batch),
                    }
                    batches = batches.wrapping_add(1);
                }
                Err(error) if is_nothing(&error) => {}
                Err(error) => {
                    self.counters.receive_errors.add(1);
                    if let Some(left_out) = trouble.may(Instant::now()) {
                        tracing::warn!(
                            address = %self.address, %error, left_out,
                            "UDP receive failed; going on"
                        );
                    }
                    if failing {
                        thread::sleep(ERROR_PAUSE);
                    }
                    failing = true;
                }
            }
        }
        self.drain(&mut batch);
    }

    /// Answers what waits in the queue now: no more than can have been in it, so
    /// that a flood does not keep the worker alive.
    fn drain(&mut self, batch: &mut Batch) {
        let buffer = socket2::SockRef::from(&*self.socket).recv_buffer_size().unwrap_or(0);
        let mut left = buffer / LEAST_DATAGRAM;
        while left > 0 {
            match batch.receive(&self.socket, Wait::Never) {
                Ok(count) => {
                    self.exchange(batch);
                    left = left.saturating_sub(count.max(1));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    #[cold]
    fn timed(&mut self, batch: &mut Batch) {
        let began = Instant::now();
        self.exchange(batch);
        self.counters.took.record(began.elapsed());
    }

    /// Answers one batch.
    fn exchange(&mut self, batch: &mut Batch) {
        let (address, socket, counters) = (canonical(self.address), &self.socket, self.counters);
        let later = &self.later;
        let mut requests = Received { batch, address, socket, counters, later };
        self.responder.respond_to_batch(&mut requests);
        self.send(batch);
    }

    /// Sends what is queued. Each round sends or gives up at least one answer, so it
    /// ends whatever the kernel says.
    fn send(&mut self, batch: &mut Batch) {
        while batch.unsent() > 0 {
            match fragmenting(&self.socket, || batch.send(&self.socket)) {
                Ok(count) if count > 0 => self.counters.sent.add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The send buffer is full, and was waited for (SO_SNDTIMEO): the
                // rest would fare no better, and queries are waiting.
                Err(error) if is_full(&error) => {
                    self.counters.send_errors.add(batch.unsent());
                    break;
                }
                // This one cannot be sent (a firewall, no route). The next one
                // has another destination.
                _ => {
                    self.counters.send_errors.add(1);
                    batch.skip();
                }
            }
        }
    }
}

/// One batch, for the responder.
struct Received<'w> {
    batch: &'w mut Batch,
    address: SocketAddr,
    socket: &'w Arc<UdpSocket>,
    counters: &'w Arc<UdpCounters>,
    later: &'w LaterSender,
}

impl RequestBatch for Received<'_> {
    fn ahead(&mut self) -> Option<(Asker, impl Iterator<Item = &[u8]>)> {
        if self.batch.received() < LEAST_AHEAD {
            return None;
        }
        let first = asker(&self.batch.first()?, self.address)?;
        Some((first, self.batch.requests()))
    }

    fn each(&mut self, mut answer: impl FnMut(usize, &Asker, &[u8], &mut Vec<u8>) -> Action) {
        let (mut received, mut dropped, mut no_room, mut silent) = (0, 0, 0, 0);
        self.batch.answer(|nth, datagram, reply| {
            received += 1;
            let Some(asker) = asker(datagram, self.address) else {
                dropped += 1;
                return false;
            };
            match answer(nth, &asker, datagram.octets, reply) {
                Action::Send => true,
                Action::Drop => {
                    silent += 1;
                    false
                }
                Action::Later(messages) => {
                    let waiting = Waiting {
                        messages,
                        socket: Arc::clone(self.socket),
                        back: datagram.way_back(),
                        counters: Arc::clone(self.counters),
                    };
                    if !self.later.send(waiting) {
                        no_room += 1;
                    }
                    false
                }
            }
        });
        self.counters.received.add(received);
        self.counters.dropped.add(dropped);
        self.counters.no_room.add(no_room);
        self.counters.silent.add(silent);
    }
}

/// Who asks, and where; none if the datagram gets no answer. `address` is the
/// socket's, canonical.
#[inline(always)]
fn asker(datagram: &Datagram<'_>, address: SocketAddr) -> Option<Asker> {
    // Nobody can be answered at port 0 (RFC 768 makes it "none"), and a
    // request that does not fit the buffer is no query.
    if datagram.client.port() == 0 || datagram.cut {
        return None;
    }
    let local = datagram.local.map(|ip| canonical(SocketAddr::new(ip, address.port())));
    Some(Asker { client: canonical(datagram.client), local: local.unwrap_or(address) })
}

/// No datagram came, and nothing is wrong.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock)
}

/// The kernel has no room for the answer.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Outcome, Transport, answer};
    use crate::dns::wire::MAX_UDP;
    use crate::respond::Responder;
    use crate::store::Store;
    use crate::testing;

    fn datagram(client: &str, cut: bool) -> Datagram<'static> {
        Datagram::of(client.parse().unwrap(), cut)
    }

    #[test]
    fn port_0_and_cut_requests_get_no_answer() {
        let ours = "127.0.0.1:53".parse().unwrap();
        assert_eq!(asker(&datagram("127.0.0.1:0", false), ours), None);
        assert_eq!(asker(&datagram("127.0.0.1:9", true), ours), None);
        let asker = asker(&datagram("127.0.0.1:9", false), ours).unwrap();
        assert_eq!(asker, Asker { client: "127.0.0.1:9".parse().unwrap(), local: ours });
    }

    #[test]
    fn addresses_are_canonical() {
        let ours = "[::]:53".parse().unwrap();
        let mut datagram = datagram("[::ffff:10.0.0.1]:9", false);
        datagram.local = Some("::ffff:10.0.0.53".parse().unwrap());
        let asker = asker(&datagram, ours).unwrap();
        assert_eq!(asker.client, "10.0.0.1:9".parse().unwrap());
        assert_eq!(asker.local, "10.0.0.53:53".parse().unwrap());
    }

    /// A responder that answers each octet `n` of the request's first with a
    /// reply of that many kilobytes.
    #[derive(Clone)]
    struct Sized;

    impl Respond for Sized {
        fn respond(
            &mut self,
            _: &Asker,
            _: Transport,
            request: &[u8],
            reply: &mut Vec<u8>,
        ) -> Action {
            let Some(&kilobytes) = request.first() else { return Action::Drop };
            reply.resize(usize::from(kilobytes) * 1024, kilobytes);
            Action::Send
        }
    }

    #[test]
    fn an_answer_that_cannot_be_sent_costs_only_itself() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // 100 KiB is more than any datagram holds: EMSGSIZE, twice in a row.
        for kilobytes in [1, 100, 100, 2, 3] {
            client.send_to(&[kilobytes], address).unwrap();
        }
        client.send_to(&[], address).unwrap();
        let (counters, stop) = (Arc::<UdpCounters>::default(), AtomicBool::new(true));
        let (later, _) = crate::serve::later::channel();
        let socket = Arc::new(socket);
        Worker { socket, address, responder: Sized, counters: &counters, later, stop: &stop }.run();
        let mut buffer = [0; 4096];
        for kilobytes in [1, 2, 3] {
            assert_eq!(client.recv(&mut buffer).unwrap(), kilobytes * 1024);
        }
        let count = |counter: &super::super::stats::Counter| counter.get();
        assert_eq!(count(&counters.received), 6);
        assert_eq!(count(&counters.sent), 3);
        assert_eq!(count(&counters.send_errors), 2);
        assert_eq!(count(&counters.silent), 1);
    }

    #[test]
    fn requests_read_ahead_get_each_its_own_answer() {
        let names: String =
            (0..50).map(|n| format!("h{n} = {{ address = \"10.0.0.{n}\" }}\n")).collect();
        let zone = format!("[names]\n{names}");
        let config =
            testing::config(&[("server.toml", testing::SERVER), ("example.com.toml", &zone)]);
        let store = Store::new(testing::snapshot(&config, &testing::inventory(&[])));
        let current = store.full();
        let responder = Responder::new(store, Arc::default(), false).worker();

        // Where the client is in a view, as the worker sees it.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let asker = Asker { client: client.local_addr().unwrap(), local: address };
        let mut expected = Vec::new();
        for id in 0..150u16 {
            let mut request = vec![(id >> 8) as u8, id as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            let label = match id % 5 {
                4 => format!("X{id}"),
                _ => format!("h{}", id % 60),
            };
            request.push(label.len() as u8);
            request.extend_from_slice(label.as_bytes());
            request.extend_from_slice(b"\x07Example\x03com\0\0\x01\0\x01");
            match id % 7 {
                // A response, too short, too long: no answer.
                2 => request[2] |= 0x80,
                4 => request.truncate(9),
                6 => request.resize(MAX_UDP + 1, 0),
                _ => {
                    let mut reply = Vec::new();
                    let udp = Transport::Udp;
                    let outcome =
                        answer(&current.snapshot, &asker, udp, &request, &mut (), &mut reply);
                    assert!(matches!(outcome, Outcome::Reply { .. }));
                    expected.push(reply);
                }
            }
            client.send_to(&request, address).unwrap();
        }

        let (counters, stop) = (Arc::<UdpCounters>::default(), AtomicBool::new(true));
        let (later, _) = crate::serve::later::channel();
        let socket = Arc::new(socket);
        Worker { socket, address, responder, counters: &counters, later, stop: &stop }.run();
        let mut buffer = [0; MAX_UDP];
        for reply in &expected {
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], &reply[..]);
        }
        assert_eq!((counters.received.get(), counters.sent.get()), (150, expected.len() as u64));
    }
}
