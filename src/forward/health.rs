//! How an upstream does: whether it answers, and how fast. Pure; the clock is
//! passed in.
//!
//! A question without a reply says little: the name may be slow, its servers
//! gone, while the upstream answers everybody else. So an upstream is down
//! only when nothing at all was heard of it for [`SILENCE`], although it was
//! asked several times. What was asked before it was last heard of does not
//! count. With the first such question an upstream is suspected; then it is
//! asked something that any living one answers ([`check_at`](Health::check_at)).
//! So one that lives stays up though clients ask for nothing but slow names,
//! and one that is dead is found out though they ask for nothing more.

use std::time::{Duration, Instant};

/// So many tries without a reply at least, checks among them: one lost packet
/// says nothing, three do.
const UNANSWERED: u32 = 3;

/// And so long a silence, from the beginning of the first of them: two tries'
/// time ([`TRY`](super::TRY)), as many packets may be lost within the second
/// that a restart or a change of routes takes.
const SILENCE: Duration = Duration::from_secs(2);

/// Between the beginnings of two checks, and from the beginning of the first
/// try without a reply to the first check: a try's time.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The first wait before an upstream that is down is asked again; doubles
/// each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest such wait: what one packet costs, and how late a recovery may
/// be noticed when nothing but stale answers is asked for.
const MAX_BACKOFF: Duration = Duration::from_secs(8);

/// What a try counts as, for the order of upstreams, that had no reply when
/// another upstream answered the same question.
const OUTDONE_COUNTS_AS: Duration = Duration::from_secs(1);

/// An upstream's health.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Smoothed; none until it answered or was outdone.
    round_trip: Option<Duration>,
    /// It has answered a question.
    has_answered: bool,
    heard: Option<Instant>,
    /// Tries since then that had no reply.
    unanswered: Option<Unanswered>,
    /// When the last check began.
    checked: Option<Instant>,
    down: Option<Down>,
}

#[derive(Debug)]
struct Unanswered {
    /// When the first of them began.
    since: Instant,
    tries: u32,
}

#[derive(Debug)]
struct Down {
    ask_again: Instant,
    backoff: Duration,
}

impl Health {
    /// A reply came, whatever it says. Was it down until now?
    pub(crate) fn heard(&mut self, now: Instant) -> bool {
        self.heard = Some(now);
        self.unanswered = None;
        self.down.take().is_some()
    }

    /// That reply was to a question, and took so long.
    pub(crate) fn took(&mut self, took: Duration) {
        self.has_answered = true;
        self.count(took);
    }

    fn count(&mut self, took: Duration) {
        // An eighth of the new, as TCP does (RFC 6298 section 2).
        self.round_trip = Some(self.round_trip.map_or(took, |old| (old * 7 + took) / 8));
    }

    /// A try that began at `began` had no reply in time. Is it down with that,
    /// and was up until now?
    pub(crate) fn unanswered(&mut self, began: Instant, now: Instant) -> bool {
        // Others were answered since: it is about the question.
        if self.heard.is_some_and(|heard| heard > began) {
            return false;
        }
        let unanswered = self.unanswered.get_or_insert(Unanswered { since: began, tries: 0 });
        unanswered.since = unanswered.since.min(began);
        unanswered.tries = unanswered.tries.saturating_add(1);
        let silent_for = now.saturating_duration_since(unanswered.since);
        if unanswered.tries < UNANSWERED || silent_for < SILENCE || self.down.is_some() {
            return false;
        }
        self.down = Some(Down { ask_again: now + FIRST_BACKOFF, backoff: FIRST_BACKOFF });
        true
    }

    /// Another upstream answered a question to which this one had no reply.
    pub(crate) fn outdone(&mut self) {
        self.count(OUTDONE_COUNTS_AS);
    }

    /// Another one was asked instead. Its figure fades, so that an upstream
    /// that was slow once is tried again now and then.
    pub(crate) fn passed_over(&mut self) {
        self.round_trip = self.round_trip.map(|took| took * 49 / 50);
    }

    /// Is it down?
    pub(crate) fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// Nothing was heard of it since a question went without a reply?
    pub(crate) fn is_suspect(&self) -> bool {
        self.unanswered.is_some()
    }

    /// When it is to be asked whether it lives: while it is suspected and not
    /// yet known to be down.
    pub(crate) fn check_at(&self) -> Option<Instant> {
        let unanswered = self.unanswered.as_ref().filter(|_| self.down.is_none())?;
        let first = unanswered.since + CHECK_EVERY;
        Some(self.checked.map_or(first, |checked| first.max(checked + CHECK_EVERY)))
    }

    /// A check begins.
    pub(crate) fn checking(&mut self, now: Instant) {
        self.checked = Some(now);
    }

    /// Is it down, and time to ask it again? Says so once per backoff.
    pub(crate) fn claim_probe(&mut self, now: Instant) -> bool {
        match &mut self.down {
            Some(down) if down.ask_again <= now => {
                down.ask_again = now + down.backoff;
                down.backoff = (down.backoff * 2).min(MAX_BACKOFF);
                true
            }
            _ => false,
        }
    }

    /// Smoothed time to an answer, to be told; none before the first.
    pub(crate) fn time_to_answer(&self) -> Option<Duration> {
        self.round_trip.filter(|_| self.has_answered)
    }

