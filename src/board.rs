//! What the status surfaces read: one value that the run loop keeps up to
//! date and everybody else looks at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, SourceKind, Target};
use crate::counters::Counters;
use crate::forward::{Forwarder, Looped, UpstreamStatus};
use crate::history::History;
use crate::host::aside;
use crate::host::descriptors::{self, Budget, Share};
use crate::host::log::{self, STDERR};
use crate::host::pulse::{self, Pulse};
use crate::inventory::{Health, Inventory};
use crate::serve;
use crate::source::accept::Losses;
use crate::source::clock::{Clock, Drift, elapsed};
use crate::source::{Delivery, Handle};
use crate::store::Store;

/// The longest an EC2 call may take (DESIGN.md, "How it is built").
pub const MAX_CALL: Duration = Duration::from_secs(3);

/// Everything that can be looked at.
#[derive(Clone)]
pub struct Board {
    /// The answers.
    pub store: Store,
    /// What became of packets.
    pub counters: Arc<Counters>,
    /// What happened at the sockets.
    pub sockets: Arc<serve::Stats>,
    /// What the writer knows; changes with each delivery and reload.
    pub known: watch::Receiver<Arc<Known>>,
    /// What has happened.
    pub history: Arc<History>,
    /// When the process began.
    pub started: SystemTime,
    /// The time.
    pub clock: Clock,
    /// Of the loop that publishes.
    pub pulse: Pulse,
    /// What sources have delivered waits in here.
    pub deliveries: mpsc::Sender<Delivery>,
}

/// What the writer knows at one moment.
#[derive(Clone)]
pub struct Known {
    /// The configuration in use.
    pub config: Arc<Config>,
    /// What the sources say.
    pub inventory: Inventory,
    /// Of each source: what is kept although it is not said any longer.
    pub losses: Vec<Losses>,
    /// Of each source: whom to ask for a refresh.
    pub handles: Vec<Option<Handle>>,
    /// Where DNS is served.
    pub listening: Vec<SocketAddr>,
    /// Names moved so far, over all swaps; neither first answers nor losses.
    pub moves: u64,
    /// How long the last snapshot took, from what called for it to the swap.
    pub built_in: Duration,
    /// When the current snapshot was published.
    pub published_at: SystemTime,
    /// Upstreams through which our own questions come back.
    pub loops: Vec<Looped>,
    /// What became of reloads.
    pub reloads: Reloads,
    /// Why the state on disk is not up to date, when it is not.
    pub state_trouble: Option<String>,
    /// Why what was delivered last is not answered, when it is not.
    pub publish_trouble: Option<String>,
    /// Who may have how many descriptors.
    pub budget: Budget,
    /// Of which each socket to an upstream is one.
    pub upstream_sockets: Share,
}

/// What became of reloads.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reloads {
    /// Refused since the start.
    pub refused: u64,
    /// Why the last one was refused, if it was: the files are then not what is
    /// served.
    pub trouble: Option<String>,
}

/// `/api/status` and `eipdns status`.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Of the program.
    pub version: &'static str,
    /// In seconds.
    pub uptime: u64,
    /// Is every source healthy?
    pub healthy: bool,
    /// Where DNS is served.
    pub dns: Vec<String>,
    /// Of the current snapshot.
    pub generation: u64,
    /// When it was published, RFC 3339.
    pub published_at: String,
    /// How long it took to build, in milliseconds.
    pub built_in_ms: f64,
    /// Worst case from associate-address to answer, in seconds: the slowest
    /// source's poll, the longest call, and the longest TTL of what follows an
    /// Elastic IP.
    pub worst_case: f64,
    /// What that is made of.
    pub worst_case_of: WorstCase,
    /// Names moved since the start.
    pub moves: u64,
    /// Each zone.
    pub zones: Vec<ZoneStatus>,
    /// Each source.
    pub sources: Vec<SourceState>,
    /// Questions for others; none when no view forwards.
    pub forwarding: Option<ForwardingStatus>,
    /// Why the state on disk is not up to date, when it is not.
    pub state_trouble: Option<String>,
    /// Readings of files that do not end.
    pub file_readings_hanging: usize,
    /// Who may have how many descriptors.
    pub descriptors: descriptors::Status,
    /// Who has connections, and what became of others.
    pub connections: serve::stats::Connections,
    /// How the log does.
    pub log: log::Status,
    /// Why what was delivered last is not answered, when it is not.
    pub publish_trouble: Option<String>,
    /// The loop that publishes.
    pub publishing: Publishing,
    /// What became of reloads.
    pub reloads: Reloads,
}

