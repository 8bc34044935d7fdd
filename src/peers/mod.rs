//! The other replicas: they are told to look when we have seen a change.
//!
//! A hint carries no data and is never waited for: without any, each replica polls as ever.
//! Nothing that a peer says, or does not say, holds anything else up.
//!
//! * `pace`: when a peer is told next; pure.
//! * `hints`: what is to be told, and the loop that does it.
//! * `client`: one request, with bounds.

mod client;
mod hints;
mod pace;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::status::board::peers::{Peer, Peers};
use hints::Mailbox;
pub(crate) use hints::Which;

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

/// Tells one peer, for as long as it is polled.
#[derive(Debug)]
pub(crate) struct Teller {
    peer: Arc<Peer>,
    /// Where the token is.
    peers: Peers,
    mailbox: Arc<Mailbox>,
}

impl Teller {
    pub(crate) fn new(peer: Arc<Peer>, peers: Peers) -> (Self, Handle) {
        let mailbox = Arc::<Mailbox>::default();
        let handle = Handle { mailbox: Arc::clone(&mailbox) };
        (Self { peer, peers, mailbox }, handle)
    }

    /// Never ends by itself.
    pub(crate) async fn run(self) {
        hints::tell(&self.peer, &self.peers, &self.mailbox).await;
    }
}
