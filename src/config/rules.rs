//! What only shows when all files are seen together.

use std::collections::{BTreeMap, BTreeSet};

use super::peers;
use super::records;
use super::reverse;
use super::zone::Draft;
use super::{Binding, Discover, Server, Target, View, Zone, server};
use crate::diag::{Place, Problems};
use crate::dns::name::{Key, suffixes};
use crate::records::{OVERHEAD, room_for_records};

/// Looks at the whole configuration.
pub(super) fn check(read: &server::Read, drafts: &[Draft], problems: &mut Problems) {
    let origins = origins(drafts, problems);
    for draft in drafts {
        occluded(&draft.zone, &origins, problems);
        let zone = &draft.zone;
        let elsewhere =
            |name: &Key| answering(name, zone, &origins).is_some_and(|z| z.origin != zone.origin);
        records::check(zone, &read.server, &draft.keys, &elsewhere, problems);
        negative_ttl(draft, &read.server, problems);
        ttl(draft, &read.server, problems);
        sizes(zone, problems);
        if draft.complete && read.complete {
            nameservers(draft, &origins, &read.server, problems);
        }
    }
    source_ttl(&read.server, problems);
    if read.complete {
        reverse::check(&read.server, drafts, problems);
        peers::check(&read.server, drafts, problems);
        bare_cnames(&read.server, drafts, problems);
        without_source(&read.server, drafts, problems);
        without_region(&read.server, drafts, problems);
    }
}

/// By folded wire name.
type Origins<'a> = BTreeMap<&'a [u8], &'a Draft>;

/// The zones by origin; each origin may have one file.
fn origins<'a>(drafts: &'a [Draft], problems: &mut Problems) -> Origins<'a> {
    let mut origins = Origins::new();
    for draft in drafts {
        let origin = &draft.zone.origin;
        match origins.get(origin.octets()) {
            Some(first) => problems.error(
                draft.origin.clone(),
                format!("zone {origin} is already in {}", first.zone.file.display()),
                "keep the zone in one file; names may differ by view with `answer`",
            ),
            None => drop(origins.insert(origin.octets(), draft)),
        }
    }
    origins
}

/// The zone that answers for `name` in the views of `zone`: the longest match.
fn answering<'a>(name: &Key, zone: &Zone, origins: &Origins<'a>) -> Option<&'a Zone> {
    suffixes(name.octets())
        .filter_map(|suffix| origins.get(suffix))
        .map(|draft| &draft.zone)
        .find(|found| found.views.iter().any(|view| zone.views.contains(view)))
}

/// Names that another of our zones answers for.
fn occluded(zone: &Zone, origins: &Origins<'_>, problems: &mut Problems) {
    for binding in &zone.names {
        if let Some(other) = answering(&binding.name, zone, origins)
            && other.origin != zone.origin
        {
            problems.warn(
                binding.place.clone(),
                format!(
                    "{} is never looked for here: zone {} ({}) answers for it",
                    binding.name,
                    other.origin,
                    other.file.display()
                ),
                "move the name to that file",
            );
        }
    }
}

/// In-zone targets of `nameservers` need an address in every view.
fn nameservers(draft: &Draft, origins: &Origins<'_>, server: &Server, problems: &mut Problems) {
    let zone = &draft.zone;
    for target in &draft.nameservers {
        let elsewhere =
            answering(&target.value, zone, origins).is_none_or(|z| z.origin != zone.origin);
        if elsewhere {
            continue;
        }
        let shown = target.value.relative_to(&zone.origin);
        let Some(binding) = answered_by(&target.value, zone) else {
            if records::have_address(zone, &target.value) {
                continue;
            }
            problems.warn(
                target.place.clone(),
                format!("nameserver {} has no address", target.value),
                format!("add it below `[names]`, as in `{shown} = {{ address = \"10.0.0.53\" }}`"),
            );
            continue;
        };
        for view in &zone.views {
            let name = server.views.get(*view).map_or("", |view| view.name.as_str());
            if !binding.is_in(*view) {
                problems.warn(
                    target.place.clone(),
                    format!("nameserver {} has no address in view \"{name}\"", target.value),
                    format!("answer it in that view too ({})", binding.place),
                );
            } else if server.views.get(*view).is_some_and(|v| binding.is_cname_in(*view, v)) {
                problems.warn(
                    target.place.clone(),
                    format!(
                        "nameserver {} is a CNAME in view \"{name}\", which resolvers refuse (RFC 2181 section 10.3)",
                        target.value
                    ),
                    format!("answer it as \"public\" in that view ({})", binding.place),
                );
            }
        }
    }
}

