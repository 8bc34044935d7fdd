//! `--watch`: every way to write a configuration ends in it, half of one is
//! never taken, and what would be lost altogether waits for an operator.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::Value;

use crate::harness::{Dir, Server, http_get};

const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "configuration not reloaded; the one in use stands";
const WAITS: &str = "configuration changed: what would be gone may yet come back, waiting until \
                     its files rest";

fn start(dir: &Dir) -> Server {
    Server::start_with(dir.path(), |command| {
        command.arg("--watch");
    })
}

/// A zone with one fixed name.
fn fixed(last: u8) -> String {
    format!("[names]\nwww = {{ address = \"10.0.2.{last}\" }}\n")
}

/// How often the server has said so.
fn said(server: &Server, message: &str) -> usize {
    server.lines().iter().filter(|line| line["fields"]["message"] == message).count()
}

fn www(server: &Server) -> Vec<String> {
    server.data("www.example.com.", RecordType::A)
}

fn is_error(part: &str) -> impl Fn(&Value) -> bool + '_ {
    move |line| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && message.contains(part)
    }
}

#[test]
fn every_way_to_write_a_zone_is_one_reload() {
    let dir = Dir::new("");
    dir.write("example.com.toml", &fixed(1));
    let mut server = start(&dir);
    let path = dir.path().join("example.com.toml");

    // Truncated first, written then, as most editors and `cp` do: the test sees
    // that the server has seen it empty.
    fs::write(&path, "").unwrap();
    server.wait_for(WAITS);
    assert_eq!(www(&server), ["10.0.2.1"]);
    fs::write(&path, fixed(2)).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(www(&server), ["10.0.2.2"]);

    // Beside and renamed, as rsync does.
    dir.replace("example.com.toml", &fixed(3));
    server.wait_for(RELOADED);
    assert_eq!(www(&server), ["10.0.2.3"]);

    // Removed and made again.
    fs::remove_file(&path).unwrap();
    server.wait_for(WAITS);
    assert_eq!(www(&server), ["10.0.2.3"]);
    fs::write(&path, fixed(4)).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(www(&server), ["10.0.2.4"]);

    // Touched, and written as it was: nothing. Then something, as an end.
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    dir.replace("example.com.toml", &fixed(4));
    fs::write(dir.path().join("notes.txt"), "no configuration").unwrap();
    dir.write("example.net.toml", &fixed(5));
    server.wait_for(RELOADED);
    assert_eq!(said(&server, RELOADED), 4);
    assert_eq!(said(&server, REFUSED), 0);
}

#[test]
fn a_hundred_edits_end_in_the_last_one() {
    let dir = Dir::new("");
    dir.write("example.com.toml", &fixed(0));
    let mut server = start(&dir);
    for edit in 1..=100 {
        if edit % 2 == 0 {
            dir.write("example.com.toml", &fixed(edit));
        } else {
            dir.replace("example.com.toml", &fixed(edit));
        }
    }
    while www(&server) != ["10.0.2.100"] {
        server.wait_for(RELOADED);
    }
    assert_eq!(said(&server, REFUSED), 0);
}

