//! Public EC2 names answered from memory, each a zone of one name.

use hickory_proto::rr::RecordType;

use super::Client;
use crate::fixtures::records::knows;
use crate::fixtures::upstream::Upstream;
use crate::harness::{DB, Dir, EC2_NAME, ELASTIC, Server, view};

/// Ours but associated with nothing, and not ours at all.
const IDLE: &str = "ec2-75-101-137-245.compute-1.amazonaws.com.";
const OTHERS: &str = "ec2-75-101-137-250.compute-1.amazonaws.com.";

/// Clients whose view differs.
fn more_views() -> String {
    [
        view("outside", "127.9.0.0/16", "public") + "forward = true\n",
        view("elsewhere", "127.10.0.0/16", "private") + "forward = true\nec2_names = false\n",
        view("far", "127.11.0.0/16", "private") + "reaches = [\"10.99.0.0/16\"]\nforward = true\n",
        view("alone", "127.12.0.0/16", "private") + "ec2_names = true\n",
        view("aliases", "127.13.0.0/16", "cname") + "forward = true\n",
    ]
    .concat()
}

fn world() -> (Upstream, Dir, Server) {
    let upstream = Upstream::start(knows(&[
        &format!("{EC2_NAME} 300 A {ELASTIC}"),
        &format!("{IDLE} 300 A 75.101.137.245"),
        &format!("{OTHERS} 300 A 75.101.137.250"),
    ]));
    let dir = Dir::forwarding(&[upstream.at], &more_views());
    addresses(&dir, Some("10.0.1.5"));
    // Its moves are in the log.
    dir.write("example.com.toml", DB);
    let server = Server::start(dir.path());
    (upstream, dir, server)
}

fn addresses(dir: &Dir, private: Option<&str>) {
    dir.addresses(&[(ELASTIC, private), ("75.101.137.245", None)]);
}

fn soa() -> String {
    format!("authority {EC2_NAME} 5 SOA localhost. nobody.invalid. SERIAL 3600 1200 604800 5")
}

#[test]
fn each_name_is_a_zone_of_its_own() {
    let (upstream, _dir, server) = world();
    let client = Client::of(server.dns);
    let (own, below) = (soa(), format!("deep.below.{EC2_NAME}"));
    for (name, rtype, expected) in [
        (
            EC2_NAME,
            RecordType::A,
            format!("NoError aa rd ra\n? {EC2_NAME} IN A\n{EC2_NAME} 5 A 10.0.1.5"),
        ),
        (
            EC2_NAME,
            RecordType::ANY,
            format!("NoError aa rd ra\n? {EC2_NAME} IN ANY\n{EC2_NAME} 5 A 10.0.1.5"),
        ),
        (EC2_NAME, RecordType::AAAA, format!("NoError aa rd ra\n? {EC2_NAME} IN AAAA\n{own}")),
        (EC2_NAME, RecordType::TXT, format!("NoError aa rd ra\n? {EC2_NAME} IN TXT\n{own}")),
        (
            EC2_NAME,
            RecordType::SOA,
            format!("NoError aa rd ra\n? {EC2_NAME} IN SOA\n{}", own.replace("authority ", "")),
        ),
        (
            EC2_NAME,
            RecordType::NS,
            format!("NoError aa rd ra\n? {EC2_NAME} IN NS\n{EC2_NAME} 5 NS localhost."),
        ),
        (&below, RecordType::A, format!("NXDomain aa rd ra\n? {below} IN A\n{own}")),
    ] {
        let told = client.told(name, rtype);
        assert_eq!(told, format!("{expected}\nedns 0 1232"), "{name} {rtype}");
    }
    assert_eq!(upstream.names(), [""; 0], "all of it from memory");

    let without_rd = |message: &mut hickory_proto::op::Message| {
        message.metadata.recursion_desired = false;
    };
    assert_eq!(
        client.told_with(EC2_NAME, RecordType::A, without_rd),
        format!("NoError aa ra\n? {EC2_NAME} IN A\n{EC2_NAME} 5 A 10.0.1.5\nedns 0 1232")
    );
    // Asked for as it is written by people.
    let odd = EC2_NAME.replace("ec2", "eC2");
    assert_eq!(
        client.told(&odd, RecordType::A),
        format!("NoError aa rd ra\n? {odd} IN A\n{odd} 5 A 10.0.1.5\nedns 0 1232")
    );
}

