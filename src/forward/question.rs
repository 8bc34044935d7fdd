//! What is asked of an upstream, and the query that asks it.

use std::fmt;

use quick_cache::Equivalent;

use super::wire::{self, ANY, HINFO, OPT, u16_at};
use crate::dns::name::{self, Key};
use crate::dns::wire::HEADER;
use crate::dns::wire::MAX_UDP;

/// A question with all that decides which answer is right for it: two clients
/// whose questions are equal may be given the same answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question<'n> {
    /// QNAME: a wire name in lower case.
    pub name: &'n [u8],
    /// QTYPE.
    pub rtype: u16,
    /// QCLASS.
    pub class: u16,
    /// The DO bit (RFC 3225).
    pub dnssec_ok: bool,
    /// The CD bit (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

/// A [`Question`] that owns its name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OwnedQuestion {
    name: Key,
    rtype: u16,
    class: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
}

/// Why a question is never sent to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unforwardable {
    /// A type that stands for an act, a transaction or an option.
    #[error("type {0} is no data that could be asked for elsewhere")]
    Type(u16),
    /// Class 0 or NONE.
    #[error("class {0} is no class that could be asked for")]
    Class(u16),
    /// Not a wire name in lower case.
    #[error("not a domain name")]
    Name,
}

impl Question<'_> {
    /// May it be sent on? Transfers, MAILA and MAILB, transaction records and
    /// OPT may not (RFC 6895 section 3.1: types 0 and 128 to 254), nor class
    /// NONE. Unknown types, other classes and ANY may.
    pub fn forwardable(&self) -> Result<(), Unforwardable> {
        if name::wire_len(self.name) != Some(self.name.len())
            || self.name.iter().any(u8::is_ascii_uppercase)
        {
            return Err(Unforwardable::Name);
        }
        match (self.rtype, self.class) {
            (0 | OPT | 128..=254, _) => Err(Unforwardable::Type(self.rtype)),
            (_, 0 | 254) => Err(Unforwardable::Class(self.class)),
            _ => Ok(()),
        }
    }

    /// The same with a name of its own. The name must be one; see
    /// [`forwardable`](Self::forwardable).
    pub fn to_owned(&self) -> OwnedQuestion {
        OwnedQuestion {
            name: Key::from_folded(self.name),
            rtype: self.rtype,
            class: self.class,
            dnssec_ok: self.dnssec_ok,
            checking_disabled: self.checking_disabled,
        }
    }

    /// The question as it stands in a message.
    pub(crate) fn wire(&self) -> Vec<u8> {
        let [rtype, class] = [self.rtype, self.class].map(u16::to_be_bytes);
        [self.name, &rtype, &class].concat()
    }
}

impl OwnedQuestion {
    /// Asks for HINFO of `name`, as loop probes do.
    pub(crate) fn hinfo(name: Key) -> Self {
        let (dnssec_ok, checking_disabled) = (false, false);
        Self { name, rtype: HINFO, class: wire::IN, dnssec_ok, checking_disabled }
    }

    /// Asks for the SOA of `name`, as checks of upstreams do.
    pub(crate) fn soa(name: Key) -> Self {
        Self { rtype: wire::SOA, ..Self::hinfo(name) }
    }

    /// The same with a borrowed name.
    pub fn borrow(&self) -> Question<'_> {
        Question {
            name: self.name.octets(),
            rtype: self.rtype,
            class: self.class,
            dnssec_ok: self.dnssec_ok,
            checking_disabled: self.checking_disabled,
        }
    }
}

impl Equivalent<OwnedQuestion> for Question<'_> {
    fn equivalent(&self, key: &OwnedQuestion) -> bool {
        *self == key.borrow()
    }
}

impl fmt::Debug for OwnedQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} type {} class {}", self.name, self.rtype, self.class)
    }
}

/// A query on its way to an upstream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    octets: Vec<u8>,
    question_end: usize,
}

