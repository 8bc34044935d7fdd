//! What a swap changes, name by name: for the log and the history.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::Serialize;

use crate::compile::{Index, Sighting, compared, names};
use crate::config::{Binding, Config, SourceId};
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::host::text::brief;
use crate::snapshot::{Data, IpSet, Resolved, Snapshot, ZoneTable};
use crate::source::allocation::Allocation;
use crate::source::identity::EdgeIp;
use crate::source::inventory::Address;

/// As many addresses of one name's change are told: names by tags may stand
/// for thousands.
const MAX_ADDRESSES: usize = 32;

/// As many characters of an id are shown, three times what EC2's have: a file
/// may say anything.
pub(crate) const MAX_ID: usize = 64;

/// As many characters of an answer are told: names by tags may stand for
/// thousands of addresses.
const MAX_ANSWER: usize = 1_000;

/// Of one reload so many changes are told: a zone that is taken out must not push
/// all else out of the history.
const MAX_RELOADED: usize = 1_000;

/// One bound name's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it amounts to.
    #[serde(skip)]
    pub kind: Kind,
    /// The name, with its final dot.
    pub name: String,
    /// Views that see the change.
    pub views: Vec<String>,
    /// What was answered.
    pub old: String,
    /// What is answered now.
    pub new: String,
    /// Names of the sources whose word the new answer is.
    pub sources: Vec<String>,
    /// The same, as indices of the configuration.
    #[serde(skip)]
    pub source_ids: Vec<SourceId>,
    /// `reload`, if that made it and not a source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// The addresses the name stands or stood for that are held otherwise
    /// than before, the first few of them.
    pub addresses: Vec<Holder>,
    /// How many there are in all.
    pub addresses_in_all: usize,
}

/// What a swap changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The bound names that are answered otherwise, in order of name.
    pub names: Vec<Change>,
    /// How many have their first answer: the sources had not said anything before. These
    /// are no changes, and may be all names there are.
    pub first: usize,
    /// Every address behind one of them that is held otherwise than before,
    /// also those that its change does not show.
    pub addresses: HashSet<Allocation>,
}

/// What a change amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Another answer than before.
    Moved,
    /// There is no answer any longer, or no address from the first.
    NoAddress,
    /// A tag has given a name that was not there.
    Named,
    /// The same IPv4 addresses, and other IPv6 ones: what is known of their interfaces has
    /// changed.
    Ipv6,
}

/// An address, and who held it before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The Elastic IP, or the allocation of an address that has none.
    pub elastic_ip: Allocation,
    /// `eipalloc-…`
    pub allocation: Option<String>,
    /// What it has in place of a public address.
    #[serde(flatten)]
    pub edge_ip: Option<EdgeIp>,
    /// Who held it.
    pub old: Option<Association>,
    /// Who holds it now.
    pub new: Option<Association>,
}

/// Who holds an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Association {
    /// `eipassoc-…`
    pub association: Option<String>,
    /// `i-…`
    pub instance: Option<String>,
    /// `eni-…`
    pub interface: Option<String>,
    /// The private address.
    pub private: Option<Ipv4Addr>,
}

impl Association {
    /// None for an address that nobody holds.
    pub fn of(address: &Address) -> Option<Self> {
        let short = |id: &Option<String>| id.as_deref().map(|id| brief(id, MAX_ID));
        let all = Self {
            association: short(&address.association_id),
            instance: short(&address.instance_id),
            interface: short(&address.network_interface_id),
            private: address.private_ip,
        };
        (all != Self::default()).then_some(all)
    }
}

