//! The sources' tasks: one each for its addresses and one for interfaces, for as long as it is
//! asked in the same way.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::RunError;
use crate::config::{self, Config, Source, SourceId, SourceKind};
use crate::source::clock::Clock;
use crate::source::ec2;
use crate::source::file::FileSource;
use crate::source::interfaces::asker::Asker;
use crate::source::interfaces::file::FileInterfaces;
use crate::source::interfaces::{self, Told, Wanted};
use crate::source::inventory::{Health, Inventory};
use crate::source::lookup::Resolver;
use crate::source::poll::Poller;
use crate::source::successor::share_account;
use crate::source::{Delivery, Ended, Handle, Setup};

/// The sources' tasks.
pub(super) struct Sources {
    deliveries: mpsc::Sender<Delivery>,
    /// What is told of interfaces.
    told: mpsc::Sender<Told>,
    clock: Clock,
    /// How the endpoints of EC2 are found, by all of them.
    resolver: Resolver,
    tasks: JoinSet<(usize, Ended)>,
    running: Vec<Running>,
    /// Tells the tasks of sources that were configured at different times apart.
    next: usize,
}

struct Running {
    token: usize,
    config: Source,
    handle: Option<Handle>,
    /// Of its second task. None: a file source without interfaces.
    interfaces: Option<interfaces::post::Handle>,
}

impl Sources {
    pub(super) fn new(
        deliveries: mpsc::Sender<Delivery>,
        told: mpsc::Sender<Told>,
        clock: Clock,
        resolver: Resolver,
    ) -> Self {
        let (tasks, running) = (JoinSet::new(), Vec::new());
        Self { deliveries, told, clock, resolver, tasks, running, next: 0 }
    }

    /// How the endpoints of EC2 are found.
    pub(super) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// How many deliveries wait for the writer can be asked of this.
    pub(super) fn deliveries(&self) -> &mpsc::Sender<Delivery> {
        &self.deliveries
    }

    /// Runs what is configured. `predecessors` says for each source which one
    /// it carries on: if that is asked in the same way, its task runs on, at
    /// another pace if need be; else the new task knows from `inventory` how
    /// the old one did, and keeps to a pause that throttling has made.
    pub(super) fn apply(
        &mut self,
        config: &Config,
        predecessors: &[Option<SourceId>],
        inventory: &Inventory,
    ) {
        let mut before: Vec<_> = std::mem::take(&mut self.running).into_iter().map(Some).collect();
        for (id, source) in config.server.sources.iter().enumerate() {
            let former = predecessors.get(id).copied().flatten();
            let former = former.and_then(|at| before.get_mut(at)?.take());
            let running = match former {
                Some(running) if running.config.is_asked_as(source) => {
                    running.retuned(source, self.clock.now())
                }
                former => {
                    let health = inventory.sources.get(id).map(|source| source.health.clone());
                    self.start(source, former, health.unwrap_or(Health::Starting))
                }
            };
            self.running.push(running);
        }
        // Dropping the handles of the others ends their tasks.
    }

    fn start(&mut self, source: &Source, former: Option<Running>, health: Health) -> Running {
        let token = self.next;
        self.next += 1;
        let mut setup = Setup::new(token, &source.name, self.clock, self.deliveries.clone());
        let interfaces = self.start_interfaces(token, source, former.as_ref());
        if let Some(former) = former {
            setup.health = health;
            if share_account(&former.config, source) {
                setup.throttled = former.handle.as_ref().and_then(Handle::throttled);
            }
            if let Some(handle) = &former.handle {
                setup.stats = Arc::clone(handle.shared_stats());
            }
        }
        setup.stats.begin(self.clock.now());
        let handle = match &source.kind {
            SourceKind::File { path, .. } => {
                let (task, handle) = FileSource::new(setup, source.region.clone(), path.clone());
                self.tasks.spawn(async move { (token, task.run().await) });
                Some(handle)
            }
            SourceKind::Ec2(ec2) => self.start_ec2(setup, source, ec2),
        };
        Running { token, config: source.clone(), handle, interfaces }
    }

    /// Starts the second task of a source, if it has one.
    fn start_interfaces(
        &mut self,
        token: usize,
        source: &Source,
        former: Option<&Running>,
    ) -> Option<interfaces::post::Handle> {
        let told = self.told.clone();
        let mut setup = interfaces::post::Setup::new(token, &source.name, self.clock, told);
        if let Some((former, handle)) = former.and_then(|f| Some((f, f.interfaces.as_ref()?))) {
            setup.stats = Arc::clone(handle.shared_stats());
            if share_account(&former.config, source) {
                setup.throttled = handle.throttled();
            }
        }
        match &source.kind {
            SourceKind::File { interfaces, .. } => {
                let (task, handle) = FileInterfaces::new(setup, interfaces.as_ref()?);
                self.tasks.spawn(async move { (token, task.run().await) });
                Some(handle)
            }
            SourceKind::Ec2(settings) => {
                let called = (ec2::calls()?.interfaces)(&self.of(source, settings));
                let (task, handle) = Asker::new(setup, called);
                self.tasks.spawn(async move { (token, task.run().await) });
                Some(handle)
            }
        }
    }

    /// None in a program without EC2, where the configuration refuses such sources.
    fn start_ec2(
        &mut self,
        setup: Setup,
        source: &Source,
        settings: &config::Ec2Source,
    ) -> Option<Handle> {
        let token = setup.id;
        let called = (ec2::calls()?.addresses)(&self.of(source, settings));
        let (task, handle) = Poller::new(setup, settings.poll, called);
        self.tasks.spawn(async move { (token, task.run().await) });
        Some(handle)
    }

    fn of<'s>(&'s self, source: &'s Source, settings: &'s config::Ec2Source) -> ec2::Of<'s> {
        let (name, region) = (source.name.as_str(), source.region.as_deref());
        ec2::Of { name, settings, region, resolver: &self.resolver }
    }

    /// From now on these interfaces of a source are wanted, and no others. A source that was
    /// started since wants none until it is told.
    pub(super) fn want(&self, id: SourceId, wanted: &Wanted) {
        if let Some(handle) = self.running.get(id).and_then(|r| r.interfaces.as_ref()) {
            handle.want(wanted);
        }
    }

    /// What was asked of interfaces; none for a source that has none.
    pub(super) fn interfaces(&self) -> Vec<Option<interfaces::post::Handle>> {
        self.running.iter().map(|r| r.interfaces.clone()).collect()
    }

    /// Whom to ask for a refresh of each source.
    pub(super) fn handles(&self) -> Vec<Option<Handle>> {
        self.running.iter().map(|r| r.handle.clone()).collect()
    }

    /// When each source was heard of last; none for one that has no task.
    pub(super) fn heard(&self) -> Vec<Option<SystemTime>> {
        self.running.iter().map(|r| r.handle.as_ref()?.stats().heard()).collect()
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

impl Running {
    /// The same task under settings that only change its pace.
    fn retuned(self, source: &Source, now: SystemTime) -> Self {
        if let (SourceKind::Ec2(was), SourceKind::Ec2(is)) = (&self.config.kind, &source.kind)
            && was.poll != is.poll
            && let Some(handle) = &self.handle
        {
            handle.set_poll(is.poll, now);
        }
        Self { config: source.clone(), ..self }
    }
}
