//! Addresses without a public one against EC2: carrier addresses (Wavelength) and
//! customer-owned ones (Outposts), by their allocations. moto has none.

use std::fs;
use std::net::Ipv4Addr;

use hickory_proto::rr::RecordType;

use super::scripted::{Address, Ec2, Fault, public};
use super::{STALE, answer, asked, configure, refresh, settled, source, start};

const CARRIER: &str = "155.146.10.111";
const OWNED: &str = "192.0.2.7";

/// As EC2 shows one in a Wavelength zone.
fn carrier(private: &str, association: &str) -> Address {
    Address::new(CARRIER)
        .without("publicIp")
        .with("carrierIp", CARRIER)
        .with("networkBorderGroup", "us-east-1-wl1-bos-wlz-1")
        .at(private, association)
        .tag("dns-name", "far")
}

/// As EC2 shows one on an Outpost.
fn owned(private: &str) -> Address {
    Address::new(OWNED)
        .without("publicIp")
        .without("publicIpv4Pool")
        .with("customerOwnedIp", OWNED)
        .with("customerOwnedIpv4Pool", "ipv4pool-coip-1")
        .at(private, "eipassoc-0d")
}

/// The id of such an address.
fn allocation(ip: &str) -> String {
    format!("eipalloc-{:017x}", u32::from(ip.parse::<Ipv4Addr>().unwrap()))
}

fn elastic() -> Address {
    Address::new(&public(1)).at("10.0.0.1", "eipassoc-1")
}

#[test]
fn they_move_are_held_and_survive_a_restart() {
    let ec2 = Ec2::start(vec![elastic(), carrier("10.0.0.7", "eipassoc-7"), owned("10.0.0.8")]);
    let (edge, coip) = (allocation(CARRIER), allocation(OWNED));
    let names = format!(
        "n1 = \"{}\"\nedge = \"{edge}\"\nowned = \"{coip}\"\n\
         alias = {{ allocation_id = \"{edge}\", answer = \"cname\" }}\n\
         public = {{ allocation_id = \"{edge}\", answer = \"public\" }}",
        public(1)
    );
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", &names);
    let zone = format!("[discover]\ntag = \"dns-name\"\n[names]\n{names}\n");
    dir.write("example.com.toml", &zone);
    let mut server = settled(&dir);
    for (name, private) in
        [("n1", "10.0.0.1"), ("edge", "10.0.0.7"), ("far", "10.0.0.7"), ("owned", "10.0.0.8")]
    {
        let name = format!("{name}.example.com.");
        assert_eq!(asked(server.dns, &name), (answer(private), vec![]), "{name}");
    }
    for name in ["alias.example.com.", "public.example.com."] {
        assert_eq!(asked(server.dns, name), ("NoError".to_owned(), vec![0]), "{name}");
        let why = format!("eipdns: {edge} has no public address");
        assert_eq!(server.data(name, RecordType::TXT), [why]);
    }
    let source = &server.status()["sources"][0];
    let counts = [&source["addresses"], &source["without_public_ip"], &source["left_out"]];
    assert_eq!(counts, [3, 2, 0], "{source}");

    // A move, and an answer that is equal.
    let unchanged = || server.status()["sources"][0]["unchanged"].as_u64().unwrap();
    let before = unchanged();
    ec2.set(vec![owned("10.0.0.8"), carrier("10.0.0.9", "eipassoc-9"), elastic()]);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(unchanged(), before);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(unchanged(), before + 1);
    let line = server.wait_for_move("new", "10.0.0.9");
    assert_eq!(line["fields"]["elastic_ip"], edge);
    assert_eq!(line["fields"]["edge_ip"], format!("carrier address {CARRIER}"));
    assert_eq!(asked(server.dns, "far.example.com."), (answer("10.0.0.9"), vec![]));
    // What was superseded is a stale read.
    ec2.set(vec![owned("10.0.0.8"), carrier("10.0.0.7", "eipassoc-7"), elastic()]);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, "edge.example.com.").0, answer("10.0.0.9"));

    // A loss.
    ec2.set(vec![elastic(), owned("10.0.0.8")]);
    assert!(refresh(&server, false).is_empty());
    for name in ["edge.example.com.", "far.example.com."] {
        assert_eq!(asked(server.dns, name), (answer("10.0.0.9"), vec![STALE]), "{name}");
    }
    let held = &server.status()["sources"][0]["held"][0];
    assert_eq!((&held["elastic_ip"], &held["standing"]), (&edge.clone().into(), &"missing".into()));

    // It is in the state, and in that of older ones it is not.
    assert!(server.stop().success());
    let state = |name: &str| fs::read_to_string(dir.path().join(".state").join(name)).unwrap();
    assert!(state("state-2.json").contains(&edge));
    let first = state("state.json");
    assert!(first.contains(&public(1)) && !first.contains(&edge) && !first.contains(&coip));
    ec2.fault(Fault::Refused);
    let server = start(&dir);
    for (name, private) in [("edge", "10.0.0.9"), ("owned", "10.0.0.8"), ("n1", "10.0.0.1")] {
        let name = format!("{name}.example.com.");
        assert_eq!(asked(server.dns, &name).0, answer(private), "{name}");
    }
}
