//! Trouble with what is not ours.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::{forwarding, scrape_until, well};
use crate::fixtures::daemon::free_port;
use crate::fixtures::promtool::{fires, promtool, while_it_lasts};
use crate::fixtures::upstream::{Upstream, everything};
use crate::harness::{Dir, Server};

/// A resolver that knows an address for every name, `after` a while: that it is slow
/// in real time is what its alert is about.
fn resolver(after: Duration) -> Upstream {
    Upstream::start(move |asked| {
        std::thread::sleep(after);
        everything(asked).into()
    })
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
        let resolver = resolver(after);
        let dir = forwarding(resolver.at);
        let server = Server::start(dir.path());
        let before = well(&server);
        for name in ["a.test.", "b.test.", "a.test."] {
            ask(&server, name);
        }
        let waited = "eipdns_forwarded_duration_seconds_count";
        let after = scrape_until(&server, "counted", |s| s.value(waited, "") == 2.0);
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
    server.wait_for_start("upstream is down");
    let after = scrape_until(&server, "it is told", |scrape| {
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
    second.wait_for_start("a forwarding loop");
    let after = scrape_until(&second, "it is told", |s| s.value("eipdns_forward_loops", "") > 0.0);
    fires(&promtool, &while_it_lasts(&after, &after), &["EipdnsForwardingLoop"]);
}
