//! Reads `server.toml`: the sections there is one of each.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use super::addresses::{ip, ip_or_prefix, socket};
use super::readers::{self, at, count, duration, list, text};
use super::scope::Scope;
use super::table::Table;
use super::toml::File;
use super::value::{At, Value};
use super::{
    ForwardConfig, Guard, Listen, MAX_PEERS, Overrides, Peers, Replica, Serve, Server, ViewId,
    forward, peers, reverse, source, view,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Threads for each address: more than any machine has cores for.
const WORKERS: RangeInclusive<usize> = 1..=256;
/// Connections: the file descriptor limit is met long before the upper bound.
const TCP_CLIENTS: RangeInclusive<usize> = 1..=1_000_000;
/// Shorter cuts off clients across a slow link, longer keeps dead ones
/// (RFC 7766 section 6.2.3).
const TCP_IDLE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60 * 60);
/// Longer than a day is a `pin`.
const HOLD: RangeInclusive<Duration> = Duration::ZERO..=DAY;
/// A week covers any outage somebody sleeps through.
const LONG_HOLD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 24 * 60 * 60);
/// Shorter than a few polls and every slow call would silence the server;
/// longer than a month is never.
const MAX_STALE: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(30 * 24 * 60 * 60);
/// Longer and a deployment waits for an outage of EC2 to end.
const READY_GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60 * 60);

const TCP_CLIENTS_DEFAULT: usize = 4096;
const TCP_PER_CLIENT_DEFAULT: usize = 256;
const TCP_IDLE_DEFAULT: Duration = Duration::from_secs(10);
const READY_GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// Where state is kept when eipdns is installed.
const INSTALLED: (&str, &str) = ("/etc/eipdns", "/var/lib/eipdns");
/// Else a directory of this name beside the configuration.
const STATE_BESIDE: &str = ".eipdns";

/// What the reading of every file needs to know.
pub(super) struct Context<'a> {
    /// The configuration directory; relative paths start here.
    pub dir: &'a Path,
    /// Flags and environment.
    pub overrides: &'a Overrides,
}

/// The server and what the reading of zones must know about its faults.
pub(super) struct Read {
    pub server: Server,
    /// The names of all views and sources are known: others are mistakes.
    pub complete: bool,
}

impl Read {
    /// What there is when `server.toml` cannot be read.
    pub(super) fn nothing(context: &Context<'_>) -> Self {
        let server = Server {
            listen: Listen {
                dns: vec![],
                http: None,
                workers: 1,
                trust_ecs_from: vec![],
                tcp_clients: TCP_CLIENTS_DEFAULT,
                tcp_per_client: TCP_PER_CLIENT_DEFAULT,
                tcp_idle: TCP_IDLE_DEFAULT,
                version: None,
                id: None,
                http_token_file: None,
            },
            aws_resolvers: vec![],
            sources: vec![],
            views: vec![],
            forward: ForwardConfig::default(),
            reverse: vec![],
            peers: None,
            guard: Guard::default(),
            state_directory: default_state(context.dir),
            replica: Replica::default(),
            serve: Serve { max_stale: None, ready_grace: READY_GRACE_DEFAULT },
        };
        Self { server, complete: false }
    }

    /// The view of that name.
    pub(super) fn view(&self, name: &str) -> Option<ViewId> {
        self.server.views.iter().position(|view| view.name == name)
    }
}

/// Reads the whole file.
pub(super) fn read(file: &File<'_>, context: &Context<'_>) -> Read {
    let mut root = file.root(Scope::Server);
    let listen = listen(&mut root, context);
    let aws_resolvers = aws(root.section("aws", Scope::Aws), &listen);
    let (sources, all_sources) = source::read_all(&mut root, context);
    let (views, all_views) = view::read_all(&mut root, &listen.dns);
    let forward = forward::read_all(&mut root, &listen.dns, &views);
    let reverse = reverse::read_all(&mut root, &views, all_views && !file.is_broken());
    let peers = peers::read(&mut root, &listen, context);
    let guard = guard(root.section("guard", Scope::Guard));
    let (state_directory, replica) = state(root.section("state", Scope::State), context);
    let serve = serve(root.section("serve", Scope::Serve));
    if let (Some(peers), Some(v)) = (&peers, root.get("peers")) {
        one_of(replica, peers, &v);
    }
    root.finish();
    Read {
        server: Server {
            listen,
            aws_resolvers,
            sources,
            views,
            forward,
            reverse,
            peers,
            guard,
            state_directory,
            replica,
            serve,
        },
        complete: all_sources && all_views && !file.is_broken(),
    }
}

