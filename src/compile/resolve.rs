//! What a bound name stands for in a view, given what the sources say.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::Input;
use super::freshness::short_time;
use super::touched::Touched;
use crate::config::{Binding, Mode, SourceId, Target, View};
use crate::dns::ec2_name;
use crate::dns::ede::{self, Remark};
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::host::text::brief;
use crate::snapshot::{Basis, Data, IpSet};
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::discover::{Member, Named};
use crate::source::inventory::{Address, Entry, Health, SourceInventory};

/// As many characters of a remark about IPv6 are sent: a file may say anything of an id.
const MAX_WHY: usize = 120;

/// As many of a remark about sources that have not delivered, of which there may be many.
const MAX_WAITING: usize = 400;

/// An entry and the source that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting<'a> {
    /// The source.
    pub source: SourceId,
    /// What it says.
    pub entry: &'a Entry,
}

/// The inventory, ready to be asked by address, allocation and tag.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    sources: &'a [SourceInventory],
    now: std::time::SystemTime,
    drift: Drift,
    /// Only what is touched is asked for.
    only: Option<&'a Touched<'a>>,
    /// Of each source: what follows `ec2-a-b-c-d.`.
    suffixes: Vec<Option<Key>>,
    /// Of each source: what most names that follow it rest on.
    of_source: Vec<Arc<Basis>>,
    /// Of each source that has not delivered: what names that follow it rest on.
    without: Vec<Option<Arc<Basis>>>,
    /// Likewise, of names that may be in any source.
    without_some: Option<Arc<Basis>>,
    /// Sorted when first asked.
    by_allocation: OnceCell<Vec<(&'a str, Sighting<'a>)>>,
    by_tag: OnceCell<Vec<(&'a str, &'a str, Sighting<'a>)>>,
}

impl<'a> Index<'a> {
    /// Of all of the inventory.
    pub(crate) fn new(input: &Input<'a>) -> Self {
        Self::of(input, None)
    }

    /// For targets that `only` touches; none: for all.
    pub(super) fn of(input: &Input<'a>, only: Option<&'a Touched<'a>>) -> Self {
        let sources = &input.inventory.sources[..];
        let suffixes = sources
            .iter()
            .enumerate()
            .map(|(id, inventory)| {
                let configured =
                    input.config.server.sources.get(id).and_then(|s| s.public_suffix.clone());
                configured.or_else(|| {
                    let region = inventory.region.as_deref()?;
                    Key::parse(&ec2_name::public_suffix_of(region), None).ok()
                })
            })
            .collect();
        let rests_on = |id| Arc::new(Basis { sources: vec![id], ..Basis::default() });
        Self {
            sources,
            now: input.now,
            drift: input.drift,
            only,
            suffixes,
            of_source: (0..sources.len()).map(rests_on).collect(),
            without: sources.iter().map(|source| waiting(std::slice::from_ref(source))).collect(),
            without_some: waiting(sources),
            by_allocation: OnceCell::new(),
            by_tag: OnceCell::new(),
        }
    }

    /// Everything that every source has.
    fn everything(&self) -> impl Iterator<Item = Sighting<'a>> + use<'a> {
        let all = self.sources.iter().enumerate().flat_map(|(source, inventory)| {
            let entries = inventory.entries.iter().flat_map(|entries| entries.values());
            entries.map(move |entry| Sighting { source, entry })
        });
        breathing(all)
    }

    fn by_allocation(&self) -> &[(&'a str, Sighting<'a>)] {
        self.by_allocation.get_or_init(|| {
            let pair = |s: Sighting<'a>| Some((s.entry.address.allocation_id()?, s));
            let is_wanted = |id| self.only.is_none_or(|only| only.has_allocation(id));
            let mut all: Vec<_> =
                self.everything().filter_map(pair).filter(|(id, _)| is_wanted(id)).collect();
            all.sort_by_key(|(id, s)| (*id, s.entry.address.allocation(), s.source));
            all
        })
    }

