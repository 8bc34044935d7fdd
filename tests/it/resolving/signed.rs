//! A resolver behind us that validates, down from a root of its own: what is
//! signed passes through as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use tempfile::TempDir;

use super::Client;
use crate::fixtures::daemon::{self, Daemon};
use crate::harness::{Dir, Server, remarks};
use crate::peers;

const SOA: &str = "60 SOA ns.nic.test. host.nic.test. 1 3600 600 86400 60";

/// A key for a zone: its file's name, and the DS that stands for it.
struct Key {
    name: String,
    ds: String,
}

/// Makes a key in `dir`.
fn key(keygen: &Path, dir: &Path, zone: &str) -> Key {
    let mut command = Command::new(keygen);
    command.args(["-a", "ECDSAP256SHA256", "-k", zone]).current_dir(dir);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let name = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    let ds = fs::read_to_string(dir.join(format!("{name}.ds"))).unwrap();
    Key { name, ds }
}

/// Signs a zone.
fn sign(signzone: &Path, dir: &Path, zone: &str, text: &str, key: &Key) -> String {
    fs::write(dir.join("unsigned"), format!("$ORIGIN {zone}\n{text}")).unwrap();
    let mut command = Command::new(signzone);
    command.args(["-o", zone, "-f", "signed", "unsigned", &key.name]).current_dir(dir);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    fs::read_to_string(dir.join("signed")).unwrap()
}

/// A root with a signed zone, an unsigned one, and one whose signatures are
/// wrong.
struct Tree {
    nsd: Daemon,
    /// The root's key, for those who validate.
    anchor: String,
}

impl Tree {
    fn new() -> Option<Self> {
        let (keygen, signzone) = (peers::need("ldns-keygen")?, peers::need("ldns-signzone")?);
        let dir: TempDir = tempfile::tempdir().unwrap();
        let make = |zone: &str, text: &str| {
            let key = key(&keygen, dir.path(), zone);
            let signed = sign(&signzone, dir.path(), zone, text, &key);
            (key, signed)
        };
        let ns = "@ 60 NS ns.nic.test.\n";
        let (signed_key, signed) = make(
            "signed.",
            &format!(
                "@ {SOA}\n{ns}www 60 A 192.0.2.1\nalias 60 CNAME www.plain.\n\
                 *.wild 60 TXT \"any\"\n"
            ),
        );
        let (bogus_key, bogus) = make("bogus.", &format!("@ {SOA}\n{ns}www 60 A 192.0.2.66\n"));
        let (root_key, root) = make(
            ".",
            &format!(
                "@ {SOA}\n{ns}signed. 60 NS ns.nic.test.\nbogus. 60 NS ns.nic.test.\n\
                 plain. 60 NS ns.nic.test.\n{}{}",
                signed_key.ds, bogus_key.ds
            ),
        );
        let plain = format!("$ORIGIN plain.\n@ {SOA}\n{ns}www 60 A 192.0.2.2\n");
        let nsd = daemon::nsd(&[
            (".", &root),
            ("signed.", &signed),
            // Not what was signed.
            ("bogus.", &bogus.replace("192.0.2.66", "192.0.2.67")),
            ("plain.", &plain),
        ])?;
        Some(Self { nsd, anchor: root_key.ds.trim().replace('\t', " ") })
    }

    /// A resolver that validates; `more` says whom it asks.
    fn validator(&self, more: &str) -> Option<Daemon> {
        daemon::unbound(&format!(
            "server:\n module-config: \"validator iterator\"\n trust-anchor: \"{}\"\n \
             trust-anchor-signaling: no\n qname-minimisation: no\n ede: yes\n{more}",
            self.anchor
        ))
    }

    fn resolver(&self) -> Option<Daemon> {
        let (ip, port) = (self.nsd.at.ip(), self.nsd.at.port());
        let stub = format!("stub-zone:\n name: \".\"\n stub-prime: no\n stub-addr: {ip}@{port}\n");
        self.validator(&stub)
    }
}

/// Questions of every kind of answer that DNSSEC knows.
const QUESTIONS: [(&str, RecordType); 11] = [
    ("www.signed.", RecordType::A),
    ("www.signed.", RecordType::MX),
    ("none.signed.", RecordType::A),
    ("x.wild.signed.", RecordType::TXT),
    ("alias.signed.", RecordType::A),
    ("signed.", RecordType::DNSKEY),
    ("signed.", RecordType::DS),
    ("plain.", RecordType::DS),
    ("www.plain.", RecordType::A),
    ("none.plain.", RecordType::A),
    ("www.bogus.", RecordType::A),
];

/// What is asked for with a question.
#[derive(Debug, Clone, Copy)]
struct Wish {
    dnssec_ok: bool,
    authentic: bool,
    unchecked: bool,
}

impl Wish {
    fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|n| Self { dnssec_ok: n & 1 > 0, authentic: n & 2 > 0, unchecked: n & 4 > 0 })
    }

    fn of(self, message: &mut Message) {
        message.metadata.authentic_data = self.authentic;
        message.metadata.checking_disabled = self.unchecked;
        message.edns.as_mut().unwrap().set_dnssec_ok(self.dnssec_ok).set_max_payload(1232);
    }
}