/// The binding of a name, or of the wildcard that covers it.
fn answered_by<'a>(name: &Key, zone: &'a Zone) -> Option<&'a Binding> {
    let exact = |name: &Key| zone.names.iter().find(|b| b.name == *name);
    exact(name).or_else(|| {
        let above = suffixes(name.octets()).skip(1).map(Key::from_folded);
        above.take_while(|above| above.is_under(&zone.origin)).find_map(|a| exact(&a.child(b"*")?))
    })
}

/// Fixed addresses of a name that no message holds.
fn sizes(zone: &Zone, problems: &mut Problems) {
    for binding in &zone.names {
        let Target::Fixed(addresses) = &binding.target else { continue };
        let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
        let room = room_for_records(&binding.name);
        if v4 * (OVERHEAD + 4) > room || (addresses.len() - v4) * (OVERHEAD + 16) > room {
            problems.error(
                binding.place.clone(),
                format!(
                    "{} has more addresses than a message of 65535 octets holds, so nobody would get them",
                    binding.name
                ),
                "remove some, or spread them over several names",
            );
        }
    }
}

/// The longest that an answer should be believed where names move, in seconds,
/// one that there is no name or no address included.
pub(super) const MOVING_TTL: u32 = 60;

/// A name that had no address when it was asked for is looked for again only
/// after the negative TTL: the larger of it and the TTL is part of how long a
/// move may take.
fn negative_ttl(draft: &Draft, server: &Server, problems: &mut Problems) {
    let zone = &draft.zone;
    let mut told = BTreeSet::new();
    for view in &zone.views {
        let Some(of) = server.views.get(*view) else { continue };
        let moves = zone.names.iter().any(|name| name.moves_in(*view, of));
        let comes = zone.discover.as_ref().is_some_and(|discover| discover.is_in(*view));
        if !moves && !comes {
            continue;
        }
        let file = zone.records.get(*view).and_then(Option::as_deref);
        let soa = file.and_then(|file| Some((file, records::soa(file)?)));
        // RFC 2308 section 3: the smaller of the SOA's TTL and its minimum.
        let (ttl, place, remedy) = match soa {
            Some((file, (record, soa))) => {
                let remedy = "make the last number or the TTL of the SOA 60 or less";
                (record.ttl.min(soa.minimum), file.place(record), remedy)
            }
            None => {
                let place = draft.keys.negative_ttl.clone();
                let place = place.unwrap_or_else(|| Place::file(&zone.file));
                (zone.ttl.min(zone.negative_ttl), place, "make `negative_ttl` 60 or less")
            }
        };
        if ttl > MOVING_TTL && told.insert(place.clone()) {
            problems.warn(
                place,
                format!(
                    "that a name has no address is remembered for {ttl} seconds, also by those who ask while it moves"
                ),
                remedy,
            );
        }
    }
}

/// Whoever has asked just before a move keeps the old address for the TTL.
fn ttl(draft: &Draft, server: &Server, problems: &mut Problems) {
    let zone = &draft.zone;
    let mut moving = zone.names.iter().filter(|name| name.moves(&server.views));
    for binding in moving.clone() {
        if let Some(ttl) = binding.ttl.filter(|ttl| *ttl > MOVING_TTL) {
            problems.warn(
                binding.place.clone(),
                format!(
                    "the address of {} is remembered for {ttl} seconds, also by those who ask just before it moves",
                    binding.name
                ),
                "make `ttl` 60 or less",
            );
        }
    }
    let by_tag = zone.discover.as_ref();
    if let Some(discover) = by_tag
        && let Some(ttl) = discover.ttl.filter(|ttl| *ttl > MOVING_TTL)
    {
        problems.warn(
            discover.place.clone(),
            format!(
                "the addresses of names from tags are remembered for {ttl} seconds, also by those who ask just before they move",
            ),
            "make `ttl` 60 or less",
        );
    }
    let takes_zones = moving.any(|binding| binding.ttl.is_none())
        || by_tag.is_some_and(|discover| discover.ttl.is_none());
    if let Some(place) = &draft.keys.ttl
        && zone.ttl > MOVING_TTL
        && takes_zones
    {
        problems.warn(
            place.clone(),
            format!(
                "the addresses of names that move are remembered for {} seconds, also by those who ask just before they move",
                zone.ttl
            ),
            "make `ttl` 60 or less",
        );
    }
}

