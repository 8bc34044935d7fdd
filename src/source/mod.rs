//! Where addresses come from, and how losses are taken.
//!
//! Each source runs by itself and fails by itself. It tells the one writer of
//! every call in a [`Delivery`]; the writer keeps what it accepted of each
//! source, publishes, and then [acknowledges](Delivery::published), which
//! answers those who asked for a refresh. Nothing else connects the two.
//!
//! * [`mod@file`]: a JSON file, watched ([`watch`], [`json`]).
//! * [`known`]: what of an answer is as in the one before.
//! * [`usable`]: what of an answer can be used at all.
//! * [`allocation`]: what an address is known by from one answer to the next.
//! * [`accept`]: how losses are taken, between a source and what is published.
//! * [`poll`]: when EC2 is called, and who is told.
//! * [`ec2`]: who makes the call itself, in a crate of its own.
//! * [`lookup`]: how EC2 is found without asking ourselves.
//! * [`health`], [`stats`], [`error`]: what is known about a source.
//! * [`successor`]: which source carries on what another one said.
//! * [`clock`]: the time all of it is measured with.

pub mod accept;
pub mod allocation;
pub mod clock;
pub mod ec2;
pub mod error;
pub(crate) mod file;
pub(crate) mod health;
pub mod inventory;
pub mod json;
pub mod known;
pub mod lookup;
pub mod once;
pub mod poll;
pub(crate) mod resolvers;
pub(crate) mod stats;
pub(crate) mod successor;
#[cfg(test)]
pub(crate) mod testing;
pub mod usable;
pub(crate) mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::config::{Source, SourceId};
use crate::source::inventory::{Health, SourceInventory};
use clock::Clock;
use error::SourceError;
use poll::{Pause, Throttled};
use stats::Stats;
use usable::Said;

/// Everything a source says at one moment, or why it says nothing.
pub type Answer = Result<Said, Arc<SourceError>>;

/// What a source hands to the writer after a call.
#[derive(Debug)]
pub struct Delivery {
    /// Which source.
    pub source: SourceId,
    /// When the answer, or its failure, was there.
    pub at: SystemTime,
    /// How long the call took.
    pub took: Duration,
    /// The source's region, once known.
    pub region: Option<String>,
    /// What it brought.
    pub answer: Answer,
    /// How the source does, this call included.
    pub health: Health,
    /// An operator takes the losses in this answer as they are.
    pub accept_losses: bool,
    /// Who waits for it to be published.
    pub waiters: Waiters,
}

impl Delivery {
    /// Tells those who wait for it that the delivery is in every answer from
    /// now on, or why it is not although the source has answered. A delivery
    /// that is dropped instead tells them that the server is going down.
    pub fn published(self, not_published: Option<String>) {
        let failed = not_published.or(self.answer.as_ref().err().map(ToString::to_string));
        let done = Refreshed { at: self.at, took: self.took, failed };
        for waiter in self.waiters.0 {
            // Whoever does not wait any longer needs no answer.
            let _ = waiter.send(done.clone());
        }
    }
}

/// Those who wait for a delivery.
#[derive(Debug, Default)]
pub struct Waiters(Vec<oneshot::Sender<Refreshed>>);

/// The outcome of a refresh.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// When the call ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Why there is no new answer, when there is none; losses were then not
    /// accepted either.
    pub failed: Option<String>,
}

/// The source's task has ended: the server is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source is being shut down; ask again once the server is up")]
pub struct Gone;

/// What a source is asked to do.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Call at another pace from now on.
    Poll(Duration),
    /// Look again; nobody waits.
    Look,
    /// Look again and say when that is published.
    Refresh {
        /// Take losses as they are.
        accept_losses: bool,
        /// Whom to tell.
        reply: oneshot::Sender<Refreshed>,
    },
}

/// How many asks may be on their way to a source. It takes them up even
/// while a call is under way, so they do not pile up.
const MAX_ASKS: usize = 64;

/// The writer's and the status pages' end of a source. Dropping the last one
/// ends the source's task.
#[derive(Debug, Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    stats: Arc<Stats>,
    throttled: Arc<Throttled>,
}

impl Handle {
    /// Asks for a call that begins after this moment, and waits until its
    /// outcome is published. Requests that come while a call is under way
    /// share the next one.
    ///
    /// # Errors
    /// [`Gone`] when the server is going down.
    pub async fn refresh(&self, accept_losses: bool) -> Result<Refreshed, Gone> {
        let (reply, done) = oneshot::channel();
        let ask = Ask::Refresh { accept_losses, reply };
        self.asks.send(ask).await.map_err(|_| Gone)?;
        done.await.map_err(|_| Gone)
    }

    /// Asks for a call soon, without waiting for it: a hold is due, and only
    /// a good answer may end it.
    pub fn look(&self) {
        // Full: others have asked, and one call serves all.
        let _ = self.asks.try_send(Ask::Look);
    }

    /// Changes the pace of an `ec2` source. Calls that are due later than that
    /// because of failures stay so.
    pub fn set_poll(&self, poll: Duration, now: SystemTime) {
        self.stats.begin(now);
        // Full of asks that nobody takes: the task is gone.
        let _ = self.asks.try_send(Ask::Poll(poll));
    }

