//! What a bound name stands for in a view, given what the sources say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::freshness::short_time;
use super::index::{Index, Sighting};
use crate::config::{Binding, Mode, SourceId, Target, View};
use crate::dns::ede::{self, Remark};
use crate::host::text::brief;
use crate::snapshot::{Basis, Data, IpSet};
use crate::source::discover::{Member, Named};
use crate::source::inventory::Address;

/// As many characters of a remark about IPv6 are sent: a file may say anything of an id.
const MAX_WHY: usize = 120;

impl<'a> Index<'a> {
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
