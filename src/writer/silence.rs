//! Sources whose task hangs: such a one delivers nothing, neither an answer nor a
//! failure, so its last answer would be served for ever.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::{info, warn};

use super::{World, Writer};
use crate::source::health;
use crate::source::inventory::{Health, SourceInventory};

impl Writer {
    /// Sources of which nothing was heard for too long count as stalled from now
    /// on, until they deliver. `heard`: when each was heard of last. True if that
    /// is new of any.
    pub fn judge_silent(&mut self, heard: &[Option<SystemTime>]) -> bool {
        let (began, now) = (Instant::now(), self.clock.now());
        let config = Arc::clone(&self.world.config);
        let mut any = false;
        let World { inventory, sources, .. } = &mut self.world;
        let pairs = inventory.sources.iter_mut().zip(sources).zip(&config.server.sources);
        for (((source, kept), config), heard) in pairs.zip(heard) {
            let Some(heard) = *heard else { continue };
            if let Some(health) = health::silent(&config.kind, &source.health, heard, now) {
                tell(&source.name, &health);
                (source.health, kept.silent, any) = (health, true, true);
            }
        }
        if any {
            // What cannot be compiled is told by that.
            let _ = self.publish(began);
        }
        any
    }
}

/// The source's own log of good and bad answers says nothing of it.
fn tell(source: &str, health: &Health) {
    if let Health::Stalled { why, .. } = health {
        warn!(
            source, error = %why,
            "source stalled; what was known before is answered, if anything was"
        );
    }
}

/// It did not hang for good.
pub(super) fn heard_again(source: &SourceInventory) {
    info!(source = %source.name, health = source.health.as_str(), "source is heard of again");
}
