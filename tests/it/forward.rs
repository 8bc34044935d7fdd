//! Forwarding to real resolvers: unbound and dnsmasq, with data of their own.

use std::net::{IpAddr, Ipv4Addr};

use eipdns::answer::Transport;
use eipdns::config::{ForwardConfig, Rule};
use eipdns::dns::name::Key;
use eipdns::forward::{self, Age, Forwarder, Hit, Query, Question, compose};
use eipdns::host::descriptors::Share;
use hickory_proto::op::{self, Edns, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};

use crate::fixtures::daemon::{self, Daemon};
use crate::harness::udp;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

/// unbound with data of its own.
fn unbound() -> Option<Daemon> {
    let text = |n: usize| format!(" local-data: 'big.example. 300 IN TXT \"{n:0>200}\"'\n");
    let big: String = (0..40).map(text).collect();
    daemon::unbound(&format!(
        r#"server:
 module-config: "iterator"
 local-zone: "." static
 local-zone: "example." static
 local-data: "example. 300 IN SOA ns.example. host.example. 1 2 3 4 60"
 local-data: "db.example. 300 IN A 192.0.2.1"
 local-data: "db.example. 300 IN A 192.0.2.2"
 local-data: "db.example. 120 IN MX 10 Mail.example."
 local-data: "odd.example. 300 IN TYPE65534 \# 4 01020304"
{big}
 local-zone: "refused.test." refuse
 local-zone: "silent.test." deny
"#
    ))
}

fn dnsmasq() -> Option<Daemon> {
    let arguments = [
        "--local=/example/test/",
        "--host-record=db.example,192.0.2.3",
        "--host-record=name.silent.test,192.0.2.4",
        "--host-record=name.refused.test,192.0.2.5",
        "--local-ttl=300",
    ];
    daemon::dnsmasq(&arguments.map(str::to_owned))
}

/// What a resolver says itself, over UDP.
fn direct(resolver: &Daemon, request: &[u8]) -> op::Message {
    op::Message::from_vec(&udp(resolver.at, request)).unwrap()
}

fn forwarder(upstreams: &[&Daemon]) -> Forwarder {
    let upstreams = upstreams.iter().map(|resolver| resolver.at).collect();
    let rule = Rule { names: vec![Key::root()], upstreams, max_rate: None };
    let (forwarder, driver) =
        Forwarder::new(&ForwardConfig { rules: vec![rule] }, &Share::default()).unwrap();
    tokio::spawn(driver.run());
    forwarder
}

fn request(name: &str, rtype: RecordType, dnssec_ok: bool) -> Vec<u8> {
    let mut message = op::Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(op::Query::query(Name::from_ascii(name).unwrap(), rtype));
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_dnssec_ok(dnssec_ok);
    message.edns = Some(edns);
    message.to_vec().unwrap()
}

/// The answer to a [`request`], and the reply as a client on this transport
/// gets it.
async fn ask(forwarder: &Forwarder, request: &[u8], transport: Transport) -> (Hit, op::Message) {
    let (head, rest) = request.split_at(12);
    let (asked, opt) = rest.split_at(rest.len() - 11);
    let (name, [t0, t1, ..]) = asked.split_last_chunk::<4>().unwrap();
    let (name, dnssec_ok) = (name.to_ascii_lowercase(), opt[7] & 0x80 != 0);
    let rtype = u16::from_be_bytes([*t0, *t1]);
    let question = Question { name: &name, rtype, class: 1, dnssec_ok, checking_disabled: false };
    let query = Query {
        head: *head.first_chunk().unwrap(),
        question: asked,
        limit: if transport == Transport::Udp { 1232 } else { 65_535 },
        edns: Some(forward::Edns { dnssec_ok, options: &[] }),
    };
    let hit = forwarder.answer(&question, CLIENT).await;
    let mut reply = Vec::new();
    compose(&hit, &query, &[], &mut reply);
    (hit, op::Message::from_vec(&reply).unwrap())
}

