//! What a view's zones have for a question: the algorithm of RFC 1034 section
//! 4.3.2 with wildcards as RFC 4592, DNAME as RFC 6672 and the response codes
//! of chains as RFC 6604 put them.
//!
//! A name is looked up from the apex down, so the cost is bounded by the depth
//! of the zone, not by the labels of an attacker.

use std::borrow::Cow;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::HTTPS;
use hickory_proto::rr::{RData, Record, RecordType};

use crate::config::SourceId;
use crate::dns::ede::Remark;
use crate::dns::name::{self, Key, MAX_LABELS, MAX_NAME};
use crate::forward::Hit;
use crate::snapshot::overlay::Authority;
use crate::snapshot::{Node, NodeKind, RrSet, ViewTable, ZoneTable};

/// How many aliases are followed in one answer: as many as BIND restarts a
/// query for. A longer chain, or a loop, is answered as far as it got.
pub(crate) const MAX_CHAIN: usize = 11;

/// What was found.
#[derive(Debug)]
pub(crate) struct Found<'s> {
    /// Is the question's name in one of the view's zones? If not, all else
    /// is empty.
    pub ours: bool,
    /// Response code of the last name of the chain.
    pub rcode: ResponseCode,
    /// AA: the question's own name was answered from authoritative data.
    pub authoritative: bool,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Authority section.
    pub authority: Vec<Cow<'s, Record>>,
    /// Glue without which a referral is of no use: it must fit or TC is set
    /// (RFC 9471 section 3).
    pub glue: Vec<Record>,
    /// Addresses that save a question; left out when there is no room.
    pub extra: Vec<Record>,
    /// Sources the answer rests on.
    pub sources: Vec<SourceId>,
    /// What is to be said about bound names on the way.
    pub remarks: Vec<&'s Remark>,
    /// Where an alias leads out of our zones: the next name.
    pub leaves: Option<Vec<u8>>,
}

impl Default for Found<'_> {
    fn default() -> Self {
        Self {
            ours: false,
            rcode: ResponseCode::NoError,
            authoritative: false,
            answers: Vec::new(),
            authority: Vec::new(),
            glue: Vec::new(),
            extra: Vec::new(),
            sources: Vec::new(),
            remarks: Vec::new(),
            leaves: None,
        }
    }
}

/// How the search for a name in its zone ends (RFC 1034 section 4.3.2 step 3).
pub(super) enum Match<'s> {
    /// At or below a delegation.
    Cut(&'s Node),
    /// Below a DNAME.
    Dname(&'s Node),
    /// The name itself.
    Exact(&'s Node),
    /// A wildcard stands in for it.
    Wildcard(&'s Node),
    /// The name does not exist.
    Nowhere,
}

/// Answers `name` (folded wire octets) and `rtype` from a view's zones.
pub(crate) fn find<'s>(view: &'s ViewTable, name: &[u8], rtype: RecordType) -> Found<'s> {
    let mut found = Found::default();
    found.follow(view, name, rtype);
    found
}

/// Is it for somebody else to answer, although the name is that of a zone of
/// ours: DS, whose place is the parent (RFC 4035 section 3.1.4.1), when that
/// is not ours?
pub(crate) fn is_for_parent(view: &ViewTable, name: &[u8], rtype: RecordType) -> bool {
    rtype == RecordType::DS && zone_for(view, name, rtype).is_some_and(|zone| zone.origin() == name)
}

/// The node that answers for a name of `zone`: its own or a wildcard's.
pub(crate) fn node_for<'s>(zone: &'s ZoneTable, name: &[u8]) -> Option<&'s Node> {
    match walk(zone, name, RecordType::ANY) {
        Match::Exact(node) | Match::Wildcard(node) => Some(node),
        Match::Cut(node) | Match::Dname(node) => Some(node),
        Match::Nowhere => None,
    }
}

/// The zone that answers: for DS at an apex the parent's, if we have it
/// (RFC 4035 section 3.1.4.1).
fn zone_for<'s>(view: &'s ViewTable, name: &[u8], rtype: RecordType) -> Option<Authority<'s>> {
    let zone = view.authority_of(name)?;
    if rtype == RecordType::DS
        && zone.origin() == name
        && let Some(parent) = name::parent(name).and_then(|above| view.authority_of(above))
    {
        return Some(parent);
    }
    Some(zone)
}

