//! A real server in a directory of its own: started, asked, reloaded, stopped.
//!
//! Nothing here sleeps: tests wait for lines of the server's log. What these do
//! not tell is waited for as [`waiting`](crate::fixtures::waiting) has it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fixtures::log::Log;
use crate::fixtures::promtool::Scrape;
use crate::fixtures::waiting::eventually;

/// How long anything may take before a test gives up on it. Nothing is judged by
/// it: it is long, so that a machine that does much else at the time fails no test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_eipdns");

/// The one Elastic IP of a new [`Dir`], what it is associated with, and its public
/// name.
pub(crate) const ELASTIC: &str = "75.101.137.243";
pub(crate) const PRIVATE: &str = "10.0.1.5";
pub(crate) const EC2_NAME: &str = "ec2-75-101-137-243.compute-1.amazonaws.com.";

/// A zone's file with one name, which is bound to [`ELASTIC`].
pub(crate) const DB: &str = "[names]\ndb = \"75.101.137.243\"\n";

/// A `[[view]]` of its own; more keys of it may follow.
pub(crate) fn view(name: &str, clients: &str, answer: &str) -> String {
    format!("\n[[view]]\nname = \"{name}\"\nclients = [\"{clients}\"]\nanswer = \"{answer}\"\n")
}

/// A configuration directory.
pub(crate) struct Dir(TempDir);

impl Dir {
    /// A server on a free port of 127.0.0.1 with a `file` source and one view
    /// "vpc" of 127.0.0.0/8, private; `more` is appended to its server.toml.
    pub(crate) fn new(more: &str) -> Self {
        let dir = Self::empty();
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
        dir.addresses(&[(ELASTIC, Some(PRIVATE))]);
        dir
    }

    /// The same with the zone example.com, of which [`DB`] is the file.
    pub(crate) fn with_db(more: &str) -> Self {
        let dir = Self::new(more);
        dir.write("example.com.toml", DB);
        dir
    }

    /// The same with a view that forwards to `upstreams`; `view` is added to it, and
    /// may go on with more.
    pub(crate) fn forwarding(upstreams: &[SocketAddr], view: &str) -> Self {
        let all: Vec<_> = upstreams.iter().map(|upstream| format!("\"{upstream}\"")).collect();
        let all = all.join(", ");
        Self::with_db(&format!("forward = true\n{view}\n[[forward]]\nupstreams = [{all}]\n"))
    }

