//! Whole messages by question, bounded by memory. The clock is passed in.
//!
//! An entry is fresh for the lowest TTL in its message, and stale for a day
//! after that (RFC 8767): kept for the case that upstreams fail. quick_cache
//! stands underneath: a look-up takes one shard's read lock, counts one
//! reference, and marks the entry as used; there is no background thread.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache as Sharded;
use quick_cache::{Lifecycle, Weighter};

use super::counters::Counter;
use super::hit::{Age, Hit};
use super::message::Message;
use super::question::{OwnedQuestion, Question};

/// Memory for cached messages, in octets: about 50,000 usual answers, and
/// little even on the smallest instance.
pub(crate) const CACHE_BYTES: u64 = 32 << 20;

/// Sharding depends on the number of entries expected: [`CACHE_BYTES`] of
/// usual answers.
const USUAL_ENTRIES: usize = 50_000;

/// What an entry takes besides its octets: tables, reference counts, and what
/// the allocator adds to six pieces.
const ENTRY_OVERHEAD: u64 = 384;

/// For so long after its TTL an entry may stand in for upstreams that fail:
/// a day, of the one to three that RFC 8767 section 5 suggests.
pub(crate) const STALE_FOR: Duration = Duration::from_secs(24 * 3_600);

/// A failure is remembered for so long (RFC 9520 section 3.2: at least one
/// second, at most five minutes): a stub that asks again gets its answer from
/// here, a person who has repaired something does not wait.
pub(crate) const FAILURE_TTL: u32 = 5;

/// After a failure upstreams are not asked for the same question for so long
/// while there is a stale answer (RFC 8767 section 5: "no more frequently than
/// every 30 seconds"), unless one has recovered in between.
pub(crate) const RECHECK: Duration = Duration::from_secs(30);

/// The cache.
pub struct Cache {
    entries: Sharded<OwnedQuestion, Arc<Stored>, Weight, RandomState, Evictions>,
    /// Failures are counted in milliseconds from here.
    epoch: Instant,
    /// Rises when an upstream recovers: failures of earlier eras are forgotten.
    era: AtomicU32,
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) stale: Counter,
    evictions: Arc<Counter>,
}

/// What the cache does, all since the start but for `entries` and `bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Answers from the cache within their TTL.
    pub hits: u64,
    /// Questions that had to be asked.
    pub misses: u64,
    /// Answers past their TTL, because upstreams failed.
    pub stale: u64,
    /// Entries that gave way to others.
    pub evictions: u64,
    /// Entries, stale ones included.
    pub entries: u64,
    /// Octets they take, about.
    pub bytes: u64,
}

/// A message in the cache.
#[derive(Debug)]
pub(super) struct Stored {
    message: Message,
    /// Since when; none for what is not in the cache.
    since: Option<Instant>,
    /// Seconds within TTL.
    life: u32,
    /// A remembered failure: never stale.
    is_failure: bool,
    /// 0, or the last failure to renew it; see [`Mark`].
    failed: AtomicU64,
}

/// How an expired entry stands with the upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// Nothing is known against them: ask.
    No,
    /// They failed a moment ago: do not ask yet.
    Yes,
    /// They failed, and it is time to ask again; said once per [`RECHECK`].
    Recheck,
}

impl Stored {
    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    pub(super) fn uncached(message: Message) -> Self {
        let failed = AtomicU64::new(0);
        Self { message, since: None, life: 0, is_failure: false, failed }
    }

    fn cached(message: Message, life: u32, is_failure: bool, now: Instant) -> Self {
        Self { since: Some(now), life, is_failure, ..Self::uncached(message) }
    }

    /// Its age at `now`; none when it is of no use any more.
    fn age(&self, now: Instant) -> Option<Age> {
        let held = now.saturating_duration_since(self.since?).as_secs();
        let life = u64::from(self.life);
        let stale_until = if self.is_failure { life } else { life + STALE_FOR.as_secs() };
        match held {
            _ if held < life => Some(Age::Fresh(held as u32)),
            _ if held < stale_until => Some(Age::Stale((held - life) as u32)),
            _ => None,
        }
    }
}

/// When to ask again after a failure, and in which era that failure was.
struct Mark {
    era: u32,
    ask_again: u64,
}

impl Mark {
    /// Milliseconds take the lower 40 bits: enough for 34 years.
    const TIME: u64 = (1 << 40) - 1;
    /// And this much of the era fits above them.
    const ERA: u32 = (1 << 23) - 1;

    fn pack(self) -> u64 {
        // A bit that is always set: 0 stands for no failure.
        u64::from(self.era & Self::ERA) << 41 | 1 << 40 | self.ask_again & Self::TIME
    }

    fn unpack(packed: u64) -> Option<Self> {
        (packed != 0).then_some(Self { era: (packed >> 41) as u32, ask_again: packed & Self::TIME })
    }

    fn is_of(&self, era: u32) -> bool {
        self.era == era & Self::ERA
    }
}

