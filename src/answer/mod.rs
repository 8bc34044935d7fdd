//! The seam: octets in, octets out, against one snapshot.
//!
//! No socket, no clock, no lock. Fuzzers, tests and every [`Transport`] call
//! [`answer`]. There are two ways to a reply, equal octet for octet:
//!
//! * The ordinary path answers everything: [`request`] takes a request apart,
//!   [`subnet`] says on whose behalf a forwarder asks, [`lookup`] finds what our
//!   zones have, and [`reply`] puts the reply together.
//! * The fast path, `fast`, answers most questions: it copies an answer that was
//!   prebuilt with the snapshot ([`ready`](crate::snapshot::ready),
//!   [`tail`](crate::snapshot::tail)).
//!
//! A name that is not ours may be known [`Elsewhere`]. If its answer is not at
//! hand, the outcome is the question to ask there; once that has its answer, the
//! request is answered anew, from the snapshot of that moment.

mod fast;
pub(crate) mod lookup;
mod overlay;
pub(crate) mod reply;
pub(crate) mod request;
mod reverse;
pub(crate) mod subnet;
#[cfg(test)]
mod tests;
mod transport;

use std::borrow::Cow;
use std::net::SocketAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::config::ViewId;
use crate::dns::ede;
use crate::forward::{self, Age, Hit, OwnedQuestion};
use crate::snapshot::ready::Stale;
use crate::snapshot::{Freshness, Selector, Snapshot, ViewTable};
pub use fast::{Ahead, AheadBuffer, MAX_BATCH};
use lookup::MAX_CHAIN;
use reply::{ReplyBuilder, write_error};
use request::{Head, Request};
use subnet::Chosen;
pub use transport::Transport;

/// Who asks, and at which of our addresses. IPv4-mapped IPv6 addresses are
/// already turned into IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The client's address.
    pub client: SocketAddr,
    /// The address of ours the query arrived at.
    pub local: SocketAddr,
}

impl Asker {
    /// Its view, by its own address; [`subnet`] has that of who asks on behalf of
    /// others.
    #[inline]
    pub(crate) fn view(&self, selector: &Selector) -> Option<ViewId> {
        selector.select(self.client.ip(), self.local)
    }
}

/// What became of a request: exactly one per request.
#[derive(Debug, Clone, PartialEq)]
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
        /// Is it stale?
        stale: Stale,
    },
    /// An upstream has to be asked this first; then the request is to be answered
    /// anew.
    Ask(OwnedQuestion),
    /// Nothing is sent: it was a response, or shorter than a header.
    Drop,
}

impl Stale {
    fn of(hit: &Hit) -> Self {
        Self(matches!(hit.age(), Age::Stale(_)))
    }
}

/// Where an answer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Our zones.
    Zone,
    /// A public EC2 name of ours (an overlay zone).
    Ec2,
    /// An upstream, asked for this answer.
    Forwarded,
    /// An upstream, asked earlier.
    Cached,
    /// A special-use name (RFC 6761), which no upstream is asked about.
    Special,
    /// Class CH: what is told of the server itself (RFC 4892).
    Chaos,
    /// Refused.
    Refused,
    /// The request could not be read, or asks for what there is not.
    Malformed,
}

impl Path {
    /// Every path, in the order of the enum.
    pub const ALL: [Path; 8] = [
        Path::Zone,
        Path::Ec2,
        Path::Forwarded,
        Path::Cached,
        Path::Special,
        Path::Chaos,
        Path::Refused,
        Path::Malformed,
    ];

    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Path::Zone => "zone",
            Path::Ec2 => "ec2",
            Path::Forwarded => "forwarded",
            Path::Cached => "cached",
            Path::Special => "special",
            Path::Chaos => "chaos",
            Path::Refused => "refused",
            Path::Malformed => "malformed",
        }
    }
}

/// What is known of names that are not ours.
pub trait Elsewhere {
    /// The answer to a question, if it is at hand. Never waits.
    fn answer(&mut self, question: &forward::Question<'_>) -> Option<Hit>;

    /// Is this one of our own loop probes come back? `name` is folded.
    fn is_probe(&self, name: &[u8]) -> bool;
}

/// Nothing is known.
impl Elsewhere for () {
    fn answer(&mut self, _: &forward::Question<'_>) -> Option<Hit> {
        None
    }

