//! Everything EC2 can do to us, one fault after the other: no answer is ever
//! wrong, the fault is named, and what changed meanwhile comes with the first
//! good answer.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::scripted::{Ec2, Fault, public};
use super::{STALE, Watch, answer, asked, configure, refresh, settled, source};
use crate::harness::Server;

/// Each fault, in an operator's words, and what eipdns calls it.
const FAULTS: [(Fault, &str, &str); 21] = [
    (Fault::Refused, "connection refused", "connect"),
    (Fault::Reset, "connection reset", "connect"),
    (Fault::Stall, "no answer at all", "timeout"),
    (Fault::Drip, "one octet every 100 ms", "timeout"),
    (Fault::Throttled, "503 RequestLimitExceeded", "throttled"),
    (Fault::Unavailable, "503 Unavailable", "5xx"),
    (Fault::BadGateway, "502 with an HTML page", "5xx"),
    (Fault::AuthFailure, "401 AuthFailure", "credentials"),
    (Fault::Expired, "400 RequestExpired", "credentials"),
    (Fault::Unauthorised, "403 UnauthorizedOperation", "unauthorised"),
    (Fault::CutInItem, "XML cut within an address, well framed", "not-whole"),
    (Fault::CutBetweenItems, "XML cut between addresses, well framed", "not-whole"),
    (Fault::CutShort, "less than Content-Length says", "not-whole"),
    (Fault::OtherCall, "XML of another call", "not-whole"),
    (Fault::Nameless, "an address without any IP", "not-whole"),
    (Fault::NoBody, "200 and nothing", "not-whole"),
    (Fault::Html, "200 and a login page", "not-whole"),
    (Fault::Garbage, "200 and garbage", "not-whole"),
    (Fault::NotHttp, "no HTTP", "connect"),
    (Fault::Endless, "XML without end", "not-whole"),
    // Not a failure: what is lost is kept, and one more fault must not hide it.
    (Fault::EmptySet, "a good answer without addresses", "healthy"),
];

const NAMES: [&str; 4] =
    ["n1.example.com.", "n2.example.com.", "n3.example.com.", "n4.example.com."];

/// A server with four names at four addresses of `ec2`, with all of them
/// answered.
fn four_names(ec2: &Ec2) -> (crate::harness::Dir, Server) {
    let names: Vec<_> = (1..=4).map(|n| format!("n{n} = \"{}\"", public(n))).collect();
    let dir = configure(&source("east", &ec2.url(), "1s", ""), "", &names.join("\n"));
    let server = settled(&dir);
    for (n, name) in NAMES.iter().enumerate() {
        let expected = (answer(&format!("10.0.0.{}", n + 1)), vec![]);
        assert_eq!(asked(server.dns, name), expected, "before");
    }
    (dir, server)
}

fn said<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines
        .iter()
        .filter(|l| l["fields"]["message"].as_str().is_some_and(|m| m.starts_with(message)))
        .collect()
}

/// One fault from its beginning to after its end. Gives a row of the table.
fn through(fault: Fault, words: &str, class: &str) -> String {
    let ec2 = Ec2::with(4);
    let (_dir, mut server) = four_names(&ec2);
    let before = server.status();
    assert_eq!(
        (&before["healthy"], &before["sources"][0]["health"]),
        (&true.into(), &"healthy".into())
    );
    // All faults at the same time: a call must not take its 3 s because of those who watch.
    let all = Watch::calmly(server.dns, &NAMES, Duration::from_millis(50));

    ec2.fault(fault);
    let is_failure = class != "healthy";
    let shown = if is_failure {
        let stalled = server.wait_for_stall();
        assert_eq!(stalled["fields"]["class"], class, "{stalled}");
        assert_eq!(stalled["level"], "WARN");
        // Another failure of the same kind is no news.
        let failed = refresh(&server, false);
        assert_eq!(failed.len(), 1, "{failed:?}");
        let during = server.status();
        let source = &during["sources"][0];
        assert_eq!((&during["healthy"], &source["health"]), (&false.into(), &"stalled".into()));
        assert_eq!(source["why"], stalled["fields"]["error"], "{source}");
        assert!(source["failures"].as_u64() >= Some(2), "{source}");
        let failures = format!("eipdns_source_failures_total{{source=\"east\",class=\"{class}\"}}");
        assert!(server.metric(&failures) >= 2.0);
        assert_eq!(server.metric("eipdns_source_healthy{source=\"east\"}"), 0.0);
        format!("stalled, `{class}`")
    } else {
        assert!(refresh(&server, false).is_empty());
        let during = server.status();
        let source = &during["sources"][0];
        assert_eq!((&source["health"], &source["mass_loss"]), (&"healthy".into(), &true.into()));
        assert_eq!(server.metric("eipdns_source_mass_loss{source=\"east\"}"), 1.0);
        "healthy, mass loss held".into()
    };
    // What EC2 does meanwhile is not to be seen, and nothing is made up.
    ec2.associate(&public(2), "10.0.9.2");
    refresh(&server, false);
    for (n, name) in NAMES.iter().enumerate() {
        let expected = (answer(&format!("10.0.0.{}", n + 1)), vec![STALE]);
        assert_eq!(asked(server.dns, name), expected, "during {fault:?}");
    }

    ec2.fault(Fault::None);
    server.wait_for_move("new", "10.0.9.2");
    refresh(&server, false);
    let after = server.status();
    assert_eq!(
        (&after["healthy"], &after["moves"]),
        (&true.into(), &before["moves"].as_u64().map_or(0, |m| m + 1).into()),
        "{after}"
    );
    assert_eq!(after["sources"][0]["mass_loss"], false, "{after}");
    assert_eq!(asked(server.dns, NAMES[1]), (answer("10.0.9.2"), vec![]));

    let lines = server.lines();
    let once = usize::from(is_failure);
    assert_eq!(said(&lines, "source stalled").len(), once, "{fault:?}");
    assert_eq!(said(&lines, "source delivers again").len(), once, "{fault:?}");
    for (n, seen) in all.end().into_iter().enumerate() {
        let first = answer(&format!("10.0.0.{}", n + 1));
        let expected = if n == 1 { vec![first, answer("10.0.9.2")] } else { vec![first] };
        assert_eq!(seen, expected, "every answer for {} with {fault:?}", NAMES[n]);
    }
    format!("| {words} | unchanged | {shown} | move published by the first good answer |")
}

