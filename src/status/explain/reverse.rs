//! Which names an address has, and why a question for its PTR records has others or none.

use std::net::IpAddr;

use crate::dns::name::Key;
use crate::dns::reverse::address_of;
use crate::snapshot::reverse::{MAX_POINTERS, Pointer, Pointing};
use crate::snapshot::{Data, ViewTable};

/// What there is to say of a question for the name of an address, line by line.
pub(super) fn lines(view: &ViewTable, name: &Key) -> Vec<String> {
    let Some(ip) = address_of(name.octets()).filter(|_| !view.reverse.networks.is_empty()) else {
        return Vec::new();
    };
    if view.reverse.ttl(ip).is_none() {
        return vec![format!("no `[[reverse]]` of this view covers {ip}")];
    }
    let Some(pointer) = view.reverse.of(ip) else {
        return vec![format!("no name of ours has {ip} in this view")];
    };
    let mut lines = vec![format!("{ip} is the address of {}", joined(pointer.answered()))];
    lines.extend(left_out(pointer).map(|left_out| format!("{left_out} has no PTR record")));
    let zone = view.zone_of(name.octets());
    if let Some(zone) = zone.filter(|zone| {
        let laid = zone.resolved.get(name.octets());
        !laid.is_some_and(|laid| matches!(laid.data, Data::Pointers(_)))
    }) {
        let origin = &zone.zone.origin;
        lines.push(format!("what zone {origin} has at or above that name wins over these"));
    }
    lines
}

/// The first name of an address, whose binding decides.
pub(super) fn first(view: &ViewTable, ip: Option<IpAddr>) -> Option<&Key> {
    view.reverse.of(ip?)?.names.first().map(|one| &one.name)
}

/// Names for which there is no room, in words.
fn left_out(pointer: &Pointer) -> Option<String> {
    let left_out = pointer.left_out();
    let first = &left_out.first()?.name;
    Some(match left_out.len() {
        1 => format!("of more than {MAX_POINTERS} names {first}"),
        more => format!("of more than {MAX_POINTERS} names {first} and {} more", more - 1),
    })
}

fn joined(names: &[Pointing]) -> String {
    names.iter().map(|one| one.name.to_string()).collect::<Vec<_>>().join(" ")
}