    fn by_tag(&self) -> &[(&'a str, &'a str, Sighting<'a>)] {
        self.by_tag.get_or_init(|| {
            let is_wanted = |k, v| self.only.is_none_or(|only| only.has_tag(k, v));
            let mut all = Vec::new();
            for sighting in self.everything() {
                let tags = sighting.entry.address.tags.iter();
                let wanted = tags.filter(|(k, v)| is_wanted(k, v));
                all.extend(wanted.map(|(k, v)| (k, v, sighting)));
            }
            all.sort_by_key(|(k, v, s)| (*k, *v, s.entry.address.allocation(), s.source));
            all
        })
    }

    /// Every sighting of an address.
    fn of_address(&self, one: Allocation) -> impl Iterator<Item = Sighting<'a>> + use<'a> {
        let sources = self.sources.iter().enumerate();
        sources.filter_map(move |(source, inventory)| {
            let entry = inventory.entries.as_ref()?.get(&one)?;
            Some(Sighting { source, entry })
        })
    }

    /// Every sighting of what `target` names, in sources the binding allows.
    /// Several may be of one address.
    pub(crate) fn sightings(&self, target: &Target, only: Option<SourceId>) -> Vec<Sighting<'a>> {
        let mut found: Vec<Sighting<'a>> = match target {
            Target::Fixed(_) => Vec::new(),
            Target::ElasticIp(ip) => self.of_address((*ip).into()).collect(),
            Target::Discovered { addresses, allocations, .. } => {
                let ids = allocations.iter().map(|id| Allocation::Id(Arc::clone(id)));
                let all = addresses.iter().map(|ip| Allocation::from(*ip)).chain(ids);
                all.flat_map(|one| self.of_address(one)).collect()
            }
            Target::Allocation(id) => {
                run(self.by_allocation(), |(i, _)| (*i).cmp(id)).map(|e| e.1).collect()
            }
            Target::Tags(tags) => {
                let mut wanted = tags.iter();
                let Some((key, value)) = wanted.next() else { return Vec::new() };
                let first = run(self.by_tag(), |(k, v, _)| (*k, *v).cmp(&(key, value)));
                let rest = |s: &Sighting<'_>| {
                    wanted.clone().all(|(k, v)| s.entry.address.tags.get(k) == Some(v.as_str()))
                };
                first.map(|e| e.2).filter(rest).collect()
            }
        };
        if let Some(only) = only {
            found.retain(|s| s.source == only);
        }
        found
    }

    /// Of several sightings of one address the one to believe: an associated
    /// address beats a held one, a healthy source a stalled one, then the
    /// association seen last wins.
    fn better(&self, a: Sighting<'a>, b: Sighting<'a>) -> bool {
        let rank = |s: Sighting<'_>| {
            let associated = s.entry.address.associated().is_some();
            let healthy = self.sources[s.source].health == Health::Healthy;
            (associated && s.entry.is_live(), associated, healthy, s.entry.is_live(), s.entry.since)
        };
        rank(a) > rank(b)
    }

    /// The best sighting of each address, in order: by public address, then those without one.
    pub(crate) fn best(&self, target: &Target, only: Option<SourceId>) -> Vec<Sighting<'a>> {
        let mut best: Vec<Sighting<'a>> = Vec::new();
        for sighting in self.sightings(target, only) {
            match best.last_mut() {
                Some(last)
                    if last.entry.address.allocation() == sighting.entry.address.allocation() =>
                {
                    if self.better(sighting, *last) {
                        *last = sighting;
                    }
                }
                _ => best.push(sighting),
            }
        }
        best
    }

    /// The best sighting of an Elastic IP.
    pub(crate) fn best_of(&self, ip: Ipv4Addr) -> Option<Sighting<'a>> {
        self.best(&Target::ElasticIp(ip), None).pop()
    }

    /// Every Elastic IP of every source.
    pub(crate) fn elastic_ips(&self) -> BTreeSet<Ipv4Addr> {
        self.everything().filter_map(|sighting| sighting.entry.address.public_ip()).collect()
    }

    /// What the public EC2 names of any of the sources end in.
    pub(crate) fn suffixes(&self) -> impl Iterator<Item = &Key> {
        self.suffixes.iter().flatten()
    }

    /// The public names that an Elastic IP would have in any of the sources.
    pub(crate) fn public_names(&self, ip: Ipv4Addr) -> impl Iterator<Item = Key> {
        self.suffixes.iter().flatten().filter_map(move |suffix| ec2_name::ec2_name(ip, suffix))
    }

    /// The public EC2 name of a sighting; none while its region is unknown, and of an address
    /// without a public one.
    pub(crate) fn public_name(&self, sighting: &Sighting<'_>) -> Option<Key> {
        let suffix = self.suffixes.get(sighting.source)?.as_ref()?;
        ec2_name::ec2_name(sighting.entry.address.public_ip()?, suffix)
    }

    /// What is said while not every source that could hold the binding's key has delivered.
    fn waiting(&self, only: Option<SourceId>) -> Option<&Arc<Basis>> {
        only.map_or(self.without_some.as_ref(), |id| self.without.get(id)?.as_ref())
    }

    /// What `binding` is answered with in `view`, its mode there being `mode`, and on
    /// what that rests.
    pub(crate) fn resolve(
        &self,
        binding: &Binding,
        view: &View,
        mode: Option<Mode>,
    ) -> (Data, Option<Arc<Basis>>) {
        let Some(mode) = mode else { return plain(Data::Absent) };
        if let Target::Fixed(all) = &binding.target {
            return plain(Data::Addresses(in_order(all.iter().copied())));
        }
        if let Some(pin) = binding.pin.filter(|pin| view.reaches(*pin)) {
            return plain(Data::Addresses(pin.into()));
        }
        let best = self.best(&binding.target, binding.source);
        if best.is_empty() {
            return self.not_found(binding);
        }
        let is_set = matches!(binding.target, Target::Tags(_));
        let subject = Subject { is: &binding.target, is_set, ipv6: binding.ipv6 };
        self.stand_for(best, subject, view, mode)
    }

    /// What a name that a tag gives is answered with.
    pub(crate) fn resolve_named(
        &self,
        named: &'a Named,
        binding: &Binding,
        is_set: bool,
        view: &View,
        mode: Option<Mode>,
    ) -> (Data, Option<Arc<Basis>>) {
        let Some(mode) = mode else { return plain(Data::Absent) };
        let sighting =
            |member: &'a Member| Sighting { source: member.source, entry: &member.entry };
        let all = named.members.iter().map(sighting).collect();
        let subject = Subject { is: &binding.target, is_set, ipv6: binding.ipv6 };
        let (data, basis) = self.stand_for(all, subject, view, mode);
        let Some(since) = named.gone else { return (data, basis) };
        let since = short_time(since, self.now, self.drift);
        let text = format!("no address has the tag since {since}, {} kept", binding.target);
        let remark = Some(Remark { code: ede::STALE, text: text.into() });
        let basis = basis.map(|basis| Basis { remark, ..(*basis).clone() }.into());
        (data, basis)
    }

    /// What addresses, each once, are answered as.
    fn stand_for(
        &self,
        best: Vec<Sighting<'a>>,
        subject: Subject<'_>,
        view: &View,
        mode: Mode,
    ) -> (Data, Option<Arc<Basis>>) {
        let is_set = subject.is_set;
        let mut sources: Vec<SourceId> = best.iter().map(|s| s.source).collect();
        sources.sort_unstable();
        sources.dedup();
        // Nobody is at the others: one in so many tries would hang.
        let may_be = |s: &&Sighting<'_>| !is_set || s.entry.address.associated().is_some();
        let answered: Vec<_> = best
            .iter()
            .filter(may_be)
            .filter_map(|s| Some((s, in_mode(&s.entry.address, view, mode)?)))
            .collect();
        let mut remark = answered.iter().find_map(|(s, _)| self.kept(s));
        let mut without_ipv6 = None;
        let data = match (mode, &answered[..]) {
            (_, []) => {
                let text: Arc<str> = why_nothing(&best, subject, mode).into();
                remark = Some(Remark { code: ede::OTHER, text: text.clone() });
                Data::Nothing(text)
            }
            (Mode::Cname, [(one, _)]) if !is_set => match self.public_name(one) {
                Some(name) => Data::Cname(name),
                None => Data::NotReady,
            },
            (_, all) => {
                let ipv6 = subject.ipv6.then(|| self.ipv6(all.iter().map(|(s, _)| *s), view, mode));
                let ipv6 = ipv6.unwrap_or_else(|| Ok(Vec::new()));
                without_ipv6 = ipv6.as_ref().err().cloned();
                let ipv4 = all.iter().map(|(_, ip)| IpAddr::from(*ip));
                Data::Addresses(in_order(ipv4.chain(ipv6.into_iter().flatten())))
            }
        };
        let not_ready = data == Data::NotReady;
        let basis = match (&sources[..], &remark, &without_ipv6) {
            ([one], None, None) if !not_ready => self.of_source.get(*one).cloned(),
            _ => None,
        };
        let basis =
            basis.unwrap_or_else(|| Basis { sources, not_ready, remark, without_ipv6 }.into());
        (data, Some(basis))
    }

    /// The IPv6 addresses of the interfaces that these addresses stand on, as far as the view
    /// reaches them. Never that of another interface than the IPv4 address is of.
    ///
    /// # Errors
    /// There is none; the remark says why.
    fn ipv6<'s>(
        &self,
        all: impl Iterator<Item = &'s Sighting<'a>>,
        view: &View,
        mode: Mode,
    ) -> Result<Vec<IpAddr>, Remark>
    where
        'a: 's,
    {
        let (mut found, mut why) = (Vec::new(), None);
        for Sighting { source, entry } in all {
            let interface = entry.address.network_interface_id.as_deref();
            let known = |id| self.sources.get(*source)?.interfaces.get(id);
            // Public answers have no address that only a VPC routes (RFC 4193).
            let is_for_all = |ip: Ipv6Addr| mode != Mode::Public || !ip.is_unique_local();
            match interface.map(|id| (id, known(id))) {
                Some((_, Some(Some(ip)))) if view.reaches(ip.into()) && is_for_all(ip) => {
                    found.push(ip.into());
                }
                Some((id, Some(Some(_)))) => {
                    why =
                        why.or(Some(format!("this view does not reach the IPv6 address of {id}")));
                }
                Some((id, Some(None))) => why = why.or(Some(format!("{id} has no IPv6 address"))),
                Some((id, None)) => {
                    why = why.or(Some(format!("the IPv6 address of {id} is not known yet")));
                }
                None => why = why.or(Some("no interface has the address".into())),
            }
        }
        match why {
            Some(text) if found.is_empty() => {
                Err(Remark { code: ede::OTHER, text: brief(&text, MAX_WHY).into() })
            }
            _ => Ok(found),
        }
    }

    /// Everything that may have what is looked for: one source, or all.
    fn candidates(&self, only: Option<SourceId>) -> Vec<SourceId> {
        only.map_or_else(|| (0..self.sources.len()).collect(), |id| vec![id])
    }

    /// On what it rests that a name is not there which tags could give.
    pub(crate) fn denial(&self, only: Option<SourceId>) -> Basis {
        match self.waiting(only) {
            Some(waiting) => Basis::clone(waiting),
            None => Basis { sources: self.candidates(only), ..Basis::default() },
        }
    }

    fn not_found(&self, binding: &Binding) -> (Data, Option<Arc<Basis>>) {
        if let Some(waiting) = self.waiting(binding.source) {
            return (Data::NotReady, Some(Arc::clone(waiting)));
        }
        let sources = self.candidates(binding.source);
        let text: Arc<str> = match &binding.target {
            Target::Tags(_) => format!("no address has {}", binding.target),
            target => format!("{target} is in no source"),
        }
        .into();
        let remark = Some(Remark { code: ede::OTHER, text: text.clone() });
        (Data::Nothing(text), Some(Basis { sources, remark, ..Basis::default() }.into()))
    }

    /// The remark of an address that is kept rather than as last said.
    pub(crate) fn kept(&self, sighting: &Sighting<'_>) -> Option<Remark> {
        let (word, since) = sighting.entry.standing.kept()?;
        let one = sighting.entry.address.allocation();
        let since = short_time(since, self.now, self.drift);
        let text = format!("{one} {word} since {since}, last state kept");
        Some(Remark { code: ede::STALE, text: text.into() })
    }
}