/// What a zone's apex has for a type.
pub(crate) fn at_apex(zone: &ZoneTable, rtype: RecordType) -> Found<'_> {
    let mut found = Found { ours: true, authoritative: true, ..Found::default() };
    // An apex is no alias (RFC 1034 section 3.6.2), so nothing follows.
    found.take(zone, &zone.apex, zone.apex.key.octets(), rtype, false);
    found
}

/// Where `name` (folded wire octets, at or below the origin) leads.
fn walk<'s>(zone: &'s ZoneTable, name: &[u8], rtype: RecordType) -> Match<'s> {
    walk_to(zone, name, zone.node(name).map(|node| &**node), rtype)
}

/// Likewise; `own` is what is at the name itself.
pub(super) fn walk_to<'s>(
    zone: &'s ZoneTable,
    name: &[u8],
    own: Option<&'s Node>,
    rtype: RecordType,
) -> Match<'s> {
    let origin = zone.zone.origin.octets();
    if name == origin {
        return Match::Exact(&zone.apex);
    }
    // Where each suffix below the origin begins, the name itself first.
    let mut starts = [0u8; MAX_LABELS];
    let mut count = 0;
    let below = name::suffixes(name).take_while(|suffix| suffix.len() > origin.len());
    for (start, suffix) in starts.iter_mut().zip(below) {
        *start = (name.len() - suffix.len()) as u8;
        count += 1;
    }
    let mut closest: &Node = &zone.apex;
    if closest.kind == NodeKind::Dname {
        return Match::Dname(closest);
    }
    for (depth, start) in starts[..count].iter().enumerate().rev() {
        let whole = depth == 0;
        let node = match whole {
            true => own,
            false => zone.nodes.get(&name[usize::from(*start)..]).map(|node| &**node),
        };
        let Some(node) = node else {
            return match wildcard(zone, closest) {
                Some(node) => Match::Wildcard(node),
                None => Match::Nowhere,
            };
        };
        match node.kind {
            NodeKind::Cut if !(whole && rtype == RecordType::DS) => return Match::Cut(node),
            NodeKind::Dname if !whole => return Match::Dname(node),
            _ => closest = node,
        }
    }
    Match::Exact(closest)
}

/// The source of synthesis below a closest encloser (RFC 4592 section 3.3.1).
fn wildcard<'s>(zone: &'s ZoneTable, encloser: &Node) -> Option<&'s Node> {
    if zone.wildcards == 0 {
        return None;
    }
    let above = encloser.key.octets();
    let mut octets = [0u8; MAX_NAME];
    let whole = octets.get_mut(..above.len() + 2)?;
    whole[..2].copy_from_slice(b"\x01*");
    whole[2..].copy_from_slice(above);
    zone.nodes.get(&*whole).map(|node| &**node)
}

impl<'s> Found<'s> {
    /// Follows a name, the question's or an alias's, as far as it leads
    /// through our zones.
    fn follow(&mut self, view: &'s ViewTable, name: &[u8], rtype: RecordType) {
        let mut name = Cow::Borrowed(name);
        // Names of the chain so far, so that a loop is answered once around.
        let mut passed = Vec::new();
        for step in 0..=MAX_CHAIN {
            let zone = match zone_for(view, &name, rtype) {
                Some(Authority::Zone(zone)) => zone,
                Some(Authority::Overlay(overlay)) => {
                    return self.take_overlay(overlay, view, &name, rtype);
                }
                Some(Authority::Pointer(pointer)) => {
                    return self.take_pointer(pointer, view, &name, rtype);
                }
                None if step == 0 => return,
                None => return self.leaves = Some(name.into_owned()),
            };
            self.ours = true;
            if self.answers.is_empty() {
                self.authoritative = true;
            }
            let next = match walk(zone, &name, rtype) {
                Match::Cut(node) => {
                    refer(zone, node, self);
                    None
                }
                Match::Dname(node) => self.through_dname(node, &name, rtype),
                Match::Exact(node) => self.take(zone, node, &name, rtype, false),
                // DS of a zone of ours that its parent does not delegate. The
                // name is there, so it must not be denied (RFC 8020).
                Match::Wildcard(_) | Match::Nowhere
                    if rtype == RecordType::DS && view.zones.contains(&name) =>
                {
                    self.authority.push(Cow::Borrowed(&zone.negative_soa));
                    None
                }
                // A tag may give the name itself.
                Match::Wildcard(_) | Match::Nowhere if !self.may_deny(zone) => None,
                Match::Wildcard(node) => self.take(zone, node, &name, rtype, true),
                Match::Nowhere => {
                    self.rcode = ResponseCode::NXDomain;
                    self.authority.push(Cow::Borrowed(&zone.negative_soa));
                    None
                }
            };
            let Some(next) = next else { return };
            passed.push(std::mem::replace(&mut name, Cow::Owned(next)));
            if passed.contains(&name) {
                return;
            }
        }
    }