/// What is the parent's to say, or nobody's of ours, is asked upstream.
#[test]
fn the_rest_is_forwarded() {
    let (upstream, _dir, server) = world();
    let client = Client::of(server.dns);
    let theirs = "authority test. 30 SOA ns.test. host.test. SERIAL 60 60 60 30";
    assert_eq!(
        client.told(EC2_NAME, RecordType::DS),
        format!("NoError rd ra\n? {EC2_NAME} IN DS\n{theirs}\nedns 0 1232")
    );
    for (name, address) in [(IDLE, "75.101.137.245"), (OTHERS, "75.101.137.250")] {
        assert_eq!(
            client.told(name, RecordType::A),
            format!("NoError rd ra\n? {name} IN A\n{name} 300 A {address}\nedns 0 1232")
        );
    }
    assert_eq!(
        client.told("compute-1.amazonaws.com.", RecordType::SOA),
        format!("NXDomain rd ra\n? compute-1.amazonaws.com. IN SOA\n{theirs}\nedns 0 1232")
    );
    let asked = [
        format!("{EC2_NAME} DS"),
        format!("{IDLE} A"),
        format!("{OTHERS} A"),
        "compute-1.amazonaws.com. SOA".to_owned(),
    ];
    assert_eq!(upstream.names(), asked);
    // Without RD nobody is asked: what there is at the name says no.
    let told = client.told_with(EC2_NAME, RecordType::DS, |m| m.metadata.recursion_desired = false);
    assert_eq!(told, format!("NoError aa ra\n? {EC2_NAME} IN DS\n{}\nedns 0 1232", soa()));
    assert_eq!(upstream.names().len(), 4);
}

#[test]
fn each_view_gets_what_a_bound_name_would_get() {
    let (upstream, _dir, server) = world();
    let client = Client::of(server.dns);
    for (from, head, ttl, address) in [
        ("127.0.0.1", "NoError aa rd ra", 5, "10.0.1.5"),
        ("127.9.0.1", "NoError aa rd ra", 5, ELASTIC),
        ("127.11.0.1", "NoError aa rd ra", 5, ELASTIC),
        ("127.12.0.1", "NoError aa rd", 5, "10.0.1.5"),
        ("127.13.0.1", "NoError aa rd ra", 5, "10.0.1.5"),
    ] {
        assert_eq!(
            client.from(from).told(EC2_NAME, RecordType::A),
            format!("{head}\n? {EC2_NAME} IN A\n{EC2_NAME} {ttl} A {address}\nedns 0 1232"),
            "{from}"
        );
    }
    assert_eq!(upstream.names(), [""; 0]);
    assert_eq!(
        client.from("127.10.0.1").told(EC2_NAME, RecordType::A),
        format!("NoError rd ra\n? {EC2_NAME} IN A\n{EC2_NAME} 300 A {ELASTIC}\nedns 0 1232"),
        "a view without ec2_names"
    );
    assert_eq!(upstream.names(), [format!("{EC2_NAME} A")]);
}

/// Moved, then associated with nothing, then with something again. Whatever
/// was cached while it was not at home stays unseen when it is.
#[test]
fn follows_the_association() {
    let (upstream, dir, mut server) = world();
    let client = Client::of(server.dns);
    let at_home =
        |private: &str| format!("NoError aa rd ra\n? {EC2_NAME} IN A\n{EC2_NAME} 5 A {private}");
    let is = |expected: String| {
        assert_eq!(client.told(EC2_NAME, RecordType::A), format!("{expected}\nedns 0 1232"));
    };
    is(at_home("10.0.1.5"));
    addresses(&dir, Some("10.0.2.7"));
    server.wait_for_move("new", "10.0.2.7");
    is(at_home("10.0.2.7"));

    addresses(&dir, None);
    server.wait_for_move("old", "10.0.2.7");
    is(format!("NoError rd ra\n? {EC2_NAME} IN A\n{EC2_NAME} 300 A {ELASTIC}"));
    assert_eq!(upstream.count(EC2_NAME), 1);

    addresses(&dir, Some("10.0.3.9"));
    server.wait_for_move("new", "10.0.3.9");
    is(at_home("10.0.3.9"));
    assert_eq!(upstream.count(EC2_NAME), 1);
}
