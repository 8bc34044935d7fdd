//! A zone's table before its serial is known: made from the zone's records, or from
//! the table before, and the names that are other than there.
//!
//! Names come, go and change by the same steps whether all are laid into an empty table or
//! one into a large one, so both give the same table. What they cost is what changes: the names
//! themselves, and the empty non-terminals that come and go with them (RFC 8020).

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{SOA, TXT};
use hickory_proto::rr::{RData, RecordType};

use super::{Input, difference, prebuilt, serial, standing};
use crate::config::{ViewId, Zone};
use crate::dns::name::{self, Key};
use crate::host::background::breathing;
use crate::snapshot::name_map::NameMap;
use crate::snapshot::nodes::{NodeChange, Nodes};
use crate::snapshot::ready::Ready;
use crate::snapshot::reverse;
use crate::snapshot::{Changed, Data, Node, NodeKind, Resolved, RrSet, ZoneTable};

/// A name, and what it stands for from now on; none: it is gone.
pub(super) type News = (Key, Option<Arc<Resolved>>);

/// A table to be.
#[derive(Clone)]
pub(super) struct Draft {
    /// What each name that is laid into the zone stands for.
    pub resolved: NameMap<Arc<Resolved>>,
    /// Records that stand beside those of such a name.
    pub beside: NameMap<Box<[RrSet]>>,
    /// Every name but the origin.
    pub nodes: Nodes,
    /// How many of them are wildcards.
    pub wildcards: usize,
    /// With how many names directly below them.
    pub children: NameMap<u32>,
    /// Delegations and DNAMEs.
    pub occluders: Arc<HashSet<Key>>,
    /// Of all of them and the SOA, its serial apart.
    pub digest: u128,
    /// The origin's records, less the SOA.
    pub apex: Node,
    /// TTL and data of the SOA; the serial is that of the zone's file.
    pub soa: (u32, SOA),
    /// Is the SOA from the zone's file?
    pub own_soa: bool,
    /// The RRsets that are not what they were in the table it was made from; none: in
    /// no table.
    pub changed: Option<Vec<Changed>>,
}

impl Draft {
    /// Of the zone's records as a view sees them, and of its names.
    pub(super) fn new(input: &Input<'_>, zone: &Zone, view: ViewId, names: &[News]) -> Self {
        let records = standing::records(input, zone, view);
        let (soa, own_soa) = standing::soa(zone, view);
        let mut draft = Self {
            resolved: NameMap::with_capacity(names.len()),
            beside: NameMap::default(),
            nodes: Nodes::default(),
            wildcards: 0,
            children: NameMap::default(),
            occluders: Arc::new(standing::occluders(&records, &zone.origin)),
            digest: serial::soa_digest(&zone.origin, soa.0, &soa.1),
            apex: node(&zone.origin, &zone.origin, &[], None),
            soa,
            own_soa,
            changed: None,
        };
        let mut edit = Edit::of(&mut draft, &zone.origin, names.len() + records.len());
        for (name, sets) in breathing(records) {
            edit.put(&name, &sets, None);
        }
        edit.take(names);
        edit.finish();
        draft
    }

    /// With its first names.
    pub(super) fn laid(&self, zone: &Zone, names: &[News]) -> Self {
        let mut draft = self.clone();
        draft.resolved = NameMap::with_capacity(names.len());
        let mut edit = Edit::of(&mut draft, &zone.origin, names.len());
        edit.take(names);
        edit.finish();
        draft
    }

    /// A table as it was before its SOA had a serial.
    pub(super) fn of(zone: &Zone, table: &ZoneTable) -> Self {
        let (soa, others): (Vec<&RrSet>, Vec<&RrSet>) =
            table.apex.rrsets.iter().partition(|set| set.rtype == RecordType::SOA);
        let given = soa.first().and_then(|set| Some((set.ttl, set.data().next()?.into_owned())));
        let soa = match given {
            Some((ttl, RData::SOA(soa))) => (ttl, soa),
            _ => (zone.ttl, standing::own_soa(zone)),
        };
        let apex = Node { rrsets: others.into_iter().cloned().collect(), ..(*table.apex).clone() };
        Self {
            resolved: table.resolved.clone(),
            beside: table.beside.clone(),
            nodes: table.nodes.clone(),
            wildcards: table.wildcards,
            children: table.children.clone(),
            occluders: Arc::clone(&table.occluders),
            digest: table.digest,
            apex,
            soa,
            own_soa: table.own_soa,
            changed: Some(Vec::new()),
        }
    }

