//! AAAA records from the interfaces that Elastic IPs stand on, out of files: beside the A record
//! of the same interface, and never of another one.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, Server, eipdns, http_body, query, remarks, udp};

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
    eventually("the smallest", || aaaa(&server, "db") == [ipv6(3)]);
    assert_eq!(aaaa(&server, "web"), [ipv6(8)], "the primary one");
    assert_eq!((aaaa(&server, "plain"), why(&server, "plain")), (vec![], String::new()));

    // The one that is answered stays while it is there.
    dir.replace("eni.json", &interfaces(&[(1, false, &[3, 2]), (2, true, &[7, 1])]));
    let is_it = |line: &Value| {
        let fields = &line["fields"];
        let new = fields["new"].as_str().unwrap_or_default();
        fields["message"] == "other IPv6" && new.ends_with(&ipv6(7).to_string())
    };
    let line = server.wait("another IPv6", is_it);
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
    assert_eq!(events, ["ipv6", "ipv6", "moved", "ipv6"]);
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
    let both = || aaaa(&server, "db") == [ipv6(1)] && aaaa(&server, "web") == [ipv6(2)];
    eventually("both are known", both);
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
    eventually("the names of the address", || {
        let mut names = server.data(&reverse(ipv6(1).into()), RecordType::PTR);
        names.sort_unstable();
        names == ["db.example.com.", "web.example.com."]
    });
}

/// What `check` says, and how it ends.
fn checked(dir: &Dir) -> (Option<i32>, String) {
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    (out.status.code(), String::from_utf8([out.stdout, out.stderr].concat()).unwrap())
}

/// The address that is answered stays while the interface has it, whatever happens to the server
/// and to the rest of the file.
#[test]
fn what_is_answered_stays_over_restarts_reloads_and_entries_that_cannot_be_used() {
    let dir = dir();
    dir.write("addresses.json", &addresses(&[address(1, 1, ""), address(2, 2, "web")]));
    dir.write("eni.json", &interfaces(&[(1, false, &[9]), (2, false, &[2])]));
    let mut server = Server::start(dir.path());
    eventually("the only one", || aaaa(&server, "db") == [ipv6(9)]);
    dir.replace("eni.json", &interfaces(&[(1, false, &[9, 3]), (2, false, &[2])]));
    dir.write("others.json", &dir.read("addresses.json"));
    dir.edit("path = \"addresses.json\"", "path = \"others.json\"");
    server.reload();
    assert_eq!(aaaa(&server, "db"), [ipv6(9)], "another file of addresses");
    dir.wait_for_state("eni-1");
    assert!(server.stop().success());
    let server = Server::start(dir.path());
    assert_eq!(aaaa(&server, "db"), [ipv6(9)], "a restart");

    // One that contradicts itself, and one that has none that a host could have.
    let odd = json!({ "NetworkInterfaces": [
        { "NetworkInterfaceId": "eni-1", "Ipv6Addresses": [{ "Ipv6Address": ipv6(9) }] },
        { "NetworkInterfaceId": "eni-1", "Ipv6Addresses": [{ "Ipv6Address": ipv6(4) }] },
        { "NetworkInterfaceId": "eni-2", "Ipv6Addresses": [{ "Ipv6Address": "fe80::1" }] },
    ] });
    dir.replace("eni.json", &odd.to_string());
    let left_out = "eipdns_source_interfaces_left_out{source=\"sample\"}";
    eventually("both are left out", || server.metric(left_out) == 2.0);
    assert_eq!(aaaa(&server, "db"), [ipv6(9)]);
    assert_eq!(aaaa(&server, "web"), [ipv6(2)]);
    let (code, text) = checked(&dir);
    assert!(code == Some(0) && text.contains("eni.json: warning"), "{text}");
}

