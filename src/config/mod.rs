//! The typed configuration: what `zones/` says, checked. [`load()`] reads the files;
//! once a [`Config`] exists every key has its final value and every name is in its
//! zone.
//!
//! Read in this order: this file and `binding` (the types), `load` (the directory), `files`
//! (what is opened), `server` with `source`, `view`, `forward`, `reverse` and `peers`, `zone` with
//! `names` and `target` (one file each), `rules` and `pointers` (what only shows when
//! all files are seen together), `losses` (what an edit takes away), `restart` (what a
//! reload does not change). Below them:
//! `toml`, `table`, `value` and `syntax` (spanned, recoverable reading), `readers`
//! and `addresses` (what single values mean), `scope` (the parts of a file), `words` (quoting
//! and guessing for messages).

mod addresses;
mod binding;
mod discover;
mod files;
mod forward;
mod load;
mod losses;
mod names;
mod peers;
mod pointers;
mod reach;
mod readers;
mod records;
mod restart;
mod reverse;
mod rules;
mod scope;
mod server;
mod source;
mod syntax;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod toml;
mod value;
mod view;
mod words;
mod zone;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::diag::Place;
use crate::dns::name::Key;
use crate::records::MasterFile;

pub(crate) use binding::tag_words;
pub use binding::{Binding, Discover, Target};
pub use files::{Progress, Seen};
pub use forward::{ForwardConfig, Rule};
pub use load::{Invalid, Loaded, Overrides, WITHIN, load, load_in_time, load_telling, load_texts};
pub use losses::{Loss, losses};
pub(crate) use peers::MAX_PEERS;
pub use peers::Peers;
pub use reach::{Reach, reach};
pub(crate) use restart::{AtStart, NeedsRestart};
pub use reverse::Reverse;
pub(crate) use words::slip;

/// Index of a view in [`Server::views`].
pub type ViewId = usize;
/// Index of a source in [`Server::sources`].
pub type SourceId = usize;

/// A whole configuration directory.
#[derive(Debug, Clone)]
pub struct Config {
    /// `server.toml`.
    pub server: Server,
    /// Every other `*.toml`, in order of origin.
    pub zones: Vec<Arc<Zone>>,
}

/// `server.toml`: where to listen, who is who, where addresses come from.
#[derive(Debug, Clone)]
pub struct Server {
    /// `[listen]`
    pub listen: Listen,
    /// `[aws] resolvers`; empty: the host's nameservers less our own
    /// addresses, else 169.254.169.253.
    pub aws_resolvers: Vec<IpAddr>,
    /// `[[source]]`
    pub sources: Vec<Source>,
    /// `[[view]]`
    pub views: Vec<View>,
    /// `[[forward]]`; without any, what views forward goes where the host's
    /// own questions go.
    pub forward: ForwardConfig,
    /// `[[reverse]]`
    pub reverse: Vec<Reverse>,
    /// `[peers]`; none: this server stands alone.
    pub peers: Option<Peers>,
    /// `[guard]`
    pub guard: Guard,
    /// `[state] directory`
    pub state_directory: PathBuf,
    /// `[state] replica`
    pub replica: Replica,
    /// `[serve]`
    pub serve: Serve,
}

/// Which of how many replicas this is: `"1/2"` is the first of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// 1 to `of`.
    pub number: u32,
    /// 1 to 17.
    pub of: u32,
}

impl Default for Replica {
    fn default() -> Self {
        Self { number: 1, of: 1 }
    }
}

impl std::fmt::Display for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// UDP and TCP on each.
    pub dns: Vec<SocketAddr>,
    /// Status, metrics, health, refresh; none: off.
    pub http: Option<SocketAddr>,
    /// UDP threads for each address, 1 to 256.
    pub workers: usize,
    /// Forwarders whose EDNS Client Subnet chooses the view (RFC 7871).
    pub trust_ecs_from: Vec<IpNet>,
    /// TCP connections in all, 1 to 1,000,000.
    pub tcp_clients: usize,
    /// TCP connections of one client address.
    pub tcp_per_client: usize,
    /// How long a TCP connection may be silent or slow.
    pub tcp_idle: Duration,
    /// What CH TXT version.bind says; none: refused.
    pub version: Option<String>,
    /// What CH TXT id.server and NSID say; none: refused, absent.
    pub id: Option<String>,
    /// File holding the bearer token of the HTTP side.
    pub http_token_file: Option<PathBuf>,
}

/// One `[[source]]` of addresses: an account and region, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Unique; shown in logs, metrics and EDE texts.
    pub name: String,
    /// File or EC2.
    pub kind: SourceKind,
    /// Region; none: what the SDK's chain says (EC2 only).
    pub region: Option<String>,
    /// What follows `ec2-a-b-c-d.` in a public EC2 name, when given.
    pub public_suffix: Option<Key>,
    /// TTL in seconds of EC2 names answered at home and of rewritten answers.
    pub ttl: u32,
    /// Where it stands.
    pub place: Place,
}

impl Source {
    /// Can it tell of network interfaces?
    pub(crate) fn tells_of_interfaces(&self) -> bool {
        !matches!(self.kind, SourceKind::File { interfaces: None, .. })
    }

