//! `check`, `explain` and `dump` as an operator runs them.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Dir, eipdns, root};
use crate::peers;

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

#[test]
fn check_is_short_when_all_is_well() {
    let shipped = root().join("zones");
    let out = eipdns(&["check", "--config", shipped.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stdout).starts_with("ok: "), "{}", text(&out.stdout));
    assert_eq!(text(&out.stderr), "");
}

#[test]
fn check_reports_everything_at_once() {
    let dir = Dir::new("");
    dir.write(
        "example.com.toml",
        "[names]\ndb = \"75.101.137\"\nttl = 5\nwww = { adress = \"10.0.0.1\" }\n",
    );
    dir.write("example.net.toml", "ttl = \"5s\"\n[names]\nx = \"203.0.113.9\"\n");
    dir.write("addresses.json", "{ \"Addresses\": [ { \"PublicIp\": \"75.101\" } ] }");
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(78));
    let told = text(&out.stderr);
    for part in [
        "example.com.toml:2",
        "example.com.toml:3",
        "example.com.toml:4",
        "example.net.toml:1",
        "`address`",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert!(told.lines().count() >= 4, "{told}");
}

#[test]
fn check_reports_a_bad_address_file() {
    let dir = Dir::new("");
    dir.write("example.com.toml", "[names]\ndb = \"75.101.137.243\"\n");
    dir.write("addresses.json", "{ \"Addresses\": [\n { \"PublicIp\": \"75.101\" } ] }");
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(78));
    let told = text(&out.stderr);
    assert!(told.contains("addresses.json") && told.contains("75.101"), "{told}");
}

#[test]
fn check_warns_of_a_binding_that_matches_nothing() {
    let dir = Dir::new("");
    dir.write("example.com.toml", "[names]\ndb = \"203.0.113.9\"\n");
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0));
    let told = text(&out.stderr);
    assert!(told.contains("example.com.toml:2") && told.contains("warning"), "{told}");
}

#[test]
fn explain_says_it_all() {
    let shipped = root().join("zones");
    let config = shipped.to_str().unwrap();
    let out = eipdns(&["explain", "--config", config, "db.example.com", "--client", "10.1.2.3"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let told = text(&out.stdout);
    for part in [
        "db.example.com. A",
        "10.1.2.3",
        "vpc",
        "example.com.",
        "75.101.137.243",
        "eipalloc-",
        "eipassoc-",
        "eni-",
        "i-",
        "10.0.1.5",
        "private",
        "5 s",
        "sample",
        "status: NOERROR",
        "flags: qr aa rd",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let out = eipdns(&["explain", "--config", config, "db.example.com", "--view", "vpc", "--json"]);
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(value["view"], "vpc");
    assert_eq!(value["resolved"], "10.0.1.5");
    assert_eq!(value["addresses"][0]["elastic_ip"], "75.101.137.243");

    let out = eipdns(&["explain", "--config", config, "db.example.com", "--client", "192.0.2.1"]);
    assert!(text(&out.stdout).contains("status: REFUSED"), "{}", text(&out.stdout));
}

#[test]
fn dump_is_a_master_file() {
    let Some(named_checkzone) = peers::need("named-checkzone") else { return };
    let shipped = root().join("zones");
    let out = eipdns(&["dump", "--config", shipped.to_str().unwrap(), "example.com"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zone");
    std::fs::write(&file, &out.stdout).unwrap();
    let checked = Command::new(named_checkzone).arg("example.com").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}\n{}", text(&checked.stdout), text(&out.stdout));
    assert!(text(&out.stdout).contains("db.example.com."));
}

#[test]
fn exit_codes() {
    let shipped = root().join("zones");
    let config = shipped.to_str().unwrap();
    for (args, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&["--no-such-flag"], 64),
        (&["explain"], 64),
        (&["explain", "--config", config, "a..b"], 64),
        (&["explain", "--config", config, "a.b", "NOTATYPE"], 64),
        (&["explain", "--config", config, "a.b", "--view", "nope"], 64),
        (&["dump", "--config", config, "example.org"], 1),
        (&["check", "--config", "/nonexistent"], 78),
        (&["serve", "--config", "/nonexistent"], 78),
    ] {
        let out = eipdns(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out.stderr));
        if code != 0 {
            assert!(!out.stderr.is_empty(), "{args:?} says why");
        }
    }
}
