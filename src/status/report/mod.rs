//! What `/api/status` answers, as data: the server writes it, `eipdns status`
//! reads it, and nobody else takes its JSON apart.
//!
//! A server and a command may be of different versions. What a reader does not
//! know it ignores; what it needs and does not find is an error, also where null
//! would be a value: what a server does not say must not look like good news.
//! Serde would take a missing key for null but for `Option::deserialize`.
//!
//! * `text`: the same for a terminal. [`reload`]: what `/api/reload` answers; `peers`: of the
//!   other replicas.

pub(crate) mod peers;
pub(crate) mod reload;
mod text;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::{descriptors, log};
use crate::serve::stats::Connections;
use crate::source::allocation::Allocation;
use crate::source::discover::Kind;
use peers::PeerReport;

/// How the server does at one moment. Times are RFC 3339, in UTC.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Of the program.
    pub version: String,
    /// In seconds.
    pub uptime: u64,
    /// Is every source healthy, and is what they say published?
    pub healthy: bool,
    /// Where DNS is served.
    pub dns: Vec<SocketAddr>,
    /// Of the current snapshot.
    pub generation: u64,
    /// When it was published.
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
    pub zones: Vec<ZoneReport>,
    /// Each source.
    pub sources: Vec<SourceReport>,
    /// Requests to EC2, where they count together.
    pub budgets: Vec<BudgetReport>,
    /// Questions for others; none when no view forwards.
    #[serde(deserialize_with = "Option::deserialize")]
    pub forwarding: Option<ForwardingReport>,
    /// Why the state on disk is not up to date, when it is not.
    #[serde(deserialize_with = "Option::deserialize")]
    pub state_trouble: Option<String>,
    /// Readings of files that do not end.
    pub file_readings_hanging: usize,
    /// Who may have how many descriptors.
    pub descriptors: descriptors::Status,
    /// Who has connections, and what became of others.
    pub connections: Connections,
    /// How the log does.
    pub log: log::Status,
    /// Why what was delivered last is not answered, when it is not.
    #[serde(deserialize_with = "Option::deserialize")]
    pub publish_trouble: Option<String>,
    /// The loop that publishes.
    pub publishing: Publishing,
    /// What became of reloads.
    pub reloads: ReloadsReport,
    /// Does `/readyz` say so?
    pub ready: bool,
    /// What is waited for, if not.
    #[serde(deserialize_with = "Option::deserialize")]
    pub not_ready: Option<String>,
    /// The bound names of each view.
    pub views: Vec<ViewNames>,
    /// The other replicas.
    pub peers: Vec<PeerReport>,
    /// What they have told us.
    pub hints: HintsReport,
    /// Stale answers given since the start.
    pub stale_answers: u64,
}

/// Hints that came from peers, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HintsReport {
    /// All of them.
    pub received: u64,
    /// Those that asked no source: there is none of EC2, or enough are on their way to it.
    pub ignored: u64,
}

/// From a change to the last answer from before it in any cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorstCase {
    /// The slowest EC2 source's poll, or how often it is asked now if that is less often, in
    /// seconds; none where all are files: an edit is seen at once.
    #[serde(deserialize_with = "Option::deserialize")]
    pub poll: Option<f64>,
    /// The longest call, in seconds; none likewise.
    #[serde(deserialize_with = "Option::deserialize")]
    pub call: Option<f64>,
    /// The longest TTL of what follows an Elastic IP, in seconds.
    pub ttl: u32,
    /// Whose TTL that is: a name, or a source whose EC2 names and rewritten
    /// answers have it. None: nothing follows one.
    #[serde(deserialize_with = "Option::deserialize")]
    pub ttl_of: Option<String>,
}

impl WorstCase {
    /// The sum.
    pub(crate) fn total(&self) -> Duration {
        let seen = self.poll.unwrap_or_default() + self.call.unwrap_or_default();
        Duration::try_from_secs_f64(seen).unwrap_or_default() + Duration::from_secs(self.ttl.into())
    }
}

