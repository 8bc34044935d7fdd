//! What names are bound to, by `[names]` and by `[discover]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{Mode, SourceId, View, ViewId};
use crate::diag::Place;
use crate::dns::name::Key;

/// `[discover]`: names that tags of addresses give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discover {
    /// The tag's key.
    pub tag: String,
    /// Only this source's addresses, when given.
    pub source: Option<SourceId>,
    /// One per view, in order: the mode there, or none: absent there.
    pub modes: Vec<Option<Mode>>,
    /// TTL in seconds, when it differs from the zone's.
    pub ttl: Option<u32>,
    /// Hold, when it differs from the guard's.
    pub hold: Option<Duration>,
    /// Have its names AAAA records from the interfaces that the addresses stand on?
    pub ipv6: bool,
    /// May several addresses of one source have one name?
    pub sets: bool,
    /// May a tag name the origin, or a wildcard?
    pub apex_and_wildcards: bool,
    /// Where it stands.
    pub place: Place,
}

/// One entry of `[names]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Fully qualified, in its zone.
    pub name: Key,
    /// What it is bound to.
    pub target: Target,
    /// One per view, in order: the mode there, or none: absent there.
    pub modes: Vec<Option<Mode>>,
    /// TTL in seconds, when it differs from the zone's.
    pub ttl: Option<u32>,
    /// Hold, when it differs from the guard's.
    pub hold: Option<Duration>,
    /// Only this source's addresses, when given.
    pub source: Option<SourceId>,
    /// Answer this, whatever EC2 says.
    pub pin: Option<IpAddr>,
    /// Has it AAAA records from the interfaces that its addresses stand on?
    pub ipv6: bool,
    /// Has it a PTR record where `[[reverse]]` covers its address?
    pub ptr: bool,
    /// Where it stands.
    pub place: Place,
}

impl Binding {
    /// Does the name exist in a view?
    pub(crate) fn is_in(&self, view: ViewId) -> bool {
        self.modes.get(view).is_some_and(Option::is_some)
    }

    /// Is the name a CNAME in this view? Sets never are, and a pin that the
    /// view reaches is an address.
    pub(crate) fn is_cname_in(&self, id: ViewId, view: &View) -> bool {
        self.modes.get(id) == Some(&Some(Mode::Cname))
            && matches!(self.target, Target::ElasticIp(_) | Target::Allocation(_))
            && !self.pin.is_some_and(|pin| view.reaches(pin))
    }

    /// Does what it is answered with come from EC2?
    pub(crate) fn follows_ec2(&self) -> bool {
        !matches!(self.target, Target::Fixed(_))
    }

    /// May another association change its answer in this view? That of a pin does not
    /// change, nor does an Elastic IP, nor the public EC2 name of one. Who is in a set
    /// may change, whatever it is answered with, and so may the IPv6 address beside one.
    pub(crate) fn moves_in(&self, id: ViewId, view: &View) -> bool {
        let Some(Some(mode)) = self.modes.get(id) else { return false };
        if self.pin.is_some_and(|pin| view.reaches(pin)) {
            return false;
        }
        match self.target {
            Target::Fixed(_) => false,
            Target::Tags(_) | Target::Discovered { .. } => true,
            Target::ElasticIp(_) | Target::Allocation(_) => {
                let has_ipv6 = self.ipv6 && *mode != Mode::Cname;
                has_ipv6 || (*mode == Mode::Private && view.reaches_private())
            }
        }
    }

    /// May another association change its answer in any of the `views`?
    pub(crate) fn moves(&self, views: &[View]) -> bool {
        views.iter().enumerate().any(|(id, view)| self.moves_in(id, view))
    }
}

impl Discover {
    /// Do its names exist in a view?
    pub(crate) fn is_in(&self, view: ViewId) -> bool {
        self.modes.get(view).is_some_and(Option::is_some)
    }

    /// Are they CNAMEs there? Sets never are.
    pub(crate) fn is_cname_in(&self, view: ViewId) -> bool {
        !self.sets && self.modes.get(view) == Some(&Some(Mode::Cname))
    }
}

/// What a name is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The Elastic IP itself.
    ElasticIp(Ipv4Addr),
    /// Its allocation, `eipalloc-…`.
    Allocation(String),
    /// Every address that has all these tags.
    Tags(BTreeMap<String, String>),
    /// Fixed addresses, no EC2 involved.
    Fixed(Vec<IpAddr>),
    /// What a tag has given a name; in no configuration.
    Discovered {
        /// The tag's key.
        tag: String,
        /// The Elastic IPs.
        addresses: Vec<Ipv4Addr>,
        /// `eipalloc-…` of addresses without a public one.
        allocations: Vec<Arc<str>>,
    },
}

/// Tags that an address must have, as an operator reads them.
pub(crate) fn tag_words(tags: &BTreeMap<String, String>) -> String {
    let all: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    all.join(", ")
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::ElasticIp(ip) => write!(f, "{ip}"),
            Target::Allocation(id) => f.write_str(id),
            Target::Tags(tags) => write!(f, "tag {}", tag_words(tags)),
            Target::Fixed(all) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                f.write_str(&all.join(", "))
            }
            Target::Discovered { tag, addresses, allocations } => {
                let ids = allocations.iter().map(ToString::to_string);
                let all: Vec<_> = addresses.iter().map(ToString::to_string).chain(ids).collect();
                write!(f, "{} (tag {tag})", all.join(", "))
            }
        }
    }
}