/// Records as text, in one order: both peers turn RRsets round.
fn sorted(records: &[Record]) -> Vec<String> {
    let mut texts: Vec<_> = records.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn what_unbound_and_dnsmasq_say_comes_through() {
    let peers = [unbound(), dnsmasq()];
    for peer in peers.into_iter().flatten() {
        let forwarder = forwarder(&[&peer]);
        for (name, rtype) in [
            ("db.example.", RecordType::A),
            ("dB.eXample.", RecordType::MX),
            ("db.example.", RecordType::AAAA),
            ("none.example.", RecordType::A),
            ("odd.example.", RecordType::Unknown(65_534)),
            ("db.example.", RecordType::ANY),
        ] {
            for dnssec_ok in [false, true] {
                let request = request(name, rtype, dnssec_ok);
                let direct = direct(&peer, &request);
                for _ in 0..2 {
                    let (hit, ours) = ask(&forwarder, &request, Transport::Udp).await;
                    let what = format!("{name} {rtype} {hit:?}");
                    assert_eq!(ours.metadata.id, 4711, "{what}");
                    assert_eq!(ours.queries, direct.queries, "{what}");
                    assert_eq!(
                        ours.metadata.response_code, direct.metadata.response_code,
                        "{what}"
                    );
                    assert_eq!(sorted(&ours.answers), sorted(&direct.answers), "{what}");
                    let authorities = (&ours.authorities, &direct.authorities);
                    assert_eq!(sorted(authorities.0).len(), sorted(authorities.1).len(), "{what}");
                    assert!(ours.metadata.recursion_available && !ours.metadata.authoritative);
                    assert_eq!(ours.edns.unwrap().flags().dnssec_ok, dnssec_ok);
                }
            }
        }
    }
}

#[tokio::test]
async fn unbound_is_asked_once_and_over_tcp_when_it_must() {
    let Some(unbound) = unbound() else { return };
    let forwarder = forwarder(&[&unbound]);
    let sent = || forwarder.upstreams()[0].sent;
    for rtype in [RecordType::A, RecordType::AAAA] {
        let before = sent();
        let request = request("db.example.", rtype, false);
        assert_eq!(ask(&forwarder, &request, Transport::Udp).await.0.age(), Age::New);
        assert!(matches!(ask(&forwarder, &request, Transport::Udp).await.0.age(), Age::Fresh(_)));
        assert_eq!(sent() - before, 1, "{rtype}: a denial is kept as well");
    }
    let before = sent();
    let big = request("big.example.", RecordType::TXT, false);
    let (_, over_udp) = ask(&forwarder, &big, Transport::Udp).await;
    assert!(over_udp.metadata.truncation && over_udp.answers.is_empty());
    let (_, over_tcp) = ask(&forwarder, &big, Transport::Tcp).await;
    assert!(!over_tcp.metadata.truncation);
    assert_eq!(over_tcp.answers.len(), 40);
    assert_eq!(sent() - before, 2, "UDP and TCP, once");
}

#[tokio::test]
async fn a_second_resolver_steps_in() {
    let (Some(unbound), Some(dnsmasq)) = (unbound(), dnsmasq()) else {
        return;
    };
    for name in ["name.refused.test.", "name.silent.test."] {
        let both = forwarder(&[&unbound, &dnsmasq]);
        let request = request(name, RecordType::A, false);
        let (_, reply) = ask(&both, &request, Transport::Udp).await;
        assert_eq!(reply.answers.len(), 1, "{name}");
        assert_eq!(both.upstreams()[0].sent, 1, "{name}");
    }
    let alone = forwarder(&[&unbound]);
    let refused = request("name.refused.test.", RecordType::A, false);
    let (hit, reply) = ask(&alone, &refused, Transport::Udp).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let said = &hit.message().remarks()[0].text;
    assert!(said.contains("REFUSED"), "{said}");
}

/// A resolver that is killed, and its answers after that.
#[tokio::test]
async fn a_killed_resolver_is_told_apart_from_an_empty_name() {
    let Some(unbound) = unbound() else { return };
    let forwarder = forwarder(&[&unbound]);
    let request = request("db.example.", RecordType::A, false);
    ask(&forwarder, &request, Transport::Udp).await;
    drop(unbound);
    let (hit, reply) = ask(&forwarder, &request, Transport::Udp).await;
    assert!(matches!(hit.age(), Age::Fresh(_)), "still within its TTL");
    assert_eq!(reply.answers.len(), 2);
    let other = self::request("other.example.", RecordType::A, false);
    let (_, reply) = ask(&forwarder, &other, Transport::Udp).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail, "never NXDOMAIN");
}
