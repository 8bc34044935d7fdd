//! A source's own end of its [`Handle`], and its deliveries to the writer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};

use super::asks::{Ask, Handle, MAX_ASKS, Pending};
use super::clock::Clock;
use super::poll::{Pause, Slowed, Throttled};
use super::stats::Stats;
use super::{Answer, Delivery, Waiters, health, usable};
use crate::config::SourceId;
use crate::source::inventory::Health;

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

/// A source's own end of [`Handle`] and of the channel to the writer, with
/// what every kind of source keeps count of.
#[derive(Debug)]
pub(crate) struct Post {
    source: SourceId,
    clock: Clock,
    tracker: health::Tracker,
    teller: usable::Teller,
    stats: Arc<Stats>,
    pub(super) throttled: Arc<Throttled>,
    asks: mpsc::Receiver<Ask>,
    /// Read once it has changed only.
    poll: watch::Receiver<Duration>,
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
    pub(super) fn new(setup: Setup) -> (Self, Handle) {
        let Setup { id: source, name, health, stats, throttled, clock, deliveries } = setup;
        let (sender, asks) = mpsc::channel(MAX_ASKS);
        let (pace, poll) = watch::channel(Duration::ZERO);
        let throttled = Arc::new(Throttled::new(throttled));
        let (counts, pauses) = (Arc::clone(&stats), Arc::clone(&throttled));
        let handle = Handle { asks: sender, poll: pace, stats: counts, throttled: pauses };
        let tracker = health::Tracker::new(&name, health);
        let teller = usable::Teller::new(&name);
        (Self { source, clock, tracker, teller, stats, throttled, asks, poll, deliveries }, handle)
    }

    /// Waits for an ask. Cancel safe.
    pub(super) async fn asked(&mut self) -> Result<Ask, Ended> {
        tokio::select! {
            biased;
            Ok(()) = self.poll.changed() => Ok(Ask::Poll(*self.poll.borrow())),
            ask = self.asks.recv() => ask.ok_or(Ended::NoHandle),
        }
    }

    /// An ask that is there already.
    pub(super) fn ask_at_hand(&mut self) -> Option<Ask> {
        if self.poll.has_changed().is_ok_and(|has_changed| has_changed) {
            return Some(Ask::Poll(*self.poll.borrow_and_update()));
        }
        self.asks.try_recv().ok()
    }

    /// Counts an answer that is equal to the one before.
    pub(super) fn count_unchanged(&self) {
        self.stats.count_unchanged();
    }

    /// Counts requests that were sent, and says whether the next is later than `poll` says.
    pub(super) fn count_requests(&self, sent: u64, slowed: Option<Slowed>) {
        self.stats.count_requests(sent, slowed);
    }

    /// Counts and judges a call, without telling anybody.
    pub(super) fn note(&mut self, took: Duration, answer: &Answer) -> SystemTime {
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
    pub(super) async fn deliver(
        &mut self,
        took: Duration,
        region: Option<String>,
        answer: Answer,
        asked: Pending,
    ) -> Result<(), Ended> {
        // Of no answer no loss can be taken.
        let accept_losses = answer.is_ok() && asked.take_accept();
        let delivery = Delivery {
            source: self.source,
            at: self.note(took, &answer),
            took,
            region,
            answer,
            health: self.tracker.health().clone(),
            accept_losses,
            hinted: asked.hinted,
            waiters: Waiters(asked.waiters),
        };
        self.deliveries.send(delivery).await.map_err(|_| Ended::NoWriter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While a delivery waits for the writer, nobody takes asks up.
    #[test]
    fn a_change_of_pace_is_not_lost_among_asks() {
        let setup = Setup::new(0, "east", Clock::start(), mpsc::channel(1).0);
        let (mut post, handle) = Post::new(setup);
        for _ in 0..2 * MAX_ASKS {
            handle.look();
        }
        for secs in [9, 7] {
            handle.set_poll(Duration::from_secs(secs), SystemTime::now());
        }
        let asks = std::iter::from_fn(|| post.ask_at_hand());
        let paces = asks.filter_map(|ask| match ask {
            Ask::Poll(poll) => Some(poll),
            _ => None,
        });
        assert_eq!(paces.last(), Some(Duration::from_secs(7)));
        assert!(post.ask_at_hand().is_none(), "it is told once");
    }
}
