//! A host whose resolv.conf names eipdns itself: EC2's endpoint is found
//! through other resolvers, never through us.
//!
//! Port 53 and a resolv.conf of the server's own need root and a mount
//! namespace; without them the tests say so and end.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};

use super::scripted::Ec2;
use super::{answer, asked, configure, refresh, source, start, with_keys};
use crate::harness::{Dir, PROGRAM, Server};

/// What the endpoint is called; no name of anybody's (RFC 2606 section 2).
const ENDPOINT: &str = "ec2.us-east-1.eipdns.test";

/// A resolver that knows one name.
struct Resolver {
    address: Ipv4Addr,
    asked: Arc<Mutex<Vec<String>>>,
    socket: UdpSocket,
}

impl Resolver {
    /// On port 53 of an address of its own; none without the right to it,
    /// loudly.
    fn start(knows: IpAddr) -> Option<Self> {
        let IpAddr::V4(knows) = knows else { panic!("an IPv4 address") };
        let address = own_address();
        let socket = match UdpSocket::bind((address, 53)) {
            Ok(socket) => socket,
            Err(e) => {
                skipped(&format!("port 53 of {address}: {e}"));
                return None;
            }
        };
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (serves, into) = (socket.try_clone().unwrap(), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut octets = [0; 1500];
            while let Ok((len, from)) = serves.recv_from(&mut octets) {
                // Nothing but what ends it.
                let Ok(mut message) = Message::from_vec(&octets[..len]) else { return };
                let question = message.queries[0].clone();
                let name = question.name().to_ascii();
                message.metadata.message_type = MessageType::Response;
                message.metadata.recursion_available = true;
                if question.query_type() == RecordType::A && name == format!("{ENDPOINT}.") {
                    let data = RData::A(A(knows));
                    message.answers.push(Record::from_rdata(question.name().clone(), 60, data));
                }
                into.lock().unwrap().push(name);
                serves.send_to(&message.to_vec().unwrap(), from).unwrap();
            }
        });
        Some(Self { address, asked, socket })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Nothing that can be parsed ends the thread; it may have ended.
        let _ = self.socket.send_to(b"end", (self.address, 53));
    }
}

/// Not `eprintln!`: the harness swallows that when a test passes.
fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "SKIPPED {test}: {why}").expect("stderr can be written");
}

/// An address of 127/8 that no other test has.
fn own_address() -> Ipv4Addr {
    static LAST: AtomicU8 = AtomicU8::new(1);
    let process = (std::process::id() % 250) as u8;
    Ipv4Addr::new(127, 78, process, LAST.fetch_add(1, Ordering::Relaxed))
}

/// EC2 by name.
fn by_name(ec2: &Ec2, more: &str) -> Dir {
    let url = format!("http://{ENDPOINT}:{}", ec2.address().port());
    configure(&source("east", &url, "1h", ""), more, "n1 = \"75.101.137.1\"")
}

#[test]
fn the_configured_resolvers_are_asked() {
    let ec2 = Ec2::with(1);
    let Some(resolver) = Resolver::start(ec2.address().ip()) else { return };
    let dir = by_name(&ec2, &format!("[aws]\nresolvers = [\"{}\"]", resolver.address));
    let mut server = start(&dir);
    server.wait_for("source delivers");
    refresh(&server, false);
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
    assert!(resolver.asked().iter().all(|name| *name == format!("{ENDPOINT}.")));
    assert!(!resolver.asked().is_empty());
}

#[test]
fn other_resolvers_are_asked_after_a_reload() {
    let ec2 = Ec2::with(1);
    let (Some(wrong), Some(right)) =
        (Resolver::start([192, 0, 2, 1].into()), Resolver::start(ec2.address().ip()))
    else {
        return;
    };
    let with = |resolver: &Resolver| {
        by_name(&ec2, &format!("[aws]\nresolvers = [\"{}\"]", resolver.address))
    };
    let dir = with(&wrong);
    let mut server = start(&dir);
    server.wait("a stall", |l| {
        l["fields"]["message"].as_str().is_some_and(|m| m.starts_with("source stalled"))
    });
    assert!(!wrong.asked().is_empty());
    let other = std::fs::read_to_string(with(&right).path().join("server.toml")).unwrap();
    dir.write("server.toml", &other);
    server.signal("HUP");
    server.wait_for("configuration reloaded");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
    assert!(!right.asked().is_empty());
}

