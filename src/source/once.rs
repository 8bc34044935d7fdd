//! Asks each source once, now, without polling it.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::OptionFuture;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::accept::{Accepted, accept_file};
use super::discover::{Remembered, Rules};
use super::ec2::{self, Calls, Principal};
use super::error::{PollError, SourceError};
use super::interfaces::round::{Round, ask};
use super::interfaces::{self, Told, Wanted};
use super::inventory::{Health, Inventory, SourceInventory};
use super::lookup::Resolver;
use super::resolvers::aws_resolvers;
use super::usable::{LeftOut, Said};
use super::{file, silent};
use crate::config::{Config, Ec2Source, Source, SourceId, SourceKind};

/// Asks every source once, now. Takes a few seconds at most.
pub fn inventory(config: &Config) -> Inventory {
    match ec2::calls() {
        Some(calls) => heard(config, at_hand(config), ask_ec2(config, &calls, false)).0,
        None => at_hand(config),
    }
}

/// What became of asking a source of type `ec2`.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Why it does not say which addresses there are, if it does not.
    pub failed: Option<PollError>,
    /// What of its answer cannot be used.
    pub left_out: Arc<LeftOut>,
    /// Who the credentials are.
    pub principal: Result<Principal, PollError>,
    /// Why it does not say what names want to know of network interfaces, if it was asked.
    pub interfaces: Option<PollError>,
}

/// What the sources say now, `files` being what those of type `file` do; and of each one
/// of type `ec2` how it was asked.
pub fn survey(config: &Config, files: Inventory) -> (Inventory, Vec<Option<Asked>>) {
    match ec2::calls() {
        Some(calls) => heard(config, files, ask_ec2(config, &calls, true)),
        None => (files, vec![None; config.server.sources.len()]),
    }
}

/// What a source of type `ec2` says.
struct Heard {
    id: SourceId,
    answer: Result<Said, PollError>,
    region: Option<String>,
    /// None: nobody wanted to know.
    principal: Option<Result<Principal, PollError>>,
}

/// Calls every EC2 source, all at once; `whose` asks STS for the credentials as well.
fn ask_ec2(config: &Config, calls: &Calls, whose: bool) -> Vec<Heard> {
    let sources = config.server.sources.iter().enumerate();
    let all = sources.filter_map(|(id, source)| match &source.kind {
        SourceKind::Ec2(settings) => Some((id, source, settings)),
        SourceKind::File { .. } => None,
    });
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let answer = || Err(no_runtime(&error));
            let failed =
                all.map(|(id, ..)| Heard { id, answer: answer(), region: None, principal: None });
            return failed.collect();
        }
    };
    let resolver = Resolver::new(aws_resolvers(config));
    runtime.block_on(async {
        let mut asking = JoinSet::new();
        for (id, source, settings) in all {
            let of = of(source, settings, &resolver);
            let mut called = (calls.addresses)(&of);
            let principal = OptionFuture::from(whose.then(|| (calls.principal)(&of)));
            asking.spawn(async move {
                let (answer, principal) = tokio::join!(called.describe(), principal);
                let answer = answer.and_then(|said| said.beside(None));
                Heard { id, answer, region: called.region(), principal }
            });
        }
        asking.join_all().await
    })
}

/// What files say, and what was heard of the other sources.
fn heard(config: &Config, files: Inventory, all: Vec<Heard>) -> (Inventory, Vec<Option<Asked>>) {
    let mut sources = files.sources;
    let mut asked = vec![None; sources.len()];
    for Heard { id, answer, region, principal } in all {
        let (Some(source), Some(said), Some(asked)) =
            (config.server.sources.get(id), sources.get_mut(id), asked.get_mut(id))
        else {
            continue;
        };
        let failed = answer.as_ref().err().cloned();
        let left_out = answer.as_ref().map(|said| Arc::clone(&said.left_out)).unwrap_or_default();
        let nobody = || Err(PollError::Other { what: "STS was not asked".into() });
        let principal = principal.unwrap_or_else(nobody);
        *asked = Some(Asked { failed, left_out, principal, interfaces: None });
        *said = answered(source, answer.map_err(Into::into));
        if region.is_some() {
            said.region = region;
        }
    }
    (with_names(config, sources), asked)
}

