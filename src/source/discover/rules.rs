//! Which names a tag gives which zone, and what stands there already.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::{RData, RecordType};

use super::Claim;
use super::problem::{Kind, Problem};
use super::sets::{BoundSet, BoundSets};
use super::value::{self, Word};
use crate::config::{Config, Discover, Mode, SourceId, SourceKind, ViewId, Zone};
use crate::dns::name::{self, Key};
use crate::host::background::breathing;
use crate::records::MasterFile;
use crate::source::inventory::Address;

/// What the configuration says of names from tags.
#[derive(Debug, Default)]
pub struct Rules {
    /// In the order of the configuration; none: no names from tags.
    zones: Vec<Option<Ground>>,
    /// Numbered behind the zones.
    sets: BoundSets,
    /// By the tag's key: the zones that discover it.
    tags: BTreeMap<String, Vec<usize>>,
    /// Every zone, by origin.
    origins: HashMap<Key, usize>,
    /// Which sources are files.
    files: Vec<bool>,
    sources: Vec<String>,
    views: Vec<String>,
    hold: Duration,
    release_after: Duration,
}

/// A zone that discovers, and the names that are taken in it.
#[derive(Debug)]
struct Ground {
    zone: Arc<Zone>,
    discover: Discover,
    bound: HashSet<Key>,
    nameservers: HashSet<Key>,
    files: Vec<File>,
}

/// What stands in a master file.
#[derive(Debug)]
struct File {
    views: Vec<ViewId>,
    owners: HashMap<Key, u8>,
}

/// At a name: an address or a CNAME.
const ADDRESS: u8 = 1;
const NS: u8 = 2;
const DNAME: u8 = 4;
const OTHER: u8 = 8;

/// What a tag gives.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Names, with the numbers of their zones, each once.
    pub names: BTreeMap<Key, usize>,
    /// What gives no name, or not everywhere.
    pub problems: Vec<Problem>,
}

