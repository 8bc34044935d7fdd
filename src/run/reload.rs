//! Reading the configuration anew: on a signal, or when a file has changed.

use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;
use tracing::error;

use super::Options;
use super::surroundings::Surroundings;
use crate::background;
use crate::config::{self, Invalid, Loaded, Overrides};
use crate::source::watch::{Watch, fingerprint};

/// Reading the configuration anew, one reading at a time and beside the loop:
/// a large directory must not hold a move back.
pub(super) struct Reload {
    watch: Option<Watch>,
    seen: u128,
    reading: Option<JoinHandle<Result<Read, Invalid>>>,
    again: bool,
}

impl Reload {
    pub(super) fn new(options: &Options) -> Self {
        let watch = options.watch.then(|| Watch::new(vec![options.directory.clone()]));
        Self { watch, seen: print(options), reading: None, again: false }
    }

    /// Starts reading; when a reading is under way, another one follows it.
    pub(super) fn ask(&mut self, options: &Options) {
        if self.reading.is_some() {
            self.again = true;
            return;
        }
        let Options { directory, overrides, .. } = options.clone();
        self.reading = Some(background::run(move || read(&directory, &overrides)));
    }

    /// Starts reading if a file's contents are not as they were.
    pub(super) fn ask_if_changed(&mut self, options: &Options) {
        let now = print(options);
        if now != self.seen {
            self.seen = now;
            self.ask(options);
        }
    }

    /// After a reading was dealt with: the one that was asked for meanwhile.
    pub(super) fn next(&mut self, options: &Options) {
        if std::mem::take(&mut self.again) {
            self.ask(options);
        }
    }

    /// Waits for a change in the directory, or for the reading under way.
    /// Cancel safe.
    pub(super) async fn event(&mut self) -> ReloadEvent {
        let Self { watch, reading, .. } = self;
        let changed = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let read = async {
            match reading {
                Some(reading) => reading.await,
                None => std::future::pending().await,
            }
        };
        let read = tokio::select! {
            () = changed => return ReloadEvent::FileChanged,
            read = read => read,
        };
        self.reading = None;
        ReloadEvent::Read(Box::new(read.unwrap_or_else(|error| {
            error!(%error, "reading the configuration failed. This is a bug: report it");
            Err(Invalid { problems: Vec::new() })
        })))
    }
}

/// What there is to do about the configuration.
pub(super) enum ReloadEvent {
    /// Some file may have changed.
    FileChanged,
    /// A reading ended.
    Read(Box<Result<Read, Invalid>>),
}

/// A configuration as it was read, and what was found around it.
pub(super) struct Read {
    pub(super) loaded: Loaded,
    pub(super) surroundings: Surroundings,
}

fn read(directory: &Path, overrides: &Overrides) -> Result<Read, Invalid> {
    let loaded = config::load(directory, overrides)?;
    let surroundings = Surroundings::of(&loaded.config);
    Ok(Read { loaded, surroundings })
}

/// A digest of every configuration file.
fn print(options: &Options) -> u128 {
    let entries = std::fs::read_dir(&options.directory).into_iter().flatten().flatten();
    let mut files: Vec<_> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    fingerprint(files.iter().map(PathBuf::as_path))
}
