//! Polls that bring nothing new, and how often there are any.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use super::moto::Moto;
use super::scripted::{Ec2, Fault, public};
use super::tls::Tls;
use super::{STALE, answer, asked, command, configure, refresh, settled, source, start, with_keys};
use crate::fixtures::waiting::eventually;
use crate::harness::Server;

const UNCHANGED: &str = "eipdns_source_unchanged_total{source=\"east\"}";
const NAMES: &str = "n1 = \"75.101.137.1\"\nn2 = \"75.101.137.2\"\n\
                     db = { tag = { Role = \"db\" } }\nweb = { tag = { Role = \"web\" } }";

fn east(server: &Server) -> Value {
    server.status()["sources"][0].clone()
}

/// Its items and tags come in another order each time, under another request id.
#[test]
fn an_answer_that_is_equal_to_the_last_one_is_a_good_one() {
    let ec2 = Ec2::with(2);
    ec2.change(&public(1), |a| a.tag("Role", "db").tag("Name", "a &amp; b").tag("Spare", ""));
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "[guard]\nhold = \"1s\"", NAMES);
    let mut server = settled(&dir);
    let (unchanged, generation) = (server.metric(UNCHANGED), server.metric("eipdns_generation"));
    let mut last_good = east(&server)["last_good"].clone();
    for n in 1..=5 {
        assert!(refresh(&server, false).is_empty());
        assert_eq!(server.metric(UNCHANGED), unchanged + f64::from(n));
        let (now, before) = (east(&server)["last_good"].clone(), last_good);
        assert!(now.as_str() > before.as_str(), "{now} after {before}");
        last_good = now;
    }
    assert_eq!(server.metric("eipdns_generation"), generation, "nothing is published");
    // What fails in between changes nothing about what an answer is compared with; what looks
    // equal and is cut is refused.
    for fault in [Fault::CutInItem, Fault::CutBetweenItems, Fault::CutShort, Fault::Unavailable] {
        ec2.fault(fault);
        assert_eq!(refresh(&server, false).len(), 1, "{fault:?}");
        assert_eq!(server.metric(UNCHANGED), unchanged + 5.0, "{fault:?}");
        assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![STALE]));
    }
    ec2.fault(Fault::None);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(server.metric(UNCHANGED), unchanged + 6.0);

    // One value of one tag.
    assert_eq!(server.data("web.example.com.", RecordType::A), [""; 0]);
    ec2.change(&public(2), |a| a.tag("Role", "web"));
    assert!(refresh(&server, false).is_empty());
    assert_eq!(server.data("web.example.com.", RecordType::A), ["10.0.0.2"]);
    assert_eq!(server.metric(UNCHANGED), unchanged + 6.0);

    // A hold ends with an answer that shows nothing new.
    ec2.disassociate(&public(1));
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![STALE]));
    server.wait_for_move("old", "10.0.0.1");
    assert_eq!(asked(server.dns, "n1.example.com.").0, "NoError");
    assert!(server.metric(UNCHANGED) > unchanged + 6.0);
}

/// Over TLS, as from EC2 itself.
#[test]
fn an_equal_answer_over_tls_is_known_and_one_that_is_cut_is_refused() {
    let ec2 = Ec2::with(2);
    ec2.change(&public(1), |a| a.tag("Role", "db").tag("Name", "a &amp; b").tag("Spare", ""));
    let Some(tls) = Tls::before(ec2.address()) else { return };
    let dir = configure(&source("east", &tls.url(), "1h", ""), "", NAMES);
    let mut server = Server::start_with(dir.path(), |command| {
        with_keys(command);
        command.env("SSL_CERT_FILE", tls.ca());
    });
    server.wait_for("source delivers");
    assert!(refresh(&server, false).is_empty());
    let unchanged = server.metric(UNCHANGED);
    for fault in [Fault::CutInItem, Fault::CutBetweenItems, Fault::CutShort] {
        ec2.fault(fault);
        assert_eq!(refresh(&server, false).len(), 1, "{fault:?}");
        ec2.fault(Fault::None);
        assert!(refresh(&server, false).is_empty());
    }
    assert_eq!(server.metric(UNCHANGED), unchanged + 3.0);
    ec2.associate(&public(1), "10.0.9.1");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(server.metric(UNCHANGED), unchanged + 3.0);
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.9.1"]);
}

/// So does an operator's word.
#[test]
fn losses_are_accepted_with_an_answer_that_shows_nothing_new() {
    let ec2 = Ec2::with(2);
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", NAMES);
    let server = settled(&dir);
    ec2.disassociate(&public(1));
    for _ in 0..2 {
        assert!(refresh(&server, false).is_empty());
        assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![STALE]));
    }
    let unchanged = server.metric(UNCHANGED);
    assert!(refresh(&server, true).is_empty());
    assert_eq!(server.metric(UNCHANGED), unchanged + 1.0);
    assert_eq!(asked(server.dns, "n1.example.com.").0, "NoError");
}

