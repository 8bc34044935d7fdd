//! Does a peer answer the same? What differs for a moment is a move on its way; what lasts is
//! a problem. Pure: knows neither clock nor network.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::source::clock::elapsed;
use crate::status::board::peers::One;
pub(super) use crate::status::board::peers::{Difference, Spot};
use crate::status::report::peers::{Digests, SourceAge, ZoneDigest};

/// Differences that are followed, of one peer: enough to see what they have in common. The
/// rest are counted.
const MAX_FOLLOWED: usize = 1_000;

/// A difference lasts too long after so many polls of the slower source: by then both
/// replicas have seen the same of EC2.
const POLLS: u32 = 2;

/// And no sooner than after this: a call and a hint take a while, too.
const LEAST: Duration = Duration::from_secs(5);

/// The longest poll that counts: more is never.
const LONGEST_POLL: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of how a peer's answers differ.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    differing: BTreeMap<Spot, Difference>,
    same: usize,
    /// Differences that are not followed.
    more: usize,
}

/// What a comparison has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Differences that last too long from now on.
    pub lasting: Vec<Spot>,
    /// Those that did, and are none any longer.
    pub ended: Vec<Spot>,
    /// When the first of the others will have lasted too long.
    pub judge_at: Option<SystemTime>,
}

impl Agreement {
    /// Compares what both answer at `now`.
    pub(super) fn compare(&mut self, ours: &Digests, theirs: &Digests, now: SystemTime) -> News {
        let patience = patience(ours.sources.iter().chain(&theirs.sources));
        let before = std::mem::take(self);
        let mut news = News::default();
        for (spot, (ours, theirs)) in both(&ours.zones, &theirs.zones) {
            if digest(&ours) == digest(&theirs) {
                self.same += 1;
                continue;
            }
            if self.differing.len() >= MAX_FOLLOWED {
                self.more += 1;
                continue;
            }
            let next = Difference { ours, theirs, since: now, lasts: false };
            let mut next = after(next, before.differing.get(&spot));
            let ends = next.since + patience;
            if !next.lasts && elapsed(next.since, now) >= patience {
                next.lasts = true;
                news.lasting.push(spot.clone());
            }
            if !next.lasts {
                news.judge_at = Some(news.judge_at.map_or(ends, |at| at.min(ends)));
            }
            self.differing.insert(spot, next);
        }
        let lasted = before.differing.into_iter().filter(|(_, difference)| difference.lasts);
        let ended = lasted.filter(|(spot, _)| !self.differing.contains_key(spot));
        news.ended = ended.map(|(spot, _)| spot).collect();
        news
    }

    /// Zones and views that are answered the same.
    pub(super) fn same(&self) -> usize {
        self.same
    }

    /// What differs, and how many more there are.
    pub(super) fn differences(&self) -> (&BTreeMap<Spot, Difference>, usize) {
        (&self.differing, self.more)
    }
}

/// `next` goes on with what was seen before, unless both sides have changed since: then each
/// follows its own moves, and may just have been seen between two.
fn after(next: Difference, before: Option<&Difference>) -> Difference {
    let Some(before) = before else { return next };
    let differ = |one: &Option<One>, other: &Option<One>| digest(one) != digest(other);
    let have_both = differ(&next.ours, &before.ours) && differ(&next.theirs, &before.theirs);
    match have_both && !before.lasts {
        true => next,
        false => Difference { since: before.since, lasts: before.lasts, ..next },
    }
}

fn digest(one: &Option<One>) -> Option<&String> {
    one.as_ref().map(|(digest, _)| digest)
}

/// Each zone and view of either side.
fn both(ours: &[ZoneDigest], theirs: &[ZoneDigest]) -> BTreeMap<Spot, (Option<One>, Option<One>)> {
    let mut all = BTreeMap::<Spot, (Option<One>, Option<One>)>::new();
    let spot = |one: &ZoneDigest| (one.zone.clone(), one.view.clone());
    for one in ours {
        all.entry(spot(one)).or_default().0 = Some((one.digest.clone(), one.serial));
    }
    for one in theirs {
        all.entry(spot(one)).or_default().1 = Some((one.digest.clone(), one.serial));
    }
    all
}

