//! The state of each source, with what is held.

use std::collections::HashMap;
use std::time::SystemTime;

use super::Facts;
use super::status::time;
use crate::config::{SourceId, SourceKind};
use crate::host::background::breathing;
use crate::source::accept::Losses;
use crate::source::clock::{Drift, elapsed};
use crate::source::discover;
use crate::source::inventory::{Health, SourceInventory};
use crate::source::poll::Slowed;
use crate::status::report::{
    HeldAddress, HeldName, InterfacesReport, SlowedReport, SourceReport, TagProblem,
};
use crate::writer::losses::Bindings;

impl Facts {
    /// Each source at one moment, in the order of the configuration.
    pub(super) fn sources(&self, now: SystemTime, drift: Drift) -> Vec<SourceReport> {
        let all = 0..self.inventory.sources.len();
        all.filter_map(|id| self.source(id, now, drift)).collect()
    }

    fn source(&self, id: usize, now: SystemTime, drift: Drift) -> Option<SourceReport> {
        let source = self.inventory.sources.get(id)?;
        let config = self.config.server.sources.get(id)?;
        let losses = self.losses.get(id)?;
        let discovered = &self.inventory.discovered;
        let bindings = Bindings { config: &self.config, rules: &self.rules, discovered };
        let totals = self.handles.get(id)?.as_ref().map(|h| h.stats().read()).unwrap_or_default();
        let (since, why) = match &source.health {
            Health::Stalled { since, why, .. } => (Some(time(*since, drift)), Some(why.clone())),
            Health::Starting | Health::Healthy => (None, None),
        };
        let (kind, poll) = match &config.kind {
            SourceKind::File { .. } => ("file", None),
            SourceKind::Ec2(ec2) => ("ec2", Some(ec2.poll.as_secs_f64())),
        };
        // An equal answer publishes nothing, so the totals know of later ones.
        let last_good = totals.last_good.max(source.delivered_at);
        Some(SourceReport {
            name: source.name.clone(),
            kind: kind.to_owned(),
            region: source.region.clone(),
            health: source.health.as_str().to_owned(),
            since,
            why,
            last_good: last_good.map(|at| time(at, drift)),
            age: last_good.map(|at| elapsed(at, now).as_secs_f64()),
            poll,
            slowed: totals.slowed.map(slowed),
            polls: totals.polls,
            requests: totals.requests,
            unchanged: totals.unchanged,
            failures: totals.failed_in_all(),
            last_call_ms: totals.last_took.map(|t| t.as_secs_f64() * 1000.0),
            addresses: source.entries.as_ref().map_or(0, |e| e.len()),
            without_public_ip: without_public_ip(source),
            left_out: totals.left_out.count,
            left_out_first: totals.left_out.first.iter().map(ToString::to_string).collect(),
            mass_loss: losses.mass,
            held: held(&bindings, id, source, losses, drift),
            names: discovered.by_tag().filter(|named| named.source() == id).count(),
            names_mass_loss: discovered.losses.get(id).is_some_and(|losses| losses.mass),
            held_names: self.held_names(id, drift),
            tag_problems: self.tag_problems(id),
            interfaces: self.interfaces_of(id, source, now, drift),
        })
    }

    /// None: no name wants to know of interfaces, and no file has any.
    fn interfaces_of(
        &self,
        id: SourceId,
        source: &SourceInventory,
        now: SystemTime,
        drift: Drift,
    ) -> Option<InterfacesReport> {
        let handle = self.interfaces.get(id)?.as_ref()?;
        let (wanted, totals) = (handle.wanted(), handle.stats().read());
        if wanted.is_empty() && totals.failing.is_none() {
            return None;
        }
        let known: Vec<_> =
            breathing(wanted.iter()).filter_map(|one| source.interfaces.get(one)).collect();
        let (failures, failing) = (totals.failed_in_all(), totals.failing);
        Some(InterfacesReport {
            wanted: wanted.len(),
            known: known.len(),
            without_ipv6: known.iter().filter(|ip| ip.is_none()).count(),
            last_good: totals.last_good.map(|at| time(at, drift)),
            age: totals.last_good.map(|at| elapsed(at, now).as_secs_f64()),
            requests: totals.requests,
            rounds: totals.rounds,
            failures,
            since: failing.as_ref().map(|failing| time(failing.since, drift)),
            why: failing.map(|failing| failing.why.to_string()),
            left_out: totals.left_out.count,
            left_out_first: totals.left_out.first.iter().map(ToString::to_string).collect(),
            missing: totals.missing.count,
            missing_first: totals.missing.first,
        })
    }