    /// Is it asked in the same way: would the same calls or readings be made?
    /// Their pace may differ, and what is made of them.
    pub fn is_asked_as(&self, other: &Self) -> bool {
        let same_kind = match (&self.kind, &other.kind) {
            (SourceKind::Ec2(a), SourceKind::Ec2(b)) => {
                *a == Ec2Source { poll: a.poll, ..b.clone() }
            }
            (a, b) => a == b,
        };
        same_kind && self.name == other.name && self.region == other.region
    }
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// What `aws ec2 describe-addresses` prints, watched.
    File {
        /// The JSON file, relative to the configuration directory.
        path: PathBuf,
        /// What `aws ec2 describe-network-interfaces` prints, watched as well.
        interfaces: Option<PathBuf>,
    },
    /// DescribeAddresses, polled.
    Ec2(Ec2Source),
}

/// The keys of an EC2 source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ec2Source {
    /// Start to start, at least 500 ms.
    pub poll: Duration,
    /// Instead of the SDK's endpoint.
    pub endpoint_url: Option<String>,
    /// Profile of the shared configuration files.
    pub profile: Option<String>,
    /// Role to assume.
    pub role_arn: Option<String>,
    /// External id for that role.
    pub external_id: Option<String>,
    /// The account that the credentials must be of: 12 digits.
    pub account: Option<String>,
    /// DescribeAddresses filters: name to values.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// What a bound name is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A: the associated private address.
    Private,
    /// CNAME: the public EC2 name.
    Cname,
    /// A: the Elastic IP.
    Public,
}

impl Mode {
    /// As it is written in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Private => "private",
            Mode::Cname => "cname",
            Mode::Public => "public",
        }
    }
}

/// One `[[view]]`: a set of clients and what they see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Unique.
    pub name: String,
    /// Client prefixes; the longest match over all views wins.
    pub clients: Vec<IpNet>,
    /// Only for queries that arrive at these addresses; empty: at any.
    /// Port 0 stands for every port.
    pub listen: Vec<SocketAddr>,
    /// The mode of names that do not choose one.
    pub answer: Mode,
    /// Private addresses outside are answered as public; none: everywhere.
    pub reaches: Option<Vec<IpNet>>,
    /// Its clients may ask for names outside our zones.
    pub forward: bool,
    /// Our Elastic IPs in forwarded answers become private addresses.
    pub rewrite: bool,
    /// Public EC2 names of our Elastic IPs are answered from memory.
    pub ec2_names: bool,
    /// Where it stands.
    pub place: Place,
}

impl View {
    /// Can this view's clients reach `private`? `reaches` judges a family only if it lists
    /// prefixes of it.
    pub fn reaches(&self, private: IpAddr) -> bool {
        let Some(nets) = &self.reaches else { return true };
        let is_ipv4 = |net: &IpNet| matches!(net, IpNet::V4(_));
        let mut judging = nets.iter().filter(|net| is_ipv4(net) == private.is_ipv4()).peekable();
        judging.peek().is_none() && !nets.is_empty() || judging.any(|net| net.contains(&private))
    }

    /// Is there a private address of EC2 that this view's clients reach?
    fn reaches_private(&self) -> bool {
        self.reaches.as_ref().is_none_or(|nets| !nets.is_empty())
    }

    /// Do EC2 names answered at home, or forwarded answers, give private addresses
    /// here, which another association changes?
    pub(crate) fn moves_elsewhere(&self) -> bool {
        let at_home = self.ec2_names && self.answer != Mode::Public;
        (at_home || (self.forward && self.rewrite)) && self.reaches_private()
    }
}

/// `[guard]`: how losses are taken; see README.md, "Losses".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// How long an unassociated address keeps its last association.
    pub hold: Duration,
    /// How long an address missing from good answers is kept.
    pub missing_hold: Duration,
    /// When a mass loss is believed without an operator.
    pub release_after: Duration,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(30),
            missing_hold: Duration::from_secs(5 * 60),
            release_after: Duration::from_secs(15 * 60),
        }
    }
}

/// `[serve]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serve {
    /// Answers older than this are SERVFAIL; none: never.
    pub max_stale: Option<Duration>,
    /// A source that has failed this long no longer holds /readyz back.
    pub ready_grace: Duration,
}

/// One zone file: `<origin>.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The file.
    pub file: PathBuf,
    /// The apex.
    pub origin: Key,
    /// TTL in seconds of records that give none.
    pub ttl: u32,
    /// TTL in seconds of NXDOMAIN and NODATA: the SOA's minimum.
    pub negative_ttl: u32,
    /// Targets of the NS records; none: `ns1.<origin>` at our addresses.
    pub nameservers: Option<Vec<Key>>,
    /// Mailbox of the SOA.
    pub contact: Key,
    /// Views the zone exists in, as a sorted list.
    pub views: Vec<ViewId>,
    /// `records`, one per view, in order: what stands beside the names there.
    pub records: Vec<Option<Arc<MasterFile>>>,
    /// `[names]`, in order of name.
    pub names: Vec<Binding>,
    /// `[discover]`
    pub discover: Option<Discover>,
}