/// How the loop does that takes deliveries and publishes snapshots.
#[derive(Debug, Serialize)]
pub struct Publishing {
    /// How long ago it turned last, in seconds.
    pub turned: f64,
    /// It has not turned for so long that it hangs.
    pub hangs: bool,
    /// Deliveries that wait for it.
    pub waiting: usize,
}

/// What is asked elsewhere.
#[derive(Debug, Serialize)]
pub struct ForwardingStatus {
    /// Each upstream.
    pub upstreams: Vec<UpstreamState>,
    /// Upstreams through which our own questions come back.
    pub loops: Vec<String>,
    /// Questions on their way to upstreams.
    pub outstanding: u64,
    /// Clients waiting for answers.
    pub waiting: u64,
    /// Questions turned away since the start, because their client had its
    /// share of what may be under way.
    pub shed: u64,
    /// Stale answers that were not renewed for that reason.
    pub not_renewed: u64,
    /// Cached answers.
    pub cached: u64,
    /// Octets they take, about.
    pub cached_bytes: u64,
}

/// One upstream.
#[derive(Debug, Serialize)]
pub struct UpstreamState {
    /// Its address.
    pub address: String,
    /// It answers, as far as is known.
    pub up: bool,
    /// Smoothed time to an answer, in milliseconds; null before the first.
    pub round_trip_ms: Option<f64>,
    /// Queries sent.
    pub sent: u64,
    /// Tries without a reply.
    pub timeouts: u64,
    /// Questions it was not asked because of its `max_rate`.
    pub throttled: u64,
    /// Questions that wait for their turn, for the same reason.
    pub waiting: u64,
    /// Queries to see whether it lives.
    pub checks: u64,
}

impl ForwardingStatus {
    fn of(forwarder: &Forwarder, loops: &[Looped]) -> Self {
        let (load, cache) = (forwarder.load(), forwarder.cache().stats());
        let upstream = |one: UpstreamStatus| UpstreamState {
            address: one.address.to_string(),
            up: one.up,
            round_trip_ms: one.round_trip.map(|time| time.as_secs_f64() * 1000.0),
            sent: one.sent,
            timeouts: one.timeouts,
            throttled: one.throttled,
            waiting: one.waiting,
            checks: one.checks,
        };
        Self {
            upstreams: forwarder.upstreams().into_iter().map(upstream).collect(),
            loops: loops.iter().map(|one| format!("{} for {}", one.upstream, one.name)).collect(),
            outstanding: load.outstanding,
            waiting: load.waiting,
            shed: load.shed.questions(),
            not_renewed: load.shed.refreshes,
            cached: cache.entries,
            cached_bytes: cache.bytes,
        }
    }
}

/// From a change to the last answer from before it in any cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WorstCase {
    /// The slowest EC2 source's poll, in seconds; none where all are files: an
    /// edit is seen at once.
    pub poll: Option<f64>,
    /// The longest call, in seconds; none likewise.
    pub call: Option<f64>,
    /// The longest TTL of what follows an Elastic IP, in seconds.
    pub ttl: u32,
    /// Whose TTL that is: a name, or a source whose EC2 names and rewritten
    /// answers have it. None: nothing follows one.
    pub ttl_of: Option<String>,
}