/// What nobody wants is forgotten: it may be another's by the time somebody does.
#[test]
fn what_nobody_wants_any_longer_is_forgotten() {
    let dir = dir();
    dir.write("example.com.toml", "[names]\ndb = { elastic_ip = \"75.101.137.1\", ipv6 = true }\n");
    dir.write("addresses.json", &addresses(&[address(1, 1, "")]));
    dir.write("eni.json", &interfaces(&[(1, false, &[1])]));
    let mut server = Server::start(dir.path());
    eventually("it is known", || aaaa(&server, "db") == [ipv6(1)]);
    dir.write("example.com.toml", "[names]\ndb = \"75.101.137.1\"\n");
    server.reload();
    dir.write("eni.json", "nothing of use");
    dir.write("example.com.toml", "[names]\ndb = { elastic_ip = \"75.101.137.1\", ipv6 = true }\n");
    server.reload();
    assert_eq!(why(&server, "db"), "the IPv6 address of eni-1 is not known yet");
}

#[test]
fn without_the_file_nothing_is_answered_and_check_says_so() {
    let dir = dir();
    dir.write("addresses.json", &addresses(&[address(1, 1, "")]));
    dir.write("eni.json", &interfaces(&[(1, false, &[1])]));
    let mut server = Server::start(dir.path());
    eventually("it is known", || aaaa(&server, "db") == [ipv6(1)]);
    assert_eq!(checked(&dir).0, Some(0));
    dir.replace("eni.json", "{\"NetworkInterfaces\": [");
    let (code, text) = checked(&dir);
    assert!(code == Some(78) && text.contains("eni.json: error"), "{text}");
    let dump =
        eipdns(&["dump", "example.com", "--offline", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(dump.status.code(), Some(1), "a part of a zone is none");

    dir.edit("interfaces = \"eni.json\"", "");
    server.reload();
    assert_eq!(why(&server, "db"), "the IPv6 address of eni-1 is not known yet");
    let (code, text) = checked(&dir);
    assert!(code == Some(0) && text.contains("which has no `interfaces`"), "{text}");
}

/// An address that only a VPC routes is in no answer for everybody (RFC 4193).
#[test]
fn mode_public_has_no_unique_local_address() {
    let dir = dir();
    dir.edit("answer = \"private\"", "answer = \"public\"");
    dir.write("addresses.json", &addresses(&[address(1, 1, "web")]));
    let local = json!({ "NetworkInterfaces": [
        { "NetworkInterfaceId": "eni-1", "Ipv6Addresses": [{ "Ipv6Address": "fd00::1" }] },
    ] });
    dir.write("eni.json", &local.to_string());
    let server = Server::start(dir.path());
    let reason = "this view does not reach the IPv6 address of eni-1";
    eventually("it is known, and not answered", || why(&server, "db") == reason);
    dir.replace("eni.json", &interfaces(&[(1, false, &[1])]));
    eventually("a global one", || aaaa(&server, "db") == [ipv6(1)]);
}

/// Rounds of a tenth of a second: each with a move, a tag that changes and an interface that does.
const ROUNDS: u8 = 40;
const ROUND: Duration = Duration::from_millis(100);

/// Six answers, asked for one after the other.
struct Seen {
    a: [Vec<String>; 2],
    aaaa: [Vec<String>; 2],
    /// The names of the first address of each.
    names: [Vec<String>; 2],
}

impl Seen {
    fn of(server: &Server) -> Self {
        let ask = |rtype| server.data("db.example.com.", rtype);
        let names = |all: &Vec<String>| match all.first() {
            Some(ip) => server.data(&reverse(ip.parse().unwrap()), RecordType::PTR),
            None => Vec::new(),
        };
        let (a, aaaa) = (ask(RecordType::A), ask(RecordType::AAAA));
        let names = [names(&a), names(&aaaa)];
        let after = (ask(RecordType::AAAA), ask(RecordType::A));
        Self { a: [a, after.1], aaaa: [aaaa, after.0], names }
    }

    /// None: something has changed in between. No address comes back once it has gone.
    fn judge(&self) -> Option<Result<(), String>> {
        let ([a, a_after], [aaaa, aaaa_after]) = (&self.a, &self.aaaa);
        if a != a_after || aaaa != aaaa_after {
            return None;
        }
        let [IpAddr::V4(ip)] = parsed(a)[..] else { return Some(Err(format!("{a:?}"))) };
        let is_of_it = |ip6: &IpAddr| match ip6 {
            IpAddr::V6(ip6) => ip6.segments()[6] == u16::from(ip.octets()[2]),
            IpAddr::V4(_) => false,
        };
        let has_name = |names: &Vec<String>| names.iter().any(|name| name == "db.example.com.");
        let [of_a, of_aaaa] = &self.names;
        let is_well = parsed(aaaa).iter().all(is_of_it)
            && has_name(of_a)
            && (aaaa.is_empty() || has_name(of_aaaa));
        Some(is_well.then_some(()).ok_or_else(|| format!("{a:?} {aaaa:?} {:?}", self.names)))
    }
}

fn parsed(all: &[String]) -> Vec<IpAddr> {
    all.iter().map(|ip| ip.parse().unwrap()).collect()
}

/// The name of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let digits = ip.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            digits.map(|digit| format!("{digit:x}.")).collect::<String>() + "ip6.arpa."
        }
    }
}

