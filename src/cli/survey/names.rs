//! What names are bound to, and what every view is answered for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::cli::offline::Offline;
use crate::compile::{Index, Input, names};
use crate::config::{Binding, Mode, Target, View, ViewId, Zone};
use crate::snapshot::Data;
use crate::source::allocation::Allocation;
use crate::status::explain::{AddressOf, Sought, addresses};

/// A name that follows an Elastic IP.
#[derive(Debug, Serialize)]
pub(super) struct NameOf {
    pub name: String,
    pub zone: String,
    /// Where it is bound, or told to come from tags: `file:line`
    pub place: String,
    /// What it is bound to.
    pub target: String,
    /// Does a tag give it?
    pub by_tag: bool,
    /// Is there such an address? None: a source that may have it says nothing.
    pub found: Option<bool>,
    /// The addresses, as each source has them.
    pub addresses: Vec<AddressOf>,
    /// What is answered; views that are answered the same stand together.
    pub answers: Vec<AnswerOf>,
    #[serde(skip)]
    is_set: bool,
}

/// What some views are answered.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct AnswerOf {
    pub views: Vec<String>,
    pub answer: String,
    /// What is odd about it.
    pub warning: Option<String>,
}

/// An address of which several names are bound.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shared {
    /// The Elastic IP, or the allocation of an address that has none.
    pub elastic_ip: String,
    pub names: Vec<String>,
}

impl NameOf {
    /// What is to be done about it, if there is no such address.
    pub(super) fn missing(&self) -> Option<String> {
        let Self { name, place, target, .. } = self;
        (self.found == Some(false)).then(|| {
            format!(
                "{name} ({place}) has no address: {target} is in no source that was asked; \
                 allocate or tag the address, or mend the binding"
            )
        })
    }

    /// How many warnings there are of its answers.
    pub(super) fn warnings(&self) -> usize {
        self.answers.iter().filter(|answer| answer.warning.is_some()).count()
    }
}

/// Every name of every zone that follows an Elastic IP: by zone, those of `[names]` first,
/// as they stand there.
pub(super) fn all(offline: &Offline<'_>) -> Vec<NameOf> {
    let input = offline.input();
    let index = Index::new(&input);
    let mut all = Vec::new();
    for (nth, zone) in offline.config.zones.iter().enumerate() {
        let about = About { offline, input: &input, index: &index, zone };
        let bound = zone.names.iter().filter(|binding| binding.follows_ec2());
        let mut bound: Vec<_> = bound.map(|binding| (&binding.place, binding)).collect();
        bound.sort_by_key(|(place, _)| *place);
        all.extend(bound.into_iter().map(|(_, binding)| about.name(binding, false)));
        let discovered = &offline.inventory.discovered;
        let by_tag = discovered.names.iter();
        let by_tag = by_tag.filter(|(_, named)| named.zone == nth && !named.is_bound);
        let bindings = by_tag.filter_map(|(name, _)| names::binding(zone, discovered, name));
        all.extend(bindings.map(|binding| about.name(&binding, true)));
    }
    all
}

/// Which of them share an address. Who is in a set is in it by tag, and shares nothing.
pub(super) fn shared(all: &[NameOf]) -> Vec<Shared> {
    let mut names = BTreeMap::new();
    for one in all.iter().filter(|one| !one.is_set) {
        for address in one.addresses.iter().filter(|address| address.chosen) {
            let all: &mut Vec<String> = names.entry(&address.elastic_ip).or_default();
            all.push(one.name.clone());
        }
    }
    let shared = names.into_iter().filter(|(_, names)| names.len() > 1);
    shared.map(|(address, names)| Shared { elastic_ip: address.to_string(), names }).collect()
}

/// What names of a zone are looked up in.
struct About<'a> {
    offline: &'a Offline<'a>,
    input: &'a Input<'a>,
    index: &'a Index<'a>,
    zone: &'a Arc<Zone>,
}

