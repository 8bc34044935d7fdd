//! Where a name stands among names that are spread by hash: over many parts,
//! and in each over slots (open addressing).

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

/// How many names are in a part in the mean: few, because a change copies them
/// all; many, because a change copies the list of parts, too.
pub(crate) const MEAN: usize = 80;

/// Where to look for a name.
///
/// The hash is keyed, but not against people who choose the names that *are*
/// there: those are an operator's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spot {
    /// The number of its part, by the upper half of its hash.
    pub part: usize,
    /// The lower half, which says in which slot to look first.
    pub tag: u32,
}

impl Spot {
    /// That of a folded wire name in so many parts.
    pub fn of(hasher: &RandomState, parts: usize, name: &[u8]) -> Self {
        let mut hasher = hasher.build_hasher();
        hasher.write(name);
        let hash = hasher.finish();
        let part = ((hash >> 32) * parts as u64) >> 32;
        Self { part: part as usize, tag: hash as u32 }
    }
}

/// The number of the slot that is looked in after so many others, of `slots`:
/// a power of two, or none.
pub(crate) fn slot(tag: u32, step: usize, slots: usize) -> usize {
    (tag as usize + step) & slots.wrapping_sub(1)
}
