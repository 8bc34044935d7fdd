//! One upstream: asked politely, and remembered for how it answered.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use tokio::time;

use super::counters::Counter;
use super::health::Health;
use super::message::{Message, Reply};
use super::network::{Network, NetworkError, Via};
use super::pace::{Busy, Pace};
use super::question::{Outgoing, Question};
use super::wire::Malformed;
use crate::snapshot::Remark;

/// What [`VPC_RESOLVERS`] may be sent by default: EC2 drops what exceeds 1,024
/// packets per second and interface to all its link-local services together,
/// and credentials come from one of them ("Amazon DNS quotas", VPC user guide).
pub const VPC_MAX_RATE: u32 = 800;

/// The VPC resolver's fixed addresses.
pub const VPC_RESOLVERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253)),
];

/// Packets we send for one question over TCP, about: to open, the query,
/// acknowledgements, to close.
const TCP_PACKETS: u32 = 6;

/// A packet that would have to wait for longer is not sent: with a queue that
/// long the answer comes too late for most who wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// An upstream that does not know EDNS is asked without it for so long.
const WITHOUT_EDNS: Duration = Duration::from_secs(3_600);

/// An upstream.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Mutex<State>,
    counters: Counters,
}

#[derive(Default)]
struct State {
    pace: Option<Pace>,
    health: Health,
    without_edns: Option<Instant>,
}

#[derive(Default)]
struct Counters {
    sent: Counter,
    answers: Counter,
    timeouts: Counter,
    errors: Counter,
    strays: Counter,
    throttled: Counter,
}

/// How an upstream does. Counts are since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its address.
    pub address: SocketAddr,
    /// It answers, as far as is known.
    pub up: bool,
    /// Smoothed time to an answer; zero before the first.
    pub round_trip: Duration,
    /// Queries sent, over UDP and TCP.
    pub sent: u64,
    /// Replies that could be passed on, NXDOMAIN among them.
    pub answers: u64,
    /// Tries that went without a reply for [`TRY`](super::TRY).
    pub timeouts: u64,
    /// Replies that could not be passed on, and networks that failed.
    pub errors: u64,
    /// Datagrams that were no reply to the query.
    pub strays: u64,
    /// Questions it was not asked, because of its `max_rate`.
    pub throttled: u64,
}

/// Why an upstream had no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No reply.
    #[error("no reply")]
    Silent,
    /// The network, or no socket.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It said so.
    #[error("{}", format!("{rcode:?}").to_ascii_uppercase())]
    Said {
        /// How.
        rcode: ResponseCode,
        /// And why.
        remarks: Vec<Remark>,
    },
    /// It does not recurse for us.
    #[error("a referral instead of an answer; does it recurse for us?")]
    Referral,
    /// Not a DNS message.
    #[error("a reply that makes no sense: {0}")]
    Malformed(#[from] Malformed),
    /// Truncated over TCP.
    #[error("truncated over TCP")]
    Truncated,
    /// Its `max_rate` is used up.
    #[error("not asked, max_rate is used up")]
    Busy,
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl From<Busy> for Failure {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

impl Failure {
    /// Is it for us to mend, so that it says nothing about the question?
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Busy | Self::Random(_) | Self::Network(NetworkError::NoSocket(_)))
    }
}

impl Upstream {
    /// An upstream; `max_rate` in packets per second, else what its address
    /// says.
    pub(crate) fn new(address: SocketAddr, max_rate: Option<NonZeroU32>) -> Self {
        let by_address = || NonZeroU32::new(VPC_MAX_RATE).filter(|_| is_vpc_resolver(address));
        let pace = max_rate.or_else(by_address).map(Pace::new);
        let state = Mutex::new(State { pace, ..State::default() });
        Self { address, state, counters: Counters::default() }
    }

    /// Asks: over UDP, once more for an upstream that turns out not to know
    /// EDNS, and over TCP when it says so. The first packet must be paid for;
    /// see [`pay`](Self::pay). Waits for a reply without limit.
    pub(crate) async fn ask(
        &self,
        network: &dyn Network,
        question: &Question<'_>,
    ) -> Result<Message, Failure> {
        let asked = self.ask_on(network, question).await;
        match &asked {
            Ok(_) => self.counters.answers.add(1),
            Err(Failure::Busy) => {}
            Err(failure) => {
                self.counters.errors.add(1);
                if let Failure::Network(NetworkError::Unreachable(_)) = failure {
                    self.note_lost(now(), failure);
                }
            }
        }
        asked
    }

