//! A request taken apart, a reply put together.
//!
//! hickory parses and encodes. What it leaves to us: headers of requests it
//! cannot read, octets behind the message, sizes and truncation, and the case
//! of the question. hickory compresses names case-sensitively, so it is given
//! the question in lower case, as all our names are, and the asker's own
//! octets are laid over the reply's question at the end. (The server crate's
//! `MessageResponseBuilder` compresses nothing against the question, so the
//! parts of a reply go to the encoder directly.)

use std::borrow::Cow;
use std::net::SocketAddr;

use hickory_proto::ProtoError;
use hickory_proto::op::{
    Edns, EmitAndCount, LowerQuery, Metadata, ResponseCode, emit_message_parts,
};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::xfer::Protocol;

use super::{Path, Transport, lookup::Found};
use crate::dns::ede::{self, Remark};
use crate::dns::name::{self, End};
use crate::dns::opt::{self, ECS, Fixed, NSID, OPT_LEN};
use crate::dns::wire::{HEADER, MAX_UDP, TYPE_AND_CLASS, u16_at};
use crate::forward;
use crate::snapshot::ready::Stale;

/// The largest answer to a UDP request without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP: usize = 512;

/// A request's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head([u8; HEADER]);

impl Head {
    /// The first twelve octets; none when there are fewer.
    pub(crate) fn read(request: &[u8]) -> Option<Self> {
        Some(Self(*request.first_chunk()?))
    }

    /// QR.
    pub(crate) fn is_response(self) -> bool {
        self.0[2] & 0x80 != 0
    }

    /// OPCODE 0.
    pub(crate) fn is_query(self) -> bool {
        self.0[2] & 0x78 == 0
    }

    /// A reply of a header alone, for what could not be read.
    pub(crate) fn write_bare(self, rcode: ResponseCode, reply: &mut Vec<u8>) {
        let [id0, id1, flags, ..] = self.0;
        // QR, the opcode and RD as they came.
        reply.extend_from_slice(&[id0, id1, 0x80 | (flags & 0x79), rcode.low()]);
        reply.extend_from_slice(&[0; 8]);
    }

    /// The same with an OPT for whoever sent one that can be found, though it
    /// be in an option that the request cannot be read (RFC 6891 section 7).
    /// Options of another version are not ours to judge: BADVERS instead of
    /// FORMERR (section 6.1.3). Returns the response code.
    pub(crate) fn write_error(
        self,
        request: &[u8],
        rcode: ResponseCode,
        reply: &mut Vec<u8>,
    ) -> ResponseCode {
        let opt = find_opt(request);
        let rcode = match opt {
            Some(opt) if opt.version > 0 && rcode == ResponseCode::FormErr => ResponseCode::BADVERS,
            _ => rcode,
        };
        self.write_bare(rcode, reply);
        if let Some(opt) = opt {
            opt::append(reply, opt.dnssec_ok, rcode.high(), |_| ());
        }
        rcode
    }
}

/// Finds the first OPT of a request, whatever is in it and behind it.
fn find_opt(request: &[u8]) -> Option<Fixed> {
    let count = |at| u16_at(request, at).map(usize::from);
    let mut at = HEADER;
    for _ in 0..count(4)? {
        at = End::of(request, at)?.behind() + TYPE_AND_CLASS;
    }
    let before = count(6)? + count(8)?;
    for nth in 0..before + count(10)? {
        let owner = at;
        at = behind_record(request, owner)?;
        let fixed = request.get(owner..at)?.first_chunk().and_then(Fixed::read);
        if fixed.is_some() && nth >= before {
            return fixed;
        }
    }
    None
}

/// Where the record that begins at `at` ends; perhaps beyond the message's end.
fn behind_record(message: &[u8], at: usize) -> Option<usize> {
    // TYPE, CLASS, TTL and RDLENGTH (RFC 1035 section 3.2.1).
    let begin = End::of(message, at)?.behind();
    Some(begin + 10 + usize::from(u16_at(message, begin + 8)?))
}

/// The name of the question as the asker wrote it, where it stands in the
/// request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskedName<'r>(&'r [u8]);