/// What becomes empty is refused, the other zone's edit with it; the names
/// come back by an edit, or go by the operator's word.
#[test]
fn what_becomes_empty_is_refused_until_an_operator_says_so() {
    let dir = Dir::new("");
    dir.http();
    dir.write("example.com.toml", &fixed(1));
    dir.write("example.net.toml", &fixed(1));
    // Empty all along, which is legal.
    dir.write("example.org.toml", "");
    let mut server = start(&dir);
    let net = |server: &Server| server.data("www.example.net.", RecordType::A);
    dir.write("example.net.toml", &fixed(2));
    server.wait_for(RELOADED);

    dir.write("example.com.toml", "ttl = 7\n");
    dir.write("example.net.toml", &fixed(3));
    let told =
        server.wait("a loss", is_error("[names] of zone example.com. had names")).to_string();
    assert!(told.contains("example.com.toml: error") && told.contains("send SIGHUP"), "{told}");
    server.wait_for(REFUSED);
    assert_eq!((www(&server), net(&server)), (vec!["10.0.2.1".into()], vec!["10.0.2.2".into()]));
    assert!(http_get(&server.http(), "/metrics", "").contains("eipdns_reloads_refused_total 1"));

    // A further edit that restores the names.
    dir.write("example.com.toml", &fixed(4));
    server.wait_for(RELOADED);
    assert_eq!((www(&server), net(&server)), (vec!["10.0.2.4".into()], vec!["10.0.2.3".into()]));

    // It is meant.
    dir.write("example.com.toml", "ttl = 7\n");
    server.wait_for(REFUSED);
    assert_eq!(www(&server), ["10.0.2.4"]);
    server.signal("HUP");
    server.wait_for(RELOADED);
    let answer = server.ask("www.example.com.", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    // Empty now, so that other edits are taken.
    dir.write("example.net.toml", &fixed(5));
    server.wait_for(RELOADED);
    assert_eq!(net(&server), ["10.0.2.5"]);
}

#[test]
fn a_zone_that_is_removed_is_refused_until_an_operator_says_so() {
    let dir = Dir::new("");
    dir.write("example.com.toml", &fixed(1));
    dir.write("example.net.toml", &fixed(1));
    let mut server = start(&dir);
    fs::remove_file(dir.path().join("example.com.toml")).unwrap();
    server.wait("a loss", is_error("zone example.com. is gone, with all its names"));
    server.wait_for(REFUSED);
    assert_eq!(www(&server), ["10.0.2.1"]);
    server.signal("HUP");
    server.wait_for(RELOADED);
    let answer = server.ask("www.example.com.", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    // The whole directory for a moment: refused as a bad one.
    let away = Dir::empty();
    let server_toml = dir.path().join("server.toml");
    let text = fs::read_to_string(&server_toml).unwrap();
    fs::rename(&server_toml, away.path().join("server.toml")).unwrap();
    server.wait_for(REFUSED);
    fs::write(&server_toml, format!("{text}\n")).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(server.data("www.example.net.", RecordType::A), ["10.0.2.1"]);
}

const HEAD: &str = "$TTL 5\n@ SOA ns1 hostmaster 1 3600 600 86400 5\n@ NS ns1\nns1 A 10.0.0.1\n";

fn record(last: u8) -> String {
    format!("www A 10.0.2.{last}\n")
}

/// A master file and what it includes are the configuration, too: good, bad,
/// missing, and good again.
#[test]
fn master_files_and_their_includes_are_watched() {
    let dir = Dir::new("");
    let elsewhere = tempfile::tempdir().unwrap();
    let include = elsewhere.path().join("hosts.zone");
    dir.write("example.com.toml", "records = \"example.com.zone\"\n");
    dir.write("example.com.zone", &format!("{HEAD}$INCLUDE {}\n", include.display()));
    fs::write(&include, record(1)).unwrap();
    let mut server = start(&dir);
    assert_eq!(www(&server), ["10.0.2.1"]);

    fs::write(&include, record(2)).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(www(&server), ["10.0.2.2"]);
    dir.replace(
        "example.com.zone",
        &format!("{HEAD}$INCLUDE {}\nmore A 10.0.0.2\n", include.display()),
    );
    server.wait_for(RELOADED);
    assert_eq!(server.data("more.example.com.", RecordType::A), ["10.0.0.2"]);

    // Bad, then mended where it is bad.
    fs::write(&include, "www A 10.0.2\n").unwrap();
    server.wait("a problem", is_error("hosts.zone:1"));
    server.wait_for(REFUSED);
    fs::write(&include, record(3)).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(www(&server), ["10.0.2.3"]);
    // Not to be read at all.
    fs::remove_file(&include).unwrap();
    assert!(Command::new("mkfifo").arg(&include).status().unwrap().success());
    server.wait("a problem", is_error("it is not a regular file"));
    server.wait_for(REFUSED);
    assert_eq!(www(&server), ["10.0.2.3"]);
    fs::remove_file(&include).unwrap();
    server.wait("a problem", is_error("No such file"));
    server.wait_for(REFUSED);
    fs::write(&include, record(4)).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(www(&server), ["10.0.2.4"]);
    // Another one, whose name was not known before.
    let other = elsewhere.path().join("other.zone");
    dir.write("example.com.zone", &format!("{HEAD}$INCLUDE {}\n", other.display()));
    server.wait_for(REFUSED);
    fs::write(&other, record(5)).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(www(&server), ["10.0.2.5"]);

    // Cut off behind what every zone has: nothing is left.
    dir.replace("example.com.zone", "@ NS ns1.example.net.\n");
    server.wait("a loss", is_error("`records` of zone example.com. had names and has none now"));
    server.wait_for(REFUSED);
    assert_eq!(www(&server), ["10.0.2.5"]);
}

/// Kubernetes mounts a ConfigMap as links through `..data`, which is swapped,
/// all files at once.
#[test]
fn a_config_map_is_taken_as_a_whole() {
    let dir = Dir::new("");
    let config = dir.read("server.toml");
    let version = |n: u8, zone: &str| {
        let name = format!("..v{n}");
        fs::create_dir(dir.path().join(&name)).unwrap();
        let write = |file: &str, text: &str| {
            fs::write(dir.path().join(&name).join(file), text).unwrap();
        };
        write("server.toml", &config);
        write("example.com.toml", zone);
        write("example.com.zone", &format!("{HEAD}$INCLUDE hosts.zone\nsame TXT v{n}\n"));
        write("hosts.zone", &record(n));
        symlink(&name, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    let zone = "records = \"example.com.zone\"\n";
    version(1, zone);
    for file in ["server.toml", "example.com.toml", "example.com.zone", "hosts.zone"] {
        let _ = fs::remove_file(dir.path().join(file));
        symlink(Path::new("..data").join(file), dir.path().join(file)).unwrap();
    }
    let mut server = start(&dir);
    assert_eq!(www(&server), ["10.0.2.1"]);
    for n in 2..=5 {
        // From the third on the zone's own file is not what changes.
        version(n, if n == 2 { "ttl = 7\nrecords = \"example.com.zone\"\n" } else { zone });
        server.wait_for(RELOADED);
        fs::remove_dir_all(dir.path().join(format!("..v{}", n - 1))).unwrap();
        assert_eq!(www(&server), [format!("10.0.2.{n}")]);
        let text = server.data("same.example.com.", RecordType::TXT);
        assert_eq!(text, [format!("v{n}")]);
    }
    // In place, behind the links.
    fs::write(dir.path().join("..v5/hosts.zone"), record(6)).unwrap();
    server.wait_for(RELOADED);
    assert_eq!(www(&server), ["10.0.2.6"]);
    assert_eq!(said(&server, REFUSED), 0);
}
