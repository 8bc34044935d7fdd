//! How an answer differs from what is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Accepted;
use crate::host::background::breathing;
use crate::source::allocation::Allocation;
use crate::source::inventory::{Address, Entries, Entry};
use crate::source::usable::Said;

/// The difference.
pub(super) struct News<'a> {
    /// What is new, or said otherwise than it is answered.
    pub(super) said: BTreeMap<Allocation, &'a Arc<Address>>,
    /// What is answered and not in the answer.
    pub(super) unsaid: Vec<(&'a Allocation, &'a Entry)>,
    /// What is said as it is answered, but is other memory: what is answered
    /// came from the state of the last process, say, or was read at the start.
    copies: Vec<&'a Arc<Address>>,
}

impl<'a> News<'a> {
    /// Of thousands of addresses nearly all are as they were. To find that out
    /// is the price of a poll; it is small where they are the same memory.
    pub(super) fn of(previous: &'a Accepted, answer: &'a Said) -> Self {
        let (answer, unknown) = (&answer.addresses, &answer.left_out.unknown);
        debug_assert!(
            answer.len() == answer.iter().map(|a| a.allocation()).collect::<BTreeSet<_>>().len(),
            "an allocation stands twice in an answer"
        );
        let mut said = BTreeMap::new();
        let mut copies = Vec::new();
        let mut found = 0;
        for address in breathing(answer.iter()) {
            let allocation = address.allocation();
            let before = previous.entries.get(&allocation);
            found += usize::from(before.is_some());
            match before.filter(|before| before.is_live()).map(|before| &before.address) {
                Some(known) if Arc::ptr_eq(known, address) => {}
                Some(known) if *known == *address => copies.push(address),
                _ => drop(said.insert(allocation, address)),
            }
        }
        let mut unsaid = Vec::new();
        if found < previous.entries.len() {
            let all: BTreeSet<_> = answer.iter().map(|address| address.allocation()).collect();
            let is_unsaid = |one: &Allocation| !all.contains(one) && !unknown.contains(one);
            unsaid.extend(previous.entries.iter().filter(|(one, _)| is_unsaid(one)));
        }
        Self { said, unsaid, copies }
    }

    /// The entries before, in the answer's memory where it says the same.
    pub(super) fn beside(&self, previous: &Accepted) -> Entries {
        let mut entries = Entries::clone(&previous.entries);
        for said in &self.copies {
            if let Some(entry) = entries.get_mut(&said.allocation()) {
                entry.address = Arc::clone(said);
            }
        }
        entries
    }

    /// The everyday poll.
    pub(super) fn is_none(&self) -> bool {
        self.said.is_empty() && self.unsaid.is_empty()
    }
}
