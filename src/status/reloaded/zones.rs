//! Which zones have come and gone, and of which the file says otherwise.

use std::collections::BTreeMap;

use super::super::report::reload::{First, Zones};
use super::MAX_TOLD;
use crate::config::{Binding, Config, Discover, SourceId, View, ViewId, Zone};
use crate::dns::name::Key;
use crate::host::background::breathing;

pub(super) fn zones(old: &Config, new: &Config) -> Zones {
    let by_origin = |config: &Config| -> BTreeMap<Key, usize> {
        config.zones.iter().enumerate().map(|(nth, zone)| (zone.origin.clone(), nth)).collect()
    };
    let (was, is) = (by_origin(old), by_origin(new));
    let added = is.keys().filter(|origin| !was.contains_key(*origin));
    let removed = was.keys().filter(|origin| !is.contains_key(*origin));
    let both = Both::of(old, new);
    let edited = is.iter().filter_map(|(origin, nth)| {
        let (old, new) = (old.zones.get(*was.get(origin)?)?, new.zones.get(*nth)?);
        (!both.is_same_zone(old, new)).then(|| origin.to_string())
    });
    Zones {
        added: First::of(added.map(ToString::to_string), MAX_TOLD),
        removed: First::of(removed.map(ToString::to_string), MAX_TOLD),
        edited: First::of(edited, MAX_TOLD),
    }
}

/// Two configurations, in which views and sources have other numbers.
struct Both<'c> {
    old: &'c Config,
    new: &'c Config,
    /// The views of both: the number in each.
    views: Vec<(ViewId, ViewId)>,
}

impl<'c> Both<'c> {
    fn of(old: &'c Config, new: &'c Config) -> Self {
        let before = &old.server.views;
        let now = new.server.views.iter().enumerate();
        let pair = |(now, view): (ViewId, &View)| {
            Some((before.iter().position(|before| before.name == view.name)?, now))
        };
        Self { old, new, views: now.filter_map(pair).collect() }
    }

    /// Do two files of one zone say the same? Not of its records: what becomes of those is
    /// seen in the zone itself. Lines may be others.
    fn is_same_zone(&self, old: &Zone, new: &Zone) -> bool {
        let Zone {
            file: _,
            origin: _,
            ttl,
            negative_ttl,
            nameservers,
            contact,
            views,
            records: _,
            names,
            discover,
        } = old;
        let same_views =
            |(before, now): &(ViewId, ViewId)| views.contains(before) == new.views.contains(now);
        (*ttl, *negative_ttl) == (new.ttl, new.negative_ttl)
            && *nameservers == new.nameservers
            && *contact == new.contact
            && self.views.iter().all(same_views)
            && names.len() == new.names.len()
            && breathing(names.iter().zip(&new.names)).all(|(old, new)| self.is_same_name(old, new))
            && match (discover, &new.discover) {
                (Some(old), Some(new)) => self.is_same_discover(old, new),
                (old, new) => old.is_none() && new.is_none(),
            }
    }

    fn is_same_name(&self, old: &Binding, new: &Binding) -> bool {
        let Binding { name, target, modes, ttl, hold, source, pin, ipv6, ptr, place: _ } = old;
        *name == new.name
            && *target == new.target
            && self.are_same_by_view(modes, &new.modes)
            && (*ttl, *hold, *pin) == (new.ttl, new.hold, new.pin)
            && self.is_same_source(*source, new.source)
            && (*ipv6, *ptr) == (new.ipv6, new.ptr)
    }

    fn is_same_discover(&self, old: &Discover, new: &Discover) -> bool {
        let Discover { tag, source, modes, ttl, hold, ipv6, sets, apex_and_wildcards, place: _ } =
            old;
        *tag == new.tag
            && self.is_same_source(*source, new.source)
            && self.are_same_by_view(modes, &new.modes)
            && (*ttl, *hold, *ipv6) == (new.ttl, new.hold, new.ipv6)
            && (*sets, *apex_and_wildcards) == (new.sets, new.apex_and_wildcards)
    }

    fn is_same_source(&self, old: Option<SourceId>, new: Option<SourceId>) -> bool {
        let name = |config: &'c Config, id: Option<SourceId>| {
            id.and_then(|id| config.server.sources.get(id)).map(|source| &source.name)
        };
        name(self.old, old) == name(self.new, new)
    }

    fn are_same_by_view<T: PartialEq>(&self, old: &[T], new: &[T]) -> bool {
        self.views.iter().all(|(before, now)| old.get(*before) == new.get(*now))
    }
}
