//! Commands as an operator runs them, with a server and without.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixtures::waiting::until;
use crate::harness::{DB, Dir, ELASTIC, PATIENCE, Server, eipdns, http_get, root};
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

/// How `check` ends, and what it says to stderr.
fn check(dir: &Dir) -> (Option<i32>, String) {
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    (out.status.code(), text(&out.stderr).to_owned())
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
    let (code, told) = check(&dir);
    assert_eq!(code, Some(78), "{told}");
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
    let dir = Dir::with_db("");
    dir.write("addresses.json", "{ \"Addresses\": [\n { \"PublicIp\": \"75.101\" } ] }");
    let (code, told) = check(&dir);
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("addresses.json") && told.contains("75.101"), "{told}");
}

#[test]
fn check_warns_of_a_binding_that_matches_nothing() {
    let dir = Dir::new("");
    dir.write("example.com.toml", "[names]\ndb = \"203.0.113.9\"\n");
    let (code, told) = check(&dir);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("example.com.toml:2") && told.contains("warning"), "{told}");
}

#[test]
fn explain_says_it_all() {
    let shipped = root().join("zones");
    let explain = |more: &[&str]| {
        let of = ["explain", "--offline", "--config", shipped.to_str().unwrap(), "db.example.com"];
        eipdns(&[&of[..], more].concat())
    };
    let out = explain(&["--client", "10.1.2.3"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let told = text(&out.stdout);
    for part in [
        "db.example.com. A",
        "10.1.2.3",
        "vpc",
        "example.com.",
        ELASTIC,
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
    let out = explain(&["--view", "vpc", "--json"]);
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(value["view"], "vpc");
    assert_eq!(value["resolved"], "10.0.1.5");
    assert_eq!(value["addresses"][0]["elastic_ip"], ELASTIC);

    let out = explain(&["--client", "192.0.2.1"]);
    assert!(text(&out.stdout).contains("status: REFUSED"), "{}", text(&out.stdout));
}

#[test]
fn dump_is_a_master_file() {
    let Some(named_checkzone) = peers::need("named-checkzone") else { return };
    let shipped = root().join("zones");
    let out = eipdns(&["dump", "--offline", "--config", shipped.to_str().unwrap(), "example.com"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("zone");
    std::fs::write(&file, &out.stdout).unwrap();
    let checked = Command::new(named_checkzone).arg("example.com").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}\n{}", text(&checked.stdout), text(&out.stdout));
    assert!(text(&out.stdout).contains("db.example.com."));
    assert!(text(&out.stdout).contains("The running server was not asked"));
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
        (&["dump", "--offline", "--config", config, "example.org"], 1),
        (&["dump", "--offline", "--config", config, "example.com", "--view", "nope"], 64),
        (&["dump", "--config", config, "a..b"], 64),
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
    let dir = Dir::with_db("");
    dir.http();
    let mut server = Server::start(dir.path());
    let http = server.http();
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
        run(&["refresh", "--wait-for", "db.example.com=10.0.1.6", "--timeout", "1s"]);
    assert_eq!(code, 1);
    assert!(why.contains("answered otherwise than 10.0.1.6 (vpc: 10.0.1.5)"), "{why}");
    assert_eq!(run(&["refresh", "--wait-for", "db.example.com"]).0, 64);
    // Told at once: nothing would come of waiting for the half minute.
    let (code, _, why) = run(&["refresh", "--wait-for", "bd.example.com=10.0.1.6"]);
    assert_eq!(code, 1);
    assert!(why.contains("bound in no zone; did you mean db.example.com.?"), "{why}");
    let (code, _, why) = run(&["refresh", "--wait-for", "db.example.com=75.101.137.243"]);
    assert_eq!(code, 64);
    assert!(why.contains("--view") && why.contains("private address"), "{why}");

    let (code, told, why) = run(&["dump", "example.com"]);
    assert_eq!((code, why.as_str()), (0, ""));
    assert!(told.contains("db.example.com. 5 IN A 10.0.1.5\n"), "{told}");
    assert_eq!(run(&["dump", "example.org"]).0, 1);
    assert_eq!(run(&["dump", "example.com", "--view", "nope"]).0, 64);

    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
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
    for args in [
        &["refresh"][..],
        &["refresh", "--wait-for", "db.example.com=10.0.1.6"],
        &["explain", "db.example.com"],
        &["dump", "example.com"],
    ] {
        let (code, told, why) = run(args);
        assert_eq!((code, told.as_str()), (69, ""), "{args:?}: {why}");
        assert!(why.contains("--offline") && why.contains("is it running?"), "{args:?}: {why}");
    }
    let (code, told, _) = run(&["explain", "--offline", "db.example.com"]);
    assert!(code == 0 && told.starts_with("--offline"), "{told}");
}

/// Without `listen.http` nobody can be asked.
#[test]
fn commands_without_an_http_side_name_offline() {
    let dir = Dir::with_db("");
    let config = dir.path().to_str().unwrap();
    for args in
        [&["status"][..], &["refresh"], &["explain", "db.example.com"], &["dump", "example.com"]]
    {
        let out = eipdns(&[args, &["--config", config]].concat());
        assert_eq!(out.status.code(), Some(69), "{args:?}");
        assert_eq!(text(&out.stdout), "", "{args:?}");
        let why = text(&out.stderr);
        assert!(why.contains("listen.http") && why.contains("--offline"), "{args:?}: {why}");
    }
}

/// A part of an answer is none: with a source missing nothing is printed.
#[test]
fn offline_fails_if_a_source_does() {
    let dir = Dir::new(
        "[[source]]\nname = \"other\"\ntype = \"file\"\npath = \"other.json\"\nregion = \"us-east-1\"\n",
    );
    dir.write("example.com.toml", DB);
    let config = dir.path().to_str().unwrap();
    for args in [&["dump", "example.com"][..], &["explain", "db.example.com"]] {
        let args = [args, &["--offline", "--config", config]].concat();
        let out = eipdns(&args);
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        assert_eq!(text(&out.stdout), "", "{args:?}");
        let why = text(&out.stderr);
        assert!(why.contains("source other says nothing") && why.contains("other.json"), "{why}");
    }
}

/// A name whose source has never delivered: the dump says so, and is not 0.
#[test]
fn a_dump_tells_of_names_without_an_answer() {
    let Some(named_checkzone) = peers::need("named-checkzone") else { return };
    let dir = Dir::new("");
    dir.http();
    dir.write("example.com.toml", DB);
    dir.replace("addresses.json", "{");
    let mut server = Server::start(dir.path());
    server.wait_for_stall();
    let out = server.command(&dir, &["dump", "example.com"]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("db.example.com.: SERVFAIL"), "{}", text(&out.stderr));
    let dumped = text(&out.stdout);
    assert!(
        dumped.contains("\n; db.example.com.: SERVFAIL") && dumped.contains(" SOA "),
        "{dumped}"
    );
    let file = dir.path().join("dumped");
    std::fs::write(&file, dumped).unwrap();
    let checked = Command::new(named_checkzone).arg("example.com").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}\n{dumped}", text(&checked.stdout));
}

/// Whoever does not read a large dump keeps its place, and there are few.
#[test]
fn few_dumps_are_made_at_once() {
    const LARGE: usize = 12 << 20; // octets: more than sockets buffer
    let dir = Dir::new("");
    dir.http();
    let long = "x".repeat(220);
    let record = |n: usize| format!("t{} 60 IN TXT \"{n} {long}\"\n", n / 200);
    dir.write("zone", &(0..LARGE / long.len()).map(record).collect::<String>());
    dir.write("example.com.toml", "records = \"zone\"\n");
    let server = Server::start(dir.path());
    let at = server.http();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(&at).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            write!(stream, "GET /api/dump?zone=example.com HTTP/1.0\r\nHost: {at}\r\n\r\n")
                .unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.0 200");
            stream
        })
        .collect();
    let dump = || server.command(&dir, &["dump", "example.com"]);
    let out = dump();
    assert_eq!(out.status.code(), Some(69));
    assert!(text(&out.stderr).contains("503: too many requests"), "{}", text(&out.stderr));
    assert!(out.stdout.is_empty());
    let metrics = http_get(&at, "/metrics", "");
    assert!(metrics.contains("eipdns_http_requests_total{status=\"503\"} 1"), "{metrics}");
    drop(readers);
    let out = until("a dump", || {
        let out = dump();
        if out.status.success() { Ok(out) } else { Err(text(&out.stderr).to_owned()) }
    });
    assert!(out.stdout.len() > LARGE, "{} octets", out.stdout.len());
}

/// A health check asks where to ask, and nothing else: an edit that is half done
/// makes no server unhealthy.
#[test]
fn a_bad_edit_keeps_nobody_from_asking() {
    let dir = Dir::new("");
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    dir.http();
    dir.listen("http_token_file = \"token\"");
    dir.write("example.com.toml", DB);
    let server = Server::start(dir.path());
    // As an operator has it, with a port that is known; and badly edited.
    let good = dir.read("server.toml");
    let good = good.replace("http = \"127.0.0.1:0\"", &format!("http = \"{}\"", server.http()));
    dir.write("server.toml", &format!("{good}answers = 7\n[surprise]\n"));
    dir.write("example.com.toml", "[names\n");
    let config = dir.path().to_str().unwrap();
    for args in [
        &["status"][..],
        &["status", "--live"],
        &["refresh"],
        &["refresh", "--wait-for", "db.example.com=10.0.1.5"],
        &["explain", "db.example.com"],
        &["dump", "example.com"],
    ] {
        let out = eipdns(&[args, &["--config", config]].concat());
        assert_eq!(out.status.code(), Some(0), "{args:?}: {}", text(&out.stderr));
        assert_eq!(text(&out.stderr), "", "{args:?}");
    }
    // Where server.toml is no TOML, nothing in it is sure.
    dir.write("server.toml", &format!("{good}[surprise\n"));
    let out = eipdns(&["status", "--live", "--config", config]);
    assert_eq!(out.status.code(), Some(78));
    assert!(text(&out.stderr).contains("server.toml:"), "{}", text(&out.stderr));
    // Flags say it as well.
    let at = ["status", "--config", config, "--listen-http", &server.http()];
    for more in [&["--token", "s3cret"][..], &["--live"]] {
        let out = eipdns(&[&at[..], more].concat());
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    }
    let out = eipdns(&at);
    assert_eq!(out.status.code(), Some(69));
    assert!(text(&out.stderr).contains("no token was found"), "{}", text(&out.stderr));
}

/// What is answered by the last good word of a source that fails now is not so for
/// sure.
#[test]
fn what_a_source_cannot_confirm_is_not_waited_for_as_if_it_could() {
    let dir = Dir::new("");
    dir.http();
    dir.write(
        "example.com.toml",
        "[names]\ndb = \"75.101.137.243\"\nfixed = { address = \"10.0.0.9\" }\n",
    );
    let mut server = Server::start(dir.path());
    let wait_for = |server: &Server, wish: &str| {
        let out = server.command(&dir, &["refresh", "--timeout", "1s", "--wait-for", wish]);
        (out.status.code().unwrap(), text(&out.stderr).to_owned())
    };
    assert_eq!(wait_for(&server, "db.example.com=10.0.1.5").0, 0);
    dir.replace("addresses.json", "{");
    server.wait_for("source stalled; its last good answer stands");
    let (code, told) = wait_for(&server, "db.example.com=10.0.1.5");
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("by the last good word of source sample"), "{told}");
    // Nothing of that rests on the source.
    assert_eq!(wait_for(&server, "fixed.example.com=10.0.0.9").0, 0);
}

