//! What a move costs, from a source's delivery to the swap, and what the
//! tables that make it cheap cost readers.
//!
//! `cargo bench --no-default-features --bench swap_cost`
//!
//! The machine should be quiet; if it is not, `chrt -f 1` before the program
//! keeps others off its core. Nothing is asserted: it is for comparing before
//! and after a change.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on should stop")]

mod account;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use eipdns::config::Guard;
use eipdns::dns::name::Key;
use eipdns::snapshot::Node;
use eipdns::source::accept::{Accepted, Policy, accept};
use eipdns::source::inventory::{Address, Addresses};
use eipdns::source::known::shared;
use eipdns::source::usable::Said;
use eipdns::writer::Writer;

use account::{address, allocation, config, delivery, elastic_ip, private_ip, writer};

const MOVES: usize = 50;
const LOOK_UPS: usize = 5_000_000;

const VIEWS: &str = r#"
[[view]]
name = "vpc"
clients = ["10.0.0.0/8"]
answer = "private"
[[view]]
name = "inside"
clients = ["172.16.0.0/12"]
answer = "cname"
[[view]]
name = "outside"
clients = ["0.0.0.0/0"]
answer = "public"
"#;

fn main() {
    let fixed = |n: u32| format!("{{ address = \"{}\" }}", private_ip(n));
    let by_ip = |n: u32| format!("\"{}\"", elastic_ip(n));
    let by_allocation = |n: u32| format!("\"{}\"", allocation(n));
    println!(
        "{:36}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "three views", "build ms", "move ms", "most", "free ms", "poll ms"
    );
    measure("10000 bound by Elastic IP", 10_000, &by_ip);
    measure("10000 bound by allocation", 10_000, &by_allocation);
    measure("100000 bound, 10000 addresses", 100_000, &|n| by_ip(n % 10_000));
    measure("1 bound, 100000 fixed", 100_001, &|n| if n == 0 { by_ip(n) } else { fixed(n) });
}

fn measure(title: &str, names: u32, target: &dyn Fn(u32) -> String) {
    let entries: String = (0..names).map(|n| format!("h{n} = {}\n", target(n))).collect();
    let mut writer = writer(config(VIEWS, &format!("[names]\n{entries}")));
    let mut answer: Vec<Arc<Address>> =
        (0..10_000).map(|at| address(order(at), 0).into()).collect();
    let begun = Instant::now();
    assert!(writer.take(0, &delivery(&answer)).is_ok());
    let build = begun.elapsed();
    writer.free_retired(true);

    let mut moves = Vec::new();
    let mut freed = Duration::ZERO;
    for nth in 0..MOVES as u32 {
        // Two hosts take over each other's addresses.
        for (at, number) in [(0, 0), (nth * 99 + 1, order(nth * 99 + 1))] {
            answer[at as usize] = address(number, nth + 1).into();
        }
        let delivery = delivery(&answer);
        let begun = Instant::now();
        let taken = writer.take(0, &delivery);
        moves.push(begun.elapsed());
        assert!(taken.is_ok());
        let begun = Instant::now();
        writer.free_retired(true);
        freed += begun.elapsed();
    }
    let polled = poll_cost(&answer);
    assert!(writer.moves() >= MOVES as u64, "what should move did not");
    moves.sort_unstable();
    let (usual, most) = (moves[MOVES / 2], moves[MOVES - 1]);
    let [build, usual, most, free, polled] =
        [build, usual, most, freed / MOVES as u32, polled].map(|took| took.as_secs_f64() * 1e3);
    println!("{title:36}{build:10.1}{usual:10.2}{most:10.2}{free:10.3}{polled:10.2}");
    look_ups(&writer);
}

/// Time for a polled answer with two moves, in a minute with others: for what
/// the poller does with it (find what is as before) and for what the writer does
/// (accept it). Part of a move, and other code than for files.
fn poll_cost(answer: &[Arc<Address>]) -> Duration {
    let guard = Guard::default();
    let policy = Policy { guard, bound: &|_| Some(guard.hold), accept_losses: false };
    let now = SystemTime::now();
    let said = |all: &[Arc<Address>]| Said::from(Addresses::from(all));
    let (first, _) = accept(&Accepted::default(), &said(answer), now, &policy);
    // With strings of its own, as it comes.
    let moved = |which: [u32; 2]| {
        let mut answer: Vec<Address> = answer.iter().map(|a| Address::clone(a)).collect();
        which.iter().for_each(|n| answer[*n as usize] = address(order(*n), 99 + n));
        answer
    };
    let before = shared(answer, moved([5, 50]));
    let (second, _) = accept(&first, &said(&before), now, &policy);
    let third = moved([500, 5_000]);
    let begun = Instant::now();
    let answer = Said::from(shared(&before, third));
    let (third, _) = accept(&second, &answer, now, &policy);
    let took = begun.elapsed();
    assert_ne!(third.entries, second.entries);
    took
}

/// Nanoseconds of a look-up, and of one in a plain map of the same contents.
fn look_ups(writer: &Writer) {
    let current = writer.store().full();
    let table = current.snapshot.views[0].zones.values().next().unwrap();
    let mut names: Vec<Key> = table.nodes.values().map(|node| node.key.clone()).collect();
    names.sort();
    // As questions come: not the very octets of the table.
    let asked: Vec<Vec<u8>> = names.iter().map(|name| name.octets().to_vec()).collect();
    let plain: HashMap<Key, Arc<Node>> =
        table.nodes.values().map(|node| (node.key.clone(), Arc::clone(node))).collect();
    let ours = timed(&asked, |name| table.nodes.get(name));
    let std = timed(&asked, |name| plain.get(name));
    println!("    a look-up: {ours} ns; in a std HashMap: {std} ns");
}

fn timed<'n>(asked: &[Vec<u8>], get: impl Fn(&[u8]) -> Option<&'n Arc<Node>>) -> u64 {
    let begun = Instant::now();
    for nth in 0..LOOK_UPS {
        let name = &asked[nth.wrapping_mul(7_919) % asked.len()];
        black_box(get(black_box(name)).unwrap().kind);
    }
    (begun.elapsed().as_nanos() / LOOK_UPS as u128) as u64
}

/// An account's addresses come in no order.
fn order(at: u32) -> u32 {
    at.wrapping_mul(7_919) % 10_000
}
