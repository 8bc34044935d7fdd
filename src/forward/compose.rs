//! A reply out of an answer in hand: a copy, patched. Pure.

use super::hit::Hit;
use super::question::{Question, opt};
use super::wire::{MAX_MESSAGE, OPT, WireName, overlay, u16_at, u32_at};
use crate::answer::message::HEADER;
use crate::answer::{MAX_UDP, Transport};
use crate::name;
use crate::snapshot::Remark;

/// The largest answer over UDP to a request without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP: usize = 512;
/// Option code of Extended DNS Errors (RFC 8914).
const EDE: u16 = 15;
/// The longest text in an Extended DNS Error: more is of no use in a terminal.
const MAX_EDE_TEXT: usize = 240;

const TC: u8 = 0x02;
const RD: u8 = 0x01;
const AD: u8 = 0x20;
const CD: u8 = 0x10;

/// A client's request, as far as a forwarded answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'r> {
    /// ID and flags as they came.
    pub head: [u8; 4],
    /// The question as it came: name, type and class.
    pub question: &'r [u8],
    /// The longest reply, in octets.
    pub limit: usize,
    /// The request's OPT, if it had one.
    pub edns: Option<Edns<'r>>,
}

/// A client's OPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns<'r> {
    /// DO.
    pub dnssec_ok: bool,
    /// Options, as they came: whoever acts on any looks here.
    pub options: &'r [u8],
}

impl<'r> Query<'r> {
    /// Reads a request as nearly all are: a standard query, one question, its
    /// name uncompressed, and nothing else but an OPT of version 0. None for
    /// everything else, which is for [`answer`](crate::answer) to judge.
    pub fn read(request: &'r [u8], transport: Transport) -> Option<Self> {
        let head = *request.first_chunk::<4>()?;
        // QR, opcode, TC; then the counts of all but additional records.
        if head[2] & 0xfa != 0 || request.get(4..10)? != [0, 1, 0, 0, 0, 0] {
            return None;
        }
        let len = name::wire_len(request.get(HEADER..)?)?;
        let question = request.get(HEADER..HEADER + len + 4)?;
        let rest = request.get(HEADER + len + 4..)?;
        let (payload, edns) = match (u16_at(request, 10)?, rest) {
            (0, []) => (PLAIN_UDP, None),
            (1, [0, ..]) if u16_at(rest, 1)? == OPT => {
                let [_extended, version, flags, _] = u32_at(rest, 5)?.to_be_bytes();
                let options = rest.get(11..)?;
                if version != 0 || options.len() != usize::from(u16_at(rest, 9)?) {
                    return None;
                }
                let edns = Edns { dnssec_ok: flags & 0x80 != 0, options };
                (usize::from(u16_at(rest, 3)?).clamp(PLAIN_UDP, MAX_UDP), Some(edns))
            }
            _ => return None,
        };
        let limit = match transport {
            Transport::Udp => payload,
            Transport::Tcp => MAX_MESSAGE,
        };
        Some(Self { head, question, limit, edns })
    }

    /// The name in lower case; none when there is no name.
    pub fn name(&self) -> Option<WireName> {
        let end = self.question.len().checked_sub(4)?;
        Some(WireName::from_wire(self.question.get(..end)?)?.folded())
    }

    /// What is asked, `name` being [`name`](Self::name).
    pub fn question<'n>(&self, name: &'n WireName) -> Question<'n> {
        let number = |from_end| {
            let at = self.question.len().checked_sub(from_end);
            at.and_then(|at| u16_at(self.question, at)).unwrap_or_default()
        };
        Question {
            name: name.octets(),
            rtype: number(4),
            class: number(2),
            dnssec_ok: self.edns.is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: self.head[3] & CD != 0,
        }
    }

    /// RD: recursion is desired. Without it nothing may be forwarded.
    pub fn recursion_desired(&self) -> bool {
        self.head[2] & RD != 0
    }
}

/// How much of a reply is sent, from all to the least. Additional records may
/// be left out without a word (RFC 2181 section 9).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    WithoutRemarks,
    WithoutAdditional,
    Truncated,
}