    /// An empty directory: in memory where that can be had. A server that ends waits
    /// for what it has written, and a busy disk takes half a minute and more for it.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
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

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Has `to` stand in server.toml where `from` does.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = self.read("server.toml");
        assert!(text.contains(from), "{from:?} is not in {text}");
        self.write("server.toml", &text.replace(from, to));
    }

    /// Adds lines to `[listen]`.
    pub(crate) fn listen(&self, lines: &str) {
        self.edit("[listen]\n", &format!("[listen]\n{lines}\n"));
    }

    /// Has the server listen for HTTP, at [`Server::http`].
    pub(crate) fn http(&self) {
        self.listen("http = \"127.0.0.1:0\"");
    }

    /// Waits until the state on disk has an address, or another value, in each of its
    /// versions: it is written beside everything else.
    pub(crate) fn wait_for_state(&self, value: &str) {
        let wanted = format!("\"{value}\"");
        let is_state = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("state") && name.ends_with(".json")
        };
        eventually(&format!("{value} in the state on disk"), || {
            let all = fs::read_dir(self.path().join(".state")).into_iter().flatten().flatten();
            let files: Vec<_> = all.map(|entry| entry.path()).filter(is_state).collect();
            let has_it = |file| fs::read_to_string(file).is_ok_and(|text| text.contains(&wanted));
            !files.is_empty() && files.iter().all(has_it)
        });
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
        Self::serve(Command::new(PROGRAM), dir, change)
    }

    /// The same by another program, which runs what its last arguments say.
    pub(crate) fn start_by(
        mut program: Command,
        dir: &Path,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        program.arg(PROGRAM);
        Self::serve(program, dir, change)
    }

    fn serve(mut command: Command, dir: &Path, change: impl FnOnce(&mut Command)) -> Self {
        command.args(["serve", "--config"]).arg(dir).env("EIPDNS_STATE", dir.join(".state"));
        Self::start_bare(command, change)
    }

    /// Starts a command that is the program, with nothing but what is said here.
    pub(crate) fn start_bare(mut command: Command, change: impl FnOnce(&mut Command)) -> Self {
        command.env("EIPDNS_LOG", "debug").stderr(Stdio::piped()).stdout(Stdio::null());
        change(&mut command);
        let mut child = command.arg("--log-json").spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
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

    /// Waits for the next log line whose message starts so.
    pub(crate) fn wait_for_start(&mut self, of: &str) -> Value {
        self.wait(of, |line| line["fields"]["message"].as_str().is_some_and(|m| m.starts_with(of)))
    }

    /// Waits until a source fails that did not, or fails for another reason.
    pub(crate) fn wait_for_stall(&mut self) -> Value {
        self.wait("a stall", |line| {
            let message = line["fields"]["message"].as_str().unwrap_or_default();
            message.starts_with("source stalled") || message.starts_with("source still stalled")
        })
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
        self.log.wait(&mut self.seen, patience, what, matches)
    }

    /// Nobody reads the log until [`wake_log`](Self::wake_log).
    #[cfg(feature = "ec2")]
    pub(crate) fn lull_log(&self) {
        self.log.lull();
    }

    /// The log is read again.
    #[cfg(feature = "ec2")]
    pub(crate) fn wake_log(&self) {
        self.log.wake();
    }

    /// Every line so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log.lines()
    }

    /// Where it listens for HTTP, with [`Dir::http`].
    pub(crate) fn http(&self) -> String {
        let lines = self.lines();
        let said = |line: &&Value| line["fields"]["message"] == "listening for HTTP";
        let line = lines.iter().find(said).expect("the HTTP side is said");
        line["fields"]["address"].as_str().unwrap().to_owned()
    }

    /// A sample of `/metrics`, by its name and labels as they are printed.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        Scrape::of(&self.http()).sample(sample)
    }

    /// `/api/status`
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&http_body(&self.http(), "/api/status")).unwrap()
    }

    /// Runs a command of the program that asks this server, of `dir`.
    pub(crate) fn command(&self, dir: &Dir, args: &[&str]) -> Output {
        let config = dir.path().to_str().unwrap();
        eipdns(&[args, &["--config", config, "--listen-http", &self.http()]].concat())
    }

    /// What `eipdns status` prints.
    pub(crate) fn shown_status(&self, dir: &Dir) -> String {
        String::from_utf8(self.command(dir, &["status"]).stdout).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(done.unwrap().success());
    }

    /// Has it read its configuration anew.
    pub(crate) fn reload(&mut self) {
        self.signal("HUP");
        self.wait_for("configuration reloaded");
    }

    /// The same, of a configuration that cannot be taken.
    pub(crate) fn refuses_to_reload(&mut self) {
        self.signal("HUP");
        self.wait_for("configuration not reloaded; the one in use stands");
    }

    /// Moves [`ELASTIC`] in the directory's address file, and waits until that is
    /// published.
    pub(crate) fn moves(&mut self, dir: &Dir, private: &str) {
        dir.addresses(&[(ELASTIC, Some(private))]);
        self.wait_for_move("new", private);
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for the end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        // Its end closes stderr.
        self.log.wait_for_end(PATIENCE);
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

/// The Extended DNS Errors of an answer: code and text (RFC 8914).
pub(crate) fn remarks(message: &Message) -> Vec<(u16, String)> {
    let options = message.edns.iter().flat_map(|edns| edns.options().as_ref());
    let remark = |option: &EdnsOption| match option {
        EdnsOption::Unknown(15, data) => {
            let text = String::from_utf8_lossy(&data[2..]).into_owned();
            Some((u16::from_be_bytes([data[0], data[1]]), text))
        }
        _ => None,
    };
    options.filter_map(|(_, option)| remark(option)).collect()
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

/// The body of an answer that is well.
pub(crate) fn http_body(address: &str, path: &str) -> String {
    let answer = http_get(address, path, "");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    body.to_owned()
}