/// The changes of bound names from `old` to `new`, in order of name: those that
/// a source made, and those of a reload, of which names that are new and those in
/// new zones and views are none. `config` is that of `new`.
pub(crate) fn changes(config: &Config, old: &Snapshot, new: &Snapshot) -> Changes {
    let reloaded = old.epoch != new.epoch;
    let mut all = All { map: BTreeMap::new(), first: BTreeMap::new(), new, reloaded };
    for after in &new.views {
        let Some(before) = old.views.iter().find(|before| before.name == after.name) else {
            continue;
        };
        for (origin, table) in after.zones.iter() {
            if let Some(was) = before.zones.get(origin.octets()) {
                all.in_zone(&after.name, was, table);
            }
        }
        for (origin, was) in before.zones.iter() {
            if after.zones.get(origin.octets()).is_none() {
                all.gone(&after.name, was);
            }
        }
    }
    let All { map, first, .. } = all;
    let mut changes = Changes { first: first.len(), ..Changes::default() };
    let same_sources =
        || old.sources.iter().map(|s| &s.name).eq(new.sources.iter().map(|s| &s.name));
    if (map.is_empty() && first.is_empty()) || (reloaded && !same_sources()) {
        changes.names = breathing(map).map(|(_, (change, _))| change).collect();
        return changes;
    }
    compared(config, old, new, |was, is| {
        for (name, table) in breathing(first) {
            let binding = names::binding(&table.zone, &new.inventory.discovered, name);
            let best = binding.map(|b| is.best(&b.target, b.source));
            let best = best.iter().flatten();
            changes.addresses.extend(best.map(|sighting| sighting.entry.address.allocation()));
        }
        for ((name, ..), (mut change, table)) in breathing(map) {
            let binding =
                |of: &Snapshot| names::binding(&table.zone, &of.inventory.discovered, name);
            let (was, is) = (Bound(binding(old), was), Bound(binding(new), is));
            let holders = holders(was, is);
            changes.addresses.extend(holders.iter().map(|holder| holder.elastic_ip.clone()));
            change.addresses_in_all = holders.len();
            change.addresses.extend(holders.into_iter().take(MAX_ADDRESSES));
            changes.names.push(change);
        }
    });
    changes
}

/// A name, what it was answered with, and what it is.
type Told<'s> = (&'s Key, String, String);

/// Changes as they are found: in several views the same is one.
struct All<'s> {
    map: BTreeMap<Told<'s>, (Change, &'s ZoneTable)>,
    /// Names with their first answers.
    first: BTreeMap<&'s Key, &'s ZoneTable>,
    new: &'s Snapshot,
    reloaded: bool,
}

impl<'s> All<'s> {
    fn in_zone(&mut self, view: &str, was: &'s Arc<ZoneTable>, is: &'s Arc<ZoneTable>) {
        if Arc::ptr_eq(was, is) {
            return;
        }
        if Arc::ptr_eq(&was.zone, &is.zone) {
            for (name, now) in breathing(is.resolved.unshared(&was.resolved)) {
                match was.resolved.get(name.octets()) {
                    Some(before) => self.add(view, name, before, Some(now), is),
                    None => self.came(view, name, now, was, is),
                }
            }
            for (name, before) in breathing(was.resolved.unshared(&is.resolved)) {
                if !is.resolved.contains(name.octets()) {
                    self.add(view, name, before, None, was);
                }
            }
            return;
        }
        for (name, before) in breathing(was.resolved.iter()) {
            let now = is.resolved.get(name.octets());
            self.add(view, name, before, now.map(|now| &**now), is);
        }
    }

    /// The view has the zone no longer.
    fn gone(&mut self, view: &str, was: &'s Arc<ZoneTable>) {
        for (name, before) in breathing(was.resolved.iter()) {
            self.add(view, name, before, None, was);
        }
    }

    /// A name that was not there before: a tag has given it. Who knew nothing before has
    /// first answers.
    fn came(
        &mut self,
        view: &str,
        name: &'s Key,
        now: &Resolved,
        was: &ZoneTable,
        is: &'s ZoneTable,
    ) {
        let is_told = now.data != Data::Absent && !follows(&now.data);
        let Some(denial) = was.denial.as_ref().filter(|_| is_told) else { return };
        if denial.not_ready {
            self.first.insert(name, is);
        } else {
            self.insert(view, name, &Data::Absent, Some(now), is, Kind::Named);
        }
    }

    fn add(
        &mut self,
        view: &str,
        name: &'s Key,
        was: &Resolved,
        is: Option<&Resolved>,
        table: &'s ZoneTable,
    ) {
        let now = is.map_or(&Data::Absent, |is| &is.data);
        // A name that is new was answered to nobody.
        if was.data == *now || was.data == Data::Absent || follows(&was.data) || follows(now) {
            return;
        }
        let kind = match (&was.data, now) {
            (_, Data::Nothing(_) | Data::NotReady | Data::Absent) => Kind::NoAddress,
            (Data::NotReady, _) => {
                self.first.insert(name, table);
                return;
            }
            (was, now) if is_same_ipv4(was, now) => Kind::Ipv6,
            _ => Kind::Moved,
        };
        self.insert(view, name, &was.data, is, table, kind);
    }

