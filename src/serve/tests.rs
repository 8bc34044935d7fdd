//! The real sockets, on loopback and port 0, with responders that echo.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::pin::{Pin, pin};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::config::Listen;
use crate::dns::wire::MAX_UDP;

/// Only ever reached if something is broken.
const TOO_LONG: Duration = Duration::from_secs(30);

// ----------------------------------------------------------------- helpers

/// Answers with the request itself.
#[derive(Clone)]
struct Echo;

impl Respond for Echo {
    fn respond(&mut self, _: &Asker, _: Transport, request: &[u8], reply: &mut Vec<u8>) -> Action {
        reply.extend_from_slice(request);
        Action::Send
    }
}

/// Answers with the client's and our address as text.
#[derive(Clone)]
struct Who;

impl Respond for Who {
    fn respond(&mut self, asker: &Asker, _: Transport, _: &[u8], reply: &mut Vec<u8>) -> Action {
        let _ = write!(reply, "{} {}", asker.client, asker.local);
        Action::Send
    }
}

/// Answers nothing, and that so slowly that any client can send faster; says when it
/// is asked.
#[derive(Clone)]
struct Silent {
    entered: Sender<()>,
}

impl Respond for Silent {
    fn respond(&mut self, _: &Asker, _: Transport, _: &[u8], _: &mut Vec<u8>) -> Action {
        let _ = self.entered.send(());
        thread::sleep(Duration::from_micros(50));
        Action::Drop
    }
}

/// Answers with 60,000 octets.
#[derive(Clone)]
struct Long;

impl Respond for Long {
    fn respond(&mut self, _: &Asker, _: Transport, _: &[u8], reply: &mut Vec<u8>) -> Action {
        reply.resize(60_000, 7);
        Action::Send
    }
}

/// Echoes, but not before it is released; says when it is first asked.
#[derive(Clone)]
struct Held {
    entered: Sender<()>,
    released: Arc<(Mutex<bool>, Condvar)>,
}

impl Held {
    fn new() -> (Self, Receiver<()>) {
        let (entered, told) = mpsc::channel();
        (Self { entered, released: Arc::default() }, told)
    }

    fn release(&self) {
        *self.released.0.lock().unwrap() = true;
        self.released.1.notify_all();
    }
}

impl Respond for Held {
    fn respond(&mut self, _: &Asker, _: Transport, request: &[u8], reply: &mut Vec<u8>) -> Action {
        let _ = self.entered.send(());
        let released = self.released.0.lock().unwrap();
        drop(self.released.1.wait_while(released, |released| !*released).unwrap());
        reply.extend_from_slice(request);
        Action::Send
    }
}

fn listen(addresses: &[&str]) -> Listen {
    Listen {
        trust_ecs_from: vec![],
        dns: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        http: None,
        workers: 2,
        tcp_clients: 64,
        tcp_per_client: 64,
        tcp_idle: TOO_LONG,
        version: None,
        id: None,
        http_token_file: None,
    }
}

fn start<R: Respond>(listen: &Listen, responder: R) -> (Listeners<R>, SocketAddr, Arc<Stats>) {
    let stats = Arc::<Stats>::default();
    let listeners = bind(listen).unwrap().start(responder, Arc::clone(&stats)).unwrap();
    let address = listeners.addresses()[0];
    (listeners, address, stats)
}

fn udp(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    // Connected: an answer from any other address would not be seen.
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(TOO_LONG)).unwrap();
    socket
}

fn ask_udp(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn tcp(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TOO_LONG)).unwrap();
    stream
}

fn tcp_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: SocketAddr = from.parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(TOO_LONG)).unwrap();
    socket.into()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

/// The next message; none at the end of the stream, however it came.
fn next(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("neither an answer nor an end")
        }
        Err(_) => return None,
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    Some(message)
}

fn ask_tcp(mut stream: &TcpStream, request: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(&framed(request)).ok()?;
    next(stream)
}

/// A request of the least length that says which one it is.
fn numbered(number: u32) -> Vec<u8> {
    let mut request = vec![0; 12];
    request[..4].copy_from_slice(&number.to_be_bytes());
    request
}

/// For what the server does on its own and tells nobody: counters.
fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < TOO_LONG, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Sockets of this host bound to `address` over UDP.
fn udp_sockets(address: SocketAddr) -> usize {
    let IpAddr::V4(ip) = address.ip() else { unreachable!() };
    let word = u32::from_ne_bytes(ip.octets());
    // The second column is the peer's: ours have none.
    let columns = format!(" {word:08X}:{:04X} 00000000:0000 ", address.port());
    std::fs::read_to_string("/proc/net/udp").unwrap().matches(&columns).count()
}

