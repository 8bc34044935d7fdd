//! The IPv6 addresses of the interfaces that Elastic IPs stand on.
//!
//! They are asked for beside the addresses, seldom, and with failures of their own: whatever
//! goes wrong here takes no A record away and delays none. The writer says which interfaces are
//! [`Wanted`], a source's second task tells it of them in [`Told`], and [`Chosen`] is what comes
//! of that: one address for each interface, which stays for as long as the interface has it.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use imbl::OrdMap;

use super::error::{PollError, SourceError};

/// `eni-…`
pub type InterfaceId = Arc<str>;

/// Something that says, when called, which IPv6 addresses interfaces have.
pub trait DescribeInterfaces: Send {
    /// All pages of one answer, with its own deadline; `ids` are 1 to [`MAX_IDS`]. What is not
    /// in the answer does not exist, or is not shown to these credentials. Dropping it ends it.
    fn describe<'c>(
        &'c mut self,
        ids: &'c [InterfaceId],
    ) -> BoxFuture<'c, Result<Vec<Interface>, PollError>>;

    /// How many requests it has sent so far: one for each page.
    fn requests(&self) -> u64;
}

/// How many ids one filter may have (EC2 API reference, "DescribeNetworkInterfaces").
pub const MAX_IDS: usize = 200;

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
pub(crate) type Wanted = Arc<BTreeSet<InterfaceId>>;

/// What a source tells the writer of interfaces.
#[derive(Debug)]
pub(crate) struct Told {
    /// The token of the source, as in its deliveries.
    pub(crate) source: usize,
    /// When the answer, or its failure, was there.
    pub(crate) at: SystemTime,
    /// What was asked for; none: everything that there is.
    pub(crate) asked: Option<Wanted>,
    /// What was answered.
    pub(crate) answer: Result<Vec<Interface>, Arc<SourceError>>,
}

/// What is answered of each interface: its address, or none if it has none. One that is not
/// here is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen(OrdMap<InterfaceId, Option<Ipv6Addr>>);

impl Chosen {
    /// What is known of an interface.
    pub fn get(&self, id: &str) -> Option<Option<Ipv6Addr>> {
        self.0.get(id).copied()
    }

    /// What is known after an answer. An interface that is not in it keeps what is known.
    pub(crate) fn hear(&mut self, all: &[Interface]) {
        for interface in all {
            let before = self.0.get(&interface.id).copied();
            let now = interface.choose(before.flatten());
            if before != Some(now) {
                self.0.insert(Arc::clone(&interface.id), now);
            }
        }
    }
}