    fn held_names(&self, id: SourceId, drift: Drift) -> Vec<HeldName> {
        let discovered = &self.inventory.discovered;
        let held = discovered.held(&self.rules).into_iter().filter(|held| held.source == id);
        let report = |held: discover::HeldName| HeldName {
            elastic_ips: discovered.allocations(&held.name),
            name: held.name.to_string(),
            since: time(held.since, drift),
            until: held.until.map(|at| time(at, drift)),
        };
        held.map(report).collect()
    }

    fn tag_problems(&self, id: SourceId) -> Vec<TagProblem> {
        let all = self.inventory.discovered.problems().filter(|one| one.claim.source == id);
        all.map(TagProblem::from).collect()
    }
}

impl From<&discover::Problem> for TagProblem {
    fn from(one: &discover::Problem) -> Self {
        Self {
            kind: one.kind,
            name: one.name.to_string(),
            elastic_ip: one.claim.allocation.clone(),
            why: one.why.to_string(),
        }
    }
}

/// How many carrier and customer-owned addresses it has.
fn without_public_ip(source: &SourceInventory) -> usize {
    let entries = source.entries.iter().flat_map(|entries| entries.values());
    breathing(entries).filter(|entry| entry.address.public_ip().is_none()).count()
}

fn slowed(slowed: Slowed) -> SlowedReport {
    SlowedReport { every: slowed.every.as_secs_f64(), why: slowed.by.as_str().to_owned() }
}

/// What is kept, with the names that an operator knows it by.
fn held(
    bindings: &Bindings<'_>,
    id: SourceId,
    source: &SourceInventory,
    losses: &Losses,
    drift: Drift,
) -> Vec<HeldAddress> {
    if losses.held.is_empty() {
        return Vec::new();
    }
    let entries = source.entries.iter().flat_map(|entries| entries.values());
    let kept = entries.filter(|entry| !entry.is_live()).map(|entry| &*entry.address);
    let kept: HashMap<_, _> = kept.map(|address| (address.allocation(), address)).collect();
    let mut names = bindings.names_of(id, &kept.values().copied().collect::<Vec<_>>());
    let held = losses.held.iter().filter_map(|held| {
        let (standing, since) = held.standing.kept()?;
        let address = kept.get(&held.allocation);
        let (names, names_in_all) = names.remove(&held.allocation).unwrap_or_default();
        Some(HeldAddress {
            elastic_ip: held.allocation.clone(),
            allocation: address.and_then(|address| address.allocation_id().map(str::to_owned)),
            names,
            names_in_all,
            standing: standing.to_owned(),
            since: time(since, drift),
            until: held.until.map(|at| time(at, drift)),
        })
    });
    held.collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::source::accept::Held;
    use crate::source::allocation::Allocation;
    use crate::source::discover::{Discovered, Rules};
    use crate::source::inventory::Standing;
    use crate::testing;

    #[test]
    fn an_address_that_is_held_is_named() {
        let zone = "[names]\ndb = \"198.51.100.1\"\nweb = { tag = { Role = \"db\" } }\n";
        let config =
            testing::config(&[("server.toml", testing::SERVER), ("example.com.toml", zone)]);
        let ip = |last| Ipv4Addr::new(198, 51, 100, last);
        let private = Some(Ipv4Addr::new(10, 0, 0, 1));
        let mut inventory = testing::inventory(&[(ip(1), private), (ip(2), private)]);
        let standing = Standing::Missing { since: testing::noon() };
        let entries = inventory.sources[0].entries.as_mut().unwrap();
        Arc::make_mut(entries).get_mut(&Allocation::from(ip(1))).unwrap().standing = standing;
        let lost = Held { allocation: ip(1).into(), standing, until: None, bound: true };
        let losses = Losses { held: vec![lost], ..Losses::default() };
        let (rules, discovered) = (Rules::default(), Discovered::default());
        let bindings = Bindings { config: &config, rules: &rules, discovered: &discovered };
        let all = held(&bindings, 0, &inventory.sources[0], &losses, Drift::NONE);
        let [one] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(one.allocation.as_deref(), Some("eipalloc-c6336401"));
        assert_eq!(one.names, ["db.example.com.", "web.example.com."]);
        assert_eq!((one.names_in_all, one.standing.as_str()), (2, "missing"));
    }
}
