//! State as it was found, under the names of the sources that carry it on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::error::{Aside, StateError};
use super::super::{SourceState, State};
use super::read::{By, Reading, read};
use crate::config::Source;
use crate::source::successor::{self, Former};

/// State as it was found.
#[derive(Debug)]
pub struct Loaded {
    /// Of the sources that are configured now, under their names of now.
    pub state: State,
    /// When it was written.
    pub written: SystemTime,
    /// An older eipdns wrote it, after this one had written state.
    pub by_older: bool,
    /// Files that are of no use, each stood in for by the other one, to be told.
    pub unused: Vec<StateError>,
    /// Sources that are not as they were then, to be told.
    pub carried: Vec<Carried>,
    /// Sources whose state is of no use, to be told.
    pub mismatched: Vec<Mismatch>,
}

/// A source whose state is that of a source with other settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "source {source_name} is not as it was when its state was written: {what}; what was known \
     then is answered until it has delivered"
)]
pub struct Carried {
    /// The source's name.
    pub source_name: String,
    /// What differs.
    pub what: String,
}

/// A source in the state that none configured carries on.
#[derive(Debug, thiserror::Error)]
#[error("the state of source {source_name} is not used: no source carries it on; {kept}")]
pub struct Mismatch {
    /// The source's name.
    pub source_name: String,
    /// What became of the file as it was.
    pub kept: Aside,
}

/// Reads the state in `directory` for `sources` and changes nothing: for those
/// who only look. None when there is none.
///
/// # Errors
/// No file there can be used. Of each: it cannot be read, others may write it, or it
/// is of no use.
pub fn peek(directory: &Path, sources: &[Source]) -> Result<Option<Loaded>, Vec<StateError>> {
    let Reading { found, unusable } = read(directory).map_err(|untrusted| vec![untrusted])?;
    let Some(found) = found else {
        return if unusable.is_empty() { Ok(None) } else { Err(unusable) };
    };
    let (CarriedOn { state, told: carried }, left) = carried_on(&found.state, sources);
    let mismatched =
        left.into_iter().map(|source_name| Mismatch { source_name, kept: Aside::Left }).collect();
    Ok(Some(Loaded {
        state,
        written: found.written,
        by_older: found.by == By::OlderEipdns,
        unused: unusable,
        carried,
        mismatched,
    }))
}

/// State under the names of the sources that carry it on.
pub(super) struct CarriedOn {
    pub(super) state: State,
    pub(super) told: Vec<Carried>,
}

/// What of `found` the configured `sources` carry on, and the names of those
/// sources that none does.
pub(super) fn carried_on(found: &State, sources: &[Source]) -> (CarriedOn, Vec<String>) {
    let former: Vec<Former<'_>> = found
        .sources
        .iter()
        .map(|(name, state)| Former { name, of: &state.of, region: state.region.as_deref() })
        .collect();
    let predecessors = successor::predecessors(&former, sources);
    let states: Vec<(&String, &SourceState)> = found.sources.iter().collect();
    let mut state = State { sources: BTreeMap::new(), serials: Arc::clone(&found.serials) };
    let mut told = Vec::new();
    for (source, predecessor) in sources.iter().zip(&predecessors) {
        let Some((name, known)) = predecessor.and_then(|at| states.get(at)) else { continue };
        let mut what = successor::differences(&known.of, &successor::fingerprint(source));
        if **name != source.name {
            let renamed = format!("its `name` was {name:?}");
            what = if what.is_empty() { renamed } else { format!("{renamed}, {what}") };
        }
        if !what.is_empty() {
            told.push(Carried { source_name: source.name.clone(), what });
        }
        state.sources.insert(source.name.clone(), SourceState::clone(known));
    }
    let left = states.iter().enumerate().filter(|(at, _)| !predecessors.contains(&Some(*at)));
    let left = left.map(|(_, (name, _))| (*name).clone()).collect();
    (CarriedOn { state, told }, left)
}
