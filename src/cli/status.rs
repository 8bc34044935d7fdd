//! `eipdns status`

use clap::Args;
use serde::Deserialize;

use super::raw::Raw;
use super::remote::{Deadline, PATIENCE, Remote, RemoteError, ServerApi};
use super::{Exit, print};
use crate::status::report::Status;

const PATH: &str = "/api/status";

/// `eipdns status`
#[derive(Debug, Args)]
pub(super) struct StatusOf {
    #[command(flatten)]
    remote: Remote,
    /// As JSON, all that the server says, of whatever version it is
    #[arg(long)]
    json: bool,
    /// Say nothing; 0 when /livez does, however the sources do: for a container's
    /// health check, which needs no token
    #[arg(long, conflicts_with = "json")]
    live: bool,
}

impl StatusOf {
    pub(super) fn run(self) -> Exit {
        let deadline = Deadline::within(PATIENCE);
        let told = if self.live {
            self.remote.stranger(deadline).and_then(|client| client.lives()).map(|()| Exit::Ok)
        } else {
            self.remote.client(deadline).and_then(|client| self.told(&client))
        };
        told.unwrap_or_else(|error| error.tell(super::WITHOUT_SERVER))
    }

    fn told(&self, client: &ServerApi) -> Result<Exit, RemoteError> {
        let (text, healthy) = if self.json {
            let Raw { json, part: Healthy { healthy } } = client.get(PATH, &[])?;
            (format!("{json}\n"), healthy)
        } else {
            let status: Status = client.get(PATH, &[])?;
            (status.to_string(), status.healthy)
        };
        Ok(print::answer(&text, if healthy { Exit::Ok } else { Exit::No }))
    }
}

/// What the exit code needs of it.
#[derive(Deserialize)]
struct Healthy {
    healthy: bool,
}
