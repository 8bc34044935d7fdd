//! Keeps the state on disk up to date, beside everything else: a disk that is
//! slow, full or gone holds nothing up and ends nothing.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::config::Source;
use crate::host::background;
use crate::source::clock::Clock;
use crate::state::{Aside, Loaded, OpenError, Past, Saved, State, StateError, Store};
use crate::writer::history::History;

/// How long the disk may take at the start. Without its word names wait for
/// their sources, as they would for ever behind a disk that is gone.
const OPENING: Duration = Duration::from_secs(5);

/// How soon a disk that was left alone is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// The least time between two writings of changed state. The first change is written
/// at once, those that follow within this time together: moves in quick succession
/// must not take the processor and the disk from answers. kill -9 within it loses
/// changes: EC2 still knows associations, and serials have room for that
/// ([`serial`](crate::compile::serial)); a loss that was accepted is held again.
const SPACING: Duration = Duration::from_secs(1);

/// The state directory, ours, and what was found in it.
pub(crate) struct Opened {
    store: Store,
    state: State,
    history: Arc<History>,
    /// Where what is not on the disk yet begins.
    begin: u64,
}

/// Makes the directory ours and reads what the last process left.
///
/// # Errors
/// Only when another process has it. State that is of no use is set aside and
/// told. A disk that does not answer is told, and tried again later.
pub(crate) async fn open(directory: &Path, sources: &[Source]) -> Result<Opened, OpenError> {
    let (at, of) = (directory.to_owned(), sources.to_vec());
    // What it finds later than that is read again, once the directory is ours.
    let opening = background::run(move || Found::in_directory(&at, &of));
    let cause = match timeout(OPENING, opening).await {
        Ok(Ok(found)) => return found.map(Found::told),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it does not answer within {} s", OPENING.as_secs()),
    };
    let store = Store::out_of_reach(directory, io::Error::other(cause));
    if let Some(trouble) = store.trouble() {
        error!("{trouble}");
    }
    Ok(Opened { store, state: State::default(), history: Arc::default(), begin: 0 })
}

/// What the directory says, before anybody goes by it.
struct Found {
    store: Store,
    state: Result<Option<Loaded>, Vec<StateError>>,
    past: Past,
}

impl Found {
    fn in_directory(directory: &Path, sources: &[Source]) -> Result<Self, OpenError> {
        let mut store = Store::open(directory)?;
        let (state, past) = (store.load(sources), store.history());
        Ok(Self { store, state, past })
    }

    /// Logs it, and makes what the process starts with.
    fn told(self) -> Opened {
        let Self { store, state, past } = self;
        if let Some(trouble) = store.trouble() {
            error!("{trouble}");
        }
        for path in store.group_writes() {
            warn!(
                path = %path.display(),
                "a group may write to the state: whoever is in it decides what is answered after \
                 a restart"
            );
        }
        let state = match state {
            Ok(None) => State::default(),
            Ok(Some(loaded)) => told_loaded(loaded),
            Err(errors) => {
                errors.iter().for_each(|error| error!("{error}"));
                State::default()
            }
        };
        for damaged in &past.damaged {
            error!("{damaged}");
        }
        let history = Arc::new(History::with(past.events));
        let begin = history.end();
        Opened { store, state, history, begin }
    }
}

fn told_loaded(loaded: Loaded) -> State {
    for error in &loaded.unused {
        warn!("{error}");
    }
    if loaded.by_older {
        info!("an older eipdns has run since: what it left in state.json is used");
    }
    for carried in &loaded.carried {
        warn!("{carried}");
    }
    for mismatch in &loaded.mismatched {
        warn!("{mismatch}");
    }
    info!(
        written = %humantime::format_rfc3339_seconds(loaded.written),
        sources = loaded.state.sources.len(),
        held = loaded.state.held(),
        "state of the last run found"
    );
    loaded.state
}

impl Opened {
    /// What was found, for who starts with it.
    pub(crate) fn state(&self) -> State {
        self.state.clone()
    }

    /// What has happened, for who adds to it.
    pub(crate) fn history(&self) -> Arc<History> {
        Arc::clone(&self.history)
    }

    /// What was found cannot be used.
    pub(crate) fn set_aside(&mut self, why: &str) -> Aside {
        self.state = State::default();
        self.store.set_aside(why)
    }

    /// The end that the run loop holds, and what does the
    /// writing: a task for as long as the process lives.
    pub(crate) fn keep(self, clock: Clock) -> (Keeper, impl Future<Output = ()> + Send + 'static) {
        let (states, wanted) = watch::channel(self.state);
        let (tell, trouble) = watch::channel(None);
        let on_disk = OnDisk { begin: self.begin, history: self.history };
        (Keeper { states, trouble }, write(self.store, wanted, on_disk, tell, clock))
    }
}

/// The end that the run loop holds. Dropping it writes the last state and ends
/// the task.
pub(crate) struct Keeper {
    states: watch::Sender<State>,
    trouble: watch::Receiver<Option<String>>,
}

impl Keeper {
    /// This is what a restart should find. Returns at once; only the newest
    /// counts.
    pub(crate) fn keep(&self, state: State) {
        self.states.send_replace(state);
    }

    /// Why the state on disk is not up to date, when it is not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Waits until that changes. Cancel safe.
    pub(crate) async fn trouble_changed(&mut self) {
        if self.trouble.changed().await.is_err() {
            // The task is gone; the run loop sees that for itself.
            std::future::pending().await
        }
    }
}

