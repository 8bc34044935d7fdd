//! What the writer says of losses: which addresses begin to be kept, which are
//! back, which are let go, and with whose consent.

use std::collections::HashMap;
use std::time::SystemTime;

use tracing::{info, warn};

use super::tell::MAX_LOGGED;
use super::world::World;
use super::{SourceMemory, Writer};
use crate::compile::changes::{Association, MAX_ID};
use crate::config::{Config, SourceId, Target};
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::host::text::brief;
use crate::source::accept::{Held, Losses};
use crate::source::allocation::Allocation;
use crate::source::discover::{Discovered, Rules};
use crate::source::identity::Identity;
use crate::source::inventory::{Address, Entry, Standing, updated};
use crate::writer::history::{Holding, Loss, Mass, What};

/// As many names bound to one address are told.
const MAX_NAMES: usize = 20;

/// The names bound to an address: the first of them, and how many.
pub(crate) type Names = (Vec<String>, usize);

/// What became of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Begun,
    /// It is kept for longer than was said, or less long: a mass loss began, or
    /// is over, or the configuration says otherwise.
    Until,
    Back,
    LetGo,
}

/// One line of the log.
macro_rules! tell {
    ($level:ident, $loss:expr, $message:literal) => {{
        let old = $loss.old.clone().unwrap_or_default();
        let new = $loss.new.clone().unwrap_or_default();
        $level!(
            source = %$loss.source,
            elastic_ip = %$loss.elastic_ip,
            standing = $loss.standing,
            until = %or_none(&$loss.until),
            allocation = %or_none(&$loss.allocation),
            edge_ip = $loss.edge_ip.map(tracing::field::display),
            old_association = %or_none(&old.association),
            new_association = %or_none(&new.association),
            old_instance = %or_none(&old.instance),
            new_instance = %or_none(&new.instance),
            old_private = %or_none(&old.private.map(|ip| ip.to_string())),
            new_private = %or_none(&new.private.map(|ip| ip.to_string())),
            accepted = $loss.accepted,
            names = %$loss.names.join(","),
            names_in_all = $loss.names_in_all,
            $message
        )
    }};
}

