//! Who has a name, given who had it and who has its tag.

use std::cmp::Reverse;
use std::time::SystemTime;

use super::names::Now;
use super::{CameFrom, Claim, MAX_CLAIMS, Member, Named};
use crate::source::accept::{STALE_READ, is_within};
use crate::source::inventory::{Entry, Standing};

/// Who had it.
#[derive(Debug, Clone, Default)]
pub(super) struct Before {
    pub members: Vec<Claim>,
    pub gone: Option<SystemTime>,
    pub came_from: Option<CameFrom>,
    pub goes_back: bool,
    /// Is it from before a restart or a reload? Then a tag that is not there is no loss:
    /// the configuration is the truth.
    pub remembered: bool,
}

impl From<&Named> for Before {
    fn from(named: &Named) -> Self {
        Self {
            members: named.members.iter().map(Member::claim).collect(),
            gone: named.gone,
            came_from: named.came_from.clone(),
            goes_back: named.goes_back,
            remembered: false,
        }
    }
}

/// How much an address is worth to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Associated, as the source says.
    Good,
    /// Lost, and its last association is kept.
    Kept,
    /// Not associated.
    Idle,
}

fn rank(entry: &Entry) -> Rank {
    match (entry.address.associated(), entry.standing) {
        (None, _) => Rank::Idle,
        (Some(_), Standing::Live) => Rank::Good,
        (Some(_), _) => Rank::Kept,
    }
}

/// An address that has the tag.
#[derive(Clone, Copy)]
struct Seen<'a> {
    claim: &'a Claim,
    entry: &'a Entry,
    rank: Rank,
}

impl Seen<'_> {
    fn member(&self) -> Member {
        Member { source: self.claim.source, entry: self.entry.clone(), tagged: true }
    }
}

/// Who has a name of `zone` now; none: nobody, and it is gone, or nobody knows yet: the
/// source of who had it before a restart has said nothing.
pub(super) fn decide(
    now: &Now<'_>,
    zone: usize,
    before: &Before,
    claims: &[Claim],
) -> Option<Named> {
    let holder = before.members.first().filter(|_| before.remembered);
    if holder.is_some_and(|holder| now.is_silent(holder.source)) {
        return None;
    }
    let seen = claims.iter().filter_map(|claim| {
        let entry = now.entry(claim)?;
        Some(Seen { claim, entry, rank: rank(entry) })
    });
    let seen: Vec<Seen<'_>> = seen.collect();
    let is_bound = now.rules.is_bound(zone);
    let case = Case { now, before, seen, spans: is_bound };
    let mut named = match now.rules.is_set(zone) {
        true => case.set()?,
        false => case.one()?,
    };
    (named.zone, named.is_bound) = (zone, is_bound);
    // In order, as the members are.
    let members: Vec<Claim> =
        named.members.iter().filter(|member| member.tagged).map(Member::claim).collect();
    let is_other = |claim: &&Claim| members.binary_search(claim).is_err();
    named.others = claims.iter().filter(is_other).cloned().collect();
    Some(named)
}

struct Case<'a> {
    now: &'a Now<'a>,
    before: &'a Before,
    /// In order of source, then of address.
    seen: Vec<Seen<'a>>,
    /// Are addresses of several sources one set?
    spans: bool,
}

