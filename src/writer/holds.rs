//! Which addresses of a source names are bound to, and how long a loss of
//! each is held.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::config::{Config, SourceId, Target};
use crate::source::inventory::Address;

/// Tags an address must have.
type Tags = BTreeMap<String, String>;

/// The bindings that may name an address of one source.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    by_ip: HashMap<Ipv4Addr, Duration>,
    by_allocation: HashMap<String, Duration>,
    /// By the first tag that is asked for.
    by_tag: HashMap<(String, String), Vec<(Tags, Duration)>>,
}

impl Holds {
    /// Of the source numbered `source`.
    pub(crate) fn new(config: &Config, source: SourceId) -> Self {
        let mut holds = Self::default();
        let longer = |known: &mut Duration, hold: Duration| *known = (*known).max(hold);
        for binding in config.zones.iter().flat_map(|zone| &zone.names) {
            if binding.source.is_some_and(|only| only != source) {
                continue;
            }
            let hold = binding.hold.unwrap_or(config.server.guard.hold);
            match &binding.target {
                Target::Fixed(_) | Target::Discovered { .. } => {}
                Target::ElasticIp(ip) => longer(holds.by_ip.entry(*ip).or_default(), hold),
                Target::Allocation(id) => {
                    longer(holds.by_allocation.entry(id.clone()).or_default(), hold);
                }
                Target::Tags(tags) => {
                    if let Some((key, value)) = tags.first_key_value() {
                        let first = (key.clone(), value.clone());
                        holds.by_tag.entry(first).or_default().push((tags.clone(), hold));
                    }
                }
            }
        }
        holds
    }

    /// None: no binding names the address. Else the longest hold of those that
    /// do.
    pub(crate) fn bound(&self, address: &Address) -> Option<Duration> {
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
                .map(|(_, hold)| *hold)
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
