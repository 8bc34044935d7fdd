//! One zone's tables of records, one per view it exists in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{CNAME, NS, SOA, TXT};
use hickory_proto::rr::{RData, Record, RecordType};

use super::serial::{self, Serial, Serials};
use super::{Data, Index, Input, Resolved};
use crate::answer::tail;
use crate::config::{Binding, ViewId, Zone};
use crate::name::{Key, NameMap};
use crate::records::MasterFile;
use crate::snapshot::{Node, NodeKind, RrSet, ZoneTable};

/// SOA refresh of zones that have none of their own, in seconds: secondaries
/// look this often.
const SOA_REFRESH: i32 = 30;
/// SOA retry, in seconds.
const SOA_RETRY: i32 = 5;
/// SOA expire, in seconds: two weeks.
const SOA_EXPIRE: i32 = 1_209_600;

/// Records by name.
type Records = HashMap<Key, Vec<RrSet>>;

/// A zone in one view before its serial is known.
#[derive(Clone)]
struct Draft {
    resolved: Arc<[Resolved]>,
    /// Records of bound names that come from elsewhere.
    beside: Arc<Records>,
    nodes: Arc<NameMap<Arc<Node>>>,
    digest: u128,
    /// The origin's records, less the SOA.
    apex: Node,
    /// TTL and data of the SOA; the serial is that of the zone's file.
    soa: (u32, SOA),
    /// Is the SOA from the zone's file?
    given: bool,
}

