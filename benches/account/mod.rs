//! An account of EC2 for what is measured in process: its addresses, a delivery of
//! them, and a writer that takes it.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on should stop")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

use eipdns::config::{self, Config, Overrides};
use eipdns::source::clock::Clock;
use eipdns::source::identity::Identity;
use eipdns::source::inventory::{Address, Addresses, Health};
use eipdns::source::{Delivery, Waiters, silent};
use eipdns::state::State;
use eipdns::writer::history::History;
use eipdns::writer::{Start, Writer};

/// A configuration with one source, these `[[view]]`s, and the zone "bench.test".
pub(crate) fn config(views: &str, zone: &str) -> Arc<Config> {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let head = "[listen]\ndns = [\"127.0.0.1:0\"]\n[[source]]\nname = \"measured\"\n\
                type = \"file\"\npath = \"none.json\"\nregion = \"us-east-1\"\n";
    write("server.toml", &format!("{head}{views}"));
    write("bench.test.toml", zone);
    config::load(directory.path(), &Overrides::default()).unwrap().config.into()
}

/// A writer whose source has not said anything yet.
pub(crate) fn writer(config: Arc<Config>) -> Writer {
    let start = Start {
        at_hand: config.server.sources.iter().map(silent).collect::<Vec<_>>().into(),
        config,
        state: State::default(),
        addresses: vec![IpAddr::from(Ipv4Addr::LOCALHOST)],
        forwarder: None,
        history: Arc::<History>::default(),
        clock: Clock::start(),
    };
    let Ok((writer, _)) = Writer::new(start) else { unreachable!("the configuration compiles") };
    writer
}

/// What the source says.
pub(crate) fn delivery(answer: &[Arc<Address>]) -> Delivery {
    Delivery {
        source: 0,
        at: SystemTime::now(),
        took: Default::default(),
        region: None,
        answer: Ok(Addresses::from(answer).into()),
        health: Health::Healthy,
        accept_losses: false,
        hinted: false,
        waiters: Waiters::default(),
    }
}

/// Number `n`, in its `k`-th association: to another private address each time.
pub(crate) fn address(n: u32, k: u32) -> Address {
    Address {
        identity: Identity::Public { public_ip: elastic_ip(n), allocation_id: Some(allocation(n)) },
        association_id: Some(format!("eipassoc-{:017x}", u64::from(k) << 32 | u64::from(n))),
        instance_id: None,
        network_interface_id: Some(format!("eni-{n:017x}")),
        network_interface_owner_id: Some("123456789012".into()),
        private_ip: Some(private_ip(n + k * 10_000)),
        service_managed: None,
        tags: [("Name", format!("host {n}"))].into(),
    }
}

/// The id of number `n`.
pub(crate) fn allocation(n: u32) -> String {
    format!("eipalloc-{:017x}", u64::from(n.wrapping_mul(0x9e37_79b9)))
}

/// The Elastic IP of number `n`.
pub(crate) fn elastic_ip(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x3400_0000 + n)
}

/// A private address.
pub(crate) fn private_ip(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + n)
}
