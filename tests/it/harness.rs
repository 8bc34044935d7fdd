//! A real server in a directory of its own: started, asked, reloaded, stopped.
//!
//! Nothing here sleeps: tests wait for lines of the server's log.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_eipdns");

/// A configuration directory.
pub(crate) struct Dir(TempDir);

impl Dir {
    /// A server on a free port of 127.0.0.1 with a `file` source and one view
    /// "vpc" of 127.0.0.0/8, private; `more` is appended to its server.toml.
    pub(crate) fn new(more: &str) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        dir.write(
            "server.toml",
            &format!(
                r#"
[listen]
dns = ["127.0.0.1:0"]

[[source]]
name = "sample"
type = "file"
path = "addresses.json"
region = "us-east-1"

[[view]]
name = "vpc"
clients = ["127.0.0.0/8"]
answer = "private"
{more}"#
            ),
        );
        dir.addresses(&[("75.101.137.243", Some("10.0.1.5"))]);
        dir
    }

    /// An empty directory.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, in place.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// Writes a file beside and renames it over.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let aside = self.path().join(format!(".{name}.new"));
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.path().join(name)).unwrap();
    }

    /// Has the server listen for HTTP, at [`Server::http`].
    pub(crate) fn http(&self) {
        let config = fs::read_to_string(self.path().join("server.toml")).unwrap();
        let listen = "[listen]\nhttp = \"127.0.0.1:0\"\n";
        self.write("server.toml", &config.replace("[listen]\n", listen));
    }

    /// Sets the addresses: Elastic IP and private address.
    pub(crate) fn addresses(&self, all: &[(&str, Option<&str>)]) {
        self.replace("addresses.json", &describe(all));
    }
}

/// What `aws ec2 describe-addresses` prints for these.
pub(crate) fn describe(all: &[(&str, Option<&str>)]) -> String {
    let addresses: Vec<Value> = all
        .iter()
        .map(|(public, private)| {
            let id = public.replace('.', "");
            let mut one = json!({
                "PublicIp": public,
                "AllocationId": format!("eipalloc-{id}"),
                "Domain": "vpc",
            });
            if let Some(private) = private {
                one["PrivateIpAddress"] = json!(private);
                one["AssociationId"] = json!(format!("eipassoc-{}", private.replace('.', "")));
                one["NetworkInterfaceId"] = json!("eni-1");
                one["InstanceId"] = json!("i-1");
            }
            one
        })
        .collect();
    serde_json::to_string_pretty(&json!({ "Addresses": addresses })).unwrap()
}

/// The lines a server has logged.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<Value>, bool)>,
    more: Condvar,
    /// Set while nobody reads them.
    asleep: Mutex<bool>,
    awake: Condvar,
}

impl Log {
    /// Waits while nobody is to read.
    fn sleeps(&self) {
        let asleep = self.asleep.lock().unwrap();
        drop(self.awake.wait_while(asleep, |asleep| *asleep).unwrap());
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    log: Arc<Log>,
    /// Where it answers.
    pub(crate) dns: SocketAddr,
    /// Every address it answers at.
    pub(crate) all: Vec<SocketAddr>,
    seen: usize,
}

impl Server {
    /// Starts on a directory and waits until it serves.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, |_| {})
    }

    /// The same with changes to the command.
    pub(crate) fn start_with(dir: &Path, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_command(|command| {
            command.args(["serve", "--config"]).arg(dir);
            command.env("EIPDNS_STATE", dir.join(".state"));
            change(command);
        })
    }

