//! Trouble with our own names: where addresses come from, what is made of them.

use std::fs;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::json;

use super::{NAME, ask_plainly, one_name, scrape, scrape_until, well};
use crate::fixtures::promtool::{Scrape, fires, promtool, while_it_lasts};
use crate::harness::{Dir, ELASTIC, Server, http_get};

const STALLED: &str = "source stalled; its last good answer stands";

/// A source that has nothing makes no server ready, however long it fails; and
/// one that was ready stays so.
#[test]
fn nothing_known_at_the_start() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("[serve]\nready_grace = \"1s\"\n");
    fs::remove_file(dir.path().join("addresses.json")).unwrap();
    let mut server = Server::start(dir.path());
    server.wait_for_stall();
    let before = scrape(&server);
    let answer = server.ask(NAME, RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let http = server.http();
    let status = || server.status();
    let ready = || http_get(&http, "/readyz", "");
    // Longer than the grace: the uptime says so, in whole seconds.
    scrape_until(&server, "the grace is over", |_| status()["uptime"].as_u64() >= Some(3));
    assert!(ready().starts_with("HTTP/1.0 503"), "{}", ready());
    assert!(ready().contains("waiting for sample: no source has delivered"), "{}", ready());
    let told = server.shown_status(&dir);
    assert!(told.contains("\nNOT READY: waiting for sample: no source has delivered"), "{told}");
    assert_eq!(
        (&status()["ready"], &status()["views"][0]["not_ready"]),
        (&json!(false), &json!(1))
    );
    fires(
        &promtool,
        &while_it_lasts(&before, &scrape(&server)),
        &["EipdnsNamesNotReady", "EipdnsNotReady", "EipdnsOwnNamesFail", "EipdnsSourceStalled"],
    );

    dir.addresses(&[(ELASTIC, Some("10.0.1.5"))]);
    server.wait_for("first answers");
    // The log comes first.
    scrape_until(&server, "ready", |scrape| scrape.value("eipdns_ready", "") == 1.0);
    assert!(ready().starts_with("HTTP/1.0 200"), "{}", ready());
    dir.replace("addresses.json", "{");
    // The log has such a line once a minute.
    let again = scrape_until(&server, "stalled", |scrape| {
        scrape.value("eipdns_source_healthy", "source=\"sample\"") == 0.0
    });
    assert_eq!(again.value("eipdns_ready", ""), 1.0);
    assert!(ready().starts_with("HTTP/1.0 200"), "{}", ready());
}

/// An address file that was good and is damaged.
#[test]
fn a_stalled_source_and_stale_answers() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    let mut server = Server::start(dir.path());
    server.ask(NAME, RecordType::A);
    let healthy = well(&server);
    dir.replace("addresses.json", "{ \"Addresses\": [");
    server.wait_for(STALLED);
    let stalled = scrape_until(&server, "stalled", |s| {
        s.value("eipdns_source_healthy", "source=\"sample\"") == 0.0
    });
    // Nobody has asked: nobody got anything stale.
    fires(&promtool, &while_it_lasts(&healthy, &stalled), &["EipdnsSourceStalled"]);
    assert_eq!(server.data(NAME, RecordType::A), ["10.0.1.5"]);
    ask_plainly(&server);
    let after = scrape(&server);
    let stale = |s: &Scrape| s.value("eipdns_stale_answers_total", "view=\"vpc\",path=\"zone\"");
    assert_eq!((stale(&stalled), stale(&after)), (0.0, 2.0), "with EDNS and without");
    let expected = ["EipdnsSourceStalled", "EipdnsStaleAnswers"];
    fires(&promtool, &while_it_lasts(&stalled, &after), &expected);
}

#[test]
fn a_name_without_an_address() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    let mut server = Server::start(dir.path());
    let before = well(&server);
    dir.addresses(&[(ELASTIC, None)]);
    server.wait_for_move("old", "10.0.1.5");
    let after = scrape(&server);
    assert_eq!(after.value("eipdns_names", "view=\"vpc\""), 1.0);
    fires(&promtool, &while_it_lasts(&before, &after), &["EipdnsNamesWithoutAddress"]);
    let told = server.shown_status(&dir);
    assert!(told.contains("view vpc: of 1 names 1 WITHOUT ADDRESS"), "{told}");
}

#[test]
fn a_state_directory_that_is_none() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    let mut server = Server::start(dir.path());
    let before = well(&server);
    let state = dir.path().join(".state");
    fs::rename(&state, dir.path().join(".elsewhere")).unwrap();
    fs::write(&state, "").unwrap();
    // What is to be kept is written.
    server.moves(&dir, "10.0.1.6");
    let after = scrape_until(&server, "it is told", |scrape| {
        scrape.value("eipdns_state_writable", "") == 0.0
    });
    fires(&promtool, &while_it_lasts(&before, &after), &["EipdnsStateNotWritten"]);
}