#[test]
fn no_fault_takes_an_answer_away() {
    let begin = |(fault, words, class): (Fault, &'static str, &'static str)| {
        let run = move || through(fault, words, class);
        std::thread::Builder::new().name(words.into()).spawn(run).unwrap()
    };
    // What takes all of a processor comes last, by itself.
    let (endless, faults): (Vec<_>, Vec<_>) =
        FAULTS.into_iter().partition(|(fault, ..)| *fault == Fault::Endless);
    let faults: Vec<_> = faults.into_iter().map(begin).collect();
    let mut rows: Vec<_> = faults.into_iter().map(|fault| fault.join()).collect();
    rows.extend(endless.into_iter().map(begin).map(|fault| fault.join()));
    println!("| fault | answers | health | after |\n| --- | --- | --- | --- |");
    for row in rows.iter().flatten() {
        println!("{row}");
    }
    assert!(rows.iter().all(Result::is_ok), "see above");
}

/// The most memory that a process ever had, in MiB.
fn most_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn an_answer_without_end_is_left_at_its_bound() {
    let ec2 = Ec2::with(4);
    let (_dir, mut server) = four_names(&ec2);
    ec2.fault(Fault::Endless);
    let stalled = server.wait_for_stall();
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("it has more than 64 MiB"), "{error}");
    refresh(&server, false);
    let most = most_memory(server.pid());
    assert!(most < 512, "{most} MiB");
    assert_eq!(asked(server.dns, NAMES[0]), (answer("10.0.0.1"), vec![STALE]));
}

/// Trouble of another kind is news, though the source stays stalled since the
/// first.
#[test]
fn another_cause_is_told_once_more() {
    let ec2 = Ec2::with(4);
    let (_dir, mut server) = four_names(&ec2);
    ec2.fault(Fault::Unavailable);
    refresh(&server, false);
    let since = server.status()["sources"][0]["since"].clone();
    assert!(since.is_string());
    ec2.fault(Fault::Unauthorised);
    refresh(&server, false);
    let other = server.wait_for("source still stalled, for another reason");
    assert_eq!(other["fields"]["class"], "unauthorised");
    let source = server.status()["sources"][0].clone();
    assert_eq!(source["since"], since);
    let why = source["why"].as_str().unwrap();
    assert!(why.contains("ec2:DescribeAddresses"), "says which action is missing: {why}");
    assert_eq!(server.data(NAMES[0], RecordType::A), ["10.0.0.1"]);
}

/// One call that hangs costs a second, not three: another connection is tried
/// beside it.
#[test]
fn a_connection_that_hangs_is_hedged() {
    let ec2 = Ec2::with(4);
    let (_dir, server) = four_names(&ec2);
    ec2.fault(Fault::Stall);
    let calls = ec2.calls();
    std::thread::scope(|scope| {
        let refreshed = scope.spawn(|| refresh(&server, false));
        // The call hangs; whatever is asked from now on is answered.
        ec2.wait_for_calls(calls + 1);
        ec2.fault(Fault::None);
        assert_eq!(refreshed.join().unwrap(), [""; 0], "the second try is good");
    });
    let source = server.status()["sources"][0].clone();
    assert_eq!(
        (&source["failures"], &source["health"]),
        (&0.into(), &"healthy".into()),
        "{source}"
    );
}
