//! A limit on packets per second, as a token bucket. Pure; the clock is passed in.
//!
//! The bucket holds a sixteenth of the limit and is refilled with the rest, so
//! that no second, wherever it begins, sees more packets than the limit: EC2
//! drops what goes beyond its own, without a word.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The bucket holds this part of the limit.
const BURST: u32 = 16;

/// A token bucket, kept as the instant at which it will be full again (the
/// "generic cell rate algorithm").
#[derive(Debug)]
pub(crate) struct Pace {
    /// Time one packet takes to refill.
    interval: Duration,
    /// Packets that may leave at once, as time; less the one that is leaving.
    tolerance: Duration,
    full_at: Option<Instant>,
}

/// The bucket stays empty for longer than the caller can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

impl Pace {
    /// At most `limit` packets in any second.
    pub(crate) fn new(limit: NonZeroU32) -> Self {
        let burst = (limit.get() / BURST).max(1);
        let refill = (limit.get() - burst).max(1);
        let interval = Duration::from_secs(1) / refill;
        Self { interval, tolerance: interval * (burst - 1), full_at: None }
    }

    /// How long a packet would have to wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let full_at = self.full_at.unwrap_or(now);
        full_at.saturating_duration_since(now + self.tolerance)
    }

    /// Takes `packets` tokens and says how long to wait before they may leave.
    /// Nothing is taken when that is longer than `patience`. Whoever takes
    /// more than there are waits as for one and leaves the bucket in debt.
    pub(crate) fn take(
        &mut self,
        packets: u32,
        now: Instant,
        patience: Duration,
    ) -> Result<Duration, Busy> {
        let wait = self.wait(now);
        if wait > patience {
            return Err(Busy);
        }
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(from + self.interval * packets);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(limit: u32) -> Pace {
        Pace::new(NonZeroU32::new(limit).unwrap())
    }

    #[test]
    fn waits_and_gives_up() {
        let start = Instant::now();
        let mut pace = pace(16); // one at once, then one each fifteenth of a second
        assert_eq!(pace.take(1, start, Duration::ZERO), Ok(Duration::ZERO));
        assert_eq!(pace.take(1, start, Duration::ZERO), Err(Busy));
        let wait = pace.take(1, start, Duration::from_secs(1)).unwrap();
        assert_eq!(wait.as_millis(), 66);
        assert_eq!(pace.take(1, start, Duration::from_millis(100)), Err(Busy));
        assert_eq!(pace.take(1, start + wait * 2, Duration::ZERO), Ok(Duration::ZERO));
    }

    #[test]
    fn uses_most_of_what_is_allowed() {
        let start = Instant::now();
        let mut pace = pace(800);
        let sent = (0..100_000)
            .filter(|i| {
                pace.take(1, start + Duration::from_micros(i * 100), Duration::ZERO).is_ok()
            })
            .count();
        assert!((7_400..=8_000).contains(&sent), "{sent} in 10 s");
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_limit(
            limit in 1u32..2_000,
            gaps in prop::collection::vec(0u64..3_000, 1..3_000),
        ) {
            let mut now = Instant::now();
            let mut pace = pace(limit);
            let mut sent = std::collections::VecDeque::new();
            for gap in gaps {
                now += Duration::from_micros(gap);
                if let Ok(wait) = pace.take(1, now, Duration::from_millis(gap)) {
                    sent.push_back(now + wait);
                    while now + wait - sent[0] >= Duration::from_secs(1) {
                        sent.pop_front();
                    }
                    prop_assert!(sent.len() <= limit as usize);
                }
            }
        }
    }
}
