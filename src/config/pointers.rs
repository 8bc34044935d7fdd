//! Names that records point at: what lies in the zone should be there.

use std::cell::OnceCell;
use std::collections::HashSet;

use hickory_proto::rr::{Name, RData, RecordType};

use super::records::Look;
use super::{Binding, View};
use crate::diag::{Place, Problems, Severity};
use crate::dns::name::Key;
use crate::records::{MAX_SHOWN, StaticRecord};

/// Reports targets of NS, MX, SRV, SVCB, HTTPS and CNAME that this zone lacks or
/// that are CNAMEs where they must not be. `answers_elsewhere` says whether
/// another of our zones answers for a name.
pub(super) fn check(
    look: &Look<'_>,
    answers_elsewhere: &dyn Fn(&Key) -> bool,
    problems: &mut Problems,
) {
    let pointers = Pointers { look, answers_elsewhere, names: OnceCell::new() };
    let mut told = 0;
    for record in &look.file.records {
        let Some(pointer) = Pointer::of(record, &look.zone.origin) else { continue };
        let Some(fault) = pointers.fault(&pointer) else { continue };
        told += 1;
        if told > MAX_SHOWN {
            continue;
        }
        let (severity, what, remedy) = pointers.told(&pointer, &fault);
        match severity {
            Severity::Error => problems.error(look.place(record), what, remedy),
            Severity::Warning => problems.warn(look.place(record), what, remedy),
        }
    }
    if let Some(more @ 1..) = told.checked_sub(MAX_SHOWN) {
        problems.warn(
            Place::file(&look.zone.file),
            format!("{more} more records point at names that are wrong"),
            "mend those above first",
        );
    }
}

/// A record that points at another name.
struct Pointer<'r> {
    record: &'r StaticRecord,
    target: Key,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nameserver,
    Mail,
    Service,
    Endpoint,
    Cname,
}

impl<'r> Pointer<'r> {
    /// The target in a message.
    fn shown(&self) -> String {
        let target = &self.target;
        match self.kind {
            Kind::Nameserver => format!("the nameserver {target}"),
            Kind::Mail => format!("the mail exchange {target}"),
            _ => format!("the target {target} of this {}", self.record.rtype),
        }
    }

    fn of(record: &'r StaticRecord, origin: &Key) -> Option<Self> {
        let (target, kind): (&Name, _) = match &record.data {
            RData::NS(ns) if record.owner == *origin => (&ns.0, Kind::Nameserver),
            RData::MX(mx) => (&mx.exchange, Kind::Mail),
            RData::SRV(srv) => (&srv.target, Kind::Service),
            RData::SVCB(svcb) => (&svcb.target_name, Kind::Endpoint),
            RData::HTTPS(https) => (&https.0.target_name, Kind::Endpoint),
            RData::CNAME(cname) => (&cname.0, Kind::Cname),
            _ => return None,
        };
        // "." means "none" or the owner itself (RFC 2782, RFC 9460).
        (!target.is_root()).then(|| Self { record, target: Key::from_name(target), kind })
    }
}