/// Records without TTLs, in one order.
fn sorted(records: &[Record]) -> Vec<String> {
    let text = |r: &Record| format!("{} {} {:?}", r.name, r.record_type(), r.data);
    let mut all: Vec<_> = records.iter().map(text).collect();
    all.sort();
    all
}

fn has(records: &[Record], rtype: RecordType) -> bool {
    records.iter().any(|record| record.record_type() == rtype)
}

#[test]
fn what_is_signed_passes_through() {
    let Some(tree) = Tree::new() else { return };
    let Some(resolver) = tree.resolver() else { return };
    let dir = Dir::forwarding(&[resolver.at], "");
    let server = Server::start(dir.path());
    let (direct, through) = (Client::of(resolver.at), Client::of(server.dns));
    for (name, rtype) in QUESTIONS {
        for wish in Wish::all() {
            let what = format!("{name} {rtype} {wish:?}");
            let (theirs, _) = direct.ask_with(name, rtype, |m| wish.of(m));
            for _ in ["new", "from the cache"] {
                let (ours, _) = through.ask_with(name, rtype, |m| wish.of(m));
                let (a, b) = (&ours.metadata, &theirs.metadata);
                assert_eq!(a.response_code, b.response_code, "{what}");
                assert_eq!(a.authentic_data, b.authentic_data, "{what}: AD");
                assert_eq!(a.checking_disabled, wish.unchecked, "{what}: CD");
                assert!(a.recursion_available && !a.authoritative, "{what}");
                assert_eq!(sorted(&ours.answers), sorted(&theirs.answers), "{what}");
                if a.response_code == ResponseCode::ServFail {
                    let theirs = remarks(&theirs);
                    assert!(!theirs.is_empty(), "{what}: the resolver says why");
                    let ours = remarks(&ours);
                    assert!(theirs.iter().all(|r| ours.contains(r)), "{what}: {ours:?}");
                } else {
                    assert_eq!(sorted(&ours.authorities), sorted(&theirs.authorities), "{what}");
                }
                let dnssec_ok = ours.edns.unwrap().flags().dnssec_ok;
                assert_eq!(dnssec_ok, wish.dnssec_ok, "{what}");
            }
        }
    }

    // That the comparison was of something.
    let all = Wish { dnssec_ok: true, authentic: false, unchecked: false };
    let ask = |name, rtype| through.ask_with(name, rtype, |m| all.of(m)).0;
    let signed = ask("www.signed.", RecordType::A);
    assert!(signed.metadata.authentic_data && has(&signed.answers, RecordType::RRSIG));
    let denied = ask("none.signed.", RecordType::A);
    assert_eq!(denied.metadata.response_code, ResponseCode::NXDomain);
    assert!(denied.metadata.authentic_data);
    assert!(has(&denied.authorities, RecordType::NSEC), "{denied}");
    assert!(has(&denied.authorities, RecordType::RRSIG), "{denied}");
    let plain = ask("www.plain.", RecordType::A);
    assert!(!plain.metadata.authentic_data && plain.answers.len() == 1);
    let bogus = ask("www.bogus.", RecordType::A);
    assert_eq!(bogus.metadata.response_code, ResponseCode::ServFail);
    let unchecked = Wish { unchecked: true, ..all };
    let (bogus, _) = through.ask_with("www.bogus.", RecordType::A, |m| unchecked.of(m));
    assert_eq!(bogus.answers[0].data.to_string(), "192.0.2.67");
}

/// Whoever validates behind us has all that it takes.
#[test]
fn a_validator_finds_all_it_needs_through_us() {
    let Some(tree) = Tree::new() else { return };
    let Some(resolver) = tree.resolver() else { return };
    let dir = Dir::forwarding(&[resolver.at], "");
    let server = Server::start(dir.path());
    let (ip, port) = (server.dns.ip(), server.dns.port());
    let forward = format!("forward-zone:\n name: \".\"\n forward-addr: {ip}@{port}\n");
    let Some(validator) = tree.validator(&forward) else { return };
    let client = Client::of(validator.at);
    for (name, rtype, rcode, authentic) in [
        ("www.signed.", RecordType::A, ResponseCode::NoError, true),
        ("www.signed.", RecordType::MX, ResponseCode::NoError, true),
        ("none.signed.", RecordType::A, ResponseCode::NXDomain, true),
        ("x.wild.signed.", RecordType::TXT, ResponseCode::NoError, true),
        ("www.plain.", RecordType::A, ResponseCode::NoError, false),
        ("www.bogus.", RecordType::A, ResponseCode::ServFail, false),
    ] {
        let (told, _) = client.ask_with(name, rtype, |m| m.metadata.authentic_data = true);
        let got = (told.metadata.response_code, told.metadata.authentic_data);
        assert_eq!(got, (rcode, authentic), "{name} {rtype}: {told}");
    }
}