/// What addresses were looked for by.
#[derive(Clone, Copy)]
struct Subject<'t> {
    is: &'t Target,
    /// Are all that match answered?
    is_set: bool,
    /// Are the IPv6 addresses of their interfaces answered, too?
    ipv6: bool,
}

/// What is said while one of these sources has not delivered; none when all have.
fn waiting(sources: &[SourceInventory]) -> Option<Arc<Basis>> {
    let silent = sources.iter().filter(|source| source.entries.is_none());
    // The status has the cause in full; clients are told of what kind it is.
    let named = |source: &SourceInventory| match source.health.trouble() {
        Some(class) => format!("{} ({class})", source.name),
        None => source.name.clone(),
    };
    let silent: Vec<String> = silent.map(named).collect();
    let text = brief(&format!("no addresses yet from {}", silent.join(", ")), MAX_WAITING);
    let remark = Some(Remark { code: ede::NOT_READY, text: text.into() });
    let basis = Basis { not_ready: true, remark, ..Basis::default() };
    (!silent.is_empty()).then(|| basis.into())
}

/// What an address is answered as in a view; in mode cname as what has a public EC2 name.
fn in_mode(address: &Address, view: &View, mode: Mode) -> Option<Ipv4Addr> {
    match mode {
        Mode::Public | Mode::Cname => address.public_ip(),
        Mode::Private => {
            let private = address.associated()?;
            if view.reaches(private.into()) { Some(private) } else { address.public_ip() }
        }
    }
}

