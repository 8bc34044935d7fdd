//! Addresses for tests.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::source::inventory::Address;

/// An address that nothing holds.
pub(crate) fn address(public_ip: Ipv4Addr) -> Address {
    Address::unassociated(public_ip)
}

/// An address that a host may have.
fn host() -> impl Strategy<Value = Ipv4Addr> {
    (prop_oneof![1..=126u8, 128..=168u8, 170..=223u8], any::<[u8; 3]>())
        .prop_map(|(first, [b, c, d])| Ipv4Addr::new(first, b, c, d))
}

/// A few addresses, each Elastic IP once.
pub(crate) fn addresses() -> impl Strategy<Value = Vec<Address>> {
    let id = || option::of("[a-z]{1,8}-[0-9a-f]{1,17}");
    let rest = (
        id(),
        id(),
        id(),
        id(),
        option::of("[0-9]{12}"),
        option::of(host()),
        option::of("alb|nlb|rds|rnat"),
        btree_map(".{1,10}", ".{0,10}", 0..4),
    );
    vec((host(), rest), 0..8).prop_map(|all| {
        let by_ip: BTreeMap<_, _> = all.into_iter().collect();
        by_ip
            .into_iter()
            .map(
                |(
                    public_ip,
                    (allocation, association, instance, eni, owner, private, by, tags),
                )| {
                    Address {
                        public_ip,
                        allocation_id: allocation,
                        association_id: association,
                        instance_id: instance,
                        network_interface_id: eni,
                        network_interface_owner_id: owner,
                        private_ip: private,
                        service_managed: by,
                        tags: tags.into(),
                    }
                },
            )
            .collect()
    })
}
