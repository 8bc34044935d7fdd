//! Reads `[[reverse]]`: which addresses have PTR records, and in which views.

use ipnet::IpNet;

use super::addresses::prefix;
use super::readers::{at, list, set, ttl};
use super::scope::Scope;
use super::table::Table;
use super::value::{At, Value};
use super::words::{one_of, quote};
use super::zone::Draft;
use super::{Mode, Server, View, ViewId};
use crate::diag::{Place, Problems};
use crate::dns::reverse::space;

/// As zones and sources have it.
const TTL_DEFAULT: u32 = 5;

/// Networks whose reverse space is delegated unsigned, or is nobody's to validate: RFC 1918,
/// RFC 6598, RFC 3927, RFC 4193, RFC 4291 section 2.5.6, loopback (RFC 6303, RFC 7793).
const PRIVATE: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

/// One `[[reverse]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverse {
    /// Addresses in these have PTR records; no two blocks have a view and an address in
    /// common.
    pub networks: Vec<IpNet>,
    /// In these views, as a sorted list.
    pub views: Vec<ViewId>,
    /// TTL of the PTR records, in seconds.
    pub ttl: u32,
    /// Where it stands.
    pub place: Place,
}

/// A network, and the block that has it.
struct Covered<'f> {
    network: At<IpNet>,
    value: Value<'f>,
    block: usize,
}

/// Every block. `complete`: the names of all views are known.
pub(super) fn read_all(root: &mut Table<'_>, views: &[View], complete: bool) -> Vec<Reverse> {
    let mut all = Vec::new();
    let mut covered: Vec<Covered<'_>> = Vec::new();
    for mut block in root.blocks("reverse", Scope::Reverse) {
        let values = block.get("networks").and_then(|v| v.as_list()).unwrap_or_default();
        let read = read(&mut block, views, complete);
        block.finish();
        let Some((reverse, networks)) = read else { continue };
        let nth = all.len();
        all.push(reverse);
        let pairs = networks.into_iter().zip(values);
        covered.extend(pairs.map(|(network, value)| Covered { network, value, block: nth }));
    }
    twice(&covered, &all, views);
    all
}

fn read(t: &mut Table<'_>, views: &[View], complete: bool) -> Option<(Reverse, Vec<At<IpNet>>)> {
    let prefixes = list("prefixes", "\"10.0.0.0/8\"", at(prefix));
    let why = "no address would have a PTR record";
    let networks = t.require("networks", why, "[\"10.0.0.0/8\"]", prefixes);
    let given = t.get("views").is_some();
    let view = |v: &Value<'_>| view(v, views, complete);
    let named = t.take("views", set("names of views", "\"vpc\"", view));
    let ttl_read = t.take("ttl", ttl);
    let ttl = ttl_read.unwrap_or(TTL_DEFAULT);
    if let Some(value) =
        t.get("ttl").filter(|_| ttl > super::rules::MOVING_TTL && ttl_read.is_some())
    {
        value.warn(
            format!("PTR records are remembered for {ttl} seconds, also by those who ask just before a name moves"),
            "make `ttl` 60 or less",
        );
    }
    let mut chosen = match named {
        Some(named) => named,
        None if given => return None,
        None => private(views),
    };
    if chosen.is_empty() && complete {
        t.error(
            "no view answers private addresses, so no view would have these PTR records",
            "say which views have them, as in `views = [\"vpc\"]`",
        );
        return None;
    }
    chosen.sort_unstable();
    let networks = networks?;
    let reverse = Reverse {
        networks: networks.iter().map(|network| network.value).collect(),
        views: chosen,
        ttl,
        place: t.place(),
    };
    Some((reverse, networks))
}

/// Those that answer private addresses.
fn private(views: &[View]) -> Vec<ViewId> {
    let views = views.iter().enumerate();
    views.filter(|(_, view)| view.answer == Mode::Private).map(|(id, _)| id).collect()
}

fn view(v: &Value<'_>, views: &[View], complete: bool) -> Option<ViewId> {
    let Some(name) = v.as_str() else {
        v.wrong("names of views in quotes", &v.written("\"vpc\""));
        return None;
    };
    let id = views.iter().position(|view| view.name == name);
    if id.is_none() && complete {
        let known = views.iter().map(|view| view.name.as_str());
        v.error(format!("there is no view {} in server.toml", quote(name)), one_of(name, known));
    }
    id
}

/// Networks that overlap in one view are an error: which `ttl` counts must not depend on order.
fn twice(covered: &[Covered<'_>], blocks: &[Reverse], views: &[View]) {
    for (nth, one) in covered.iter().enumerate() {
        let views_of = |block: usize| blocks.get(block).map_or(&[][..], |block| &block.views);
        let shared = |other: &Covered<'_>| {
            let mut both = views_of(one.block).iter().filter(|v| views_of(other.block).contains(v));
            both.next().copied()
        };
        let overlaps = |other: &&Covered<'_>| {
            let (a, b) = (one.network.value, other.network.value);
            (a.contains(&b) || b.contains(&a)) && shared(other).is_some()
        };
        let Some(other) = covered.iter().take(nth).find(overlaps) else { continue };
        let view = shared(other).and_then(|view| views.get(view)).map_or("", |view| &view.name);
        one.value.error(
            format!(
                "{} overlaps {} ({}) in view \"{view}\"",
                one.network.value, other.network.value, other.network.place
            ),
            "keep the larger one, or give each its own views",
        );
    }
}

/// Warns where resolvers that validate would find overlay zones bogus: the reverse space of
/// public addresses is signed.
pub(super) fn check(server: &Server, drafts: &[Draft], problems: &mut Problems) {
    let private: Vec<IpNet> = PRIVATE.iter().filter_map(|net| net.parse().ok()).collect();
    for block in &server.reverse {
        for network in &block.networks {
            if private.iter().any(|private| private.contains(network)) {
                continue;
            }
            let has_zone = |view: &ViewId| {
                let mut zones = drafts.iter().filter(|draft| draft.zone.views.contains(view));
                zones.any(|d| space(&d.zone.origin).iter().any(|space| space.contains(network)))
            };
            let Some(view) = block.views.iter().find(|view| !has_zone(view)) else { continue };
            let view = server.views.get(*view).map_or("", |view| view.name.as_str());
            problems.warn(
                block.place.clone(),
                format!(
                    "the reverse space of {network} is not private and may be signed: resolvers \
                     that validate and forward here find its PTR records bogus (view \"{view}\")"
                ),
                "name private networks only, or exempt it where you validate: unbound \
                 `domain-insecure`, BIND `validate-except`",
            );
        }
    }
}
