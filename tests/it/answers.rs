//! Whole answers over UDP and TCP, one by one as the README's table has them.

use hickory_proto::op::{Edns, Message, MessageType};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, RecordType};

use crate::harness::{DB, Dir, ELASTIC, Server, query, tcp, udp, view};

/// Everything in a message but its ID and the SOA's serial.
pub(crate) fn render(octets: &[u8]) -> String {
    let message = Message::from_vec(octets).unwrap();
    let m = &message.metadata;
    assert_eq!(m.message_type, MessageType::Response);
    let flags = [
        (m.authoritative, "aa"),
        (m.truncation, "tc"),
        (m.recursion_desired, "rd"),
        (m.recursion_available, "ra"),
        (m.authentic_data, "ad"),
        (m.checking_disabled, "cd"),
    ];
    // 16 is BADVERS in an OPT and BADSIG in a TSIG; hickory knows only one.
    let mut out = format!("{:?}", m.response_code).replace("BADSIG", "BADVERS");
    for (_, flag) in flags.iter().filter(|(on, _)| *on) {
        out += &format!(" {flag}");
    }
    for q in &message.queries {
        out += &format!("\n? {} {} {}", q.name(), q.query_class(), q.query_type());
    }
    let sections = [
        ("", &message.answers),
        ("authority ", &message.authorities),
        ("additional ", &message.additionals),
    ];
    for (title, records) in sections {
        let mut lines: Vec<String> = records
            .iter()
            .map(|r| {
                let mut data = r.data.to_string();
                if r.record_type() == RecordType::SOA {
                    let mut fields: Vec<_> = data.split(' ').collect();
                    fields[2] = "SERIAL";
                    data = fields.join(" ");
                }
                format!("\n{title}{} {} {} {data}", r.name, r.ttl, r.record_type())
            })
            .collect();
        lines.sort();
        out += &lines.concat();
    }
    if let Some(edns) = &message.edns {
        out += &format!("\nedns {} {}", edns.version(), edns.max_payload());
        if edns.flags().dnssec_ok {
            out += " do";
        }
        for (_, option) in edns.options().as_ref() {
            let (code, data) = match option {
                EdnsOption::Unknown(code, data) => (*code, data.as_slice()),
                EdnsOption::NSID(name) => (3, name.as_ref()),
                other => panic!("{other:?}"),
            };
            match code {
                15 => {
                    let text = String::from_utf8(data[2..].to_vec()).unwrap();
                    out += &format!("\nede {} {text}", u16::from_be_bytes([data[0], data[1]]));
                }
                code => out += &format!("\noption {code} {}", String::from_utf8_lossy(data)),
            }
        }
    }
    out
}

const ZONE: &str = r#"
nameservers = ["ns1", "ns.elsewhere.net."]
contact = "ops@example.com"

[names]
db = "75.101.137.243"
www = { elastic_ip = "75.101.137.243", answer = "cname", ttl = 60 }
edge = { elastic_ip = "75.101.137.243", answer = "public" }
mail = { allocation_id = "eipalloc-75101137244" }
idle = "75.101.137.245"
gone = "203.0.113.99"
hidden = { elastic_ip = "75.101.137.243", answer = { vpc = "none" } }
pinned = { elastic_ip = "75.101.137.243", pin = "10.9.9.9" }
ns1 = { address = ["10.0.0.53", "fd00::53"] }
"deep.down" = { address = "10.0.0.9" }
"*.shard" = "75.101.137.243"
"#;

/// A second view, so that a name may be absent in the first.
fn other() -> String {
    view("other", "127.9.0.0/16", "public")
}

fn server() -> (Dir, Server) {
    let dir = Dir::new(&other());
    dir.addresses(&[
        (ELASTIC, Some("10.0.1.5")),
        ("75.101.137.244", Some("10.0.1.6")),
        ("75.101.137.245", None),
    ]);
    dir.write("example.com.toml", ZONE);
    let server = Server::start(dir.path());
    (dir, server)
}

const SOA: &str =
    "authority example.com. 5 SOA ns1.example.com. ops.example.com. SERIAL 30 5 1209600 5";