impl Writer {
    fn bindings(&self) -> Bindings<'_> {
        let World { config, rules, inventory, .. } = &self.world;
        Bindings { config, rules, discovered: &inventory.discovered }
    }

    /// Says once what begins to be held, what is back, and what is let go;
    /// `accepted`: an operator has said that losses are to be taken as they are.
    pub(super) fn tell_losses(&self, id: SourceId, before: &SourceMemory, accepted: bool) {
        let Some(kept) = self.world.sources.get(id) else { return };
        let turns = turns(before, kept);
        let losses = self.losses_of(id, &turns, before, accepted);
        let events: Vec<_> = turns
            .iter()
            .zip(&losses)
            .map(|((turn, _), loss)| match turn {
                Turn::Begun | Turn::Until => What::Held(loss),
                Turn::Back => What::Back(loss),
                Turn::LetGo => What::LetGo(loss),
            })
            .collect();
        if !events.is_empty() {
            self.note(&events);
        }
        for ((turn, _), loss) in turns.iter().zip(&losses).take(MAX_LOGGED) {
            match turn {
                Turn::Begun => {
                    tell!(warn, loss, "a bound address is lost; its last state is kept");
                }
                Turn::Until => tell!(warn, loss, "a lost address is kept until another time"),
                Turn::Back => tell!(info, loss, "a lost address is back"),
                Turn::LetGo => tell!(warn, loss, "a lost address is let go"),
            }
        }
        if losses.len() > MAX_LOGGED {
            let more = losses.len() - MAX_LOGGED;
            warn!(more, "and more lost addresses: /api/history has them");
        }
        self.tell_mass(id, &before.losses, &kept.losses);
    }

    fn tell_mass(&self, id: SourceId, before: &Losses, now: &Losses) {
        if before.mass == now.mass {
            return;
        }
        let Some(source) = self.config().server.sources.get(id) else { return };
        let lost = now.held.iter().filter(|held| held.bound).count();
        let mass = Mass { source: source.name.clone(), lost };
        if now.mass {
            self.note(&[What::MassLoss(&mass)]);
            warn!(
                source = %source.name,
                lost,
                "more than half of the bound addresses are lost at once: all are kept until \
                 release_after, or `eipdns refresh --accept`"
            );
        } else {
            self.note(&[What::MassLossOver(&mass)]);
            info!(
                source = %source.name,
                lost,
                "the mass loss is over; what is still lost is kept until its hold ends"
            );
        }
    }

    /// Says which bound addresses another association holds, where no name's
    /// change has said so.
    pub(super) fn tell_holders(&self, id: SourceId, before: &SourceMemory) {
        let Some(kept) = self.world.sources.get(id) else { return };
        let Some(source) = self.config().server.sources.get(id) else { return };
        let bound = self.world.bound(id);
        let is_news = |(was, is): &(&Entry, &Entry)| {
            was.is_live()
                && is.is_live()
                && was.address.associated().is_some()
                && is.address.associated().is_some()
                && Association::of(&was.address) != Association::of(&is.address)
                && !self.told.contains(&is.address.allocation())
                && bound(&is.address).is_some()
        };
        let pairs: Vec<_> =
            updated(&before.accepted.entries, &kept.accepted.entries).filter(is_news).collect();
        let addresses: Vec<_> = pairs.iter().map(|(_, is)| &*is.address).collect();
        let mut names = self.bindings().names_of(id, &addresses);
        let holding = |(was, is): &(&Entry, &Entry)| {
            let key = is.address.allocation();
            let (names, names_in_all) = names.remove(&key).unwrap_or_default();
            Holding {
                source: source.name.clone(),
                elastic_ip: key.to_string(),
                allocation: is.address.allocation_id().map(|id| brief(id, MAX_ID)),
                edge_ip: is.address.identity.edge_ip(),
                old: Association::of(&was.address),
                new: Association::of(&is.address),
                names,
                names_in_all,
            }
        };
        let all: Vec<_> = pairs.iter().map(holding).collect();
        if all.is_empty() {
            return;
        }
        self.note(&all.iter().map(What::Associated).collect::<Vec<_>>());
        log_holders(&all);
    }

    fn losses_of(
        &self,
        id: SourceId,
        turns: &[(Turn, &Held)],
        before: &SourceMemory,
        accepted: bool,
    ) -> Vec<Loss> {
        let (Some(source), Some(kept)) =
            (self.config().server.sources.get(id), self.world.sources.get(id))
        else {
            return Vec::new();
        };
        let was = |held: &Held| before.accepted.entries.get(&held.allocation).map(|e| &*e.address);
        let is = |held: &Held| kept.accepted.entries.get(&held.allocation).map(|e| &*e.address);
        let addresses: Vec<_> =
            turns.iter().filter_map(|(_, held)| is(held).or_else(|| was(held))).collect();
        let mut names = self.bindings().names_of(id, &addresses);
        let loss = |(turn, held): &(Turn, &Held)| {
            let (old, new) = (was(held), is(held));
            let (names, names_in_all) = names.remove(&held.allocation).unwrap_or_default();
            // That of an address recovered is new, as are the names bound to it.
            let identity = new.or(old).map(|address| &address.identity);
            let allocation = identity.and_then(Identity::allocation_id);
            Loss {
                source: source.name.clone(),
                elastic_ip: held.allocation.to_string(),
                allocation: allocation.map(|id| brief(id, MAX_ID)),
                edge_ip: identity.and_then(Identity::edge_ip),
                old: old.and_then(Association::of),
                new: new
                    .and_then(Association::of)
                    .filter(|_| matches!(turn, Turn::Back | Turn::LetGo)),
                standing: held.standing.kept().unwrap_or(("live", SystemTime::UNIX_EPOCH)).0,
                until: held
                    .until
                    .filter(|_| matches!(turn, Turn::Begun | Turn::Until))
                    .map(|at| self.shown(at)),
                accepted: accepted && *turn == Turn::LetGo,
                names,
                names_in_all,
            }
        };
        turns.iter().map(loss).collect()
    }
}

/// Which losses of bound addresses begin and end.
fn turns<'k>(before: &'k SourceMemory, now: &'k SourceMemory) -> Vec<(Turn, &'k Held)> {
    let known = |all: &'k Losses| -> HashMap<&'k Allocation, &'k Held> {
        breathing(all.held.iter().filter(|held| held.bound)).map(|h| (&h.allocation, h)).collect()
    };
    if before.losses.held.is_empty() && now.losses.held.is_empty() {
        return Vec::new();
    }
    let (were, are) = (known(&before.losses), known(&now.losses));
    let held = now.losses.held.iter().filter(|held| held.bound).filter_map(|held| {
        match were.get(&held.allocation) {
            Some(was) if was.standing != held.standing => Some((Turn::Begun, held)),
            Some(was) => (was.until != held.until).then_some((Turn::Until, held)),
            None => Some((Turn::Begun, held)),
        }
    });
    let ended = before.losses.held.iter().filter(|h| h.bound && !are.contains_key(&h.allocation));
    let ended = ended.map(|held| {
        let is_back = now.accepted.entries.get(&held.allocation).is_some_and(|entry| {
            let was_missing = matches!(held.standing, Standing::Missing { .. });
            was_missing || entry.address.associated().is_some()
        });
        (if is_back { Turn::Back } else { Turn::LetGo }, held)
    });
    held.chain(ended).collect()
}

