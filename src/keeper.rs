//! Keeps the state on disk up to date, beside everything else: a disk that is
//! slow, full or gone holds nothing up and ends nothing.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::background;
use crate::config::Source;
use crate::source::clock::Clock;
use crate::state::{OpenError, Saved, State, Store};

/// How soon a disk that was left alone is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// How long a disk is left alone after the state was written: in a burst of
/// moves, the first goes there at once, and of the others the newest counts.
const REST: Duration = Duration::from_secs(1);

/// The state directory, ours, and what was found in it.
pub struct Opened {
    store: Store,
    state: State,
}

/// Makes the directory ours and reads what the last process left.
///
/// # Errors
/// Only when another process has it. State that is of no use is set aside and
/// told.
pub fn open(directory: &Path, sources: &[Source]) -> Result<Opened, OpenError> {
    let mut store = Store::open(directory)?;
    if let Some(trouble) = store.trouble() {
        error!("{trouble}");
    }
    let state = match store.load(sources) {
        Ok(None) => State::default(),
        Ok(Some(loaded)) => {
            for mismatch in &loaded.mismatched {
                warn!("{mismatch}");
            }
            info!(
                written = %humantime::format_rfc3339_seconds(loaded.written),
                sources = loaded.state.sources.len(),
                "state of the last run found"
            );
            loaded.state
        }
        Err(error) => {
            error!("{error}");
            State::default()
        }
    };
    Ok(Opened { store, state })
}

impl Opened {
    /// What was found, the end that the run loop holds, and what does the
    /// writing: a task for as long as the process lives.
    pub fn keep(self, clock: Clock) -> (State, Keeper, impl Future<Output = ()> + Send + 'static) {
        let (states, wanted) = watch::channel(self.state.clone());
        let (tell, trouble) = watch::channel(None);
        (self.state, Keeper { states, trouble }, write(self.store, wanted, tell, clock))
    }
}

/// The end that the run loop holds. Dropping it writes the last state and ends
/// the task.
pub struct Keeper {
    states: watch::Sender<State>,
    trouble: watch::Receiver<Option<String>>,
}

impl Keeper {
    /// This is what a restart should find. Returns at once; only the newest
    /// counts.
    pub fn keep(&self, state: State) {
        self.states.send_replace(state);
    }

    /// Why the state on disk is not up to date, when it is not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Waits until that changes. Cancel safe.
    pub async fn trouble_changed(&mut self) {
        if self.trouble.changed().await.is_err() {
            // The task is gone; the run loop sees that for itself.
            std::future::pending().await
        }
    }
}

/// Writes each newest state until nobody has another one.
async fn write(
    mut store: Store,
    mut states: watch::Receiver<State>,
    tell: watch::Sender<Option<String>>,
    clock: Clock,
) {
    let mut again = false;
    let mut rested_at = Instant::now();
    loop {
        let mut more = tokio::select! {
            changed = states.changed() => changed.is_ok(),
            () = tokio::time::sleep(AGAIN), if again => true,
        };
        while more {
            tokio::select! {
                () = tokio::time::sleep_until(rested_at) => break,
                changed = states.changed() => more = changed.is_ok(),
            }
        }
        let state = states.borrow_and_update().clone();
        let writing = background::run(move || {
            let saved = store.save(&state, clock.now());
            (store, saved)
        });
        let saved;
        (store, saved) = match writing.await {
            Ok(done) => done,
            Err(error) => {
                error!(%error, "keeping state failed; a restart finds old state. This is a bug: report it");
                tell.send_replace(Some(error.to_string()));
                return;
            }
        };
        again = !matches!(saved, Ok(Saved::Written | Saved::Unchanged));
        match saved {
            Ok(Saved::Written) => {
                rested_at = Instant::now() + REST;
                if tell.borrow().is_some() {
                    info!("state is kept again");
                    tell.send_replace(None);
                }
            }
            Ok(Saved::Unchanged | Saved::Later) => {}
            Err(error) => {
                let text = error.to_string();
                if tell.borrow().is_none() {
                    error!("{text}; answers go on, but a restart finds old state");
                }
                tell.send_replace(Some(text));
            }
        }
        if !more {
            return;
        }
    }
}

#[cfg(all(test, feature = "virtual-clock"))]
mod timing {
    use super::*;
    use crate::state::ZoneSerial;

    fn state(serial: u32) -> State {
        let serial = ZoneSerial { serial, digest: "00ff".into() };
        State { serials: [("example.com".to_owned(), serial)].into(), ..State::default() }
    }

    /// The serial on the disk.
    fn kept(directory: &Path) -> Option<u64> {
        let octets = std::fs::read(directory.join("state.json")).ok()?;
        let mut values = serde_json::Deserializer::from_slice(&octets).into_iter();
        let state: serde_json::Value = values.next()?.ok()?;
        state["serials"]["example.com"]["serial"].as_u64()
    }

    async fn until_kept(directory: &Path, serial: u64) {
        while kept(directory) != Some(serial) {
            // Time stands still while there is a turn of something else.
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_burst_the_first_is_kept_at_once_then_the_newest_and_the_last_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path(), &[]).unwrap();
        let (_, keeper, keeping) = opened.keep(Clock::start());
        let keeping = tokio::spawn(keeping);
        let began = Instant::now();
        keeper.keep(state(1));
        until_kept(dir.path(), 1).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        for serial in 2..10 {
            keeper.keep(state(serial));
            tokio::time::sleep(REST / 10).await;
            assert_eq!(kept(dir.path()), Some(1));
        }
        tokio::time::sleep(REST / 4).await;
        until_kept(dir.path(), 9).await;
        keeper.keep(state(10));
        drop(keeper);
        let dropped = Instant::now();
        keeping.await.unwrap();
        assert_eq!((kept(dir.path()), dropped.elapsed()), (Some(10), Duration::ZERO));
    }
}