/// The same of EC2 names, which CNAMEs lead to, and of rewritten answers.
fn source_ttl(server: &Server, problems: &mut Problems) {
    if !server.views.iter().any(View::moves_elsewhere) {
        return;
    }
    for source in server.sources.iter().filter(|source| source.ttl > MOVING_TTL) {
        problems.warn(
            source.place.clone(),
            format!(
                "the private addresses that EC2 names and rewritten answers have from source \"{}\" are remembered for {} seconds, also by those who ask just before they move",
                source.name, source.ttl
            ),
            "make its `ttl` 60 or less",
        );
    }
}

/// Views in which stubs get CNAMEs that they cannot follow.
fn bare_cnames(server: &Server, drafts: &[Draft], problems: &mut Problems) {
    for (id, view) in server.views.iter().enumerate() {
        if view.forward || view.ec2_names {
            continue;
        }
        let names = drafts.iter().flat_map(|draft| &draft.zone.names);
        let bound = names.filter(|name| name.is_cname_in(id, view));
        let bound = bound.map(|name| (&name.place, name.name.to_string()));
        let by_tag = drafts.iter().filter_map(|draft| {
            let discover = draft.zone.discover.as_ref().filter(|d| d.is_cname_in(id))?;
            Some((&discover.place, format!("names from tags in {}", draft.zone.origin)))
        });
        let Some((place, what)) = bound.chain(by_tag).min() else { continue };
        problems.warn(
            view.place.clone(),
            format!(
                "view \"{}\" answers {what} ({place}) with a CNAME and cannot answer its target: a stub resolver finds no address",
                view.name
            ),
            "add `ec2_names = true` or `forward = true`; leave it if only resolvers that follow CNAMEs ask in it",
        );
    }
}

/// Names that wait for addresses of EC2 when nothing delivers any.
fn without_source(server: &Server, drafts: &[Draft], problems: &mut Problems) {
    if !server.sources.is_empty() {
        return;
    }
    for draft in drafts {
        if let Some(discover) = &draft.zone.discover {
            problems.warn(
                discover.place.clone(),
                format!(
                    "names of {} come from tags, but server.toml has no `[[source]]`",
                    draft.zone.origin
                ),
                "add a `[[source]]` to server.toml, or remove `[discover]`",
            );
        }
        let mut waiting: Vec<_> = draft.zone.names.iter().filter(|b| b.follows_ec2()).collect();
        waiting.sort_by(|a, b| a.place.cmp(&b.place));
        let Some(first) = waiting.first() else { continue };
        let what = match waiting.len() {
            1 => format!("{} waits for an address of EC2", first.name),
            n => format!("{} and {} more wait for addresses of EC2", first.name, n - 1),
        };
        problems.warn(
            first.place.clone(),
            format!("{what}, but server.toml has no `[[source]]`"),
            "add a `[[source]]` to server.toml, or give fixed addresses with `address`",
        );
    }
}

/// A file says no region, so somebody must, as soon as a CNAME needs it.
fn without_region(server: &Server, drafts: &[Draft], problems: &mut Problems) {
    for (id, source) in server.sources.iter().enumerate() {
        let known = source.region.is_some() || source.public_suffix.is_some();
        if known || !matches!(source.kind, super::SourceKind::File { .. }) {
            continue;
        }
        let is_cname =
            |b: &Binding| server.views.iter().enumerate().any(|(v, view)| b.is_cname_in(v, view));
        let needs = |b: &&Binding| b.source.is_none_or(|s| s == id) && is_cname(b);
        let bound = drafts.iter().flat_map(|d| &d.zone.names).find(needs);
        let bound = bound.map(|name| format!("{} ({}) is", name.name, name.place));
        let by_tag = || {
            let all = drafts
                .iter()
                .filter_map(|draft| Some((draft.zone.discover.as_ref()?, &draft.zone.origin)));
            let needs = |discover: &Discover| {
                let has = discover.source.is_none_or(|only| only == id);
                has && (0..server.views.len()).any(|view| discover.is_cname_in(view))
            };
            let mut all = all.filter(|(discover, _)| needs(discover));
            all.next().map(|(by, origin)| format!("names from tags in {origin} ({}) are", by.place))
        };
        if let Some(what) = bound.or_else(by_tag) {
            problems.error(
                source.place.clone(),
                format!(
                    "source \"{}\" has neither `region` nor `public_suffix`, and {what} answered with its public EC2 name",
                    source.name
                ),
                "add for example `region = \"us-east-1\"`",
            );
        }
    }
}
