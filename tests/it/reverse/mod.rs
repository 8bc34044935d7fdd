//! PTR records for the addresses of our names: as an operator sees them, with a move, in a zone
//! of the user's and laid over a space that others answer.
//!
//! * `front`: resolvers in front. `stubs`: getnameinfo of glibc and musl.

mod front;
mod stubs;

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};

use crate::fixtures::waiting::eventually;
use crate::harness::{DB, Dir, ELASTIC, PRIVATE, Server, eipdns, query, remarks, udp};
use crate::peers;

/// All that the view answers in the private networks; caches keep none of it.
const REVERSE: &str = "\n[[reverse]]\nnetworks = [\"10.0.0.0/8\", \"fd00::/8\"]\nttl = 0\n";

/// The name of an address.
fn owner(ip: &str) -> String {
    Name::from(ip.parse::<IpAddr>().unwrap()).to_string()
}

/// The names that PTR records of an address say.
fn ptr(server: &Server, ip: &str) -> Vec<String> {
    let mut all = server.data(&owner(ip), RecordType::PTR);
    all.sort_unstable();
    all
}

fn code(server: &Server, name: &str, rtype: RecordType) -> ResponseCode {
    server.ask(name, rtype).metadata.response_code
}

#[test]
fn an_overlay_is_one_name_and_the_rest_of_the_space_is_not_ours() {
    let dir = Dir::with_db(REVERSE);
    dir.write(
        "example.com.toml",
        "[names]\ndb = \"75.101.137.243\"\nweb = { address = [\"10.0.1.5\", \"fd00::7\"] }\n\
         \"*.any\" = { address = \"10.0.9.9\" }\nmute = { address = \"10.0.1.5\", ptr = false }\n",
    );
    let mut server = Server::start(dir.path());
    assert_eq!(ptr(&server, PRIVATE), ["db.example.com.", "web.example.com."]);
    assert_eq!(ptr(&server, "fd00::7"), ["web.example.com."]);
    let own = owner(PRIVATE);
    let answer = server.ask(&own, RecordType::PTR);
    assert!(answer.metadata.authoritative && answer.answers.iter().all(|one| one.ttl == 0));
    assert_eq!(server.data(&own, RecordType::NS), ["localhost."]);
    assert_eq!(code(&server, &own, RecordType::TXT), ResponseCode::NoError);
    assert_eq!(code(&server, &format!("x.{own}"), RecordType::PTR), ResponseCode::NXDomain);
    // Wildcards have none, nor has what lies beside and above.
    for other in [&owner("10.0.9.9"), &owner("10.0.1.6"), "1.0.10.in-addr.arpa."] {
        assert_eq!(code(&server, other, RecordType::PTR), ResponseCode::Refused, "{other}");
    }
    // And as dig and host see it.
    let (Some(dig), Some(host)) = (peers::need("dig"), peers::need("host")) else { return };
    let port = server.dns.port().to_string();
    let said = |program, args: &[&str]| {
        let out = Command::new(program).args(args).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let mut all: Vec<_> = said(&dig, &["+short", "-p", &port, "@127.0.0.1", "-x", PRIVATE])
        .lines()
        .map(str::to_owned)
        .collect();
    all.sort_unstable();
    assert_eq!(all, ["db.example.com.", "web.example.com."]);
    let shown = said(&host, &["-p", &port, PRIVATE, "127.0.0.1"]);
    assert!(shown.contains("5.1.0.10.in-addr.arpa domain name pointer db.example.com."), "{shown}");

    server.moves(&dir, "10.0.2.7");
    assert_eq!(ptr(&server, "10.0.2.7"), ["db.example.com."]);
    assert_eq!(ptr(&server, PRIVATE), ["web.example.com."]);
    server.stop();
}

/// An address file in which the tag of `db` is at an address of its own, at 10.0.7.n.
fn tagged(n: u8) -> String {
    let entry = json!({
        "PublicIp": format!("75.101.9.{n}"),
        "AllocationId": format!("eipalloc-{n:08}"),
        "AssociationId": format!("eipassoc-{n:08}"),
        "PrivateIpAddress": format!("10.0.7.{n}"),
        "Tags": [{ "Key": "dns-name", "Value": "db" }],
    });
    json!({ "Addresses": [entry] }).to_string()
}

/// While a name moves ten times a second and more: whoever asks for an address and then for its
/// names is never told that they do not belong together.
#[test]
fn an_address_and_its_name_move_in_one_step() {
    for kind in ["overlay", "zone", "tag"] {
        let dir = Dir::with_db(REVERSE);
        if kind == "tag" {
            dir.write("example.com.toml", "[discover]\ntag = \"dns-name\"\n");
            dir.replace("addresses.json", &tagged(200));
        }
        if kind == "zone" {
            dir.write("10.in-addr.arpa.toml", "records = \"r\"\n");
            dir.write("r", "@ TXT \"ours\"\n");
        }
        let mut server = Server::start(dir.path());
        let (to, done) = (server.dns, Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&done);
        let reader = std::thread::spawn(move || {
            let ask = |name: &str, rtype| {
                let reply = udp(to, &query(name, rtype).to_vec().unwrap());
                let message = Message::from_vec(&reply).unwrap();
                message.answers.iter().map(|one| one.data.to_string()).collect::<Vec<_>>()
            };
            let (mut pairs, mut between) = (0, 0);
            while !ended.load(Ordering::Relaxed) {
                let before = ask("db.example.com.", RecordType::A);
                let [address] = &before[..] else { panic!("{before:?}") };
                let names = ask(&owner(address), RecordType::PTR);
                if names == ["db.example.com."] {
                    pairs += 1;
                    continue;
                }
                // It moved between the two questions: no address is used twice.
                assert_eq!(names, [""; 0]);
                assert_ne!(ask("db.example.com.", RecordType::A), before);
                between += 1;
            }
            (pairs, between)
        });
        for n in 0..60u8 {
            if kind == "tag" {
                dir.replace("addresses.json", &tagged(n));
                server.wait_for_move("new", &format!("10.0.7.{n}"));
            } else {
                server.moves(&dir, &format!("10.0.7.{n}"));
            }
        }
        done.store(true, Ordering::Relaxed);
        let (pairs, between) = reader.join().unwrap();
        assert!(pairs > 60, "{kind}: {pairs} pairs, {between} with a move between them");
        println!("{kind}: {pairs} pairs of A and PTR, {between} with a move between them");
    }
}

#[test]
fn in_a_zone_of_the_user_they_stand_beside_its_records() {
    let dir = Dir::with_db(REVERSE);
    dir.http();
    dir.write(
        "example.com.toml",
        "[names]\ndb = \"75.101.137.243\"\na = { address = \"10.0.0.1\" }\n\
         b = { address = \"10.0.0.2\" }\nc = { address = \"10.5.0.3\" }\n",
    );
    dir.write("10.in-addr.arpa.toml", "records = \"r\"\n");
    dir.write(
        "r",
        "@ 60 SOA ns1.example.com. hostmaster.example.com. 7 60 50 40 30\n@ NS ns1.example.com.\n\
         1.0.0 PTR printed.example.org.\n2.0.0 TXT \"rack 7\"\n9.9.9 PTR other.example.org.\n\
         5 NS ns.elsewhere.test.\n",
    );
    let mut server = Server::start(dir.path());
    assert_eq!(ptr(&server, "10.0.0.1"), ["printed.example.org."], "records win");
    assert_eq!(ptr(&server, "10.0.0.2"), ["b.example.com."]);
    assert_eq!(server.data(&owner("10.0.0.2"), RecordType::TXT), ["rack 7"]);
    assert_eq!(ptr(&server, "10.9.9.9"), ["other.example.org."]);
    assert_eq!(ptr(&server, "10.5.0.3"), [""; 0], "below a delegation");
    assert_eq!(ptr(&server, PRIVATE), ["db.example.com."]);
    assert_eq!(code(&server, &owner("10.0.0.9"), RecordType::PTR), ResponseCode::NXDomain);
    let soa = |server: &Server| server.data("10.in-addr.arpa.", RecordType::SOA);
    let before = soa(&server);
    assert!(!before[0].contains(" 7 60 "), "serials are given here: {before:?}");
    server.moves(&dir, "10.0.2.7");
    assert_eq!(
        (ptr(&server, "10.0.2.7"), ptr(&server, PRIVATE)),
        (vec!["db.example.com.".to_owned()], vec![])
    );
    assert_ne!(soa(&server), before);
    let said = |args: &[&str]| String::from_utf8(server.command(&dir, args).stdout).unwrap();
    let dump = said(&["dump", "10.in-addr.arpa"]);
    for line in [
        "7.2.0.10.in-addr.arpa. 0 IN PTR db.example.com.",
        "1.0.0.10.in-addr.arpa. 60 IN PTR printed.example.org.",
    ] {
        assert!(dump.contains(line), "{line} is not in\n{dump}");
    }
    let shown = said(&["explain", &owner("10.0.2.7"), "PTR"]);
    for part in [
        "db.example.com. = 75.101.137.243",
        "10.0.2.7 is the address of db.example.com.",
        "eipalloc-",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let all = server.lines();
    let told = all.iter().filter(|line| line["fields"]["message"] == "moved");
    assert_eq!(told.count(), 1, "a name's move is told, and not its PTR records' as well");
}

#[test]
fn more_names_than_have_room_are_told_once_and_everywhere() {
    let names = |count: usize| {
        let name = |n| format!("h{n:02} = {{ address = \"10.0.0.1\" }}\n");
        format!("[names]\n{}", (0..count).map(name).collect::<String>())
    };
    let dir = Dir::with_db(REVERSE);
    dir.http();
    dir.write("example.com.toml", &names(18));
    let mut server = Server::start(dir.path());
    assert_eq!(ptr(&server, "10.0.0.1").len(), 16);
    let is_it = |line: &&Value| {
        let message = line["fields"]["message"].as_str().unwrap_or_default();
        message.starts_with("an address has more names than PTR records")
    };
    let told = |server: &Server| server.lines().iter().filter(is_it).cloned().collect::<Vec<_>>();
    let [line] = &told(&server)[..] else { panic!("{:?}", told(&server)) };
    let fields = &line["fields"];
    assert_eq!((&fields["address"], &fields["names"]), (&json!("10.0.0.1"), &json!(18)));
    assert_eq!(fields["left_out"], "h16.example.com.,h17.example.com.");
    assert_eq!(server.metric("eipdns_pointers{view=\"vpc\"}"), 1.0);
    assert_eq!(server.metric("eipdns_pointers_crowded{view=\"vpc\"}"), 1.0);
    let crowded = &server.status()["views"][0]["crowded"];
    assert_eq!(crowded[0]["address"], "10.0.0.1");
    let shown = server.shown_status(&dir);
    assert!(shown.contains("10.0.0.1 has 18 names, NOT ALL WITH PTR: none for h16"), "{shown}");
    let check = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    let warned = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    assert!(warned.contains("18 names have 10.0.0.1 in view \"vpc\""), "{warned}");

    // Another one is no news; with fewer it is over.
    dir.write("example.com.toml", &names(19));
    server.reload();
    assert_eq!(told(&server).len(), 1);
    dir.write("example.com.toml", &names(16));
    server.reload();
    eventually("no address is crowded", || {
        server.metric("eipdns_pointers_crowded{view=\"vpc\"}") == 0.0
    });
    dir.write("example.com.toml", &names(17));
    server.reload();
    eventually("it is told again", || told(&server).len() == 2);
}

/// An answer of last known good says so, as that of the name does; before any source has said
/// something, a zone of ours denies nothing.
#[test]
fn they_are_as_old_as_their_names() {
    let dir = Dir::with_db(REVERSE);
    dir.write("example.com.toml", DB);
    dir.write("10.in-addr.arpa.toml", "records = \"r\"\n");
    dir.write("r", "@ TXT \"ours\"\n");
    let broken = "not JSON";
    dir.write("addresses.json", broken);
    let mut server = Server::start(dir.path());
    let first = server.ask(&owner(PRIVATE), RecordType::PTR);
    assert_eq!(first.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(remarks(&first)[0].0, 14, "{:?}", remarks(&first));
    dir.addresses(&[(ELASTIC, Some(PRIVATE))]);
    server.wait_for_start("first answers");
    assert_eq!(ptr(&server, PRIVATE), ["db.example.com."]);
    dir.replace("addresses.json", broken);
    server.wait_for_stall();
    eventually("the answer is marked", || {
        let codes = |name: &str, rtype| {
            remarks(&server.ask(name, rtype)).iter().map(|(code, _)| *code).collect::<Vec<_>>()
        };
        let a = codes("db.example.com.", RecordType::A);
        a == [3] && codes(&owner(PRIVATE), RecordType::PTR) == a
    });
    let missing = server.ask(&owner("10.0.0.9"), RecordType::PTR);
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(remarks(&missing)[0].0, 3);
}
