//! P1: an answer comes from exactly one snapshot. Two addresses are exchanged
//! over and over under load; no answer may hold both states.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;

use crate::harness::{Dir, PATIENCE, Server, query};

/// How often the addresses are exchanged.
const EXCHANGES: usize = 3_000;

/// Two tagged addresses: the set "pool" holds .1 and .2, or .3 and .4, never
/// one of each.
fn state(second: bool) -> String {
    let (a, b) = if second { (3, 4) } else { (1, 2) };
    format!(
        r#"{{"Addresses": [
        {{"PublicIp": "198.51.100.1", "PrivateIpAddress": "10.0.0.{a}", "AssociationId": "eipassoc-{a}",
          "Tags": [{{"Key": "Role", "Value": "db"}}]}},
        {{"PublicIp": "198.51.100.2", "PrivateIpAddress": "10.0.0.{b}", "AssociationId": "eipassoc-{b}",
          "Tags": [{{"Key": "Role", "Value": "db"}}]}}]}}"#
    )
}

fn is_one_state(set: &BTreeSet<String>) -> bool {
    let of = |all: [&str; 2]| all.map(String::from).into_iter().collect::<BTreeSet<_>>();
    *set == of(["10.0.0.1", "10.0.0.2"]) || *set == of(["10.0.0.3", "10.0.0.4"])
}

/// Asks until told to stop; gives how many answers were mixtures.
fn hammer(dns: SocketAddr, stop: &AtomicBool, asked: &AtomicU64) -> Vec<BTreeSet<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(dns).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let octets = query("pool.example.com.", RecordType::A).to_vec().unwrap();
    let mut mixtures = Vec::new();
    let mut reply = [0; 1232];
    while !stop.load(Ordering::Relaxed) {
        socket.send(&octets).unwrap();
        let len = socket.recv(&mut reply).expect("no answer is lost");
        let message = Message::from_vec(&reply[..len]).unwrap();
        let set: BTreeSet<_> = message.answers.iter().map(|r| r.data.to_string()).collect();
        if !is_one_state(&set) {
            mixtures.push(set);
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
    mixtures
}

#[test]
fn no_answer_is_a_mixture() {
    let dir = Dir::new("");
    dir.replace("addresses.json", &state(false));
    dir.write("example.com.toml", "[names]\npool = { tag = { Role = \"db\" } }\n");
    dir.http();
    let mut server = Server::start(dir.path());
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let askers: Vec<_> = (0..2)
        .map(|_| {
            let (stop, asked, dns) = (stop.clone(), asked.clone(), server.dns);
            std::thread::spawn(move || hammer(dns, &stop, &asked))
        })
        .collect();
    for n in 0..EXCHANGES {
        dir.replace("addresses.json", &state(n % 2 == 0));
        let expected = if n % 2 == 0 { "10.0.0.3 10.0.0.4" } else { "10.0.0.1 10.0.0.2" };
        server.wait("moved", |l| l["fields"]["new"] == expected);
        if n % 500 == 0 {
            // A dump is of one snapshot; offline it reads the file, as one whole.
            let offline: &[&str] = if n % 1000 == 0 { &["--offline"] } else { &[] };
            let dump = server.command(&dir, &[&["dump", "example.com"], offline].concat());
            assert!(dump.status.success(), "{dump:?}");
            let text = String::from_utf8(dump.stdout).unwrap();
            let set = text
                .lines()
                .filter(|l| l.starts_with("pool.example.com."))
                .map(|l| l.rsplit([' ', '\t']).next().unwrap().to_string())
                .collect();
            assert!(is_one_state(&set), "{text}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mixtures: Vec<_> = askers.into_iter().flat_map(|a| a.join().unwrap()).collect();
    assert!(asked.load(Ordering::Relaxed) > EXCHANGES as u64, "the load was no load");
    assert!(mixtures.is_empty(), "{} mixtures, such as {:?}", mixtures.len(), mixtures[0]);
}

/// The check above must be able to fail.
#[test]
fn a_mixture_is_seen_as_one() {
    let set = |all: &[&str]| all.iter().map(ToString::to_string).collect();
    assert!(is_one_state(&set(&["10.0.0.1", "10.0.0.2"])));
    for mixture in [&["10.0.0.1", "10.0.0.4"][..], &["10.0.0.1"], &[], &["10.0.0.2", "10.0.0.3"]] {
        assert!(!is_one_state(&set(mixture)), "{mixture:?}");
    }
}
