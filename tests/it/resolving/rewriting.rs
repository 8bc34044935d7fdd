//! Forwarded answers that hold an Elastic IP of ours, or lead to one.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::json;

use super::Client;
use crate::fixtures::records::{knows, record};
use crate::fixtures::upstream::{Answer, Asked, Upstream};
use crate::harness::{DB, Dir, EC2_NAME, ELASTIC, Server, describe, view};

/// One that rewrites; one that does not, and one that reaches nothing of ours.
fn views() -> String {
    let far = view("far", "127.11.0.0/16", "private") + "reaches = [\"10.99.0.0/16\"]\n";
    [
        "rewrite = true\n".to_owned(),
        view("as-it-came", "127.9.0.0/16", "private") + "forward = true\n",
        far + "forward = true\nrewrite = true\n",
    ]
    .concat()
}

const RECORDS: [&str; 12] = [
    "lb.test. 300 A 75.101.137.243",
    "short.test. 2 A 75.101.137.243",
    "mixed.test. 300 A 75.101.137.243",
    "mixed.test. 300 A 192.0.2.9",
    "twice.test. 300 A 75.101.137.243",
    "twice.test. 300 A 10.0.1.5",
    "twice.test. 300 A 75.101.137.244",
    "managed.test. 300 A 75.101.137.246",
    "idle.test. 300 A 75.101.137.245",
    "other.test. 300 A 192.0.2.9",
    "alias.test. 300 CNAME lb.test.",
    "lb.test. 300 TXT \"75.101.137.243\"",
];

/// One that another service of EC2 manages, beside ordinary ones.
fn addresses(dir: &Dir, private: &str) {
    let mut all: serde_json::Value = serde_json::from_str(&describe(&[
        (ELASTIC, Some(private)),
        ("75.101.137.244", Some("10.0.1.5")),
        ("75.101.137.245", None),
        ("75.101.137.246", Some("10.0.1.7")),
    ]))
    .unwrap();
    all["Addresses"][3]["ServiceManaged"] = json!("nlb");
    dir.replace("addresses.json", &all.to_string());
}

fn world(answers: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> (Upstream, Dir, Server) {
    let upstream = Upstream::start(answers);
    let dir = Dir::forwarding(&[upstream.at], &views());
    addresses(&dir, "10.0.1.5");
    dir.write("example.com.toml", DB);
    let server = Server::start(dir.path());
    (upstream, dir, server)
}

/// The same with AD, as from a resolver that validates.
fn validated(asked: &Asked) -> Answer {
    let Answer::Say(messages) = knows(&RECORDS)(asked) else { panic!("it always says something") };
    let mut message = Message::from_vec(&messages[0]).unwrap();
    message.metadata.authentic_data = true;
    message.into()
}

fn wants_ad(message: &mut Message) {
    message.metadata.authentic_data = true;
}

#[test]
fn an_elastic_ip_becomes_the_private_address() {
    let (_upstream, _dir, server) = world(validated);
    let client = Client::of(server.dns);
    for (name, flags, records) in [
        ("lb.test.", "", "lb.test. 5 A 10.0.1.5"),
        ("short.test.", "", "short.test. 2 A 10.0.1.5"),
        ("mixed.test.", "", "mixed.test. 5 A 10.0.1.5\nmixed.test. 5 A 192.0.2.9"),
        ("twice.test.", "", "twice.test. 5 A 10.0.1.5"),
        ("alias.test.", "", "alias.test. 300 CNAME lb.test.\nlb.test. 5 A 10.0.1.5"),
        // Nothing to change: as it came, validated.
        ("managed.test.", " ad", "managed.test. 300 A 75.101.137.246"),
        ("idle.test.", " ad", "idle.test. 300 A 75.101.137.245"),
        ("other.test.", " ad", "other.test. 300 A 192.0.2.9"),
    ] {
        for _ in ["new", "from the cache"] {
            let told = client.told_with(name, RecordType::A, wants_ad);
            // A second may have passed since it was cached.
            let told = told.replace(" 299 ", " 300 ");
            let expected = format!("NoError rd ra{flags}\n? {name} IN A\n{records}\nedns 0 1232");
            assert_eq!(told, expected);
        }
    }
    assert_eq!(client.data("lb.test.", RecordType::TXT), [ELASTIC], "a text is a text");
}

#[test]
fn other_views_get_it_as_it_came() {
    let (upstream, _dir, server) = world(validated);
    for from in ["127.9.0.1", "127.11.0.1", "127.0.0.1", "127.9.0.1"] {
        let client = Client::of(server.dns).from(from);
        let address = if from == "127.0.0.1" { "10.0.1.5" } else { ELASTIC };
        assert_eq!(client.data("lb.test.", RecordType::A), [address], "{from}");
    }
    assert_eq!(upstream.count("lb.test."), 1, "of one cached answer");
}

/// A signature over another address would be a forgery to whoever checks it.
#[test]
fn signed_addresses_stay_for_those_who_see_the_signature() {
    let (_upstream, _dir, server) = world(|asked| {
        let mut message = asked.with(&["lb.test. 300 A 75.101.137.243"]);
        if asked.message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok) {
            message.answers.push(signature("lb.test.", RecordType::A));
        }
        message.metadata.authentic_data = true;
        message.into()
    });
    let client = Client::of(server.dns);
    let (signed, _) = client.ask_with("lb.test.", RecordType::A, |message| {
        message.edns.as_mut().unwrap().set_dnssec_ok(true);
    });
    assert!(signed.metadata.authentic_data);
    assert_eq!(signed.answers.len(), 2, "{signed}");
    assert_eq!(signed.answers[0].data.to_string(), ELASTIC);
    let (plain, _) = client.ask_with("lb.test.", RecordType::A, wants_ad);
    assert!(!plain.metadata.authentic_data);
    assert_eq!(plain.answers[0].data.to_string(), "10.0.1.5");
}