#[test]
fn each_row_of_the_table() {
    let (_dir, server) = server();
    let a = |name: &str, rest: &str| (name.to_string(), RecordType::A, rest.to_string());
    let ok = |name: &str, data: &str| {
        a(name, &format!("NoError aa rd\n? {name} IN A\n{name} 5 A {data}\nedns 0 1232"))
    };
    let cases = [
        ok("db.example.com.", "10.0.1.5"),
        ok("edge.example.com.", ELASTIC),
        ok("mail.example.com.", "10.0.1.6"),
        ok("pinned.example.com.", "10.9.9.9"),
        ok("x.shard.example.com.", "10.0.1.5"),
        ok("a.b.shard.example.com.", "10.0.1.5"),
        ok("ns1.example.com.", "10.0.0.53"),
        a(
            "www.example.com.",
            "NoError aa rd\n? www.example.com. IN A\nwww.example.com. 60 CNAME \
             ec2-75-101-137-243.compute-1.amazonaws.com.\nedns 0 1232",
        ),
        a(
            "idle.example.com.",
            &format!(
                "NoError aa rd\n? idle.example.com. IN A\n{SOA}\nedns 0 1232\n\
                 ede 0 75.101.137.245 is not associated"
            ),
        ),
        a(
            "gone.example.com.",
            &format!(
                "NoError aa rd\n? gone.example.com. IN A\n{SOA}\nedns 0 1232\n\
                 ede 0 203.0.113.99 is in no source"
            ),
        ),
        a(
            "hidden.example.com.",
            &format!("NXDomain aa rd\n? hidden.example.com. IN A\n{SOA}\nedns 0 1232"),
        ),
        a(
            "nothing.example.com.",
            &format!("NXDomain aa rd\n? nothing.example.com. IN A\n{SOA}\nedns 0 1232"),
        ),
        a(
            "below.db.example.com.",
            &format!("NXDomain aa rd\n? below.db.example.com. IN A\n{SOA}\nedns 0 1232"),
        ),
        // Empty non-terminals (RFC 4592 section 2.2.2).
        a("down.example.com.", &format!("NoError aa rd\n? down.example.com. IN A\n{SOA}\nedns 0 1232")),
        a(
            "shard.example.com.",
            &format!("NoError aa rd\n? shard.example.com. IN A\n{SOA}\nedns 0 1232"),
        ),
        a(
            "elsewhere.net.",
            "Refused rd\n? elsewhere.net. IN A\nedns 0 1232\nede 20 not one of our zones",
        ),
        (
            "db.example.com.".into(),
            RecordType::AAAA,
            format!("NoError aa rd\n? db.example.com. IN AAAA\n{SOA}\nedns 0 1232"),
        ),
        (
            "db.example.com.".into(),
            RecordType::ANY,
            "NoError aa rd\n? db.example.com. IN ANY\ndb.example.com. 5 A 10.0.1.5\nedns 0 1232".into(),
        ),
        (
            "gone.example.com.".into(),
            RecordType::TXT,
            "NoError aa rd\n? gone.example.com. IN TXT\ngone.example.com. 5 TXT eipdns: 203.0.113.99 \
             is in no source\nedns 0 1232\nede 0 203.0.113.99 is in no source"
                .into(),
        ),
        (
            "example.com.".into(),
            RecordType::SOA,
            "NoError aa rd\n? example.com. IN SOA\nexample.com. 5 SOA ns1.example.com. \
             ops.example.com. SERIAL 30 5 1209600 5\nedns 0 1232"
                .into(),
        ),
        (
            "example.com.".into(),
            RecordType::NS,
            "NoError aa rd\n? example.com. IN NS\nexample.com. 5 NS ns.elsewhere.net.\n\
             example.com. 5 NS ns1.example.com.\nadditional ns1.example.com. 5 A 10.0.0.53\n\
             additional ns1.example.com. 5 AAAA fd00::53\nedns 0 1232"
                .into(),
        ),
        (
            "example.com.".into(),
            RecordType::DS,
            format!("NoError aa rd\n? example.com. IN DS\n{SOA}\nedns 0 1232"),
        ),
        (
            "example.com.".into(),
            RecordType::AXFR,
            "Refused rd\n? example.com. IN AXFR\nedns 0 1232\nede 18 no zone transfer from here".into(),
        ),
    ];
    for (name, rtype, expected) in cases {
        let octets = query(&name, rtype).to_vec().unwrap();
        assert_eq!(render(&udp(server.dns, &octets)), expected, "over UDP");
        assert_eq!(render(&tcp(server.dns, &octets)), expected, "over TCP");
    }
}