impl<'r> AskedName<'r> {
    /// Finds the one question and walks over the rest of the message: none
    /// when there is not exactly one question (RFC 9619), its name is
    /// compressed, or the message ends too early or too late.
    pub(crate) fn read(request: &'r [u8]) -> Option<Self> {
        let count = |at| u16_at(request, at).map(usize::from);
        if count(4)? != 1 {
            return None;
        }
        let len = name::wire_len(request.get(HEADER..)?)?;
        let asked = Self(request.get(HEADER..HEADER + len)?);
        let mut at = asked.question_end();
        for _ in 0..count(6)? + count(8)? + count(10)? {
            at = behind_record(request, at)?;
        }
        (at == request.len()).then_some(asked)
    }

    /// Where the question ends in the request.
    fn question_end(self) -> usize {
        HEADER + self.0.len() + TYPE_AND_CLASS
    }
}

/// The most octets a reply may have, `payload` being what the request's OPT
/// says.
pub(crate) fn limit(transport: Transport, payload: Option<u16>) -> usize {
    match (transport, payload) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(payload)) => usize::from(payload).clamp(PLAIN_UDP, MAX_UDP),
    }
}

/// A request that hickory could read, its question in lower case.
pub(crate) struct Request {
    inner: hickory_server::server::Request,
    name: Vec<u8>,
}

impl Request {
    /// Parses a request.
    pub(crate) fn read(octets: &[u8], asked: &AskedName<'_>) -> Result<Self, ProtoError> {
        let mut folded = octets.to_vec();
        let name = HEADER..HEADER + asked.0.len();
        folded[name.clone()].make_ascii_lowercase();
        let name = folded[name].to_vec();
        // Who asked and how plays no part in parsing.
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let inner = hickory_server::server::Request::from_bytes(folded, nobody, Protocol::Udp)?;
        inner.request_info().map_err(|_| ProtoError::Message("no question"))?;
        Ok(Self { inner, name })
    }

    /// The question.
    pub(crate) fn query(&self) -> &LowerQuery {
        &self.inner.queries.queries()[0]
    }

    /// The question's name, folded wire octets.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// RD.
    pub(crate) fn recursion_desired(&self) -> bool {
        self.inner.metadata.recursion_desired
    }

    /// Version of the request's OPT; 0 without one.
    pub(crate) fn edns_version(&self) -> u8 {
        self.inner.edns.as_ref().map_or(0, Edns::version)
    }

    /// The subnet it is asked for (RFC 7871).
    pub(crate) fn subnet(&self) -> Option<&ClientSubnet> {
        match self.inner.edns.as_ref()?.option(EdnsCode::Subnet)? {
            EdnsOption::Subnet(subnet) => Some(subnet),
            _ => None,
        }
    }

    /// What it asks, as it would be asked elsewhere.
    pub(crate) fn question(&self) -> forward::Question<'_> {
        let edns = self.inner.edns.as_ref();
        forward::Question {
            name: &self.name,
            rtype: self.query().query_type().into(),
            class: self.query().query_class().into(),
            dnssec_ok: edns.is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: self.inner.metadata.checking_disabled,
        }
    }

    /// What an answer from elsewhere is to be made fit for. `octets` are those
    /// of this request and `asked` is in them.
    pub(crate) fn passed_on<'r>(
        &self,
        octets: &'r [u8],
        asked: &AskedName<'r>,
        limit: usize,
    ) -> forward::Query<'r> {
        let dnssec_ok = self.question().dnssec_ok;
        forward::Query {
            head: octets.first_chunk().copied().unwrap_or_default(),
            question: octets.get(HEADER..asked.question_end()).unwrap_or_default(),
            limit,
            edns: self.inner.edns.as_ref().map(|_| forward::Edns { dnssec_ok, options: &[] }),
        }
    }

    /// Does it ask for our name (RFC 5001)?
    pub(crate) fn wants_nsid(&self) -> bool {
        let edns = self.inner.edns.as_ref();
        edns.is_some_and(|e| e.option(EdnsCode::from(NSID)).is_some())
    }
}

/// A reply in the making.
pub(crate) struct Reply<'r, 's> {
    request: &'r Request,
    transport: Transport,
    /// What was found in the zones.
    pub found: Found<'s>,
    /// The response code.
    pub rcode: ResponseCode,
    /// RA: exactly when the view forwards.
    pub recursion_available: bool,
    /// Extended DNS Errors.
    pub remarks: Vec<Cow<'s, Remark>>,
    /// Does it rest on something stale?
    pub stale: Stale,
    /// Our name, when it was asked for.
    pub nsid: Option<&'s str>,
    /// The option that answers a trusted forwarder's EDNS Client Subnet.
    pub subnet: Option<Vec<u8>>,
}

