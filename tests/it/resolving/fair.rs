//! One client asks for more than an upstream may be sent, another for a little.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::upstream::Upstream;
use super::{Client, Latencies, forwarding, remarks};
use crate::harness::http_get;
use crate::harness::{Dir, Server, eipdns, query};

/// Names a second that no cache knows; without optimisation less, so that what
/// is tested is not the compiler.
const RATE: u32 = if cfg!(debug_assertions) { 1_500 } else { 3_000 };
const MAX_RATE: usize = if cfg!(debug_assertions) { 400 } else { 800 };

/// What the other client asks: five questions a second.
const FEW: usize = 15;
const PAUSE: Duration = Duration::from_millis(200);

/// The flood at most.
const MOST: u32 = RATE * 20;

/// Packets that may reach the upstream before one of those questions does: a
/// quarter of a second's, for a machine that is busy. In order of arrival it
/// would be a whole second's.
const BEFORE: usize = MAX_RATE / 4;

/// What became of the flood.
#[derive(Debug, Default)]
struct Tally {
    sent: u32,
    answered: u32,
    failed: u32,
    /// How long each answer took.
    latencies: Vec<Duration>,
}

/// Asks for one name after the other, from one address, until it is over.
fn flood(at: SocketAddr, over: &AtomicBool) -> Tally {
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    socket.connect(at).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut tally = Tally::default();
    let mut sent_at = vec![Instant::now(); 1 << 16];
    let drain = |tally: &mut Tally, sent_at: &[Instant]| {
        let mut reply = [0; 1_500];
        while let Ok(len) = socket.recv(&mut reply) {
            match reply[..len][3] & 0x0f {
                0 => {
                    let id = u16::from_be_bytes([reply[0], reply[1]]);
                    tally.answered += 1;
                    tally.latencies.push(sent_at[usize::from(id)].elapsed());
                }
                _ => tally.failed += 1,
            }
        }
    };
    let template = query("0123456789abcdef.flood.test.", RecordType::A).to_vec().unwrap();
    let begun = Instant::now();
    for n in 0..MOST {
        if over.load(Ordering::Relaxed) {
            break;
        }
        if let Some(early) =
            (begun + Duration::from_secs(1) * n / RATE).checked_duration_since(Instant::now())
        {
            std::thread::sleep(early);
        }
        let mut octets = template.clone();
        octets[..2].copy_from_slice(&(n as u16).to_be_bytes());
        octets[13..29].copy_from_slice(format!("{n:016x}").as_bytes());
        sent_at[usize::from(n as u16)] = Instant::now();
        tally.sent += u32::from(socket.send(&octets).is_ok());
        drain(&mut tally, &sent_at);
    }
    tally
}

fn server(upstream: &Upstream) -> (Dir, Server) {
    let dir = forwarding(&[upstream.at], "");
    let server = std::fs::read_to_string(dir.path().join("server.toml")).unwrap();
    let server = server.replace("[listen]", "[listen]\nhttp = \"127.0.0.1:0\"");
    dir.write("server.toml", &format!("{server}max_rate = {MAX_RATE}\n"));
    let server = Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LOG", "info");
    });
    (dir, server)
}

/// What the server shows of it: the metrics, and the line of `eipdns status`.
fn shown(dir: &Dir, server: &Server) -> (String, String) {
    let lines = server.lines();
    let listens = |line: &&Value| line["fields"]["message"] == "listening for HTTP";
    let http = lines.iter().find(listens).expect("the HTTP side is said");
    let http = http["fields"]["address"].as_str().unwrap();
    let config = dir.path().to_str().unwrap();
    let status = eipdns(&["status", "--config", config, "--listen-http", http]);
    (http_get(http, "/metrics", ""), String::from_utf8(status.stdout).unwrap())
}

#[test]
fn a_flood_of_one_client_delays_nobody_else() {
    let upstream = Upstream::start(|asked| {
        asked.with(&[&format!("{} 300 A 192.0.2.80", asked.name())]).into()
    });
    let (dir, server) = server(&upstream);
    let client = Client::of(server.dns).from("127.0.0.3");
    let over = AtomicBool::new(false);
    let (mut before, mut latencies) = (Vec::new(), Latencies(Vec::new()));
    let all = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(server.dns, &over));
        // Two of its seconds, so that the bucket and the line are used up.
        while upstream.len() < MAX_RATE * 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        for nth in 0..FEW {
            std::thread::sleep(PAUSE);
            let (name, seen, begun) = (format!("{nth}.few.test."), upstream.len(), Instant::now());
            let told = client.ask(&name, RecordType::A);
            latencies.0.push(begun.elapsed());
            assert_eq!(told.metadata.response_code, ResponseCode::NoError, "{:?}", remarks(&told));
            let place = upstream.asked().iter().position(|asked| asked.name() == name).unwrap();
            before.push(place.saturating_sub(seen));
        }
        let shown = shown(&dir, &server);
        over.store(true, Ordering::Relaxed);
        (flood.join().unwrap(), shown)
    });
    let (tally, (metrics, status)) = all;
    let of_flood = Latencies(tally.latencies.clone());
    println!(
        "of {} questions {} were answered and {} turned away: {of_flood}\nthe other client: \
         {latencies}; packets before its questions: {before:?}",
        tally.sent, tally.answered, tally.failed
    );
    assert!(before.iter().all(|before| *before <= BEFORE), "{before:?}");
    assert!(latencies.percentile(50) < of_flood.percentile(50), "{latencies}, {of_flood}");
    assert!(tally.answered > MAX_RATE as u32, "the flood has all that is left");
    assert!(tally.failed > 0, "and is told about the rest");
    let value = |of: &str| {
        let start = format!("eipdns_upstream_{of}");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{start} is not in\n{metrics}")).parse::<f64>().unwrap()
    };
    assert!(value(&format!("waiting{{upstream=\"{}\"}}", upstream.at)) > 0.0);
    let turned_away =
        value(&format!("queries_total{{upstream=\"{}\",event=\"throttled\"}}", upstream.at));
    assert!(turned_away > 0.0);
    let line = format!("upstream {}: up, ", upstream.at);
    assert!(status.contains(&line) && status.contains(" wait for max_rate, "), "{status}");
}
