//! A host whose resolv.conf names eipdns itself: EC2's endpoint is found
//! through other resolvers, never through us.
//!
//! Port 53 and a resolv.conf of the server's own need root and a mount
//! namespace; without them the tests say so, as of any peer that is missing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use hickory_proto::rr::RecordType;

use super::scripted::Ec2;
use super::{answer, asked, configure, refresh, source, start, with_keys};
use crate::fixtures::upstream::Upstream;
use crate::harness::{Dir, Server};
use crate::peers;

/// What the endpoint is called; no name of anybody's (RFC 2606 section 2).
const ENDPOINT: &str = "ec2.us-east-1.eipdns.test";

/// On port 53 of an address of its own: knows this address for [`ENDPOINT`]; none
/// without the right to the port, loudly.
fn resolver(knows: IpAddr) -> Option<Upstream> {
    let at = SocketAddr::from((own_address(), 53));
    let started = Upstream::start_at(at, move |asked| {
        let is_known = asked.rtype() == RecordType::A && asked.name() == format!("{ENDPOINT}.");
        match is_known {
            true => asked.with(&[&format!("{ENDPOINT}. 60 A {knows}")]).into(),
            false => asked.reply().into(),
        }
    });
    started.inspect_err(|error| peers::missing(&format!("port 53 of {at}: {error}"))).ok()
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
    let Some(resolver) = resolver(ec2.address().ip()) else { return };
    let dir = by_name(&ec2, &format!("[aws]\nresolvers = [\"{}\"]", resolver.at.ip()));
    let mut server = start(&dir);
    server.wait_for("source delivers");
    refresh(&server, false);
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
    assert!(resolver.asked().iter().all(|asked| asked.name() == format!("{ENDPOINT}.")));
    assert!(!resolver.asked().is_empty());
}

#[test]
fn other_resolvers_are_asked_after_a_reload() {
    let ec2 = Ec2::with(1);
    let (Some(wrong), Some(right)) =
        (resolver([192, 0, 2, 1].into()), resolver(ec2.address().ip()))
    else {
        return;
    };
    let with = |resolver: &Upstream| {
        by_name(&ec2, &format!("[aws]\nresolvers = [\"{}\"]", resolver.at.ip()))
    };
    let dir = with(&wrong);
    let mut server = start(&dir);
    server.wait_for_stall();
    assert!(!wrong.asked().is_empty());
    let other = std::fs::read_to_string(with(&right).path().join("server.toml")).unwrap();
    dir.write("server.toml", &other);
    server.reload();
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
    assert!(!right.asked().is_empty());
}

#[test]
fn a_name_that_nobody_knows_is_told_as_that() {
    let ec2 = Ec2::with(1);
    let Some(resolver) = resolver(ec2.address().ip()) else { return };
    let url = "http://ec2.elsewhere.eipdns.test:80";
    let dir = configure(
        &source("east", url, "1h", ""),
        &format!("[aws]\nresolvers = [\"{}\"]", resolver.at.ip()),
        "n1 = \"75.101.137.1\"",
    );
    let mut server = start(&dir);
    let stalled = server.wait_for_stall();
    assert_eq!(stalled["fields"]["class"], "dns", "{stalled}");
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("ec2.elsewhere.eipdns.test"), "{error}");
}

/// resolv.conf names us and the resolver beside us, us first: as DHCP options
/// do it.
#[test]
fn a_resolv_conf_that_names_us() {
    let ec2 = Ec2::with(1);
    let Some(resolver) = resolver(ec2.address().ip()) else { return };
    let us = own_address();
    let resolv_conf = format!("nameserver {us}\nnameserver {}\n", resolver.at.ip());
    let Some(mut server) = with_resolv_conf(&by_name(&ec2, ""), us, &resolv_conf) else { return };
    server.wait_for("source delivers");
    refresh(&server, false);
    assert!(!resolver.asked().is_empty());
    let own = server.metric("eipdns_udp_datagrams_total{event=\"received\"}");
    assert_eq!(own, 0.0, "we were not asked for the endpoint");
    assert_eq!(asked(server.dns, "n1.example.com."), (answer("10.0.0.1"), vec![]));
}

/// resolv.conf names nobody but us: `[aws] resolvers` says who else.
#[test]
fn a_resolv_conf_that_names_nobody_else() {
    let ec2 = Ec2::with(1);
    let Some(resolver) = resolver(ec2.address().ip()) else { return };
    let us = own_address();
    let dir = by_name(&ec2, &format!("[aws]\nresolvers = [\"{}\"]", resolver.at.ip()));
    let resolv_conf = format!("nameserver {us}\n");
    let Some(mut server) = with_resolv_conf(&dir, us, &resolv_conf) else { return };
    server.wait_for("source delivers");
    refresh(&server, false);
    let own = server.metric("eipdns_udp_datagrams_total{event=\"received\"}");
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
            peers::missing(&format!("no mount namespace: {other:?}"));
            return None;
        }
    }
    let mut within = Command::new("unshare");
    within.args(mount).arg(&file);
    Some(Server::start_by(within, dir.path(), |command| {
        with_keys(command);
        command.args(["--listen-dns", &format!("{us}:53")]);
    }))
}