    /// Starts the bare program, but for what `change` adds.
    pub(crate) fn start_command(change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(PROGRAM);
        command.env("EIPDNS_LOG", "debug").stderr(Stdio::piped()).stdout(Stdio::null());
        change(&mut command);
        command.arg("--log-json");
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().unwrap();
        let into = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "raw": line }));
                into.lines.lock().unwrap().0.push(value);
                into.more.notify_all();
                into.sleeps();
            }
            into.lines.lock().unwrap().1 = true;
            into.more.notify_all();
        });
        let mut server =
            Self { child, log, dns: ([127, 0, 0, 1], 0).into(), all: Vec::new(), seen: 0 };
        let ready = server.wait_for("serving");
        let list = ready["fields"]["dns"].as_str().expect("serving line names dns").to_string();
        server.all = list.split(' ').map(|a| a.parse().unwrap()).collect();
        server.dns = server.all[0];
        // A source may have spoken before the server served: a test that waits
        // for its word must find it.
        server.seen = 0;
        server
    }

    /// Waits for the next log line with this message.
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        self.wait(message, |line| line["fields"]["message"] == message)
    }

    /// Waits until a name has moved away from, or to, an address: `field` is
    /// "old" or "new".
    pub(crate) fn wait_for_move(&mut self, field: &str, address: &str) -> Value {
        self.wait(address, |line| {
            let message = &line["fields"]["message"];
            (message == "moved" || message == "no address") && line["fields"][field] == address
        })
    }

    /// Waits for the next log line that `matches`.
    pub(crate) fn wait(&mut self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        self.wait_within(PATIENCE, what, matches)
    }

    /// The same, for what may take longer than anything else.
    pub(crate) fn wait_within(
        &mut self,
        patience: Duration,
        what: &str,
        matches: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + patience;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            while self.seen < lines.0.len() {
                self.seen += 1;
                if matches(&lines.0[self.seen - 1]) {
                    return lines.0[self.seen - 1].clone();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!lines.1, "the server ended before it said {what:?}: {:#?}", lines.0);
            assert!(!left.is_zero(), "the server did not say {what:?}: {:#?}", lines.0);
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Nobody reads the log until [`wake_log`](Self::wake_log): what the server
    /// writes stays in the pipe.
    #[cfg(feature = "ec2")]
    pub(crate) fn lull_log(&self) {
        *self.log.asleep.lock().unwrap() = true;
    }

    /// The log is read again.
    #[cfg(feature = "ec2")]
    pub(crate) fn wake_log(&self) {
        *self.log.asleep.lock().unwrap() = false;
        self.log.awake.notify_all();
    }

    /// Every line so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log.lines.lock().unwrap().0.clone()
    }

    /// Where it listens for HTTP, with [`Dir::http`].
    pub(crate) fn http(&self) -> String {
        let lines = self.lines();
        let said = |line: &&Value| line["fields"]["message"] == "listening for HTTP";
        let line = lines.iter().find(said).expect("the HTTP side is said");
        line["fields"]["address"].as_str().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(done.unwrap().success());
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for the end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        // Its end closes stderr, which the reader notes.
        let mut lines = self.log.lines.lock().unwrap();
        while !lines.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the server does not end: {:#?}", lines.0);
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
        drop(lines);
        self.child.wait().unwrap()
    }

    /// Asks over UDP with EDNS.
    pub(crate) fn ask(&self, name: &str, rtype: RecordType) -> Message {
        let reply = udp(self.dns, &query(name, rtype).to_vec().unwrap());
        Message::from_vec(&reply).unwrap()
    }

    /// The addresses, aliases and texts in an answer's answer section.
    pub(crate) fn data(&self, name: &str, rtype: RecordType) -> Vec<String> {
        let message = self.ask(name, rtype);
        message.answers.iter().map(|r| r.data.to_string()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, or a test is failing: either way nothing is left over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A query with RD and EDNS.
pub(crate) fn query(name: &str, rtype: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(name).unwrap(), rtype));
    message.edns = Some(Edns::new());
    message
}

/// Sends octets over UDP and waits for the reply.
pub(crate) fn udp(to: SocketAddr, octets: &[u8]) -> Vec<u8> {
    try_udp(to, octets, PATIENCE).expect("a reply")
}

/// The same; none when nothing comes in time.
pub(crate) fn try_udp(to: SocketAddr, octets: &[u8], within: Duration) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(within)).unwrap();
    socket.send(octets).unwrap();
    let mut reply = vec![0; 65_535];
    let len = socket.recv(&mut reply).ok()?;
    reply.truncate(len);
    Some(reply)
}

/// Sends octets over TCP and waits for the reply.
pub(crate) fn tcp(to: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut framed = (octets.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(octets);
    stream.write_all(&framed).unwrap();
    let mut len = [0; 2];
    stream.read_exact(&mut len).unwrap();
    let mut reply = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut reply).unwrap();
    reply
}

/// Runs a command of the program to its end.
pub(crate) fn eipdns(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A whole answer over HTTP/1.0.
pub(crate) fn http_get(address: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = if headers.starts_with("Host:") { "" } else { &format!("Host: {address}\r\n") };
    write!(stream, "GET {path} HTTP/1.0\r\n{host}{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
