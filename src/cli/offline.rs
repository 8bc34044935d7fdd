//! A snapshot without a server: what `check` looks at, and `dump` and `explain`
//! with `--offline`.

use std::sync::Arc;
use std::time::SystemTime;

use super::access::wants_ipv6;
use super::{Exit, print};
use crate::compile::{Input, Serials, compile};
use crate::config::{Config, SourceId};
use crate::host::addresses::own_addresses;
use crate::source::clock::Drift;
use crate::source::error::SourceError;
use crate::source::inventory::{Health, Inventory, SourceInventory};
use crate::source::once;
use crate::store::Current;
use crate::writer::interfaces::Wants;

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
    pub current: Current,
    addresses: Vec<std::net::IpAddr>,
    now: SystemTime,
}

/// What every source says now, of network interfaces too where names want their IPv6 addresses.
/// Takes some seconds at most.
///
/// # Errors
/// A source does not say all of interfaces: an answer would be a part of one.
pub(super) fn ask(config: &Config) -> Result<Inventory, Exit> {
    let mut inventory = once::inventory(config);
    let failed = ask_interfaces(config, &mut inventory, Extent::Wanted);
    for (id, error) in &failed {
        let name = inventory.sources.get(*id).map_or("", |source| source.name.as_str());
        print::complain(&format_args!(
            "--offline: source {name} says nothing of network interfaces: {error}"
        ));
    }
    if failed.is_empty() { Ok(inventory) } else { Err(Exit::No) }
}

/// For what sources are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those interfaces that names stand on.
    Wanted,
    /// Where there are none and a name may want one some day, one that does not exist: whether
    /// it is allowed to ask.
    AtLeastOne,
}

/// No interface has this id: EC2's have random ones.
const NO_INTERFACE: &str = "eni-00000000000000000";

/// Asks for the network interfaces of which names want the IPv6 address. Gives the sources that
/// do not say all, and why.
pub(super) fn ask_interfaces(
    config: &Config,
    inventory: &mut Inventory,
    extent: Extent,
) -> Vec<(SourceId, Arc<SourceError>)> {
    let mut wanted: Vec<_> = Wants::new(config).follow(inventory).cloned().collect();
    for (id, wanted) in wanted.iter_mut().enumerate() {
        if extent == Extent::AtLeastOne && wanted.is_empty() && wants_ipv6(config, id) {
            *wanted = Arc::new([NO_INTERFACE.into()].into());
        }
    }
    let mut failed = Vec::new();
    for told in once::interfaces(config, &wanted) {
        match (told.answer, inventory.sources.get_mut(told.source)) {
            (Ok(all), Some(source)) => source.interfaces.hear(&all),
            (Err(error), _) => failed.push((told.source, error)),
            (_, None) => {}
        }
    }
    failed
}

impl<'c> Offline<'c> {
    /// The answers that `inventory` gives.
    pub fn new(config: &'c Config, inventory: Inventory) -> Self {
        let addresses = own_addresses(&config.server.listen.dns);
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
        Self { config, inventory, current: snapshot.into(), addresses, now }
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
