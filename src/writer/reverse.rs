//! What the writer says of PTR records: addresses of which more names are ours than have room.

use std::collections::BTreeMap;

use tracing::warn;

use super::Writer;
use super::tell::MAX_LOGGED;
use crate::dns::name::Key;
use crate::dns::reverse::address_of;
use crate::snapshot::Snapshot;
use crate::snapshot::reverse::MAX_POINTERS;

/// As many of the names left out are told.
const MAX_NAMES: usize = 5;

impl Writer {
    /// Says once of each address that it has more names in `next` than PTR records.
    pub(super) fn tell_pointers(&self, before: &Snapshot, next: &Snapshot) {
        let mut crowded: BTreeMap<&Key, Vec<&str>> = BTreeMap::new();
        for view in &next.views {
            let was = before.views.iter().find(|was| was.name == view.name);
            let was = was.map(|was| &was.reverse.crowded);
            let news = view.reverse.crowded.iter();
            for owner in news.filter(|owner| was.is_none_or(|was| !was.contains(*owner))) {
                crowded.entry(owner).or_default().push(&view.name);
            }
        }
        for (owner, views) in crowded.iter().take(MAX_LOGGED) {
            let mut all = next.views.iter().filter(|view| views.first() == Some(&&*view.name));
            let pointer = all.find_map(|view| view.reverse.pointers.get(owner.octets()));
            let (Some(pointer), Some(address)) = (pointer, address_of(owner.octets())) else {
                continue;
            };
            let left_out = pointer.left_out().iter().take(MAX_NAMES);
            let left_out: Vec<_> = left_out.map(|one| one.name.to_string()).collect();
            warn!(
                %address,
                views = %views.join(","),
                names = pointer.names.len(),
                left_out = %left_out.join(","),
                "an address has more names than PTR records, of which there are {MAX_POINTERS} at \
                 most: `eipdns status` has the first of those left out"
            );
        }
        if crowded.len() > MAX_LOGGED {
            let more = crowded.len() - MAX_LOGGED;
            warn!(more, "and more addresses have too many names: `eipdns status` has them");
        }
    }
}
