//! An immutable, complete picture of every answer.
//!
//! One query reads one snapshot; whatever it needs is in here: who sees which
//! view, each view's zones, every record ready to be encoded, and how old the
//! sources are. Nothing in here changes after [`compile`](crate::compile) made
//! it; parts that a change does not touch are shared with the next snapshot.

mod difference;
pub(crate) mod name_map;
pub(crate) mod nodes;
pub(crate) mod overlay;
pub(crate) mod prefixes;
pub(crate) mod ready;
mod resolved;
pub(crate) mod spot;
pub(crate) mod tail;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use hickory_proto::rr::{Record, RecordType};
use imbl::OrdMap;
use ipnet::IpNet;

use crate::config::{SourceId, ViewId, Zone};
use crate::dns::ede::Remark;
use crate::dns::name::{self, Key};
use crate::snapshot::name_map::NameMap;
use crate::snapshot::nodes::{Entry, Nodes, Sheet};
use crate::snapshot::overlay::Overlays;
use crate::snapshot::prefixes::Prefixes;
use crate::snapshot::spot::Spot;
use crate::snapshot::tail::Negative;
use crate::source::inventory::{Health, Inventory};

pub use difference::{Changed, Difference, Differences, MAX_DIFFERENCES, MAX_OCTETS};
pub use resolved::{Data, Resolved};

/// The state of the world that answers are made from.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts published snapshots, from 1.
    pub generation: u64,
    /// Counts configurations, from 1: views keep their numbers within one.
    pub epoch: u64,
    /// Which client is in which view.
    pub selector: Arc<Selector>,
    /// One table per configured view.
    pub views: Vec<ViewTable>,
    /// One per configured source.
    pub sources: Vec<SourceStatus>,
    /// What we say about ourselves.
    pub identity: Identity,
    /// What it was made from: the next one differs by what differs there.
    pub inventory: Inventory,
}

impl Snapshot {
    /// Nobody is in a view and nothing is served: before the first one.
    pub fn empty() -> Self {
        Self {
            generation: 0,
            epoch: 0,
            selector: Arc::default(),
            views: Vec::new(),
            sources: Vec::new(),
            identity: Identity::default(),
            inventory: Inventory::default(),
        }
    }
}

/// What the server says about itself (RFC 4892, RFC 5001).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// CH TXT version.bind; none: refused.
    pub version: Option<String>,
    /// CH TXT id.server and NSID; none: refused and absent.
    pub id: Option<String>,
}

/// What one view sees.
#[derive(Debug)]
pub struct ViewTable {
    /// The view's name.
    pub name: Arc<str>,
    /// Zones by origin.
    pub zones: NameMap<Arc<ZoneTable>>,
    /// Which lengths their origins have.
    pub lengths: Lengths,
    /// Do its clients get answers from elsewhere?
    pub forward: bool,
    /// Zones of one name each, such as public EC2 names answered from memory.
    pub overlays: Overlays,
    /// What forwarded answers are rewritten with.
    pub rewrites: Rewrites,
}

/// For an Elastic IP the private address to put in its place, and for how many
/// seconds at most. A copy shares what does not change.
pub type Rewrites = OrdMap<Ipv4Addr, (Ipv4Addr, u32)>;

/// A set of lengths of names, in octets. To know that no zone has an origin as
/// long as a suffix saves looking for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lengths([u64; 4]);

impl Lengths {
    /// Adds the length of a wire name, 255 at most.
    pub fn insert(&mut self, length: usize) {
        if let Some(word) = self.0.get_mut(length / 64) {
            *word |= 1 << (length % 64);
        }
    }

    /// Is it one of them?
    pub fn contains(&self, length: usize) -> bool {
        self.0.get(length / 64).is_some_and(|word| word >> (length % 64) & 1 == 1)
    }
}

impl ViewTable {
    /// Adds a zone.
    pub fn insert(&mut self, table: Arc<ZoneTable>) {
        let origin = table.zone.origin.clone();
        self.lengths.insert(origin.octets().len());
        self.zones.insert(origin, table);
    }

    /// The zone that `name` (folded wire octets) lies in: the longest origin.
    pub fn zone_of(&self, name: &[u8]) -> Option<&Arc<ZoneTable>> {
        self.zone_near(name, None)
    }

    /// Likewise; soonest if it is `guess`, a zone of this view.
    pub fn zone_near<'s>(
        &'s self,
        name: &[u8],
        guess: Option<&'s Arc<ZoneTable>>,
    ) -> Option<&'s Arc<ZoneTable>> {
        let mut suffix = name;
        loop {
            if self.lengths.contains(suffix.len()) {
                let guessed = guess.filter(|zone| zone.zone.origin.octets() == suffix);
                if let Some(zone) = guessed.or_else(|| self.zones.get(suffix)) {
                    return Some(zone);
                }
            }
            suffix = name::parent(suffix)?;
        }
    }
}

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
}