    fn is_probe(&self, _: &[u8]) -> bool {
        false
    }
}

/// Answers one request. `reply` is overwritten.
pub fn answer(
    snapshot: &Snapshot,
    asker: &Asker,
    transport: Transport,
    request: &[u8],
    elsewhere: &mut impl Elsewhere,
    reply: &mut Vec<u8>,
) -> Outcome {
    fast::answer(snapshot, asker, transport, request, elsewhere, reply)
        .unwrap_or_else(|| ordinary(snapshot, asker, transport, request, elsewhere, reply))
}

/// As [`answer`], octet for octet, without prebuilt answers: tests and fuzzers
/// compare the two.
pub fn ordinary(
    snapshot: &Snapshot,
    asker: &Asker,
    transport: Transport,
    request: &[u8],
    elsewhere: &mut impl Elsewhere,
    reply: &mut Vec<u8>,
) -> Outcome {
    respond(snapshot, &ViewBy::Asker(asker), transport, request, elsewhere, reply)
}

/// Answers one request as for a client of `view`, with as many octets as it takes.
pub fn answer_in_view(
    snapshot: &Snapshot,
    view: ViewId,
    request: &[u8],
    elsewhere: &mut impl Elsewhere,
    reply: &mut Vec<u8>,
) -> Outcome {
    respond(snapshot, &ViewBy::Id(view), Transport::Tcp, request, elsewhere, reply)
}

/// What decides the view of a request.
enum ViewBy<'a> {
    /// Who asks.
    Asker(&'a Asker),
    /// The caller.
    Id(ViewId),
}

fn respond(
    snapshot: &Snapshot,
    view_by: &ViewBy<'_>,
    transport: Transport,
    octets: &[u8],
    elsewhere: &mut impl Elsewhere,
    reply: &mut Vec<u8>,
) -> Outcome {
    reply.clear();
    let Some(head) = Head::read(octets) else { return Outcome::Drop };
    if head.is_response() {
        return Outcome::Drop;
    }
    let error = |rcode, reply: &mut Vec<u8>| {
        let rcode = write_error(head, octets, rcode, reply);
        Outcome::Reply { rcode, view: None, path: Path::Malformed, stale: Stale(false) }
    };
    if !head.is_query() {
        return error(ResponseCode::NotImp, reply);
    }
    let Some(request) = Request::read(octets) else {
        return error(ResponseCode::FormErr, reply);
    };
    let Chosen { view, option, subnet } = match view_by {
        ViewBy::Asker(asker) => subnet::choose(&snapshot.selector, asker, request.subnet()),
        ViewBy::Id(view) => Chosen { view: Some(*view), ..Chosen::default() },
    };
    let table = view.and_then(|view| snapshot.views.get(view));
    let size = transport.limit(request.payload());
    let mut out = ReplyBuilder::new(&request, size);
    out.subnet = option;
    out.recursion_available = table.is_some_and(|table| table.forward);
    let composed = match (table, view_by) {
        _ if request.edns_version() > 0 => {
            out.rcode = ResponseCode::BADVERS;
            Composed::Built(Path::Malformed)
        }
        (Some(table), _) => match compose(snapshot, table, &request, elsewhere, &mut out) {
            Ok(composed) => composed,
            Err(question) => return Outcome::Ask(question),
        },
        (None, ViewBy::Asker(asker)) => {
            let client = asker.client.ip();
            let why = match subnet {
                Some(subnet) => format!("{subnet}, for which {client} asks, is in no view"),
                None => format!("{client} is in no view"),
            };
            Composed::Built(out.refuse(ede::PROHIBITED, why))
        }
        (None, ViewBy::Id(_)) => Composed::Built(Path::Refused),
    };
    let (rcode, path, stale) = match composed {
        Composed::Built(path) => (out.write(reply), path, out.stale),
        Composed::PassedOn(hit) => {
            forward::compose(&hit, &request.passed_on(size), &out.options(), reply);
            (hit.rcode(), path_of(&hit), Stale::of(&hit))
        }
    };
    Outcome::Reply { rcode, view, path, stale }
}

/// What a reply is made of.
enum Composed {
    /// What the [`ReplyBuilder`] has; it is from there.
    Built(Path),
    /// An answer from elsewhere, as it came.
    PassedOn(Hit),
}

fn path_of(hit: &Hit) -> Path {
    match hit.age() {
        Age::New => Path::Forwarded,
        Age::Fresh(_) | Age::Stale(_) => Path::Cached,
        Age::Own => Path::Special,
    }
}

/// Decides what to say to a well-formed query from a client in a view; an
/// error is what has to be asked elsewhere first.
fn compose<'s>(
    snapshot: &'s Snapshot,
    table: &'s ViewTable,
    request: &Request<'_>,
    elsewhere: &mut impl Elsewhere,
    out: &mut ReplyBuilder<'_, 's>,
) -> Result<Composed, OwnedQuestion> {
    let query = request.query();
    let rtype = query.query_type();
    if request.wants_nsid() {
        out.nsid = snapshot.identity.id.as_deref();
    }
    if query.query_class() == DNSClass::CH {
        return Ok(Composed::Built(chaos(snapshot, request, out)));
    }
    match rtype {
        RecordType::AXFR | RecordType::IXFR => {
            return Ok(Composed::Built(
                out.refuse(ede::PROHIBITED, "no zone transfer from here".into()),
            ));
        }
        // Meta types that are no question of the IN class (RFC 6895 section 3.1).
        RecordType::OPT | RecordType::TSIG | RecordType::ZERO => {
            out.rcode = ResponseCode::FormErr;
            return Ok(Composed::Built(Path::Malformed));
        }
        _ => {}
    }
    let name = request.name();
    let may_ask = table.forward && request.recursion_desired();
    let is_in = query.query_class() == DNSClass::IN;
    let is_ours = table.authority_of(name).is_some()
        && !(may_ask && is_in && lookup::is_for_parent(table, name, rtype));
    if !is_in && (is_ours || !may_ask) {
        let why = format!("class {} is not served", query.query_class());
        return Ok(Composed::Built(out.refuse(ede::NOT_SUPPORTED, why)));
    }
    if is_ours {
        let found = lookup::find(table, name, rtype);
        let path = match table.overlays.contains(name) {
            true => Path::Ec2,
            false => Path::Zone,
        };
        out.take(found);
        return chase(snapshot, table, request, elsewhere, out).map(|()| Composed::Built(path));
    }
    if !may_ask {
        let why = match table.forward {
            true => "not one of our zones, and recursion is not desired (RD is 0)",
            false => "not one of our zones",
        };
        return Ok(Composed::Built(out.refuse(ede::NOT_AUTHORITATIVE, why.into())));
    }
    if elsewhere.is_probe(name) {
        let why = "our own question came back: a forwarding loop";
        return Ok(Composed::Built(out.refuse(ede::NOT_SUPPORTED, why.into())));
    }
    let question = request.question();
    let hit = at_hand(table, elsewhere, &question)?;
    if !(is_in && lookup::comes_back(table, &hit, rtype)) {
        return Ok(Composed::PassedOn(hit));
    }
    let path = path_of(&hit);
    if out.found.go_on(table, &hit, rtype) {
        out.stale.0 |= Stale::of(&hit).0;
        out.taken();
        chase(snapshot, table, request, elsewhere, out)?;
    } else {
        out.fail(hit.message().remarks().first().cloned().map(Cow::Owned));
    }
    Ok(Composed::Built(path))
}

