//! Moves in moto, made as an operator makes them, until the answer.

use std::process::Command;

use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::moto::Moto;
use super::scripted::{Ec2, public};
use super::{bare, command, configure, http, refresh, source, start, web, with_keys};
use crate::harness::{PROGRAM, Server};

const DB: &str = "db.example.com.";

#[test]
fn a_move_by_the_aws_cli_is_answered() {
    let Some(moto) = Moto::start() else { return };
    let east = moto.in_region("us-east-1");
    let (first, second) = (east.interface("172.31.5.1"), east.interface("172.31.5.2"));
    let allocation = east.allocate("75.101.137.243", "Role", "db");
    east.associate(&allocation, &first);

    let names = format!(
        "db = \"75.101.137.243\"\nby-id = \"{allocation}\"\nby-tag = {{ tag = {{ Role = \"db\" }} }}"
    );
    let dir = configure(&source("east", &moto.url(), "1s", ""), "[guard]\nhold = \"3s\"", &names);
    let mut server = start(&dir);
    server.wait_for("source delivers");
    refresh(&server, false);
    let all = ["db", "by-id", "by-tag"].map(|name| format!("{name}.example.com."));
    for name in &all {
        assert_eq!(server.data(name, RecordType::A), ["172.31.5.1"], "{name}");
    }

    // One call, and nothing else.
    let moved = moto.aws(&[
        "ec2",
        "associate-address",
        "--allocation-id",
        &allocation,
        "--network-interface-id",
        &second,
        "--allow-reassociation",
    ]);
    server.wait_for_move("new", "172.31.5.2");
    for name in &all {
        assert_eq!(server.data(name, RecordType::A), ["172.31.5.2"], "{name}");
    }
    let history = web::get(http(&server), "/api/history").1;
    let history: Value = serde_json::from_str(&history).unwrap();
    // From place to place; the first answers are no move.
    let moves = history.as_array().unwrap().iter().filter(|event| event["event"] == "moved");
    assert_eq!(moves.count(), 3, "{history}");
    assert_eq!(
        (&history[0]["old"], &history[0]["new"]),
        (&"172.31.5.1".into(), &"172.31.5.2".into())
    );
    let by_association =
        format!("db.example.com={}", moved["AssociationId"].as_str().expect("an id"));
    let waited = command(&server, dir.path(), &["refresh", "--wait-for", &by_association]);
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");

    // To an instance, which moto answers otherwise than an interface.
    let instance = east.instance("172.31.5.3");
    east.call(
        "AssociateAddress",
        &[("AllocationId", &allocation), ("InstanceId", &instance), ("AllowReassociation", "true")],
    );
    let waited =
        command(&server, dir.path(), &["refresh", "--wait-for", "db.example.com=172.31.5.3"]);
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");
    assert_eq!(server.data(DB, RecordType::A), ["172.31.5.3"]);

    // Tags choose; a set that would be empty is held, then gone.
    east.call("DeleteTags", &[("ResourceId.1", &allocation), ("Tag.1.Key", "Role")]);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(server.data(&all[2], RecordType::A), ["172.31.5.3"]);
    let held = server.status()["sources"][0]["held_names"].clone();
    assert_eq!(held[0]["name"], all[2].as_str(), "{held}");
    let let_go = server.wait_for("a name that no tag gives is let go");
    assert_eq!(let_go["fields"]["tag"], "Role=db");
    assert_eq!(server.data(&all[2], RecordType::A), [""; 0]);
    assert_eq!(server.data(DB, RecordType::A), ["172.31.5.3"]);

    // Disassociated: held, then gone.
    let addresses = moto.aws(&["ec2", "describe-addresses"]);
    let association = addresses["Addresses"][0]["AssociationId"].as_str().unwrap();
    east.call("DisassociateAddress", &[("AssociationId", association)]);
    assert!(refresh(&server, false).is_empty());
    let held = server.status()["sources"][0]["held"].clone();
    assert_eq!(held.as_array().map(Vec::len), Some(1), "{held}");
    assert_eq!(server.data(DB, RecordType::A), ["172.31.5.3"], "held");
    server.wait("the hold's end", |l| {
        l["fields"]["message"] == "no address"
            && l["fields"]["old"] == "172.31.5.3"
            && l["fields"]["name"].as_str().is_some_and(|n| n.starts_with("db."))
    });
    assert_eq!(server.data(DB, RecordType::A), [""; 0]);
}