/// Writes the reply to `query` from `hit`, an answer to that very question.
/// `options` are EDNS options of our own, encoded (NSID, ECS); they go out
/// when the request had an OPT. `reply` is overwritten.
///
/// RA is set and AA is not; AD is set for those who asked with AD or DO
/// (RFC 6840 section 5.8); RD and CD come back as they came. What does not fit
/// leaves an empty answer with TC: the client comes back over TCP.
pub fn compose(hit: &Hit, query: &Query<'_>, options: &[u8], reply: &mut Vec<u8>) {
    let message = hit.message();
    let has_remarks = hit.remark().is_some() || !message.remarks().is_empty();
    let opt_len = query.edns.map_or(0, |_| 11 + options.len());
    let fits = |records: usize| records + opt_len <= query.limit;
    if query.edns.is_some() && has_remarks {
        write(hit, query, options, Extent::Whole, reply);
        if reply.len() <= query.limit {
            return;
        }
    }
    let extent = if fits(message.octets.len()) {
        Extent::WithoutRemarks
    } else if fits(message.additional_at.into()) {
        Extent::WithoutAdditional
    } else {
        Extent::Truncated
    };
    write(hit, query, options, extent, reply);
}

fn write(hit: &Hit, query: &Query<'_>, options: &[u8], extent: Extent, reply: &mut Vec<u8>) {
    let message = hit.message();
    let end = match extent {
        Extent::Whole | Extent::WithoutRemarks => message.octets.len(),
        Extent::WithoutAdditional => message.additional_at.into(),
        Extent::Truncated => message.question_end.into(),
    };
    reply.clear();
    reply.extend_from_slice(message.octets.get(..end).unwrap_or_default());

    let [id0, id1, flags, more] = query.head;
    let wants_ad = more & AD != 0 || query.edns.is_some_and(|edns| edns.dnssec_ok);
    let truncated = if extent == Extent::Truncated { TC } else { 0 };
    let authenticated = if wants_ad && hit.authenticated() { AD } else { 0 };
    let rcode = message.octets.get(3).copied().unwrap_or_default();
    let flags = [0x80 | truncated | flags & RD, 0x80 | authenticated | more & CD | rcode];
    overlay(reply, 0, &[id0, id1, flags[0], flags[1]]);
    match extent {
        Extent::Whole | Extent::WithoutRemarks => {}
        Extent::WithoutAdditional => overlay(reply, 10, &[0, 0]),
        Extent::Truncated => overlay(reply, 6, &[0; 6]),
    }
    if usize::from(message.question_end) == HEADER + query.question.len() {
        overlay(reply, HEADER, query.question);
    }
    if !hit.is_counted() {
        for at in message.ttls.iter().map(|at| usize::from(*at)).take_while(|at| *at < end) {
            let ttl = u32_at(reply, at).unwrap_or_default();
            overlay(reply, at, &hit.ttl(ttl).to_be_bytes());
        }
    }
    if let Some(edns) = query.edns {
        write_opt(hit, edns, options, extent, reply);
    }
}

/// Our OPT: version 0, DO as it came, no option echoed (RFC 6891 section 6).
fn write_opt(hit: &Hit, edns: Edns<'_>, options: &[u8], extent: Extent, reply: &mut Vec<u8>) {
    let at = reply.len();
    reply.extend_from_slice(&opt(edns.dnssec_ok, 0));
    reply.extend_from_slice(options);
    if extent == Extent::Whole {
        let own = hit.remark();
        for Remark { code, text } in own.iter().chain(hit.message().remarks()) {
            let text = cut(text).as_bytes();
            reply.extend_from_slice(&EDE.to_be_bytes());
            reply.extend_from_slice(&(text.len() as u16 + 2).to_be_bytes());
            reply.extend_from_slice(&code.to_be_bytes());
            reply.extend_from_slice(text);
        }
    }
    let length = (reply.len() - at - 11) as u16;
    overlay(reply, at + 9, &length.to_be_bytes());
    let count = u16_at(reply, 10).unwrap_or_default().wrapping_add(1);
    overlay(reply, 10, &count.to_be_bytes());
}

/// As much of a text as goes out.
fn cut(text: &str) -> &str {
    (0..=MAX_EDE_TEXT).rev().find_map(|end| text.get(..end.min(text.len()))).unwrap_or_default()
}
