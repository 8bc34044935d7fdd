//! Work with files that may never end, for whoever must not wait for ever: a
//! disk, a mount or a file server that hangs holds a thread in the kernel, and
//! nothing can call it back.
//!
//! Each attempt has a thread of its own, so that one that hangs takes nothing
//! from others. Threads that hang are few: so many for each file, so many in
//! all. What an attempt brings after its deadline still counts, if no newer one
//! was quicker.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::host::background;

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

/// Why something is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Something has changed, or somebody asks.
    Told,
    /// It was not looked at for a while.
    Time,
}

/// Why there is no outcome. The text goes on from what is done with which file:
/// "reading it".
#[derive(Debug, thiserror::Error)]
pub enum AsideError {
    /// It did not end in time, but may yet.
    #[error(
        "does not end: nothing for {}; mend its disk, mount or file server, or put another file there",
        humantime::format_duration(*.0)
    )]
    Late(Duration),
    /// Earlier attempts hang, so none more was begun.
    #[error(
        "does not end: earlier attempts hang, none more is made until one ends; mend its disk, \
         mount or file server, and restart if that ends none"
    )]
    TooMany,
    /// An earlier attempt hangs that was begun a short while ago.
    #[error("does not end: an earlier attempt hangs")]
    NotYet,
    /// There is no thread for it.
    #[error("cannot begin: no thread for it: {0}")]
    Thread(#[from] io::Error),
    /// It panicked.
    #[error("failed. This is a bug: report it with the file")]
    Panicked,
}

/// What is done with a path: attempts are counted for each of these by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    what: What,
    path: PathBuf,
}

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// Its contents are read.
    Read,
    /// Events are asked for.
    Watch,
}

impl Place {
    /// `path` is read.
    pub(crate) fn read(path: &Path) -> Self {
        Self { what: What::Read, path: path.to_owned() }
    }

    /// Events at `path` are asked for.
    pub(crate) fn watch(path: &Path) -> Self {
        Self { what: What::Watch, path: path.to_owned() }
    }
}

/// Does `work` at `place` on a thread of its own and waits for it, at most for
/// `within`. For whoever has no event loop; with the priority of who waits.
///
/// # Errors
/// It does not end in time, or was not begun.
pub(crate) fn within<T: Send + 'static>(
    place: &Place,
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AsideError> {
    let (sender, ended) = sync_channel(1);
    let attempt = start(Attempt::new(place, Cause::Told, None)?, work, move |outcome| {
        // Given up by then.
        let _ = sender.send(outcome);
    })?;
    match ended.recv_timeout(within) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => {
            attempt.give_up();
            Err(AsideError::Late(within))
        }
        Err(RecvTimeoutError::Disconnected) => Err(AsideError::Panicked),
    }
}

/// Attempts at one thing, one after the other.
#[derive(Debug)]
pub(crate) struct Aside<T> {
    place: Place,
    within: Duration,
    newest: Option<Newest>,
    /// The number of the newest one that has ended.
    ended: u64,
    sender: mpsc::Sender<Ended<T>>,
    receiver: mpsc::Receiver<Ended<T>>,
}

#[derive(Debug)]
struct Newest {
    number: u64,
    begun: Instant,
    /// Whether it is waited for still.
    awaited: bool,
    attempt: Arc<Attempt>,
}

#[derive(Debug)]
struct Ended<T> {
    number: u64,
    outcome: Result<T, AsideError>,
}