/// How much of a reply is sent, from all to the least. Additional records that
/// only save a question are sent as far as they fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    WithoutRemarks,
    /// With the glue that fits; TC from here on.
    WithoutGlue,
    Truncated,
}

impl<'r, 's> Reply<'r, 's> {
    /// An empty reply to `request`.
    pub(crate) fn to(request: &'r Request, transport: Transport) -> Self {
        Self {
            request,
            transport,
            found: Found::default(),
            rcode: ResponseCode::NoError,
            recursion_available: false,
            remarks: Vec::new(),
            stale: Stale(false),
            nsid: None,
            subnet: None,
        }
    }

    /// Becomes REFUSED with a reason.
    pub(crate) fn refuse(&mut self, code: u16, why: String) -> Path {
        self.rcode = ResponseCode::Refused;
        self.remarks.push(Cow::Owned(Remark { code, text: why.into() }));
        Path::Refused
    }

    /// Becomes SERVFAIL, perhaps with a reason; what was found is dropped.
    pub(crate) fn fail(&mut self, remark: Option<Cow<'s, Remark>>) {
        self.found = Found::default();
        self.rcode = ResponseCode::ServFail;
        self.stale = Stale(false);
        self.remarks = remark.into_iter().collect();
    }

    /// Takes over what was found.
    pub(crate) fn take(&mut self, found: Found<'s>) {
        self.found = found;
        self.taken();
    }

    /// More was found: its response code and what is to be said about it.
    pub(crate) fn taken(&mut self) {
        self.rcode = self.found.rcode;
        self.remarks.extend(self.found.remarks.drain(..).map(Cow::Borrowed));
    }

    /// The most octets the reply may have.
    pub(crate) fn limit(&self) -> usize {
        limit(self.transport, self.request.inner.edns.as_ref().map(Edns::max_payload))
    }

    /// Writes the reply and says with which response code.
    pub(crate) fn write(&mut self, asked: &AskedName<'_>, reply: &mut Vec<u8>) -> ResponseCode {
        let answers = self.found.answers.len();
        let whole = [Extent::Whole, Extent::WithoutRemarks, Extent::WithoutGlue];
        // Looked for only when it comes to that.
        let ends = std::iter::once_with(|| self.set_ends()).flatten().rev();
        let truncated = ends.map(|end| (Extent::Truncated, end));
        for (extent, keep) in whole.map(|extent| (extent, answers)).into_iter().chain(truncated) {
            reply.clear();
            if self.encode(extent, keep, reply).is_ok_and(|fits| fits) {
                if let Some(place) = reply.get_mut(HEADER..HEADER + asked.0.len()) {
                    place.copy_from_slice(asked.0);
                }
                return self.rcode;
            }
        }
        // A record that cannot be encoded: the readers refuse such, so this is
        // the last line of defence.
        reply.clear();
        if let Some(head) = Head::read(self.request.inner.as_slice()) {
            head.write_bare(ResponseCode::ServFail, reply);
        }
        ResponseCode::ServFail
    }

