//! What of an answer about interfaces can be used: one rule for EC2 and for files.
//!
//! An interface with an address that no host can have is left out alone: what was known of it
//! stands. One without an id may be any of them, and refuses the whole answer.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Instant;

use super::{Described, Interface, InterfaceId};
use crate::host::often::Often;
use crate::host::text::brief;
use crate::source::usable::{ItemFault, SHOWN};

/// As much is shown of an id or a text that is no address: three times what EC2's have.
pub(super) const MAX_SHOWN: usize = 64;

/// As many addresses may an interface have: 20 times what the largest instance types grant one
/// (EC2 user guide, "IP addresses per network interface").
pub(super) const MAX_ADDRESSES: usize = 1000;

/// The interfaces of an answer that cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many there are.
    pub count: usize,
    /// The first [`SHOWN`] of them.
    pub first: Vec<Unusable>,
}

impl LeftOut {
    fn add(&mut self, why: Unusable) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(why);
        }
    }

    /// Both. Those that are shown count once.
    pub(super) fn join(&mut self, other: Self) {
        let known = other.first.iter().filter(|why| self.first.contains(why)).count();
        self.count += other.count.saturating_sub(known);
        for why in other.first {
            if self.first.len() < SHOWN && !self.first.contains(&why) {
                self.first.push(why);
            }
        }
    }
}

/// Why an interface cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// One of its addresses is none.
    #[error(
        "{id} has \"Ipv6Address\": \"{text}\", which no host can have; \
         what was known of {id} stands"
    )]
    BadAddress {
        /// The interface.
        id: String,
        /// What stands there.
        text: String,
    },
    /// It has more addresses than any interface.
    #[error(
        "{id} has {count} IPv6 addresses, and {MAX_ADDRESSES} are the most; \
         what was known of {id} stands"
    )]
    TooMany {
        /// The interface.
        id: String,
        /// How many.
        count: usize,
    },
    /// Items for one interface contradict each other.
    #[error(
        "{id} stands in it more than once, with different contents; what was known of {id} stands"
    )]
    Contradictory {
        /// The interface.
        id: String,
    },
}

/// An interface as it came (EC2 API reference, `NetworkInterface`). An empty string is none.
#[derive(Debug, Default)]
pub struct Item {
    /// `eni-…`
    pub id: Option<String>,
    /// Its IPv6 addresses.
    pub addresses: Vec<ItemAddress>,
}

/// An address as it came (EC2 API reference, `NetworkInterfaceIpv6Address`).
#[derive(Debug, Default)]
pub struct ItemAddress {
    /// `Ipv6Address`
    pub ip: Option<String>,
    /// `IsPrimaryIpv6`
    pub is_primary: bool,
}

/// An interface that an answer is about, and what it says of it.
pub type Judged = (InterfaceId, Result<Interface, Unusable>);

impl Item {
    /// The interface that it is, or why it cannot be used.
    ///
    /// # Errors
    /// It is open which interface is meant: the whole answer is refused.
    pub fn judge(self) -> Result<Judged, ItemFault> {
        let id: InterfaceId = self.id.ok_or(ItemFault::NoInterfaceId)?.into();
        let count = self.addresses.len();
        if count > MAX_ADDRESSES {
            let of = brief(&id, MAX_SHOWN);
            return Ok((id, Err(Unusable::TooMany { id: of, count })));
        }
        let mut interface = Interface { id: id.clone(), addresses: Vec::new(), primary: None };
        let mut seen = BTreeSet::new();
        for ItemAddress { ip, is_primary } in self.addresses {
            let text = ip.unwrap_or_default();
            let Some(ip) = text.parse().ok().filter(is_host) else {
                let (of, text) = (brief(&id, MAX_SHOWN), brief(&text, MAX_SHOWN));
                return Ok((id, Err(Unusable::BadAddress { id: of, text })));
            };
            if seen.insert(ip) {
                interface.addresses.push(ip);
            }
            interface.primary = interface.primary.or(is_primary.then_some(ip));
        }
        Ok((id, Ok(interface)))
    }
}

/// Can an interface in a VPC be reached at it? At addresses of every range that a VPC may have
/// (VPC user guide, "VPC CIDR blocks": global and unique local ones), and at others, but for those
/// that mean something else to every host (RFC 6890): the unspecified one, loopback, IPv4 in
/// IPv6, link-local, multicast.
fn is_host(ip: &Ipv6Addr) -> bool {
    let is_special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
    !is_special && !ip.is_unicast_link_local() && ip.to_ipv4_mapped().is_none()
}

/// Takes one interface of an answer after the other.
#[derive(Debug, Default)]
pub struct Gather {
    /// None: it is left out.
    all: BTreeMap<InterfaceId, Option<Interface>>,
    left_out: LeftOut,
}

