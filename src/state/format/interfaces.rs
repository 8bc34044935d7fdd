//! The IPv6 addresses of interfaces, by name of the source and id of the interface; null: it
//! has none.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::source::interfaces::Chosen;
use crate::state::{SourceState, State};

/// Those of one source.
pub(super) type File = BTreeMap<String, Option<Ipv6Addr>>;

/// By name of the source.
pub(super) fn files(state: &State) -> BTreeMap<String, File> {
    let some = state.sources.iter().filter(|(_, source)| source.interfaces != Chosen::default());
    let file = |known: &Chosen| known.iter().map(|(id, ip)| (id.to_string(), ip)).collect();
    some.map(|(name, source)| (name.clone(), file(&source.interfaces))).collect()
}

/// Puts them to their sources.
pub(super) fn put(files: BTreeMap<String, File>, sources: &mut BTreeMap<String, SourceState>) {
    for (name, file) in files {
        if let Some(source) = sources.get_mut(&name) {
            source.interfaces = file.into_iter().map(|(id, ip)| (id.into(), ip)).collect();
        }
    }
}
