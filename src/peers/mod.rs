//! The other replicas: they are told to look when we have seen a change, and asked whether
//! they answer the same.
//!
//! A hint carries no data and is never waited for: without any, each replica polls as ever.
//! Nothing that a peer says, or does not say, holds anything else up.
//!
//! * `pace`: when a peer is told or asked next.
//! * `hints`: what is to be told, and the loop that does it.
//! * `ask`: the loop that asks, and what is said of that; `agree`: what differs for how long.
//! * `client`: one request, with bounds.

mod agree;
mod ask;
mod client;
mod hints;
mod pace;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::status::board::peers::{Peer, Peers};
use ask::Asker;
pub(crate) use ask::Ours;
use hints::Mailbox;
pub(crate) use hints::{Which, is_news};

/// The end of a peer's task that says what is to be told.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    mailbox: Arc<Mailbox>,
}

impl Handle {
    /// Has the peer told to look. Returns at once.
    pub(crate) fn hint(&self, which: &Which) {
        self.mailbox.put(which);
    }
}

/// Tells and asks one peer, for as long as it is polled.
pub(crate) struct Teller {
    peer: Arc<Peer>,
    /// Where the token is.
    peers: Peers,
    ours: Ours,
    mailbox: Arc<Mailbox>,
}

impl Teller {
    pub(crate) fn new(peer: Arc<Peer>, peers: Peers, ours: Ours) -> (Self, Handle) {
        let mailbox = Arc::<Mailbox>::default();
        let handle = Handle { mailbox: Arc::clone(&mailbox) };
        (Self { peer, peers, ours, mailbox }, handle)
    }

    /// Never ends by itself.
    pub(crate) async fn run(self) {
        let asking = Asker::new(&self.peer, &self.peers, &self.ours).run();
        // A question that takes its time keeps no hint back.
        tokio::join!(hints::tell(&self.peer, &self.peers, &self.mailbox), asking);
    }
}