/// The address of one interface after the other, each with IPv6 addresses of its own, which
/// change too: no reader sees a pair of two interfaces, nor an address without its name.
#[test]
fn a_aaaa_and_ptr_agree_whatever_changes() {
    let dir = dir();
    dir.edit("[[view]]", "[[reverse]]\nnetworks = [\"2600:1f18::/32\", \"10.0.0.0/8\"]\n[[view]]");
    let on = |round: u8, tag: &str| {
        let mut address = address(1, 1, tag);
        address["NetworkInterfaceId"] = format!("eni-{round}").into();
        address["AssociationId"] = format!("eipassoc-{round}").into();
        address["PrivateIpAddress"] = format!("10.0.{round}.1").into();
        addresses(&[address])
    };
    let said = |round: u8, version: u16| {
        let ip = Ipv6Addr::new(0x2600, 0x1f18, 0, 0, 0, 0, round.into(), version);
        json!({ "NetworkInterfaces": [{
            "NetworkInterfaceId": format!("eni-{round}"),
            "Ipv6Addresses": [{ "Ipv6Address": ip, "IsPrimaryIpv6": version == 2 }],
        }] })
        .to_string()
    };
    dir.write("addresses.json", &on(0, "web"));
    dir.write("eni.json", &said(0, 1));
    let server = Server::start(dir.path());
    let stop = AtomicBool::new(false);
    let judged: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let (server, stop) = (&server, &stop);
        let readers = [(); 2].map(|()| {
            scope.spawn(move || {
                let mut judged = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    judged.extend(Seen::of(server).judge());
                }
                judged
            })
        });
        let begun = Instant::now();
        for round in 1..=ROUNDS {
            let pause = |part: u32| {
                let due = begun + ROUND * u32::from(round) + ROUND / 4 * part;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            };
            // Sometimes the interface is known before the move, and sometimes after.
            let is_first = round % 2 == 0;
            if is_first {
                dir.replace("eni.json", &said(round, 1));
                pause(1);
            }
            dir.replace("addresses.json", &on(round, "web"));
            pause(2);
            dir.replace("eni.json", &said(round, 2));
            pause(3);
            dir.replace("addresses.json", &on(round, if is_first { "" } else { "web app" }));
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    });
    let wrong: Vec<_> = judged.iter().filter_map(|one| one.as_ref().err()).collect();
    println!("{ROUNDS} rounds, {} judged, {} wrong", judged.len(), wrong.len());
    assert!(judged.len() > usize::from(ROUNDS), "the load was no load");
    assert!(wrong.is_empty(), "{} wrong, such as {:?}", wrong.len(), wrong[0]);
    let last = Ipv6Addr::new(0x2600, 0x1f18, 0, 0, 0, 0, ROUNDS.into(), 2);
    eventually("the last word", || aaaa(&server, "db") == [last]);
}
