//! A peer is asked what it answers: now and then, and after each change of ours.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::agree::{Agreement, Difference, News, Spot};
use super::client::{Call, Method, exchange};
use super::pace::Pace;
use crate::host::background;
use crate::host::often::Often;
use crate::host::text::{BRIEF, brief, one_line};
use crate::host::timer::sleep_until;
use crate::source::clock::Clock;
use crate::status::board::Facts;
use crate::status::board::digests::digests;
use crate::status::board::peers::{Peer, Peers, Standing};
use crate::status::report::peers::{DIGEST_KIND, Digests};
use crate::store::Store;

/// How often a peer is asked although nothing has changed here.
const EVERY: Duration = Duration::from_secs(10);

/// The least time between two questions, however often something changes.
const SPACING: Duration = Duration::from_secs(2);

/// How long a whole answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The longest answer, in octets: 100,000 zones and views.
const MAX_DIGESTS: usize = 16 << 20;

/// The longest name of a zone that is believed to be one, in octets: 255 of them, each
/// written as `\DDD` (RFC 1035 section 5.1).
const MAX_NAME: usize = 4 * 255;

/// Of what one comparison tells, so many are lines of their own in the log.
const SHOWN: usize = 10;

/// What we answer ourselves.
#[derive(Clone)]
pub(crate) struct Ours {
    pub store: Store,
    /// Changes with each snapshot.
    pub known: watch::Receiver<Arc<Facts>>,
    pub clock: Clock,
}

impl Ours {
    fn digests(&self) -> Digests {
        let known = self.known.borrow().clone();
        digests(&self.store.full().snapshot, &known, self.clock.now())
    }
}

/// Asks one peer.
pub(super) struct Asker<'a> {
    peer: &'a Peer,
    /// Where the token is.
    peers: &'a Peers,
    ours: &'a Ours,
    agreement: Agreement,
    /// That it is not reached was told.
    told: bool,
    /// What comes and goes is told once a minute.
    often: Often,
}

impl<'a> Asker<'a> {
    pub(super) fn new(peer: &'a Peer, peers: &'a Peers, ours: &'a Ours) -> Self {
        let (agreement, often) = (Agreement::default(), Often::new());
        Self { peer, peers, ours, agreement, told: false, often }
    }

    /// Asks again and again.
    pub(super) async fn run(mut self) {
        let mut pace = Pace::new(SPACING);
        pace.also_every(EVERY);
        let mut known = self.ours.known.clone();
        let mut generation = known.borrow_and_update().generation;
        loop {
            tokio::select! {
                changed = known.changed() => {
                    if changed.is_err() {
                        // The server goes down.
                        return std::future::pending().await;
                    }
                    let now = known.borrow_and_update().generation;
                    if std::mem::replace(&mut generation, now) != now {
                        pace.want();
                    }
                }
                () = sleep_until(pace.due(Instant::now())) => {
                    pace.started(Instant::now());
                    pace.also_every(self.ask().await);
                }
            }
        }
    }

    /// Asks once; returns when to ask again, at the latest.
    async fn ask(&mut self) -> Duration {
        let Some(token) = self.peers.token() else { return EVERY };
        let call = Call {
            at: self.peer.address,
            method: Method::GET,
            path: "/api/digests",
            token: &token,
            most: MAX_DIGESTS,
        };
        let theirs = match exchange(&call, WITHIN).await {
            Ok(octets) => read(octets).await,
            Err(error) => Err(Unreadable(error.to_string())),
        };
        let now = self.ours.clock.now();
        match theirs {
            Ok(theirs) => self.reached(&theirs, now),
            Err(why) => {
                self.not_reached(&why, now);
                EVERY
            }
        }
    }

    fn reached(&mut self, theirs: &Digests, now: SystemTime) -> Duration {
        if std::mem::take(&mut self.told) {
            info!(peer = %self.peer.address, "the peer answers again");
        }
        let is_comparable = theirs.kind == DIGEST_KIND;
        let news = match is_comparable {
            true => self.agreement.compare(&self.ours.digests(), theirs, now),
            false => {
                self.agreement = Agreement::default();
                News::default()
            }
        };
        self.tell(&news);
        let before = self.peer.standing();
        let last_error = match is_comparable {
            true => before.last_error.clone(),
            false => Some("its digests are of another version: they are not compared".into()),
        };
        let (version, reached) = (Some(brief(&theirs.version, 32)), Some(true));
        let (differences, more) = self.agreement.differences();
        self.peer.stands(Standing {
            since: before.since_when(reached, now),
            reached,
            last_error,
            version,
            same: self.agreement.same(),
            differences: differences.clone(),
            more,
        });
        let judged_in = news.judge_at.and_then(|at| at.duration_since(now).ok());
        judged_in.unwrap_or(EVERY).clamp(SPACING, EVERY)
    }

    /// What it answered before says nothing of what it answers now.
    fn not_reached(&mut self, why: &impl Display, now: SystemTime) {
        let why = why.to_string();
        if !self.told && self.often.may(std::time::Instant::now()).is_some() {
            self.told = true;
            warn!(
                peer = %self.peer.address, why = %one_line(&why),
                "the peer does not answer: it is neither told of changes nor compared with"
            );
        }
        self.agreement = Agreement::default();
        let (before, reached) = (self.peer.standing(), Some(false));
        self.peer.stands(Standing {
            since: before.since_when(reached, now),
            reached,
            last_error: Some(why),
            version: before.version,
            ..Standing::default()
        });
    }

    fn tell(&self, news: &News) {
        let peer = self.peer.address;
        let (differing, _) = self.agreement.differences();
        for (zone, view) in news.lasting.iter().take(SHOWN) {
            let spot: Spot = (zone.clone(), view.clone());
            let Some(difference) = differing.get(&spot) else { continue };
            error!(
                %peer, zone = %one_line(zone), view = %one_line(view),
                "the peer has answered otherwise for too long: {}", what_to_do(difference)
            );
        }
        if let Some(more) = news.lasting.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            error!(%peer, more, "and more zones and views of this peer: see `eipdns status`");
        }
        for (zone, view) in news.ended.iter().take(SHOWN) {
            let (zone, view) = (one_line(zone), one_line(view));
            info!(%peer, %zone, %view, "the peer answers the same again");
        }
    }
}

fn what_to_do(difference: &Difference) -> &'static str {
    match (&difference.ours, &difference.theirs) {
        (Some(_), None) => "it does not have this zone in this view; give both one configuration",
        (None, _) => "this zone in this view is only there; give both one configuration",
        (Some(_), Some(_)) => {
            "see `eipdns status` on both for a source that is stalled or holds losses, then \
             compare `eipdns dump` and the configurations"
        }
    }
}

/// What came is no answer to use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreadable(String);

/// Reads digests beside the threads that answer: they may be megabytes.
async fn read(octets: Vec<u8>) -> Result<Digests, Unreadable> {
    let reading = background::run(move || {
        let digests: Digests = serde_json::from_slice(&octets).map_err(|error| {
            let error = brief(&error.to_string(), BRIEF);
            Unreadable(format!("what it says are no digests: {error}"))
        })?;
        let is_long = |text: &String| text.len() > MAX_NAME;
        let mut zones = digests.zones.iter();
        match zones.any(|one| [&one.zone, &one.view, &one.digest].into_iter().any(is_long)) {
            true => Err(Unreadable("what it says are no digests: a name is too long".into())),
            false => Ok(digests),
        }
    });
    reading.await.unwrap_or_else(|error| Err(Unreadable(format!("reading it failed: {error}"))))
}
