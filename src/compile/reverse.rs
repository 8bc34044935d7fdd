//! PTR records (`[[reverse]]`): for every covered address that a view answers for a name of
//! ours, that view has the name, in the same snapshot.
//!
//! Names are those of `[names]` and those that tags give; no wildcards, and no aliases (RFC 2181
//! section 10.2). What they stand for is read from the tables of their zones, so a name that
//! records or a delegation displace has no PTR record either. Zones above names of addresses
//! are made last: the records are names laid into them. As everywhere, what did not change is
//! taken from the snapshot before, and a move costs the few names that it touches.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::names::{self, NameNow, Names};
use super::{Ground, Index, prebuilt, zone};
use crate::config::{Config, ViewId, Zone};
use crate::dns::name::{self, Key};
use crate::dns::reverse::{address_of, owner, space};
use crate::host::background::breathing;
use crate::snapshot::name_map::NameMap;
use crate::snapshot::ready::Ready;
use crate::snapshot::reverse::{MAX_POINTERS, Network, Pointer, Pointing, ReverseTable};
use crate::snapshot::{Basis, Data, Node, NodeKind, Resolved, RrSet, ViewTable};

/// Which addresses have PTR records where.
pub(super) struct Plan<'g, 'a> {
    ground: &'g Ground<'a>,
    config: &'a Config,
    /// Of each view.
    networks: Vec<Arc<[Network]>>,
    /// Of each zone: the views in which PTR records may be laid into it.
    zones: Vec<Vec<ViewId>>,
}

/// What names of a zone stand for, before PTR records are laid into it.
type Laid = Vec<(Vec<ViewId>, NameMap<Arc<Resolved>>)>;

/// Which names an address of a view loses and gains.
#[derive(Default)]
struct Edit {
    gone: HashSet<Key>,
    come: Vec<Pointing>,
}

impl<'g, 'a> Plan<'g, 'a> {
    /// None where no `[[reverse]]` is configured.
    pub(super) fn of(ground: &'g Ground<'a>) -> Option<Self> {
        let config = ground.input.config;
        if config.server.reverse.is_empty() {
            return None;
        }
        let networks: Vec<Arc<[Network]>> =
            (0..config.server.views.len()).map(|view| networks(config, view)).collect();
        let zones = config.zones.iter().map(|zone| {
            let space = space(&zone.origin);
            let has = |network: &Network| {
                space.iter().any(|s| s.contains(&network.net) || network.net.contains(s))
            };
            let is_in = |view: &ViewId| networks.get(*view).is_some_and(|n| n.iter().any(has));
            zone.views.iter().copied().filter(is_in).collect()
        });
        let zones = zones.collect();
        Some(Self { ground, config, networks, zones })
    }

    /// May PTR records be laid into the `nth` zone?
    pub(super) fn may_hold(&self, nth: usize) -> bool {
        self.zones.get(nth).is_some_and(|views| !views.is_empty())
    }

    /// Brings the PTR records of the views up to date, from the other zones that are there and
    /// from `names`. The zones that may have such records, with all names to lay into them.
    pub(super) fn point(
        &self,
        index: &Index<'_>,
        names: &[Names],
        views: &mut [ViewTable],
    ) -> Vec<(&'a Arc<Zone>, Names)> {
        let own: BTreeMap<usize, Laid> = (0..self.zones.len())
            .filter(|nth| self.may_hold(*nth))
            .filter_map(|nth| Some((nth, self.laid(nth, names.get(nth)?))))
            .collect();
        let mut changed = HashSet::new();
        for view in 0..views.len() {
            let Some(networks) = self.networks.get(view).filter(|n| !n.is_empty()) else {
                continue;
            };
            let edits = self.edits(view, views, names, &own);
            let before = self.before(view).map(|before| before.reverse.clone());
            let mut table = before.unwrap_or_else(|| ReverseTable {
                networks: Arc::clone(networks),
                pointers: NameMap::with_capacity(edits.len()),
                crowded: Arc::default(),
            });
            let others = views.get(..view).unwrap_or_default();
            let is_alone = |owner: &Key| self.zone_for(view, owner).is_none();
            changed.extend(apply(&mut table, edits, others, is_alone));
            if let Some(view) = views.get_mut(view) {
                view.reverse = table;
            }
        }
        let zones = self.config.zones.iter().zip(names).enumerate();
        let zones = zones.filter(|(nth, _)| self.may_hold(*nth));
        let all = zones.map(|(nth, (zone, names))| {
            (zone, self.with_pointers(nth, names, &changed, index, views))
        });
        all.collect()
    }

