//! A reload in the middle of trouble: what a source said stands until its
//! successor has delivered, on disk too.

use std::time::Duration;

use super::scripted::{Ec2, Fault, public};
use super::{
    NOT_READY, STALE, Watch, answer, asked, command, configure, refresh, settled, source, start,
};
use crate::harness::{Dir, Server, describe};

const NAME: &str = "n1.example.com.";

fn zone(n: u8) -> String {
    (1..=n).map(|n| format!("n{n} = \"{}\"\n", public(n))).collect()
}

/// Replaces the `[[source]]` of a directory.
fn rewrite(dir: &Dir, sources: &str) {
    dir.write("server.toml", &configure(sources, "", &zone(4)).read("server.toml"));
}

#[test]
fn a_reload_while_ec2_throttles_takes_no_answer_away() {
    let ec2 = Ec2::with(4);
    let one = |name: &str, poll: &str, more: &str| source(name, &ec2.url(), poll, more);
    let edits = [
        ("the pace, as the log advises", one("east", "3s", "")),
        ("the TTL", one("east", "1h", "ttl = 9")),
        ("the endpoint", source("east", &format!("{}/", ec2.url()), "1h", "")),
        ("the filters", one("east", "1h", "filters = { \"tag:Role\" = \"db\" }")),
        ("the name", one("main", "1h", "")),
        ("the role", one("east", "1h", "role_arn = \"arn:aws:iam::111122223333:role/dns\"")),
    ];
    for (what, edited) in edits {
        ec2.fault(Fault::None);
        let dir = configure(&one("east", "1h", ""), "", &zone(4));
        let mut server = settled(&dir);
        dir.wait_for_state("10.0.0.1");
        ec2.fault(Fault::Throttled);
        refresh(&server, false);
        assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![STALE]), "{what}");

        let watch = Watch::over(server.dns, &[NAME]);
        rewrite(&dir, &edited);
        server.reload();
        refresh(&server, false);
        assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![STALE]), "{what}");
        assert_eq!(watch.end(), [[answer("10.0.0.1")]], "{what}");
        let told = server.lines().iter().any(|line| {
            let message = line["fields"]["message"].as_str().unwrap_or_default();
            message.starts_with("the source has changed: its `")
        });
        assert!(told, "{what}: {:#?}", server.lines());
        // Killed and started with EC2 still throttling. The state of a source under
        // another name is written at once, beside everything else.
        dir.wait_for_state(if what == "the name" { "main" } else { "east" });
        server.signal("KILL");
        server.ended();
        let said = command_check(&dir);
        let mut server = start(&dir);
        server.wait_for_stall();
        refresh(&server, false);
        assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![STALE]), "{what}");
        let carried = ["the endpoint", "the filters", "the role"].contains(&what);
        assert_eq!(
            said.contains("what was known then is answered until"),
            carried,
            "{what}: {said}"
        );
        // And the first good answer with a move is published.
        ec2.associate(&public(1), "10.0.9.1");
        if what != "the role" {
            ec2.fault(Fault::None);
            assert!(refresh(&server, false).is_empty(), "{what}");
            assert_eq!(asked(server.dns, NAME).0, answer("10.0.9.1"), "{what}");
        }
        ec2.associate(&public(1), "10.0.0.1");
    }
}

/// What `eipdns check` prints about a directory that nobody serves.
fn command_check(dir: &Dir) -> String {
    let mut check = std::process::Command::new(crate::harness::PROGRAM);
    check.args(["check", "--config"]).arg(dir.path());
    let out = check.env("EIPDNS_STATE", dir.path().join(".state")).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap()
}

