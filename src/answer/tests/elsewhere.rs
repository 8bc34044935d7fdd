//! Names that are not ours, and ways between ours and others.

use std::net::Ipv4Addr;
use std::sync::OnceLock;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::rdata::{A, CNAME, SOA};
use hickory_proto::rr::{Name, RData};

use super::super::*;
use crate::config::Config;
use crate::testing;

/// "vpc": private, forwards and rewrites. "alias": cname, forwards. "home":
/// cname, forwards but knows no EC2 names. "outside": cname, forwards nothing.
fn server() -> String {
    let trusted = "[\"127.0.0.1:0\"]\ntrust_ecs_from = [\"10.0.0.53\"]";
    [
        testing::HEAD.replace("[\"127.0.0.1:0\"]", trusted) + "ttl = 7\n",
        testing::view("vpc", "10.0.0.0/8", "private") + "forward = true\nrewrite = true\n",
        testing::view("alias", "10.1.0.0/16", "cname") + "forward = true\n",
        testing::view("home", "10.2.0.0/16", "cname") + "forward = true\nec2_names = false\n",
        testing::view("outside", "192.0.2.0/24", "cname"),
    ]
    .concat()
}

const ZONE: &str = r#"
records = "example.com.zone"
[names]
db = "198.51.100.1"
"#;

const RECORDS: &str = "
www  CNAME www.elsewhere.test.
back CNAME back.elsewhere.test.
dep  DNAME elsewhere.test.
home CNAME localhost.
";

const VPC: &str = "10.0.0.9";
const ALIAS: &str = "10.1.0.9";
const HOME: &str = "10.2.0.9";
const OUTSIDE: &str = "192.0.2.9";
const EC2: &str = "ec2-198-51-100-1.compute-1.amazonaws.com.";

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        testing::config(&[
            ("server.toml", &server()),
            ("example.com.toml", ZONE),
            ("example.com.zone", RECORDS),
        ])
    })
}

/// 198.51.100.1 at this private address, .2 unassociated.
fn snapshot(private: [u8; 4]) -> Snapshot {
    let all = [
        (Ipv4Addr::new(198, 51, 100, 1), Some(private.into())),
        (Ipv4Addr::new(198, 51, 100, 2), None),
    ];
    testing::snapshot(config(), &testing::inventory(&all))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn a(owner: &str, ttl: u32, address: [u8; 4]) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(address.into())))
}

fn cname(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 300, RData::CNAME(CNAME(name(target))))
}

/// Somebody who knows a few names and is asked for the rest in vain.
#[derive(Default)]
struct World {
    known: Vec<(&'static str, ResponseCode, Vec<Record>)>,
    probe: Option<&'static str>,
}

impl Elsewhere for World {
    fn answer(&mut self, question: &forward::Question<'_>) -> Option<Hit> {
        let key = crate::dns::name::Key::from_folded(question.name);
        let (_, rcode, records) = self.known.iter().find(|(n, ..)| *n == key.to_string())?;
        if *rcode == ResponseCode::ServFail {
            return Some(forward::failure(question, "nobody is there"));
        }
        let mut reply = Message::new(0, MessageType::Response, OpCode::Query);
        reply.metadata.response_code = *rcode;
        reply.metadata.recursion_available = true;
        reply.metadata.authentic_data = true;
        reply.queries.push(Query::query(key.to_name(), question.rtype.into()));
        if records.is_empty() {
            let soa = SOA::new(name("ns.test."), name("root.test."), 1, 2, 3, 4, 60);
            reply.authorities.push(Record::from_rdata(name("test."), 60, RData::SOA(soa)));
        }
        reply.answers.clone_from(records);
        Some(Hit::from_reply(&reply.to_vec().unwrap(), question))
    }

    fn is_probe(&self, name: &[u8]) -> bool {
        self.probe
            .is_some_and(|probe| crate::dns::name::Key::from_folded(name).to_string() == probe)
    }
}

fn request(qname: &str, rtype: RecordType, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(name(qname), rtype));
    message.edns = Some(Edns::new());
    change(&mut message);
    message.to_vec().unwrap()
}

