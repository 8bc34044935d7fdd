//! Where addresses come from.

use std::time::SystemTime;

use super::page::Page;
use super::unix;
use crate::host::background::breathing;
use crate::source::accept::Losses;
use crate::source::clock::elapsed;
use crate::source::discover::{Kind, Problem};
use crate::source::error::Class;
use crate::source::interfaces::{self, Wanted};
use crate::source::inventory::{Health, SourceInventory};
use crate::source::stats::Totals;
use crate::status::board::{Board, Facts};

/// One source: what is known of it in different places.
struct Source<'k> {
    said: &'k SourceInventory,
    losses: &'k Losses,
    totals: Totals,
    /// What names want to know of interfaces, and what was asked for that.
    interfaces: (Wanted, interfaces::stats::Totals),
}

impl Source<'_> {
    fn name(&self) -> &str {
        &self.said.name
    }

    /// An equal answer publishes nothing, so the totals know of later ones.
    fn last_good(&self) -> Option<SystemTime> {
        self.totals.last_good.max(self.said.delivered_at)
    }
}

pub(super) fn write(page: &mut Page, board: &Board, known: &Facts) {
    let pairs = known.inventory.sources.iter().zip(&known.handles).zip(&known.losses);
    let all: Vec<Source<'_>> = pairs
        .zip(&known.interfaces)
        .map(|(((said, handle), losses), interfaces)| {
            let totals = handle.as_ref().map(|h| h.stats().read()).unwrap_or_default();
            let interfaces = interfaces.as_ref().map(|h| (h.wanted(), h.stats().read()));
            let interfaces = interfaces.unwrap_or_default();
            Source { said, losses, totals, interfaces }
        })
        .collect();
    calls(page, &all);
    budgets(page, known, &all);
    answers(page, board, &all);
    addresses(page, &all);
    tags(page, known);
    interfaces(page, board, &all);
}