    fn insert(
        &mut self,
        view: &str,
        name: &'s Key,
        was: &Data,
        is: Option<&Resolved>,
        table: &'s ZoneTable,
        kind: Kind,
    ) {
        let now = is.map_or(&Data::Absent, |is| &is.data);
        let key = (name, was.to_string(), now.to_string());
        if self.reloaded && self.map.len() >= MAX_RELOADED && !self.map.contains_key(&key) {
            return;
        }
        let cause = self.reloaded.then_some("reload");
        let (change, _) = self
            .map
            .entry(key)
            .or_insert_with_key(|key| (Change { cause, ..Change::new(kind, key) }, table));
        change.views.push(view.to_owned());
        for id in is.and_then(|is| is.basis.as_ref()).iter().flat_map(|basis| &basis.sources) {
            if !change.source_ids.contains(id) {
                change.source_ids.push(*id);
                change.sources.extend(self.new.sources.get(*id).map(|s| s.name.clone()));
            }
        }
    }
}

/// Do the two have IPv4 addresses, and the same?
fn is_same_ipv4(was: &Data, is: &Data) -> bool {
    let (Data::Addresses(was), Data::Addresses(is)) = (was, is) else { return false };
    let ipv4 =
        |all: &IpSet| -> Vec<IpAddr> { all.iter().filter(|ip| ip.is_ipv4()).copied().collect() };
    let (was, is) = (ipv4(was), ipv4(is));
    !was.is_empty() && was == is
}

/// PTR records follow their names, whose changes are told.
fn follows(data: &Data) -> bool {
    matches!(data, Data::Pointers(_))
}

impl Change {
    fn new(kind: Kind, (name, old, new): &(&Key, String, String)) -> Self {
        Self {
            kind,
            name: name.to_string(),
            views: Vec::new(),
            old: brief(old, MAX_ANSWER),
            new: brief(new, MAX_ANSWER),
            sources: Vec::new(),
            source_ids: Vec::new(),
            cause: None,
            addresses: Vec::new(),
            addresses_in_all: 0,
        }
    }
}

/// What a name is bound to, and what is said of that.
struct Bound<'r, 'i>(Option<Cow<'r, Binding>>, &'r Index<'i>);

impl<'i> Bound<'_, 'i> {
    fn best(&self) -> Vec<Sighting<'i>> {
        let Self(binding, index) = self;
        binding.as_ref().map_or_else(Vec::new, |b| index.best(&b.target, b.source))
    }
}

