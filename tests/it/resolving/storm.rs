//! Many questions for names that are not ours: the upstream gets no more than
//! its `max_rate`, and our own names do not wait.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;

use super::upstream::Upstream;
use super::{Client, ELASTIC, Latencies, forwarding};
use crate::harness::{Dir, Server, query};

/// Questions a second; without optimisation a tenth, so that what is measured
/// is not the compiler.
const RATE: u32 = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
const LASTS: Duration = Duration::from_secs(4);
const CLIENTS: u8 = 100;
const MAX_RATE: usize = 200;

/// Between two questions for our own name.
const PAUSE: Duration = Duration::from_millis(5);

/// No own answer may take as long, however busy the machine.
const BOUND: Duration = Duration::from_secs(1);

/// What the clients of the storm got.
#[derive(Debug, Default)]
struct Tally {
    sent: u32,
    answered: u32,
    failed: u32,
}

/// Asks for another name each time, from one client after the other.
fn storm(at: SocketAddr) -> Tally {
    let sockets: Vec<_> = (1..=CLIENTS)
        .map(|last| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 1, last, 1), 0)).unwrap();
            socket.connect(at).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();
    let mut tally = Tally::default();
    let drain = |socket: &UdpSocket, tally: &mut Tally| {
        let mut reply = [0; 1_500];
        while let Ok(len) = socket.recv(&mut reply) {
            match reply[..len][3] & 0x0f {
                0 => tally.answered += 1,
                _ => tally.failed += 1,
            }
        }
    };
    let template = query("0123456789abcdef.test.", RecordType::A).to_vec().unwrap();
    let begun = Instant::now();
    for (n, socket) in (0u32..).zip(sockets.iter().cycle()) {
        let due = begun + Duration::from_secs(1) * n / RATE;
        if due.duration_since(begun) >= LASTS {
            break;
        }
        // Behind its time it sends without a pause.
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        let mut octets = template.clone();
        octets[..2].copy_from_slice(&(n as u16).to_be_bytes());
        octets[13..29].copy_from_slice(format!("{n:016x}").as_bytes());
        drain(socket, &mut tally);
        tally.sent += u32::from(socket.send(&octets).is_ok());
    }
    sockets.iter().for_each(|socket| drain(socket, &mut tally));
    tally
}

/// The most that came within one second.
fn busiest_second(arrivals: &[Instant]) -> usize {
    let within = |(first, from): (usize, &Instant)| {
        arrivals[first..].iter().take_while(|at| **at - *from < Duration::from_secs(1)).count()
    };
    arrivals.iter().enumerate().map(within).max().unwrap_or(0)
}

fn server(upstream: &Upstream) -> (Dir, Server) {
    let dir = forwarding(&[upstream.at], "");
    let server = std::fs::read_to_string(dir.path().join("server.toml")).unwrap();
    dir.write("server.toml", &format!("{server}max_rate = {MAX_RATE}\n"));
    dir.write("example.com.toml", &format!("[names]\ndb = \"{ELASTIC}\"\n"));
    // A log line for each is what would be measured.
    let server = Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LOG", "info");
    });
    (dir, server)
}

#[test]
fn an_upstream_gets_no_more_than_its_max_rate_and_own_names_are_in_time() {
    let upstream = Upstream::start(|asked| {
        asked.with(&[&format!("{} 300 A 192.0.2.80", asked.name())]).into()
    });
    let (_dir, server) = server(&upstream);
    let own = Client::of(server.dns).from("127.2.0.1");
    assert_eq!(own.data("db.example.com.", RecordType::A), ["10.0.1.5"]);

    let over = AtomicBool::new(false);
    let mut latencies = Latencies(Vec::new());
    let begun = Instant::now();
    let tally = std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let tally = storm(server.dns);
            over.store(true, Ordering::Relaxed);
            tally
        });
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            // A lost one ends the test.
            assert_eq!(own.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
            latencies.0.push(begun.elapsed());
            std::thread::sleep(PAUSE);
        }
        storm.join().unwrap()
    });
    let lasted = begun.elapsed();

    let arrivals: Vec<_> = upstream.asked().iter().map(|asked| asked.at).collect();
    let (first, last) = (arrivals[0], arrivals[arrivals.len() - 1]);
    println!(
        "storm of {CLIENTS} clients: {tally:?} in {lasted:.1?}; to the upstream {} packets in \
         {:.1?}, {} in the busiest second, max_rate {MAX_RATE}\nown names meanwhile: {latencies}",
        arrivals.len(),
        last - first,
        busiest_second(&arrivals)
    );
    // When a packet is seen is not quite when it was sent.
    let jitter = Duration::from_millis(500);
    let most = MAX_RATE as f64 * (last - first + jitter).as_secs_f64();
    assert!(arrivals.len() as f64 <= most, "{} packets, {most}", arrivals.len());
    assert!(arrivals.len() > MAX_RATE, "and what may be used is used: {}", arrivals.len());
    assert!(tally.failed > 0, "the rest is told so");
    assert!(latencies.percentile(100) < BOUND, "{latencies}");
}
