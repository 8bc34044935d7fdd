//! What of an answer can be used: one rule for EC2 and for files.
//!
//! An entry that cannot be used says nothing of the others, so it alone is left
//! out and said ([`LeftOut`]). What was known of its Elastic IP stands, as if no
//! answer had come. Only what leaves open *which* address is meant refuses the
//! whole answer ([`ItemFault`]): leaving that out would look like a loss.

use std::borrow::Borrow;
use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use crate::host::often::Often;
use crate::host::text::brief;
use crate::source::allocation::Allocation;
use crate::source::inventory::{Address, Addresses};

/// How many entries that cannot be used are told of, each in the log, by
/// `status` and by `check`: enough to see what is wrong, and a bound where it is
/// wrong with thousands.
pub const SHOWN: usize = 10;

/// The longest id or address of a foreign kind that is shown, in characters.
const MAX_ID: usize = 64;

/// What a source says: the addresses it has, and what of it cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The addresses.
    pub addresses: Addresses,
    /// The rest.
    pub left_out: Arc<LeftOut>,
}

impl From<Addresses> for Said {
    /// An answer of which all can be used.
    fn from(addresses: Addresses) -> Self {
        Self { addresses, left_out: Arc::default() }
    }
}

/// The entries of an answer that cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many there are.
    pub count: usize,
    /// The first [`SHOWN`] of them.
    pub first: Vec<Unusable>,
    /// Those that stand in the answer, but of which it says nothing that can be
    /// used: what was known of them stands.
    pub unknown: BTreeSet<Allocation>,
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Wavelength's carrier addresses and customer-owned ones of Outposts.
    #[error(
        "{ip}{} is a {kind} address and no Elastic IP; no name can be bound to it",
        id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default()
    )]
    NotElastic {
        /// `carrier` or `customer-owned`.
        kind: &'static str,
        /// The address, as it is written.
        ip: String,
        /// Its allocation.
        id: Option<String>,
    },
    /// An Elastic IP that can be none.
    #[error("{0} cannot be an Elastic IP")]
    NoElasticIp(Ipv4Addr),
    /// A private address that can be none.
    #[error(
        "{public_ip} has the private address {private_ip}, which no host in a VPC has; \
         what was known of {public_ip} stands"
    )]
    NoHost {
        /// The Elastic IP.
        public_ip: Ipv4Addr,
        /// The other.
        private_ip: Ipv4Addr,
    },
    /// Entries for one allocation contradict each other.
    #[error(
        "{0} stands in it more than once, with different contents; what was known of it stands"
    )]
    Contradictory(Allocation),
}

impl Unusable {
    /// The allocation of which nothing can be said.
    fn unknown(&self) -> Option<Allocation> {
        match self {
            Unusable::NotElastic { .. } | Unusable::NoElasticIp(_) => None,
            Unusable::NoHost { public_ip, .. } => Some((*public_ip).into()),
            Unusable::Contradictory(allocation) => Some(allocation.clone()),
        }
    }
}

/// Why an entry refuses the whole answer: it may be that of any address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemFault {
    /// No `PublicIp`, or an empty one, and no other address in its place.
    #[error("it has no \"PublicIp\"")]
    NoPublicIp,
    /// A key that holds an address does not.
    #[error("\"{key}\": \"{text}\" is not an IPv4 address")]
    BadIp {
        /// The key, as the CLI prints it.
        key: &'static str,
        /// Its value.
        text: String,
    },
}