impl<T: Send + 'static> Aside<T> {
    /// Attempts at `place`, each waited for at most for `within`.
    pub(crate) fn new(place: Place, within: Duration) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_EACH);
        Self { place, within, newest: None, ended: 0, sender, receiver }
    }

    /// Is an attempt under way that is within its time?
    pub(crate) fn is_awaited(&self) -> bool {
        self.newest.as_ref().is_some_and(|newest| newest.awaited)
    }

    /// Begins an attempt; the one before is not waited for any longer.
    ///
    /// # Errors
    /// Too many hang, or it is [`Cause::Time`] and the one before hangs that was
    /// begun a short while ago.
    pub(crate) fn begin(
        &mut self,
        cause: Cause,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(), AsideError> {
        let number = self.newest.as_ref().map_or(0, |newest| newest.number) + 1;
        let (sender, begun) = (self.sender.clone(), Instant::now());
        let hangs = self.newest.as_ref().filter(|newest| newest.attempt.is_under_way());
        let hangs = hangs.map(|newest| newest.begun);
        let attempt = Attempt::new(&self.place, cause, hangs)?;
        let work = || background::lowered(work);
        let attempt = start(attempt, work, move |outcome| {
            // Nobody is there who would wait.
            let _ = sender.blocking_send(Ended { number, outcome });
        })?;
        self.give_up();
        self.newest = Some(Newest { number, begun, awaited: true, attempt });
        Ok(())
    }

    /// Waits for what the attempt under way brings, or for its time to be over;
    /// after that, and without one, for what late ones bring. Cancel safe.
    ///
    /// # Errors
    /// The attempt does not end in time, or its work panicked.
    pub(crate) async fn next(&mut self) -> Result<T, AsideError> {
        loop {
            let deadline =
                self.newest.as_ref().filter(|n| n.awaited).map(|n| n.begun + self.within);
            let ended = tokio::select! {
                biased;
                ended = self.receiver.recv() => ended,
                () = until(deadline) => {
                    self.give_up();
                    return Err(AsideError::Late(self.within));
                }
            };
            // `self` has a sender.
            let Some(Ended { number, outcome }) = ended else { continue };
            let newest = self.newest.as_mut().filter(|newest| newest.awaited);
            let is_newest = newest.as_ref().is_none_or(|newest| newest.number == number);
            if number > self.ended && is_newest {
                self.ended = number;
                if let Some(newest) = newest {
                    newest.awaited = false;
                }
                return outcome;
            }
        }
    }

    fn give_up(&mut self) {
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.awaited) {
            newest.awaited = false;
            newest.attempt.give_up();
        }
    }
}

impl<T> Drop for Aside<T> {
    fn drop(&mut self) {
        if let Some(newest) = self.newest.as_ref().filter(|newest| newest.awaited) {
            newest.attempt.give_up();
        }
    }
}

/// Until `at`; without one, for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What of all attempts is under way.
#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    of: BTreeMap<Place, usize>,
    /// How many nobody waits for any longer.
    late: usize,
}

static UNDER_WAY: Mutex<UnderWay> = Mutex::new(UnderWay { all: 0, of: BTreeMap::new(), late: 0 });

static NOT_BEGUN: AtomicU64 = AtomicU64::new(0);

/// How many attempts hang, and how many were not begun since the start because
/// too many hung.
pub(crate) fn hanging() -> (usize, u64) {
    (under_way().late, NOT_BEGUN.load(Ordering::Relaxed))
}

fn under_way() -> std::sync::MutexGuard<'static, UnderWay> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One attempt, counted until its thread is done with it.
#[derive(Debug)]
struct Attempt {
    place: Place,
    state: AtomicU8,
}

const RUNNING: u8 = 0;
const GIVEN_UP: u8 = 1;
const ENDED: u8 = 2;

