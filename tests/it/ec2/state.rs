//! What survives: kill -9, restarts with EC2 down, one directory for two.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use eipdns::config::{Overrides, load};
use eipdns::source::clock::Drift;
use eipdns::state::{Saved, Store};
use hickory_proto::rr::RecordType;

use super::scripted::{Ec2, Fault, public};
use super::{
    NOT_READY, STALE, answer, asked, configure, http, refresh, settled, source, start, web,
    with_keys,
};
use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, PROGRAM, Server};

/// How many processes die.
const KILLS: u32 = 100;

/// By how much later each dies than the one before it, after its last call
/// began: a call, a swap and a write take some milliseconds.
const MOMENT: Duration = Duration::from_micros(300);

/// The place of move number `n`.
fn place(n: u32) -> String {
    format!("10.1.{}.{}", n >> 8, n & 255)
}

fn number(place: &str) -> u32 {
    let octets: Vec<u32> = place.split('.').map(|o| o.parse().unwrap()).collect();
    assert_eq!(octets[..2], [10, 1], "{place} was never true");
    octets[2] << 8 | octets[3]
}

/// Moves both addresses in one step.
fn move_both(ec2: &Ec2, to: u32) {
    let mut both = ec2.addresses();
    for (n, one) in both.iter_mut().enumerate() {
        let id = format!("eipassoc-{n}-{to}");
        *one = std::mem::take(one).at(&place(to), &id);
    }
    ec2.set(both);
}

/// What `db` and `log`, which move together, are answered by one snapshot.
fn both(server: &Server) -> u32 {
    let ask = |name| match server.data(name, RecordType::A).as_slice() {
        [one] => number(one),
        other => panic!("{name}: {other:?}"),
    };
    loop {
        let (before, log, after) =
            (ask("db.example.com."), ask("log.example.com."), ask("db.example.com."));
        // Otherwise a swap came between.
        if before == after {
            assert_eq!(before, log, "one state, not parts of two");
            return before;
        }
    }
}

fn state_file(dir: &Dir) -> PathBuf {
    dir.path().join(".state/state.json")
}

/// Both versions, the one that is believed first.
fn state_files(dir: &Dir) -> [PathBuf; 2] {
    [dir.path().join(".state/state-2.json"), state_file(dir)]
}

#[test]
fn a_hundred_deaths() {
    let ec2 = Ec2::with(2);
    let mut to = 1;
    move_both(&ec2, to);
    let names = format!("db = \"{}\"\nlog = \"{}\"", public(1), public(2));
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", &names);
    for death in 0..KILLS {
        // Every other process finds EC2 gone and has its state alone.
        let gone = death % 2 == 1;
        if gone {
            ec2.fault(Fault::Refused);
        }
        let mut server = start(&dir);
        if death > 0 {
            let found = both(&server);
            assert!((to - 1..=to).contains(&found), "death {death}: {found} after {to}");
        }
        if gone {
            server.wait_for_stall();
            assert!((to - 1..=to).contains(&both(&server)), "death {death}, stalled");
            ec2.fault(Fault::None);
        } else {
            server.wait_for("source delivers");
        }
        let at = http(&server);
        for _ in 0..2 {
            to += 1;
            move_both(&ec2, to);
            assert!(refresh(&server, false).is_empty());
            assert_eq!(both(&server), to);
        }
        dir.wait_for_state(&place(to));
        // One more, and death while it is taken, published, written.
        to += 1;
        move_both(&ec2, to);
        let calls = ec2.calls();
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| web::post(at, "/api/refresh"));
            ec2.wait_for_calls(calls + 1);
            // Real time, so that the deaths are spread over all that happens.
            std::thread::sleep(MOMENT * (death % 50));
            server.signal("KILL");
            // Answered in time or cut off, as it happens.
            drop(asks.join());
        });
        server.ended();
    }
}

fn one_name(ec2: &Ec2) -> Dir {
    let names = format!("n1 = \"{}\"\nfixed = {{ address = \"10.0.0.53\" }}", public(1));
    configure(&source("east", &ec2.url(), "1h", ""), "", &names)
}

const NAME: &str = "n1.example.com.";

