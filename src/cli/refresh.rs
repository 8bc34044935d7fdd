//! `eipdns refresh`

use std::net::IpAddr;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::remote::{Client, Remote, RemoteError};
use super::{Exit, print};
use crate::http::Refreshed;

/// The first pause between two refreshes that wait for an answer.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Makes the running server ask its sources now, and waits until what they say
/// is answered. The last line of a failover script:
///
///   eipdns refresh --wait-for db.example.com=10.0.1.5
///
/// Ends with 0 when the server answers it, 1 when it does not in time (or a
/// source failed), 69 when the server cannot be reached.
#[derive(Debug, Args)]
pub(super) struct Refresh {
    #[command(flatten)]
    remote: Remote,
    /// Only this source
    #[arg(long)]
    source: Option<String>,
    /// Take what is lost as lost: ends every hold and a mass loss held back
    #[arg(long)]
    accept: bool,
    /// Ask again until the name is answered with this address, or rests on
    /// this association; may be given several times
    #[arg(long, value_name = "NAME=IP|NAME=eipassoc-…", value_parser = parse_wish)]
    wait_for: Vec<Wish>,
    /// As this view sees it [default: in every view that has the name]
    #[arg(long, requires = "wait_for")]
    view: Option<String>,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// What to wait for.
#[derive(Debug, Clone)]
struct Wish {
    name: String,
    wanted: Wanted,
}

#[derive(Debug, Clone)]
enum Wanted {
    Address(IpAddr),
    Association(String),
}

/// Why an argument of `--wait-for` makes no sense.
#[derive(Debug, thiserror::Error)]
enum WishError {
    #[error("write NAME=ADDRESS or NAME=eipassoc-…")]
    NoEquals,
    #[error("{0:?} is neither an address nor an association (eipassoc-…)")]
    Wanted(String),
}

fn parse_wish(text: &str) -> Result<Wish, WishError> {
    let (name, wanted) = text.split_once('=').ok_or(WishError::NoEquals)?;
    let wanted = match wanted.parse() {
        Ok(ip) => Wanted::Address(ip),
        Err(_) if wanted.starts_with("eipassoc-") => Wanted::Association(wanted.into()),
        Err(_) => return Err(WishError::Wanted(wanted.into())),
    };
    Ok(Wish { name: name.into(), wanted })
}

impl Refresh {
    pub(super) fn run(self) -> Exit {
        let client = match self.remote.client() {
            Ok(client) => client,
            Err(error) => {
                print::complain(&error);
                return error.exit();
            }
        };
        match self.until_answered(&client) {
            Ok(exit) => exit,
            Err(error) => {
                print::complain(&error);
                error.exit()
            }
        }
    }

    /// Refreshes until every wish is true.
    fn until_answered(&self, client: &Client) -> Result<Exit, RemoteError> {
        let deadline = Instant::now() + self.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let exit = self.refresh(client)?;
            if self.wait_for.is_empty() || exit == Exit::Unread {
                return Ok(exit);
            }
            let mut missing = Vec::new();
            for wish in &self.wait_for {
                if let Some(now) = self.answered_otherwise(client, wish)? {
                    missing.push(now);
                }
            }
            if missing.is_empty() {
                return Ok(Exit::Ok);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                for line in missing {
                    print::complain(&line);
                }
                return Ok(Exit::No);
            }
            std::thread::sleep(pause.min(left));
            pause = pause.mul_f64(1.5).min(LAST_PAUSE);
        }
    }

    /// One refresh: how it went.
    fn refresh(&self, client: &Client) -> Result<Exit, RemoteError> {
        let accept = self.accept.to_string();
        let mut query = vec![("accept", accept.as_str())];
        query.extend(self.source.as_deref().map(|source| ("source", source)));
        let all: Vec<Refreshed> = client.post("/api/refresh", &query)?;
        let mut told = String::new();
        for one in &all {
            told += &match (&one.failed, one.took_ms) {
                _ if self.json => format!("{}\n", serde_json::json!(one)),
                (Some(why), _) => {
                    print::complain(&format_args!("source {}: {why}", one.source));
                    continue;
                }
                (None, Some(took)) => format!("source {}: asked in {took:.1} ms\n", one.source),
                (None, None) => continue,
            };
        }
        let failed = all.iter().any(|one| one.failed.is_some());
        Ok(print::answer(&told, if failed { Exit::No } else { Exit::Ok }))
    }

    /// What is answered instead; none when the wish is true.
    fn answered_otherwise(
        &self,
        client: &Client,
        wish: &Wish,
    ) -> Result<Option<String>, RemoteError> {
        let rtype = match wish.wanted {
            Wanted::Address(IpAddr::V6(_)) => "AAAA",
            _ => "A",
        };
        let mut query = vec![("name", wish.name.as_str()), ("type", rtype)];
        query.extend(self.view.as_deref().map(|view| ("view", view)));
        let all: Vec<Value> = client.get("/api/explain", &query)?;
        let has_name = |one: &&Value| !one["binding"].is_null();
        let seen: Vec<_> = all.iter().filter(has_name).collect();
        if seen.is_empty() {
            return Ok(Some(format!("{} is bound in no such view", wish.name)));
        }
        let is_true = |one: &&Value| match &wish.wanted {
            Wanted::Address(ip) => {
                let answered = one["resolved"].as_str().unwrap_or_default();
                answered.split(' ').any(|a| a.parse() == Ok(*ip))
            }
            Wanted::Association(id) => {
                let addresses = one["addresses"].as_array().into_iter().flatten();
                addresses.filter(|a| a["chosen"] == true).any(|a| a["association"] == id.as_str())
            }
        };
        // A private address is not to be seen in a view of public ones: one
        // view is enough, unless one was named.
        if seen.iter().any(is_true) {
            return Ok(None);
        }
        let now: Vec<_> = seen
            .iter()
            .map(|one| {
                format!(
                    "{}: {}",
                    one["view"].as_str().unwrap_or("-"),
                    one["resolved"].as_str().unwrap_or("-")
                )
            })
            .collect();
        Ok(Some(format!("{} is answered otherwise ({})", wish.name, now.join("; "))))
    }
}