/// What is known elsewhere, its addresses rewritten as this view's `rewrites` say.
/// Nobody is asked about special-use names.
fn at_hand(
    table: &ViewTable,
    elsewhere: &mut impl Elsewhere,
    question: &forward::Question<'_>,
) -> Result<Hit, OwnedQuestion> {
    if let Some(hit) = forward::special(question) {
        return Ok(hit);
    }
    let hit = elsewhere.answer(question).ok_or_else(|| question.to_owned())?;
    if table.rewrites.is_empty() {
        return Ok(hit);
    }
    Ok(hit.rewrite(|old| table.rewrites.get(&old).copied()).unwrap_or(hit))
}

/// Follows a CNAME that leaves our zones, for whoever wants recursion: stub
/// resolvers follow none themselves. Then looks at the ages of all sources that the
/// answer rests on.
fn chase<'s>(
    snapshot: &'s Snapshot,
    table: &'s ViewTable,
    request: &Request<'_>,
    elsewhere: &mut impl Elsewhere,
    out: &mut ReplyBuilder<'_, 's>,
) -> Result<(), OwnedQuestion> {
    let rtype = request.query().query_type();
    let may_ask = table.forward && request.recursion_desired();
    for round in 0.. {
        let Some(target) = out.found.leaves.take_if(|_| may_ask) else { break };
        let question = forward::Question { name: &target, ..request.question() };
        let hit = at_hand(table, elsewhere, &question)?;
        if round == MAX_CHAIN || !out.found.go_on(table, &hit, rtype) {
            let own = || hit.message().remarks().first().cloned();
            out.fail(hit.remark().or_else(own).map(Cow::Owned));
            return Ok(());
        }
        out.remarks.extend(hit.remark().map(Cow::Owned));
        out.stale.0 |= Stale::of(&hit).0;
        out.taken();
    }
    for source in std::mem::take(&mut out.found.sources) {
        match snapshot.sources.get(source).map(|s| &s.freshness) {
            Some(Freshness::Stale(remark)) => {
                out.remarks.push(Cow::Borrowed(remark));
                out.stale = Stale(true);
            }
            Some(Freshness::TooOld(remark)) => {
                out.fail(Some(Cow::Borrowed(remark)));
                break;
            }
            Some(Freshness::Fresh) | None => {}
        }
    }
    Ok(())
}

/// Questions about the server itself (RFC 4892): answered only where the
/// configuration says what to say.
fn chaos<'s>(
    snapshot: &'s Snapshot,
    request: &Request<'_>,
    out: &mut ReplyBuilder<'_, 's>,
) -> Path {
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
            out.found.answers.push(record);
            Path::Chaos
        }
        _ => out.refuse(ede::PROHIBITED, "not told".into()),
    }
}
