//! What a reload has come to, for whoever asked for it over HTTP.
//!
//! The loop that publishes notes what was in use before and what is now, which costs it
//! nothing. The verdict is made from that by who waits for it, once for all of them.
//!
//! * `keys`: what server.toml says otherwise; `zones`: what zone files say otherwise.

mod keys;
#[cfg(test)]
mod tests;
mod zones;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::report::reload::{
    ContentReport, First, Listeners, LostReport, NameReport, OpenedReport, ProblemReport,
    TakenReport, Verdict,
};
use crate::compile::reloaded::{self, NameChange, ZoneChange};
use crate::config::{Config, ForwardConfig, NeedsRestart, SourceId};
use crate::diag::{Problem, Severity};
use crate::serve::Opened;
use crate::store::Current;

/// So many wait for reloads at once. They share readings, and an operator or two with
/// their scripts are fewer.
pub(crate) const MAX_ASKS: usize = 16;

/// Of each kind so many changes are told. The names of a zone that comes or goes may be a
/// hundred thousand.
const MAX_TOLD: usize = 1_000;

/// So many problems are told: `eipdns check` and the log have all, and nobody reads more.
const MAX_PROBLEMS: usize = 10_000;

/// Where a reload is asked for; a clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Asks(Arc<Asking>);

#[derive(Debug)]
struct Asking {
    sender: mpsc::Sender<Asked>,
    places: Arc<Semaphore>,
    turned_away: AtomicU64,
}

/// A reload that is waited for.
#[derive(Debug)]
pub(crate) struct Ask {
    /// To be kept until the answer has been taken.
    pub place: OwnedSemaphorePermit,
    /// What it has come to; an error: the server stops.
    pub reloaded: oneshot::Receiver<Arc<Reloaded>>,
}

/// The other end of an [`Ask`].
#[derive(Debug)]
pub(crate) struct Asked {
    /// Who asks.
    pub client: IpAddr,
    answer: oneshot::Sender<Arc<Reloaded>>,
}

impl Asks {
    /// And where they come out.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, asked) = mpsc::channel(MAX_ASKS);
        let (places, turned_away) = (Arc::new(Semaphore::new(MAX_ASKS)), AtomicU64::new(0));
        (Self(Arc::new(Asking { sender, places, turned_away })), asked)
    }

    /// Asks for a reload; none, which is counted, while too many wait.
    pub(crate) fn ask(&self, client: IpAddr) -> Option<Ask> {
        let (answer, reloaded) = oneshot::channel();
        let asked = Asked { client, answer };
        let place = Arc::clone(&self.0.places).try_acquire_owned().ok();
        // The channel is full when the loop hangs and those who asked have given up.
        let place = place.filter(|_| self.0.sender.try_send(asked).is_ok());
        if place.is_none() {
            self.0.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        place.map(|place| Ask { place, reloaded })
    }

    /// How many were turned away since the start.
    pub(crate) fn turned_away(&self) -> u64 {
        self.0.turned_away.load(Ordering::Relaxed)
    }
}

impl Asked {
    /// Does nobody wait for it any longer?
    pub(crate) fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    /// This it has come to.
    pub(crate) fn answer(self, reloaded: &Arc<Reloaded>) {
        // Given up by then.
        let _ = self.answer.send(Arc::clone(reloaded));
    }
}

/// What one reading of the configuration has come to.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// When, RFC 3339.
    pub at: String,
    /// What is wrong with what was read.
    pub problems: Vec<Problem>,
    /// What came of it.
    pub outcome: Outcome,
    /// Made when the first one asks for it.
    pub verdict: OnceLock<Verdict>,
}

/// What came of a configuration.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is in use.
    Taken(Box<Taken>),
    /// `problems` say why it is not.
    Wrong,
    /// It is well, and cannot be carried out: why.
    Failed(String),
}

