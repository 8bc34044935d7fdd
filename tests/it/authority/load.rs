//! Many records: how long until they are served, and what they take. Printed,
//! not judged: other work on the machine has no say in whether a test passes.

use std::fmt::Write;
use std::fs;
use std::time::Instant;

use hickory_proto::rr::RecordType;

use crate::harness::{Dir, Server};

/// Names of the large zone.
const NAMES: usize = 100_000;

/// Resident memory of a process, in octets.
fn resident(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

/// A zone of so many names, the last octets of whose addresses say for which
/// view they are.
fn zone(names: usize, view: usize) -> String {
    let mut text = String::from("$TTL 300\n");
    for n in 0..names {
        writeln!(text, "host{n} IN A 10.{}.{}.{view}", n / 256 % 256, n % 256).unwrap();
    }
    text
}

fn started(names: usize) -> (Server, Dir, f64) {
    let more = "[[view]]\nname = \"b\"\nclients = [\"10.0.0.0/8\"]\nanswer = \"private\"\n\
                [[view]]\nname = \"c\"\nclients = [\"192.168.0.0/16\"]\nanswer = \"private\"\n";
    let dir = Dir::new(more);
    for (view, name) in ["vpc", "b", "c"].iter().enumerate() {
        dir.write(&format!("{name}.zone"), &zone(names, 1 + view));
    }
    dir.write(
        "example.com.toml",
        "records = { vpc = \"vpc.zone\", b = \"b.zone\", c = \"c.zone\" }\n",
    );
    let begin = Instant::now();
    let server = Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LOG", "info");
    });
    (server, dir, begin.elapsed().as_secs_f64())
}

#[test]
fn a_hundred_thousand_records_in_three_views() {
    let (small, _small_dir, _) = started(1);
    let (large, _dir, took) = started(NAMES);
    let last = format!("host{}.example.com.", NAMES - 1);
    assert_eq!(large.data(&last, RecordType::A), ["10.134.159.1"]);
    let each = (resident(&large) - resident(&small)) / (3 * NAMES);
    println!(
        "{NAMES} records in each of 3 views: {took:.2} s from start to serving, \
         {each} octets resident per name and view"
    );
}
