//! One upstream: sends queries within its limits, and keeps its health and round-trip
//! time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use tokio::sync::{Notify, oneshot};
use tokio::time;

use super::counters::Counter;
use super::health::Health;
use super::line::Askers;
use super::message::{Message, UpstreamReply};
use super::network::{Network, NetworkError, Via};
use super::question::{OwnedQuestion, Question};
use super::turns::{Busy, Payer, Stage, Turns};
use super::watch::Said;
use super::wire::Malformed;
use crate::dns::ede::Remark;
use crate::dns::name::Key;
use crate::host::often::Often;

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

/// An upstream that does not know EDNS is asked without it for so long: nobody
/// gets signatures meanwhile, and it may have passed on what another server
/// said. Asking anew costs one query.
const WITHOUT_EDNS: Duration = Duration::from_secs(300);

/// An upstream.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    /// What it is asked to see whether it lives.
    pub(super) check: OwnedQuestion,
    state: Mutex<State>,
    pub(super) counters: Counters,
    /// Somebody waits for a turn, and nobody did before.
    pub(super) lined_up: Notify,
    /// There is something to do for its watch.
    pub(super) to_do: Notify,
    no_edns: Often,
}

pub(super) struct State {
    /// None without a `max_rate`.
    pub(super) turns: Option<Turns<oneshot::Sender<()>>>,
    pub(super) health: Health,
    pub(super) said: Said,
    without_edns: Option<Instant>,
}

#[derive(Default)]
pub(super) struct Counters {
    sent: Counter,
    answers: Counter,
    pub(super) timeouts: Counter,
    errors: Counter,
    pub(super) strays: Counter,
    pub(super) throttled: Counter,
    pub(super) checks: Counter,
}