/// Leaves the state of a server that has just ended as if that were `ago`.
fn age(dir: &Dir, ago: Duration) {
    let overrides = Overrides { ec2: true, ..Overrides::default() };
    let loaded = load(dir.path(), &overrides).unwrap();
    let open = || Store::open(&dir.path().join(".state")).unwrap();
    let mut state = open().load(&loaded.config.server.sources).unwrap().unwrap().state;
    let then = SystemTime::now() - ago;
    for source in state.sources.values_mut() {
        source.delivered_at = then;
    }
    // As of one who never wrote anything later.
    state_files(dir).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    assert_eq!(open().save(&state, then, Drift::NONE).unwrap(), Saved::Written);
}

fn run_once(dir: &Dir) {
    let mut server = start(dir);
    server.wait_for("source delivers");
    assert!(refresh(&server, false).is_empty());
    assert!(server.stop().success());
}

#[test]
fn fresh_state_is_served_at_once_with_ec2_down() {
    let ec2 = Ec2::with(1);
    let dir = one_name(&ec2);
    run_once(&dir);
    ec2.fault(Fault::Stall);
    let mut server = start(&dir);
    assert_eq!(asked(server.dns, NAME).0, answer("10.0.0.1"));
    assert_eq!(web::get(http(&server), "/readyz").0, 200, "state is enough");
    server.wait_for_stall();
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![STALE]));
    ec2.associate(&public(1), "10.0.9.1");
    ec2.fault(Fault::None);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAME), (answer("10.0.9.1"), vec![]));
}

#[test]
fn old_state_waits_for_the_first_word_of_ec2() {
    let ec2 = Ec2::with(1);
    let dir = one_name(&ec2);
    run_once(&dir);
    // EC2 says something: the state is never seen.
    age(&dir, Duration::from_secs(3600));
    ec2.associate(&public(1), "10.0.9.1");
    let mut server = start(&dir);
    server.wait_for("source delivers");
    refresh(&server, false);
    let moved = server.lines().iter().any(|l| l["fields"]["old"] == "10.0.0.1");
    assert_eq!((asked(server.dns, NAME), moved), ((answer("10.0.9.1"), vec![]), false));
    assert!(server.stop().success());

    // EC2 refuses at once: the state is served, marked stale.
    age(&dir, Duration::from_secs(3600));
    ec2.fault(Fault::Refused);
    let mut server = start(&dir);
    server.wait_for_stall();
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), (answer("10.0.9.1"), vec![STALE]));
    let source = server.status()["sources"][0].clone();
    let age_shown = source["age"].as_f64().unwrap();
    assert!((3600.0..4000.0).contains(&age_shown), "{source}");
    assert!(server.stop().success());

    // EC2 is silent: the state waits, but not for ever.
    age(&dir, Duration::from_secs(3600));
    ec2.fault(Fault::Stall);
    let mut server = start(&dir);
    assert_eq!(asked(server.dns, NAME), ("ServFail".into(), vec![NOT_READY]));
    assert_eq!(asked(server.dns, "fixed.example.com.").0, answer("10.0.0.53"));
    server.wait_for_start("no word from the source");
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), (answer("10.0.9.1"), vec![STALE]));
}

#[test]
fn without_state_only_what_needs_ec2_fails() {
    let ec2 = Ec2::with(1);
    ec2.fault(Fault::Refused);
    let dir = one_name(&ec2);
    let server = start(&dir);
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), ("ServFail".into(), vec![NOT_READY]));
    assert_eq!(asked(server.dns, "fixed.example.com."), (answer("10.0.0.53"), vec![]));
    assert_eq!(web::get(http(&server), "/readyz").0, 503);
    ec2.fault(Fault::None);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![]));
    assert_eq!(web::get(http(&server), "/readyz").0, 200);
}

