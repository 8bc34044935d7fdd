//! The face in resolv.conf: real stub resolvers, real resolvers in front and
//! behind, and upstreams that misbehave.

mod aliases;
mod bind;
mod caches;
mod dead;
mod fair;
mod home;
mod late;
mod links;
mod loops;
pub(crate) mod namespace;
mod order;
mod passed;
mod records;
mod rewriting;
mod scripts;
mod signed;
mod special;
mod storm;
mod stubs;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::opt::EdnsOption;

use crate::answers::render;
use crate::harness::{Dir, PATIENCE, query};

/// The Elastic IP of most tests, and its public name.
const ELASTIC: &str = "75.101.137.243";
const EC2: &str = "ec2-75-101-137-243.compute-1.amazonaws.com.";

/// A directory whose view forwards to `upstreams`; `view` is added to that
/// view, and may go on with more.
fn forwarding(upstreams: &[SocketAddr], view: &str) -> Dir {
    let all: Vec<_> = upstreams.iter().map(|upstream| format!("\"{upstream}\"")).collect();
    Dir::new(&format!("forward = true\n{view}\n[[forward]]\nupstreams = [{}]\n", all.join(", ")))
}

/// Somebody at an address who asks over UDP.
#[derive(Clone, Copy)]
struct Client {
    from: Ipv4Addr,
    at: SocketAddr,
}

impl Client {
    /// A client at 127.0.0.1.
    fn of(at: SocketAddr) -> Self {
        Self { from: Ipv4Addr::LOCALHOST, at }
    }

    fn from(self, from: &str) -> Self {
        Self { from: from.parse().unwrap(), ..self }
    }

    /// Asks with RD and EDNS but for what `change` does to the query.
    fn ask_with(
        self,
        name: &str,
        rtype: RecordType,
        change: impl FnOnce(&mut Message),
    ) -> (Message, Vec<u8>) {
        let mut message = query(name, rtype);
        change(&mut message);
        let octets = self.send(&message.to_vec().unwrap());
        (Message::from_vec(&octets).unwrap(), octets)
    }

    fn ask(self, name: &str, rtype: RecordType) -> Message {
        self.ask_with(name, rtype, |_| {}).0
    }

    /// The whole answer as text; see [`render`].
    fn told(self, name: &str, rtype: RecordType) -> String {
        render(&self.ask_with(name, rtype, |_| {}).1)
    }

    fn told_with(self, name: &str, rtype: RecordType, change: impl FnOnce(&mut Message)) -> String {
        render(&self.ask_with(name, rtype, change).1)
    }

    /// The answer section's data alone.
    fn data(self, name: &str, rtype: RecordType) -> Vec<String> {
        self.ask(name, rtype).answers.iter().map(|record| record.data.to_string()).collect()
    }

    /// Sends octets and waits for the reply.
    fn send(self, octets: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind((IpAddr::from(self.from), 0)).unwrap();
        socket.connect(self.at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(octets).unwrap();
        let mut reply = vec![0; 65_535];
        let len = socket.recv(&mut reply).expect("a reply");
        reply.truncate(len);
        reply
    }
}

/// The Extended DNS Errors of an answer: code and text (RFC 8914).
fn remarks(message: &Message) -> Vec<(u16, String)> {
    let options = message.edns.iter().flat_map(|edns| edns.options().as_ref());
    let remark = |option: &EdnsOption| match option {
        EdnsOption::Unknown(15, data) => {
            let text = String::from_utf8_lossy(&data[2..]).into_owned();
            Some((u16::from_be_bytes([data[0], data[1]]), text))
        }
        _ => None,
    };
    options.filter_map(|(_, option)| remark(option)).collect()
}

/// What a sentence about speed rests on: the median and the 99th percentile.
struct Latencies(Vec<std::time::Duration>);

impl Latencies {
    fn percentile(&self, percent: usize) -> std::time::Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (half, most, worst) = (self.percentile(50), self.percentile(99), self.percentile(100));
        write!(f, "{} answers, median {half:.1?}, p99 {most:.1?}, worst {worst:.1?}", self.0.len())
    }
}
