//! Addresses for tests.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::source::identity::{EdgeIp, Identity};
use crate::source::inventory::Address;

/// An address that nothing holds.
pub(crate) fn address(public_ip: Ipv4Addr) -> Address {
    Address::unassociated(public_ip)
}

/// An Elastic IP with this allocation id, or without one; any other address as it is.
pub(crate) fn with_id(id: Option<&str>, address: &Address) -> Address {
    let mut address = address.clone();
    if let Identity::Public { allocation_id, .. } = &mut address.identity {
        *allocation_id = id.map(Into::into);
    }
    address
}

/// A carrier address that nothing holds.
pub(crate) fn edge(id: &str) -> Address {
    let edge_ip = EdgeIp::Carrier(Ipv4Addr::new(155, 146, 10, 111));
    Address::unassociated(Identity::Edge { allocation_id: id.into(), edge_ip })
}

/// An address that a host may have.
fn host() -> impl Strategy<Value = Ipv4Addr> {
    (prop_oneof![1..=126u8, 128..=168u8, 170..=223u8], any::<[u8; 3]>())
        .prop_map(|(first, [b, c, d])| Ipv4Addr::new(first, b, c, d))
}

fn identities() -> impl Strategy<Value = Identity> {
    let id = || "eipalloc-[0-9a-f]{1,17}";
    let edge_ip =
        prop_oneof![host().prop_map(EdgeIp::Carrier), host().prop_map(EdgeIp::CustomerOwned),];
    prop_oneof![
        4 => (host(), option::of(id()))
            .prop_map(|(public_ip, allocation_id)| Identity::Public { public_ip, allocation_id }),
        1 => (id(), edge_ip)
            .prop_map(|(id, edge_ip)| Identity::Edge { allocation_id: id.into(), edge_ip }),
    ]
}

/// A few addresses, each allocation once.
pub(crate) fn addresses() -> impl Strategy<Value = Vec<Address>> {
    let id = || option::of("[a-z]{1,8}-[0-9a-f]{1,17}");
    let rest = (
        id(),
        id(),
        id(),
        option::of("[0-9]{12}"),
        option::of(host()),
        option::of("alb|nlb|rds|rnat"),
        btree_map(".{1,10}", ".{0,10}", 0..4),
    );
    let address = (identities(), rest).prop_map(
        |(identity, (association, instance, eni, owner, private, by, tags))| Address {
            identity,
            association_id: association,
            instance_id: instance,
            network_interface_id: eni,
            network_interface_owner_id: owner,
            private_ip: private,
            service_managed: by,
            tags: tags.into(),
        },
    );
    vec(address, 0..8).prop_map(|all| {
        let by_allocation: BTreeMap<_, _> =
            all.into_iter().map(|address| (address.allocation(), address)).collect();
        by_allocation.into_values().collect()
    })
}