/// Each source is an account and a region of its own.
#[test]
fn several_regions_and_accounts() {
    let Some(moto) = Moto::start() else { return };
    let role = "arn:aws:iam::111122223333:role/dns";
    let here = moto.in_region("us-east-1");
    let there = moto.in_region("eu-west-1");
    let other = moto.of_role("us-east-1", role);
    for (account, public, private) in [
        (&here, "75.101.137.1", "172.31.5.1"),
        (&there, "75.101.137.2", "172.31.5.2"),
        (&other, "75.101.137.3", "172.31.5.3"),
    ] {
        let interface = account.interface(private);
        account.associate(&account.allocate(public, "Role", "db"), &interface);
    }
    let endpoint = moto.url();
    let mut sources = source("here", &endpoint, "1h", "");
    sources += &source("there", &endpoint, "1h", "").replace("us-east-1", "eu-west-1");
    sources += &source("other", &endpoint, "1h", &format!("role_arn = \"{role}\""));
    let names = "a = \"75.101.137.1\"\nb = \"75.101.137.2\"\nc = \"75.101.137.3\"\n\
                 pool = { tag = { Role = \"db\" } }\n\
                 theirs = { tag = { Role = \"db\" }, source = \"other\" }";
    let dir = configure(&sources, "", names);
    let server = Server::start_with(dir.path(), |command| {
        with_keys(command);
        command.env("AWS_ENDPOINT_URL_STS", &endpoint);
    });
    assert!(refresh(&server, false).is_empty());
    for (name, expected) in [
        ("a", &["172.31.5.1"][..]),
        ("b", &["172.31.5.2"]),
        ("c", &["172.31.5.3"]),
        ("pool", &["172.31.5.1", "172.31.5.2", "172.31.5.3"]),
        ("theirs", &["172.31.5.3"]),
    ] {
        let mut data = server.data(&format!("{name}.example.com."), RecordType::A);
        data.sort_unstable();
        assert_eq!(data, expected, "{name}");
    }
    let status = server.status();
    assert_eq!(status["healthy"], true, "{status}");
    for (at, region) in ["us-east-1", "eu-west-1", "us-east-1"].into_iter().enumerate() {
        let source = &status["sources"][at];
        assert_eq!((&source["region"], &source["addresses"]), (&region.into(), &1.into()));
    }
}

/// `role_arn`, `external_id` and the source's name reach STS, and the role's keys EC2.
#[test]
fn a_role_is_assumed_as_configured() {
    let ec2 = Ec2::with(1);
    let role = "role_arn = \"arn:aws:iam::111122223333:role/dns\"\nexternal_id = \"x-42\"";
    let dir = configure(&source("east", &ec2.url(), "1h", role), "", "n1 = \"75.101.137.1\"");
    let mut server = Server::start_with(dir.path(), |command| {
        with_keys(command);
        command.env("AWS_ENDPOINT_URL_STS", ec2.url());
    });
    server.wait_for("source delivers");
    ec2.wait_for_key("call as the role", |key| key == "ASIADNS");
    let arn = "arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fdns".to_owned();
    let session = Some("eipdns-east".to_owned());
    assert_eq!(ec2.assumed(), [(arn, Some("x-42".into()), session)], "once");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(ec2.assumed().len(), 1, "its keys are good for long");
}

