//! Upstreams that are gone: stale answers (RFC 8767), and our own names.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use eipdns::forward::CLIENT_PATIENCE;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use super::records::knows;
use super::upstream::{Answer, Asked, Upstream};
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

/// Names without an answer, one each 10 ms, while others are answered: nothing
/// is said, and nothing is to be said. Then the upstream dies and comes back.
#[test]
fn a_slow_name_is_no_dead_upstream() {
    const DEAD: u32 = 400;
    let good = |asked: &Asked| asked.with(&[&format!("{} 0 A 192.0.2.80", asked.name())]).into();
    let upstream = Upstream::start(move |asked| match asked.label().starts_with("dead") {
        true => Answer::Silence,
        false => good(asked),
    });
    let (_dir, mut server) = server(&upstream);
    let client = Client::of(server.dns);
    let said = |server: &Server, what: &str| {
        let text = |line: &serde_json::Value| {
            line["fields"]["message"].as_str().unwrap_or_default().starts_with(what)
        };
        server.lines().into_iter().filter(text).count()
    };
    // Nobody waits for these answers.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.dns).unwrap();
    for n in 0..DEAD {
        let octets = query(&format!("dead{n}.test."), RecordType::A).to_vec().unwrap();
        socket.send(&octets).unwrap();
        std::thread::sleep(Duration::from_millis(10));
        if n % 10 == 0 {
            assert_eq!(client.data("good.test.", RecordType::A), ["192.0.2.80"]);
        }
    }
    // The last ones are given up: nothing else was answered meanwhile.
    let last = client.ask("dead.test.", RecordType::A);
    assert_eq!(last.metadata.response_code, ResponseCode::ServFail);
    assert_eq!((said(&server, "upstream is down"), said(&server, "upstream answers")), (0, 0));
    assert!(upstream.checks() > 0, "but it was asked whether it lives");

    upstream.change(|_| Answer::Silence);
    assert_eq!(client.ask("x.test.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    server.wait("upstream is down", |line| {
        line["fields"]["upstream"] == upstream.at.to_string() && line["fields"]["left_out"] == 0
    });
    upstream.change(good);
    assert_eq!(client.data("y.test.", RecordType::A), ["192.0.2.80"]);
    server.wait_for("upstream answers again");
    assert_eq!((said(&server, "upstream is down"), said(&server, "upstream answers")), (1, 1));
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
