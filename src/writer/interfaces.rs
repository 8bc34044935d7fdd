//! The interfaces of which names want to know the IPv6 address, and what is told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use imbl::ordmap::DiffItem;

use super::bound::Bound;
use super::{Panicked, Writer};
use crate::config::{Config, SourceId, Target};
use crate::host::background::breathing;
use crate::source::discover::{Discovered, Named};
use crate::source::interfaces::{Chosen, InterfaceId, Told, Wanted};
use crate::source::inventory::{Address, Entries, Inventory};

/// Of one source so many interfaces are known that no name stands on any longer: while calls
/// fail, no answer over all that is wanted ends that.
const MAX_UNWANTED: usize = 1_000;

/// Which interfaces the names stand on that want AAAA records, of each source. Brought up
/// from one inventory to the next at the price of what changed.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    sources: Vec<OfSource>,
    /// The zones whose names from tags want them.
    zones: Vec<bool>,
    /// Does any set bound by tag? One that is held stands for addresses without its tags.
    sets: bool,
    counted: Arc<Discovered>,
}

/// Those of one source.
#[derive(Debug, Default)]
struct OfSource {
    bound: Bound<()>,
    counted: Arc<Entries>,
    /// How many addresses and names stand on each.
    counts: BTreeMap<InterfaceId, usize>,
    wanted: Wanted,
}

impl Wants {
    pub(crate) fn new(config: &Config) -> Self {
        let wants = |id| Bound::of(config, id, |binding| binding.ipv6.then_some(()));
        let of = |id| OfSource { bound: wants(id), ..OfSource::default() };
        let zones = config.zones.iter();
        let mut names = zones.clone().flat_map(|zone| &zone.names);
        Self {
            sets: names.any(|name| name.ipv6 && matches!(name.target, Target::Tags(_))),
            sources: (0..config.server.sources.len()).map(of).collect(),
            zones: zones.map(|zone| zone.discover.as_ref().is_some_and(|d| d.ipv6)).collect(),
            counted: Arc::default(),
        }
    }

    /// Counts what an inventory has, and says what is wanted of each source.
    pub(crate) fn follow(&mut self, inventory: &Inventory) -> impl Iterator<Item = &Wanted> {
        let mut changed = BTreeSet::new();
        for (id, (of, source)) in self.sources.iter_mut().zip(&inventory.sources).enumerate() {
            if of.bound.is_empty() {
                continue;
            }
            let now = source.entries.clone().unwrap_or_default();
            if Arc::ptr_eq(&of.counted, &now) {
                continue;
            }
            let before = std::mem::replace(&mut of.counted, now);
            if of.entries_differ(&before) {
                changed.insert(id);
            }
        }
        let any = self.sets || self.zones.contains(&true);
        if any && !Arc::ptr_eq(&self.counted, &inventory.discovered) {
            let before = std::mem::replace(&mut self.counted, Arc::clone(&inventory.discovered));
            self.names_differ(&before, &mut changed);
        }
        for id in changed {
            if let Some(of) = self.sources.get_mut(id) {
                of.wanted = Arc::new(of.counts.keys().cloned().collect());
            }
        }
        self.sources.iter().map(|of| &of.wanted)
    }

    /// Names from tags, and the sets bound by tag that are held.
    fn names_differ(&mut self, before: &Discovered, changed: &mut BTreeSet<SourceId>) {
        let Self { sources, zones, sets, counted } = self;
        let wants = |named: &Named| match named.is_bound {
            true => *sets,
            false => zones.get(named.zone).is_some_and(|wants| *wants),
        };
        for item in breathing(before.names.diff(&counted.names)) {
            let (was, is) = match item {
                DiffItem::Add(_, is) => (None, Some(is)),
                DiffItem::Remove(_, was) => (Some(was), None),
                DiffItem::Update { old: (_, was), new: (_, is) } => (Some(was), Some(is)),
            };
            for (named, more) in [(was, false), (is, true)] {
                let named = named.filter(|named| wants(named));
                for member in named.into_iter().flat_map(|named| &named.members) {
                    if let Some(of) = sources.get_mut(member.source) {
                        of.count(&member.entry.address, more);
                        changed.insert(member.source);
                    }
                }
            }
        }
    }
}

impl OfSource {
    /// Counts what differs; false: nothing that matters.
    fn entries_differ(&mut self, before: &Entries) -> bool {
        let now = Arc::clone(&self.counted);
        let mut any = false;
        for item in breathing(before.diff(&now)) {
            let (was, is) = match item {
                DiffItem::Add(_, is) => (None, Some(is)),
                DiffItem::Remove(_, was) => (Some(was), None),
                DiffItem::Update { old: (_, was), new: (_, is) } => (Some(was), Some(is)),
            };
            for (entry, more) in [(was, false), (is, true)] {
                let Some(entry) = entry else { continue };
                if self.bound.bound(&entry.address).is_some() {
                    self.count(&entry.address, more);
                    any = true;
                }
            }
        }
        any
    }

    fn count(&mut self, address: &Address, more: bool) {
        let Some(id) = address.network_interface_id.as_deref() else { return };
        match self.counts.get_mut(id) {
            Some(count) if more => *count += 1,
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => drop(self.counts.remove(id)),
            None if more => drop(self.counts.insert(id.into(), 1)),
            None => {}
        }
    }
}

