//! One zone's tables of records, one per view it exists in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{CNAME, NS, SOA, TXT};
use hickory_proto::rr::{RData, Record, RecordType};

use super::serial::{self, InView, Serials};
use super::touched::Touched;
use super::{Index, Input, prebuilt};
use crate::config::{Binding, ViewId, Zone};
use crate::dns::name::{self, Key};
use crate::host::background::breathing;
use crate::records::MasterFile;
use crate::snapshot::name_map::NameMap;
use crate::snapshot::nodes::{Nodes, Sheet};
use crate::snapshot::ready::Ready;
use crate::snapshot::{Data, Node, NodeKind, Resolved, RrSet, ZoneTable};

/// SOA refresh of zones that have none of their own, in seconds: secondaries
/// look this often.
const SOA_REFRESH: i32 = 30;
/// SOA retry, in seconds.
const SOA_RETRY: i32 = 5;
/// SOA expire, in seconds: two weeks.
const SOA_EXPIRE: i32 = 1_209_600;

/// Records by name.
type Records = HashMap<Key, Vec<RrSet>>;

/// A zone as some of its views see it.
pub(super) struct Part {
    /// The views.
    pub views: Vec<ViewId>,
    /// What they see.
    pub table: Arc<ZoneTable>,
}

/// What the zone's bindings stand for in some of its views.
struct Seen<'p> {
    first: ViewId,
    /// All of them, the first included.
    views: Vec<ViewId>,
    /// What the views saw in the previous snapshot.
    before: Option<&'p Arc<ZoneTable>>,
    /// Each binding, by its number in the zone, that stands for something else
    /// than it did `before`.
    news: Vec<(usize, Arc<Resolved>)>,
}

/// A part before its serial is known.
enum Content<'p> {
    Same(&'p Arc<ZoneTable>),
    New(Box<Draft>),
}

/// A table to be.
#[derive(Clone)]
struct Draft {
    resolved: NameMap<Arc<Resolved>>,
    /// Records of bound names that come from elsewhere.
    beside: Arc<Records>,
    nodes: Nodes,
    /// Is there a wildcard among them?
    wildcards: bool,
    digest: u128,
    /// The origin's records, less the SOA.
    apex: Node,
    /// TTL and data of the SOA; the serial is that of the zone's file.
    soa: (u32, SOA),
    /// Is the SOA from the zone's file?
    own_soa: bool,
}

/// The zone's tables. `before` gives, for each of the zone's views or for
/// none, the table that the previous snapshot made from the same
/// configuration; `touched` says which bindings may stand for something else
/// since then, none: all.
pub(super) fn parts<'p>(
    input: &Input<'_>,
    zone: &Arc<Zone>,
    index: &Index<'_>,
    touched: Option<&Touched<'_>>,
    before: &dyn Fn(ViewId) -> Option<&'p Arc<ZoneTable>>,
    serials: &mut Serials,
) -> Vec<Part> {
    let parts: Vec<(Vec<ViewId>, Content<'p>)> = seen(input, zone, index, touched, before)
        .into_iter()
        .map(|seen| {
            let content = match seen.before {
                Some(old) if seen.news.is_empty() => Content::Same(old),
                Some(old) => Content::New(changed(zone, old, &seen.news).into()),
                None => Content::New(whole(input, zone, seen.first, &seen.news).into()),
            };
            (seen.views, content)
        })
        .collect();
    let names = &input.config.server.views;
    let in_views = parts.iter().flat_map(|(views, content)| {
        // A zone without bindings has the serial its file gives it.
        let given = content.own_serial().filter(|_| zone.names.is_empty());
        let digest = content.digest();
        views.iter().map(move |view| InView { view: &names[*view].name, digest, given })
    });
    let in_views: Vec<InView<'_>> = in_views.collect();
    let now = input.drift.shown(input.now);
    let mut serials = serials.advance(&zone.origin, &in_views, now).into_iter();
    let mut all: Vec<Part> = Vec::with_capacity(parts.len());
    for (views, content) in &parts {
        // Views that see the same now, but did not always, differ in serial.
        let mut by_serial: BTreeMap<u32, Vec<ViewId>> = BTreeMap::new();
        for (view, serial) in views.iter().zip(&mut serials) {
            by_serial.entry(serial).or_default().push(*view);
        }
        let part = |(serial, views)| Part { views, table: content.table(zone, serial) };
        all.extend(by_serial.into_iter().map(part));
    }
    all
}

impl Content<'_> {
    fn table(&self, zone: &Arc<Zone>, serial: u32) -> Arc<ZoneTable> {
        match self {
            Content::Same(old) if old.serial == serial => Arc::clone(old),
            Content::Same(old) => Arc::new(finish(zone, draft_of(zone, old), serial)),
            Content::New(draft) => Arc::new(finish(zone, (**draft).clone(), serial)),
        }
    }

    /// Of all that is seen, the SOA's serial apart.
    fn digest(&self) -> u128 {
        match self {
            Content::Same(table) => table.digest.wrapping_add(table.apex.digest),
            Content::New(draft) => draft.digest.wrapping_add(draft.apex.digest),
        }
    }

    /// The serial that the zone's file gives; of a zone without bindings.
    fn own_serial(&self) -> Option<u32> {
        match self {
            Content::Same(table) => table.own_soa.then_some(table.serial),
            Content::New(draft) => draft.own_soa.then_some(draft.soa.1.serial),
        }
    }
}

