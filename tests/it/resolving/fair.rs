//! One client asks for more than an upstream may be sent, another for a little.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::Client;
use super::flood::{Ends, flood, median};
use crate::fixtures::promtool::Scrape;
use crate::fixtures::upstream::{Upstream, everything};
use crate::harness::{Dir, Server, remarks};

/// Names a second that no cache knows; without optimisation less, so that what
/// is tested is not the compiler.
const RATE: u32 = if cfg!(debug_assertions) { 1_500 } else { 3_000 };
const MAX_RATE: usize = if cfg!(debug_assertions) { 400 } else { 800 };

/// What the other client asks: about five questions a second, one for so many
/// packets to the upstream.
const FEW: usize = 15;
const PAUSE: usize = MAX_RATE / 5;

/// Packets that may reach the upstream before one of those questions does: a
/// quarter of a second's, for a machine that is busy. In order of arrival it
/// would be a whole second's.
const BEFORE: usize = MAX_RATE / 4;

fn server(upstream: &Upstream) -> (Dir, Server) {
    let dir = Dir::forwarding(&[upstream.at], "");
    dir.http();
    dir.write("server.toml", &format!("{}max_rate = {MAX_RATE}\n", dir.read("server.toml")));
    let server = Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LOG", "info");
    });
    (dir, server)
}

#[test]
fn a_flood_of_one_client_delays_nobody_else() {
    let upstream = Upstream::start(|asked| everything(asked).into());
    let (dir, server) = server(&upstream);
    let client = Client::of(server.dns).from("127.0.0.3");
    let (over, one) = (AtomicBool::new(false), [Ipv4Addr::new(127, 0, 0, 2)]);
    let (mut before, mut latencies) = (Vec::new(), Vec::new());
    let (tally, (metrics, status)) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(server.dns, &one, RATE, &over));
        let ends = Ends(&over);
        // Two of its seconds, so that the bucket and the line are used up.
        upstream.wait_for_len(MAX_RATE * 2);
        for nth in 0..FEW {
            upstream.wait_for_len(upstream.len() + PAUSE);
            let (name, seen, begun) = (format!("{nth}.few.test."), upstream.len(), Instant::now());
            let told = client.ask(&name, RecordType::A);
            latencies.push(begun.elapsed());
            assert_eq!(told.metadata.response_code, ResponseCode::NoError, "{:?}", remarks(&told));
            let place = upstream.asked().iter().position(|asked| asked.name() == name).unwrap();
            before.push(place.saturating_sub(seen));
        }
        let shown = (Scrape::of(&server.http()), server.shown_status(&dir));
        drop(ends);
        (flood.join().unwrap(), shown)
    });
    println!(
        "{tally:?}; the other client has its answers after {:.1?} in the middle; packets before \
         its questions: {before:?}",
        median(&latencies)
    );
    assert!(median(&before) <= BEFORE, "{before:?}");
    assert!(tally.answered > MAX_RATE, "the flood has all that is left");
    assert!(tally.failed > 0, "and is told about the rest");
    let of = format!("upstream=\"{}\"", upstream.at);
    assert!(metrics.value("eipdns_upstream_waiting", &of) > 0.0);
    let throttled = format!("{of},event=\"throttled\"");
    assert!(metrics.value("eipdns_upstream_queries_total", &throttled) > 0.0);
    let line = format!("upstream {}: up, ", upstream.at);
    assert!(status.contains(&line) && status.contains(" wait for max_rate, "), "{status}");
}
