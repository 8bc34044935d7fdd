//! Finds out whether an upstream answers, by checks while it is suspected, and logs
//! each change.

use std::time::{Duration, Instant};

use tokio::time;

use super::fetch::TRY;
use super::line::Askers;
use super::network::{Network, NetworkError, Via};
use super::turns::Stage;
use super::upstream::{Failure, Upstream, now};
use crate::host::often::{Often, QUIET};

/// What the log said last: one line a minute for each of the two, and what it
/// said last becomes true within a minute.
#[derive(Debug, Default)]
pub(super) struct Said {
    down: bool,
    /// Why it is down, or was.
    why: String,
    /// When to say it, if it is still so.
    again_at: Option<Instant>,
    of_down: Often,
    of_up: Often,
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    down: bool,
    why: String,
    left_out: u64,
}

/// What an upstream's watch does next.
enum Duty {
    Check,
    Say,
}

impl Said {
    /// What to say at `now`, if anything.
    fn line(&mut self, down: bool, now: Instant) -> Option<LogLine> {
        self.again_at = None;
        if down == self.down {
            return None;
        }
        let often = if down { &self.of_down } else { &self.of_up };
        let Some(left_out) = often.may(now) else {
            self.again_at = Some(now + QUIET);
            return None;
        };
        self.down = down;
        Some(LogLine { down, why: self.why.clone(), left_out })
    }
}

impl Upstream {
    /// A try that began at `began` went without a reply for too long. The reply
    /// still counts, should it come.
    pub(crate) fn lost(&self, began: Instant, now: Instant) {
        self.counters.timeouts.add(1);
        self.unanswered(began, now, &Failure::Silent);
    }

    pub(super) fn unanswered(&self, began: Instant, now: Instant, why: &Failure) {
        let mut state = self.state();
        let fell = state.health.unanswered(began, now);
        if fell {
            state.said.why = why.to_string();
        }
        let suspect = state.health.is_suspect();
        drop(state);
        if fell {
            self.say(now);
        } else if suspect {
            self.to_do.notify_one();
        }
    }

    /// A reply came; to a question, it took so long. Was it down until now?
    pub(super) fn heard(&self, now: Instant, took: Option<Duration>) -> bool {
        let mut state = self.state();
        if let Some(took) = took {
            state.health.took(took);
        }
        let recovered = state.health.heard(now);
        drop(state);
        if recovered {
            self.say(now);
        }
        recovered
    }

    /// Logs whether it is down, when the last line said otherwise. If it is too
    /// early for that, the watch does it later.
    fn say(&self, now: Instant) {
        let mut state = self.state();
        let down = state.health.is_down();
        let line = state.said.line(down, now);
        let later = state.said.again_at.is_some();
        drop(state);
        if later {
            self.to_do.notify_one();
        }
        match line {
            Some(LogLine { down: true, why, left_out }) => tracing::warn!(
                upstream = %self, left_out,
                "upstream is down: nothing is heard of it ({why}); others are asked first, \
                 stale answers go out at once"
            ),
            Some(LogLine { down: false, left_out, .. }) => {
                tracing::info!(upstream = %self, left_out, "upstream answers again");
            }
            None => {}
        }
    }

    /// Checks it while it is suspected, and says later what it was too early
    /// to say; for as long as it is polled. Calls `recovered` when a check
    /// finds out that it lives after all.
    pub(crate) async fn watch(&self, network: &dyn Network, recovered: impl Fn()) {
        loop {
            let Some((at, duty)) = self.next_duty() else {
                self.to_do.notified().await;
                continue;
            };
            tokio::select! {
                () = time::sleep_until(at.into()) => match duty {
                    Duty::Say => self.say(now()),
                    Duty::Check => {
                        if self.check(network).await {
                            recovered();
                        }
                    }
                },
                () = self.to_do.notified() => {}
            }
        }
    }

    fn next_duty(&self) -> Option<(Instant, Duty)> {
        let state = self.state();
        let check = state.health.check_at().map(|at| (at, Duty::Check));
        let say = state.said.again_at.map(|at| (at, Duty::Say));
        [check, say].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Asks for what any living upstream answers, however slow the names are
    /// that clients ask for: the SOA of the name it is configured for. Any
    /// reply will do. Was it down until now?
    async fn check(&self, network: &dyn Network) -> bool {
        self.state().health.checking(now());
        if self.turn(&Askers::ourselves(), 1, Stage::First).await.is_err() {
            return false;
        }
        // Without EDNS: there is nothing in it that it could not understand.
        let Ok(query) = self.check.borrow().outgoing(false) else { return false };
        let began = now();
        self.counters.checks.add(1);
        let exchange = network.exchange(self.address, Via::Udp, &query, &self.counters.strays);
        match time::timeout(TRY, exchange).await {
            Ok(Ok(_) | Err(NetworkError::Flooded)) => return self.heard(now(), None),
            Ok(Err(error @ NetworkError::Unreachable(_))) => {
                self.unanswered(began, now(), &error.into());
            }
            // No fault of the upstream.
            Ok(Err(_)) => {}
            Err(_) => self.unanswered(began, now(), &Failure::Silent),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_true_within_a_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut said = Said { why: "no reply".into(), ..Said::default() };
        let line = |down, left_out| Some(LogLine { down, why: "no reply".into(), left_out });
        assert_eq!(said.line(false, at(0)), None, "nothing new");
        assert_eq!(said.line(true, at(0)), line(true, 0));
        assert_eq!(said.line(false, at(5)), line(false, 0));
        for second in (10..50).step_by(10) {
            assert_eq!(said.line(true, at(second)), None);
            assert_eq!(said.again_at, Some(at(second) + QUIET));
            assert_eq!(said.line(false, at(second + 5)), None);
            assert_eq!(said.again_at, None, "as it was said last");
        }
        assert_eq!(said.line(true, at(50)), None);
        assert_eq!(said.again_at, Some(at(110)));
        assert_eq!(said.line(true, at(110)), line(true, 5));
        assert_eq!(said.again_at, None);
    }
}
