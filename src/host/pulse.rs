//! Whether a loop still runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a loop that has nothing to do says that it turns.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// A loop that has not turned for so long hangs. The longest single thing it
/// does, building the answers for 100,000 names, takes a fraction of a second.
pub(crate) const HANGS: Duration = Duration::from_secs(10);

/// The last turn of a loop. Clones tell of the same one.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    began: Instant,
    /// In milliseconds since then.
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// Of a loop that begins now.
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }

    /// It has turned.
    pub(crate) fn beat(&self) {
        let at = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Orders nothing: a moment more or less does not matter.
        self.last.store(at, Ordering::Relaxed);
    }

    /// As if it had begun so much earlier, and not turned since.
    #[cfg(test)]
    pub(crate) fn age(&mut self, by: Duration) {
        self.began = self.began.checked_sub(by).unwrap_or(self.began);
    }

    /// How long ago it turned last, to the millisecond.
    pub(crate) fn since(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_how_long_ago() {
        let mut pulse = Pulse::start();
        assert!(pulse.since() < HANGS);
        pulse.age(HANGS * 2);
        let other = pulse.clone();
        assert!(other.since() >= HANGS * 2);
        pulse.beat();
        assert!(other.since() < HANGS);
    }
}