impl Rules {
    /// Of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut tags: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let zones = config.zones.iter().enumerate();
        let zones = zones.map(|(nth, zone)| {
            let discover = zone.discover.clone()?;
            tags.entry(discover.tag.clone()).or_default().push(nth);
            Some(Ground::of(zone, discover))
        });
        let zones: Vec<Option<Ground>> = zones.collect();
        let origins = config.zones.iter().enumerate();
        let is_file = |kind: &SourceKind| matches!(kind, SourceKind::File { .. });
        Self {
            zones,
            sets: BoundSets::of(config),
            tags,
            origins: origins.map(|(nth, zone)| (zone.origin.clone(), nth)).collect(),
            files: config.server.sources.iter().map(|source| is_file(&source.kind)).collect(),
            sources: config.server.sources.iter().map(|source| source.name.clone()).collect(),
            views: config.server.views.iter().map(|view| view.name.clone()).collect(),
            hold: config.server.guard.hold,
            release_after: config.server.guard.release_after,
        }
    }

    /// Does no zone discover anything, and is no set bound by tag?
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.sets.len() == 0
    }

    /// The name of a source.
    pub(super) fn source_name(&self, source: SourceId) -> &str {
        self.sources.get(source).map_or("", String::as_str)
    }

    /// How many zones and bound sets there are.
    pub(super) fn zones(&self) -> usize {
        self.zones.len() + self.sets.len()
    }

    /// The bound set of this number.
    fn set(&self, zone: usize) -> Option<&BoundSet> {
        self.sets.get(zone.checked_sub(self.zones.len())?)
    }

    fn set_of(&self, name: &Key) -> Option<usize> {
        self.sets.of_name(name).map(|nth| self.zones.len() + nth)
    }

    /// Is it the number of a bound set, rather than that of a zone?
    pub(super) fn is_bound(&self, zone: usize) -> bool {
        self.set(zone).is_some()
    }

    /// The zone in which a name from a source would be discovered, if nothing has it, or
    /// its bound set.
    pub(super) fn zone_that_discovers(&self, name: &Key, source: SourceId) -> Option<usize> {
        if let Some(set) = self.set_of(name) {
            return Some(set).filter(|set| self.may(*set, source));
        }
        let zone = self.zone_of(name, true).filter(|zone| self.may(*zone, source))?;
        let claim = Claim { source, allocation: std::net::Ipv4Addr::UNSPECIFIED.into() };
        let mut given = Given::default();
        self.give(zone, name.clone(), &claim, &mut given);
        given.names.contains_key(name).then_some(zone)
    }

    /// What a zone's file says.
    pub fn discover(&self, zone: usize) -> Option<&Discover> {
        self.zones.get(zone)?.as_ref().map(|ground| &ground.discover)
    }

    /// The tag that gives the names of a zone, or the tags of a bound set.
    pub fn tag(&self, zone: usize) -> Option<String> {
        let of_zone = self.discover(zone).map(|discover| discover.tag.clone());
        of_zone.or_else(|| self.set(zone).map(BoundSet::tag))
    }

    /// What would give the name, if any tag had it.
    pub fn tag_of(&self, name: &Key) -> Option<String> {
        self.tag(self.set_of(name).or_else(|| self.zone_of(name, true))?)
    }

    /// How long a name of a zone, or a bound set, is held once its tag is gone, from a
    /// source.
    pub fn hold(&self, zone: usize, source: SourceId) -> Duration {
        if self.is_file(source) {
            return Duration::ZERO;
        }
        let of_zone = self.discover(zone).and_then(|discover| discover.hold);
        of_zone.or_else(|| self.set(zone)?.hold).unwrap_or(self.hold)
    }

    /// How long each is held in a mass loss.
    pub fn release_after(&self) -> Duration {
        self.release_after
    }

    /// Is what the source says the truth, losses too?
    pub(super) fn is_file(&self, source: SourceId) -> bool {
        self.files.get(source).copied().unwrap_or_default()
    }

    pub(super) fn is_set(&self, zone: usize) -> bool {
        self.is_bound(zone) || self.discover(zone).is_some_and(|discover| discover.sets)
    }

    /// May the zone, or the bound set, have names from this source?
    pub(super) fn may(&self, zone: usize, source: SourceId) -> bool {
        self.discover(zone).is_some_and(|d| d.source.is_none_or(|only| only == source))
            || self.set(zone).is_some_and(|set| set.may(source))
    }

    /// How long the loss of an address whose tag gives names is held; none: it gives none.
    pub fn bound(&self, source: SourceId, address: &Address) -> Option<Duration> {
        if self.tags.keys().all(|tag| address.tags.get(tag).is_none()) {
            return None;
        }
        let given = self.given(source, address);
        given.names.values().map(|zone| self.hold(*zone, source)).max()
    }

    /// The names that an address' tags give, and the bound sets that it is in.
    pub(super) fn given(&self, source: SourceId, address: &Address) -> Given {
        let mut given = Given::default();
        for (nth, set) in self.sets.with(source, address) {
            given.names.insert(set.name.clone(), self.zones.len() + nth);
        }
        for (tag, zones) in &self.tags {
            let Some(value) = address.tags.get(tag) else { continue };
            if zones.iter().all(|zone| !self.may(*zone, source)) {
                continue;
            }
            let claim = Claim { source, allocation: address.allocation() };
            for word in value::words(value) {
                self.word(word, zones, &claim, &mut given);
            }
        }
        // What a tag says twice is told once.
        given.problems.sort_unstable();
        given.problems.dedup();
        given
    }

    /// One word of a tag that `zones` discover.
    fn word(&self, word: Word<'_>, zones: &[usize], claim: &Claim, given: &mut Given) {
        let text = match word {
            Word::Apex => "@",
            Word::Name(text) => text,
        };
        let whole = match word {
            Word::Apex => None,
            Word::Name(text) => match value::name(text, &Key::root()) {
                Ok(name) => Some(name),
                Err(why) => {
                    given.problems.push(Problem::new(Kind::BadName, claim.clone(), text, why));
                    return;
                }
            },
        };
        let is_absolute = text.ends_with('.');
        match whole.and_then(|whole| Some((self.zone_of(&whole, is_absolute)?, whole))) {
            Some((zone, name)) if zones.contains(&zone) && self.may(zone, claim.source) => {
                self.give(zone, name, claim, given);
            }
            Some((_, name)) => {
                let why = "its zone does not discover this tag from this source";
                let problem = Problem::new(Kind::Outside, claim.clone(), &name.to_string(), why);
                given.problems.push(problem);
            }
            None if is_absolute => {
                let why = "it ends in a dot and lies in no zone of the configuration";
                given.problems.push(Problem::new(Kind::Outside, claim.clone(), text, why));
            }
            None => {
                let zones = zones.iter().filter(|zone| self.may(**zone, claim.source));
                zones.for_each(|zone| self.relative(*zone, word, claim, given));
            }
        }
    }

    fn relative(&self, zone: usize, word: Word<'_>, claim: &Claim, given: &mut Given) {
        let Some(Some(ground)) = self.zones.get(zone) else { return };
        let origin = &ground.zone.origin;
        let name = match word {
            Word::Apex => Ok(origin.clone()),
            Word::Name(text) => value::name(text, origin).map_err(|why| (text, why)),
        };
        match name {
            Ok(name) => self.give(zone, name, claim, given),
            Err((text, why)) => {
                given.problems.push(Problem::new(Kind::BadName, claim.clone(), text, why));
            }
        }
    }

    /// The zone that a name ends in: the longest. Everything ends in the root, so that
    /// counts only for names that are meant so.
    fn zone_of(&self, name: &Key, is_absolute: bool) -> Option<usize> {
        let mut above = name::suffixes(name.octets());
        let found = above.find_map(|suffix| Some((suffix, *self.origins.get(suffix)?)));
        found.filter(|(origin, _)| is_absolute || origin.len() > 1).map(|(_, zone)| zone)
    }

    /// The zone has the name, unless something stands there.
    fn give(&self, zone: usize, name: Key, claim: &Claim, given: &mut Given) {
        let Some(Some(ground)) = self.zones.get(zone) else { return };
        let special = name == ground.zone.origin || name.is_wildcard();
        let problem = |kind, why: &str| Problem::new(kind, claim.clone(), &name.to_string(), why);
        if special && !ground.discover.apex_and_wildcards {
            let why = "the origin and wildcards come from tags only with \
                       `apex_and_wildcards = true` in [discover]";
            given.problems.push(problem(Kind::Shadowed, why));
            return;
        }
        if self.zone_of(&name, true) != Some(zone) {
            let why = "another zone of the configuration begins above it";
            given.problems.push(problem(Kind::Shadowed, why));
            return;
        }
        let (is_given, why) = ground.shadow(&name, &self.views);
        given.problems.extend(why.map(|why| problem(Kind::Shadowed, &why)));
        if is_given {
            given.names.insert(name, zone);
        }
    }
}

