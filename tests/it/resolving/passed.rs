//! What reaches an upstream, and in what form; what never does.

use std::collections::HashSet;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::Client;
use crate::answers::render;
use crate::fixtures::records::knows;
use crate::fixtures::upstream::{Asked, Upstream};
use crate::harness::{DB, Dir, Server, query, remarks, tcp, udp, view};

fn world() -> (Upstream, Dir, Server) {
    let upstream = Upstream::start(knows(&[
        "www.test. 300 A 192.0.2.80",
        "example.com. 300 TXT parent",
        "last.test. 300 A 192.0.2.99",
    ]));
    let dir = Dir::forwarding(&[upstream.at], &view("closed", "127.9.0.0/16", "private"));
    dir.write("sub.example.com.toml", DB);
    let server = Server::start(dir.path());
    (upstream, dir, server)
}

/// All that was sent on, once a name has come through that was asked last.
fn all(upstream: &Upstream, server: &Server) -> Vec<Asked> {
    assert_eq!(server.data("last.test.", RecordType::A), ["192.0.2.99"]);
    let mut asked = upstream.asked();
    assert_eq!(asked.pop().unwrap().name(), "last.test.");
    asked
}

#[test]
fn a_client_without_rd_or_right_is_refused() {
    let (upstream, _dir, server) = world();
    let client = Client::of(server.dns);
    let told =
        client.told_with("www.test.", RecordType::A, |m| m.metadata.recursion_desired = false);
    let why = "not one of our zones, and recursion is not desired (RD is 0)";
    assert_eq!(told, format!("Refused ra\n? www.test. IN A\nedns 0 1232\nede 20 {why}"));
    let closed = client.from("127.9.0.1");
    assert_eq!(
        closed.told("www.test.", RecordType::A),
        "Refused rd\n? www.test. IN A\nedns 0 1232\nede 20 not one of our zones"
    );
    assert!(!closed.ask("db.example.com.", RecordType::A).metadata.recursion_available);
    assert!(client.ask("db.example.com.", RecordType::A).metadata.recursion_available);
    let nobody = client.from("127.0.0.1").ask_with("www.test.", RecordType::A, |m| {
        m.edns = None;
    });
    assert_eq!(nobody.0.metadata.response_code, ResponseCode::NoError);
    let names: Vec<_> = all(&upstream, &server).iter().map(Asked::name).collect();
    assert_eq!(names, ["www.test."]);
}

/// The parent's, where that is not ours; ours where it is.
#[test]
fn ds_at_an_apex() {
    let (upstream, _dir, server) = world();
    let client = Client::of(server.dns);
    let theirs = "authority test. 30 SOA ns.test. host.test. SERIAL 60 60 60 30";
    assert_eq!(
        client.told("example.com.", RecordType::DS),
        format!("NoError rd ra\n? example.com. IN DS\n{theirs}\nedns 0 1232")
    );
    let ours = "authority example.com. 5 SOA ns1.example.com. hostmaster.example.com. SERIAL 30 5 \
                1209600 5";
    let of_parent = client.told("sub.example.com.", RecordType::DS);
    assert_eq!(
        of_parent,
        format!("NoError aa rd ra\n? sub.example.com. IN DS\n{ours}\nedns 0 1232")
    );
    for (from, flags, rd) in [("127.9.0.1", "aa rd", true), ("127.0.0.1", "aa ra", false)] {
        let told = client.from(from).told_with("example.com.", RecordType::DS, |m| {
            m.metadata.recursion_desired = rd;
        });
        assert_eq!(told, format!("NoError {flags}\n? example.com. IN DS\n{ours}\nedns 0 1232"));
    }
    let names: Vec<_> = all(&upstream, &server).iter().map(Asked::name).collect();
    assert_eq!(names, ["example.com."]);
}

#[test]
fn what_is_no_question_for_others_stays_here() {
    let (upstream, _dir, server) = world();
    let send = |message: &Message| {
        let octets = message.to_vec().unwrap();
        [udp(server.dns, &octets), tcp(server.dns, &octets)]
            .map(|reply| Message::from_vec(&reply).unwrap().metadata.response_code)
    };
    let types = [
        (RecordType::AXFR, ResponseCode::Refused),
        (RecordType::IXFR, ResponseCode::Refused),
        (RecordType::Unknown(253), ResponseCode::Refused), // MAILB
        (RecordType::Unknown(254), ResponseCode::Refused), // MAILA
        (RecordType::Unknown(249), ResponseCode::Refused), // TKEY
        (RecordType::TSIG, ResponseCode::FormErr),
        (RecordType::OPT, ResponseCode::FormErr),
        (RecordType::ZERO, ResponseCode::FormErr),
    ];
    for (rtype, expected) in types {
        assert_eq!(send(&query("www.test.", rtype)), [expected; 2], "{rtype}");
    }
    for op_code in [OpCode::Status, OpCode::Notify, OpCode::Update, OpCode::Unknown(1)] {
        let mut message = query("www.test.", RecordType::A);
        message.metadata.op_code = op_code;
        assert_eq!(send(&message), [ResponseCode::NotImp; 2], "{op_code}");
    }
    let mut of_class = query("www.test.", RecordType::A);
    of_class.queries[0].set_query_class(DNSClass::NONE);
    assert_eq!(send(&of_class), [ResponseCode::Refused; 2]);
    of_class.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(send(&of_class), [ResponseCode::Refused; 2]);
    let mut two = query("www.test.", RecordType::A);
    two.queries.push(Query::query(Name::from_ascii("mail.test.").unwrap(), RecordType::A));
    assert_eq!(send(&two), [ResponseCode::FormErr; 2]);
    assert_eq!(all(&upstream, &server).len(), 0);
}

