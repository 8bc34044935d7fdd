//! A snapshot without a server: what `check` looks at, and `dump` and `explain`
//! with `--offline`. Each source is asked once, now.

use std::sync::Arc;
use std::time::SystemTime;

use crate::compile::{Input, Serials, compile};
use crate::config::{Config, Source, SourceKind};
use crate::server::own_addresses;
use crate::snapshot::Snapshot;
use crate::source::accept::{Accepted, accept_file};
use crate::source::clock::Drift;
use crate::source::error::SourceError;
use crate::source::inventory::{Health, Inventory, SourceInventory};
use crate::source::usable::{LeftOut, Said};
use crate::source::{file, silent};

/// What can be done where there is no server to ask.
pub const INSTEAD: &str = "--offline reads the configuration and asks the sources instead, and \
                           says what a server would answer that started now";

/// A configuration, what its sources say now, and the answers that gives.
pub struct Offline<'c> {
    /// The configuration.
    pub config: &'c Config,
    /// What the sources say.
    pub inventory: Inventory,
    /// The answers.
    pub snapshot: Snapshot,
    addresses: Vec<std::net::IpAddr>,
    now: SystemTime,
}

impl<'c> Offline<'c> {
    /// The answers that `inventory` gives.
    pub fn new(config: &'c Config, inventory: Inventory) -> Self {
        let addresses = own_addresses(&config.server.listen);
        let now = SystemTime::now();
        let input = Input {
            config,
            epoch: 1,
            inventory: &inventory,
            addresses: &addresses,
            now,
            drift: Drift::NONE,
        };
        let snapshot = compile(&input, &mut Serials::default(), None);
        Self { config, inventory, snapshot, addresses, now }
    }

    /// The sources that have not said anything, and why.
    pub fn failed(&self) -> Vec<(&str, String)> {
        let failed = |source: &SourceInventory| match &source.health {
            Health::Healthy => None,
            Health::Stalled { why, .. } => Some(why.clone()),
            Health::Starting => Some("it was not asked: this program was built without EC2".into()),
        };
        self.inventory.sources.iter().filter_map(|s| Some((s.name.as_str(), failed(s)?))).collect()
    }

    /// What the snapshot was made from.
    pub fn input(&self) -> Input<'_> {
        Input {
            config: self.config,
            epoch: 1,
            inventory: &self.inventory,
            addresses: &self.addresses,
            now: self.now,
            drift: Drift::NONE,
        }
    }
}

/// Asks every source once, now. Takes a few seconds at most.
pub fn inventory(config: &Config) -> Inventory {
    #[cfg(feature = "ec2")]
    let inventory = ask_ec2(config, at_hand(config));
    #[cfg(not(feature = "ec2"))]
    let inventory = at_hand(config);
    inventory
}

/// Calls every EC2 source, all at once.
#[cfg(feature = "ec2")]
fn ask_ec2(config: &Config, mut inventory: Inventory) -> Inventory {
    use crate::server::aws_resolvers;
    use crate::source::ec2::Ec2;
    use crate::source::error::PollError;
    use crate::source::lookup::Resolver;
    use crate::source::poll::Describe;

    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let what = format!("cannot start an event loop to ask EC2: {error}");
            for (said, source) in inventory.sources.iter_mut().zip(&config.server.sources) {
                if let SourceKind::Ec2(_) = source.kind {
                    *said = answered(source, Err(PollError::Other { what: what.clone() }.into()));
                }
            }
            return inventory;
        }
    };
    let resolver = Resolver::new(aws_resolvers(config));
    runtime.block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for (id, source) in config.server.sources.iter().enumerate() {
            let SourceKind::Ec2(ec2) = &source.kind else { continue };
            let mut called = Ec2::new(ec2, source.region.as_deref(), resolver.clone());
            calls.spawn(async move { (id, called.describe().await, called.region()) });
        }
        for (id, answer, region) in calls.join_all().await {
            let source = &config.server.sources[id];
            inventory.sources[id] = answered(
                source,
                answer.map(|said| said.beside(&Said::default())).map_err(Into::into),
            );
            if region.is_some() {
                inventory.sources[id].region = region;
            }
        }
    });
    inventory
}

/// What is at hand without asking anybody: the contents of files. All other
/// sources are yet to deliver.
pub fn at_hand(config: &Config) -> Inventory {
    all_at_hand(config).0
}

/// The same, and what of each source cannot be used.
pub fn all_at_hand(config: &Config) -> (Inventory, Vec<Arc<LeftOut>>) {
    let ask = |source: &Source| match &source.kind {
        SourceKind::File { path } => {
            let said = file::read(path).map_err(Into::into);
            let left_out = said.as_ref().map(|said: &Said| Arc::clone(&said.left_out));
            let left_out = left_out.unwrap_or_default();
            (answered(source, said), left_out)
        }
        SourceKind::Ec2(_) => (silent(source), Arc::default()),
    };
    let (sources, left_out) = config.server.sources.iter().map(ask).unzip();
    (Inventory { sources }, left_out)
}

/// A source's part of the inventory after one answer. A source that fails is
/// stalled and has nothing.
fn answered(source: &Source, answer: Result<Said, SourceError>) -> SourceInventory {
    let now = SystemTime::now();
    let (entries, health) = match answer {
        Ok(said) => {
            let accepted = accept_file(&Accepted::default(), &said, now);
            (Some(accepted.entries), Health::Healthy)
        }
        Err(error) => (None, Health::Stalled { since: now, why: error.to_string() }),
    };
    SourceInventory {
        name: source.name.clone(),
        region: source.region.clone(),
        delivered_at: entries.is_some().then_some(now),
        entries,
        health,
    }
}
