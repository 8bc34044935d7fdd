//! Special-use names that are asked of nobody: upstreams know nothing of them,
//! and what they say does harm. An answer to `_dns.resolver.arpa` leads clients
//! past this server to the resolver that gave it (RFC 9462).
//!
//! `local`, `ipv4only.arpa` and the reverse zones of private networks are not
//! among them: the resolver of a VPC may well know those.

use super::hit::Hit;
use super::message::Message;
use super::question::{Question, asks_for};
use super::wire::{A, AAAA, SOA};
use crate::dns::name;
use crate::dns::wire::{CLASS_ANY, HEADER, IN, count_up, overlay};

/// TTL of addresses and denials in seconds: unbound's for such names.
const TTL: u32 = 10_800;

/// Discovery of designated resolvers asks for SVCB records of this name
/// (RFC 9462 section 4).
const DISCOVERY: &[u8] = b"\x04_dns\x08resolver\x04arpa\0";

/// RDATA of each zone's SOA, as unbound has it: serial 1, refresh 3600, retry
/// 1200, expire 604,800, and the minimum is [`TTL`].
const SOA_DATA: &[u8] = b"\x09localhost\0\x06nobody\x07invalid\0\
    \0\0\0\x01\0\0\x0e\x10\0\0\x04\xb0\0\x09\x3a\x80\0\0\x2a\x30";

/// What is at and below a name.
#[derive(Clone, Copy)]
enum Kind {
    /// The loopback addresses, at each name (RFC 6761 section 6.3).
    Loopback,
    /// No name (RFC 6761 section 6.4, RFC 7686 section 2).
    Nothing,
    /// Names without data: there is no designated resolver (RFC 9462).
    Discovery,
}

/// All of them, by wire name.
const ZONES: [(&[u8], Kind); 4] = [
    (b"\x09localhost\0", Kind::Loopback),
    (b"\x05onion\0", Kind::Nothing),
    (b"\x07invalid\0", Kind::Nothing),
    (b"\x08resolver\x04arpa\0", Kind::Discovery),
];

/// The answer to a question for a special name; none for other names, and for
/// what is no question for data. For other names it costs four comparisons.
pub(crate) fn special(question: &Question<'_>) -> Option<Hit> {
    let name = question.name;
    let (zone, kind) = ZONES
        .iter()
        .find(|(zone, _)| name.ends_with(zone) && name::suffixes(name).any(|s| s == *zone))?;
    if !matches!(question.class, IN | CLASS_ANY) || question.forwardable().is_err() {
        return None;
    }
    let mut draft = Draft::to(question);
    match kind {
        // One RRset will do for ANY (RFC 8482 section 4.1).
        Kind::Loopback if asks_for(question, A) => draft.address(A, &[127, 0, 0, 1]),
        Kind::Loopback if question.rtype == AAAA => {
            draft.address(AAAA, &std::net::Ipv6Addr::LOCALHOST.octets());
        }
        Kind::Loopback => draft.deny(false, zone),
        Kind::Nothing => draft.deny(true, zone),
        Kind::Discovery => draft.deny(name != *zone && name != DISCOVERY, zone),
    }
    draft.finish(question)
}

/// A message in the making.
struct Draft {
    octets: Vec<u8>,
    /// Octets of the question's name.
    name_len: usize,
}

impl Draft {
    fn to(question: &Question<'_>) -> Self {
        let mut octets = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        octets.extend_from_slice(&question.wire());
        Self { octets, name_len: question.name.len() }
    }

    /// An address at the question's name.
    fn address(&mut self, rtype: u16, data: &[u8]) {
        self.record(6, HEADER, rtype, data);
    }

    /// NXDOMAIN or NODATA, with the SOA of `zone`, a parent of the question's
    /// name or that name (RFC 2308 section 3).
    fn deny(&mut self, is_name: bool, zone: &[u8]) {
        if is_name {
            overlay(&mut self.octets, 3, &[3]);
        }
        self.record(8, HEADER + self.name_len - zone.len(), SOA, SOA_DATA);
    }

    /// Adds a record to the section that is counted at `count_at`, with the
    /// owner that stands at `owner`.
    fn record(&mut self, count_at: usize, owner: usize, rtype: u16, data: &[u8]) {
        let octets = &mut self.octets;
        // A pointer into the question: an offset below 12 + 255.
        octets.extend_from_slice(&(0xc000 | owner as u16).to_be_bytes());
        for number in [rtype, IN] {
            octets.extend_from_slice(&number.to_be_bytes());
        }
        octets.extend_from_slice(&TTL.to_be_bytes());
        octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
        octets.extend_from_slice(data);
        count_up(octets, count_at);
    }

    fn finish(self, question: &Question<'_>) -> Option<Hit> {
        Message::take(self.octets, question, false, Vec::new()).ok().map(Hit::own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_decide_and_types_that_are_no_data_are_left() {
        let asked = |name: &[u8], rtype, class| {
            let (dnssec_ok, checking_disabled) = (false, false);
            special(&Question { name, rtype, class, dnssec_ok, checking_disabled }).is_some()
        };
        assert!(asked(b"\x01x\x05onion\0", A, IN));
        assert!(!asked(b"\x07x\x05onion\0", A, IN), "one label");
        assert!(!asked(b"\x05onion\x04test\0", A, IN));
        assert!(asked(b"\x05onion\0", A, CLASS_ANY));
        assert!(!asked(b"\x05onion\0", A, 3), "another class");
        assert!(!asked(b"\x05onion\0", 249, IN), "TKEY is refused");
    }
}