/// Asks each source once, now, for the interfaces that are wanted of it, by its number; a file is
/// read whatever is wanted. Takes some seconds at most.
pub fn interfaces(config: &Config, wanted: &[Wanted]) -> Vec<Told> {
    let mut told = Vec::new();
    for (id, said) in interfaces_at_hand(config) {
        let asked = wanted.get(id).cloned().unwrap_or_default();
        let answer = said.map(|said| {
            let all = said.interfaces.into_iter();
            all.filter(|interface| asked.contains(&interface.id)).collect()
        });
        told.push(Told { source: id, at: SystemTime::now(), asked, answer });
    }
    let Some(calls) = ec2::calls() else { return told };
    let wanted = config.server.sources.iter().enumerate().filter_map(|(id, source)| {
        let SourceKind::Ec2(settings) = &source.kind else { return None };
        let wanted = wanted.get(id).filter(|wanted| !wanted.is_empty())?;
        Some((id, source, settings, Arc::clone(wanted)))
    });
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            told.extend(wanted.map(|(id, .., wanted)| failed(id, wanted, no_runtime(&error))));
            return told;
        }
    };
    let resolver = Resolver::new(aws_resolvers(config));
    let rounds = runtime.block_on(async {
        let mut asking = JoinSet::new();
        for (id, source, settings, wanted) in wanted {
            let mut called = (calls.interfaces)(&of(source, settings, &resolver));
            asking.spawn(async move { (id, ask(called.as_mut(), &wanted).await, wanted) });
        }
        asking.join_all().await
    });
    for (id, Round { said, answered, failed: trouble, .. }, wanted) in rounds {
        let unanswered = Wanted::new(wanted.difference(&answered).cloned().collect());
        if !answered.is_empty() {
            let asked = Wanted::new(answered);
            told.push(Told { source: id, at: SystemTime::now(), asked, answer: Ok(said) });
        }
        told.extend(trouble.map(|error| failed(id, unanswered, error)));
    }
    told
}

/// What the files of sources say of interfaces, read now, by the source's number.
pub fn interfaces_at_hand(
    config: &Config,
) -> Vec<(SourceId, Result<interfaces::Described, Arc<SourceError>>)> {
    let sources = config.server.sources.iter().enumerate();
    let told = sources.filter_map(|(source, of)| {
        let SourceKind::File { interfaces: Some(path), .. } = &of.kind else { return None };
        let said = interfaces::file::read(path);
        Some((source, said.map_err(|error| Arc::new(error.into()))))
    });
    told.collect()
}

fn failed(source: usize, asked: Wanted, error: PollError) -> Told {
    let answer = Err(Arc::new(error.into()));
    Told { source, at: SystemTime::now(), asked, answer }
}

fn of<'s>(source: &'s Source, settings: &'s Ec2Source, resolver: &'s Resolver) -> ec2::Of<'s> {
    ec2::Of { name: &source.name, settings, region: source.region.as_deref(), resolver }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn no_runtime(error: &io::Error) -> PollError {
    PollError::Other { what: format!("cannot start an event loop to ask EC2: {error}") }
}

/// With the names that tags give, as if nothing had been known before.
fn with_names(config: &Config, sources: Vec<SourceInventory>) -> Inventory {
    let mut inventory = Inventory::from(sources);
    inventory.discover(&Rules::of(config), None, &Remembered::new(), SystemTime::now());
    inventory
}

/// What is at hand without asking anybody: the contents of files. All other
/// sources are yet to deliver.
pub fn at_hand(config: &Config) -> Inventory {
    all_at_hand(config).0
}

/// The same, and what of each source cannot be used.
pub fn all_at_hand(config: &Config) -> (Inventory, Vec<Arc<LeftOut>>) {
    let ask = |source: &Source| match &source.kind {
        SourceKind::File { path, .. } => {
            let said = file::read(path).map_err(Into::into);
            let left_out = said.as_ref().map(|said: &Said| Arc::clone(&said.left_out));
            let left_out = left_out.unwrap_or_default();
            (answered(source, said), left_out)
        }
        SourceKind::Ec2(_) => (silent(source), Arc::default()),
    };
    let (sources, left_out) = config.server.sources.iter().map(ask).unzip();
    (with_names(config, sources), left_out)
}

/// A source's part of the inventory after one answer. A source that fails is
/// stalled and has nothing.
fn answered(source: &Source, answer: Result<Said, SourceError>) -> SourceInventory {
    let now = SystemTime::now();
    let (entries, health) = match answer {
        Ok(said) => {
            let accepted = accept_file(&Accepted::default(), &said, now);
            (Some(accepted.entries), Health::Healthy)
        }
        Err(error) => {
            let (class, why) = (error.class(), error.to_string());
            (None, Health::Stalled { since: now, class, why })
        }
    };
    SourceInventory {
        name: source.name.clone(),
        region: source.region.clone(),
        delivered_at: entries.is_some().then_some(now),
        entries,
        interfaces: Default::default(),
        health,
    }
}
