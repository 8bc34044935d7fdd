//! Entries of an answer that cannot be used: the rest is taken, what was known
//! stands, and it is said.

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::harness::{Dir, Server, eipdns};

/// An address file with these: Elastic IP and private address.
fn listing(all: &[(&str, &str)]) -> String {
    let mut entries: Vec<Value> = all
        .iter()
        .map(|(public, private)| json!({ "PublicIp": public, "PrivateIpAddress": private }))
        .collect();
    // As Wavelength and Outposts have them, but for their ids.
    entries.push(json!({ "CarrierIp": "155.146.10.111" }));
    entries.push(json!({ "AllocationId": "coip-0d", "CustomerOwnedIp": "192.0.2.7" }));
    json!({ "Addresses": entries }).to_string()
}

#[test]
fn what_was_known_stands_and_the_rest_is_taken() {
    let dir = Dir::new("");
    dir.http();
    dir.write("example.com.toml", "[names]\na = \"75.101.137.1\"\nb = \"75.101.137.2\"\n");
    dir.replace(
        "addresses.json",
        &listing(&[("75.101.137.1", "10.0.0.1"), ("75.101.137.2", "10.0.0.2")]),
    );
    let mut server = Server::start(dir.path());
    assert_eq!(server.data("a.example.com.", RecordType::A), ["10.0.0.1"], "beside others");

    // One with an address that no host has, in the other's move.
    for (bad, moved) in [
        ("0.0.0.0", "10.0.1.1"),
        ("127.0.0.1", "10.0.1.2"),
        ("224.0.0.1", "10.0.1.3"),
        ("255.255.255.255", "10.0.1.4"),
    ] {
        dir.replace("addresses.json", &listing(&[("75.101.137.1", bad), ("75.101.137.2", moved)]));
        server.wait_for_move("new", moved);
        assert_eq!(server.data("a.example.com.", RecordType::A), ["10.0.0.1"], "{bad}");
        assert_eq!(server.data("b.example.com.", RecordType::A), [moved]);
    }
    // One that contradicts itself.
    let twice = [
        ("75.101.137.1", "10.0.0.8"),
        ("75.101.137.2", "10.0.3.2"),
        ("75.101.137.1", "10.0.0.9"),
        ("75.101.137.2", "10.0.3.2"),
    ];
    dir.replace("addresses.json", &listing(&twice));
    server.wait_for_move("new", "10.0.3.2");
    assert_eq!(server.data("a.example.com.", RecordType::A), ["10.0.0.1"]);

    let status = server.status();
    let source = &status["sources"][0];
    assert_eq!(
        (&source["health"], &source["left_out"]),
        (&"healthy".into(), &3.into()),
        "{source}"
    );
    assert_eq!(server.metric("eipdns_source_entries_left_out{source=\"sample\"}"), 3.0);
    let shown = server.shown_status(&dir);
    for part in [
        "  LEFT OUT: \"CarrierIp\": \"155.146.10.111\" stands in it without \"PublicIp\" and \"AllocationId\"",
        "  LEFT OUT: \"CustomerOwnedIp\": \"192.0.2.7\" stands in it without \"PublicIp\" and with \"AllocationId\": \"coip-0d\"",
        "  LEFT OUT: 75.101.137.1 stands in it more than once",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let said = |l: &Value| l["fields"]["message"] == "an entry is left out";
    assert!(server.lines().iter().any(|l| said(l) && l["level"] == "WARN"), "the log says so");
}

#[test]
fn check_tells_each_and_goes_on() {
    let dir = Dir::new("");
    dir.write("example.com.toml", "[names]\na = \"75.101.137.1\"\n");
    let mut all = vec![("75.101.137.1".to_owned(), "10.0.0.1")];
    all.extend((2..=20).map(|n| (format!("75.101.137.{n}"), "0.0.0.0")));
    let all: Vec<_> = all.iter().map(|(public, private)| (public.as_str(), *private)).collect();
    dir.replace("addresses.json", &listing(&all));
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let told = String::from_utf8(out.stderr).unwrap();
    assert_eq!(told.matches("which no host in a VPC has").count(), 10, "{told}");
    assert!(told.contains("11 more entries cannot be used"), "{told}");
}