/// A configuration that is in use.
#[derive(Debug)]
pub(crate) struct Taken {
    /// What was in use.
    pub before: InUse,
    /// What is.
    pub after: InUse,
    /// What is gone altogether, each with its file.
    pub lost: Vec<Problem>,
    /// For each source the number of the one before that it carries on.
    pub predecessors: Vec<Option<SourceId>>,
    /// Addresses that are listened at since.
    pub opened: Vec<Opened>,
    /// Those that are no longer.
    pub closed: Vec<SocketAddr>,
    /// Keys that say otherwise than the process runs.
    pub needs_restart: Vec<NeedsRestart>,
}

/// A configuration with its answers.
#[derive(Debug, Clone)]
pub(crate) struct InUse {
    /// What it says.
    pub config: Arc<Config>,
    /// The answers.
    pub current: Arc<Current>,
    /// Whom it asks about other names; none if no view forwards.
    pub forward: Option<ForwardConfig>,
}

impl Reloaded {
    /// All of it for who asked. May take as long as making the answers did.
    pub(crate) fn verdict(&self) -> &Verdict {
        self.verdict.get_or_init(|| self.told())
    }

    fn told(&self) -> Verdict {
        let mut problems: Vec<&Problem> = self.problems.iter().collect();
        if problems.len() > MAX_PROBLEMS {
            problems.sort_by_key(|problem| problem.severity != Severity::Error);
        }
        let mut problems: Vec<_> = problems.into_iter().map(ProblemReport::from).collect();
        let taken = match &self.outcome {
            Outcome::Taken(taken) => Some(taken.report()),
            Outcome::Wrong => None,
            Outcome::Failed(why) => {
                problems.insert(0, ProblemReport::of_none(why));
                None
            }
        };
        Verdict {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: self.at.clone(),
            accepted: taken.is_some(),
            problems: First::of(problems, MAX_PROBLEMS),
            taken,
        }
    }
}

impl ProblemReport {
    /// An error that stands in no file.
    fn of_none(why: &str) -> Self {
        let what = why.to_owned();
        Self { error: true, file: None, line: None, column: None, what, remedy: None }
    }
}

impl Taken {
    fn report(&self) -> TakenReport {
        let Self { before, after, lost, opened, closed, .. } = self;
        let (old, new) = (&before.current.snapshot, &after.current.snapshot);
        let (contents, other_contents) = reloaded::zones_of_views(old, new, MAX_TOLD);
        let (names, other_names) = reloaded::names(old, new, MAX_TOLD);
        let opened =
            opened.iter().map(|one| OpenedReport { address: one.address, on_host: one.on_host });
        let lost = lost.iter().map(|problem| LostReport {
            file: problem.place.file.display().to_string(),
            what: problem.what.clone(),
        });
        TakenReport {
            generation: new.generation,
            changed: true,
            lost: First::of(lost, MAX_TOLD),
            keys: keys::keys(before, after),
            needs_restart: self.needs_restart.iter().map(keys::needs_restart).collect(),
            cache_emptied: after.forward.is_some() && before.forward != after.forward,
            views: keys::views(&before.config, &after.config),
            sources: keys::sources(&before.config, &after.config, &self.predecessors),
            listeners: Listeners { opened: opened.collect(), closed: closed.clone() },
            zones: zones::zones(&before.config, &after.config),
            contents: First {
                first: contents.into_iter().map(content).collect(),
                more: other_contents,
            },
            names: First { first: names.into_iter().map(name).collect(), more: other_names },
        }
        .judged()
    }
}

fn content(one: ZoneChange) -> ContentReport {
    let ZoneChange { origin, view, old, new, rrsets } = one;
    ContentReport { zone: origin.to_string(), view: view.to_string(), old, new, rrsets }
}

fn name(one: NameChange) -> NameReport {
    let NameChange { name, views, old, new } = one;
    let views = views.iter().map(ToString::to_string).collect();
    NameReport { name: name.to_string(), views, old, new }
}
