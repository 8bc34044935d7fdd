//! What server.toml says otherwise than before, key by key.
//!
//! Each struct is taken apart whole: a key that is not told would make a verdict say that
//! nothing has changed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::super::report::reload::{ChangedReport, First, KeyReport, Named};
use super::{InUse, MAX_TOLD};
use crate::config::{
    Config, ForwardConfig, Guard, Listen, NeedsRestart, Peers, Reverse, Rule, Serve, Server,
    Source, SourceId, View,
};
use crate::host::text::brief;
use crate::source::successor::{self, Settings};

/// As many characters of what a key said are told: lists of prefixes may be long.
const MAX_VALUE: usize = 1_000;

/// The keys of server.toml that say otherwise, but for those of views and sources, and for those
/// that need a restart.
pub(super) fn keys(before: &InUse, after: &InUse) -> Vec<KeyReport> {
    let (mut old, mut new) = (settings(before), settings(after));
    let all: Vec<&str> = old.keys().chain(new.keys()).copied().collect();
    let mut told = Vec::new();
    let (was, is) = (&before.config.server, &after.config.server);
    let views = both(&was.views, &is.views, |view| &view.name);
    told.extend(order("the order of [[view]]", views));
    let sources = both(&was.sources, &is.sources, |source| &source.name);
    told.extend(order("the order of [[source]]", sources));
    for key in all {
        let (was, is) = (old.remove(key), new.remove(key));
        if was != is {
            let shown = |value: Option<String>| value.map(|value| brief(&value, MAX_VALUE));
            told.push(KeyReport { key: key.to_owned(), old: shown(was), new: shown(is) });
        }
    }
    told
}

pub(super) fn needs_restart(one: &NeedsRestart) -> KeyReport {
    let NeedsRestart { key, runs, says } = one.clone();
    KeyReport { key: key.to_owned(), old: runs, new: says }
}

/// What is set, by key.
fn settings(of: &InUse) -> BTreeMap<&'static str, String> {
    let Server {
        listen,
        aws_resolvers,
        // Told by themselves.
        sources: _,
        views,
        forward,
        reverse,
        peers,
        guard,
        // With a restart only.
        state_directory: _,
        replica,
        serve,
    } = &of.config.server;
    let mut all = BTreeMap::new();
    let mut put = |key, value: Option<String>| all.extend(value.map(|value| (key, value)));
    listen_settings(listen, &mut put);
    put("aws.resolvers", list(aws_resolvers));
    put("[[forward]]", forward_setting(forward, of.forward.as_ref()));
    let reverse: Vec<_> = reverse.iter().map(|one| reverse_setting(one, views)).collect();
    put("[[reverse]]", list(&reverse));
    if let Some(Peers { urls, token_file }) = peers {
        put("peers.urls", list(urls));
        put("peers.token_file", Some(token_file.display().to_string()));
    }
    put("state.replica", Some(replica.to_string()));
    let Guard { hold, missing_hold, release_after } = guard;
    put("guard.hold", Some(time(*hold)));
    put("guard.missing_hold", Some(time(*missing_hold)));
    put("guard.release_after", Some(time(*release_after)));
    let Serve { max_stale, ready_grace } = serve;
    put("serve.max_stale", max_stale.map(time));
    put("serve.ready_grace", Some(time(*ready_grace)));
    all
}

/// The names of what both have, in the order of each.
fn both<T>(old: &[T], new: &[T], name: impl Fn(&T) -> &str) -> [Vec<String>; 2] {
    let left = |all: &[T], others: &[T]| -> Vec<String> {
        let is_in = |one: &&T| others.iter().any(|other| name(other) == name(one));
        all.iter().filter(is_in).map(|one| name(one).to_owned()).collect()
    };
    [left(old, new), left(new, old)]
}

/// If they stand in another order: of two sources the first decides where both are seen with
/// one name for the first time.
fn order(key: &str, [old, new]: [Vec<String>; 2]) -> Option<KeyReport> {
    let shown = |names| list(names).map(|names| brief(&names, MAX_VALUE));
    (old != new).then(|| KeyReport { key: key.to_owned(), old: shown(old), new: shown(new) })
}

