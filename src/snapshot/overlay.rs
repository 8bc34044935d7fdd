//! Overlay zones: zones of one name each, laid over a part of the name space
//! that is somebody else's. What lies above such a name is not ours.
//!
//! Public EC2 names are answered from them. There are as many as Elastic IPs, in
//! every view, so what is kept of each is little: what it says. Its few answers are
//! short; records and octets are made of that when they are asked for.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::name_map::NameMap;
use super::reverse::Pointer;
use super::{ViewTable, ZoneTable};
use crate::config::SourceId;
use crate::dns::ec2_name;
use crate::dns::ede::Remark;
use crate::dns::name::{Key, suffixes};

/// MNAME of the SOA, and the nameserver.
pub(crate) const LOCALHOST: &[u8] = b"\x09localhost\0";
/// RNAME of the SOA.
pub(crate) const NOBODY: &[u8] = b"\x06nobody\x07invalid\0";
/// SOA refresh, retry and expire, in seconds: nobody can transfer such a zone.
pub(crate) const TIMES: [i32; 3] = [3_600, 1_200, 604_800];

/// Overlay zones by name. None of them lies in a zone of the same view.
pub(crate) type Overlays = NameMap<Said>;

/// All that an overlay zone is made from, its name apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The address of its name.
    pub address: Ipv4Addr,
    /// Of every record, and of what is denied; in seconds.
    pub ttl: u32,
    /// The zone's serial.
    pub serial: u32,
    /// Whose word this is.
    pub source: SourceId,
    /// Why the answer is not the plain one, for EDE: few have one.
    pub remark: Option<Arc<Remark>>,
}

/// A zone of one name.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'s> {
    /// Its name.
    pub name: &'s Key,
    /// What it says.
    pub said: &'s Said,
}

impl Overlay<'_> {
    /// The record of a type at its name; of ANY the first one (RFC 8482 section 4.1).
    pub fn record(&self, rtype: RecordType) -> Option<Record> {
        let is_wanted = |record: &Record| rtype == RecordType::ANY || record.record_type() == rtype;
        self.records().into_iter().find(is_wanted)
    }

    /// The records at the name: what it stands for first, then SOA and NS.
    ///
    /// These two are those of a zone nobody is to ask elsewhere for, as unbound's
    /// `local-zone: static` has them.
    fn records(&self) -> [Record; 3] {
        let nameserver = RData::NS(NS(name_of(LOCALHOST)));
        [self.of(RData::A(self.said.address.into())), self.soa(), self.of(nameserver)]
    }

    /// The SOA; as negative answers show it, too: TTL and minimum are the same.
    pub fn soa(&self) -> Record {
        let Said { ttl, serial, .. } = *self.said;
        let [refresh, retry, expire] = TIMES;
        let (mname, rname) = (name_of(LOCALHOST), name_of(NOBODY));
        self.of(RData::SOA(SOA::new(mname, rname, serial, refresh, retry, expire, ttl)))
    }

    fn of(&self, data: RData) -> Record {
        Record::from_rdata(self.name.to_name(), self.said.ttl, data)
    }
}

fn name_of(octets: &[u8]) -> Name {
    Key::from_folded(octets).to_name()
}

/// What a view answers a name from.
#[derive(Debug, Clone, Copy)]
pub enum Authority<'s> {
    /// A zone.
    Zone(&'s Arc<ZoneTable>),
    /// An overlay zone.
    Overlay(Overlay<'s>),
    /// The zone of an address.
    Pointer(&'s Pointer),
}

impl Authority<'_> {
    /// The name of its apex: folded wire octets.
    pub fn origin(&self) -> &[u8] {
        match self {
            Authority::Zone(zone) => zone.zone.origin.octets(),
            Authority::Overlay(overlay) => overlay.name.octets(),
            Authority::Pointer(pointer) => pointer.owner.octets(),
        }
    }
}

impl ViewTable {
    /// The zone or overlay zone that `name` (folded wire octets) lies in: the
    /// longest origin. Zones come first because no overlay zone lies in one.
    pub fn authority_of(&self, name: &[u8]) -> Option<Authority<'_>> {
        let zone = self.zone_of(name).map(Authority::Zone);
        let zone = zone.or_else(|| self.overlay_of(name).map(Authority::Overlay));
        zone.or_else(|| self.pointer_of(name).map(|pointer| Authority::Pointer(pointer)))
    }

    /// The overlay zone that a name lies in which is in none of the zones. Only
    /// suffixes that look like such a zone's name are looked up.
    pub fn overlay_of(&self, name: &[u8]) -> Option<Overlay<'_>> {
        if self.overlays.is_empty() {
            return None;
        }
        let likely = suffixes(name).filter(|suffix| ec2_name::is_like_one(suffix));
        let (name, said) = likely.filter_map(|suffix| self.overlays.named(suffix)).next()?;
        Some(Overlay { name, said })
    }
}
