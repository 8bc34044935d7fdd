//! Addresses without a public one (Wavelength's carrier addresses, customer-owned ones of
//! Outposts), out of an address file: answered by their private address, and every surface
//! says that they have no other.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::harness::{Dir, ELASTIC, Server, eipdns, http_body, remarks};

const CARRIER: &str = "eipalloc-0000000c";
const OWNED: &str = "eipalloc-0000000d";

/// An address file: an Elastic IP, and two without one; the carrier address is at `private`.
fn listing(private: &str) -> String {
    let tags = |name: &str| json!([{ "Key": "dns-name", "Value": name }, { "Key": "Role", "Value": "db" }]);
    let all = json!({ "Addresses": [
        { "PublicIp": ELASTIC, "PrivateIpAddress": "10.0.1.5", "Tags": tags("tagged") },
        { "AllocationId": CARRIER, "CarrierIp": "155.146.10.111", "AssociationId": private,
          "InstanceId": "i-edge", "PrivateIpAddress": private, "Tags": tags("tagged far") },
        { "AllocationId": OWNED, "CustomerOwnedIp": "192.0.2.7", "PrivateIpAddress": "10.0.0.8" },
    ] });
    all.to_string()
}

/// Names of every kind, in all modes.
fn zone() -> String {
    format!(
        "[discover]\ntag = \"dns-name\"\n[names]\n\
         edge = \"{CARRIER}\"\nowned = \"{OWNED}\"\n\
         alias = {{ allocation_id = \"{CARRIER}\", answer = \"cname\" }}\n\
         public = {{ allocation_id = \"{CARRIER}\", answer = \"public\" }}\n\
         set = {{ tag = {{ Role = \"db\" }} }}\n\
         set-public = {{ tag = {{ Role = \"db\" }}, answer = \"public\" }}\n"
    )
}

fn dir() -> Dir {
    let dir = Dir::new("");
    dir.http();
    dir.replace("addresses.json", &listing("10.0.0.7"));
    dir.write("example.com.toml", &zone());
    dir
}

fn a(server: &Server, name: &str) -> Vec<String> {
    let mut all = server.data(&format!("{name}.example.com."), RecordType::A);
    all.sort_unstable();
    all
}

/// What a command prints, of both kinds.
fn printed(server: &Server, dir: &Dir, args: &[&str]) -> String {
    let out = server.command(dir, args);
    String::from_utf8([out.stdout, out.stderr].concat()).unwrap()
}

#[test]
fn names_follow_the_private_address_and_have_no_other() {
    let dir = dir();
    let mut server = Server::start(dir.path());
    for (name, expected) in [
        ("edge", &["10.0.0.7"][..]),
        ("owned", &["10.0.0.8"]),
        ("far", &["10.0.0.7"]),
        // The public address is the lower one.
        ("tagged", &["10.0.1.5"]),
        ("set", &["10.0.0.7", "10.0.1.5"]),
        ("set-public", &[ELASTIC]),
    ] {
        assert_eq!(a(&server, name), expected, "{name}");
    }
    let why = format!("{CARRIER} has no public address");
    for name in ["alias.example.com.", "public.example.com."] {
        let message = server.ask(name, RecordType::A);
        assert_eq!(message.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(message.answers.is_empty(), "{message}");
        assert!(
            remarks(&message).iter().any(|(code, text)| (*code, text) == (0, &why)),
            "{message}"
        );
        assert_eq!(server.data(name, RecordType::TXT), [format!("eipdns: {why}")]);
    }
    // A move.
    dir.replace("addresses.json", &listing("10.0.0.9"));
    let line = server.wait("a move", |line| {
        let fields = &line["fields"];
        fields["message"] == "moved" && fields["name"] == "edge.example.com."
    });
    let fields = &line["fields"];
    assert_eq!((&fields["elastic_ip"], &fields["allocation"]), (&CARRIER.into(), &CARRIER.into()));
    assert_eq!(fields["edge_ip"], "carrier address 155.146.10.111");
    assert_eq!(a(&server, "edge"), ["10.0.0.9"]);
    let all: Vec<Value> = serde_json::from_str(&http_body(&server.http(), "/api/history")).unwrap();
    let moved =
        all.iter().find(|e| e["event"] == "moved" && e["name"] == "edge.example.com.").unwrap();
    let holder = &moved["addresses"][0];
    assert_eq!((&holder["elastic_ip"], &holder["allocation"]), (&CARRIER.into(), &CARRIER.into()));
    assert_eq!(holder["carrier_ip"], "155.146.10.111");
    assert_eq!(holder["new"]["private"], "10.0.0.9");
}

#[test]
fn every_surface_says_so() {
    let dir = dir();
    let server = Server::start(dir.path());
    let source = &server.status()["sources"][0];
    let counts = [&source["addresses"], &source["without_public_ip"], &source["left_out"]];
    assert_eq!(counts, [3, 2, 0], "{source}");
    let shown = server.shown_status(&dir);
    assert!(shown.contains("3 addresses (2 without a public address)"), "{shown}");
    assert!(shown.contains("view vpc: of 8 names 2 WITHOUT ADDRESS"), "{shown}");
    let explained = printed(&server, &dir, &["explain", "alias.example.com"]);
    for part in [
        "elastic ip   none: carrier address 155.146.10.111, no public address and no EC2 name",
        "  private    10.0.0.7",
        &format!("the name stands for no address ({CARRIER} has no public address)"),
    ] {
        assert!(explained.contains(part), "{part} is not in\n{explained}");
    }
    let dump = printed(&server, &dir, &["dump", "example.com"]);
    for part in [
        &format!(
            "far.example.com.: tag dns-name of {CARRIER} (carrier address 155.146.10.111, no public one)"
        ),
        "edge.example.com. 5 IN A 10.0.0.7",
        &format!("alias.example.com. 5 IN TXT \"eipdns: {CARRIER} has no public address\""),
    ] {
        assert!(dump.contains(part), "{part} is not in\n{dump}");
    }
    assert!(!dump.contains("A 155.146.10.111") && !dump.contains("A 192.0.2.7"), "{dump}");
    let waited = server.command(&dir, &["refresh", "--wait-for", "edge.example.com=10.0.0.7"]);
    assert_eq!(waited.status.code(), Some(0), "{waited:?}");
}

#[test]
fn check_warns_where_a_public_address_is_wanted() {
    let dir = dir();
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    let told = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    assert_eq!(out.status.code(), Some(0), "{told}");
    for name in ["alias", "public"] {
        let what =
            format!("{name}.example.com. has no address in vpc: {CARRIER} has no public address");
        assert_eq!(told.matches(&what).count(), 1, "{what} is not in\n{told}");
    }
    assert_eq!(told.matches("has no address").count(), 2, "{told}");
}
