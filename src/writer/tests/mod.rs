//! What stands, whatever is touched or fails; `names`: of names from tags.

mod names;
mod panics;
mod sources;
mod told;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::start::nothing;
use super::*;
use crate::compile::Input;
use crate::config::Source;
use crate::host::log::Queue;
use crate::snapshot::{Freshness, Snapshot};
use crate::source::Waiters;
use crate::source::allocation::Allocation;
use crate::source::error::Class;
use crate::source::error::{PollError, SourceError};
use crate::source::health;
use crate::source::inventory::{Address, Addresses, Entries};
use crate::testing;

const ZONE: &str = "[names]\ndb = \"198.51.100.1\"\nweb = \"198.51.100.2\"\n";

/// A configuration with one EC2 source; `more` are lines of it.
fn ec2(name: &str, more: &str) -> Arc<Config> {
    let sources =
        format!("[[source]]\nname = \"{name}\"\ntype = \"ec2\"\nregion = \"us-east-1\"\n{more}\n");
    sources_of(&sources)
}

fn sources_of(sources: &str) -> Arc<Config> {
    let before = testing::SERVER.find("[[source]]").unwrap();
    let view = testing::SERVER.find("[[view]]").unwrap();
    let server = format!("{}{sources}{}", &testing::SERVER[..before], &testing::SERVER[view..]);
    Arc::new(testing::config(&[("server.toml", server.as_str()), ("example.com.toml", ZONE)]))
}

fn start(config: &Arc<Config>, state: State) -> Start {
    Start {
        config: Arc::clone(config),
        at_hand: nothing(config),
        state,
        addresses: vec![],
        forwarder: None,
        history: Arc::default(),
        clock: Clock::start(),
    }
}

fn writer(config: &Arc<Config>, state: State) -> Writer {
    Writer::new(start(config, state)).unwrap().0
}

fn addresses(all: &[(u8, u8)]) -> Vec<Arc<Address>> {
    let one = |(public, private): &(u8, u8)| {
        let (public, private) =
            (Ipv4Addr::new(198, 51, 100, *public), Ipv4Addr::new(10, 0, 0, *private));
        let entry = testing::entry(public, Some(private));
        Arc::new(Address {
            association_id: Some(format!("eipassoc-{private}")),
            ..Address::clone(&entry.address)
        })
    };
    all.iter().map(one).collect()
}

fn delivery(writer: &Writer, answer: Option<&[(u8, u8)]>) -> Delivery {
    let refused =
        || SourceError::from(PollError::Throttled { code: "RequestLimitExceeded".into() });
    let at = writer.clock.now();
    Delivery {
        source: 0,
        at,
        took: Duration::ZERO,
        region: Some("us-east-1".into()),
        health: match answer {
            Some(_) => Health::Healthy,
            None => Health::Stalled { since: at, class: Class::Other, why: refused().to_string() },
        },
        answer: answer
            .map(|all| Addresses::from(addresses(all)).into())
            .ok_or_else(|| Arc::new(refused())),
        accept_losses: false,
        hinted: false,
        waiters: Waiters::default(),
    }
}

fn deliver(writer: &mut Writer, answer: Option<&[(u8, u8)]>) {
    let delivery = delivery(writer, answer);
    writer.take(0, &delivery).unwrap();
}

fn reload(writer: &mut Writer, config: Arc<Config>) {
    let at_hand = nothing(&config);
    let next = Next { config, at_hand, addresses: vec![], forwarder: None };
    let prepared = writer.prepare(next).unwrap();
    writer.commit(prepared);
}

/// The private addresses that are answered, by the last octets of the Elastic IPs.
fn answered(writer: &Writer) -> Vec<(u8, Option<u8>)> {
    let current = writer.store().full();
    let entries =
        current.snapshot.inventory.sources.first().and_then(|source| source.entries.clone());
    let last = |ip: Ipv4Addr| ip.octets()[3];
    let entry = |entry: &crate::source::inventory::Entry| {
        (last(entry.address.public_ip().unwrap()), entry.address.private_ip.map(last))
    };
    entries.iter().flat_map(|all: &Arc<Entries>| all.values().map(entry)).collect()
}

const BOTH: &[(u8, u8)] = &[(1, 1), (2, 2)];

fn both() -> Vec<(u8, Option<u8>)> {
    vec![(1, Some(1)), (2, Some(2))]
}

/// Something else may be done at the very moment at which a stalled source becomes too
/// old: that is due until it is published.
#[test]
fn what_has_become_too_old_is_due_until_it_is_published() {
    let max_stale = "[serve]\nmax_stale = \"10s\"\n";
    let config = sources_of(&format!(
        "[[source]]\nname = \"east\"\ntype = \"ec2\"\nregion = \"us-east-1\"\n{max_stale}"
    ));
    let mut writer = writer(&config, State::default());
    let is_too_old = |writer: &Writer| {
        let current = writer.store().full();
        matches!(current.snapshot.sources[0].freshness, Freshness::TooOld(_))
    };
    let now = writer.clock.now();
    let good = Delivery { at: now - Duration::from_secs(9), ..delivery(&writer, Some(BOTH)) };
    writer.take(0, &good).unwrap();
    assert_eq!(writer.due().too_old, None);
    deliver(&mut writer, None);
    // Real time is what it is about: nobody looks for a second.
    while writer.clock.now() <= now + Duration::from_millis(1_010) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let due = writer.due().too_old;
    assert!(due.is_some_and(|at| at <= writer.clock.now()) || is_too_old(&writer), "{due:?}");
    writer.tick();
    assert!(is_too_old(&writer));
    assert_eq!(writer.due().too_old, None);
}

#[test]
fn what_a_swap_replaced_is_freed_without_another_swap() {
    let mut writer = writer(&ec2("east", ""), State::default());
    let first = Arc::downgrade(&writer.store().full());
    deliver(&mut writer, Some(&[(1, 1)]));
    assert_eq!(writer.free_retired(true), 0);
    assert!(first.upgrade().is_none());
}
