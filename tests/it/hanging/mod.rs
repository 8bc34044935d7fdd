//! Files that are not there to be read: disks and file servers that hang, pipes
//! and devices. Nothing outside stops the loop that publishes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::fixtures::fuse::Fuse;
use crate::fixtures::waiting::{eventually, until};
use crate::harness::{DB, Dir, ELASTIC, PATIENCE, PROGRAM, Server, describe, eipdns, remarks};

/// A directory whose `name` leads to a file system that can hang.
fn through(fuse: &Fuse, dir: &Dir, name: &str) {
    let link = dir.path().join(name);
    let _ = fs::remove_file(&link);
    symlink(fuse.path(name), link).unwrap();
}

/// Asks until the answer is `right`.
fn until_answered(server: &Server, right: impl Fn(&Message) -> bool) -> Message {
    until("the answer", || {
        let answer = server.ask("db.example.com.", RecordType::A);
        if right(&answer) { Ok(answer) } else { Err(answer.to_string()) }
    })
}

fn has(answer: &Message, ede: u16, text: &str) -> bool {
    remarks(answer).iter().any(|(code, why)| *code == ede && why.contains(text))
}

#[test]
fn an_address_file_that_hangs_stalls_its_source_until_another_is_in_its_place() {
    let text = describe(&[(ELASTIC, Some("10.0.1.5"))]);
    let Some(fuse) = Fuse::new(&[("addresses.json", &text)]) else { return };
    let dir = Dir::new("[serve]\nmax_stale = \"12s\"\n");
    dir.http();
    dir.write("example.com.toml", DB);
    through(&fuse, &dir, "addresses.json");
    let mut server = Server::start(dir.path());
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
    // Not told by any event, as on any network file system.
    fuse.write("addresses.json", &describe(&[(ELASTIC, Some("10.0.1.6"))]));
    server.wait_for_move("new", "10.0.1.6");

    fuse.hang();
    let line = server.wait_for("source stalled; its last good answer stands");
    let told = line.to_string();
    assert!(told.contains("addresses.json does not end: nothing for 3s"), "{told}");
    let stale = until_answered(&server, |answer| has(answer, 3, "not readable since"));
    assert_eq!(stale.metadata.response_code, ResponseCode::NoError);
    assert_eq!(server.metric("eipdns_source_healthy{source=\"sample\"}"), 0.0);
    let timeouts = "eipdns_source_failures_total{source=\"sample\",class=\"timeout\"}";
    assert!(server.metric(timeouts) >= 1.0);
    assert!(server.metric("eipdns_file_readings_hanging") > 0.0);
    let status = server.shown_status(&dir);
    assert!(status.contains("does not end: nothing for 3s"), "{status}");
    assert!(status.contains("readings of files that hang: "), "{status}");
    // From the last good look on, which was not long ago; the last change was
    // no longer ago here, but for what the next test shows.
    until_answered(&server, |answer| answer.metadata.response_code == ResponseCode::ServFail);

    dir.addresses(&[(ELASTIC, Some("10.0.1.7"))]);
    server.wait_for("source delivers again");
    server.wait_for_move("new", "10.0.1.7");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.7"]);
    // The end waits for none of the readings.
    assert!(server.stop().success());
}

/// An address file that is read all the time is as old as its last look, not as
/// its last change.
#[test]
fn a_file_grows_old_from_its_last_look_on() {
    let text = describe(&[(ELASTIC, Some("10.0.1.5"))]);
    let Some(fuse) = Fuse::new(&[("addresses.json", &text)]) else { return };
    let dir = Dir::new("[serve]\nmax_stale = \"10s\"\n");
    dir.http();
    dir.write("example.com.toml", DB);
    through(&fuse, &dir, "addresses.json");
    let mut server = Server::start(dir.path());
    // Some looks, without any change.
    let polls = || server.metric("eipdns_source_polls_total{source=\"sample\"}");
    let before = polls();
    eventually("four looks at it", || polls() >= before + 4.0);
    fuse.hang();
    server.wait_for("source stalled; its last good answer stands");
    let answer = until_answered(&server, |answer| has(answer, 3, "not readable since"));
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "not too old already");
}

/// A start waits for no file: what does not need it is answered. `check` says what
/// hangs.
#[test]
fn a_start_does_not_wait_for_an_address_file() {
    let Some(fuse) = Fuse::new(&[("addresses.json", "")]) else { return };
    let dir = Dir::new("");
    dir.write("example.com.toml", &format!("{DB}www = {{ address = \"10.0.2.1\" }}\n"));
    through(&fuse, &dir, "addresses.json");
    fuse.hang();
    let check = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    assert_eq!(check.status.code(), Some(78), "{told}");
    assert!(told.contains("addresses.json does not end: nothing for 3s"), "{told}");
    let mut server = Server::start(dir.path());
    assert_eq!(server.data("www.example.com.", RecordType::A), ["10.0.2.1"]);
    let unknown = server.ask("db.example.com.", RecordType::A);
    assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail);
    fuse.write("addresses.json", &describe(&[(ELASTIC, Some("10.0.1.5"))]));
    fuse.go_on();
    server.wait_for("first answers");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
}

