//! Finds what differs between two contents of a zone, RRset by RRset.

use std::sync::Arc;

use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

use crate::dns::serial::is_later;
use crate::host::background::breathing;
use crate::snapshot::{Changed, Difference, Differences, Node, RrSet, ZoneTable};

/// What lies behind a table that follows `old`; `changed`: the RRsets that differ, if
/// they are known already, the SOA apart.
pub(super) fn behind(
    table: &ZoneTable,
    old: Option<&ZoneTable>,
    changed: Option<Vec<Changed>>,
) -> Differences {
    let Some(old) = old else { return Differences::default() };
    let content = |table: &ZoneTable| table.digest.wrapping_add(table.apex.digest);
    if table.serial == old.serial && content(table) == content(old) {
        return old.differences.clone();
    }
    // A file may give any serial: no secondary gets from a later one to this.
    let (true, Some(from), Some(to)) = (is_later(old.serial, table.serial), soa(old), soa(table))
    else {
        return Differences::default();
    };
    let changed = changed.unwrap_or_else(|| between(old, table));
    old.differences.and(Difference::new(from.clone(), to.clone(), changed))
}

/// Adds the RRsets in which a name differs, the SOA apart; none: there is no such name.
pub(super) fn of_name(old: Option<&Node>, new: Option<&Node>, all: &mut Vec<Changed>) {
    let Some(Node { key, .. }) = new.or(old) else { return };
    let (was, is) = (sets_of(old), sets_of(new));
    let differs = |rtype, old: Option<&RrSet>, new: Option<&RrSet>| Changed {
        owner: key.clone(),
        rtype,
        old: old.map(|set| set.records.clone()),
        new: new.map(|set| set.records.clone()),
    };
    let of_type = |sets: &'_ [RrSet], rtype| sets.iter().position(|set| set.rtype == rtype);
    for set in was.iter().filter(|set| set.rtype != RecordType::SOA) {
        let now = of_type(is, set.rtype).and_then(|at| is.get(at));
        if now.is_none_or(|now| !is_same(&set.records, &now.records)) {
            all.push(differs(set.rtype, Some(set), now));
        }
    }
    let new_types = is.iter().filter(|set| of_type(was, set.rtype).is_none());
    let new_types = new_types.filter(|set| set.rtype != RecordType::SOA);
    all.extend(new_types.map(|set| differs(set.rtype, None, Some(set))));
}

/// Every RRset in which two tables differ, the SOA apart.
pub(super) fn between(old: &ZoneTable, new: &ZoneTable) -> Vec<Changed> {
    let mut all = Vec::new();
    of_name(Some(&old.apex), Some(&new.apex), &mut all);
    for node in breathing(new.nodes.values()) {
        let was = old.nodes.get(node.key.octets());
        if was.is_none_or(|was| was.digest != node.digest) {
            of_name(was.map(|was| &**was), Some(node), &mut all);
        }
    }
    for was in breathing(old.nodes.values()) {
        if new.nodes.get(was.key.octets()).is_none() {
            of_name(Some(was), None, &mut all);
        }
    }
    all
}

fn soa(table: &ZoneTable) -> Option<&Record> {
    table.apex.rrset(RecordType::SOA)?.records.first()
}

fn sets_of(node: Option<&Node>) -> &[RrSet] {
    node.map_or(&[], |node| &node.rrsets)
}

/// Octet for octet, and in TTL, in whatever order they stand. To hickory records are
/// equal whatever their TTL and the case of their names.
fn is_same(old: &Arc<[Record]>, new: &Arc<[Record]>) -> bool {
    if Arc::ptr_eq(old, new) {
        return true;
    }
    if let ([was], [is]) = (&old[..], &new[..])
        && let (RData::A(a), RData::A(b)) = (&was.data, &is.data)
    {
        return a == b && was.ttl == is.ttl;
    }
    let octets = |records: &[Record]| {
        let one = |record: &Record| (record.ttl, record.data.to_bytes().unwrap_or_default());
        let mut all: Vec<_> = records.iter().map(one).collect();
        all.sort_unstable();
        all
    };
    old.len() == new.len() && octets(old) == octets(new)
}
