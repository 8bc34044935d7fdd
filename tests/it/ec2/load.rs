//! Moves under a steady load: no query is lost, none is answered with what is
//! over, and how soon the first new answer comes.
//!
//! Times are printed and not judged: the pace of calls is tested on a virtual clock,
//! where they are made (`source::poll`).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;

use super::moto::Moto;
use super::scripted::{Ec2, public};
use super::{configure, http, settled, source, web};
use crate::fixtures::waiting::eventually;
use crate::harness::{Server, query};

/// Queries a second, in bursts of one [`TICK`].
const RATE: u32 = 3_000;
const TICK: Duration = Duration::from_millis(1);

/// Queries under way at most: what a socket's buffer surely takes, so that a
/// busy machine makes the load smaller and loses nothing by itself.
const WINDOW: usize = 64;

/// How many answers come before the first move, and after the last one.
const SETTLES: usize = 1_000;

/// The load ends by itself before an id comes twice.
const MOST: usize = u16::MAX as usize;

/// A query of the load.
struct Asked {
    sent: Instant,
    answered: Option<(Instant, Ipv4Addr)>,
}

/// Asks for `name` at [`RATE`] until told to stop.
fn load(dns: SocketAddr, name: &str, stop: &AtomicBool, answered: &AtomicUsize) -> Vec<Asked> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(dns).unwrap();
    let receives = socket.try_clone().unwrap();
    let mut octets = query(name, RecordType::A).to_vec().unwrap();
    let sending = AtomicBool::new(true);
    let (sent, received) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            receives.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let mut all = Vec::new();
            let mut reply = [0; 1500];
            // A second of silence at the end: what is not there by then is lost.
            loop {
                match receives.recv(&mut reply) {
                    Ok(len) => {
                        answered.fetch_add(1, Ordering::Relaxed);
                        let id = u16::from_be_bytes([reply[0], reply[1]]);
                        all.push((id, Instant::now(), address(&reply[..len])));
                    }
                    Err(_) if sending.load(Ordering::Relaxed) => {}
                    Err(_) => return all,
                }
            }
        });
        let began = Instant::now();
        let mut sent = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let due = (began.elapsed().as_secs_f64() * f64::from(RATE)) as usize;
            let due = due.min(answered.load(Ordering::Relaxed) + WINDOW).min(MOST);
            while sent.len() < due {
                octets[..2].copy_from_slice(&(sent.len() as u16).to_be_bytes());
                sent.push(Instant::now());
                socket.send(&octets).unwrap();
            }
            std::thread::sleep(TICK);
        }
        sending.store(false, Ordering::Relaxed);
        (sent, receiver.join().unwrap())
    });
    let mut all: Vec<_> = sent.into_iter().map(|sent| Asked { sent, answered: None }).collect();
    for (id, at, address) in received {
        let asked = &mut all[usize::from(id)];
        assert!(asked.answered.is_none(), "one answer for each query");
        asked.answered = Some((at, address));
    }
    all
}

/// The only A record of a reply, whose rdata stands before its OPT record of
/// eleven octets.
fn address(reply: &[u8]) -> Ipv4Addr {
    assert_eq!(reply[3] & 0x0F, 0, "NOERROR");
    assert_eq!(reply[6..8], [0, 1], "one answer");
    let message = hickory_proto::op::Message::from_vec(reply).unwrap();
    message.answers[0].data.to_string().parse().unwrap()
}

