//! AAAA records from the interfaces that Elastic IPs stand on, out of files: beside the A record
//! of the same interface, and never of another one.

use std::net::{IpAddr, Ipv6Addr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, Server, http_body, query, remarks, udp};

/// The Elastic IP by its number, on an interface by its own.
fn address(n: u8, on: u8, tag: &str) -> Value {
    json!({
        "PublicIp": format!("75.101.137.{n}"),
        "AllocationId": format!("eipalloc-{n:08}"),
        "AssociationId": format!("eipassoc-{on:08}"),
        "NetworkInterfaceId": format!("eni-{on}"),
        "PrivateIpAddress": format!("10.0.0.{on}"),
        "Tags": [{ "Key": "dns-name", "Value": tag }],
    })
}

fn addresses(all: &[Value]) -> String {
    json!({ "Addresses": all }).to_string()
}

fn ipv6(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2600, 0x1f18, 0, 0, 0, 0, 0, n)
}

/// As `aws ec2 describe-network-interfaces` prints it: of each interface its addresses, the first
/// of them the primary one if it says so.
fn interfaces(all: &[(u8, bool, &[u16])]) -> String {
    let of = |(on, primary, addresses): &(u8, bool, &[u16])| {
        let address = |(nth, n): (usize, &u16)| json!({ "Ipv6Address": ipv6(*n), "IsPrimaryIpv6": *primary && nth == 0 });
        let addresses: Vec<_> = addresses.iter().enumerate().map(address).collect();
        json!({ "NetworkInterfaceId": format!("eni-{on}"), "Ipv6Addresses": addresses })
    };
    json!({ "NetworkInterfaces": all.iter().map(of).collect::<Vec<_>>() }).to_string()
}

fn dir() -> Dir {
    let dir = Dir::new("");
    dir.http();
    dir.edit("path = \"addresses.json\"", "path = \"addresses.json\"\ninterfaces = \"eni.json\"");
    dir.write(
        "example.com.toml",
        "[discover]\ntag = \"dns-name\"\nipv6 = true\n\
         [names]\ndb = { elastic_ip = \"75.101.137.1\", ipv6 = true }\nplain = \"75.101.137.1\"\n",
    );
    dir
}

fn aaaa(server: &Server, name: &str) -> Vec<IpAddr> {
    let mut all: Vec<_> = server
        .data(&format!("{name}.example.com."), RecordType::AAAA)
        .iter()
        .map(|ip| ip.parse().unwrap())
        .collect();
    all.sort_unstable();
    all
}