/// Browsers connect to the hints of HTTPS records (RFC 9460 section 7.3).
#[test]
fn hints_are_rewritten_unless_signed() {
    let data = "1 . alpn=h2 ipv4hint=75.101.137.243,192.0.2.9";
    let upstream = Upstream::start(move |asked| {
        let (name, rtype) = (asked.name(), asked.rtype());
        let mut message = asked.with(&[&format!("{name} 300 {rtype} {data}")]);
        if asked.message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok) {
            message.answers.push(signature(&name, rtype));
        }
        message.into()
    });
    let dir = Dir::forwarding(&[upstream.at], &views());
    addresses(&dir, "10.0.1.5");
    dir.write("example.com.toml", "records = \"records.zone\"\n");
    dir.write("records.zone", "$TTL 5\nalias CNAME web.test.\n");
    let server = Server::start(dir.path());
    let client = Client::of(server.dns);
    let hints = |client: Client, name: &str, rtype, dnssec_ok: bool| -> (u32, String) {
        let (told, _) = client.ask_with(name, rtype, |message| {
            message.edns.as_mut().unwrap().set_dnssec_ok(dnssec_ok);
        });
        let record = told.answers.iter().find(|r| r.record_type() == rtype).expect("an answer");
        (record.ttl, record.data.to_string())
    };
    let private = |ttl, hints: String| {
        assert_eq!(ttl, 5);
        assert!(hints.contains("10.0.1.5,192.0.2.9"), "{hints}");
        assert!(!hints.contains(ELASTIC), "{hints}");
    };
    for rtype in [RecordType::HTTPS, RecordType::SVCB] {
        for name in ["web.test.", "alias.example.com."] {
            for _ in ["new", "from the cache"] {
                let (ttl, data) = hints(client, name, rtype, false);
                private(ttl, data);
            }
        }
        let (_, signed) = hints(client, "web.test.", rtype, true);
        assert!(signed.contains(ELASTIC), "{signed}");
        let (_, others) = hints(client.from("127.9.0.1"), "web.test.", rtype, false);
        assert!(others.contains(ELASTIC), "{others}");
    }
}

/// An RRSIG of no value (RFC 4034 section 3.1).
fn signature(owner: &str, covers: RecordType) -> Record {
    let covered = u16::from(covers).to_be_bytes();
    let data = [&covered[..], &[13, 2, 0, 0, 1, 44], &[0; 8], &[1, 2, 0], &[7; 64]].concat();
    let data = RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(data) };
    Record::from_rdata(Name::from_ascii(owner).unwrap(), 300, data)
}