impl Attempt {
    /// Counts it, if there may be one more. `hangs` says when the one before was
    /// begun, if that is under way.
    fn new(place: &Place, cause: Cause, hangs: Option<Instant>) -> Result<Arc<Self>, AsideError> {
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

    fn is_under_way(&self) -> bool {
        self.state.load(Ordering::Relaxed) != ENDED
    }

    /// Nobody waits for it any longer.
    fn give_up(&self) {
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
fn start<T: Send + 'static>(
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Work that ends when it is told what to bring.
    fn gate() -> (Sender<u8>, impl FnOnce() -> u8 + Send + 'static) {
        let (open, closed) = channel();
        (open, move || closed.recv().unwrap_or_default())
    }

    fn here(place: &Place) -> usize {
        under_way().of.get(place).copied().unwrap_or_default()
    }

    /// Threads end a moment after they have told.
    fn until_here(place: &Place, expected: usize) {
        let began = std::time::Instant::now();
        while here(place) != expected {
            assert!(began.elapsed() < PATIENCE, "{} under way", here(place));
            thread::yield_now();
        }
    }

    async fn next(aside: &mut Aside<u8>) -> Result<u8, AsideError> {
        tokio::time::timeout(PATIENCE, aside.next()).await.expect("nothing comes")
    }

    #[tokio::test]
    async fn what_ends_is_brought_and_what_hangs_is_given_up() {
        let place = Place::read(Path::new("/aside/given-up"));
        let mut aside = Aside::new(place.clone(), PATIENCE);
        aside.begin(Cause::Told, || 1).unwrap();
        assert_eq!(next(&mut aside).await.unwrap(), 1);
        assert!(!aside.is_awaited());
        aside.begin(Cause::Told, || panic!("a test")).unwrap();
        assert!(matches!(next(&mut aside).await, Err(AsideError::Panicked)));

        aside.within = SHORT;
        let (open, work) = gate();
        aside.begin(Cause::Told, work).unwrap();
        assert!(matches!(next(&mut aside).await, Err(AsideError::Late(SHORT))));
        assert!(!aside.is_awaited());
        assert!(hanging().0 > 0);
        // Another one meanwhile.
        aside.within = PATIENCE;
        aside.begin(Cause::Told, || 3).unwrap();
        assert_eq!(next(&mut aside).await.unwrap(), 3);
        // What the late one brings is older than that.
        open.send(2).unwrap();
        assert!(tokio::time::timeout(SHORT, aside.next()).await.is_err());
        until_here(&place, 0);
    }

    #[tokio::test]
    async fn what_comes_late_counts_while_nothing_newer_was_quicker() {
        let place = Place::read(Path::new("/aside/late"));
        let mut aside = Aside::new(place.clone(), SHORT);
        let (first, work) = gate();
        aside.begin(Cause::Told, work).unwrap();
        assert!(next(&mut aside).await.is_err());
        let (second, work) = gate();
        aside.begin(Cause::Told, work).unwrap();
        assert!(next(&mut aside).await.is_err());
        first.send(1).unwrap();
        assert_eq!(next(&mut aside).await.unwrap(), 1);
        second.send(2).unwrap();
        assert_eq!(next(&mut aside).await.unwrap(), 2);
        until_here(&place, 0);

        // While a newer one is under way and in time, it is the one waited for.
        let (third, work) = gate();
        aside.begin(Cause::Told, work).unwrap();
        assert!(next(&mut aside).await.is_err());
        aside.within = PATIENCE;
        let (fourth, work) = gate();
        aside.begin(Cause::Told, work).unwrap();
        third.send(3).unwrap();
        assert!(tokio::time::timeout(SHORT, aside.next()).await.is_err());
        assert!(aside.is_awaited());
        fourth.send(4).unwrap();
        assert_eq!(next(&mut aside).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn few_hang_for_each_file_whoever_begins_them() {
        let place = Place::read(Path::new("/aside/few"));
        let mut gates = Vec::new();
        let mut hang = |aside: &mut Aside<u8>, cause| {
            let (open, work) = gate();
            gates.push(open);
            aside.begin(cause, work)
        };
        let mut aside = Aside::new(place.clone(), SHORT);
        hang(&mut aside, Cause::Time).unwrap();
        assert!(matches!(hang(&mut aside, Cause::Time), Err(AsideError::NotYet)));
        for _ in 1..MAX_EACH {
            hang(&mut aside, Cause::Told).unwrap();
        }
        let before = hanging().1;
        assert!(matches!(hang(&mut aside, Cause::Told), Err(AsideError::TooMany)));
        let mut other = Aside::new(place.clone(), SHORT);
        assert!(matches!(hang(&mut other, Cause::Told), Err(AsideError::TooMany)));
        let waited = within(&place, PATIENCE, || 1);
        assert!(matches!(waited, Err(AsideError::TooMany)), "{waited:?}");
        assert!(hanging().1 >= before + 3);
        // Only whose last one hangs has to wait.
        let mut third = Aside::new(place.clone(), SHORT);
        assert!(matches!(hang(&mut third, Cause::Time), Err(AsideError::TooMany)));
        // Of everything else as many as ever.
        assert_eq!(within(&Place::watch(Path::new("/aside/few")), PATIENCE, || 1).unwrap(), 1);
        drop(aside);
        drop(gates);
        until_here(&place, 0);
        assert_eq!(within(&place, PATIENCE, || 1).unwrap(), 1);
        let (open, work) = gate();
        assert!(matches!(within(&place, SHORT, work), Err(AsideError::Late(SHORT))));
        drop(open);
        let panicked = within(&place, PATIENCE, || -> u8 { panic!("a test") });
        assert!(matches!(panicked, Err(AsideError::Panicked)));
        until_here(&place, 0);
    }
}