    /// The view as it was, where only what is touched differs from it.
    fn before(&self, view: ViewId) -> Option<&'a ViewTable> {
        self.ground.touched.as_ref()?;
        self.ground.related?.views.get(view)
    }

    /// What the names of a zone stand for that may have PTR records itself.
    fn laid(&self, nth: usize, names: &Names) -> Laid {
        let Some(zone) = self.config.zones.get(nth).filter(|_| !names.names.is_empty()) else {
            return Laid::new();
        };
        let table = |view: ViewId| self.ground.table_before(zone, view);
        let past = zone::Past { table: &table, is_related: self.ground.related.is_some() };
        zone::resolved(self.ground.input, zone, names, &past)
    }

    /// What differs from the view before, address by address; all there is, without one.
    fn edits(
        &self,
        view: ViewId,
        views: &[ViewTable],
        names: &[Names],
        own: &BTreeMap<usize, Laid>,
    ) -> BTreeMap<IpAddr, Edit> {
        let mut edits: BTreeMap<IpAddr, Edit> = BTreeMap::new();
        let networks = self.networks.get(view).map_or(&[][..], |networks| networks);
        let is_covered = |ip: &&IpAddr| networks.iter().any(|network| network.net.contains(*ip));
        let table = |all: &'a ViewTable, zone: &Zone| all.zones.get(zone.origin.octets());
        for (nth, (zone, names)) in self.config.zones.iter().zip(names).enumerate() {
            let was = self.before(view).and_then(|before| table(before, zone));
            let is = match own.get(&nth) {
                Some(own) => own.iter().find(|(views, _)| views.contains(&view)).map(|one| &one.1),
                None => views
                    .get(view)
                    .and_then(|all| all.zones.get(zone.origin.octets()))
                    .map(|table| &table.resolved),
            };
            for NameNow { name, .. } in breathing(&names.names) {
                let was = was.and_then(|table| table.resolved.get(name.octets()));
                let is = is.and_then(|resolved| resolved.get(name.octets()));
                if was == is {
                    continue;
                }
                let Some(by_tag) = self.points_to(nth, zone, view, name) else { continue };
                for ip in addresses(was).iter().filter(is_covered) {
                    edits.entry(*ip).or_default().gone.insert(name.clone());
                }
                for ip in addresses(is).iter().filter(is_covered) {
                    let basis = is.and_then(|is| is.basis.clone());
                    let pointing = Pointing { by_tag, name: name.clone(), basis };
                    edits.entry(*ip).or_default().come.push(pointing);
                }
            }
        }
        edits
    }

    /// May PTR records of the view say a name of the `nth` zone? Then whether a tag gives it.
    fn points_to(&self, nth: usize, zone: &Zone, view: ViewId, name: &Key) -> Option<bool> {
        if name.is_wildcard() || self.zone_for(view, name) != Some(nth) {
            return None;
        }
        match zone.names.binary_search_by(|binding| binding.name.cmp(name)) {
            Ok(at) => zone.names.get(at)?.ptr.then_some(false),
            Err(_) => Some(true),
        }
    }

    /// The zone of a view that a name lies in: the longest.
    fn zone_for(&self, view: ViewId, name: &Key) -> Option<usize> {
        let zones = &self.config.zones;
        let at = |suffix| {
            let nth = zones.binary_search_by(|zone| zone.origin.octets().cmp(suffix)).ok()?;
            zones.get(nth)?.views.contains(&view).then_some(nth)
        };
        name::suffixes(name.octets()).find_map(at)
    }

    /// The `names` of a zone, and the PTR records in it that are not as they were.
    fn with_pointers(
        &self,
        nth: usize,
        names: &Names,
        changed: &HashSet<Key>,
        index: &Index<'_>,
        views: &[ViewTable],
    ) -> Names {
        let mut all = names.clone();
        let Some(zone) = self.config.zones.get(nth) else { return all };
        let denial = Arc::new(index.denial(None));
        all.laid = true;
        all.points = self.zones.get(nth).map(|views| (views.clone(), denial));
        // One that a tag has given there may be gone.
        let own = names.names.iter().map(|now| &now.name);
        let own = own.filter(|name| address_of(name.octets()).is_some());
        let mut owners: BTreeSet<&Key> = own.collect();
        owners.extend(breathing(changed).filter(|owner| owner.is_under(&zone.origin)));
        // What is bound there wins.
        let discovered = &self.ground.input.inventory.discovered;
        owners.retain(|owner| names::binding(zone, discovered, owner).is_none());
        all.names.retain(|now| !owners.contains(&now.name));
        let now = |owner: &Key| NameNow {
            name: owner.clone(),
            views: self.in_views(nth, zone, owner, views),
        };
        all.names.extend(breathing(owners).map(now));
        all
    }

    /// The PTR records at a name in each of the views of a zone, where it is in that zone.
    fn in_views(
        &self,
        nth: usize,
        zone: &Zone,
        owner: &Key,
        views: &[ViewTable],
    ) -> Box<[Option<Arc<Resolved>>]> {
        let mut known: Option<(&Arc<Pointer>, Arc<Resolved>)> = None;
        let of = |view: &ViewId| {
            let pointer = views.get(*view)?.reverse.pointers.get(owner.octets())?;
            if self.zone_for(*view, owner) != Some(nth) {
                return None;
            }
            if let Some((same, resolved)) = &known
                && Arc::ptr_eq(same, pointer)
            {
                return Some(Arc::clone(resolved));
            }
            let made = Arc::new(resolved(pointer));
            known = Some((pointer, Arc::clone(&made)));
            Some(made)
        };
        zone.views.iter().map(of).collect()
    }
}

