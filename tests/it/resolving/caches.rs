//! unbound and dnsmasq in front, with their guards against private addresses
//! from outside, and dnsmasq telling us whose question it is.

use std::net::SocketAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::Client;
use crate::fixtures::daemon;
use crate::fixtures::waiting::until;
use crate::harness::{Dir, ELASTIC, Server, view};

/// Zones of ours: one that may hold private addresses, one the front has not
/// been told of.
const TOLD: &str = "told.test";
const UNTOLD: &str = "untold.test";

const TTL: u32 = 1;

/// Nobody asks from here (RFC 5737).
const NOBODY: &str = "192.0.2.1";

/// 127.2/16 is another view, and `trusted` may ask on behalf of others.
fn world(trusted: &str) -> (Dir, Server) {
    let dir = Dir::new(&view("outside", "127.2.0.0/16", "public"));
    dir.listen(&format!("trust_ecs_from = [\"{trusted}\"]"));
    for zone in [TOLD, UNTOLD] {
        let text = format!("ttl = {TTL}\nnegative_ttl = {TTL}\n[names]\ndb = \"{ELASTIC}\"\n");
        dir.write(&format!("{zone}.toml"), &text);
    }
    let server = Server::start(dir.path());
    (dir, server)
}

/// The new address comes at the latest when the old one's TTL is over.
#[track_caller]
fn follows(who: &str, client: Client, private: &str) {
    until(&format!("{private} by {who}"), || {
        let told = client.ask(&format!("db.{TOLD}."), RecordType::A);
        assert_eq!(told.answers.len(), 1, "{who}: {told}");
        assert!(told.answers[0].ttl <= TTL, "{who}: {told}");
        if told.answers[0].data.to_string() == private { Ok(()) } else { Err(told.to_string()) }
    });
    let none = client.ask(&format!("db.{TOLD}."), RecordType::AAAA);
    assert_eq!((none.metadata.response_code, none.answers.len()), (ResponseCode::NoError, 0));
    let nowhere = client.ask(&format!("nope.{TOLD}."), RecordType::A);
    assert_eq!(nowhere.metadata.response_code, ResponseCode::NXDomain, "{who}");
}

fn moves(dir: &Dir, server: &mut Server, private: &str) {
    server.moves(dir, private);
}

#[test]
fn unbound_with_private_domain() {
    let (dir, mut server) = world(NOBODY);
    let at = format!("{}@{}", server.dns.ip(), server.dns.port());
    let mut fronts = Vec::new();
    for (kind, key) in [("stub-zone", "stub-addr"), ("forward-zone", "forward-addr")] {
        let zone = |name| format!("{kind}:\n name: \"{name}\"\n {key}: {at}\n");
        let guard = format!("server:\n private-address: 10.0.0.0/8\n private-domain: \"{TOLD}\"\n");
        let Some(front) = daemon::unbound(&(guard + &zone(TOLD) + &zone(UNTOLD))) else { return };
        fronts.push((format!("unbound, {kind}"), front));
    }
    for private in ["10.0.1.5", "10.0.2.7"] {
        if private != "10.0.1.5" {
            moves(&dir, &mut server, private);
        }
        for (who, front) in &fronts {
            let client = Client::of(front.at);
            follows(who, client, private);
            let kept_back = client.data(&format!("db.{UNTOLD}."), RecordType::A);
            assert_eq!(kept_back, [""; 0], "{who}: what private-domain is for");
        }
    }
}

fn dnsmasq(server: SocketAddr, more: &[&str]) -> Option<daemon::Daemon> {
    let to =
        [TOLD, UNTOLD].map(|zone| format!("--server=/{zone}/{}#{}", server.ip(), server.port()));
    let more = more.iter().map(|argument| (*argument).to_owned());
    daemon::dnsmasq(&to.into_iter().chain(more).collect::<Vec<_>>())
}

#[test]
fn dnsmasq_with_rebind_domain_ok() {
    let (dir, mut server) = world(NOBODY);
    let ok = format!("--rebind-domain-ok=/{TOLD}/");
    let Some(front) = dnsmasq(server.dns, &["--stop-dns-rebind", &ok]) else { return };
    let client = Client::of(front.at);
    for private in ["10.0.1.5", "10.0.2.7"] {
        if private != "10.0.1.5" {
            moves(&dir, &mut server, private);
        }
        follows("dnsmasq", client, private);
        let kept_back = client.data(&format!("db.{UNTOLD}."), RecordType::A);
        assert_eq!(kept_back, [""; 0], "what rebind-domain-ok is for");
    }
}

/// Two clients behind one dnsmasq see what each would see itself (RFC 7871).
#[test]
fn dnsmasq_says_who_asks() {
    let (dir, mut server) = world("127.0.0.1");
    let Some(front) = dnsmasq(server.dns, &["--add-subnet=32,128"]) else { return };
    let [inside, outside] = ["127.1.0.1", "127.2.0.1"].map(|from| Client::of(front.at).from(from));
    for private in ["10.0.1.5", "10.0.2.7", "10.0.3.9"] {
        if private != "10.0.1.5" {
            moves(&dir, &mut server, private);
        }
        // By turns, so that neither gets what was meant for the other.
        for _ in 0..3 {
            follows("dnsmasq, a client inside", inside, private);
            follows("dnsmasq, a client outside", outside, ELASTIC);
        }
    }

    // Not from those whom nobody trusts.
    let (_dir, closed) = world(NOBODY);
    let Some(front) = dnsmasq(closed.dns, &["--add-subnet=32,128"]) else { return };
    let outside = Client::of(front.at).from("127.2.0.1");
    assert_eq!(outside.data(&format!("db.{TOLD}."), RecordType::A), ["10.0.1.5"]);
}