#[test]
fn the_askers_spelling_comes_back() {
    let (_dir, server) = server();
    let octets = query("dB.eXaMpLe.CoM.", RecordType::A).to_vec().unwrap();
    let reply = udp(server.dns, &octets);
    let len = "dB.eXaMpLe.CoM.".len() + 1;
    assert_eq!(reply[12..12 + len], octets[12..12 + len]);
    // The owner is a pointer to the question, so it is spelt alike.
    assert_eq!(reply[12 + len + 4..12 + len + 6], [0xc0, 12]);
    let lower = udp(server.dns, &query("db.example.com.", RecordType::A).to_vec().unwrap());
    assert_eq!(reply.len(), lower.len(), "spelling does not change sizes");
}

#[test]
fn edns() {
    let (_dir, server) = server();
    let mut plain = query("db.example.com.", RecordType::A);
    plain.edns = None;
    let reply = render(&udp(server.dns, &plain.to_vec().unwrap()));
    assert_eq!(reply, "NoError aa rd\n? db.example.com. IN A\ndb.example.com. 5 A 10.0.1.5");

    let mut badvers = query("db.example.com.", RecordType::A);
    badvers.edns.as_mut().unwrap().set_version(1);
    let reply = render(&udp(server.dns, &badvers.to_vec().unwrap()));
    assert_eq!(reply, "BADVERS rd\n? db.example.com. IN A\nedns 0 1232");

    let mut options = query("db.example.com.", RecordType::A);
    let edns = options.edns.as_mut().unwrap();
    edns.set_dnssec_ok(true);
    edns.flags_mut().z = 0x1234;
    edns.options_mut().insert(EdnsOption::Unknown(65_001, b"odd".to_vec()));
    options.metadata.checking_disabled = true;
    let reply = render(&udp(server.dns, &options.to_vec().unwrap()));
    assert_eq!(
        reply,
        "NoError aa rd cd\n? db.example.com. IN A\ndb.example.com. 5 A 10.0.1.5\nedns 0 1232 do"
    );
}

/// A request of a header with these flags and counts and then these octets.
fn raw(flags: [u8; 2], counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
    let mut octets = vec![0xab, 0xcd, flags[0], flags[1]];
    octets.extend(counts.iter().flat_map(|c| c.to_be_bytes()));
    octets.extend_from_slice(rest);
    octets
}

