//! When a peer is told or asked next. What decides that knows neither clock nor network.

use std::time::Duration;

use tokio::time::Instant;

/// At most one request in so long. What is wanted meanwhile is one request afterwards.
#[derive(Debug)]
pub(super) struct Pace {
    spacing: Duration,
    /// Without being wanted, too.
    every: Option<Duration>,
    wanted: bool,
    started: Option<Instant>,
}

impl Pace {
    /// Requests are made when they are wanted.
    pub(super) fn new(spacing: Duration) -> Self {
        Self { spacing, every: None, wanted: false, started: None }
    }

    /// One is also made when none is wanted: so long after the last at the latest.
    pub(super) fn also_every(&mut self, every: Duration) {
        self.every = Some(every);
    }

    /// A request is wanted that begins after this moment.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When the next request is due, `now` if that has passed; none: not until it is wanted.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let after = |pause| self.started.map_or(now, |started| started + pause);
        let wanted = self.wanted.then(|| after(self.spacing));
        let by_itself = self.every.map(after);
        wanted.into_iter().chain(by_itself).min().map(|at| at.max(now))
    }

    /// One begins, for all that was wanted until now.
    pub(super) fn started(&mut self, now: Instant) {
        self.wanted = false;
        self.started = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPACING: Duration = Duration::from_millis(200);

    #[test]
    fn the_first_is_at_once_and_none_comes_unasked() {
        let now = Instant::now();
        let mut pace = Pace::new(SPACING);
        assert_eq!(pace.due(now), None);
        pace.want();
        assert_eq!(pace.due(now), Some(now));
        pace.started(now);
        assert_eq!(pace.due(now), None);
        pace.want();
        assert_eq!(pace.due(now), Some(now + SPACING));
        assert_eq!(pace.due(now + SPACING * 9), Some(now + SPACING * 9));
    }

    #[test]
    fn one_is_made_unasked_now_and_then() {
        let now = Instant::now();
        let mut pace = Pace::new(SPACING);
        pace.also_every(SPACING * 50);
        assert_eq!(pace.due(now), Some(now), "at the start");
        pace.started(now);
        assert_eq!(pace.due(now), Some(now + SPACING * 50));
        pace.want();
        assert_eq!(pace.due(now), Some(now + SPACING));
        pace.started(now + SPACING);
        pace.also_every(SPACING * 5);
        assert_eq!(pace.due(now), Some(now + SPACING * 6));
    }

    proptest! {
        /// However often it is wanted and however long requests take: they are spaced, none
        /// is lost, the last one least of all, and there are no more than were wanted.
        #[test]
        fn requests_are_spaced_and_the_last_is_not_lost(
            wants in proptest::collection::vec(0..900u64, 1..60),
            takes in proptest::collection::vec(0..2_000u64, 60),
        ) {
            let begin = Instant::now();
            let mut pace = Pace::new(SPACING);
            let mut at = begin;
            let wants: Vec<Instant> = wants
                .into_iter()
                .map(|later| {
                    at += Duration::from_millis(later);
                    at
                })
                .collect();
            let (mut starts, mut free) = (Vec::new(), begin);
            let mut coming = wants.iter().copied().peekable();
            let mut takes = takes.into_iter();
            loop {
                // What is wanted while a request is under way is heard after it.
                while coming.next_if(|at| *at <= free).is_some() {
                    pace.want();
                }
                let Some(due) = pace.due(free) else {
                    let Some(next) = coming.peek() else { break };
                    free = *next;
                    continue;
                };
                if let Some(next) = coming.next_if(|at| *at < due) {
                    free = next;
                    pace.want();
                    continue;
                }
                pace.started(due);
                starts.push(due);
                free = due + Duration::from_millis(takes.next().unwrap_or_default());
            }
            prop_assert!(starts.len() <= wants.len());
            prop_assert!(starts.windows(2).all(|two| two[1] - two[0] >= SPACING));
            for wanted in &wants {
                prop_assert!(starts.iter().any(|start| start >= wanted), "one was lost");
            }
        }
    }
}