/// An entry as it came (EC2 API reference, `Address`). An empty string is none.
#[derive(Debug, Default)]
pub struct Item {
    /// The Elastic IP.
    pub public_ip: Option<String>,
    /// Of a Wavelength zone.
    pub carrier_ip: Option<String>,
    /// Of an Outpost.
    pub customer_owned_ip: Option<String>,
    /// `eipalloc-…`
    pub allocation_id: Option<String>,
    /// `eipassoc-…`
    pub association_id: Option<String>,
    /// `i-…`
    pub instance_id: Option<String>,
    /// `eni-…`
    pub network_interface_id: Option<String>,
    /// An account.
    pub network_interface_owner_id: Option<String>,
    /// The private address that the Elastic IP is associated with.
    pub private_ip: Option<String>,
    /// The AWS service that manages it.
    pub service_managed: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Item {
    /// The address that it is, or why it is none.
    ///
    /// # Errors
    /// It is open which address is meant: the whole answer is refused.
    pub fn judge(self) -> Result<Result<Address, Unusable>, ItemFault> {
        let Some(public_ip) = self.public_ip else {
            let kinds = [("carrier", self.carrier_ip), ("customer-owned", self.customer_owned_ip)];
            let other = kinds.into_iter().find_map(|(kind, ip)| Some((kind, ip?)));
            let (kind, ip) = other.ok_or(ItemFault::NoPublicIp)?;
            let id = self.allocation_id.map(|id| brief(&id, MAX_ID));
            return Ok(Err(Unusable::NotElastic { kind, ip: brief(&ip, MAX_ID), id }));
        };
        let public_ip = parsed("PublicIp", public_ip)?;
        let private_ip =
            self.private_ip.map(|text| parsed("PrivateIpAddress", text)).transpose()?;
        if !is_host(public_ip) {
            return Ok(Err(Unusable::NoElasticIp(public_ip)));
        }
        if let Some(private_ip) = private_ip.filter(|ip| !is_host(*ip)) {
            return Ok(Err(Unusable::NoHost { public_ip, private_ip }));
        }
        Ok(Ok(Address {
            public_ip,
            allocation_id: self.allocation_id,
            association_id: self.association_id,
            instance_id: self.instance_id,
            network_interface_id: self.network_interface_id,
            network_interface_owner_id: self.network_interface_owner_id,
            private_ip,
            service_managed: self.service_managed,
            tags: self.tags.into(),
        }))
    }
}

fn parsed(key: &'static str, text: String) -> Result<Ipv4Addr, ItemFault> {
    text.parse().map_err(|_| ItemFault::BadIp { key, text })
}

/// Can a host in a VPC have it? A VPC may use any range, public ones too (VPC
/// user guide, "VPC CIDR blocks"), but for those that mean something else to
/// every host (RFC 6890): "this network", loopback, link-local, multicast, and
/// class E with the broadcast address.
fn is_host(ip: Ipv4Addr) -> bool {
    let first = ip.octets()[0];
    !(first == 0 || first >= 224 || ip.is_loopback() || ip.is_link_local())
}

/// Takes one entry of an answer after the other.
#[derive(Debug)]
pub struct Gather<T> {
    all: Vec<Option<T>>,
    places: HashMap<Allocation, usize>,
    left_out: LeftOut,
}

impl<T> Default for Gather<T> {
    fn default() -> Self {
        let (all, places, left_out) = Default::default();
        Self { all, places, left_out }
    }
}

impl<T: Borrow<Address>> Gather<T> {
    /// Takes an address. An entry that is there twice is there once; one that
    /// contradicts another takes that out, too.
    pub fn take(&mut self, item: T) {
        let allocation = item.borrow().allocation();
        if self.left_out.unknown.contains(&allocation) {
            return;
        }
        match self.places.entry(allocation) {
            Entry::Vacant(place) => {
                place.insert(self.all.len());
                self.all.push(Some(item));
            }
            Entry::Occupied(place) => {
                let known = self.all.get(*place.get()).and_then(Option::as_ref);
                if known.is_none_or(|known| known.borrow() != item.borrow()) {
                    let allocation = place.key().clone();
                    self.leave_out(Unusable::Contradictory(allocation));
                }
            }
        }
    }

    /// Leaves an entry out.
    pub fn leave_out(&mut self, why: Unusable) {
        if let Some(allocation) = why.unknown() {
            let item = self.places.get(&allocation).and_then(|at| self.all.get_mut(*at));
            if !self.left_out.unknown.insert(allocation) {
                return;
            }
            if let Some(item) = item {
                *item = None;
            }
        }
        self.left_out.count += 1;
        if self.left_out.first.len() < SHOWN {
            self.left_out.first.push(why);
        }
    }

