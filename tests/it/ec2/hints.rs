//! Replicas that tell each other to look.

use super::scripted::{Ec2, public};
use super::{configure, refresh, settled, source};
use crate::fixtures::relay::Relay;
use crate::replicas::with_peers;

const ZONE: &str =
    "nameservers = [\"ns1\"]\n[names]\nns1 = { address = \"10.0.0.53\" }\nn1 = \"75.101.137.1\"\n";

/// They poll next to never, so each sees by itself nothing but what it is told to look at.
/// A move is told once to each of the others, by the one that has seen it.
#[test]
fn a_move_that_one_sees_is_seen_by_all() {
    let ec2 = Ec2::with(1);
    let relays: Vec<_> = (0..3).map(|_| Relay::start()).collect();
    let (mut dirs, mut servers) = (Vec::new(), Vec::new());
    for (nth, relay) in relays.iter().enumerate() {
        let others = relays.iter().enumerate().filter(|(other, _)| *other != nth);
        let others: Vec<_> = others.map(|(_, relay)| relay.at).collect();
        let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "");
        with_peers(&dir, &others);
        dir.write("example.com.toml", ZONE);
        let server = settled(&dir);
        relay.to(&server.http());
        dirs.push(dir);
        servers.push(server);
    }
    for first in 0..3 {
        let private = format!("10.0.7.{first}");
        ec2.change(&public(1), |a| a.at(&private, &format!("eipassoc-{first:017}")));
        assert!(refresh(&servers[first], false).is_empty());
        for server in &mut servers {
            server.wait_for_move("new", &private);
        }
    }
    for relay in &relays {
        assert_eq!(relay.asked("POST /api/hint?source=east "), 2);
        assert_eq!(relay.asked("POST"), 2);
    }
    for server in &servers {
        assert_eq!(server.metric("eipdns_hints_total{event=\"received\"}"), 2.0);
        assert_eq!(server.metric("eipdns_hints_total{event=\"ignored\"}"), 0.0);
    }
}
