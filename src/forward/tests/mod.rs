//! Tests of the whole room, and what they share: messages made by hand.

#[cfg(feature = "virtual-clock")]
mod fair;
#[cfg(feature = "virtual-clock")]
mod living;
mod messages;
mod property;
#[cfg(feature = "virtual-clock")]
mod room;
mod sockets;
#[cfg(feature = "virtual-clock")]
mod timing;

use crate::dns::name::{Key, wire_len};
use crate::dns::opt::OPT;
use crate::dns::wire::HEADER;
use crate::dns::wire::overlay;
use crate::forward::message::{Message, UpstreamReply};
use crate::forward::question::Question;

/// A name in wire form.
fn name(text: &str) -> Vec<u8> {
    Key::parse(text, None).unwrap().octets().to_vec()
}

/// Asks for A records of `name`, wire form.
fn asks_a(name: &[u8]) -> Question<'_> {
    Question { name, rtype: 1, class: 1, dnssec_ok: false, checking_disabled: false }
}

/// A message in the making: records must come in the order of their sections.
#[derive(Clone)]
struct Draft(Vec<u8>);

const ANSWER: usize = 6;
const AUTHORITY: usize = 8;
const ADDITIONAL: usize = 10;
/// A pointer to the question's name.
const SAME: &[u8] = b"\xc0\x0c";

impl Draft {
    /// A reply to a query, flags QR RD RA.
    fn to_query(query: &[u8]) -> Self {
        let end = HEADER + wire_len(&query[HEADER..]).unwrap() + 4;
        let mut octets = query[..end].to_vec();
        overlay(&mut octets, 2, &[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        Self(octets)
    }

    /// A reply to a question, with ID 0.
    fn to(question: &Question<'_>) -> Self {
        Self::to_query(&[&[0; HEADER], &question.wire()[..]].concat())
    }

    fn rcode(mut self, rcode: u8) -> Self {
        self.0[3] = self.0[3] & 0xf0 | rcode;
        self
    }

    /// Sets bits in the third and fourth octet of the header.
    fn flags(mut self, high: u8, low: u8) -> Self {
        self.0[2] |= high;
        self.0[3] |= low;
        self
    }

    fn record(mut self, section: usize, owner: &[u8], rtype: u16, ttl: u32, data: &[u8]) -> Self {
        let class = if rtype == OPT { 4096u16 } else { 1 };
        self.0.extend_from_slice(owner);
        self.0.extend_from_slice(&rtype.to_be_bytes());
        self.0.extend_from_slice(&class.to_be_bytes());
        self.0.extend_from_slice(&ttl.to_be_bytes());
        self.0.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.0.extend_from_slice(data);
        let count = u16::from_be_bytes([self.0[section], self.0[section + 1]]) + 1;
        overlay(&mut self.0, section, &count.to_be_bytes());
        self
    }

    fn a(self, ttl: u32, address: [u8; 4]) -> Self {
        self.record(ANSWER, SAME, 1, ttl, &address)
    }

    /// An SOA of the root in the authority section.
    fn soa(self, ttl: u32, minimum: u32) -> Self {
        let data = [&[0, 0][..], &[0; 16], &minimum.to_be_bytes()].concat();
        self.record(AUTHORITY, &[0], 6, ttl, &data)
    }

    fn opt(self, options: &[u8]) -> Self {
        self.record(ADDITIONAL, &[0], OPT, 0, options)
    }

    /// What we make of it.
    fn read(&self, question: &Question<'_>) -> UpstreamReply {
        UpstreamReply::read(&self.0, question).unwrap()
    }

    /// The same, when it is an answer.
    fn message(&self, question: &Question<'_>) -> Message {
        match self.read(question) {
            UpstreamReply::Answer(message) => message,
            other => panic!("{other:?}"),
        }
    }
}

/// An EDNS option.
fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
}