/// The networks that a view has PTR records of.
fn networks(config: &Config, view: ViewId) -> Arc<[Network]> {
    let blocks = config.server.reverse.iter().filter(|block| block.views.contains(&view));
    let of = |block: &'_ crate::config::Reverse| {
        let ttl = block.ttl;
        block.networks.iter().map(|net| Network { net: *net, ttl }).collect::<Vec<_>>()
    };
    blocks.flat_map(of).collect()
}

/// The addresses that a name is answered with.
fn addresses(resolved: Option<&Arc<Resolved>>) -> &[IpAddr] {
    match resolved.map(|resolved| &resolved.data) {
        Some(Data::Addresses(all)) => all,
        _ => &[],
    }
}

/// Takes what addresses lose and gain; the names of those that are not as they were. What
/// `others` have too is shared with them. Those that are `alone` in no zone have an answer.
fn apply(
    table: &mut ReverseTable,
    edits: BTreeMap<IpAddr, Edit>,
    others: &[ViewTable],
    is_alone: impl Fn(&Key) -> bool,
) -> Vec<Key> {
    let mut changed = Vec::new();
    for (ip, Edit { gone, come }) in breathing(edits) {
        let (owner, ttl) = (owner(ip), table.ttl(ip).unwrap_or_default());
        let known = table.pointers.get(owner.octets());
        let kept = known.into_iter().flat_map(|known| &known.names);
        let mut names: Vec<Pointing> =
            kept.filter(|one| !gone.contains(&one.name)).cloned().chain(come).collect();
        names.sort_by(|a, b| (a.by_tag, &a.name).cmp(&(b.by_tag, &b.name)));
        let is_crowded = names.len() > MAX_POINTERS;
        if is_crowded != table.crowded.contains(&owner) {
            let crowded = Arc::make_mut(&mut table.crowded);
            if is_crowded {
                crowded.insert(owner.clone())
            } else {
                crowded.remove(&owner)
            };
        }
        if names.is_empty() {
            table.pointers.remove(owner.octets());
        } else {
            let is_alone = is_alone(&owner);
            let mut twins =
                others.iter().filter_map(|other| other.reverse.pointers.get(owner.octets()));
            let twin = twins.find(|twin| {
                let is_it = (twin.ttl, &*twin.names) == (ttl, &*names);
                is_it && twin.ready.is_some() == is_alone
            });
            let made = twin.map_or_else(
                || Arc::new(pointer(owner.clone(), ttl, names.into(), is_alone)),
                Arc::clone,
            );
            table.pointers.insert(owner.clone(), made);
        }
        changed.push(owner);
    }
    changed
}

/// The names of an address, with the answer if it stands alone.
fn pointer(owner: Key, ttl: u32, names: Box<[Pointing]>, is_alone: bool) -> Pointer {
    let mut pointer = Pointer { owner, ttl, names, ready: None };
    if is_alone {
        let apex = Node {
            key: pointer.owner.clone(),
            rrsets: [pointer.records()].into(),
            kind: NodeKind::Plain,
            basis: resolved(&pointer).basis,
            digest: 0,
        };
        let tail = |set: &RrSet| prebuilt::of_set(&apex.key, set);
        pointer.ready = Some(Ready::new(&apex, true, tail));
    }
    pointer
}

/// PTR records as a name laid into a zone stands for them.
fn resolved(pointer: &Pointer) -> Resolved {
    let names = pointer.answered().iter().map(|one| one.name.clone()).collect();
    let rests = pointer.answered().iter().any(|one| one.basis.is_some());
    let basis = rests.then(|| {
        let sources: BTreeSet<_> = pointer.sources().collect();
        let sources = sources.into_iter().collect();
        let remark = pointer.remark().cloned();
        Arc::new(Basis { sources, remark, ..Basis::default() })
    });
    Resolved { data: Data::Pointers(names), ttl: pointer.ttl, basis }
}
