//! The sources' tasks: one each, for as long as it is configured as it is.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::RunError;
#[cfg(feature = "ec2")]
use super::resolver;
use crate::config::{self, Config, Source, SourceId, SourceKind};
use crate::source::clock::Clock;
#[cfg(feature = "ec2")]
use crate::source::ec2::Ec2;
use crate::source::file::FileSource;
#[cfg(feature = "ec2")]
use crate::source::poll::Poller;
use crate::source::{Delivery, Ended, Handle};

/// The sources' tasks.
pub(super) struct Sources {
    deliveries: mpsc::Sender<Delivery>,
    clock: Clock,
    tasks: JoinSet<(usize, Ended)>,
    running: Vec<Running>,
    /// Tells the tasks of sources that were configured at different times apart.
    next: usize,
}

struct Running {
    token: usize,
    config: Source,
    handle: Option<Handle>,
}

impl Sources {
    pub(super) fn new(deliveries: mpsc::Sender<Delivery>, clock: Clock) -> Self {
        Self { deliveries, clock, tasks: JoinSet::new(), running: Vec::new(), next: 0 }
    }

    /// Runs what is configured. Sources that did not change run on; for each
    /// configured one the answer says which it was before.
    pub(super) fn apply(&mut self, config: &Config) -> Vec<Option<SourceId>> {
        let mut before: Vec<_> = std::mem::take(&mut self.running).into_iter().map(Some).collect();
        let mut same = Vec::with_capacity(config.server.sources.len());
        for source in &config.server.sources {
            let at = before
                .iter()
                .position(|running| running.as_ref().is_some_and(|r| r.config.is_same_as(source)));
            same.push(at);
            let running = match at.and_then(|at| before[at].take()) {
                Some(running) => running,
                None => self.start(source, config),
            };
            self.running.push(running);
        }
        // Dropping the handles of the others ends their tasks.
        same
    }

    fn start(&mut self, source: &Source, config: &Config) -> Running {
        let token = self.next;
        self.next += 1;
        let handle = match &source.kind {
            SourceKind::File { path } => {
                let (task, handle) = FileSource::new(
                    token,
                    &source.name,
                    source.region.clone(),
                    path.clone(),
                    self.clock,
                    self.deliveries.clone(),
                );
                self.tasks.spawn(async move { (token, task.run().await) });
                Some(handle)
            }
            SourceKind::Ec2(ec2) => self.start_ec2(token, source, ec2, config),
        };
        Running { token, config: source.clone(), handle }
    }

    #[cfg(feature = "ec2")]
    fn start_ec2(
        &mut self,
        token: usize,
        source: &Source,
        ec2: &config::Ec2Source,
        config: &Config,
    ) -> Option<Handle> {
        let called = Ec2::new(ec2, source.region.as_deref(), resolver(config));
        let (task, handle) =
            Poller::new(token, &source.name, ec2.poll, called, self.clock, self.deliveries.clone());
        self.tasks.spawn(async move { (token, task.run().await) });
        Some(handle)
    }

    /// The configuration refuses EC2 sources in a build without them.
    #[cfg(not(feature = "ec2"))]
    fn start_ec2(
        &mut self,
        _: usize,
        _: &Source,
        _: &config::Ec2Source,
        _: &Config,
    ) -> Option<Handle> {
        None
    }

    /// Whom to ask for a refresh of each source.
    pub(super) fn handles(&self) -> Vec<Option<Handle>> {
        self.running.iter().map(|r| r.handle.clone()).collect()
    }

    /// Asks a source for a call soon.
    pub(super) fn look(&self, id: SourceId) {
        if let Some(handle) = self.running.get(id).and_then(|r| r.handle.as_ref()) {
            handle.look();
        }
    }

    /// The configuration's number of the source with this token.
    pub(super) fn index(&self, token: usize) -> Option<SourceId> {
        self.running.iter().position(|r| r.token == token)
    }

    /// Waits until a task ends that should not. Cancel safe.
    pub(super) async fn failed(&mut self) -> RunError {
        loop {
            let (token, why) = match self.tasks.join_next().await {
                Some(Ok((token, ended))) => (Some(token), ended.to_string()),
                Some(Err(error)) => (None, error.to_string()),
                None => return std::future::pending().await,
            };
            let running = self.running.iter().find(|r| Some(r.token) == token);
            match (running, token) {
                (Some(running), _) => {
                    return RunError::Source { name: running.config.name.clone(), why };
                }
                (None, None) => return RunError::Source { name: "(unknown)".into(), why },
                // One that a reload took away.
                (None, Some(_)) => {}
            }
        }
    }
}
