//! What the writer says of names from tags: which are held, back and let go, and what of
//! tags gives no name.

use tracing::{info, warn};

use super::Writer;
use super::history::{Mass, NameLoss, What};
use super::tell::MAX_LOGGED;
use super::world::World;
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::source::discover::{Answered, Discovered, Named, Problem};

/// As many addresses of one name are told.
const MAX_ADDRESSES: usize = 32;

/// What became of a name that no tag gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Held,
    Back,
    LetGo,
}

macro_rules! tell {
    ($level:ident, $loss:expr, $message:literal) => {
        $level!(
            name = %$loss.name,
            source = %$loss.source,
            tag = %$loss.tag,
            elastic_ips = %$loss.elastic_ips.join(","),
            until = %$loss.until.as_deref().unwrap_or("-"),
            accepted = $loss.accepted,
            $message
        )
    };
}

impl Writer {
    /// Says once what begins to be held, what is back and let go, and what is wrong with
    /// tags, since `before`.
    pub(super) fn tell_tags(&self, before: &Discovered, answered: Option<Answered>) {
        let now = &self.world.inventory.discovered;
        let accepted = answered.is_some_and(|answered| answered.accept_losses);
        let turns = turns(before, now);
        let losses: Vec<_> = breathing(&turns)
            .map(|(turn, name, named)| (*turn, self.name_loss(*turn, name, named, accepted)))
            .collect();
        let events: Vec<_> = losses
            .iter()
            .map(|(turn, loss)| match turn {
                Turn::Held => What::NameHeld(loss),
                Turn::Back => What::NameBack(loss),
                Turn::LetGo => What::NameLetGo(loss),
            })
            .collect();
        if !events.is_empty() {
            self.note(&events);
        }
        for (turn, loss) in losses.iter().take(MAX_LOGGED) {
            match turn {
                Turn::Held => tell!(warn, loss, "no tag gives a name any longer; it is kept"),
                Turn::Back => tell!(info, loss, "a tag gives a name again"),
                Turn::LetGo => tell!(warn, loss, "a name that no tag gives is let go"),
            }
        }
        if losses.len() > MAX_LOGGED {
            let more = losses.len() - MAX_LOGGED;
            warn!(more, "and more names from tags: /api/history has them");
        }
        self.tell_mass_of_names(before, now);
        self.tell_tag_problems(&now.new_problems(before));
    }

    fn name_loss(&self, turn: Turn, name: &Key, named: &Named, accepted: bool) -> NameLoss {
        let World { rules, inventory, .. } = &self.world;
        let until = inventory.discovered.until(rules, name).filter(|_| turn == Turn::Held);
        let ips = named.members.iter().map(|member| member.entry.address.allocation().to_string());
        NameLoss {
            name: name.to_string(),
            source: self.source_name(named.source()),
            tag: rules.tag(named.zone).unwrap_or_default(),
            elastic_ips: ips.take(MAX_ADDRESSES).collect(),
            until: until.map(|at| self.shown(at)),
            accepted: accepted && turn == Turn::LetGo,
        }
    }

    fn source_name(&self, id: usize) -> String {
        self.config().server.sources.get(id).map(|s| s.name.clone()).unwrap_or_default()
    }

    fn tell_mass_of_names(&self, before: &Discovered, now: &Discovered) {
        for (id, losses) in now.losses.iter().enumerate() {
            let was = before.losses.get(id).is_some_and(|losses| losses.mass);
            if was == losses.mass {
                continue;
            }
            let held = now.held(&self.world.rules);
            let lost = held.iter().filter(|held| held.source == id).count();
            let mass = Mass { source: self.source_name(id), lost };
            let source = &mass.source;
            if losses.mass {
                self.note(&[What::NamesMassLoss(&mass)]);
                warn!(
                    %source,
                    lost,
                    "more than half of the names that tags gave are gone at once: all are kept \
                     until release_after, or `eipdns refresh --accept`"
                );
            } else {
                self.note(&[What::NamesMassLossOver(&mass)]);
                info!(
                    %source,
                    lost,
                    "the mass loss of names is over; what is still gone is kept until its hold ends"
                );
            }
        }
    }

    fn tell_tag_problems(&self, problems: &[&Problem]) {
        for problem in problems.iter().take(MAX_LOGGED) {
            warn!(
                kind = problem.kind.as_str(),
                name = %problem.name,
                elastic_ip = %problem.claim.allocation,
                source = %self.source_name(problem.claim.source),
                "a tag gives no name, or not everywhere: {}",
                problem.why
            );
        }
        if problems.len() > MAX_LOGGED {
            let more = problems.len() - MAX_LOGGED;
            warn!(more, "and more tags give no name: `eipdns status` has them");
        }
    }
}

/// Which names begin to be held, which are no longer, and why not.
fn turns<'d>(before: &'d Discovered, now: &'d Discovered) -> Vec<(Turn, &'d Key, &'d Named)> {
    let is_gone =
        |of: &Discovered, name: &Key| of.names.get(name).is_some_and(|n| n.gone.is_some());
    let gone = |of: &'d Discovered, other: &'d Discovered| {
        let all = of.notable_names();
        all.filter(move |(name, named)| named.gone.is_some() && !is_gone(other, name))
    };
    let begun = gone(now, before).map(|(name, named)| (Turn::Held, name, named));
    let ended = gone(before, now).filter_map(|(name, was)| {
        let back = now.names.get(name);
        let is_same = |is: &Named| {
            is.members.iter().any(|m| was.members.iter().any(|w| w.claim() == m.claim()))
        };
        match back {
            Some(is) if is_same(is) => Some((Turn::Back, name, &**is)),
            // Who has it now is told as a move.
            Some(_) => None,
            None => Some((Turn::LetGo, name, was)),
        }
    });
    begun.chain(ended).collect()
}
