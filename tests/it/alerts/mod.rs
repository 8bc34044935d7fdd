//! The alert rules that are shipped: each fires on the metrics of a server that
//! really is in that trouble, with those that are due with it and no others; none
//! fires on the metrics of one that is well.

mod crowded;
mod elsewhere;
mod own;
mod replicas;
mod running;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use hickory_proto::rr::RecordType;

use crate::fixtures::promtool::{Scrape, promtool, rules};
use crate::fixtures::waiting::until;
use crate::harness::{Dir, Server, query, udp};

const NAME: &str = "db.example.com.";

/// A server with one bound name and an HTTP side; `more` goes to the end of its
/// server.toml.
fn one_name(more: &str) -> Dir {
    let dir = Dir::with_db(more);
    dir.http();
    dir
}

/// The same with a view that forwards.
fn forwarding(upstream: SocketAddr) -> Dir {
    let dir = Dir::forwarding(&[upstream], "");
    dir.http();
    dir
}

fn scrape(server: &Server) -> Scrape {
    Scrape::of(&server.http())
}

/// Scrapes until it is so.
fn scrape_until(server: &Server, what: &str, is_so: impl Fn(&Scrape) -> bool) -> Scrape {
    until(what, || {
        let now = scrape(server);
        if is_so(&now) { Ok(now) } else { Err(now) }
    })
}

/// Once the source has spoken itself (files are read at the start too), the status
/// surfaces know (the log is before them), and a slow disk has taken the state.
fn well(server: &Server) -> Scrape {
    scrape_until(server, "all is well", |scrape| {
        scrape.value("eipdns_ready", "") == 1.0
            && scrape.value("eipdns_source_polls_total", "source=\"sample\"") >= 1.0
            && scrape.value("eipdns_source_healthy", "source=\"sample\"") == 1.0
            && scrape.value("eipdns_state_writable", "") == 1.0
    })
}

/// Asks as a stub does that knows no EDNS.
fn ask_plainly(server: &Server) {
    let mut message = query(NAME, RecordType::A);
    message.edns = None;
    udp(server.dns, &message.to_vec().unwrap());
}

/// The names in lines such as `- alert: Name`.
fn names_of(text: &str) -> BTreeSet<String> {
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn each_rule_says_what_it_means_and_what_to_do_and_has_a_test() {
    let text = fs::read_to_string(rules()).unwrap();
    let names = names_of(&text);
    assert!(names.len() >= 15, "{names:?}");
    for key in ["summary: ", "description: ", "labels: { severity: ", "expr: "] {
        let count = text.lines().filter(|line| line.trim().starts_with(key)).count();
        assert_eq!(count, names.len(), "each rule has one {key:?}");
    }
    let mut tests = String::new();
    let files = ["own.rs", "running.rs", "crowded.rs", "elsewhere.rs", "replicas.rs"];
    for file in files.map(|file| format!("alerts/{file}")) {
        tests += &fs::read_to_string(crate::harness::root().join("tests/it").join(file)).unwrap();
    }
    tests += &fs::read_to_string(crate::harness::root().join("tests/it/ec2/alarms.rs")).unwrap();
    for name in &names {
        assert!(tests.contains(&format!("\"{name}\"")), "no test expects {name}");
    }
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules() {
    let Some(promtool) = promtool() else { return };
    let out = std::process::Command::new(promtool)
        .args(["check", "rules"])
        .arg(rules())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && told.contains("SUCCESS"), "{told}{out:?}");
}