/// How an upstream does. Counts are since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its address.
    pub address: SocketAddr,
    /// It answers, as far as is known.
    pub up: bool,
    /// Smoothed time to an answer; none before the first. A question that
    /// another upstream answered while this one was silent counts as a second.
    pub round_trip: Option<Duration>,
    /// Questions sent, over UDP and TCP.
    pub sent: u64,
    /// Replies that could be passed on, NXDOMAIN among them.
    pub answers: u64,
    /// Tries that went without a reply for [`TRY`](super::TRY): of an upstream
    /// that is up, for names that are slow.
    pub timeouts: u64,
    /// Replies that could not be passed on, and networks that failed.
    pub errors: u64,
    /// Datagrams that were no reply to the query.
    pub strays: u64,
    /// Questions it was not asked, because of its `max_rate`.
    pub throttled: u64,
    /// Queries sent to see whether it lives; not among `sent`.
    pub checks: u64,
    /// Questions that wait for their turn, because of its `max_rate`.
    pub waiting: u64,
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
    #[error("not asked: max_rate is used up, and those who wait have had their share")]
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
    /// An upstream for `name` and all below it; `max_rate` in packets per
    /// second, else what its address says.
    pub(crate) fn new(address: SocketAddr, name: Key, max_rate: Option<NonZeroU32>) -> Self {
        let by_address = || NonZeroU32::new(VPC_MAX_RATE).filter(|_| is_vpc_resolver(address));
        let state = State {
            turns: max_rate.or_else(by_address).map(Turns::new),
            health: Health::default(),
            said: Said::default(),
            without_edns: None,
        };
        Self {
            address,
            check: OwnedQuestion::soa(name),
            state: Mutex::new(state),
            counters: Counters::default(),
            lined_up: Notify::new(),
            to_do: Notify::new(),
            no_edns: Often::new(),
        }
    }

    /// Asks: over UDP, once more for an upstream that turns out not to know
    /// EDNS, and over TCP when it says so. The first packet must be paid for;
    /// see [`line_up`](Self::line_up). Waits for a reply without limit.
    pub(crate) async fn ask(
        &self,
        network: &dyn Network,
        question: &Question<'_>,
        askers: &Askers,
    ) -> Result<Message, Failure> {
        let asked = self.ask_on(network, question, askers).await;
        match &asked {
            Ok(_) => self.counters.answers.add(1),
            Err(Failure::Busy) => {}
            Err(_) => self.counters.errors.add(1),
        }
        asked
    }

    async fn ask_on(
        &self,
        network: &dyn Network,
        question: &Question<'_>,
        askers: &Askers,
    ) -> Result<Message, Failure> {
        let mut edns = self.state().without_edns.is_none_or(|until| until <= now());
        let (mut via, mut refused_edns) = (Via::Udp, false);
        loop {
            match self.exchange(network, question, edns, via).await? {
                UpstreamReply::Answer(message) => {
                    if refused_edns {
                        self.does_not_know_edns(now());
                    }
                    return Ok(message);
                }
                UpstreamReply::Referral => return Err(Failure::Referral),
                UpstreamReply::Truncated if via == Via::Tcp => return Err(Failure::Truncated),
                UpstreamReply::Truncated => via = Via::Tcp,
                // It did not understand, and did not answer with an OPT: it
                // does not know EDNS if it answers without (RFC 6891 section
                // 7). Else it is about the question: some pass on errors of
                // others.
                UpstreamReply::Error {
                    rcode: ResponseCode::FormErr | ResponseCode::NotImp,
                    edns: false,
                    ..
                } if edns => {
                    (edns, refused_edns) = (false, true);
                }
                UpstreamReply::Error { rcode, remarks, .. } => {
                    return Err(Failure::Said { rcode, remarks });
                }
            }
            let packets = if via == Via::Tcp { TCP_PACKETS } else { 1 };
            self.turn(askers, packets, Stage::Further).await?;
        }
    }

    /// One query and its reply.
    async fn exchange(
        &self,
        network: &dyn Network,
        question: &Question<'_>,
        edns: bool,
        via: Via,
    ) -> Result<UpstreamReply, Failure> {
        let query = question.outgoing(edns)?;
        let sent = now();
        self.counters.sent.add(1);
        let exchange = network.exchange(self.address, via, &query, &self.counters.strays);
        match exchange.await {
            Ok(octets) => {
                self.heard(now(), Some(now() - sent));
                Ok(UpstreamReply::read(&octets, question)?)
            }
            Err(NetworkError::Flooded) => Ok(UpstreamReply::Truncated),
            Err(error) => {
                let unreachable = matches!(error, NetworkError::Unreachable(_));
                let failure = error.into();
                // TCP comes after a word over UDP: it lives, whatever is wrong
                // with its TCP.
                if unreachable && via == Via::Udp {
                    self.unanswered(sent, now(), &failure);
                }
                Err(failure)
            }
        }
    }

    fn does_not_know_edns(&self, now: Instant) {
        self.state().without_edns = Some(now + WITHOUT_EDNS);
        if let Some(left_out) = self.no_edns.may(now) {
            tracing::info!(upstream = %self, left_out, "upstream does not know EDNS");
        }
    }

    /// About how long a question would wait for its turn.
    pub(crate) fn expected_wait(&self, payer: Payer, now: Instant) -> Duration {
        let state = self.state();
        state.turns.as_ref().map_or(Duration::ZERO, |turns| turns.expected(payer, now))
    }

    /// Another upstream answered what this one did not.
    pub(crate) fn outdone(&self) {
        self.state().health.outdone();
    }

    /// Another one was asked instead.
    pub(crate) fn passed_over(&self) {
        self.state().health.passed_over();
    }

    /// Down, as far as is known.
    pub(crate) fn is_down(&self) -> bool {
        self.state().health.is_down()
    }

    /// Nothing was heard of it since a question went without a reply.
    pub(crate) fn is_suspect(&self) -> bool {
        self.state().health.is_suspect()
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
        let state = self.state();
        let (up, round_trip) = (!state.health.is_down(), state.health.time_to_answer());
        let waiting = state.turns.as_ref().map_or(0, Turns::waiting) as u64;
        drop(state);
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
            checks: counters.checks.get(),
            waiting,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
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
