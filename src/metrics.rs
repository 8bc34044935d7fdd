//! `/metrics`: everything that is counted, in the text format of Prometheus
//! (OpenMetrics 1.0).

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use crate::answer::Transport;
use crate::board::{Board, Known, WorstCase};
use crate::host::aside;
use crate::host::descriptors;
use crate::host::log::STDERR;
use crate::inventory::Health;
use crate::source::clock::elapsed;
use crate::source::error::Class;
use crate::source::stats::Totals;

/// The whole exposition.
///
/// # Errors
/// Only what formatting itself gives.
pub fn render(board: &Board) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("eipdns");
    registry.register_collector(Box::new(Reading(board.clone())));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

struct Reading(Board);

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reading")
    }
}

/// The samples of one metric.
struct Family<'e>(MetricEncoder<'e>);

impl Family<'_> {
    fn counter(&mut self, labels: &[(&str, &str)], value: u64) -> fmt::Result {
        let labels = labels.to_vec();
        ConstCounter::new(value).encode(self.0.encode_family(&labels)?)
    }

    /// The one sample of a metric without labels.
    fn only(self, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0)
    }

    fn gauge(&mut self, labels: &[(&str, &str)], value: f64) -> fmt::Result {
        let labels = labels.to_vec();
        ConstGauge::new(value).encode(self.0.encode_family(&labels)?)
    }
}

fn family<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    kind: MetricType,
) -> Result<Family<'e>, fmt::Error> {
    Ok(Family(encoder.encode_descriptor(name, help, None, kind)?))
}

const COUNTER: MetricType = <ConstCounter<u64> as TypedMetric>::TYPE;
const GAUGE: MetricType = <ConstGauge<f64> as TypedMetric>::TYPE;

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.0.known.borrow().clone();
        self.queries(&mut encoder)?;
        self.sockets(&mut encoder)?;
        self.web(&mut encoder)?;
        self.descriptors(&mut encoder, &known)?;
        self.sources(&mut encoder, &known)?;
        self.forwarding(&mut encoder, &known)?;
        self.snapshot(&mut encoder, &known)?;
        log(&mut encoder)
    }
}

fn log(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let log = STDERR.status(Instant::now());
    for (name, help, value) in [
        ("log_lines_dropped", "Log lines left out: stderr was read too slowly", log.dropped),
        ("log_write_errors", "Log lines lost because stderr took none", log.write_errors),
    ] {
        family(encoder, name, help, COUNTER)?.only(&ConstCounter::new(value))?;
    }
    family(encoder, "log_lines_waiting", "Log lines that wait to be written", GAUGE)?
        .only(&ConstGauge::new(log.waiting as f64))
}

