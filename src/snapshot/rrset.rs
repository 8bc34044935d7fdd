//! An RRset as a node keeps it: its data, once.
//!
//! There is one for each name and view, and most are an address or an alias. So the
//! owner, which the node has, is not kept with it, nor is a TTL for each record:
//! records are made for whoever puts a message together.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use crate::dns::name::{Key, MAX_NAME, folded};

/// All records of one name and type. A copy shares the data.
#[derive(Debug, Clone)]
pub struct RrSet {
    /// The type.
    pub rtype: RecordType,
    /// In seconds; all records have the same (RFC 2181 section 5.2).
    pub ttl: u32,
    content: Content,
}

/// The data of at least one record.
#[derive(Debug, Clone)]
enum Content {
    /// One A record: most names have nothing else.
    A(Ipv4Addr),
    /// A or AAAA records.
    Addresses(Arc<[IpAddr]>),
    /// A CNAME to a name without capitals.
    Alias(Key),
    /// All else.
    Other(Arc<[RData]>),
}

impl RrSet {
    /// A or AAAA records, in this order: all of them one or the other, as `rtype` says.
    pub(crate) fn addresses(rtype: RecordType, ttl: u32, all: &[IpAddr]) -> Self {
        let content = match all {
            [IpAddr::V4(one)] => Content::A(*one),
            all => Content::Addresses(all.into()),
        };
        Self { rtype, ttl, content }
    }

    /// A CNAME.
    pub(crate) fn alias(ttl: u32, target: Key) -> Self {
        Self { rtype: RecordType::CNAME, ttl, content: Content::Alias(target) }
    }

    /// Records of the type with these data, in this order.
    pub(crate) fn new(rtype: RecordType, ttl: u32, all: Vec<RData>) -> Self {
        if let Some(addresses) = all.iter().map(RData::ip_addr).collect::<Option<Vec<_>>>() {
            return Self::addresses(rtype, ttl, &addresses);
        }
        // Case goes out as it came in (RFC 4343 section 3): keys have none.
        if let [RData::CNAME(target)] = &all[..] {
            let key = Key::from_name(&target.0);
            if key.to_name().eq_case(&target.0) {
                return Self::alias(ttl, key);
            }
        }
        Self { rtype, ttl, content: Content::Other(all.into()) }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        match &self.content {
            Content::A(_) | Content::Alias(_) => 1,
            Content::Addresses(all) => all.len(),
            Content::Other(all) => all.len(),
        }
    }

    /// The data of each record, in order.
    pub(crate) fn data(&self) -> impl Iterator<Item = Cow<'_, RData>> {
        let nth = |nth: usize| match &self.content {
            Content::A(one) => (nth == 0).then(|| Cow::Owned(RData::from(IpAddr::V4(*one)))),
            Content::Addresses(all) => all.get(nth).map(|ip| Cow::Owned((*ip).into())),
            Content::Alias(target) => {
                (nth == 0).then(|| Cow::Owned(RData::CNAME(CNAME(target.to_name()))))
            }
            Content::Other(all) => all.get(nth).map(Cow::Borrowed),
        };
        (0..self.len()).filter_map(nth)
    }

    /// The records, in order, at the name they stand at.
    pub(crate) fn records(&self, owner: &Name) -> impl Iterator<Item = Record> {
        self.data().map(|data| Record::from_rdata(owner.clone(), self.ttl, data.into_owned()))
    }

    /// The addresses of A or AAAA records, in order; none of another type.
    pub(crate) fn ips(&self) -> Option<Ips<'_>> {
        match &self.content {
            Content::A(one) => Some(Ips::One(*one)),
            Content::Addresses(all) => Some(Ips::Some(all)),
            Content::Alias(_) | Content::Other(_) => None,
        }
    }

    /// The target of a CNAME, in folded wire octets, for which there is room in `place`.
    pub(crate) fn target<'a>(&'a self, place: &'a mut [u8; MAX_NAME]) -> Option<&'a [u8]> {
        match &self.content {
            Content::Alias(target) => Some(target.octets()),
            Content::Other(all) => match all.first() {
                Some(RData::CNAME(target)) => folded(&target.0, place),
                _ => None,
            },
            Content::A(_) | Content::Addresses(_) => None,
        }
    }

    /// Is it the same octet for octet, and in TTL, in whatever order the records stand?
    /// To hickory records are equal whatever their TTL and the case of their names.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        if (self.rtype, self.ttl, self.len()) != (other.rtype, other.ttl, other.len()) {
            return false;
        }
        match (&self.content, &other.content) {
            (Content::A(a), Content::A(b)) => a == b,
            (Content::Alias(a), Content::Alias(b)) => a == b,
            (Content::Other(a), Content::Other(b)) if Arc::ptr_eq(a, b) => true,
            _ => self.sorted() == other.sorted(),
        }
    }

    /// The octets of the data of each record, in order of these.
    fn sorted(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<_> = self.data().map(|data| data.to_bytes().unwrap_or_default()).collect();
        all.sort_unstable();
        all
    }

    /// Octets of memory it takes beside its own, about.
    pub(crate) fn octets(&self) -> usize {
        match &self.content {
            Content::A(_) => 0,
            Content::Addresses(all) => size_of_val(&all[..]),
            Content::Alias(target) => target.octets().len(),
            Content::Other(all) => {
                let of = |data: &RData| {
                    data.to_bytes().map_or(usize::from(u16::MAX), |octets| octets.len())
                };
                size_of_val(&all[..]) + all.iter().map(of).sum::<usize>()
            }
        }
    }
}

