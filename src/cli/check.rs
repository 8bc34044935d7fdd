//! `eipdns check`

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::access::wants_ipv6;
use super::survey::{self, How};
use super::{Common, Exit, print};
use crate::cli::offline::Offline;
use crate::compile::{Index, names};
use crate::config::{Config, Listen, Peers, SourceId, SourceKind};
use crate::diag::{Place, Problem, Severity};
use crate::dns::reverse::address_of;
use crate::http;
use crate::snapshot::Data;
use crate::snapshot::reverse::MAX_POINTERS;
use crate::source::error::SourceError;
use crate::source::interfaces::Described;
use crate::source::inventory::Health;
use crate::source::once;
use crate::source::usable::LeftOut;
use crate::state::{self, StateError};

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    common: Common,
    /// Ask AWS as well
    #[arg(long)]
    aws: bool,
    /// Ask with this profile of the AWS CLI, not with those that are configured
    #[arg(long, value_name = "NAME", requires = "aws")]
    profile: Option<String>,
    /// What AWS says, as JSON
    #[arg(long, requires = "aws")]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Exit {
        let loaded = match self.common.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let config = &loaded.config;
        let (inventory, left_out) = once::all_at_hand(config);
        let offline = Offline::new(config, inventory);
        let mut broken = broken_files(&offline);
        let interfaces = once::interfaces_at_hand(config);
        broken.extend(broken_interfaces(config, &interfaces));
        broken.extend(unreadable_token(&config.server.listen));
        broken.extend(unreadable_peer_token(config.server.peers.as_ref()));
        super::print_problems(&broken);
        super::print_problems(&unusable_entries(config, &left_out));
        super::print_problems(&unusable_interfaces(config, &interfaces));
        super::print_problems(&without_interfaces(config));
        super::print_problems(&unmatched(&offline));
        super::print_problems(&without_public_address(&offline));
        super::print_problems(&tag_problems(&offline));
        super::print_problems(&crowded_addresses(&offline));
        if !broken.is_empty() {
            return Exit::Config;
        }
        let ok = format!(
            "{}ok: {} zones, {} names{}, {} views, {} sources\n",
            of_state(config),
            config.zones.len(),
            config.zones.iter().map(|z| z.names.len()).sum::<usize>(),
            by_tag(&offline),
            config.server.views.len(),
            config.server.sources.len(),
        );
        if !self.aws {
            return print::answer(&ok, Exit::Ok);
        }
        let how = How { profile: self.profile.as_deref(), json: self.json, head: &ok };
        survey::run(config, offline.inventory, how)
    }
}

/// How many names the tags in address files give; what EC2's give, nobody was asked.
fn by_tag(offline: &Offline<'_>) -> String {
    match offline.config.zones.iter().any(|zone| zone.discover.is_some()) {
        true => format!(" and {} from tags", offline.inventory.discovered.by_tag().count()),
        false => String::new(),
    }
}

/// What of the tags in address files gives no name, or not everywhere.
fn tag_problems(offline: &Offline<'_>) -> Vec<Problem> {
    let sources = &offline.config.server.sources;
    let all = offline.inventory.discovered.problems();
    let told = all.filter_map(|problem| {
        let SourceKind::File { path, .. } = &sources.get(problem.claim.source)?.kind else {
            return None;
        };
        Some(Problem {
            place: Place::file(path),
            severity: Severity::Warning,
            what: format!(
                "{} has the name {} in a tag, which gives none, or not everywhere: {}",
                problem.claim.allocation, problem.name, problem.why
            ),
            remedy: "mend the tag".into(),
        })
    });
    told.collect()
}

/// Addresses of which more names are ours than have a PTR record.
fn crowded_addresses(offline: &Offline<'_>) -> Vec<Problem> {
    let mut all = Vec::new();
    for (id, view) in offline.current.snapshot.views.iter().enumerate() {
        for owner in view.reverse.crowded.iter() {
            let pointer = view.reverse.pointers.get(owner.octets());
            let (Some(pointer), Some(ip)) = (pointer, address_of(owner.octets())) else { continue };
            let mut blocks = offline.config.server.reverse.iter();
            let block = blocks.find(|block| {
                block.views.contains(&id) && block.networks.iter().any(|net| net.contains(&ip))
            });
            let (Some(block), Some(first)) = (block, pointer.left_out().first()) else { continue };
            all.push(Problem {
                place: block.place.clone(),
                severity: Severity::Warning,
                what: format!(
                    "{} names have {ip} in view \"{}\", and an address has {MAX_POINTERS} PTR \
                     records at most: {} has none, and {} more",
                    pointer.names.len(),
                    view.name,
                    first.name,
                    pointer.left_out().len() - 1
                ),
                remedy: "write `ptr = false` at names that need none".into(),
            });
        }
    }
    all
}