/// Network interfaces; a file source may have none.
fn interfaces(page: &mut Page, board: &Board, all: &[Source<'_>]) {
    let all: Vec<_> = all.iter().map(|source| (source, &source.interfaces)).collect();
    let help = "Network interfaces of which names want the IPv6 address";
    let mut gauge = page.gauge("eipdns_source_interfaces_wanted", help);
    for (source, (wanted, _)) in &all {
        gauge.with(&[("source", source.name())], wanted.len());
    }
    let help = "Those of them of which something is known";
    let mut gauge = page.gauge("eipdns_source_interfaces_known", help);
    for (source, (wanted, _)) in &all {
        let known = breathing(wanted.iter()).filter(|id| source.said.interfaces.get(id).is_some());
        gauge.with(&[("source", source.name())], known.count());
    }
    let help = "Interfaces of the last answers that cannot be used";
    let mut gauge = page.gauge("eipdns_source_interfaces_left_out", help);
    for (source, (_, totals)) in &all {
        gauge.with(&[("source", source.name())], totals.left_out.count);
    }
    let help = "Wanted interfaces that a good answer did not show; what was known of them stands";
    let mut gauge = page.gauge("eipdns_source_interfaces_missing", help);
    for (source, (_, totals)) in &all {
        gauge.with(&[("source", source.name())], totals.missing.count);
    }
    let help = "Requests for network interfaces that were sent to EC2: one for each page";
    let mut requests = page.counter("eipdns_source_interface_requests_total", help);
    for (source, (_, totals)) in &all {
        requests.with(&[("source", source.name())], totals.requests);
    }
    let help = "Times that asking for network interfaces failed, by class";
    let mut failures = page.counter("eipdns_source_interface_failures_total", help);
    for (source, (_, totals)) in &all {
        for class in Class::ALL {
            let labels = [("source", source.name()), ("class", class.as_str())];
            failures.with(&labels, totals.failed(class));
        }
    }
    let help = "Unix time of the last good answer about network interfaces; 0 for none";
    let mut success = page.gauge("eipdns_source_interface_last_success_timestamp_seconds", help);
    for (source, (_, totals)) in &all {
        let at = totals.last_good.map_or(0.0, |at| unix(board, at));
        success.with(&[("source", source.name())], at);
    }
}

fn calls(page: &mut Page, all: &[Source<'_>]) {
    let mut polls = page.counter("eipdns_source_polls_total", "Calls or readings that ended");
    for source in all {
        polls.with(&[("source", source.name())], source.totals.polls);
    }
    let help = "Requests that calls of EC2 sent: a slow call sends a second one";
    let mut requests = page.counter("eipdns_source_requests_total", help);
    for source in all {
        requests.with(&[("source", source.name())], source.totals.requests);
    }
    let help = "Good answers of EC2 that were equal to the one before";
    let mut unchanged = page.counter("eipdns_source_unchanged_total", help);
    for source in all {
        unchanged.with(&[("source", source.name())], source.totals.unchanged);
    }
    let help = "1: EC2 is asked less often than poll says, because it throttles or is slow";
    let mut slowed = page.gauge("eipdns_source_slowed", help);
    for source in all {
        slowed.with(&[("source", source.name())], source.totals.slowed.is_some());
    }
    let help = "Calls that failed, by class";
    let mut failures = page.counter("eipdns_source_failures_total", help);
    for source in all {
        for class in Class::ALL {
            let labels = [("source", source.name()), ("class", class.as_str())];
            failures.with(&labels, source.totals.failed(class));
        }
    }
    let help = "Time spent in calls, all together";
    let mut took = page.counter("eipdns_source_call_seconds_total", help);
    for source in all {
        took.with(&[("source", source.name())], source.totals.took.as_secs_f64());
    }
    let mut last = page.gauge("eipdns_source_last_call_seconds", "Time of the last call");
    for source in all {
        let took = source.totals.last_took.unwrap_or_default();
        last.with(&[("source", source.name())], took.as_secs_f64());
    }
}

fn budgets(page: &mut Page, known: &Facts, all: &[Source<'_>]) {
    let help = "Requests a second to EC2 at the configured poll; an account has 20 in a region";
    let mut rate = page.gauge("eipdns_source_requests_per_second", help);
    for (id, source) in all.iter().enumerate() {
        let budget = known.budget(id);
        let labels = [
            ("source", source.name()),
            ("region", source.said.region.as_deref().unwrap_or_default()),
            ("credentials", budget.as_ref().map_or("", |budget| &budget.credentials)),
        ];
        rate.with(&labels, budget.as_ref().map_or(0.0, |budget| budget.per_second));
    }
}

fn answers(page: &mut Page, board: &Board, all: &[Source<'_>]) {
    let now = board.clock.now();
    let help = "Unix time of the last good answer; 0 for none";
    let mut success = page.gauge("eipdns_source_last_success_timestamp_seconds", help);
    for source in all {
        let at = source.last_good().map_or(0.0, |at| unix(board, at));
        success.with(&[("source", source.name())], at);
    }
    let help = "Age of the last good answer; missing before the first";
    let mut age = page.gauge("eipdns_source_age_seconds", help);
    for source in all {
        if let Some(at) = source.last_good() {
            age.with(&[("source", source.name())], elapsed(at, now).as_secs_f64());
        }
    }
    let help = "1: the last call was good, and not too long ago";
    let mut healthy = page.gauge("eipdns_source_healthy", help);
    for source in all {
        healthy.with(&[("source", source.name())], source.said.health == Health::Healthy);
    }
}

fn addresses(page: &mut Page, all: &[Source<'_>]) {
    let mut addresses = page.gauge("eipdns_source_addresses", "Addresses known");
    for source in all {
        let count = source.said.entries.as_ref().map_or(0, |entries| entries.len());
        addresses.with(&[("source", source.name())], count);
    }
    let help = "Entries of the last good answer that cannot be used";
    let mut left_out = page.gauge("eipdns_source_entries_left_out", help);
    for source in all {
        left_out.with(&[("source", source.name())], source.totals.left_out.count);
    }
    let help = "Addresses kept although the source does not say them any longer";
    let mut held = page.gauge("eipdns_source_held_addresses", help);
    for source in all {
        held.with(&[("source", source.name())], source.losses.held.len());
    }
    let help = "1: the guard holds a mass loss back";
    let mut mass = page.gauge("eipdns_source_mass_loss", help);
    for source in all {
        mass.with(&[("source", source.name())], source.losses.mass);
    }
}

fn tags(page: &mut Page, known: &Facts) {
    let discovered = &known.inventory.discovered;
    let mut names = vec![0usize; known.inventory.sources.len()];
    for named in discovered.by_tag() {
        names.get_mut(named.source()).into_iter().for_each(|count| *count += 1);
    }
    let all = || known.inventory.sources.iter().enumerate();
    let mut gauge = page.gauge("eipdns_source_names", "Names that the source's tags give");
    for (id, source) in all() {
        gauge.with(&[("source", &source.name)], names[id]);
    }
    let held = discovered.held(&known.rules);
    let help = "Names kept although no tag of the source gives them any longer";
    let mut gauge = page.gauge("eipdns_source_held_names", help);
    for (id, source) in all() {
        let count = held.iter().filter(|held| held.source == id).count();
        gauge.with(&[("source", &source.name)], count);
    }
    let help = "1: the guard holds a mass loss of names back";
    let mut gauge = page.gauge("eipdns_source_names_mass_loss", help);
    for (id, source) in all() {
        let mass = discovered.losses.get(id).is_some_and(|losses| losses.mass);
        gauge.with(&[("source", &source.name)], mass);
    }
    let help = "Words in tags that give no name, or not everywhere, by kind";
    let mut gauge = page.gauge("eipdns_source_tag_problems", help);
    for (id, source) in all() {
        for kind in Kind::ALL {
            let is_it = |one: &&Problem| one.claim.source == id && one.kind == kind;
            let labels = [("source", source.name.as_str()), ("kind", kind.as_str())];
            gauge.with(&labels, discovered.problems().filter(is_it).count());
        }
    }
}
