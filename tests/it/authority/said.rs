//! What a reply says, without how it says it.

use std::fmt;

use domain::base::iana::Rtype;
use domain::base::{Message, ParsedName, RecordSection};
use domain::rdata::AllRecordData;

/// A reply with what may differ between good servers taken out: the order of
/// records, the case of names, OPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub rcode: u16,
    pub authoritative: bool,
    pub truncated: bool,
    pub answer: Vec<String>,
    pub authority: Vec<String>,
    pub additional: Vec<String>,
}

impl Said {
    pub(super) fn read(reply: &[u8]) -> Self {
        let message = Message::from_octets(reply).expect("a whole header");
        Self {
            rcode: message.opt_rcode().to_int(),
            authoritative: message.header().aa(),
            truncated: message.header().tc(),
            answer: lines(message.answer().expect("an answer section")),
            authority: lines(message.authority().expect("an authority section")),
            additional: lines(message.additional().expect("an additional section")),
        }
    }

    /// The parts that are compared each by itself, by name.
    pub(super) fn parts(&self) -> [(&'static str, String); 6] {
        [
            ("rcode", self.rcode.to_string()),
            ("AA", self.authoritative.to_string()),
            ("TC", self.truncated.to_string()),
            ("answer", self.answer.join("\n")),
            ("authority", self.authority.join("\n")),
            ("additional", self.additional.join("\n")),
        ]
    }
}

fn lines(section: RecordSection<'_, &[u8]>) -> Vec<String> {
    let mut lines: Vec<String> = section
        .map(|record| record.expect("a whole record"))
        .filter(|record| record.rtype() != Rtype::OPT)
        .map(|record| {
            let rtype = record.rtype();
            let ttl = record.ttl().as_secs();
            let owner = record.owner().to_string().to_lowercase();
            let whole = record
                .to_any_record::<AllRecordData<_, ParsedName<_>>>()
                .expect("data of its type");
            let data = whole.data().to_string();
            // Only names are the same in any case.
            let data = if rtype == Rtype::TXT { data } else { data.to_lowercase() };
            format!("{owner}. {ttl} {rtype} {data}")
        })
        .collect();
    lines.sort();
    lines
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rcode {}", self.rcode)?;
        for (set, name) in [(self.authoritative, "AA"), (self.truncated, "TC")] {
            if set {
                write!(f, " {name}")?;
            }
        }
        let sections = [
            ("answer", &self.answer),
            ("authority", &self.authority),
            ("additional", &self.additional),
        ];
        for (name, lines) in sections {
            for line in lines {
                write!(f, "\n      {name}: {line}")?;
            }
        }
        Ok(())
    }
}
