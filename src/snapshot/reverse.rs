//! PTR records of a view: which of our names each address has.
//!
//! Where the view has a zone above the name of an address, they are laid into that zone, and
//! what is here is what they were made from. Elsewhere they are answered from here: each such
//! name is a zone of its own, as public EC2 names are, laid over a space that is somebody
//! else's.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{NS, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;

use super::name_map::NameMap;
use super::overlay::{LOCALHOST, NOBODY, TIMES};
use super::ready::Ready;
use super::{Basis, RrSet, ViewTable};
use crate::config::SourceId;
use crate::dns::ede::Remark;
use crate::dns::name::Key;
use crate::dns::reverse;

/// At most so many PTR records at one address: nobody reads more, and an answer should fit
/// into a datagram.
pub(crate) const MAX_POINTERS: usize = 16;

/// The serial of a zone of one name: nobody can transfer it. As unbound has it.
pub(crate) const SERIAL: u32 = 1;

/// The PTR records of a view.
#[derive(Debug, Clone, Default)]
pub struct ReverseTable {
    /// Whose addresses have them; none overlaps another.
    pub networks: Arc<[Network]>,
    /// By the name of the address.
    pub pointers: NameMap<Arc<Pointer>>,
    /// Addresses of which more than [`MAX_POINTERS`] names are ours, by their names.
    pub crowded: Arc<BTreeSet<Key>>,
}

/// A network whose addresses have PTR records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The network.
    pub net: IpNet,
    /// TTL of the records, in seconds.
    pub ttl: u32,
}

/// The names of an address.
#[derive(Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The name of the address.
    pub owner: Key,
    /// In seconds.
    pub ttl: u32,
    /// All names that are answered with the address, `[names]` first, then in order: at
    /// least one.
    pub names: Box<[Pointing]>,
    /// The answer to the question for them, where they stand in no zone.
    pub(crate) ready: Option<Ready>,
}

/// A name that is answered with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointing {
    /// Is it a tag's, not one of `[names]`?
    pub by_tag: bool,
    /// The name.
    pub name: Key,
    /// On what it rests that the name has the address.
    pub basis: Option<Arc<Basis>>,
}

impl ReverseTable {
    /// Those of an address, if it has any.
    pub fn of(&self, ip: IpAddr) -> Option<&Arc<Pointer>> {
        self.pointers.get(reverse::owner(ip).octets())
    }

    /// The TTL of the PTR records of an address; none if it has none in this view.
    pub fn ttl(&self, ip: IpAddr) -> Option<u32> {
        self.networks.iter().find(|network| network.net.contains(&ip)).map(|network| network.ttl)
    }
}

impl Pointer {
    /// The names that PTR records say.
    pub fn answered(&self) -> &[Pointing] {
        self.names.get(..MAX_POINTERS).unwrap_or(&self.names)
    }

    /// The prebuilt answer.
    pub fn ready(&self) -> Option<Ready<&[u8]>> {
        self.ready.as_ref().map(Ready::borrow)
    }

    /// Those for which there is no room.
    pub fn left_out(&self) -> &[Pointing] {
        self.names.get(MAX_POINTERS..).unwrap_or_default()
    }

    /// Sources that the answer rests on; one may come several times.
    pub fn sources(&self) -> impl Iterator<Item = SourceId> {
        let all = self.answered().iter().filter_map(|one| one.basis.as_ref());
        all.flat_map(|basis| basis.sources.iter().copied())
    }

    /// Why the answer is not the plain one, for EDE.
    pub fn remark(&self) -> Option<&Remark> {
        self.answered().iter().find_map(|one| one.basis.as_ref()?.remark.as_ref())
    }

    /// The PTR records.
    pub(crate) fn records(&self) -> RrSet {
        pointers(self.ttl, self.answered().iter().map(|one| &one.name))
    }

    /// The SOA that it has as a zone of its own; as negative answers show it, too.
    pub(crate) fn soa(&self) -> Record {
        let [refresh, retry, expire] = TIMES;
        let (mname, rname) = (name_of(LOCALHOST), name_of(NOBODY));
        let soa = SOA::new(mname, rname, SERIAL, refresh, retry, expire, self.ttl);
        Record::from_rdata(self.owner.to_name(), self.ttl, RData::SOA(soa))
    }

    /// All that it has of a type as a zone of its own; of ANY the PTR records (RFC 8482
    /// section 4.1).
    pub(crate) fn of_type(&self, rtype: RecordType) -> Vec<Record> {
        let owner = self.owner.to_name();
        match rtype {
            RecordType::PTR | RecordType::ANY => self.records().records(&owner).collect(),
            RecordType::SOA => vec![self.soa()],
            RecordType::NS => {
                vec![Record::from_rdata(owner, self.ttl, RData::NS(NS(name_of(LOCALHOST))))]
            }
            _ => Vec::new(),
        }
    }
}

/// PTR records to these names: at least one.
pub(crate) fn pointers<'k>(ttl: u32, names: impl Iterator<Item = &'k Key>) -> RrSet {
    let all = names.map(|name| RData::PTR(PTR(name.to_name()))).collect();
    RrSet::new(RecordType::PTR, ttl, all)
}

fn name_of(octets: &[u8]) -> Name {
    Key::from_folded(octets).to_name()
}

impl ViewTable {
    /// The address of ours that a name, which is in none of the zones, is that of or lies
    /// below.
    pub fn pointer_of(&self, name: &[u8]) -> Option<&Arc<Pointer>> {
        if self.reverse.pointers.is_empty() {
            return None;
        }
        let (owner, _) = reverse::owner_in(name)?;
        self.reverse.pointers.get(owner)
    }
}
