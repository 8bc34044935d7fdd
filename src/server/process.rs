//! The process before and around the server: runtime, signals, exit.

use std::path::PathBuf;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::descriptors::Descriptors;
use super::start::OpenedParts;
use super::{App, RunError};
use crate::config::{Config, Overrides, Seen};
use crate::writer::keeper;
use crate::{http, serve};

/// Threads that read and write files: one for the state, one or two for the
/// configuration and each file source. More only wait for a disk that does not
/// answer.
const MAX_BLOCKING: usize = 256;

/// What a server is started with besides its configuration.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where the configuration came from and is read anew.
    pub directory: PathBuf,
    /// What flags and environment say.
    pub overrides: Overrides,
    /// The files that were read for it.
    pub seen: Seen,
    /// Read it anew whenever a file in it changes.
    pub watch: bool,
    /// Answer without what is prebuilt: the same octets, slower.
    pub ordinary_path: bool,
}

/// The process before anything is read. It hears its signals already: while a
/// large configuration is read, SIGHUP ends nothing and SIGTERM is no failure.
pub(crate) struct Process {
    runtime: Runtime,
    signals: Signals,
}

/// Signals that came and were not acted on wait here.
pub(super) struct Signals {
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
    pub(super) hangup: Signal,
}

impl Process {
    /// Hears signals from now on.
    ///
    /// # Errors
    /// The system has no threads or descriptors for that.
    pub(crate) fn start() -> Result<Self, RunError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(MAX_BLOCKING)
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        };
        drop(entered);
        Ok(Self { runtime, signals })
    }

    /// Serves until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// Nothing can be served, or something ended that never should.
    pub(crate) fn run(self, config: Config, options: Options) -> Result<(), RunError> {
        let Self { runtime, signals } = self;
        let descriptors = Descriptors::raise(&config.server);
        let dns = serve::bind(&descriptors.listen(&config.server))?;
        let http = http::bind(&config)?;
        let ended = runtime.block_on(async {
            let (directory, sources) = (&config.server.state_directory, &config.server.sources);
            let state = keeper::open(directory, sources).await?;
            let opened = OpenedParts { dns, http, state };
            let mut server = App::start(config, &options, signals, descriptors, opened)?;
            let ended = server.serve().await;
            server.drain().await;
            ended
        });
        // Blocking tasks, such as a read from a dead disk, are not waited for.
        runtime.shutdown_background();
        ended
    }
}