impl Case<'_> {
    /// One address has it.
    fn one(&self) -> Option<Named> {
        let Some(holder) = self.before.members.first() else { return self.first() };
        let own = self.seen.iter().find(|seen| seen.claim == holder);
        if own.is_some_and(|own| own.rank == Rank::Good) {
            return Some(self.stays(self.latest_of(holder)?.member()));
        }
        let entry = self.now.entry(holder);
        if let Some(next) = self.successor(holder, own.map(|own| own.rank)) {
            return match entry.filter(|_| self.is_stale(next)) {
                None => Some(self.moves(holder, next)),
                Some(entry) => Some(self.waits(holder, entry, own.is_some(), next)),
            };
        }
        match (own, entry) {
            (Some(own), _) => Some(self.stays(own.member())),
            (None, Some(entry)) => self.held(vec![kept(holder, entry)]).or_else(|| self.first()),
            (None, None) => self.first(),
        }
    }

    /// Nobody had it: associated is better than kept, and kept than idle; then the first
    /// source, and the lower address.
    fn first(&self) -> Option<Named> {
        let best = self.seen.iter().min_by_key(|seen| (seen.rank, seen.claim))?;
        let best = match best.rank {
            Rank::Good => self.latest_of(best.claim)?,
            Rank::Kept | Rank::Idle => best,
        };
        Some(plain([best.member()].into()))
    }

    /// Several sources may have one address: who saw its last association is right.
    fn latest_of(&self, claim: &Claim) -> Option<&Seen<'_>> {
        let same = self
            .seen
            .iter()
            .filter(|seen| seen.rank == Rank::Good && seen.claim.allocation == claim.allocation);
        same.max_by_key(|seen| (seen.entry.since, seen.claim == claim, Reverse(seen.claim.source)))
    }

    /// Who takes the name over from `holder`, of which the tag is worth `own`; none: it
    /// has lost the tag.
    fn successor(&self, holder: &Claim, own: Option<Rank>) -> Option<&Seen<'_>> {
        // While an address is between two instances nobody else's tag must win.
        let is_kept = own == Some(Rank::Kept);
        let may = |seen: &&Seen<'_>| {
            let same =
                seen.claim.source == holder.source || seen.claim.allocation == holder.allocation;
            seen.rank == Rank::Good && seen.claim != holder && (same || !is_kept)
        };
        let is_elsewhere = |seen: &Seen<'_>| seen.claim.source != holder.source;
        let all = self.seen.iter().filter(may);
        all.min_by(|a, b| (is_elsewhere(a), a.claim).cmp(&(is_elsewhere(b), b.claim)))
    }

    /// Is it where the name came from a moment ago, and does only one answer say so? One
    /// that shows an association that is newer than that is no older answer.
    fn is_stale(&self, next: &Seen<'_>) -> bool {
        let Some(came_from) = &self.before.came_from else { return false };
        let ((from, at), source) = (&**came_from, next.claim.source);
        from == next.claim
            && is_within(STALE_READ, *at, self.now.at)
            && next.entry.since <= *at
            && !self.now.rules.is_file(source)
            && !(self.before.goes_back && self.now.answered == Some(source))
    }

    /// With the same address, or what a source says of it.
    fn stays(&self, member: Member) -> Named {
        let is_recent = |from: &&CameFrom| is_within(STALE_READ, from.1, self.now.at);
        let came_from = self.before.came_from.as_ref().filter(is_recent).cloned();
        Named { came_from, ..plain([member].into()) }
    }

    fn moves(&self, holder: &Claim, next: &Seen<'_>) -> Named {
        let came_from = Some(Box::new((holder.clone(), self.now.at)));
        Named { came_from, ..plain([next.member()].into()) }
    }

    /// A second answer has to say that it goes back.
    fn waits(&self, holder: &Claim, entry: &Entry, tagged: bool, next: &Seen<'_>) -> Named {
        let gone = (!tagged).then(|| self.gone());
        let goes_back = self.before.goes_back || self.now.answered == Some(next.claim.source);
        let member = Member { tagged, ..kept(holder, entry) };
        Named { gone, goes_back, ..self.stays(member) }
    }

    /// No tag has the name any longer, and it is kept; none: the source is the truth.
    fn held(&self, members: Vec<Member>) -> Option<Named> {
        let source = members.iter().find(|member| !member.tagged)?.source;
        let is_truth = self.now.rules.is_file(source)
            || (self.before.remembered && self.before.gone.is_none());
        let gone = Some(self.gone());
        let came_from = self.before.came_from.clone();
        (!is_truth).then(|| Named { gone, came_from, ..plain(members.into()) })
    }

    /// Since when no tag has it; from before the clock was set back: since now.
    fn gone(&self) -> SystemTime {
        self.before.gone.unwrap_or(self.now.at).min(self.now.at)
    }

    /// All addresses have it, of one source unless it spans several.
    fn set(&self) -> Option<Named> {
        let holder = self.before.members.first().map(|claim| claim.source);
        let is_of = |seen: &Seen<'_>, source| self.spans || seen.claim.source == source;
        let of = |source| self.seen.iter().filter(move |seen| is_of(seen, source));
        let is_answered = |source| of(source).any(|seen| seen.rank < Rank::Idle);
        let all = |source| {
            let members: Vec<Member> = of(source).take(MAX_CLAIMS).map(Seen::member).collect();
            (!members.is_empty()).then(|| plain(members.into()))
        };
        if let Some(source) = holder.filter(|source| is_answered(*source)) {
            return all(source);
        }
        let good = self.seen.iter().find(|seen| seen.rank == Rank::Good);
        if let Some(other) = good {
            return all(other.claim.source);
        }
        let left = self
            .before
            .members
            .iter()
            .filter(|claim| self.seen.iter().all(|seen| seen.claim != *claim));
        let left = left.filter_map(|claim| Some(kept(claim, self.now.entry(claim)?)));
        let is_held = |m: &Member| rank(&m.entry) < Rank::Idle && !self.now.rules.is_file(m.source);
        let left: Vec<Member> = left.filter(is_held).collect();
        let held = match holder {
            Some(source) if !left.is_empty() => {
                let mut members: Vec<Member> = of(source).map(Seen::member).chain(left).collect();
                members.sort_by_key(Member::claim);
                members.truncate(MAX_CLAIMS);
                self.held(members)
            }
            _ => None,
        };
        held.or_else(|| {
            let first = self.seen.iter().min_by_key(|seen| (seen.rank, seen.claim))?;
            all(holder.filter(|s| of(*s).next().is_some()).unwrap_or(first.claim.source))
        })
    }
}

fn kept(claim: &Claim, entry: &Entry) -> Member {
    Member { source: claim.source, entry: entry.clone(), tagged: false }
}

fn plain(members: Box<[Member]>) -> Named {
    Named {
        zone: 0,
        is_bound: false,
        members,
        others: Box::default(),
        gone: None,
        came_from: None,
        goes_back: false,
    }
}