impl WorstCase {
    /// Worst case from associate-address to answer: poll + 3 s + TTL. A file
    /// has neither poll nor call, and a fixed address follows no Elastic IP.
    pub fn of(config: &Config) -> Self {
        let server = &config.server;
        let poll = server.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Ec2(ec2) => Some(ec2.poll),
            SourceKind::File { .. } => None,
        });
        let poll = poll.max().map(|poll| poll.as_secs_f64());
        let mut worst =
            Self { poll, call: poll.map(|_| MAX_CALL.as_secs_f64()), ..Default::default() };
        let bound = config.zones.iter().flat_map(|zone| {
            let moving = zone.names.iter().filter(|b| !matches!(b.target, Target::Fixed(_)));
            moving.map(|binding| (binding, binding.ttl.unwrap_or(zone.ttl)))
        });
        // The first of several, so that it does not change by itself.
        let longest = bound.rev().max_by_key(|(_, ttl)| *ttl);
        if let Some((binding, ttl)) = longest {
            (worst.ttl, worst.ttl_of) = (ttl, Some(binding.name.to_string()));
        }
        // Of EC2 names and of rewritten answers.
        let at_home = server.views.iter().any(|view| view.ec2_names || view.rewrite);
        for source in server.sources.iter().filter(|_| at_home) {
            if worst.ttl_of.is_none() || source.ttl > worst.ttl {
                let of = format!("EC2 names of source {}", source.name);
                (worst.ttl, worst.ttl_of) = (source.ttl, Some(of));
            }
        }
        worst
    }

    /// The sum.
    pub fn total(&self) -> Duration {
        let seen = self.poll.unwrap_or_default() + self.call.unwrap_or_default();
        Duration::try_from_secs_f64(seen).unwrap_or_default() + Duration::from_secs(self.ttl.into())
    }
}

/// One zone.
#[derive(Debug, Serialize)]
pub struct ZoneStatus {
    /// Its origin.
    pub origin: String,
    /// Its serial.
    pub serial: u32,
    /// Views it exists in.
    pub views: Vec<String>,
    /// Bound names.
    pub names: usize,
}

/// One source.
#[derive(Debug, Serialize)]
pub struct SourceState {
    /// Its name.
    pub name: String,
    /// `file` or `ec2`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its region, once known.
    pub region: Option<String>,
    /// `starting`, `healthy` or `stalled`.
    pub health: &'static str,
    /// Since when it is stalled, RFC 3339.
    pub since: Option<String>,
    /// Why it is stalled.
    pub why: Option<String>,
    /// The last good answer, RFC 3339.
    pub last_good: Option<String>,
    /// Its age in seconds.
    pub age: Option<f64>,
    /// Start to start, in seconds; none for files.
    pub poll: Option<f64>,
    /// Calls or readings so far.
    pub polls: u64,
    /// Those that failed.
    pub failures: u64,
    /// How long the last one took, in milliseconds.
    pub last_call_ms: Option<f64>,
    /// Elastic IPs it has.
    pub addresses: usize,
    /// Entries of its last good answer that cannot be used.
    pub left_out: usize,
    /// Why, of the first few.
    pub left_out_first: Vec<String>,
    /// Does the guard hold a mass loss back?
    pub mass_loss: bool,
    /// What is kept although it is not said any longer.
    pub held: Vec<HeldState>,
}

/// One address that is kept.
#[derive(Debug, Serialize)]
pub struct HeldState {
    /// The Elastic IP.
    pub elastic_ip: String,
    /// `unassociated` or `missing`.
    pub standing: &'static str,
    /// RFC 3339.
    pub since: String,
    /// From when on a good answer ends it, RFC 3339.
    pub until: Option<String>,
}

/// A time of the process as the wall clock has it, RFC 3339.
fn time(at: SystemTime, drift: Drift) -> String {
    humantime::format_rfc3339_millis(drift.shown(at)).to_string()
}

impl Board {
    /// All of it at one moment.
    pub fn status(&self) -> Status {
        let known = self.known.borrow().clone();
        let snapshot = self.store.full();
        let (now, drift) = (self.clock.now(), self.clock.drift());
        let sources: Vec<_> = (0..known.inventory.sources.len())
            .filter_map(|id| known.source(id, now, drift))
            .collect();
        let zones = known.config.zones.iter().map(|zone| {
            let tables = snapshot.views.iter().filter_map(|view| {
                view.zones
                    .get(zone.origin.octets())
                    .map(|table| (view.name.to_string(), table.serial))
            });
            let (views, serials): (Vec<_>, Vec<_>) = tables.unzip();
            ZoneStatus {
                origin: zone.origin.to_string(),
                serial: serials.first().copied().unwrap_or_default(),
                views,
                names: zone.names.len(),
            }
        });
        let (publishing, worst_case) = (self.publishing(), WorstCase::of(&known.config));
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime: elapsed(self.started, now).as_secs(),
            healthy: sources.iter().all(|s| s.health == Health::Healthy.as_str())
                && known.publish_trouble.is_none()
                && !publishing.hangs,
            dns: known.listening.iter().map(ToString::to_string).collect(),
            generation: snapshot.generation,
            published_at: time(known.published_at, drift),
            built_in_ms: known.built_in.as_secs_f64() * 1000.0,
            worst_case: worst_case.total().as_secs_f64(),
            worst_case_of: worst_case,
            moves: known.moves,
            zones: zones.collect(),
            sources,
            forwarding: snapshot
                .forwarder
                .as_ref()
                .map(|forwarder| ForwardingStatus::of(forwarder, &known.loops)),
            state_trouble: known.state_trouble.clone(),
            file_readings_hanging: aside::hanging().0,
            descriptors: known.budget.status(),
            connections: self.sockets.connections(&known.upstream_sockets),
            log: STDERR.status(Instant::now()),
            publish_trouble: known.publish_trouble.clone(),
            publishing,
            reloads: known.reloads.clone(),
        }
    }

    /// How the loop that publishes does.
    pub fn publishing(&self) -> Publishing {
        let turned = self.pulse.since();
        Publishing {
            turned: turned.as_secs_f64(),
            hangs: turned >= pulse::HANGS,
            waiting: self.deliveries.max_capacity() - self.deliveries.capacity(),
        }
    }
}

