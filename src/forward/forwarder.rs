//! Questions from clients, answers from the cache or from upstreams.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, future};
use hickory_proto::op::ResponseCode;
use tokio::sync::mpsc;
use tokio::time;

use super::cache::{CACHE_BYTES, Cache, Failing};
use super::counters::Counter;
use super::fetch::{TRY, fetch};
use super::flights::{
    Boarding, Flights, Landing, Load, MAX_FLIGHTS, Refresh, Seat, flights_within,
};
use super::hit::{Age, Hit};
use super::line::Askers;
use super::network::{Network, Sockets};
use super::probe::Probes;
use super::question::{OwnedQuestion, Question, Unforwardable};
use super::turns::Stage;
use super::upstream::{Upstream, UpstreamStatus, now};
use super::{ConfigError, routes};
use crate::config::ForwardConfig;
use crate::dns::ede::{self, Remark};
use crate::dns::name::{self, Key};
use crate::host::descriptors::Share;

/// A client with a stale answer at hand waits no longer for a fresh one
/// (RFC 8767 section 5: "a recommended value is 1.8 seconds").
pub const CLIENT_PATIENCE: Duration = Duration::from_millis(1_800);

/// Answers from the cache, or asks upstreams. Cloning is two reference counts.
#[derive(Clone)]
pub struct Forwarder {
    pub(super) shared: Arc<Shared>,
    flying: mpsc::UnboundedSender<Landing>,
}

/// Carries out what clients ask for: [`run`](Self::run) it in a long-lived task.
pub struct Driver {
    shared: Arc<Shared>,
    // Bounded by the places that `Flights` gives out.
    starting: mpsc::UnboundedReceiver<Landing>,
}

/// What forwarder and driver have in common.
pub(super) struct Shared {
    routes: HashMap<Key, Vec<usize>>,
    pub(super) upstreams: Vec<Upstream>,
    cache: Cache,
    pub(super) flights: Flights,
    pub(super) network: Box<dyn Network>,
    pub(super) probes: Probes,
    panics: Counter,
}

/// What [`Forwarder::ask`] has for its caller.
#[must_use]
pub enum Asked {
    /// An answer right away: turned away, or answered in the meantime.
    Now(Hit),
    /// It will come.
    Later(Ticket),
}

/// Resolves to the answer, at the latest [`DEADLINE`](super::DEADLINE) after
/// the question was first sent out. Dropping it frees its place; the question
/// stays under way and fills the cache.
#[must_use]
pub struct Ticket {
    seat: Seat,
    question: OwnedQuestion,
}

impl Forwarder {
    /// A forwarder and the driver that must run for it to get anywhere. Each of
    /// its sockets is one of `sockets`. The cache is empty: keep a forwarder over
    /// a reload when its configuration is equal.
    ///
    /// # Errors
    /// A configuration that cannot be carried out.
    pub fn new(config: &ForwardConfig, sockets: &Share) -> Result<(Self, Driver), ConfigError> {
        let network = Box::new(Sockets(sockets.clone()));
        let made = Self::with(config, network, CACHE_BYTES, Instant::now())?;
        made.0.has_sockets(sockets.most());
        Ok(made)
    }

    /// There are so many sockets now: the limit of flights follows.
    pub fn has_sockets(&self, sockets: usize) {
        self.shared.flights.limit(flights_within(sockets));
    }

    pub(super) fn with(
        config: &ForwardConfig,
        network: Box<dyn Network>,
        cache_bytes: u64,
        now: Instant,
    ) -> Result<(Self, Driver), ConfigError> {
        let (routes, upstreams) = routes(config)?;
        let shared = Arc::new(Shared {
            routes,
            upstreams,
            cache: Cache::new(cache_bytes, now),
            flights: Flights::new(MAX_FLIGHTS),
            network,
            probes: Probes::default(),
            panics: Counter::default(),
        });
        let (flying, starting) = mpsc::unbounded_channel();
        Ok((Self { shared: Arc::clone(&shared), flying }, Driver { shared, starting }))
    }

    /// What can be answered without asking anybody: a fresh answer, a failure
    /// of a moment ago, or a stale answer when asking would be in vain. Takes
    /// no task switch and holds no lock for longer than a table look-up.
    /// `client` is who asks: renewing a stale answer is at its cost.
    pub fn cached(&self, question: &Question<'_>, client: IpAddr, now: Instant) -> Option<Hit> {
        let cache = &self.shared.cache;
        let Some(hit) = cache.lookup(question, now) else {
            cache.misses.add(1);
            return None;
        };
        if let Age::New | Age::Fresh(_) = hit.age() {
            cache.hits.add(1);
            return Some(hit);
        }
        self.stale(hit, question, client, now)
    }

