//! Takes another configuration into use: all of it or nothing.

use std::fmt::Display;
use std::sync::Arc;

use tracing::{error, warn};

use super::App;
use super::reload::Read;
use super::tell::tell_opened;
use crate::config::{Config, Invalid};
use crate::diag::Severity;
use crate::host::background;
use crate::writer::Next;

/// Why a configuration is not turned to, which the log has said.
struct Refused(String);

impl App {
    /// A configuration was read: take all of it or nothing.
    pub(super) async fn take_configuration(&mut self, read: Result<Read, Invalid>) {
        let taken = match read {
            Ok(read) => self.turn_to(read).await,
            Err(invalid) => Err(tell_invalid(&invalid)),
        };
        match taken {
            Ok(()) => {
                self.reloads.trouble = None;
                self.reloads.taken_at = self.clock.now();
                // Before the log says so: who waits for that asks new sources.
                self.tell();
                self.tell_serving("configuration reloaded");
            }
            Err(why) => {
                self.reloads.refused += 1;
                let now = self.clock.drift().shown(self.clock.now());
                let at = humantime::format_rfc3339_seconds(now);
                self.reloads.trouble = Some(format!("{}; since {at} the files are others", why.0));
                self.tell();
                warn!("configuration not reloaded; the one in use stands");
            }
        }
    }

    /// The answers are made before anybody is asked for them at a new address,
    /// and an address goes before its clients would get those of others.
    async fn turn_to(&mut self, read: Read) -> Result<(), Refused> {
        let Read { loaded, surroundings } = read;
        for problem in &loaded.warnings {
            warn!("{problem}");
        }
        let config = Arc::new(loaded.config);
        let peer_token = surroundings.peer_token.map_err(|problem| told(&problem))?;
        let forwarding = self
            .forwarding
            .prepare(&config, &surroundings.host_resolvers)
            .map_err(|problem| told(&problem))?;
        let next = Next {
            config: Arc::clone(&config),
            at_hand: surroundings.at_hand,
            addresses: surroundings.addresses,
            forwarder: self.forwarding.after(&forwarding),
        };
        let answers = background::here(|| self.writer.prepare(next));
        let answers = answers.map_err(|problem| told(&problem))?;
        let listeners = self.listeners.prepare(&self.descriptors.listen(&config.server));
        let listeners = listeners.map_err(|problem| told(&problem))?;
        self.tell_restart_needed(&config);
        self.listeners.close(&listeners).await;
        self.descriptors.apply(&config.server);
        self.forwarding.apply(forwarding);
        let predecessors = answers.predecessors.clone();
        background::here(|| self.writer.commit(answers));
        tell_opened(&self.listeners.open(listeners));
        self.sources.resolver().set(&surroundings.aws_resolvers);
        self.sources.apply(&config, &predecessors, self.writer.inventory());
        self.peers.apply(&config, peer_token);
        Ok(())
    }

    fn tell_restart_needed(&self, config: &Config) {
        let (before, after) = (&self.writer.config().server, &config.server);
        if (&before.listen.http, &before.listen.http_token_file, &before.state_directory)
            != (&after.listen.http, &after.listen.http_token_file, &after.state_directory)
        {
            warn!(
                "listen.http, listen.http_token_file and state.directory change with a restart only"
            );
        }
    }
}

/// Logs every problem; the first error says it all to who looks at the status.
fn tell_invalid(invalid: &Invalid) -> Refused {
    for problem in &invalid.problems {
        error!("{problem}");
    }
    let errors = invalid.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let first = errors.clone().next().map(ToString::to_string).unwrap_or_default();
    Refused(match errors.count().saturating_sub(1) {
        0 => first,
        more => format!(
            "{first} (and {more} more error{}: see the log, or `eipdns check`)",
            if more == 1 { "" } else { "s" }
        ),
    })
}

fn told(problem: &impl Display) -> Refused {
    error!("{problem}");
    Refused(problem.to_string())
}