/// The zone's table for each of its views. `before` gives the table that the
/// previous snapshot made from the same configuration.
pub fn tables<'p>(
    input: &Input<'_>,
    zone: &Arc<Zone>,
    index: &Index<'_>,
    before: &dyn Fn(ViewId) -> Option<&'p Arc<ZoneTable>>,
    serials: &mut Serials,
) -> Vec<(ViewId, Arc<ZoneTable>)> {
    let mut drafts: Vec<(ViewId, Draft)> = Vec::with_capacity(zone.views.len());
    for &view in &zone.views {
        let Some(config) = input.config.server.views.get(view) else { continue };
        let resolved: Arc<[Resolved]> = zone
            .names
            .iter()
            .map(|b| index.resolve(b, config, b.modes.get(view).copied().flatten()))
            .collect();
        // Views that see the same share one table.
        let same_file = |other: ViewId| match (file(zone, view), file(zone, other)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let twin = drafts.iter().find(|(v, d)| d.resolved == resolved && same_file(*v));
        let draft = match (twin, before(view)) {
            (Some((_, twin)), _) => twin.clone(),
            (None, Some(old)) => changed(zone, view, old, resolved),
            (None, None) => whole(input, zone, view, resolved),
        };
        drafts.push((view, draft));
    }
    let names = &input.config.server.views;
    let digest = serial::zone_digest(
        drafts.iter().map(|(v, d)| (names[*v].name.as_str(), d.digest.wrapping_add(d.apex.digest))),
    );
    // A zone without bindings has the serial its file gives it.
    let given = drafts.iter().find(|(_, d)| d.given).map(|(_, d)| d.soa.1.serial);
    let serial = match given {
        Some(serial) if zone.names.is_empty() => {
            serials.set(&zone.origin, Serial { serial, digest });
            serial
        }
        _ => serials.advance(&zone.origin, digest, input.now),
    };
    let mut tables: Vec<(ViewId, Arc<ZoneTable>)> = Vec::with_capacity(drafts.len());
    for (view, draft) in drafts {
        let twin = tables.iter().find(|(_, t)| Arc::ptr_eq(&t.nodes, &draft.nodes));
        let same = before(view)
            .filter(|old| old.serial == serial && old.resolved == draft.resolved)
            .or_else(|| twin.map(|(_, t)| t).filter(|t| t.resolved == draft.resolved));
        let table = match same {
            Some(table) => table.clone(),
            None => Arc::new(finish(zone, draft, serial)),
        };
        tables.push((view, table));
    }
    tables
}

/// Builds every node.
fn whole(input: &Input<'_>, zone: &Zone, view: ViewId, resolved: Arc<[Resolved]>) -> Draft {
    let mut records = standing(input, zone, view);
    let mut nodes: NameMap<Arc<Node>> =
        NameMap::with_capacity_and_hasher(zone.names.len() + 8, Default::default());
    let mut beside = Records::new();
    let mut apex = None;
    for (binding, resolved) in zone.names.iter().zip(resolved.iter()) {
        let others = records.remove(&binding.name).unwrap_or_default();
        if resolved.data == Data::Absent && others.is_empty() {
            continue;
        }
        let made = node(zone, &binding.name, &others, Some((binding, resolved)));
        if binding.name == zone.origin {
            apex = Some(made);
        } else {
            nodes.insert(binding.name.clone(), Arc::new(made));
        }
        if !others.is_empty() {
            beside.insert(binding.name.clone(), others);
        }
    }
    for (key, sets) in records {
        let made = node(zone, &key, &sets, None);
        if key == zone.origin {
            apex = Some(made);
        } else {
            nodes.insert(key, Arc::new(made));
        }
    }
    for key in nodes.keys().cloned().collect::<Vec<_>>() {
        let above = std::iter::successors(key.parent(), Key::parent);
        for name in above.take_while(|name| *name != zone.origin) {
            if nodes.contains_key(&name) {
                break;
            }
            nodes.insert(name.clone(), Arc::new(node(zone, &name, &[], None)));
        }
    }
    let digest = nodes.values().fold(0u128, |sum, n| sum.wrapping_add(n.digest));
    let apex = apex.unwrap_or_else(|| node(zone, &zone.origin, &[], None));
    let (soa, given) = soa(zone, view);
    let digest = digest.wrapping_add(serial::soa_digest(&zone.origin, soa.0, &soa.1));
    Draft { resolved, beside: Arc::new(beside), nodes: Arc::new(nodes), digest, apex, soa, given }
}

/// Builds the nodes of the bindings that resolve to something else than in
/// `old`. Which names exist depends on the configuration alone, so no name
/// comes or goes.
fn changed(zone: &Zone, view: ViewId, old: &ZoneTable, resolved: Arc<[Resolved]>) -> Draft {
    let (soa, given) = soa(zone, view);
    let mut draft = Draft {
        resolved,
        beside: old.beside.clone(),
        nodes: old.nodes.clone(),
        digest: old.digest,
        apex: without_soa(&old.apex),
        soa,
        given,
    };
    let resolved = draft.resolved.clone();
    for ((binding, new), old) in zone.names.iter().zip(resolved.iter()).zip(old.resolved.iter()) {
        if new == old {
            continue;
        }
        let others = draft.beside.get(&binding.name).map_or(&[][..], Vec::as_slice);
        let made = node(zone, &binding.name, others, Some((binding, new)));
        if binding.name == zone.origin {
            draft.apex = made;
            continue;
        }
        draft.digest = draft.digest.wrapping_add(made.digest);
        let replaced = Arc::make_mut(&mut draft.nodes).insert(binding.name.clone(), Arc::new(made));
        draft.digest = draft.digest.wrapping_sub(replaced.map_or(0, |n| n.digest));
    }
    draft
}

/// Puts the SOA with its serial in place.
fn finish(zone: &Arc<Zone>, draft: Draft, serial: u32) -> ZoneTable {
    let (ttl, mut soa) = draft.soa;
    soa.serial = serial;
    // RFC 2308 section 3: a negative answer lives as long as the smaller.
    let negative_ttl = ttl.min(soa.minimum);
    let soa = Record::from_rdata(zone.origin.to_name(), ttl, RData::SOA(soa));
    let mut negative_soa = soa.clone();
    negative_soa.ttl = negative_ttl;
    let mut apex = draft.apex;
    let set = RrSet { rtype: RecordType::SOA, records: [soa].into(), tail: None };
    apex.rrsets = std::iter::once(set).chain(apex.rrsets).collect();
    let mut table = ZoneTable {
        zone: zone.clone(),
        serial,
        negative_soa,
        negative: None,
        apex: Arc::new(apex),
        nodes: draft.nodes,
        resolved: draft.resolved,
        beside: draft.beside,
        digest: draft.digest,
    };
    tail::prebuild(&mut table);
    table
}

/// The apex as it is before its SOA has a serial.
fn without_soa(apex: &Node) -> Node {
    let rrsets = apex.rrsets.iter().filter(|s| s.rtype != RecordType::SOA).cloned().collect();
    Node { key: apex.key.clone(), rrsets, basis: apex.basis.clone(), ..*apex }
}

/// The SOA of a zone whose file has none.
fn own_soa(zone: &Zone) -> SOA {
    let mname = match zone.nameservers.as_deref() {
        Some([first, ..]) => first.to_name(),
        _ => default_nameserver(zone).unwrap_or_else(|| zone.origin.clone()).to_name(),
    };
    let rname = zone.contact.to_name();
    SOA::new(mname, rname, 0, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, zone.negative_ttl)
}

/// The master file of a view.
fn file(zone: &Zone, view: ViewId) -> Option<&Arc<MasterFile>> {
    zone.records.get(view)?.as_ref()
}

/// TTL and data of the SOA as a view sees it, and whether its file gives it.
fn soa(zone: &Zone, view: ViewId) -> ((u32, SOA), bool) {
    let mut records = file(zone, view).into_iter().flat_map(|file| &file.records);
    let given = records.find_map(|record| match &record.data {
        RData::SOA(soa) => Some((record.ttl, soa.clone())),
        _ => None,
    });
    match given {
        Some(soa) => (soa, true),
        None => ((zone.ttl, own_soa(zone)), false),
    }
}

/// Records that no binding decides: those of the view's file, and NS and the
/// address of `ns1` where neither file nor `nameservers` says otherwise.
fn standing(input: &Input<'_>, zone: &Zone, view: ViewId) -> Records {
    let of_file = || file(zone, view).into_iter().flat_map(|file| &file.records);
    let mut all: Vec<(Key, u32, RData)> = of_file()
        .filter(|record| record.rtype != RecordType::SOA)
        .map(|record| (record.owner.clone(), record.ttl, record.data.clone()))
        .collect();
    let has = |owner: &Key, rtype| of_file().any(|r| r.owner == *owner && r.rtype == rtype);
    if has(&zone.origin, RecordType::NS) {
        return grouped(all);
    }
    let ns = |target: &Key| (zone.origin.clone(), zone.ttl, RData::NS(NS(target.to_name())));
    match &zone.nameservers {
        Some(targets) => all.extend(targets.iter().map(ns)),
        None => {
            if let Some(target) = default_nameserver(zone) {
                all.push(ns(&target));
                let known = zone.names.iter().any(|b| b.name == target)
                    || has(&target, RecordType::A)
                    || has(&target, RecordType::AAAA);
                if !known {
                    let addresses = input.addresses.iter();
                    all.extend(addresses.map(|ip| (target.clone(), zone.ttl, (*ip).into())));
                }
            }
        }
    }
    grouped(all)
}

/// `ns1.<origin>`; none when that would be too long.
fn default_nameserver(zone: &Zone) -> Option<Key> {
    zone.origin.child(b"ns1")
}

fn grouped(all: Vec<(Key, u32, RData)>) -> Records {
    let mut sets: HashMap<Key, Vec<(RecordType, Vec<Record>)>> = HashMap::new();
    for (key, ttl, data) in all {
        let rtype = data.record_type();
        let record = Record::from_rdata(key.to_name(), ttl, data);
        let of_name = sets.entry(key).or_default();
        match of_name.iter_mut().find(|(t, _)| *t == rtype) {
            Some((_, records)) => records.push(record),
            None => of_name.push((rtype, vec![record])),
        }
    }
    let set = |(rtype, records): (RecordType, Vec<Record>)| RrSet::new(rtype, records.into());
    sets.into_iter().map(|(key, all)| (key, all.into_iter().map(set).collect())).collect()
}

/// A name with its records: those from elsewhere and those of its binding.
fn node(zone: &Zone, key: &Key, others: &[RrSet], bound: Option<(&Binding, &Resolved)>) -> Node {
    let mut rrsets: Vec<RrSet> = others.to_vec();
    let mut basis = None;
    if let Some((binding, resolved)) = bound {
        let ttl = binding.ttl.unwrap_or(zone.ttl);
        rrsets.extend(bound_records(key, ttl, resolved, others.is_empty()));
        basis = resolved.basis.clone().map(Box::new);
    }
    let has = |rtype| rrsets.iter().any(|set| set.rtype == rtype);
    let kind = if has(RecordType::NS) && *key != zone.origin {
        NodeKind::Cut
    } else if has(RecordType::DNAME) {
        NodeKind::Dname
    } else {
        NodeKind::Plain
    };
    let digest = serial::node_digest(key, &rrsets);
    Node { key: key.clone(), rrsets: rrsets.into(), kind, basis, digest }
}

fn bound_records(key: &Key, ttl: u32, resolved: &Resolved, alone: bool) -> Vec<RrSet> {
    let owner = key.to_name();
    let set = |rtype, all: Vec<RData>| {
        let records = all.into_iter().map(|d| Record::from_rdata(owner.clone(), ttl, d)).collect();
        RrSet::new(rtype, records)
    };
    match &resolved.data {
        Data::Absent | Data::NotReady => Vec::new(),
        Data::Cname(target) => {
            vec![set(RecordType::CNAME, vec![RData::CNAME(CNAME(target.to_name()))])]
        }
        Data::Addresses(all) => {
            let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = all.iter().partition(|ip| ip.is_ipv4());
            [(RecordType::A, v4), (RecordType::AAAA, v6)]
                .into_iter()
                .filter(|(_, all)| !all.is_empty())
                .map(|(rtype, all)| set(rtype, all.into_iter().map(RData::from).collect()))
                .collect()
        }
        // So that the name exists for whoever transfers the zone; a name
        // that has other records exists already.
        Data::Nothing(why) if alone => {
            let text = format!("eipdns: {why}");
            // A character-string holds 255 octets (RFC 1035 section 3.3).
            let strings = text.as_bytes().chunks(255).collect();
            vec![set(RecordType::TXT, vec![RData::TXT(TXT::from_bytes(strings))])]
        }
        Data::Nothing(_) => Vec::new(),
    }
}