/// A source that fails in each round is told once, and again when it fails otherwise.
#[test]
fn a_failure_that_goes_on_is_said_once() {
    let dir = Dir::new("");
    dir.http();
    dir.write("example.com.toml", "[names]\ndb = \"75.101.137.243\"\n");
    let mut server = Server::start(dir.path());
    let (config, http) = (dir.path().to_str().unwrap(), server.http());
    dir.replace("addresses.json", "{");
    // It may not have read the good one before.
    server.wait("that the source stalls", |line| {
        line["fields"]["message"].as_str().is_some_and(|text| text.starts_with("source stalled"))
    });
    let out = eipdns(&[
        "refresh",
        "--timeout",
        "3s",
        "--wait-for",
        "db.example.com=10.0.1.6",
        "--config",
        config,
        "--listen-http",
        &http,
    ]);
    let why = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{why}");
    assert_eq!(why.lines().filter(|line| line.contains("source sample: ")).count(), 1, "{why}");
}

/// A server that accepts and says nothing, or half of it: the time is the one
/// that was given, and what happened is said.
#[test]
fn a_server_that_is_silent_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let dir = Dir::new("");
    let config = dir.path().to_str().unwrap();
    let run = |args: &[&str]| {
        let out = eipdns(&[args, &["--config", config, "--listen-http", &at]].concat());
        (out.status.code().unwrap(), text(&out.stderr).to_owned())
    };
    // Nobody accepts; the kernel does.
    let waits = ["--timeout", "300ms"];
    for args in [&["refresh"][..], &["refresh", "--wait-for", "db.example.com=10.0.1.5"]] {
        let (code, why) = run(&[args, &waits].concat());
        assert_eq!(code, 69, "{why}");
        assert!(why.contains("has not answered within 300ms"), "{why}");
    }
    // An octet now and then is no answer either.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let dripping = std::thread::spawn(move || {
        let mut open: Vec<TcpStream> = Vec::new();
        listener.set_nonblocking(true).unwrap();
        while stopped.recv_timeout(Duration::from_millis(20)).is_err() {
            open.extend(listener.accept().map(|(stream, _)| stream));
            // Those that have gone do not matter.
            open.iter_mut().for_each(|stream| drop(stream.write(b"H")));
        }
        listener
    });
    let (code, why) = run(&[&["refresh"][..], &waits].concat());
    assert!(code == 69 && why.contains("has not answered within 300ms"), "{code} {why}");
    stop.send(()).unwrap();
    let listener = dripping.join().unwrap();
    // Half an answer is none, and a closed connection is said to be one.
    listener.set_nonblocking(false).unwrap();
    for said in ["", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n[]"] {
        let listener = listener.try_clone().unwrap();
        let answering = std::thread::spawn(move || {
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                // Connections of the commands before are still in the queue.
                if stream.read(&mut request).is_ok_and(|read| read > 0)
                    && stream.write_all(said.as_bytes()).is_ok()
                    && request.starts_with(b"GET /api/status")
                {
                    return;
                }
            }
        });
        let (code, why) = run(&["status"]);
        assert!(code == 69 && why.contains("closed the connection"), "{code} {why}");
        answering.join().unwrap();
    }
}

