//! The seam: octets in, octets out, against one snapshot.
//!
//! No socket, no clock, no lock. Fuzzers, tests and every transport call
//! [`answer`]. [`message`] takes a request apart and puts a reply together;
//! [`lookup`] finds what to say. That is the ordinary path; what most ask for
//! is copied from a [`tail`] it made beforehand, by `fast`.

mod fast;
pub mod lookup;
pub mod message;
pub mod tail;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::SocketAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::config::ViewId;
use crate::snapshot::{Freshness, Snapshot};
use message::{Head, Question, Reply, Request};

/// Who asks, and at which of our addresses. Both with IPv4-mapped IPv6
/// addresses already turned into IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The client's address.
    pub client: SocketAddr,
    /// The address of ours the query arrived at.
    pub local: SocketAddr,
}

/// How the query came: decides nothing but the size of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// At most 512 octets, or what EDNS allows up to [`MAX_UDP`].
    Udp,
    /// At most 65,535 octets.
    Tcp,
}

/// The largest UDP answer, and what our OPT advertises: fits into every
/// path's MTU unfragmented (DNS flag day 2020).
pub const MAX_UDP: usize = 1232;

/// EDE 18, prohibited: the client is in no view (RFC 8914 section 4.19).
const EDE_PROHIBITED: u16 = 18;
/// EDE 20, not authoritative: not our name (RFC 8914 section 4.21).
const EDE_NOT_AUTHORITATIVE: u16 = 20;
/// EDE 21, not supported: a question we never answer (RFC 8914 section 4.22).
const EDE_NOT_SUPPORTED: u16 = 21;

/// What became of a request: exactly one per packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// `reply` holds the answer.
    Reply {
        /// Its response code.
        rcode: ResponseCode,
        /// The client's view; none when it is in no view or the request
        /// could not be read that far.
        view: Option<ViewId>,
        /// Where the answer is from.
        path: Path,
    },
    /// Nothing is sent: a response, or too short to be answered.
    Drop,
}

/// Where an answer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Our zones.
    Zone,
    /// What is said of the server itself.
    Chaos,
    /// Nowhere: refused.
    Refused,
    /// Nowhere: the request makes no sense.
    Malformed,
}

impl Path {
    /// Every path, in the order of the enum.
    pub const ALL: [Path; 4] = [Path::Zone, Path::Chaos, Path::Refused, Path::Malformed];

    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Path::Zone => "zone",
            Path::Chaos => "chaos",
            Path::Refused => "refused",
            Path::Malformed => "malformed",
        }
    }
}

/// Answers one request. `reply` is overwritten.
pub fn answer(
    snapshot: &Snapshot,
    asker: &Asker,
    transport: Transport,
    request: &[u8],
    reply: &mut Vec<u8>,
) -> Outcome {
    fast::answer(snapshot, asker, transport, request, reply)
        .unwrap_or_else(|| ordinary(snapshot, asker, transport, request, reply))
}

/// As [`answer`], octet for octet, without anything prebuilt: to compare.
pub fn ordinary(
    snapshot: &Snapshot,
    asker: &Asker,
    transport: Transport,
    request: &[u8],
    reply: &mut Vec<u8>,
) -> Outcome {
    respond(snapshot, &Client::At(asker), transport, request, reply)
}

/// Answers one request as anyone in `view` would be, of any size.
pub fn answer_in_view(
    snapshot: &Snapshot,
    view: ViewId,
    request: &[u8],
    reply: &mut Vec<u8>,
) -> Outcome {
    respond(snapshot, &Client::In(view), Transport::Tcp, request, reply)
}

/// How the view of a client is known.
enum Client<'a> {
    At(&'a Asker),
    In(ViewId),
}