impl Reading {
    fn queries(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut queries = family(
            encoder,
            "queries",
            "Answers sent, by view (empty: none), transport, path and response code",
            COUNTER,
        )?;
        for total in self.0.counters.totals() {
            let transport = match total.transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            };
            let labels = [
                ("view", total.view.as_str()),
                ("transport", transport),
                ("path", total.path.as_str()),
                ("rcode", total.rcode),
            ];
            queries.counter(&labels, total.count)?;
        }
        family(encoder, "panics", "Answers that ended in a panic and so in SERVFAIL", COUNTER)?
            .only(&ConstCounter::new(self.0.counters.panics()))
    }

    fn sockets(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let udp = self.0.sockets.udp();
        let mut datagrams = family(encoder, "udp_datagrams", "UDP datagrams by fate", COUNTER)?;
        for (event, count) in [
            ("received", udp.received),
            ("sent", udp.sent),
            ("silent", udp.silent),
            ("dropped", udp.dropped),
            ("no_room", udp.no_room),
            ("send_error", udp.send_errors),
            ("receive_error", udp.receive_errors),
        ] {
            datagrams.counter(&[("event", event)], count)?;
        }
        let tcp = self.0.sockets.tcp();
        let mut connections =
            family(encoder, "tcp_connections", "TCP connections by event", COUNTER)?;
        for (event, count) in [
            ("accepted", tcp.accepted),
            ("refused_full", tcp.refused_full),
            ("refused_client", tcp.refused_client),
            ("accept_error", tcp.accept_errors),
            ("finished", tcp.finished),
            ("idle", tcp.idle),
            ("evicted", tcp.evicted),
            ("malformed", tcp.malformed),
            ("broken", tcp.broken),
            ("cut", tcp.cut),
        ] {
            connections.counter(&[("event", event)], count)?;
        }
        family(encoder, "tcp_open", "TCP connections that are open", GAUGE)?
            .only(&ConstGauge::new(tcp.open() as f64))?;
        let mut strangers = family(
            encoder,
            "tcp_strangers",
            "TCP connections of clients in no view, by event",
            COUNTER,
        )?;
        for (event, count) in [
            ("accepted", tcp.strangers_accepted),
            ("refused", tcp.strangers_refused),
            ("evicted", tcp.strangers_evicted),
        ] {
            strangers.counter(&[("event", event)], count)?;
        }
        Ok(())
    }

    fn web(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let http = self.0.sockets.http();
        let mut connections =
            family(encoder, "http_connections", "HTTP connections by event", COUNTER)?;
        for (event, count) in [
            ("accepted", http.accepted),
            ("refused", http.refused),
            ("accept_error", http.accept_errors),
            ("finished", http.finished),
            ("idle", http.idle),
            ("slow", http.slow),
            ("evicted", http.evicted),
            ("malformed", http.malformed),
            ("broken", http.broken),
        ] {
            connections.counter(&[("event", event)], count)?;
        }
        family(encoder, "http_open", "HTTP connections that are open", GAUGE)?
            .only(&ConstGauge::new(http.open() as f64))?;
        let mut requests =
            family(encoder, "http_requests", "HTTP requests by status of the answer", COUNTER)?;
        for (status, count) in http.requests.iter().filter(|(_, count)| *count > 0) {
            let status = if *status == 0 { "other".into() } else { status.to_string() };
            requests.counter(&[("status", &status)], *count)?;
        }
        Ok(())
    }

    fn descriptors(&self, encoder: &mut DescriptorEncoder<'_>, known: &Known) -> fmt::Result {
        let budget = &known.budget;
        family(encoder, "descriptors_limit", "File descriptors the process may have", GAUGE)?
            .only(&ConstGauge::new(budget.limit as f64))?;
        // Without /proc nobody knows.
        if let Ok(open) = descriptors::open() {
            family(encoder, "descriptors_open", "File descriptors it has open", GAUGE)?
                .only(&ConstGauge::new(open as f64))?;
        }
        let mut shares = family(
            encoder,
            "descriptors_budget",
            "File descriptors by purpose: how many there are for it",
            GAUGE,
        )?;
        for (purpose, count) in [
            ("reserve", budget.reserve),
            ("tcp", budget.tcp),
            ("http", budget.http),
            ("upstreams", budget.upstreams),
        ] {
            shares.gauge(&[("for", purpose)], count as f64)?;
        }
        let sockets = &known.upstream_sockets;
        family(encoder, "upstream_sockets", "Sockets of questions to upstreams", GAUGE)?
            .only(&ConstGauge::new(sockets.taken() as f64))?;
        let help = "Times that a question to an upstream had no socket, because all were in use";
        family(encoder, "upstream_no_socket", help, COUNTER)?
            .only(&ConstCounter::new(sockets.refused()))
    }

    fn sources(&self, encoder: &mut DescriptorEncoder<'_>, known: &Known) -> fmt::Result {
        let now = self.0.clock.now();
        let all: Vec<(&str, Totals)> = known
            .inventory
            .sources
            .iter()
            .zip(&known.handles)
            .map(|(source, handle)| {
                let totals = handle.as_ref().map(|h| h.stats().read()).unwrap_or_default();
                (source.name.as_str(), totals)
            })
            .collect();
        let mut polls = family(encoder, "source_polls", "Calls or readings that ended", COUNTER)?;
        for (name, totals) in &all {
            polls.counter(&[("source", name)], totals.polls)?;
        }
        let mut failures =
            family(encoder, "source_failures", "Calls that failed, by class", COUNTER)?;
        for (name, totals) in &all {
            for class in Class::ALL {
                let labels = [("source", *name), ("class", class.as_str())];
                failures.counter(&labels, totals.failed(class))?;
            }
        }
        let mut calls =
            family(encoder, "source_call_seconds", "Time spent in calls, all together", COUNTER)?;
        for (name, totals) in &all {
            let labels = vec![("source", *name)];
            ConstCounter::new(totals.took.as_secs_f64()).encode(calls.0.encode_family(&labels)?)?;
        }
        let mut last = family(encoder, "source_last_call_seconds", "Time of the last call", GAUGE)?;
        for (name, totals) in &all {
            last.gauge(&[("source", name)], totals.last_took.unwrap_or_default().as_secs_f64())?;
        }
        let good: Vec<(&str, Option<SystemTime>)> = all
            .iter()
            .zip(&known.inventory.sources)
            .map(|((name, totals), source)| (*name, totals.last_good.max(source.delivered_at)))
            .collect();
        let mut success = family(
            encoder,
            "source_last_success_timestamp_seconds",
            "Unix time of the last good answer; 0 for none",
            GAUGE,
        )?;
        for (name, at) in &good {
            let shown = at.map(|at| self.0.clock.drift().shown(at));
            let since = shown.map(|at| elapsed(SystemTime::UNIX_EPOCH, at)).unwrap_or_default();
            success.gauge(&[("source", name)], since.as_secs_f64())?;
        }
        let mut age = family(encoder, "source_age_seconds", "Age of the last good answer", GAUGE)?;
        for (name, at) in &good {
            if let Some(at) = at {
                age.gauge(&[("source", name)], elapsed(*at, now).as_secs_f64())?;
            }
        }
        let mut healthy = family(encoder, "source_healthy", "1: the last call was good", GAUGE)?;
        for source in &known.inventory.sources {
            let is = f64::from(u8::from(source.health == Health::Healthy));
            healthy.gauge(&[("source", &source.name)], is)?;
        }
        let mut addresses = family(encoder, "source_addresses", "Elastic IPs known", GAUGE)?;
        for source in &known.inventory.sources {
            let count = source.entries.as_ref().map_or(0, |e| e.len());
            addresses.gauge(&[("source", &source.name)], count as f64)?;
        }
        let mut left_out = family(
            encoder,
            "source_entries_left_out",
            "Entries of the last good answer that cannot be used",
            GAUGE,
        )?;
        for (name, totals) in &all {
            left_out.gauge(&[("source", name)], totals.left_out.count as f64)?;
        }
        let mut held = family(
            encoder,
            "source_held_addresses",
            "Elastic IPs kept although the source does not say them any longer",
            GAUGE,
        )?;
        for (source, losses) in known.inventory.sources.iter().zip(&known.losses) {
            held.gauge(&[("source", &source.name)], losses.held.len() as f64)?;
        }
        let mut mass =
            family(encoder, "source_mass_loss", "1: the guard holds a mass loss back", GAUGE)?;
        for (source, losses) in known.inventory.sources.iter().zip(&known.losses) {
            mass.gauge(&[("source", &source.name)], f64::from(u8::from(losses.mass)))?;
        }
        Ok(())
    }

    fn forwarding(&self, encoder: &mut DescriptorEncoder<'_>, known: &Known) -> fmt::Result {
        let snapshot = self.0.store.full();
        let Some(forwarder) = &snapshot.forwarder else { return Ok(()) };
        let upstreams = forwarder.upstreams();
        let mut queries =
            family(encoder, "upstream_queries", "Questions for upstreams, by fate", COUNTER)?;
        for one in &upstreams {
            let address = one.address.to_string();
            for (event, count) in [
                ("sent", one.sent),
                ("answer", one.answers),
                ("timeout", one.timeouts),
                ("error", one.errors),
                ("stray", one.strays),
                ("throttled", one.throttled),
                ("check", one.checks),
            ] {
                queries.counter(&[("upstream", &address), ("event", event)], count)?;
            }
        }
        let mut up = family(encoder, "upstream_up", "1: it answers, as far as is known", GAUGE)?;
        for one in &upstreams {
            let is = f64::from(u8::from(one.up));
            up.gauge(&[("upstream", &one.address.to_string())], is)?;
        }
        let mut waiting = family(
            encoder,
            "upstream_waiting",
            "Questions that wait for their turn, because of max_rate",
            GAUGE,
        )?;
        for one in &upstreams {
            waiting.gauge(&[("upstream", &one.address.to_string())], one.waiting as f64)?;
        }
        let mut time =
            family(encoder, "upstream_round_trip_seconds", "Smoothed time to an answer", GAUGE)?;
        for one in &upstreams {
            // Nothing, and no number, of one that never answered.
            if let Some(round_trip) = one.round_trip {
                time.gauge(&[("upstream", &one.address.to_string())], round_trip.as_secs_f64())?;
            }
        }
        let (cache, load) = (forwarder.cache().stats(), forwarder.load());
        let mut lookups = family(encoder, "cache_lookups", "Look-ups in the cache", COUNTER)?;
        for (result, count) in [("hit", cache.hits), ("miss", cache.misses), ("stale", cache.stale)]
        {
            lookups.counter(&[("result", result)], count)?;
        }
        let mut shed = family(
            encoder,
            "forward_shed",
            "Questions turned away (refreshes: stale answers not renewed) because their client has its share",
            COUNTER,
        )?;
        for (limit, count) in [
            ("flights", load.shed.flights),
            ("waiting", load.shed.waiting),
            ("refreshes", load.shed.refreshes),
        ] {
            shed.counter(&[("limit", limit)], count)?;
        }
        for (name, help, value) in [
            ("cache_evictions", "Entries that gave way to others", cache.evictions),
            ("forward_panics", "Forwarded questions that ended in a panic", load.panics),
        ] {
            family(encoder, name, help, COUNTER)?.only(&ConstCounter::new(value))?;
        }
        for (name, help, value) in [
            ("cache_entries", "Answers in the cache, stale ones included", cache.entries),
            ("cache_bytes", "Octets they take, about", cache.bytes),
            ("forward_outstanding", "Questions on their way to upstreams", load.outstanding),
            ("forward_waiting", "Clients waiting for answers from elsewhere", load.waiting),
            (
                "forward_loops",
                "Upstreams through which our own questions come back",
                known.loops.len() as u64,
            ),
        ] {
            family(encoder, name, help, GAUGE)?.only(&ConstGauge::new(value as f64))?;
        }
        Ok(())
    }

    fn snapshot(&self, encoder: &mut DescriptorEncoder<'_>, known: &Known) -> fmt::Result {
        let snapshot = self.0.store.full();
        let seconds = |d: Duration| d.as_secs_f64();
        let published = self.0.clock.drift().shown(known.published_at);
        let publishing = self.0.publishing();
        let (hanging, not_begun) = aside::hanging();
        for (name, help, value) in [
            (
                "published_timestamp_seconds",
                "Unix time at which the current snapshot was published",
                seconds(elapsed(SystemTime::UNIX_EPOCH, published)),
            ),
            (
                "publish_failing",
                "1: what was delivered last is not answered, because building it failed",
                f64::from(u8::from(known.publish_trouble.is_some())),
            ),
            (
                "publish_loop_turned_seconds",
                "Since the last turn of the loop that publishes; beyond 10 it hangs",
                publishing.turned,
            ),
            (
                "deliveries_waiting",
                "Deliveries of sources that wait to be published",
                publishing.waiting as f64,
            ),
            ("generation", "Snapshots published", snapshot.generation as f64),
            ("build_seconds", "Time the last snapshot took to build", seconds(known.built_in)),
            (
                "worst_case_seconds",
                "From associate-address to answer: poll + 3 s + TTL; of a file: the TTL",
                seconds(WorstCase::of(&known.config).total()),
            ),
            (
                "state_writable",
                "1: the state on disk is up to date",
                f64::from(u8::from(known.state_trouble.is_none())),
            ),
            ("file_readings_hanging", "Readings of files that do not end", hanging as f64),
        ] {
            family(encoder, name, help, GAUGE)?.only(&ConstGauge::new(value))?;
        }
        for (name, help, value) in [
            ("moves", "Bound names whose answer changed", known.moves),
            (
                "reloads_refused",
                "Reloads refused because of the configuration",
                known.reloads.refused,
            ),
            (
                "file_readings_not_begun",
                "Readings of files not begun because too many hang",
                not_begun,
            ),
        ] {
            family(encoder, name, help, COUNTER)?.only(&ConstCounter::new(value))?;
        }
        let mut serials = family(encoder, "zone_serial", "Serial of each zone", GAUGE)?;
        for zone in &known.config.zones {
            let table = snapshot.views.iter().find_map(|view| view.zones.get(zone.origin.octets()));
            if let Some(table) = table {
                let origin = zone.origin.to_string();
                serials.gauge(&[("zone", &origin)], f64::from(table.serial))?;
            }
        }
        Ok(())
    }
}