/// The addresses behind a name of which the holder has changed.
fn holders(was: Bound<'_, '_>, is: Bound<'_, '_>) -> Vec<Holder> {
    let mut all: BTreeMap<Allocation, Holder> = BTreeMap::new();
    let holder = |address: &Address| Holder {
        elastic_ip: address.allocation(),
        allocation: address.allocation_id().map(|id| brief(id, MAX_ID)),
        edge_ip: address.identity.edge_ip(),
        old: None,
        new: None,
    };
    for sighting in was.best() {
        let address = &sighting.entry.address;
        all.entry(address.allocation()).or_insert_with(|| holder(address)).old =
            Association::of(address);
    }
    for sighting in is.best() {
        let address = &sighting.entry.address;
        all.entry(address.allocation()).or_insert_with(|| holder(address)).new =
            Association::of(address);
    }
    all.into_values().filter(|h| h.old != h.new).collect()
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Data::Absent => f.write_str("gone"),
            Data::NotReady => f.write_str("not ready"),
            Data::Cname(name) => write!(f, "{name}"),
            Data::Pointers(names) => {
                let all: Vec<_> = names.iter().map(ToString::to_string).collect();
                f.write_str(&all.join(" "))
            }
            Data::Nothing(why) => write!(f, "no address ({why})"),
            Data::Addresses(all) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                f.write_str(&all.join(" "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Serials;
    use crate::config::Config;
    use crate::source::allocation::Allocation;
    use crate::source::inventory::{Entries, Inventory};
    use crate::testing;

    const DB: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    const WEB: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    fn config() -> Config {
        testing::config(&[
            ("server.toml", testing::SERVER),
            (
                "example.com.toml",
                "[names]\ndb = \"198.51.100.1\"\nid = \"eipalloc-c6336401\"\n\
                 set = { tag = { Role = \"db\" } }\nweb = \"198.51.100.2\"\n",
            ),
        ])
    }

    fn on(all: &[(Ipv4Addr, Option<u8>, &str)]) -> Inventory {
        let mut inventory = testing::inventory(&[]);
        let entry = |(ip, private, instance): &(Ipv4Addr, Option<u8>, &str)| {
            let mut entry = testing::entry(*ip, private.map(|p| Ipv4Addr::new(10, 0, 0, p)));
            let address = Arc::make_mut(&mut entry.address);
            address.instance_id = private.map(|_| (*instance).to_owned());
            (Allocation::from(*ip), entry)
        };
        inventory.sources[0].entries = Some(Arc::new(all.iter().map(entry).collect::<Entries>()));
        inventory
    }

    fn between(before: &Inventory, after: &Inventory) -> Vec<Change> {
        all_between(before, after).names
    }

    fn all_between(before: &Inventory, after: &Inventory) -> Changes {
        let (config, mut serials) = (config(), Serials::default());
        let old = testing::after(&config, before, &mut serials, None);
        let new = testing::after(&config, after, &mut serials, Some(&old));
        changes(&config, &old, &new)
    }

    fn silent() -> Inventory {
        let mut inventory = testing::inventory(&[]);
        inventory.sources[0].entries = None;
        inventory
    }

    fn kinds(all: &[Change]) -> Vec<(&str, Kind)> {
        let mut all: Vec<_> = all.iter().map(|c| (c.name.as_str(), c.kind)).collect();
        all.dedup();
        all
    }

    #[test]
    fn a_move_says_who_held_the_address_and_who_holds_it_now() {
        let all = between(
            &on(&[(DB, Some(1), "i-old"), (WEB, Some(2), "i-web")]),
            &on(&[(DB, Some(7), "i-new"), (WEB, Some(2), "i-web")]),
        );
        let by = |last: u8, instance: &str| Association {
            association: Some(format!("eipassoc-0a0000{last:02x}")),
            instance: Some(instance.to_owned()),
            interface: None,
            private: Some(Ipv4Addr::new(10, 0, 0, last)),
        };
        let holder = Holder {
            elastic_ip: DB.into(),
            allocation: Some("eipalloc-c6336401".into()),
            edge_ip: None,
            old: Some(by(1, "i-old")),
            new: Some(by(7, "i-new")),
        };
        let names: Vec<_> = all.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["db.example.com.", "id.example.com.", "set.example.com."]);
        for change in &all {
            assert_eq!(change.kind, Kind::Moved, "{change:?}");
            assert_eq!(change.addresses, std::slice::from_ref(&holder), "{change:?}");
        }
    }

    #[test]
    fn the_first_word_is_no_move_and_no_address_is_none() {
        let both = on(&[(DB, Some(1), "i-1"), (WEB, Some(2), "i-2")]);
        let first = all_between(&silent(), &both);
        assert_eq!((first.names, first.first), (vec![], 4), "in whatever many views");
        assert_eq!(first.addresses, [DB.into(), WEB.into()].into());
        let db = between(&silent(), &on(&[(DB, Some(1), "i-1")]));
        assert!(kinds(&db).contains(&("web.example.com.", Kind::NoAddress)), "{db:?}");
        let lost = between(&both, &on(&[(DB, None, ""), (WEB, Some(2), "i-2")]));
        assert!(kinds(&lost).contains(&("db.example.com.", Kind::NoAddress)), "{lost:?}");
        let db = lost.iter().find(|c| c.name == "db.example.com.").unwrap();
        assert_eq!(db.addresses[0].elastic_ip, DB.into());
        assert_eq!(db.addresses[0].new, None);
        let gone = between(&both, &on(&[(DB, Some(1), "i-1")]));
        let web = gone.iter().find(|c| c.name == "web.example.com.").unwrap();
        assert_eq!(web.kind, Kind::NoAddress);
        assert_eq!(web.addresses[0].old.as_ref().unwrap().instance.as_deref(), Some("i-2"));
    }

    #[test]
    fn what_a_file_may_say_has_an_end() {
        let long = "x".repeat(100_000);
        let before = on(&[(DB, Some(1), &long)]);
        let all = between(&before, &on(&[(DB, Some(2), "i-2")]));
        let old = all[0].addresses[0].old.as_ref().unwrap();
        assert_eq!(old.instance.as_ref().unwrap().chars().count(), MAX_ID + 1);
    }
}
