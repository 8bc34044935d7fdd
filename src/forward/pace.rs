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
    /// Tokens in a full bucket, at least one.
    burst: u32,
    /// Time one token takes to refill.
    interval: Duration,
    full_at: Option<Instant>,
}

impl Pace {
    /// At most `limit` packets in any second.
    pub(crate) fn new(limit: NonZeroU32) -> Self {
        let burst = (limit.get() / BURST).max(1);
        let refill = (limit.get() - burst).max(1);
        Self { burst, interval: Duration::from_secs(1) / refill, full_at: None }
    }

    /// How long so many packets would have to wait if nobody else took tokens.
    pub(crate) fn wait(&self, packets: u32, now: Instant) -> Duration {
        let spared = self.interval * self.burst.saturating_sub(packets);
        self.full_at.map_or(Duration::ZERO, |full| full.saturating_duration_since(now + spared))
    }

    /// Takes tokens for packets that leave now, all or none.
    ///
    /// Packets that belong together, and are more than the bucket holds, leave
    /// when it is full and put it in debt.
    ///
    /// # Errors
    /// How long they have to wait.
    pub(crate) fn take(&mut self, packets: u32, now: Instant) -> Result<(), Duration> {
        let wait = self.wait(packets, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(from + self.interval * packets);
        Ok(())
    }

    /// Time one token takes to refill.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Tokens that come within `time`, at least one.
    pub(crate) fn within(&self, time: Duration) -> u32 {
        let tokens = time.as_nanos() / self.interval.as_nanos().max(1);
        u32::try_from(tokens).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn pace(limit: u32) -> Pace {
        Pace::new(NonZeroU32::new(limit).unwrap())
    }

    #[test]
    fn one_at_once_then_one_at_a_time() {
        let start = Instant::now();
        let mut pace = pace(16); // one at once, then one each fifteenth of a second
        assert_eq!(pace.take(1, start), Ok(()));
        let wait = pace.take(1, start).unwrap_err();
        assert_eq!(wait.as_millis(), 66);
        assert_eq!(pace.take(1, start), Err(wait), "nothing was taken");
        assert_eq!(pace.take(1, start + wait), Ok(()));
        assert_eq!(pace.within(Duration::from_secs(1)), 15);
    }

    #[test]
    fn what_belongs_together_leaves_together() {
        let start = Instant::now();
        let mut large = pace(160); // ten at once
        assert_eq!(large.take(6, start), Ok(()));
        let wait = large.take(6, start).unwrap_err();
        assert_eq!(wait, large.interval() * 2, "four are there");
        assert_eq!(large.take(4, start), Ok(()));
        let mut small = pace(16);
        assert_eq!(small.take(6, start), Ok(()));
        assert_eq!(small.take(1, start), Err(small.interval() * 6), "in debt");
    }

    #[test]
    fn uses_most_of_what_is_allowed() {
        let start = Instant::now();
        let mut pace = pace(800);
        let sent = (0..100_000)
            .filter(|i| pace.take(1, start + Duration::from_micros(i * 100)).is_ok())
            .count();
        assert!((7_400..=8_000).contains(&sent), "{sent} in 10 s");
    }

    proptest! {
        /// Nor does it with packets that leave together, as long as the bucket
        /// holds so many.
        #[test]
        fn no_second_sees_more_than_the_limit(
            limit in 1u32..2_000,
            steps in prop::collection::vec((0u64..3_000, prop::sample::select(vec![1u32, 1, 6])), 1..3_000),
        ) {
            let mut now = Instant::now();
            let mut pace = pace(limit);
            let mut sent = VecDeque::new();
            for (gap, packets) in steps {
                now += Duration::from_micros(gap);
                let packets = if packets <= pace.burst { packets } else { 1 };
                if pace.take(packets, now).is_ok() {
                    sent.extend((0..packets).map(|_| now));
                    while now - sent[0] >= Duration::from_secs(1) {
                        sent.pop_front();
                    }
                    prop_assert!(sent.len() <= limit as usize);
                }
            }
        }
    }
}
