//! What the writer logs: moves, and what it could not do.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use tracing::field::{DisplayValue, display};
use tracing::{error, info, warn};

use super::{Panicked, Writer};
use crate::compile::changes::{Change, Holder, Kind};
use crate::config::SourceId;
use crate::host::background::{breathe, breathing};
use crate::source::allocation::Allocation;

/// How many lines one swap logs. The history has all.
pub(super) const MAX_LOGGED: usize = 20;

/// How many addresses, or names, one line shows.
const FIRST_FEW: usize = 3;

/// What one line of the log says of a change, in its own words.
macro_rules! tell {
    ($level:ident, $told:expr, $message:literal, { $($who:tt)* }) => {
        $level!(
            $($who)*
            old = %$told.change.old,
            new = %$told.change.new,
            views = %$told.change.views.join(","),
            source = %$told.change.sources.join(","),
            elastic_ip = %$told.each(|h| Some(h.elastic_ip.to_string())),
            allocation = %$told.each(|h| h.allocation.clone()),
            edge_ip = $told.edge_ips(),
            old_association = %$told.each(|h| h.old.as_ref()?.association.clone()),
            new_association = %$told.each(|h| h.new.as_ref()?.association.clone()),
            old_instance = %$told.each(|h| h.old.as_ref()?.instance.clone()),
            new_instance = %$told.each(|h| h.new.as_ref()?.instance.clone()),
            cause = $told.change.cause.unwrap_or("source"),
            age_ms = $told.age_ms,
            generation = $told.generation,
            took_us = $told.took_us,
            $message
        )
    };
}

/// A change, with what all changes of a swap have in common.
struct Told<'c> {
    change: &'c Change,
    age_ms: u64,
    generation: u64,
    took_us: u64,
}

impl Told<'_> {
    /// One word for each of the first addresses.
    fn each(&self, word: impl Fn(&Holder) -> Option<String>) -> String {
        let all = &self.change.addresses;
        let mut words: Vec<_> =
            all.iter().take(FIRST_FEW).map(|h| word(h).unwrap_or_else(|| "-".into())).collect();
        words.extend((all.len() > FIRST_FEW).then(|| "…".into()));
        if words.is_empty() { "-".into() } else { words.join(",") }
    }

    /// None if all of those have public addresses, as nearly all have.
    fn edge_ips(&self) -> Option<DisplayValue<String>> {
        let is_edge = |h: &Holder| h.edge_ip.is_some();
        let any = self.change.addresses.iter().take(FIRST_FEW).any(is_edge);
        any.then(|| display(self.each(|h| Some(h.edge_ip?.to_string()))))
    }
}

impl Writer {
    /// A name's change is a line; where many names change at once, an Elastic
    /// IP's is. First answers, of so many names, are no move: they are counted.
    pub(super) fn tell_moves(&self, changed: &[Change], first: usize, generation: u64) {
        let took_us = self.built_in.as_micros() as u64;
        if first > 0 {
            info!(names = first, generation, took_us, "first answers");
        }
        if changed.len() > MAX_LOGGED {
            return self.tell_summary(changed, generation);
        }
        for change in changed {
            breathe();
            let told = self.told(change, generation);
            match change.kind {
                Kind::NoAddress => tell!(warn, told, "no address", { name = %change.name, }),
                Kind::Moved => tell!(info, told, "moved", { name = %change.name, }),
                Kind::Named => tell!(info, told, "a tag gives a name", { name = %change.name, }),
                Kind::Ipv6 => tell!(info, told, "other IPv6", { name = %change.name, }),
            }
        }
    }

    /// One line for each address.
    fn tell_summary(&self, changed: &[Change], generation: u64) {
        let mut groups: BTreeMap<(Kind, Vec<Allocation>), Vec<&Change>> = BTreeMap::new();
        for change in breathing(changed) {
            let all = change.addresses.iter().map(|h| h.elastic_ip.clone()).collect();
            groups.entry((change.kind, all)).or_default().push(change);
        }
        let more = groups.len().saturating_sub(MAX_LOGGED);
        let mut left_out = 0;
        for (nth, ((kind, _), changes)) in groups.iter().enumerate() {
            let mut names: Vec<_> = changes.iter().map(|change| change.name.as_str()).collect();
            names.dedup();
            let Some(change) = changes.first().filter(|_| nth < MAX_LOGGED) else {
                left_out += names.len();
                continue;
            };
            breathe();
            let told = self.told(change, generation);
            let count = names.len();
            names.truncate(FIRST_FEW);
            let first = names.join(",");
            match kind {
                Kind::NoAddress => {
                    tell!(warn, told, "names without address", { names = count, first = %first, });
                }
                Kind::Moved => {
                    tell!(info, told, "names moved", { names = count, first = %first, });
                }
                Kind::Named => {
                    tell!(info, told, "tags give names", { names = count, first = %first, });
                }
                Kind::Ipv6 => {
                    tell!(info, told, "names have other IPv6", { names = count, first = %first, });
                }
            }
        }
        if more > 0 {
            warn!(
                elastic_ips = more,
                names = left_out,
                generation,
                "and more names changed: /api/history has them"
            );
        }
    }

    fn told<'c>(&self, change: &'c Change, generation: u64) -> Told<'c> {
        let delivered = change.source_ids.iter().filter_map(|id| {
            let at = self.inventory().sources.get(*id)?.delivered_at?;
            self.published_at.duration_since(at).ok()
        });
        Told {
            change,
            age_ms: delivered.max().unwrap_or_default().as_millis() as u64,
            generation,
            took_us: self.built_in.as_micros() as u64,
        }
    }

    /// Once it is published: until then each failing delivery tries again.
    pub(super) fn tell_old_state(&self, id: SourceId) {
        let source = &self.inventory().sources[id];
        warn!(
            source = %source.name,
            delivered_at = %source.delivered_at.map(|at| self.shown(at)).unwrap_or_default(),
            addresses = source.entries.as_ref().map_or(0, |entries| entries.len()),
            "no word from the source yet: serving what it said before the restart, marked stale"
        );
    }

    /// Each delivery tries again, so this may come each second.
    pub(super) fn tell_panicked(&self, panicked: &Panicked) {
        if let Some(left_out) = self.panics.may(Instant::now()) {
            error!(
                generation = self.store.full().snapshot.generation,
                left_out, "{panicked}; the answers before stand, and the next delivery tries again"
            );
        }
    }

    pub(super) fn shown(&self, at: SystemTime) -> String {
        humantime::format_rfc3339_seconds(self.clock.drift().shown(at)).to_string()
    }
}