impl About<'_> {
    fn name(&self, binding: &Binding, by_tag: bool) -> NameOf {
        let addresses = addresses(self.input, self.index, Sought::of(binding));
        let found = match addresses.is_empty() {
            false => Some(true),
            true if self.is_unknown(binding) => None,
            true => Some(false),
        };
        let is_set = match &binding.target {
            Target::Tags(_) => true,
            Target::Discovered { addresses, allocations, .. } => {
                addresses.len() + allocations.len() > 1
            }
            _ => false,
        };
        NameOf {
            name: binding.name.to_string(),
            zone: self.zone.origin.to_string(),
            place: binding.place.to_string(),
            target: binding.target.to_string(),
            by_tag,
            found,
            answers: self.answers(binding, &addresses),
            addresses,
            is_set,
        }
    }

    /// Does a source say nothing that may have it?
    fn is_unknown(&self, binding: &Binding) -> bool {
        let sources = self.offline.inventory.sources.iter().enumerate();
        let mut silent = sources.filter(|(_, source)| source.entries.is_none());
        silent.any(|(id, _)| binding.source.is_none_or(|only| only == id))
    }

    fn answers(&self, binding: &Binding, addresses: &[AddressOf]) -> Vec<AnswerOf> {
        let mut all: Vec<AnswerOf> = Vec::new();
        for id in &self.zone.views {
            let Some(view) = self.offline.config.server.views.get(*id) else { continue };
            let (answer, warning) = self.answer(binding, addresses, *id, view);
            let is_same = |one: &&mut AnswerOf| one.answer == answer && one.warning == warning;
            match all.iter_mut().find(is_same) {
                Some(one) => one.views.push(view.name.clone()),
                None => all.push(AnswerOf { views: vec![view.name.clone()], answer, warning }),
            }
        }
        all
    }

    /// What a view is answered, and what is odd about that.
    fn answer(
        &self,
        binding: &Binding,
        addresses: &[AddressOf],
        id: ViewId,
        view: &View,
    ) -> (String, Option<String>) {
        let table = self.offline.current.snapshot.views.get(id);
        let table = table.and_then(|table| table.zones.get(self.zone.origin.octets()));
        let resolved = table.and_then(|table| table.resolved.get(binding.name.octets()));
        let Some(resolved) = resolved else {
            return ("what the zone's records say: they have the name".into(), None);
        };
        match &resolved.data {
            Data::Absent => ("no such name (NXDOMAIN)".into(), None),
            Data::Nothing(why) => ("no address (NODATA)".into(), Some(why.to_string())),
            Data::NotReady => {
                let warning = match addresses {
                    // Without a region there is no public EC2 name.
                    [_, ..] => "nothing says the region of its source",
                    [] => "a source that may have the address says nothing",
                };
                ("SERVFAIL".into(), Some(warning.into()))
            }
            Data::Cname(name) => (format!("CNAME {name}"), None),
            data @ (Data::Addresses(_) | Data::Pointers(_)) => {
                let without = resolved.basis.as_ref().and_then(|b| b.without_ipv6.as_ref());
                let warning = beyond_reach(binding, addresses, id, view);
                let warning = warning.or_else(|| Some(format!("no AAAA: {}", without?.text)));
                (data.to_string(), warning)
            }
        }
    }
}

/// Private addresses that the view would be answered if it reached them. An address without
/// a public one is then not answered at all.
fn beyond_reach(
    binding: &Binding,
    addresses: &[AddressOf],
    id: ViewId,
    view: &View,
) -> Option<String> {
    let is_private = binding.modes.get(id) == Some(&Some(Mode::Private));
    if !is_private || binding.pin.is_some_and(|pin| view.reaches(pin)) {
        return None;
    }
    let is_answered =
        |one: &&AddressOf| one.chosen && matches!(one.elastic_ip, Allocation::PublicIp(_));
    let beyond = addresses.iter().filter(is_answered).filter_map(|address| address.private);
    let beyond: Vec<_> = beyond.filter(|private| !view.reaches((*private).into())).collect();
    let all: Vec<_> = beyond.iter().map(ToString::to_string).collect();
    (!all.is_empty()).then(|| {
        format!("`reaches` does not have {}: the public address is answered", all.join(", "))
    })
}