    /// The same, to choose by; zero before the first, so that each upstream is
    /// tried.
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRY: Duration = Duration::from_secs(1);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A try that began then and was given up a second later.
    fn lost(health: &mut Health, began: Instant) -> bool {
        health.unanswered(began, began + TRY)
    }

    fn down(start: Instant) -> Health {
        let mut health = Health::default();
        assert!(!lost(&mut health, start));
        assert!(!lost(&mut health, start + TRY));
        assert!(lost(&mut health, start + TRY), "said once");
        assert!(!lost(&mut health, start + TRY * 2));
        health
    }

    #[test]
    fn three_without_a_reply_and_two_seconds_of_silence() {
        let start = Instant::now();
        let mut health = down(start);
        assert!(health.is_down());
        assert!(health.heard(start + TRY * 3), "it was down");
        assert!(!health.heard(start + TRY * 3));
        assert!(!health.is_down() && !health.is_suspect());
        // Two are not enough, and many within a second neither.
        for began in [4, 6] {
            assert!(!lost(&mut health, start + TRY * began));
        }
        health.heard(start + TRY * 8);
        assert!((0..300).all(|_| !lost(&mut health, start + TRY * 9)));
        assert!(lost(&mut health, start + TRY * 10));
    }

    #[test]
    fn what_began_before_it_was_heard_of_does_not_count() {
        let start = Instant::now();
        let mut health = Health::default();
        for nth in 0..100 {
            let began = start + ms(100) * nth;
            health.heard(began + ms(50));
            assert!(!lost(&mut health, began));
            assert!(!health.is_suspect());
        }
    }

    #[test]
    fn is_checked_while_it_is_suspected() {
        let start = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.check_at(), None);
        lost(&mut health, start);
        assert_eq!(health.check_at(), Some(start + TRY));
        health.checking(start + TRY);
        assert_eq!(health.check_at(), Some(start + TRY * 2));
        lost(&mut health, start + TRY);
        assert!(lost(&mut health, start + TRY * 2));
        assert_eq!(health.check_at(), None, "known to be down");
        health.heard(start + TRY * 4);
        assert_eq!(health.check_at(), None, "known to live");
    }

    #[test]
    fn is_asked_again_ever_more_seldom() {
        let start = Instant::now();
        assert!(!Health::default().claim_probe(start));
        let mut health = down(start);
        let claims: Vec<u64> =
            (0..34).filter(|s| health.claim_probe(start + Duration::from_secs(*s))).collect();
        assert_eq!(claims, [3, 4, 6, 10, 18, 26]);
    }

    #[test]
    fn who_never_answered_has_no_time_to_tell() {
        let mut health = Health::default();
        health.outdone();
        assert_eq!(health.time_to_answer(), None);
        assert_eq!(health.round_trip(), OUTDONE_COUNTS_AS, "it is asked last");
        health.took(ms(8));
        assert_eq!(health.time_to_answer(), Some(health.round_trip()));
    }

    #[test]
    fn a_slow_past_fades() {
        let mut health = Health::default();
        assert_eq!(health.round_trip(), Duration::ZERO);
        health.took(ms(8));
        health.took(ms(16));
        assert_eq!(health.round_trip(), ms(9));
        health.outdone();
        assert!(health.round_trip() > ms(100));
        (0..400).for_each(|_| health.passed_over());
        assert!(health.round_trip() < ms(1));
    }

    proptest! {
        /// Whatever names are silent: who is heard of each second is never
        /// down, and who is not, while it is checked, is within three.
        #[test]
        fn the_living_are_up_and_the_dead_are_down(
            silent in prop::collection::vec(0u64..20_000, 1..400),
            dies in 0u64..20_000,
        ) {
            let start = Instant::now();
            let mut health = Health::default();
            let mut events: Vec<_> = silent.iter().map(|began| (began + 1_000, Some(*began))).collect();
            // Once in 900 ms something is answered, until it dies.
            events.extend((0..dies / 900).map(|nth| (nth * 900, None)));
            events.sort();
            let last_heard = dies.checked_div(900).unwrap_or(0).saturating_sub(1) * 900;
            let (mut check, mut first_unanswered) = (None, None);
            for at in 0..25_000 {
                let now = start + ms(at);
                while events.first().is_some_and(|(when, _)| *when == at) {
                    match events.remove(0).1 {
                        None => { health.heard(now); }
                        Some(began) => { health.unanswered(start + ms(began), now); }
                    }
                }
                if check.is_some_and(|began| at == began + 1_000) {
                    health.unanswered(now - TRY, now);
                    check = None;
                }
                if check.is_none() && health.check_at().is_some_and(|due| due <= now) {
                    health.checking(now);
                    match at <= last_heard + 900 && at < dies {
                        true => { health.heard(now); }
                        false => check = Some(at),
                    }
                }
                first_unanswered = health.is_suspect().then(|| first_unanswered.unwrap_or(at));
                prop_assert!(!health.is_down() || at >= last_heard + 2_000, "down at {at}");
                if first_unanswered.is_some_and(|first| at > first + 2_000) {
                    prop_assert!(health.is_down(), "not down at {at}");
                }
            }
        }
    }
}
