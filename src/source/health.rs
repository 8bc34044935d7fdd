//! How a source does: transitions, each logged once with its cause.

use std::time::{Duration, SystemTime};

use super::clock::elapsed;
use super::error::{Class, SourceError};
use crate::inventory::Health;

/// Follows one source from call to call.
#[derive(Debug)]
pub struct Tracker {
    source: String,
    health: Health,
    class: Option<Class>,
}

/// What a call changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Transition {
    /// The first good answer of this process.
    First,
    /// Good again after having been stalled this long.
    Recovered(Duration),
    /// The first failure after a good answer, or at the very start.
    Stalled,
    /// Failing still, for another kind of reason.
    OtherCause,
}

impl Tracker {
    /// For a source that has not been asked yet, and carries on one that did so.
    pub fn new(source: &str, health: Health) -> Self {
        Self { source: source.to_owned(), health, class: None }
    }

    /// How it does now.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// A good answer.
    pub fn good(&mut self, now: SystemTime) -> Option<Transition> {
        let before = std::mem::replace(&mut self.health, Health::Healthy);
        self.class = None;
        let source = self.source.as_str();
        match before {
            Health::Healthy => None,
            Health::Starting => {
                tracing::info!(source, "source delivers");
                Some(Transition::First)
            }
            Health::Stalled { since, .. } => {
                let after = elapsed(since, now);
                let shown = humantime::format_duration(Duration::from_secs(after.as_secs()));
                tracing::info!(source, after = %shown, "source delivers again");
                Some(Transition::Recovered(after))
            }
        }
    }

    /// A failure. The cause in [`Health::Stalled`] stays that of the first
    /// failure until one of another class comes, so that equal trouble is
    /// equal health, and publishes nothing.
    pub fn bad(&mut self, now: SystemTime, error: &SourceError) -> Option<Transition> {
        let class = error.class();
        let source = self.source.as_str();
        let (since, transition) = match &self.health {
            Health::Stalled { .. } if self.class == Some(class) => return None,
            Health::Stalled { since, .. } => (*since, Transition::OtherCause),
            Health::Starting | Health::Healthy => (now, Transition::Stalled),
        };
        match transition {
            Transition::OtherCause => {
                tracing::warn!(source, %class, %error, "source still stalled, for another reason");
            }
            _ => {
                tracing::warn!(source, %class, %error, "source stalled; its last good answer stands");
            }
        }
        self.health = Health::Stalled { since, why: error.to_string() };
        self.class = Some(class);
        Some(transition)
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::PollError;
    use super::*;

    #[test]
    fn each_transition_is_told_once() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let throttled =
            |code: &str| SourceError::from(PollError::Throttled { code: code.to_owned() });
        let server =
            SourceError::from(PollError::Server { status: 503, code: "Unavailable".into() });
        let mut tracker = Tracker::new("east", Health::Starting);
        assert_eq!(tracker.health(), &Health::Starting);
        assert_eq!(tracker.good(at(1)), Some(Transition::First));
        assert_eq!(tracker.good(at(2)), None);
        assert_eq!(tracker.bad(at(3), &throttled("A")), Some(Transition::Stalled));
        let stalled = tracker.health().clone();
        assert_eq!(tracker.bad(at(4), &throttled("B")), None);
        assert_eq!(tracker.health(), &stalled, "equal trouble is equal health");
        assert_eq!(tracker.bad(at(5), &server), Some(Transition::OtherCause));
        assert_eq!(
            tracker.health(),
            &Health::Stalled { since: at(3), why: server.to_string() },
            "stalled since the first failure"
        );
        assert_eq!(tracker.good(at(9)), Some(Transition::Recovered(Duration::from_secs(6))));
        assert_eq!(tracker.health(), &Health::Healthy);
        // Whoever carries on a stalled source is stalled since then.
        let mut successor = Tracker::new("east", stalled);
        assert_eq!(successor.bad(at(20), &server), Some(Transition::OtherCause));
        assert_eq!(successor.good(at(23)), Some(Transition::Recovered(Duration::from_secs(20))));
        let mut successor = Tracker::new("east", Health::Healthy);
        assert_eq!(successor.good(at(24)), None);
    }
}