/// DO, CD, class and type as the client has them; a header, an OPT and an ID
/// of our own.
#[test]
fn a_question_goes_on_without_what_is_between_two() {
    let (upstream, _dir, server) = world();
    let client = Client::of(server.dns);
    let noise = |message: &mut Message| {
        let edns = message.edns.as_mut().unwrap();
        edns.set_max_payload(4_000);
        let options = edns.options_mut();
        options.insert(EdnsOption::Unknown(10, vec![7; 8])); // COOKIE
        options.insert(EdnsOption::Unknown(11, vec![])); // TCP keepalive
        options.insert(EdnsOption::Unknown(12, vec![0; 32])); // padding
        options.insert(EdnsOption::Unknown(65_001, vec![1])); // for local use
        let subnet = ClientSubnet::new("10.1.2.0".parse().unwrap(), 24, 0);
        options.insert(EdnsOption::Subnet(subnet));
    };
    for (dnssec_ok, checking_disabled) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let (told, _) = client.ask_with("wWw.tEst.", RecordType::Unknown(65_280), |message| {
            noise(message);
            message.edns.as_mut().unwrap().set_dnssec_ok(dnssec_ok);
            message.metadata.checking_disabled = checking_disabled;
        });
        assert_eq!(told.queries[0].name().to_ascii(), "wWw.tEst.", "as it was asked");
        assert_eq!(told.metadata.checking_disabled, checking_disabled);
        let edns = told.edns.unwrap();
        assert_eq!(edns.flags().dnssec_ok, dnssec_ok);
        assert_eq!(edns.options().as_ref().len(), 0, "no option comes back");
    }
    // Without an OPT it is DO=0, CD=0 of another type.
    client.ask_with("www.test.", RecordType::ANY, |message| message.edns = None);
    let asked = all(&upstream, &server);
    let seen: Vec<_> = asked
        .iter()
        .map(|asked| {
            let m = &asked.message.metadata;
            let edns = asked.message.edns.as_ref().expect("an OPT of our own");
            assert!(m.recursion_desired && m.authentic_data && !m.authoritative, "{m:?}");
            assert_eq!((edns.max_payload(), edns.version()), (1232, 0));
            assert_eq!(edns.options().as_ref().len(), 0, "no option is passed on");
            assert_eq!(asked.message.queries[0].name().to_ascii(), "www.test.");
            assert_eq!(asked.octets.len(), 12 + 14 + 11, "and nothing else");
            (u16::from(asked.rtype()), edns.flags().dnssec_ok, m.checking_disabled)
        })
        .collect();
    let odd = 65_280;
    assert_eq!(
        seen,
        [
            (odd, false, false),
            (odd, false, true),
            (odd, true, false),
            (odd, true, true),
            (255, false, false)
        ]
    );
    // The clients' are all the same.
    let ids: HashSet<_> = asked.iter().map(|asked| asked.message.metadata.id).collect();
    assert!(ids.len() > 1, "IDs are of our own: {ids:?}");
}

/// Another class than IN is passed on and kept apart.
#[test]
fn classes_are_kept_apart() {
    let upstream = Upstream::start(|asked| {
        let mut message = asked.with(&["odd.test. 300 A 192.0.2.1"]);
        let class = asked.message.queries[0].query_class();
        message.answers[0].dns_class = class;
        message.into()
    });
    let dir = Dir::forwarding(&[upstream.at], "");
    let server = Server::start(dir.path());
    let client = Client::of(server.dns);
    for class in [DNSClass::IN, DNSClass::HS, DNSClass::IN, DNSClass::HS] {
        let (message, octets) = client.ask_with("odd.test.", RecordType::A, |m| {
            m.queries[0].set_query_class(class);
        });
        assert_eq!(message.answers.first().map(|r| r.dns_class), Some(class), "{message}");
        assert!(render(&octets).starts_with("NoError rd ra"));
        assert_eq!(remarks(&message), []);
    }
    assert_eq!(upstream.asked().len(), 2);
}