fn asked(
    snapshot: &Snapshot,
    client: &str,
    request: &[u8],
    world: &mut World,
) -> Result<(Message, Path), OwnedQuestion> {
    let asker = Asker {
        client: format!("{client}:5353").parse().unwrap(),
        local: ([127, 0, 0, 1], 53).into(),
    };
    let mut reply = Vec::new();
    match answer(snapshot, &asker, Transport::Udp, request, world, &mut reply) {
        Outcome::Reply { path, rcode, .. } => {
            let message = Message::from_vec(&reply).unwrap();
            assert_eq!(message.metadata.response_code, rcode);
            Ok((message, path))
        }
        Outcome::Ask(question) => Err(question),
        Outcome::Drop => panic!("no answer"),
    }
}

fn ask(client: &str, qname: &str, rtype: RecordType, world: &mut World) -> (Message, Path) {
    let request = request(qname, rtype, |_| ());
    asked(&snapshot([10, 0, 1, 1]), client, &request, world).unwrap()
}

/// What would be asked elsewhere.
fn wanted(client: &str, qname: &str, rtype: RecordType) -> String {
    let request = request(qname, rtype, |_| ());
    let outcome = asked(&snapshot([10, 0, 1, 1]), client, &request, &mut World::default());
    format!("{:?}", outcome.expect_err("something to ask"))
}

fn answers(message: &Message) -> Vec<String> {
    message.answers.iter().map(crate::records::record_line).map(|l| l.replace('\t', " ")).collect()
}

#[test]
fn an_alias_comes_with_its_address_from_memory() {
    let (reply, path) = ask(ALIAS, "db.example.com.", RecordType::A, &mut World::default());
    assert_eq!(
        answers(&reply),
        [format!("db.example.com. 5 IN CNAME {EC2}"), format!("{EC2} 7 IN A 10.0.1.1")]
    );
    assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
    assert_eq!(path, Path::Zone);
    // No bare alias for AAAA either, but what is needed to remember that.
    let (reply, _) = ask(ALIAS, "db.example.com.", RecordType::AAAA, &mut World::default());
    assert_eq!((reply.answers.len(), reply.authorities.len()), (1, 1));
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
}

#[test]
fn an_alias_is_followed_elsewhere_for_stubs_only() {
    // A view that knows no EC2 names asks for them.
    assert_eq!(wanted(HOME, "db.example.com.", RecordType::A), format!("{EC2} type 1 class 1"));
    assert_eq!(
        wanted(VPC, "WWW.example.com.", RecordType::A),
        "www.elsewhere.test. type 1 class 1"
    );
    assert_eq!(
        wanted(VPC, "x.dep.example.com.", RecordType::MX),
        "x.elsewhere.test. type 15 class 1"
    );
    let mut world = World::default();
    // Whoever asks for the alias has it; resolvers (RD=0) follow it themselves.
    let (reply, _) = ask(VPC, "www.example.com.", RecordType::CNAME, &mut world);
    assert_eq!(reply.answers.len(), 1);
    let iterative =
        request("www.example.com.", RecordType::A, |m| m.metadata.recursion_desired = false);
    let (reply, _) = asked(&snapshot([10, 0, 1, 1]), VPC, &iterative, &mut world).unwrap();
    assert_eq!(reply.answers.len(), 1);
    // Nor does a view that forwards nothing.
    let (reply, _) = ask(OUTSIDE, "www.example.com.", RecordType::A, &mut world);
    assert_eq!(reply.answers.len(), 1);
    assert!(!reply.metadata.recursion_available);
}

