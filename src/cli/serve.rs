//! `eipdns serve`

use clap::Args;
use tracing::{error, warn};

use super::logging::Logging;
use super::{Common, Exit, print};
use crate::config;
use crate::http::HttpError;
use crate::server::{self, RunError};

/// Answers queries until SIGTERM or SIGINT; SIGHUP reads the configuration
/// anew.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
    /// Read the configuration anew whenever a file in it changes
    #[arg(long)]
    watch: bool,
    /// Make every answer anew, from the records: to compare with what is
    /// prebuilt from them
    #[arg(long, hide_short_help = true)]
    ordinary_path: bool,
}

impl Serve {
    pub(super) fn run(self) -> Exit {
        // From here on nothing but the log writes to stderr. Dropped at the end
        // it waits a moment for its last lines.
        let _log = match self.logging.start() {
            Ok(log) => log,
            Err(error) => {
                print::complain(&format_args!("cannot start a thread for the log: {error}"));
                return Exit::Internal;
            }
        };
        let process = match server::Process::start() {
            Ok(process) => process,
            Err(error) => {
                error!("{error}");
                return exit(&error);
            }
        };
        let directory = self.common.directory();
        let loaded = match config::load_in_time(&directory, &self.common.overrides()) {
            Ok(loaded) => loaded,
            Err(invalid) => {
                invalid.problems.iter().for_each(|problem| error!("{problem}"));
                return Exit::Config;
            }
        };
        loaded.warnings.iter().for_each(|problem| warn!("{problem}"));
        let options = server::Options {
            directory,
            overrides: self.common.overrides(),
            seen: loaded.seen,
            watch: self.watch,
            ordinary_path: self.ordinary_path,
        };
        match process.run(loaded.config, options) {
            Ok(()) => Exit::Ok,
            Err(error) => {
                error!("{error}");
                exit(&error)
            }
        }
    }
}

/// The exit code that says why a server ended.
fn exit(error: &RunError) -> Exit {
    match error {
        // It is configured, and cannot be what is meant.
        RunError::Http(HttpError::Token { .. } | HttpError::PeerToken { .. }) => Exit::Config,
        _ => Exit::Internal,
    }
}
