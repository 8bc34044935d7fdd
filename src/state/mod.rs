//! What survives a restart: accepted addresses with their holds, serials, and
//! the history.
//!
//! Two files in a directory of its own, each replaced as a whole (temporary file,
//! fsync, rename, fsync of the directory): after kill -9 or a power cut it is
//! the old or the new one. They say the same: version 2, which this eipdns goes by,
//! and then version 1, which the ones before it read. So both an upgrade and the way
//! back serve what was last known. A file that is not to the last octet what was
//! written is set aside, never half used, and the other one stands in for it. Beside
//! them stands when each source last answered, a few octets that are written each
//! second.
//!
//! Nothing here stops the server: a disk that is full or read-only is an
//! error to log, and answers go on. Only a second eipdns on the directory is
//! refused. State that others could have written is not believed.
//!
//! Calls wait for the disk: make them where that holds nobody up, and after
//! publishing.
//!
//! * `format`: the two versions; `ages`: the file beside them; `serials`: the file that
//!   was, and serials that never go back.
//! * `store`: the directory; `trust`: who may have written what is in it.
//! * `journal`: the history, in two files of its own.
//! * `error`: what can go wrong.

mod ages;
mod error;
mod format;
pub(crate) mod journal;
mod serials;
mod store;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use error::{Aside, OpenError, StateError, Step, Then};
pub use format::FormatError;
pub use journal::{Damaged, Past};
pub use store::{Loaded, Mismatch, Saved, Store, peek};

use crate::dns::name::Key;
use crate::source::accept::Accepted;
use crate::source::discover::Memory;
use crate::source::interfaces::Chosen;

/// How old delivered addresses may be to be served at once after a restart.
pub const FRESH: Duration = Duration::from_secs(5 * 60);

/// Everything that survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// By name of the source.
    pub sources: BTreeMap<String, SourceState>,
    /// Of zones; made anew with a snapshot only, and shared by all states of it.
    pub serials: Arc<SerialsKept>,
}

/// The serials that survive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SerialsKept {
    /// By origin of the zone, as text: the highest of all views.
    pub zones: BTreeMap<String, ZoneSerial>,
    /// By origin of the zone and name of the view.
    pub views: BTreeMap<String, BTreeMap<String, ZoneSerial>>,
}

impl State {
    /// Adds what was known `before` and is not in it: a source that nothing was heard
    /// of since, and serials that were given.
    fn complete(&mut self, before: Self) {
        for (name, source) in before.sources {
            self.sources.entry(name).or_insert(source);
        }
        Arc::make_mut(&mut self.serials).go_on_from(Arc::unwrap_or_clone(before.serials));
    }

    /// How many addresses it has that are kept although they were lost.
    pub(crate) fn held(&self) -> usize {
        let entries = self.sources.values().flat_map(|source| source.accepted.entries.values());
        entries.filter(|entry| !entry.is_live()).count()
    }
}

/// What survives of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// The settings of the source that said it: see
    /// [`fingerprint`](crate::source::successor::fingerprint).
    pub of: BTreeMap<String, String>,
    /// The region the source found itself in.
    pub region: Option<String>,
    /// Time of the last good answer.
    pub delivered_at: SystemTime,
    /// What was accepted by then.
    pub accepted: Accepted,
    /// Its names from tags, as far as tags alone do not give them. Version 1 has none.
    pub names: Names,
    /// The IPv6 addresses of interfaces. Version 1 has none.
    pub interfaces: Chosen,
}

/// What survives of the names that a source's tags give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Names that are held, or that another address wants as well.
    pub held: BTreeMap<Key, Memory>,
    /// Names that were let go while a mass loss goes on.
    pub released: BTreeSet<Key>,
}

/// The serial of one zone, in all views or in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneSerial {
    /// Last published.
    pub serial: u32,
    /// Digest of the contents it stands for, in hex.
    pub digest: String,
}

impl SourceState {
    /// Young enough to be served at once. A time in the future says nothing
    /// about the age: the clock was set back.
    pub fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.delivered_at).is_ok_and(|age| age < FRESH)
    }
}
