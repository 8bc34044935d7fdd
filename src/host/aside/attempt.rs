//! One attempt on a thread of its own, counted until that ends.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::{AsideError, Cause, Place};

/// How many attempts at one thing may be under way. While the first one hangs,
/// another file may be put in the place, and then another.
pub(crate) const MAX_EACH: usize = 8;

/// Of these, how many because it was [`Cause::Time`]. The others are for when
/// there is reason to hope.
const MAX_BY_TIME: usize = 6;

/// While one hangs, another one because it is [`Cause::Time`] comes so late.
const SPACING: Duration = Duration::from_secs(60);

/// How many attempts may be under way in all: enough for every source and the
/// configuration to hang, few enough for the thread limit of a container.
pub(crate) const MAX_ALL: usize = 128;

/// What of all attempts is under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    all: usize,
    pub(super) of: BTreeMap<Place, usize>,
    /// How many nobody waits for any longer.
    late: usize,
}

pub(super) static UNDER_WAY: Mutex<UnderWay> =
    Mutex::new(UnderWay { all: 0, of: BTreeMap::new(), late: 0 });
pub(super) static NOT_BEGUN: AtomicU64 = AtomicU64::new(0);

/// How many attempts hang, and how many were not begun since the start because
/// too many hung.
pub(crate) fn hanging() -> (usize, u64) {
    (under_way().late, NOT_BEGUN.load(Ordering::Relaxed))
}

pub(super) fn under_way() -> std::sync::MutexGuard<'static, UnderWay> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One attempt, counted until its thread is done with it.
#[derive(Debug)]
pub(super) struct Attempt {
    place: Place,
    state: AtomicU8,
}

const RUNNING: u8 = 0;
const GIVEN_UP: u8 = 1;
const ENDED: u8 = 2;

impl Attempt {
    /// Counts it, if there may be one more. `hangs` says when the one before was
    /// begun, if that is under way.
    pub(super) fn new(
        place: &Place,
        cause: Cause,
        hangs: Option<Instant>,
    ) -> Result<Arc<Self>, AsideError> {
        let mut all = under_way();
        let here = all.of.get(place).copied().unwrap_or_default();
        if cause == Cause::Time
            && let Some(begun) = hangs
            && (begun.elapsed() < SPACING || here >= MAX_BY_TIME)
        {
            return Err(AsideError::NotYet);
        }
        if here >= MAX_EACH || all.all >= MAX_ALL {
            NOT_BEGUN.fetch_add(1, Ordering::Relaxed);
            return Err(AsideError::TooMany);
        }
        all.all += 1;
        *all.of.entry(place.clone()).or_default() += 1;
        Ok(Arc::new(Self { place: place.clone(), state: AtomicU8::new(RUNNING) }))
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.state.load(Ordering::Relaxed) != ENDED
    }

    /// Nobody waits for it any longer.
    pub(super) fn give_up(&self) {
        let mut all = under_way();
        if self
            .state
            .compare_exchange(RUNNING, GIVEN_UP, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            all.late += 1;
        }
    }

    fn ended(&self) {
        let mut all = under_way();
        all.all -= 1;
        if let Some(here) = all.of.get_mut(&self.place) {
            *here -= 1;
            if *here == 0 {
                all.of.remove(&self.place);
            }
        }
        if self.state.swap(ENDED, Ordering::Relaxed) == GIVEN_UP {
            all.late -= 1;
        }
    }
}

/// Does the work of an attempt on a thread of its own, which calls `tell` with the
/// outcome.
pub(super) fn start<T: Send + 'static>(
    attempt: Arc<Attempt>,
    work: impl FnOnce() -> T + Send + 'static,
    tell: impl FnOnce(Result<T, AsideError>) + Send + 'static,
) -> Result<Arc<Attempt>, AsideError> {
    /// Also when the thread could not be started.
    struct Ends(Arc<Attempt>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.ended();
        }
    }
    let ends = Ends(Arc::clone(&attempt));
    thread::Builder::new().name("aside".into()).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(work));
        tell(outcome.map_err(|_| AsideError::Panicked));
        drop(ends);
    })?;
    Ok(attempt)
}
