//! What is known of the other replicas: whoever tells and asks them writes it, and the HTTP
//! side, which they tell and ask.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::status::time;
use crate::source::clock::Drift;
use crate::status::report::HintsReport;
use crate::status::report::peers::{PeerDifference, PeerReport};

/// Differences of a peer that a status shows; the rest are counted.
const SHOWN: usize = 20;

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

    /// Hints that came, since the start.
    pub(crate) fn hints(&self) -> HintsReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HintsReport { received: read(&self.0.received), ignored: read(&self.0.ignored) }
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
    standing: Mutex<Standing>,
}

/// What is known of a peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// None: it was not asked yet.
    pub reached: Option<bool>,
    /// Since when that is so.
    pub since: Option<SystemTime>,
    /// Why it did not answer the last time that it did not.
    pub last_error: Option<String>,
    /// Of the program there.
    pub version: Option<String>,
    /// Zones and views that it answers as we do.
    pub same: usize,
    /// Those that it does not.
    pub differences: BTreeMap<Spot, Difference>,
    /// How many more these are.
    pub more: usize,
}

/// A zone and a view.
pub(crate) type Spot = (String, String);

/// What a zone in a view is, here or there: digest and serial.
pub(crate) type One = (String, u32);

/// A zone in a view that a peer answers otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// None: it is only there.
    pub ours: Option<One>,
    /// None: it is only here.
    pub theirs: Option<One>,
    /// Since when.
    pub since: SystemTime,
    /// For too long.
    pub lasts: bool,
}

impl Standing {
    /// Since when it is so, if it is at `now`.
    pub(crate) fn since_when(&self, reached: Option<bool>, now: SystemTime) -> Option<SystemTime> {
        self.since.filter(|_| self.reached == reached).or(Some(now))
    }

    /// Zones and views that it has answered otherwise for too long.
    pub(crate) fn differing(&self) -> usize {
        self.differences.values().filter(|difference| difference.lasts).count()
    }
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let (hints_sent, hints_failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { address, hints_sent, hints_failed, standing: Mutex::default() }
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

    /// What is known of it.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This is, from now on.
    pub(crate) fn stands(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// All of that at one moment.
    pub(super) fn report(&self, drift: Drift) -> PeerReport {
        let (standing, (hints_sent, hints_failed)) = (self.standing(), self.hints());
        let all = standing.differences.iter();
        let differences: Vec<_> =
            all.take(SHOWN).map(|(spot, of)| report(spot, of, drift)).collect();
        PeerReport {
            url: format!("http://{}", self.address),
            reached: standing.reached,
            since: standing.since.map(|at| time(at, drift)),
            same: standing.same,
            differing: standing.differing(),
            more_differences: standing.differences.len() - differences.len() + standing.more,
            differences,
            last_error: standing.last_error,
            version: standing.version,
            hints_sent,
            hints_failed,
        }
    }
}

fn report((zone, view): &Spot, of: &Difference, drift: Drift) -> PeerDifference {
    let what = match (&of.ours, &of.theirs) {
        (Some(_), None) => "only here",
        (None, _) => "only there",
        (Some(_), Some(_)) => "answers",
    };
    let serial = |one: &Option<One>| one.as_ref().map(|(_, serial)| *serial);
    PeerDifference {
        zone: zone.clone(),
        view: view.clone(),
        what: what.to_owned(),
        since: time(of.since, drift),
        lasts: of.lasts,
        serial: serial(&of.ours),
        their_serial: serial(&of.theirs),
    }
}
