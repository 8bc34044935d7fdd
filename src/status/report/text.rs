//! A status for a terminal.

use std::fmt::{self, Display, Formatter, Write};

use super::peers::{PeerDifference, PeerReport};
use super::{
    BudgetReport, CrowdedAddress, ForwardingReport, HeldAddress, HeldName, InterfacesReport,
    SlowedReport, SourceReport, Status, TagProblem, UpstreamReport, ViewNames, WorstCase,
    ZoneReport,
};
use crate::host::text::OneLine;
use crate::snapshot::reverse::MAX_POINTERS;
use crate::source::allocation::Allocation;

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Lines(f);
        out.head(self)?;
        out.worst_case(self.worst_case, &self.worst_case_of)?;
        out.troubles(self)?;
        out.descriptors(self)?;
        if self.file_readings_hanging > 0 {
            let hanging = self.file_readings_hanging;
            out.line(format_args!("readings of files that hang: {hanging}"))?;
        }
        self.sources.iter().try_for_each(|source| out.source(source))?;
        self.budgets.iter().try_for_each(|budget| out.budget(budget))?;
        if let Some(forwarding) = &self.forwarding {
            out.forwarding(forwarding)?;
        }
        self.peers.iter().try_for_each(|peer| out.peer(peer))?;
        self.views.iter().try_for_each(|view| out.names(view))?;
        self.zones.iter().try_for_each(|zone| out.zone(zone))
    }
}

/// Of held names and of problems so many of each source are shown.
const SHOWN: usize = 20;

/// What is written one line at a time: nothing that a server says makes another.
struct Lines<'l, 'f>(&'l mut Formatter<'f>);

impl Lines<'_, '_> {
    fn line(&mut self, line: fmt::Arguments<'_>) -> fmt::Result {
        OneLine(self.0).write_fmt(line)?;
        self.0.write_char('\n')
    }

    /// A line that is there only when there is something to say.
    fn trouble(&mut self, label: &str, trouble: Option<&String>) -> fmt::Result {
        trouble.map_or(Ok(()), |trouble| self.line(format_args!("{label}: {trouble}")))
    }

    fn head(&mut self, status: &Status) -> fmt::Result {
        let Status { version, uptime, generation, published_at, built_in_ms, moves, .. } = status;
        let dns = joined(&status.dns, " ");
        self.line(format_args!("eipdns {version} up {uptime} s at {dns}"))?;
        self.line(format_args!(
            "generation {generation} published {published_at} built in {built_in_ms:.1} ms, \
             {} deliveries wait, {moves} names moved since the start",
            status.publishing.waiting
        ))
    }

    /// From a change to the answer, and what that is made of.
    fn worst_case(&mut self, total: f64, of: &WorstCase) -> fmt::Result {
        let ttl = match &of.ttl_of {
            None => "no name follows an Elastic IP".to_owned(),
            Some(name) => format!("TTL {} s of {name}", of.ttl),
        };
        match (of.poll, of.call) {
            (Some(poll), Some(call)) => self.line(format_args!(
                "worst case from associate-address to answer: {total:.1} s \
                 (poll {poll} s, call {call} s, {ttl})"
            )),
            _ => self.line(format_args!(
                "worst case from an edit of the file to answer: {total:.1} s (seen at once; {ttl})"
            )),
        }
    }

    /// What is wrong with the server as a whole.
    fn troubles(&mut self, status: &Status) -> fmt::Result {
        self.trouble("NOT READY", status.not_ready.as_ref())?;
        self.trouble("NOT PUBLISHED", status.publish_trouble.as_ref())?;
        let publishing = &status.publishing;
        if publishing.hangs {
            self.line(format_args!(
                "THE PUBLISHING LOOP HANGS: its last turn was {:.1} s ago, {} deliveries wait",
                publishing.turned, publishing.waiting
            ))?;
        }
        self.trouble("CONFIGURATION NOT RELOADED", status.reloads.trouble.as_ref())?;
        self.trouble("STATE NOT KEPT", status.state_trouble.as_ref())?;
        self.trouble("LOG", status.log.trouble.as_ref())
    }

