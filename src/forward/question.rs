//! What is asked of an upstream, and the query that asks it.

use std::fmt;

use quick_cache::Equivalent;

use super::wire::{self, ANY, HINFO};
use crate::dns::name::{self, Key};
use crate::dns::opt::OPT;
use crate::dns::query::Outgoing;
use crate::dns::wire::{AD, CD, IN};

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

    /// The query that asks an upstream.
    ///
    /// AD is always set (RFC 6840 section 5.7): whoever wants to know gets a
    /// true answer from the cache too, whoever asked first. CD, and with `edns`
    /// DO, are the client's.
    ///
    /// The name goes out in lower case, not in random case ("0x20"): ID and
    /// port are random and equal questions are asked once at a time, and some
    /// upstreams do not keep case.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn outgoing(&self, edns: bool) -> Result<Outgoing, getrandom::Error> {
        let flags = AD | if self.checking_disabled { CD } else { 0 };
        Outgoing::new(&self.wire(), flags, edns.then_some(self.dnssec_ok))
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
        Self { name, rtype: HINFO, class: IN, dnssec_ok, checking_disabled }
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
        let sent = asked.outgoing(true).unwrap();
        let tail = b"\x02db\x07example\0\xff\xfe\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0";
        assert_eq!(&sent.octets()[2..12], b"\x01\x30\0\x01\0\0\0\0\0\x01");
        assert_eq!(&sent.octets()[12..], tail);
        let plain = question(name, 65534, 1).outgoing(false).unwrap();
        assert_eq!(&plain.octets()[2..12], b"\x01\x20\0\x01\0\0\0\0\0\0");
        assert_eq!(plain.octets()[12..], tail[..tail.len() - 11]);
    }
}
