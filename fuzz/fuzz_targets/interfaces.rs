//! JSON to network interfaces, and what is answered of them.

#![no_main]

use std::collections::BTreeSet;

use eipdns::source::interfaces::{Chosen, Described};
use eipdns::source::json::interfaces::Listing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(listing) = Listing::read(data) else { return };
    let Described { interfaces, left_out, unusable } = listing.described();
    let different: BTreeSet<_> = interfaces.iter().map(|interface| &interface.id).collect();
    assert_eq!(different.len(), interfaces.len(), "an interface stands twice");
    assert!(left_out.first.len() <= left_out.count);
    assert!(unusable.iter().all(|id| !different.contains(id)), "used, and said to be of no use");

    // A file that is still being written is no answer.
    let whole = data.trim_ascii_end();
    assert!(Listing::read(&whole[..whole.len() - 1]).is_err(), "cut short, yet taken");

    // One of its addresses is answered, the primary one if there is one; and it stays.
    let mut chosen = Chosen::default();
    chosen.hear(interfaces);
    let first = chosen.clone();
    for interface in interfaces {
        let addresses: BTreeSet<_> = interface.addresses.iter().copied().collect();
        assert_eq!(addresses.len(), interface.addresses.len(), "an address stands twice");
        let answered = chosen.get(&interface.id).expect("it is known");
        let expected = interface.primary.or(addresses.first().copied());
        assert_eq!(answered, expected);
        assert!(answered.is_none_or(|ip| addresses.contains(&ip)));
    }
    chosen.hear(interfaces);
    assert_eq!(chosen, first);
});
