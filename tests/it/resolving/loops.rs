//! Two servers that forward to each other.

use std::net::SocketAddr;
use std::sync::OnceLock;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::Client;
use crate::fixtures::daemon::free_port;
use crate::fixtures::upstream::{Answer, Upstream};
use crate::harness::{Dir, PATIENCE, Server, try_udp};

/// Tries of one question at one upstream: one a second until the deadline.
const TRIES: usize = 4;

fn start_at(dir: &Dir, at: SocketAddr) -> Server {
    Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LISTEN_DNS", at.to_string());
    })
}

fn finds_the_loop(server: &mut Server, upstream: SocketAddr) {
    let line = server.wait_for_start("a forwarding loop");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["upstream"], upstream.to_string());
    assert_eq!(line["fields"]["name"], ".");
}

/// first -> wire -> second -> first. The wire counts.
#[test]
fn a_loop_is_found_and_ends_in_servfail_not_in_a_storm() {
    static SECOND: OnceLock<SocketAddr> = OnceLock::new();
    let wire = Upstream::seeing_probes(|asked| {
        let through = SECOND.get().and_then(|at| try_udp(*at, &asked.octets, PATIENCE));
        through.map_or(Answer::Silence, |reply| Answer::Say(vec![reply]))
    });
    let at = free_port();
    let first_dir = Dir::forwarding(&[wire.at], "");
    let first = start_at(&first_dir, at);
    let second_dir = Dir::forwarding(&[at], "");
    let second = free_port();
    SECOND.set(second).unwrap();
    let mut second = start_at(&second_dir, second);
    finds_the_loop(&mut second, at);
    // Each looks when it starts, and for the first there was no loop then.
    assert!(first.stop().success());
    let mut first = start_at(&first_dir, at);
    finds_the_loop(&mut first, wire.at);

    let before = wire.asked().len();
    const NAMES: usize = 10;
    let ends = [first.dns, second.dns].map(Client::of);
    std::thread::scope(|scope| {
        let asks: Vec<_> = (0..NAMES)
            .flat_map(|n| ends.map(|client| (n, client)))
            .map(|(n, client)| {
                scope.spawn(move || {
                    let told = client.ask(&format!("x{n}.test."), RecordType::A);
                    told.metadata.response_code
                })
            })
            .collect();
        wire.wait_for("x0.test.", 1);
        for client in ends {
            assert_eq!(client.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
        }
        for ask in asks {
            assert_eq!(ask.join().unwrap(), ResponseCode::ServFail);
        }
    });
    let packets = wire.asked().len() - before;
    println!("a loop of two, {NAMES} names asked at both ends: {packets} packets on the wire");
    assert!(packets <= NAMES * TRIES, "{packets} packets");
}
