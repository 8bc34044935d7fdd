//! Which bindings the difference between two inventories can touch.
//!
//! Resolving a binding reads the addresses that its target names, and of the
//! sources their order, names, regions and whether they have delivered. So a
//! move concerns the few bindings that name the moved address, by whatever
//! key; all others stand for what they stood for.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use imbl::ordmap::DiffItem;

use crate::config::{Binding, Target};
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::source::discover::{Discovered, Named};
use crate::source::inventory::{Entries, Entry, Health, Inventory, SourceInventory};

/// The keys of all addresses that are not as they were.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched<'a> {
    ips: BTreeSet<Ipv4Addr>,
    allocations: BTreeSet<&'a str>,
    tags: BTreeSet<(&'a str, &'a str)>,
    names: BTreeSet<&'a Key>,
}

impl<'a> Touched<'a> {
    /// What lies between two inventories; none when that may be everything.
    pub(crate) fn between(before: &'a Inventory, now: &'a Inventory) -> Option<Self> {
        let mut touched = Self::default();
        if before.sources.len() != now.sources.len() {
            return None;
        }
        for (id, (was, is)) in before.sources.iter().zip(&now.sources).enumerate() {
            if (&was.name, &was.region) != (&is.name, &is.region) {
                return None;
            }
            match (&was.entries, &is.entries) {
                (Some(was), Some(is)) => touched.difference(was, is),
                // Why it says nothing is said of its names.
                (None, None) if was.health.trouble() != is.health.trouble() => return None,
                (None, None) => {}
                // Names that were not ready, or are not any longer.
                _ => return None,
            }
            if is_healthy(was) != is_healthy(is) {
                touched.rivals(id, &now.sources);
            }
        }
        touched.names_between(&before.discovered, &now.discovered);
        touched.interfaces_between(before, now);
        Some(touched)
    }

    /// Names from tags, of which each knows the addresses that it stands for.
    fn names_between(&mut self, was: &'a Discovered, is: &'a Discovered) {
        for difference in was.names.diff(&is.names) {
            match difference {
                DiffItem::Add(name, named) | DiffItem::Remove(name, named) => {
                    self.touch_name(name, named);
                }
                DiffItem::Update { old: (name, old), new: (_, new) } => {
                    self.touch_name(name, old);
                    self.touch_name(name, new);
                }
            }
        }
        for (name, named) in is.notable_names() {
            self.touch_name(name, named);
        }
    }

    /// What stands on interfaces of which the IPv6 address is another. What stands on one
    /// since then is touched already.
    fn interfaces_between(&mut self, before: &'a Inventory, now: &'a Inventory) {
        let mut differing = BTreeSet::new();
        for (id, (was, is)) in before.sources.iter().zip(&now.sources).enumerate() {
            differing.extend(was.interfaces.differing(&is.interfaces).map(|name| (id, name)));
        }
        if differing.is_empty() {
            return;
        }
        let stands_on_one = |id: usize, entry: &Entry| {
            let interface = entry.address.network_interface_id.as_deref();
            interface.is_some_and(|name| differing.contains(&(id, name)))
        };
        for (id, source) in now.sources.iter().enumerate() {
            let entries = source.entries.iter().flat_map(|entries| entries.values());
            for entry in breathing(entries).filter(|entry| stands_on_one(id, entry)) {
                self.touch(entry);
            }
        }
        for (name, named) in breathing(now.discovered.names.iter()) {
            if named.members.iter().any(|member| stands_on_one(member.source, &member.entry)) {
                self.touch_name(name, named);
            }
        }
    }

    fn touch_name(&mut self, name: &'a Key, named: &'a Named) {
        self.names.insert(name);
        // Whatever may be found for a bound set in place of what is held.
        for member in named.members.iter().filter(|_| named.is_bound) {
            self.touch(&member.entry);
        }
    }