#[test]
fn what_is_elsewhere_becomes_part_of_the_answer() {
    let target = "www.elsewhere.test.";
    let known = |rcode, records| World { known: vec![(target, rcode, records)], probe: None };
    let ask = |world: &mut World| ask(VPC, "www.example.com.", RecordType::A, world).0;

    let reply = ask(&mut known(ResponseCode::NoError, vec![a(target, 60, [192, 0, 2, 1])]));
    assert_eq!(
        answers(&reply),
        [format!("www.example.com. 5 IN CNAME {target}"), format!("{target} 60 IN A 192.0.2.1")]
    );
    assert!(reply.metadata.authoritative && !reply.metadata.authentic_data);

    // The name is not there: RFC 6604, and the SOA to remember it by.
    let reply = ask(&mut known(ResponseCode::NXDomain, vec![]));
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!((reply.answers.len(), reply.authorities.len()), (1, 1));

    // Nobody knows: never a bare alias, never NXDOMAIN.
    let reply = ask(&mut known(ResponseCode::ServFail, vec![]));
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!((reply.answers.len(), reply.metadata.authoritative), (0, false));
}

#[test]
fn an_alias_from_elsewhere_to_our_names_gets_our_addresses() {
    // The upstream's own idea of our name is an old one.
    let old = |target: &'static str| {
        vec![cname("x.elsewhere.test.", target), a(target, 300, [10, 9, 9, 9])]
    };
    for (client, target, expected) in [
        (VPC, "db.example.com.", "db.example.com. 5 IN A 10.0.1.1".to_owned()),
        (VPC, EC2, format!("{EC2} 7 IN A 10.0.1.1")),
        (HOME, EC2, format!("{EC2} 300 IN A 10.9.9.9")),
    ] {
        let known = vec![("x.elsewhere.test.", ResponseCode::NoError, old(target))];
        let mut world = World { known, probe: None };
        let (reply, path) = ask(client, "x.elsewhere.test.", RecordType::A, &mut world);
        assert_eq!(reply.answers.len(), 2);
        assert_eq!(answers(&reply)[1], expected);
        assert!(!reply.metadata.authoritative && reply.metadata.recursion_available);
        assert_eq!(path, Path::Forwarded);
    }
    // And out again, and back.
    let known = vec![
        ("x.elsewhere.test.", ResponseCode::NoError, old("www.example.com.")),
        ("www.elsewhere.test.", ResponseCode::NoError, old_www()),
    ];
    let mut world = World { known, probe: None };
    let (reply, _) = ask(VPC, "x.elsewhere.test.", RecordType::A, &mut world);
    assert_eq!(reply.answers.len(), 4, "{:?}", answers(&reply));
    assert_eq!(answers(&reply)[3], "db.example.com. 5 IN A 10.0.1.1");
}

fn old_www() -> Vec<Record> {
    vec![cname("www.elsewhere.test.", "db.example.com.")]
}

