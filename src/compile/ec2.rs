//! Public EC2 names answered from memory, and the private addresses that
//! Elastic IPs in forwarded answers become.
//!
//! Each name is a zone of its own: what lies above is not ours. Its SOA and NS
//! are those of a zone nobody is to ask elsewhere for, as unbound's
//! `local-zone: static` has them.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{Name, RData, Record};

use super::resolve::Sighting;
use super::touched::Touched;
use super::{Index, Input, prebuilt};
use crate::config::{Mode, View, ViewId, Zone};
use crate::dns::name::{Key, suffixes};
use crate::host::background::breathing;
use crate::snapshot::name_map::NameMap;
use crate::snapshot::nodes::{Nodes, Sheet};
use crate::snapshot::ready::Ready;
use crate::snapshot::{Basis, Ec2Names, Node, NodeKind, Rewrites, RrSet, ViewTable, ZoneTable};

/// SOA refresh, retry and expire, in seconds: nobody can transfer such a zone.
const TIMES: (i32, i32, i32) = (3_600, 1_200, 604_800);

/// What a view has at home.
#[derive(Debug, Clone, Default)]
pub(crate) struct Home {
    /// EC2 names.
    pub names: Ec2Names,
    /// For forwarded answers.
    pub rewrites: Arc<Rewrites>,
}

/// The EC2 names and rewrites of a view. A name that lies in one of the view's
/// own `zones` is left to that zone. `before` is what the view had when all but
/// what is `touched` was as it is.
pub(crate) fn home(
    input: &Input<'_>,
    id: ViewId,
    index: &Index<'_>,
    touched: Option<&Touched<'_>>,
    zones: &NameMap<Arc<ZoneTable>>,
    before: Option<&ViewTable>,
) -> Home {
    let Some(view) = input.config.server.views.get(id).filter(|v| v.ec2_names || v.rewrite) else {
        return Home::default();
    };
    let (mut home, ips) = match (before, touched) {
        (Some(before), Some(touched)) => {
            let (names, rewrites) = (before.ec2_names.clone(), Arc::clone(&before.rewrites));
            (Home { names, rewrites }, Cow::Borrowed(touched.elastic_ips()))
        }
        _ => {
            let ips = index.elastic_ips();
            let names = Ec2Names::with_capacity(if view.ec2_names { ips.len() } else { 0 });
            (Home { names, rewrites: Arc::default() }, Cow::Owned(ips))
        }
    };
    for ip in breathing(ips.iter()) {
        let associated = index.best_of(*ip).and_then(|best| {
            let ttl = input.config.server.sources.get(best.source).map_or(0, |source| source.ttl);
            Some((best, best.entry.address.associated()?, ttl))
        });
        if view.rewrite {
            let new = associated
                .filter(|(best, private, _)| {
                    best.entry.address.service_managed.is_none() && view.reaches((*private).into())
                })
                .map(|(_, private, ttl)| (private, ttl));
            home.rewrite(*ip, new);
        }
        if view.ec2_names {
            let named = associated.and_then(|(best, private, ttl)| {
                let name = index.public_name(&best)?;
                let one = One {
                    address: answered(view, private.into(), (*ip).into()),
                    ttl,
                    serial: unix(best.entry.since),
                    basis: basis(index, &best),
                };
                let is_ours = suffixes(name.octets()).any(|suffix| zones.contains(suffix));
                (!is_ours).then_some((name, best.source, one))
            });
            for other in index.public_names(*ip) {
                if named.as_ref().is_none_or(|(name, ..)| *name != other) {
                    home.names.remove(other.octets());
                }
            }
            if let Some((name, source, one)) = named {
                let known = home.names.get(name.octets());
                if known.is_none_or(|table| !one.is(table)) {
                    let source = input.inventory.sources.get(source);
                    let table = one.table(&name, source.map_or("", |s| s.name.as_str()), id);
                    home.names.insert(name, Arc::new(table));
                }
            }
        }
    }
    home
}

impl Home {
    /// What forwarded answers say in place of an Elastic IP.
    fn rewrite(&mut self, ip: Ipv4Addr, new: Option<(Ipv4Addr, u32)>) {
        if self.rewrites.get(&ip).copied() == new {
            return;
        }
        let rewrites = Arc::make_mut(&mut self.rewrites);
        match new {
            Some(new) => drop(rewrites.insert(ip, new)),
            None => drop(rewrites.remove(&ip)),
        }
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
        let set = |record: Record| RrSet { rtype: record.record_type(), records: [record].into() };
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
        let ready = Ready::new(&apex, true, |set| prebuilt::of_set(&set.records));
        let apex = Arc::new(apex);
        ZoneTable {
            zone: Arc::new(zone),
            serial: self.serial,
            negative: prebuilt::negative(name, &soa),
            negative_soa: soa,
            top: Sheet::of_one(ready.borrow(), &apex),
            apex,
            nodes: Nodes::default(),
            wildcards: false,
            resolved: NameMap::default(),
            beside: Arc::default(),
            digest: 0,
            own_soa: false,
        }
    }
}
