//! Whoever reads the log may sleep or go: the server goes on. Whoever reads a
//! command's result may go, too.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::fixtures::promtool::Scrape;
use crate::fixtures::waiting::{eventually, until};
use crate::harness::{Dir, ELASTIC, PATIENCE, PROGRAM, eipdns, http_get, query, udp};

/// Lines of one reload: more than the queue and a pipe take.
const FLOOD: usize = 12_000;

/// A server whose log is read by the test, line by line, or not at all.
struct Read<R> {
    child: Child,
    log: BufReader<R>,
    dns: SocketAddr,
    http: String,
}

impl Read<PipeReader> {
    fn start(dir: &Dir, log: &str) -> Self {
        let (reader, writer) = pipe().unwrap();
        Self::start_at(dir, log, reader, writer.into())
    }
}

impl<R: std::io::Read> Read<R> {
    /// Reads the log until the server serves.
    fn start_at(dir: &Dir, log: &str, reader: R, stderr: Stdio) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--log-json", "--log", log, "--config"]).arg(dir.path());
        command.env("EIPDNS_STATE", dir.path().join(".state"));
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        // The command holds our end for writing.
        drop(command);
        let dns = ([127, 0, 0, 1], 0).into();
        let log = BufReader::new(reader);
        let mut server = Self { child, log, dns, http: String::new() };
        server.http = server.line("listening for HTTP")["address"].as_str().unwrap().into();
        server.dns = server.line("serving")["dns"].as_str().unwrap().parse().unwrap();
        server
    }

    /// Reads on until a line with this message, and gives its fields.
    fn line(&mut self, message: &str) -> Value {
        let mut line = String::new();
        // A read has no deadline: the end of the server ends it.
        let (_read, unread) = channel::<()>();
        let pid = self.child.id();
        std::thread::spawn(move || {
            if unread.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                signal(pid, "KILL");
            }
        });
        loop {
            line.clear();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "no {message:?} in the log");
            let value: Value =
                serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
            if value["fields"]["message"].as_str().is_some_and(|m| m.starts_with(message)) {
                return value["fields"].clone();
            }
        }
    }
}

impl<R> Read<R> {
    /// The address of a name.
    fn data(&self, name: &str) -> Vec<String> {
        let reply = udp(self.dns, &query(name, RecordType::A).to_vec().unwrap());
        let reply = Message::from_vec(&reply).unwrap();
        reply.answers.iter().map(|r| r.data.to_string()).collect()
    }

    /// Waits until a file's change is answered.
    fn answers(&self, address: &str) {
        eventually(address, || self.data("db.example.com.") == [address]);
    }

    fn get(&self, path: &str) -> String {
        http_get(&self.http, path, "")
    }

    /// A counter or gauge of `/metrics`.
    fn metric(&self, name: &str) -> u64 {
        Scrape::of(&self.http).sample(name) as u64
    }

    /// Fills the log until `is_full`, by reloads of a configuration with more
    /// errors than fit.
    fn flood(&self, dir: &Dir, errors: usize, is_full: impl Fn() -> bool) {
        const REFUSED: &str = "eipdns_reloads_refused_total";
        let mut bad = String::from("[names]\n");
        for n in 0..errors {
            writeln!(bad, "x{n} = \"no address\"").unwrap();
        }
        dir.write("example.net.toml", &bad);
        eventually("a full log", || {
            let refused = self.metric(REFUSED);
            self.signal("HUP");
            eventually("a reload", || self.metric(REFUSED) > refused);
            is_full()
        });
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGTERM, and how it ended, its log unread.
    fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        until("an end by SIGTERM", || self.child.try_wait().unwrap().ok_or(()))
    }

    fn status(&self, dir: &Dir) -> Output {
        eipdns(&["status", "--config", dir.path().to_str().unwrap(), "--listen-http", &self.http])
    }
}

