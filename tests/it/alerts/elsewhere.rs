//! Trouble with what is not ours.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};

use super::promtool::promtool;
use super::{fires, one_name, until, well, while_it_lasts};
use crate::authority::daemon::free_port;
use crate::harness::{Dir, Server};

fn forwarding(upstream: SocketAddr) -> Dir {
    one_name(&format!("forward = true\n[[forward]]\nupstreams = [\"{upstream}\"]\n"))
}

/// A resolver that knows an address for every name, `after` a while.
pub(crate) fn resolver(after: Duration) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    // Ends with the tests.
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            message.metadata.recursion_available = true;
            let query = message.queries[0].clone();
            if query.query_type() == RecordType::A {
                let data = RData::A(rdata::A::new(192, 0, 2, 80));
                message.answers.push(Record::from_rdata(query.name().clone(), 60, data));
            }
            let (socket, reply) = (socket.try_clone().unwrap(), message.to_vec().unwrap());
            std::thread::spawn(move || {
                std::thread::sleep(after);
                let _ = socket.send_to(&reply, client);
            });
        }
    });
    at
}

fn ask(server: &Server, name: &str) {
    let answer = server.ask(name, RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{answer}");
}

#[test]
fn upstreams_that_are_well_and_ones_that_are_slow() {
    let Some(promtool) = promtool() else { return };
    for (after, expected) in
        [(Duration::ZERO, &[][..]), (Duration::from_millis(700), &["EipdnsForwardingSlow"])]
    {
        let dir = forwarding(resolver(after));
        let server = Server::start(dir.path());
        let before = well(&server);
        for name in ["a.test.", "b.test.", "a.test."] {
            ask(&server, name);
        }
        let waited = "eipdns_forwarded_duration_seconds_count";
        let after = until(&server, "counted", |s| s.value(waited, "") == 2.0);
        fires(&promtool, &while_it_lasts(&before, &after), expected);
    }
}

#[test]
fn an_upstream_that_is_gone() {
    let Some(promtool) = promtool() else { return };
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = silent.local_addr().unwrap();
    let dir = forwarding(upstream);
    let mut server = Server::start(dir.path());
    let before = well(&server);
    let answer = server.ask("www.test.", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    server.wait("upstream is down", |line| {
        line["fields"]["message"].as_str().is_some_and(|m| m.starts_with("upstream is down"))
    });
    let after = until(&server, "it is told", |scrape| {
        scrape.value("eipdns_upstream_up", &format!("upstream=\"{upstream}\"")) == 0.0
    });
    let expected = ["EipdnsForwardingSlow", "EipdnsUpstreamDown"];
    fires(&promtool, &while_it_lasts(&before, &after), &expected);
}

#[test]
fn two_that_forward_to_each_other() {
    let Some(promtool) = promtool() else { return };
    let (one, other) = (free_port(), free_port());
    let start = |dir: &Dir, at: SocketAddr| {
        Server::start_with(dir.path(), |command| {
            command.env("EIPDNS_LISTEN_DNS", at.to_string());
        })
    };
    let (first_dir, second_dir) = (forwarding(other), forwarding(one));
    let _first = start(&first_dir, one);
    let mut second = start(&second_dir, other);
    well(&second);
    second.wait("a loop", |line| {
        line["fields"]["message"].as_str().is_some_and(|m| m.starts_with("a forwarding loop"))
    });
    let after = until(&second, "it is told", |s| s.value("eipdns_forward_loops", "") > 0.0);
    fires(&promtool, &while_it_lasts(&after, &after), &["EipdnsForwardingLoop"]);
}