/// Why there is no AAAA record.
fn why(server: &Server, name: &str) -> String {
    let mut question = query(&format!("{name}.example.com."), RecordType::AAAA);
    question.edns.get_or_insert_default();
    let reply = udp(server.dns, &question.to_vec().unwrap());
    let reply = hickory_proto::op::Message::from_vec(&reply).unwrap();
    assert_eq!(
        (reply.metadata.response_code, reply.answers.len()),
        (ResponseCode::NoError, 0),
        "musl would lose the A record with a SERVFAIL"
    );
    remarks(&reply).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_and_aaaa_are_of_one_interface_whatever_comes_first() {
    let dir = dir();
    dir.write("addresses.json", &addresses(&[address(1, 1, ""), address(2, 2, "web")]));
    dir.write("eni.json", &interfaces(&[(1, false, &[9, 3]), (2, true, &[8, 1])]));
    let mut server = Server::start(dir.path());
    assert_eq!(aaaa(&server, "db"), [ipv6(3)], "the smallest");
    assert_eq!(aaaa(&server, "web"), [ipv6(8)], "the primary one");
    assert_eq!((aaaa(&server, "plain"), why(&server, "plain")), (vec![], String::new()));

    // The one that is answered stays while it is there.
    dir.replace("eni.json", &interfaces(&[(1, false, &[3, 2]), (2, true, &[7, 1])]));
    let line = server.wait("another IPv6", |line| line["fields"]["message"] == "other IPv6");
    assert_eq!(line["fields"]["name"], "web.example.com.");
    assert_eq!(
        (aaaa(&server, "db"), aaaa(&server, "web")),
        (vec![ipv6(3).into()], vec![ipv6(7).into()])
    );

    // To an interface that is not known: the A record at once, and no AAAA until it is.
    dir.replace("addresses.json", &addresses(&[address(1, 5, ""), address(2, 2, "web")]));
    server.wait_for_move("new", "10.0.0.5");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.0.5"]);
    assert_eq!(why(&server, "db"), "the IPv6 address of eni-5 is not known yet");
    let explained = server.command(&dir, &["explain", "db.example.com", "AAAA"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("not known yet"), "{explained}");
    dir.replace("eni.json", &interfaces(&[(5, false, &[5]), (2, true, &[7, 1])]));
    eventually("the interface is known", || aaaa(&server, "db") == [ipv6(5)]);

    // One that has none.
    dir.replace("eni.json", &interfaces(&[(5, false, &[]), (2, true, &[7, 1])]));
    eventually("it has no IPv6 any longer", || aaaa(&server, "db").is_empty());
    assert_eq!(why(&server, "db"), "eni-5 has no IPv6 address");
    let events: Vec<Value> =
        serde_json::from_str(&http_body(&server.http(), "/api/history")).unwrap();
    let events: Vec<_> = events
        .iter()
        .filter(|event| event["name"] == "db.example.com.")
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["ipv6", "ipv6", "moved"]);
    let of = &server.status()["sources"][0]["interfaces"];
    assert_eq!(
        (&of["wanted"], &of["known"], &of["without_ipv6"]),
        (&2.into(), &2.into(), &1.into())
    );
    assert_eq!(server.metric("eipdns_source_interfaces_known{source=\"sample\"}"), 2.0);
}

#[test]
fn a_file_of_interfaces_that_is_gone_or_half_written_takes_nothing_away() {
    let dir = dir();
    dir.write("addresses.json", &addresses(&[address(1, 1, ""), address(2, 2, "web")]));
    dir.write("eni.json", &interfaces(&[(1, false, &[1]), (2, false, &[2])]));
    let mut server = Server::start(dir.path());
    assert_eq!(
        (aaaa(&server, "db"), aaaa(&server, "web")),
        (vec![ipv6(1).into()], vec![ipv6(2).into()])
    );
    dir.replace("eni.json", "{\"NetworkInterfaces\": [");
    let trouble = |line: &Value| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        message.starts_with("nothing is heard of network interfaces")
    };
    server.wait("that it cannot be read", trouble);
    assert_eq!(aaaa(&server, "db"), [ipv6(1)]);
    assert!(server.shown_status(&dir).contains("NETWORK INTERFACES NOT KNOWN ANEW"));
    assert_eq!(server.status()["sources"][0]["health"], "healthy", "addresses are another matter");
    assert!(http_body(&server.http(), "/readyz").contains("ready"));

    // A restart knows them, although nobody can say them.
    dir.wait_for_state("eni-1");
    assert!(server.stop().success());
    std::fs::remove_file(dir.path().join("eni.json")).unwrap();
    let server = Server::start(dir.path());
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.0.1"]);
    assert_eq!(aaaa(&server, "db"), [ipv6(1)]);
}

#[test]
fn ipv6_addresses_have_their_names_in_reverse() {
    let dir = dir();
    dir.edit("[[view]]", "[[reverse]]\nnetworks = [\"2600:1f18::/32\"]\n[[view]]");
    dir.write("addresses.json", &addresses(&[address(1, 1, "web")]));
    dir.write("eni.json", &interfaces(&[(1, false, &[1])]));
    let server = Server::start(dir.path());
    let owner = format!("{}.ip6.arpa.", {
        let digits: Vec<_> = ipv6(1).octets().iter().flat_map(|o| [o >> 4, o & 15]).collect();
        let digits: Vec<_> = digits.iter().rev().map(|digit| format!("{digit:x}")).collect();
        digits.join(".")
    });
    let mut names = server.data(&owner, RecordType::PTR);
    names.sort_unstable();
    assert_eq!(names, ["db.example.com.", "web.example.com."]);
}
