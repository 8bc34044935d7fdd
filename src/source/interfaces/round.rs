//! Asks once for any number of interfaces, so many at a time as one call may: what commands do.

use std::collections::BTreeSet;

use super::{DescribeInterfaces, Described, Interface, InterfaceId, MAX_IDS};
use crate::source::error::{Class, PollError};

/// What one or more calls brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// What good answers said.
    pub(crate) said: Vec<Interface>,
    /// The interfaces that they could tell of.
    pub(crate) answered: BTreeSet<InterfaceId>,
    /// Why the last call failed that did.
    pub(crate) failed: Option<PollError>,
}

/// Asks for `ids`. What one call has said is kept when another one fails.
pub(crate) async fn ask(called: &mut dyn DescribeInterfaces, ids: &BTreeSet<InterfaceId>) -> Round {
    let ids: Vec<_> = ids.iter().cloned().collect();
    let mut round = Round::default();
    for chunk in ids.chunks(MAX_IDS) {
        match called.describe(chunk).await {
            Ok(Described { interfaces, .. }) => {
                round.said.extend(interfaces);
                round.answered.extend(chunk.iter().cloned());
            }
            Err(error) => {
                let class = error.class();
                round.failed = Some(error);
                if !is_of_one_call(class) {
                    break;
                }
            }
        }
    }
    round
}

/// May another call do better? All other trouble is theirs, too, and each of them would take its
/// time to meet it.
pub(super) fn is_of_one_call(class: Class) -> bool {
    matches!(class, Class::NotWhole | Class::Server | Class::Other)
}