/// Resolves the bindings. Views that see the same come together, and share
/// one table.
fn seen<'p>(
    input: &Input<'_>,
    zone: &Zone,
    index: &Index<'_>,
    touched: Option<&Touched<'_>>,
    before: &dyn Fn(ViewId) -> Option<&'p Arc<ZoneTable>>,
) -> Vec<Seen<'p>> {
    let is_touched = |binding: &Binding| touched.is_none_or(|t| t.touches(&binding.target));
    let bindings: Vec<(usize, &Binding)> =
        breathing(&zone.names).enumerate().filter(|(_, binding)| is_touched(binding)).collect();
    let mut all: Vec<Seen<'p>> = Vec::with_capacity(zone.views.len());
    for &view in &zone.views {
        let Some(config) = input.config.server.views.get(view) else { continue };
        let before = before(view);
        let news: Vec<(usize, Arc<Resolved>)> = breathing(&bindings)
            .filter_map(|(number, binding)| {
                let mode = binding.modes.get(view).copied().flatten();
                let is = index.resolve(binding, config, mode);
                let was = before.and_then(|old| old.resolved.get(binding.name.octets()));
                let same = was.is_some_and(|was| **was == is);
                (!same).then(|| (*number, Arc::new(is)))
            })
            .collect();
        let twin = all.iter_mut().find(|other| {
            let alike = match (before, other.before) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => same_file(zone, view, other.first),
                _ => false,
            };
            alike && other.news == news
        });
        match twin {
            Some(twin) => twin.views.push(view),
            None => all.push(Seen { first: view, views: vec![view], before, news }),
        }
    }
    all
}