    /// A stale answer, when asking would be in vain.
    fn stale(
        &self,
        hit: Hit,
        question: &Question<'_>,
        client: IpAddr,
        now: Instant,
    ) -> Option<Hit> {
        let cache = &self.shared.cache;
        let route = self.shared.route(question.name)?;
        let failing = cache.failing(&hit, now);
        if failing == Failing::No && !self.shared.is_dead(route) {
            cache.misses.add(1);
            return None;
        }
        // Nobody waits for it: a stale answer is renewed behind the scenes.
        let mut upstreams = self.shared.on_route(route);
        let due = failing == Failing::Recheck || upstreams.any(|up| up.claim_probe(now));
        if due {
            match self.shared.flights.refresh(question.to_owned(), client.into()) {
                // Fails only when there is no driver any more, and then nothing
                // can be renewed.
                Refresh::Started(landing) => drop(self.flying.send(landing)),
                Refresh::UnderWay => {}
                Refresh::Full => cache.not_asked(&hit, now),
            }
        }
        cache.stale.add(1);
        Some(hit)
    }

    /// Sends a question on its way that [`cached`](Self::cached) had no answer
    /// to. Neither waits nor needs a runtime.
    ///
    /// What is never forwarded is answered REFUSED, and SERVFAIL whoever comes
    /// when everything is full; both say why in an Extended DNS Error.
    pub fn ask(&self, question: &Question<'_>, client: IpAddr, now: Instant) -> Asked {
        let refuse = |code, text: String| {
            let remark = Remark { code, text: text.into() };
            Asked::Now(Hit::bare(question, ResponseCode::Refused, remark))
        };
        match question.forwardable() {
            Ok(()) => {}
            Err(Unforwardable::Name) => {
                let root = Question { name: &[0], ..*question };
                return Asked::Now(failure(&root, &Unforwardable::Name.to_string()));
            }
            Err(why) => return refuse(ede::NOT_SUPPORTED, why.to_string()),
        }
        if self.shared.route(question.name).is_none() {
            return refuse(ede::NOT_AUTHORITATIVE, "no [[forward]] is for this name".into());
        }
        let owned = question.to_owned();
        let landed = || {
            let hit = self.shared.cache.lookup(question, now)?;
            matches!(hit.age(), Age::Fresh(_)).then_some(hit)
        };
        match self.shared.flights.board(owned.clone(), client.into(), landed) {
            Boarding::Joined(seat) => Asked::Later(Ticket { seat, question: owned }),
            Boarding::Started(seat, landing) => {
                // Without a driver the landing is dropped, and the ticket knows.
                let _ = self.flying.send(landing);
                Asked::Later(Ticket { seat, question: owned })
            }
            Boarding::Full => Asked::Now(match self.shared.cache.lookup(question, now) {
                // Past its TTL is better than nothing.
                Some(stale) => {
                    self.shared.cache.stale.add(1);
                    stale
                }
                None => {
                    let text = format!("too many questions under way, {client} has its share");
                    failure(question, &text)
                }
            }),
            Boarding::Answered(hit) => Asked::Now(hit),
        }
    }

    /// [`cached`](Self::cached), or else [`ask`](Self::ask): for those who may
    /// wait.
    pub async fn answer(&self, question: &Question<'_>, client: IpAddr) -> Hit {
        if let Some(hit) = self.cached(question, client, now()) {
            return hit;
        }
        match self.ask(question, client, now()) {
            Asked::Now(hit) => hit,
            Asked::Later(ticket) => ticket.await,
        }
    }

    /// Who would be asked for this name (wire octets in lower case); nobody
    /// without a `[[forward]]` for it.
    pub fn upstreams_for(&self, name: &[u8]) -> Vec<SocketAddr> {
        let route = self.shared.route(name).unwrap_or_default();
        self.shared.on_route(route).map(|upstream| upstream.address).collect()
    }

    /// The cache, for its counts.
    pub fn cache(&self) -> &Cache {
        &self.shared.cache
    }

    /// What is under way.
    pub fn load(&self) -> Load {
        Load { panics: self.shared.panics.get(), ..self.shared.flights.load() }
    }

    /// How the upstreams do, in the order of the configuration.
    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.shared.upstreams.iter().map(Upstream::status).collect()
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("upstreams", &self.upstreams()).finish_non_exhaustive()
    }
}

impl Future for Ticket {
    type Output = Hit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Hit> {
        Pin::new(&mut self.seat.hit).poll(context).map(|told| {
            told.unwrap_or_else(|_| failure(&self.question.borrow(), "forwarding has stopped"))
        })
    }
}

impl Driver {
    /// Runs until all [`Forwarder`]s are gone and what is under way has come to
    /// its end. All forwarding is this one task: it never takes more than one
    /// processor from those who answer for our own names.
    pub async fn run(self) {
        let Self { shared, mut starting } = self;
        let mut attended = pin!(shared.attend());
        let mut under_way = FuturesUnordered::new();
        let mut more = true;
        while more || !under_way.is_empty() {
            tokio::select! {
                landing = starting.recv(), if more => match landing {
                    Some(landing) => {
                        let flight = AssertUnwindSafe(shared.fly(landing));
                        under_way.push(flight.catch_unwind());
                    }
                    None => more = false,
                },
                Some(flown) = under_way.next() => shared.note(flown),
                () = &mut attended => {}
            }
        }
    }
}

