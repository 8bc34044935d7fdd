//! What a zone has become from one serial to the next, as one view sees it:
//! RRset by RRset, exact to what is served. Incremental transfers are made from
//! that (RFC 1995). [`compile`](crate::compile) finds it where the tables are made.

use std::sync::Arc;

use hickory_proto::rr::{RData, Record, RecordType};

use crate::dns::name::Key;
use crate::snapshot::RrSet;

/// So many differences of a zone and view are kept: a secondary that lags further
/// behind takes the whole zone.
pub const MAX_DIFFERENCES: usize = 100;

/// So many octets of memory the differences of a zone and view may take, about: some two
/// thousand names that moved. A secondary is hardly worse off with the whole zone.
pub const MAX_OCTETS: usize = 1 << 20;

/// So many may those of all zones and views take: with many of them each has its equal
/// part.
pub const MAX_OCTETS_IN_ALL: usize = 64 << 20;

/// An RRset that is not what it was. A changed TTL makes another RRset.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The name it stands at.
    pub owner: Key,
    /// Its type.
    pub rtype: RecordType,
    /// What it was; none: there was none.
    pub old: Option<RrSet>,
    /// What it is; none: there is none.
    pub new: Option<RrSet>,
}

/// From one serial of a zone to the next one.
#[derive(Debug)]
pub struct Difference {
    /// The SOA before.
    pub from: Record,
    /// The SOA after.
    pub to: Record,
    /// Every other RRset that is not what it was, in no order.
    pub changed: Box<[Changed]>,
    /// Of memory, about.
    octets: usize,
}

/// The last differences of a zone, the oldest first. Each begins with the serial that the one
/// before it ends with, and the last ends with the zone's. A copy shares them.
#[derive(Debug, Clone, Default)]
pub struct Differences(Arc<[Arc<Difference>]>);

impl Difference {
    /// Of the two SOA records, and of all other RRsets that differ.
    pub(crate) fn new(from: Record, to: Record, changed: Vec<Changed>) -> Self {
        let octets = changed.iter().map(Changed::octets).sum();
        Self { from, to, changed: changed.into(), octets }
    }
}

impl Changed {
    fn octets(&self) -> usize {
        let sets = self.old.iter().chain(&self.new);
        size_of::<Self>() + sets.map(RrSet::octets).sum::<usize>()
    }
}

impl Differences {
    /// These, and one that begins where they end, as far as there is `room`, in octets:
    /// none when the last one alone takes more.
    pub(crate) fn and(&self, next: Difference, room: usize) -> Self {
        let Some(mut room) = room.checked_sub(next.octets) else { return Self::default() };
        let fits = |one: &&Arc<Difference>| match room.checked_sub(one.octets) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        };
        let kept = self.0.iter().rev().take(MAX_DIFFERENCES - 1).take_while(fits).count();
        let kept = self.0.get(self.0.len() - kept..).unwrap_or_default();
        Self(kept.iter().cloned().chain([Arc::new(next)]).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that lead from `serial` to what the zone is now, the oldest first; none when it is not
    /// known what the zone was then.
    pub fn since(&self, serial: u32) -> Option<&[Arc<Difference>]> {
        let first = self.0.iter().position(|one| serial_of(&one.from) == Some(serial))?;
        self.0.get(first..)
    }
}

fn serial_of(soa: &Record) -> Option<u32> {
    match &soa.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{SOA, TXT};

    use super::*;

    fn soa(serial: u32) -> Record {
        let name = Key::parse("example.com", None).unwrap().to_name();
        let soa = SOA::new(name.clone(), name.clone(), serial, 1, 2, 3, 4);
        Record::from_rdata(name, 5, RData::SOA(soa))
    }

    /// From `serial` to the next, with so many octets of text.
    fn step(serial: u32, octets: usize) -> Difference {
        let owner = Key::parse("a.example.com", None).unwrap();
        let text = TXT::new(vec!["x".repeat(250); 40]);
        let new = Some(RrSet::new(RecordType::TXT, 5, vec![RData::TXT(text)]));
        let changed = Changed { owner, rtype: RecordType::TXT, old: None, new };
        let changed = vec![changed; octets / 10_000];
        Difference::new(soa(serial), soa(serial.wrapping_add(1)), changed)
    }

    fn after(all: Differences, serial: u32, octets: usize) -> Differences {
        all.and(step(serial, octets), MAX_OCTETS)
    }

    #[test]
    fn they_lead_from_each_serial_that_is_known_to_the_last() {
        // Around the highest serial, too (RFC 1982).
        let begin = u32::MAX - 2;
        let serial = |nth: u32| begin.wrapping_add(nth);
        let all = (0..5).fold(Differences::default(), |all, nth| after(all, serial(nth), 0));
        for nth in 0..5 {
            let since = all.since(serial(nth)).unwrap();
            assert_eq!(since.len(), 5 - nth as usize);
            assert_eq!(serial_of(&since[0].from), Some(serial(nth)));
            assert_eq!(serial_of(&since.last().unwrap().to), Some(serial(5)));
        }
        assert!(all.since(serial(5)).is_none(), "up to date");
        assert!(all.since(begin - 1).is_none(), "not given by this process");
    }

    #[test]
    fn they_have_an_end_in_number_and_size() {
        let many = (0..250).fold(Differences::default(), |all, nth| after(all, nth, 0));
        assert_eq!((many.len(), many.is_empty()), (MAX_DIFFERENCES, false));
        assert!(many.since(149).is_none());
        assert_eq!(many.since(150).unwrap().len(), MAX_DIFFERENCES);

        let third = MAX_OCTETS / 3;
        let large = (0..5).fold(Differences::default(), |all, nth| after(all, nth, third));
        assert_eq!(large.len(), 2, "a third one takes more than there is room for");
        assert_eq!(large.since(3).unwrap().len(), 2);
        assert!(after(large.clone(), 5, MAX_OCTETS).is_empty(), "no longer of use");
        // Where there are many zones there is less room for each.
        assert_eq!(large.and(step(5, third), MAX_OCTETS / 2).len(), 1);
        assert_eq!(large.len(), 2, "a copy is its own");
    }
}
