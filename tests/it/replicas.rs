//! Several servers that are each other's `[peers]`.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::fixtures::relay::Relay;
use crate::fixtures::waiting::until;
use crate::harness::{Dir, ELASTIC, PATIENCE, Server, eipdns};

const TOKEN: &str = "a token of peers";

/// The zone of [`Dir::with_db`], as peers must have it.
const ZONE: &str = "nameservers = [\"ns1\"]\n[names]\ndb = \"75.101.137.243\"\nns1 = { address = \"10.0.0.53\" }\n";

/// Adds `[peers]` and their token to a directory, and the nameserver that this takes.
pub(crate) fn with_peers(dir: &Dir, urls: &[SocketAddr]) {
    let urls: Vec<_> = urls.iter().map(|at| format!("\"http://{at}\"")).collect();
    let section = format!(
        "\n[peers]\nurls = [{}]\ntoken_file = \"peer-token\"\n[state]\nreplica = \"1/4\"\n",
        urls.join(", ")
    );
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
    assert_eq!(status("GET /api/digests", TOKEN), 200);
    assert_eq!(status("GET /api/digests", "a token"), 401);
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

/// Servers of the same zone, each the others' peer through a relay of its own.
pub(crate) struct Replicas {
    dirs: Vec<Dir>,
    servers: Vec<Server>,
    relays: Vec<Relay>,
}

impl Replicas {
    fn start(count: usize) -> Self {
        let relays: Vec<_> = (0..count).map(|_| Relay::start()).collect();
        let (mut dirs, mut servers) = (Vec::new(), Vec::new());
        for nth in 0..count {
            let others = relays.iter().enumerate().filter(|(other, _)| *other != nth);
            let others: Vec<_> = others.map(|(_, relay)| relay.at).collect();
            let dir = Dir::new("");
            dir.http();
            with_peers(&dir, &others);
            let server = Server::start(dir.path());
            relays[nth].to(&server.http());
            dirs.push(dir);
            servers.push(server);
        }
        Self { dirs, servers, relays }
    }

    /// Waits until each has reached all others and answers the same.
    fn wait_until_all_agree(&self) {
        for server in &self.servers {
            until("all peers answer the same", || {
                let peers = server.status()["peers"].clone();
                let agrees = |peer: &Value| peer["reached"] == true && peer["same"] == 1;
                let all = peers.as_array().unwrap();
                let agree = all.len() == self.servers.len() - 1
                    && all.iter().all(|peer| agrees(peer) && peer["differences"] == json!([]));
                if agree { Ok(()) } else { Err(peers) }
            });
        }
    }

    /// The second, and where its peer is.
    pub(crate) fn second(&self) -> (&Server, SocketAddr) {
        (&self.servers[1], self.relays[0].at)
    }

    /// As a server prints the metrics of its peer number `nth`.
    fn metric(&self, server: usize, name: &str, nth: usize) -> f64 {
        self.servers[server].metric(&format!("{name}{{peer=\"{}\"}}", self.relays[nth].at))
    }
}

/// Two, of which the first has moved on alone.
pub(crate) fn moved_alone() -> Replicas {
    let mut all = Replicas::start(2);
    all.wait_until_all_agree();
    all.dirs[0].addresses(&[(ELASTIC, Some("10.0.1.77"))]);
    all.servers[0].wait_for_move("new", "10.0.1.77");
    all
}

/// Waits for a line of the log about this peer.
fn wait_for(server: &mut Server, message: &str, peer: &Relay) -> Value {
    let at = peer.at.to_string();
    server.wait(message, |line| {
        line["fields"]["message"].as_str().is_some_and(|said| said.starts_with(message))
            && line["fields"]["peer"] == at
    })
}

const OTHERWISE: &str = "the peer has answered otherwise for too long";

#[test]
fn three_that_answer_the_same_agree_and_one_that_does_not_is_told() {
    let mut all = Replicas::start(3);
    all.wait_until_all_agree();
    for nth in [1, 2] {
        assert_eq!(all.metric(0, "eipdns_peer_reached", nth), 1.0);
        assert_eq!(all.metric(0, "eipdns_peer_differs", nth), 0.0);
    }
    // The first moves on alone. The two others see it in the first, not in each other.
    all.dirs[0].addresses(&[(ELASTIC, Some("10.0.1.77"))]);
    all.servers[0].wait_for_move("new", "10.0.1.77");
    for nth in [1, 2] {
        let told = wait_for(&mut all.servers[nth], OTHERWISE, &all.relays[0]);
        let fields = &told["fields"];
        assert_eq!((&fields["zone"], &fields["view"]), (&json!("example.com."), &json!("vpc")));
        assert_eq!(all.metric(nth, "eipdns_peer_differs", 0), 1.0);
        assert_eq!(all.metric(nth, "eipdns_peer_differs", 3 - nth), 0.0);
        let shown = all.servers[nth].shown_status(&all.dirs[nth]);
        let differs = shown.lines().filter(|line| line.starts_with("  DIFFERS since ")).count();
        assert_eq!(differs, 1, "{shown}");
    }
    wait_for(&mut all.servers[0], OTHERWISE, &all.relays[1]);
    // So do the others, and all is well.
    for nth in [1, 2] {
        all.dirs[nth].addresses(&[(ELASTIC, Some("10.0.1.77"))]);
    }
    for nth in [1, 2] {
        let (server, relay) = (&mut all.servers[nth], &all.relays[0]);
        wait_for(server, "the peer answers the same again", relay);
    }
    all.wait_until_all_agree();
    let told = all.servers[1].lines();
    let told = told.iter().filter(|line| {
        line["fields"]["message"].as_str().is_some_and(|said| said.starts_with(OTHERWISE))
    });
    assert_eq!(told.count(), 1, "once each");
    // Files are watched: nobody hints.
    assert_eq!(all.relays.iter().map(|relay| relay.asked("POST")).sum::<usize>(), 0);
}

#[test]
fn a_partition_is_told_and_holds_nothing_up() {
    let mut all = Replicas::start(2);
    all.wait_until_all_agree();
    all.relays[1].cut();
    // What is answered here goes on, and is seen at once.
    all.dirs[0].addresses(&[(ELASTIC, Some("10.0.1.77"))]);
    all.servers[0].wait_for_move("new", "10.0.1.77");
    until("it is shown", || {
        let shown = all.servers[0].shown_status(&all.dirs[0]);
        if shown.contains(": NOT REACHED since ") { Ok(()) } else { Err(shown) }
    });
    assert_eq!(all.metric(0, "eipdns_peer_reached", 1), 0.0);
    // The way back is open.
    let at = all.relays[0].at.to_string();
    assert!(all.servers[1].status()["peers"][0]["url"].as_str().unwrap().ends_with(&at));
    assert_eq!(all.metric(1, "eipdns_peer_reached", 0), 1.0);
    all.dirs[1].addresses(&[(ELASTIC, Some("10.0.1.77"))]);
    all.relays[1].to(&all.servers[1].http());
    all.wait_until_all_agree();
}

#[test]
fn other_tokens_and_other_configurations_are_told() {
    let mut all = Replicas::start(2);
    all.wait_until_all_agree();
    // A zone more is a difference of configuration.
    all.dirs[0].write("example.net.toml", &ZONE.replace("75.101.137.243", "75.101.137.244"));
    all.servers[0].signal("HUP");
    all.servers[0].wait_for("configuration reloaded");
    wait_for(&mut all.servers[0], &format!("{OTHERWISE}: it does not have"), &all.relays[1]);
    wait_for(
        &mut all.servers[1],
        &format!("{OTHERWISE}: this zone in this view is only there"),
        &all.relays[0],
    );
    let peer = all.servers[1].status()["peers"][0].clone();
    assert_eq!(peer["differences"][0]["what"], "only there");
    assert_eq!((&peer["same"], &peer["differing"]), (&json!(1), &json!(1)));
    // Another token closes one direction after the other.
    token(&all.dirs[1], "another");
    all.servers[1].signal("HUP");
    all.servers[1].wait_for("configuration reloaded");
    until("our token is refused", || {
        let peer = all.servers[0].status()["peers"][0].clone();
        let why = peer["last_error"].as_str().unwrap_or_default();
        let refused = why.contains("refuses our token (status 401)") && peer["reached"] == false;
        if refused { Ok(()) } else { Err(peer) }
    });
}

/// What a peer says that is no answer, or never ends, is an error and no more.
#[test]
fn a_hostile_peer_holds_nothing_up() {
    for said in [
        "HTTP/1.1 200 OK\r\n\r\n[1, 2, 3]",
        "HTTP/1.1 200 OK\r\n\r\n{\"version\":\"9\",\"kind\":1}",
        "HTTP/1.1 302 Found\r\nLocation: /api/digests\r\n\r\n",
        "\0\0\0\0",
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(said.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let dir = Dir::new("");
        dir.http();
        with_peers(&dir, &[at]);
        let mut server = Server::start(dir.path());
        server.wait_for_start("the peer does not answer");
        dir.addresses(&[(ELASTIC, Some("10.0.1.77"))]);
        server.wait_for_move("new", "10.0.1.77");
        until("it is told", || {
            let peer = server.status()["peers"][0].clone();
            if peer["reached"] == false { Ok(()) } else { Err(peer) }
        });
    }
}