    /// Goes on with what is known elsewhere of the name the chain left to; an
    /// alias in it that leads to one of our zones is followed there. False
    /// when that is no answer.
    pub(crate) fn go_on(&mut self, view: &'s ViewTable, hit: &Hit, rtype: RecordType) -> bool {
        let rcode = hit.rcode();
        let (Ok(records), Ok(denial)) = (hit.answers(), hit.denial()) else { return false };
        if !matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::YXDomain)
        {
            return false;
        }
        let home = |record: &Record| match &record.data {
            RData::CNAME(target) if !is_alias_enough(rtype) => {
                Some(Key::from_name(target)).filter(|key| view.authority_of(key.octets()).is_some())
            }
            _ => None,
        };
        let leads = records.iter().enumerate().find_map(|(at, r)| Some((at, home(r)?)));
        if let Some((last, target)) = leads {
            // Signatures stand behind what they sign; what is said of our own
            // name stays out.
            let passed: Vec<_> = records.iter().take(last + 1).map(|r| r.name.clone()).collect();
            let kept = records.into_iter().filter(|record| passed.contains(&record.name));
            self.answers.extend(kept);
            self.follow(view, target.octets(), rtype);
            return true;
        }
        self.answers.extend(records);
        self.rcode = rcode;
        self.authority.extend(denial.into_iter().map(Cow::Owned));
        true
    }

    /// Takes what a node has for the type; the next name when that is an alias.
    fn take(
        &mut self,
        zone: &'s ZoneTable,
        node: &'s Node,
        name: &[u8],
        rtype: RecordType,
        synthesised: bool,
    ) -> Option<Vec<u8>> {
        if let Some(basis) = &node.basis {
            self.sources.extend_from_slice(&basis.sources);
            self.remarks.extend(&basis.remark);
        }
        let set = match rtype {
            // One RRset will do (RFC 8482 section 4.1).
            RecordType::ANY => node.rrsets.first(),
            rtype => node.rrset(rtype).or_else(|| node.rrset(RecordType::CNAME)),
        };
        let Some(set) = set else {
            if rtype == RecordType::AAAA {
                self.remarks.extend(node.basis.iter().filter_map(|b| b.without_ipv6.as_ref()));
            }
            if node.basis.as_ref().is_some_and(|b| b.not_ready) {
                // It may well have this type: nobody can say yet.
                self.fail();
            } else if synthesised || !zone.may_discover(node, rtype) || self.may_deny(zone) {
                self.authority.push(Cow::Borrowed(&zone.negative_soa));
            }
            return None;
        };
        // A wildcard's are there under the name asked for.
        let owner = match synthesised {
            true => Key::from_folded(name).to_name(),
            false => node.key.to_name(),
        };
        self.answers.extend(set.records(&owner));
        if set.rtype == RecordType::CNAME && !is_alias_enough(rtype) {
            return set.target(&mut [0; MAX_NAME]).map(<[u8]>::to_vec);
        }
        if rtype != RecordType::ANY {
            self.add_targets(zone, set);
        }
        None
    }

    /// That a name is not there rests on the sources whose tags may give it. False, and a
    /// failure, while one of them has not said anything.
    fn may_deny(&mut self, zone: &'s ZoneTable) -> bool {
        let Some(denial) = &zone.denial else { return true };
        self.sources.extend_from_slice(&denial.sources);
        self.remarks.extend(&denial.remark);
        if denial.not_ready {
            self.fail();
        }
        !denial.not_ready
    }

    /// Addresses, in the same zone, of the hosts an NS, MX, SRV, SVCB or HTTPS
    /// names (RFC 1035 section 3.3, RFC 2782, RFC 9460 section 4.1). Those of
    /// other zones nobody believes from here (RFC 2181 section 5.4.1).
    fn add_targets(&mut self, zone: &ZoneTable, set: &RrSet) {
        let mut known: Vec<Key> = Vec::new();
        for data in set.data() {
            let target = match &*data {
                RData::NS(ns) => &ns.0,
                RData::MX(mx) => &mx.exchange,
                RData::SRV(srv) => &srv.target,
                RData::SVCB(svcb) | RData::HTTPS(HTTPS(svcb)) => &svcb.target_name,
                _ => continue,
            };
            let target = Key::from_name(target);
            if !target.is_under(&zone.zone.origin) || known.contains(&target) {
                continue;
            }
            match walk(zone, target.octets(), RecordType::A) {
                // A wildcard's are there under the name that is meant.
                Match::Exact(node) | Match::Wildcard(node) => {
                    add_addresses(node, &target, &mut self.extra)
                }
                Match::Cut(_) => add_glue(zone, &target, &mut self.extra),
                Match::Dname(_) | Match::Nowhere => {}
            }
            known.push(target);
        }
    }

    /// The DNAME and the CNAME made from it (RFC 6672 section 3.2); the next
    /// name, unless the CNAME is what was asked for.
    fn through_dname(&mut self, node: &'s Node, name: &[u8], rtype: RecordType) -> Option<Vec<u8>> {
        let set = node.rrset(RecordType::DNAME)?;
        let record = set.records(&node.key.to_name()).next()?;
        let (ttl, target) = (record.ttl, dname_target(&record)?);
        // A chain may lead through the same DNAME again.
        let is_it =
            |known: &Record| known.record_type() == RecordType::DNAME && known.name == record.name;
        if !self.answers.iter().any(is_it) {
            self.answers.push(record);
        }
        let prefix = &name[..name.len() - node.key.octets().len()];
        if prefix.len() + target.octets().len() > MAX_NAME {
            self.rcode = ResponseCode::YXDomain;
            return None;
        }
        let mut octets = prefix.to_vec();
        octets.extend_from_slice(target.octets());
        let alias = hickory_proto::rr::rdata::CNAME(Key::from_folded(&octets).to_name());
        let owner = Key::from_folded(name).to_name();
        let cname = Record::from_rdata(owner, ttl, RData::CNAME(alias));
        self.answers.push(cname);
        (!is_alias_enough(rtype)).then_some(octets)
    }

    /// SERVFAIL: nothing of what was gathered is of use.
    fn fail(&mut self) {
        self.rcode = ResponseCode::ServFail;
        self.authoritative = false;
        self.answers.clear();
        self.authority.clear();
        self.extra.clear();
        self.leaves = None;
    }
}