fn listen(root: &mut Table<'_>, context: &Context<'_>) -> Listen {
    let given = root.get("listen").is_some();
    let mut t = root.section("listen", Scope::Listen);
    let dns = listen_dns(&mut t, given, context);
    let http = t.take("http", at(socket("127.0.0.1:8053")));
    if let Some(http) = &http
        && context.overrides.listen_http.is_none()
        && let Some(taken) = dns.iter().find(|d| overlap(d, &http.value))
        && let Some(value) = t.get("http")
    {
        value.error(
            format!("`http` is at {}, which `dns` ({taken}) takes for DNS over TCP", http.value),
            "choose another port, as in `http = \"127.0.0.1:8053\"`",
        );
    }
    let listen = Listen {
        dns,
        http: context.overrides.listen_http.or(http.map(|h| h.value)),
        workers: t.take("workers", count(WORKERS)).unwrap_or_else(one_per_core),
        trust_ecs_from: t
            .take("trust_ecs_from", list("addresses or prefixes", "\"10.0.0.2\"", ip_or_prefix))
            .unwrap_or_default(),
        tcp_clients: t.take("tcp_clients", count(TCP_CLIENTS)).unwrap_or(TCP_CLIENTS_DEFAULT),
        tcp_per_client: t
            .take("tcp_per_client", count(TCP_CLIENTS))
            .unwrap_or(TCP_PER_CLIENT_DEFAULT),
        tcp_idle: t.take("tcp_idle", duration(TCP_IDLE, "10s")).unwrap_or(TCP_IDLE_DEFAULT),
        version: t.take("version", text(readers::MAX_CHARACTER_STRING, "eipdns")),
        id: t.take("id", text(readers::MAX_CHARACTER_STRING, "ns1")),
        http_token_file: t.take("http_token_file", readers::path(context.dir, "http.token")),
    };
    if let Some(http) = listen.http
        && !http.ip().is_loopback()
        && t.get("http_token_file").is_none()
    {
        t.lacks(
            format!("`http` is at {http}, and without a token only /livez and /readyz are answered there"),
            "add `http_token_file = \"http.token\"`, or listen at 127.0.0.1",
        );
    }
    t.finish();
    listen
}

/// Where DNS is served: as flag or environment say, else the file.
fn listen_dns(t: &mut Table<'_>, given: bool, context: &Context<'_>) -> Vec<SocketAddr> {
    let example = "[\"127.0.0.1:5300\"]";
    let addresses =
        list("addresses with ports", "\"127.0.0.1:5300\"", at(socket("127.0.0.1:5300")));
    let overridden = context.overrides.listen_dns.clone().filter(|all| !all.is_empty());
    match (overridden, given) {
        (Some(all), _) => {
            t.take("dns", addresses);
            all
        }
        (None, true) => {
            let why = "there is nowhere to answer from";
            distinct(t.require("dns", why, example, addresses).unwrap_or_default(), t)
        }
        (None, false) => {
            t.missing(
                "there is no section `[listen]`, so there is nowhere to answer from",
                format!("add `[listen]` and below it `dns = {example}`"),
            );
            vec![]
        }
    }
}

fn one_per_core() -> usize {
    available_parallelism().map_or(1, NonZero::get).clamp(*WORKERS.start(), *WORKERS.end())
}

/// Would binding both fail? Port 0 is a different one each time.
fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let wild = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || wild && a.is_ipv4() == b.is_ipv4())
}

/// The addresses, with an error for each that another one already covers.
fn distinct(all: Vec<At<SocketAddr>>, t: &mut Table<'_>) -> Vec<SocketAddr> {
    let values = t.get("dns").and_then(|v| v.as_list()).unwrap_or_default();
    for (n, (address, value)) in all.iter().zip(&values).enumerate() {
        if let Some(other) = all.iter().take(n).find(|o| overlap(&o.value, &address.value)) {
            let (this, other) = (address.value, other.value);
            let what = match this == other {
                true => format!("{this} is in `dns` twice"),
                false => format!("{this} and {other} in `dns` cannot both be bound"),
            };
            value.error(what, "keep one of them");
        }
    }
    all.into_iter().map(|a| a.value).collect()
}

fn aws(mut t: Table<'_>, listen: &Listen) -> Vec<IpAddr> {
    let ourselves = |v: &Value<'_>| {
        let found = ip(v)?;
        // A resolver is asked at port 53.
        let asked = SocketAddr::new(found, 53);
        let loopback =
            |d: &SocketAddr| d.ip().is_unspecified() && d.port() == 53 && found.is_loopback();
        if listen.dns.iter().any(|d| *d == asked || loopback(d)) {
            v.error(
                format!("{found} in `resolvers` is this server: to find EC2 it would have to know EC2 already"),
                "name the VPC's resolver: 169.254.169.253",
            );
            return None;
        }
        Some(found)
    };
    let resolvers = t.take("resolvers", list("addresses", "\"169.254.169.253\"", ourselves));
    t.finish();
    resolvers.unwrap_or_default()
}

