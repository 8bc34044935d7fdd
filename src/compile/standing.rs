//! What stands in a zone whatever its names stand for: the records of its file, its
//! SOA and its nameservers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{RData, RecordType};

use super::Input;
use crate::config::{ViewId, Zone};
use crate::dns::name::{self, Key};
use crate::records::MasterFile;
use crate::snapshot::{Node, NodeKind, RrSet};

/// SOA refresh of zones that have none of their own, in seconds: secondaries
/// look this often.
const SOA_REFRESH: i32 = 30;
/// SOA retry, in seconds.
const SOA_RETRY: i32 = 5;
/// SOA expire, in seconds: two weeks.
const SOA_EXPIRE: i32 = 1_209_600;

/// Records by name.
pub(super) type Records = HashMap<Key, Vec<RrSet>>;

/// Do two views have the same master file?
pub(super) fn same_file(zone: &Zone, a: ViewId, b: ViewId) -> bool {
    match (file(zone, a), file(zone, b)) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Names that occlude those below them (RFC 5936 section 3.5): delegations and
/// DNAMEs.
pub(super) fn occluders(records: &Records, origin: &Key) -> HashSet<Key> {
    let occludes = |(key, sets): &(&Key, &Vec<RrSet>)| {
        let has = |rtype| sets.iter().any(|set| set.rtype == rtype);
        has(RecordType::DNAME) || (has(RecordType::NS) && *key != origin)
    };
    records.iter().filter(occludes).map(|(key, _)| key.clone()).collect()
}

/// Is a delegation or DNAME above the name?
pub(super) fn is_occluded(occluders: &HashSet<Key>, name: &[u8]) -> bool {
    !occluders.is_empty() && name::suffixes(name).skip(1).any(|above| occluders.contains(above))
}

/// Does a question for the node's name reach it?
pub(super) fn is_reached(occluders: &HashSet<Key>, node: &Node) -> bool {
    node.kind != NodeKind::Cut && !is_occluded(occluders, node.key.octets())
}

/// The SOA of a zone whose file has none.
pub(super) fn own_soa(zone: &Zone) -> SOA {
    let mname = match zone.nameservers.as_deref() {
        Some([first, ..]) => first.to_name(),
        _ => default_nameserver(zone).unwrap_or_else(|| zone.origin.clone()).to_name(),
    };
    let rname = zone.contact.to_name();
    SOA::new(mname, rname, 0, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, zone.negative_ttl)
}

/// TTL and data of the SOA as a view sees it, and whether its file gives it.
pub(super) fn soa(zone: &Zone, view: ViewId) -> ((u32, SOA), bool) {
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

/// Records that no name laid into the zone decides: those of the view's file, and NS and
/// the address of `ns1` where neither file nor `nameservers` says otherwise.
pub(super) fn records(input: &Input<'_>, zone: &Zone, view: ViewId) -> Records {
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

/// The master file of a view.
fn file(zone: &Zone, view: ViewId) -> Option<&Arc<MasterFile>> {
    zone.records.get(view)?.as_ref()
}

/// `ns1.<origin>`; none when that would be too long.
fn default_nameserver(zone: &Zone) -> Option<Key> {
    zone.origin.child(b"ns1")
}

fn grouped(all: Vec<(Key, u32, RData)>) -> Records {
    type OfType = (RecordType, u32, Vec<RData>);
    let mut sets: HashMap<Key, Vec<OfType>> = HashMap::new();
    for (key, ttl, data) in all {
        let rtype = data.record_type();
        let of_name = sets.entry(key).or_default();
        // The reader has given all of a set one TTL.
        match of_name.iter_mut().find(|(t, ..)| *t == rtype) {
            Some((.., all)) => all.push(data),
            None => of_name.push((rtype, ttl, vec![data])),
        }
    }
    let set = |(rtype, ttl, all): OfType| RrSet::new(rtype, ttl, all);
    sets.into_iter().map(|(key, all)| (key, all.into_iter().map(set).collect())).collect()
}