/// Why none of the addresses that were found has an answer. It names no private address: the
/// view does not reach it.
fn why_nothing(
    best: &[Sighting<'_>],
    Subject { is, is_set, .. }: Subject<'_>,
    mode: Mode,
) -> String {
    let is_associated = best.iter().any(|s| s.entry.address.associated().is_some());
    match (is_set, is_associated, mode) {
        (true, false, _) => format!("no address that has {is} is associated"),
        (false, false, Mode::Private) => format!("{is} is not associated"),
        (true, true, Mode::Private) => format!(
            "no address that has {is} has a public one, and this view reaches no private one of them"
        ),
        (false, true, Mode::Private) => {
            format!("{is} has no public address, and this view does not reach its private one")
        }
        (true, true, _) => format!("no address that has {is} has a public one"),
        (false, _, _) => format!("{is} has no public address"),
    }
}

fn plain(data: Data) -> (Data, Option<Arc<Basis>>) {
    (data, None)
}

fn in_order(all: impl Iterator<Item = IpAddr>) -> IpSet {
    let mut all: Vec<IpAddr> = all.collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}

/// The run of equal elements in a sorted slice.
fn run<T>(sorted: &[T], compare: impl Fn(&T) -> std::cmp::Ordering) -> impl Iterator<Item = &T> {
    let start = sorted.partition_point(|e| compare(e).is_lt());
    sorted[start..].iter().take_while(move |e| compare(e).is_eq())
}