/// How long a difference may last. What a peer says of its polls may be anything.
fn patience<'s>(sources: impl Iterator<Item = &'s SourceAge>) -> Duration {
    let polls = sources.filter_map(|source| source.poll);
    let polls = polls.filter_map(|poll| Duration::try_from_secs_f64(poll).ok());
    let slowest = polls.max().unwrap_or_default().min(LONGEST_POLL);
    (slowest * POLLS).max(LEAST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
    }

    /// Zones by name and digest, in one view; a source that is polled each `poll` seconds.
    fn digests(zones: &[(&str, &str)], poll: Option<f64>) -> Digests {
        let zone = |(zone, digest): &(&str, &str)| ZoneDigest {
            zone: (*zone).into(),
            view: "vpc".into(),
            digest: (*digest).into(),
            serial: 7,
        };
        Digests {
            version: "1".into(),
            kind: 1,
            generation: 1,
            zones: zones.iter().map(zone).collect(),
            sources: vec![SourceAge { name: "east".into(), age: Some(0.0), poll }],
        }
    }

    fn spot(zone: &str) -> Spot {
        (zone.into(), "vpc".into())
    }

    #[test]
    fn a_difference_that_lasts_is_told_once_and_its_end() {
        let (ours, theirs) = (
            digests(&[("a.", "1"), ("b.", "1")], None),
            digests(&[("a.", "2"), ("b.", "1")], None),
        );
        let mut agreement = Agreement::default();
        let news = agreement.compare(&ours, &theirs, at(100));
        assert_eq!(news, News { judge_at: Some(at(105)), ..News::default() });
        assert_eq!((agreement.same(), agreement.differences().0.len()), (1, 1));
        let news = agreement.compare(&ours, &theirs, at(104));
        assert_eq!((news.lasting, news.judge_at), (vec![], Some(at(105))));
        let news = agreement.compare(&ours, &theirs, at(105));
        assert_eq!((news.lasting, news.judge_at), (vec![spot("a.")], None));
        assert_eq!(agreement.compare(&ours, &theirs, at(200)), News::default());
        let since = agreement.differences().0[&spot("a.")].since;
        assert_eq!(since, at(100));
        let news = agreement.compare(&ours, &ours, at(201));
        assert_eq!(news, News { ended: vec![spot("a.")], ..News::default() });
        assert_eq!(agreement.same(), 2);
    }

    #[test]
    fn two_polls_of_the_slower_source_are_waited_for() {
        for (ours, theirs, patience) in [
            (Some(1.0), Some(1.0), 5),
            (Some(1.0), Some(30.0), 60),
            (Some(30.0), None, 60),
            // A peer may say anything.
            (Some(1.0), Some(f64::NAN), 5),
            (Some(1.0), Some(-3.0), 5),
            (Some(1.0), Some(1e300), 5),
            (Some(1.0), Some(1e12), 2 * 24 * 60 * 60),
        ] {
            let (ours, theirs) = (digests(&[("a.", "1")], ours), digests(&[], theirs));
            let mut agreement = Agreement::default();
            let news = agreement.compare(&ours, &theirs, at(0));
            assert_eq!(news.judge_at, Some(at(patience)), "{theirs:?}");
        }
    }

    /// Moves that come one after the other are seen by one replica before the other.
    #[test]
    fn what_moves_on_both_sides_begins_anew() {
        let mut agreement = Agreement::default();
        for second in 0..30 {
            let (one, other) = (second.to_string(), (second + 1).to_string());
            let (ours, theirs) = (digests(&[("a.", &one)], None), digests(&[("a.", &other)], None));
            let news = agreement.compare(&ours, &theirs, at(second));
            assert_eq!(news.lasting, [], "{second}");
        }
        // One that stands still while the other moves on is stuck.
        let stuck = digests(&[("a.", "stuck")], None);
        let lasting: usize = (30..40)
            .map(|second: u64| {
                let ours = digests(&[("a.", &second.to_string())], None);
                agreement.compare(&ours, &stuck, at(second)).lasting.len()
            })
            .sum();
        assert_eq!(lasting, 1);
    }

    #[test]
    fn what_only_one_side_has_is_a_difference_too() {
        let mut agreement = Agreement::default();
        agreement.compare(&digests(&[("a.", "1")], None), &digests(&[("b.", "1")], None), at(0));
        let (all, more) = agreement.differences();
        let sides =
            |zone: &str| (all[&spot(zone)].ours.is_some(), all[&spot(zone)].theirs.is_some());
        assert_eq!((sides("a."), sides("b."), more), ((true, false), (false, true), 0));
    }

    #[test]
    fn as_many_as_are_said_are_not_kept() {
        let mut theirs = digests(&[], None);
        let one = digests(&[("a.", "1")], None).zones.remove(0);
        theirs.zones =
            (0..5_000).map(|n| ZoneDigest { zone: format!("{n}."), ..one.clone() }).collect();
        let mut agreement = Agreement::default();
        agreement.compare(&digests(&[], None), &theirs, at(0));
        let (all, more) = agreement.differences();
        assert_eq!((all.len(), more), (MAX_FOLLOWED, 4_000));
    }

    proptest! {
        /// Whatever is compared when: told once, ended only after that, and never sooner than
        /// it may.
        #[test]
        fn problems_begin_and_end_in_turn(
            rounds in proptest::collection::vec((0..9u64, 0..3u8, 0..3u8), 1..60),
        ) {
            let (mut agreement, mut now, mut lasting, mut differs_since) = (Agreement::default(), 0, false, None);
            for (later, ours, theirs) in rounds {
                now += later;
                let (one, other) = (ours.to_string(), theirs.to_string());
                let news = agreement.compare(&digests(&[("a.", &one)], None), &digests(&[("a.", &other)], None), at(now));
                match ours == theirs {
                    true => differs_since = None,
                    false => differs_since = differs_since.or(Some(now)),
                }
                if !news.lasting.is_empty() {
                    prop_assert!(!lasting && differs_since.is_some_and(|since| now - since >= 5));
                    lasting = true;
                }
                if !news.ended.is_empty() {
                    prop_assert!(lasting && ours == theirs);
                    lasting = false;
                }
                prop_assert_eq!(lasting, agreement.differences().0.values().any(|one| one.lasts));
                prop_assert!(news.judge_at.is_none_or(|then| then > at(now)));
            }
        }
    }
}