impl Writer {
    /// The interfaces that names stand on which want AAAA records, of each source. Where there
    /// are none, what is known of interfaces is forgotten: nobody asks for it anew, and it may be
    /// another's when a name wants it again.
    pub(crate) fn wanted_interfaces(&mut self) -> Vec<Wanted> {
        let Self { wants, world, .. } = self;
        let all: Vec<_> = wants.follow(&world.inventory).cloned().collect();
        for (source, wanted) in world.inventory.sources.iter_mut().zip(&all) {
            // Before its first word nobody knows on which interfaces its addresses stand.
            if wanted.is_empty() && source.entries.is_some() {
                source.interfaces = Chosen::default();
            }
        }
        all
    }

    /// Takes what a source was told of interfaces. What cannot be compiled is as if it had not
    /// been told.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub(crate) fn take_interfaces(&mut self, id: SourceId, told: &Told) -> Result<(), Panicked> {
        let began = Instant::now();
        let Some(source) = self.world.inventory.sources.get(id) else { return Ok(()) };
        let Ok(all) = &told.answer else { return Ok(()) };
        let mut known = source.interfaces.clone();
        known.hear(all);
        let wanted = self.wants.follow(&self.world.inventory).nth(id);
        // What else is known is kept for a name that goes back, until all that is wanted was
        // asked for, or there is too much of it.
        let is_over = |wanted: &Wanted| {
            wanted.is_subset(&told.asked) || known.len() > wanted.len() + MAX_UNWANTED
        };
        if let Some(wanted) = wanted.filter(|wanted| is_over(wanted)) {
            known.retain(wanted);
        }
        let source = &mut self.world.inventory.sources[id];
        if source.interfaces == known {
            return Ok(());
        }
        let before = std::mem::replace(&mut source.interfaces, known);
        let published = self.publish(began);
        if published.is_err() {
            self.world.inventory.sources[id].interfaces = before;
        }
        published
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::source::allocation::Allocation;
    use crate::source::discover::{Remembered, Rules};
    use crate::source::inventory::Entry;
    use crate::testing::{self, noon};

    const ZONES: [(&str, &str); 3] = [
        (
            "example.com.toml",
            "[names]\nip = { elastic_ip = \"198.51.100.1\", ipv6 = true }\n\
             id = { allocation_id = \"eipalloc-c6336402\", ipv6 = true }\n\
             set = { tag = { Role = \"db\" }, ipv6 = true }\n\
             plain = \"198.51.100.3\"\n",
        ),
        ("tags.test.toml", "[discover]\ntag = \"dns-name\"\nipv6 = true\n"),
        ("more.test.toml", "[discover]\ntag = \"other-name\"\n"),
    ];

    /// An address: which one, the interface it stands on, and a tag.
    type One = (u8, Option<u8>, Option<(&'static str, &'static str)>);

    fn one() -> impl Strategy<Value = One> {
        let tag = prop_oneof![
            Just(("Role", "db")),
            Just(("dns-name", "web")),
            Just(("dns-name", "app")),
            Just(("other-name", "app")),
        ];
        (1..6u8, proptest::option::weighted(0.8, 0..4u8), proptest::option::of(tag))
    }

    fn entry((n, on, tag): One) -> Entry {
        let ip = Ipv4Addr::new(198, 51, 100, n);
        let mut entry = testing::entry(ip, on.map(|n| Ipv4Addr::new(10, 0, 0, n)));
        let address = Arc::make_mut(&mut entry.address);
        address.network_interface_id = on.map(|n| format!("eni-{n}"));
        if let Some((key, value)) = tag {
            address.tags.insert(key, value);
        }
        entry
    }

    /// The interfaces of addresses that are bound, and of what stands for names from tags.
    fn expected(inventory: &Inventory) -> BTreeSet<InterfaceId> {
        let is_bound = |address: &Address| {
            address.public_ip() == Some(Ipv4Addr::new(198, 51, 100, 1))
                || address.allocation_id() == Some("eipalloc-c6336402")
                || address.tags.get("Role") == Some("db")
        };
        let entries = inventory.sources[0].entries.iter().flat_map(|entries| entries.values());
        let bound = entries.map(|entry| &entry.address).filter(|address| is_bound(address));
        let named =
            inventory.discovered.names.iter().filter(|(name, named)| {
                named.is_bound || name.to_string().ends_with(".tags.test.")
            });
        let named = named.flat_map(|(_, named)| &named.members).map(|member| &member.entry.address);
        let all = bound.chain(named).filter_map(|address| address.network_interface_id.as_deref());
        all.map(Into::into).collect()
    }

    proptest! {
        /// Also of a set that is held, and of a name whose tag is off.
        #[test]
        fn what_is_wanted_is_what_names_stand_on(
            steps in proptest::collection::vec((one(), any::<bool>()), 1..24),
        ) {
            let files = [("server.toml", testing::SERVER)].into_iter().chain(ZONES);
            let config = testing::config(&files.collect::<Vec<_>>());
            let (rules, mut wants) = (Rules::of(&config), Wants::new(&config));
            let mut inventory = testing::inventory(&[]);
            for (one, is_there) in steps {
                let entries = Arc::make_mut(inventory.sources[0].entries.as_mut().unwrap());
                let entry = entry(one);
                let allocation: Allocation = entry.address.allocation();
                match is_there {
                    true => drop(entries.insert(allocation, entry)),
                    false => drop(entries.remove(&allocation)),
                }
                inventory.discover(&rules, None, &Remembered::new(), noon());
                let wanted = wants.follow(&inventory).next().unwrap();
                prop_assert_eq!(&**wanted, &expected(&inventory));
            }
        }
    }
}