    /// Who may have how many descriptors, and who has them.
    fn descriptors(&mut self, status: &Status) -> fmt::Result {
        let (all, now) = (&status.descriptors, &status.connections);
        let most = &all.budget;
        self.line(format_args!(
            "descriptors: {} of {} open; DNS over TCP {} of {}, HTTP {} of {}, to upstreams {} of {}",
            or_dash(all.open),
            most.limit,
            now.tcp,
            most.tcp,
            now.http,
            most.http,
            now.upstream_sockets,
            most.upstreams,
        ))?;
        if !all.enough {
            self.line(format_args!(
                "  FEWER DESCRIPTORS than the {} this configuration can use: raise LimitNOFILE= (ulimit -n)",
                most.wanted
            ))?;
        }
        let turned_away = [
            (now.tcp_refused, "TCP connections refused"),
            (now.tcp_evicted, "closed for newcomers"),
            (now.strangers_turned_away, "of clients in no view turned away"),
            (now.http_turned_away, "HTTP connections turned away"),
            (now.http_slow, "closed as slow"),
            (now.no_upstream_socket, "questions without a socket to an upstream"),
        ];
        let some = turned_away.iter().filter(|(count, _)| *count > 0);
        let some: Vec<_> = some.map(|(count, what)| format!("{count} {what}")).collect();
        if some.is_empty() {
            return Ok(());
        }
        self.line(format_args!("  since the start: {}", some.join(", ")))
    }

    fn source(&mut self, source: &SourceReport) -> fmt::Result {
        let SourceReport { name, kind, health, addresses, names, failures, polls, .. } = source;
        let region = or_dash(source.region.as_ref());
        let private = match source.without_public_ip {
            0 => String::new(),
            some => format!(" ({some} without a public address)"),
        };
        let age = source.age.map_or("never".into(), |age| format!("{age:.1} s ago"));
        self.line(format_args!(
            "source {name} ({kind} {region}): {health}, last good answer {age}, \
             {addresses} addresses{private}, {names} names from tags, {failures} of {polls} calls failed"
        ))?;
        if let Some(why) = &source.why {
            self.line(format_args!("  since {}: {why}", or_dash(source.since.as_ref())))?;
        }
        if let (Some(SlowedReport { every, why }), Some(poll)) = (&source.slowed, source.poll) {
            self.line(format_args!("  SLOWED: a call every {every:.1} s, not {poll} s: {why}"))?;
        }
        self.left_out(source)?;
        if source.mass_loss {
            let what = "  MASS LOSS held back: `eipdns refresh --accept` if it is meant";
            self.line(format_args!("{what}"))?;
        }
        source.held.iter().try_for_each(|held| self.held(held))?;
        self.tags(source)?;
        let interfaces = source.interfaces.as_ref();
        interfaces.map_or(Ok(()), |interfaces| self.interfaces(kind, interfaces))
    }

    /// Where the IPv6 addresses of names come from.
    fn interfaces(&mut self, kind: &str, interfaces: &InterfacesReport) -> fmt::Result {
        let InterfacesReport { wanted, known, without_ipv6, rounds, failures, .. } = interfaces;
        let age = interfaces.age.map_or("never".into(), |age| format!("{age:.1} s ago"));
        self.line(format_args!(
            "  network interfaces: {known} of {wanted} known, {without_ipv6} without an IPv6 \
             address, last good answer {age}, {failures} of {rounds} times failed"
        ))?;
        if let Some(why) = &interfaces.why {
            let since = or_dash(interfaces.since.as_ref());
            self.line(format_args!("  NETWORK INTERFACES NOT KNOWN ANEW since {since}: {why}"))?;
        }
        self.missing_interfaces(kind, interfaces)?;
        let shown = &interfaces.left_out_first;
        shown.iter().try_for_each(|why| self.line(format_args!("  interface left out: {why}")))?;
        match interfaces.left_out.saturating_sub(shown.len()) {
            0 => Ok(()),
            more => self.line(format_args!("  and {more} more interfaces left out")),
        }
    }

