//! Many connections at once, of those who may and of those who may not: who
//! gets in, who is sent away, and that nothing else of the server notices.

mod descriptors;
mod http;
mod strangers;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use socket2::{Domain, Socket, Type};

use crate::harness::{PATIENCE, PROGRAM, Server, query};

/// Descriptors that a test of thousands of connections needs for itself.
const OURS: u64 = 8192;

/// Lets this process have as many descriptors as the tests here need. The
/// servers under test get limits of their own.
fn many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= OURS) {
        return;
    }
    let wanted = maximum.map_or(OURS, |maximum| maximum.min(OURS));
    assert_eq!(wanted, OURS, "these tests need {OURS} open files: raise the hard limit");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
}

/// A server that may have so many descriptors, soft and hard, and no more.
pub(crate) fn start_with_descriptors(dir: &Path, descriptors: usize) -> Server {
    many_descriptors();
    Server::start_command(|command| {
        let mut limited = Command::new("sh");
        limited
            .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""), PROGRAM])
            .args(["serve", "--watch", "--config"])
            .arg(dir)
            .env("EIPDNS_STATE", dir.join(".state"))
            .env("EIPDNS_LOG", "info")
            .stderr(Stdio::piped())
            .stdout(Stdio::null());
        *command = limited;
    })
}

/// Where the server's HTTP side is.
fn http_of(server: &Server) -> SocketAddr {
    let lines = server.lines();
    let line = lines.iter().find(|l| l["fields"]["message"] == "listening for HTTP").unwrap();
    line["fields"]["address"].as_str().unwrap().parse().unwrap()
}

/// A connection from one of this host's addresses.
pub(crate) fn connect_from(from: impl Into<IpAddr>, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.into(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Asks over a connection, and waits; none when it is closed instead.
fn ask(mut stream: &TcpStream, name: &str) -> Option<Message> {
    let octets = query(name, RecordType::A).to_vec().unwrap();
    let mut framed = (octets.len() as u16).to_be_bytes().to_vec();
    framed.extend(octets);
    stream.write_all(&framed).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).ok()?;
    Some(Message::from_vec(&reply).unwrap())
}

/// Has the other side closed, as far as is known here? Octets are passed over.
pub(crate) fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    let closed = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() != ErrorKind::WouldBlock,
        }
    };
    stream.set_nonblocking(false).unwrap();
    closed
}

/// Waits until the other side closes; says what it sent before.
fn until_closed(mut stream: &TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("it is not closed; it said {:?}", String::from_utf8_lossy(&said))
        }
        _ => said,
    }
}

/// For what no line of the log tells: looks until it is so.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The head and body of the answer to a request without a body.
fn http_get(http: SocketAddr, path: &str) -> String {
    let stream = TcpStream::connect(http).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    (&stream).write_all(request.as_bytes()).unwrap();
    String::from_utf8(until_closed(&stream)).unwrap()
}

/// The value of one sample, by its name and labels.
fn sample(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|l| l.strip_prefix(name).is_some_and(|r| r.starts_with(' ')));
    line?.rsplit(' ').next()?.parse().ok()
}