/// What others say of our names beside an alias is not what we say.
#[test]
fn a_foreign_alias_leads_to_what_is_current() {
    let (upstream, dir, mut server) = world(|asked| match asked.label().as_str() {
        "zone" => asked
            .with(&["zone.test. 300 CNAME db.example.com.", "db.example.com. 300 A 192.0.2.66"])
            .into(),
        "far" => asked
            .with(&[
                "far.test. 300 CNAME near.test.",
                &format!("near.test. 300 CNAME {EC2_NAME}"),
                &format!("{EC2_NAME} 300 A {ELASTIC}"),
            ])
            .into(),
        "gone" => {
            // What others say of that zone, with an SOA of theirs.
            let mut message = asked.with(&["gone.test. 300 CNAME none.example.com."]);
            message.metadata.response_code = ResponseCode::NXDomain;
            message
                .authorities
                .push(record("example.com. 300 SOA ns.test. host.test. 7 60 60 60 300"));
            message.into()
        }
        other => panic!("{other} is not ours to ask for"),
    });
    let near = format!("far.test. 300 CNAME near.test.\nnear.test. 300 CNAME {EC2_NAME}");
    let soa = "authority example.com. 5 SOA ns1.example.com. hostmaster.example.com. SERIAL 30 5 \
               1209600 5";
    for private in ["10.0.1.5", "10.0.2.7"] {
        if private != "10.0.1.5" {
            addresses(&dir, private);
            server.wait_for_move("new", private);
        }
        for from in ["127.0.0.1", "127.9.0.1"] {
            let client = Client::of(server.dns).from(from);
            for (name, rtype, rcode, rest) in [
                (
                    "zone.test.",
                    RecordType::A,
                    "NoError",
                    format!("db.example.com. 5 A {private}\nzone.test. 300 CNAME db.example.com."),
                ),
                (
                    "far.test.",
                    RecordType::A,
                    "NoError",
                    format!("{EC2_NAME} 5 A {private}\n{near}"),
                ),
                (
                    "gone.test.",
                    RecordType::A,
                    "NXDomain",
                    format!("gone.test. 300 CNAME none.example.com.\n{soa}"),
                ),
            ] {
                let told = client.told(name, rtype);
                // Seconds pass in the cache.
                let told = recounted(&told);
                assert_eq!(
                    told,
                    format!("{rcode} rd ra\n? {name} IN {rtype}\n{rest}\nedns 0 1232"),
                    "{from}"
                );
            }
        }
    }
    assert_eq!(upstream.names(), ["zone.test. A", "far.test. A", "gone.test. A"]);
}

/// Without its signature a signed alias would be bogus to whoever checks it.
#[test]
fn an_alias_that_leads_to_us_keeps_its_signature() {
    let (_upstream, _dir, server) = world(|asked| {
        let mut message = asked.with(&["zone.test. 300 CNAME db.example.com."]);
        message.answers.push(signature("zone.test.", RecordType::CNAME));
        message.answers.push(record("db.example.com. 300 A 192.0.2.66"));
        message.answers.push(signature("db.example.com.", RecordType::A));
        message.metadata.authentic_data = true;
        message.into()
    });
    let (told, _) = Client::of(server.dns).ask_with("zone.test.", RecordType::A, |message| {
        message.edns.as_mut().unwrap().set_dnssec_ok(true);
    });
    let seen: Vec<_> =
        told.answers.iter().map(|record| (record.name.to_ascii(), record.record_type())).collect();
    let of = |name: &str, rtype| (name.to_owned(), rtype);
    assert_eq!(
        seen,
        [
            of("zone.test.", RecordType::CNAME),
            of("zone.test.", RecordType::RRSIG),
            of("db.example.com.", RecordType::A)
        ]
    );
    assert_eq!(told.answers[2].data.to_string(), "10.0.1.5");
    assert!(!told.metadata.authentic_data, "ours is not signed");
}

/// TTLs between 270 and 300 as 300.
fn recounted(told: &str) -> String {
    (270..300).fold(told.to_owned(), |told, ttl| told.replace(&format!(" {ttl} "), " 300 "))
}

/// Once any of them shows the new address all do, whatever was cached.
#[test]
fn nothing_cached_before_a_move_comes_out_after_it() {
    let (upstream, dir, server) = world(knows(&[
        "lb.test. 86400 A 75.101.137.243",
        "zone.test. 86400 CNAME db.example.com.",
        "ec2.test. 86400 CNAME ec2-75-101-137-243.compute-1.amazonaws.com.",
    ]));
    let client = Client::of(server.dns);
    let names = ["db.example.com.", EC2_NAME, "lb.test.", "zone.test.", "ec2.test."];
    let last = |name: &str| client.data(name, RecordType::A).pop().unwrap();
    for (now, then) in
        [("10.0.1.5", "10.0.2.7"), ("10.0.2.7", "10.0.3.9"), ("10.0.3.9", "10.0.1.5")]
    {
        assert!(names.iter().all(|name| last(name) == now), "{now}");
        addresses(&dir, then);
        // Round and round, so that the swap falls between two of the names.
        let mut moved = false;
        for round in 0.. {
            for name in names {
                let address = last(name);
                assert!(address == now || address == then, "{name}: {address}");
                assert!(!moved || address == then, "{name} is late in round {round}");
                moved |= address == then;
            }
            if moved {
                break;
            }
        }
        assert!(names.iter().all(|name| last(name) == then), "{then}");
    }
    assert_eq!(upstream.count("lb.test."), 1, "from the cache all along");
    assert_eq!(client.ask("lb.test.", RecordType::A).answers[0].ttl, 5);
}
