//! Special-use names: answered here, asked of nobody.

use hickory_proto::rr::RecordType;

use super::Client;
use crate::fixtures::daemon;
use crate::fixtures::records::knows;
use crate::fixtures::upstream::Upstream;
use crate::harness::{Dir, Server};

const SOA: &str = "10800 SOA localhost. nobody.invalid. SERIAL 3600 1200 604800 10800";

#[test]
fn no_upstream_is_asked_for_special_names() {
    // One that says of all of them what ours does not.
    let upstream = Upstream::start(knows(&[
        "localhost. 300 A 192.0.2.66",
        "x.onion. 300 A 192.0.2.66",
        "_dns.resolver.arpa. 300 SVCB 1 dns.test.",
        "printer.local. 300 A 192.0.2.5",
        "ipv4only.arpa. 300 A 192.0.0.170",
        "to.test. 300 CNAME to.localhost.",
    ]));
    let dir = Dir::forwarding(&[upstream.at], "");
    dir.write("example.com.toml", "records = \"records.zone\"\n");
    dir.write("records.zone", "$TTL 5\nhome CNAME localhost.\nhidden CNAME x.onion.\n");
    let server = Server::start(dir.path());
    let client = Client::of(server.dns);
    for (name, rtype, rcode, rest) in [
        ("localhost.", RecordType::A, "NoError", "localhost. 10800 A 127.0.0.1".to_owned()),
        ("x.localhost.", RecordType::AAAA, "NoError", "x.localhost. 10800 AAAA ::1".to_owned()),
        ("localhost.", RecordType::TXT, "NoError", format!("authority localhost. {SOA}")),
        ("x.onion.", RecordType::A, "NXDomain", format!("authority onion. {SOA}")),
        ("invalid.", RecordType::A, "NXDomain", format!("authority invalid. {SOA}")),
        (
            "_dns.resolver.arpa.",
            RecordType::SVCB,
            "NoError",
            format!("authority resolver.arpa. {SOA}"),
        ),
        ("x.resolver.arpa.", RecordType::A, "NXDomain", format!("authority resolver.arpa. {SOA}")),
        ("printer.local.", RecordType::A, "NoError", "printer.local. 300 A 192.0.2.5".to_owned()),
        ("ipv4only.arpa.", RecordType::A, "NoError", "ipv4only.arpa. 300 A 192.0.0.170".to_owned()),
    ] {
        let told = client.told(name, rtype);
        assert_eq!(told, format!("{rcode} rd ra\n? {name} IN {rtype}\n{rest}\nedns 0 1232"));
    }
    let home = ["localhost.", "127.0.0.1"];
    assert_eq!(client.data("home.example.com.", RecordType::A), home);
    let hidden = client.told("hidden.example.com.", RecordType::A);
    assert!(hidden.starts_with("NXDomain") && hidden.contains(SOA), "{hidden}");
    assert_eq!(upstream.names(), ["printer.local. A", "ipv4only.arpa. A"]);
}

/// The same records as unbound has for them.
#[test]
fn special_names_are_as_unbound_has_them() {
    let Some(unbound) = daemon::unbound("") else { return };
    let upstream = Upstream::start(knows(&[]));
    let dir = Dir::forwarding(&[upstream.at], "");
    let server = Server::start(dir.path());
    for (name, rtype) in [
        ("localhost.", RecordType::A),
        ("localhost.", RecordType::AAAA),
        ("x.localhost.", RecordType::A),
        ("localhost.", RecordType::MX),
        ("x.onion.", RecordType::A),
        ("x.y.invalid.", RecordType::TXT),
    ] {
        let [theirs, ours] = [unbound.at, server.dns].map(|at| {
            let told = Client::of(at).ask(name, rtype);
            let records: Vec<_> = told.answers.iter().chain(&told.authorities).cloned().collect();
            (
                told.metadata.response_code,
                records.iter().map(ToString::to_string).collect::<Vec<_>>(),
            )
        });
        assert_eq!(ours, theirs, "{name} {rtype}");
    }
}
