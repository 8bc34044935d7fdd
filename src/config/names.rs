//! Reads `[names]`: what each name is bound to.

use std::collections::BTreeMap;

use super::addresses::ip;
use super::readers::{self, mode, truth, ttl};
use super::scope::Scope;
use super::table::Table;
use super::value::{At, Value};
use super::words::{one_of, quote, tick};
use super::{Binding, Mode, SourceId, Target, ViewId, server, target};
use crate::diag::Place;
use crate::dns::name::{Key, labels};

/// What the reading of a name needs to know of its zone.
pub(super) struct Context<'a> {
    pub origin: &'a Key,
    /// Views the zone exists in.
    pub views: &'a [ViewId],
    pub server: &'a server::Read,
    /// Keys that stand above `[names]` and are easily written below it.
    pub zone_keys: &'a [&'static str],
}

/// Every name, in order of name.
pub(super) fn read_all(section: &Table<'_>, zone: &Context<'_>) -> Vec<Binding> {
    let mut seen: BTreeMap<Key, Place> = BTreeMap::new();
    let mut names = vec![];
    for (written, v) in section.entries() {
        let Some(name) = owner(&written, &v, zone) else { continue };
        if let Some(first) = seen.get(&name) {
            v.at_key().error(
                format!("{} is the same name as the one at {first}", v.name()),
                "keep one of the two: upper and lower case do not differ in names",
            );
            continue;
        }
        seen.insert(name.clone(), written.place.clone());
        names.extend(binding(&written, &v, name, zone));
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    // They stay for as long as the configuration.
    names.shrink_to_fit();
    names
}

/// The name that an entry is about.
fn owner(written: &At<&str>, v: &Value<'_>, zone: &Context<'_>) -> Option<Key> {
    let key = v.at_key();
    let name = readers::name_of(&key, written.value, Some(zone.origin))?;
    if !name.is_under(zone.origin) {
        key.error(
            format!("{name} is outside the zone {}, so it would never be found", zone.origin),
            "move it to the file of its zone; a name without final dot is inside this one",
        );
        return None;
    }
    if stray_star(&name) {
        key.warn(
            format!("the `*` in {} stands for nothing but itself", v.name()),
            "only a whole first label is a wildcard (RFC 4592 section 2.1.1): write `\"*.…\"`",
        );
    }
    Some(name)
}

/// Is there a `*` that is not the whole first label?
fn stray_star(name: &Key) -> bool {
    labels(name.octets())
        .enumerate()
        .any(|(n, label)| label.contains(&b'*') && !(n == 0 && label == b"*"))
}

fn binding(written: &At<&str>, v: &Value<'_>, name: Key, zone: &Context<'_>) -> Option<Binding> {
    let place = written.place.clone();
    if !v.is_table() {
        let target = target::short(v, zone.zone_keys)?;
        let modes = modes(None, no_cname(&target), zone)?;
        apex(v, &name, &target, &modes, zone)?;
        let (ttl, hold, source, pin) = (None, None, None, None);
        let (ipv6, ptr) = (false, true);
        return Some(Binding { name, target, modes, ttl, hold, source, pin, ipv6, ptr, place });
    }
    let mut t = v.table(Scope::Name, "")?;
    let given: Vec<_> = target::KEYS.iter().filter_map(|key| t.get(key)).collect();
    let fixed = t.get("address").is_some();
    let answer = t.get("answer");
    let ttl = t.take("ttl", ttl);
    let hold = ec2_only(&mut t, "hold", fixed, server::hold);
    let source = ec2_only(&mut t, "source", fixed, |v| source(v, zone.server));
    let pin = ec2_only(&mut t, "pin", fixed, ip);
    let ipv6 = ec2_only(&mut t, "ipv6", fixed, truth).unwrap_or(false);
    let ptr = t.take("ptr", truth).unwrap_or(true);
    let target = match given.as_slice() {
        [] if unquoted_dots(&t, v) => return None,
        [] if t.has_slip_of(&target::KEYS) => None,
        [] => {
            v.at_key().error(
                format!("{} is bound to nothing", v.name()),
                format!("give one of {}", target::KEYS.map(tick).join(", ")),
            );
            None
        }
        [one] => target::read(one),
        [first, others @ ..] => {
            for other in others {
                other.at_key().error(
                    format!("{} has both {} and {}", v.name(), first.name(), other.name()),
                    "keep the one that says which address is meant",
                );
            }
            None
        }
    };
    t.finish();
    let target = target?;
    let modes = modes(answer.as_ref(), no_cname(&target), zone)?;
    apex(v, &name, &target, &modes, zone)?;
    if ipv6 {
        without_addresses(v, &modes);
    }
    Some(Binding { name, target, modes, ttl, hold, source, pin, ipv6, ptr, place })
}

/// Was `a.b = …` written, which to TOML is a table in a table?
fn unquoted_dots(t: &Table<'_>, v: &Value<'_>) -> bool {
    let dotted: Vec<_> = t.rest().iter().filter_map(|(_, inner)| v.dotted_with(inner)).collect();
    for dotted in &dotted {
        v.at_key().error(
            format!("the name {} has a dot, which to TOML is a table in a table", tick(dotted)),
            format!("put it in double quotes, as in `\"{dotted}\" = …`"),
        );
    }
    !dotted.is_empty()
}

/// Reads a key that says how addresses of EC2 are treated.
fn ec2_only<'f, T>(
    t: &mut Table<'f>,
    key: &'static str,
    fixed: bool,
    read: impl FnOnce(&Value<'f>) -> Option<T>,
) -> Option<T> {
    let value = t.get(key)?;
    if fixed {
        value.at_key().error(format!("`{key}` means nothing to a fixed `address`"), "remove it");
        return None;
    }
    read(&value)
}

/// The source of that name.
pub(super) fn source(v: &Value<'_>, server: &server::Read) -> Option<SourceId> {
    let Some(name) = v.as_str() else {
        v.wrong("the name of a source in quotes", "write `source = \"main\"`");
        return None;
    };
    let id = server.server.sources.iter().position(|s| s.name == name);
    if id.is_none() && server.complete {
        v.error(
            format!("there is no source {} in server.toml", quote(name)),
            one_of(name, server.server.sources.iter().map(|s| s.name.as_str())),
        );
    }
    id
}

/// Warns of `ipv6` where no view answers addresses.
pub(super) fn without_addresses(v: &Value<'_>, modes: &[Option<Mode>]) {
    if modes.iter().all(|mode| matches!(mode, None | Some(Mode::Cname))) {
        v.at_key().warn(
            "`ipv6` changes nothing: in every view the name is a CNAME, or is not there",
            "remove it, or answer addresses in a view",
        );
    }
}

/// What cannot be answered as a CNAME, and why.
pub(super) type NoCname = Option<(&'static str, &'static str)>;

/// Several addresses.
pub(super) const SEVERAL: &str = "several addresses may match, and a CNAME has one target";

fn no_cname(target: &Target) -> NoCname {
    match target {
        Target::Tags(_) => Some(("`tag`", SEVERAL)),
        Target::Fixed(_) => Some(("`address`", "a fixed address has no EC2 name")),
        Target::ElasticIp(_) | Target::Allocation(_) | Target::Discovered { .. } => None,
    }
}

/// One per view of the server: the mode there, or none where it is absent.
pub(super) fn modes(
    answer: Option<&Value<'_>>,
    no_cname: NoCname,
    zone: &Context<'_>,
) -> Option<Vec<Option<Mode>>> {
    let mut modes: Vec<_> = zone
        .server
        .server
        .views
        .iter()
        .enumerate()
        .map(|(id, view)| zone.views.contains(&id).then_some(view.answer))
        .collect();
    let Some(v) = answer else { return Some(modes) };
    if !v.is_table() {
        let mode = chosen(v, no_cname)?;
        if mode.is_none() {
            v.error(
                "`answer = \"none\"` leaves the name in no view at all",
                "remove the name, or write `answer = { vpc = \"none\" }` for one view",
            );
        }
        for there in modes.iter_mut().filter(|there| there.is_some()) {
            *there = mode;
        }
        return Some(modes);
    }
    by_view(v, no_cname, zone, modes)
}

/// `answer = { vpc = "private", … }`: the views that it names take these modes.
fn by_view(
    answer: &Value<'_>,
    no_cname: NoCname,
    zone: &Context<'_>,
    mut modes: Vec<Option<Mode>>,
) -> Option<Vec<Option<Mode>>> {
    let mut good = true;
    for (view, v) in answer.table(Scope::Free, "")?.entries() {
        let mode = chosen(&v, no_cname);
        good &= mode.is_some();
        let Some(id) = zone.server.view(view.value) else {
            if zone.server.complete {
                let known = zone.server.server.views.iter().map(|view| view.name.as_str());
                v.at_key().error(
                    format!("there is no view {} in server.toml", quote(view.value)),
                    one_of(view.value, known),
                );
            }
            continue;
        };
        match modes.get_mut(id) {
            Some(there) if zone.views.contains(&id) => *there = mode.flatten(),
            _ => v.at_key().warn(
                format!("the zone does not exist in view {}", quote(view.value)),
                "remove the view here, or add it to the zone's `views`",
            ),
        }
    }
    if good && !zone.views.is_empty() && modes.iter().all(Option::is_none) {
        answer.at_key().warn("the name exists in no view", "remove it, or answer it in one view");
    }
    good.then_some(modes)
}

/// A mode, or `"none"`.
fn chosen(v: &Value<'_>, no_cname: NoCname) -> Option<Option<Mode>> {
    if v.as_str() == Some("none") {
        return Some(None);
    }
    let mode = mode(v)?;
    if mode == Mode::Cname
        && let Some((what, why)) = no_cname
    {
        v.error(
            format!("{what} cannot be answered as \"cname\": {why}"),
            "choose \"public\" or \"private\"",
        );
        return None;
    }
    Some(Some(mode))
}

/// A CNAME stands beside nothing else (RFC 1034 section 3.6.2), and the apex
/// has SOA and NS. None: reported.
fn apex(
    v: &Value<'_>,
    name: &Key,
    target: &Target,
    modes: &[Option<Mode>],
    zone: &Context<'_>,
) -> Option<()> {
    let one = matches!(target, Target::ElasticIp(_) | Target::Allocation(_));
    let cname = modes.iter().position(|mode| *mode == Some(Mode::Cname));
    let Some(view) = cname.filter(|_| one && name == zone.origin) else { return Some(()) };
    let view = &zone.server.server.views.get(view)?.name;
    v.at_key().error(
        format!(
            "in view \"{view}\" the apex would be a CNAME, which cannot stand beside its SOA and NS"
        ),
        format!("write `answer = {{ {view} = \"public\" }}` for it"),
    );
    None
}