impl<R> Drop for Read<R> {
    fn drop(&mut self) {
        // Ended already, or a test is failing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(done.unwrap().success());
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn zone() -> Dir {
    let dir = Dir::with_db("");
    dir.http();
    dir
}

const DROPPED: &str = "eipdns_log_lines_dropped_total";
const UNWRITTEN: &str = "eipdns_log_write_errors_total";
const WAITING: &str = "eipdns_log_lines_waiting";

#[test]
fn a_log_reader_that_ends_ends_nothing() {
    let dir = zone();
    let mut server = Read::start(&dir, "debug");
    server.answers("10.0.1.5");
    assert_eq!(server.metric(UNWRITTEN), 0);
    let (nobody, _) = pipe().unwrap();
    drop(std::mem::replace(&mut server.log, BufReader::new(nobody)));

    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    server.answers("10.0.1.6");
    eventually("write errors", || server.metric(UNWRITTEN) > 0);
    assert_eq!(server.metric(DROPPED), 0, "nothing waits");
    let out = server.status(&dir);
    assert!(text(&out.stdout).contains("LOG: "), "{}", text(&out.stdout));
    assert_eq!(out.status.code(), Some(0), "answers are well");
    dir.addresses(&[(ELASTIC, Some("10.0.1.7"))]);
    server.answers("10.0.1.7");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_log_reader_that_sleeps_delays_nothing() {
    let dir = zone();
    let mut server = Read::start(&dir, "debug");
    server.answers("10.0.1.5");
    server.flood(&dir, FLOOD, || server.metric(DROPPED) > 0);

    assert!(server.get("/livez").starts_with("HTTP/1.0 200"));
    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    server.answers("10.0.1.6");
    assert!(server.metric(WAITING) > 1_000);
    let out = server.status(&dir);
    assert!(text(&out.stdout).contains("LOG: "), "{}", text(&out.stdout));

    // It wakes: what was left out is said where it is missing, once.
    let dropped = server.metric(DROPPED);
    let said = server.line("log lines were dropped");
    assert_eq!(said["lines"], json!(server.metric(DROPPED)), "more than {dropped} by now");
    dir.addresses(&[(ELASTIC, Some("10.0.1.7"))]);
    assert_eq!(server.line("moved")["new"], "10.0.1.7");

    // It sleeps again, and the server is told to end.
    let dropped = server.metric(DROPPED);
    server.flood(&dir, FLOOD, || server.metric(DROPPED) > dropped);
    assert_eq!(server.stop().code(), Some(0));
}

/// Whoever shares the descriptor may have set O_NONBLOCK.
#[test]
fn a_descriptor_that_does_not_block_loses_nothing() {
    let dir = zone();
    let (reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let mut server =
        Read::start_at(&dir, "info", reader, Stdio::from(std::os::fd::OwnedFd::from(writer)));
    server.answers("10.0.1.5");
    server.flood(&dir, FLOOD / 12, || server.metric(WAITING) > 100);
    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    server.answers("10.0.1.6");
    // Each line that is read on the way is whole JSON.
    assert_eq!(server.line("moved")["new"], "10.0.1.6");
    assert_eq!(server.metric(UNWRITTEN), 0);
    assert_eq!(server.stop().code(), Some(0));
}

/// What the server says before it serves goes the same way.
#[test]
fn a_bad_configuration_is_said_to_nobody_too() {
    let dir = Dir::new("");
    dir.write("example.com.toml", "[names]\ndb = \"no address\"\n");
    let serve = |stderr: Stdio| {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--config"]).arg(dir.path()).stderr(stderr);
        command.status().unwrap().code()
    };
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    assert_eq!(serve(writer.into()), Some(78));

    let (_asleep, mut full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[b'\n'; 4096]).is_ok() {}
    full.set_nonblocking(false).unwrap();
    assert_eq!(serve(std::os::fd::OwnedFd::from(full).into()), Some(78));

    let out = eipdns(&["serve", "--log", "off", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(78));
    let said = text(&out.stderr);
    assert!(said.contains("example.com.toml:2"), "whatever is logged: {said}");
}

/// A program whose reader has gone.
fn unread(args: &[&str], change: impl FnOnce(&mut Command, Stdio)) -> Output {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = Command::new(PROGRAM);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    change(&mut command, writer.into());
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_command_whose_reader_has_gone_ends_quietly() {
    let dir = zone();
    let config = dir.path().to_str().unwrap();
    let server = Read::start(&dir, "info");
    server.answers("10.0.1.5");
    let at = ["--config", config, "--listen-http", &server.http];
    let all: [&[&str]; 10] = [
        &["--help"],
        &["--version"],
        &["dump", "example.com"],
        &["dump", "--offline", "example.com"],
        &["check"],
        &["explain", "db.example.com"],
        &["explain", "--offline", "--json", "db.example.com"],
        &["status"],
        &["status", "--json"],
        &["refresh"],
    ];
    for args in all {
        let with: Vec<_> = match args[0].starts_with('-') {
            true => args.to_vec(),
            false => args.iter().chain(&at).copied().collect(),
        };
        let out = unread(&with, |command, gone| _ = command.stdout(gone));
        assert_eq!(out.status.code(), Some(74), "{args:?}: {}", text(&out.stderr));
        assert_eq!(text(&out.stderr), "", "{args:?}");

        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let out = unread(&with, |command, _| _ = command.stdout(full));
        assert_eq!(out.status.code(), Some(74), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains("No space left"), "{args:?}: {}", text(&out.stderr));
    }
    // What they complain of may be unread: the code says it.
    let nowhere: [(&[&str], i32); 7] = [
        (&["--no-such-flag"], 64),
        (&["explain", "a..b"], 64),
        (&["dump", "--offline", "--config", config, "example.org"], 1),
        (&["dump", "--config", config, "a..b"], 64),
        (&["check", "--config", "/nonexistent"], 78),
        (&["status", "--config", config], 69),
        (&["refresh", "--config", config, "--listen-http", &server.http, "--source", "nope"], 64),
    ];
    for (args, code) in nowhere {
        let out = unread(args, |command, gone| _ = command.stderr(gone));
        assert_eq!(out.status.code(), Some(code), "{args:?}");
    }
}

/// What comes from outside is not to move a terminal's cursor or to look like
/// another line.
#[test]
fn control_characters_reach_no_terminal() {
    let dir = zone();
    let tags = |name: &str| {
        json!({ "Addresses": [{
            "PublicIp": "75.101.137.243", "AllocationId": "eipalloc-1\u{1b}[2J\nERROR",
            "Domain": "vpc", "AssociationId": "eipassoc-\u{9b}1", "PrivateIpAddress": name,
            "NetworkInterfaceId": "eni-\u{202e}1", "InstanceId": "i-1\r",
        }] })
        .to_string()
    };
    dir.replace("addresses.json", &tags("10.0.1.5"));
    let server = Read::start(&dir, "info");
    server.answers("10.0.1.5");
    let config = dir.path().to_str().unwrap();
    let at = ["--config", config, "--listen-http", &server.http];
    for args in [&["explain", "db.example.com"][..], &["explain", "--offline", "db.example.com"]] {
        let all: Vec<_> = args.iter().chain(&at).copied().collect();
        let out = eipdns(&all);
        let told = text(&out.stdout);
        assert!(told.contains("eipalloc-1\\u001b[2J\\nERROR\n"), "{told}");
        for bad in ['\u{1b}', '\u{9b}', '\u{202e}', '\r'] {
            assert!(!told.contains(bad), "{bad:?} in {told:?}");
        }
    }
    // The file breaks, with a text that is shown: in the log and in the status.
    dir.replace("addresses.json", &tags("1\u{1b}]0;x\u{7}\nINFO all is well"));
    eventually("a stall", || server.status(&dir).status.code() == Some(1));
    let out = server.status(&dir);
    assert!(!text(&out.stdout).contains(['\u{1b}', '\u{7}']), "{:?}", text(&out.stdout));
    assert!(!text(&out.stdout).contains("\nINFO"), "{:?}", text(&out.stdout));
    let out = eipdns(&["check", "--config", config]);
    assert!(!text(&out.stderr).contains(['\u{1b}', '\u{7}']), "{:?}", text(&out.stderr));
}
