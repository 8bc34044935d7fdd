//! Names that tags of addresses give (`[discover]`): who has a name, and how the loss
//! of one is taken. Pure.
//!
//! What [`accept`](super::accept) is for addresses, this is for names, one step later:
//! it looks at accepted addresses, and nothing of it delays a name that comes or moves.
//!
//! * A name is that of one address (or, with `sets`, of all addresses of one source that
//!   have its tag). Whoever has it keeps it while it is tagged and associated. Another
//!   takes it over once it is associated itself and the one before has lost its tag or its
//!   association; of two that are seen for the first time, the one of the first source,
//!   then the lower address. So a tag moves by two calls in either order, and two
//!   addresses are never answered in between.
//! * From another source a name is taken over only once its tag is gone: a stray tag of
//!   somebody else must not win while an address is between two instances.
//! * A name whose tag is taken off is *gone*: it is held for `hold` and follows its
//!   allocation meanwhile. A good answer that still lacks it ends that. While more than
//!   half of three or more names of a source are gone, it is a *mass loss*, and each waits
//!   `release_after`, or for an operator; those lost a little later as well.
//! * An address that is missing from the answers keeps its tags for as long as it is kept.
//! * Tags carry no id that tells a stale read. A name that would go back within
//!   [`STALE_READ`](super::accept::STALE_READ) to where it came from waits until a second
//!   answer says so, unless the address is in an association that is newer than that.
//! * Nobody takes a name over before the source of who had it, before a restart, has said
//!   something, or its state is served for it.
//! * A file is the truth, losses too.
//! * A set that `[names]` binds by tag is as one with `sets`, but of all sources that it
//!   may be of. `compile` finds its addresses by itself, unless it is held.
//!
//! What cannot be a name harms no other: it is a [`Problem`].
//!
//! * [`value`]: the names in a tag. [`rules`]: which of them are names of a zone, and what
//!   stands there already. `sets`: those bound by tag. `decide`: who has a name. [`names`]: all of them, brought up to
//!   date at the price of what changed. `losses`: what is held until when.

mod decide;
mod losses;
pub mod names;
pub(crate) mod problem;
pub mod rules;
mod sets;
#[cfg(test)]
mod tests;
pub mod value;

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::SourceId;
use crate::dns::name::Key;
use crate::source::allocation::Allocation;
use crate::source::inventory::Entry;

pub use losses::{HeldName, NameLosses};
pub use names::{Answered, Discovered, Memory, Now, Remembered, discover};
pub use problem::{Kind, Problem};
pub use rules::Rules;

/// How many names tags may give a zone; more are a slip, and told.
pub const MAX_NAMES: usize = 10_000;

/// As many addresses that have one tag are looked at; with `sets` all are answered, and
/// no message holds many more.
pub const MAX_CLAIMS: usize = 1_000;

/// As many problems are kept and shown.
pub const MAX_PROBLEMS: usize = 1_000;

/// An address of a source whose tag has a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The source.
    pub source: SourceId,
    /// The address.
    pub allocation: Allocation,
}

/// An address that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The source.
    pub source: SourceId,
    /// As it is accepted.
    pub entry: Entry,
    /// Has it the tag, or had it, and is held?
    pub tagged: bool,
}

impl Member {
    /// Which address it is.
    pub fn claim(&self) -> Claim {
        Claim { source: self.source, allocation: self.entry.address.allocation() }
    }
}

/// Who has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The number of its zone, or of its bound set.
    pub zone: usize,
    /// Is it a set that `[names]` binds by tag? Then it is answered from here only while
    /// it is held.
    pub is_bound: bool,
    /// What it stands for, in order of address: never empty, of one source, and without
    /// `sets` one.
    pub members: Box<[Member]>,
    /// Other addresses that have the tag.
    pub others: Box<[Claim]>,
    /// Since when no address has the tag: it is held.
    pub gone: Option<SystemTime>,
    /// Where it was before, and since when not any longer.
    pub came_from: Option<CameFrom>,
    /// One answer has said that it is there again.
    pub goes_back: bool,
}

impl Named {
    /// The source that has it.
    pub fn source(&self) -> SourceId {
        self.members.first().map_or(0, |member| member.source)
    }

    /// Do tags alone say all of it?
    fn is_plain(&self) -> bool {
        let is_settled = self.gone.is_none() && self.came_from.is_none() && !self.goes_back;
        is_settled && self.others.is_empty() && self.members.iter().all(|m| m.entry.is_live())
    }

    /// Every address that has the tag.
    fn claims(&self) -> Vec<Claim> {
        let tagged = self.members.iter().filter(|member| member.tagged).map(Member::claim);
        tagged.chain(self.others.iter().cloned()).collect()
    }
}

/// Where a name was before, and since when it is not there any longer.
pub type CameFrom = Box<(Claim, SystemTime)>;

/// All names, by name.
pub type Names = imbl::OrdMap<Key, Arc<Named>>;