    /// The two share what did not change, and that is skipped.
    fn difference(&mut self, was: &'a Entries, is: &'a Entries) {
        for difference in was.diff(is) {
            match difference {
                DiffItem::Add(_, entry) | DiffItem::Remove(_, entry) => self.touch(entry),
                DiffItem::Update { old: (_, old), new: (_, new) } => {
                    self.touch(old);
                    self.touch(new);
                }
            }
        }
        // How the age of what is kept is told changes by itself.
        for kept in breathing(is.values()).filter(|entry| !entry.is_live()) {
            self.touch(kept);
        }
    }

    /// Which of several sources is believed about an address depends on their
    /// health.
    fn rivals(&mut self, id: usize, sources: &'a [SourceInventory]) {
        let others = || {
            let others = sources.iter().enumerate().filter(|(other, _)| *other != id);
            others.filter_map(|(_, source)| source.entries.as_ref())
        };
        let own = sources.get(id).and_then(|source| source.entries.as_ref());
        for (allocation, entry) in own.into_iter().flat_map(|own| own.iter()) {
            if others().any(|other| other.contains_key(allocation)) {
                self.touch(entry);
            }
        }
    }

    fn touch(&mut self, entry: &'a Entry) {
        self.ips.extend(entry.address.public_ip());
        self.allocations.extend(entry.address.allocation_id());
        self.tags.extend(entry.address.tags.iter());
    }

    /// Can a bound name stand for something else than before?
    pub(crate) fn touches(&self, binding: &Binding) -> bool {
        match &binding.target {
            Target::Fixed(_) | Target::Discovered { .. } => false,
            Target::ElasticIp(ip) => self.ips.contains(ip),
            Target::Allocation(id) => self.has_allocation(id),
            Target::Tags(tags) => {
                let has_all = tags.iter().all(|(key, value)| self.has_tag(key, value));
                has_all || self.names.contains(&binding.name)
            }
        }
    }

    /// Names from tags that may stand for something else.
    pub(crate) fn names(&self) -> &BTreeSet<&'a Key> {
        &self.names
    }

    /// Elastic IPs that are not as they were.
    pub(crate) fn elastic_ips(&self) -> &BTreeSet<Ipv4Addr> {
        &self.ips
    }

    /// Has an address that is not as it was this allocation?
    pub(crate) fn has_allocation(&self, id: &str) -> bool {
        self.allocations.contains(id)
    }

    /// Has one this tag?
    pub(crate) fn has_tag(&self, key: &str, value: &str) -> bool {
        self.tags.contains(&(key, value))
    }
}