#[test]
fn a_reload_that_is_refused() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    let mut server = Server::start(dir.path());
    let before = well(&server);
    let taken = "eipdns_config_last_reload_success_timestamp_seconds";
    dir.write("example.net.toml", "[names]\nx = \"no address\"\n");
    server.refuses_to_reload();
    let refused = scrape_until(&server, "it is told", |scrape| {
        scrape.value("eipdns_config_last_reload_successful", "") == 0.0
    });
    assert_eq!(refused.value(taken, ""), before.value(taken, ""));
    fires(&promtool, &while_it_lasts(&before, &refused), &["EipdnsReloadRefused"]);

    dir.write("example.net.toml", "[names]\n");
    server.reload();
    let mended = scrape_until(&server, "it is told", |scrape| {
        scrape.value("eipdns_config_last_reload_successful", "") == 1.0
    });
    assert!(mended.value(taken, "") > before.value(taken, ""));
    fires(&promtool, &while_it_lasts(&refused, &mended), &[]);
}

#[test]
fn a_time_to_live_of_an_hour_and_an_entry_that_is_left_out() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    dir.write("example.com.toml", &format!("ttl = 3600\n[names]\ndb = \"{ELASTIC}\"\n"));
    let server = Server::start(dir.path());
    let slow = well(&server);
    fires(&promtool, &while_it_lasts(&slow, &slow), &["EipdnsMovesSlow"]);

    let dir: Dir = one_name("");
    let listing = json!({ "Addresses": [
        { "PublicIp": ELASTIC, "PrivateIpAddress": "10.0.1.5" },
        { "CarrierIp": "155.146.10.111" },
    ] });
    dir.replace("addresses.json", &listing.to_string());
    let server = Server::start(dir.path());
    let odd = well(&server);
    assert_eq!(odd.value("eipdns_source_entries_left_out", "source=\"sample\""), 1.0);
    fires(&promtool, &while_it_lasts(&odd, &odd), &["EipdnsEntriesLeftOut"]);
}

#[test]
fn a_tag_that_gives_no_name() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    dir.write("example.com.toml", "[discover]\ntag = \"dns-name\"\n");
    let listing = json!({ "Addresses": [{
        "PublicIp": ELASTIC,
        "PrivateIpAddress": "10.0.1.5",
        "Tags": [{ "Key": "dns-name", "Value": "db x..y" }],
    }] });
    dir.replace("addresses.json", &listing.to_string());
    let server = Server::start(dir.path());
    let odd = well(&server);
    let bad_name = "source=\"sample\",kind=\"bad_name\"";
    assert_eq!(odd.value("eipdns_source_tag_problems", bad_name), 1.0);
    fires(&promtool, &while_it_lasts(&odd, &odd), &["EipdnsTagProblems"]);
}

#[test]
fn an_interface_of_which_nothing_is_known() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    dir.edit("path = \"addresses.json\"", "path = \"addresses.json\"\ninterfaces = \"eni.json\"");
    dir.write("eni.json", "{ \"NetworkInterfaces\": [] }");
    dir.write(
        "example.com.toml",
        &format!("[names]\ndb = {{ elastic_ip = \"{ELASTIC}\", ipv6 = true }}\n"),
    );
    let listing = json!({ "Addresses": [{
        "PublicIp": ELASTIC,
        "PrivateIpAddress": "10.0.1.5",
        "NetworkInterfaceId": "eni-1",
    }] });
    dir.replace("addresses.json", &listing.to_string());
    let server = Server::start(dir.path());
    let odd = well(&server);
    assert_eq!(odd.value("eipdns_source_interfaces_wanted", "source=\"sample\""), 1.0);
    fires(&promtool, &while_it_lasts(&odd, &odd), &["EipdnsInterfacesNotKnown"]);
    // What is known stands, and still somebody is to look.
    let value = |page: &Scrape, of: &str| {
        page.value(&format!("eipdns_source_interfaces_{of}"), "source=\"sample\"")
    };
    dir.replace("eni.json", "{ \"NetworkInterfaces\": [{ \"NetworkInterfaceId\": \"eni-1\" }] }");
    scrape_until(&server, "it is known", |page| {
        (value(page, "known"), value(page, "missing")) == (1.0, 0.0)
    });
    dir.replace("eni.json", "{ \"NetworkInterfaces\": [] }");
    scrape_until(&server, "it is not shown", |page| value(page, "missing") == 1.0);
    let odd = well(&server);
    assert_eq!(value(&odd, "known"), 1.0);
    let told = server.shown_status(&dir);
    let line = "interfaces that the file does not show: eni-1; what was known of them stands";
    assert!(told.contains(line), "{told}");
    fires(&promtool, &while_it_lasts(&odd, &odd), &["EipdnsInterfacesNotKnown"]);
}

#[test]
fn more_names_than_ptr_records() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("\n[[reverse]]\nnetworks = [\"10.0.0.0/8\"]\n");
    let names: String = (0..17).map(|n| format!("h{n} = {{ address = \"10.0.0.1\" }}\n")).collect();
    dir.write("example.com.toml", &format!("[names]\n{names}"));
    let server = Server::start(dir.path());
    let odd = well(&server);
    assert_eq!(odd.value("eipdns_pointers_crowded", "view=\"vpc\""), 1.0);
    fires(&promtool, &while_it_lasts(&odd, &odd), &["EipdnsPointersCrowded"]);
}
