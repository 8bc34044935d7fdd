//! The octets of prebuilt answers: kept with a snapshot, copied by who answers.
//! [`prebuilt`](crate::compile::prebuilt) makes them.
//!
//! A [`Tail`] is what stands behind one question. Names in it may point into that
//! question, and all that does is counted from the question's end: for another
//! name of the same zone the pointers move by the difference in length. That holds
//! as long as the names in the tail share nothing with the other question but what
//! they share with the name above both, which is checked where it is made and in
//! [`Negative::for_name`].

use crate::dns::wire::MAX_UDP;

/// Octets of ANCOUNT, NSCOUNT and ARCOUNT.
pub(crate) const COUNTS: usize = 6;
/// The longest tail kept: a longer one fits into no UDP answer.
pub(crate) const MAX_TAIL: usize = MAX_UDP;
/// Labels, without the root, of the longest question a moved tail is for: the
/// encoder remembers 64 names to point to, and what two names of
/// `MAX_MOVED_LABELS` take of them must be left. IPv6 addresses have 34.
pub(crate) const MAX_ASKED_LABELS: usize = 40;

/// The octets behind a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail<O = Box<[u8]>> {
    /// ANCOUNT, NSCOUNT, ARCOUNT as in the header, then the records.
    octets: O,
    /// Length of the question's name this was made for.
    made_for: u8,
    /// Where in `octets` pointers stand that move with the question's length;
    /// 0 for none.
    moving: [u16; 3],
    /// Made for a wildcard, and right for the names it stands in for.
    synthesis: bool,
}

impl Tail {
    /// Of the octets behind a question for a name of `made_for` octets; none when there
    /// are too many.
    pub(crate) fn new(octets: Vec<u8>, made_for: usize) -> Option<Self> {
        let made_for = u8::try_from(made_for).ok()?;
        (octets.len() <= COUNTS + MAX_TAIL).then(|| Self {
            octets: octets.into(),
            made_for,
            moving: [0; 3],
            synthesis: false,
        })
    }

    /// All of its octets.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Says where pointers stand that move with the question's length.
    pub(crate) fn move_at(&mut self, places: [u16; 3]) {
        self.moving = places;
    }

    /// Says that it is right for the names that its wildcard stands in for.
    pub(crate) fn fits_synthesis(&mut self) {
        self.synthesis = true;
    }

    /// Appends it to what is [`Ready`](super::ready::Ready): its length, what else has to be known of
    /// it, its octets.
    pub fn keep(&self, place: &mut Vec<u8>) {
        place.extend_from_slice(&(self.octets.len() as u16).to_be_bytes());
        place.push(self.synthesis.into());
        // Of the tails of names only those of aliases move, and in one place.
        let [moving, ..] = self.moving;
        place.extend_from_slice(&moving.to_be_bytes());
        place.extend_from_slice(&self.octets);
    }

    fn borrow(&self) -> Tail<&[u8]> {
        let Self { octets, made_for, moving, synthesis } = self;
        Tail { octets, made_for: *made_for, moving: *moving, synthesis: *synthesis }
    }
}

impl<'r> Tail<&'r [u8]> {
    /// Of the octets behind a question for a name of `made_for` octets, and for no other.
    pub(crate) fn of(octets: &'r [u8], made_for: usize) -> Self {
        Self { octets, made_for: made_for as u8, moving: [0; 3], synthesis: false }
    }

    /// What [`keep`](Tail::keep) kept.
    pub fn kept(octets: &'r [u8], made_for: u8, synthesis: u8, moving: [u8; 2]) -> Self {
        let moving = [u16::from_be_bytes(moving), 0, 0];
        Self { octets, made_for, moving, synthesis: synthesis != 0 }
    }

    /// Does it answer for a name that a wildcard stands in for?
    pub fn is_for_synthesis(&self) -> bool {
        self.synthesis
    }

    /// ANCOUNT, NSCOUNT and ARCOUNT, in network order.
    pub fn counts(&self) -> [u8; COUNTS] {
        self.octets.first_chunk().copied().unwrap_or_default()
    }

    /// Octets of the records.
    pub fn size(&self) -> usize {
        self.octets.len().saturating_sub(COUNTS)
    }

    /// Appends the records to `reply`, which ends with a question whose name
    /// has `name_len` octets.
    pub fn append(&self, name_len: usize, reply: &mut Vec<u8>) {
        let start = reply.len();
        reply.extend_from_slice(self.octets.get(COUNTS..).unwrap_or_default());
        let by = (name_len as u16).wrapping_sub(u16::from(self.made_for));
        if by == 0 {
            return;
        }
        for at in self.moving.iter().filter(|at| **at != 0) {
            let at = start + usize::from(*at) - COUNTS;
            if let Some(place) = reply.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
                *place = u16::from_be_bytes(*place).wrapping_add(by).to_be_bytes();
            }
        }
    }
}

/// What a zone denies with: its SOA, for whatever name is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negative {
    tail: Tail,
    /// Labels, with their length octets, that stand directly below the origin
    /// in the SOA's own names: a question that has one there too is a place
    /// for the SOA's names to point to.
    near: Box<[Box<[u8]>]>,
}

impl Negative {
    /// Of the tail for a name that shares nothing with the SOA's names, and the
    /// labels that stand in those directly below the origin.
    pub(crate) fn new(tail: Tail, near: Box<[Box<[u8]>]>) -> Self {
        Self { tail, near }
    }

    /// The tail for `name` of the zone of `origin` (folded wire octets both); none
    /// when the name shares more with the SOA than the origin.
    pub fn for_name(&self, name: &[u8], origin: &[u8]) -> Option<Tail<&[u8]>> {
        let below = name.get(..name.len().checked_sub(origin.len())?)?;
        let shares = self.near.iter().any(|label| below.ends_with(label));
        (!shares).then(|| self.tail.borrow())
    }
}