/// One zone.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ZoneReport {
    /// Its origin.
    pub origin: String,
    /// Its serial: the highest of all views.
    pub serial: u32,
    /// Views it exists in.
    pub views: Vec<String>,
    /// Bound names.
    pub names: usize,
    /// Names that tags give.
    pub names_from_tags: usize,
}

/// One source.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SourceReport {
    /// Its name.
    pub name: String,
    /// `file` or `ec2`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its region, once known.
    #[serde(deserialize_with = "Option::deserialize")]
    pub region: Option<String>,
    /// `starting`, `healthy` or `stalled`.
    pub health: String,
    /// Since when it is stalled.
    #[serde(deserialize_with = "Option::deserialize")]
    pub since: Option<String>,
    /// Why it is stalled.
    #[serde(deserialize_with = "Option::deserialize")]
    pub why: Option<String>,
    /// When the last good answer came.
    #[serde(deserialize_with = "Option::deserialize")]
    pub last_good: Option<String>,
    /// Its age in seconds.
    #[serde(deserialize_with = "Option::deserialize")]
    pub age: Option<f64>,
    /// Start to start, in seconds; none for files.
    #[serde(deserialize_with = "Option::deserialize")]
    pub poll: Option<f64>,
    /// While it is asked less often than `poll` says: how often, and why.
    #[serde(deserialize_with = "Option::deserialize")]
    pub slowed: Option<SlowedReport>,
    /// Calls or readings so far.
    pub polls: u64,
    /// Requests to EC2 so far: a slow call sends a second one.
    pub requests: u64,
    /// Good answers of EC2 that were equal to the one before.
    pub unchanged: u64,
    /// Those that failed.
    pub failures: u64,
    /// How long the last one took, in milliseconds.
    #[serde(deserialize_with = "Option::deserialize")]
    pub last_call_ms: Option<f64>,
    /// Addresses it has.
    pub addresses: usize,
    /// Those of them that have no public one: carrier and customer-owned addresses.
    pub without_public_ip: usize,
    /// Entries of its last good answer that cannot be used.
    pub left_out: usize,
    /// Why, of the first few.
    pub left_out_first: Vec<String>,
    /// Does the guard hold a mass loss back?
    pub mass_loss: bool,
    /// What is kept although it is not said any longer.
    pub held: Vec<HeldAddress>,
    /// Names that its tags give.
    pub names: usize,
    /// Are more than half of them gone, and held back?
    pub names_mass_loss: bool,
    /// Names that its tags give no longer, and that are kept.
    pub held_names: Vec<HeldName>,
    /// What of its tags gives no name, or not everywhere.
    pub tag_problems: Vec<TagProblem>,
    /// The network interfaces of which names want the IPv6 address; none: no name does.
    #[serde(deserialize_with = "Option::deserialize")]
    pub interfaces: Option<InterfacesReport>,
}

/// What is known of network interfaces.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InterfacesReport {
    /// How many names stand on.
    pub wanted: usize,
    /// Of how many of those something is known.
    pub known: usize,
    /// How many of those have no IPv6 address.
    pub without_ipv6: usize,
    /// When the last answer came of which all was good.
    #[serde(deserialize_with = "Option::deserialize")]
    pub last_good: Option<String>,
    /// Its age in seconds.
    #[serde(deserialize_with = "Option::deserialize")]
    pub age: Option<f64>,
    /// Requests to EC2 so far.
    pub requests: u64,
    /// Times it was asked, or its file read, so far.
    pub rounds: u64,
    /// Those of which something failed.
    pub failures: u64,
    /// Since when it fails.
    #[serde(deserialize_with = "Option::deserialize")]
    pub since: Option<String>,
    /// Why it does.
    #[serde(deserialize_with = "Option::deserialize")]
    pub why: Option<String>,
    /// Interfaces of its last answers that cannot be used.
    pub left_out: usize,
    /// Why, of the first few.
    pub left_out_first: Vec<String>,
    /// Those that are wanted and were not in the last good answer that should have had them.
    pub missing: usize,
    /// The first few of them.
    pub missing_first: Vec<String>,
}