fn respond(
    snapshot: &Snapshot,
    client: &Client<'_>,
    transport: Transport,
    request: &[u8],
    reply: &mut Vec<u8>,
) -> Outcome {
    reply.clear();
    let Some(head) = Head::read(request) else { return Outcome::Drop };
    if head.is_response() {
        return Outcome::Drop;
    }
    let bare = |rcode, reply: &mut Vec<u8>| {
        head.write_bare(rcode, reply);
        Outcome::Reply { rcode, view: None, path: Path::Malformed }
    };
    if !head.is_query() {
        return bare(ResponseCode::NotImp, reply);
    }
    let Some(question) = Question::read(request) else {
        return bare(ResponseCode::FormErr, reply);
    };
    let Ok(request) = Request::read(request, &question) else {
        return bare(ResponseCode::FormErr, reply);
    };
    let view = match client {
        Client::At(asker) => snapshot.selector.select(asker.client.ip(), asker.local),
        Client::In(view) => Some(*view),
    };
    let mut out = Reply::to(&request, transport);
    let path = match (view, client) {
        _ if request.edns_version() > 0 => {
            out.rcode = ResponseCode::BADVERS;
            Path::Malformed
        }
        (Some(view), _) => compose(snapshot, view, &request, &mut out),
        (None, Client::At(asker)) => {
            out.refuse(EDE_PROHIBITED, format!("{} is in no view", asker.client.ip()))
        }
        (None, Client::In(_)) => Path::Refused,
    };
    let rcode = out.write(&question, reply);
    Outcome::Reply { rcode, view, path }
}

/// Decides what to say to a well-formed query from a client in `view`.
fn compose<'s>(
    snapshot: &'s Snapshot,
    view: ViewId,
    request: &Request,
    out: &mut Reply<'_, 's>,
) -> Path {
    let query = request.query();
    if request.wants_nsid() {
        out.nsid = snapshot.identity.id.as_deref();
    }
    match query.query_class() {
        DNSClass::IN => {}
        DNSClass::CH => return chaos(snapshot, request, out),
        class => return out.refuse(EDE_NOT_SUPPORTED, format!("class {class} is not served")),
    }
    match query.query_type() {
        RecordType::AXFR | RecordType::IXFR => {
            return out.refuse(EDE_PROHIBITED, "no zone transfer from here".into());
        }
        // Meta types that are no question of the IN class (RFC 6895 section 3.1).
        RecordType::OPT | RecordType::TSIG | RecordType::ZERO => {
            out.rcode = ResponseCode::FormErr;
            return Path::Malformed;
        }
        _ => {}
    }
    let Some(table) = snapshot.views.get(view) else { return Path::Refused };
    let mut found = lookup::find(table, request.name(), query.query_type());
    if !found.ours {
        return out.refuse(EDE_NOT_AUTHORITATIVE, "not one of our zones".into());
    }
    let sources = std::mem::take(&mut found.sources);
    out.take(found);
    for source in sources {
        match snapshot.sources.get(source).map(|s| &s.freshness) {
            Some(Freshness::Stale(remark)) => out.remarks.push(Cow::Borrowed(remark)),
            Some(Freshness::TooOld(remark)) => {
                out.fail(remark);
                break;
            }
            Some(Freshness::Fresh) | None => {}
        }
    }
    Path::Zone
}

/// Questions about the server itself (RFC 4892): answered only where the
/// configuration says what to say.
fn chaos<'s>(snapshot: &'s Snapshot, request: &Request, out: &mut Reply<'_, 's>) -> Path {
    let query = request.query();
    let identity = &snapshot.identity;
    let said = match request.name() {
        b"\x07version\x04bind\0" | b"\x07version\x06server\0" => identity.version.as_deref(),
        b"\x08hostname\x04bind\0" | b"\x02id\x06server\0" => identity.id.as_deref(),
        _ => None,
    };
    match said {
        Some(text) if matches!(query.query_type(), RecordType::TXT | RecordType::ANY) => {
            let data = RData::TXT(TXT::from_bytes(text.as_bytes().chunks(255).collect()));
            let mut record = Record::from_rdata(query.original().name().clone(), 0, data);
            record.dns_class = DNSClass::CH;
            out.found.authoritative = true;
            out.found.answers.push(Cow::Owned(record));
            Path::Chaos
        }
        _ => out.refuse(EDE_PROHIBITED, "not told".into()),
    }
}
