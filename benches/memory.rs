//! What names take of resident memory: the public EC2 names of 100,000 Elastic IPs
//! in five views, and names bound to a tenth of these; and what a move among them costs.
//!
//! `cargo bench --no-default-features --bench memory`
//!
//! An argument after `--` is another number of addresses. The size of what is
//! resident is read from `/proc/self/statm`, so this runs on Linux only. Nothing
//! is asserted: it is for comparing before and after a change.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on should stop")]

mod account;

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use eipdns::source::inventory::Address;

use account::{address, config, delivery, elastic_ip, writer};

/// Addresses, unless an argument says how many.
const ADDRESSES: u32 = 100_000;
const MOVES: u32 = 20;
/// Octets of a page of memory.
const PAGE: u64 = 4_096;

/// Name, answer, whether it has EC2 names, and what it reaches.
type View = (&'static str, &'static str, bool, &'static str);

const NONE: [View; 5] = [
    ("one", "private", false, ""),
    ("two", "private", false, ""),
    ("three", "cname", false, ""),
    ("four", "public", false, ""),
    ("five", "private", false, ""),
];
const ALIKE: [View; 5] = [
    ("one", "private", true, ""),
    ("two", "private", true, ""),
    ("three", "private", true, ""),
    ("four", "private", true, ""),
    ("five", "private", true, ""),
];
const ONE: [View; 1] = [("one", "private", true, "")];
/// As people have them: VPCs, an office, and one that sees but half of the
/// private addresses.
const MIXED: [View; 5] = [
    ("one", "private", true, ""),
    ("two", "private", true, ""),
    ("three", "cname", true, ""),
    ("four", "public", true, ""),
    ("five", "private", true, "10.0.0.0/16"),
];
/// None sees what another sees.
const ALL_DIFFERENT: [View; 5] = [
    ("one", "private", true, "10.0.0.0/16"),
    ("two", "private", true, "10.1.0.0/17"),
    ("three", "private", true, "10.0.128.0/17"),
    ("four", "public", true, ""),
    ("five", "private", true, "10.0.0.0/8"),
];

/// Three that share nothing but the names of zones.
const THREE: [View; 3] =
    [("one", "private", false, ""), ("two", "cname", false, ""), ("three", "public", false, "")];
const THREE_WITH_EC2: [View; 3] =
    [("one", "private", true, ""), ("two", "cname", true, ""), ("three", "public", true, "")];

/// Title, views, and whether there is a name of ours bound to each address.
type Scene = (&'static str, &'static [View], bool);

/// What is measured; first what the addresses themselves take, without names.
const SCENES: [Scene; 8] = [
    ("five views without EC2 names", &NONE, false),
    ("five views that see the same", &ALIKE, false),
    ("five views, of which three see the same", &MIXED, false),
    ("five views that all see something else", &ALL_DIFFERENT, false),
    ("one view", &ONE, false),
    ("a tenth of them, without names", &NONE, false),
    ("bound, in three views", &THREE, true),
    ("bound, and EC2 names, in three views", &THREE_WITH_EC2, true),
];
/// The scenes from this one on have a tenth of the addresses, and are compared with
/// it.
const TENTH: usize = 5;

fn main() {
    let numbers = |argument: String| argument.parse().ok();
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(numbers).collect();
    match numbers[..] {
        [count, scene] => measure(SCENES[scene as usize], count),
        [count] => compare(count),
        _ => compare(ADDRESSES),
    }
}

/// Measures every scene in a process of its own: what one has freed is often
/// still resident in the next.
fn compare(all: u32) {
    println!(
        "{:42}{:>8}{:>10}{:>18}{:>10}{:>9}",
        format!("{all} addresses, in"),
        "MiB",
        "of names",
        "octets/name/view",
        "build ms",
        "move ms"
    );
    let mut without = 0.0;
    for (nth, (title, views, _)) in SCENES.iter().enumerate() {
        let count = if nth < TENTH { all } else { all / 10 };
        let mut program = Command::new(std::env::current_exe().unwrap());
        let output = program.args([count.to_string(), nth.to_string()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let output = String::from_utf8(output.stdout).unwrap();
        let mut numbers = output.split_whitespace().map(|number| number.parse::<f64>().unwrap());
        let [octets, build, moved] = std::array::from_fn(|_| numbers.next().unwrap());
        if nth == 0 || nth == TENTH {
            without = octets;
        }
        let of_names = (octets - without).max(0.0);
        let each = of_names / f64::from(count) / views.len() as f64;
        let [all, names] = [octets, of_names].map(|octets| octets / f64::from(1 << 20));
        println!("{title:42}{all:8.1}{names:10.1}{each:18.0}{build:10.1}{moved:9.2}");
    }
}

/// Prints the octets that are resident once everything is compiled, and the
/// milliseconds that this and a move take.
fn measure((_, views, is_bound): Scene, count: u32) {
    let before = resident();
    let names = if is_bound { count } else { 1 };
    let bound: String = (0..names).map(|n| format!("h{n} = \"{}\"\n", elastic_ip(n))).collect();
    let mut writer = writer(config(&text(views), &format!("[names]\n{bound}")));
    let mut answer: Vec<Arc<Address>> = (0..count).map(|n| address(n, 0).into()).collect();
    let begun = Instant::now();
    assert!(writer.take(0, &delivery(&answer)).is_ok());
    let build = begun.elapsed();
    writer.free_retired(true);
    let octets = resident() - before;
    let mut moves = Vec::new();
    for nth in 0..MOVES {
        let at = nth * 99 % count;
        answer[at as usize] = address(at, nth + 1).into();
        let delivery = delivery(&answer);
        let begun = Instant::now();
        assert!(writer.take(0, &delivery).is_ok());
        moves.push(begun.elapsed());
        writer.free_retired(true);
    }
    moves.sort_unstable();
    let [build, moved] = [build, moves[moves.len() / 2]].map(|took| took.as_secs_f64() * 1e3);
    println!("{octets} {build} {moved}");
}

/// Octets of this process that are in memory (proc(5), `statm`).
fn resident() -> u64 {
    let all = std::fs::read_to_string("/proc/self/statm").unwrap();
    all.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * PAGE
}

fn text(views: &[View]) -> String {
    let one = |(nth, (name, answer, ec2_names, reaches)): (usize, &View)| {
        let reaches = match *reaches {
            "" => String::new(),
            prefix => format!("reaches = [\"{prefix}\"]\n"),
        };
        format!(
            "[[view]]\nname = \"{name}\"\nclients = [\"10.{nth}.0.0/16\"]\nanswer = \"{answer}\"\n\
             ec2_names = {ec2_names}\n{reaches}"
        )
    };
    views.iter().enumerate().map(one).collect()
}
