//! Resolvers in front that forward reverse zones here, set up as the README says: BIND and
//! unbound know private reverse zones as empty ones, unless they are told otherwise.

use hickory_proto::rr::RecordType;

use super::{REVERSE, owner};
use crate::fixtures::daemon::{Daemon, bind_with, unbound};
use crate::harness::{Dir, ELASTIC, PRIVATE, Server, query, udp};

/// What the resolver behind says of an address that is not ours.
const FOREIGN: &str = "10.9.9.9";
const FOREIGN_NAME: &str = "ip-10-9-9-9.ec2.internal.";

/// eipdns, and the resolver that it forwards to.
struct Back {
    dir: Dir,
    server: Server,
    _upstream: Daemon,
}

impl Back {
    fn new() -> Option<Self> {
        let upstream = unbound(&format!(
            "server:\n local-zone: \"10.in-addr.arpa.\" static\n \
             local-data: \"10.in-addr.arpa. 60 IN SOA ns.test. host.test. 1 2 3 4 5\"\n \
             local-data: \"{} 60 IN PTR {FOREIGN_NAME}\"\n",
            owner(FOREIGN)
        ))?;
        let dir = Dir::forwarding(&[upstream.at], REVERSE);
        dir.addresses(&[(ELASTIC, Some(PRIVATE))]);
        let server = Server::start(dir.path());
        Some(Self { dir, server, _upstream: upstream })
    }
}

fn names(front: &Daemon, ip: &str) -> Vec<String> {
    let reply = udp(front.at, &query(&owner(ip), RecordType::PTR).to_vec().unwrap());
    let message = hickory_proto::op::Message::from_vec(&reply).unwrap();
    message.answers.iter().map(|one| one.data.to_string()).collect()
}

#[track_caller]
fn follows_a_move(back: &mut Back, front: &Daemon) {
    assert_eq!(names(front, PRIVATE), ["db.example.com."]);
    assert_eq!(names(front, FOREIGN), [FOREIGN_NAME], "the rest goes on to the VPC's resolver");
    back.server.moves(&back.dir, "10.0.2.7");
    assert_eq!(names(front, "10.0.2.7"), ["db.example.com."]);
    assert_eq!(names(front, PRIVATE), [""; 0]);
}

#[test]
fn unbound_in_front() {
    let Some(mut back) = Back::new() else { return };
    let to = back.server.dns;
    let forward = format!(
        "forward-zone:\n name: \"10.in-addr.arpa.\"\n forward-addr: {}@{}\n",
        to.ip(),
        to.port()
    );
    let nodefault = "server:\n local-zone: \"10.in-addr.arpa.\" nodefault\n";
    let Some(plain) = unbound(&forward) else { return };
    assert_eq!(names(&plain, PRIVATE), [""; 0], "unbound answers it itself unless told");
    let Some(front) = unbound(&format!("{nodefault}{forward}")) else { return };
    follows_a_move(&mut back, &front);
}

#[test]
fn bind_in_front() {
    let Some(mut back) = Back::new() else { return };
    let to = back.server.dns;
    let zone = format!(
        "zone \"10.in-addr.arpa\" {{ type forward; forward only; forwarders {{ {} port {}; }}; }};\n",
        to.ip(),
        to.port()
    );
    // The fixture says `empty-zones-enable no`.
    let Some(front) = bind_with(&[], "recursion yes;", &zone) else { return };
    follows_a_move(&mut back, &front);
}
