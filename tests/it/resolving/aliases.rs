//! Never a bare CNAME to a stub, whatever made the CNAME.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::Client;
use crate::fixtures::records::knows;
use crate::fixtures::upstream::{Answer, Asked, Upstream};
use crate::harness::{Dir, EC2_NAME, ELASTIC, Server, remarks, view};

const ZONE: &str = r#"
records = "records.zone"
views = ["vpc", "closed"]

[names]
web = { elastic_ip = "75.101.137.243", answer = "cname" }
db = "75.101.137.243"
"#;

const RECORDS: &str = "$TTL 5\n\
    static CNAME www.test.\n\
    chain CNAME static\n\
    tree DNAME test.\n\
    *.wild CNAME www.test.\n\
    none CNAME none.test.\n\
    back CNAME back.test.\n\
    pong CNAME ping.test.\n\
    deaf CNAME deaf.test.\n";

fn world(answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> (Upstream, Dir, Server) {
    let upstream = Upstream::start(answers);
    let dir = Dir::forwarding(
        &[upstream.at],
        &("ec2_names = false\n".to_owned() + &view("closed", "127.9.0.0/16", "private")),
    );
    dir.write("example.com.toml", ZONE);
    dir.write("records.zone", RECORDS);
    let server = Server::start(dir.path());
    (upstream, dir, server)
}

fn resolver(asked: &Asked) -> Answer {
    knows(&[
        "www.test. 60 A 192.0.2.80",
        "back.test. 60 CNAME db.example.com.",
        "ping.test. 60 CNAME pong.example.com.",
        &format!("{EC2_NAME} 60 A {ELASTIC}"),
    ])(asked)
}

#[test]
fn the_address_comes_with_the_alias() {
    let (_upstream, _dir, server) = world(resolver);
    let client = Client::of(server.dns);
    let www = "www.test. 60 A 192.0.2.80";
    let denial = "authority test. 30 SOA ns.test. host.test. SERIAL 60 60 60 30";
    for (label, rtype, rcode, rest) in [
        (
            "web",
            RecordType::A,
            "NoError",
            format!("{EC2_NAME} 60 A {ELASTIC}\nweb.example.com. 5 CNAME {EC2_NAME}"),
        ),
        (
            "static",
            RecordType::A,
            "NoError",
            format!("static.example.com. 5 CNAME www.test.\n{www}"),
        ),
        (
            "chain",
            RecordType::A,
            "NoError",
            format!(
                "chain.example.com. 5 CNAME static.example.com.\n\
                 static.example.com. 5 CNAME www.test.\n{www}"
            ),
        ),
        (
            "x.wild",
            RecordType::A,
            "NoError",
            format!("{www}\nx.wild.example.com. 5 CNAME www.test."),
        ),
        (
            "static",
            RecordType::AAAA,
            "NoError",
            format!("static.example.com. 5 CNAME www.test.\n{denial}"),
        ),
        (
            "none",
            RecordType::A,
            "NXDomain",
            format!("none.example.com. 5 CNAME none.test.\n{denial}"),
        ),
        (
            "back",
            RecordType::A,
            "NoError",
            "back.example.com. 5 CNAME back.test.\nback.test. 60 CNAME db.example.com.\n\
             db.example.com. 5 A 10.0.1.5"
                .to_owned(),
        ),
        (
            "static",
            RecordType::CNAME,
            "NoError",
            "static.example.com. 5 CNAME www.test.".to_owned(),
        ),
    ] {
        let name = format!("{label}.example.com.");
        let told = client.told(&name, rtype);
        let told = (50..60).fold(told, |told, ttl| told.replace(&format!(" {ttl} "), " 60 "));
        assert_eq!(
            told,
            format!("{rcode} aa rd ra\n? {name} IN {rtype}\n{rest}\nedns 0 1232"),
            "{label}"
        );
    }
    let through = client.ask("www.tree.example.com.", RecordType::A);
    assert_eq!(through.answers.last().unwrap().data.to_string(), "192.0.2.80");
    assert_eq!(through.answers.len(), 3, "DNAME, CNAME and address: {through}");
}

/// Without RD, or where nothing is forwarded, the alias is the answer.
#[test]
fn who_wants_no_recursion_gets_the_alias_alone() {
    let (upstream, _dir, server) = world(resolver);
    let client = Client::of(server.dns);
    let bare = "static.example.com. 5 CNAME www.test.\nedns 0 1232";
    let question = "? static.example.com. IN A";
    let told = client.told_with("static.example.com.", RecordType::A, |m| {
        m.metadata.recursion_desired = false;
    });
    assert_eq!(told, format!("NoError aa ra\n{question}\n{bare}"));
    let told = client.from("127.9.0.1").told("static.example.com.", RecordType::A);
    assert_eq!(told, format!("NoError aa rd\n{question}\n{bare}"));
    assert_eq!(upstream.names(), [""; 0]);
}

/// Two zones that send the asker back and forth.
#[test]
fn a_loop_of_aliases_ends() {
    let (upstream, _dir, server) = world(resolver);
    let told = Client::of(server.dns).ask("pong.example.com.", RecordType::A);
    let addresses = told.answers.iter().filter(|r| r.record_type() == RecordType::A);
    assert_eq!(addresses.count(), 0);
    assert_ne!(told.metadata.response_code, ResponseCode::NXDomain, "the name is there");
    assert_eq!(upstream.count("ping.test."), 1, "asked once, whatever came of it");
}

/// SERVFAIL is what makes a stub go on to its next server; NXDOMAIN or an
/// alias alone would be believed.
#[test]
fn a_failing_upstream_makes_no_name_vanish() {
    let (upstream, _dir, server) = world(|asked| match asked.label().as_str() {
        "deaf" => asked.error(ResponseCode::Refused).into(),
        _ => asked.error(ResponseCode::ServFail).into(),
    });
    let client = Client::of(server.dns);
    for name in ["web", "static", "chain", "x.wild", "www.tree", "deaf"] {
        let name = format!("{name}.example.com.");
        let told = client.ask(&name, RecordType::A);
        assert_eq!(told.metadata.response_code, ResponseCode::ServFail, "{name}");
        assert_eq!(told.answers.len(), 0, "{name}");
        let why = remarks(&told);
        assert!(why.iter().any(|(_, text)| !text.is_empty()), "{name}: {why:?}");
    }
    assert_eq!(client.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
    assert_eq!(upstream.count("www.test."), 1, "a failure is remembered for a moment");
}
