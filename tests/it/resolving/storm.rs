//! Many questions for names that are not ours: the upstream gets no more than
//! its `max_rate`, and our own names do not wait.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;

use super::Client;
use super::flood::{Ends, flood, median};
use crate::fixtures::upstream::{Upstream, everything};
use crate::harness::{Dir, PRIVATE, Server};

/// Questions a second; without optimisation a tenth, so that what is measured
/// is not the compiler.
const RATE: u32 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
const CLIENTS: u8 = 100;
const MAX_RATE: usize = 200;

/// Packets to the upstream after which the storm ends: three seconds' at the least.
const PACKETS: usize = 3 * MAX_RATE;

/// Packets to the upstream between a question for our own name and its answer: a
/// quarter of a second's. In line with the others it would be a whole second's.
const BEFORE: usize = MAX_RATE / 4;

#[test]
fn an_upstream_gets_no_more_than_its_max_rate_and_own_names_do_not_wait() {
    let upstream = Upstream::start(|asked| everything(asked).into());
    let dir = Dir::forwarding(&[upstream.at], "");
    dir.write("server.toml", &format!("{}max_rate = {MAX_RATE}\n", dir.read("server.toml")));
    // A log line for each is what would be measured.
    let server = Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LOG", "info");
    });
    let own = Client::of(server.dns).from("127.2.0.1");
    assert_eq!(own.data("db.example.com.", RecordType::A), [PRIVATE]);

    let clients: Vec<_> = (1..=CLIENTS).map(|last| Ipv4Addr::new(127, 1, last, 1)).collect();
    let over = AtomicBool::new(false);
    let (mut before, mut latencies) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    let tally = std::thread::scope(|scope| {
        let storm = scope.spawn(|| flood(server.dns, &clients, RATE, &over));
        let ends = Ends(&over);
        // As the upstream gets them: one of ours for each packet.
        while upstream.len() < PACKETS {
            upstream.wait_for_len(upstream.len() + 1);
            let (seen, asked) = (upstream.len(), Instant::now());
            // A lost one ends the test.
            assert_eq!(own.data("db.example.com.", RecordType::A), [PRIVATE]);
            latencies.push(asked.elapsed());
            before.push(upstream.len() - seen);
        }
        drop(ends);
        storm.join().unwrap()
    });

    let arrivals: Vec<_> = upstream.asked().iter().map(|asked| asked.at).collect();
    let lasted = arrivals[arrivals.len() - 1] - begun;
    println!(
        "storm of {CLIENTS} clients: {tally:?}; {} packets to the upstream in {lasted:.1?}, \
         max_rate {MAX_RATE}; own names: {} answers, in the middle after {:.1?}",
        arrivals.len(),
        latencies.len(),
        median(&latencies)
    );
    // They are seen after they were sent, and none was sent before it began: that the
    // machine is busy makes it less. Half a second's may come at once.
    let most = MAX_RATE as f64 * (lasted + Duration::from_millis(500)).as_secs_f64();
    assert!(arrivals.len() as f64 <= most, "{} packets, {most}", arrivals.len());
    assert!(tally.failed > 0, "the rest is told so");
    assert!(median(&before) <= BEFORE, "{before:?}");
}
