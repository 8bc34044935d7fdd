//! Brings the status surfaces and the state on disk up to date, and logs what is served.

use std::sync::Arc;

use tracing::{info, warn};

use super::App;
use super::descriptors::Descriptors;
use super::forwarding::Forwarding;
use super::sources::Sources;
use crate::respond::Responder;
use crate::serve::{Listeners, Opened};
use crate::status::board::{Facts, Reloads};
use crate::writer::Writer;

impl App {
    /// Brings the status surfaces and the state on disk up to date.
    pub(super) fn tell(&self) {
        let known = Facts::new(
            &self.writer,
            &self.sources,
            &self.listeners,
            &self.descriptors,
            &self.forwarding,
            &self.reloads,
        );
        let known = Facts { state_trouble: self.keeper.trouble(), ..known };
        self.known.send_replace(Arc::new(known));
        self.keeper.keep(self.writer.state());
    }

    pub(super) fn tell_serving(&self, what: &str) {
        let addresses = self.listeners.addresses();
        let dns: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let config = self.writer.config();
        info!(
            dns = %dns.join(" "),
            zones = config.zones.len(),
            names = config.zones.iter().map(|z| z.names.len()).sum::<usize>(),
            names_from_tags = self.writer.inventory().discovered.by_tag().count(),
            views = config.server.views.len(),
            sources = config.server.sources.len(),
            took_us = self.writer.built_in().as_micros() as u64,
            "{what}"
        );
    }
}

impl Facts {
    pub(super) fn new(
        writer: &Writer,
        sources: &Sources,
        listeners: &Listeners<Responder>,
        descriptors: &Descriptors,
        forwarding: &Forwarding,
        reloads: &Reloads,
    ) -> Self {
        Self {
            generation: writer.store().load().snapshot.generation,
            config: Arc::clone(writer.config()),
            rules: Arc::clone(writer.rules()),
            inventory: writer.inventory().clone(),
            losses: writer.losses(),
            handles: sources.handles(),
            interfaces: sources.interfaces(),
            listening: listeners.addresses(),
            moves: writer.moves(),
            built_in: writer.built_in(),
            published_at: writer.published_at(),
            loops: forwarding.loops().to_vec(),
            reloads: reloads.clone(),
            state_trouble: None,
            publish_trouble: writer.trouble().map(ToString::to_string),
            budget: descriptors.budget(),
            upstream_sockets: descriptors.upstreams().clone(),
        }
    }
}

pub(super) fn tell_opened(opened: &[Opened]) {
    for one in opened {
        if one.on_host {
            info!(
                address = %one.address,
                receive_buffer = one.receive_buffer,
                send_buffer = one.send_buffer,
                "listening"
            );
        } else {
            warn!(address = %one.address, "listening at an address this host does not have yet");
        }
    }
}