/// Does an answer from elsewhere lead back to one of our zones?
pub(crate) fn comes_back(view: &ViewTable, hit: &Hit, rtype: RecordType) -> bool {
    !is_alias_enough(rtype)
        && hit.message().aliases().any(|target| view.authority_of(target.octets()).is_some())
}

/// Is a CNAME itself an answer to a question of this type?
fn is_alias_enough(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::CNAME | RecordType::ANY)
}

/// The target of a DNAME record, which hickory keeps as plain octets.
pub(crate) fn dname_target(record: &Record) -> Option<Key> {
    match &record.data {
        RData::Unknown { rdata, .. } => {
            let octets = &rdata.anything[..];
            (name::wire_len(octets)? == octets.len())
                .then(|| Key::from_folded(&octets.to_ascii_lowercase()))
        }
        _ => None,
    }
}

/// A referral (RFC 1034 section 4.3.2 step 3b).
fn refer(zone: &ZoneTable, cut: &Node, found: &mut Found<'_>) {
    let Some(set) = cut.rrset(RecordType::NS) else { return };
    if found.answers.is_empty() {
        found.authoritative = false;
    }
    found.authority.extend(set.records(&cut.key.to_name()).map(Cow::Owned));
    for data in set.data() {
        let RData::NS(target) = &*data else { continue };
        let target = Key::from_name(&target.0);
        let is_needed = target.is_under(&cut.key);
        add_glue(zone, &target, if is_needed { &mut found.glue } else { &mut found.extra });
    }
}

/// Adds the addresses that stand at a name, be it below a delegation.
fn add_glue(zone: &ZoneTable, name: &Key, all: &mut Vec<Record>) {
    if let Some(node) = zone.node(name.octets()) {
        add_addresses(node, name, all);
    }
}

/// Adds a node's addresses under a name: its own, or one that it stands in for.
fn add_addresses(node: &Node, name: &Key, all: &mut Vec<Record>) {
    let owner = name.to_name();
    let sets = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|rtype| node.rrset(rtype));
    all.extend(sets.flat_map(|set| set.records(&owner)));
}
