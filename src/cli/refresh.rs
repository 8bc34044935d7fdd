//! `eipdns refresh`

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;

use super::remote::{Deadline, Remote, RemoteError, ServerApi};
use super::{Exit, print};
use crate::http::{MAX_WISHES, SourceRefreshed};
use crate::status::wish::{Answered, Judged, Verdict, Wish};

/// The first pause between two refreshes that wait for an answer.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// With less time left another round would not come to its end.
const LAST_ROUND: Duration = Duration::from_millis(200);

/// So much of what is left is for the way of the server's answer to us, at most.
const WAY_BACK: Duration = Duration::from_millis(200);

/// `eipdns refresh`
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
    #[arg(long, value_name = "NAME=IP|NAME=eipassoc-…")]
    wait_for: Vec<Wish>,
    /// As this view is answered it [default: in every view that has the name,
    /// but for those of public addresses, which a move does not change]
    #[arg(long, requires = "wait_for")]
    view: Option<String>,
    /// How long to wait, whatever the server does
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// How one refresh went.
enum Round {
    /// As the exit code says; and the sources whose calls failed.
    Done(Exit, Vec<String>),
    /// The server was too busy to begin it.
    Busy(RemoteError),
}

/// What a round brought.
struct Heard {
    judged: Vec<Judged>,
    /// Sources whose calls failed; none if the server was too busy to ask any.
    failed: Option<Vec<String>>,
}

/// Why calls of sources failed, as it was said last.
#[derive(Default)]
struct Failures(HashMap<String, String>);

impl Failures {
    /// Is it to be said: another failure than the one before, or the first?
    fn are_news(&mut self, one: &SourceRefreshed) -> bool {
        match &one.failed {
            None => self.0.remove(&one.source).is_some(),
            Some(why) => {
                let before = self.0.insert(one.source.clone(), why.clone());
                before.is_none_or(|before| before != *why)
            }
        }
    }
}

impl Refresh {
    pub(super) fn run(self) -> Exit {
        if self.wait_for.len() > MAX_WISHES {
            print::complain(&format_args!("--wait-for is given more than {MAX_WISHES} times"));
            return Exit::Usage;
        }
        if self.timeout.is_zero() {
            print::complain(&"--timeout 0s leaves no time to ask; give some, as in 30s");
            return Exit::Usage;
        }
        let client = self.remote.client(Deadline::within(self.timeout));
        let ended = client.and_then(|client| match self.wait_for[..] {
            [] => self.once(&client),
            [..] => self.until_answered(&client),
        });
        ended.unwrap_or_else(|error| error.tell(super::WITHOUT_SERVER))
    }

    fn once(&self, client: &ServerApi) -> Result<Exit, RemoteError> {
        match self.refresh(client, &mut Failures::default())? {
            Round::Done(exit, _) => Ok(exit),
            Round::Busy(error) => Err(error),
        }
    }

    /// Refreshes until every wish is true, or can never be.
    fn until_answered(&self, client: &ServerApi) -> Result<Exit, RemoteError> {
        let mut last = self.judged(client)?;
        if let Some(exit) = hopeless(&last) {
            return Ok(exit);
        }
        let mut pause = FIRST_PAUSE;
        let mut failures = Failures::default();
        loop {
            let failed = match self.round(client, &mut failures) {
                Ok(Ok(heard)) => {
                    last = heard.judged;
                    heard.failed
                }
                Ok(Err(unread)) => return Ok(unread),
                // The server is busy or hangs; it was there a moment ago.
                Err(RemoteError::Late { within, .. }) => {
                    let within = humantime::format_duration(within);
                    print::complain(&format_args!(
                        "the {within} were over before the server had answered the last refresh"
                    ));
                    return Ok(told_otherwise(&last));
                }
                Err(error) => return Err(error),
            };
            if let Some(exit) = hopeless(&last) {
                return Ok(exit);
            }
            let is_so = last.iter().all(|one| one.verdict == Verdict::Answered);
            let rests = |source: &&String| last.iter().any(|one| one.sources.contains(*source));
            let why_unsure = match &failed {
                None => Some("the server was too busy to ask its sources".to_owned()),
                Some(failed) => failed.iter().find(rests).map(|source| {
                    format!("by the last good word of source {source}, which does not answer now")
                }),
            };
            if is_so && why_unsure.is_none() {
                return Ok(Exit::Ok);
            }
            let left = client.deadline.left();
            if left < LAST_ROUND {
                if let (true, Some(why)) = (is_so, why_unsure) {
                    print::complain(&format_args!("it is answered so, but not for sure: {why}"));
                }
                return Ok(told_otherwise(&last));
            }
            std::thread::sleep(pause.min(left / 2));
            pause = pause.mul_f64(1.5).min(LAST_PAUSE);
        }
    }

