//! A request taken apart.
//!
//! hickory parses. What it leaves to us: headers of requests that it cannot read,
//! octets behind the message, and the case of the question. hickory compresses
//! names case-sensitively, so it is given the question in lower case, as all our
//! names are. The octets as they came stay at hand until the reply is done.

use std::net::SocketAddr;

use hickory_proto::op::{Edns, LowerQuery, Metadata};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_server::net::xfer::Protocol;

use crate::dns::name::{self, End};
use crate::dns::opt::{Fixed, NSID};
use crate::dns::wire::{HEADER, TYPE_AND_CLASS, u16_at};
use crate::forward;

/// A request's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head(pub(super) [u8; HEADER]);

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
}

/// A request that hickory could read, with one question.
pub(crate) struct Request<'r> {
    /// As it came.
    octets: &'r [u8],
    /// Where the question ends in `octets`.
    question_end: usize,
    /// The question's name, folded wire octets.
    name: Vec<u8>,
    /// Parsed, the question in lower case.
    parsed: hickory_server::server::Request,
}

impl<'r> Request<'r> {
    /// Parses a request. None when there is not exactly one question (RFC 9619),
    /// its name is compressed, the message ends too early or too late, or
    /// hickory cannot read it.
    pub(crate) fn read(octets: &'r [u8]) -> Option<Self> {
        let name_end = HEADER + name_len(octets)?;
        let mut folded = octets.to_vec();
        let name = folded.get_mut(HEADER..name_end)?;
        name.make_ascii_lowercase();
        let name = name.to_vec();
        // Who asked and how plays no part in parsing.
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let parsed = hickory_server::server::Request::from_bytes(folded, nobody, Protocol::Udp);
        let parsed = parsed.ok().filter(|parsed| parsed.request_info().is_ok())?;
        Some(Self { octets, question_end: name_end + TYPE_AND_CLASS, name, parsed })
    }

    /// All of it, as it came.
    pub(crate) fn octets(&self) -> &'r [u8] {
        self.octets
    }

    /// The question as it came: name, type and class.
    pub(crate) fn question_octets(&self) -> &'r [u8] {
        self.octets.get(HEADER..self.question_end).unwrap_or_default()
    }

    /// The question.
    pub(crate) fn query(&self) -> &LowerQuery {
        &self.parsed.queries.queries()[0]
    }

    /// The question's name, folded wire octets.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// ID and flags.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.parsed.metadata
    }

    /// RD.
    pub(crate) fn recursion_desired(&self) -> bool {
        self.metadata().recursion_desired
    }

    /// Its OPT.
    pub(crate) fn edns(&self) -> Option<&Edns> {
        self.parsed.edns.as_ref()
    }

    /// Version of its OPT; 0 without one.
    pub(crate) fn edns_version(&self) -> u8 {
        self.edns().map_or(0, Edns::version)
    }

    /// Octets of the largest UDP reply its OPT takes.
    pub(crate) fn payload(&self) -> Option<u16> {
        self.edns().map(Edns::max_payload)
    }

    /// The subnet it is asked for (RFC 7871).
    pub(crate) fn subnet(&self) -> Option<&ClientSubnet> {
        match self.edns()?.option(EdnsCode::Subnet)? {
            EdnsOption::Subnet(subnet) => Some(subnet),
            _ => None,
        }
    }

    /// Does it ask for our name (RFC 5001)?
    pub(crate) fn wants_nsid(&self) -> bool {
        self.edns().is_some_and(|edns| edns.option(EdnsCode::from(NSID)).is_some())
    }

    /// What it asks, as an upstream would be asked.
    pub(crate) fn question(&self) -> forward::Question<'_> {
        forward::Question {
            name: &self.name,
            rtype: self.query().query_type().into(),
            class: self.query().query_class().into(),
            dnssec_ok: self.edns().is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: self.metadata().checking_disabled,
        }
    }

    /// What an upstream's answer is to be made fit for, in `limit` octets.
    pub(crate) fn passed_on(&self, limit: usize) -> forward::Query<'r> {
        let dnssec_ok = self.question().dnssec_ok;
        forward::Query {
            head: self.octets.first_chunk().copied().unwrap_or_default(),
            question: self.question_octets(),
            limit,
            edns: self.edns().map(|_| forward::Edns { dnssec_ok, options: &[] }),
        }
    }
}

/// Finds the one question and walks over the rest of the message; returns the
/// length of the question's name.
fn name_len(request: &[u8]) -> Option<usize> {
    let count = |at| u16_at(request, at).map(usize::from);
    if count(4)? != 1 {
        return None;
    }
    let len = name::wire_len(request.get(HEADER..)?)?;
    let mut at = HEADER + len + TYPE_AND_CLASS;
    for _ in 0..count(6)? + count(8)? + count(10)? {
        at = behind_record(request, at)?;
    }
    (at == request.len()).then_some(len)
}

/// Finds the first OPT of a request, whatever is in it and behind it.
pub(super) fn find_opt(request: &[u8]) -> Option<Fixed> {
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