#[test]
fn a_name_that_nobody_knows_is_told_as_that() {
    let ec2 = Ec2::with(1);
    let Some(resolver) = Resolver::start(ec2.address().ip()) else { return };
    let url = "http://ec2.elsewhere.eipdns.test:80";
    let dir = configure(
        &source("east", url, "1h", ""),
        &format!("[aws]\nresolvers = [\"{}\"]", resolver.address),
        "n1 = \"75.101.137.1\"",
    );
    let mut server = start(&dir);
    let stalled = server.wait("a stall", |l| {
        l["fields"]["message"].as_str().is_some_and(|m| m.starts_with("source stalled"))
    });
    assert_eq!(stalled["fields"]["class"], "dns", "{stalled}");
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("ec2.elsewhere.eipdns.test"), "{error}");
}

/// resolv.conf names us and the resolver beside us, us first: as DHCP options
/// do it.
#[test]
fn a_resolv_conf_that_names_us() {
    let ec2 = Ec2::with(1);
    let Some(resolver) = Resolver::start(ec2.address().ip()) else { return };
    let us = own_address();
    let resolv_conf = format!("nameserver {us}\nnameserver {}\n", resolver.address);
    let Some(mut server) = with_resolv_conf(&by_name(&ec2, ""), us, &resolv_conf) else { return };
    server.wait_for("source delivers");
    refresh(&server, false);
    assert!(!resolver.asked().is_empty());
    let own = super::metric(&server, "eipdns_udp_datagrams_total{event=\"received\"}");
    assert_eq!(own, 0.0, "we were not asked for the endpoint");
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
}

/// resolv.conf names nobody but us: `[aws] resolvers` says who else.
#[test]
fn a_resolv_conf_that_names_nobody_else() {
    let ec2 = Ec2::with(1);
    let Some(resolver) = Resolver::start(ec2.address().ip()) else { return };
    let us = own_address();
    let dir = by_name(&ec2, &format!("[aws]\nresolvers = [\"{}\"]", resolver.address));
    let resolv_conf = format!("nameserver {us}\n");
    let Some(mut server) = with_resolv_conf(&dir, us, &resolv_conf) else { return };
    server.wait_for("source delivers");
    refresh(&server, false);
    let own = super::metric(&server, "eipdns_udp_datagrams_total{event=\"received\"}");
    assert_eq!(own, 0.0, "we were not asked for the endpoint");
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
}

/// A server on port 53 of `us` that sees this resolv.conf.
fn with_resolv_conf(dir: &Dir, us: Ipv4Addr, resolv_conf: &str) -> Option<Server> {
    let file = dir.path().join("resolv.conf");
    dir.write("resolv.conf", resolv_conf);
    let mount = ["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""];
    let mut probe = Command::new("unshare");
    let out = probe.args(mount).arg(&file).args(["cat", "/etc/resolv.conf"]).output();
    match out {
        Ok(out) if out.stdout == resolv_conf.as_bytes() => {}
        other => {
            skipped(&format!("no mount namespace: {other:?}"));
            return None;
        }
    }
    Some(Server::start_command(|command| {
        *command = Command::new("unshare");
        command.args(mount).arg(&file).arg(PROGRAM).args(["serve", "--config"]).arg(dir.path());
        command.args(["--listen-dns", &format!("{us}:53")]);
        command.env("EIPDNS_LOG", "debug").env("EIPDNS_STATE", dir.path().join(".state"));
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        with_keys(command);
    }))
}