fn is_healthy(source: &SourceInventory) -> bool {
    source.health == Health::Healthy
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::source::allocation::Allocation;
    use crate::source::inventory::{Address, Standing};
    use crate::source::testing::with_id;
    use crate::testing;

    const A: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    fn two() -> Inventory {
        let here = Some(Ipv4Addr::new(10, 0, 0, 1));
        let mut inventory = testing::inventory(&[(A, here), (B, here)]);
        let mut second = testing::inventory(&[(A, None)]).sources;
        second[0].name = "second".into();
        inventory.sources.append(&mut second);
        inventory
    }

    fn tags(all: &[(&str, &str)]) -> Target {
        Target::Tags(all.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    fn binding(target: Target) -> Binding {
        let zone =
            [("server.toml", testing::SERVER), ("e.com.toml", "[names]\na = \"192.0.2.1\"\n")];
        Binding { target, ..testing::config(&zone).zones[0].names[0].clone() }
    }

    #[test]
    fn a_change_touches_by_the_keys_of_before_and_after() {
        let before = two();
        assert_eq!(Touched::between(&before, &before), Some(Touched::default()));
        let mut after = two();
        let entries = Arc::make_mut(after.sources[0].entries.as_mut().unwrap());
        let address = Arc::make_mut(&mut entries.get_mut(&Allocation::from(B)).unwrap().address);
        let old = address.allocation_id().unwrap().to_owned();
        *address = with_id(Some("eipalloc-new"), address);
        address.tags.insert("Site", "x");
        let touched = Touched::between(&before, &after).unwrap();
        let other =
            before.sources[1].entries.as_ref().unwrap()[&Allocation::from(A)].address.clone();
        for (target, expected) in [
            (Target::ElasticIp(B), true),
            (Target::ElasticIp(A), false),
            (Target::Allocation(old), true),
            (Target::Allocation("eipalloc-new".into()), true),
            (Target::Allocation(other.allocation_id().unwrap().into()), false),
            (tags(&[("Role", "db")]), true),
            (tags(&[("Role", "db"), ("Site", "x")]), true),
            (tags(&[("Role", "db"), ("Site", "y")]), false),
            (Target::Fixed(vec![]), false),
        ] {
            let binding = binding(target.clone());
            assert_eq!(touched.touches(&binding), expected, "{target}");
        }
    }

    fn address(n: u16) -> Ipv4Addr {
        (0xc633_0000 | u32::from(n)).into()
    }

    proptest! {
        /// Nothing is missed for skipping what two inventories share, however
        /// many addresses there are and wherever they differ.
        #[test]
        fn all_that_differs_and_no_more(
            count in 0u16..600,
            edits in vec((0u16..640, 0u8..4), 0..40),
        ) {
            let ends = (0..count).map(|n| (address(n), Some([10, 0, 0, 1].into())));
            let before = testing::inventory(&ends.collect::<Vec<_>>());
            let mut now = before.clone();
            let entries = Arc::make_mut(now.sources[0].entries.as_mut().unwrap());
            for (n, edit) in edits {
                let ip = address(n);
                let mut new = testing::entry(ip, Some([10, 0, 0, 2].into()));
                match edit {
                    0 => drop(entries.remove(&Allocation::from(ip))),
                    1 => drop(entries.insert(ip.into(), new)),
                    2 => {
                        new.standing = Standing::Missing { since: SystemTime::UNIX_EPOCH };
                        entries.insert(ip.into(), new);
                    }
                    // Equal, but not the same.
                    _ => {
                        let equal = entries.get(&Allocation::from(ip)).map(|known| {
                            let address = Arc::new(Address::clone(&known.address));
                            Entry { address, ..known.clone() }
                        });
                        equal.into_iter().for_each(|equal| drop(entries.insert(ip.into(), equal)));
                    }
                }
            }
            let of = |inventory: &Inventory, n| {
                let entries = inventory.sources[0].entries.as_ref().unwrap();
                entries.get(&Allocation::from(address(n))).cloned()
            };
            let differs = |n: &u16| {
                let (old, new) = (of(&before, *n), of(&now, *n));
                old != new || new.is_some_and(|new| !new.is_live())
            };
            let there = Touched::between(&before, &now).unwrap();
            let ips: BTreeSet<Ipv4Addr> = (0..640).filter(differs).map(address).collect();
            prop_assert_eq!(&there.ips, &ips);
            let either = |n: u16| of(&before, n).into_iter().chain(of(&now, n));
            let ids = (0..640).filter(differs).flat_map(either);
            let id = |e: Entry| e.address.allocation_id().map(str::to_owned);
            let ids: BTreeSet<_> = ids.filter_map(id).collect();
            prop_assert!(there.allocations.iter().copied().eq(ids.iter().map(String::as_str)));
            // All that are kept are new there.
            let gone = |n: &u16| of(&before, *n) != of(&now, *n);
            let back = Touched::between(&now, &before).unwrap();
            prop_assert_eq!(back.ips, (0..640).filter(gone).map(address).collect());
        }
    }

    #[test]
    fn health_touches_what_several_sources_have() {
        let (before, mut after) = (two(), two());
        after.sources[1].health = Health::Starting;
        let touched = Touched::between(&before, &after).unwrap();
        assert_eq!(touched.ips, [A].into());
    }

    #[test]
    fn a_first_word_or_another_region_touches_everything() {
        let before = two();
        let mut after = two();
        after.sources[1].entries = None;
        assert_eq!(Touched::between(&before, &after), None);
        assert_eq!(Touched::between(&after, &before), None);
        let mut after = two();
        after.sources[0].region = Some("eu-west-1".into());
        assert_eq!(Touched::between(&before, &after), None);
        after.sources.pop();
        assert_eq!(Touched::between(&before, &after), None);
    }
}
