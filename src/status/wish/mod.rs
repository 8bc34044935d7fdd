//! Is a name answered with what an operator waits for? What `/api/answered`
//! says and `eipdns refresh --wait-for` goes by.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use serde::{Deserialize, Serialize};

use crate::answer::{answer_in_view, lookup};
use crate::compile::{Index, Input, Sighting, names};
use crate::config::{Binding, Mode, SourceId, Target, ViewId};
use crate::dns::name::Key;
use crate::snapshot::{Data, Snapshot};
use crate::status::near::near;

/// What to wait for: `NAME=ADDRESS` or `NAME=eipassoc-…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Whose answer it is about.
    pub name: Key,
    /// What it is to be.
    pub wanted: Wanted,
}

/// What a name's answer is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This address, alone or among others.
    Address(IpAddr),
    /// Whatever rests on this association.
    Association(String),
}

/// Why a text is no [`Wish`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WishError {
    /// There is no `=`.
    #[error("write NAME=ADDRESS or NAME=eipassoc-…")]
    NoEquals,
    /// What stands before it.
    #[error("{name:?} is no domain name: {why}")]
    Name {
        /// As it was written.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// What stands behind it.
    #[error("{0:?} is neither an address nor an association (eipassoc-…)")]
    Wanted(String),
}

impl FromStr for Wish {
    type Err = WishError;

    fn from_str(text: &str) -> Result<Self, WishError> {
        let (name, wanted) = text.split_once('=').ok_or(WishError::NoEquals)?;
        let wanted = match wanted.parse() {
            Ok(ip) => Wanted::Address(ip),
            Err(_) if wanted.starts_with("eipassoc-") => Wanted::Association(wanted.into()),
            Err(_) => return Err(WishError::Wanted(wanted.into())),
        };
        let name = Key::parse(name, None)
            .map_err(|why| WishError::Name { name: name.into(), why: why.to_string() })?;
        Ok(Self { name, wanted })
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.wanted)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Address(ip) => write!(f, "{ip}"),
            Wanted::Association(id) => f.write_str(id),
        }
    }
}

/// What became of wishes, all in one snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// Of the snapshot.
    pub generation: u64,
    /// Each wish, in the order in which they were asked.
    pub wishes: Vec<Judged>,
}

/// What became of one wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judged {
    /// The name.
    pub name: String,
    /// What its answer is to be.
    pub wanted: String,
    /// Is it?
    pub verdict: Verdict,
    /// What is answered in each view that is waited for.
    pub views: Vec<InView>,
    /// The sources whose word that is: if one of them fails, it is its last good
    /// one.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// Is a wish true?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All views that are waited for say so.
    Answered,
    /// At least one says something else.
    Otherwise,
    /// The name is bound nowhere; waiting helps nothing.
    NotBound {
        /// The bound name that it may be a slip of.
        near: Option<String>,
    },
    /// The name is bound, but not in the view that was asked for.
    NotInView {
        /// Where it is.
        bound_in: Vec<String>,
    },
    /// The wanted address is an Elastic IP of ours, which this view, being a
    /// private one, is not answered; views of public addresses are answered it
    /// whoever holds it.
    OwnElasticIp {
        /// The private view.
        view: String,
    },
}

/// What one view is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InView {
    /// Its name.
    pub view: String,
    /// For people.
    pub answered: String,
    /// Is it what is wanted?
    pub is_so: bool,
}

impl fmt::Display for Judged {
    /// For an operator, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, wanted, .. } = self;
        let views = || {
            let all: Vec<_> =
                self.views.iter().map(|v| format!("{}: {}", v.view, v.answered)).collect();
            all.join("; ")
        };
        match &self.verdict {
            Verdict::Answered => write!(f, "{name} is answered with {wanted} ({})", views()),
            Verdict::Otherwise => {
                write!(f, "{name} is answered otherwise than {wanted} ({})", views())
            }
            Verdict::NotBound { near: None } => write!(f, "{name} is bound in no zone"),
            Verdict::NotBound { near: Some(near) } => {
                write!(f, "{name} is bound in no zone; did you mean {near}?")
            }
            Verdict::NotInView { bound_in } => {
                write!(f, "{name} is not bound in that view, only in {}", bound_in.join(", "))
            }
            Verdict::OwnElasticIp { view } => write!(
                f,
                "{wanted} is an Elastic IP of ours, which {name} keeps whoever holds it: wait for the \
                 private address of the new holder, which view {view} is answered, or for its \
                 association (eipassoc-…), or say whose answer you mean with --view"
            ),
        }
    }
}

