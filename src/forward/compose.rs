//! Makes the reply from a kept answer: a copy, patched. Pure.

use super::hit::Hit;
use crate::dns::ede;
use crate::dns::opt::{self, OPT_LEN};
use crate::dns::wire::{AD, CD, HEADER, RD, TC, overlay, u32_at};

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
    let opt_len = query.edns.map_or(0, |_| OPT_LEN + options.len());
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

/// Our OPT: DO as it came, no option echoed (RFC 6891 section 6).
fn write_opt(hit: &Hit, edns: Edns<'_>, options: &[u8], extent: Extent, reply: &mut Vec<u8>) {
    // The upper bits of RCODE are 0: other answers are not passed on.
    opt::append(reply, edns.dnssec_ok, 0, |reply| {
        reply.extend_from_slice(options);
        if extent == Extent::Whole {
            let own = hit.remark();
            for remark in own.iter().chain(hit.message().remarks()) {
                opt::push_option(reply, ede::OPTION, &remark.data());
            }
        }
    });
}
