//! What a source is asked to do, by whom, and the end of it that the writer and the
//! status surfaces hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use super::Refreshed;
use super::poll::{Pause, Throttled};
use super::stats::Stats;

/// What a source is asked to do.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Call at another pace from now on. Only the newest counts.
    Poll(Duration),
    /// Look again; nobody waits.
    Look,
    /// The same: a peer has seen a change. Nobody is told of what that finds.
    Hint,
    /// Look again and say when that is published.
    Refresh {
        /// Take losses as they are, while whoever asked for that still waits.
        accept: Option<AcceptTicket>,
        /// Whom to tell.
        reply: oneshot::Sender<Refreshed>,
    },
}

/// How many asks may be on their way to a source. It takes them up even
/// while a call is under way, so they do not pile up.
pub(super) const MAX_ASKS: usize = 64;

/// The writer's and the status pages' end of a source. Dropping the last one
/// ends the source's task.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) asks: mpsc::Sender<Ask>,
    /// Apart from the asks, which may be full of what others want while a delivery
    /// waits for the writer: a change of pace must not be lost.
    pub(super) poll: watch::Sender<Duration>,
    pub(super) stats: Arc<Stats>,
    pub(super) throttled: Arc<Throttled>,
}

impl Handle {
    /// Asks for a call that begins after this moment, and waits until its
    /// outcome is published. Requests that come while a call is under way
    /// share the next one. With `accept`, losses in its answer are taken as they are.
    ///
    /// # Errors
    /// [`Gone`] when the source's task has ended.
    pub(crate) async fn refresh(&self, accept: Option<&Accept>) -> Result<Refreshed, Gone> {
        let (reply, done) = oneshot::channel();
        let ask = Ask::Refresh { accept: accept.map(Accept::ticket), reply };
        self.asks.send(ask).await.map_err(|_| Gone)?;
        done.await.map_err(|_| Gone)
    }

    /// Asks for a call soon, without waiting for it: a hold is due, and only
    /// a good answer may end it.
    pub fn look(&self) {
        // Full: others have asked, and one call serves all.
        let _ = self.asks.try_send(Ask::Look);
    }

    /// The same because of a peer, which is not told of what that finds. False: it is not
    /// heard, because others have asked, and one call serves all.
    pub(crate) fn hint(&self) -> bool {
        self.asks.try_send(Ask::Hint).is_ok()
    }

    /// Changes the pace of an `ec2` source. Calls that are due later than that
    /// because of failures stay so.
    pub fn set_poll(&self, poll: Duration, now: SystemTime) {
        self.stats.begin(now);
        self.poll.send_replace(poll);
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

/// The source's task has ended: a reload has put another in its place or taken the
/// source out, or the server is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source has ended, with a reload or with the server; ask again")]
pub struct Gone;

/// Requests that the next call will serve.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(super) asked: bool,
    /// By a peer.
    pub(super) hinted: bool,
    accepts: Vec<AcceptTicket>,
    pub(super) waiters: Vec<oneshot::Sender<Refreshed>>,
}

/// Who wants the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Nobody: it is time.
    Time,
    /// A hold that is due, or a peer that has seen a change.
    Look,
    /// Somebody who waits.
    Refresh,
}

impl Pending {
    pub(super) fn by(&self) -> By {
        match (self.asked, self.waiters.is_empty()) {
            (false, _) => By::Time,
            (true, true) => By::Look,
            (true, false) => By::Refresh,
        }
    }

    pub(super) fn add(&mut self, ask: Ask) {
        match ask {
            Ask::Poll(_) => {}
            Ask::Look => self.asked = true,
            Ask::Hint => (self.asked, self.hinted) = (true, true),
            Ask::Refresh { accept, reply } => {
                self.asked = true;
                self.accepts.extend(accept);
                self.waiters.push(reply);
            }
        }
    }

    /// Has somebody who still waits asked to take losses as they are? From now on
    /// they cannot withdraw it.
    pub(super) fn take_accept(&self) -> bool {
        self.accepts.iter().fold(false, |any, ticket| ticket.take() | any)
    }
}

/// A client's word that losses are to be taken as they are. It holds until a call
/// has ended and its answer is on its way to the writer, unless the client
/// withdraws it, or goes, before that.
#[derive(Debug)]
pub(crate) struct Accept(Arc<AtomicBool>);

/// The source's end of an [`Accept`].
#[derive(Debug)]
pub(crate) struct AcceptTicket(Arc<AtomicBool>);

impl Accept {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Says it again, to another source: what the one before took of it went with
    /// that source.
    pub(crate) fn renew(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// False: too late, an answer is on its way to the writer with it.
    pub(crate) fn withdraw(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    pub(super) fn ticket(&self) -> AcceptTicket {
        AcceptTicket(Arc::clone(&self.0))
    }
}

impl Drop for Accept {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl AcceptTicket {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
