//! Overlay zones: zones of one name each, laid over a part of the name space
//! that is somebody else's. What lies above such a name is not ours.
//!
//! Public EC2 names are answered from them. There are as many as Elastic IPs,
//! so what is kept of each is little: what it says, and that as prebuilt
//! answers. Records are made when they are asked for. Views that see the same
//! share one overlay zone.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::name_map::NameMap;
use super::ready::Ready;
use super::tail::{Negative, Tail};
use super::{ViewTable, ZoneTable};
use crate::config::SourceId;
use crate::dns::ec2_name;
use crate::dns::ede::Remark;
use crate::dns::name::{Key, suffixes};

/// SOA refresh, retry and expire, in seconds: nobody can transfer such a zone.
const TIMES: (i32, i32, i32) = (3_600, 1_200, 604_800);

/// Overlay zones by name. None of them lies in a zone of the same view.
pub(crate) type Overlays = NameMap<Arc<Overlay>>;

/// A zone of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Overlay {
    said: Said,
    ready: Ready,
    negative: Option<Negative>,
}

/// All that an overlay zone is made from, its name apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The address of its name.
    pub address: IpAddr,
    /// Of every record, and of what is denied; in seconds.
    pub ttl: u32,
    /// The zone's serial.
    pub serial: u32,
    /// Whose word this is.
    pub source: SourceId,
    /// Why the answer is not the plain one, for EDE.
    pub remark: Option<Remark>,
}

impl Said {
    /// The records at the name: what it stands for first, then SOA and NS.
    ///
    /// These two are those of a zone nobody is to ask elsewhere for, as unbound's
    /// `local-zone: static` has them.
    pub(crate) fn records(&self, owner: &Name) -> [Record; 3] {
        let record = |data| Record::from_rdata(owner.clone(), self.ttl, data);
        [
            record(self.address.into()),
            self.soa(owner),
            record(RData::NS(NS(of_labels(&["localhost"])))),
        ]
    }

    /// The SOA; as negative answers show it, too: TTL and minimum are the same.
    pub(crate) fn soa(&self, owner: &Name) -> Record {
        let (nobody, localhost) = (of_labels(&["nobody", "invalid"]), of_labels(&["localhost"]));
        let (refresh, retry, expire) = TIMES;
        let soa = SOA::new(localhost, nobody, self.serial, refresh, retry, expire, self.ttl);
        Record::from_rdata(owner.clone(), self.ttl, RData::SOA(soa))
    }
}

fn of_labels(labels: &[&str]) -> Name {
    Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap_or_default()
}

impl Overlay {
    /// Of what it says and of the answers made from that.
    pub(crate) fn new(said: Said, ready: Ready, negative: Option<Negative>) -> Self {
        Self { said, ready, negative }
    }

    /// What it was made from.
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// Its name: folded wire octets.
    pub fn name(&self) -> &[u8] {
        self.ready().name()
    }

    /// Its name's prebuilt answers.
    pub fn ready(&self) -> Ready<&[u8]> {
        self.ready.borrow()
    }

    /// What a question for `name`, which lies in it, is denied with, prebuilt.
    pub fn negative(&self, name: &[u8]) -> Option<Tail<&[u8]>> {
        self.negative.as_ref()?.for_name(name, self.name())
    }

    /// The record of a type at its name; of ANY the first one (RFC 8482 section 4.1).
    pub fn record(&self, rtype: RecordType) -> Option<Record> {
        let is_wanted = |record: &Record| rtype == RecordType::ANY || record.record_type() == rtype;
        self.said.records(&self.owner()).into_iter().find(is_wanted)
    }

    /// Its SOA.
    pub fn soa(&self) -> Record {
        self.said.soa(&self.owner())
    }

    fn owner(&self) -> Name {
        Key::from_folded(self.name()).to_name()
    }
}

/// What a view answers a name from.
#[derive(Debug, Clone, Copy)]
pub enum Authority<'s> {
    /// A zone.
    Zone(&'s Arc<ZoneTable>),
    /// An overlay zone.
    Overlay(&'s Arc<Overlay>),
}

impl Authority<'_> {
    /// The name of its apex: folded wire octets.
    pub fn origin(&self) -> &[u8] {
        match self {
            Authority::Zone(zone) => zone.zone.origin.octets(),
            Authority::Overlay(overlay) => overlay.name(),
        }
    }
}

impl ViewTable {
    /// The zone or overlay zone that `name` (folded wire octets) lies in: the
    /// longest origin. Zones come first because no overlay zone lies in one.
    pub fn authority_of(&self, name: &[u8]) -> Option<Authority<'_>> {
        let zone = self.zone_of(name).map(Authority::Zone);
        zone.or_else(|| self.overlay_of(name).map(Authority::Overlay))
    }

    /// The overlay zone that a name lies in which is in none of the zones. Only
    /// suffixes that look like such a zone's name are looked up.
    pub fn overlay_of(&self, name: &[u8]) -> Option<&Arc<Overlay>> {
        if self.overlays.is_empty() {
            return None;
        }
        let likely = suffixes(name).filter(|suffix| ec2_name::is_like_one(suffix));
        likely.filter_map(|suffix| self.overlays.get(suffix)).next()
    }
}
