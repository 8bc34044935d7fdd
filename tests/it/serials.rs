//! Serials of two replicas: never one for two contents.

use std::collections::BTreeMap;

use hickory_proto::rr::RecordType;

use crate::harness::{Dir, Server};

fn serial(server: &Server) -> u32 {
    let soa = server.data("example.com.", RecordType::SOA);
    soa[0].split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
fn two_replicas_never_give_one_serial_to_two_contents() {
    let mut given: BTreeMap<u32, String> = BTreeMap::new();
    let dirs = [1, 2].map(|number| {
        let dir = Dir::with_db(&format!("\n[state]\nreplica = \"{number}/2\"\n"));
        (number, dir)
    });
    let mut servers = dirs.each_ref().map(|(_, dir)| Server::start(dir.path()));
    for round in 0..20 {
        for ((number, dir), server) in dirs.iter().zip(&mut servers) {
            // They see moves in different order.
            let private = format!("10.0.{}.{}", number * (round + 1) % 7 + 1, round + 1);
            server.moves(dir, &private);
            let serial = serial(server);
            assert_eq!(serial % 2, number % 2, "replica {number} of 2");
            let content = given.entry(serial).or_insert_with(|| private.clone());
            assert_eq!(*content, private, "one serial, {serial}, for two contents");
        }
    }
    assert_eq!(given.len(), 40);
    // A restart goes on with its own.
    let [(number, dir), _] = &dirs;
    let [first, _] = servers;
    let before = serial(&first);
    assert!(first.stop().success());
    let mut first = Server::start(dir.path());
    assert_eq!(serial(&first), before);
    first.moves(dir, "10.0.9.9");
    assert_eq!(serial(&first) % 2, number % 2);
    assert!(serial(&first) > before);
}
