//! A name and its prebuilt answers in one run of octets.
//!
//! An answer is short; what takes time is to reach what it is made from, if
//! that lies in many places of which none was read lately. Here is all that
//! most questions for a name need: the name, whether anything is to be said
//! about it, and for each type the octets behind the question.

use hickory_proto::rr::RecordType;

use super::tail::Tail;
use crate::snapshot::{Freshness, Node, RrSet, Snapshot};

/// Where the name begins: behind its length, the marks and the sources.
const NAME: usize = 6;
/// Octets before a tail: its type, its length, and two about how it moves.
const BEFORE: usize = 7;

/// A question for this name is for no other: no delegation and no DNAME is
/// above it, and it is no delegation itself.
const REACHED: u8 = 1;
/// Nothing can be said of it yet, or what to say does not fit in here.
const UNSURE: u8 = 2;
/// There is a remark on it.
const REMARK: u8 = 4;
/// It is an alias.
const ALIAS: u8 = 8;

/// What is known of a name: made with the snapshot, for the fast path.
///
/// In octets: length of the name, marks, sources (a bit each), the name; then
/// for each type it has records of: the type, the length of the tail (0: to be
/// put together), whether the tail is for synthesis, where a pointer in it
/// moves, and the tail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ready<O = Box<[u8]>>(O);

/// Does an answer rest on a source that is stalled, or on one from elsewhere
/// that is beyond its TTL? Who has EDNS is told so (EDE 3, 19).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stale(pub bool);

impl Stale {
    /// Of an answer that rests on these sources, a bit each; none if there is something
    /// to say about one of them. `silent`: there is no place to say it.
    #[inline]
    pub(crate) fn resting_on(mut sources: u32, snapshot: &Snapshot, silent: bool) -> Option<Self> {
        let mut stale = Self(false);
        while sources != 0 {
            match snapshot.sources.get(sources.trailing_zeros() as usize).map(|s| &s.freshness) {
                Some(Freshness::Fresh) | None => {}
                Some(Freshness::Stale(_)) if silent => stale = Self(true),
                Some(_) => return None,
            }
            sources &= sources - 1;
        }
        Some(stale)
    }
}

/// What a name has for a type.
#[derive(Debug, Clone, Copy)]
pub enum Known<'r> {
    /// This answer.
    Tail(Tail<&'r [u8]>),
    /// Records, or an alias, that an answer has to be put together from.
    Parts,
    /// Nothing.
    Nothing,
}

impl Ready {
    /// Of a node that is `reached` by questions for its name; `tail` makes the
    /// answers.
    pub fn new(node: &Node, reached: bool, tail: impl Fn(&RrSet) -> Option<Tail>) -> Self {
        let name = node.key.octets();
        let mut marks = if reached { REACHED } else { 0 };
        let mut sources = 0u32;
        if let Some(basis) = &node.basis {
            let bits = basis.sources.iter().map(|id| 1u32.checked_shl(*id as u32));
            match bits.collect::<Option<Vec<u32>>>() {
                Some(bits) => sources = bits.iter().fold(0, |all, bit| all | bit),
                None => marks |= UNSURE,
            }
            if basis.not_ready {
                marks |= UNSURE;
            }
            if basis.remark.is_some() {
                marks |= REMARK;
            }
        }
        if node.rrset(RecordType::CNAME).is_some() {
            marks |= ALIAS;
        }
        let mut octets = vec![name.len() as u8, marks];
        octets.extend_from_slice(&sources.to_be_bytes());
        octets.extend_from_slice(name);
        for set in &node.rrsets {
            octets.extend_from_slice(&u16::from(set.rtype).to_be_bytes());
            match tail(set) {
                Some(tail) => tail.keep(&mut octets),
                None => octets.extend_from_slice(&[0; BEFORE - 2]),
            }
        }
        if node.basis.as_ref().is_some_and(|basis| basis.without_ipv6.is_some()) {
            // That there is none is said with a remark.
            octets.extend_from_slice(&u16::from(RecordType::AAAA).to_be_bytes());
            octets.extend_from_slice(&[0; BEFORE - 2]);
        }
        Self(octets.into())
    }

    /// The same, borrowed.
    pub fn borrow(&self) -> Ready<&[u8]> {
        Ready(&self.0)
    }
}

impl<'r> Ready<&'r [u8]> {
    /// What has these octets.
    pub fn of(octets: &'r [u8]) -> Self {
        Self(octets)
    }