fn log_holders(all: &[Holding]) {
    for one in all.iter().take(MAX_LOGGED) {
        let (old, new) = (one.old.clone().unwrap_or_default(), one.new.clone().unwrap_or_default());
        info!(
            source = %one.source,
            elastic_ip = %one.elastic_ip,
            allocation = %or_none(&one.allocation),
            edge_ip = one.edge_ip.map(tracing::field::display),
            old_association = %or_none(&old.association),
            new_association = %or_none(&new.association),
            old_instance = %or_none(&old.instance),
            new_instance = %or_none(&new.instance),
            names = %one.names.join(","),
            names_in_all = one.names_in_all,
            "a bound address is associated anew; the records of its names stay as they are"
        );
    }
    if all.len() > MAX_LOGGED {
        info!(more = all.len() - MAX_LOGGED, "and more addresses: /api/history has them");
    }
}

/// Which names addresses have: by `[names]`, and by their tags.
pub(crate) struct Bindings<'b> {
    pub config: &'b Config,
    pub rules: &'b Rules,
    pub discovered: &'b Discovered,
}

impl Bindings<'_> {
    /// The names of some addresses of a source, by allocation.
    pub(crate) fn names_of(
        &self,
        source: SourceId,
        addresses: &[&Address],
    ) -> HashMap<Allocation, Names> {
        let mut all = bound_to(self.config, source, addresses);
        if self.rules.is_empty() {
            return all;
        }
        for address in breathing(addresses.iter().copied()) {
            for name in self.discovered.names_at(self.rules, source, address) {
                add(&mut all, address, name);
            }
        }
        all
    }
}

fn add(all: &mut HashMap<Allocation, Names>, address: &Address, name: &Key) {
    let (names, in_all) = all.entry(address.allocation()).or_default();
    if names.len() < MAX_NAMES {
        names.push(name.to_string());
    }
    *in_all += 1;
}

fn bound_to(
    config: &Config,
    source: SourceId,
    addresses: &[&Address],
) -> HashMap<Allocation, Names> {
    if addresses.is_empty() {
        return HashMap::new();
    }
    let by_ip: HashMap<_, _> =
        addresses.iter().filter_map(|a| Some((a.public_ip()?, *a))).collect();
    let by_allocation: HashMap<_, _> =
        addresses.iter().filter_map(|a| Some((a.allocation_id()?, *a))).collect();
    let mut by_tag: HashMap<(&str, &str), Vec<&Address>> = HashMap::new();
    for address in breathing(addresses.iter().copied()) {
        for (key, value) in address.tags.iter() {
            by_tag.entry((key, value)).or_default().push(address);
        }
    }
    let mut all: HashMap<Allocation, Names> = HashMap::new();
    for binding in breathing(config.zones.iter().flat_map(|zone| &zone.names)) {
        if binding.source.is_some_and(|only| only != source) {
            continue;
        }
        let bound: Vec<&Address> = match &binding.target {
            Target::Fixed(_) | Target::Discovered { .. } => continue,
            Target::ElasticIp(ip) => by_ip.get(ip).copied().into_iter().collect(),
            Target::Allocation(id) => by_allocation.get(id.as_str()).copied().into_iter().collect(),
            Target::Tags(tags) => {
                let first = tags.first_key_value().map(|(key, value)| (&**key, &**value));
                let some = first.and_then(|first| by_tag.get(&first)).into_iter().flatten();
                let has =
                    |a: &&&Address| tags.iter().all(|(k, v)| a.tags.get(k) == Some(v.as_str()));
                some.filter(has).copied().collect()
            }
        };
        for address in bound {
            add(&mut all, address, &binding.name);
        }
    }
    all
}

fn or_none(word: &Option<String>) -> &str {
    word.as_deref().unwrap_or("-")
}
