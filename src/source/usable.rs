//! What of an answer can be used: one rule for EC2 and for files.
//!
//! An entry that cannot be used says nothing of the others, so it alone is left
//! out and said ([`LeftOut`]). What was known of its address stands, as if no
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
use crate::source::identity::{EdgeIp, Identity};
use crate::source::inventory::{Address, Addresses};

/// How many entries that cannot be used are told of, each in the log, by
/// `status` and by `check`: enough to see what is wrong, and a bound where it is
/// wrong with thousands.
pub const SHOWN: usize = 10;

/// The longest id that an address without a public one is known by, in characters, three
/// times what EC2's have; and as much is shown of a text that is no id or no address.
const MAX_ID: usize = 64;

/// What allocation ids begin with (EC2 User Guide, "Resource IDs").
const ID_PREFIX: &str = "eipalloc-";

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
    /// An address without a public one and without an id that it could be known by.
    #[error(
        "\"{key}\": \"{ip}\" stands in it without \"PublicIp\" and {}; no name can be bound to it",
        match id {
            None => "\"AllocationId\"".to_owned(),
            Some(id) => format!("with \"AllocationId\": \"{id}\", which is none"),
        }
    )]
    Unidentified {
        /// `CarrierIp` or `CustomerOwnedIp`.
        key: &'static str,
        /// Its value.
        ip: String,
        /// What stands in place of an id.
        id: Option<String>,
    },
    /// One of the texts of an address without a public one is no address.
    #[error(
        "{allocation} has \"{key}\": \"{text}\", which no host can have; \
         what was known of {allocation} stands"
    )]
    BadAddress {
        /// Which address.
        allocation: Allocation,
        /// The key, as the CLI prints it.
        key: &'static str,
        /// Its value.
        text: String,
    },
    /// An Elastic IP that can be none.
    #[error("{0} cannot be an Elastic IP")]
    NoElasticIp(Ipv4Addr),
    /// A private address that can be none.
    #[error(
        "{allocation} has the private address {private_ip}, which no host in a VPC has; \
         what was known of {allocation} stands"
    )]
    NoHost {
        /// The address that has it.
        allocation: Allocation,
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
            Unusable::Unidentified { .. } | Unusable::NoElasticIp(_) => None,
            Unusable::BadAddress { allocation, .. }
            | Unusable::NoHost { allocation, .. }
            | Unusable::Contradictory(allocation) => Some(allocation.clone()),
        }
    }
}

/// Why an entry refuses the whole answer: it may be that of any address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemFault {
    /// No `PublicIp`, or an empty one, and no other address in its place.
    #[error("it has no \"PublicIp\"")]
    NoPublicIp,
    /// A network interface without `NetworkInterfaceId`, or with an empty one.
    #[error("it has no \"NetworkInterfaceId\"")]
    NoInterfaceId,
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
    pub fn judge(mut self) -> Result<Result<Address, Unusable>, ItemFault> {
        let Some(public_ip) = self.public_ip.take() else { return self.without_public_ip() };
        let public_ip = parsed("PublicIp", public_ip)?;
        let private_ip =
            self.private_ip.take().map(|text| parsed("PrivateIpAddress", text)).transpose()?;
        if !is_host(public_ip) {
            return Ok(Err(Unusable::NoElasticIp(public_ip)));
        }
        let allocation_id = self.allocation_id.take();
        Ok(self.address(Identity::Public { public_ip, allocation_id }, private_ip))
    }

    /// Once its id says which address it is, nothing in it refuses the others.
    fn without_public_ip(mut self) -> Result<Result<Address, Unusable>, ItemFault> {
        type Kind = (&'static str, fn(Ipv4Addr) -> EdgeIp);
        const CARRIER: Kind = ("CarrierIp", EdgeIp::Carrier);
        const OWNED: Kind = ("CustomerOwnedIp", EdgeIp::CustomerOwned);
        let carrier = self.carrier_ip.take().map(|ip| (CARRIER, ip));
        let edge = carrier.or_else(|| Some((OWNED, self.customer_owned_ip.take()?)));
        let ((key, kind), ip) = edge.ok_or(ItemFault::NoPublicIp)?;
        let id = self.allocation_id.take();
        let Some(allocation_id) = id.as_deref().filter(|id| is_id(id)).map(Arc::<str>::from) else {
            let id = id.map(|id| brief(&id, MAX_ID));
            return Ok(Err(Unusable::Unidentified { key, ip: brief(&ip, MAX_ID), id }));
        };
        let allocation = Allocation::Id(Arc::clone(&allocation_id));
        let bad = |key, text: &str| {
            let (allocation, text) = (allocation.clone(), brief(text, MAX_ID));
            Ok(Err(Unusable::BadAddress { allocation, key, text }))
        };
        let edge_ip = match ip.parse::<Ipv4Addr>() {
            Ok(ip) if !is_host(ip) => return bad(key, &ip.to_string()),
            Ok(ip) => kind(ip),
            Err(_) => return bad(key, &ip),
        };
        let private_ip = match self.private_ip.take().map(|text| text.parse().map_err(|_| text)) {
            None => None,
            Some(Ok(private_ip)) => Some(private_ip),
            Some(Err(text)) => return bad("PrivateIpAddress", &text),
        };
        Ok(self.address(Identity::Edge { allocation_id, edge_ip }, private_ip))
    }

    /// With what does not say which address it is.
    fn address(
        self,
        identity: Identity,
        private_ip: Option<Ipv4Addr>,
    ) -> Result<Address, Unusable> {
        if let Some(private_ip) = private_ip.filter(|ip| !is_host(*ip)) {
            return Err(Unusable::NoHost { allocation: identity.allocation(), private_ip });
        }
        Ok(Address {
            identity,
            association_id: self.association_id,
            instance_id: self.instance_id,
            network_interface_id: self.network_interface_id,
            network_interface_owner_id: self.network_interface_owner_id,
            private_ip,
            service_managed: self.service_managed,
            tags: self.tags.into(),
        })
    }
}

