//! Keeps the state on disk up to date, beside everything else: a disk that is
//! slow, full or gone holds nothing up and ends nothing.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::background;
use crate::config::Source;
use crate::source::clock::Clock;
use crate::state::{OpenError, Saved, State, Store};

/// How soon a disk that was left alone is tried again.
const AGAIN: Duration = Duration::from_secs(10);

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
    loop {
        let more = tokio::select! {
            changed = states.changed() => changed.is_ok(),
            () = tokio::time::sleep(AGAIN), if again => true,
        };
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