    /// The table with the names in `news` as they are now; none when that is the same.
    pub(super) fn patched(zone: &Zone, table: &ZoneTable, news: &[News]) -> Option<Self> {
        let mut draft = Self::of(zone, table);
        let apex = draft.apex.clone();
        let mut edit = Edit::of(&mut draft, &zone.origin, news.len());
        let is_other = edit.take(news);
        edit.finish();
        if let Some(changed) = &mut draft.changed {
            difference::of_name(Some(&apex), Some(&draft.apex), changed);
        }
        is_other.then_some(draft)
    }
}

/// Changes to a draft, before its nodes are made ready.
struct Edit<'d> {
    draft: &'d mut Draft,
    origin: &'d Key,
    /// What is at a name from now on, where that is not what the draft has there.
    nodes: HashMap<Key, Option<Arc<Node>>>,
}

impl<'d> Edit<'d> {
    /// Of about so many names.
    fn of(draft: &'d mut Draft, origin: &'d Key, names: usize) -> Self {
        Self { draft, origin, nodes: HashMap::with_capacity(names) }
    }

    /// Takes what names stand for. False: it is what they stood for.
    fn take(&mut self, news: &[News]) -> bool {
        let mut is_other = false;
        for (name, is) in breathing(news) {
            is_other |= self.take_one(name, is.as_ref());
        }
        is_other
    }

    fn take_one(&mut self, name: &Key, is: Option<&Arc<Resolved>>) -> bool {
        let was_laid = self.draft.resolved.contains(name.octets());
        let beside = self.beside(name, was_laid);
        match is.filter(|is| self.has_place(name, &beside, is)) {
            Some(is) => {
                self.draft.resolved.insert(name.clone(), Arc::clone(is));
                if !was_laid && !beside.is_empty() {
                    self.draft.beside.insert(name.clone(), beside.clone());
                }
                self.put(name, &beside, Some(is));
            }
            None if was_laid => {
                self.draft.resolved.remove(name.octets());
                self.draft.beside.remove(name.octets());
                self.put(name, &beside, None);
            }
            None => return false,
        }
        true
    }

    /// The records at a name that what is laid there does not decide.
    fn beside(&self, name: &Key, is_laid: bool) -> Box<[RrSet]> {
        let sets = match is_laid {
            true => self.draft.beside.get(name.octets()),
            false if name == self.origin => Some(&self.draft.apex.rrsets),
            false => self.at(name).map(|node| &node.rrsets),
        };
        sets.cloned().unwrap_or_default()
    }

    /// May what a name stands for be laid into the zone? Nothing is at or below a
    /// delegation, or below a DNAME; of one type there is one set; and a CNAME stands
    /// alone (RFC 2181 section 10.1). PTR records give way to a DNAME at their name too.
    fn has_place(&self, name: &Key, beside: &[RrSet], is: &Resolved) -> bool {
        if is.data == Data::Absent {
            return true;
        }
        use RecordType::{A, AAAA, CNAME, DNAME, NS, PTR};
        let decisive = match is.data {
            Data::Pointers(_) => [PTR, CNAME, DNAME],
            _ => [A, AAAA, CNAME],
        };
        let is_cut = |set: &RrSet| set.rtype == NS && name != self.origin;
        let is_in_the_way = |set: &RrSet| decisive.contains(&set.rtype) || is_cut(set);
        name.is_under(self.origin)
            && !beside.iter().any(is_in_the_way)
            && (beside.is_empty() || !matches!(is.data, Data::Cname(_)))
            && !standing::is_occluded(&self.draft.occluders, name.octets())
    }

    /// Puts at a name what stands there from now on.
    fn put(&mut self, name: &Key, beside: &[RrSet], resolved: Option<&Resolved>) {
        let made = node(self.origin, name, beside, resolved);
        if name == self.origin {
            self.draft.apex = made;
            return;
        }
        let is_there = !made.is_empty_non_terminal() || self.draft.children.contains(name.octets());
        let was_there = self.at(name).is_some();
        self.nodes.insert(name.clone(), is_there.then(|| made.into()));
        match (was_there, is_there) {
            (false, true) => self.came(name),
            (true, false) => self.went(name),
            _ => {}
        }
    }

