//! A zone as a view sees it: its names, and all that is known of them.

use std::collections::HashSet;
use std::sync::Arc;

use hickory_proto::rr::{Record, RecordType};

use crate::config::{SourceId, Zone};
use crate::dns::ede::Remark;
use crate::dns::name::Key;
use crate::dns::reverse;
use crate::snapshot::name_map::NameMap;
use crate::snapshot::nodes::{Entry, Nodes, Sheet};
use crate::snapshot::spot::Spot;
use crate::snapshot::tail::Negative;
use crate::snapshot::{Differences, Freshness, Resolved, RrSet, Snapshot};

/// One zone as one view sees it.
#[derive(Debug)]
pub struct ZoneTable {
    /// The configuration this was made from; its identity says whether parts
    /// may be reused.
    pub zone: Arc<Zone>,
    /// The zone's serial.
    pub serial: u32,
    /// SOA as it stands in negative answers: TTL is min(TTL, minimum)
    /// (RFC 2308 section 3).
    pub negative_soa: Record,
    /// That SOA as negative answers end in it; none where it cannot be moved
    /// from one question to another.
    pub negative: Option<Negative>,
    /// The origin's own records.
    pub apex: Arc<Node>,
    /// The origin's answers, and its node once more.
    pub top: Sheet,
    /// Every other name, empty non-terminals included.
    pub nodes: Nodes,
    /// How many of them are wildcards.
    pub wildcards: usize,
    /// Of those with names directly below them: with how many. An empty
    /// non-terminal is there for as long as it is one of these (RFC 8020).
    pub children: NameMap<u32>,
    /// What each name that is laid into the zone stands for.
    pub resolved: NameMap<Arc<Resolved>>,
    /// Records that stand beside those of such a name, by name.
    pub beside: NameMap<Box<[RrSet]>>,
    /// Names that occlude those below them: delegations and DNAMEs (RFC 5936
    /// section 3.5).
    pub occluders: Arc<HashSet<Key>>,
    /// Sum of the hashes of all nodes but the apex.
    pub digest: u128,
    /// Is the SOA the one in the zone's file?
    pub own_soa: bool,
    /// What this process has changed about it, serial by serial.
    pub differences: Differences,
    /// Where tags may give names, and new addresses PTR records: on what it rests that one is not there.
    pub denial: Option<Arc<Basis>>,
}

impl ZoneTable {
    /// The node of a folded wire name in this zone.
    pub fn node(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.entry(name)?.node()
    }

    /// May a tag, or a new address, give what is missing at a node? Not where something else has the name.
    pub(crate) fn may_discover(&self, node: &Node, rtype: RecordType) -> bool {
        use RecordType::{A, AAAA, ANY, CNAME};
        if self.may_point(node, rtype) {
            return true;
        }
        let is_special = node.key == self.zone.origin || node.key.is_wildcard();
        let Some(discover) = &self.zone.discover else { return false };
        matches!(rtype, A | AAAA | ANY | CNAME)
            && (discover.apex_and_wildcards || !is_special)
            && node.basis.is_none()
            && node.kind == NodeKind::Plain
            && [A, AAAA, CNAME].iter().all(|rtype| node.rrset(*rtype).is_none())
    }

    /// May an address that becomes known give the PTR records that are missing at a node?
    fn may_point(&self, node: &Node, rtype: RecordType) -> bool {
        use RecordType::{ANY, CNAME, PTR};
        matches!(rtype, PTR | ANY)
            && self.denial.is_some()
            && node.kind == NodeKind::Plain
            && [PTR, CNAME].iter().all(|rtype| node.rrset(*rtype).is_none())
            && reverse::address_of(node.key.octets()).is_some()
    }

    /// Rests it on sources that are all well, or on none, that a name is not there? Else
    /// there is something to say about it.
    pub(crate) fn denies_plainly(&self, snapshot: &Snapshot) -> bool {
        self.denial.as_ref().is_none_or(|denial| {
            let is_fresh = |id: &SourceId| {
                let source = snapshot.sources.get(*id);
                source.is_none_or(|source| source.freshness == Freshness::Fresh)
            };
            !denial.not_ready && denial.sources.iter().all(is_fresh)
        })
    }

    /// The answers and the node of a folded wire name in this zone.
    pub fn entry(&self, name: &[u8]) -> Option<Entry<'_>> {
        match name == self.zone.origin.octets() {
            true => self.top.one(),
            false => self.nodes.entry(name),
        }
    }

    /// Likewise, for a name that lies in this zone and whose spot among `nodes`
    /// is known, by its hash alone; see [`Nodes::likely`].
    pub fn likely(&self, name: &[u8], spot: Spot) -> Option<Entry<'_>> {
        match name.len() == self.zone.origin.octets().len() {
            true => self.top.one(),
            false => self.nodes.likely(spot),
        }
    }
}

/// One name of a zone.
#[derive(Debug, Clone)]
pub struct Node {
    /// The name.
    pub key: Key,
    /// Its records; none for an empty non-terminal.
    pub rrsets: Box<[RrSet]>,
    /// What stands at this name, for the walk down from the apex.
    pub kind: NodeKind,
    /// For a name bound to Elastic IPs: on what it rests.
    pub basis: Option<Arc<Basis>>,
    /// Of the records, for serials.
    pub digest: u128,
}

impl Node {
    /// Does it exist for names below it only (RFC 4592 section 2.2.2)?
    pub(crate) fn is_empty_non_terminal(&self) -> bool {
        self.rrsets.is_empty() && self.basis.is_none()
    }

    /// The RRset of a type.
    pub fn rrset(&self, rtype: RecordType) -> Option<&RrSet> {
        self.rrsets.iter().find(|set| set.rtype == rtype)
    }
}

/// What a name means to names below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Nothing special.
    Plain,
    /// A delegation (RFC 1034 section 4.2.1).
    Cut,
    /// A DNAME (RFC 6672).
    Dname,
}

/// On what a bound name's records rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// Sources whose word this is.
    pub sources: Vec<SourceId>,
    /// No candidate source that could know has delivered yet: SERVFAIL.
    pub not_ready: bool,
    /// Why the answer is not the plain one, for EDE: held, unassociated, gone.
    pub remark: Option<Remark>,
    /// Why there is no AAAA record although the name wants one: for answers without one.
    pub without_ipv6: Option<Remark>,
}