fn same_file(zone: &Zone, a: ViewId, b: ViewId) -> bool {
    match (file(zone, a), file(zone, b)) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Builds every node. `bound` is what all bindings stand for.
fn whole(input: &Input<'_>, zone: &Zone, view: ViewId, bound: &[(usize, Arc<Resolved>)]) -> Draft {
    let mut records = standing(input, zone, view);
    let occluders = Occluders::of(&records, &zone.origin);
    let mut nodes: Vec<Arc<Node>> = Vec::with_capacity(bound.len() + records.len());
    let mut all: NameMap<Arc<Resolved>> = NameMap::with_capacity(bound.len());
    let mut beside = Records::new();
    let mut apex = None;
    for (number, resolved) in breathing(bound) {
        let Some(binding) = zone.names.get(*number) else { continue };
        all.insert(binding.name.clone(), Arc::clone(resolved));
        let others = records.remove(&binding.name).unwrap_or_default();
        if resolved.data == Data::Absent && others.is_empty() {
            continue;
        }
        let made = node(zone, &binding.name, &others, Some((binding, resolved)));
        if binding.name == zone.origin {
            apex = Some(made);
        } else {
            nodes.push(Arc::new(made));
        }
        if !others.is_empty() {
            beside.insert(binding.name.clone(), others);
        }
    }
    for (key, sets) in breathing(records) {
        let made = node(zone, &key, &sets, None);
        if key == zone.origin {
            apex = Some(made);
        } else {
            nodes.push(Arc::new(made));
        }
    }
    let mut names: HashSet<Key> = nodes.iter().map(|node| node.key.clone()).collect();
    for known in nodes.clone() {
        let above = std::iter::successors(known.key.parent(), Key::parent);
        for name in above.take_while(|name| *name != zone.origin) {
            if !names.insert(name.clone()) {
                break;
            }
            nodes.push(Arc::new(node(zone, &name, &[], None)));
        }
    }
    let ready =
        |node: &Node| Ready::new(node, occluders.reach(node), |set| prebuilt::of_set(&set.records));
    let nodes = Nodes::new(&nodes, ready);
    let wildcards = nodes.values().any(|node| node.key.is_wildcard());
    let digest = nodes.values().fold(0u128, |sum, n| sum.wrapping_add(n.digest));
    let apex = apex.unwrap_or_else(|| node(zone, &zone.origin, &[], None));
    let (soa, own_soa) = soa(zone, view);
    let digest = digest.wrapping_add(serial::soa_digest(&zone.origin, soa.0, &soa.1));
    let beside = Arc::new(beside);
    Draft { resolved: all, beside, nodes, wildcards, digest, apex, soa, own_soa }
}

/// Names that occlude those below them (RFC 5936 section 3.5): delegations and
/// DNAMEs.
struct Occluders(HashSet<Key>);

impl Occluders {
    fn of(records: &Records, origin: &Key) -> Self {
        let occludes = |(key, sets): &(&Key, &Vec<RrSet>)| {
            let has = |rtype| sets.iter().any(|set| set.rtype == rtype);
            has(RecordType::DNAME) || (has(RecordType::NS) && *key != origin)
        };
        Self(records.iter().filter(occludes).map(|(key, _)| key.clone()).collect())
    }

    /// Does a question for the node's name reach it?
    fn reach(&self, node: &Node) -> bool {
        let above = || name::suffixes(node.key.octets()).skip(1);
        node.kind != NodeKind::Cut
            && (self.0.is_empty() || !above().any(|suffix| self.0.contains(suffix)))
    }
}

/// Builds the nodes of the bindings that stand for something else than in
/// `old`. Which names exist depends on the configuration alone, so no name
/// comes or goes.
fn changed(zone: &Zone, old: &ZoneTable, news: &[(usize, Arc<Resolved>)]) -> Draft {
    let mut draft = draft_of(zone, old);
    let mut nodes = Vec::new();
    for (number, resolved) in breathing(news) {
        let Some(binding) = zone.names.get(*number) else { continue };
        draft.resolved.insert(binding.name.clone(), Arc::clone(resolved));
        let others = old.beside.get(&binding.name).map_or(&[][..], Vec::as_slice);
        let made = node(zone, &binding.name, others, Some((binding, resolved)));
        if binding.name == zone.origin {
            draft.apex = made;
            continue;
        }
        draft.digest = draft.digest.wrapping_add(made.digest);
        // No delegation and no DNAME is above a binding.
        let ready = Ready::new(&made, true, |set| prebuilt::of_set(&set.records));
        nodes.push((ready, Arc::new(made)));
    }
    for node in draft.nodes.replace(nodes) {
        draft.digest = draft.digest.wrapping_sub(node.digest);
    }
    draft
}

/// A table as it was before its SOA had a serial.
fn draft_of(zone: &Zone, table: &ZoneTable) -> Draft {
    let (soa, others): (Vec<&RrSet>, Vec<&RrSet>) =
        table.apex.rrsets.iter().partition(|set| set.rtype == RecordType::SOA);
    let record = soa.first().and_then(|set| set.records.first());
    let soa = match record.map(|record| (record.ttl, &record.data)) {
        Some((ttl, RData::SOA(soa))) => (ttl, soa.clone()),
        _ => (zone.ttl, own_soa(zone)),
    };
    let apex = Node { rrsets: others.into_iter().cloned().collect(), ..(*table.apex).clone() };
    Draft {
        resolved: table.resolved.clone(),
        beside: Arc::clone(&table.beside),
        nodes: table.nodes.clone(),
        wildcards: table.wildcards,
        digest: table.digest,
        apex,
        soa,
        own_soa: table.own_soa,
    }
}

/// Puts the SOA with its serial in place.
fn finish(zone: &Arc<Zone>, draft: Draft, serial: u32) -> ZoneTable {
    let (ttl, mut soa) = draft.soa;
    soa.serial = serial;
    // RFC 2308 section 3: a negative answer lives as long as the smaller.
    let negative_ttl = ttl.min(soa.minimum);
    let soa = Record::from_rdata(zone.origin.to_name(), ttl, RData::SOA(soa));
    let mut negative_soa = soa.clone();
    negative_soa.ttl = negative_ttl;
    let mut apex = draft.apex;
    let set = RrSet { rtype: RecordType::SOA, records: [soa].into() };
    apex.rrsets = std::iter::once(set).chain(apex.rrsets).collect();
    let mut table = ZoneTable {
        zone: zone.clone(),
        serial,
        negative_soa,
        // The next two are made from all of it.
        negative: None,
        top: Sheet::default(),
        apex: Arc::new(apex),
        nodes: draft.nodes,
        wildcards: draft.wildcards,
        resolved: draft.resolved,
        beside: draft.beside,
        digest: draft.digest,
        own_soa: draft.own_soa,
    };
    prebuilt::prebuild(&mut table);
    table
}

/// The SOA of a zone whose file has none.
fn own_soa(zone: &Zone) -> SOA {
    let mname = match zone.nameservers.as_deref() {
        Some([first, ..]) => first.to_name(),
        _ => default_nameserver(zone).unwrap_or_else(|| zone.origin.clone()).to_name(),
    };
    let rname = zone.contact.to_name();
    SOA::new(mname, rname, 0, SOA_REFRESH, SOA_RETRY, SOA_EXPIRE, zone.negative_ttl)
}

/// The master file of a view.
fn file(zone: &Zone, view: ViewId) -> Option<&Arc<MasterFile>> {
    zone.records.get(view)?.as_ref()
}

/// TTL and data of the SOA as a view sees it, and whether its file gives it.
fn soa(zone: &Zone, view: ViewId) -> ((u32, SOA), bool) {
    let mut records = file(zone, view).into_iter().flat_map(|file| &file.records);
    let given = records.find_map(|record| match &record.data {
        RData::SOA(soa) => Some((record.ttl, soa.clone())),
        _ => None,
    });
    match given {
        Some(soa) => (soa, true),
        None => ((zone.ttl, own_soa(zone)), false),
    }
}

/// Records that no binding decides: those of the view's file, and NS and the
/// address of `ns1` where neither file nor `nameservers` says otherwise.
fn standing(input: &Input<'_>, zone: &Zone, view: ViewId) -> Records {
    let of_file = || file(zone, view).into_iter().flat_map(|file| &file.records);
    let mut all: Vec<(Key, u32, RData)> = of_file()
        .filter(|record| record.rtype != RecordType::SOA)
        .map(|record| (record.owner.clone(), record.ttl, record.data.clone()))
        .collect();
    let has = |owner: &Key, rtype| of_file().any(|r| r.owner == *owner && r.rtype == rtype);
    if has(&zone.origin, RecordType::NS) {
        return grouped(all);
    }
    let ns = |target: &Key| (zone.origin.clone(), zone.ttl, RData::NS(NS(target.to_name())));
    match &zone.nameservers {
        Some(targets) => all.extend(targets.iter().map(ns)),
        None => {
            if let Some(target) = default_nameserver(zone) {
                all.push(ns(&target));
                let known = zone.names.iter().any(|b| b.name == target)
                    || has(&target, RecordType::A)
                    || has(&target, RecordType::AAAA);
                if !known {
                    let addresses = input.addresses.iter();
                    all.extend(addresses.map(|ip| (target.clone(), zone.ttl, (*ip).into())));
                }
            }
        }
    }
    grouped(all)
}

/// `ns1.<origin>`; none when that would be too long.
fn default_nameserver(zone: &Zone) -> Option<Key> {
    zone.origin.child(b"ns1")
}

fn grouped(all: Vec<(Key, u32, RData)>) -> Records {
    let mut sets: HashMap<Key, Vec<(RecordType, Vec<Record>)>> = HashMap::new();
    for (key, ttl, data) in all {
        let rtype = data.record_type();
        let record = Record::from_rdata(key.to_name(), ttl, data);
        let of_name = sets.entry(key).or_default();
        match of_name.iter_mut().find(|(t, _)| *t == rtype) {
            Some((_, records)) => records.push(record),
            None => of_name.push((rtype, vec![record])),
        }
    }
    let set =
        |(rtype, records): (RecordType, Vec<Record>)| RrSet { rtype, records: records.into() };
    sets.into_iter().map(|(key, all)| (key, all.into_iter().map(set).collect())).collect()
}

/// A name with its records: those from elsewhere and those of its binding.
fn node(zone: &Zone, key: &Key, others: &[RrSet], bound: Option<(&Binding, &Resolved)>) -> Node {
    let mut rrsets: Vec<RrSet> = others.to_vec();
    let mut basis = None;
    if let Some((binding, resolved)) = bound {
        let ttl = binding.ttl.unwrap_or(zone.ttl);
        rrsets.extend(bound_records(key, ttl, resolved, others.is_empty()));
        basis = resolved.basis.clone().map(Box::new);
    }
    let has = |rtype| rrsets.iter().any(|set| set.rtype == rtype);
    let kind = if has(RecordType::NS) && *key != zone.origin {
        NodeKind::Cut
    } else if has(RecordType::DNAME) {
        NodeKind::Dname
    } else {
        NodeKind::Plain
    };
    let digest = serial::node_digest(key, &rrsets);
    Node { key: key.clone(), rrsets: rrsets.into(), kind, basis, digest }
}

fn bound_records(key: &Key, ttl: u32, resolved: &Resolved, alone: bool) -> Vec<RrSet> {
    let owner = key.to_name();
    let set = |rtype, all: Vec<RData>| {
        let records = all.into_iter().map(|d| Record::from_rdata(owner.clone(), ttl, d)).collect();
        RrSet { rtype, records }
    };
    match &resolved.data {
        Data::Absent | Data::NotReady => Vec::new(),
        Data::Cname(target) => {
            vec![set(RecordType::CNAME, vec![RData::CNAME(CNAME(target.to_name()))])]
        }
        Data::Addresses(all) => {
            let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = all.iter().partition(|ip| ip.is_ipv4());
            [(RecordType::A, v4), (RecordType::AAAA, v6)]
                .into_iter()
                .filter(|(_, all)| !all.is_empty())
                .map(|(rtype, all)| set(rtype, all.into_iter().map(RData::from).collect()))
                .collect()
        }
        // So that the name exists for whoever transfers the zone; a name
        // that has other records exists already.
        Data::Nothing(why) if alone => {
            let text = format!("eipdns: {why}");
            // A character-string holds 255 octets (RFC 1035 section 3.3).
            let strings = text.as_bytes().chunks(255).collect();
            vec![set(RecordType::TXT, vec![RData::TXT(TXT::from_bytes(strings))])]
        }
        Data::Nothing(_) => Vec::new(),
    }
}
