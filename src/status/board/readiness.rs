//! Whether to send clients here: what `/readyz` says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::Facts;
use crate::source::clock::elapsed;
use crate::source::inventory::{Health, SourceInventory};

/// Once ready, always ready: an EC2 outage must not drain all replicas. A clone
/// is the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Ready once every source has delivered, has state, or has failed longer
    /// than `serve.ready_grace`. The grace is for a source beside others: while
    /// nothing at all is known, all names that need one are SERVFAIL, and a
    /// rollout must not go on into that.
    ///
    /// # Errors
    /// What is waited for.
    pub(crate) fn judge(&self, known: &Facts, now: SystemTime) -> Result<(), String> {
        if !self.0.load(Ordering::Relaxed) {
            let grace = known.config.server.serve.ready_grace;
            judge(&known.inventory.sources, grace, now)?;
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn judge(sources: &[SourceInventory], grace: Duration, now: SystemTime) -> Result<(), String> {
    let names = |all: Vec<&SourceInventory>| -> String {
        all.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let missing = sources.iter().filter(|source| source.entries.is_none());
    let waits: Vec<_> = missing
        .clone()
        .filter(|source| match &source.health {
            Health::Stalled { since, .. } => elapsed(*since, now) < grace,
            Health::Starting | Health::Healthy => true,
        })
        .collect();
    if !waits.is_empty() {
        return Err(format!("waiting for {}", names(waits)));
    }
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() && missing.len() == sources.len() {
        return Err(format!(
            "waiting for {}: no source has delivered and none has state, so that nothing can be \
             answered that follows an Elastic IP; see `eipdns status`",
            names(missing)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::error::Class;

    const GRACE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + seconds)
    }

    fn source(name: &str, delivered: bool, failing_since: Option<u64>) -> SourceInventory {
        let health = match failing_since {
            Some(since) => {
                Health::Stalled { since: at(since), class: Class::Other, why: "refused".into() }
            }
            None if delivered => Health::Healthy,
            None => Health::Starting,
        };
        SourceInventory {
            name: name.into(),
            region: None,
            entries: delivered.then(Default::default),
            interfaces: Default::default(),
            health,
            delivered_at: delivered.then_some(at(0)),
        }
    }

    #[test]
    fn a_grace_is_for_one_source_beside_others() {
        let (east, west) = (source("east", true, None), source("west", false, Some(0)));
        let both = [east, west];
        assert_eq!(judge(&both, GRACE, at(29)), Err("waiting for west".into()));
        assert_eq!(judge(&both, GRACE, at(30)), Ok(()));
        // State counts, however old it is and whether or not its source fails.
        let state = [source("east", true, Some(0)), source("west", false, Some(0))];
        assert_eq!(judge(&state, GRACE, at(30)), Ok(()));
        let starting = [source("east", true, None), source("west", false, None)];
        assert_eq!(judge(&starting, GRACE, at(9999)), Err("waiting for west".into()));
    }

    #[test]
    fn without_anything_known_no_time_is_long_enough() {
        let nothing = [source("east", false, Some(0)), source("west", false, Some(0))];
        assert_eq!(judge(&nothing, GRACE, at(1)), Err("waiting for east, west".into()));
        let why = judge(&nothing, GRACE, at(999_999)).unwrap_err();
        assert!(why.starts_with("waiting for east, west: no source has delivered"), "{why}");
        let one = [source("east", false, Some(0))];
        assert!(judge(&one, Duration::ZERO, at(999_999)).is_err());
        // Who has no source waits for none.
        assert_eq!(judge(&[], GRACE, at(0)), Ok(()));
    }
}
