//! An answer that comes again, to a source of which nothing is kept.

use std::sync::Arc;

use super::{Accepted, Losses};
use crate::source::inventory::Entries;
use crate::source::usable::Said;

/// An answer that changed nothing when it was taken, and what it was taken for. Nothing is kept
/// there, so that neither time nor policy matters: as long as both are the same memory, taking
/// it again changes nothing either. It spares a look at thousands of addresses with each poll.
#[derive(Debug, Clone, Default)]
pub struct Settled(Option<(Said, Arc<Entries>)>);

impl Settled {
    /// `answer` was taken by [`accept`](super::accept) with this outcome.
    pub fn after(
        previous: &Accepted,
        answer: &Said,
        (accepted, losses): (&Accepted, &Losses),
    ) -> Self {
        let changes_nothing = Arc::ptr_eq(&previous.entries, &accepted.entries);
        let nothing_is_kept = *losses == Losses::default() && accepted.remembers_nothing();
        let is_settled = changes_nothing && nothing_is_kept && answer.left_out.unknown.is_empty();
        Self(is_settled.then(|| (answer.clone(), Arc::clone(&accepted.entries))))
    }

    /// Would [`accept`](super::accept) return what is accepted, and no losses?
    pub fn is(&self, previous: &Accepted, answer: &Said) -> bool {
        self.0.as_ref().is_some_and(|(said, entries)| {
            Arc::ptr_eq(&said.addresses, &answer.addresses)
                && Arc::ptr_eq(entries, &previous.entries)
                && previous.remembers_nothing()
                && answer.left_out.unknown.is_empty()
        })
    }
}