/// A name that no tag gives any longer, and that is kept.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldName {
    /// The name.
    pub name: String,
    /// The addresses it stands for: Elastic IPs, and allocations of those that have none.
    pub elastic_ips: Vec<Allocation>,
    /// Since when.
    pub since: String,
    /// From when on a good answer ends it; none: never by itself.
    #[serde(deserialize_with = "Option::deserialize")]
    pub until: Option<String>,
}

/// A word in a tag that gives no name, or not everywhere.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TagProblem {
    /// What is wrong.
    pub kind: Kind,
    /// The name, or the word that is none.
    pub name: String,
    /// The address that has the tag.
    pub elastic_ip: Allocation,
    /// Why it gives no name.
    pub why: String,
}

/// A source that is asked less often than its `poll` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlowedReport {
    /// From the start of the last call to that of the next, in seconds.
    pub every: f64,
    /// Why.
    pub why: String,
}

/// Requests to EC2 that count together, as far as is configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BudgetReport {
    /// The region, once known.
    #[serde(deserialize_with = "Option::deserialize")]
    pub region: Option<String>,
    /// The endpoint, if one is configured.
    #[serde(deserialize_with = "Option::deserialize")]
    pub endpoint: Option<String>,
    /// What they are signed with. Others may be of the same account.
    pub credentials: String,
    /// The sources that send them.
    pub sources: Vec<String>,
    /// How many a second, at the configured `poll`, with as many second tries as so far.
    pub per_second: f64,
    /// How many a second EC2 grants an account in a region, whoever sends them.
    pub granted_per_second: f64,
    /// How many at once.
    pub granted_at_once: u32,
}

/// One address that is kept.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldAddress {
    /// The Elastic IP, or the allocation of an address that has none.
    pub elastic_ip: Allocation,
    /// `eipalloc-…`
    #[serde(deserialize_with = "Option::deserialize")]
    pub allocation: Option<String>,
    /// The first of the names bound to it.
    pub names: Vec<String>,
    /// How many there are.
    pub names_in_all: usize,
    /// `unassociated` or `missing`.
    pub standing: String,
    /// Since when.
    pub since: String,
    /// From when on a good answer ends it; none: never by itself.
    #[serde(deserialize_with = "Option::deserialize")]
    pub until: Option<String>,
}

/// What is asked elsewhere.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ForwardingReport {
    /// Each upstream.
    pub upstreams: Vec<UpstreamReport>,
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
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UpstreamReport {
    /// Its address.
    pub address: SocketAddr,
    /// It answers, as far as is known.
    pub up: bool,
    /// Smoothed time to an answer, in milliseconds; none before the first.
    #[serde(deserialize_with = "Option::deserialize")]
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

/// How the loop does that takes deliveries and publishes snapshots.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Publishing {
    /// How long ago it turned last, in seconds.
    pub turned: f64,
    /// It has not turned for so long that it hangs.
    pub hangs: bool,
    /// Deliveries that wait for it.
    pub waiting: usize,
}

/// What became of reloads.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReloadsReport {
    /// Refused since the start.
    pub refused: u64,
    /// Why the last one was refused, if it was: the files are then not what is
    /// served.
    #[serde(deserialize_with = "Option::deserialize")]
    pub trouble: Option<String>,
    /// When the configuration in use was taken.
    pub taken_at: String,
}

/// The bound names that one view sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ViewNames {
    /// The view.
    pub view: String,
    /// Bound names, those with a fixed address included.
    pub names: usize,
    /// Those of them that have no address: NODATA.
    pub without_address: usize,
    /// Those of which no source that may know them has delivered: SERVFAIL.
    pub not_ready: usize,
    /// Addresses that have PTR records.
    pub pointers: usize,
    /// Addresses of which more names are ours than have a PTR record.
    pub crowded: Vec<CrowdedAddress>,
}

/// An address that not all of its names have a PTR record at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CrowdedAddress {
    /// The address.
    pub address: IpAddr,
    /// How many names have it.
    pub names: usize,
    /// The first of those that have no PTR record.
    pub left_out: Vec<String>,
}