    /// Each allocation once, and what was left out.
    pub fn finish(self) -> (impl Iterator<Item = T>, LeftOut) {
        (self.all.into_iter().flatten(), self.left_out)
    }
}

/// Tells the log of entries that cannot be used, when they change.
#[derive(Debug)]
pub(super) struct Teller {
    source: String,
    told: Arc<LeftOut>,
    /// An answer that comes and goes is told once a minute.
    often: Often,
}

impl Teller {
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.to_owned(), told: Arc::default(), often: Often::new() }
    }

    /// A good answer has these. What may not be told now is told with a later
    /// one, if it still is so.
    pub(super) fn hear(&mut self, now: &Arc<LeftOut>) {
        if Arc::ptr_eq(&self.told, now) || self.told == *now {
            return;
        }
        if self.often.may(Instant::now()).is_none() {
            return;
        }
        let before = std::mem::replace(&mut self.told, Arc::clone(now));
        let (source, count) = (self.source.as_str(), now.count);
        if count == 0 {
            tracing::info!(source, "all entries can be used again");
        }
        for why in now.first.iter().filter(|why| !before.first.contains(why)) {
            match why {
                // Nothing is wrong with it.
                Unusable::NotElastic { .. } => {
                    tracing::info!(source, %why, count, "an entry is left out");
                }
                _ => tracing::warn!(source, %why, count, "an entry is left out"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::address;
    use super::*;

    fn item(public: &str, private: Option<&str>) -> Item {
        let private_ip = private.map(Into::into);
        Item { public_ip: Some(public.into()), private_ip, ..Item::default() }
    }

    /// What becomes of an answer with these entries.
    fn gathered(items: Vec<Item>) -> (Vec<String>, LeftOut) {
        let mut gather = Gather::<Address>::default();
        for item in items {
            match item.judge().unwrap() {
                Ok(address) => gather.take(address),
                Err(why) => gather.leave_out(why),
            }
        }
        let (all, left_out) = gather.finish();
        (all.map(|address| address.public_ip.to_string()).collect(), left_out)
    }

    #[test]
    fn what_no_host_has_is_left_out() {
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            let (all, left_out) =
                gathered(vec![item("75.101.137.1", Some(bad)), item("75.101.137.2", None)]);
            assert_eq!(all, ["75.101.137.2"], "{bad}");
            assert_eq!(left_out.unknown, ["75.101.137.1".parse().unwrap()].into(), "{bad}");
            assert_eq!(
                left_out.first[0].to_string(),
                format!(
                    "75.101.137.1 has the private address {bad}, which no host in a VPC has; \
                     what was known of 75.101.137.1 stands"
                )
            );
            // No Elastic IP is one of these either, and none was known.
            let (all, left_out) = gathered(vec![item(bad, Some("10.0.0.1"))]);
            assert_eq!((all.len(), left_out.count, left_out.unknown.len()), (0, 1, 0), "{bad}");
        }
        for good in
            ["10.0.0.1", "172.31.255.254", "192.168.0.1", "100.64.0.1", "198.19.0.9", "8.8.8.8"]
        {
            let (all, left_out) = gathered(vec![item("75.101.137.1", Some(good))]);
            assert_eq!((all.len(), left_out), (1, LeftOut::default()), "{good}");
        }
    }

    #[test]
    fn what_stands_twice_is_one_or_none() {
        let one = || item("75.101.137.1", Some("10.0.0.1"));
        let other = || item("75.101.137.1", Some("10.0.0.2"));
        let next = || item("75.101.137.2", None);
        let (all, left_out) = gathered(vec![one(), next(), one()]);
        assert_eq!(all, ["75.101.137.1", "75.101.137.2"]);
        assert_eq!(left_out, LeftOut::default());
        // Neither the first nor the last nor the majority is right.
        let no_host = || item("75.101.137.1", Some("0.0.0.0"));
        for all in [
            vec![one(), next(), other()],
            vec![one(), other(), one(), one(), next()],
            vec![no_host(), one(), next()],
            vec![one(), no_host(), next()],
        ] {
            let (all, left_out) = gathered(all);
            assert_eq!(all, ["75.101.137.2"]);
            assert_eq!(left_out.count, 1, "told once");
            assert_eq!(left_out.unknown, ["75.101.137.1".parse().unwrap()].into());
        }
    }

    #[test]
    fn addresses_that_are_no_elastic_ips_are_left_out() {
        let carrier = Item {
            carrier_ip: Some("155.146.0.1".into()),
            allocation_id: Some("eipalloc-01".into()),
            ..Item::default()
        };
        let owned = Item { customer_owned_ip: Some("192.0.2.7".into()), ..Item::default() };
        let (all, left_out) = gathered(vec![carrier, owned]);
        assert_eq!((all.len(), left_out.count, left_out.unknown.len()), (0, 2, 0));
        assert_eq!(
            left_out.first.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "155.146.0.1 (eipalloc-01) is a carrier address and no Elastic IP; \
                 no name can be bound to it",
                "192.0.2.7 is a customer-owned address and no Elastic IP; \
                 no name can be bound to it",
            ]
        );
        assert_eq!(Item::default().judge(), Err(ItemFault::NoPublicIp));
    }

    #[test]
    fn thousands_are_counted_and_a_few_are_shown() {
        let mut gather = Gather::<Address>::default();
        for n in 0..=255 {
            let ip = Ipv4Addr::new(75, 101, 137, n);
            gather.leave_out(Unusable::NoHost { public_ip: ip, private_ip: Ipv4Addr::LOCALHOST });
            gather.take(address(ip));
        }
        let (all, left_out) = gather.finish();
        assert_eq!((all.count(), left_out.count, left_out.first.len()), (0, 256, SHOWN));
        assert_eq!(left_out.unknown.len(), 256);
    }

    #[test]
    fn what_comes_and_goes_is_told_once_a_minute() {
        let (_, some) = gathered(vec![item("75.101.137.1", Some("0.0.0.0"))]);
        let (some, none) = (Arc::new(some), Arc::default());
        let mut teller = Teller::new("east");
        teller.hear(&some);
        assert_eq!(teller.told, some);
        teller.hear(&none);
        assert_eq!(teller.told, some, "a minute has not passed");
    }
}