/// A command of one version and a server of another: more is no trouble, and
/// less is said to be less, never shown as if all were well.
#[test]
fn an_answer_of_another_version_is_read_or_refused() {
    let full = include_str!("../../src/status/report/tests/full.json");
    let full: Value = serde_json::from_str(full).unwrap();
    let dir = Dir::new("");
    let run = |told: &Value, args: &[&str]| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let answer = format!("HTTP/1.0 200 OK\r\n\r\n{told}");
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut head, mut octet) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut octet).unwrap();
                head.push(octet[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let config = dir.path().to_str().unwrap();
        let out = eipdns(&[args, &["--config", config, "--listen-http", &at]].concat());
        answering.join().unwrap();
        let (told, why) = (text(&out.stdout).to_owned(), text(&out.stderr).to_owned());
        (out.status.code().unwrap(), told, why)
    };
    let mut later = full.clone();
    later["version"] = "99.0.0".into();
    later["of_a_later_version"] = 1.into();
    let (code, told, why) = run(&later, &["status"]);
    assert_eq!((code, why.as_str()), (1, ""));
    assert!(told.contains("NOT PUBLISHED") && told.contains("MASS LOSS"), "{told}");
    let (code, told, _) = run(&later, &["status", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&told).unwrap()), (1, later));

    let mut earlier = full;
    earlier["version"] = "0.0.9".into();
    earlier.as_object_mut().unwrap().remove("publish_trouble");
    let (code, told, why) = run(&earlier, &["status"]);
    assert_eq!((code, told.as_str()), (69, ""));
    assert!(why.contains("missing field `publish_trouble`"), "{why}");
    assert!(why.contains("version 0.0.9") && why.contains("status --json"), "{why}");
    let (code, told, _) = run(&earlier, &["status", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&told).unwrap()), (1, earlier.clone()));
    assert_eq!(run(&earlier, &["status", "--live"]), (0, String::new(), String::new()));

    // Nor is a refresh of which nothing is said one that did not fail.
    let (code, told, why) = run(&json!([{ "source": "sample", "took_ms": 1.0 }]), &["refresh"]);
    assert_eq!((code, told.as_str()), (69, ""));
    assert!(why.contains("missing field `failed`"), "{why}");
}

#[test]
fn a_token_guards_the_http_side() {
    let dir = Dir::new("");
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    dir.http();
    dir.listen(&format!("http_token_file = \"{}\"", token.display()));
    let server = Server::start(dir.path());
    let http = &server.http();
    assert!(http_get(http, "/livez", "").starts_with("HTTP/1.0 200"));
    for path in ["/metrics", "/api/dump?zone=example.com", "/api/answered?wait_for=a=10.0.0.1"] {
        assert!(http_get(http, path, "").starts_with("HTTP/1.0 401"), "{path}");
    }
    let with = "Authorization: Bearer s3cret\r\n";
    assert!(http_get(http, "/metrics", with).starts_with("HTTP/1.0 200"));
    let out = server.command(&dir, &["status"]);
    assert_eq!(out.status.code(), Some(0), "the command reads the token: {}", text(&out.stderr));
    // Whether it lives is said to everybody, with a token that is gone as well.
    std::fs::remove_file(&token).unwrap();
    let status = |args: &[&str]| server.command(&dir, args).status.code();
    assert_eq!((status(&["status"]), status(&["status", "--live"])), (Some(69), Some(0)));
}
