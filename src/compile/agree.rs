//! What holds of every snapshot: A, AAAA and PTR records agree. It is looked at in unit tests,
//! and by a server that is built with debug assertions.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::Input;
use crate::config::{Binding, View};
use crate::dns::name::Key;
use crate::dns::reverse::owner;
use crate::snapshot::{Data, Snapshot, ViewTable, ZoneTable};

/// Panics if they do not.
///
/// * Each name that is answered with a covered address is among the names of that address, but
///   for wildcards and those with `ptr = false`; and there are no others.
/// * An IPv6 address beside an Elastic IP is of the interface that one stands on.
pub(super) fn assert_agrees(input: &Input<'_>, snapshot: &Snapshot) {
    for (view, table) in input.config.server.views.iter().zip(&snapshot.views) {
        let mut expected = BTreeSet::new();
        for zone in table.zones.values() {
            for (name, resolved) in zone.resolved.iter() {
                let Data::Addresses(all) = &resolved.data else { continue };
                let names = &zone.zone.names;
                let at = names.binary_search_by(|binding| binding.name.cmp(name)).ok();
                let binding = at.and_then(|at| names.get(at));
                assert_one_interface(input, (view, zone), name, binding, all);
                let wants = !name.is_wildcard() && binding.is_none_or(|binding| binding.ptr);
                if wants && is_reached(table, zone, name) {
                    let covered = all.iter().filter(|ip| table.reverse.ttl(**ip).is_some());
                    expected.extend(covered.map(|ip| (owner(*ip), name.clone())));
                }
            }
        }
        let pointers = table.reverse.pointers.values();
        let said = pointers.flat_map(|one| one.names.iter().map(|name| (&one.owner, &name.name)));
        let said: BTreeSet<_> = said.map(|(owner, name)| (owner.clone(), name.clone())).collect();
        assert_eq!(said, expected, "PTR records of view {}", view.name);
    }
}

/// Is the zone the one that the name lies in?
fn is_reached(table: &ViewTable, zone: &Arc<ZoneTable>, name: &Key) -> bool {
    table.zone_of(name.octets()).is_some_and(|of| Arc::ptr_eq(of, zone))
}

fn assert_one_interface(
    input: &Input<'_>,
    (view, zone): (&View, &ZoneTable),
    name: &Key,
    binding: Option<&Binding>,
    all: &[IpAddr],
) {
    let is_fixed = binding.is_some_and(|one| !one.follows_ec2() || one.pin.is_some());
    if is_fixed || all.iter().all(IpAddr::is_ipv4) {
        return;
    }
    let wants = match binding {
        Some(binding) => binding.ipv6,
        None => zone.zone.discover.as_ref().is_some_and(|discover| discover.ipv6),
    };
    let discovered = &input.inventory.discovered.names;
    let held = discovered.get(name).into_iter().flat_map(|named| &named.members);
    let sources = input.inventory.sources.iter();
    let said = sources.clone().enumerate().flat_map(|(id, source)| {
        source.entries.iter().flat_map(move |all| all.values().map(move |entry| (id, entry)))
    });
    // A name that is held stands for what the source may say no longer.
    let standing: Vec<_> = said.chain(held.map(|member| (member.source, &member.entry))).collect();
    let ipv6 = all.iter().filter_map(|ip| match ip {
        IpAddr::V6(ipv6) => Some(*ipv6),
        IpAddr::V4(_) => None,
    });
    for ip in ipv6 {
        assert!(wants, "{name} does not want {ip}");
        assert!(view.reaches(ip.into()), "view {} does not reach {ip} of {name}", view.name);
        let has_both = standing.iter().any(|(id, entry)| {
            let address = &entry.address;
            let known = input.inventory.sources.get(*id).and_then(|source| {
                source.interfaces.get(address.network_interface_id.as_deref()?).flatten()
            });
            let ipv4 = [address.private_ip, address.public_ip()];
            known == Some(ip) && ipv4.into_iter().flatten().any(|ip| all.contains(&ip.into()))
        });
        assert!(has_both, "{name} has {ip}, which is of no interface that {all:?} are on");
    }
}
