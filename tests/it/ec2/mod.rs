//! The EC2 source against stand-ins for EC2: moto, driven as AWS is, and a
//! scripted one for what moto cannot do.

mod accounts;
mod alarms;
mod clock;
mod commands;
mod edge;
mod enis;
mod faults;
mod files;
mod hints;
mod imds;
mod init;
mod interfaces;
mod ipv6;
mod load;
mod losses;
mod moto;
mod moves;
mod night;
mod polls;
mod production;
mod reload;
mod resolvers;
mod scripted;
mod speed;
mod state;
mod survey;
mod tags;
mod tls;
mod told;
mod web;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::Value;

use crate::harness::{self};
use crate::harness::{Dir, PROGRAM, Server, view};

/// A pause of a client that asks again and again, so that it does not take
/// the machine from what it watches.
const BETWEEN: Duration = Duration::from_millis(2);

/// What decides about credentials, endpoints and the SDK's own files. None of
/// it comes from whoever runs the tests.
const SDK_VARIABLES: [&str; 16] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CA_BUNDLE",
];

/// The SDK's surroundings without any credentials.
fn bare(command: &mut Command) {
    for variable in SDK_VARIABLES {
        command.env_remove(variable);
    }
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy).env_remove(proxy.to_lowercase());
    }
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
}

/// The same with keys that every stand-in takes.
fn with_keys(command: &mut Command) {
    bare(command);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
}

/// One `[[source]]` of type `ec2`; `more` are lines of it.
fn source(name: &str, endpoint: &str, poll: &str, more: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\ntype = \"ec2\"\nregion = \"us-east-1\"\n\
         endpoint_url = \"{endpoint}\"\npoll = \"{poll}\"\n{more}\n"
    )
}

/// A configuration: DNS and HTTP on free ports, these sources, the view
/// "vpc", private, for everybody on loopback; `more` goes below. And the zone
/// example.com with these names.
fn configure(sources: &str, more: &str, names: &str) -> Dir {
    let dir = Dir::empty();
    dir.write(
        "server.toml",
        &format!(
            "[listen]\ndns = [\"127.0.0.1:0\"]\nhttp = \"127.0.0.1:0\"\nworkers = 1\n\n\
             {sources}\n\
             {}{more}\n",
            view("vpc", "127.0.0.0/8", "private")
        ),
    );
    dir.write("example.com.toml", &format!("[names]\n{names}\n"));
    dir
}

/// Starts with keys that every stand-in takes.
fn start(dir: &Dir) -> Server {
    Server::start_with(dir.path(), with_keys)
}

/// The same, with what EC2 says published.
fn settled(dir: &Dir) -> Server {
    let mut server = start(dir);
    server.wait_for("source delivers");
    assert!(refresh(&server, false).is_empty());
    server
}

/// Where a server has its HTTP side.
fn http(server: &Server) -> SocketAddr {
    server.http().parse().unwrap()
}

/// Asks the sources now; returns what failed. What did not is published then.
fn refresh(server: &Server, accept: bool) -> Vec<String> {
    let (code, body) = web::post(http(server), &format!("/api/refresh?accept={accept}"));
    assert_eq!(code, 200, "{body}");
    let all: Vec<Value> = serde_json::from_str(&body).unwrap();
    all.iter().filter_map(|one| one["failed"].as_str()).map(str::to_owned).collect()
}

/// Runs a command of the program against the server of `dir`.
fn command(server: &Server, dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).arg("--config").arg(dir).arg("--listen-http").arg(http(server).to_string());
    bare(&mut command);
    command.output().unwrap()
}

/// Everything in an answer that a client acts on, and its EDE codes: these
/// may come and go with a fault, the rest may not.
fn asked(dns: SocketAddr, name: &str) -> (String, Vec<u16>) {
    let octets = harness::query(name, RecordType::A).to_vec().unwrap();
    let reply = harness::udp(dns, &octets);
    let reply = hickory_proto::op::Message::from_vec(&reply).unwrap();
    let mut text = format!("{:?}", reply.metadata.response_code);
    for record in &reply.answers {
        write!(text, " {} {} {}", record.ttl, record.record_type(), record.data).unwrap();
    }
    let ede = harness::remarks(&reply).iter().map(|(code, _)| *code).collect();
    (text, ede)
}

/// RFC 8914: stale answer, not ready.
const STALE: u16 = 3;
const NOT_READY: u16 = 14;

/// Answers that hold `private`, with the zone's TTL.
fn answer(private: &str) -> String {
    format!("NoError 5 A {private}")
}

/// Asks for names all the time and remembers each answer that differs from
/// the one before.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Watch {
    /// Begins with `names`.
    fn over(dns: SocketAddr, names: &[&str]) -> Self {
        Self::calmly(dns, names, BETWEEN)
    }

    /// The same with so long a pause: where many watch at the same time.
    fn calmly(dns: SocketAddr, names: &[&str], between: Duration) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let seen = Arc::new(Mutex::new(vec![Vec::new(); names.len()]));
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let (ended, into) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let mut is_last = false;
            while !is_last {
                // Each name is asked for once more after the end.
                is_last = ended.load(Ordering::Relaxed);
                for (at, name) in names.iter().enumerate() {
                    let (answer, _) = asked(dns, name);
                    let all = &mut into.lock().unwrap()[at];
                    if all.last() != Some(&answer) {
                        all.push(answer);
                    }
                }
                std::thread::sleep(between);
            }
        });
        Self { stop, thread: Some(thread), seen }
    }

    /// Ends, and gives for each name its different answers in order.
    fn end(mut self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().expect("every query was answered");
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