impl Known {
    /// One source at one moment.
    fn source(&self, id: usize, now: SystemTime, drift: Drift) -> Option<SourceState> {
        let source = self.inventory.sources.get(id)?;
        let config = self.config.server.sources.get(id)?;
        let losses = self.losses.get(id)?;
        let totals = self.handles.get(id)?.as_ref().map(|h| h.stats().read()).unwrap_or_default();
        let (since, why) = match &source.health {
            Health::Stalled { since, why } => (Some(time(*since, drift)), Some(why.clone())),
            Health::Starting | Health::Healthy => (None, None),
        };
        let (kind, poll) = match &config.kind {
            SourceKind::File { .. } => ("file", None),
            SourceKind::Ec2(ec2) => ("ec2", Some(ec2.poll.as_secs_f64())),
        };
        // An equal answer publishes nothing, so the totals know of later ones.
        let last_good = totals.last_good.max(source.delivered_at);
        Some(SourceState {
            name: source.name.clone(),
            kind,
            region: source.region.clone(),
            health: source.health.as_str(),
            since,
            why,
            last_good: last_good.map(|at| time(at, drift)),
            age: last_good.map(|at| elapsed(at, now).as_secs_f64()),
            poll,
            polls: totals.polls,
            failures: totals.failed_in_all(),
            last_call_ms: totals.last_took.map(|t| t.as_secs_f64() * 1000.0),
            addresses: source.entries.as_ref().map_or(0, |e| e.len()),
            left_out: totals.left_out.count,
            left_out_first: totals.left_out.first.iter().map(ToString::to_string).collect(),
            mass_loss: losses.mass,
            held: losses
                .held
                .iter()
                .filter_map(|held| {
                    let (standing, since) = held.standing.kept()?;
                    Some(HeldState {
                        elastic_ip: held.public_ip.to_string(),
                        standing,
                        since: time(since, drift),
                        until: held.until.map(|at| time(at, drift)),
                    })
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_worst_case_says_what_it_is_made_of() {
        let zone = "ttl = 5\n[names]\ndb = \"198.51.100.1\"\n\
                    fixed = { address = \"10.0.0.9\", ttl = 900 }\n\
                    slow = { elastic_ip = \"198.51.100.2\", ttl = 60 }\n\
                    web = { elastic_ip = \"198.51.100.3\", ttl = 60 }\n";
        let of = |server: &str| {
            let config = testing::config(&[("server.toml", server), ("example.com.toml", zone)]);
            WorstCase::of(&config)
        };
        let name = Some("web.example.com.".to_owned());
        let file = of(testing::SERVER);
        assert_eq!(file, WorstCase { poll: None, call: None, ttl: 60, ttl_of: name.clone() });
        assert_eq!(file.total(), Duration::from_secs(60));
        let ec2 = "type = \"ec2\"\npoll = \"2s\"";
        let server = testing::SERVER.replace("type = \"file\"\npath = \"addresses.json\"", ec2);
        let ec2 = of(&server);
        assert_eq!(ec2, WorstCase { poll: Some(2.0), call: Some(3.0), ttl: 60, ttl_of: name });
        assert_eq!(ec2.total(), Duration::from_secs(65));
    }
}
