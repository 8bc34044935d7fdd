//! Two servers that forward to each other.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::upstream::{Answer, Upstream};
use super::{Client, ELASTIC, forwarding};
use crate::authority::daemon::free_port;
use crate::harness::{Dir, Server, try_udp};

/// glibc's.
const STUB_GIVES_UP: Duration = Duration::from_secs(5);

/// Tries of one question at one upstream: one a second until the deadline.
const TRIES: usize = 4;

fn configured(upstream: SocketAddr) -> Dir {
    let dir = forwarding(&[upstream], "");
    dir.write("example.com.toml", &format!("[names]\ndb = \"{ELASTIC}\"\n"));
    dir
}

fn start_at(dir: &Dir, at: SocketAddr) -> Server {
    Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LISTEN_DNS", at.to_string());
    })
}

fn finds_the_loop(server: &mut Server, upstream: SocketAddr) {
    let line = server.wait("a loop", |line| {
        let text = line["fields"]["message"].as_str().unwrap_or_default();
        text.starts_with("a forwarding loop")
    });
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["upstream"], upstream.to_string());
    assert_eq!(line["fields"]["name"], ".");
}

/// first -> wire -> second -> first. The wire counts.
#[test]
fn a_loop_is_found_and_ends_in_servfail_not_in_a_storm() {
    static SECOND: OnceLock<SocketAddr> = OnceLock::new();
    let wire = Upstream::seeing_probes(|asked| {
        let through = SECOND.get().and_then(|at| try_udp(*at, &asked.octets, STUB_GIVES_UP));
        through.map_or(Answer::Silence, |reply| Answer::Say(vec![reply]))
    });
    let at = free_port();
    let first_dir = configured(wire.at);
    let first = start_at(&first_dir, at);
    let second_dir = configured(at);
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
                    let begun = Instant::now();
                    let told = client.ask(&format!("x{n}.test."), RecordType::A);
                    (told.metadata.response_code, begun.elapsed())
                })
            })
            .collect();
        wire.wait_for("x0.test.", 1);
        for client in ends {
            assert_eq!(client.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
        }
        for ask in asks {
            let (rcode, took) = ask.join().unwrap();
            assert_eq!(rcode, ResponseCode::ServFail);
            assert!(took < STUB_GIVES_UP, "{took:?}");
        }
    });
    let packets = wire.asked().len() - before;
    println!("a loop of two, {NAMES} names asked at both ends: {packets} packets on the wire");
    assert!(packets <= NAMES * TRIES, "{packets} packets");
}
