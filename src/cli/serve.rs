//! `eipdns serve`

use clap::Args;

use super::logging::Logging;
use super::{Common, Exit};
use crate::run;

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
        let loaded = match self.common.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        self.logging.start();
        let options = run::Options {
            directory: self.common.directory(),
            overrides: self.common.overrides(),
            watch: self.watch,
            ordinary_path: self.ordinary_path,
        };
        match run::run(loaded.config, options) {
            Ok(()) => Exit::Ok,
            Err(error) => {
                eprintln!("eipdns: {error}");
                error.exit()
            }
        }
    }
}
