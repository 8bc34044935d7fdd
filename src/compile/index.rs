//! The inventory, ready to be asked by address, allocation and tag.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Input;
use super::touched::Touched;
use crate::config::{SourceId, Target};
use crate::dns::ec2_name;
use crate::dns::ede::{self, Remark};
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::host::text::brief;
use crate::snapshot::Basis;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::inventory::{Entry, Health, SourceInventory};

/// As many characters of a remark about sources that have not delivered are sent: there may be
/// many.
const MAX_WAITING: usize = 400;

/// An entry and the source that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting<'a> {
    /// The source.
    pub source: SourceId,
    /// What it says.
    pub entry: &'a Entry,
}

/// The inventory, ready to be asked by address, allocation and tag.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    pub(super) sources: &'a [SourceInventory],
    pub(super) now: std::time::SystemTime,
    pub(super) drift: Drift,
    /// Only what is touched is asked for.
    only: Option<&'a Touched<'a>>,
    /// Of each source: what follows `ec2-a-b-c-d.`.
    suffixes: Vec<Option<Key>>,
    /// Of each source: what most names that follow it rest on.
    pub(super) of_source: Vec<Arc<Basis>>,
    /// Of each source that has not delivered: what names that follow it rest on.
    without: Vec<Option<Arc<Basis>>>,
    /// Likewise, of names that may be in any source.
    without_some: Option<Arc<Basis>>,
    /// Sorted when first asked.
    by_allocation: OnceCell<Vec<(&'a str, Sighting<'a>)>>,
    by_tag: OnceCell<Vec<(&'a str, &'a str, Sighting<'a>)>>,
}

impl<'a> Index<'a> {
    /// Of all of the inventory.
    pub(crate) fn new(input: &Input<'a>) -> Self {
        Self::of(input, None)
    }

    /// For targets that `only` touches; none: for all.
    pub(super) fn of(input: &Input<'a>, only: Option<&'a Touched<'a>>) -> Self {
        let sources = &input.inventory.sources[..];
        let suffixes = sources
            .iter()
            .enumerate()
            .map(|(id, inventory)| {
                let configured =
                    input.config.server.sources.get(id).and_then(|s| s.public_suffix.clone());
                configured.or_else(|| {
                    let region = inventory.region.as_deref()?;
                    Key::parse(&ec2_name::public_suffix_of(region), None).ok()
                })
            })
            .collect();
        let rests_on = |id| Arc::new(Basis { sources: vec![id], ..Basis::default() });
        Self {
            sources,
            now: input.now,
            drift: input.drift,
            only,
            suffixes,
            of_source: (0..sources.len()).map(rests_on).collect(),
            without: sources.iter().map(|source| waiting(std::slice::from_ref(source))).collect(),
            without_some: waiting(sources),
            by_allocation: OnceCell::new(),
            by_tag: OnceCell::new(),
        }
    }

    /// Everything that every source has.
    fn everything(&self) -> impl Iterator<Item = Sighting<'a>> + use<'a> {
        let all = self.sources.iter().enumerate().flat_map(|(source, inventory)| {
            let entries = inventory.entries.iter().flat_map(|entries| entries.values());
            entries.map(move |entry| Sighting { source, entry })
        });
        breathing(all)
    }

    fn by_allocation(&self) -> &[(&'a str, Sighting<'a>)] {
        self.by_allocation.get_or_init(|| {
            let pair = |s: Sighting<'a>| Some((s.entry.address.allocation_id()?, s));
            let is_wanted = |id| self.only.is_none_or(|only| only.has_allocation(id));
            let mut all: Vec<_> =
                self.everything().filter_map(pair).filter(|(id, _)| is_wanted(id)).collect();
            all.sort_by_key(|(id, s)| (*id, s.entry.address.allocation(), s.source));
            all
        })
    }

