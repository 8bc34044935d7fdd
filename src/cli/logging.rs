//! Logging: human on a terminal, JSON by a flag. A packet never logs above
//! debug.

use clap::Args;
use tracing_subscriber::EnvFilter;

/// What is logged and how.
#[derive(Debug, Clone, Args)]
pub(super) struct Logging {
    /// What to log: error, warn, info, debug, trace, or directives such as
    /// `info,eipdns::source=debug`
    #[arg(long, value_name = "LEVEL", env = "EIPDNS_LOG", default_value = "info")]
    log: EnvFilter,
    /// One JSON object a line
    #[arg(long)]
    log_json: bool,
}

impl Logging {
    /// Starts logging to stderr.
    pub(super) fn start(&self) {
        let base = tracing_subscriber::fmt()
            .with_env_filter(self.log.clone())
            .with_writer(std::io::stderr)
            .with_target(false);
        // Fails only when a logger is already there, as in tests.
        let started = if self.log_json {
            base.json().try_init()
        } else {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            base.with_ansi(terminal).try_init()
        };
        drop(started);
    }
}
