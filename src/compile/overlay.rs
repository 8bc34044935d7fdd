//! Overlay zones, and the private addresses that Elastic IPs in forwarded
//! answers become.
//!
//! Overlay zones are the public EC2 names of all Elastic IPs that are
//! associated. What a view sees of them depends on little of its configuration
//! ([`Outlook`]). Views that are alike in it share one map.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;

use super::Sighting;
use super::touched::Touched;
use super::{Index, Input};
use crate::config::{Mode, View, ViewId};
use crate::dns::ec2_name;
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::snapshot::overlay::{Overlays, Said};
use crate::snapshot::{Rewrites, Snapshot, ViewTable};

/// Gives each view its overlay zones and rewrites. A name that lies in one of
/// the view's own zones is left to that zone. `related` is a snapshot of the same
/// configuration, from which only what is `touched` differs.
pub(crate) fn lay(
    input: &Input<'_>,
    index: &Index<'_>,
    touched: Option<&Touched<'_>>,
    related: Option<&Snapshot>,
    views: &mut [ViewTable],
) {
    let before = related.filter(|_| touched.is_some());
    let ips = match touched.filter(|_| before.is_some()) {
        Some(touched) => Cow::Borrowed(touched.elastic_ips()),
        None => Cow::Owned(index.elastic_ips()),
    };
    let mut layers = Layer::all(input, index, before, ips.len());
    let mut rewritings = Rewriting::all(input, before);
    if layers.is_empty() && rewritings.is_empty() {
        return;
    }
    for ip in breathing(ips.iter()) {
        let best = index.best_of(*ip);
        let associated = best.and_then(|best| Some((best, best.entry.address.associated()?)));
        for rewriting in &mut rewritings {
            rewriting.update(input, *ip, associated);
        }
        if !layers.is_empty() {
            update(&mut layers, input, index, *ip, associated);
        }
    }
    for layer in &layers {
        for id in &layer.views {
            if let Some(table) = views.get_mut(*id) {
                table.overlays = layer.overlays.clone();
            }
        }
    }
    for rewriting in &rewritings {
        for id in &rewriting.views {
            if let Some(table) = views.get_mut(*id) {
                table.rewrites = rewriting.rewrites.clone();
            }
        }
    }
}

/// All of a view's configuration that its overlay zones depend on.
#[derive(PartialEq)]
struct Outlook<'a> {
    /// Are names answered with the public address?
    is_public: bool,
    /// Unless they are: private addresses outside are answered as public.
    reaches: Option<&'a [IpNet]>,
    /// The view's zones that public EC2 names may lie in.
    own: Vec<&'a Key>,
}

impl<'a> Outlook<'a> {
    fn of(input: &Input<'a>, index: &Index<'_>, id: ViewId, view: &'a View) -> Self {
        // The name itself, or at or above what all names of a region end in.
        let may_hold = |origin: &Key| {
            ec2_name::is_like_one(origin.octets())
                || index.suffixes().any(|suffix| suffix.is_under(origin))
        };
        let zones = input.config.zones.iter().filter(|zone| zone.views.contains(&id));
        let is_public = view.answer == Mode::Public;
        Self {
            is_public,
            reaches: view.reaches.as_deref().filter(|_| !is_public),
            own: zones.map(|zone| &zone.origin).filter(|origin| may_hold(origin)).collect(),
        }
    }
}

/// What a bound name would be answered with; where that would be the very
/// name, the address it stands for inside EC2.
fn answered(view: &View, private: Ipv4Addr, public: Ipv4Addr) -> Ipv4Addr {
    match view.answer {
        Mode::Public => public,
        Mode::Private | Mode::Cname if view.reaches(private.into()) => private,
        Mode::Private | Mode::Cname => public,
    }
}

/// The overlay zones of all views with one outlook.
struct Layer<'a> {
    outlook: Outlook<'a>,
    /// One of the views.
    view: &'a View,
    views: Vec<ViewId>,
    overlays: Overlays,
}