#[test]
fn a_circle_through_elsewhere_ends() {
    let known = vec![(
        "back.elsewhere.test.",
        ResponseCode::NoError,
        vec![cname("back.elsewhere.test.", "back.example.com.")],
    )];
    let mut world = World { known, probe: None };
    let (reply, _) = ask(VPC, "back.example.com.", RecordType::A, &mut world);
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn ec2_names_are_zones_of_one_name() {
    let mut world = World::default();
    let (reply, path) = ask(VPC, &EC2.to_uppercase(), RecordType::A, &mut world);
    assert_eq!(answers(&reply), [format!("{EC2} 7 IN A 10.0.1.1")]);
    assert_eq!((path, reply.metadata.authoritative), (Path::Ec2, true));
    let (reply, _) = ask(VPC, EC2, RecordType::AAAA, &mut world);
    assert_eq!(reply.authorities[0].name, name(EC2));
    assert_eq!((reply.answers.len(), reply.authorities[0].ttl), (0, 7));
    let below = format!("x.{EC2}");
    let (reply, _) = ask(VPC, &below, RecordType::A, &mut world);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    for rtype in [RecordType::SOA, RecordType::NS] {
        assert_eq!(ask(VPC, EC2, rtype, &mut world).0.answers.len(), 1, "{rtype}");
    }
    // Its parent is not ours, nor are addresses that nobody holds, nor others'.
    assert_eq!(wanted(VPC, EC2, RecordType::DS), format!("{EC2} type 43 class 1"));
    for other in ["198-51-100-2", "198-51-100-3"] {
        let other = format!("ec2-{other}.compute-1.amazonaws.com.");
        assert_eq!(wanted(VPC, &other, RecordType::A), format!("{other} type 1 class 1"));
    }
    assert_eq!(wanted(HOME, EC2, RecordType::A), format!("{EC2} type 1 class 1"));
}

#[test]
fn ds_of_our_apex_is_its_parents() {
    assert_eq!(wanted(VPC, "example.com.", RecordType::DS), "example.com. type 43 class 1");
    let (reply, _) = ask(OUTSIDE, "example.com.", RecordType::DS, &mut World::default());
    assert_eq!((reply.answers.len(), reply.authorities.len()), (0, 1));
}

#[test]
fn elastic_ips_from_elsewhere_become_private() {
    let records = vec![
        a("x.test.", 300, [198, 51, 100, 1]),
        a("x.test.", 300, [10, 0, 1, 1]),
        a("x.test.", 300, [198, 51, 100, 2]),
    ];
    let mut world = World { known: vec![("x.test.", ResponseCode::NoError, records)], probe: None };
    let (reply, _) = ask(VPC, "x.test.", RecordType::A, &mut world);
    assert_eq!(answers(&reply), ["x.test. 7 IN A 10.0.1.1", "x.test. 7 IN A 198.51.100.2"]);
    assert!(!reply.metadata.authentic_data);
    // Of the same octets, after a move.
    let moved = snapshot([10, 0, 2, 2]);
    let (reply, _) =
        asked(&moved, VPC, &request("x.test.", RecordType::A, |_| ()), &mut world).unwrap();
    assert_eq!(answers(&reply)[0], "x.test. 7 IN A 10.0.2.2");
    let (reply, _) = ask(ALIAS, "x.test.", RecordType::A, &mut world);
    assert_eq!(answers(&reply)[0], "x.test. 300 IN A 198.51.100.1");
}

#[test]
fn who_may_ask_for_other_names() {
    let mut world = World::default();
    for (client, rd, available) in [(VPC, false, true), (OUTSIDE, true, false)] {
        let request = request("x.test.", RecordType::A, |m| m.metadata.recursion_desired = rd);
        let (reply, path) = asked(&snapshot([10, 0, 1, 1]), client, &request, &mut world).unwrap();
        assert_eq!(path, Path::Refused);
        assert_eq!(reply.metadata.recursion_available, available);
    }
    let (reply, _) = ask("203.0.113.1", "x.test.", RecordType::A, &mut world);
    assert!(!reply.metadata.recursion_available);
    // Nothing but questions for data leaves us.
    for rtype in [RecordType::AXFR, RecordType::IXFR, RecordType::OPT, RecordType::TSIG] {
        let (reply, _) = ask(VPC, "x.test.", rtype, &mut world);
        assert_ne!(reply.metadata.response_code, ResponseCode::NoError, "{rtype}");
    }
    world.probe = Some("probe.test.");
    let (reply, path) = ask(VPC, "probe.test.", RecordType::A, &mut world);
    assert_eq!((reply.metadata.response_code, path), (ResponseCode::Refused, Path::Refused));
}

#[test]
fn a_trusted_forwarder_chooses_the_view() {
    let of = |client: &str, subnet: [u8; 4]| {
        let request = request("db.example.com.", RecordType::A, |message| {
            let subnet = ClientSubnet::new(Ipv4Addr::from(subnet).into(), 32, 0);
            let edns = message.edns.get_or_insert_default();
            edns.options_mut().insert(EdnsOption::Subnet(subnet));
        });
        asked(&snapshot([10, 0, 1, 1]), client, &request, &mut World::default()).unwrap().0
    };
    let subnet = |message: &Message| match message.edns.as_ref()?.option(8.into()) {
        Some(EdnsOption::Subnet(subnet)) => Some((subnet.source_prefix(), subnet.scope_prefix())),
        _ => None,
    };
    let reply = of("10.0.0.53", [192, 0, 2, 7]);
    assert_eq!(answers(&reply), [format!("db.example.com. 5 IN CNAME {EC2}")]);
    assert_eq!(subnet(&reply), Some((32, 24)));
    let reply = of("10.0.0.54", [192, 0, 2, 7]);
    assert_eq!(answers(&reply), ["db.example.com. 5 IN A 10.0.1.1"]);
    assert_eq!(subnet(&reply), None, "others are not believed, and nothing is echoed");
}

/// Asked of nobody, also where an alias of ours leads there.
#[test]
fn special_names_are_answered_here() {
    let mut world = World::default();
    let soa = |zone: &str| {
        vec![format!("{zone} 10800 IN SOA localhost. nobody.invalid. 1 3600 1200 604800 10800")]
    };
    let mut told = |qname: &str, rtype| {
        let (reply, path) = ask(VPC, qname, rtype, &mut world);
        assert_eq!(path.as_str(), "special", "{qname}");
        assert!(reply.metadata.recursion_available && !reply.metadata.authoritative);
        let authority = reply.authorities.iter().map(crate::records::record_line);
        let authority: Vec<_> = authority.map(|line| line.replace('\t', " ")).collect();
        (reply.metadata.response_code, answers(&reply), authority)
    };
    for (qname, zone) in [
        ("onion.", "onion."),
        ("x.y.onion.", "onion."),
        ("x.invalid.", "invalid."),
        ("x.resolver.arpa.", "resolver.arpa."),
        ("x._dns.resolver.arpa.", "resolver.arpa."),
    ] {
        for rtype in [RecordType::A, RecordType::SVCB, RecordType::ANY] {
            assert_eq!(told(qname, rtype), (ResponseCode::NXDomain, vec![], soa(zone)), "{qname}");
        }
    }
    for qname in ["resolver.arpa.", "_dns.Resolver.arpa."] {
        for rtype in [RecordType::SVCB, RecordType::DS] {
            let nodata = (ResponseCode::NoError, vec![], soa("resolver.arpa."));
            assert_eq!(told(qname, rtype), nodata, "{qname}");
        }
    }
    for qname in ["localhost.", "db.localhost."] {
        for (rtype, data) in [(RecordType::A, "A 127.0.0.1"), (RecordType::AAAA, "AAAA ::1")] {
            let expected = vec![format!("{qname} 10800 IN {data}")];
            assert_eq!(told(qname, rtype), (ResponseCode::NoError, expected, vec![]));
        }
        let nodata = (ResponseCode::NoError, vec![], soa("localhost."));
        assert_eq!(told(qname, RecordType::MX), nodata);
    }
    let (reply, _) = ask(VPC, "home.example.com.", RecordType::A, &mut world);
    assert_eq!(
        answers(&reply),
        ["home.example.com. 5 IN CNAME localhost.", "localhost. 10800 IN A 127.0.0.1"]
    );
}

#[test]
fn other_names_are_not_special() {
    for qname in [
        "printer.local.",
        "ipv4only.arpa.",
        "1.0.0.10.in-addr.arpa.",
        "notonion.",
        "onion.test.",
        "arpa.",
        "xresolver.arpa.",
    ] {
        let wanted = wanted(VPC, qname, RecordType::A);
        assert!(wanted.ends_with("type 1 class 1"), "{qname}: {wanted}");
    }
    // Who is not forwarded for is refused, and a zone of ours comes first.
    for (client, rd) in [(VPC, false), (OUTSIDE, true)] {
        let request = request("localhost.", RecordType::A, |m| m.metadata.recursion_desired = rd);
        let mut world = World::default();
        let (_, path) = asked(&snapshot([10, 0, 1, 1]), client, &request, &mut world).unwrap();
        assert_eq!(path, Path::Refused);
    }
    let config = testing::config(&[
        ("server.toml", &server()),
        ("onion.toml", "records = \"onion.zone\"\n"),
        ("onion.zone", "db A 192.0.2.7\n"),
    ]);
    let snapshot = testing::snapshot(&config, &testing::inventory(&[]));
    let request = request("db.onion.", RecordType::A, |_| ());
    let (reply, path) = asked(&snapshot, VPC, &request, &mut World::default()).unwrap();
    assert_eq!((answers(&reply), path), (vec!["db.onion. 5 IN A 192.0.2.7".into()], Path::Zone));
}

/// Whose view it is that is missing: that of the subnet, not the forwarder's.
#[test]
fn the_subnet_in_no_view_is_named() {
    let request = request("db.example.com.", RecordType::A, |message| {
        let subnet = ClientSubnet::new(Ipv4Addr::new(203, 0, 113, 7).into(), 24, 0);
        message.edns.get_or_insert_default().options_mut().insert(EdnsOption::Subnet(subnet));
    });
    let why = |client: &str| {
        let snapshot = snapshot([10, 0, 1, 1]);
        let (reply, _) = asked(&snapshot, client, &request, &mut World::default()).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
        match reply.edns.unwrap().option(15.into()) {
            Some(EdnsOption::Unknown(_, data)) => String::from_utf8(data[2..].to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why("10.0.0.53"), "203.0.113.0/24, for which 10.0.0.53 asks, is in no view");
    assert_eq!(why("203.0.113.1"), "203.0.113.1 is in no view");
}

/// RFC 6891 section 7: whoever sent an OPT gets one back.
#[test]
fn an_error_has_an_opt_for_who_sent_one() {
    let snapshot = snapshot([10, 0, 1, 1]);
    let asker = Asker { client: ([10, 0, 0, 9], 53).into(), local: ([127, 0, 0, 1], 53).into() };
    let told = |request: &[u8]| {
        let mut reply = Vec::new();
        let mut world = World::default();
        answer(&snapshot, &asker, Transport::Udp, request, &mut world, &mut reply);
        reply
    };
    let asks = b"\0\x4d\x01\0\0\x01\0\0\0\0\0\x01\x02db\x07example\x03com\0\0\x01\0\x01";
    // Family 1, source length 40.
    let subnet = b"\0\x08\0\x09\0\x01\x28\0\x0a\0\0\x01\x02";
    let opt = |version: u8, flags: u8| {
        [&[0, 0, 41, 4, 0xd0, 0, version, flags, 0, 0, 13][..], subnet].concat()
    };
    let ours = |rcode: u8, high: u8, flags: u8| {
        let head = [0, 77, 0x81, rcode, 0, 0, 0, 0, 0, 0, 0, 1];
        [&head[..], &[0, 0, 41, 4, 0xd0, high, 0, flags, 0, 0, 0]].concat()
    };
    assert_eq!(told(&[&asks[..], &opt(0, 0)].concat()), ours(1, 0, 0));
    assert_eq!(told(&[&asks[..], &opt(0, 0x80)].concat()), ours(1, 0, 0x80), "DO comes back");
    assert_eq!(told(&[&asks[..], &opt(1, 0)].concat()), ours(0, 1, 0), "BADVERS");
    // Junk behind it, two questions, another opcode.
    assert_eq!(told(&[&asks[..], &opt(0, 0), b"junk"].concat()), ours(1, 0, 0));
    let mut two = asks.to_vec();
    two[5] = 2;
    two.extend_from_slice(&asks[12..]);
    assert_eq!(told(&[&two[..], &opt(0, 0)].concat()), ours(1, 0, 0));
    let mut status = [&asks[..], &opt(0, 0)].concat();
    status[2] |= 0x10;
    let mut expected = ours(4, 0, 0);
    expected[2] |= 0x10;
    assert_eq!(told(&status), expected);
    // No OPT that can be found: a header.
    let broken = [&asks[..], &opt(0, 0)].concat();
    let cut = &broken[..broken.len() - 1];
    assert_eq!(told(cut), [0, 77, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
}
