//! The answer section in the order in which a stub resolver walks it: from the
//! question's name along the aliases to the data (RFC 1034 section 4.3.2).
//! glibc reads it once, from the front, and finds no address that stands before
//! the alias that leads to it.

use std::collections::HashMap;

use super::message::start;
use super::question::Question;
use super::wire::{ANY, CNAME, DNAME, Encoder, Malformed, RRSIG, Record, Section, Walk, WireName};
use crate::dns::name;
use crate::dns::wire::{CLASS_ANY, HEADER, TYPE_AND_CLASS, u16_at};

/// The message with its answer section in order; none if it is so already.
///
/// Signatures stand behind what they sign. For DO=0 they are left out (RFC 4035
/// section 3.2.1), and so is what is not on the chain; for DO=1 the latter
/// stands at the end.
///
/// # Errors
/// Nothing in the answer section is for the question's name.
pub(super) fn in_order(
    octets: &[u8],
    question: &Question<'_>,
) -> Result<Option<Vec<u8>>, Malformed> {
    let question_end = HEADER + question.name.len() + TYPE_AND_CLASS;
    let records: Vec<_> = Walk::new(octets, question_end)?.collect::<Result<_, _>>()?;
    let count = records.iter().take_while(|r| r.section == Section::Answer).count();
    let (answers, others) = records.split_at(count);
    if answers.is_empty() {
        return Ok(None);
    }
    let order = Chain::new(answers, question).order();
    if order.is_empty() {
        return Err(Malformed::Chain);
    }
    if order.iter().copied().eq(0..count) {
        return Ok(None);
    }
    let mut encoder = Encoder::new(&start(octets, question_end)?);
    let in_order = order.iter().filter_map(|index| answers.get(*index));
    for record in in_order.chain(others) {
        encoder.push(record, record.ttl, None);
    }
    encoder.finish().map(Some)
}

/// The way through an answer section.
struct Chain<'c, 'm> {
    answers: &'c [Record<'m>],
    question: &'c Question<'c>,
    /// Where the records of each owner in lower case are.
    at: HashMap<Vec<u8>, Vec<usize>>,
    has_dname: bool,
    taken: Vec<bool>,
    order: Vec<usize>,
}

impl<'c, 'm> Chain<'c, 'm> {
    fn new(answers: &'c [Record<'m>], question: &'c Question<'c>) -> Self {
        let mut at: HashMap<_, Vec<_>> = HashMap::new();
        for (index, record) in answers.iter().enumerate() {
            if record.class == question.class || question.class == CLASS_ANY {
                at.entry(record.owner.folded().octets().to_vec()).or_default().push(index);
            }
        }
        let has_dname = answers.iter().any(|record| record.rtype == DNAME);
        let taken = vec![false; answers.len()];
        Self { answers, question, at, has_dname, taken, order: Vec::new() }
    }

    /// Indices of the records, as they are to be sent. It ends because each
    /// step takes an alias that was not taken before.
    fn order(mut self) -> Vec<usize> {
        let mut name = self.question.name.to_vec();
        while !self.take(&name, self.question.rtype, usize::MAX) {
            if self.has_dname {
                for above in name::suffixes(&name).skip(1) {
                    self.take(above, DNAME, usize::MAX);
                }
            }
            let Some(target) = self.target(&name) else { break };
            name = target;
        }
        if self.question.dnssec_ok && !self.order.is_empty() {
            let rest = self.taken.iter().enumerate().filter(|(_, taken)| !**taken);
            self.order.extend(rest.map(|(index, _)| index));
        }
        self.order
    }

    /// Takes a name's alias and says where it leads. A name has one alias
    /// (RFC 2181 section 10.1).
    fn target(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        let begin = self.order.len();
        self.take(name, CNAME, 1);
        let alias = self.answers.get(*self.order.get(begin)?)?;
        let (target, _) = WireName::read(alias.message(), alias.place.start)?;
        Some(target.folded().octets().to_vec())
    }

    /// Takes at most so many records of a type that were not taken before, and
    /// their signatures; was there one?
    fn take(&mut self, owner: &[u8], rtype: u16, most: usize) -> bool {
        let Self { answers, question, at, taken, order, .. } = self;
        let here = at.get(owner).map(Vec::as_slice).unwrap_or_default();
        let begin = order.len();
        let wanted = |record: &Record<'_>| record.rtype == rtype || rtype == ANY;
        let signs =
            |record: &Record<'_>| record.rtype == RRSIG && u16_at(record.rdata(), 0) == Some(rtype);
        let mut add = |most: usize, wanted: &dyn Fn(&Record<'_>) -> bool| {
            let fit = here.iter().copied().filter(|index| answers.get(*index).is_some_and(wanted));
            for index in fit.take(most) {
                if let Some(seen) = taken.get_mut(index)
                    && !*seen
                {
                    *seen = true;
                    order.push(index);
                }
            }
            order.len() > begin
        };
        let found = add(most, &wanted);
        if found && question.dnssec_ok && rtype != ANY {
            add(usize::MAX, &signs);
        }
        found
    }
}