    /// Its octets.
    pub fn octets(&self) -> &'r [u8] {
        self.0
    }

    /// The folded wire name.
    pub fn name(&self) -> &'r [u8] {
        let len = self.0.first().copied().unwrap_or_default();
        self.0.get(NAME..NAME + usize::from(len)).unwrap_or_default()
    }

    /// Is a question for this name for no other?
    pub fn is_reached(&self) -> bool {
        self.marks() & REACHED != 0
    }

    /// Is it an alias?
    pub fn is_alias(&self) -> bool {
        self.marks() & ALIAS != 0
    }

    /// Is nothing to be said about the sources its records rest on? Then whether
    /// one of them is stalled; else none. `silent`: there is no place to say it.
    pub fn plain(&self, snapshot: &Snapshot, silent: bool) -> Option<Stale> {
        let marks = self.marks();
        if marks & UNSURE != 0 || (marks & REMARK != 0 && !silent) {
            return None;
        }
        let sources = self
            .0
            .get(2..NAME)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |all| u32::from_be_bytes(*all));
        Stale::resting_on(sources, snapshot, silent)
    }

    /// What it has for a type.
    pub fn get(&self, rtype: u16) -> Known<'r> {
        let len = self.0.first().copied().unwrap_or_default();
        let mut rest = self.0.get(NAME + usize::from(len)..).unwrap_or_default();
        while let Some(([t0, t1, size0, size1, synthesis, at0, at1], behind)) =
            rest.split_first_chunk::<BEFORE>()
        {
            let size = usize::from(u16::from_be_bytes([*size0, *size1]));
            let Some((tail, behind)) = behind.split_at_checked(size) else { break };
            if u16::from_be_bytes([*t0, *t1]) == rtype {
                return match size {
                    0 => Known::Parts,
                    _ => Known::Tail(Tail::kept(tail, len, *synthesis, [*at0, *at1])),
                };
            }
            rest = behind;
        }
        if self.is_alias() { Known::Parts } else { Known::Nothing }
    }

    fn marks(&self) -> u8 {
        self.0.get(1).copied().unwrap_or(UNSURE)
    }
}

impl<O: AsRef<[u8]>> std::fmt::Debug for Ready<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.0.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::dns::ede::Remark;
    use crate::dns::name::Key;
    use crate::snapshot::{Basis, NodeKind, SourceStatus};
    use crate::source::inventory::Health;

    fn of(basis: Option<Basis>) -> Ready {
        let key = Key::parse("db.example.com", None).unwrap();
        let (kind, basis) = (NodeKind::Plain, basis.map(Arc::new));
        Ready::new(&Node { key, rrsets: [].into(), kind, basis, digest: 0 }, true, |_| None)
    }

    fn on(sources: &[usize]) -> Ready {
        of(Some(Basis { sources: sources.to_vec(), ..Basis::default() }))
    }

    #[test]
    fn what_is_to_be_said_is_left_to_others() {
        let remark = || Remark { code: 3, text: "old".into() };
        let fresh = [
            Freshness::Fresh,
            Freshness::Stale(remark()),
            Freshness::TooOld(remark()),
            Freshness::Fresh,
        ];
        let mut snapshot = Snapshot::empty();
        let ages = fresh.iter().cycle().take(40);
        snapshot.sources = ages
            .map(|freshness| SourceStatus {
                name: "one".into(),
                health: Health::Healthy,
                delivered_at: Some(SystemTime::UNIX_EPOCH),
                freshness: freshness.clone(),
            })
            .collect();
        // With room for a remark, and without.
        let told =
            |ready: Ready| [false, true].map(|silent| ready.borrow().plain(&snapshot, silent));
        let plain = |ready: Ready| told(ready).map(|stale| stale.is_some());
        assert_eq!(told(on(&[0, 1])), [None, Some(Stale(true))], "answered, and counted as stale");
        assert_eq!(told(on(&[0, 3])), [Some(Stale(false)); 2]);
        assert_eq!(plain(of(None)), [true, true], "no source");
        assert_eq!(plain(on(&[0, 3, 28, 31])), [true, true], "fresh ones");
        assert_eq!(plain(on(&[0, 1])), [false, true], "a stale one");
        assert_eq!(plain(on(&[29])), [false, true], "a stale one");
        assert_eq!(plain(on(&[1, 2])), [false, false], "one too old");
        assert_eq!(plain(on(&[0, 32])), [false, false], "more than it counts");
        let with = |not_ready, remark| {
            of(Some(Basis { sources: vec![0], not_ready, remark, ..Basis::default() }))
        };
        assert_eq!(plain(with(true, None)), [false, false], "nothing known yet");
        assert_eq!(plain(with(false, Some(remark()))), [false, true], "held");
    }
}