impl ZoneTable {
    /// The node of a folded wire name in this zone.
    pub fn node(&self, name: &[u8]) -> Option<&Arc<Node>> {
        self.entry(name)?.node()
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

/// All records of one name and type.
#[derive(Debug, Clone)]
pub struct RrSet {
    /// The type.
    pub rtype: RecordType,
    /// At least one, all with the same TTL (RFC 2181 section 5.2).
    pub records: Arc<[Record]>,
}

/// On what a bound name's records rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basis {
    /// Sources whose word this is.
    pub sources: Vec<SourceId>,
    /// No candidate source that could know has delivered yet: SERVFAIL.
    pub not_ready: bool,
    /// Why the answer is not the plain one, for EDE: held, unassociated, gone.
    pub remark: Option<Remark>,
}

/// How a source does, as answers need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// The source's name.
    pub name: String,
    /// Its health when the snapshot was made.
    pub health: Health,
    /// Time of its last good answer.
    pub delivered_at: Option<SystemTime>,
    /// What answers that rest on it say.
    pub freshness: Freshness,
}

/// What an answer says about the age of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing.
    Fresh,
    /// Answered, with EDE 3.
    Stale(Remark),
    /// SERVFAIL, with EDE 24: beyond `serve.max_stale`.
    TooOld(Remark),
}

/// Finds the view of a client.
#[derive(Debug, Default)]
pub struct Selector {
    /// Views bound to listen addresses, looked at first. Port 0: any port.
    local: HashMap<SocketAddr, Prefixes<ViewId>>,
    /// All other views.
    anywhere: Prefixes<ViewId>,
    /// Forwarders that are believed on whose behalf they ask.
    trusted: Vec<IpNet>,
}

impl Selector {
    /// Adds a view's prefixes; `listen` empty: for queries at any address.
    pub fn insert(&mut self, clients: &[IpNet], listen: &[SocketAddr], view: ViewId) {
        for net in clients {
            if listen.is_empty() {
                self.anywhere.insert(*net, view);
            }
            for at in listen {
                self.local.entry(*at).or_default().insert(*net, view);
            }
        }
    }

    /// Adds forwarders whose EDNS Client Subnet chooses the view.
    pub fn trust(&mut self, nets: &[IpNet]) {
        self.trusted.extend_from_slice(nets);
    }

    /// Is `client` believed on whose behalf it asks?
    pub fn trusts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.trusted.iter().any(|net| net.contains(&client))
    }

    /// Are there forwarders that are believed?
    pub fn has_trusted(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// The view of the clients in `net` asking at `local`, and the length of
    /// the shortest prefix around its address in which all see the same (the
    /// scope of RFC 7871 section 7.2.1).
    pub fn select_net(&self, net: IpNet, local: SocketAddr) -> (Option<ViewId>, u8) {
        let ip = local.ip().to_canonical();
        let here = [SocketAddr::new(ip, local.port()), SocketAddr::new(ip, 0)];
        let tables: Vec<&Prefixes<ViewId>> =
            here.iter().filter_map(|at| self.local.get(at)).chain([&self.anywhere]).collect();
        let found = tables.iter().find_map(|table| table.find_net(net));
        let (least, view) = match found {
            Some((length, view)) => (length, Some(view)),
            None => (0, None),
        };
        let is_one = |length: &u8| {
            let around = IpNet::new(net.addr(), *length).map(|net| net.trunc());
            around.is_ok_and(|around| {
                tables.iter().all(|table| table.within(around).all(|found| Some(found) == view))
            })
        };
        let scope = (least..=net.max_prefix_len()).find(is_one);
        (view, scope.unwrap_or(net.max_prefix_len()))
    }

    /// The view of `client` asking at `local`: views for that address first,
    /// then the others; in each the longest matching prefix wins.
    #[inline]
    pub fn select(&self, client: IpAddr, local: SocketAddr) -> Option<ViewId> {
        let client = client.to_canonical();
        if !self.local.is_empty() {
            let ip = local.ip().to_canonical();
            let here = [SocketAddr::new(ip, local.port()), SocketAddr::new(ip, 0)];
            let found = here.iter().find_map(|at| self.local.get(at)?.find(client));
            if found.is_some() {
                return found;
            }
        }
        self.anywhere.find(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(all: &[&str]) -> Vec<IpNet> {
        all.iter().map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn longest_prefix_wins_and_listen_comes_first() {
        let mut s = Selector::default();
        s.insert(&nets(&["10.0.0.0/8", "fc00::/7"]), &[], 0);
        s.insert(&nets(&["10.1.0.0/16"]), &[], 1);
        s.insert(&nets(&["10.0.0.0/8"]), &["127.0.0.2:0".parse().unwrap()], 2);
        let any = "127.0.0.1:53".parse().unwrap();
        let second = "127.0.0.2:5300".parse().unwrap();
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert_eq!(s.select(ip("10.1.2.3"), any), Some(1));
        assert_eq!(s.select(ip("10.2.2.3"), any), Some(0));
        assert_eq!(s.select(ip("::ffff:10.1.2.3"), any), Some(1));
        assert_eq!(s.select(ip("fd00::1"), any), Some(0));
        assert_eq!(s.select(ip("10.1.2.3"), second), Some(2));
        assert_eq!(s.select(ip("fd00::1"), second), Some(0));
        assert_eq!(s.select(ip("192.0.2.1"), second), None);
    }
}
