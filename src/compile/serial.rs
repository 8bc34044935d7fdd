//! Serials, per zone and view: one moves when what that view sees of the zone
//! does, and never back.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::time::SystemTime;

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::config::Replica;
use crate::dns::name::Key;
use crate::dns::serial::{highest, is_later, later};
use crate::snapshot::RrSet;
use crate::state::{SerialsKept, ZoneSerial};

/// So many serials of this replica may have been given that are not on the disk: it is written
/// once a second at most, and each swap gives one.
const UNWRITTEN: u32 = 1_000;

/// The serial of each zone in each view and the content it stands for; kept on
/// disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Serials {
    /// By zone. A copy shares what does not change.
    zones: BTreeMap<Key, Arc<Views>>,
    /// Zones of which only the highest serial of all views is known: state of an
    /// eipdns that had one serial for a zone.
    whole: BTreeMap<Key, Serial>,
}

/// By name of the view.
type Views = BTreeMap<Arc<str>, Serial>;

/// A serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Serial {
    /// As in the SOA.
    pub serial: u32,
    /// Of the content it was given for.
    pub digest: u128,
    /// By a process before this one, which may have given later ones.
    pub restored: bool,
}

/// A zone as a view sees it now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InView<'a> {
    /// The view's name.
    pub view: &'a str,
    /// Of all that is seen, the serial apart.
    pub digest: u128,
    /// The serial that the zone's file gives, where nothing else decides it.
    pub given: Option<u32>,
}

impl Serial {
    /// One that this process gives.
    fn new(serial: u32, digest: u128) -> Self {
        Self { serial, digest, restored: false }
    }
}

impl Replica {
    /// Is it one of the serials that this replica gives?
    fn has(self, serial: u32) -> bool {
        serial % self.of == self.number % self.of
    }

    /// The first of them that is no earlier than `serial`. Where numbers wrap, those of two
    /// replicas may stand closer, and are never the same.
    fn next(self, serial: u32) -> u32 {
        let candidates = (0..2 * self.of).map(|more| serial.wrapping_add(more));
        candidates.into_iter().find(|one| self.has(*one)).unwrap_or(serial)
    }
}

impl Serials {
    /// The zone's serial in each of these views, which are all that see it: the
    /// one in use if the content has not changed, else max(last + 1, `now`) in the
    /// order of RFC 1982, the first time in this process [`UNWRITTEN`] more. A new view
    /// begins no lower than the others are. All are congruent to the replica's number, but for
    /// those that a file gives: no other replica gives one of them to other content.
    pub(crate) fn advance(
        &mut self,
        origin: &Key,
        seen: &[InView<'_>],
        now: SystemTime,
        replica: Replica,
    ) -> Vec<u32> {
        let unix = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as u32;
        let whole = self.whole.remove(origin);
        let known = self.zones.entry(origin.clone()).or_default();
        if let Some(whole) = whole {
            *known = Arc::new(from_whole(whole, seen));
        }
        let mut next = |one: &InView<'_>| {
            let last = known.get(one.view).copied();
            let is = match (one.given, last) {
                (None, Some(last)) if last.digest == one.digest && replica.has(last.serial) => last,
                (Some(given), _) => Serial::new(given, one.digest),
                (None, Some(last)) => {
                    let next = later(last.serial.wrapping_add(1), unix);
                    let unwritten = if last.restored { UNWRITTEN * replica.of } else { 0 };
                    Serial::new(replica.next(next.wrapping_add(unwritten)), one.digest)
                }
                (None, None) => {
                    let others = known.values().map(|known| known.serial);
                    Serial::new(replica.next(highest(others.chain([unix]))), one.digest)
                }
            };
            if last != Some(is) {
                Arc::make_mut(known).insert(one.view.into(), is);
            }
            is.serial
        };
        seen.iter().map(&mut next).collect()
    }