/// EC2 throttles an account: a source of another name, or with another filter, is
/// no reason to call again. That a slow machine calls later does not matter.
#[test]
fn a_reload_cuts_no_pause_that_throttling_has_made() {
    /// A part of the first one, which is 3.4 s at least.
    const PAUSE: Duration = Duration::from_secs(2);
    let ec2 = Ec2::with(4);
    let one = |name: &str, more: &str| source(name, &ec2.url(), "500ms", more);
    let edits = [one("main", ""), one("east", "filters = { \"tag:Role\" = \"db\" }")];
    for edited in edits {
        ec2.fault(Fault::None);
        let dir = configure(&one("east", ""), "", &zone(4));
        let mut server = start(&dir);
        server.wait_for("source delivers");
        ec2.fault(Fault::Throttled);
        let stalled = server.wait_for_stall()["timestamp"].as_str().unwrap().to_owned();
        let stalled = humantime::parse_rfc3339(&stalled).unwrap();
        let calls = ec2.calls();
        rewrite(&dir, &edited);
        server.reload();
        ec2.wait_for_calls(calls + 1);
        // By the clock of who did it: when this test sees it does not matter.
        let paused = ec2.called_at(calls).duration_since(stalled).unwrap();
        assert!(paused > PAUSE, "{edited}: {paused:?}");
    }
}

#[test]
fn a_reload_with_ec2_well_passes_through_nothing() {
    let ec2 = Ec2::with(4);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", &zone(4));
    let mut server = settled(&dir);
    let watch = Watch::over(server.dns, &[NAME]);
    for n in 0..5 {
        let more = format!("filters = {{ \"tag:N\" = \"{n}\" }}");
        rewrite(&dir, &source("east", &ec2.url(), "1h", &more));
        server.reload();
        // Also of a source that this reload has put in the place of another.
        assert_eq!(refresh(&server, false), [""; 0]);
    }
    assert_eq!(watch.end(), [[answer("10.0.0.1")]]);
    assert_eq!(server.status()["sources"][0]["health"], "healthy");
}

#[test]
fn a_changed_filter_is_a_loss_that_an_operator_may_take() {
    let ec2 = Ec2::with(4);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", &zone(4));
    let mut server = settled(&dir);
    let all = ec2.addresses();
    ec2.set(all[..1].to_vec());
    rewrite(&dir, &source("east", &ec2.url(), "1h", "filters = { \"tag:Role\" = \"db\" }"));
    server.signal("HUP");
    server.wait("the way to take it", |line| {
        line["fields"]["message"].as_str().is_some_and(|m| m.contains("`eipdns refresh --accept`"))
    });
    server.wait_for("configuration reloaded");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, "n4.example.com."), (answer("10.0.0.4"), vec![STALE]));
    let accepted = command(&server, dir.path(), &["refresh", "--accept"]);
    assert!(accepted.status.success(), "{accepted:?}");
    assert_eq!(asked(server.dns, "n4.example.com.").0, "NoError");
    assert_eq!(asked(server.dns, NAME).0, answer("10.0.0.1"));
}

#[test]
fn another_source_has_nothing_of_the_one_that_is_gone() {
    let ec2 = Ec2::with(4);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", &zone(4));
    let mut server = settled(&dir);
    ec2.fault(Fault::Throttled);
    // Two that could be it: none is.
    let two = source("a", &ec2.url(), "1h", "") + &source("b", &ec2.url(), "1h", "");
    rewrite(&dir, &two);
    server.reload();
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), ("ServFail".into(), vec![NOT_READY]));
}

#[test]
fn a_file_that_is_broken_at_a_reload_takes_no_answer_away() {
    let dir = Dir::new("");
    dir.write("example.com.toml", &format!("[names]\nn1 = \"{}\"\n", public(1)));
    dir.write("addresses.json", &describe(&[(&public(1), Some("10.0.0.1"))]));
    let config = dir.read("server.toml");
    let mut server = Server::start(dir.path());
    assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![]));
    dir.wait_for_state("10.0.0.1");
    let watch = Watch::over(server.dns, &[NAME]);
    dir.write("other.json", "{\"Addresses\": [");
    dir.write("server.toml", &config.replace("addresses.json", "other.json"));
    server.reload();
    assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![STALE]));
    assert_eq!(watch.end(), [[answer("10.0.0.1")]]);
    server.signal("KILL");
    server.ended();
    let mut server = Server::start(dir.path());
    assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![STALE]));
    dir.replace("other.json", &describe(&[(&public(1), Some("10.0.0.7"))]));
    server.wait_for_move("new", "10.0.0.7");
    assert_eq!(asked(server.dns, NAME), (answer("10.0.0.7"), vec![]));
}