/// moto's answers are understood, too.
#[test]
fn a_changed_tag_is_seen_among_answers_that_are_equal() {
    let Some(moto) = Moto::start() else { return };
    let account = moto.in_region("us-east-1");
    let allocations: Vec<_> = [("75.101.137.1", "172.31.5.1"), ("75.101.137.2", "172.31.5.2")]
        .into_iter()
        .map(|(public, private)| {
            let allocation = account.allocate(public, "Role", "db");
            account.associate(&allocation, &account.interface(private));
            allocation
        })
        .collect();
    let dir = configure(&source("east", &moto.url(), "1h", ""), "", NAMES);
    let server = settled(&dir);
    let unchanged = server.metric(UNCHANGED);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(server.metric(UNCHANGED), unchanged + 1.0);
    let tag = [("ResourceId.1", allocations[1].as_str()), ("Tag.1.Key", "Role")];
    account.call("CreateTags", &[tag[0], tag[1], ("Tag.1.Value", "web")]);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(server.metric(UNCHANGED), unchanged + 1.0);
    assert_eq!(server.data("db.example.com.", RecordType::A), ["172.31.5.1"]);
    assert_eq!(server.data("web.example.com.", RecordType::A), ["172.31.5.2"]);
}

/// When calls take long there is a pause after each, and when EC2 throttles there are few;
/// both are said, and shown for as long as they last.
#[test]
fn a_pace_that_gives_way_is_said() {
    let ec2 = Ec2::with(1);
    let took = Duration::from_millis(400);
    ec2.slow(took);
    let dir = configure(&source("east", &ec2.url(), "500ms", ""), "", "n1 = \"75.101.137.1\"");
    let mut server = start(&dir);
    let told = server.wait_for("EC2 is asked less often than `poll` says");
    assert_eq!(told["fields"]["source"], "east", "{told}");
    let why = told["fields"]["why"].as_str().unwrap();
    assert!(why.contains("takes long"), "{told}");
    let slowed = east(&server)["slowed"].clone();
    assert_eq!(slowed["why"], why, "{slowed}");
    assert!(slowed["every"].as_f64().unwrap() >= 0.65, "{slowed}");
    assert!(server.status()["worst_case_of"]["poll"].as_f64().unwrap() >= 0.65);
    let shown = command(&server, dir.path(), &["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("  SLOWED: a call every 0."), "{shown}");
    assert_eq!(server.metric("eipdns_source_slowed{source=\"east\"}"), 1.0);
    let calls = ec2.calls();
    for (nth, next) in (0..calls - 1).map(|nth| (nth, ec2.called_at(nth + 1))) {
        let apart = next.duration_since(ec2.called_at(nth)).unwrap();
        // The pause, less what a request takes to get there.
        assert!(apart >= took + Duration::from_millis(200), "call {nth}: {apart:?}");
    }

    ec2.slow(Duration::ZERO);
    eventually("its pace again", || east(&server)["slowed"].is_null());
    assert_eq!(server.status()["worst_case_of"]["poll"], 0.5);
    ec2.fault(Fault::Throttled);
    let by_throttling = || east(&server)["slowed"]["why"].to_string().contains("throttles");
    eventually("throttling", by_throttling);
}

/// What sources of one region take together, as far as is configured.
#[test]
fn requests_to_ec2_are_counted_against_what_it_grants() {
    let ec2 = Ec2::with(1);
    let url = ec2.url();
    let sources = [
        source("a", &url, "1s", ""),
        source("b", &url, "500ms", "filters = { domain = [\"vpc\"] }"),
        source("c", &url, "1s", "").replace("us-east-1", "eu-west-1"),
    ];
    let dir = configure(&sources.concat(), "", "n1 = \"75.101.137.1\"");
    let server = settled(&dir);
    let status = server.status();
    let budgets = status["budgets"].as_array().unwrap();
    let of = |at: usize, key: &str| budgets[at][key].clone();
    assert_eq!((of(0, "region"), of(0, "sources")), (json!("us-east-1"), json!(["a", "b"])));
    assert_eq!((of(1, "region"), of(1, "sources")), (json!("eu-west-1"), json!(["c"])));
    assert_eq!(of(0, "credentials"), "the default credentials");
    assert_eq!((of(0, "granted_per_second"), of(0, "granted_at_once")), (json!(20.0), json!(100)));
    // Calls are 0.925 x poll apart, on average.
    let rate = |at| of(at, "per_second").as_f64().unwrap();
    assert!(rate(0) >= 3.0 / 0.925 && rate(1) >= 1.0 / 0.925, "{budgets:?}");
    let labels = "region=\"us-east-1\",credentials=\"the default credentials\"";
    let metric =
        server.metric(&format!("eipdns_source_requests_per_second{{source=\"b\",{labels}}}"));
    assert!(metric >= 2.0 / 0.925, "{metric}");
    let requests = server.metric("eipdns_source_requests_total{source=\"a\"}");
    assert!(requests >= 1.0, "{requests}");
    let shown = command(&server, dir.path(), &["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout);
    let line = format!("requests to EC2 in us-east-1 at {url} with the default credentials: ");
    assert!(shown.contains(&line), "{shown}");
}
