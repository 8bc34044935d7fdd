//! "Look now": what a peer is told once a change is answered here.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::client::{Call, Method, exchange};
use super::pace::Pace;
use crate::host::timer::sleep_until;
use crate::status::board::peers::{Peer, Peers};

/// The least time between two hints to one peer: as often as a source looks because it is
/// asked to.
const SPACING: Duration = Duration::from_millis(200);

/// How long a peer has to take a hint.
const WITHIN: Duration = Duration::from_secs(2);

/// The most that is read of what it says to that, in octets: nothing of it is used.
const MAX_REPLY: usize = 4 << 10;

/// Which sources a peer is to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one of this name, as it is configured here. Names may differ there.
    Named(String),
    /// All.
    All,
}

impl Which {
    /// One hint for both.
    fn with(self, other: &Self) -> Self {
        if self == *other { self } else { Self::All }
    }
}

/// Are peers to be told that a source, which said `before`, says `now`? Its first word is no
/// change, and of what a hint has shown they know.
pub(crate) fn is_news<T: PartialEq>(before: Option<&T>, now: Option<&T>, hinted: bool) -> bool {
    !hinted && before.is_some() && before != now
}

/// What a peer is to be told, all in one.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    which: Mutex<Option<Which>>,
    posted: Notify,
}

impl Mailbox {
    pub(super) fn put(&self, which: &Which) {
        let mut all = self.which.lock().unwrap_or_else(PoisonError::into_inner);
        *all = Some(all.take().map_or_else(|| which.clone(), |before| before.with(which)));
        drop(all);
        self.posted.notify_one();
    }

    fn take(&self) -> Option<Which> {
        self.which.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Tells the peer what comes into the mailbox: one hint at a time, and each within [`WITHIN`].
pub(super) async fn tell(peer: &Peer, peers: &Peers, mailbox: &Mailbox) {
    let mut pace = Pace::new(SPACING);
    loop {
        tokio::select! {
            () = mailbox.posted.notified() => pace.want(),
            () = sleep_until(pace.due(Instant::now())) => {
                pace.started(Instant::now());
                if let (Some(which), Some(token)) = (mailbox.take(), peers.token()) {
                    let path = path(&which);
                    let call = Call {
                        at: peer.address,
                        method: Method::POST,
                        path: &path,
                        token: &token,
                        most: MAX_REPLY,
                    };
                    // Why not is said by who asks it for its digests.
                    peer.count_hint(exchange(&call, WITHIN).await.is_ok());
                }
            }
        }
    }
}

/// Names of sources are letters, digits, `-`, `_` and `.`.
fn path(which: &Which) -> String {
    match which {
        Which::Named(source) => format!("/api/hint?source={source}"),
        Which::All => "/api/hint".into(),
    }
}
