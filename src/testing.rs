//! Fixtures for unit tests: a snapshot from the texts of a configuration.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::compile::{Input, Serials, compile};
use crate::config::{self, Config, Overrides};
use crate::snapshot::Snapshot;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::identity::Identity;
use crate::source::inventory::{
    Address, Entries, Entry, Health, Inventory, SourceInventory, Standing,
};

/// What a server.toml begins with; a macro, because constants are made of it.
macro_rules! head {
    () => {
        r#"
[listen]
dns = ["127.0.0.1:0"]

[[source]]
name = "sample"
type = "file"
path = "addresses.json"
region = "us-east-1"
"#
    };
}

/// One address to listen at, and the source "sample"; its keys may follow, and views.
pub(crate) const HEAD: &str = head!();

/// Three views: "vpc" (10/8 and loopback, private), "peered" (10.9/16,
/// private, reaches 10.0.0.0/16), "outside" (192.0.2/24, cname).
pub(crate) const SERVER: &str = concat!(
    head!(),
    r#"
[[view]]
name = "vpc"
clients = ["10.0.0.0/8", "127.0.0.0/8"]
answer = "private"

[[view]]
name = "peered"
clients = ["10.9.0.0/16"]
answer = "private"
reaches = ["10.0.0.0/16"]

[[view]]
name = "outside"
clients = ["192.0.2.0/24"]
answer = "cname"
"#
);

/// A `[[view]]` of its own; more keys of it may follow.
pub(crate) fn view(name: &str, clients: &str, answer: &str) -> String {
    format!("\n[[view]]\nname = \"{name}\"\nclients = [\"{clients}\"]\nanswer = \"{answer}\"\n")
}

/// The moment at which fixtures are compiled.
pub(crate) fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Loads a configuration from texts: (file name, text).
pub(crate) fn config(files: &[(&str, &str)]) -> Config {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let loaded = config::load(dir.path(), &Overrides { ec2: true, ..Overrides::default() });
    loaded.unwrap_or_else(|e| panic!("{e}")).config
}

/// An inventory of one healthy source: Elastic IP and private address.
pub(crate) fn inventory(all: &[(Ipv4Addr, Option<Ipv4Addr>)]) -> Inventory {
    let entries: Entries =
        all.iter().map(|(ip, private)| (Allocation::from(*ip), entry(*ip, *private))).collect();
    let source = SourceInventory {
        name: "sample".into(),
        region: Some("us-east-1".into()),
        entries: Some(Arc::new(entries)),
        interfaces: Default::default(),
        health: Health::Healthy,
        delivered_at: Some(noon()),
    };
    vec![source].into()
}

/// A live entry.
pub(crate) fn entry(public_ip: Ipv4Addr, private_ip: Option<Ipv4Addr>) -> Entry {
    Entry {
        address: Arc::new(Address {
            association_id: private_ip.map(|ip| format!("eipassoc-{:08x}", u32::from(ip))),
            private_ip,
            tags: [("Role", "db")].into(),
            ..Address::unassociated(Identity::Public {
                public_ip,
                allocation_id: Some(format!("eipalloc-{:08x}", u32::from(public_ip))),
            })
        }),
        standing: Standing::Live,
        since: noon(),
    }
}

/// A live entry of a carrier address.
pub(crate) fn edge_entry(id: &str, private_ip: Option<Ipv4Addr>) -> Entry {
    let Entry { address, standing, since } = entry([198, 51, 100, 0].into(), private_ip);
    let identity = crate::source::testing::edge(id).identity;
    Entry { address: Address { identity, ..(*address).clone() }.into(), standing, since }
}

/// Compiles.
pub(crate) fn snapshot(config: &Config, inventory: &Inventory) -> Snapshot {
    let mut serials = Serials::default();
    after(config, inventory, &mut serials, None)
}

/// Compiles after an earlier snapshot.
pub(crate) fn after(
    config: &Config,
    inventory: &Inventory,
    serials: &mut Serials,
    previous: Option<&Snapshot>,
) -> Snapshot {
    let addresses = [IpAddr::from([127, 0, 0, 1])];
    let input = Input {
        config,
        epoch: 1,
        inventory,
        addresses: &addresses,
        now: noon(),
        drift: Drift::NONE,
    };
    compile(&input, serials, previous)
}

/// JSON pointers (RFC 6901) to every value in `json`.
pub(crate) fn paths(json: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match json {
        Value::Object(all) => all.iter().map(|(key, one)| (key.clone(), one)).collect(),
        Value::Array(all) => {
            all.iter().enumerate().map(|(at, one)| (at.to_string(), one)).collect()
        }
        _ => return Vec::new(),
    };
    let below = |(step, one): (String, &Value)| {
        let deeper = paths(one).into_iter().map(|path| format!("/{step}{path}"));
        std::iter::once(format!("/{step}")).chain(deeper).collect::<Vec<_>>()
    };
    inner.into_iter().flat_map(below).collect()
}

/// `json` without one of its keys, for each key at any depth: its path, and
/// what is left.
pub(crate) fn without_each_key(json: &Value) -> Vec<(String, Value)> {
    let less = |path: String| {
        let mut less = json.clone();
        let (parent, key) = path.rsplit_once('/')?;
        less.pointer_mut(parent)?.as_object_mut()?.remove(key)?;
        Some((path, less))
    };
    paths(json).into_iter().filter_map(less).collect()
}
