//! Commands while EC2 is slow, silent or says less than the server holds.

use super::scripted::{Ec2, Fault, public};
use super::{asked, command, configure, http, refresh, source, start, web};

const N1: &str = "n1.example.com=10.0.9.9";

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

/// What clients are answered is dumped: EC2 says less while an address is held.
#[test]
fn a_dump_during_a_hold_is_what_clients_get() {
    let ec2 = Ec2::with(1);
    let dir = configure(
        &source("east", &ec2.url(), "1h", ""),
        "[guard]\nhold = \"1h\"\nmissing_hold = \"1h\"",
        "n1 = \"75.101.137.1\"",
    );
    let mut server = start(&dir);
    server.wait_for("first answers");
    ec2.disassociate(&public(1));
    assert!(refresh(&server, false).is_empty());
    assert!(asked(server.dns, "n1.example.com.").0.contains("10.0.0.1"), "held");
    let dump = command(&server, dir.path(), &["dump", "example.com"]);
    assert_eq!(dump.status.code(), Some(0), "{dump:?}");
    let dumped = text(&dump.stdout);
    assert!(dumped.contains("\nn1.example.com. 5 IN A 10.0.0.1\n"), "{dumped}");
    assert!(!dumped.contains("not associated"), "{dumped}");
}

/// Without credentials nothing is known: `--offline` prints no part of the zone.
#[test]
fn offline_without_credentials_prints_nothing() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "n1 = \"75.101.137.1\"");
    let server = start(&dir);
    for args in
        [&["dump", "--offline", "example.com"][..], &["explain", "--offline", "n1.example.com"]]
    {
        // `command` takes the keys away.
        let out = command(&server, dir.path(), args);
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        assert_eq!(text(&out.stdout), "", "{args:?}");
        assert!(text(&out.stderr).contains("source east says nothing"), "{out:?}");
    }
}

/// EC2 does not answer: a command waits as long as it was told to, and who waits
/// when the server is stopped is told that.
#[test]
fn a_silent_ec2_keeps_no_command_and_no_stop() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "n1 = \"75.101.137.1\"");
    let mut server = start(&dir);
    server.wait_for("first answers");
    ec2.fault(Fault::Stall);
    let late = command(&server, dir.path(), &["refresh", "--wait-for", N1, "--timeout", "500ms"]);
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    let why = text(&late.stderr);
    assert!(why.contains("no call ended in time") && why.contains("10.0.0.1"), "{why}");

    let (at, before) = (http(&server), ec2.calls());
    let waits = std::thread::spawn(move || web::post(at, "/api/refresh"));
    ec2.wait_for_calls(before + 1);
    server.signal("TERM");
    let (code, body) = waits.join().unwrap();
    assert_eq!((code, body.contains("the server is stopping")), (503, true), "{body}");
    assert!(server.ended().success());
}
