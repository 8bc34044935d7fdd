//! What the status surfaces read: one value that the run loop keeps up to
//! date and everybody else looks at.
//!
//! * `worst_case`: from a change to the answer; `names`: which have an address;
//!   `readiness`: whether to send clients here; `forwarding`: what is asked elsewhere.

mod forwarding;
mod names;
mod readiness;
mod worst_case;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, SourceKind};
use crate::forward::Looped;
use crate::host::aside;
use crate::host::descriptors::{self, Budget, Share};
use crate::host::log::{self, STDERR};
use crate::host::pulse::{self, Pulse};
use crate::respond::counters::Counters;
use crate::serve;
use crate::source::accept::Losses;
use crate::source::clock::{Clock, Drift, elapsed};
use crate::source::inventory::{Health, Inventory};
use crate::source::{Delivery, Handle};
use crate::store::Store;
use crate::writer::history::History;
pub(crate) use forwarding::ForwardingStatus;
pub(crate) use names::{NamesSeen, ViewNames};
pub(crate) use readiness::Readiness;
pub(crate) use worst_case::WorstCase;

/// Everything that can be looked at.
#[derive(Clone)]
pub(crate) struct Board {
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
    /// Whether to send clients here.
    pub readiness: Readiness,
    /// Which names have an address.
    pub names: Arc<NamesSeen>,
}

/// What the writer knows at one moment.
#[derive(Clone)]
pub(crate) struct Known {
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
#[derive(Debug, Clone)]
pub(crate) struct Reloads {
    /// Refused since the start.
    pub refused: u64,
    /// Why the last one was refused, if it was: the files are then not what is
    /// served.
    pub trouble: Option<String>,
    /// When the configuration in use was taken.
    pub taken_at: SystemTime,
}

impl Reloads {
    /// Of a process that begins now, with a configuration that is good.
    pub(crate) fn none(now: SystemTime) -> Self {
        Self { refused: 0, trouble: None, taken_at: now }
    }
}

/// The same, to be shown.
#[derive(Debug, Serialize)]
pub(crate) struct ReloadsStatus {
    /// Refused since the start.
    pub refused: u64,
    /// Why the last one was refused, if it was.
    pub trouble: Option<String>,
    /// When the configuration in use was taken, RFC 3339.
    pub taken_at: String,
}

/// `/api/status` and `eipdns status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
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
    pub reloads: ReloadsStatus,
    /// Does `/readyz` say so?
    pub ready: bool,
    /// What is waited for, if not.
    pub not_ready: Option<String>,
    /// The bound names of each view.
    pub views: Vec<ViewNames>,
    /// Stale answers given since the start.
    pub stale_answers: u64,
}

/// How the loop does that takes deliveries and publishes snapshots.
#[derive(Debug, Serialize)]
pub(crate) struct Publishing {
    /// How long ago it turned last, in seconds.
    pub turned: f64,
    /// It has not turned for so long that it hangs.
    pub hangs: bool,
    /// Deliveries that wait for it.
    pub waiting: usize,
}

/// One zone.
#[derive(Debug, Serialize)]
pub(crate) struct ZoneStatus {
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
pub(crate) struct SourceState {
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
pub(crate) struct HeldState {
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
    pub(crate) fn status(&self) -> Status {
        let known = self.known.borrow().clone();
        let current = self.store.full();
        let snapshot = &current.snapshot;
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
        let not_ready = self.ready().err();
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
            forwarding: current
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
            reloads: ReloadsStatus {
                refused: known.reloads.refused,
                trouble: known.reloads.trouble.clone(),
                taken_at: time(known.reloads.taken_at, drift),
            },
            ready: not_ready.is_none(),
            not_ready,
            views: self.names.of(snapshot).to_vec(),
            stale_answers: self.counters.stale().iter().map(|(_, _, count)| count).sum(),
        }
    }

    /// Is there something to answer with? Else why not.
    ///
    /// # Errors
    /// What is waited for.
    pub(crate) fn ready(&self) -> Result<(), String> {
        self.readiness.judge(&self.known.borrow().clone(), self.clock.now())
    }

    /// How the loop that publishes does.
    pub(crate) fn publishing(&self) -> Publishing {
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
