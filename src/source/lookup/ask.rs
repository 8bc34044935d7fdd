//! One question to one resolver: both kinds of address at once, over UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::found::{Found, LookupError};
use crate::dns::name::Key;
use crate::dns::query::Outgoing;
use crate::dns::wire::{IN, MAX_UDP};

/// How long one resolver has for its answer. A call to EC2 gives name and
/// connection a second together.
const TRY: Duration = Duration::from_millis(300);

/// How long to wait for IPv6 addresses once there are IPv4 ones.
const GRACE: Duration = Duration::from_millis(30);

/// Bounds on how long an answer is used without asking again.
const LEAST_TTL: Duration = Duration::from_secs(5);

const MOST_TTL: Duration = Duration::from_secs(300);

/// Asks one resolver for both kinds of address at once.
pub(super) async fn ask(server: SocketAddr, name: &Key) -> Result<Found, LookupError> {
    let failed = |e: io::Error| LookupError::Unreachable { server, cause: e.to_string() };
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A socket for each question: its port is as hard to guess as the id.
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let asked = |rtype| Pending::new(name, rtype).map_err(|error| failed(error.into()));
    let mut both = [asked(RecordType::A)?, asked(RecordType::AAAA)?];
    for pending in &both {
        socket.send(pending.query.octets()).await.map_err(failed)?;
    }
    let mut deadline = Instant::now() + TRY;
    let mut buffer = [0; MAX_UDP];
    while both.iter().any(|pending| pending.reply.is_none()) {
        let received = match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Err(_) => break,
            Ok(received) => received.map_err(failed)?,
        };
        let octets = buffer.get(..received).unwrap_or_default();
        if let Some(pending) = both.iter_mut().find(|one| one.query.is_answered_by(octets)) {
            pending.take(octets);
        }
        if matches!(&both[0].reply, Some(Ok(found)) if !found.is_empty()) {
            deadline = deadline.min(Instant::now() + GRACE);
        }
    }
    conclude(server, both)
}

/// A query and what came back.
struct Pending {
    query: Outgoing,
    /// Addresses with their TTLs, or a response code.
    reply: Option<Result<Vec<(IpAddr, u32)>, ResponseCode>>,
}

impl Pending {
    fn new(name: &Key, rtype: RecordType) -> Result<Self, getrandom::Error> {
        let [rtype, class] = [rtype.into(), IN].map(u16::to_be_bytes);
        let question = [name.octets(), &rtype, &class].concat();
        Ok(Self { query: Outgoing::new(&question, 0, Some(false))?, reply: None })
    }

    /// Takes a reply to this query, unless it cannot be read. The addresses in
    /// a truncated one are as good as any.
    fn take(&mut self, octets: &[u8]) {
        let Ok(message) = Message::from_vec(octets) else { return };
        self.reply = Some(match message.metadata.response_code {
            ResponseCode::NoError => Ok(message
                .answers
                .iter()
                .filter_map(|record| match &record.data {
                    RData::A(a) => Some((a.0.into(), record.ttl)),
                    RData::AAAA(aaaa) => Some((aaaa.0.into(), record.ttl)),
                    _ => None,
                })
                .collect()),
            code => Err(code),
        });
    }
}

fn conclude(server: SocketAddr, both: [Pending; 2]) -> Result<Found, LookupError> {
    let replies = both.map(|pending| pending.reply);
    let addresses: Vec<(IpAddr, u32)> =
        replies.iter().flatten().flatten().flatten().copied().collect();
    if let Some(ttl) = addresses.iter().map(|(_, ttl)| *ttl).min() {
        let ttl = Duration::from_secs(ttl.into()).clamp(LEAST_TTL, MOST_TTL);
        let addresses = addresses.into_iter().map(|(address, _)| address).collect();
        return Ok(Found { addresses, until: Instant::now() + ttl });
    }
    match replies {
        [Some(Err(ResponseCode::NXDomain)), _] | [_, Some(Err(ResponseCode::NXDomain))] => {
            Err(LookupError::NoSuchName { server })
        }
        [Some(Err(code)), _] | [_, Some(Err(code))] => Err(LookupError::Refused { server, code }),
        [None, _] | [_, None] => Err(LookupError::NoAnswer { server }),
        [Some(Ok(_)), Some(Ok(_))] => Err(LookupError::NoAddress { server }),
    }
}
