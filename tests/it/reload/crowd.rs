//! Many who ask at once, some of whom give up, and files that hang.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::{request, www};
use crate::fixtures::fuse::Fuse;
use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, PROGRAM, Server};

/// As many wait at once.
const PLACES: usize = 16;

/// A server with a zone's file that can hang.
fn start(fuse: &Fuse) -> (Dir, Server) {
    let dir = Dir::with_db("");
    dir.http();
    symlink(fuse.path("example.net.toml"), dir.path().join("example.net.toml")).unwrap();
    let server = Server::start(dir.path());
    (dir, server)
}

/// How many asked for each reading, as the log has it.
fn asked(server: &Server) -> Vec<u64> {
    let lines = server.lines().into_iter();
    let asked = lines.filter(|line| {
        line["fields"]["message"].as_str().is_some_and(|told| told.starts_with("asked to read"))
    });
    asked.map(|line| line["fields"]["asked"].as_u64().unwrap()).collect()
}

/// One reading for who asked before it began, one more for all others; one too many is told
/// to come again. Who gives up withdraws nothing.
#[test]
fn many_at_once_share_readings() {
    let Some(fuse) = Fuse::new(&[("example.net.toml", &www(1))]) else { return };
    let (_dir, mut server) = start(&fuse);
    let http = server.http();
    fuse.write("example.net.toml", &www(2));
    fuse.hang();
    let mut gives_up = TcpStream::connect(&http).unwrap();
    let head = format!("POST /api/reload HTTP/1.0\r\nHost: {http}\r\nContent-Length: 0\r\n\r\n");
    gives_up.write_all(head.as_bytes()).unwrap();
    fuse.wait_until_somebody_hangs();
    drop(gives_up);
    assert_eq!(asked(&server), [1]);
    let open = || server.metric("eipdns_http_open");
    eventually("the end of that connection, and of its place", || open() == 1.0);
    let answers: Vec<(u16, Value)> = thread::scope(|scope| {
        let ask = |_| scope.spawn(|| request(&http, "POST", ""));
        let all: Vec<_> = (0..=PLACES).map(ask).collect();
        let turned_away = || server.metric("eipdns_reloads_turned_away_total");
        eventually("one too many", || turned_away() == 1.0);
        fuse.go_on();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (verdicts, away): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == 200);
    assert_eq!((verdicts.len(), away.len()), (PLACES, 1), "{answers:?}");
    assert_eq!(away[0].0, 503);
    // What the first one asked for was done, and told to nobody.
    for (_, verdict) in &verdicts {
        assert_eq!(verdict, &verdicts[0].1);
        assert_eq!(verdict["taken"]["changed"], false, "{verdict}");
    }
    assert_eq!(asked(&server), [1, PLACES as u64]);
    server.wait_for("configuration reloaded");
    assert_eq!(server.data("www.example.net.", RecordType::A), ["10.0.2.2"]);
}

/// Whoever asks for what hangs hears it, and a move is published meanwhile.
/// A loop of them leaves time for all else: readings for who asks begin half a second apart.
#[test]
fn readings_for_who_asks_one_after_the_other_are_spaced() {
    let dir = Dir::with_db("");
    dir.http();
    let server = Server::start(dir.path());
    let (http, begun) = (server.http(), Instant::now());
    for _ in 0..3 {
        let (status, verdict) = request(&http, "POST", "");
        assert_eq!((status, &verdict["accepted"]), (200, &true.into()));
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(asked(&server), [1, 1, 1]);
}

#[test]
fn a_directory_that_hangs_is_the_verdict_and_holds_nothing_up() {
    let Some(fuse) = Fuse::new(&[("example.net.toml", &www(1))]) else { return };
    let (dir, mut server) = start(&fuse);
    fuse.hang();
    let asks = Command::new(PROGRAM)
        .args(["reload", "--listen-http", &server.http(), "--config"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    fuse.wait_until_somebody_hangs();
    server.moves(&dir, "10.0.1.6");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.6"]);
    let out = asks.wait_with_output().unwrap();
    let why = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{why}");
    let hangs = "example.net.toml: error: reading it does not end: nothing for 30s";
    assert!(why.contains(hangs), "{why}");
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("configuration refused at "));
    // The next one begins anew.
    fuse.write("example.net.toml", &www(3));
    fuse.go_on();
    let (status, verdict) = request(&server.http(), "POST", "");
    assert_eq!((status, &verdict["accepted"]), (200, &Value::Bool(true)), "{verdict}");
    assert_eq!(server.data("www.example.net.", RecordType::A), ["10.0.2.3"]);
}

/// Who waits for a verdict when the server is told to stop is told so.
#[test]
fn who_waits_hears_that_the_server_stops() {
    let Some(fuse) = Fuse::new(&[("example.net.toml", &www(1))]) else { return };
    let (_dir, mut server) = start(&fuse);
    let http = server.http();
    fuse.hang();
    let waits = thread::spawn(move || request(&http, "POST", ""));
    fuse.wait_until_somebody_hangs();
    server.signal("TERM");
    let (status, body) = waits.join().unwrap();
    assert_eq!(status, 503);
    assert!(body["error"].as_str().unwrap().starts_with("the server is stopping"), "{body}");
    assert!(server.ended().success());
}

/// A signal at the same moment, and files that are watched: what was written before somebody
/// asked is in use when they have their verdict.
#[test]
fn a_signal_and_a_watched_change_at_the_same_moment() {
    let dir = Dir::with_db("");
    dir.http();
    let server = Server::start_with(dir.path(), |command| {
        command.arg("--watch");
    });
    let http = server.http();
    for last in 1..=20 {
        dir.write("example.net.toml", &www(last));
        let (status, verdict) = thread::scope(|scope| {
            let asks = scope.spawn(|| request(&http, "POST", ""));
            server.signal("HUP");
            asks.join().unwrap()
        });
        assert_eq!((status, &verdict["accepted"]), (200, &Value::Bool(true)), "{verdict}");
        let now = server.data("www.example.net.", RecordType::A);
        assert_eq!(now, [format!("10.0.2.{last}")], "{verdict}");
    }
    assert_eq!(server.metric("eipdns_reloads_refused_total"), 0.0);
}
