//! `eipdns explain`

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::Args;
use hickory_proto::rr::RecordType;

use super::{Common, Exit};
use crate::explain::{Explanation, Who, explain};
use crate::name::Key;
use crate::offline::{self, Offline};

/// Says what a client is answered for a name, and why: view, zone, binding,
/// Elastic IP, association, age, and the answer as dig prints it.
///
/// Without --client and --view every view is explained.
#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    common: Common,
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
        let loaded = match self.common.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let name = match Key::parse(&self.name, None) {
            Ok(name) => name,
            Err(error) => {
                eprintln!("eipdns: {:?} is no domain name: {error}", self.name);
                return Exit::Usage;
            }
        };
        let Ok(rtype) = RecordType::from_str(&self.rtype.to_uppercase()) else {
            eprintln!("eipdns: {:?} is no record type; write A, AAAA, CNAME, …", self.rtype);
            return Exit::Usage;
        };
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
                    eprintln!(
                        "eipdns: there is no view {wanted:?}; the views are {}",
                        known.join(", ")
                    );
                    return Exit::Usage;
                }
            },
            (None, None) => (0..views.len()).map(Who::View).collect(),
        };
        let offline = Offline::new(config, offline::inventory(config));
        let input = offline.input();
        let all: Vec<_> = who
            .into_iter()
            .map(|who| explain(&input, &offline.snapshot, who, &name, rtype))
            .collect();
        self.print(&all)
    }

    fn print(&self, all: &[Explanation]) -> Exit {
        for (nth, one) in all.iter().enumerate() {
            if self.json {
                match serde_json::to_string(one) {
                    Ok(line) => println!("{line}"),
                    Err(error) => {
                        eprintln!("eipdns: cannot write JSON: {error}");
                        return Exit::Internal;
                    }
                }
            } else {
                if nth > 0 {
                    println!();
                }
                print!("{one}");
            }
        }
        Exit::Ok
    }
}
