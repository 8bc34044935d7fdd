//! Resolvers in front of us: each forwards a subzone, and follows a move.
//!
//! The zone's TTL is 0, so that what is seen after a move is what was asked
//! after it.

use std::net::{SocketAddr, UdpSocket};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::fixtures::daemon::{self, Daemon};
use crate::harness::{Dir, ELASTIC, Server, query, udp};
use crate::peers;

const ORIGIN: &str = "eip.example.test";

/// A server with one bound name of a zone whose TTL is 0.
fn server(listen: &str) -> (Dir, Server) {
    let dir = Dir::new("");
    dir.write(&format!("{ORIGIN}.toml"), &format!("ttl = 0\n[names]\ndb = \"{ELASTIC}\"\n"));
    let server = Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LISTEN_DNS", listen);
    });
    (dir, server)
}

fn data(at: SocketAddr, name: &str, rtype: RecordType) -> (ResponseCode, Vec<String>) {
    let reply = udp(at, &query(name, rtype).to_vec().unwrap());
    let message = Message::from_vec(&reply).unwrap();
    let data = message.answers.iter().map(|r| r.data.to_string()).collect();
    (message.metadata.response_code, data)
}

/// Asks through `front` before and after a move.
#[track_caller]
fn follows(who: &str, front: &Daemon, dir: &Dir, server: &mut Server) {
    let db = format!("db.{ORIGIN}.");
    for private in ["10.0.1.5", "10.0.2.7", "10.0.3.9"] {
        if data(server.dns, &db, RecordType::A).1 != [private] {
            dir.addresses(&[(ELASTIC, Some(private))]);
            server.wait_for("moved");
        }
        let answer = data(front.at, &db, RecordType::A);
        assert_eq!(answer, (ResponseCode::NoError, vec![private.to_owned()]), "{who}");
    }
    let none = data(front.at, &db, RecordType::AAAA);
    assert_eq!(none, (ResponseCode::NoError, vec![]), "{who}");
    let nowhere = data(front.at, &format!("nope.{ORIGIN}."), RecordType::A);
    assert_eq!(nowhere.0, ResponseCode::NXDomain, "{who}");
}

#[test]
fn bind_forwards_a_subzone() {
    let (dir, mut server) = server("127.0.0.1:0");
    // Authoritative for the parent, which therefore has to delegate.
    let parent = "example.test. 60 SOA ns1 hostmaster 1 60 60 60 0\n\
                  example.test. 60 NS ns1\nns1 60 A 127.0.0.1\n\
                  eip 60 NS ns1.eip\nns1.eip 60 A 127.0.0.1\n";
    let statements = format!(
        "zone \"example.test.\" {{ type primary; file \"example.test.zone\"; }};\n\
         zone \"{ORIGIN}\" {{ type forward; forward only; forwarders {{ {} port {}; }}; }};",
        server.dns.ip(),
        server.dns.port()
    );
    let zones = [("example.test.", parent)];
    let Some(front) = daemon::bind_with(&zones, "recursion yes;", &statements) else { return };
    follows("BIND, forward only", &front, &dir, &mut server);
}

#[test]
fn bind_asks_as_of_a_static_stub() {
    // It asks at port 53 and nowhere else.
    const AT: &str = "127.0.60.41:53";
    if let Err(error) = UdpSocket::bind(AT) {
        peers::missing(&format!("{AT}: {error}; run as root"));
        return;
    }
    let (dir, mut server) = server(AT);
    let statement =
        format!("zone \"{ORIGIN}\" {{ type static-stub; server-addresses {{ 127.0.60.41; }}; }};");
    let Some(front) = daemon::bind_with(&[], "recursion yes;", &statement) else { return };
    follows("BIND, static-stub", &front, &dir, &mut server);
}

#[test]
fn unbound_stubs_and_forwards() {
    let (dir, mut server) = server("127.0.0.1:0");
    let at = format!("{}@{}", server.dns.ip(), server.dns.port());
    for (kind, key) in [("stub-zone", "stub-addr"), ("forward-zone", "forward-addr")] {
        let statement = format!("{kind}:\n name: \"{ORIGIN}\"\n {key}: {at}\n");
        let Some(front) = daemon::unbound(&statement) else { return };
        follows(&format!("unbound, {kind}"), &front, &dir, &mut server);
    }
}

#[test]
fn dnsmasq_forwards() {
    let (dir, mut server) = server("127.0.0.1:0");
    let to = format!("--server=/{ORIGIN}/{}#{}", server.dns.ip(), server.dns.port());
    let Some(front) = daemon::dnsmasq(&[to]) else { return };
    follows("dnsmasq", &front, &dir, &mut server);
}
