//! What the status surfaces read: one value that the run loop keeps up to
//! date and everybody else looks at.
//!
//! * `status`: all of it as [`report::Status`](super::report::Status), made of
//!   `sources`: each source; `forwarding`: what is asked elsewhere; `names`: which
//!   have an address; `worst_case`: from a change to the answer; `budget`: requests to EC2.
//! * `peers`: the other replicas; `digests`: what they compare.
//! * `readiness`: whether to send clients here.

pub(crate) mod budget;
pub(crate) mod digests;
mod forwarding;
mod names;
pub(crate) mod peers;
mod readiness;
mod sources;
mod status;
mod worst_case;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::reloaded::Asks;
use super::report::Publishing;
use crate::config::Config;
use crate::forward::Looped;
use crate::host::descriptors::{Budget, Share};
use crate::host::pulse::{self, Pulse};
use crate::respond::counters::Counters;
use crate::serve;
use crate::source::accept::Losses;
use crate::source::clock::Clock;
use crate::source::discover::Rules;
use crate::source::inventory::Inventory;
use crate::source::{Delivery, Handle, interfaces};
use crate::store::Store;
use crate::writer::history::History;
pub(crate) use names::NamesSeen;
pub(crate) use readiness::Readiness;

/// Everything that can be looked at.
#[derive(Clone)]
pub(crate) struct Board {
    /// The answers.
    pub store: Store,
    /// What became of packets.
    pub counters: Arc<Counters>,
    /// What happened at the sockets.
    pub sockets: Arc<serve::Stats>,
    /// What the writer knows; changes with each delivery and reload.
    pub known: watch::Receiver<Arc<Facts>>,
    /// What has happened.
    pub history: Arc<History>,
    /// When the process began.
    pub started: SystemTime,
    /// The time.
    pub clock: Clock,
    /// Of the loop that publishes.
    pub pulse: Pulse,
    /// What sources have delivered waits in here.
    pub deliveries: mpsc::Sender<Delivery>,
    /// Where a reload is asked for.
    pub asks: Asks,
    /// Whether to send clients here.
    pub readiness: Readiness,
    /// Which names have an address.
    pub names: Arc<NamesSeen>,
    /// The other replicas.
    pub peers: peers::Peers,
}

/// How long one who asks waits for facts as new as the answers. They come within
/// milliseconds, unless the loop that publishes hangs.
const CATCHES_UP: Duration = Duration::from_millis(500);

/// What the writer knows at one moment.
#[derive(Clone)]
pub(crate) struct Facts {
    /// Of the snapshot that these facts explain.
    pub generation: u64,
    /// The configuration in use.
    pub config: Arc<Config>,
    /// What it says of names from tags.
    pub rules: Arc<Rules>,
    /// What the sources say.
    pub inventory: Inventory,
    /// Of each source: what is kept although it is not said any longer.
    pub losses: Vec<Losses>,
    /// Of each source: whom to ask for a refresh.
    pub handles: Vec<Option<Handle>>,
    /// Likewise, for network interfaces.
    pub interfaces: Vec<Option<interfaces::post::Handle>>,
    /// Where DNS is served.
    pub listening: Vec<SocketAddr>,
    /// Names moved so far, over all swaps; neither first answers nor losses.
    pub moves: u64,
    /// How long the last snapshot took, from what called for it to the swap.
    pub built_in: Duration,
    /// When the current snapshot was published.
    pub published_at: SystemTime,
    /// Upstreams through which our own questions come back.
    pub loops: Vec<Looped>,
    /// What became of reloads.
    pub reloads: Reloads,
    /// Why the state on disk is not up to date, when it is not.
    pub state_trouble: Option<String>,
    /// Why what was delivered last is not answered, when it is not.
    pub publish_trouble: Option<String>,
    /// Who may have how many descriptors.
    pub budget: Budget,
    /// Each socket to an upstream takes one of these.
    pub upstream_sockets: Share,
}

/// What became of reloads.
#[derive(Debug, Clone)]
pub(crate) struct Reloads {
    /// Refused since the start.
    pub refused: u64,
    /// Why the last one was refused, if it was: the files are then not what is
    /// served.
    pub trouble: Option<String>,
    /// When the configuration in use was taken.
    pub taken_at: SystemTime,
}

impl Reloads {
    /// Of a process that begins now, with a configuration that is good.
    pub(crate) fn none(now: SystemTime) -> Self {
        Self { refused: 0, trouble: None, taken_at: now }
    }
}

impl Board {
    /// Is there something to answer with? Else why not.
    ///
    /// # Errors
    /// What is waited for.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.readiness.judge(&self.known.borrow().clone(), self.clock.now())
    }

    /// Waits, not for long, until what is known explains the current answers: who has
    /// seen an answer and asks for its cause must not be told how it was before.
    pub(crate) async fn catch_up(&self) {
        let answered = self.store.load().snapshot.generation;
        let mut known = self.known.clone();
        let caught_up = known.wait_for(|known| known.generation >= answered);
        // Late facts are told as they are.
        let _ = timeout(CATCHES_UP, caught_up).await;
    }

    /// How the loop that publishes does.
    pub(crate) fn publishing(&self) -> Publishing {
        let turned = self.pulse.since();
        Publishing {
            turned: turned.as_secs_f64(),
            hangs: turned >= pulse::HANGS,
            waiting: self.deliveries.max_capacity() - self.deliveries.capacity(),
        }
    }
}
