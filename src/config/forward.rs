//! `[[forward]]`: whom to ask for names that are not ours.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::View;
use super::addresses::ip_or_socket;
use super::readers::{at, count, list, name};
use super::scope::Scope;
use super::table::Table;
use super::value::{At, Value};
use crate::diag::Place;
use crate::dns::name::Key;
use crate::host::addresses::reaches;

/// All `[[forward]]` tables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForwardConfig {
    /// In the order of the file; the longest name decides, not the order.
    pub rules: Vec<Rule>,
}

/// One `[[forward]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// It is for these names and all below them.
    pub names: Vec<Key>,
    /// Where to ask: equals, taken by their health.
    pub upstreams: Vec<SocketAddr>,
    /// Packets per second to each of the upstreams, from 1. Without it 800 for
    /// the VPC resolver's fixed addresses, and no limit for others.
    pub max_rate: Option<u32>,
}

impl ForwardConfig {
    /// The upstreams that are ourselves, given the addresses we listen on.
    pub fn own(&self, listen: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut own: Vec<_> = self.rules.iter().flat_map(|rule| &rule.upstreams).copied().collect();
        own.sort();
        own.dedup();
        own.retain(|upstream| listen.iter().any(|listen| reaches(*upstream, *listen)));
        own
    }
}

/// The port of DNS (RFC 1035 section 4.2).
const DNS: u16 = 53;

/// Packets per second: no network card sends more.
const MAX_RATE: RangeInclusive<usize> = 1..=10_000_000;

/// Every rule. `views` tells whether anybody may use them.
pub(super) fn read_all(root: &mut Table<'_>, dns: &[SocketAddr], views: &[View]) -> ForwardConfig {
    let mut names: HashMap<Key, Place> = HashMap::new();
    let mut rules = Vec::new();
    for mut block in root.blocks("forward", Scope::Forward) {
        if !views.is_empty() && views.iter().all(|view| !view.forward) {
            block.lacks(
                "no view has `forward = true`, so nothing is ever forwarded",
                "add `forward = true` to the `[[view]]` of clients that may ask for other names",
            );
        }
        let rule = read(&mut block, dns, &mut names);
        block.finish();
        rules.extend(rule);
    }
    ForwardConfig { rules }
}

fn read(t: &mut Table<'_>, dns: &[SocketAddr], known: &mut HashMap<Key, Place>) -> Option<Rule> {
    let names = t.take("names", list("domain names", "\"corp.example.\"", at(name(None))));
    let names = match (names, t.get("names")) {
        (Some(names), _) => {
            for (name, value) in
                names.iter().zip(t.get("names").and_then(|v| v.as_list()).unwrap_or_default())
            {
                claim(name, known, |what| value.error(what, "keep it in one of the two"));
            }
            names.into_iter().map(|name| name.value).collect()
        }
        // Wrong, and reported.
        (None, Some(_)) => vec![],
        (None, None) => {
            let root = At { place: t.place(), value: Key::root() };
            claim(&root, known, |what| {
                t.error(what, "say with `names` what this one is for, or remove it");
            });
            vec![root.value]
        }
    };
    let upstreams = t.require(
        "upstreams",
        "there is nobody to ask",
        "[\"169.254.169.253\"]",
        list("addresses", "\"169.254.169.253\"", |v| upstream(v, dns)),
    );
    let max_rate = t.take("max_rate", count(MAX_RATE)).and_then(|n| u32::try_from(n).ok());
    Some(Rule { names, upstreams: upstreams?, max_rate })
}

/// Notes whose a name is, or says who was first.
fn claim(name: &At<Key>, known: &mut HashMap<Key, Place>, error: impl FnOnce(String)) {
    match known.get(&name.value) {
        Some(first) => {
            error(format!("two `[[forward]]` are for {}: the other one is at {first}", name.value));
        }
        None => drop(known.insert(name.value.clone(), name.place.clone())),
    }
}

/// An address to ask at.
fn upstream(v: &Value<'_>, dns: &[SocketAddr]) -> Option<SocketAddr> {
    let mut found = ip_or_socket(v)?;
    if found.port() == 0 {
        found.set_port(DNS);
    }
    let is_broadcast = matches!(found.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    if found.ip().is_unspecified() || found.ip().is_multicast() || is_broadcast {
        v.error(
            format!("{} in {} is no address of one host", found.ip(), v.name()),
            "name the resolver to ask, as in \"169.254.169.253\"",
        );
        return None;
    }
    let rule = Rule { names: vec![], upstreams: vec![found], max_rate: None };
    if !(ForwardConfig { rules: vec![rule] }).own(dns).is_empty() {
        v.error(
            format!(
                "{found} in {} is this server itself: every question would go round in circles",
                v.name()
            ),
            "name another resolver, such as the VPC's: 169.254.169.253",
        );
        return None;
    }
    Some(found)
}
