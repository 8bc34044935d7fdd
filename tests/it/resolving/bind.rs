//! BIND in front, as operators have it: forwarding zones or asking as of a
//! static stub, validating or not.
//!
//! Our zones are not signed. A parent that is signed has to delegate them, or
//! BIND has to be told with `validate-except`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::fixtures::daemon::{self, Daemon, free_port};
use crate::fixtures::namespace::Namespace;
use crate::fixtures::waiting::until;
use crate::harness::{Dir, ELASTIC, Server};
use crate::peers;

/// Zones of ours below "test.", a signed zone: "fwd" and "fwd2" BIND forwards,
/// "stub" and "stub2" it asks as static stubs. The parent delegates the first
/// of each.
const ZONES: [&str; 4] = ["fwd.test", "stub.test", "fwd2.test", "stub2.test"];
const DELEGATED: [bool; 4] = [true, true, false, false];

/// Where the parent is served.
const PARENT: &str = "127.0.0.2:53";

const TTL: u32 = 1;

/// The parent, signed: its text, and its key as a trust anchor for BIND.
fn parent() -> Option<(String, String)> {
    let (keygen, signzone) = (peers::need("ldns-keygen")?, peers::need("ldns-signzone")?);
    let dir = tempfile::tempdir().unwrap();
    let run = |program: &Path, args: &[&str]| {
        let out = Command::new(program).args(args).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let key = run(&keygen, &["-a", "ECDSAP256SHA256", "-k", "test."]);
    let text = "$ORIGIN test.\n@ 60 SOA ns host 1 3600 600 86400 60\n@ 60 NS ns\n\
                ns 60 A 127.0.0.1\nfwd 60 NS ns.fwd\nns.fwd 60 A 127.0.0.1\n\
                stub 60 NS ns.stub\nns.stub 60 A 127.0.0.1\n";
    fs::write(dir.path().join("unsigned"), text).unwrap();
    run(&signzone, &["-o", "test.", "-f", "signed", "unsigned", &key]);
    let signed = fs::read_to_string(dir.path().join("signed")).unwrap();
    let record = fs::read_to_string(dir.path().join(format!("{key}.ds"))).unwrap();
    let fields: Vec<_> = record.split_whitespace().collect();
    let [.., tag, algorithm, digest_type, digest] = fields[..] else { panic!("{record}") };
    Some((signed, format!("test. static-ds {tag} {algorithm} {digest_type} \"{digest}\";")))
}

/// A host with eipdns on port 53, where static stubs are asked.
struct Host {
    namespace: Namespace,
    dir: Dir,
    server: Server,
}

impl Host {
    fn new() -> Option<Self> {
        let namespace = Namespace::new(&["127.0.0.2/32"])?;
        let dir = Dir::new("");
        for zone in ZONES {
            let text = format!("ttl = {TTL}\nnegative_ttl = {TTL}\n[names]\ndb = \"{ELASTIC}\"\n");
            dir.write(&format!("{zone}.toml"), &text);
        }
        let server = namespace.server(&dir, "127.0.0.1:53");
        Some(Self { namespace, dir, server })
    }

    /// The parent's server.
    fn parent(&self, text: &str) -> Option<Daemon> {
        let statement = "zone \"test\" { type primary; file \"test.zone\"; };";
        let at = PARENT.parse().unwrap();
        self.bind(at, &[("test.", text)], "recursion no; dnssec-validation no;", statement)
    }

    /// BIND in front of our zones.
    fn front(&self, options: &str, more: &str) -> Option<Daemon> {
        let zone = |zone: &str| match zone.starts_with("fwd") {
            true => format!(
                "zone \"{zone}\" {{ type forward; forward only; forwarders {{ 127.0.0.1; }}; }};\n"
            ),
            false => format!(
                "zone \"{zone}\" {{ type static-stub; server-addresses {{ 127.0.0.1; }}; }};\n"
            ),
        };
        let statements = ZONES.map(zone).concat() + more;
        self.bind(free_port(), &[], &format!("recursion yes; {options}"), &statements)
    }

    fn bind(
        &self,
        at: SocketAddr,
        zones: daemon::Zones<'_>,
        options: &str,
        statements: &str,
    ) -> Option<Daemon> {
        let run = |program: &Path| self.namespace.command(program);
        daemon::bind_by(run, at, zones, options, statements)
    }

    /// What a server on this host answers dig: the response code, and TTL and
    /// data of each record of the type.
    fn dig(&self, at: SocketAddr, name: &str, rtype: &str) -> (String, Vec<(u32, String)>) {
        let (server, port) = (format!("@{}", at.ip()), at.port().to_string());
        let args = ["+time=15", "+tries=1", &server, "-p", &port, name, rtype];
        let dig = peers::need("dig").expect("dig comes with BIND's tools");
        let said = self.namespace.said(dig, &args).expect("dig gets a reply");
        let status = said.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
        let records =
            said.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [_, ttl, "IN", found, data] if found == rtype => {
                    Some((ttl.parse().unwrap(), data.to_owned()))
                }
                _ => None,
            });
        (status.unwrap_or_default().to_owned(), records.collect())
    }

    /// What a front answers for a zone's bound name: the new address at the
    /// latest when the old one's TTL is over.
    fn follows(&self, who: &str, front: &Daemon, zone: &str, private: &str) {
        until(&format!("{private} by {who} in {zone}"), || {
            let (status, records) = self.dig(front.at, &format!("db.{zone}."), "A");
            assert_eq!((status.as_str(), records.len()), ("NOERROR", 1), "{who}, {zone}");
            let (ttl, address) = &records[0];
            assert!(*ttl <= TTL, "{who}, {zone}: {ttl}");
            if address == private { Ok(()) } else { Err(records) }
        });
    }
}

#[test]
fn bind_forwards_and_stubs_and_validates() {
    let (Some(host), Some((text, anchor))) = (Host::new(), parent()) else { return };
    let mut host = host;
    let Some(_parent) = host.parent(&text) else { return };
    let via_parent = format!(
        "trust-anchors {{ {anchor} }};\n\
         zone \"test\" {{ type static-stub; server-addresses {{ 127.0.0.2; }}; }};\n"
    );
    let except = "dnssec-validation yes; validate-except { \"fwd2.test\"; \"stub2.test\"; };";
    let fronts = [
        ("BIND", "dnssec-validation no;", "", [true; 4]),
        ("BIND, validating", "dnssec-validation yes;", &via_parent, DELEGATED),
        ("BIND, validating but ours", except, &via_parent, [true; 4]),
    ];
    let mut running = Vec::new();
    for (who, options, more, works) in fronts {
        let Some(front) = host.front(options, more) else { return };
        running.push((who, front, works));
    }
    for private in ["10.0.1.5", "10.0.2.7"] {
        if private != "10.0.1.5" {
            host.dir.addresses(&[(ELASTIC, Some(private))]);
            host.server.wait_for_move("new", private);
        }
        for (who, front, works) in &running {
            for (zone, works) in ZONES.iter().zip(works) {
                if *works {
                    host.follows(who, front, zone, private);
                    let none = host.dig(front.at, &format!("db.{zone}."), "AAAA");
                    assert_eq!(none, ("NOERROR".into(), vec![]), "{who}, {zone}");
                    let nowhere = host.dig(front.at, &format!("nope.{zone}."), "A");
                    assert_eq!(nowhere.0, "NXDOMAIN", "{who}, {zone}");
                } else {
                    let failed = host.dig(front.at, &format!("db.{zone}."), "A");
                    assert_eq!(failed, ("SERVFAIL".into(), vec![]), "{who}, {zone}");
                }
            }
        }
    }
}
