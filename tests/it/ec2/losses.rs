//! What is lost in good answers: kept, told, released; never at the cost of a
//! move. And what only a scripted EC2 shows: odd addresses and stale reads.

use std::net::Ipv4Addr;

use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::scripted::{Address, Ec2, Fault, public};
use super::{STALE, answer, asked, command, configure, refresh, settled, source, start};
use crate::harness::{Dir, Server};

const NAMES: [&str; 4] =
    ["n1.example.com.", "n2.example.com.", "n3.example.com.", "n4.example.com."];

/// Polls by itself so seldom that only refreshes count.
fn four_names(ec2: &Ec2, guard: &str) -> (Dir, Server) {
    let names: Vec<_> = (1..=4).map(|n| format!("n{n} = \"{}\"", public(n))).collect();
    let dir = configure(&source("east", &ec2.url(), "1h", ""), guard, &names.join("\n"));
    let server = settled(&dir);
    (dir, server)
}

fn held(server: &Server) -> Vec<(String, String)> {
    let status = server.status();
    let held = status["sources"][0]["held"].as_array().unwrap().clone();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    held.iter().map(|h| (text(&h["elastic_ip"]), text(&h["standing"]))).collect()
}

#[test]
fn half_of_the_set_waits_for_an_operator_and_moves_do_not() {
    let ec2 = Ec2::with(4);
    let (dir, mut server) = four_names(&ec2, "");
    let all = ec2.addresses();
    // Three of four: more than half.
    ec2.set(all[..1].to_vec());
    ec2.associate(&public(1), "10.0.9.1");
    assert!(refresh(&server, false).is_empty());
    server.wait_for_move("new", "10.0.9.1");
    assert_eq!(asked(server.dns, NAMES[0]), (answer("10.0.9.1"), vec![]), "a move is not held");
    for (n, name) in NAMES.iter().enumerate().skip(1) {
        assert_eq!(asked(server.dns, name).0, answer(&format!("10.0.0.{}", n + 1)));
    }
    assert_eq!(held(&server).len(), 3);
    assert_eq!(server.status()["sources"][0]["mass_loss"], true);
    assert_eq!(server.metric("eipdns_source_held_addresses{source=\"east\"}"), 3.0);
    let shown = command(&server, dir.path(), &["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("MASS LOSS"), "{shown}");

    let accepted = command(&server, dir.path(), &["refresh", "--accept"]);
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    for name in &NAMES[1..] {
        let (after, ede) = asked(server.dns, name);
        assert_eq!((after.as_str(), ede), ("NoError", vec![0]), "NODATA that says why");
    }
    assert_eq!(held(&server), []);
    assert_eq!(server.status()["sources"][0]["mass_loss"], false);
    assert_eq!(server.data(NAMES[0], RecordType::A), ["10.0.9.1"]);

    // Gains pass at once.
    ec2.set(all);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(server.data(NAMES[3], RecordType::A), ["10.0.0.4"]);
}

#[test]
fn an_answer_with_half_of_the_addresses_changes_nothing() {
    let ec2 = Ec2::with(4);
    let (_dir, server) = four_names(&ec2, "");
    ec2.fault(Fault::HalfSet);
    assert!(refresh(&server, false).is_empty());
    let missing = |n| (public(n), "missing".to_owned());
    assert_eq!(held(&server), [missing(2), missing(4)]);
    for (n, name) in NAMES.iter().enumerate() {
        let ede = if n % 2 == 0 { vec![] } else { vec![STALE] };
        assert_eq!(asked(server.dns, name), (answer(&format!("10.0.0.{}", n + 1)), ede));
    }
    ec2.fault(Fault::None);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(held(&server), []);
}

/// Between disassociate and associate a name keeps its last address for the
/// hold, whose end needs no poll: a call is made for it.
#[test]
fn a_hold_bridges_a_gap_and_ends_by_itself() {
    let ec2 = Ec2::with(4);
    let guard = "[guard]\nhold = \"3s\"";
    let (_dir, mut server) = four_names(&ec2, guard);
    ec2.disassociate(&public(1));
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAMES[0]), (answer("10.0.0.1"), vec![STALE]), "held");
    assert_eq!(held(&server), [(public(1), "unassociated".to_owned())]);
    ec2.associate(&public(1), "10.0.9.1");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAMES[0]), (answer("10.0.9.1"), vec![]));
    server.wait_for_move("new", "10.0.9.1");

    ec2.disassociate(&public(1));
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAMES[0]).0, answer("10.0.9.1"));
    server.wait_for_move("old", "10.0.9.1");
    let (after, ede) = asked(server.dns, NAMES[0]);
    assert_eq!((after.as_str(), ede), ("NoError", vec![0]));
}