    /// There is a name that was not: so are those above it.
    fn came(&mut self, name: &Key) {
        let mut name = name.clone();
        loop {
            self.draft.wildcards += usize::from(name.is_wildcard());
            let Some(above) = self.above(&name) else { return };
            let children = self.draft.children.get(above.octets()).copied().unwrap_or_default();
            self.draft.children.insert(above.clone(), children + 1);
            if self.at(&above).is_some() {
                return;
            }
            let empty = node(self.origin, &above, &[], None);
            self.nodes.insert(above.clone(), Some(empty.into()));
            name = above;
        }
    }

    /// A name is not there any longer, nor are those above that were for it alone.
    fn went(&mut self, name: &Key) {
        let mut name = name.clone();
        loop {
            self.draft.wildcards -= usize::from(name.is_wildcard());
            let Some(above) = self.above(&name) else { return };
            let children = self.draft.children.get(above.octets()).copied().unwrap_or_default();
            if children > 1 {
                self.draft.children.insert(above, children - 1);
                return;
            }
            self.draft.children.remove(above.octets());
            if !self.at(&above).is_some_and(|node| node.is_empty_non_terminal()) {
                return;
            }
            self.nodes.insert(above.clone(), None);
            name = above;
        }
    }

    /// What is at a name but the origin.
    fn at(&self, name: &Key) -> Option<&Arc<Node>> {
        match self.nodes.get(name) {
            Some(node) => node.as_ref(),
            None => self.draft.nodes.get(name.octets()),
        }
    }

    /// The name directly above, unless that is the origin.
    fn above(&self, name: &Key) -> Option<Key> {
        let above = name::parent(name.octets())?;
        (above != self.origin.octets()).then(|| Key::from_folded(above))
    }

    /// Makes ready what has changed.
    fn finish(self) {
        let Self { draft, nodes, .. } = self;
        let nodes: Vec<NodeChange> = nodes.into_iter().collect();
        for (name, is) in breathing(&nodes) {
            let was = draft.nodes.get(name.octets());
            let digest = |node: Option<&Arc<Node>>| node.map_or(0, |node| node.digest);
            draft.digest = draft.digest.wrapping_sub(digest(was)).wrapping_add(digest(is.as_ref()));
            if let Some(changed) = &mut draft.changed {
                difference::of_name(was.map(|was| &**was), is.as_deref(), changed);
            }
        }
        let occluders = &draft.occluders;
        let ready = |node: &Node| {
            let is_reached = standing::is_reached(occluders, node);
            Ready::new(node, is_reached, |set| prebuilt::of_set(&node.key, set))
        };
        draft.nodes.change(&nodes, ready);
    }
}

/// A name with its records: those beside, and those of what it stands for.
fn node(origin: &Key, key: &Key, beside: &[RrSet], resolved: Option<&Resolved>) -> Node {
    let mut rrsets: Vec<RrSet> = beside.to_vec();
    if let Some(resolved) = resolved {
        rrsets.extend(laid_records(resolved, beside.is_empty()));
    }
    let has = |rtype| rrsets.iter().any(|set| set.rtype == rtype);
    let kind = if has(RecordType::NS) && key != origin {
        NodeKind::Cut
    } else if has(RecordType::DNAME) {
        NodeKind::Dname
    } else {
        NodeKind::Plain
    };
    let digest = serial::node_digest(key, &rrsets);
    let basis = resolved.and_then(|resolved| resolved.basis.clone());
    Node { key: key.clone(), rrsets: rrsets.into(), kind, basis, digest }
}

fn laid_records(resolved: &Resolved, alone: bool) -> Vec<RrSet> {
    let ttl = resolved.ttl;
    match &resolved.data {
        Data::Absent | Data::NotReady => Vec::new(),
        Data::Cname(target) => vec![RrSet::alias(ttl, target.clone())],
        Data::Pointers(names) => vec![reverse::pointers(ttl, names.iter())],
        Data::Addresses(all) => {
            let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = all.iter().partition(|ip| ip.is_ipv4());
            [(RecordType::A, v4), (RecordType::AAAA, v6)]
                .into_iter()
                .filter(|(_, all)| !all.is_empty())
                .map(|(rtype, all)| RrSet::addresses(rtype, ttl, &all))
                .collect()
        }
        // So that the name exists for whoever transfers the zone; a name
        // that has other records exists already.
        Data::Nothing(why) if alone => {
            let text = format!("eipdns: {why}");
            // A character-string holds 255 octets (RFC 1035 section 3.3).
            let strings = text.as_bytes().chunks(255).collect();
            vec![RrSet::new(RecordType::TXT, ttl, vec![RData::TXT(TXT::from_bytes(strings))])]
        }
        Data::Nothing(_) => Vec::new(),
    }
}