    /// The counters themselves, for the source that carries this one on.
    pub(crate) fn shared_stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// The pause of an `ec2` source that EC2 throttles, for the source that carries
    /// this one on.
    pub(crate) fn throttled(&self) -> Option<Pause> {
        self.throttled.get()
    }

    /// What the source has done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

/// Requests that the next call will serve.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    asked: bool,
    accept_losses: bool,
    waiters: Vec<oneshot::Sender<Refreshed>>,
}

/// Who wants the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Nobody: it is time.
    Time,
    /// A hold that is due.
    Look,
    /// Somebody who waits.
    Refresh,
}

impl Pending {
    fn by(&self) -> By {
        match (self.asked, self.waiters.is_empty()) {
            (false, _) => By::Time,
            (true, true) => By::Look,
            (true, false) => By::Refresh,
        }
    }

    fn add(&mut self, ask: Ask) {
        match ask {
            Ask::Poll(_) => {}
            Ask::Look => self.asked = true,
            Ask::Refresh { accept_losses, reply } => {
                self.asked = true;
                self.accept_losses |= accept_losses;
                self.waiters.push(reply);
            }
        }
    }
}

/// What a source is started with, of whatever kind it is.
#[derive(Debug)]
pub struct Setup {
    /// Marks its deliveries.
    pub id: SourceId,
    /// For the log.
    pub name: String,
    /// How the source did that it carries on.
    pub health: Health,
    /// What that one has counted.
    pub stats: Arc<Stats>,
    /// The pause that it keeps to.
    pub throttled: Option<Pause>,
    /// The time.
    pub clock: Clock,
    /// Where it delivers.
    pub deliveries: mpsc::Sender<Delivery>,
}

impl Setup {
    /// For a source that carries on no other.
    pub fn new(id: SourceId, name: &str, clock: Clock, deliveries: mpsc::Sender<Delivery>) -> Self {
        let (health, stats, throttled) = (Health::Starting, Arc::default(), None);
        Self { id, name: name.to_owned(), health, stats, throttled, clock, deliveries }
    }
}

/// A source that has not said anything yet.
pub fn silent(source: &Source) -> SourceInventory {
    SourceInventory {
        name: source.name.clone(),
        region: source.region.clone(),
        entries: None,
        health: Health::Starting,
        delivered_at: None,
    }
}

/// A source's own end of [`Handle`] and of the channel to the writer, with
/// what every kind of source keeps count of.
#[derive(Debug)]
pub(crate) struct Post {
    source: SourceId,
    clock: Clock,
    tracker: health::Tracker,
    teller: usable::Teller,
    stats: Arc<Stats>,
    throttled: Arc<Throttled>,
    asks: mpsc::Receiver<Ask>,
    deliveries: mpsc::Sender<Delivery>,
}

/// Why a source's loop ended: both mean that the server is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Nobody takes deliveries any longer.
    #[error("the writer is gone")]
    NoWriter,
    /// Nobody holds a [`Handle`] any longer.
    #[error("nobody asks any longer")]
    NoHandle,
}

impl Post {
    fn new(setup: Setup) -> (Self, Handle) {
        let Setup { id: source, name, health, stats, throttled, clock, deliveries } = setup;
        let (sender, asks) = mpsc::channel(MAX_ASKS);
        let throttled = Arc::new(Throttled::new(throttled));
        let (counts, pauses) = (Arc::clone(&stats), Arc::clone(&throttled));
        let handle = Handle { asks: sender, stats: counts, throttled: pauses };
        let tracker = health::Tracker::new(&name, health);
        let teller = usable::Teller::new(&name);
        (Self { source, clock, tracker, teller, stats, throttled, asks, deliveries }, handle)
    }

    /// Waits for an ask. Cancel safe.
    async fn asked(&mut self) -> Result<Ask, Ended> {
        self.asks.recv().await.ok_or(Ended::NoHandle)
    }

    /// An ask that is there already.
    fn ask_at_hand(&mut self) -> Option<Ask> {
        self.asks.try_recv().ok()
    }

    /// Counts and judges a call, without telling anybody.
    fn note(&mut self, took: Duration, answer: &Answer) -> SystemTime {
        let now = self.clock.now();
        self.stats.count(now, took, answer);
        match answer {
            Ok(said) => {
                self.tracker.good(now);
                self.teller.hear(&said.left_out);
            }
            Err(error) => drop(self.tracker.bad(now, error)),
        }
        now
    }

    /// Hands the outcome of a call to the writer.
    async fn deliver(
        &mut self,
        took: Duration,
        region: Option<String>,
        answer: Answer,
        asked: Pending,
    ) -> Result<(), Ended> {
        let delivery = Delivery {
            source: self.source,
            at: self.note(took, &answer),
            took,
            region,
            answer,
            health: self.tracker.health().clone(),
            accept_losses: asked.accept_losses,
            waiters: Waiters(asked.waiters),
        };
        self.deliveries.send(delivery).await.map_err(|_| Ended::NoWriter)
    }
}
