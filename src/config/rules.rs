//! What only shows when all files are seen together.

use std::collections::BTreeMap;

use super::records;
use super::zone::Draft;
use super::{Binding, Mode, Server, Target, Zone, server};
use crate::diag::Problems;
use crate::name::{Key, suffixes};

/// Looks at the whole configuration.
pub(super) fn check(read: &server::Read, drafts: &[Draft], problems: &mut Problems) {
    let origins = origins(drafts, problems);
    for draft in drafts {
        occluded(&draft.zone, &origins, problems);
        records::check(&draft.zone, &read.server, &draft.keys, problems);
        if draft.complete && read.complete {
            nameservers(draft, &origins, &read.server, problems);
        }
    }
    if read.complete {
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
            match binding.modes.get(*view).copied().flatten() {
                None => problems.warn(
                    target.place.clone(),
                    format!("nameserver {} has no address in view \"{name}\"", target.value),
                    format!("answer it in that view too ({})", binding.place),
                ),
                Some(Mode::Cname) if one_address(binding) => problems.warn(
                    target.place.clone(),
                    format!(
                        "nameserver {} is a CNAME in view \"{name}\", which resolvers refuse (RFC 2181 section 10.3)",
                        target.value
                    ),
                    format!("answer it as \"public\" in that view ({})", binding.place),
                ),
                Some(_) => {}
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

/// Is the target one Elastic IP, so that "cname" makes a CNAME of it?
fn one_address(binding: &Binding) -> bool {
    matches!(binding.target, Target::ElasticIp(_) | Target::Allocation(_))
}

/// Names that wait for addresses of EC2 when nothing delivers any.
fn without_source(server: &Server, drafts: &[Draft], problems: &mut Problems) {
    if !server.sources.is_empty() {
        return;
    }
    for draft in drafts {
        let waits = |b: &&Binding| !matches!(b.target, Target::Fixed(_));
        let mut waiting: Vec<_> = draft.zone.names.iter().filter(waits).collect();
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
        let needs = |b: &&Binding| {
            one_address(b)
                && b.source.is_none_or(|s| s == id)
                && b.modes.contains(&Some(Mode::Cname))
        };
        if let Some(name) = drafts.iter().flat_map(|d| &d.zone.names).find(needs) {
            problems.error(
                source.place.clone(),
                format!(
                    "source \"{}\" has neither `region` nor `public_suffix`, and {} ({}) is answered with its public EC2 name",
                    source.name, name.name, name.place
                ),
                "add for example `region = \"us-east-1\"`",
            );
        }
    }
}
