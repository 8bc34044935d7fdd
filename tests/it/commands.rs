//! `check`, `explain` and `dump` as an operator runs them.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Dir, Server, eipdns, http_get, root};
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
    let out = eipdns(&[
        "explain",
        "--offline",
        "--config",
        config,
        "db.example.com",
        "--client",
        "10.1.2.3",
    ]);
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
    let out = eipdns(&[
        "explain",
        "--offline",
        "--config",
        config,
        "db.example.com",
        "--view",
        "vpc",
        "--json",
    ]);
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(value["view"], "vpc");
    assert_eq!(value["resolved"], "10.0.1.5");
    assert_eq!(value["addresses"][0]["elastic_ip"], "75.101.137.243");

    let out = eipdns(&[
        "explain",
        "--offline",
        "--config",
        config,
        "db.example.com",
        "--client",
        "192.0.2.1",
    ]);
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
        (&["explain", "--offline", "--config", config, "a.b", "--view", "nope"], 64),
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

/// The commands that talk to the running server, from its start to its end.
#[test]
fn commands_of_a_running_server() {
    let dir = Dir::new("");
    let config = std::fs::read_to_string(dir.path().join("server.toml")).unwrap();
    dir.write("server.toml", &config.replace("[listen]", "[listen]\nhttp = \"127.0.0.1:0\""));
    dir.write("example.com.toml", "[names]\ndb = \"75.101.137.243\"\n");
    let mut server = Server::start(dir.path());
    let http = server
        .lines()
        .iter()
        .find(|l| l["fields"]["message"] == "listening for HTTP")
        .map(|l| l["fields"]["address"].as_str().unwrap().to_string())
        .expect("the HTTP side is said");
    let path = dir.path().to_str().unwrap().to_string();
    let run = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--config", &path, "--listen-http", &http]);
        let out = eipdns(&all);
        let (told, why) = (text(&out.stdout).to_string(), text(&out.stderr).to_string());
        (out.status.code().unwrap(), told, why)
    };

    let (code, told, why) = run(&["status"]);
    assert_eq!(code, 0, "{why}");
    assert!(told.contains("source sample (file us-east-1): healthy"), "{told}");
    let worst = "worst case from an edit of the file to answer: 5.0 s (seen at once; TTL 5 s of ";
    assert!(told.contains(&format!("{worst}db.example.com.)")), "{told}");
    assert_eq!(run(&["status", "--live"]), (0, String::new(), String::new()));
    let (_, told, _) = run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(status["zones"][0]["origin"], "example.com.");
    assert_eq!(status["sources"][0]["addresses"], 1);

    let (code, told, why) = run(&["explain", "db.example.com"]);
    assert_eq!(code, 0, "{why}");
    assert!(told.contains("status: NOERROR") && told.contains("10.0.1.5"), "{told}");
    assert_eq!(run(&["explain", "db.example.com", "--view", "nope"]).0, 64);

    assert_eq!(run(&["refresh"]).0, 0);
    assert_eq!(run(&["refresh", "--source", "nope"]).0, 64);
    assert_eq!(run(&["refresh", "--wait-for", "db.example.com=10.0.1.5"]).0, 0);
    assert_eq!(run(&["refresh", "--wait-for", "db.example.com=eipassoc-10015"]).0, 0);
    let (code, _, why) =
        run(&["refresh", "--wait-for", "db.example.com=10.0.1.6", "--timeout", "10ms"]);
    assert_eq!(code, 1);
    assert!(why.contains("db.example.com is answered otherwise (vpc: 10.0.1.5)"), "{why}");
    assert_eq!(run(&["refresh", "--wait-for", "db.example.com"]).0, 64);
    let (code, _, _) =
        run(&["refresh", "--wait-for", "nope.example.com=10.0.1.6", "--timeout", "1ms"]);
    assert_eq!(code, 1);

    dir.addresses(&[("75.101.137.243", Some("10.0.1.6"))]);
    assert_eq!(run(&["refresh", "--wait-for", "db.example.com=10.0.1.6"]).0, 0);
    assert_eq!(server.data("db.example.com.", hickory_proto::rr::RecordType::A), ["10.0.1.6"]);
    let get = |path: &str, headers: &str| http_get(&http, path, headers);
    let history = get("/api/history", "");
    assert!(history.contains("\"old\":\"10.0.1.5\"") && history.contains("\"new\":\"10.0.1.6\""));
    for path in ["/livez", "/readyz"] {
        assert!(get(path, "").starts_with("HTTP/1.0 200"), "{path}");
    }
    let metrics = get("/metrics", "");
    for line in [
        "eipdns_queries_total{view=\"vpc\",transport=\"udp\",path=\"zone\",rcode=\"NOERROR\"} 1",
        "eipdns_moves_total 1",
        "eipdns_source_healthy{source=\"sample\"} 1.0",
        "eipdns_udp_datagrams_total{event=\"received\"} 1",
        "# TYPE eipdns_moves_total counter",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    // DNS rebinding: a name, or another site's page.
    assert!(http_get(&http, "/api/status", "Host: evil.example\r\n").starts_with("HTTP/1.0 421"));
    assert!(get("/api/status", "Origin: http://evil.example\r\n").starts_with("HTTP/1.0 403"));
    assert!(get("/api/nothing", "").starts_with("HTTP/1.0 404"));

    server.signal("TERM");
    assert!(server.ended().success());
    assert_eq!(run(&["status"]).0, 69);
    assert_eq!(run(&["status", "--live"]).0, 69);
    assert_eq!(run(&["refresh"]).0, 69);
    assert_eq!(run(&["explain", "db.example.com"]).0, 69);
    assert_eq!(run(&["explain", "--offline", "db.example.com"]).0, 0);
}

#[test]
fn a_token_guards_the_http_side() {
    let dir = Dir::new("");
    let config = std::fs::read_to_string(dir.path().join("server.toml")).unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let listen =
        format!("[listen]\nhttp = \"127.0.0.1:0\"\nhttp_token_file = \"{}\"", token.display());
    dir.write("server.toml", &config.replace("[listen]", &listen));
    let server = Server::start(dir.path());
    let lines = server.lines();
    let line = lines.iter().find(|l| l["fields"]["message"] == "listening for HTTP").unwrap();
    let http = line["fields"]["address"].as_str().unwrap();
    assert!(http_get(http, "/livez", "").starts_with("HTTP/1.0 200"));
    assert!(http_get(http, "/metrics", "").starts_with("HTTP/1.0 401"));
    let with = "Authorization: Bearer s3cret\r\n";
    assert!(http_get(http, "/metrics", with).starts_with("HTTP/1.0 200"));
    let path = dir.path().to_str().unwrap();
    let out = eipdns(&["status", "--config", path, "--listen-http", http]);
    assert_eq!(out.status.code(), Some(0), "the command reads the token: {}", text(&out.stderr));
}