#[test]
fn what_is_no_query() {
    let (_dir, server) = server();
    let question = b"\x02db\x07example\x03com\x00\x00\x01\x00\x01";
    let bare = |rcode: u8, flags: u8| raw([flags, rcode], [0; 4], b"");
    let opt = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    let formerr: [(&str, Vec<u8>); 7] = [
        ("no question", raw([1, 0], [0; 4], b"")),
        ("two questions", raw([1, 0], [2, 0, 0, 0], &[question.as_slice(), question].concat())),
        ("cut off", raw([1, 0], [1, 0, 0, 0], &question[..9])),
        ("octets behind", raw([1, 0], [1, 0, 0, 0], &[question.as_slice(), b"x"].concat())),
        ("compressed", raw([1, 0], [1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01")),
        ("a record too few", raw([1, 0], [1, 0, 0, 1], question)),
        ("OPT as answer", raw([1, 0], [1, 1, 0, 0], &[question.as_slice(), opt].concat())),
    ];
    for (what, octets) in formerr {
        assert_eq!(udp(server.dns, &octets), bare(1, 0x81), "{what}");
        assert_eq!(tcp(server.dns, &octets), bare(1, 0x81), "{what} over TCP");
    }
    // Whoever sent an OPT gets one back (RFC 6891 section 7).
    let with_opt = raw([0x81, 1], [0, 0, 0, 1], opt);
    let subnet = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0d\x00\x08\x00\x09\x00\x01\x28\x00\x0a\x00\x00\x01\x02";
    for (what, count, opts) in [
        ("two OPTs", 2, [opt.as_slice(), opt].concat()),
        ("an ECS of 40 bits of IPv4", 1, subnet.to_vec()),
    ] {
        let octets = raw([1, 0], [1, 0, 0, count], &[question.as_slice(), &opts].concat());
        assert_eq!(udp(server.dns, &octets), with_opt, "{what}");
        assert_eq!(tcp(server.dns, &octets), with_opt, "{what} over TCP");
    }
    for opcode in [1u8, 2, 4, 5, 15] {
        let octets = raw([opcode << 3 | 1, 0], [1, 0, 0, 0], question);
        assert_eq!(udp(server.dns, &octets), bare(4, 0x81 | opcode << 3), "opcode {opcode}");
    }
    // Silence for responses and for what has no header; the server is there
    // all the same.
    let silent =
        [raw([0x81, 0], [1, 0, 0, 0], question), b"\xab\xcd\x01\x00\x00\x01".to_vec(), Vec::new()];
    for octets in silent {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.dns).unwrap();
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        socket.send(&octets).unwrap();
        // One socket, one worker, one queue: had there been an answer to the
        // first it would come before that to the second.
        let next = query("db.example.com.", RecordType::A).to_vec().unwrap();
        socket.send(&next).unwrap();
        let mut reply = [0; 512];
        let len = socket.recv(&mut reply).unwrap();
        assert_eq!(Message::from_vec(&reply[..len]).unwrap().metadata.id, 4711, "{octets:?}");
    }
}

#[test]
fn other_classes_and_what_we_say_of_ourselves() {
    let (_dir, server) = server();
    let chaos = |server: &Server, name: &str| {
        let mut q = query(name, RecordType::TXT);
        q.queries[0].set_query_class(DNSClass::CH);
        render(&udp(server.dns, &q.to_vec().unwrap()))
    };
    for name in ["version.bind.", "id.server.", "db.example.com."] {
        assert!(chaos(&server, name).starts_with("Refused rd"), "{name}");
    }
    let mut hesiod = query("db.example.com.", RecordType::A);
    hesiod.queries[0].set_query_class(DNSClass::HS);
    assert!(render(&udp(server.dns, &hesiod.to_vec().unwrap())).starts_with("Refused rd"));

    let dir = Dir::new(&other());
    dir.listen("version = \"eipdns 1\"\nid = \"ns-a\"");
    dir.write("example.com.toml", ZONE);
    let server = Server::start(dir.path());
    assert_eq!(
        chaos(&server, "Version.Bind."),
        "NoError aa rd\n? Version.Bind. CH TXT\nVersion.Bind. 0 TXT eipdns 1\nedns 0 1232",
        "the owner points to the question"
    );
    assert!(chaos(&server, "id.server.").contains("\nid.server. 0 TXT ns-a\n"));
    let mut nsid = query("db.example.com.", RecordType::A);
    nsid.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Unknown(3, Vec::new()));
    let reply = render(&udp(server.dns, &nsid.to_vec().unwrap()));
    assert!(reply.ends_with("\nedns 0 1232\noption 3 ns-a"), "{reply}");
}

#[test]
fn sizes_and_truncation() {
    let dir = Dir::new("");
    let all: Vec<String> = (1..=200).map(|n| format!("\"10.1.0.{n}\"")).collect();
    let some = |count: usize| all[..count].join(", ");
    dir.write(
        "example.com.toml",
        &format!(
            "[names]\nmany = {{ address = [{}] }}\nseveral = {{ address = [{}] }}",
            some(200),
            some(40)
        ),
    );
    let server = Server::start(dir.path());
    let ask = |name: &str, payload: Option<u16>| {
        let mut q = query(name, RecordType::A);
        match payload {
            Some(payload) => drop(q.edns.as_mut().unwrap().set_max_payload(payload)),
            None => q.edns = None,
        }
        q.to_vec().unwrap()
    };
    let answers = |octets: &[u8]| {
        let message = Message::from_vec(octets).unwrap();
        (message.metadata.truncation, message.answers.len(), message.edns.is_some())
    };
    for (name, payload, expected) in [
        ("several.example.com.", None, (true, 0, false)),
        ("several.example.com.", Some(512), (true, 0, true)),
        ("several.example.com.", Some(0), (true, 0, true)),
        ("several.example.com.", Some(1232), (false, 40, true)),
        ("many.example.com.", Some(4096), (true, 0, true)),
    ] {
        let reply = udp(server.dns, &ask(name, payload));
        assert_eq!(answers(&reply), expected, "{name} {payload:?}");
        let whole = answers(&tcp(server.dns, &ask(name, payload)));
        assert!(!whole.0 && whole.1 >= 40, "{name} over TCP");
    }
}

#[test]
fn views() {
    let more = [
        view("peered", "127.0.1.0/24", "private") + "reaches = [\"10.0.0.0/16\"]\n",
        view("outside", "127.0.2.0/24", "cname"),
        view("second", "127.0.0.0/8", "public") + "listen = [\"127.0.0.2\"]\n",
    ];
    let dir = Dir::new(&more.concat());
    dir.edit("\"127.0.0.1:0\"", "\"127.0.0.1:0\", \"127.0.0.2:0\"");
    dir.edit("us-east-1", "eu-west-1");
    dir.addresses(&[("198.51.100.1", Some("10.0.1.5")), ("198.51.100.2", Some("10.7.1.5"))]);
    dir.write("example.com.toml", "[names]\ndb = \"198.51.100.1\"\nfar = \"198.51.100.2\"\n");
    dir.write("inside.test.toml", "views = [\"vpc\"]\n[names]\ndb = \"198.51.100.1\"\n");
    let server = Server::start(dir.path());
    let ask = |from: &str, to: std::net::SocketAddr, name: &str| {
        let socket = std::net::UdpSocket::bind((from, 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        socket.send(&query(name, RecordType::A).to_vec().unwrap()).unwrap();
        let mut reply = [0; 1232];
        let len = socket.recv(&mut reply).unwrap();
        let message = Message::from_vec(&reply[..len]).unwrap();
        let data: Vec<_> = message.answers.iter().map(|r| r.data.to_string()).collect();
        format!("{:?} {}", message.metadata.response_code, data.join(" "))
    };
    let (first, second) = (server.all[0], server.all[1]);
    let name = "ec2-198-51-100-1.eu-west-1.compute.amazonaws.com.";
    for (from, to, asked, expected) in [
        ("127.0.0.1", first, "db.example.com.", "NoError 10.0.1.5"),
        ("127.0.0.1", first, "far.example.com.", "NoError 10.7.1.5"),
        ("127.0.1.9", first, "db.example.com.", "NoError 10.0.1.5"),
        ("127.0.1.9", first, "far.example.com.", "NoError 198.51.100.2"),
        ("127.0.2.9", first, "db.example.com.", &format!("NoError {name}")),
        ("127.0.2.9", second, "db.example.com.", "NoError 198.51.100.1"),
        ("127.0.0.1", first, "db.inside.test.", "NoError 10.0.1.5"),
        ("127.0.2.9", first, "db.inside.test.", "Refused "),
    ] {
        assert_eq!(ask(from, to, asked), expected, "{asked} from {from} at {to}");
    }
}

#[test]
fn a_client_in_no_view_is_refused() {
    let dir = Dir::new("");
    dir.edit("127.0.0.0/8", "127.0.0.9/32");
    dir.write("example.com.toml", DB);
    let server = Server::start(dir.path());
    let reply = udp(server.dns, &query("db.example.com.", RecordType::A).to_vec().unwrap());
    assert_eq!(
        render(&reply),
        "Refused rd\n? db.example.com. IN A\nedns 0 1232\nede 18 127.0.0.1 is in no view"
    );
}

#[test]
fn a_source_that_never_delivered_is_servfail_for_its_names_only() {
    let dir = Dir::new("");
    std::fs::remove_file(dir.path().join("addresses.json")).unwrap();
    dir.write(
        "example.com.toml",
        "[names]\ndb = \"75.101.137.243\"\nfixed = { address = \"10.0.0.9\" }\n",
    );
    let mut server = Server::start(dir.path());
    let reply = udp(server.dns, &query("db.example.com.", RecordType::A).to_vec().unwrap());
    assert_eq!(
        render(&reply),
        "ServFail rd\n? db.example.com. IN A\nedns 0 1232\nede 14 no addresses yet from sample (file)"
    );
    assert_eq!(server.data("fixed.example.com.", RecordType::A), ["10.0.0.9"]);
    dir.addresses(&[(ELASTIC, Some("10.0.1.5"))]);
    server.wait_for("first answers");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);
}

#[test]
fn a_dead_source_keeps_its_answers_and_says_so() {
    let dir = Dir::with_db("");
    let mut server = Server::start(dir.path());
    dir.replace("addresses.json", "{ \"Addresses\": [");
    server.wait("stalled", |l| l["fields"]["source"] == "sample" && l["level"] == "WARN");
    server.wait_for("published");
    let reply = udp(server.dns, &query("db.example.com.", RecordType::A).to_vec().unwrap());
    let rendered = render(&reply);
    assert!(rendered.contains("\ndb.example.com. 5 A 10.0.1.5\n"), "{rendered}");
    assert!(rendered.contains("\nede 3 ") && rendered.contains("not readable since"), "{rendered}");
}

/// The renderer itself must see differences.
#[test]
fn rendering_tells_messages_apart() {
    let mut one = query("db.example.com.", RecordType::A);
    one.metadata.message_type = MessageType::Response;
    let first = render(&one.to_vec().unwrap());
    one.metadata.authoritative = true;
    let second = render(&one.to_vec().unwrap());
    one.edns = Some(Edns::new());
    one.edns.as_mut().unwrap().set_dnssec_ok(true);
    let third = render(&one.to_vec().unwrap());
    assert!(first != second && second != third);
}