impl Cache {
    /// An empty cache of at most `bytes` octets; `now` must not lie after any
    /// instant passed in later.
    pub fn new(bytes: u64, now: Instant) -> Self {
        let evictions = Arc::new(Counter::default());
        let lifecycle = Evictions(Arc::clone(&evictions));
        let entries = Sharded::with(USUAL_ENTRIES, bytes, Weight, RandomState::new(), lifecycle);
        Self {
            entries,
            epoch: now,
            era: AtomicU32::new(0),
            hits: Counter::default(),
            misses: Counter::default(),
            stale: Counter::default(),
            evictions,
        }
    }

    /// What is known at `now`, fresh or stale. A stale answer is for when
    /// upstreams fail; [`Forwarder::cached`](super::Forwarder::cached) decides.
    pub fn lookup(&self, question: &Question<'_>, now: Instant) -> Option<Hit> {
        let stored = self.entries.get(question)?;
        let hit = Hit::of(Arc::clone(&stored), stored.age(now)?);
        if stored.is_failure && self.failing(&hit, now) == Failing::No {
            return None;
        }
        Some(hit)
    }

    /// Takes an answer in, if it may be kept, and returns it as one that just
    /// came. An older one goes in either case.
    pub(super) fn insert(&self, question: &OwnedQuestion, message: Message, now: Instant) -> Hit {
        if message.life == 0 {
            self.entries.remove(&question.borrow());
            return Hit::new(message);
        }
        let life = message.life;
        self.store(question, Stored::cached(message, life, false, now))
    }

    /// Remembers a failure for a moment.
    pub(super) fn insert_failure(
        &self,
        question: &OwnedQuestion,
        message: Message,
        now: Instant,
    ) -> Hit {
        let stored = Stored::cached(message, FAILURE_TTL, true, now);
        self.mark(&stored, now);
        self.store(question, stored)
    }

    fn store(&self, question: &OwnedQuestion, stored: Stored) -> Hit {
        let stored = Arc::new(stored);
        self.entries.insert(question.clone(), Arc::clone(&stored));
        Hit::of(stored, Age::New)
    }

    /// Notes that an entry could not be renewed.
    pub(super) fn failed(&self, hit: &Hit, now: Instant) {
        self.mark(&hit.stored, now);
    }

    fn mark(&self, stored: &Stored, now: Instant) {
        stored.failed.store(self.failure(now), Relaxed);
    }

    /// The mark of a failure now.
    fn failure(&self, now: Instant) -> u64 {
        Mark { era: self.era.load(Relaxed), ask_again: self.millis(now + RECHECK) }.pack()
    }

    fn millis(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.epoch).as_millis() as u64
    }

    /// How an entry stands with the upstreams.
    pub(super) fn failing(&self, hit: &Hit, now: Instant) -> Failing {
        let failed = &hit.stored.failed;
        let packed = failed.load(Relaxed);
        let era = self.era.load(Relaxed);
        let Some(mark) = Mark::unpack(packed).filter(|mark| mark.is_of(era)) else {
            return Failing::No;
        };
        if self.millis(now) < mark.ask_again {
            return Failing::Yes;
        }
        let next = self.failure(now);
        match failed.compare_exchange(packed, next, Relaxed, Relaxed) {
            Ok(_) => Failing::Recheck,
            Err(_) => Failing::Yes,
        }
    }

    /// It was to be asked again, and its client had no place or turn for that:
    /// whoever comes next may.
    pub(super) fn not_asked(&self, hit: &Hit, now: Instant) {
        let failed = &hit.stored.failed;
        let packed = failed.load(Relaxed);
        let era = self.era.load(Relaxed);
        if Mark::unpack(packed).is_some_and(|mark| mark.is_of(era)) {
            let again = Mark { era, ask_again: self.millis(now) }.pack();
            // Another failure in between is newer.
            let _ = failed.compare_exchange(packed, again, Relaxed, Relaxed);
        }
    }

    /// An upstream recovered: what failed before is worth asking again.
    pub(super) fn forget_failures(&self) {
        self.era.fetch_add(1, Relaxed);
    }

    /// Counts, for the metrics.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.get(),
            misses: self.misses.get(),
            stale: self.stale.get(),
            evictions: self.evictions.get(),
            entries: self.entries.len() as u64,
            bytes: self.entries.weight(),
        }
    }
}

/// Weighs an entry in octets.
#[derive(Clone)]
struct Weight;

impl Weighter<OwnedQuestion, Arc<Stored>> for Weight {
    fn weight(&self, question: &OwnedQuestion, stored: &Arc<Stored>) -> u64 {
        let octets = question.borrow().name.len() + stored.message.weight();
        octets as u64 + ENTRY_OVERHEAD
    }
}

/// Counts what gives way.
#[derive(Clone)]
struct Evictions(Arc<Counter>);

impl Lifecycle<OwnedQuestion, Arc<Stored>> for Evictions {
    /// What was evicted, freed when the shard's lock is.
    type RequestState = Vec<Arc<Stored>>;

    fn on_evict(&self, freed: &mut Self::RequestState, _: OwnedQuestion, stored: Arc<Stored>) {
        self.0.add(1);
        freed.push(stored);
    }
}
