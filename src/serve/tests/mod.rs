//! The real sockets, on loopback and port 0, with responders that echo.

mod children;
mod connections;
mod datagrams;
mod panics;
mod reloads;

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
