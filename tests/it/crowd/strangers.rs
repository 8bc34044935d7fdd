//! Clients in no view, over TCP: they are told so, and take no place.

use std::net::{Ipv4Addr, TcpStream};

use hickory_proto::op::ResponseCode;

use crate::fixtures::connections::{
    ask, connect_from, is_closed, many_descriptors, start_with_descriptors, until_closed,
};
use crate::fixtures::promtool::Scrape;
use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, Server};

/// One view, of 127.0.0.0/24: all other loopback addresses are strangers.
fn dir(listen: &str) -> Dir {
    let dir = Dir::with_db("");
    dir.http();
    dir.listen(listen);
    dir.edit("127.0.0.0/8", "127.0.0.0/24");
    dir
}

fn stranger(nth: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, (nth % 20) as u8 + 1)
}

/// As many idle connections as a host with 1,024 descriptors can have, and
/// half as many more, from 20 addresses.
#[test]
fn strangers_take_no_place_from_clients() {
    let dir = dir("");
    let server = start_with_descriptors(dir.path(), 1024);
    let dns = server.dns;
    let known: Vec<_> = (0..40).map(|_| connect_from([127, 0, 0, 1], dns)).collect();
    for stream in &known {
        assert_eq!(ask(stream, "db.example.com.").unwrap().answers.len(), 1);
    }
    let crowd: Vec<TcpStream> = (0..1500).map(|nth| connect_from(stranger(nth), dns)).collect();
    // Newcomers are let in, and who was there before them is still there.
    for _ in 0..40 {
        let newcomer = connect_from([127, 0, 0, 1], dns);
        assert_eq!(ask(&newcomer, "db.example.com.").unwrap().answers.len(), 1);
    }
    for stream in &known {
        assert_eq!(ask(stream, "db.example.com.").unwrap().answers.len(), 1);
    }
    // A stranger that asks is told what it is.
    let asking = connect_from([127, 0, 1, 99], dns);
    let answer = ask(&asking, "db.example.com.").unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    // And none stays.
    for stream in &crowd {
        until_closed(stream);
    }
    until_closed(&asking);
    let metrics = Scrape::of(&server.http());
    let strangers =
        |event: &str| metrics.value("eipdns_tcp_strangers_total", &format!("event=\"{event}\""));
    assert!(strangers("accepted") >= 64.0);
    assert_eq!(strangers("accepted") + strangers("refused"), 1501.0);
    assert!(strangers("evicted") > 0.0);
    assert_eq!(metrics.sample("eipdns_tcp_connections_total{event=\"accept_error\"}"), 0.0);
}

/// A handful of clients that hold all places, by traffic too: the newcomer
/// gets the place of one that has most, not of one that has few.
#[test]
fn a_newcomer_takes_a_place_from_who_has_most() {
    many_descriptors();
    let dir = dir("tcp_clients = 256\ntcp_per_client = 64");
    let server = Server::start(dir.path());
    let light = connect_from([127, 0, 0, 100], server.dns);
    assert!(ask(&light, "db.example.com.").is_some());
    // Together 320: more than there are places.
    let heavy: Vec<_> =
        (0..320).map(|nth| connect_from([127, 0, 0, (nth % 5) as u8 + 1], server.dns)).collect();
    eventually("all places are taken", || heavy.iter().filter(|s| is_closed(s)).count() >= 65);
    for round in 0..30u8 {
        // Trickle traffic: all that are left are active.
        for stream in heavy.iter().filter(|stream| !is_closed(stream)) {
            let _ = ask(stream, "db.example.com.");
        }
        let newcomer = connect_from([127, 0, 0, 101 + round % 3], server.dns);
        assert!(ask(&newcomer, "db.example.com.").is_some(), "round {round}");
        assert!(ask(&light, "db.example.com.").is_some(), "round {round}");
    }
}
