//! What `POST /api/reload` answers, as data: the server writes it, `eipdns reload` reads it.
//!
//! * `text`: the same for a terminal.

mod text;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::diag::{Problem, Severity};

/// What became of one reading of the configuration.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Of the program.
    pub version: String,
    /// When it was decided, RFC 3339.
    pub at: String,
    /// Is it in use now? Else the one before stands.
    pub accepted: bool,
    /// Every error and warning, in order of file and line; where there are too many, errors
    /// come first.
    pub problems: First<ProblemReport>,
    /// What that means, of one that is in use.
    #[serde(deserialize_with = "Option::deserialize")]
    pub taken: Option<TakenReport>,
}

/// The first of something, and how many more there are.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct First<T> {
    /// The first.
    pub first: Vec<T>,
    /// How many more there are.
    pub more: usize,
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProblemReport {
    /// An error, for which the configuration is refused? Else a warning.
    pub error: bool,
    /// The file; none: what it says is well, and cannot be carried out.
    #[serde(deserialize_with = "Option::deserialize")]
    pub file: Option<String>,
    /// The line, from 1; none: the whole file.
    #[serde(deserialize_with = "Option::deserialize")]
    pub line: Option<usize>,
    /// The column in characters, from 1; none: the whole line.
    #[serde(deserialize_with = "Option::deserialize")]
    pub column: Option<usize>,
    /// What is wrong and what that leads to.
    pub what: String,
    /// What to do about it; none: `what` says it.
    #[serde(deserialize_with = "Option::deserialize")]
    pub remedy: Option<String>,
}

/// What a configuration that is in use has changed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TakenReport {
    /// Of the snapshot with which it came into use.
    pub generation: u64,
    /// Has anything changed?
    pub changed: bool,
    /// What is gone altogether: watching alone would have refused that.
    pub lost: First<LostReport>,
    /// Keys of server.toml beside those of views and sources.
    pub keys: Vec<KeyReport>,
    /// Keys that change with a restart only, and say otherwise than the process runs.
    pub needs_restart: Vec<KeyReport>,
    /// Is the cache of forwarded answers empty now?
    pub cache_emptied: bool,
    /// The views.
    pub views: Named,
    /// The sources.
    pub sources: Named,
    /// Where DNS is served.
    pub listeners: Listeners,
    /// The zones.
    pub zones: Zones,
    /// What views see otherwise.
    pub contents: First<ContentReport>,
    /// Bound names that are answered otherwise.
    pub names: First<NameReport>,
}

/// Something that is gone altogether.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LostReport {
    /// The file that had it.
    pub file: String,
    /// What is gone.
    pub what: String,
}

/// A key that says otherwise.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyReport {
    /// The key, as `guard.hold`, or the table, as `[[forward]]`.
    pub key: String,
    /// What it said, or what the process runs with; none: it was not set.
    #[serde(deserialize_with = "Option::deserialize")]
    pub old: Option<String>,
    /// What it says; none: it is not set.
    #[serde(deserialize_with = "Option::deserialize")]
    pub new: Option<String>,
}

/// Views, or sources.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Named {
    /// The new ones.
    pub added: First<String>,
    /// Those that are gone.
    pub removed: First<String>,
    /// Those that are others.
    pub changed: First<ChangedReport>,
}

/// A view, or a source, that is another.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChangedReport {
    /// Its name.
    pub name: String,
    /// What it was and is, key by key.
    pub what: String,
}

/// Addresses where DNS is served.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Listeners {
    /// The new ones, with ports as they are.
    pub opened: Vec<OpenedReport>,
    /// Those that are closed.
    pub closed: Vec<SocketAddr>,
}

/// A new address.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenedReport {
    /// With the port as it is.
    pub address: SocketAddr,
    /// Does this host have it? Else queries come once it has.
    pub on_host: bool,
}

/// The zones, by origin.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Zones {
    /// The new ones.
    pub added: First<String>,
    /// Those that are gone.
    pub removed: First<String>,
    /// Those of which the file says otherwise, its records apart.
    pub edited: First<String>,
}

/// A zone that a view sees otherwise.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContentReport {
    /// Its origin.
    pub zone: String,
    /// The view.
    pub view: String,
    /// The serial before; none: the view did not have the zone.
    #[serde(deserialize_with = "Option::deserialize")]
    pub old: Option<u32>,
    /// The serial; none: the view has it no longer.
    #[serde(deserialize_with = "Option::deserialize")]
    pub new: Option<u32>,
    /// RRsets that are not what they were, the SOA apart.
    pub rrsets: usize,
}

/// A bound name that is answered otherwise.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NameReport {
    /// The name.
    pub name: String,
    /// The views in which it is.
    pub views: Vec<String>,
    /// What was answered; none: the name is new.
    #[serde(deserialize_with = "Option::deserialize")]
    pub old: Option<String>,
    /// What is answered; none: the name is gone.
    #[serde(deserialize_with = "Option::deserialize")]
    pub new: Option<String>,
}

impl<T> First<T> {
    /// The first `most` of them.
    pub(crate) fn of(all: impl IntoIterator<Item = T>, most: usize) -> Self {
        let mut all = all.into_iter();
        let first = all.by_ref().take(most).collect();
        Self { first, more: all.count() }
    }

    /// Are there none?
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more == 0
    }
}

impl Named {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl TakenReport {
    /// With `changed` as the rest has it.
    pub(crate) fn judged(self) -> Self {
        let Self { lost, keys, views, sources, listeners, zones, contents, names, .. } = &self;
        let zones = zones.added.is_empty() && zones.removed.is_empty() && zones.edited.is_empty();
        let nothing = lost.is_empty()
            && keys.is_empty()
            && !self.cache_emptied
            && views.is_empty()
            && sources.is_empty()
            && listeners.opened.is_empty()
            && listeners.closed.is_empty()
            && zones
            && contents.is_empty()
            && names.is_empty();
        Self { changed: !nothing, ..self }
    }
}

impl From<&Problem> for ProblemReport {
    fn from(problem: &Problem) -> Self {
        let Problem { place, severity, what, remedy } = problem;
        let some = |number: usize| (number > 0).then_some(number);
        Self {
            error: *severity == Severity::Error,
            file: Some(place.file.display().to_string()),
            line: some(place.line),
            column: some(place.column),
            what: what.clone(),
            remedy: Some(remedy.clone()),
        }
    }
}