/// Addresses of an RRset.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ips<'s> {
    /// One.
    One(Ipv4Addr),
    /// Some.
    Some(&'s [IpAddr]),
}

impl<'s> Ips<'s> {
    /// Each of them.
    pub(crate) fn iter(self) -> impl Iterator<Item = IpAddr> + use<'s> {
        let (one, all): (_, &[IpAddr]) = match self {
            Ips::One(one) => (Some(one.into()), &[]),
            Ips::Some(all) => (None, all),
        };
        one.into_iter().chain(all.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::rr::rdata::TXT;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_str(text).unwrap()
    }

    /// Data of one type, as a file may have them.
    fn data() -> impl Strategy<Value = Vec<RData>> {
        let v4 = || any::<[u8; 4]>().prop_map(|ip| RData::from(IpAddr::from(ip)));
        let v6 = || any::<[u8; 16]>().prop_map(|ip| RData::from(IpAddr::from(ip)));
        let alias = "[a-cA-C]{1,40}\\.test\\.".prop_map(|to| RData::CNAME(CNAME(name(&to))));
        let text = "[ -~]{0,40}".prop_map(|text| RData::TXT(TXT::new(vec![text])));
        prop_oneof![
            vec(v4(), 1..4),
            vec(v6(), 1..4),
            alias.prop_map(|one| vec![one]),
            vec(text, 1..4)
        ]
    }

    fn set(ttl: u32, all: &[RData]) -> RrSet {
        RrSet::new(all[0].record_type(), ttl, all.to_vec())
    }

    /// To the octet: hickory does not tell case.
    fn octets(all: impl IntoIterator<Item = Record>) -> Vec<Vec<u8>> {
        all.into_iter().map(|record| record.to_bytes().unwrap()).collect()
    }

    fn octets_of(all: &[RData]) -> Vec<Vec<u8>> {
        let mut all: Vec<_> = all.iter().map(|data| data.to_bytes().unwrap()).collect();
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn records_are_what_was_put_in(all in data(), ttl in 0u32..9) {
            let (set, owner) = (set(ttl, &all), name("db.example.com."));
            let records = all.iter().map(|data| Record::from_rdata(owner.clone(), ttl, data.clone()));
            prop_assert_eq!(octets(set.records(&owner)), octets(records));
            prop_assert_eq!(set.len(), all.len());
            let ips: Option<Vec<IpAddr>> = all.iter().map(RData::ip_addr).collect();
            prop_assert_eq!(set.ips().map(|ips| ips.iter().collect::<Vec<_>>()), ips);
            let target = match &all[0] {
                RData::CNAME(to) => Some(Key::from_name(&to.0)),
                _ => None,
            };
            let mut place = [0; MAX_NAME];
            prop_assert_eq!(set.target(&mut place), target.as_ref().map(Key::octets));
        }

        /// The same set in another order is the same, and no other is.
        #[test]
        fn sets_are_the_same_in_any_order(all in data(), other in data(), ttls in (0u32..2, 0u32..2)) {
            let mut reversed = all.clone();
            reversed.reverse();
            prop_assert_eq!(set(ttls.0, &all).is_same(&set(ttls.1, &reversed)), ttls.0 == ttls.1);
            let alike = all[0].record_type() == other[0].record_type()
                && octets_of(&all) == octets_of(&other);
            prop_assert_eq!(set(0, &all).is_same(&set(0, &other)), alike);
        }
    }
}
