//! The wall clock is stepped while the server runs, as NTP does after a boot:
//! what is shown and stored follows it, holds and ages do not.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::scripted::{Ec2, Fault, public};
use super::{STALE, answer, asked, configure, refresh, source, with_keys};
use crate::harness::{Dir, Server};

const HOUR: i64 = 3600;

/// A wall clock of a process's own: `stepped.c` adds what is in a file.
struct Stepped {
    file: PathBuf,
    library: PathBuf,
}

impl Stepped {
    fn new(dir: &Path) -> Self {
        let (file, library) = (dir.join("offset"), dir.join("stepped.so"));
        fs::write(&file, [0; 8]).unwrap();
        let source = crate::harness::root().join("tests/it/ec2/stepped.c");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library)
            .arg(source)
            .status();
        assert!(made.unwrap().success());
        Self { file, library }
    }

    /// The wall clock is this many seconds ahead from now on.
    fn by(&self, seconds: i64) {
        let file = OpenOptions::new().write(true).open(&self.file).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn start(&self, dir: &Dir) -> Server {
        Server::start_with(dir.path(), |command| {
            with_keys(command);
            command.env("LD_PRELOAD", &self.library).env("STEPPED_BY", &self.file);
        })
    }
}

/// By how many seconds a time that is shown differs from the real one.
fn off(shown: &Value) -> i64 {
    let at = humantime::parse_rfc3339(shown.as_str().unwrap()).unwrap();
    let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    seconds(at) as i64 - seconds(SystemTime::now()) as i64
}

fn is_about(seconds: i64, wanted: i64) -> bool {
    (seconds - wanted).abs() < 120
}

#[test]
fn a_step_moves_what_is_shown_and_ends_no_hold() {
    let ec2 = Ec2::with(2);
    let names = format!("n1 = \"{}\"\nn2 = \"{}\"", public(1), public(2));
    let guard = "[guard]\nhold = \"10m\"\nmissing_hold = \"20m\"";
    let dir = configure(&source("east", &ec2.url(), "1h", ""), guard, &names);
    // Not in memory: a library is not run from there on every host.
    let library = tempfile::tempdir().unwrap();
    let clock = Stepped::new(library.path());
    let mut server = clock.start(&dir);
    server.wait_for("source delivers");
    ec2.disassociate(&public(1));
    assert!(refresh(&server, false).is_empty());
    let held = || (answer("10.0.0.1"), vec![STALE]);
    assert_eq!(asked(server.dns, "n1.example.com."), held());

    for by in [HOUR, -HOUR, 0] {
        clock.by(by);
        server.wait_for_start("the wall clock was stepped");
        assert!(refresh(&server, false).is_empty());
        assert_eq!(asked(server.dns, "n1.example.com."), held(), "stepped by {by}");
        let status = server.status();
        let source = &status["sources"][0];
        assert!(is_about(off(&source["last_good"]), by), "{source}");
        assert!(is_about(off(&source["held"][0]["since"]), by), "{source}");
        assert!(is_about(off(&source["held"][0]["until"]), by + 600), "{source}");
        assert!(is_about(off(&status["published_at"]), by), "{status}");
        assert!(source["age"].as_f64().unwrap() < 100.0, "{source}");
        // A move is shown at the time it was made.
        ec2.associate(&public(2), &format!("10.0.9.{}", by.rem_euclid(251)));
        assert!(refresh(&server, false).is_empty());
        let (_, body) = super::web::get(super::http(&server), "/api/history");
        let history: Value = serde_json::from_str(&body).unwrap();
        assert!(is_about(off(&history[0]["at"]), by), "{history}");
    }

    // What is stored is the wall clock's too: a hold goes on after a restart
    // with the clock where it was stepped to.
    clock.by(HOUR);
    server.wait_for_start("the wall clock was stepped");
    assert!(refresh(&server, false).is_empty());
    assert!(server.stop().success());
    let state = fs::read_to_string(dir.path().join(".state/state.json")).unwrap();
    let body = &state[..state.rfind("{\"checksum").unwrap()];
    let state: Value = serde_json::from_str(body).unwrap();
    assert!(is_about(off(&state["written"]), HOUR), "{}", state["written"]);
    ec2.fault(Fault::Refused);
    let server = clock.start(&dir);
    refresh(&server, false);
    assert_eq!(
        asked(server.dns, "n1.example.com."),
        (answer("10.0.0.1"), vec![STALE, STALE]),
        "the source, and the address"
    );
    let age = server.status()["sources"][0]["age"].as_f64().unwrap();
    assert!(Duration::from_secs_f64(age) < Duration::from_secs(100), "{age}");
}