#[test]
fn damaged_state_is_set_aside() {
    let ec2 = Ec2::with(1);
    let dir = one_name(&ec2);
    run_once(&dir);
    let damage = |file: &PathBuf| {
        let whole = std::fs::read_to_string(file).unwrap();
        assert!(whole.contains("10.0.0.1"), "readable: {whole}");
        std::fs::write(file, whole.replace("10.0.0.1", "10.0.0.2")).unwrap();
    };
    let told = |server: &Server, level: &str, aside: &str| {
        let told = server.lines().iter().any(|l| {
            let text = l["fields"]["message"].as_str().unwrap_or_default();
            l["level"] == level && text.contains("checksum") && text.contains(aside)
        });
        assert!(told, "{:#?}", server.lines());
    };
    let [second, first] = state_files(&dir);
    ec2.fault(Fault::Refused);
    // One stands in for the other.
    for (file, aside) in [(&second, "state-2.json.damaged-"), (&first, "state.json.damaged-")] {
        damage(file);
        let server = start(&dir);
        refresh(&server, false);
        assert_eq!(asked(server.dns, NAME).0, answer("10.0.0.1"));
        told(&server, "WARN", aside);
        assert!(server.stop().success());
    }
    damage(&second);
    damage(&first);
    let server = start(&dir);
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), ("ServFail".into(), vec![NOT_READY]), "never half used");
    told(&server, "ERROR", "state-2.json.damaged-");
    told(&server, "ERROR", "state.json.damaged-");
}

#[test]
fn a_killed_process_keeps_its_age_and_writes_no_addresses_for_that() {
    let ec2 = Ec2::with(1);
    let names = format!("n1 = \"{}\"", public(1));
    let dir = configure(&source("east", &ec2.url(), "500ms", ""), "", &names);
    let mut server = settled(&dir);
    dir.wait_for_state("10.0.0.1");
    let modified = || std::fs::metadata(state_file(&dir)).unwrap().modified().unwrap();
    let first = modified();
    // Some seconds in which nothing changes.
    let calls = ec2.calls();
    ec2.wait_for_calls(calls + 8);
    let shown = |server: &Server| {
        let status = server.status();
        let at = status["sources"][0]["last_good"].as_str().unwrap().to_owned();
        humantime::parse_rfc3339(&at).unwrap()
    };
    // What is said now of the last answer is on the disk before the death.
    let (before, now) = (shown(&server), SystemTime::now());
    let ages = dir.path().join(".state/ages.json");
    eventually("the ages on disk", || {
        std::fs::metadata(&ages).is_ok_and(|file| file.modified().unwrap() > now)
    });
    server.signal("KILL");
    server.ended();
    assert_eq!(modified(), first, "the addresses were not written again");
    ec2.fault(Fault::Refused);
    let mut server = start(&dir);
    server.wait_for_stall();
    // Stored in whole milliseconds.
    assert!(shown(&server) + Duration::from_millis(1) >= before, "{before:?} is forgotten");
    assert!(shown(&server) > first, "as old as the last answer, not as the last write");
}

#[test]
fn state_that_anyone_may_write_is_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    let ec2 = Ec2::with(1);
    let dir = one_name(&ec2);
    run_once(&dir);
    ec2.fault(Fault::Refused);
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let directory = dir.path().join(".state");
    chmod(&directory, 0o777);
    let server = start(&dir);
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), ("ServFail".into(), vec![NOT_READY]));
    let told = |server: &Server| {
        let status = server.status();
        status["state_trouble"].as_str().unwrap_or_default().to_owned()
    };
    assert!(told(&server).contains("everybody may write to it"), "{}", told(&server));
    assert!(server.stop().success());
    // Mended, it is as it was.
    chmod(&directory, 0o700);
    let server = start(&dir);
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME).0, answer("10.0.0.1"));
    assert_eq!(told(&server), "");
    assert!(server.stop().success());
    // The files, and something that is none.
    state_files(&dir).iter().for_each(|file| chmod(file, 0o666));
    let server = start(&dir);
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), ("ServFail".into(), vec![NOT_READY]));
    server.signal("KILL");
    drop(server);
    for file in state_files(&dir) {
        std::fs::remove_file(&file).ok();
        assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
    }
    let server = start(&dir);
    refresh(&server, false);
    assert_eq!(asked(server.dns, NAME), ("ServFail".into(), vec![NOT_READY]));
}

#[test]
fn a_second_process_is_refused() {
    let ec2 = Ec2::with(1);
    let dir = one_name(&ec2);
    let server = start(&dir);
    let mut second = std::process::Command::new(PROGRAM);
    with_keys(&mut second);
    second.args(["serve", "--config"]).arg(dir.path());
    let out = second.env("EIPDNS_STATE", dir.path().join(".state")).output().unwrap();
    assert_eq!(out.status.code(), Some(70), "{out:?}");
    let why = String::from_utf8_lossy(&out.stderr);
    assert!(why.contains(&format!("process {}", server.pid())), "{why}");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![]));
}