fn listen_settings(listen: &Listen, put: &mut impl FnMut(&'static str, Option<String>)) {
    let Listen {
        dns,
        // With a restart only.
        http: _,
        http_token_file: _,
        workers,
        trust_ecs_from,
        tcp_clients,
        tcp_per_client,
        tcp_idle,
        version,
        id,
    } = listen;
    put("listen.dns", list(dns));
    put("listen.workers", Some(workers.to_string()));
    put("listen.trust_ecs_from", list(trust_ecs_from));
    put("listen.tcp_clients", Some(tcp_clients.to_string()));
    put("listen.tcp_per_client", Some(tcp_per_client.to_string()));
    put("listen.tcp_idle", Some(time(*tcp_idle)));
    put("listen.version", version.clone());
    put("listen.id", id.clone());
}

/// What is asked of whom: as the file says, else as this host asks.
fn forward_setting(configured: &ForwardConfig, in_use: Option<&ForwardConfig>) -> Option<String> {
    let rule = |Rule { names, upstreams, max_rate }: &Rule| {
        let rate = max_rate.map(|rate| format!(" at {rate} a second"));
        let (names, upstreams) = (list(names)?, list(upstreams)?);
        Some(format!("{names} to {upstreams}{}", rate.unwrap_or_default()))
    };
    let rules = |of: &ForwardConfig| {
        let all: Vec<_> = of.rules.iter().filter_map(rule).collect();
        all.join("; ")
    };
    if !configured.rules.is_empty() {
        return Some(rules(configured));
    }
    in_use.map(|in_use| format!("{}, as this host asks", rules(in_use)))
}

fn reverse_setting(of: &Reverse, all: &[View]) -> String {
    let Reverse { networks, views, ttl, place: _ } = of;
    let views: Vec<_> = views.iter().filter_map(|id| all.get(*id)).map(|view| &view.name).collect();
    let (networks, views) = (list(networks), list(&views));
    let (networks, views) = (networks.unwrap_or_default(), views.unwrap_or_default());
    format!("{networks} in view {views} with ttl {ttl}")
}

/// Which views have come, gone or changed.
pub(super) fn views(old: &Config, new: &Config) -> Named {
    let (old, new) = (&old.server.views, &new.server.views);
    let named = |name: &str| old.iter().find(|view| view.name == name);
    let changed = new.iter().filter_map(|view| {
        let what = successor::differences(&of_view(named(&view.name)?), &of_view(view));
        changed(&view.name, &what)
    });
    let is_in = |all: &[View], name: &str| all.iter().any(|view| view.name == name);
    let added = new.iter().filter(|view| !is_in(old, &view.name));
    let removed = old.iter().filter(|view| !is_in(new, &view.name));
    Named {
        added: First::of(added.map(|view| view.name.clone()), MAX_TOLD),
        removed: First::of(removed.map(|view| view.name.clone()), MAX_TOLD),
        changed: First::of(changed, MAX_TOLD),
    }
}

/// Which sources have come, gone or changed; one that another carries on has not gone.
pub(super) fn sources(old: &Config, new: &Config, predecessors: &[Option<SourceId>]) -> Named {
    let (old, new) = (&old.server.sources, &new.server.sources);
    let pairs = || {
        let former = |at: usize| old.get(predecessors.get(at).copied().flatten()?);
        new.iter().enumerate().map(move |(at, source)| (former(at), source))
    };
    let changed = pairs().filter_map(|(former, source): (Option<&Source>, &Source)| {
        changed(&source.name, &successor::changes(former?, source))
    });
    let added = pairs().filter(|(former, _)| former.is_none());
    let is_carried_on = |id: usize| predecessors.contains(&Some(id));
    let removed = old.iter().enumerate().filter(|(id, _)| !is_carried_on(*id));
    Named {
        added: First::of(added.map(|(_, source)| source.name.clone()), MAX_TOLD),
        removed: First::of(removed.map(|(_, source)| source.name.clone()), MAX_TOLD),
        changed: First::of(changed, MAX_TOLD),
    }
}

fn changed(name: &str, what: &str) -> Option<ChangedReport> {
    let what = (!what.is_empty()).then(|| brief(what, MAX_VALUE))?;
    Some(ChangedReport { name: name.to_owned(), what })
}

fn of_view(view: &View) -> Settings {
    let View { name, clients, listen, answer, reaches, forward, rewrite, ec2_names, place: _ } =
        view;
    let all = [
        ("name", Some(name.clone())),
        ("clients", list(clients)),
        ("listen", list(listen)),
        ("answer", Some(answer.as_str().to_owned())),
        ("reaches", reaches.as_ref().map(|nets| list(nets).unwrap_or_default())),
        ("forward", Some(forward.to_string())),
        ("rewrite", Some(rewrite.to_string())),
        ("ec2_names", Some(ec2_names.to_string())),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// The items with commas; none if there are none.
fn list<T: Display>(all: impl IntoIterator<Item = T>) -> Option<String> {
    let all: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