impl Outgoing {
    /// A query with a fresh ID that nobody can foretell.
    ///
    /// RD is always set: a forwarder asks on behalf of those who want
    /// recursion. AD is always set (RFC 6840 section 5.7): whoever wants to
    /// know gets a true answer from the cache too, whoever asked first. Our
    /// own OPT: 1232 octets, the client's DO, no options (RFC 6891 section 6).
    ///
    /// The name goes out in lower case, not in random case ("0x20"): ID and
    /// port are random and equal questions are asked once at a time, and some
    /// upstreams do not keep case.
    pub(crate) fn new(question: &Question<'_>, edns: bool) -> Result<Self, getrandom::Error> {
        let [id0, id1, ..] = getrandom::u32()?.to_ne_bytes();
        let flags = 0x20 | if question.checking_disabled { 0x10 } else { 0 };
        let mut octets = vec![id0, id1, 0x01, flags, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
        octets.extend_from_slice(&question.wire());
        let question_end = octets.len();
        if edns {
            octets.extend_from_slice(&opt(question.dnssec_ok, 0));
        }
        Ok(Self { octets, question_end })
    }

    /// The octets to send.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Is `reply` a response to this query: same ID, same question, whatever
    /// the case (RFC 5452 section 9.1)? An error may come without a question,
    /// as some servers send it that could not read ours, and with an OPT.
    pub(crate) fn is_answered_by(&self, reply: &[u8]) -> bool {
        let Some(head) = reply.first_chunk::<HEADER>() else { return false };
        let is_response = head[2] & 0xf8 == 0x80;
        if !is_response || self.octets.get(..2) != head.get(..2) {
            return false;
        }
        match u16_at(head, 4) {
            Some(0) => head[3] & 0x0f != 0 && head.get(6..10) == Some(&[0; 4]),
            Some(1) => {
                let asked = self.octets.get(HEADER..self.question_end).unwrap_or_default();
                let said = reply.get(HEADER..self.question_end).unwrap_or_default();
                let (name, rest) = asked.split_at(asked.len().saturating_sub(4));
                said.len() == asked.len()
                    && said[..name.len()].eq_ignore_ascii_case(name)
                    && said[name.len()..] == *rest
            }
            _ => false,
        }
    }
}

/// Our OPT record, options of `length` octets to follow.
pub(crate) fn opt(dnssec_ok: bool, length: u16) -> [u8; 11] {
    let [payload0, payload1] = (MAX_UDP as u16).to_be_bytes();
    let [length0, length1] = length.to_be_bytes();
    let flags = if dnssec_ok { 0x80 } else { 0 };
    [0, 0, OPT as u8, payload0, payload1, 0, 0, flags, 0, length0, length1]
}

/// Question type ANY, or the very type.
pub(crate) fn asks_for(question: &Question<'_>, rtype: u16) -> bool {
    question.rtype == rtype || question.rtype == ANY
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn question(name: &[u8], rtype: u16, class: u16) -> Question<'_> {
        Question { name, rtype, class, dnssec_ok: false, checking_disabled: false }
    }

    #[test]
    fn owned_and_borrowed_hash_alike() {
        let hasher = RandomState::new();
        let asked = question(b"\x02db\x07example\0", 1, 1);
        assert_eq!(hasher.hash_one(asked), hasher.hash_one(asked.to_owned()));
        assert!(asked.equivalent(&asked.to_owned()));
        let other = Question { dnssec_ok: true, ..asked };
        assert!(!other.equivalent(&asked.to_owned()));
    }

    #[test]
    fn meta_types_stay_here() {
        for rtype in [0, 41, 249, 250, 251, 252, 253, 254, 128] {
            let refused = question(b"\0", rtype, 1).forwardable();
            assert_eq!(refused, Err(Unforwardable::Type(rtype)));
        }
        for rtype in [1, 28, 127, 255, 256, 65534] {
            assert_eq!(question(b"\0", rtype, 1).forwardable(), Ok(()));
        }
        assert_eq!(question(b"\0", 1, 254).forwardable(), Err(Unforwardable::Class(254)));
        assert_eq!(question(b"\0", 1, 3).forwardable(), Ok(()));
        for name in [&b"\x02dB\0"[..], b"\x02db", b"\x02db\0\0", b"", b"\xc0\x0c"] {
            assert_eq!(question(name, 1, 1).forwardable(), Err(Unforwardable::Name), "{name:?}");
        }
    }

    #[test]
    fn a_query_says_what_the_client_said() {
        let name = b"\x02db\x07example\0";
        let asked =
            Question { dnssec_ok: true, checking_disabled: true, ..question(name, 65534, 1) };
        let sent = Outgoing::new(&asked, true).unwrap();
        let tail = b"\x02db\x07example\0\xff\xfe\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0";
        assert_eq!(&sent.octets()[2..12], b"\x01\x30\0\x01\0\0\0\0\0\x01");
        assert_eq!(&sent.octets()[12..], tail);
        let plain = Outgoing::new(&question(name, 65534, 1), false).unwrap();
        assert_eq!(&plain.octets()[2..12], b"\x01\x20\0\x01\0\0\0\0\0\0");
        assert_eq!(plain.octets()[12..], tail[..tail.len() - 11]);
    }

    #[test]
    fn only_a_response_to_the_question_is_one() {
        let sent = Outgoing::new(&question(b"\x02db\x07example\0", 1, 1), true).unwrap();
        let mut reply = sent.octets().to_vec();
        assert!(!sent.is_answered_by(&reply), "our own query come back");
        reply[2] |= 0x80;
        assert!(sent.is_answered_by(&reply));
        let changed = |at: usize, to: u8| {
            let mut changed = reply.clone();
            changed[at] = to;
            sent.is_answered_by(&changed)
        };
        assert!(changed(13, b'D'), "case does not matter");
        assert!(!changed(13, b'e'));
        assert!(!changed(0, !reply[0]));
        assert!(!changed(1, !reply[1]));
        assert!(!changed(2, 0xa1), "another opcode");
        assert!(!changed(5, 2), "two questions");
        assert!(!changed(24, 2), "another type");
        assert!(!changed(26, 3), "another class");
        for end in 0..27 {
            assert!(!sent.is_answered_by(&reply[..end]), "{end}");
        }
        let mut bare = reply[..12].to_vec();
        bare[5] = 0;
        assert!(!sent.is_answered_by(&bare), "no question and no error");
        bare[3] = 1;
        assert!(sent.is_answered_by(&bare), "FORMERR");
        bare[11] = 1;
        bare.extend_from_slice(&opt(false, 0));
        assert!(sent.is_answered_by(&bare), "FORMERR with an OPT");
        bare[7] = 1;
        assert!(!sent.is_answered_by(&bare), "an answer to nothing");
    }
}
