//! Finds what differs between two contents of a zone, RRset by RRset.

use hickory_proto::rr::{Record, RecordType};

use crate::config::Config;
use crate::dns::serial::is_later;
use crate::host::background::breathing;
use crate::snapshot::{
    Changed, Difference, Differences, MAX_OCTETS, MAX_OCTETS_IN_ALL, Node, RrSet, ZoneTable,
};

/// How much memory, in octets, the differences of each zone and view may take.
pub(super) fn room(config: &Config) -> usize {
    let tables: usize = config.zones.iter().map(|zone| zone.views.len()).sum();
    MAX_OCTETS.min(MAX_OCTETS_IN_ALL / tables.max(1))
}

/// What lies behind a table that follows `old`; `changed`: the RRsets that differ, if
/// they are known already, the SOA apart. No more than `room` octets of it.
pub(super) fn behind(
    table: &ZoneTable,
    old: Option<&ZoneTable>,
    changed: Option<Vec<Changed>>,
    room: usize,
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
    old.differences.and(Difference::new(from, to, changed), room)
}

/// Adds the RRsets in which a name differs, the SOA apart; none: there is no such name.
pub(super) fn of_name(old: Option<&Node>, new: Option<&Node>, all: &mut Vec<Changed>) {
    let Some(Node { key, .. }) = new.or(old) else { return };
    let (was, is) = (sets_of(old), sets_of(new));
    let differs = |rtype, old: Option<&RrSet>, new: Option<&RrSet>| Changed {
        owner: key.clone(),
        rtype,
        old: old.cloned(),
        new: new.cloned(),
    };
    let of_type = |sets: &'_ [RrSet], rtype| sets.iter().position(|set| set.rtype == rtype);
    for set in was.iter().filter(|set| set.rtype != RecordType::SOA) {
        let now = of_type(is, set.rtype).and_then(|at| is.get(at));
        if now.is_none_or(|now| !set.is_same(now)) {
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

fn soa(table: &ZoneTable) -> Option<Record> {
    table.apex.rrset(RecordType::SOA)?.records(&table.apex.key.to_name()).next()
}

fn sets_of(node: Option<&Node>) -> &[RrSet] {
    node.map_or(&[], |node| &node.rrsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn all_zones_together_have_an_end_too() {
        let zone = "[names]\ndb = { address = \"10.0.0.1\" }\n";
        let all: Vec<_> = (0..100).map(|n| format!("z{n}.test.toml")).collect();
        let some = |count: usize| {
            let zones = all[..count].iter().map(|name| (name.as_str(), zone));
            let files: Vec<_> =
                [("server.toml", testing::SERVER)].into_iter().chain(zones).collect();
            room(&testing::config(&files))
        };
        assert_eq!(some(1), MAX_OCTETS);
        // Each in three views.
        assert_eq!(some(100), MAX_OCTETS_IN_ALL / 300);
    }
}
