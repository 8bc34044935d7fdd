//! `eipdns dump`

use clap::Args;

use super::remote::{Deadline, PATIENCE, Remote, RemoteError};
use super::{Exit, print};
use crate::cli::offline::{self, Offline};
use crate::dns::name::Key;
use crate::status::dump::{Dumped, NoDump, Word, dump};

/// So many names without an answer are told one by one on stderr; the text has
/// all of them.
const TOLD: usize = 20;

/// `eipdns dump`
#[derive(Debug, Args)]
pub(super) struct Dump {
    #[command(flatten)]
    remote: Remote,
    /// Read the configuration and ask the sources, not the running server; fails
    /// if a source does
    #[arg(long)]
    offline: bool,
    /// As this view is answered it [default: the only view that has the zone]
    #[arg(long)]
    view: Option<String>,
    /// The zone's origin
    zone: String,
}

impl Dump {
    pub(super) fn run(self) -> Exit {
        let origin = match Key::parse(&self.zone, None) {
            Ok(origin) => origin,
            Err(error) => {
                print::complain(&format_args!("{:?} is no zone name: {error}", self.zone));
                return Exit::Usage;
            }
        };
        let dumped = if self.offline { self.offline(&origin) } else { self.ask() };
        match dumped {
            Ok(dumped) => told(&dumped),
            Err(exit) => exit,
        }
    }

    /// The running server's word.
    fn ask(&self) -> Result<Dumped, Exit> {
        let mut query = vec![("zone", self.zone.as_str())];
        query.extend(self.view.as_deref().map(|view| ("view", view)));
        let client = self.remote.client(Deadline::within(4 * PATIENCE));
        client.and_then(|client| client.get("/api/dump", &query)).map_err(|error| {
            let exit = error.tell(offline::INSTEAD);
            // No such zone, or one that is too large: that is an answer.
            let is_no = matches!(error, RemoteError::Refused { status: 404 | 507, .. });
            if is_no { Exit::No } else { exit }
        })
    }

    /// What a server would say if it started now.
    fn offline(&self, origin: &Key) -> Result<Dumped, Exit> {
        let loaded = self.remote.common.load()?;
        let offline = Offline::new(&loaded.config, offline::ask(&loaded.config)?);
        super::need_all_sources(&offline)?;
        let view = self.view.as_deref();
        dump(&offline.current.snapshot, origin, view, Word::Offline, usize::MAX).map_err(|why| {
            print::complain(&why);
            match why {
                NoDump::View { .. } | NoDump::Several { .. } => Exit::Usage,
                NoDump::Zone(_) | NoDump::TooLong { .. } => Exit::No,
            }
        })
    }
}

fn told(dumped: &Dumped) -> Exit {
    let all = &dumped.unanswered;
    for one in all.iter().take(TOLD) {
        print::complain(&format_args!("{}: {}", one.name, one.why));
    }
    if all.len() > TOLD {
        print::complain(&format_args!("{} more names are without an answer", all.len() - TOLD));
    }
    print::answer(&dumped.text, if all.is_empty() { Exit::Ok } else { Exit::No })
}
