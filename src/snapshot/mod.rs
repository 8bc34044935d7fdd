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
pub(crate) mod reverse;
mod rrset;
mod selector;
pub(crate) mod spot;
pub(crate) mod tail;
mod zone;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use imbl::OrdMap;

use crate::dns::ede::Remark;
use crate::dns::name;
use crate::snapshot::name_map::NameMap;
use crate::snapshot::overlay::Overlays;
use crate::snapshot::reverse::ReverseTable;
use crate::source::inventory::{Health, Inventory};

pub use difference::{
    Changed, Difference, Differences, MAX_DIFFERENCES, MAX_OCTETS, MAX_OCTETS_IN_ALL,
};
pub use resolved::{Data, IpSet, Resolved};
pub use rrset::RrSet;
pub use selector::Selector;
pub use zone::{Basis, Node, NodeKind, ZoneTable};

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
    /// PTR records.
    pub reverse: ReverseTable,
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