    /// How many answers there are up to the end of each RRset, and none: a
    /// truncated reply holds whole RRsets only (RFC 2181 section 9).
    fn set_ends(&self) -> Vec<usize> {
        let sets = self.found.answers.chunk_by(|a, b| is_same_set(a, b));
        let ends = sets.scan(0, |end, set| {
            *end += set.len();
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Encodes with the first `keep` answers; false when what this extent
    /// promises does not fit.
    fn encode(&self, extent: Extent, keep: usize, reply: &mut Vec<u8>) -> Result<bool, ProtoError> {
        let found = &self.found;
        let mut metadata = Metadata::response_from_request(&self.request.inner.metadata);
        // Its upper bits stand in the OPT.
        metadata.response_code = ResponseCode::from(0, self.rcode.low());
        metadata.authoritative = found.authoritative;
        metadata.recursion_available = self.recursion_available;
        metadata.truncation = matches!(extent, Extent::WithoutGlue | Extent::Truncated);
        let edns = self.request.inner.edns.as_ref();
        let options = edns.map(|_| self.all_options(extent));
        let opt_len = options.as_ref().map_or(0, |options| OPT_LEN + options.len());
        let answers = found.answers.get(..keep).unwrap_or_default();
        let limit = self.limit();
        let mut additional = Additional {
            glue: &found.glue,
            extra: &found.extra,
            end: limit.saturating_sub(opt_len),
            lacks_glue: false,
        };
        let mut authority = &found.authority[..];
        match extent {
            Extent::Whole | Extent::WithoutRemarks => {}
            Extent::WithoutGlue => additional.extra = &[],
            Extent::Truncated => (authority, additional.glue, additional.extra) = (&[], &[], &[]),
        }
        let mut encoder = BinEncoder::new(reply);
        // Not `limit`: names are written out before they are compressed.
        encoder.set_max_size(u16::MAX);
        let header = emit_message_parts(
            &metadata,
            &mut std::iter::once(self.request.query().original()),
            &mut answers.iter().map(|r| -> &Record { r }),
            &mut authority.iter().map(|r| -> &Record { r }),
            &mut additional,
            None,
            None,
            &mut encoder,
        )?;
        if let (Some(edns), Some(options)) = (edns, options) {
            let dnssec_ok = edns.flags().dnssec_ok;
            opt::append(reply, dnssec_ok, self.rcode.high(), |reply| reply.extend(options));
        }
        let is_cut = header.metadata.truncation != metadata.truncation;
        let fits = !is_cut && reply.len() <= limit;
        Ok(fits && (metadata.truncation || !additional.lacks_glue))
    }

    /// Options of every answer to this request: code and data.
    fn own_options(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let id = self.nsid.map(|id| (NSID, id.as_bytes()));
        id.into_iter().chain(self.subnet.as_deref().map(|data| (ECS, data)))
    }

    /// The same, encoded.
    pub(crate) fn options(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for (code, data) in self.own_options() {
            opt::push_option(&mut octets, code, data);
        }
        octets
    }

    /// All options of this reply, encoded. None is echoed (RFC 6891 section 6).
    fn all_options(&self, extent: Extent) -> Vec<u8> {
        let mut octets = self.options();
        let said = if extent == Extent::Whole { &self.remarks[..] } else { &[] };
        for (nth, remark) in said.iter().enumerate() {
            if !said[..nth].contains(remark) {
                opt::push_option(&mut octets, ede::OPTION, &remark.data());
            }
        }
        octets
    }
}

/// Are two neighbours of one RRset?
fn is_same_set(one: &Record, other: &Record) -> bool {
    (one.record_type(), &one.name) == (other.record_type(), &other.name)
}

/// An additional section, as NSD, Knot and BIND fill it: RRsets that do not fit
/// are left out (RFC 2181 section 9) with the rest of that host's addresses;
/// the hosts behind are still tried.
struct Additional<'a> {
    glue: &'a [&'a Record],
    extra: &'a [Cow<'a, Record>],
    /// How long the message may be after it.
    end: usize,
    /// Set when glue had to be left out.
    lacks_glue: bool,
}

impl Additional<'_> {
    /// Writes what fits of some hosts' addresses: how many, and was that all?
    fn emit_hosts<R: std::ops::Deref<Target = Record>>(
        &self,
        addresses: &[R],
        encoder: &mut BinEncoder<'_>,
    ) -> Result<(usize, bool), ProtoError> {
        let mut count = 0;
        let mut whole = true;
        for host in addresses.chunk_by(|a, b| a.name == b.name) {
            for set in host.chunk_by(|a, b| is_same_set(a, b)) {
                let start = encoder.offset();
                match encoder.emit_iter(&mut set.iter().map(|r| &**r)) {
                    Ok(more) if encoder.offset() <= self.end => count += more,
                    Ok(_) | Err(ProtoError::NotAllRecordsWritten { .. }) => {
                        encoder.set_offset(start);
                        encoder.trim();
                        whole = false;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((count, whole))
    }
}

impl EmitAndCount for Additional<'_> {
    fn emit(&mut self, encoder: &mut BinEncoder<'_>) -> Result<usize, ProtoError> {
        let (glue, whole) = self.emit_hosts(self.glue, encoder)?;
        self.lacks_glue = !whole;
        let (extra, _) = self.emit_hosts(self.extra, encoder)?;
        Ok(glue + extra)
    }
}
