//! The second task's end of its [`Handle`], and what it tells the writer and the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::plan::Pause;
use super::stats::{Missing, Stats};
use super::usable::{self, LeftOut};
use super::{Interface, Told, Wanted};
use crate::host::often::Often;
use crate::source::Ended;
use crate::source::clock::Clock;
use crate::source::error::{Class, SourceError};

/// What the task is started with.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The token of the source.
    pub(crate) source: usize,
    /// For the log.
    pub(crate) name: String,
    /// What the one has counted that it carries on.
    pub(crate) stats: Arc<Stats>,
    /// The pause that it keeps to.
    pub(crate) throttled: Option<Pause>,
    /// The time.
    pub(crate) clock: Clock,
    /// Where it tells.
    pub(crate) told: mpsc::Sender<Told>,
}

impl Setup {
    /// For a source that carries on no other.
    pub(crate) fn new(source: usize, name: &str, clock: Clock, told: mpsc::Sender<Told>) -> Self {
        let (stats, throttled) = Default::default();
        Self { source, name: name.to_owned(), stats, throttled, clock, told }
    }
}

/// The writer's and the status pages' end of the task. Dropping the last one ends it.
#[derive(Debug, Clone)]
pub struct Handle {
    wanted: watch::Sender<Wanted>,
    stats: Arc<Stats>,
    throttled: Arc<Mutex<Option<Pause>>>,
}

impl Handle {
    /// From now on these interfaces are wanted, and no others. Those that were not before are
    /// asked for at once.
    pub fn want(&self, wanted: &Wanted) {
        self.wanted.send_if_modified(|before| {
            let is_new = !Arc::ptr_eq(before, wanted) && before != wanted;
            *before = Arc::clone(wanted);
            is_new
        });
    }

    /// The interfaces that are wanted.
    pub fn wanted(&self) -> Wanted {
        Arc::clone(&self.wanted.borrow())
    }

    /// What was asked so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The counters themselves, for the source that carries this one on.
    pub(crate) fn shared_stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// The pause while EC2 throttles, for the source that carries this one on.
    pub(crate) fn throttled(&self) -> Option<Pause> {
        *self.throttled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task's end.
#[derive(Debug)]
pub(super) struct Post {
    source: usize,
    name: String,
    clock: Clock,
    stats: Arc<Stats>,
    throttled: Arc<Mutex<Option<Pause>>>,
    wanted: watch::Receiver<Wanted>,
    told: mpsc::Sender<Told>,
    unusable: usable::Teller,
    missing: MissingTeller,
    trouble: Teller,
}

impl Post {
    pub(super) fn new(setup: Setup) -> (Self, Handle) {
        let Setup { source, name, stats, throttled, clock, told } = setup;
        let (sender, wanted) = watch::channel(Wanted::default());
        let throttled = Arc::new(Mutex::new(throttled));
        let handle =
            Handle { wanted: sender, stats: Arc::clone(&stats), throttled: Arc::clone(&throttled) };
        let (unusable, missing, trouble) = Default::default();
        let post = Self {
            source,
            name,
            clock,
            stats,
            throttled,
            wanted,
            told,
            unusable,
            missing,
            trouble,
        };
        (post, handle)
    }

    /// Waits until other interfaces are wanted. Cancel safe.
    pub(super) async fn wanted(&mut self) -> Result<Wanted, Ended> {
        self.wanted.changed().await.map_err(|_| Ended::NoHandle)?;
        Ok(Arc::clone(&self.wanted.borrow_and_update()))
    }

    /// Counts requests that were sent.
    pub(super) fn count_requests(&self, sent: u64) {
        self.stats.count_requests(sent);
    }

    /// Nothing is missed by what fails or cannot be used.
    pub(super) fn nothing_is_wanted(&mut self) {
        self.missing.hear(&self.name, &Missing::default());
        self.stats.nothing_is_wanted();
    }

    /// Counts a good answer while another one is still missed.
    pub(super) fn note_one(&mut self, left_out: &LeftOut) -> SystemTime {
        self.stats.count_one();
        self.note_left_out(left_out);
        self.clock.now()
    }

    /// These are wanted, were asked for, and are not shown now.
    pub(super) fn note_missing(&mut self, missing: Missing) {
        self.missing.hear(&self.name, &missing);
        self.stats.set_missing(missing);
    }

    /// These cannot be used now.
    fn note_left_out(&mut self, left_out: &LeftOut) {
        self.unusable.hear(&self.name, left_out);
        self.stats.set_left_out(left_out.clone());
    }

    /// How long EC2 is not asked because it throttles.
    pub(super) fn set_throttled(&self, pause: Option<Pause>) {
        *self.throttled.lock().unwrap_or_else(PoisonError::into_inner) = pause;
    }

    /// Counts and logs that it was asked or read. `left_out` cannot be used now; none: as before.
    pub(super) fn note(
        &mut self,
        failed: Option<&SourceError>,
        left_out: Option<&LeftOut>,
    ) -> SystemTime {
        let now = self.clock.now();
        self.stats.count(now, failed);
        self.trouble.hear(&self.name, failed);
        if let Some(left_out) = left_out {
            self.note_left_out(left_out);
        }
        now
    }

    /// The time.
    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Tells the writer.
    pub(super) async fn tell(
        &self,
        at: SystemTime,
        asked: Wanted,
        answer: Result<Vec<Interface>, Arc<SourceError>>,
    ) -> Result<(), Ended> {
        let told = Told { source: self.source, at, asked, answer };
        self.told.send(told).await.map_err(|_| Ended::NoWriter)
    }
}

/// Tells the log when interfaces are not told of, and when they are again.
#[derive(Debug, Default)]
struct Teller {
    told: Option<Class>,
    /// What comes and goes is told once a minute.
    often: Often,
}

impl Teller {
    /// What may not be told now is told later, if it still is so.
    fn hear(&mut self, source: &str, failed: Option<&SourceError>) {
        let class = failed.map(SourceError::class);
        if class == self.told {
            return;
        }
        let Some(left_out) = self.often.may(Instant::now()) else { return };
        self.told = class;
        let left_out = (left_out > 0).then_some(left_out);
        match failed {
            Some(error) => tracing::warn!(
                source, class = error.class().as_str(), %error, left_out,
                "nothing is heard of network interfaces; their last known IPv6 addresses stand, \
                 and A records need none of it"
            ),
            None => tracing::info!(source, left_out, "network interfaces are told of again"),
        }
    }
}

/// Tells the log when interfaces are not shown, and when all are again.
#[derive(Debug, Default)]
struct MissingTeller {
    told: bool,
    /// What comes and goes is told once a minute.
    often: Often,
}

impl MissingTeller {
    /// What may not be told now is told later, if it still is so.
    fn hear(&mut self, source: &str, missing: &Missing) {
        let any = missing.count > 0;
        if any == self.told {
            return;
        }
        let Some(left_out) = self.often.may(Instant::now()) else { return };
        self.told = any;
        let left_out = (left_out > 0).then_some(left_out);
        match any {
            true => tracing::warn!(
                source,
                count = missing.count,
                first = missing.first.join(" "),
                left_out,
                "network interfaces that names stand on are not shown; what was known of them \
                 stands"
            ),
            false => tracing::info!(source, left_out, "all network interfaces are shown again"),
        }
    }
}