/// What is wrong with a target in the zone.
enum Fault<'l> {
    /// It is a CNAME in the file.
    Cname(&'l StaticRecord),
    /// It is a CNAME in a view.
    CnameIn(&'l View),
    /// It has no address.
    NoAddress,
    /// Nor is it in this view.
    NotIn(&'l View),
    /// There is no such name.
    NoName,
    /// Only a wildcard has it, and it ends in the origin twice.
    TwiceTheOrigin,
}

struct Pointers<'l> {
    look: &'l Look<'l>,
    answers_elsewhere: &'l dyn Fn(&Key) -> bool,
    /// Every name of the zone and those between them and the origin; made when
    /// first needed.
    names: OnceCell<HashSet<Key>>,
}

impl<'l> Pointers<'l> {
    fn fault(&self, pointer: &Pointer<'_>) -> Option<Fault<'l>> {
        let (look, target) = (self.look, &pointer.target);
        if !target.is_under(&look.zone.origin)
            || self.is_handed_on(target)
            || (self.answers_elsewhere)(target)
        {
            return None;
        }
        if pointer.kind == Kind::Cname {
            return self.lacks(target).then_some(Fault::NoName).or_else(|| {
                (self.bound(target).is_none() && self.is_twice_below(target))
                    .then_some(Fault::TwiceTheOrigin)
            });
        }
        if let Some(cname) = look.of(target, RecordType::CNAME) {
            return Some(Fault::Cname(cname));
        }
        if let Some(binding) = self.covering(target) {
            if let Some(view) = look.view_without(binding) {
                return Some(Fault::NotIn(view));
            }
            let cname = (pointer.kind != Kind::Endpoint).then(|| look.view_with_cname(binding));
            return cname.flatten().map(Fault::CnameIn);
        }
        let found = look.has_address(target)
            || self.is_own_nameserver(target)
            || self.wildcards(target).any(|wildcard| look.has_address(&wildcard));
        (!found).then_some(Fault::NoAddress)
    }

    /// Severity, what is wrong, what to do.
    fn told(&self, pointer: &Pointer<'_>, fault: &Fault<'_>) -> (Severity, String, String) {
        let (look, target) = (self.look, &pointer.target);
        let shown = pointer.shown();
        let add = |rest: &str| match self.without_dot(target) {
            Some(meant) => {
                format!("write `{meant}` if that is meant: with a final dot; else {rest}")
            }
            None => rest.to_owned(),
        };
        match fault {
            Fault::Cname(cname) => (
                Severity::Warning,
                format!("{shown} is a CNAME ({})", look.place(cname)),
                "name its target instead (RFC 2181 section 10.3)".into(),
            ),
            Fault::CnameIn(view) => (
                Severity::Warning,
                format!("{shown} is a CNAME in view \"{}\" (RFC 2181 section 10.3)", view.name),
                "answer it as \"private\" or \"public\" in that view".into(),
            ),
            Fault::NoAddress => {
                // Clients of a service have nowhere else to go; BIND refuses it too.
                let service = pointer.kind == Kind::Service;
                let severity = if service { Severity::Error } else { Severity::Warning };
                let remedy = add("add one to the records or to [names]");
                (severity, format!("{shown} has no address"), remedy)
            }
            Fault::NotIn(view) => (
                Severity::Warning,
                format!("{shown} is not in view \"{}\", where this record is", view.name),
                "answer it in that view too, or give that view other `records`".into(),
            ),
            Fault::NoName => (
                Severity::Warning,
                format!("{} is a CNAME to {target}, which the zone lacks", pointer.record.owner),
                add("add it to the records or to [names]"),
            ),
            Fault::TwiceTheOrigin => (
                Severity::Warning,
                format!(
                    "{} is a CNAME to {target}, which has the origin twice and is only in a wildcard",
                    pointer.record.owner
                ),
                add("remove this record: the wildcard answers for it"),
            ),
        }
    }

    /// What may have been meant with a final dot.
    fn without_dot(&self, target: &Key) -> Option<String> {
        let written = target.relative_to(&self.look.zone.origin);
        written.contains('.').then(|| format!("{written}."))
    }

    /// Does the target end in the origin twice?
    fn is_twice_below(&self, target: &Key) -> bool {
        let origin = self.look.zone.origin.to_string();
        self.without_dot(target).is_some_and(|name| {
            name == origin || name.strip_suffix(&origin).is_some_and(|rest| rest.ends_with('.'))
        })
    }

    /// Is `name` below a delegation or DNAME, or at the former?
    fn is_handed_on(&self, name: &Key) -> bool {
        let origin = &self.look.zone.origin;
        let has = |name: &Key, rtype| self.look.of(name, rtype).is_some();
        let cut = std::iter::successors(Some(name.clone()), Key::parent)
            .take_while(|above| above != origin)
            .any(|above| has(&above, RecordType::NS));
        let below = || std::iter::successors(name.parent(), Key::parent);
        cut || below()
            .take_while(|above| above.is_under(origin))
            .any(|above| has(&above, RecordType::DNAME))
    }

    /// Does neither a record nor a binding, nor a wildcard, make this name exist? Where
    /// tags give names, nobody can say.
    fn lacks(&self, name: &Key) -> bool {
        let look = self.look;
        if look.zone.discover.is_some() {
            return false;
        }
        let exists = look.by_owner.contains_key(name)
            || self.covering(name).is_some()
            || self.is_own_nameserver(name)
            || self.wildcards(name).any(|wildcard| look.by_owner.contains_key(&wildcard));
        !exists && !self.names().contains(name)
    }

    fn names(&self) -> &HashSet<Key> {
        self.names.get_or_init(|| {
            let zone = self.look.zone;
            let mut names = HashSet::new();
            let bound = zone.names.iter().map(|binding| &binding.name);
            for name in self.look.by_owner.keys().copied().chain(bound) {
                for above in std::iter::successors(Some(name.clone()), Key::parent) {
                    if !above.is_under(&zone.origin) || !names.insert(above) {
                        break;
                    }
                }
            }
            names
        })
    }

    /// Is it `ns1` of a zone that names no nameservers? It has our addresses.
    fn is_own_nameserver(&self, name: &Key) -> bool {
        let zone = self.look.zone;
        zone.nameservers.is_none()
            && self.look.of(&zone.origin, RecordType::NS).is_none()
            && zone.origin.child(b"ns1").as_ref() == Some(name)
    }

    /// Names of wildcards that may cover `name`, the closest first.
    fn wildcards(&self, name: &Key) -> impl Iterator<Item = Key> {
        std::iter::successors(name.parent(), Key::parent)
            .take_while(|above| above.is_under(&self.look.zone.origin))
            .filter_map(|above| above.child(b"*"))
    }

    fn bound(&self, name: &Key) -> Option<&'l Binding> {
        let names = &self.look.zone.names;
        names.get(names.binary_search_by(|binding| binding.name.cmp(name)).ok()?)
    }

    /// The binding of a name, or of a wildcard that covers it.
    fn covering(&self, name: &Key) -> Option<&'l Binding> {
        self.bound(name).or_else(|| self.wildcards(name).find_map(|wildcard| self.bound(&wildcard)))
    }
}