/// Makes moves under load, one after the other. `moves` makes the move to the
/// address it is given and returns when it is made; the next one follows the
/// first new answer.
fn moves_under_load(
    server: &mut Server,
    name: &str,
    words: &str,
    places: &[Ipv4Addr],
    mut moves: impl FnMut(&Server, Ipv4Addr),
) {
    let first: Ipv4Addr = server.data(name, RecordType::A)[0].parse().unwrap();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let settle = || {
        let enough = answered.load(Ordering::Relaxed) + SETTLES;
        eventually("a load", || answered.load(Ordering::Relaxed) >= enough);
    };
    let dns = server.dns;
    let mut made = Vec::new();
    let all = std::thread::scope(|scope| {
        let load = scope.spawn(|| load(dns, name, &stop, &answered));
        settle();
        for place in places {
            moves(server, *place);
            made.push(Instant::now());
            let to = place.to_string();
            server.wait("the move", |l| {
                l["fields"]["message"] == "moved" && l["fields"]["new"] == to.as_str()
            });
        }
        settle();
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });

    let (begin, end) = (all.first().expect("a load").sent, all.last().expect("a load").sent);
    let rate = all.len() as f64 / (end - begin).as_secs_f64();
    let lost = all.iter().filter(|asked| asked.answered.is_none()).count();
    assert_eq!(lost, 0, "of {} queries", all.len());
    let mut firsts = Vec::new();
    for (place, made) in places.iter().zip(&made) {
        let new = all.iter().filter_map(|a| a.answered).filter(|(_, to)| to == place);
        let (at, _) = new.min_by_key(|(at, _)| *at).expect("an answer with the new address");
        firsts.push((at, at.saturating_duration_since(*made)));
    }
    // What is asked after the first new answer never gets an older one.
    let order: Vec<Ipv4Addr> = [first].into_iter().chain(places.iter().copied()).collect();
    for asked in &all {
        let Some((_, to)) = asked.answered else { continue };
        let least = firsts.iter().filter(|(at, _)| *at < asked.sent).count();
        let place = order.iter().position(|p| *p == to).expect("an address that was true");
        assert!(place >= least, "{to} again, after {}", order[least]);
    }
    let call = server.status()["sources"][0]["last_call_ms"].as_f64().unwrap();
    let shown: Vec<_> =
        firsts.iter().map(|(_, t)| format!("{:.1}", t.as_secs_f64() * 1e3)).collect();
    println!(
        "{words}: {} queries, {rate:.0} a second, none lost; move to first new answer {} ms; the last call {call:.1} ms",
        all.len(),
        shown.join(", ")
    );
}

fn places(network: u8, n: u8) -> Vec<Ipv4Addr> {
    (1..=n).map(|n| Ipv4Addr::new(172, 31, network, n)).collect()
}

#[test]
fn polled_every_second() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "1s", ""), "", "db = \"75.101.137.1\"");
    let mut server = settled(&dir);
    moves_under_load(
        &mut server,
        "db.example.com.",
        "scripted EC2, poll 1 s",
        &places(9, 4),
        |_, to| drop(ec2.associate(&public(1), &to.to_string())),
    );
}

#[test]
fn moto_polled_every_second() {
    let Some(moto) = Moto::start() else { return };
    let east = moto.in_region("us-east-1");
    let places = places(5, 4);
    let mut interfaces: Vec<_> = places.iter().map(|p| east.interface(&p.to_string())).collect();
    interfaces.reverse();
    let allocation = east.allocate("75.101.137.1", "Role", "db");
    east.associate(&allocation, &east.interface("172.31.6.1"));
    let dir = configure(&source("east", &moto.url(), "1s", ""), "", "db = \"75.101.137.1\"");
    let mut server = settled(&dir);
    moves_under_load(&mut server, "db.example.com.", "moto, poll 1 s", &places, |_, _| {
        drop(east.associate(&allocation, &interfaces.pop().unwrap()))
    });
}

#[test]
fn refreshed_at_once() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "60s", ""), "", "db = \"75.101.137.1\"");
    let mut server = settled(&dir);
    let at = http(&server);
    std::thread::scope(|scope| {
        moves_under_load(
            &mut server,
            "db.example.com.",
            "scripted EC2, poll 60 s and a refresh",
            &places(9, 8),
            |_, to| {
                ec2.associate(&public(1), &to.to_string());
                // Not waited for: its time is part of what is measured.
                scope.spawn(move || assert_eq!(web::post(at, "/api/refresh").0, 200));
            },
        );
    });
}