/// What one view has of a wish's name.
struct Seen<'s> {
    view: ViewId,
    mode: Mode,
    binding: Cow<'s, Binding>,
    data: &'s Data,
    /// Whose word it is; none of fixed addresses and pins.
    sources: &'s [SourceId],
}

/// Judges `wish` in `view`, or else in all views that have the name: those of
/// private addresses and CNAMEs, if there are any; others never change.
///
/// All is read from `snapshot`; `input` says what it was made from.
pub(crate) fn judge(
    input: &Input<'_>,
    snapshot: &Snapshot,
    wish: &Wish,
    view: Option<ViewId>,
) -> Judged {
    let judge = Judge { input, snapshot, index: Index::new(input), wish };
    let all: Vec<_> = (0..snapshot.views.len()).filter_map(|view| judge.see(view)).collect();
    let (verdict, views) = judge.verdict(&all, view);
    let sources = judge.sources(&all);
    let (name, wanted) = (wish.name.to_string(), wish.wanted.to_string());
    Judged { name, wanted, verdict, views, sources }
}

struct Judge<'s> {
    input: &'s Input<'s>,
    snapshot: &'s Snapshot,
    index: Index<'s>,
    wish: &'s Wish,
}

impl<'s> Judge<'s> {
    /// None: the name is not bound there.
    fn see(&self, view: ViewId) -> Option<Seen<'s>> {
        let name = self.wish.name.octets();
        let table = self.snapshot.views.get(view)?.zone_of(name)?;
        let node = lookup::node_for(table, name)?;
        let discovered = &self.snapshot.inventory.discovered;
        let binding = names::binding(&table.zone, discovered, &node.key)?;
        let mode = binding.modes.get(view).copied().flatten()?;
        let resolved = table.resolved.get(node.key.octets())?;
        let sources = resolved.basis.as_ref().map_or(&[][..], |basis| &basis.sources);
        Some(Seen { view, mode, binding, data: &resolved.data, sources })
    }

    fn verdict(&self, all: &[Seen<'s>], only: Option<ViewId>) -> (Verdict, Vec<InView>) {
        let none = |verdict| (verdict, Vec::new());
        if all.is_empty() {
            return none(Verdict::NotBound { near: self.near() });
        }
        if only.is_some_and(|only| all.iter().all(|seen| seen.view != only)) {
            let bound_in = all.iter().map(|seen| self.name_of(seen.view)).collect();
            return none(Verdict::NotInView { bound_in });
        }
        if let (None, Some(seen)) = (only, all.iter().find(|seen| self.is_confused(seen))) {
            return none(Verdict::OwnElasticIp { view: self.name_of(seen.view) });
        }
        let views: Vec<_> = self.waited_for(all, only).map(|seen| self.in_view(seen)).collect();
        let is_so = views.iter().all(|view| view.is_so);
        (if is_so { Verdict::Answered } else { Verdict::Otherwise }, views)
    }

    /// Is the Elastic IP wanted of a view that hides it?
    fn is_confused(&self, seen: &Seen<'_>) -> bool {
        let Wanted::Address(IpAddr::V4(ip)) = self.wish.wanted else { return false };
        let Seen { mode, binding, .. } = seen;
        *mode != Mode::Public
            && !matches!(binding.target, Target::Fixed(_))
            && binding.pin != Some(ip.into())
            && self.index.best_of(ip).is_some()
    }

    fn waited_for<'a>(
        &'a self,
        all: &'a [Seen<'s>],
        only: Option<ViewId>,
    ) -> impl Iterator<Item = &'a Seen<'s>> {
        let moving = all.iter().any(|seen| self.moves(seen));
        all.iter().filter(move |seen| match only {
            Some(only) => seen.view == only,
            None => !moving || self.moves(seen),
        })
    }

    /// May the view come to be answered what is wanted? One that does not reach
    /// the address is answered the Elastic IP, as a public one. One of EC2 names has no answer
    /// where there is no public address.
    fn moves(&self, seen: &Seen<'_>) -> bool {
        let reaches = || match self.wish.wanted {
            Wanted::Address(ip) => {
                let views = &self.input.config.server.views;
                let view = views.iter().find(|view| view.name == self.name_of(seen.view));
                view.is_none_or(|view| view.reaches(ip))
            }
            Wanted::Association(_) => true,
        };
        match seen.mode {
            Mode::Private => reaches(),
            Mode::Cname => reaches() && self.may_be_public(seen),
            Mode::Public => false,
        }
    }

    /// Is one of the addresses an Elastic IP, or none there yet?
    fn may_be_public(&self, seen: &Seen<'_>) -> bool {
        let all = self.index.best(&seen.binding.target, seen.binding.source);
        all.is_empty() || all.iter().any(|one| one.entry.address.public_ip().is_some())
    }

    /// The names of those that the answers rest on.
    fn sources(&self, all: &[Seen<'s>]) -> Vec<String> {
        let ids: BTreeSet<_> = all.iter().flat_map(|seen| seen.sources).copied().collect();
        let name = |id: SourceId| Some(self.snapshot.sources.get(id)?.name.clone());
        ids.into_iter().filter_map(name).collect()
    }

    fn in_view(&self, seen: &Seen<'_>) -> InView {
        let (kept, held): (Vec<_>, Vec<_>) = self
            .index
            .best(&seen.binding.target, seen.binding.source)
            .into_iter()
            .partition(|one| one.entry.standing.kept().is_some());
        let (code, mut addresses) = self.ask(seen.view);
        let mut answered = seen.data.to_string();
        if code != ResponseCode::NoError {
            answered = format!("{code:?}").to_uppercase();
        } else if let Data::Cname(_) = seen.data {
            if addresses.is_empty() {
                // It leads out of our zones, inside a VPC to this address.
                let all = held.iter().chain(&kept);
                let private = all.filter_map(|one| one.entry.address.associated());
                addresses.extend(private.map(IpAddr::from));
            }
            let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            answered = format!("{answered} ({})", shown.join(" "));
        }
        // What is kept of a lost address is no longer so at EC2.
        let is_kept = |ip: &IpAddr| {
            let is_it =
                |s: &Sighting<'_>| s.entry.address.associated().map(IpAddr::from) == Some(*ip);
            !seen.sources.is_empty() && kept.iter().any(is_it) && !held.iter().any(is_it)
        };
        for one in &kept {
            if let Some((word, _)) = one.entry.standing.kept() {
                answered += &format!(", {} is {word} and HELD", one.entry.address.allocation());
            }
        }
        let is_so = code == ResponseCode::NoError
            && match &self.wish.wanted {
                Wanted::Address(ip) => addresses.contains(ip) && !is_kept(ip),
                Wanted::Association(id) => {
                    let is_it = |one: &str| one == id;
                    let mut held =
                        held.iter().filter_map(|s| s.entry.address.association_id.as_deref());
                    !seen.sources.is_empty() && held.any(is_it)
                }
            };
        InView { view: self.name_of(seen.view), answered, is_so }
    }

    /// What a client in the view is answered: the code and the addresses.
    fn ask(&self, view: ViewId) -> (ResponseCode, Vec<IpAddr>) {
        let rtype = match self.wish.wanted {
            Wanted::Address(IpAddr::V6(_)) => RecordType::AAAA,
            Wanted::Address(IpAddr::V4(_)) | Wanted::Association(_) => RecordType::A,
        };
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.queries.push(Query::query(self.wish.name.to_name(), rtype));
        let mut reply = Vec::new();
        let nothing = (ResponseCode::ServFail, Vec::new());
        let Ok(request) = message.to_vec() else { return nothing };
        answer_in_view(self.snapshot, view, &request, &mut (), &mut reply);
        let Ok(reply) = Message::from_vec(&reply) else { return nothing };
        let addresses = reply.answers.iter().filter_map(|record| match &record.data {
            RData::A(ip) => Some(IpAddr::V4(ip.0)),
            RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
            _ => None,
        });
        (reply.metadata.response_code, addresses.collect())
    }

    /// The bound name that was probably meant.
    fn near(&self) -> Option<String> {
        let zones = self.snapshot.views.iter().flat_map(|view| view.zones.values());
        let known = zones.flat_map(|table| table.resolved.iter()).map(|(name, _)| name);
        near(&self.wish.name, known, 1).first().map(ToString::to_string)
    }

    fn name_of(&self, view: ViewId) -> String {
        self.snapshot.views.get(view).map(|view| view.name.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
