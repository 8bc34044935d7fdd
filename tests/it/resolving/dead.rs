//! Upstreams that are gone: stale answers (RFC 8767), and our own names.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use eipdns::forward::CLIENT_PATIENCE;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use super::records::knows;
use super::upstream::{Answer, Upstream};
use super::{Client, ELASTIC, Latencies, forwarding, remarks};
use crate::harness::{Dir, PATIENCE, Server, query};

/// How long a client with a stale answer at hand waits, with room for a busy
/// machine. Less than two seconds without it.
const AT_FIRST: Duration = CLIENT_PATIENCE.saturating_add(Duration::from_secs(1));
const _: () = assert!(CLIENT_PATIENCE.as_millis() < 2_000);

/// Less than that and than any try: nobody was waited for.
const AT_ONCE: Duration = Duration::from_secs(1);

/// No own answer may take as long, however busy the machine.
const BOUND: Duration = Duration::from_secs(1);

fn server(upstream: &Upstream) -> (Dir, Server) {
    let dir = forwarding(&[upstream.at], "");
    dir.write("example.com.toml", &format!("[names]\ndb = \"{ELASTIC}\"\n"));
    let server = Server::start(dir.path());
    (dir, server)
}

fn timed(client: Client, name: &str) -> (Message, Duration) {
    let begun = Instant::now();
    let told = client.ask(name, RecordType::A);
    (told, begun.elapsed())
}

#[test]
fn stale_answers_in_time_then_at_once_then_fresh_again() {
    const RECORDS: [&str; 1] = ["www.test. 1 A 192.0.2.80"];
    let upstream = Upstream::start(|asked| {
        let mut message = match knows(&RECORDS)(asked) {
            Answer::Say(all) => Message::from_vec(&all[0]).unwrap(),
            _ => unreachable!("it always says something"),
        };
        message.authorities.iter_mut().for_each(|soa| soa.ttl = 1);
        message.into()
    });
    let (_dir, mut server) = server(&upstream);
    let client = Client::of(server.dns);
    let cases =
        [("www.test.", ResponseCode::NoError, 3), ("none.test.", ResponseCode::NXDomain, 19)];
    for (name, rcode, _) in cases {
        let (told, _) = timed(client, name);
        assert_eq!((told.metadata.response_code, remarks(&told)), (rcode, vec![]));
    }
    upstream.change(|_| Answer::Silence);
    // A TTL passes with the time and nothing else.
    std::thread::sleep(Duration::from_millis(1_100));
    std::thread::scope(|scope| {
        for (name, rcode, code) in cases {
            scope.spawn(move || {
                for (most, when) in [(AT_FIRST, "at first"), (AT_ONCE, "then"), (AT_ONCE, "then")] {
                    let (told, took) = timed(client, name);
                    println!("stale {name} {when}: {took:.1?}");
                    assert!(took < most, "{name} {when}: {took:?}");
                    assert_eq!(told.metadata.response_code, rcode);
                    let why = remarks(&told);
                    assert_eq!(why[0].0, code, "{why:?}");
                    let records = told.answers.iter().chain(&told.authorities);
                    assert!(records.clone().all(|record| record.ttl == 30), "{told}");
                    assert_eq!(records.count(), 1);
                }
            });
        }
    });
    server.wait("upstream is down", |line| {
        let text = line["fields"]["message"].as_str().unwrap_or_default();
        text.starts_with("upstream is down")
    });
    upstream.change(knows(&["www.test. 60 A 192.0.2.81"]));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (told, took) = timed(client, "www.test.");
        assert!(took < AT_ONCE, "{took:?}");
        if remarks(&told).is_empty() {
            assert_eq!(told.answers[0].data.to_string(), "192.0.2.81");
            break;
        }
        assert!(Instant::now() < deadline, "it answers again and nobody notices");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.wait_for("upstream answers again");
}

/// An alias to a name whose upstream is gone: stale too, never bare.
#[test]
fn an_alias_leads_to_a_stale_answer() {
    let upstream = Upstream::start(knows(&["www.test. 1 A 192.0.2.80"]));
    let (dir, mut server) = server(&upstream);
    dir.write("alias.zone", "alias 5 CNAME www.test.\n");
    dir.write("more.test.toml", "records = \"alias.zone\"\n");
    server.signal("HUP");
    server.wait_for("configuration reloaded");
    let client = Client::of(server.dns);
    assert_eq!(client.data("alias.more.test.", RecordType::A), ["www.test.", "192.0.2.80"]);
    upstream.change(|_| Answer::Silence);
    std::thread::sleep(Duration::from_millis(1_100));
    for most in [AT_FIRST, AT_ONCE] {
        let (told, took) = timed(client, "alias.more.test.");
        assert!(took < most, "{took:?}");
        assert_eq!(told.answers.len(), 2);
        assert_eq!(told.answers[1].ttl, 30);
        assert_eq!(remarks(&told)[0].0, 3, "{told}");
    }
}

/// Asks for our own name, one question after the other.
fn own(client: Client, times: usize) -> Latencies {
    let ask = |_| {
        let (told, took) = timed(client, "db.example.com.");
        assert_eq!(told.answers[0].data.to_string(), "10.0.1.5");
        took
    };
    Latencies((0..times).map(ask).collect())
}

#[test]
fn own_names_do_not_notice() {
    const TIMES: usize = 2_000;
    const FOREIGN: usize = 2_000;
    let upstream = Upstream::start(knows(&["www.test. 60 A 192.0.2.80"]));
    let (_dir, server) = server(&upstream);
    let client = Client::of(server.dns);
    client.ask("www.test.", RecordType::A);
    let before = own(client, TIMES);
    upstream.change(|_| Answer::Silence);
    // More than may be under way at once; nobody waits for the answers.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    for n in 0..FOREIGN {
        let octets = query(&format!("x{n}.test."), RecordType::A).to_vec().unwrap();
        socket.send(&octets).unwrap();
    }
    upstream.wait_for("x0.test.", 1);
    let during = own(client, TIMES);
    println!("own names, upstream well: {before}\nown names, upstream dead: {during}");
    assert!(during.percentile(100) < BOUND, "{during}");
    let told = client.from("127.3.0.1").ask("db.example.com.", RecordType::A);
    assert_eq!(told.metadata.response_code, ResponseCode::NoError);
}
