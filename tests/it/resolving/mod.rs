//! The face in resolv.conf: real stub resolvers, real resolvers in front and
//! behind, and upstreams that misbehave.

mod aliases;
mod bind;
mod caches;
mod dead;
mod fair;
mod flood;
mod home;
mod late;
mod links;
mod loops;
mod order;
mod passed;
mod rewriting;
mod rolling;
mod scripts;
mod signed;
mod special;
mod storm;
mod stubs;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;

use crate::answers::render;
use crate::harness::{PATIENCE, query};

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