/// The last line of a failover script.
#[test]
fn refresh_waits_for_the_answer() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "60s", ""), "", "n1 = \"75.101.137.1\"");
    let mut server = start(&dir);
    server.wait_for("first answers");
    let run = |args: &[&str]| command(&server, dir.path(), args);
    let code = |args: &[&str]| run(args).status.code();

    let id = ec2.associate(&public(1), "10.0.9.1");
    assert_eq!(server.data("n1.example.com.", RecordType::A), ["10.0.0.1"], "not polled yet");
    let before = ec2.calls();
    assert_eq!(code(&["refresh", "--wait-for", "n1.example.com=10.0.9.1"]), Some(0));
    assert_eq!(ec2.calls(), before + 1, "one call is all it takes");
    assert_eq!(server.data("n1.example.com.", RecordType::A), ["10.0.9.1"]);
    assert_eq!(code(&["refresh", "--wait-for", &format!("n1.example.com={id}")]), Some(0));
    assert_eq!(code(&["refresh"]), Some(0));
    assert_eq!(code(&["refresh", "--source", "east"]), Some(0));

    let late = run(&["refresh", "--wait-for", "n1.example.com=10.0.9.2", "--timeout", "1s"]);
    assert_eq!(late.status.code(), Some(1));
    let why = String::from_utf8_lossy(&late.stderr);
    assert!(why.contains("10.0.9.1"), "says what is answered instead: {why}");
    assert_eq!(code(&["refresh", "--source", "west"]), Some(64));
    assert_eq!(code(&["refresh", "--wait-for", "n1.example.com"]), Some(64));

    let healthy = run(&["status", "--json"]);
    assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    let shown: Value = serde_json::from_slice(&healthy.stdout).unwrap();
    assert_eq!((&shown["healthy"], &shown["worst_case"]), (&true.into(), &68.0.into()), "{shown}");
    assert_eq!(shown["moves"], 1, "{shown}");
    for (sample, least) in [
        ("eipdns_moves_total", 1.0),
        ("eipdns_source_polls_total{source=\"east\"}", 4.0),
        ("eipdns_source_call_seconds_total{source=\"east\"}", 0.000_1),
        ("eipdns_source_last_success_timestamp_seconds{source=\"east\"}", 1.7e9),
        ("eipdns_source_addresses{source=\"east\"}", 1.0),
        ("eipdns_source_healthy{source=\"east\"}", 1.0),
        ("eipdns_generation", 2.0),
        ("eipdns_zone_serial{zone=\"example.com.\"}", 1.7e9),
    ] {
        let value = server.metric(sample);
        assert!(value >= least, "{sample} is {value}");
    }

    ec2.fault(super::scripted::Fault::Unavailable);
    assert_eq!(code(&["refresh"]), Some(1), "a source failed");
    assert_eq!(code(&["status"]), Some(1), "a source is stalled");

    let address = http(&server).to_string();
    server.stop();
    for args in [&["refresh"][..], &["status"]] {
        let mut command = Command::new(PROGRAM);
        bare(&mut command);
        command.args(args).arg("--config").arg(dir.path()).args(["--listen-http", &address]);
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(69), "{args:?} {out:?}");
        assert!(!out.stderr.is_empty());
    }
}

/// Requests that come while a call is under way share the next one, and none
/// is told of a call that began before it asked.
#[test]
fn refreshes_share_one_later_call() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "n1 = \"75.101.137.1\"");
    let mut server = start(&dir);
    server.wait_for("source delivers");
    let server = &server;
    let before = ec2.calls();
    ec2.slow(std::time::Duration::from_millis(500));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| refresh(server, false));
        ec2.wait_for_calls(before + 1);
        // The call under way has read what it will answer: this is too late.
        ec2.associate(&public(1), "10.0.9.1");
        let later: Vec<_> = (0..5)
            .map(|_| {
                scope.spawn(|| {
                    refresh(server, false);
                    server.data("n1.example.com.", RecordType::A)
                })
            })
            .collect();
        assert_eq!(first.join().unwrap(), [""; 0]);
        for one in later {
            assert_eq!(one.join().unwrap(), ["10.0.9.1"]);
        }
    });
    let calls = ec2.calls() - before;
    assert!((2..=3).contains(&calls), "{calls} calls for six requests");
}

/// Ready once each source has delivered; one outage later still ready.
#[test]
fn readiness_is_a_latch() {
    let ec2 = Ec2::with(1);
    ec2.fault(super::scripted::Fault::Unavailable);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "n1 = \"75.101.137.1\"");
    let server = start(&dir);
    let get = |path| web::get(http(&server), path);
    refresh(&server, false);
    let (code, body) = get("/readyz");
    assert_eq!((code, body.contains("east")), (503, true), "{body}");
    assert_eq!(get("/livez").0, 200);
    ec2.fault(super::scripted::Fault::None);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(get("/readyz").0, 200);
    ec2.fault(super::scripted::Fault::Unavailable);
    assert_eq!(refresh(&server, false).len(), 1);
    assert_eq!(get("/readyz").0, 200);
    assert_eq!(server.data("n1.example.com.", RecordType::A), ["10.0.0.1"]);
}