    fn by_tag(&self) -> &[(&'a str, &'a str, Sighting<'a>)] {
        self.by_tag.get_or_init(|| {
            let is_wanted = |k, v| self.only.is_none_or(|only| only.has_tag(k, v));
            let mut all = Vec::new();
            for sighting in self.everything() {
                let tags = sighting.entry.address.tags.iter();
                let wanted = tags.filter(|(k, v)| is_wanted(k, v));
                all.extend(wanted.map(|(k, v)| (k, v, sighting)));
            }
            all.sort_by_key(|(k, v, s)| (*k, *v, s.entry.address.allocation(), s.source));
            all
        })
    }

    /// Every sighting of an address.
    fn of_address(&self, one: Allocation) -> impl Iterator<Item = Sighting<'a>> + use<'a> {
        let sources = self.sources.iter().enumerate();
        sources.filter_map(move |(source, inventory)| {
            let entry = inventory.entries.as_ref()?.get(&one)?;
            Some(Sighting { source, entry })
        })
    }

    /// Every sighting of what `target` names, in sources the binding allows.
    /// Several may be of one address.
    pub(crate) fn sightings(&self, target: &Target, only: Option<SourceId>) -> Vec<Sighting<'a>> {
        let mut found: Vec<Sighting<'a>> = match target {
            Target::Fixed(_) => Vec::new(),
            Target::ElasticIp(ip) => self.of_address((*ip).into()).collect(),
            Target::Discovered { addresses, allocations, .. } => {
                let ids = allocations.iter().map(|id| Allocation::Id(Arc::clone(id)));
                let all = addresses.iter().map(|ip| Allocation::from(*ip)).chain(ids);
                all.flat_map(|one| self.of_address(one)).collect()
            }
            Target::Allocation(id) => {
                run(self.by_allocation(), |(i, _)| (*i).cmp(id)).map(|e| e.1).collect()
            }
            Target::Tags(tags) => {
                let mut wanted = tags.iter();
                let Some((key, value)) = wanted.next() else { return Vec::new() };
                let first = run(self.by_tag(), |(k, v, _)| (*k, *v).cmp(&(key, value)));
                let rest = |s: &Sighting<'_>| {
                    wanted.clone().all(|(k, v)| s.entry.address.tags.get(k) == Some(v.as_str()))
                };
                first.map(|e| e.2).filter(rest).collect()
            }
        };
        if let Some(only) = only {
            found.retain(|s| s.source == only);
        }
        found
    }

    /// Of several sightings of one address the one to believe: an associated
    /// address beats a held one, a healthy source a stalled one, then the
    /// association seen last wins.
    fn better(&self, a: Sighting<'a>, b: Sighting<'a>) -> bool {
        let rank = |s: Sighting<'_>| {
            let associated = s.entry.address.associated().is_some();
            let healthy = self.sources[s.source].health == Health::Healthy;
            (associated && s.entry.is_live(), associated, healthy, s.entry.is_live(), s.entry.since)
        };
        rank(a) > rank(b)
    }

    /// The best sighting of each address, in order: by public address, then those without one.
    pub(crate) fn best(&self, target: &Target, only: Option<SourceId>) -> Vec<Sighting<'a>> {
        let mut best: Vec<Sighting<'a>> = Vec::new();
        for sighting in self.sightings(target, only) {
            match best.last_mut() {
                Some(last)
                    if last.entry.address.allocation() == sighting.entry.address.allocation() =>
                {
                    if self.better(sighting, *last) {
                        *last = sighting;
                    }
                }
                _ => best.push(sighting),
            }
        }
        best
    }

    /// The best sighting of an Elastic IP.
    pub(crate) fn best_of(&self, ip: Ipv4Addr) -> Option<Sighting<'a>> {
        self.best(&Target::ElasticIp(ip), None).pop()
    }

    /// Every Elastic IP of every source.
    pub(crate) fn elastic_ips(&self) -> BTreeSet<Ipv4Addr> {
        self.everything().filter_map(|sighting| sighting.entry.address.public_ip()).collect()
    }

    /// What the public EC2 names of any of the sources end in.
    pub(crate) fn suffixes(&self) -> impl Iterator<Item = &Key> {
        self.suffixes.iter().flatten()
    }

    /// The public names that an Elastic IP would have in any of the sources.
    pub(crate) fn public_names(&self, ip: Ipv4Addr) -> impl Iterator<Item = Key> {
        self.suffixes.iter().flatten().filter_map(move |suffix| ec2_name::ec2_name(ip, suffix))
    }

    /// The public EC2 name of a sighting; none while its region is unknown, and of an address
    /// without a public one.
    pub(crate) fn public_name(&self, sighting: &Sighting<'_>) -> Option<Key> {
        let suffix = self.suffixes.get(sighting.source)?.as_ref()?;
        ec2_name::ec2_name(sighting.entry.address.public_ip()?, suffix)
    }

    /// What is said while not every source that could hold the binding's key has delivered.
    pub(super) fn waiting(&self, only: Option<SourceId>) -> Option<&Arc<Basis>> {
        only.map_or(self.without_some.as_ref(), |id| self.without.get(id)?.as_ref())
    }

    /// Everything that may have what is looked for: one source, or all.
    pub(super) fn candidates(&self, only: Option<SourceId>) -> Vec<SourceId> {
        only.map_or_else(|| (0..self.sources.len()).collect(), |id| vec![id])
    }

    /// On what it rests that a name is not there which tags could give.
    pub(crate) fn denial(&self, only: Option<SourceId>) -> Basis {
        match self.waiting(only) {
            Some(waiting) => Basis::clone(waiting),
            None => Basis { sources: self.candidates(only), ..Basis::default() },
        }
    }
}

/// What is said while one of these sources has not delivered; none when all have.
fn waiting(sources: &[SourceInventory]) -> Option<Arc<Basis>> {
    let silent = sources.iter().filter(|source| source.entries.is_none());
    // The status has the cause in full; clients are told of what kind it is.
    let named = |source: &SourceInventory| match source.health.trouble() {
        Some(class) => format!("{} ({class})", source.name),
        None => source.name.clone(),
    };
    let silent: Vec<String> = silent.map(named).collect();
    let text = brief(&format!("no addresses yet from {}", silent.join(", ")), MAX_WAITING);
    let remark = Some(Remark { code: ede::NOT_READY, text: text.into() });
    let basis = Basis { not_ready: true, remark, ..Basis::default() };
    (!silent.is_empty()).then(|| basis.into())
}

/// The run of equal elements in a sorted slice.
fn run<T>(sorted: &[T], compare: impl Fn(&T) -> std::cmp::Ordering) -> impl Iterator<Item = &T> {
    let start = sorted.partition_point(|e| compare(e).is_lt());
    sorted[start..].iter().take_while(move |e| compare(e).is_eq())
}