/// EC2 is eventually consistent: the association that was superseded may come
/// back for a moment.
#[test]
fn a_stale_read_does_not_move_a_name_back() {
    let ec2 = Ec2::with(4);
    let (_dir, server) = four_names(&ec2, "");
    let before = ec2.addresses();
    ec2.associate(&public(1), "10.0.9.1");
    assert!(refresh(&server, false).is_empty());
    let after = ec2.addresses();
    ec2.set(before);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAMES[0]), (answer("10.0.9.1"), vec![]));
    // A new association is a move, though it is to the same place as before.
    ec2.set(after);
    ec2.associate(&public(1), "10.0.0.1");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAMES[0]), (answer("10.0.0.1"), vec![]));
}

/// What moto cannot say: secondary private addresses, addresses that AWS
/// manages, fields that are absent or empty.
#[test]
fn addresses_of_every_kind() {
    let bare = |public: &str| {
        Address::new(public)
            .without("allocationId")
            .without("domain")
            .without("publicIpv4Pool")
            .without("networkBorderGroup")
    };
    let ec2 = Ec2::start(vec![
        Address::new(&public(1)).at("10.0.0.1", "eipassoc-1"),
        // The same interface's second address.
        Address::new(&public(2)).at("10.0.0.1", "eipassoc-2").with("privateIpAddress", "10.0.0.2"),
        Address::new(&public(3)).at("10.0.0.3", "eipassoc-3").with("serviceManaged", "alb"),
        bare(&public(4)).with("privateIpAddress", "10.0.0.4"),
        Address::new(&public(5))
            .with("instanceId", "")
            .with("networkInterfaceId", "")
            .with("privateIpAddress", "")
            .with("associationId", ""),
        bare(&public(6)),
        Address::new(&public(7))
            .at("10.0.0.7", "eipassoc-7")
            .tag("Role", "pool")
            .tag("a&amp;b", ""),
        Address::new(&public(8))
            .at("10.0.0.8", "eipassoc-8")
            .tag("Role", "pool")
            .with("carrierIp", "")
            .with("customerOwnedIp", "203.0.113.8")
            .with("customerOwnedIpv4Pool", "ipv4pool-coip-1")
            .with("subnetId", "subnet-1"),
    ]);
    let allocation = format!("eipalloc-{:017x}", u32::from(Ipv4Addr::new(75, 101, 137, 1)));
    let mut names: Vec<_> = (1..=6).map(|n| format!("n{n} = \"{}\"", public(n))).collect();
    names.push("pool = { tag = { Role = \"pool\" } }".into());
    names.push("odd = { tag = { \"a&b\" = \"\" } }".into());
    names.push(format!("by-id = \"{allocation}\""));
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", &names.join("\n"));
    let mut server = start(&dir);
    server.wait_for("source delivers");
    refresh(&server, false);
    for (name, expected) in [
        ("n1", &["10.0.0.1"][..]),
        ("n2", &["10.0.0.2"]),
        ("n3", &["10.0.0.3"]),
        ("n4", &["10.0.0.4"]),
        ("n5", &[]),
        ("n6", &[]),
        ("pool", &["10.0.0.7", "10.0.0.8"]),
        ("odd", &["10.0.0.7"]),
        ("by-id", &["10.0.0.1"]),
    ] {
        let mut data = server.data(&format!("{name}.example.com."), RecordType::A);
        data.sort_unstable();
        assert_eq!(data, expected, "{name}");
    }
}