/// Can it name an address by itself, in answers, the state and the log? No text that is an
/// address can.
fn is_id(text: &str) -> bool {
    let rest = text.strip_prefix(ID_PREFIX).unwrap_or_default();
    let is_plain = !rest.is_empty() && rest.bytes().all(|octet| octet.is_ascii_alphanumeric());
    is_plain && text.len() <= MAX_ID
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
            tracing::warn!(source, %why, count, "an entry is left out");
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
        (all.map(|address| address.allocation().to_string()).collect(), left_out)
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

    /// A carrier address, by its id.
    fn edge(id: Option<&str>, carrier: &str, private: Option<&str>) -> Item {
        Item {
            carrier_ip: Some(carrier.into()),
            allocation_id: id.map(Into::into),
            private_ip: private.map(Into::into),
            ..Item::default()
        }
    }

    #[test]
    fn an_address_without_a_public_one_is_known_by_its_id() {
        let good = edge(Some("eipalloc-01"), "155.146.0.1", Some("10.0.0.1"));
        let address = good.judge().unwrap().unwrap();
        let carrier = EdgeIp::Carrier(Ipv4Addr::new(155, 146, 0, 1));
        let identity = Identity::Edge { allocation_id: "eipalloc-01".into(), edge_ip: carrier };
        assert_eq!((address.identity, address.private_ip), (identity, Some([10, 0, 0, 1].into())));
        let owned = Item {
            customer_owned_ip: Some("10.9.9.9".into()),
            ..Item { carrier_ip: None, ..edge(Some("eipalloc-02"), "", None) }
        };
        let edge_ip = owned.judge().unwrap().unwrap().identity.edge_ip();
        assert_eq!(edge_ip, Some(EdgeIp::CustomerOwned(Ipv4Addr::new(10, 9, 9, 9))));
        // A public address comes first.
        let both = Item { public_ip: Some("75.101.137.1".into()), ..edge(None, "x", None) };
        assert_eq!(both.judge().unwrap().unwrap().identity.edge_ip(), None);
        // What has none of them may be any.
        let none = Item { allocation_id: Some("eipalloc-01".into()), ..Item::default() };
        assert_eq!(none.judge(), Err(ItemFault::NoPublicIp));
        assert_eq!(Item::default().judge(), Err(ItemFault::NoPublicIp));
    }

    #[test]
    fn what_is_wrong_with_an_address_without_a_public_one_harms_no_other() {
        let long = format!("eipalloc-{}", "0".repeat(MAX_ID));
        let id = Some("eipalloc-01");
        let unknown = ["eipalloc-01".parse().unwrap()].into();
        let cases = [
            (edge(None, "155.146.0.1", None), None),
            (edge(Some("75.101.137.1"), "155.146.0.1", None), None),
            (edge(Some("eipalloc-"), "155.146.0.1", None), None),
            (edge(Some("eipalloc-0 1"), "155.146.0.1", None), None),
            (edge(Some(&long), "155.146.0.1", None), None),
            (edge(id, "155.146.0.256", None), Some(r#""CarrierIp": "155.146.0.256""#)),
            (edge(id, "fd00::1", None), Some(r#""CarrierIp": "fd00::1""#)),
            (edge(id, "127.0.0.1", None), Some(r#""CarrierIp": "127.0.0.1""#)),
            (edge(id, &"9".repeat(99), None), Some("9…\", which no host")),
            (edge(id, "155.146.0.1", Some("::1")), Some(r#""PrivateIpAddress": "::1""#)),
            (edge(id, "155.146.0.1", Some("0.0.0.0")), Some("the private address 0.0.0.0")),
        ];
        for (item, known) in cases {
            let shown = format!("{item:?}");
            let (all, left_out) = gathered(vec![item, self::item("75.101.137.1", None)]);
            assert_eq!(
                (&all[..], left_out.count),
                (&["75.101.137.1".to_owned()][..], 1),
                "{shown}"
            );
            let told = left_out.first[0].to_string();
            let (part, stands) = match known {
                None => ("\"155.146.0.1\" stands in it without \"PublicIp\"", BTreeSet::new()),
                Some(part) => (part, BTreeSet::clone(&unknown)),
            };
            assert!(told.contains(part), "{told}");
            assert_eq!(left_out.unknown, stands, "{told}");
        }
        // Twice, and not the same.
        let twice = ["10.0.0.1", "10.0.0.2"].map(|at| edge(id, "155.146.0.1", Some(at)));
        let (all, left_out) = gathered(twice.into());
        assert_eq!((all.len(), left_out.unknown), (0, unknown));
    }

    #[test]
    fn thousands_are_counted_and_a_few_are_shown() {
        let mut gather = Gather::<Address>::default();
        for n in 0..=255 {
            let ip = Ipv4Addr::new(75, 101, 137, n);
            let private_ip = Ipv4Addr::LOCALHOST;
            gather.leave_out(Unusable::NoHost { allocation: ip.into(), private_ip });
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
