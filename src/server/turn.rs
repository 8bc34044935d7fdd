//! Takes another configuration into use: all of it or nothing.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::{error, warn};

use super::App;
use super::reload::Read;
use super::surroundings::Surroundings;
use super::tell::tell_opened;
use crate::config::{Config, Invalid, Loss, NeedsRestart};
use crate::diag::{Problem, Severity};
use crate::host::background;
use crate::status::reloaded::{InUse, Outcome, Reloaded, Taken};
use crate::writer::Next;

/// Why a configuration that is well is not turned to, which the log has said.
struct Refused(String);

impl App {
    /// A configuration was read: take all of it or nothing.
    pub(super) async fn take_configuration(&mut self, read: Result<Read, Invalid>) -> Reloaded {
        let (problems, outcome) = match read {
            Ok(Read { loaded, surroundings, losses }) => {
                let (config, warnings) = (Arc::new(loaded.config), loaded.warnings);
                for problem in &warnings {
                    warn!("{problem}");
                }
                let lost = lost(&losses, &loaded.directory);
                match self.turn_to(config, surroundings, lost).await {
                    Ok(taken) => (warnings, Outcome::Taken(Box::new(taken))),
                    Err(Refused(why)) => (warnings, Outcome::Failed(why)),
                }
            }
            Err(invalid) => {
                for problem in &invalid.problems {
                    error!("{problem}");
                }
                (invalid.problems, Outcome::Wrong)
            }
        };
        let now = self.clock.now();
        let at = self.clock.drift().shown(now);
        match &outcome {
            Outcome::Taken(_) => {
                self.reloads.trouble = None;
                self.reloads.taken_at = now;
                // Before the log says so: who waits for that asks new sources.
                self.tell();
                self.tell_serving("configuration reloaded");
            }
            Outcome::Wrong => self.refuse(&in_short(&problems), at),
            Outcome::Failed(why) => self.refuse(why, at),
        }
        let at = humantime::format_rfc3339_millis(at).to_string();
        Reloaded { at, problems, outcome, verdict: Default::default() }
    }

    fn refuse(&mut self, why: &str, at: SystemTime) {
        self.reloads.refused += 1;
        let at = humantime::format_rfc3339_seconds(at);
        self.reloads.trouble = Some(format!("{why}; since {at} the files are others"));
        self.tell();
        warn!("configuration not reloaded; the one in use stands");
    }

    /// The answers are made before anybody is asked for them at a new address,
    /// and an address goes before its clients would get those of others.
    async fn turn_to(
        &mut self,
        config: Arc<Config>,
        surroundings: Surroundings,
        lost: Vec<Problem>,
    ) -> Result<Taken, Refused> {
        let before = self.in_use();
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
        let closed = self.listeners.close(&listeners).await;
        self.descriptors.apply(&config.server);
        self.forwarding.apply(forwarding);
        let predecessors = answers.predecessors.clone();
        background::here(|| self.writer.commit(answers));
        let opened = self.listeners.open(listeners);
        tell_opened(&opened);
        self.sources.resolver().set(&surroundings.aws_resolvers);
        self.sources.apply(&config, &predecessors, self.writer.inventory());
        self.peers.apply(&config, peer_token);
        let needs_restart = self.at_start.needs_restart(&config.server);
        tell_restart_needed(&needs_restart);
        let after = self.in_use();
        Ok(Taken { before, after, lost, predecessors, opened, closed, needs_restart })
    }

    fn in_use(&self) -> InUse {
        InUse {
            config: Arc::clone(self.writer.config()),
            current: self.writer.store().full(),
            forward: self.forwarding.config().cloned(),
        }
    }
}

fn tell_restart_needed(all: &[NeedsRestart]) {
    for NeedsRestart { key, runs, says } in all {
        let [runs, says] = [runs, says].map(|value| value.as_deref().unwrap_or("not set"));
        warn!(key, runs, says, "this key changes with a restart only");
    }
}

/// The first error; the log, and who asked for the reload, have all of them.
fn in_short(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let first = errors.clone().next().map(ToString::to_string).unwrap_or_default();
    match errors.count().saturating_sub(1) {
        0 => first,
        more => format!(
            "{first} (and {more} more error{}: see the log, or `eipdns check`)",
            if more == 1 { "" } else { "s" }
        ),
    }
}

fn told(problem: &impl Display) -> Refused {
    error!("{problem}");
    Refused(problem.to_string())
}

fn lost(losses: &[Loss], directory: &Path) -> Vec<Problem> {
    losses.iter().map(|loss| loss.problem(directory)).collect()
}
