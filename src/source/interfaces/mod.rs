//! The IPv6 addresses of the interfaces that Elastic IPs stand on.
//!
//! They are asked for beside the addresses, seldom, and with failures of their own: whatever
//! goes wrong here takes no A record away and delays none. The writer says which interfaces are
//! [`Wanted`], a source's second task tells it of them in [`Told`], and [`Chosen`] is what comes
//! of that: one address for each interface, which stays for as long as the interface has it.
//!
//! * [`usable`]: what of an answer can be used at all.
//! * [`asker`]: the task of an EC2 source; `plan` says when it asks for which interfaces,
//!   `round` asks.
//! * [`mod@file`]: the task of a file source.
//! * [`post`]: what both have to do with the writer; [`stats`]: what they count.

pub(crate) mod asker;
pub(crate) mod file;
mod plan;
pub mod post;
pub(crate) mod round;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod usable;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::error::{PollError, SourceError};
use usable::LeftOut;

/// `eni-…`
pub type InterfaceId = Arc<str>;

/// Something that says, when called, which IPv6 addresses interfaces have.
pub trait DescribeInterfaces: Send {
    /// All pages of one answer, with its own deadline; `ids` are 1 to [`MAX_IDS`]. What is not
    /// in the answer does not exist, or is not shown to these credentials. Dropping it ends it.
    fn describe<'c>(
        &'c mut self,
        ids: &'c [InterfaceId],
    ) -> BoxFuture<'c, Result<Described, PollError>>;

    /// How many requests it has sent so far: one for each page.
    fn requests(&self) -> u64;
}

/// How many ids one filter may have (EC2 API reference, "DescribeNetworkInterfaces").
pub const MAX_IDS: usize = 200;

/// What a good answer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Each interface that can be used, once, in order of their ids.
    pub interfaces: Vec<Interface>,
    /// Those that are in it and cannot be used, in order.
    pub unusable: Vec<InterfaceId>,
    /// Why they cannot.
    pub left_out: LeftOut,
}

/// What DescribeNetworkInterfaces tells of an interface, as far as it matters here
/// (EC2 API reference, `NetworkInterface`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `NetworkInterfaceId`
    pub id: InterfaceId,
    /// `Ipv6Addresses`, in order, each once.
    pub addresses: Vec<Ipv6Addr>,
    /// The one with `IsPrimaryIpv6`.
    pub primary: Option<Ipv6Addr>,
}

impl Interface {
    /// The address that names on this interface are answered with: the primary one; else the
    /// one that is answered, while it is still there; else the smallest.
    fn choose(&self, answered: Option<Ipv6Addr>) -> Option<Ipv6Addr> {
        let still = answered.filter(|ip| self.addresses.contains(ip));
        self.primary.or(still).or_else(|| self.addresses.iter().min().copied())
    }
}

/// The interfaces that names stand on which want an AAAA record.
pub type Wanted = Arc<BTreeSet<InterfaceId>>;

/// What a source tells the writer of interfaces: after each call what that said. An answer without
/// an interface that was asked for says nothing of it. Once all that are wanted were asked for in
/// more than one call, that is told too, with an answer that has none.
#[derive(Debug)]
pub struct Told {
    /// The token of the source, as in its deliveries.
    pub source: usize,
    /// When the answer, or its failure, was there.
    pub at: SystemTime,
    /// What was asked for.
    pub asked: Wanted,
    /// What was answered.
    pub answer: Result<Vec<Interface>, Arc<SourceError>>,
}

/// What is answered of each interface: its address, or none if it has none. One that is not
/// here is not known. A copy shares what does not change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen(OrdMap<InterfaceId, Option<Ipv6Addr>>);

impl FromIterator<(InterfaceId, Option<Ipv6Addr>)> for Chosen {
    fn from_iter<I: IntoIterator<Item = (InterfaceId, Option<Ipv6Addr>)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Chosen {
    /// What is known of an interface.
    pub fn get(&self, id: &str) -> Option<Option<Ipv6Addr>> {
        self.0.get(id).copied()
    }

    /// Of how many interfaces something is known.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All that is known, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&InterfaceId, Option<Ipv6Addr>)> {
        self.0.iter().map(|(id, ip)| (id, *ip))
    }

    /// What is known after an answer. Those that are not in it keep what is known of them.
    pub fn hear(&mut self, all: &[Interface]) {
        for interface in all {
            let before = self.0.get(&interface.id).copied();
            let now = interface.choose(before.flatten());
            if before != Some(now) {
                self.0.insert(Arc::clone(&interface.id), now);
            }
        }
    }

    /// Forgets all others.
    pub(crate) fn retain(&mut self, kept: &BTreeSet<InterfaceId>) {
        let gone: Vec<_> = self.0.keys().filter(|id| !kept.contains(*id)).cloned().collect();
        for id in gone {
            self.0.remove(&id);
        }
    }

    /// The interfaces of which the two do not know the same. What they share is skipped.
    pub(crate) fn differing<'c>(&'c self, other: &'c Self) -> impl Iterator<Item = &'c str> {
        self.0.diff(&other.0).map(|item| match item {
            DiffItem::Add(id, _) | DiffItem::Remove(id, _) => &**id,
            DiffItem::Update { new: (id, _), .. } => &**id,
        })
    }
}