#[test]
fn a_pipe_or_a_device_in_place_of_a_file_is_named_and_not_waited_for() {
    let pipe = |at: &Path| assert!(Command::new("mkfifo").arg(at).status().unwrap().success());
    let device = |at: &Path| symlink("/dev/zero", at).unwrap();
    for make in [&pipe as &dyn Fn(&Path), &device] {
        let dir = Dir::with_db("");
        let mut server = Server::start(dir.path());
        server.wait_for("source delivers");
        let aside = dir.path().join("aside");
        make(&aside);
        fs::rename(&aside, dir.path().join("addresses.json")).unwrap();
        let told = server.wait_for("source stalled; its last good answer stands").to_string();
        assert!(told.contains("addresses.json: it is not a regular file"), "{told}");
        server.moves(&dir, "10.0.1.6");
    }

    // In the configuration.
    let dir = Dir::with_db("");
    let mut server = Server::start(dir.path());
    fs::remove_file(dir.path().join("example.com.toml")).unwrap();
    symlink("/dev/zero", dir.path().join("example.com.toml")).unwrap();
    server.signal("HUP");
    let told = server.wait("problem", |l| l["level"] == "ERROR").to_string();
    assert!(told.contains("example.com.toml") && told.contains("not a regular file"), "{told}");
    server.wait_for("configuration not reloaded; the one in use stands");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
}

/// Of a configuration that cannot be read, with and without `--watch`: moves are
/// published meanwhile, what was asked for is not lost, and it is said.
#[test]
fn a_configuration_that_hangs_holds_nothing_up_and_is_told() {
    let zone = |last: u8| format!("[names]\nwww = {{ address = \"10.0.2.{last}\" }}\n");
    let Some(fuse) = Fuse::new(&[("example.net.toml", &zone(1))]) else { return };
    let dir = Dir::with_db("");
    through(&fuse, &dir, "example.net.toml");
    let mut server = Server::start_with(dir.path(), |command| {
        command.arg("--watch");
    });
    let www = |server: &Server| server.data("www.example.net.", RecordType::A);
    assert_eq!(www(&server), ["10.0.2.1"]);
    // Not told by any event.
    fuse.write("example.net.toml", &zone(2));
    server.wait_for("configuration reloaded");
    assert_eq!(www(&server), ["10.0.2.2"]);

    fuse.hang();
    fuse.wait_until_somebody_hangs();
    server.signal("HUP");
    server.moves(&dir, "10.0.1.6");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.6"]);
    let told = server.wait_within(config_takes(), "what hangs", |line| line["level"] == "ERROR");
    let hangs = "example.net.toml: error: reading it does not end: nothing for 30s";
    assert!(told.to_string().contains(hangs), "{told}");
    server.wait_for("configuration not reloaded; the one in use stands");
    // Asked for while it hangs; done when it goes on.
    fuse.write("example.net.toml", &zone(3));
    server.signal("HUP");
    fuse.go_on();
    server.wait_for("configuration reloaded");
    assert_eq!(www(&server), ["10.0.2.3"]);
    assert!(server.stop().success());
}

/// A signal that comes while the configuration is read for the first time ends
/// nothing by default.
#[test]
fn a_signal_at_the_start_is_heard() {
    let Some(fuse) = Fuse::new(&[("example.com.toml", DB)]) else { return };
    let dir = Dir::new("");
    through(&fuse, &dir, "example.com.toml");
    fuse.hang();
    let told = dir.path().join("pid");
    std::thread::scope(|scope| {
        let start = scope.spawn(|| {
            Server::start_with(dir.path(), |command| {
                // Says who it is before it becomes the server.
                let mut shell = Command::new("sh");
                shell.args(["-c", "echo $$ >\"$0\"; exec \"$@\""]).arg(&told);
                shell.arg(command.get_program()).args(command.get_args());
                for (key, value) in command.get_envs() {
                    shell.env(key, value.unwrap_or_default());
                }
                shell.stderr(Stdio::piped()).stdout(Stdio::null());
                *command = shell;
            })
        });
        fuse.wait_until_somebody_hangs();
        let pid = fs::read_to_string(&told).unwrap();
        assert!(Command::new("kill").args(["-HUP", pid.trim()]).status().unwrap().success());
        fuse.go_on();
        let mut server = start.join().unwrap();
        server.wait_for("configuration reloaded");
        assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
        assert!(server.stop().success());
    });
}

/// Longer than reading a configuration may take.
fn config_takes() -> Duration {
    eipdns::config::WITHIN + PATIENCE
}

/// Who waits for a source when the server is told to stop is told so.
#[test]
fn a_refresh_that_waits_hears_that_the_server_stops() {
    let text = describe(&[(ELASTIC, Some("10.0.1.5"))]);
    let Some(fuse) = Fuse::new(&[("addresses.json", &text)]) else { return };
    let dir = Dir::new("");
    dir.http();
    dir.write("example.com.toml", DB);
    through(&fuse, &dir, "addresses.json");
    let mut server = Server::start(dir.path());
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
    fuse.hang();
    let waits = Command::new(PROGRAM)
        .args(["refresh", "--accept", "--listen-http", &server.http(), "--config"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is in the hands of the server, and the source does not answer.
    server.wait_for("asked to take losses as they are (refresh --accept)");
    server.signal("TERM");
    let out = waits.wait_with_output().unwrap();
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(why.contains("says 503: the server is stopping"), "{why}");
    assert_eq!(out.status.code(), Some(69), "{why}");
    assert!(server.ended().success());
}

/// A health check has three seconds.
#[test]
fn a_command_waits_for_no_file_to_know_where_to_ask() {
    let Some(fuse) = Fuse::new(&[("server.toml", "[listen]\n")]) else { return };
    let dir = Dir::new("");
    through(&fuse, &dir, "server.toml");
    fuse.hang();
    let config = dir.path().to_str().unwrap();
    let out = eipdns(&["status", "--live", "--config", config]);
    let why = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(78), "{why}");
    assert!(why.contains("does not end: nothing for 1s"), "{why}");
}
