//! AAAA records: DescribeNetworkInterfaces beside DescribeAddresses.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use super::scripted::{Ec2, Fault, public};
use super::{configure, source, start};
use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, Server, http_body, query, remarks, udp};

/// An interface by its number.
fn eni(n: u8) -> String {
    format!("eni-{n}")
}

fn ipv6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2600, 0x1f18, 0, 0, 0, 0, n.into(), 1)
}

fn knows(ec2: &Ec2, n: u8) {
    ec2.interfaces(|all| all.set(&eni(n), &[&ipv6(n).to_string()], None));
}

/// The first address goes to an interface, which has a private address of its own.
fn moves(ec2: &Ec2, to: u8) {
    ec2.associate(&public(1), &format!("10.0.{to}.1"));
    ec2.change(&public(1), |address| address.with("networkInterfaceId", &eni(to)));
}

fn on_first() -> Ec2 {
    let ec2 = Ec2::with(2);
    moves(&ec2, 1);
    knows(&ec2, 1);
    ec2
}

fn dir(ec2: &Ec2, poll: &str) -> Dir {
    let names = format!("db = {{ elastic_ip = \"{}\", ipv6 = true }}", public(1));
    configure(&source("east", &ec2.url(), poll, ""), "", &names)
}

fn aaaa(server: &Server) -> Vec<IpAddr> {
    let all = server.data("db.example.com.", RecordType::AAAA);
    all.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn a(server: &Server) -> Vec<String> {
    server.data("db.example.com.", RecordType::A)
}

/// No AAAA record, and why.
fn without(server: &Server) -> String {
    let mut question = query("db.example.com.", RecordType::AAAA);
    question.edns.get_or_insert_default();
    let reply = Message::from_vec(&udp(server.dns, &question.to_vec().unwrap())).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.answers.is_empty(), "{:?}", reply.answers);
    remarks(&reply).into_iter().map(|(_, text)| text).collect()
}

/// How long after the A record the AAAA record comes is printed.
#[test]
fn a_move_to_an_interface_that_is_not_known_yet() {
    let ec2 = on_first();
    let dir = dir(&ec2, "500ms");
    let server = start(&dir);
    eventually("the first interface is known", || aaaa(&server) == [ipv6(1)]);
    for to in 2..12 {
        knows(&ec2, to);
        moves(&ec2, to);
        let expected = format!("10.0.{to}.1");
        // Each AAAA answer lies between two A answers.
        let (mut moved_at, mut asked) = (None, 0);
        let came = loop {
            let (before, between, after) = (a(&server), aaaa(&server), a(&server));
            asked += 1;
            if before == [&*expected] {
                let moved_at = *moved_at.get_or_insert_with(Instant::now);
                match &between[..] {
                    [] => {}
                    [ip] if *ip == ipv6(to) => break moved_at.elapsed(),
                    other => panic!("{other:?} beside {before:?}, {after:?}"),
                }
            } else {
                let old = to - 1;
                assert_eq!(before, [format!("10.0.{old}.1")]);
                if after == before {
                    assert_eq!(between, [ipv6(old)]);
                }
            }
        };
        println!("AAAA {} us after A, {asked} times asked", came.as_micros());
    }
    // Asked for at once, each alone: the rounds of all come twice a minute.
    let asked = ec2.interfaces(|all| all.calls().to_vec());
    assert!((2..12).all(|to| asked.contains(&vec![eni(to)])), "{asked:?}");
}

#[test]
fn without_permission_names_have_their_a_records_and_every_surface_says_why() {
    let ec2 = on_first();
    ec2.interfaces(|all| all.fault(Fault::Unauthorised));
    let dir = dir(&ec2, "1h");
    let mut server = start(&dir);
    server.wait("that it is not allowed", |line| {
        let fields = &line["fields"];
        let message = fields["message"].as_str().unwrap_or_default();
        message.starts_with("nothing is heard of network interfaces")
            && fields["error"].as_str().is_some_and(|e| e.contains("ec2:DescribeNetworkInterfaces"))
    });
    assert_eq!(a(&server), ["10.0.1.1"]);
    assert_eq!(without(&server), "the IPv6 address of eni-1 is not known yet");
    let of = &server.status()["sources"][0];
    assert_eq!(of["health"], "healthy");
    assert!(of["interfaces"]["why"].as_str().unwrap().contains("ec2:DescribeNetworkInterfaces"));
    assert!(http_body(&server.http(), "/readyz").contains("ready"), "interfaces never count");
    let denied = "eipdns_source_interface_failures_total{source=\"east\",class=\"unauthorised\"}";
    assert!(server.metric(denied) >= 1.0);
    // Given, it is tried again by itself.
    ec2.interfaces(|all| all.fault(Fault::None));
    eventually("it is known", || aaaa(&server) == [ipv6(1)]);
}

#[test]
fn what_is_known_survives_a_restart_with_ec2_down() {
    let ec2 = on_first();
    let dir = dir(&ec2, "1h");
    let server = start(&dir);
    eventually("it is known", || aaaa(&server) == [ipv6(1)]);
    dir.wait_for_state("eni-1");
    assert!(server.stop().success());
    ec2.fault(Fault::Unavailable);
    ec2.interfaces(|all| all.fault(Fault::Throttled));
    let server = start(&dir);
    assert_eq!((a(&server), aaaa(&server)), (vec!["10.0.1.1".into()], vec![ipv6(1).into()]));
    // An interface that EC2 does not show any longer keeps what is known of it.
    ec2.fault(Fault::None);
    ec2.interfaces(|all| {
        all.fault(Fault::None);
        all.forget(&eni(1));
    });
    let asked = ec2.interfaces(|all| all.calls().len());
    eventually("it is asked for again", || ec2.interfaces(|all| all.calls().len()) > asked);
    assert_eq!(aaaa(&server), [ipv6(1)]);
}
