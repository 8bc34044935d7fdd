//! A forwarder on a clock that stands still until all wait, with upstreams that
//! do what a test says.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use hickory_proto::op::ResponseCode;
use tokio::task::JoinHandle;
use tokio::time;

use super::{Draft, asks_a, name};
use crate::config::{ForwardConfig, Rule};
use crate::dns::name::Key;
use crate::dns::query::Outgoing;
use crate::forward::counters::Counter;
use crate::forward::forwarder::Forwarder;
use crate::forward::network::{Network, NetworkError, Via};
use crate::forward::upstream::now;
use crate::forward::{Hit, UpstreamStatus};

/// What an upstream does with a query.
pub(super) enum Act {
    Reply(Draft),
    After(Duration, Draft),
    Silence,
    Unreachable,
    NoSocket,
    Panic,
}
pub(super) use Act::{After, Reply, Silence, Unreachable};

/// A query that an upstream got.
#[derive(Clone)]
pub(super) struct Call {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) to: SocketAddr,
    pub(super) via: Via,
    pub(super) query: Vec<u8>,
}

impl Call {
    pub(super) fn has_edns(&self) -> bool {
        self.query[11] == 1
    }

    /// Does it ask for the root's SOA?
    fn is_check(&self) -> bool {
        self.query[12..] == [0, 0, 6, 0, 1]
    }

    /// A reply to it.
    pub(super) fn draft(&self) -> Draft {
        Draft::to_query(&self.query)
    }

    /// An answer with this TTL.
    pub(super) fn answer(&self, ttl: u32) -> Act {
        Reply(self.draft().a(ttl, [192, 0, 2, 1]))
    }
}

type Log = Arc<Mutex<Vec<Call>>>;

struct Script<F> {
    act: F,
    /// Questions, and loop probes.
    log: Log,
    /// Checks whether an upstream lives.
    checks: Log,
    start: Instant,
}

impl<F: Fn(&Call) -> Act + Send + Sync> Network for Script<F> {
    fn exchange<'a>(
        &'a self,
        to: SocketAddr,
        via: Via,
        query: &'a Outgoing,
        _: &'a Counter,
    ) -> BoxFuture<'a, Result<Vec<u8>, NetworkError>> {
        let call = Call { at: now() - self.start, to, via, query: query.octets().to_vec() };
        let log = if call.is_check() { &self.checks } else { &self.log };
        log.lock().unwrap().push(call.clone());
        let checked = |draft: Draft| {
            assert!(query.is_answered_by(&draft.0));
            Ok(draft.0)
        };
        match (self.act)(&call) {
            Reply(draft) => future::ready(checked(draft)).boxed(),
            After(wait, draft) => async move {
                time::sleep(wait).await;
                checked(draft)
            }
            .boxed(),
            Silence => future::pending().boxed(),
            Unreachable => {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                future::ready(Err(NetworkError::Unreachable(refused))).boxed()
            }
            Act::NoSocket => {
                let full = io::Error::other("too many open files");
                future::ready(Err(NetworkError::NoSocket(full))).boxed()
            }
            Act::Panic => async { panic!("as the script says") }.boxed(),
        }
    }
}

pub(super) const ONE: SocketAddr = upstream(1);
pub(super) const TWO: SocketAddr = upstream(2);
pub(super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

pub(super) const fn upstream(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 53)
}

pub(super) fn rule(names: &[&str], upstreams: &[SocketAddr]) -> Rule {
    let names = names.iter().map(|name| Key::parse(name, None).unwrap()).collect();
    Rule { names, upstreams: upstreams.to_vec(), max_rate: None }
}

/// The same, and each of the upstreams is sent so many packets a second.
pub(super) fn limited(max_rate: u32, upstreams: &[SocketAddr]) -> Rule {
    Rule { max_rate: Some(max_rate), ..rule(&["."], upstreams) }
}

/// A forwarder with its driver.
pub(super) struct Room {
    pub(super) forwarder: Forwarder,
    pub(super) driver: JoinHandle<()>,
    log: Log,
    checks: Log,
    start: Instant,
}

impl Room {
    pub(super) fn new(
        upstreams: &[SocketAddr],
        act: impl Fn(&Call) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::with(vec![rule(&["."], upstreams)], act)
    }

