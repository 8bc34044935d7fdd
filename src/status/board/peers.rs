//! What is known of the other replicas: whoever tells and asks them writes it, and the HTTP
//! side, which they tell and ask.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The token that all replicas have. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Arc<str>);

impl Token {
    pub(crate) fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// For a header, and to compare with one.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// All of them. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers(Arc<All>);

#[derive(Debug, Default)]
struct All {
    configured: Mutex<Configured>,
    received: AtomicU64,
    ignored: AtomicU64,
}

#[derive(Debug, Default)]
struct Configured {
    token: Option<Token>,
    peers: Vec<Arc<Peer>>,
}

/// Hints that came from peers, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HintsReceived {
    /// All of them.
    pub received: u64,
    /// Those that asked no source: there is none of EC2, or enough are on their way to it.
    pub ignored: u64,
}

impl Peers {
    /// From now on these, with this token.
    pub(crate) fn configure(&self, token: Option<Token>, peers: Vec<Arc<Peer>>) {
        *self.configured() = Configured { token, peers };
    }

    /// What a peer has to show; none: there are no peers.
    pub(crate) fn token(&self) -> Option<Token> {
        self.configured().token.clone()
    }

    /// In the order of the configuration.
    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.configured().peers.clone()
    }

    /// A hint came; has it asked a source?
    pub(crate) fn count_hint(&self, has_asked: bool) {
        self.0.received.fetch_add(1, Ordering::Relaxed);
        self.0.ignored.fetch_add(u64::from(!has_asked), Ordering::Relaxed);
    }

    pub(crate) fn hints(&self) -> HintsReceived {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HintsReceived { received: read(&self.0.received), ignored: read(&self.0.ignored) }
    }

    fn configured(&self) -> MutexGuard<'_, Configured> {
        self.0.configured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its `listen.http`.
    pub address: SocketAddr,
    hints_sent: AtomicU64,
    hints_failed: AtomicU64,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, hints_sent: AtomicU64::new(0), hints_failed: AtomicU64::new(0) }
    }

    /// A hint was sent; did the peer take it?
    pub(crate) fn count_hint(&self, is_taken: bool) {
        self.hints_sent.fetch_add(1, Ordering::Relaxed);
        self.hints_failed.fetch_add(u64::from(!is_taken), Ordering::Relaxed);
    }

    /// Hints sent, and those of them that it did not take.
    pub(crate) fn hints(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.hints_sent), read(&self.hints_failed))
    }
}