impl<'a> Layer<'a> {
    /// One for each outlook, with what its views had `before`, else laid out for
    /// `count` names.
    fn all(
        input: &Input<'a>,
        index: &Index<'_>,
        before: Option<&Snapshot>,
        count: usize,
    ) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (id, view) in input.config.server.views.iter().enumerate().filter(|(_, v)| v.ec2_names)
        {
            let outlook = Outlook::of(input, index, id, view);
            if let Some(known) = all.iter_mut().find(|layer| layer.outlook == outlook) {
                known.views.push(id);
                continue;
            }
            let had = before.and_then(|before| before.views.get(id));
            let overlays = match had {
                Some(table) => table.overlays.clone(),
                None => Overlays::with_capacity(count),
            };
            all.push(Self { outlook, view, views: vec![id], overlays });
        }
        all
    }
}

/// Brings the overlay zone of an Elastic IP up to date in every layer.
fn update(
    layers: &mut [Layer<'_>],
    input: &Input<'_>,
    index: &Index<'_>,
    ip: Ipv4Addr,
    associated: Option<(Sighting<'_>, Ipv4Addr)>,
) {
    let named = associated.and_then(|(best, private)| {
        let said = Said {
            address: private,
            ttl: ttl(input, &best),
            serial: unix(best.entry.since),
            source: best.source,
            remark: index.kept(&best).map(Arc::new),
        };
        Some((index.public_name(&best)?, said))
    });
    let others: Vec<Key> = index
        .public_names(ip)
        .filter(|other| named.as_ref().is_none_or(|(name, _)| name != other))
        .collect();
    for layer in layers {
        for other in &others {
            layer.overlays.remove(other.octets());
        }
        let Some((name, said)) = &named else { continue };
        if layer.outlook.own.iter().any(|origin| name.is_under(origin)) {
            continue;
        }
        let said = Said { address: answered(layer.view, said.address, ip), ..said.clone() };
        if layer.overlays.get(name.octets()) != Some(&said) {
            layer.overlays.insert(name.clone(), said);
        }
    }
}

/// What forwarded answers say in place of Elastic IPs in all views that reach
/// the same.
struct Rewriting<'a> {
    /// One of the views.
    view: &'a View,
    views: Vec<ViewId>,
    rewrites: Rewrites,
}

impl<'a> Rewriting<'a> {
    fn all(input: &Input<'a>, before: Option<&Snapshot>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (id, view) in input.config.server.views.iter().enumerate().filter(|(_, v)| v.rewrite) {
            if let Some(known) = all.iter_mut().find(|known| known.view.reaches == view.reaches) {
                known.views.push(id);
                continue;
            }
            let had = before.and_then(|before| before.views.get(id));
            let rewrites = had.map(|table| table.rewrites.clone()).unwrap_or_default();
            all.push(Self { view, views: vec![id], rewrites });
        }
        all
    }

    fn update(
        &mut self,
        input: &Input<'_>,
        ip: Ipv4Addr,
        associated: Option<(Sighting<'_>, Ipv4Addr)>,
    ) {
        let new = associated
            .filter(|(best, private)| {
                best.entry.address.service_managed.is_none() && self.view.reaches((*private).into())
            })
            .map(|(best, private)| (private, ttl(input, &best)));
        if self.rewrites.get(&ip).copied() == new {
            return;
        }
        match new {
            Some(new) => drop(self.rewrites.insert(ip, new)),
            None => drop(self.rewrites.remove(&ip)),
        }
    }
}

fn ttl(input: &Input<'_>, sighting: &Sighting<'_>) -> u32 {
    input.config.server.sources.get(sighting.source).map_or(0, |source| source.ttl)
}

/// When the association was first seen: grows with every move.
fn unix(at: SystemTime) -> u32 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as u32
}