impl Gather {
    /// Takes what is said of an interface. One that is there twice is there once; one that
    /// contradicts another takes that out, too.
    pub fn take(&mut self, (id, said): Judged) {
        let why = match (self.all.entry(id), said) {
            (Entry::Vacant(place), Ok(interface)) => {
                place.insert(Some(interface));
                return;
            }
            (Entry::Vacant(place), Err(why)) => {
                place.insert(None);
                why
            }
            (Entry::Occupied(known), said) => {
                if known.get().is_none() || said.as_ref().ok() == known.get().as_ref() {
                    return;
                }
                let id = brief(known.key(), MAX_SHOWN);
                *known.into_mut() = None;
                Unusable::Contradictory { id }
            }
        };
        self.left_out.add(why);
    }

    /// Each interface once, in order of their ids, and what was left out.
    pub fn finish(self) -> Described {
        let mut described = Described { left_out: self.left_out, ..Described::default() };
        for (id, said) in self.all {
            match said {
                Some(interface) => described.interfaces.push(interface),
                None => described.unusable.push(id),
            }
        }
        described
    }
}

/// Tells the log of interfaces that cannot be used, when they change.
#[derive(Debug, Default)]
pub(super) struct Teller {
    told: LeftOut,
    /// What comes and goes is told once a minute.
    often: Often,
}

impl Teller {
    /// What is left out now. What may not be told now is told later, if it still is so.
    pub(super) fn hear(&mut self, source: &str, now: &LeftOut) {
        if self.told == *now || self.often.may(Instant::now()).is_none() {
            return;
        }
        let before = std::mem::replace(&mut self.told, now.clone());
        let count = now.count;
        if count == 0 {
            tracing::info!(source, "all network interfaces can be used again");
        }
        for why in now.first.iter().filter(|why| !before.first.contains(why)) {
            tracing::warn!(source, %why, count, "a network interface is left out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, addresses: &[&str]) -> Item {
        let address = |ip: &&str| ItemAddress { ip: Some((*ip).to_owned()), is_primary: false };
        Item { id: Some(id.to_owned()), addresses: addresses.iter().map(address).collect() }
    }

    #[test]
    fn what_no_host_has_is_left_out() {
        for bad in
            ["", "::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1", "10.0.0.1", "2001:db8::g"]
        {
            let (id, said) = item("eni-1", &["2001:db8::1", bad]).judge().unwrap();
            assert_eq!(&*id, "eni-1");
            let why = Unusable::BadAddress { id: "eni-1".into(), text: bad.into() };
            assert_eq!(said, Err(why), "{bad}");
        }
        for good in ["2001:db8::1", "fd00::1", "2600:1f18::ffff"] {
            assert!(item("eni-1", &[good]).judge().unwrap().1.is_ok(), "{good}");
        }
        assert_eq!(Item::default().judge(), Err(ItemFault::NoInterfaceId));
    }

    #[test]
    fn of_several_that_contradict_each_other_none_counts() {
        let mut gather = Gather::default();
        for (id, addresses) in [
            ("eni-1", &["2001:db8::1"][..]),
            ("eni-2", &["2001:db8::2"]),
            ("eni-1", &["2001:db8::1"]),
            ("eni-2", &["2001:db8::3"]),
            ("eni-2", &["2001:db8::2"]),
            ("eni-3", &["::1"]),
            ("eni-3", &["2001:db8::4"]),
            ("eni-4", &["2001:db8::4"]),
            ("eni-4", &["::1"]),
        ] {
            gather.take(item(id, addresses).judge().unwrap());
        }
        let Described { interfaces, unusable, left_out } = gather.finish();
        let ids: Vec<_> = interfaces.iter().map(|interface| &*interface.id).collect();
        assert_eq!((ids, left_out.count), (vec!["eni-1"], 3), "{left_out:?}");
        assert_eq!(unusable, ["eni-2", "eni-3", "eni-4"].map(InterfaceId::from));
    }

    #[test]
    fn an_interface_has_no_more_addresses_than_it_may() {
        let ip = |n: usize| Some(format!("2001:db8::{n:x}"));
        let of = |count: usize| {
            let address = |n| ItemAddress { ip: ip(n + 1), is_primary: n == 7 };
            Item { id: Some("eni-1".into()), addresses: (0..count).map(address).collect() }
        };
        let interface = of(MAX_ADDRESSES).judge().unwrap().1.unwrap();
        assert_eq!(
            (interface.addresses.len(), interface.primary),
            (MAX_ADDRESSES, "2001:db8::8".parse().ok())
        );
        // Each was compared with all before it: half a minute of the writer's time.
        let count = 400_000;
        let why = Unusable::TooMany { id: "eni-1".into(), count };
        assert_eq!(of(count).judge().unwrap().1, Err(why.clone()));
        assert_eq!(
            why.to_string(),
            "eni-1 has 400000 IPv6 addresses, and 1000 are the most; what was known of eni-1 stands"
        );
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let mut gather = Gather::default();
        let long = "x".repeat(10_000);
        for n in 0..SHOWN + 5 {
            gather.take(item(&format!("{n}{long}"), &[&long]).judge().unwrap());
        }
        let mut left_out = gather.finish().left_out;
        left_out.join(left_out.clone());
        assert_eq!((left_out.count, left_out.first.len()), (SHOWN + 2 * 5, SHOWN));
        let length = left_out.first[0].to_string().len();
        assert!(length < 500, "{length}");
    }
}
