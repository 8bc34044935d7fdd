//! A query of ours on its way to a resolver, and which replies are for it.

use super::opt;
use super::wire::{HEADER, RD, TYPE_AND_CLASS, u16_at};

/// A query on its way to a resolver.
#[derive(Debug)]
pub(crate) struct Outgoing {
    octets: Vec<u8>,
    question_end: usize,
}

impl Outgoing {
    /// A query with a fresh ID that nobody can foretell.
    ///
    /// `question` is the question as it stands in a message: name, type and
    /// class. RD is always set: who asks with this wants recursion. `flags` is
    /// the fourth octet of the header. With `edns`, which is DO, our OPT goes
    /// with it: no options (RFC 6891 section 6).
    ///
    /// # Errors
    /// The system has no randomness.
    pub(crate) fn new(
        question: &[u8],
        flags: u8,
        edns: Option<bool>,
    ) -> Result<Self, getrandom::Error> {
        let [id0, id1, ..] = getrandom::u32()?.to_ne_bytes();
        let additional = u8::from(edns.is_some());
        let mut octets = Vec::with_capacity(HEADER + question.len() + opt::OPT_LEN);
        octets.extend_from_slice(&[id0, id1, RD, flags, 0, 1, 0, 0, 0, 0, 0, additional]);
        octets.extend_from_slice(question);
        let question_end = octets.len();
        if let Some(dnssec_ok) = edns {
            octets.extend_from_slice(&opt::ours(dnssec_ok));
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
                let (name, rest) = asked.split_at(asked.len().saturating_sub(TYPE_AND_CLASS));
                said.len() == asked.len()
                    && said[..name.len()].eq_ignore_ascii_case(name)
                    && said[name.len()..] == *rest
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;
    use crate::dns::wire::MAX_UDP;

    const QUESTION: &[u8] = b"\x02db\x07example\0\0\x01\0\x01";

    #[test]
    fn it_is_hickorys_query() {
        for edns in [None, Some(false), Some(true)] {
            let ours = Outgoing::new(QUESTION, 0, edns).unwrap();
            let id = u16_at(ours.octets(), 0).unwrap();
            let mut theirs = Message::new(id, MessageType::Query, OpCode::Query);
            theirs.metadata.recursion_desired = true;
            let name = Name::from_ascii("db.example.").unwrap();
            theirs.add_query(Query::query(name, RecordType::A));
            if let Some(dnssec_ok) = edns {
                let mut edns = Edns::new();
                edns.set_max_payload(MAX_UDP as u16).set_dnssec_ok(dnssec_ok);
                theirs.set_edns(edns);
            }
            assert_eq!(ours.octets(), theirs.to_vec().unwrap());
        }
    }

    #[test]
    fn only_a_response_to_the_question_is_one() {
        let sent = Outgoing::new(QUESTION, 0, Some(false)).unwrap();
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
        bare.extend_from_slice(&opt::ours(false));
        assert!(sent.is_answered_by(&bare), "FORMERR with an OPT");
        bare[7] = 1;
        assert!(!sent.is_answered_by(&bare), "an answer to nothing");
    }
}
