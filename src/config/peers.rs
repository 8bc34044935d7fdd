//! Reads `[peers]`: the other replicas.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use hickory_proto::rr::RecordType;

use super::readers::{self, set};
use super::scope::Scope;
use super::server::Context;
use super::table::Table;
use super::value::Value;
use super::words::quote;
use super::zone::Draft;
use super::{Listen, Server, Zone};
use crate::diag::Problems;

/// Peers at most: each is told and asked by each of the others, and more replicas than
/// that serve no VPC.
pub(crate) const MAX_PEERS: usize = 16;

/// A URL, for messages.
const EXAMPLE: &str = "\"http://10.0.1.53:8053\"";

/// `[peers]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// The other replicas' `listen.http`, without our own; each once.
    pub urls: Vec<SocketAddr>,
    /// File holding the token that all replicas have.
    pub token_file: PathBuf,
}

/// The section, if it is there.
pub(super) fn read(root: &mut Table<'_>, listen: &Listen, context: &Context<'_>) -> Option<Peers> {
    let given = root.get("peers").is_some();
    let mut t = root.section("peers", Scope::Peers);
    if !given {
        return None;
    }
    let urls = set("URLs of the other replicas", EXAMPLE, url);
    let urls =
        t.require("urls", "there is nobody to tell or to ask", &format!("[{EXAMPLE}]"), urls);
    let why = "peers could not tell each other from strangers";
    let token_file = readers::path(context.dir, "peer-token");
    let token_file = t.require("token_file", why, "\"peer-token\"", token_file);
    let urls = urls.map(|urls| others(urls, listen, &mut t));
    if let Some(urls) = &urls {
        reachable(urls, listen, &t);
    }
    t.finish();
    Some(Peers { urls: urls?, token_file: token_file? })
}

/// `http://IP:PORT`, with a slash after it or without.
fn url(v: &Value<'_>) -> Option<SocketAddr> {
    let Some(text) = v.as_str() else {
        v.wrong("URLs in quotes", &v.written(EXAMPLE));
        return None;
    };
    let wrong = |what: &str, remedy: &str| {
        v.error(format!("{} in {} {what}", quote(text), v.name()), remedy);
        None
    };
    if text.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")) {
        let remedy = "write http:// and the address of a proxy: where the token must not travel in clear, \
                      put TLS in front of both sides";
        return wrong("is an https URL, and peers speak plain HTTP", remedy);
    }
    let written = "write an IP address and a port, as in \"http://10.0.1.53:8053\" or \
                   \"http://[fd00::53]:8053\"; names are not looked up";
    let Some(rest) = text.strip_prefix("http://") else { return wrong("is no http URL", written) };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let Ok(address) = rest.parse::<SocketAddr>() else {
        return match rest.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(_) => wrong(
                "has no port",
                "add the port of that replica's `listen.http`, as in \":8053\"",
            ),
            Err(_) if rest.contains(['/', '?', '#', '@']) => {
                wrong("has more than an address and a port", written)
            }
            Err(_) => wrong("has no IP address and port", written),
        };
    };
    let ip = address.ip();
    match () {
        () if ip.to_canonical() != ip => wrong("has an IPv4 address written as IPv6", written),
        () if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() => {
            wrong("is where nobody can be reached", written)
        }
        () => Some(address),
    }
}

/// Without our own: one file may serve all replicas.
fn others(urls: Vec<SocketAddr>, listen: &Listen, t: &mut Table<'_>) -> Vec<SocketAddr> {
    let values = t.get("urls").and_then(|v| v.as_list()).unwrap_or_default();
    if let Some(value) = values.get(MAX_PEERS) {
        value.error(
            format!("`urls` has more than {MAX_PEERS} peers"),
            "name the replicas that serve the same clients",
        );
    }
    let mut others = Vec::with_capacity(urls.len());
    for (url, value) in urls.into_iter().zip(&values) {
        if listen.http == Some(url) {
            value.warn(
                format!("http://{url} is this server's own `listen.http`, so it is left out"),
                "name only the other replicas here",
            );
        } else {
            others.push(url);
        }
    }
    others
}

/// Can peers tell and ask us?
fn reachable(urls: &[SocketAddr], listen: &Listen, t: &Table<'_>) {
    match listen.http {
        None => t.lacks(
            "there is no `listen.http`, so no peer can tell or ask this server anything",
            "add `http` to `[listen]`, with an address that peers reach",
        ),
        Some(http) if http.ip().is_loopback() && urls.iter().any(|url| !url.ip().is_loopback()) => {
            t.lacks(
                format!("`listen.http` is at {http}, which peers on other hosts do not reach"),
                "listen for HTTP at an address that they reach",
            );
        }
        Some(_) => {}
    }
}

/// The nameserver that a zone has by default is at our own address: each replica would
/// answer another one.
pub(super) fn check(server: &Server, drafts: &[Draft], problems: &mut Problems) {
    if server.peers.is_none() {
        return;
    }
    for Draft { zone, origin, .. } in drafts.iter().filter(|draft| !names_nameservers(&draft.zone))
    {
        problems.error(
            origin.clone(),
            format!(
                "zone {} names no nameservers: `ns1` at each replica's own address would differ between peers",
                zone.origin
            ),
            "add `nameservers`, and their addresses below `[names]`",
        );
    }
}

fn names_nameservers(zone: &Zone) -> bool {
    let in_records = |view: &usize| {
        let file = zone.records.get(*view).and_then(Option::as_ref);
        let is_one = |record: &crate::records::StaticRecord| {
            record.rtype == RecordType::NS && record.owner == zone.origin
        };
        file.is_some_and(|file| file.records.iter().any(is_one))
    };
    zone.nameservers.is_some() || zone.views.iter().all(in_records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, HEAD, view};

    const ZONE: &str = "nameservers = [\"ns1\"]\n[names]\nns1 = { address = \"10.0.0.53\" }\n";

    fn peers(section: &str) -> Option<Peers> {
        let vpc = view("vpc", "10.0.0.0/8", "private");
        let server = format!("{HEAD}{vpc}{section}");
        testing::config(&[("server.toml", &server), ("example.com.toml", ZONE)]).server.peers
    }

    #[test]
    fn peers_are_addresses_of_others() {
        assert_eq!(peers(""), None);
        let found = peers(
            "[peers]\nurls = [\"http://10.0.0.54:8053\", \"http://[fd00::54]:8053/\"]\ntoken_file = \"/run/token\"\n[state]\nreplica = \"2/3\"\n",
        );
        let urls = ["10.0.0.54:8053", "[fd00::54]:8053"].map(|at| at.parse().unwrap());
        assert_eq!(found, Some(Peers { urls: urls.into(), token_file: "/run/token".into() }));
    }

    /// NS records name them as well as a key does.
    #[test]
    fn nameservers_in_records_are_enough() {
        let records = ("example.com.toml", "records = \"a.zone\"\n");
        let zone =
            ("a.zone", "@ SOA ns1 hostmaster 1 3600 600 86400 5\n@ NS ns1\nns1 A 10.0.0.53\n");
        let section = "[peers]\nurls = [\"http://10.0.0.54:8053\"]\ntoken_file = \"token\"\n[state]\nreplica = \"1/2\"\n";
        let vpc = view("vpc", "10.0.0.0/8", "private");
        let server = format!("{HEAD}{vpc}{section}");
        let config = testing::config(&[("server.toml", &server), records, zone]);
        assert!(config.server.peers.is_some());
    }
}
