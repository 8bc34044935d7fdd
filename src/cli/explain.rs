//! `eipdns explain`

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::Args;
use hickory_proto::rr::RecordType;

use super::remote::{Deadline, PATIENCE, Remote};
use super::{Exit, print};
use crate::cli::offline::{self, Offline};
use crate::dns::name::Key;
use crate::status::explain::{Explanation, Who, explain};

/// `eipdns explain`
#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    remote: Remote,
    /// Read the configuration and ask the sources, not the running server; fails
    /// if a source does
    #[arg(long)]
    offline: bool,
    /// Asked by this client
    #[arg(long, value_name = "IP", conflicts_with = "view")]
    client: Option<IpAddr>,
    /// The client asks at this address of ours [default: the first of listen.dns]
    #[arg(long, value_name = "IP:PORT", requires = "client")]
    at: Option<SocketAddr>,
    /// Asked by anyone in this view
    #[arg(long)]
    view: Option<String>,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
    /// The name
    name: String,
    /// The type
    #[arg(default_value = "A")]
    rtype: String,
}

impl Explain {
    pub(super) fn run(self) -> Exit {
        let name = match Key::parse(&self.name, None) {
            Ok(name) => name,
            Err(error) => {
                print::complain(&format_args!("{:?} is no domain name: {error}", self.name));
                return Exit::Usage;
            }
        };
        let Ok(rtype) = RecordType::from_str(&self.rtype.to_uppercase()) else {
            print::complain(&format_args!(
                "{:?} is no record type; write A, AAAA, CNAME, …",
                self.rtype
            ));
            return Exit::Usage;
        };
        let all = if self.offline { self.offline(&name, rtype) } else { self.ask() };
        match all {
            Ok(all) => self.print(&all),
            Err(exit) => exit,
        }
    }

    /// The running server's word.
    fn ask(&self) -> Result<Vec<Explanation>, Exit> {
        let (client, at) =
            (self.client.map(|ip| ip.to_string()), self.at.map(|address| address.to_string()));
        let mut query = vec![("name", self.name.as_str()), ("type", self.rtype.as_str())];
        query.extend(client.as_deref().map(|client| ("client", client)));
        query.extend(at.as_deref().map(|at| ("at", at)));
        query.extend(self.view.as_deref().map(|view| ("view", view)));
        let client = self.remote.client(Deadline::within(PATIENCE));
        let all = client.and_then(|client| client.get("/api/explain", &query));
        all.map_err(|error| error.tell(offline::INSTEAD))
    }

    /// What a server would say if it started now.
    fn offline(&self, name: &Key, rtype: RecordType) -> Result<Vec<Explanation>, Exit> {
        let loaded = self.remote.common.load()?;
        let config = &loaded.config;
        let views = &config.server.views;
        let who = match (&self.client, &self.view) {
            (Some(client), _) => {
                let first = config.server.listen.dns.first().copied();
                let local = self.at.or(first).unwrap_or(([127, 0, 0, 1], 53).into());
                vec![Who::Client { client: *client, local }]
            }
            (None, Some(wanted)) => match views.iter().position(|v| v.name == *wanted) {
                Some(view) => vec![Who::View(view)],
                None => {
                    let known: Vec<_> = views.iter().map(|v| v.name.as_str()).collect();
                    print::complain(&format_args!(
                        "there is no view {wanted:?}; the views are {}",
                        known.join(", ")
                    ));
                    return Err(Exit::Usage);
                }
            },
            (None, None) => (0..views.len()).map(Who::View).collect(),
        };
        let offline = Offline::new(config, offline::ask(config)?);
        super::need_all_sources(&offline)?;
        let input = offline.input();
        let explained = |who| Explanation {
            offline: true,
            ..explain(&input, &offline.current, who, name, rtype)
        };
        Ok(who.into_iter().map(explained).collect())
    }

    fn print(&self, all: &[Explanation]) -> Exit {
        if !self.json {
            let told: Vec<_> = all.iter().map(ToString::to_string).collect();
            return print::answer(&told.join("\n"), Exit::Ok);
        }
        let mut told = String::new();
        for one in all {
            match serde_json::to_string(one) {
                Ok(line) => told += &(line + "\n"),
                Err(error) => {
                    print::complain(&format_args!("cannot write JSON: {error}"));
                    return Exit::Internal;
                }
            }
        }
        print::answer(&told, Exit::Ok)
    }
}
