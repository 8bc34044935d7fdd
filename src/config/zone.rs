//! Reads a zone file, all but its names.

use std::path::Path;

use super::files::Files;
use super::readers::{self, at, set, ttl};
use super::records;
use super::scope::Scope;
use super::server;
use super::table::Table;
use super::toml::File;
use super::value::{At, Value};
use super::words::{one_of, quote, tick};
use super::{ViewId, Zone};
use super::{discover, names};
use crate::diag::{Place, Problems};
use crate::dns::name::Key;

const TTL_DEFAULT: u32 = 5;

/// A zone, and what only the rules over all files look at.
pub(super) struct Draft {
    pub zone: Zone,
    /// Where the origin is said, or the file that is named after it.
    pub origin: Place,
    /// `nameservers`, with places.
    pub nameservers: Vec<At<Key>>,
    /// No name can have been lost to a syntax error.
    pub complete: bool,
    /// Where keys stand that a master file may contradict.
    pub keys: records::ZoneKeys,
}

/// Reads a zone file; none when its origin is not known.
///
/// `dir` is where relative paths start; `files` opens the master files it names,
/// and `problems` takes what is wrong in them.
pub(super) fn read(
    file: &File<'_>,
    path: &Path,
    dir: &Path,
    server: &server::Read,
    files: &mut Files,
    problems: &mut Problems,
) -> Option<Draft> {
    let mut t = file.root(Scope::Zone);
    let origin = origin(&mut t, path);
    // The names are looked at even in a zone that has none itself.
    let apex = origin.as_ref().map_or_else(Key::root, |o| o.value.clone());
    let keys = zone_keys(&mut t);
    let nameservers = t.take("nameservers", |v| nameservers(v, &apex));
    let contact = t.take("contact", |v| contact(v, &apex)).or_else(|| apex.child(b"hostmaster"));
    let [zone_ttl, negative_ttl] =
        ["ttl", "negative_ttl"].map(|key| t.take(key, ttl).unwrap_or(TTL_DEFAULT));
    let views = views(&mut t, server);
    let has_records = t.get("records").is_some();
    let masters = t.take("records", |v| records::files(v, dir, server, &views));
    let section = t.section("names", Scope::Names);
    let has_discover = t.get("discover").is_some();
    let by_tag = has_discover.then(|| t.section("discover", Scope::Discover));
    let context = names::Context { origin: &apex, views: &views, server, zone_keys: t.known() };
    let names = names::read_all(&section, &context);
    let discover = by_tag.and_then(|section| discover::read(section, &context));
    if section.is_empty() && !has_records && !has_discover {
        t.lacks(
            "the zone has no names, so every question below its apex is answered NXDOMAIN",
            "add names below `[names]` or `records`, names from tags by `[discover]`, or remove the file",
        );
    }
    t.finish();
    let origin = origin?;
    let records = match &masters {
        Some(masters) => records::load(masters, &origin.value, zone_ttl, files, problems),
        None => vec![None; server.server.views.len()],
    };
    let names_of = |all: &Vec<At<Key>>| all.iter().map(|name| name.value.clone()).collect();
    let zone = Zone {
        file: path.to_owned(),
        origin: origin.value,
        ttl: zone_ttl,
        negative_ttl,
        nameservers: nameservers.as_ref().map(names_of),
        contact: contact?,
        views,
        records,
        names,
        discover,
    };
    Some(Draft {
        zone,
        origin: origin.place,
        nameservers: nameservers.unwrap_or_default(),
        complete: !file.is_broken(),
        keys,
    })
}

fn zone_keys(t: &mut Table<'_>) -> records::ZoneKeys {
    let mut place = |key| t.get(key).map(|value| value.place());
    records::ZoneKeys {
        nameservers: place("nameservers"),
        contact: place("contact"),
        negative_ttl: place("negative_ttl"),
        ttl: place("ttl"),
    }
}

/// Those given, else every view.
fn views(t: &mut Table<'_>, server: &server::Read) -> Vec<ViewId> {
    let views = t.take("views", set("names of views", "\"vpc\"", |v| view(v, server)));
    let mut views = views.unwrap_or_else(|| (0..server.server.views.len()).collect());
    views.sort_unstable();
    views
}

/// The origin given, else the file's name.
fn origin(t: &mut Table<'_>, path: &Path) -> Option<At<Key>> {
    let given = t.get("origin");
    let found = match &given {
        Some(value) => at(readers::name(None))(value)?,
        None => {
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            match Key::parse(stem, None) {
                Ok(value) => At { place: t.place(), value },
                Err(e) => {
                    t.error(
                        format!("the file's name gives the zone's origin, but {} is not a domain name: {e}", quote(stem)),
                        "rename the file, or add `origin = \"example.com\"`",
                    );
                    return None;
                }
            }
        }
    };
    let (problem, remedy) = if found.value.octets().windows(2).any(|w| w == b"\x01*") {
        ("has a wildcard label", "name the zone without it; wildcards go below `[names]`")
    } else if found.value.child(b"hostmaster").is_none() {
        ("is so long that no name fits below it", "choose a shorter one")
    } else {
        return Some(found);
    };
    let what = format!("origin {} {problem}", tick(&found.value.to_string()));
    match given {
        Some(value) => value.error(what, remedy),
        None => t.error(what, remedy),
    }
    None
}

fn nameservers(v: &Value<'_>, origin: &Key) -> Option<Vec<At<Key>>> {
    let names = set("names", "\"ns1\", \"ns2\"", readers::name(Some(origin)))(v)?;
    let places = v.as_list().unwrap_or_default();
    let at = |(value, v): (Key, Value<'_>)| At { place: v.place(), value };
    Some(names.into_iter().zip(places).map(at).collect())
}

/// The mailbox of the SOA (RFC 1035 section 3.3.13): as an address of mail, or
/// as a domain name with the local part as its first label.
fn contact(v: &Value<'_>, origin: &Key) -> Option<Key> {
    let example = v.written("\"hostmaster@example.com\"");
    let Some(text) = v.as_str() else {
        v.wrong("a mail address in quotes", &example);
        return None;
    };
    let Some((local, domain)) = text.rsplit_once('@') else {
        return readers::name_of(v, text, Some(origin));
    };
    let plain = local.bytes().all(|b| b.is_ascii_graphic() && b != b'@');
    let mailbox = Key::parse(domain, None).ok().and_then(|d| d.child(local.as_bytes()));
    if !plain || mailbox.is_none() {
        v.error(format!("{} in `contact` is not a mail address", quote(text)), example);
        return None;
    }
    mailbox
}

fn view(v: &Value<'_>, server: &server::Read) -> Option<ViewId> {
    let Some(name) = v.as_str() else {
        v.wrong("names of views in quotes", &v.written("\"vpc\""));
        return None;
    };
    let id = server.view(name);
    if id.is_none() && server.complete {
        let known = server.server.views.iter().map(|view| view.name.as_str());
        v.error(format!("there is no view {} in server.toml", quote(name)), one_of(name, known));
    }
    id
}