    /// Those that are not there, as far as one can see.
    fn missing_interfaces(&mut self, kind: &str, interfaces: &InterfacesReport) -> fmt::Result {
        let InterfacesReport { missing, missing_first, .. } = interfaces;
        if *missing == 0 {
            return Ok(());
        }
        let who = if kind == "file" { "the file" } else { "EC2" };
        let ids = joined(missing_first, " ");
        let more = match missing.saturating_sub(missing_first.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        self.line(format_args!(
            "  interfaces that {who} does not show: {ids}{more}; what was known of them stands"
        ))
    }

    /// What of a source's names from tags is not as tags say.
    fn tags(&mut self, source: &SourceReport) -> fmt::Result {
        if source.names_mass_loss {
            let what = "  MASS LOSS OF NAMES held back: `eipdns refresh --accept` if it is meant";
            self.line(format_args!("{what}"))?;
        }
        for held in source.held_names.iter().take(SHOWN) {
            let HeldName { name, elastic_ips, since, until } = held;
            let (ips, until) = (joined(elastic_ips, " "), or_dash(until.as_ref()));
            self.line(format_args!(
                "  held: {name} of {ips}: no tag gives it since {since}, until {until}"
            ))?;
        }
        self.more(source.held_names.len(), "held names")?;
        for problem in source.tag_problems.iter().take(SHOWN) {
            let TagProblem { kind, name, elastic_ip, why } = problem;
            let kind = kind.as_str();
            self.line(format_args!("  TAG ({kind}): {name} at {elastic_ip}: {why}"))?;
        }
        self.more(source.tag_problems.len(), "problems with tags; --json has them")
    }

    fn more(&mut self, all: usize, of: &str) -> fmt::Result {
        match all.saturating_sub(SHOWN) {
            0 => Ok(()),
            more => self.line(format_args!("  and {more} more {of}")),
        }
    }

    fn held(&mut self, held: &HeldAddress) -> fmt::Result {
        let HeldAddress { elastic_ip, standing, since, names, names_in_all, .. } = held;
        let allocation = match elastic_ip {
            Allocation::PublicIp(_) => or_dash(held.allocation.as_ref()),
            Allocation::Id(_) => "no public address".into(),
        };
        let until = or_dash(held.until.as_ref());
        let names = match (joined(names, " "), names_in_all.saturating_sub(names.len())) {
            (names, _) if names.is_empty() => "no name".into(),
            (names, 0) => names,
            (names, more) => format!("{names} and {more} more"),
        };
        self.line(format_args!(
            "  held: {elastic_ip} ({allocation}) {names}: {standing} since {since}, until {until}"
        ))
    }

    /// What sources take of what EC2 grants.
    fn budget(&mut self, budget: &BudgetReport) -> fmt::Result {
        let BudgetReport { credentials, per_second, granted_per_second, granted_at_once, .. } =
            budget;
        let (region, sources) = (or_dash(budget.region.as_ref()), joined(&budget.sources, ", "));
        let endpoint =
            budget.endpoint.as_ref().map_or(String::new(), |endpoint| format!(" at {endpoint}"));
        let share = 100.0 * per_second / granted_per_second;
        self.line(format_args!(
            "requests to EC2 in {region}{endpoint} with {credentials}: {per_second:.1} a second of \
             {granted_per_second} ({share:.0} %, {granted_at_once} at once) that an account has \
             there, others' included; sources {sources}"
        ))
    }

    /// What of a source's last good answer cannot be used.
    fn left_out(&mut self, source: &SourceReport) -> fmt::Result {
        let shown = &source.left_out_first;
        shown.iter().try_for_each(|why| self.line(format_args!("  LEFT OUT: {why}")))?;
        match source.left_out.saturating_sub(shown.len()) {
            0 => Ok(()),
            more => self.line(format_args!("  LEFT OUT: {more} more entries")),
        }
    }

    fn forwarding(&mut self, all: &ForwardingReport) -> fmt::Result {
        all.upstreams.iter().try_for_each(|upstream| self.upstream(upstream))?;
        let mut loops = all.loops.iter();
        loops.try_for_each(|one| self.line(format_args!("FORWARDING LOOP through {one}")))?;
        let ForwardingReport { outstanding, waiting, shed, cached, cached_bytes, .. } = all;
        self.line(format_args!(
            "forwarding: {outstanding} under way, {waiting} clients waiting, {shed} turned away, \
             {cached} answers cached ({cached_bytes} octets)"
        ))
    }

    fn upstream(&mut self, upstream: &UpstreamReport) -> fmt::Result {
        let UpstreamReport { address, sent, timeouts, waiting, throttled, .. } = upstream;
        let up = if upstream.up { "up" } else { "DOWN" };
        let time = upstream
            .round_trip_ms
            .map_or("not answered yet".to_owned(), |time| format!("{time:.1} ms"));
        self.line(format_args!(
            "upstream {address}: {up}, {time}, {sent} sent, {timeouts} timeouts, \
             {waiting} wait for max_rate, {throttled} turned away by it"
        ))
    }

    /// Another replica.
    fn peer(&mut self, peer: &PeerReport) -> fmt::Result {
        let PeerReport { url, same, differing, hints_sent, hints_failed, .. } = peer;
        let (since, why) = (or_dash(peer.since.as_ref()), or_dash(peer.last_error.as_ref()));
        let version = or_dash(peer.version.as_ref());
        match peer.reached {
            None => self.line(format_args!("peer {url}: not asked yet")),
            Some(false) => self.line(format_args!("peer {url}: NOT REACHED since {since}: {why}")),
            Some(true) => self.line(format_args!(
                "peer {url} (eipdns {version}): reached since {since}, the same in {same} zones \
                 and views, OTHERWISE FOR TOO LONG in {differing}; {hints_failed} of {hints_sent} \
                 hints failed, last error: {why}"
            )),
        }?;
        peer.differences.iter().try_for_each(|one| self.difference(one))?;
        match peer.more_differences {
            0 => Ok(()),
            more => self.line(format_args!("  and {more} more zones and views that differ")),
        }
    }

    fn difference(&mut self, of: &PeerDifference) -> fmt::Result {
        let PeerDifference { zone, view, what, since, lasts, serial, their_serial } = of;
        let differs = if *lasts { "DIFFERS" } else { "differs" };
        let (serial, their_serial) = (or_dash(*serial), or_dash(*their_serial));
        self.line(format_args!(
            "  {differs} since {since}: zone {zone} in view {view} ({what}), serial {serial} here \
             and {their_serial} there"
        ))
    }

    /// A view with names that have no address, or no answer at all.
    fn names(&mut self, of: &ViewNames) -> fmt::Result {
        let ViewNames { view, names, without_address, not_ready, crowded, .. } = of;
        if (*without_address, *not_ready) != (0, 0) {
            self.line(format_args!(
                "view {view}: of {names} names {without_address} WITHOUT ADDRESS (NODATA), \
                 {not_ready} NOT READY (SERVFAIL)"
            ))?;
        }
        for CrowdedAddress { address, names, left_out } in crowded.iter().take(SHOWN) {
            let shown = joined(left_out, " ");
            let more = match names.saturating_sub(MAX_POINTERS + left_out.len()) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.line(format_args!(
                "view {view}: {address} has {names} names, NOT ALL WITH PTR: none for {shown}{more}"
            ))?;
        }
        self.more(crowded.len(), "addresses with too many names")
    }

    fn zone(&mut self, zone: &ZoneReport) -> fmt::Result {
        let ZoneReport { origin, serial, views, names, names_from_tags } = zone;
        let views = joined(views, ", ");
        let by_tag = match names_from_tags {
            0 => String::new(),
            some => format!(" and {some} from tags"),
        };
        self.line(format_args!(
            "zone {origin} serial {serial} in views {views}, {names} names{by_tag}"
        ))
    }
}

/// `-` for what is not known.
fn or_dash(value: Option<impl Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn joined(all: &[impl Display], between: &str) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}
