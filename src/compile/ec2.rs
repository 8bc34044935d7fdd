//! Public EC2 names answered from memory, and the private addresses that
//! Elastic IPs in forwarded answers become.
//!
//! Each name is a zone of its own: what lies above is not ours. Its SOA and NS
//! are those of a zone nobody is to ask elsewhere for, as unbound's
//! `local-zone: static` has them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{Name, RData, Record};

use super::resolve::Sighting;
use super::{Index, Input};
use crate::answer::tail::Negative;
use crate::config::{Mode, View, ViewId, Zone};
use crate::name::{Key, NameMap};
use crate::snapshot::{Basis, Ec2Names, Node, NodeKind, Rewrites, RrSet, ViewTable, ZoneTable};

/// SOA refresh, retry and expire, in seconds: nobody can transfer such a zone.
const TIMES: (i32, i32, i32) = (3_600, 1_200, 604_800);

/// What a view has at home.
#[derive(Debug, Clone, Default)]
pub struct Home {
    /// EC2 names.
    pub names: Arc<Ec2Names>,
    /// For forwarded answers.
    pub rewrites: Arc<Rewrites>,
}

/// The EC2 names and rewrites of a view. A name that lies in one of the view's
/// own `zones` is left to that zone. `before` lends what did not change.
pub fn home(
    input: &Input<'_>,
    id: ViewId,
    index: &Index<'_>,
    zones: &NameMap<Arc<ZoneTable>>,
    before: Option<&ViewTable>,
) -> Home {
    let Some(view) = input.config.server.views.get(id).filter(|v| v.ec2_names || v.rewrite) else {
        return Home::default();
    };
    let old = before.map(|table| &*table.ec2_names);
    let known = old.map_or(0, |old| old.len());
    let mut names = Ec2Names::with_capacity_and_hasher(known, Default::default());
    let mut rewrites = Rewrites::new();
    for sighting in index.each() {
        let address = &sighting.entry.address;
        let Some(private) = address.associated() else { continue };
        let reached = view.reaches(private.into());
        let ttl = input.config.server.sources.get(sighting.source).map_or(0, |s| s.ttl);
        if view.rewrite && reached && address.service_managed.is_none() {
            rewrites.insert(address.public_ip, (private, ttl));
        }
        if !view.ec2_names {
            continue;
        }
        let Some(name) = index.public_name(&sighting) else { continue };
        if crate::name::suffixes(name.octets()).any(|suffix| zones.contains_key(suffix)) {
            continue;
        }
        let one = One {
            address: answered(view, private.into(), address.public_ip.into()),
            ttl,
            serial: unix(sighting.entry.since),
            basis: basis(index, &sighting),
        };
        let table = match old.and_then(|old| old.get(&name)).filter(|table| one.is(table)) {
            Some(same) => Arc::clone(same),
            None => {
                let source = input.inventory.sources.get(sighting.source);
                let source = source.map_or("", |source| source.name.as_str());
                Arc::new(one.table(&name, source, id))
            }
        };
        names.insert(name, table);
    }
    let same_names = |table: &&ViewTable| {
        table.ec2_names.len() == names.len()
            && names.iter().all(|(name, new)| {
                table.ec2_names.get(name).is_some_and(|old| Arc::ptr_eq(old, new))
            })
    };
    Home {
        names: match before.filter(same_names) {
            Some(table) => Arc::clone(&table.ec2_names),
            None => Arc::new(names),
        },
        rewrites: match before.filter(|table| *table.rewrites == rewrites) {
            Some(table) => Arc::clone(&table.rewrites),
            None => Arc::new(rewrites),
        },
    }
}

/// What a bound name would be answered with; where that would be the very
/// name, the address it stands for inside EC2.
fn answered(view: &View, private: IpAddr, public: IpAddr) -> IpAddr {
    match view.answer {
        Mode::Public => public,
        Mode::Private | Mode::Cname if view.reaches(private) => private,
        Mode::Private | Mode::Cname => public,
    }
}

fn basis(index: &Index<'_>, sighting: &Sighting<'_>) -> Basis {
    Basis { sources: vec![sighting.source], not_ready: false, remark: index.kept(sighting) }
}

fn unix(at: SystemTime) -> u32 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as u32
}

/// All that one EC2 name is made from.
struct One {
    address: IpAddr,
    ttl: u32,
    /// When the association was first seen: grows with every move.
    serial: u32,
    basis: Basis,
}

impl One {
    /// Was `table` made from the same?
    fn is(&self, table: &ZoneTable) -> bool {
        let rtype = RData::from(self.address).record_type();
        let record = table.apex.rrset(rtype).and_then(|set| set.records.first());
        table.serial == self.serial
            && table.apex.basis.as_deref() == Some(&self.basis)
            && record.is_some_and(|record| {
                record.ttl == self.ttl && record.data == RData::from(self.address)
            })
    }

    fn table(self, name: &Key, source: &str, view: ViewId) -> ZoneTable {
        let owner = name.to_name();
        let of_labels = |labels: &[&str]| {
            Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap_or_default()
        };
        let (nobody, localhost) = (of_labels(&["nobody", "invalid"]), of_labels(&["localhost"]));
        let (refresh, retry, expire) = TIMES;
        let soa = SOA::new(
            localhost.clone(),
            nobody.clone(),
            self.serial,
            refresh,
            retry,
            expire,
            self.ttl,
        );
        let record = |data| Record::from_rdata(owner.clone(), self.ttl, data);
        let soa = record(RData::SOA(soa));
        let set = |record: Record| RrSet::new(record.record_type(), [record].into());
        let apex = Node {
            key: name.clone(),
            rrsets: [
                set(record(self.address.into())),
                set(soa.clone()),
                set(record(RData::NS(NS(localhost)))),
            ]
            .into(),
            kind: NodeKind::Plain,
            basis: Some(Box::new(self.basis)),
            digest: 0,
        };
        let zone = Zone {
            file: PathBuf::from(format!("source {source}")),
            origin: name.clone(),
            ttl: self.ttl,
            negative_ttl: self.ttl,
            nameservers: None,
            contact: Key::from_name(&nobody),
            views: vec![view],
            records: Vec::new(),
            names: Vec::new(),
        };
        ZoneTable {
            zone: Arc::new(zone),
            serial: self.serial,
            negative: Negative::new(name, &soa),
            negative_soa: soa,
            apex: Arc::new(apex),
            nodes: Arc::default(),
            resolved: Arc::default(),
            beside: Arc::default(),
            digest: 0,
        }
    }
}