impl Shared {
    /// Lets packets go in their turn and watches the upstreams, for as long as
    /// it is polled.
    async fn attend(&self) {
        let one = async |upstream: &Upstream| {
            let watch = upstream.watch(&*self.network, || self.cache.forget_failures());
            future::join(upstream.serve_turns(), watch).await;
        };
        future::join_all(self.upstreams.iter().map(one)).await;
        // There are no upstreams.
        future::pending().await
    }

    /// A panic ends its flight alone: who waits gets SERVFAIL. Said once.
    fn note(&self, flown: std::thread::Result<()>) {
        if flown.is_ok() {
            return;
        }
        if self.panics.get() == 0 {
            tracing::error!("a forwarded question ended in a panic; its clients get SERVFAIL");
        }
        self.panics.add(1);
    }

    /// The upstreams for a name: those of the longest suffix.
    fn route(&self, name: &[u8]) -> Option<&[usize]> {
        name::suffixes(name).find_map(|suffix| self.routes.get(suffix)).map(Vec::as_slice)
    }

    pub(super) fn on_route<'s>(&'s self, route: &'s [usize]) -> impl Iterator<Item = &'s Upstream> {
        route.iter().filter_map(|index| self.upstreams.get(*index))
    }

    fn is_dead(&self, route: &[usize]) -> bool {
        self.on_route(route).all(Upstream::is_down)
    }

    /// Asks one question, from start to end.
    async fn fly(&self, landing: Landing) {
        let owned = landing.question.clone();
        let question = owned.borrow();
        // Whoever started this flight has looked.
        let Some(route) = self.route(question.name) else { return };
        future::join(self.renew(landing, route), self.probe_one(route, &question)).await;
    }

    /// Gets an answer, keeps it, and tells who waits.
    async fn renew(&self, landing: Landing, route: &[usize]) {
        let owned = landing.question.clone();
        let question = owned.borrow();
        let stale = self.cache.lookup(&question, now());
        let stale = stale.filter(|hit| matches!(hit.age(), Age::Stale(_)));
        let was_down: Vec<_> = self.on_route(route).map(Upstream::is_down).collect();

        let askers = landing.askers.clone();
        let mut fetched = pin!(fetch(&*self.network, self.on_route(route), &question, &askers));
        let in_time = match &stale {
            None => Ok(fetched.as_mut().await),
            Some(_) => time::timeout(CLIENT_PATIENCE, fetched.as_mut()).await,
        };
        let fetched = match (in_time, &stale) {
            (Ok(fetched), _) => fetched,
            (Err(_), stale) => {
                if let Some(stale) = stale {
                    self.cache.failed(stale, now());
                    self.cache.stale.add(landing.tell(stale));
                }
                fetched.await
            }
        };

        let recovered = self.on_route(route).zip(was_down).any(|(up, was)| was && !up.is_down());
        if recovered {
            self.cache.forget_failures();
        }
        let hit = match (fetched, stale) {
            (Ok(message), _) => self.cache.insert(&owned, message, now()),
            (Err(failed), Some(stale)) => {
                match failed.is_lasting() {
                    true => self.cache.failed(&stale, now()),
                    // What a client's share was too small for, others may ask.
                    false => self.cache.not_asked(&stale, now()),
                }
                stale
            }
            (Err(failed), None) if failed.is_lasting() => {
                self.cache.insert_failure(&owned, failed.message(&question), now())
            }
            (Err(failed), None) => Hit::new(failed.message(&question)),
        };
        let told = landing.land(&hit);
        if let Age::Stale(_) = hit.age() {
            self.cache.stale.add(told);
        }
    }

    /// Asks an upstream that is down the same question on the side, when it is
    /// time for that and another one is up to answer it.
    async fn probe_one(&self, route: &[usize], question: &Question<'_>) {
        if self.is_dead(route) {
            return;
        }
        let mut due = self.on_route(route).filter(|upstream| upstream.claim_probe(now()));
        let Some(upstream) = due.next() else { return };
        let ourselves = Askers::ourselves();
        if upstream.turn(&ourselves, 1, Stage::First).await.is_err() {
            return;
        }
        let began = now();
        match time::timeout(TRY, upstream.ask(&*self.network, question, &ourselves)).await {
            Ok(_) if !upstream.is_down() => self.cache.forget_failures(),
            Ok(_) => {}
            Err(_) => upstream.lost(began, now()),
        }
    }

    /// All names and upstreams that belong together.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&Key, &Upstream)> {
        self.routes
            .iter()
            .flat_map(|(name, route)| self.on_route(route).map(move |upstream| (name, upstream)))
    }
}

/// SERVFAIL for what is our own doing.
pub fn failure(question: &Question<'_>, text: &str) -> Hit {
    let remark = Remark { code: ede::OTHER, text: text.into() };
    Hit::bare(question, ResponseCode::ServFail, remark)
}
