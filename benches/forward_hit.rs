//! What a cached forwarded answer costs: looked up, composed.
//!
//! `cargo bench --no-default-features --bench forward_hit`
//!
//! Prints nanoseconds of CPU per answer (the threads' own time, so that other
//! work on the machine counts little), for few and many names, one thread and
//! two. Nothing is asserted: it is for comparing before and after a change.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on should stop")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Instant;

use eipdns::config::{ForwardConfig, Rule};
use eipdns::dns::name::Key;
use eipdns::forward::{Asked, Edns, Forwarder, Query, Question, compose};
use eipdns::host::descriptors::Share;

const ANSWERS: usize = 2_000_000;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let upstreams = vec![socket.local_addr().unwrap()];
    std::thread::spawn(move || answer_all(&socket));
    let rule = Rule { names: vec![Key::root()], upstreams, max_rate: None };
    let (forwarder, driver) =
        Forwarder::new(&ForwardConfig { rules: vec![rule] }, &Share::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(driver.run());

    let names: Vec<Key> = (0..20_000).map(name).collect();
    let requests: Vec<Request> = names.iter().map(Request::new).collect();
    let begun = (Instant::now(), process_cpu());
    for some in requests.chunks(500) {
        let ask = |request: &Request| forwarder.ask(&request.question(), CLIENT, Instant::now());
        let asked: Vec<Asked> = some.iter().map(ask).collect();
        for asked in asked {
            if let Asked::Later(ticket) = asked {
                runtime.block_on(ticket);
            }
        }
    }
    let asked = requests.len() as u64;
    println!(
        "asked, 500 at once, upstream included: {} ns CPU, {} ns",
        (process_cpu() - begun.1) / asked,
        begun.0.elapsed().as_nanos() as u64 / asked,
    );
    println!("{:?}", forwarder.cache().stats());

    for (names, threads) in [(1, 1), (1_000, 1), (20_000, 1), (1, 2), (1_000, 2), (20_000, 2)] {
        let requests = &requests[..names];
        let spent: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let one = || scope.spawn(|| serve(&forwarder, requests));
            let all: Vec<_> = (0..threads).map(|_| one()).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let per = |total: u64| total / (ANSWERS * threads) as u64;
        let cpu = per(spent.iter().map(|(cpu, _)| cpu).sum());
        let cached = per(spent.iter().map(|(_, cached)| cached).sum());
        println!(
            "{names:>6} names, {threads} threads: {cpu} ns per answer, of it look-up {cached}"
        );
    }
}

/// CPU time of many answers, and of their look-ups alone.
fn serve(forwarder: &Forwarder, requests: &[Request]) -> (u64, u64) {
    let mut reply = Vec::with_capacity(1232);
    let mut each = |write: bool| {
        let begun = thread_cpu();
        // A stride that is no factor of the numbers of names: no order that
        // the processor could foresee.
        for nth in 0..ANSWERS {
            let request = &requests[nth.wrapping_mul(7_919) % requests.len()];
            let hit = forwarder.cached(&request.question(), CLIENT, Instant::now()).unwrap();
            if write {
                compose(&hit, &request.query(), &[], &mut reply);
                black_box(&reply);
            }
        }
        thread_cpu() - begun
    };
    let look_up = each(false);
    (each(true), look_up)
}

/// A client's request with EDNS, already read.
struct Request {
    /// The name, type and class.
    asked: Vec<u8>,
}

impl Request {
    fn new(name: &Key) -> Self {
        Self { asked: [name.octets(), &[0, 1, 0, 1]].concat() }
    }

    fn question(&self) -> Question<'_> {
        let name = &self.asked[..self.asked.len() - 4];
        Question { name, rtype: 1, class: 1, dnssec_ok: false, checking_disabled: false }
    }

    fn query(&self) -> Query<'_> {
        let edns = Some(Edns { dnssec_ok: false, options: &[] });
        Query { head: [0, 1, 1, 0], question: &self.asked, limit: 1232, edns }
    }
}

fn name(nth: usize) -> Key {
    Key::parse(&format!("host{nth}.cluster.example.org."), None).unwrap()
}

/// An upstream: four addresses for everything.
fn answer_all(socket: &UdpSocket) {
    let mut octets = [0; 512];
    while let Ok((len, from)) = socket.recv_from(&mut octets) {
        let mut reply = octets[..len - 11].to_vec();
        reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 4, 0, 0, 0, 0]);
        for last in 0..4 {
            reply.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02");
            reply.push(last);
        }
        if socket.send_to(&reply, from).is_err() {
            return;
        }
    }
}

/// Nanoseconds on a processor, by the scheduler's book.
fn thread_cpu() -> u64 {
    schedstat("/proc/thread-self/schedstat")
}

/// The same for all threads there are.
fn process_cpu() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let book = |task: std::io::Result<std::fs::DirEntry>| task.unwrap().path().join("schedstat");
    tasks.map(|task| schedstat(book(task))).sum()
}

fn schedstat(path: impl AsRef<std::path::Path>) -> u64 {
    let book = std::fs::read_to_string(path).unwrap();
    book.split(' ').next().unwrap().parse().unwrap()
}
