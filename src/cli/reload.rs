//! `eipdns reload`

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::raw::Raw;
use super::remote::{Deadline, Remote, RemoteError, ServerApi};
use super::{Exit, print};
use crate::status::report::reload::Verdict;

const PATH: &str = "/api/reload";

/// Longer than the server waits for what becomes of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the running server read its configuration again, all of it, and take it: what
/// watching alone would refuse as a loss is taken as well.
///
/// Says what has changed and what needs a restart; errors and warnings go to stderr, each with
/// its file and line. Ends with 0 when the configuration is in use, 1 when it is refused and the
/// one before stands, 69 when the server cannot be reached or says nothing in time. The server
/// goes on with it then.
#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    remote: Remote,
    /// As JSON, all that the server says, of whatever version it is
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub(super) fn run(self) -> Exit {
        let client = self.remote.client(Deadline::within(PATIENCE));
        let ended = client.and_then(|client| self.told(&client));
        ended.unwrap_or_else(|error| error.tell(super::WITHOUT_SERVER))
    }

    fn told(&self, client: &ServerApi) -> Result<Exit, RemoteError> {
        if self.json {
            let Raw { json, part: Accepted { accepted } } = client.post(PATH, &[])?;
            return Ok(print::answer(&format!("{json}\n"), exit(accepted)));
        }
        let verdict: Verdict = client.post(PATH, &[])?;
        verdict.problems.first.iter().for_each(print::line);
        if verdict.problems.more > 0 {
            let more = verdict.problems.more;
            print::line(&format_args!("and {more} more problems: see the log, or `eipdns check`"));
        }
        Ok(print::answer(&verdict.to_string(), exit(verdict.accepted)))
    }
}

fn exit(accepted: bool) -> Exit {
    if accepted { Exit::Ok } else { Exit::No }
}

/// What the exit code needs of it.
#[derive(Deserialize)]
struct Accepted {
    accepted: bool,
}