    /// What a restart should find.
    pub(crate) fn kept(&self) -> SerialsKept {
        let mut kept = SerialsKept::default();
        for (origin, views) in &self.zones {
            let of = |serial: &Serial| ZoneSerial {
                serial: serial.serial,
                digest: format!("{:032x}", serial.digest),
            };
            let digest = zone_digest(views.iter().map(|(view, serial)| (&**view, serial.digest)));
            // Not the digest that an eipdns with one serial for a zone would make of
            // this content: the serial of no view may be lower than the highest of all
            // after it has run, so it has to give a new one, which is seen here.
            let serial = highest(views.values().map(|serial| serial.serial));
            kept.zones.insert(origin.to_string(), of(&Serial::new(serial, !digest)));
            let views = views.iter().map(|(view, serial)| (view.to_string(), of(serial)));
            kept.views.insert(origin.to_string(), views.collect());
        }
        for (origin, Serial { serial, digest, .. }) in &self.whole {
            let digest = format!("{digest:032x}");
            kept.zones.insert(origin.to_string(), ZoneSerial { serial: *serial, digest });
        }
        kept
    }

    /// Those that were kept. Where a zone's serial is higher than that of every
    /// view, an eipdns with one serial for a zone has given it to all views since.
    pub(crate) fn restored(kept: &SerialsKept) -> Self {
        let of = |known: &ZoneSerial| {
            let digest = u128::from_str_radix(&known.digest, 16).ok()?;
            Some(Serial { serial: known.serial, digest, restored: true })
        };
        let mut all = Self::default();
        for (origin, views) in &kept.views {
            let Ok(origin) = Key::parse(origin, None) else { continue };
            let views =
                views.iter().filter_map(|(view, known)| Some((view.as_str().into(), of(known)?)));
            all.zones.insert(origin, Arc::new(views.collect()));
        }
        for (origin, known) in &kept.zones {
            let (Ok(origin), Some(whole)) = (Key::parse(origin, None), of(known)) else { continue };
            let views = all.zones.get(&origin).filter(|views| !views.is_empty());
            let of_views = views.map(|views| highest(views.values().map(|known| known.serial)));
            if of_views.is_none_or(|of_views| is_later(of_views, whole.serial)) {
                all.zones.remove(&origin);
                all.whole.insert(origin, whole);
            }
        }
        all
    }
}

/// Every view has its zone's serial; with the content it sees now if all see
/// what they saw then, else with one that nobody sees.
fn from_whole(whole: Serial, seen: &[InView<'_>]) -> Views {
    let digest = zone_digest(seen.iter().map(|one| (one.view, one.digest)));
    let is_same = whole.digest == digest || whole.digest == !digest;
    let of = |one: &InView<'_>| {
        let digest = if is_same { one.digest } else { !one.digest };
        (one.view.into(), Serial { digest, ..whole })
    };
    seen.iter().map(of).collect()
}

/// The hash of one name's records, the same in every process. Order of records
/// does not count. Nodes' hashes are added up, so that a zone's digest follows
/// a change without reading the whole zone.
pub(crate) fn node_digest(owner: &Key, rrsets: &[RrSet]) -> u128 {
    let mut sum = 0u128;
    for set in rrsets {
        for data in set.data() {
            sum = sum.wrapping_add(record_digest(owner, set.ttl, &data));
        }
    }
    sum
}

/// An SOA counts without its serial.
fn record_digest(owner: &Key, ttl: u32, data: &RData) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(owner.octets());
    hasher.write_u16(data.record_type().into());
    hasher.write_u32(ttl);
    let mut octets = Vec::with_capacity(64);
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    let emitted = match data {
        RData::SOA(soa) => {
            let mut soa = soa.clone();
            soa.serial = 0;
            soa.emit(&mut encoder)
        }
        data => data.emit(&mut encoder),
    };
    // Encoding one record into 64 KiB fails only for RDATA that the reader
    // refused; such a record would count by its owner and type alone.
    drop(emitted);
    hasher.write(&octets);
    hasher.finish128().as_u128()
}

/// The hash of an SOA, which counts without its serial.
pub(crate) fn soa_digest(origin: &Key, ttl: u32, soa: &SOA) -> u128 {
    record_digest(origin, ttl, &RData::SOA(soa.clone()))
}

