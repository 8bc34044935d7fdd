//! How an upstream does: whether it answers, and how fast. Pure; the clock is passed in.

use std::time::{Duration, Instant};

/// So many tries without a reply, one after the other, and an upstream counts
/// as down: one lost packet says nothing, three in a row do.
const LOST_IN_A_ROW: u32 = 3;

/// The first wait before an upstream that is down is asked again; doubles
/// each time.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest such wait: what one packet costs, and how late a recovery may
/// be noticed when nothing but stale answers is asked for.
const MAX_BACKOFF: Duration = Duration::from_secs(8);

/// What a try without a reply counts as, for the order of upstreams.
const LOST_COUNTS_AS: Duration = Duration::from_secs(1);

/// An upstream's health.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Smoothed; none until it answered or failed to.
    round_trip: Option<Duration>,
    lost: u32,
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    ask_again: Instant,
    backoff: Duration,
}

impl Health {
    /// It answered after `took`.
    pub(crate) fn answered(&mut self, took: Duration) {
        self.smooth(took);
        self.lost = 0;
        self.down = None;
    }

    /// A try went without a reply.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.smooth(LOST_COUNTS_AS);
        self.lost = self.lost.saturating_add(1);
        if self.lost >= LOST_IN_A_ROW && self.down.is_none() {
            self.down = Some(Down { ask_again: now + FIRST_BACKOFF, backoff: FIRST_BACKOFF });
        }
    }

    /// Another upstream was asked instead. Its figure fades, so that an
    /// upstream that was slow once is tried again now and then.
    pub(crate) fn passed_over(&mut self) {
        self.round_trip = self.round_trip.map(|took| took * 49 / 50);
    }

    /// Is it down?
    pub(crate) fn is_down(&self) -> bool {
        self.down.is_some()
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

    /// Smoothed time to an answer; zero before the first, so that each
    /// upstream is tried.
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip.unwrap_or_default()
    }

    fn smooth(&mut self, took: Duration) {
        // An eighth of the new, as TCP does (RFC 6298 section 2).
        self.round_trip = Some(self.round_trip.map_or(took, |old| (old * 7 + took) / 8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_losses_in_a_row_and_one_answer() {
        let start = Instant::now();
        let mut health = Health::default();
        health.lost(start);
        health.lost(start);
        health.answered(Duration::from_millis(5));
        health.lost(start);
        health.lost(start);
        assert!(!health.is_down());
        health.lost(start);
        assert!(health.is_down());
        health.answered(Duration::from_millis(5));
        assert!(!health.is_down());
    }

    #[test]
    fn is_asked_again_ever_more_seldom() {
        let start = Instant::now();
        let mut health = Health::default();
        assert!(!health.claim_probe(start));
        (0..3).for_each(|_| health.lost(start));
        let claims: Vec<u64> =
            (0..32).filter(|s| health.claim_probe(start + Duration::from_secs(*s))).collect();
        assert_eq!(claims, [1, 2, 4, 8, 16, 24]);
    }

    #[test]
    fn a_slow_past_fades() {
        let mut health = Health::default();
        assert_eq!(health.round_trip(), Duration::ZERO);
        health.answered(Duration::from_millis(8));
        health.answered(Duration::from_millis(16));
        assert_eq!(health.round_trip(), Duration::from_millis(9));
        (0..200).for_each(|_| health.passed_over());
        assert!(health.round_trip() < Duration::from_millis(1));
    }
}
