//! One night: everything around the server breaks at once. Its own names are
//! answered throughout, a move is published by the first good answer of EC2,
//! and status and metrics say what is wrong.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use super::scripted::{Ec2, Fault, public};
use super::{Watch, answer, asked, http, source, with_keys};
use crate::fixtures::waiting::eventually;
use crate::harness::{self};
use crate::harness::{Dir, PATIENCE, Server, query, view};

/// What a process may have by default nearly everywhere.
const DESCRIPTORS: u64 = 1_024;

/// More than that, of clients that say nothing.
const IDLE: usize = 1_100;

/// Names with a star that stands for nothing but itself.
const WARNINGS: usize = 12_000;

/// Questions a second for names that nobody answers, and how many at most.
const PACE: Duration = Duration::from_millis(3);
const MOST: u64 = 20_000;

const NAMES: [&str; 3] = ["n1.example.com.", "n2.example.com.", "filed.example.com."];

/// A server with a state directory on a disk of a quarter of a megabyte, and
/// so many descriptors.
struct Night {
    dir: Dir,
    ec2: Ec2,
    /// Takes every question and answers none.
    upstream: UdpSocket,
    server: Server,
}

impl Night {
    fn begin() -> Self {
        let ec2 = Ec2::with(4);
        let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dir = Dir::empty();
        dir.write(
            "example.com.toml",
            &format!(
                "[names]\nn1 = \"{}\"\nn2 = \"{}\"\nfiled = \"198.51.100.7\"\n",
                public(1),
                public(2),
            ),
        );
        // Each reload has more to warn of than a log that nobody reads can hold.
        let odd = |n| format!("\"odd*{n}\" = {{ address = \"10.9.9.9\" }}\n");
        let odd: String = (0..WARNINGS).map(odd).collect();
        dir.write("example.net.toml", &format!("[names]\n{odd}"));
        dir.write("files.json", &harness::describe(&[("198.51.100.7", Some("10.0.7.7"))]));
        configure(&dir, &ec2, &upstream, "500ms");
        let state = dir.path().join("disk");
        std::fs::create_dir(&state).unwrap();
        let mut within = Command::new("unshare");
        let script = "mount -t tmpfs -o size=256k,mode=0700 tmpfs \"$0\" && exec \"$@\"";
        within.args(["--mount", "sh", "-c", script]).arg(&state);
        within.args(["prlimit", &format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")]);
        let server = Server::start_by(within, dir.path(), |command| {
            with_keys(command);
            command.env("EIPDNS_STATE", &state);
        });
        Self { dir, ec2, upstream, server }
    }

    /// A path in the server's mount namespace.
    fn on_disk(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.server.pid());
        let state = self.dir.path().join("disk");
        PathBuf::from(root).join(state.strip_prefix("/").unwrap()).join(name)
    }

    /// Until nothing more goes on it.
    fn fill_disk(&self) {
        let mut filler = std::fs::File::create(self.on_disk("filler")).unwrap();
        while filler.write_all(&[7; 4096]).is_ok() {}
        while filler.write_all(&[7]).is_ok() {}
    }
}

fn configure(dir: &Dir, ec2: &Ec2, upstream: &UdpSocket, poll: &str) {
    let (sources, upstream) =
        (source("east", &ec2.url(), poll, ""), upstream.local_addr().unwrap());
    dir.replace(
        "server.toml",
        &format!(
            r#"
[listen]
dns = ["127.0.0.1:0"]
http = "127.0.0.1:0"
workers = 1

{sources}
[[source]]
name = "filed"
type = "file"
path = "files.json"
region = "us-east-1"
{}forward = true

[[forward]]
upstreams = ["{upstream}"]
"#,
            view("vpc", "127.0.0.0/8", "private")
        ),
    );
}

/// A client at an address of its own.
fn from(address: Ipv4Addr) -> UdpSocket {
    UdpSocket::bind((address, 0)).unwrap()
}

/// Connections from several addresses that say nothing, as many as can be had.
fn idle(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let one = |n: usize| -> Option<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).ok()?;
        let host = 10 + (n % 20) as u8;
        socket.bind(&SocketAddr::from((IpAddr::from([127, 0, 0, host]), 0)).into()).ok()?;
        socket.connect_timeout(&to.into(), PATIENCE).ok()?;
        Some(socket.into())
    };
    (0..count).filter_map(one).collect()
}