impl Ground {
    fn of(zone: &Arc<Zone>, discover: Discover) -> Self {
        let mut files: Vec<File> = Vec::new();
        let mut seen: Vec<*const MasterFile> = Vec::new();
        for (view, file) in zone.records.iter().enumerate() {
            let Some(file) = file.as_ref().filter(|_| zone.views.contains(&view)) else { continue };
            match seen.iter().position(|known| *known == Arc::as_ptr(file)) {
                Some(nth) => files[nth].views.push(view),
                None => {
                    seen.push(Arc::as_ptr(file));
                    files.push(File { views: vec![view], owners: owners(file) });
                }
            }
        }
        Self {
            bound: zone.names.iter().map(|binding| binding.name.clone()).collect(),
            nameservers: nameservers(zone),
            files,
            zone: Arc::clone(zone),
            discover,
        }
    }

    /// Is the name given, in some view at least; and why not in all?
    fn shadow(&self, name: &Key, views: &[String]) -> (bool, Option<String>) {
        if self.bound.contains(name) {
            return (false, Some("[names] has it".into()));
        }
        if self.nameservers.contains(name) {
            return (false, Some("it is the name of a nameserver of the zone".into()));
        }
        let mut shadowed: Vec<(ViewId, &'static str)> = Vec::new();
        for file in &self.files {
            if self.at(file, name) & DNAME != 0 {
                return (false, Some("records have a DNAME at it".into()));
            }
            for view in &file.views {
                if let Some(Some(mode)) = self.discover.modes.get(*view)
                    && let Some(why) = self.in_the_way(file, name, *mode)
                {
                    shadowed.push((*view, why));
                }
            }
        }
        let Some((_, why)) = shadowed.first() else { return (true, None) };
        let all = self.discover.modes.iter().flatten().count();
        if shadowed.len() >= all {
            return (false, Some((*why).into()));
        }
        let names = shadowed.iter().filter_map(|(view, _)| views.get(*view)).map(String::as_str);
        (true, Some(format!("in view {}: {why}", names.collect::<Vec<_>>().join(", "))))
    }

    fn at(&self, file: &File, name: &Key) -> u8 {
        file.owners.get(name).copied().unwrap_or_default()
    }

    /// What of a view's records keeps questions from the name, or makes another of it.
    fn in_the_way(&self, file: &File, name: &Key, mode: Mode) -> Option<&'static str> {
        let origin = &self.zone.origin;
        let own = self.at(file, name);
        if own & ADDRESS != 0 {
            return Some("records have an address or a CNAME at it");
        }
        // At the origin the address itself is answered.
        if mode == Mode::Cname && own != 0 && name != origin && !self.discover.sets {
            return Some("records stand at it, and a CNAME stands alone");
        }
        for (nth, suffix) in name::suffixes(name.octets()).enumerate() {
            if suffix.len() < origin.octets().len() {
                return None;
            }
            let at = file.owners.get(suffix).copied().unwrap_or_default();
            if at & NS != 0 && suffix != origin.octets() {
                return Some("a delegation is at or above it");
            }
            if nth > 0 && at & DNAME != 0 {
                return Some("a DNAME is above it");
            }
        }
        None
    }
}

fn owners(file: &MasterFile) -> HashMap<Key, u8> {
    let mut owners: HashMap<Key, u8> = HashMap::with_capacity(file.records.len());
    for record in breathing(&file.records) {
        let flag = match record.rtype {
            RecordType::A | RecordType::AAAA | RecordType::CNAME => ADDRESS,
            RecordType::NS => NS,
            RecordType::DNAME => DNAME,
            _ => OTHER,
        };
        *owners.entry(record.owner.clone()).or_default() |= flag;
    }
    owners
}

/// The nameservers of a zone that lie in it.
fn nameservers(zone: &Zone) -> HashSet<Key> {
    let mut all: HashSet<Key> = zone.nameservers.iter().flatten().cloned().collect();
    for view in &zone.views {
        let file = zone.records.get(*view).and_then(Option::as_ref);
        let records = file.into_iter().flat_map(|file| &file.records);
        let at_apex = records.filter(|record| record.owner == zone.origin);
        let mut has_any = zone.nameservers.is_some();
        for record in at_apex {
            if let RData::NS(target) = &record.data {
                has_any = true;
                all.insert(Key::from_name(&target.0));
            }
        }
        if !has_any {
            all.extend(zone.origin.child(b"ns1"));
        }
    }
    all
}
