//! `eipdns reload` and `POST /api/reload`: whoever asks hears what the reading that began
//! afterwards has come to.

mod crowd;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::fixtures::daemon::free_port_of;
use crate::harness::{DB, Dir, PATIENCE, Server, eipdns, view};

/// A zone's file with one name at a fixed address.
fn www(last: u32) -> String {
    format!("[names]\nwww = {{ address = \"10.0.2.{last}\" }}\n")
}

/// How `eipdns reload` ends, and what it says.
fn reload(server: &Server, dir: &Dir) -> (Option<i32>, String, String) {
    let out = server.command(dir, &["reload"]);
    let text = |octets| String::from_utf8(octets).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

/// The lines of a verdict that is well, but for the first.
fn accepted(server: &Server, dir: &Dir) -> Vec<String> {
    let (code, told, why) = reload(server, dir);
    assert_eq!((code, why.as_str()), (Some(0), ""), "{told}");
    assert!(told.starts_with("configuration taken at 2"), "{told}");
    told.lines().skip(1).map(str::to_owned).collect()
}

/// Status and body of a request to `/api/reload`.
fn request(http: &str, method: &str, headers: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = if headers.starts_with("Host:") { "" } else { &format!("Host: {http}\r\n") };
    let head = format!("{method} /api/reload HTTP/1.0\r\n{host}{headers}Content-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn start() -> (Dir, Server) {
    let dir = Dir::with_db("");
    dir.http();
    let server = Server::start(dir.path());
    (dir, server)
}

#[test]
fn names_zones_and_views_that_change_are_told() {
    let (dir, server) = start();
    assert_eq!(accepted(&server, &dir), ["nothing has changed"]);
    dir.write("example.com.toml", &format!("# The same.\n{DB}"));
    assert_eq!(accepted(&server, &dir), ["nothing has changed"]);

    dir.write("example.com.toml", &format!("{DB}www = {{ address = \"10.0.2.1\" }}\n"));
    let told = accepted(&server, &dir);
    assert_eq!(told[0], "zone example.com.: its file says otherwise");
    assert!(told[1].starts_with("zone example.com. in view vpc: serial "), "{told:?}");
    assert!(told[1].ends_with(", 1 RRset"), "{told:?}");
    assert_eq!(told[2..], ["name www.example.com.: new, 10.0.2.1 (vpc)"]);
    assert_eq!(server.data("www.example.com.", RecordType::A), ["10.0.2.1"]);

    dir.write("example.com.toml", "[names]\ndb = { address = \"10.0.2.2\" }\n");
    let told = accepted(&server, &dir).join("\n");
    assert!(told.contains("name db.example.com.: 10.0.1.5 -> 10.0.2.2 (vpc)"), "{told}");
    assert!(told.contains("name www.example.com.: gone, was 10.0.2.1 (vpc)"), "{told}");

    dir.write("example.net.toml", &www(1));
    let server_toml = dir.read("server.toml");
    let lan = view("lan", "127.9.0.0/16", "public");
    dir.write("server.toml", &format!("{server_toml}{lan}\n[guard]\nhold = \"7s\"\n"));
    let told = accepted(&server, &dir).join("\n");
    for line in [
        "key guard.hold: was 30s, is 7s",
        "view lan: new",
        "zone example.net.: new",
        "name www.example.net.: new, 10.0.2.1 (vpc, lan)",
        "name db.example.com.: new, 10.0.2.2 (lan)",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    dir.write("server.toml", &server_toml.replace("answer = \"private\"", "answer = \"cname\""));
    let told = accepted(&server, &dir).join("\n");
    for line in [
        "view lan: gone",
        "view vpc: its `answer` was \"private\" and is \"cname\"",
        "key guard.hold: was 7s, is 30s",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
}

#[test]
fn sources_and_forwarding_that_change_are_told() {
    let dir = Dir::forwarding(&[([192, 0, 2, 1], 53).into()], "");
    dir.http();
    let server = Server::start(dir.path());
    assert_eq!(accepted(&server, &dir), ["nothing has changed"]);
    dir.edit("192.0.2.1:53", "192.0.2.2:53");
    let expected = [
        "key [[forward]]: was . to 192.0.2.1:53, is . to 192.0.2.2:53",
        "the cache of forwarded answers begins empty",
    ];
    assert_eq!(accepted(&server, &dir), expected);
    fs::copy(dir.path().join("addresses.json"), dir.path().join("more.json")).unwrap();
    let more = "[[source]]\nname = \"more\"\ntype = \"file\"\npath = \"more.json\"\n\n[[view]]";
    dir.edit("[[view]]", more);
    assert_eq!(accepted(&server, &dir), ["source more: new"]);
    dir.edit("name = \"sample\"", "name = \"sample\"\nttl = 7");
    assert_eq!(accepted(&server, &dir), ["source sample: its `ttl` was \"5\" and is \"7\""]);
    dir.edit(more, "[[view]]");
    assert_eq!(accepted(&server, &dir), ["source more: gone"]);
}

#[test]
fn addresses_that_are_opened_and_closed_are_told_and_what_cannot_be_had() {
    let (dir, server) = start();
    let (kept, foreign) = (free_port_of("127.0.0.8"), free_port_of("127.0.0.8").port());
    let foreign: SocketAddr = ([192, 0, 2, 77], foreign).into();
    let with = |list: &str| dir.edit("dns = [", &format!("dns = [{list}, "));
    with(&format!("\"{kept}\", \"{foreign}\""));
    let told = accepted(&server, &dir);
    assert!(told[0].starts_with("key listen.dns: was 127.0.0.1:0, is "), "{told:?}");
    let expected = [
        format!("address {kept}: opened"),
        format!(
            "address {foreign}: opened, BUT THIS HOST DOES NOT HAVE IT: queries come once it has"
        ),
    ];
    // The host has other addresses to answer with where a zone names no nameservers.
    assert_eq!(told[1..3], expected);
    dir.edit(&format!(", \"{foreign}\""), "");
    assert!(accepted(&server, &dir).contains(&format!("address {foreign}: closed")));

    // Taken by another: the configuration is well, and nothing changes.
    let taken = TcpListener::bind("127.0.0.9:0").unwrap();
    with(&format!("\"{}\"", taken.local_addr().unwrap()));
    let (code, told, why) = reload(&server, &dir);
    assert_eq!(code, Some(1), "{told}{why}");
    assert!(told.starts_with("configuration refused at 2") && told.lines().count() == 1, "{told}");
    assert!(why.starts_with("error: ") && why.contains("127.0.0.9:"), "{why}");
    let (status, verdict) = request(&server.http(), "POST", "");
    assert_eq!((status, &verdict["accepted"]), (200, &json!(false)));
    assert_eq!(verdict["problems"]["first"][0]["file"], Value::Null, "{verdict}");
}

#[test]
fn a_refusal_shows_every_error_and_the_old_one_stands() {
    let (dir, mut server) = start();
    dir.write("example.com.toml", "[names]\ndb = \"75.101.137\"\nweb = \"no address\"\n");
    dir.write("example.net.toml", &format!("{}xyz = 1\n", www(1)));
    let (code, told, why) = reload(&server, &dir);
    assert_eq!(code, Some(1), "{told}{why}");
    assert!(told.ends_with("; the one in use stands\n"), "{told}");
    for place in ["example.com.toml:2", "example.com.toml:3", "example.net.toml:3"] {
        let line = why.lines().find(|line| line.contains(place)).unwrap_or_else(|| panic!("{why}"));
        assert!(line.contains(": error: ") && line.contains("; "), "{line}");
    }
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
    assert!(server.shown_status(&dir).contains("CONFIGURATION NOT RELOADED"));
    assert_eq!(server.metric("eipdns_reloads_refused_total"), 1.0);
    // As JSON, with nothing beside it.
    let out = server.command(&dir, &["reload", "--json"]);
    assert_eq!((out.status.code(), out.stderr), (Some(1), vec![]));
    let verdict: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&verdict["accepted"], &verdict["taken"]), (&json!(false), &Value::Null));
    let first = &verdict["problems"]["first"];
    assert!(first.as_array().unwrap().len() >= 3, "{verdict}");
    assert_eq!((&first[0]["error"], &first[0]["line"]), (&json!(true), &json!(2)), "{verdict}");

    // A server.toml that is none keeps nobody from asking who knows where.
    dir.write("server.toml", "[listen\n");
    let (code, _, why) = reload(&server, &dir);
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("server.toml:1"), "{why}");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
    server.wait_for("configuration not reloaded; the one in use stands");
}

/// A warning alone is none of that.
#[test]
fn warnings_are_told_and_nothing_is_refused() {
    let (dir, server) = start();
    dir.write("example.com.toml", &format!("ttl = 300\n{DB}"));
    let (code, told, why) = reload(&server, &dir);
    assert_eq!(code, Some(0), "{told}{why}");
    assert!(why.contains("example.com.toml") && why.contains(": warning: "), "{why}");
    assert!(told.contains("zone example.com.: its file says otherwise"), "{told}");
}

/// What watching would refuse, or still waits with, is taken at once, and that is said.
#[test]
fn a_loss_is_taken_and_said() {
    let dir = Dir::with_db("");
    dir.http();
    dir.write("example.net.toml", &www(1));
    let mut server = Server::start_with(dir.path(), |command| {
        command.arg("--watch");
    });
    dir.write("example.net.toml", "ttl = 7\n");
    server.wait_for("configuration not reloaded; the one in use stands");
    let (code, told, why) = reload(&server, &dir);
    assert_eq!(code, Some(0), "{why}");
    assert!(why.contains("warning: the zone has no names") && why.lines().count() == 1, "{why}");
    let told: Vec<_> = told.lines().collect();
    assert!(told[1].starts_with("lost [names] of zone example.net. had names"), "{told:?}");
    assert!(told[1].ends_with("example.net.toml); watching alone would have refused that"));
    assert!(told.contains(&"name www.example.net.: gone, was 10.0.2.1 (vpc)"), "{told:?}");
    assert_eq!(server.data("www.example.net.", RecordType::A), [""; 0]);
    let (_, told, _) = reload(&server, &dir);
    assert_eq!(told.lines().nth(1), Some("nothing has changed"), "{told}");
}

/// Until it is restarted, each verdict says so.
#[test]
fn keys_that_need_a_restart_are_told() {
    let (dir, mut server) = start();
    dir.edit("http = \"127.0.0.1:0\"", "http = \"127.0.0.1:1\"");
    let server_toml = dir.read("server.toml");
    // Of the state, the environment decides here.
    dir.write("token", "s3cret");
    dir.listen("http_token_file = \"token\"");
    let file = dir.path().join("token");
    let expected = [
        "nothing has changed".to_owned(),
        "RESTART NEEDED: listen.http is 127.0.0.1:0 until then, and is to be 127.0.0.1:1".into(),
        format!(
            "RESTART NEEDED: listen.http_token_file is not set until then, and is to be {}",
            file.display()
        ),
    ];
    for _ in 0..2 {
        assert_eq!(accepted(&server, &dir), expected);
        // In the log, too: nobody reads a verdict on a signal.
        let line = server.wait_for("this key changes with a restart only");
        assert_eq!(
            (&line["level"], &line["fields"]["key"]),
            (&json!("WARN"), &json!("listen.http"))
        );
        assert_eq!(line["fields"]["says"], "127.0.0.1:1", "{line}");
        server.wait_for("this key changes with a restart only");
    }
    dir.write("server.toml", &server_toml.replace("127.0.0.1:1\"", "127.0.0.1:0\""));
    assert_eq!(accepted(&server, &dir), ["nothing has changed"]);
}

/// Who may not ask has nothing read.
#[test]
fn strangers_have_nothing_read() {
    let dir = Dir::with_db("");
    dir.http();
    dir.write("token", "s3cret");
    dir.listen("http_token_file = \"token\"");
    let server = Server::start(dir.path());
    let http = server.http();
    let token = "Authorization: Bearer s3cret\r\n";
    for (method, headers, status) in [
        ("POST", String::new(), 401),
        ("POST", "Authorization: Bearer wr0ng!\r\n".into(), 401),
        ("POST", format!("{token}Origin: http://evil.example\r\n"), 403),
        ("POST", format!("Host: evil.example\r\n{token}"), 421),
        ("GET", token.into(), 405),
    ] {
        assert_eq!(request(&http, method, &headers).0, status, "{method} {headers}");
    }
    let is_asked = |line: &Value| {
        line["fields"]["message"].as_str().is_some_and(|told| told.starts_with("asked to read"))
    };
    assert!(!server.lines().iter().any(is_asked));
    let (status, verdict) = request(&http, "POST", token);
    assert_eq!((status, &verdict["taken"]["changed"]), (200, &json!(false)), "{verdict}");
    assert_eq!(server.lines().iter().filter(|line| is_asked(line)).count(), 1);
}

#[test]
fn without_a_server_there_is_no_verdict() {
    let dir = Dir::with_db("");
    let nobody = free_port_of("127.0.0.1").to_string();
    let config = dir.path().to_str().unwrap();
    let out = eipdns(&["reload", "--config", config, "--listen-http", &nobody]);
    let why = String::from_utf8_lossy(&out.stderr);
    assert_eq!((out.status.code(), out.stdout), (Some(69), vec![]), "{why}");
    assert!(why.contains("cannot reach the server"), "{why}");
}
