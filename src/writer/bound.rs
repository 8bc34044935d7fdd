//! Which addresses of a source names are bound to, and what those want of each: how long
//! a loss is held, or its IPv6 address.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::config::{Binding, Config, SourceId, Target};
use crate::source::inventory::Address;

/// Tags an address must have.
type Tags = BTreeMap<String, String>;

/// The bindings that may name an address of one source, with what each wants.
#[derive(Debug, Default)]
pub(crate) struct Bound<T> {
    by_ip: HashMap<Ipv4Addr, T>,
    by_allocation: HashMap<String, T>,
    /// By the first tag that is asked for.
    by_tag: HashMap<(String, String), Vec<(Tags, T)>>,
}

/// How long losses are held.
pub(crate) type Holds = Bound<Duration>;

impl Holds {
    /// Of the source numbered `source`.
    pub(crate) fn new(config: &Config, source: SourceId) -> Self {
        let hold = |binding: &Binding| binding.hold.unwrap_or(config.server.guard.hold);
        Self::of(config, source, |binding| Some(hold(binding)))
    }
}

impl<T: Copy + Default + Ord> Bound<T> {
    /// Of the source numbered `source`, those bindings that want something.
    pub(super) fn of(
        config: &Config,
        source: SourceId,
        wants: impl Fn(&Binding) -> Option<T>,
    ) -> Self {
        let mut all = Self::default();
        let more = |known: &mut T, wanted: T| *known = (*known).max(wanted);
        for binding in config.zones.iter().flat_map(|zone| &zone.names) {
            if binding.source.is_some_and(|only| only != source) {
                continue;
            }
            let Some(wanted) = wants(binding) else { continue };
            match &binding.target {
                Target::Fixed(_) | Target::Discovered { .. } => {}
                Target::ElasticIp(ip) => more(all.by_ip.entry(*ip).or_default(), wanted),
                Target::Allocation(id) => {
                    more(all.by_allocation.entry(id.clone()).or_default(), wanted);
                }
                Target::Tags(tags) => {
                    if let Some((key, value)) = tags.first_key_value() {
                        let first = (key.clone(), value.clone());
                        all.by_tag.entry(first).or_default().push((tags.clone(), wanted));
                    }
                }
            }
        }
        all
    }

    /// Does no binding want anything?
    pub(super) fn is_empty(&self) -> bool {
        self.by_ip.is_empty() && self.by_allocation.is_empty() && self.by_tag.is_empty()
    }

    /// None: no binding names the address. Else the most that one of those wants that do.
    pub(crate) fn bound(&self, address: &Address) -> Option<T> {
        let by_ip = address.public_ip().and_then(|ip| self.by_ip.get(&ip)).copied();
        let by_allocation =
            address.allocation_id().and_then(|id| self.by_allocation.get(id)).copied();
        let by_tag = || {
            let tags = address.tags.iter();
            let candidates =
                tags.filter_map(|(k, v)| self.by_tag.get(&(k.to_owned(), v.to_owned())));
            candidates
                .flatten()
                .filter(|(wanted, _)| {
                    wanted.iter().all(|(k, v)| address.tags.get(k) == Some(v.as_str()))
                })
                .map(|(_, wanted)| *wanted)
                .max()
        };
        let by_tag = if self.by_tag.is_empty() { None } else { by_tag() };
        by_ip.max(by_allocation).max(by_tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_longest_hold_counts() {
        let config = testing::config(&[
            (
                "server.toml",
                &testing::SERVER.replace("[[source]]", "[guard]\nhold = \"7s\"\n[[source]]"),
            ),
            (
                "example.com.toml",
                "[names]\na = \"198.51.100.1\"\n\
                 b = { elastic_ip = \"198.51.100.1\", hold = \"1m\" }\n\
                 c = { allocation_id = \"eipalloc-c6336402\", hold = \"2s\" }\n\
                 d = { tag = { Role = \"db\", Site = \"x\" }, hold = \"9s\" }\n",
            ),
        ]);
        let holds = Holds::new(&config, 0);
        let mut address = testing::entry(Ipv4Addr::new(198, 51, 100, 1), None).address;
        assert_eq!(holds.bound(&address), Some(Duration::from_secs(60)));
        address = testing::entry(Ipv4Addr::new(198, 51, 100, 2), None).address;
        assert_eq!(holds.bound(&address), Some(Duration::from_secs(2)), "by allocation");
        address = testing::entry(Ipv4Addr::new(198, 51, 100, 3), None).address;
        assert_eq!(holds.bound(&address), None);
        std::sync::Arc::make_mut(&mut address).tags.insert("Site", "x");
        assert_eq!(holds.bound(&address), Some(Duration::from_secs(9)), "by tags");
        assert_eq!(Holds::new(&config, 1).bound(&address), Some(Duration::from_secs(9)));
    }
}
