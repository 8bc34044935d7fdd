//! What the sources say right now: addresses and who holds them.
//!
//! An [`Inventory`] is a value: the writer builds a new one from what each
//! source last delivered (after `accept` has looked at losses)
//! and hands it to `compile`. Two inventories that compare equal compile to
//! the same answers, so nothing is published for them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use super::allocation::Allocation;
use super::discover::{Answered, Discovered, Now, Remembered, Rules, discover};
use super::error::Class;
use super::identity::Identity;
use super::interfaces::Chosen;
use super::tags::Tags;

/// One address as `DescribeAddresses` tells of it
/// (EC2 API reference, `Address`). An empty string is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Which one it is: an Elastic IP, or one without a public address.
    #[serde(flatten)]
    pub identity: Identity,
    /// `eipassoc-…`; new with each association.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association_id: Option<String>,
    /// The instance it is assigned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The network interface it is assigned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interface_id: Option<String>,
    /// The account that owns that interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interface_owner_id: Option<String>,
    /// The private address it is associated with: exact for secondary
    /// addresses too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_ip: Option<Ipv4Addr>,
    /// `alb`, `nlb`, `rnat`, `rds`: AWS manages the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_managed: Option<String>,
    /// Tags, by key.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

impl Address {
    /// An address of which nothing else is known: it is not associated.
    pub fn unassociated(identity: impl Into<Identity>) -> Self {
        Self {
            identity: identity.into(),
            association_id: None,
            instance_id: None,
            network_interface_id: None,
            network_interface_owner_id: None,
            private_ip: None,
            service_managed: None,
            tags: Default::default(),
        }
    }

    /// What it is known by from one answer to the next.
    pub fn allocation(&self) -> Allocation {
        self.identity.allocation()
    }

    /// The Elastic IP, if it is one.
    pub fn public_ip(&self) -> Option<Ipv4Addr> {
        self.identity.public_ip()
    }

    /// `eipalloc-…`; none: a file lacks it.
    pub fn allocation_id(&self) -> Option<&str> {
        self.identity.allocation_id()
    }

    /// The private address, while the address is associated.
    pub fn associated(&self) -> Option<Ipv4Addr> {
        self.private_ip
    }
}

/// The addresses in one answer of a source, each allocation once. Those that are as in the answer
/// before are the same memory: see [`known`](crate::source::known).
pub type Addresses = Arc<[Arc<Address>]>;

/// Whether an address stands as the source last said, or is being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As in the last good answer.
    Live,
    /// Unassociated in good answers since then; its last association is kept.
    Unassociated {
        /// First good answer that showed it so.
        since: SystemTime,
    },
    /// Absent from good answers since then; its last state is kept.
    Missing {
        /// First good answer without it.
        since: SystemTime,
    },
}

impl Standing {
    /// For an address that is kept: in which way, and since when.
    pub fn kept(self) -> Option<(&'static str, SystemTime)> {
        match self {
            Standing::Live => None,
            Standing::Unassociated { since } => Some(("unassociated", since)),
            Standing::Missing { since } => Some(("missing", since)),
        }
    }
}

/// One address of a source's accepted set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is answered. Shared with the sets before for as long as it stays
    /// as it is: a source with thousands of addresses seldom changes more than
    /// one, and the others are then neither copied nor compared.
    pub address: Arc<Address>,
    /// As said, or kept.
    pub standing: Standing,
    /// When this association was first seen; decides between sources.
    pub since: SystemTime,
}

impl Entry {
    /// Is it what the source last said, rather than something kept?
    pub fn is_live(&self) -> bool {
        self.standing == Standing::Live
    }
}

/// How a source does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Has not delivered yet in this process.
    Starting,
    /// The last call was good.
    Healthy,
    /// Calls fail; the last good answer stands.
    Stalled {
        /// Time of the first failure after the last good answer.
        since: SystemTime,
        /// What kind of trouble the last failure was.
        class: Class,
        /// The cause of the last failure, named for an operator.
        why: String,
    },
}

impl Health {
    /// The same, whatever the cause: what is answered does not depend on that, once there is
    /// something to answer.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Health::Stalled { since: a, .. }, Health::Stalled { since: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }

    /// What kind of trouble there is, if there is any.
    pub fn trouble(&self) -> Option<Class> {
        match self {
            Health::Stalled { class, .. } => Some(*class),
            Health::Starting | Health::Healthy => None,
        }
    }

    /// One word for status pages and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Stalled { .. } => "stalled",
        }
    }
}

/// The accepted addresses of one source, by allocation. A copy shares all of
/// them, a change copies those beside it, and comparing two skips what they
/// share: for one move, thousands of addresses are neither copied nor compared.
pub type Entries = OrdMap<Allocation, Entry>;

/// One source's part of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceInventory {
    /// The source's name.
    pub name: String,
    /// Its region, once known.
    pub region: Option<String>,
    /// Accepted addresses; none until the source (or its state) delivered.
    pub entries: Option<Arc<Entries>>,
    /// The IPv6 addresses of interfaces, of those that names want to know.
    pub interfaces: Chosen,
    /// How it does.
    pub health: Health,
    /// Time of the last good answer.
    pub delivered_at: Option<SystemTime>,
}

/// Everything the sources say, in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// One per configured source, same index.
    pub sources: Vec<SourceInventory>,
    /// The names that tags give.
    pub discovered: Arc<Discovered>,
}

impl From<Vec<SourceInventory>> for Inventory {
    /// Without names from tags: see [`Inventory::discover`].
    fn from(sources: Vec<SourceInventory>) -> Self {
        Self { sources, discovered: Arc::default() }
    }
}

impl Inventory {
    /// Finds the names in the tags of what the sources say, brought up from those that
    /// are known. `remembered` is what was known before a restart or a reload.
    pub fn discover(
        &mut self,
        rules: &Rules,
        answered: Option<Answered>,
        remembered: &Remembered,
        at: SystemTime,
    ) {
        if rules.is_empty() {
            return;
        }
        let sources: Vec<_> = self.sources.iter().map(|source| source.entries.clone()).collect();
        let answered_by = answered.map(|answered| answered.source);
        let now = Now { rules, sources: &sources, at, answered: answered_by };
        self.discovered = discover(&self.discovered, &now, answered, remembered).into();
    }
}

/// Entries that are in both, and differ.
pub(crate) fn updated<'e>(
    old: &'e Entries,
    new: &'e Entries,
) -> impl Iterator<Item = (&'e Entry, &'e Entry)> {
    old.diff(new).filter_map(|item| match item {
        DiffItem::Update { old: (_, old), new: (_, new) } => Some((old, new)),
        _ => None,
    })
}
