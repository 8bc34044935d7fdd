//! What the writer logs: moves, losses, and what it could not do.

use std::time::{Instant, SystemTime};

use tracing::{error, info, warn};

use super::{Panicked, Writer};
use crate::background::breathe;
use crate::changes::Change;
use crate::config::SourceId;
use crate::source::accept::{Held, Losses};
use crate::state;

/// How many moved names one swap logs by name; the rest is a number.
const MAX_LOGGED: usize = 20;

impl Writer {
    /// A swap is one line for each name.
    pub(super) fn tell_moves(&self, moved: &[Change], generation: u64) {
        for change in moved.iter().take(MAX_LOGGED) {
            breathe();
            let delivered = change.source_ids.iter().filter_map(|id| {
                let at = self.inventory().sources.get(*id)?.delivered_at?;
                self.published_at.duration_since(at).ok()
            });
            info!(
                name = %change.name,
                old = %change.old,
                new = %change.new,
                views = %change.views.join(","),
                source = %change.sources.join(","),
                age_ms = delivered.max().unwrap_or_default().as_millis() as u64,
                generation,
                took_us = self.built_in.as_micros() as u64,
                "moved"
            );
        }
        if moved.len() > MAX_LOGGED {
            info!(more = moved.len() - MAX_LOGGED, generation, "and more names moved");
        }
    }

    /// Says once what begins to be held and what is let go.
    pub(super) fn tell_losses(&self, id: SourceId, before: &Losses) {
        let (Some(source), Some(kept)) =
            (self.config().server.sources.get(id), self.world.sources.get(id))
        else {
            return;
        };
        let now = &kept.losses;
        let is_in = |all: &Losses, held: &Held| {
            all.held.iter().any(|h| h.public_ip == held.public_ip && h.standing == held.standing)
        };
        for held in now.held.iter().filter(|h| h.bound && !is_in(before, h)).take(MAX_LOGGED) {
            let (standing, _) = held.standing.kept().unwrap_or(("live", SystemTime::UNIX_EPOCH));
            warn!(
                source = %source.name,
                elastic_ip = %held.public_ip,
                standing,
                until = %held.until.map_or_else(|| "-".into(), |at| self.shown(at)),
                "a bound address is lost; its last state is kept"
            );
        }
        if now.mass && !before.mass {
            warn!(
                source = %source.name,
                lost = now.held.iter().filter(|h| h.bound).count(),
                "more than half of the bound addresses are lost at once: all are kept until \
                 release_after, or `eipdns refresh --accept`"
            );
        } else if before.mass && !now.mass {
            info!(source = %source.name, "the mass loss is over");
        }
    }

    pub(super) fn tell_old_state(&self, id: SourceId, known: &state::SourceState) {
        warn!(
            source = %self.inventory().sources[id].name,
            delivered_at = %self.shown(known.delivered_at),
            addresses = known.accepted.entries.len(),
            "no word from the source yet: serving what it said before the restart, marked stale"
        );
    }

    /// Each delivery tries again, so this may come each second.
    pub(super) fn tell_panicked(&self, panicked: &Panicked) {
        if let Some(left_out) = self.panics.may(Instant::now()) {
            error!(
                generation = self.store.full().generation,
                left_out, "{panicked}; the answers before stand, and the next delivery tries again"
            );
        }
    }

    fn shown(&self, at: SystemTime) -> String {
        humantime::format_rfc3339_seconds(self.clock.drift().shown(at)).to_string()
    }
}