fn guard(mut t: Table<'_>) -> Guard {
    let default = Guard::default();
    let guard = Guard {
        hold: t.take("hold", hold).unwrap_or(default.hold),
        missing_hold: t
            .take("missing_hold", duration(LONG_HOLD, "5m"))
            .unwrap_or(default.missing_hold),
        release_after: t
            .take("release_after", duration(LONG_HOLD, "15m"))
            .unwrap_or(default.release_after),
    };
    if guard.missing_hold < guard.hold
        && let Some(value) = t.get("missing_hold").or_else(|| t.get("hold"))
    {
        value.warn(
            "an address missing from EC2's answers would be dropped sooner (`missing_hold`) than an unassociated one (`hold`)",
            "make `missing_hold` the longer one: what is missing is more often EC2's mistake",
        );
    }
    t.finish();
    guard
}

/// `hold`, of the guard and of a name.
pub(super) fn hold(v: &Value<'_>) -> Option<Duration> {
    duration(HOLD, "30s")(v)
}

fn state(mut t: Table<'_>, context: &Context<'_>) -> (PathBuf, Replica) {
    let directory = t.take("directory", readers::path(context.dir, "/var/lib/eipdns"));
    let replica = t.take("replica", replica).unwrap_or_default();
    t.finish();
    let overridden = context.overrides.state.clone();
    let directory = overridden.or(directory).unwrap_or_else(|| default_state(context.dir));
    (directory, replica)
}

/// One and its peers, at most.
const MAX_REPLICAS: u32 = MAX_PEERS as u32 + 1;

/// Each replica has a number of its own.
fn one_of(replica: Replica, peers: &Peers, v: &Value<'_>) {
    let all = peers.urls.len() + 1;
    if (replica.of as usize) < all && all <= MAX_REPLICAS as usize {
        v.at_key().error(
            format!("there are {all} replicas, and `state.replica` is \"{replica}\""),
            format!(
                "write `replica = \"1/{all}\"` in [state], and another number at each of the others: \
                 else two give one serial to two contents"
            ),
        );
    }
}

/// `"1/2"`: the first of two.
fn replica(v: &Value<'_>) -> Option<Replica> {
    let text = v.as_str();
    let parts = text.and_then(|text| text.split_once('/'));
    let number =
        |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?;
    let read = parts.and_then(|(n, of)| Some(Replica { number: number(n)?, of: number(of)? }));
    let is_one = |one: &Replica| (1..=MAX_REPLICAS).contains(&one.of) && one.number >= 1;
    match read.filter(is_one).filter(|one| one.number <= one.of) {
        Some(replica) => Some(replica),
        None if text.is_some() => {
            v.error(
                format!("{} is not one of 1 to {MAX_REPLICAS} replicas", v.name()),
                "write for example `replica = \"1/2\"` here and `replica = \"2/2\"` at the other",
            );
            None
        }
        None => {
            v.wrong("text", "write for example `replica = \"1/2\"`: the first of two");
            None
        }
    }
}

/// `.eipdns/` beside the configuration; `/var/lib/eipdns` when installed.
fn default_state(dir: &Path) -> PathBuf {
    let (installed, state) = INSTALLED;
    if std::path::absolute(dir).is_ok_and(|dir| dir == Path::new(installed)) {
        return state.into();
    }
    match (dir.file_name(), dir.parent()) {
        (Some(_), Some(parent)) => parent.join(STATE_BESIDE),
        // `.`, `..` and the like have no name to put another one beside.
        _ => dir.join("..").join(STATE_BESIDE),
    }
}

fn serve(mut t: Table<'_>) -> Serve {
    let max_stale = |v: &Value<'_>| match v.as_str() {
        Some("never") => Some(None),
        _ => duration(MAX_STALE, "1h")(v).map(Some),
    };
    let serve = Serve {
        max_stale: t.take("max_stale", max_stale).flatten(),
        ready_grace: t
            .take("ready_grace", duration(READY_GRACE, "30s"))
            .unwrap_or(READY_GRACE_DEFAULT),
    };
    t.finish();
    serve
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_beside_the_configuration() {
        for (dir, state) in [
            ("zones", ".eipdns"),
            ("zones/", ".eipdns"),
            ("./zones", "./.eipdns"),
            ("/srv/dns/zones", "/srv/dns/.eipdns"),
            (".", "./../.eipdns"),
            ("/etc/eipdns", "/var/lib/eipdns"),
            ("/etc/eipdns/", "/var/lib/eipdns"),
            ("/etc/eipdns/zones", "/etc/eipdns/.eipdns"),
        ] {
            assert_eq!(default_state(Path::new(dir)), Path::new(state), "{dir}");
        }
    }

    #[test]
    fn wildcards_overlap_their_own_family_only() {
        let overlap = |a: &str, b: &str| overlap(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(overlap("127.0.0.1:53", "127.0.0.1:53"));
        assert!(overlap("0.0.0.0:53", "127.0.0.1:53"));
        assert!(overlap("[::1]:53", "[::]:53"));
        assert!(!overlap("0.0.0.0:53", "[::]:53"));
        assert!(!overlap("127.0.0.1:53", "127.0.0.1:54"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0"));
    }
}