/// The history, and how much of it is on disk.
struct OnDisk {
    history: Arc<History>,
    begin: u64,
}

/// Writes each newest state, and what has come to the history with it, until
/// nobody has another one. Each event is followed by a state.
async fn write(
    mut store: Store,
    mut states: watch::Receiver<State>,
    mut on_disk: OnDisk,
    tell: watch::Sender<Option<String>>,
    clock: Clock,
) {
    let (mut again, mut next) = (false, Instant::now());
    loop {
        let more = tokio::select! {
            changed = states.changed() => changed.is_ok(),
            () = sleep(AGAIN), if again => true,
        };
        let more = more && wait_until(next, &mut states).await;
        let state = states.borrow_and_update().clone();
        let writing = background::run(move || {
            if !more {
                // The last time: a disk that has just failed may be well again.
                store.forget_failures();
            }
            let saved = store.save(&state, clock.now(), clock.drift());
            let added = on_disk.write(&mut store, clock);
            (store, on_disk, Kept { state: saved, history: added })
        });
        let kept;
        (store, on_disk, kept) = match writing.await {
            Ok(done) => done,
            Err(error) => {
                error!(%error, "keeping state failed; a restart finds old state. This is a bug: report it");
                tell.send_replace(Some(error.to_string()));
                return;
            }
        };
        again = kept.is_due_again();
        // What an older eipdns reads may have failed alone.
        if matches!(kept.state, Ok(Saved::Written | Saved::WithoutOlder) | Err(_)) {
            next = Instant::now() + SPACING;
        }
        tell_kept(kept, &tell);
        if !more {
            return;
        }
    }
}

/// What became of a writing.
struct Kept {
    state: Result<Saved, StateError>,
    history: Result<Saved, StateError>,
}

impl Kept {
    fn is_due_again(&self) -> bool {
        [&self.state, &self.history]
            .iter()
            .any(|one| matches!(one, Err(_) | Ok(Saved::Later | Saved::WithoutOlder)))
    }
}

fn tell_kept(kept: Kept, tell: &watch::Sender<Option<String>>) {
    let is_due_again = kept.is_due_again();
    let failed = match (kept.state, kept.history) {
        (Err(error @ StateError::OfOlder(_)), Ok(_)) => Some(format!(
            "{error}; answers and the state of this eipdns are not concerned, but an older one \
             would find old state"
        )),
        (Err(error), _) => Some(format!("{error}; answers go on, but a restart finds old state")),
        (_, Err(error)) => Some(format!(
            "{error}; answers and state are not concerned, but after a restart the history lacks \
             what has happened since"
        )),
        _ => None,
    };
    match failed {
        Some(text) => {
            if tell.borrow().is_none() {
                error!("{text}");
            }
            tell.send_replace(Some(text));
        }
        None if is_due_again => {}
        None => {
            if tell.borrow().is_some() {
                info!("state is kept again");
                tell.send_replace(None);
            }
        }
    }
}

/// Waits until `next`. Returns false at once when nobody has another state: the process
/// ends.
async fn wait_until(next: Instant, states: &mut watch::Receiver<State>) -> bool {
    let rest = sleep_until(next);
    tokio::pin!(rest);
    loop {
        tokio::select! {
            biased;
            changed = states.changed() => if changed.is_err() { return false },
            () = &mut rest => return true,
        }
    }
}

impl OnDisk {
    /// Adds what is not on disk yet.
    fn write(&mut self, store: &mut Store, clock: Clock) -> Result<Saved, StateError> {
        let after = self.history.after(self.begin);
        let added = store.add_history(&after.lines, clock.now())?;
        if added == Saved::Written {
            self.begin = after.next;
            if after.missed > 0 {
                warn!(
                    events = after.missed,
                    "the disk took too long: these events of the history are not on it"
                );
            }
        }
        Ok(added)
    }
}

#[cfg(all(test, feature = "virtual-clock"))]
mod timing {
    use std::fs;
    use std::time::SystemTime;

    use super::*;
    use crate::state::SourceState;

    /// Differs from any other in more than its age.
    fn state(number: usize) -> State {
        let known = SourceState {
            of: Default::default(),
            region: Some(format!("region-{number}.")),
            delivered_at: SystemTime::now(),
            accepted: Default::default(),
            names: Default::default(),
            interfaces: Default::default(),
        };
        State { sources: [("ec2".to_owned(), known)].into(), ..State::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_written_at_once_and_those_that_follow_together() {
        let directory = tempfile::tempdir().unwrap();
        let opened = open(directory.path(), &[]).await.unwrap();
        let (keeper, keeping) = opened.keep(Clock::start());
        let keeping = tokio::spawn(keeping);
        let on_disk =
            || fs::read_to_string(directory.path().join("state.json")).unwrap_or_default();
        let mut seen = vec![on_disk()];
        for last in 1..=30 {
            keeper.keep(state(last));
            // The clock runs only while nothing is being written.
            sleep(SPACING / 10).await;
            if seen.last() != Some(&on_disk()) {
                seen.push(on_disk());
            }
        }
        assert_eq!(seen.len(), 1 + 3, "{seen:?}");
        assert!(seen[1].contains("region-1."), "{}", seen[1]);
        drop(keeper);
        keeping.await.unwrap();
        assert!(on_disk().contains("region-30."), "{}", on_disk());
    }
}