/// What of the state on disk is of sources that were configured otherwise. A
/// directory that this user may not read says nothing.
fn of_state(config: &Config) -> String {
    let mut lines = String::new();
    match state::peek(&config.server.state_directory, &config.server.sources) {
        Ok(None) => {}
        Ok(Some(found)) => {
            warn_of(&found.unused);
            found.carried.iter().for_each(|carried| lines += &format!("{carried}\n"));
            found.mismatched.iter().for_each(|mismatch| lines += &format!("{mismatch}\n"));
        }
        Err(errors) => warn_of(&errors),
    }
    lines
}

fn warn_of(unused: &[StateError]) {
    let is_private = |error: &StateError| matches!(error, StateError::Read { cause, .. } if cause.kind() == ErrorKind::PermissionDenied);
    for error in unused.iter().filter(|error| !is_private(error)) {
        print::line(&format_args!("warning: {error}"));
    }
}

/// The HTTP side's token, without which a server would not start.
fn unreadable_token(listen: &Listen) -> Option<Problem> {
    let path = listen.http_token_file.as_ref().filter(|_| listen.http.is_some())?;
    let cause = http::read_token(path, http::TOKEN).err()?;
    Some(unreadable(path, "the token of the HTTP side", "http_token_file", &cause))
}

/// The token that peers have, likewise.
fn unreadable_peer_token(peers: Option<&Peers>) -> Option<Problem> {
    let path = &peers?.token_file;
    let cause = http::read_peer_token(path, http::TOKEN).err()?;
    Some(unreadable(path, "the peers' token", "token_file", &cause))
}

fn unreadable(path: &Path, what: &str, key: &str, cause: &io::Error) -> Problem {
    let remedy = match cause.kind() {
        ErrorKind::PermissionDenied => "run `check` as the user that eipdns runs as".to_owned(),
        _ => format!("mend `{key}` in server.toml, or the file"),
    };
    Problem {
        place: Place::file(path),
        severity: Severity::Error,
        what: format!("{what} cannot be read: {cause}"),
        remedy,
    }
}

/// Address files that cannot be used. A server would start with them, answer
/// SERVFAIL for what they should hold, and wait.
fn broken_files(offline: &Offline<'_>) -> Vec<Problem> {
    let sources = offline.config.server.sources.iter().zip(&offline.inventory.sources);
    let broken =
        sources.filter_map(|(source, inventory)| match (&source.kind, &inventory.health) {
            (SourceKind::File { path, .. }, Health::Stalled { why, .. }) => Some(Problem {
                place: Place::file(path),
                severity: Severity::Error,
                what: why.clone(),
                remedy: "write it as `aws ec2 describe-addresses` prints it".into(),
            }),
            _ => None,
        });
    broken.collect()
}

/// What a file says of interfaces, by the number of its source.
type Interfaces = (SourceId, Result<Described, Arc<SourceError>>);

/// The place of the file of a source with interfaces.
fn place_of(config: &Config, source: SourceId) -> Option<Place> {
    match &config.server.sources.get(source)?.kind {
        SourceKind::File { interfaces, .. } => interfaces.as_deref().map(Place::file),
        SourceKind::Ec2(_) => None,
    }
}

/// Files of interfaces that cannot be read or understood.
fn broken_interfaces(config: &Config, all: &[Interfaces]) -> Vec<Problem> {
    let broken = all.iter().filter_map(|(id, said)| {
        Some(Problem {
            place: place_of(config, *id)?,
            severity: Severity::Error,
            what: said.as_ref().err()?.to_string(),
            remedy: "write it as `aws ec2 describe-network-interfaces` prints it".into(),
        })
    });
    broken.collect()
}

