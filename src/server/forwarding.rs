//! The forwarder in use, the task that drives it, and its search for loops.

use std::net::SocketAddr;

use tokio::task::JoinSet;
use tracing::{error, info};

use super::RunError;
use crate::config::Config;
use crate::config::{ForwardConfig, Rule};
use crate::dns::name::Key;
use crate::forward::{ConfigError, Driver, Forwarder, Looped};
use crate::host::descriptors::Share;

/// Forwarding as it is configured.
pub(super) struct Forwarding {
    /// Each of its sockets takes one of these.
    sockets: Share,
    current: Option<InUse>,
    tasks: JoinSet<Ended>,
    /// Tells the tasks of different forwarders apart.
    next: usize,
    loops: Vec<Looped>,
}

struct InUse {
    token: usize,
    config: ForwardConfig,
    forwarder: Forwarder,
}

/// Forwarding as it is to be.
pub(super) enum Prepared {
    /// No view forwards.
    Nothing,
    /// As it is.
    Same,
    /// Another one.
    New(ForwardConfig, Forwarder, Driver),
}

/// What a task of which forwarder came to its end.
enum Ended {
    Driver(usize),
    Probe(usize, Vec<Looped>),
}

impl Forwarding {
    /// Nothing yet.
    pub(super) fn new(sockets: &Share) -> Self {
        let (sockets, tasks) = (sockets.clone(), JoinSet::new());
        Self { sockets, current: None, tasks, next: 0, loops: Vec::new() }
    }

    /// What a configuration asks for. Nothing changes yet.
    ///
    /// # Errors
    /// It cannot be carried out.
    pub(super) fn prepare(
        &self,
        config: &Config,
        host_resolvers: &[SocketAddr],
    ) -> Result<Prepared, ConfigError> {
        if !config.server.views.iter().any(|view| view.forward) {
            return Ok(Prepared::Nothing);
        }
        let rules = wanted(config, host_resolvers);
        if self.current.as_ref().is_some_and(|current| current.config == rules) {
            return Ok(Prepared::Same);
        }
        let (forwarder, driver) = Forwarder::new(&rules, &self.sockets)?;
        Ok(Prepared::New(rules, forwarder, driver))
    }

    /// The forwarder there will be once `prepared` is applied.
    pub(super) fn after(&self, prepared: &Prepared) -> Option<Forwarder> {
        match prepared {
            Prepared::Nothing => None,
            Prepared::Same => self.current.as_ref().map(|current| current.forwarder.clone()),
            Prepared::New(_, forwarder, _) => Some(forwarder.clone()),
        }
    }

    /// Turns to what was prepared. While
    /// `[[forward]]` stays as it is so does the forwarder, with its cache.
    pub(super) fn apply(&mut self, prepared: Prepared) {
        match prepared {
            Prepared::Same => {}
            Prepared::Nothing => {
                self.current = None;
                self.loops.clear();
            }
            Prepared::New(config, forwarder, driver) => {
                self.next += 1;
                let token = self.next;
                self.tasks.spawn(async move {
                    driver.run().await;
                    Ended::Driver(token)
                });
                let probing = forwarder.clone();
                self.tasks.spawn(async move { Ended::Probe(token, probing.probe_loops().await) });
                self.current = Some(InUse { token, config, forwarder });
                self.loops.clear();
            }
        }
        if let Some(current) = &self.current {
            current.forwarder.has_sockets(self.sockets.most());
        }
    }

    /// Whom is asked about which names; none: no view forwards.
    pub(super) fn config(&self) -> Option<&ForwardConfig> {
        self.current.as_ref().map(|current| &current.config)
    }

    /// Upstreams through which our own questions come back.
    pub(super) fn loops(&self) -> &[Looped] {
        &self.loops
    }

    /// Waits until there is something new to show, or until a task ends that
    /// should not. Cancel safe.
    pub(super) async fn event(&mut self) -> Result<(), RunError> {
        loop {
            let Some(ended) = self.tasks.join_next().await else {
                return std::future::pending().await;
            };
            let current = self.current.as_ref().map(|current| current.token);
            match ended {
                Err(error) => return Err(RunError::Forwarding(error.to_string())),
                Ok(Ended::Driver(token)) if Some(token) == current => {
                    return Err(RunError::Forwarding("it was not told to".into()));
                }
                Ok(Ended::Probe(token, loops)) if Some(token) == current => {
                    for one in &loops {
                        error!(
                            upstream = %one.upstream, name = %one.name,
                            "a forwarding loop: what is asked there comes back here. Such questions \
                             get SERVFAIL; name another upstream in [[forward]], or have the one \
                             there forward elsewhere"
                        );
                    }
                    self.loops = loops;
                    return Ok(());
                }
                // Of a forwarder that a reload replaced.
                Ok(_) => {}
            }
        }
    }
}

/// What is configured; else what this host would ask itself.
fn wanted(config: &Config, host_resolvers: &[SocketAddr]) -> ForwardConfig {
    if !config.server.forward.rules.is_empty() {
        return config.server.forward.clone();
    }
    let upstreams = host_resolvers.to_vec();
    let all: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
    info!(
        upstreams = %all.join(" "),
        "there is no [[forward]]: other names are asked where this host asks"
    );
    ForwardConfig { rules: vec![Rule { names: vec![Key::root()], upstreams, max_rate: None }] }
}