/// A zone's digest over the views it exists in.
fn zone_digest<'a>(parts: impl Iterator<Item = (&'a str, u128)>) -> u128 {
    parts.fold(0u128, |sum, (view, digest)| {
        let mut hasher = SipHasher13::new();
        hasher.write(view.as_bytes());
        hasher.write_u8(0);
        hasher.write_u128(digest);
        sum.wrapping_add(hasher.finish128().as_u128())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    fn origin() -> Key {
        Key::parse("example.com", None).unwrap()
    }

    /// The serials once the views see contents with these digests.
    fn next(serials: &mut Serials, seen: &[(&str, u128)], secs: u64) -> Vec<u32> {
        let in_view = |&(view, digest)| InView { view, digest, given: None };
        let seen: Vec<_> = seen.iter().map(in_view).collect();
        serials.advance(&origin(), &seen, at(secs), Replica::default())
    }

    /// Of each of three replicas, whatever the clock says and wherever numbers wrap.
    #[test]
    fn no_two_replicas_give_one_serial() {
        let replicas = [1, 2, 3].map(|number| Replica { number, of: 3 });
        for begin in [1_000u32, u32::MAX - 4, u32::MAX, 0, 0x7fff_fffe] {
            let mut given: Vec<(usize, u32)> = Vec::new();
            for (nth, replica) in replicas.into_iter().enumerate() {
                let (mut serials, mut last) = (Serials::default(), None);
                for digest in 0..10 {
                    let seen = InView { view: "vpc", digest, given: None };
                    let next = serials.advance(&origin(), &[seen], at(begin.into()), replica)[0];
                    assert!(last.is_none_or(|last| is_later(last, next)), "{last:?}, then {next}");
                    assert!(given.iter().all(|(of, one)| *of == nth || *one != next), "{given:?}");
                    given.push((nth, next));
                    last = Some(next);
                }
            }
        }
    }

    /// What was given under another number may be another replica's too.
    #[test]
    fn another_number_gives_the_same_content_another_serial() {
        let mut serials = Serials::default();
        let mut next = |replica| {
            let seen = InView { view: "vpc", digest: 7, given: None };
            serials.advance(&origin(), &[seen], at(1000), replica)[0]
        };
        assert_eq!(next(Replica::default()), 1000);
        assert_eq!(next(Replica { number: 2, of: 2 }), 1000, "it is one of those");
        let first = Replica { number: 1, of: 2 };
        assert_eq!(next(first), 1001);
        assert_eq!(next(first), 1001);
    }

    #[test]
    fn moves_on_change_only_and_never_back() {
        let mut serials = Serials::default();
        let mut next = |digest, secs| next(&mut serials, &[("vpc", digest)], secs);
        assert_eq!(next(1, 1000), [1000]);
        assert_eq!(next(1, 2000), [1000]);
        assert_eq!(next(2, 2000), [2000]);
        assert_eq!(next(3, 2000), [2001]);
        assert_eq!(next(4, 1500), [2002], "a clock set back");
    }

    #[test]
    fn each_view_has_its_own() {
        let mut serials = Serials::default();
        assert_eq!(next(&mut serials, &[("vpc", 1), ("outside", 5)], 1000), [1000, 1000]);
        assert_eq!(next(&mut serials, &[("vpc", 2), ("outside", 5)], 2000), [2000, 1000]);
        assert_eq!(next(&mut serials, &[("vpc", 2), ("outside", 6)], 1500), [2000, 1500]);
        // A new one begins where those are whose clients may come over to it.
        let with = [("vpc", 2), ("outside", 6), ("new", 2)];
        assert_eq!(next(&mut serials, &with, 1600), [2000, 1500, 2000]);
        // One that was gone goes on.
        assert_eq!(next(&mut serials, &[("vpc", 3)], 3000), [3000]);
        assert_eq!(next(&mut serials, &[("vpc", 3), ("outside", 6)], 4000), [3000, 1500]);
    }

    #[test]
    fn a_serial_of_the_file_is_taken_and_gone_on_from() {
        let mut serials = Serials::default();
        let of_file = InView { view: "vpc", digest: 1, given: Some(2_026_112_801) };
        let other = InView { view: "outside", digest: 2, given: None };
        let seen = serials.advance(&origin(), &[of_file, other], at(1000), Replica::default());
        assert_eq!(seen, [2_026_112_801; 2]);
        assert_eq!(next(&mut serials, &[("vpc", 3)], 1000), [2_026_112_802]);
    }

    #[test]
    fn a_restart_keeps_each() {
        let mut serials = Serials::default();
        next(&mut serials, &[("vpc", 1), ("outside", 5)], 1000);
        next(&mut serials, &[("vpc", 2), ("outside", 5)], 2000);
        let mut restored = Serials::restored(&serials.kept());
        assert_eq!(restored.kept(), serials.kept());
        assert_eq!(next(&mut restored, &[("vpc", 2), ("outside", 5)], 9000), [2000, 1000]);
    }

    #[test]
    fn what_was_given_but_not_written_is_passed() {
        let mut serials = Serials::default();
        next(&mut serials, &[("vpc", 1), ("outside", 5)], 1000);
        let mut on_disk = Serials::restored(&serials.kept());
        // Killed within the second in which the state is not written again.
        let given = (2..500).map(|digest| next(&mut serials, &[("vpc", digest)], 1000)[0]);
        let given = given.last().unwrap();
        let again = [("vpc", 1_000), ("outside", 5)];
        let [vpc, outside] = next(&mut on_disk, &again, 1000)[..] else { panic!() };
        assert!(is_later(given, vpc), "{given}, then {vpc}");
        assert_eq!(outside, 1000, "it has not changed");
        // Once.
        assert_eq!(next(&mut on_disk, &[("vpc", 1_001)], 1000), [vpc + 1]);
    }

    /// As versions before wrote it, and as they make of what is written now.
    fn one_for_all(serial: u32, seen: &[(&str, u128)]) -> SerialsKept {
        let digest = format!("{:032x}", zone_digest(seen.iter().copied()));
        let zones = [("example.com.".to_owned(), ZoneSerial { serial, digest })].into();
        SerialsKept { zones, views: BTreeMap::new() }
    }

    #[test]
    fn one_serial_for_a_zone_is_where_every_view_begins() {
        let seen = [("vpc", 1), ("outside", 5)];
        let mut same = Serials::restored(&one_for_all(1000, &seen));
        // Not compiled yet, and written again.
        assert_eq!(Serials::restored(&same.kept()), same);
        assert_eq!(next(&mut same, &seen, 9000), [1000, 1000], "nothing has changed");
        assert_eq!(next(&mut same, &[("vpc", 2), ("outside", 5)], 9000), [10_000, 1000]);
        let mut other = Serials::restored(&one_for_all(1000, &seen));
        let changed = [("vpc", 1), ("outside", 6)];
        assert_eq!(next(&mut other, &changed, 500), [2001, 2001], "nobody knows which");
        assert_eq!(next(&mut other, &changed, 900), [2001, 2001]);
    }

    #[test]
    fn no_view_goes_back_by_way_of_the_version_before() {
        let seen = [("vpc", 2), ("outside", 5)];
        let mut serials = Serials::default();
        next(&mut serials, &[("vpc", 1), ("outside", 5)], 1000);
        next(&mut serials, &seen, 2000);
        let mut kept = serials.kept();
        let highest = kept.zones["example.com."].clone();
        assert_eq!(highest.serial, 2000);
        // It finds another digest than its own and so gives every view a new
        // serial, which it writes; what is known of each view stays as it was.
        let of_before = one_for_all(2001, &seen);
        assert_ne!(highest.digest, of_before.zones["example.com."].digest);
        kept.zones = of_before.zones;
        let mut back = Serials::restored(&kept);
        assert_eq!(next(&mut back, &seen, 2000), [2001, 2001]);
        // Without what is known of each view, all begin at the highest.
        let mut lost = serials.kept();
        lost.views.clear();
        let mut lost = Serials::restored(&lost);
        assert_eq!(next(&mut lost, &seen, 2000), [2000, 2000]);
        // Killed between the two files: the views' are written first.
        let mut killed = serials.kept();
        killed.zones = one_for_all(1000, &seen).zones;
        let mut killed = Serials::restored(&killed);
        assert_eq!(next(&mut killed, &seen, 2500), [2000, 1000]);
    }

    #[test]
    fn wraps_as_rfc_1982_says() {
        assert_eq!(later(u32::MAX, 5), 5);
        assert_eq!(later(5, u32::MAX), 5);
        assert_eq!(later(0, 0x7fff_ffff), 0x7fff_ffff);
    }
}