    /// Refreshes and judges; else the exit code if nobody reads what is printed.
    fn round(
        &self,
        client: &ServerApi,
        failures: &mut Failures,
    ) -> Result<Result<Heard, Exit>, RemoteError> {
        let failed = match self.refresh(client, failures)? {
            Round::Done(Exit::Unread, _) => return Ok(Err(Exit::Unread)),
            Round::Done(_, failed) => Some(failed),
            Round::Busy(_) => None,
        };
        let judged = self.judged(client)?;
        Ok(Ok(Heard { judged, failed }))
    }

    /// One refresh, which the server ends in time.
    fn refresh(&self, client: &ServerApi, failures: &mut Failures) -> Result<Round, RemoteError> {
        let left = client.deadline.left();
        let within = left.saturating_sub(WAY_BACK.min(left / 4)).as_millis().to_string();
        let accept = self.accept.to_string();
        let mut query = vec![("accept", accept.as_str()), ("within_ms", within.as_str())];
        query.extend(self.source.as_deref().map(|source| ("source", source)));
        let all: Vec<SourceRefreshed> = match client.post("/api/refresh", &query) {
            Ok(all) => all,
            Err(busy @ RemoteError::Refused { status: 503, again: true, .. }) => {
                return Ok(Round::Busy(busy));
            }
            Err(error) => return Err(error),
        };
        let mut told = String::new();
        for one in &all {
            let is_news = failures.are_news(one);
            told += &match (&one.failed, one.took_ms) {
                _ if self.json => format!("{}\n", serde_json::json!(one)),
                (Some(why), _) => {
                    if is_news {
                        print::complain(&format_args!("source {}: {why}", one.source));
                    }
                    continue;
                }
                (None, Some(took)) => format!("source {}: asked in {took:.1} ms\n", one.source),
                (None, None) => continue,
            };
        }
        let failed: Vec<_> =
            all.into_iter().filter(|one| one.failed.is_some()).map(|one| one.source).collect();
        let exit = if failed.is_empty() { Exit::Ok } else { Exit::No };
        Ok(Round::Done(print::answer(&told, exit), failed))
    }

    /// What has become of the wishes, all in one snapshot.
    fn judged(&self, client: &ServerApi) -> Result<Vec<Judged>, RemoteError> {
        let wishes: Vec<_> = self.wait_for.iter().map(ToString::to_string).collect();
        let wishes = wishes.join("\n");
        let mut query = vec![("wait_for", wishes.as_str())];
        query.extend(self.view.as_deref().map(|view| ("view", view)));
        let answered: Answered = client.get("/api/answered", &query)?;
        client.expects(answered.wishes.len(), self.wait_for.len())?;
        Ok(answered.wishes)
    }
}

/// Says which wishes will not become true by waiting, and how the command ends
/// then.
fn hopeless(all: &[Judged]) -> Option<Exit> {
    let mut end = None;
    for one in all {
        let exit = match one.verdict {
            Verdict::Answered | Verdict::Otherwise => continue,
            Verdict::OwnElasticIp { .. } => Exit::Usage,
            Verdict::NotBound { .. } | Verdict::NotInView { .. } => Exit::No,
        };
        print::complain(one);
        end = end.filter(|end| *end == Exit::Usage).or(Some(exit));
    }
    end
}

/// Says what is answered instead.
fn told_otherwise(all: &[Judged]) -> Exit {
    all.iter().filter(|one| one.verdict != Verdict::Answered).for_each(print::complain);
    Exit::No
}
