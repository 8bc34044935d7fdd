//! Several servers that are each other's `[peers]`.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Dir, PATIENCE, Server, eipdns};

const TOKEN: &str = "a token of peers";

/// The zone of [`Dir::with_db`], as peers must have it.
const ZONE: &str = "nameservers = [\"ns1\"]\n[names]\ndb = \"75.101.137.243\"\nns1 = { address = \"10.0.0.53\" }\n";

/// Adds `[peers]` and their token to a directory, and the nameserver that this takes.
pub(crate) fn with_peers(dir: &Dir, urls: &[SocketAddr]) {
    let urls: Vec<_> = urls.iter().map(|at| format!("\"http://{at}\"")).collect();
    let section = format!("\n[peers]\nurls = [{}]\ntoken_file = \"peer-token\"\n", urls.join(", "));
    dir.write("server.toml", &(dir.read("server.toml") + &section));
    dir.write("example.com.toml", ZONE);
    token(dir, TOKEN);
}

fn token(dir: &Dir, token: &str) {
    dir.write("peer-token", token);
    may_read(dir, 0o600);
}

fn may_read(dir: &Dir, mode: u32) {
    let path = dir.path().join("peer-token");
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The status of an answer, with this token.
fn status_of(address: &str, request: &str, token: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let bearer = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n{bearer}\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Where nobody listens.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

#[test]
fn the_peers_token_opens_what_is_for_peers_and_nothing_else() {
    let dir = Dir::new("");
    dir.http();
    dir.listen("http_token_file = \"operator\"");
    dir.write("operator", "of an operator");
    with_peers(&dir, &[nowhere()]);
    let mut server = Server::start(dir.path());
    let http = server.http();
    let status = |request: &str, token: &str| status_of(&http, request, token);
    assert_eq!(status("POST /api/hint", TOKEN), 204);
    assert_eq!(status("POST /api/hint?source=sample&of_a_later_version=1", TOKEN), 204);
    for wrong in ["", "a token of peerz", "a token of peers and more", "a token"] {
        assert_eq!(status("POST /api/hint", wrong), 401, "{wrong}");
    }
    assert_eq!(status("GET /api/hint", TOKEN), 405);
    for closed in [
        "GET /api/status",
        "GET /metrics",
        "GET /api/history",
        "GET /api/explain?name=db.example.com",
        "GET /api/dump?zone=example.com",
        "GET /api/answered?wait_for=db.example.com=10.0.0.1",
        "POST /api/refresh",
        "POST /api/refresh?accept=true",
    ] {
        assert_eq!(status(closed, TOKEN), 401, "{closed}");
        assert_ne!(status(closed, "of an operator"), 401, "{closed}");
    }
    // The operator may do what peers may.
    assert_eq!(status("POST /api/hint", "of an operator"), 204);

    // Another token needs no restart.
    token(&dir, "another\n");
    server.signal("HUP");
    server.wait_for("configuration reloaded");
    assert_eq!(status("POST /api/hint", TOKEN), 401);
    assert_eq!(status("POST /api/hint", "another"), 204);
    // One that everybody may read changes nothing.
    token(&dir, "third");
    may_read(&dir, 0o644);
    server.signal("HUP");
    server.wait_for("configuration not reloaded; the one in use stands");
    assert_eq!(status("POST /api/hint", "third"), 401);
    assert_eq!(status("POST /api/hint", "another"), 204);
}

/// A source that is a file is watched: nobody needs to hint at it.
#[test]
fn hints_about_files_are_counted_and_ignored() {
    let dir = Dir::new("");
    dir.http();
    with_peers(&dir, &[nowhere()]);
    let server = Server::start(dir.path());
    for _ in 0..3 {
        assert_eq!(status_of(&server.http(), "POST /api/hint", TOKEN), 204);
    }
    // On this host, too, it takes the token.
    assert_eq!(status_of(&server.http(), "POST /api/hint", ""), 401);
    assert_eq!(server.metric("eipdns_hints_total{event=\"received\"}"), 3.0);
    assert_eq!(server.metric("eipdns_hints_total{event=\"ignored\"}"), 3.0);
}

#[test]
fn a_token_that_everybody_may_read_is_a_wrong_configuration() {
    let dir = Dir::new("");
    with_peers(&dir, &[nowhere()]);
    let config = dir.path().to_str().unwrap();
    let told = |command: &str, part: &str| {
        let out = eipdns(&[command, "--config", config]);
        let told = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(78), "{command}: {told}");
        for part in [part, "peer-token", "token_file"] {
            assert!(told.contains(part), "{part} is not in what {command} says\n{told}");
        }
    };
    may_read(&dir, 0o604);
    ["check", "serve"].iter().for_each(|command| told(command, "everybody may read it"));
    token(&dir, " \n");
    ["check", "serve"].iter().for_each(|command| told(command, "it is empty"));
    token(&dir, TOKEN);
    let out = eipdns(&["check", "--config", config]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    // A group may read it.
    may_read(&dir, 0o640);
    assert_eq!(eipdns(&["check", "--config", config]).status.code(), Some(0));
}