    async fn ask_on(
        &self,
        network: &dyn Network,
        question: &Question<'_>,
    ) -> Result<Message, Failure> {
        let mut edns = self.state().without_edns.is_none_or(|until| until <= now());
        let mut via = Via::Udp;
        loop {
            let query = Outgoing::new(question, edns)?;
            let sent = now();
            self.counters.sent.add(1);
            let exchanged = network.exchange(self.address, via, &query, &self.counters.strays);
            let reply = match exchanged.await {
                Ok(octets) => {
                    self.note_answer(now() - sent);
                    Reply::read(&octets, question)?
                }
                Err(NetworkError::Flooded) => Reply::Truncated,
                Err(error) => return Err(error.into()),
            };
            match reply {
                Reply::Answer(message) => return Ok(message),
                Reply::Referral => return Err(Failure::Referral),
                Reply::Truncated if via == Via::Tcp => return Err(Failure::Truncated),
                Reply::Truncated => via = Via::Tcp,
                // It did not understand, and did not answer with an OPT: it
                // does not know EDNS (RFC 6891 section 7).
                Reply::Error {
                    rcode: ResponseCode::FormErr | ResponseCode::NotImp,
                    edns: false,
                    ..
                } if edns => {
                    edns = false;
                    self.state().without_edns = Some(now() + WITHOUT_EDNS);
                    tracing::info!(upstream = %self, "upstream does not know EDNS");
                }
                Reply::Error { rcode, remarks, .. } => {
                    return Err(Failure::Said { rcode, remarks });
                }
            }
            let packets = if via == Via::Tcp { TCP_PACKETS } else { 1 };
            time::sleep(self.pay(packets, now(), PATIENCE)?).await;
        }
    }

    /// Pays for packets, and says how long to wait before they may leave.
    pub(crate) fn pay(
        &self,
        packets: u32,
        now: Instant,
        patience: Duration,
    ) -> Result<Duration, Busy> {
        let mut state = self.state();
        let Some(pace) = &mut state.pace else { return Ok(Duration::ZERO) };
        let paid = pace.take(packets, now, patience);
        if paid.is_err() {
            self.counters.throttled.add(1);
        }
        paid
    }

    /// How long a packet would have to wait.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.state().pace.as_ref().map_or(Duration::ZERO, |pace| pace.wait(now))
    }

    /// A try went without a reply for too long. The reply still counts, should
    /// it come.
    pub(crate) fn lost(&self, now: Instant) {
        self.counters.timeouts.add(1);
        self.note_lost(now, &Failure::Silent);
    }

    fn note_lost(&self, now: Instant, why: &Failure) {
        let mut state = self.state();
        let was_down = state.health.is_down();
        state.health.lost(now);
        if !was_down && state.health.is_down() {
            tracing::warn!(
                upstream = %self,
                "upstream is down ({why}); others are asked first, stale answers go out at once"
            );
        }
    }

    fn note_answer(&self, took: Duration) {
        let mut state = self.state();
        if state.health.is_down() {
            tracing::info!(upstream = %self, "upstream answers again");
        }
        state.health.answered(took);
    }

    /// Another one was asked instead.
    pub(crate) fn passed_over(&self) {
        self.state().health.passed_over();
    }

    /// Down, as far as is known.
    pub(crate) fn is_down(&self) -> bool {
        self.state().health.is_down()
    }

    /// Down, and time to ask it again; said once per backoff.
    pub(crate) fn claim_probe(&self, now: Instant) -> bool {
        self.state().health.claim_probe(now)
    }

    /// Smoothed time to an answer.
    pub(crate) fn round_trip(&self) -> Duration {
        self.state().health.round_trip()
    }

    /// Counts and health.
    pub(crate) fn status(&self) -> UpstreamStatus {
        let (up, round_trip) = (!self.is_down(), self.round_trip());
        let counters = &self.counters;
        UpstreamStatus {
            address: self.address,
            up,
            round_trip,
            sent: counters.sent.get(),
            answers: counters.answers.get(),
            timeouts: counters.timeouts.get(),
            errors: counters.errors.get(),
            strays: counters.strays.get(),
            throttled: counters.throttled.get(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Upstream {
    /// The port is left out where it is 53.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.port() {
            53 => write!(f, "{}", self.address.ip()),
            _ => write!(f, "{}", self.address),
        }
    }
}

/// Is it the VPC resolver?
fn is_vpc_resolver(address: SocketAddr) -> bool {
    VPC_RESOLVERS.contains(&address.ip().to_canonical())
}

/// The runtime's clock, which tests can stop.
pub(crate) fn now() -> Instant {
    time::Instant::now().into_std()
}