// --------------------------------------------------------------------- UDP

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_many_clients_is_answered() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Echo);
    let clients: Vec<_> = (0..8)
        .map(|client| {
            thread::spawn(move || {
                let socket = udp(address);
                for number in 0..500 {
                    let request = numbered(client * 1000 + number);
                    assert_eq!(ask_udp(&socket, &request), request);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    let expected = stats::UdpTotals { received: 4000, sent: 4000, ..Default::default() };
    assert_eq!(stats.udp(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_burst_larger_than_a_batch_is_answered_whole() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.workers = 1;
    let (held, entered) = Held::new();
    let (_listeners, address, _) = start(&listen, held.clone());
    let socket = udp(address);
    for number in 0..200 {
        socket.send(&numbered(number)).unwrap();
    }
    entered.recv_timeout(TOO_LONG).unwrap();
    held.release();
    let mut buffer = [0; 64];
    for number in 0..200 {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], numbered(number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wildcard_answers_from_the_address_it_was_asked_at() {
    let (_listeners, bound, _) = start(&listen(&["0.0.0.0:0"]), Who);
    for ip in [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::LOCALHOST] {
        let address = SocketAddr::new(ip.into(), bound.port());
        let socket = udp(address);
        let expected = format!("{} {address}", socket.local_addr().unwrap());
        assert_eq!(ask_udp(&socket, &[]), expected.as_bytes());
        let stream = tcp(address);
        let expected = format!("{} {address}", stream.local_addr().unwrap());
        assert_eq!(ask_tcp(&stream, &[0; 12]).unwrap(), expected.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ipv6_and_its_wildcard() {
    for text in ["[::]:0", "[::1]:0"] {
        let Ok(bound) = bind(&listen(&[text])) else {
            assert!(UdpSocket::bind("[::1]:0").is_err(), "{text} failed though there is IPv6");
            return;
        };
        let listeners = bound.start(Who, Arc::default()).unwrap();
        let address: SocketAddr =
            format!("[::1]:{}", listeners.addresses()[0].port()).parse().unwrap();
        let socket = udp(address);
        let expected = format!("{} {address}", socket.local_addr().unwrap());
        assert_eq!(ask_udp(&socket, &[]), expected.as_bytes());
        let stream = tcp(address);
        let expected = format!("{} {address}", stream.local_addr().unwrap());
        assert_eq!(ask_tcp(&stream, &[0; 12]).unwrap(), expected.as_bytes());
    }
    // The IPv6 wildcard is not the IPv4 one: both can be had, on one port.
    // Whoever has that port by chance is why this may be tried again.
    eventually("both wildcards", || {
        let Ok(bound) = bind(&listen(&["[::]:0"])) else { return false };
        let other = format!("0.0.0.0:{}", bound.opened()[0].address.port());
        bind(&listen(&[&other])).is_ok()
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_too_long_are_dropped_and_counted() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Who);
    let socket = udp(address);
    socket.send(&[0; MAX_UDP + 1]).unwrap();
    assert!(!ask_udp(&socket, &[0; MAX_UDP]).is_empty());
    listeners.drain(TOO_LONG).await;
    let expected = stats::UdpTotals { received: 2, sent: 1, dropped: 1, ..Default::default() };
    assert_eq!(stats.udp(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_waits_in_the_queue_is_answered_before_the_end() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.workers = 1;
    let (held, entered) = Held::new();
    let (listeners, address, stats) = start(&listen, held.clone());
    let socket = udp(address);
    socket.send(&numbered(0)).unwrap();
    entered.recv_timeout(TOO_LONG).unwrap();
    for number in 1..200 {
        socket.send(&numbered(number)).unwrap();
    }
    let mut drain = pin!(listeners.drain(TOO_LONG));
    assert!(poll(drain.as_mut()).is_pending());
    held.release();
    assert_eq!(drain.await, 0);
    assert_eq!(stats.udp().sent, 200);
    let mut buffer = [0; 64];
    for number in 0..200 {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], numbered(number));
    }
    assert_eq!(udp_sockets(address), 0);
}

// --------------------------------------------------------------------- TCP

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_in_one_write_are_answered_in_order() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Echo);
    let stream = tcp(address);
    let all: Vec<u8> = (0..1000).flat_map(|number| framed(&numbered(number))).collect();
    (&stream).write_all(&all).unwrap();
    for number in 0..1000 {
        assert_eq!(next(&stream).unwrap(), numbered(number));
    }
    // Idle by now, so the drain closes it at once.
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    assert_eq!(next(&stream), None);
    let expected = stats::ConnectionTotals {
        accepted: 1,
        requests: 1000,
        replies: 1000,
        finished: 1,
        ..Default::default()
    };
    assert_eq!(stats.over(Transport::Tcp), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_messages_pass() {
    let (_listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Echo);
    let stream = tcp(address);
    let requests: Vec<_> = (0..20).map(|number| vec![number; 65_535]).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for request in &requests {
                (&stream).write_all(&framed(request)).unwrap();
            }
        });
        for request in &requests {
            assert!(next(&stream).unwrap() == *request);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_half_still_gets_its_answers() {
    let (_listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Long);
    let stream = tcp(address);
    let all: Vec<u8> = (0..100).flat_map(|number| framed(&numbered(number))).collect();
    (&stream).write_all(&all).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    for _ in 0..100 {
        assert_eq!(next(&stream).unwrap().len(), 60_000);
    }
    assert_eq!(next(&stream), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_ends_the_connection() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Echo);
    for length in [0, 11] {
        let stream = tcp(address);
        let mut sent = framed(&numbered(1));
        sent.extend(framed(&vec![0; length]));
        (&stream).write_all(&sent).unwrap();
        assert_eq!(next(&stream).unwrap(), numbered(1));
        assert_eq!(next(&stream), None);
    }
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    assert_eq!(stats.over(Transport::Tcp).malformed, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_octet_at_a_time_is_idle_and_holds_nobody_up() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_idle = Duration::from_millis(100);
    let (listeners, address, stats) = start(&listen, Echo);
    let slow = tcp(address);
    slow.set_nonblocking(true).unwrap();
    // A message of 65,535 octets, announced and never completed.
    let mut sent = 0;
    eventually("cut off", || {
        let _ = (&slow).write(&[0xFF]);
        sent += 1;
        assert_eq!(ask_tcp(&tcp(address), &numbered(sent)).unwrap(), numbered(sent));
        !matches!((&slow).read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!(sent < 65_535, "it was none of its octets that completed it");
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    assert_eq!(stats.over(Transport::Tcp).idle, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_bounded_closed_and_holds_nobody_up() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_idle = Duration::from_millis(100);
    let (_listeners, address, stats) = start(&listen, Long);
    let stuck = tcp(address);
    stuck.set_nonblocking(true).unwrap();
    // 10,000 requests would make 600 MB of answers.
    let all: Vec<u8> = (0..10_000).flat_map(|number| framed(&numbered(number))).collect();
    let _ = (&stuck).write(&all).unwrap();
    eventually("taken as idle", || {
        assert!(ask_tcp(&tcp(address), &numbered(0)).is_some());
        stats.over(Transport::Tcp).idle >= 1
    });
    let others = stats.over(Transport::Tcp).accepted - 1;
    // What the kernel buffers on both sides, and one bounded output.
    assert!(
        stats.over(Transport::Tcp).requests - others < 1000,
        "{:?}",
        stats.over(Transport::Tcp)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_so_many_connections_and_no_more() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_per_client = 2;
    let (_listeners, address, stats) = start(&listen, Echo);
    let both = [tcp(address), tcp(address)];
    for stream in &both {
        assert!(ask_tcp(stream, &numbered(1)).is_some());
    }
    assert_eq!(ask_tcp(&tcp(address), &numbered(2)), None);
    assert!(ask_tcp(&tcp_from("127.0.0.2:0", address), &numbered(3)).is_some());
    for stream in &both {
        assert!(ask_tcp(stream, &numbered(4)).is_some());
    }
    assert_eq!(stats.over(Transport::Tcp).refused_client, 1);
    let [first, _second] = both;
    drop(first);
    eventually("a place is free", || ask_tcp(&tcp(address), &numbered(5)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_total_limit_the_inactive_one_makes_place() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_clients = 2;
    let (listeners, address, stats) = start(&listen, Echo);
    let (first, second) = (tcp(address), tcp(address));
    assert!(ask_tcp(&first, &numbered(1)).is_some());
    assert!(ask_tcp(&second, &numbered(1)).is_some());
    let third = tcp(address);
    assert!(ask_tcp(&third, &numbered(1)).is_some());
    assert_eq!(next(&first), None);
    // The second is active, the third no longer.
    assert!(ask_tcp(&second, &numbered(2)).is_some());
    let fourth = tcp(address);
    assert!(ask_tcp(&fourth, &numbered(1)).is_some());
    assert!(ask_tcp(&fourth, &numbered(2)).is_some());
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    assert_eq!(stats.over(Transport::Tcp).evicted, 2);
}

// ------------------------------------------------------------------- drain

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_are_answered_before_the_end() {
    let (held, entered) = Held::new();
    let (listeners, address, _) = start(&listen(&["127.0.0.1:0"]), held.clone());
    let idle = tcp(address);
    let busy = tcp(address);
    (&busy).write_all(&framed(&numbered(0))).unwrap();
    entered.recv_timeout(TOO_LONG).unwrap();
    // These wait in the kernel; the last one is not whole.
    let mut more: Vec<u8> = (1..500).flat_map(|number| framed(&numbered(number))).collect();
    more.extend([0, 12, 0]);
    (&busy).write_all(&more).unwrap();
    let mut drain = pin!(listeners.drain(TOO_LONG));
    assert!(poll(drain.as_mut()).is_pending());
    assert_eq!(next(&idle), None);
    held.release();
    assert_eq!(drain.await, 0);
    for number in 0..500 {
        assert_eq!(next(&busy).unwrap(), numbered(number));
    }
    assert_eq!(next(&busy), None);
    assert!(TcpStream::connect(address).is_err());
}

// One thread for all tasks: nothing is accepted before the drain begins.
#[tokio::test(flavor = "current_thread")]
async fn connections_in_the_backlog_are_answered_before_the_end() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Echo);
    let waiting: Vec<_> = (0..10).map(|_| tcp(address)).collect();
    for stream in &waiting {
        (&*stream).write_all(&framed(&numbered(1))).unwrap();
    }
    assert_eq!(stats.over(Transport::Tcp).accepted, 0);
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
    for stream in &waiting {
        assert_eq!(next(stream).unwrap(), numbered(1));
        assert_eq!(next(stream), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_cut_off_at_the_deadline() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Long);
    let stuck = tcp(address);
    let all: Vec<u8> = (0..1000).flat_map(|number| framed(&numbered(number))).collect();
    (&stuck).write_all(&all).unwrap();
    assert!(next(&stuck).is_some(), "it has begun");
    assert_eq!(listeners.drain(Duration::from_millis(200)).await, 1);
    assert_eq!(stats.over(Transport::Tcp).cut, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_never_stops_sending_is_cut_off_at_the_deadline() {
    let (entered, told) = mpsc::channel();
    let (listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Silent { entered });
    let all: Vec<u8> = (0..5000).flat_map(|number| framed(&numbered(number))).collect();
    let start = Instant::now();
    let flood = thread::spawn(move || {
        let mut stream = tcp(address);
        while start.elapsed() < TOO_LONG && stream.write_all(&all).is_ok() {}
    });
    told.recv_timeout(TOO_LONG).unwrap();
    assert_eq!(listeners.drain(Duration::from_millis(200)).await, 1);
    assert!(start.elapsed() < TOO_LONG);
    flood.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_listeners_give_their_address_back() {
    let (listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Echo);
    let stream = tcp(address);
    assert!(ask_tcp(&stream, &numbered(1)).is_some());
    drop(listeners);
    assert_eq!(next(&stream), None);
    let again = listen(&[&address.to_string()]);
    eventually("bound again", || bind(&again).is_ok());
}

// ------------------------------------------------------------------ reload

/// Turns to `listen`; says what was opened and what was closed.
async fn reload<R: Respond>(
    listeners: &mut Listeners<R>,
    listen: &Listen,
) -> (Vec<Opened>, Vec<SocketAddr>) {
    let prepared = listeners.prepare(listen).unwrap();
    let closed = listeners.close(&prepared).await;
    (listeners.open(prepared), closed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_prepared_answers_once_it_is_opened_and_what_goes_has_gone_before() {
    let before = listen(&["127.0.0.1:0"]);
    let (mut listeners, old, stats) = start(&before, Echo);
    let after = listen(&["127.0.0.2:0"]);
    let prepared = listeners.prepare(&after).unwrap();
    let new = prepared.opened[0].address;
    // What comes early waits.
    let (socket, stream) = (udp(new), tcp(new));
    socket.send(&numbered(1)).unwrap();
    (&stream).write_all(&framed(&numbered(2))).unwrap();
    assert_eq!(ask_udp(&udp(old), &numbered(3)), numbered(3));
    listeners.close(&prepared).await;
    assert_eq!(udp_sockets(old), 0, "closed before others are opened");
    let read = (stats.udp().received, stats.over(Transport::Tcp).accepted);
    assert_eq!(read, (1, 0), "of what came early nothing is read");
    listeners.open(prepared);
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], numbered(1));
    assert!(next(&stream).is_some());
    // What was prepared and is not wanted leaves nothing behind.
    let prepared = listeners.prepare(&listen(&["127.0.0.4:0", "127.0.0.2:0"])).unwrap();
    let dropped = prepared.opened[0].address;
    drop(prepared);
    eventually("it is closed", || udp_sockets(dropped) == 0);
    assert_eq!(ask_udp(&udp(new), &numbered(4)), numbered(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_leaves_unchanged_sockets_alone() {
    let mut before = listen(&["127.0.0.1:0"]);
    before.workers = 1;
    let (held, entered) = Held::new();
    let (mut listeners, old, _) = start(&before, held.clone());
    let socket = udp(old);
    socket.send(&numbered(0)).unwrap();
    entered.recv_timeout(TOO_LONG).unwrap();
    for number in 1..100 {
        socket.send(&numbered(number)).unwrap();
    }

    let mut after = before.clone();
    after.dns.insert(0, "127.0.0.2:0".parse().unwrap());
    let (opened, closed) = reload(&mut listeners, &after).await;
    let [new, kept] = listeners.addresses()[..] else { panic!("two addresses") };
    assert_eq!(kept, old);
    assert_eq!(opened.iter().map(|opened| opened.address).collect::<Vec<_>>(), [new]);
    assert!(opened[0].on_host && opened[0].receive_buffer > 0);
    assert!(closed.is_empty());

    held.release();
    let mut buffer = [0; 64];
    for number in 0..100 {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], numbered(number));
    }
    assert_eq!(ask_udp(&udp(new), &numbered(7)), numbered(7));
    assert!(ask_tcp(&tcp(new), &numbered(7)).is_some());

    // Now the first one goes.
    let last = tcp(old);
    assert!(ask_tcp(&last, &numbered(8)).is_some());
    after.dns.pop();
    let (opened, closed) = reload(&mut listeners, &after).await;
    assert_eq!((opened, closed), (vec![], vec![old]));
    assert_eq!(next(&last), None);
    eventually("it is closed", || udp_sockets(old) == 0 && TcpStream::connect(old).is_err());
    assert_eq!(ask_udp(&udp(new), &numbered(9)), numbered(9));
    assert_eq!(listeners.drain(TOO_LONG).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_changes_nothing() {
    let before = listen(&["127.0.0.1:0"]);
    let (listeners, address, _) = start(&before, Echo);
    let stream = tcp(address);
    assert!(ask_tcp(&stream, &numbered(1)).is_some());
    let other = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let taken = other.local_addr().unwrap();
    // The first could be had, the second not; ours would go.
    let wanted = listen(&["127.0.0.2:0", &taken.to_string()]);
    let Err(error) = listeners.prepare(&wanted) else { panic!("it is taken") };
    let error = error.to_string();
    assert!(error.starts_with(&format!("cannot listen on {taken} (TCP): ")), "{error}");
    assert_eq!(listeners.addresses(), [address]);
    assert!(ask_tcp(&stream, &numbered(2)).is_some());
    assert_eq!(ask_udp(&udp(address), &numbered(3)), numbered(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_and_go() {
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.workers = 1;
    let (mut listeners, address, stats) = start(&listen, Echo);
    let mut asked = 0;
    for workers in [3, 1, 2] {
        listen.workers = workers;
        reload(&mut listeners, &listen).await;
        eventually("as many sockets as workers", || udp_sockets(address) == workers);
        for number in 0..32 {
            assert_eq!(ask_udp(&udp(address), &numbered(number)), numbered(number));
            asked += 1;
        }
    }
    listeners.drain(TOO_LONG).await;
    assert_eq!(stats.udp().sent, asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_limits_hold_after_a_reload() {
    let mut listen = listen(&["127.0.0.1:0", "127.0.0.1:0"]);
    let (mut listeners, address, _) = start(&listen, Echo);
    assert_eq!(listeners.addresses().len(), 1, "the same address twice is one");
    let first = tcp(address);
    assert!(ask_tcp(&first, &numbered(1)).is_some());
    listen.tcp_per_client = 1;
    reload(&mut listeners, &listen).await;
    assert_eq!(ask_tcp(&tcp(address), &numbered(2)), None);
    assert!(ask_tcp(&first, &numbered(3)).is_some());
}

// ------------------------------------------------------------------ faults

/// Panics when told to: asked, or cloned.
#[derive(Debug)]
struct Fragile {
    clones: Option<Arc<Mutex<bool>>>,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        let fatal = self.clones.as_ref().is_some_and(|fatal| *fatal.lock().unwrap());
        assert!(!fatal, "a test of what a panic does");
        Self { clones: self.clones.clone() }
    }
}

impl Respond for Fragile {
    fn respond(&mut self, _: &Asker, _: Transport, _: &[u8], _: &mut Vec<u8>) -> Action {
        panic!("a test of what a panic does")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_panics_is_reported() {
    let (mut listeners, address, _) = start(&listen(&["127.0.0.1:0"]), Fragile { clones: None });
    let mut failed = pin!(listeners.failed());
    assert!(poll(failed.as_mut()).is_pending());
    udp(address).send(&[0]).unwrap();
    assert_eq!(failed.await.what, format!("UDP worker of {address}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accept_loop_that_panics_is_reported() {
    let fatal = Arc::new(Mutex::new(false));
    let fragile = Fragile { clones: Some(Arc::clone(&fatal)) };
    let (mut listeners, address, _) = start(&listen(&["127.0.0.1:0"]), fragile);
    *fatal.lock().unwrap() = true;
    let _stream = tcp(address);
    assert_eq!(listeners.failed().await.what, format!("accept loop of {address}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_panics_costs_only_itself() {
    let (listeners, address, stats) = start(&listen(&["127.0.0.1:0"]), Fragile { clones: None });
    for _ in 0..2 {
        assert_eq!(ask_tcp(&tcp(address), &numbered(1)), None);
    }
    listeners.drain(TOO_LONG).await;
    assert_eq!((stats.over(Transport::Tcp).accepted, stats.over(Transport::Tcp).broken), (2, 2));
}

// ------------------------------------------------- a server of its own process

/// The program of the tests below; does nothing in an ordinary run. Says where
/// it listens, then its counter of accept errors for each line it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    if std::env::var_os("EIPDNS_TEST_CHILD").is_none() {
        return;
    }
    let mut listen = listen(&["127.0.0.1:0"]);
    listen.tcp_clients = 1000;
    listen.tcp_per_client = 1000;
    let (_listeners, address, stats) = start(&listen, Echo);
    println!("\nchild: {address}");
    for line in std::io::stdin().lines() {
        line.unwrap();
        println!("\nchild: {}", stats.over(Transport::Tcp).accept_errors);
    }
}

struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    address: SocketAddr,
}

impl Process {
    /// Runs [`child`] with at most `descriptors` of them.
    fn start(descriptors: usize) -> Self {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "serve::tests::child", "--nocapture"])
            .env("EIPDNS_TEST_CHILD", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process = Self { child, lines, address };
        process.address = process.line().parse().unwrap();
        process
    }

    fn line(&mut self) -> String {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix("child: ").map(str::to_owned)).unwrap()
    }

    fn accept_errors(&mut self) -> u64 {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_address_held_by_another_process_is_refused_and_the_process_named() {
    let process = Process::start(64);
    let error = bind(&listen(&[&process.address.to_string()])).unwrap_err();
    let BindError::Held { address, protocol: bind::Protocol::Tcp, holder } = &error else {
        panic!("{error}")
    };
    assert_eq!((*address, holder.pid), (process.address, process.child.id()));
}

#[test]
fn without_descriptors_it_waits_and_goes_on() {
    let mut process = Process::start(48);
    let start = Instant::now();
    let address = process.address;
    let streams: Vec<_> = (0..80).map(|_| tcp(address)).collect();
    // Trouble, and then more of it: it did not give up.
    let mut errors = 0;
    eventually("five errors", || {
        errors = process.accept_errors();
        errors >= 5
    });
    // One attempt in each pause of 100 ms, not thousands; two for the ends.
    let allowed = start.elapsed().as_millis() / 100 + 2;
    assert!(u128::from(errors) <= allowed, "{errors} attempts, {allowed} allowed");
    drop(streams);
    assert!(ask_tcp(&tcp(address), &numbered(1)).is_some());
    assert_eq!(ask_udp(&udp(address), &numbered(2)), numbered(2));
}