#[test]
fn all_of_it_in_one_night() {
    let night = Night::begin();
    let Night { dir, ec2, upstream, server } = &night;
    let at = http(server);
    eventually("all is well", || server.status()["healthy"] == true);
    let expected: Vec<_> = ["10.0.0.1", "10.0.0.2", "10.0.7.7"].map(answer).into();
    for (name, expected) in NAMES.iter().zip(&expected) {
        assert_eq!(asked(server.dns, name), (expected.clone(), vec![]));
    }

    // Everything at once.
    let watch = Watch::over(server.dns, &NAMES);
    let (dark, flooded) = (AtomicBool::new(true), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| flood(server.dns, &dark, &flooded));
        ec2.fault(Fault::Throttled);
        server.lull_log();
        night.fill_disk();
        let silent = idle(at, IDLE);
        assert!(silent.len() > 200, "{} idle connections", silent.len());
        eventually("the source is stalled", || source_of(server, "east")["health"] == "stalled");
        configure(dir, ec2, upstream, "1s");
        server.signal("HUP");
        eventually("the reload", || source_of(server, "east")["poll"] == 1.0);
        eventually("the log is full", || server.metric("eipdns_log_lines_dropped_total") > 0.0);
        // A move in a file is seen in the middle of it; it cannot be stored.
        dir.replace("files.json", &harness::describe(&[("198.51.100.7", Some("10.0.7.9"))]));
        eventually("the file's move", || asked(server.dns, NAMES[2]).0 == answer("10.0.7.9"));
        eventually("the disk is full", || server.status()["state_trouble"].is_string());
        eventually("the upstream is down", || {
            server.status()["forwarding"]["upstreams"][0]["up"] == false
        });
        assert_surfaces(server);
        // Over TCP as well, with forwarding at its limits.
        let octets = query(NAMES[0], RecordType::A).to_vec().unwrap();
        let reply = Message::from_vec(&harness::tcp(server.dns, &octets)).unwrap();
        assert_eq!(reply.answers[0].data.to_string(), "10.0.0.1");
        assert_eq!(super::web::get(at, "/livez").0, 200);
        assert_eq!(super::web::get(at, "/readyz").0, 200);

        // EC2 is back, with a move: the first good answer brings it, as there is no
        // second one.
        ec2.associate(&public(1), "10.0.9.1");
        ec2.well_once();
        eventually("the move", || asked(server.dns, NAMES[0]).0 == answer("10.0.9.1"));
        ec2.fault(Fault::None);
        dark.store(false, Ordering::Relaxed);
        drop(silent);
    });
    let seen = watch.end();
    assert_eq!(seen[0], [answer("10.0.0.1"), answer("10.0.9.1")]);
    assert_eq!(seen[1], [answer("10.0.0.2")]);
    assert_eq!(seen[2], [answer("10.0.7.7"), answer("10.0.7.9")]);

    // Morning: the disk has room, the log is read, and all is well.
    std::fs::remove_file(night.on_disk("filler")).unwrap();
    server.wake_log();
    eventually("state is kept again", || server.status()["state_trouble"].is_null());
    eventually("all is well", || server.status()["healthy"] == true);
    let Night { mut server, .. } = night;
    server.wait("what the log has left out", |line| {
        line["fields"]["message"].as_str().is_some_and(|text| text.contains("log lines"))
    });
    assert!(server.stop().success());
}

/// One client asks for names that nobody answers.
fn flood(dns: SocketAddr, on: &AtomicBool, asked: &AtomicU64) {
    let socket = from(Ipv4Addr::new(127, 0, 0, 66));
    while on.load(Ordering::Relaxed) && asked.load(Ordering::Relaxed) < MOST {
        let n = asked.fetch_add(1, Ordering::Relaxed);
        let octets = query(&format!("n{n}.flood.test."), RecordType::A).to_vec().unwrap();
        socket.send_to(&octets, dns).unwrap();
        std::thread::sleep(PACE);
    }
}

fn source_of(server: &Server, name: &str) -> Value {
    let status = server.status();
    let all = status["sources"].as_array().unwrap();
    all.iter().find(|source| source["name"] == name).unwrap().clone()
}

/// What is wrong is said by status and metrics.
fn assert_surfaces(server: &Server) {
    let status = server.status();
    assert_eq!(status["healthy"], false, "{status}");
    assert!(status["forwarding"]["upstreams"][0]["timeouts"].as_u64() > Some(0), "{status}");
    assert_eq!(status["publishing"]["hangs"], false, "{status}");
    let east = source_of(server, "east");
    assert!(east["why"].as_str().unwrap().contains("throttled"), "{east}");
    for (sample, is) in [
        ("eipdns_state_writable", 0.0),
        ("eipdns_source_healthy{source=\"east\"}", 0.0),
        ("eipdns_source_healthy{source=\"filed\"}", 1.0),
        ("eipdns_reloads_refused_total", 0.0),
        ("eipdns_publish_failing", 0.0),
    ] {
        assert_eq!(server.metric(sample), is, "{sample}");
    }
    let open = server.metric("eipdns_descriptors_open");
    assert!(open < server.metric("eipdns_descriptors_limit"), "{open} descriptors");
}