/// Interfaces in files that are left out: the first few of each file.
fn unusable_interfaces(config: &Config, all: &[Interfaces]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (id, said) in all {
        let (Some(place), Ok(said)) = (place_of(config, *id), said) else { continue };
        let problem = |what| Problem {
            place: place.clone(),
            severity: Severity::Warning,
            what,
            remedy: "mend the entry".into(),
        };
        problems.extend(said.left_out.first.iter().map(|why| problem(why.to_string())));
        let more = said.left_out.count - said.left_out.first.len();
        problems.extend((more > 0).then(|| problem(format!("{more} more cannot be used"))));
    }
    problems
}

/// File sources that cannot tell of interfaces, where a name that may be in one wants to know.
fn without_interfaces(config: &Config) -> Vec<Problem> {
    let sources = config.server.sources.iter().enumerate();
    let silent = sources
        .filter(|(id, source)| !source.tells_of_interfaces() && wants_ipv6(config, *id))
        .map(|(_, source)| Problem {
            place: source.place.clone(),
            severity: Severity::Warning,
            what: format!(
                "names with `ipv6` may be in source {}, which has no `interfaces`: they have no \
                 AAAA record from it",
                source.name
            ),
            remedy: "give it a file as `aws ec2 describe-network-interfaces` prints it".into(),
        });
    silent.collect()
}

/// Entries of address files that are left out: the first few of each file.
fn unusable_entries(config: &Config, left_out: &[Arc<LeftOut>]) -> Vec<Problem> {
    let mut all = Vec::new();
    for (source, left_out) in config.server.sources.iter().zip(left_out) {
        let SourceKind::File { path, .. } = &source.kind else { continue };
        let problem = |what, remedy: &str| Problem {
            place: Place::file(path),
            severity: Severity::Warning,
            what,
            remedy: remedy.into(),
        };
        let shown = left_out.first.iter().map(|why| problem(why.to_string(), "mend the entry"));
        all.extend(shown);
        let more = left_out.count - left_out.first.len();
        if more > 0 {
            all.push(problem(
                format!("{more} more entries cannot be used"),
                "mend those above first",
            ));
        }
    }
    all
}

/// Bindings that no address matches: a typing error, or an address that is
/// yet to be allocated.
fn unmatched(offline: &Offline<'_>) -> Vec<Problem> {
    let input = offline.input();
    let index = Index::new(&input);
    let mut told = BTreeSet::new();
    let mut all = Vec::new();
    for zone in offline.current.snapshot.views.iter().flat_map(|v| v.zones.values()) {
        for binding in &zone.zone.names {
            let resolved = zone.resolved.get(binding.name.octets()).map(|r| &r.data);
            let Some(Data::Nothing(why)) = resolved else { continue };
            let seen = !index.sightings(&binding.target, binding.source).is_empty();
            if seen || !told.insert(&binding.name) {
                continue;
            }
            all.push(Problem {
                place: binding.place.clone(),
                severity: Severity::Warning,
                what: format!("{} has no address yet: {why}", binding.name),
                remedy: "allocate or tag the address, or mend the binding".into(),
            });
        }
    }
    all.sort_by(|a, b| a.place.cmp(&b.place));
    all
}

/// Names that have no address in some views, because those are answered public ones and the
/// addresses that were found have none.
fn without_public_address(offline: &Offline<'_>) -> Vec<Problem> {
    let input = offline.input();
    let index = Index::new(&input);
    let discovered = &offline.inventory.discovered;
    let mut found = BTreeMap::new();
    for view in &offline.current.snapshot.views {
        for table in view.zones.values() {
            for (name, resolved) in table.resolved.iter() {
                let Data::Nothing(why) = &resolved.data else { continue };
                let Some(binding) = names::binding(&table.zone, discovered, name) else { continue };
                let best = index.best(&binding.target, binding.source);
                let all = || best.iter().map(|sighting| &sighting.entry.address);
                let is_private = all().all(|address| address.public_ip().is_none());
                if is_private && all().any(|address| address.associated().is_some()) {
                    let key = (binding.place.clone(), name.clone(), Arc::clone(why));
                    found.entry(key).or_insert_with(Vec::new).push(&*view.name);
                }
            }
        }
    }
    let problem = |((place, name, why), views): ((Place, _, _), Vec<&str>)| Problem {
        place,
        severity: Severity::Warning,
        what: format!("{name} has no address in {}: {why}", views.join(", ")),
        remedy: "write `answer = { VIEW = \"none\" }` for the views that are not to have it".into(),
    };
    found.into_iter().map(problem).collect()
}