    pub(super) fn with(
        rules: Vec<Rule>,
        act: impl Fn(&Call) -> Act + Send + Sync + 'static,
    ) -> Self {
        let (start, log, checks) = (now(), Log::default(), Log::default());
        let script = Script { act, log: Arc::clone(&log), checks: Arc::clone(&checks), start };
        let network = Box::new(script);
        let config = ForwardConfig { rules };
        let (forwarder, driver) = Forwarder::with(&config, network, 32 << 20, start).unwrap();
        let driver = tokio::spawn(driver.run());
        Self { forwarder, driver, log, checks, start }
    }

    pub(super) async fn answer(&self, text: &str) -> Hit {
        self.forwarder.answer(&asks_a(&name(text)), CLIENT).await
    }

    pub(super) fn cached(&self, text: &str) -> Option<Hit> {
        self.forwarder.cached(&asks_a(&name(text)), CLIENT, now())
    }

    /// One of [`Asking::client`]'s asks.
    pub(super) async fn answer_to(&self, client: u8, text: &str) -> Hit {
        self.forwarder.answer(&asks_a(&name(text)), address(client)).await
    }

    /// Is there a flight for it?
    pub(super) fn is_under_way(&self, text: &str) -> bool {
        self.forwarder.shared.flights.is_under_way(&asks_a(&name(text)).to_owned())
    }

    /// An upstream's state.
    pub(super) fn status(&self, of: SocketAddr) -> UpstreamStatus {
        self.forwarder.upstreams().into_iter().find(|one| one.address == of).unwrap()
    }

    /// The most packets that any second saw.
    pub(super) fn busiest_second(&self, to: SocketAddr) -> usize {
        let mut at: Vec<_> = [&self.log, &self.checks]
            .into_iter()
            .flat_map(|log| log.lock().unwrap().clone())
            .filter(|call| call.to == to)
            .map(|call| call.at)
            .collect();
        at.sort();
        let within = |(nth, from): (usize, &Duration)| {
            at[nth..].iter().take_while(|at| **at - *from < Duration::from_secs(1)).count()
        };
        at.iter().enumerate().map(within).max().unwrap_or(0)
    }

    /// Milliseconds since the start.
    pub(super) fn elapsed(&self) -> u128 {
        (now() - self.start).as_millis()
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.log.lock().unwrap().clone()
    }

    /// Who was asked when, in milliseconds.
    pub(super) fn asked(&self) -> Vec<(SocketAddr, u128)> {
        times(&self.log)
    }

    /// Who was checked when.
    pub(super) fn checked(&self) -> Vec<(SocketAddr, u128)> {
        times(&self.checks)
    }
}

fn times(log: &Log) -> Vec<(SocketAddr, u128)> {
    log.lock().unwrap().iter().map(|call| (call.to, call.at.as_millis())).collect()
}

/// What is logged meanwhile, by whoever sets this as the default.
pub(super) fn heard() -> (impl tracing::Subscriber, impl Fn() -> String) {
    let log: Arc<Mutex<Vec<u8>>> = Arc::default();
    let written = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(move || Written(Arc::clone(&written)))
        .finish();
    (subscriber, move || String::from_utf8(log.lock().unwrap().clone()).unwrap())
}

struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn remark(hit: &Hit) -> (u16, String) {
    let remark = hit.remark().or_else(|| hit.message().remarks().first().cloned()).unwrap();
    (remark.code, remark.text.to_string())
}

/// A question each so often, for so many of them; the names are `label` and a number.
pub(super) struct Asking {
    pub(super) client: u8,
    pub(super) label: &'static str,
    pub(super) every: Duration,
    pub(super) count: u32,
}

/// A client's address.
pub(super) fn address(client: u8) -> IpAddr {
    IpAddr::from([10, 2, 0, client])
}

impl Asking {
    /// What became of each: its answer, and how long it took.
    pub(super) async fn run(self, room: &Room) -> Vec<(Hit, Duration)> {
        let client = address(self.client);
        let ask = |nth: u32| async move {
            time::sleep(self.every * nth).await;
            let (text, begun) = (name(&format!("{}{nth}.example.", self.label)), now());
            (room.forwarder.answer(&asks_a(&text), client).await, now() - begun)
        };
        future::join_all((0..self.count).map(ask)).await
    }
}

pub(super) fn answered(all: &[(Hit, Duration)]) -> usize {
    all.iter().filter(|(hit, _)| hit.rcode() == ResponseCode::NoError).count()
}

pub(super) fn longest(all: &[(Hit, Duration)]) -> Duration {
    all.iter().map(|(_, took)| *took).max().unwrap()
}
