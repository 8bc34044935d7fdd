//! What the addresses of an account are called in a new zone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dns::name::Key;
use crate::source::identity::Identity;
use crate::source::inventory::Address;

/// The tag that the console of AWS shows as the name.
const NAME: &str = "Name";

/// The longest label (RFC 1035 section 2.3.4).
pub(super) const MAX_LABEL: usize = 63;

/// The nameserver of a zone that names none: its address is ours.
const NAMESERVER: &str = "ns1";

/// An address, and the label that it has in the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Below the origin; no two addresses have the same. Of one that is left out a
    /// proposal.
    pub label: String,
    /// What is bound: the Elastic IP, or the allocation of an address without one.
    pub target: String,
    /// `eipalloc-…`
    pub allocation: Option<String>,
    /// The value of its tag `Name`.
    pub tag: Option<String>,
    /// Why it is not bound.
    pub left_out: Option<Why>,
}

/// Why an address is not bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It has no tag `Name`, or an empty one.
    NoTag,
    /// Nothing in the tag can stand in a name.
    NoLabel,
    /// Another address is called so: its target.
    Taken(String),
    /// The zone's nameserver is called so.
    Nameserver,
    /// No binding can have its allocation's id.
    BadId,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NoTag => f.write_str("it has no tag Name"),
            Why::NoLabel => f.write_str("nothing in its tag Name can stand in a name"),
            Why::Taken(by) => write!(f, "{by} has this name, and one name is one address"),
            Why::Nameserver => {
                write!(f, "{NAMESERVER} is the zone's nameserver, which is this server")
            }
            Why::BadId => f.write_str("its allocation id is none that a name can be bound to"),
        }
    }
}

/// What each address is called, in their order; any label fits below `origin`. Of several that are called the same the
/// first has the name: who is to have it, nobody but the operator knows, and a set that
/// nobody asked for would have a database written to twice.
pub(super) fn named<'a>(
    addresses: impl IntoIterator<Item = &'a Address>,
    origin: &Key,
) -> Vec<Named> {
    let mut served: BTreeMap<String, String> = BTreeMap::new();
    let mut all = Vec::new();
    for address in addresses {
        let tag = address.tags.get(NAME).map(str::trim).filter(|value| !value.is_empty());
        let target = target(address);
        let wanted = tag.and_then(|value| label(value, origin));
        let left_out = match &wanted {
            _ if !is_bindable(address) => Some(Why::BadId),
            None if tag.is_none() => Some(Why::NoTag),
            None => Some(Why::NoLabel),
            Some(label) if label == NAMESERVER => Some(Why::Nameserver),
            Some(label) => match served.get(label) {
                Some(by) => Some(Why::Taken(by.clone())),
                None => {
                    served.insert(label.clone(), target.clone());
                    None
                }
            },
        };
        all.push(Named {
            label: wanted.unwrap_or_else(|| without_tag(&address.identity)),
            target,
            allocation: address.allocation_id().map(str::to_owned),
            tag: tag.map(str::to_owned),
            left_out,
        });
    }
    propose(&mut all, served.into_keys().collect());
    all
}

/// Gives each address that is left out a label of its own.
fn propose(all: &mut [Named], mut taken: BTreeSet<String>) {
    taken.insert(NAMESERVER.to_owned());
    // Of each label, the number that was proposed last: many may be called the same.
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for one in all.iter_mut().filter(|one| one.left_out.is_some()) {
        let base = std::mem::take(&mut one.label);
        let number = last.entry(base.clone()).or_insert(1);
        let mut proposed = base.clone();
        while taken.contains(&proposed) {
            *number += 1;
            let tail = format!("-{number}");
            proposed = cut(&base, MAX_LABEL.saturating_sub(tail.len())) + &tail;
        }
        taken.insert(proposed.clone());
        one.label = proposed;
    }
}

/// A label for an address that no tag names.
fn without_tag(identity: &Identity) -> String {
    let label = match identity {
        Identity::Public { public_ip, .. } => format!("eip-{public_ip}").replace('.', "-"),
        Identity::Edge { allocation_id, .. } => allocation_id.to_ascii_lowercase(),
    };
    cut(&label, MAX_LABEL)
}

fn target(address: &Address) -> String {
    match &address.identity {
        Identity::Public { public_ip, .. } => public_ip.to_string(),
        Identity::Edge { allocation_id, .. } => allocation_id.to_string(),
    }
}

/// Is what it is bound by taken by the configuration? An address is; an id if it is like
/// those of EC2 (EC2 User Guide, "Resource IDs").
fn is_bindable(address: &Address) -> bool {
    let Identity::Edge { allocation_id, .. } = &address.identity else { return true };
    let digits = allocation_id.strip_prefix("eipalloc-").unwrap_or_default();
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (8..=MAX_LABEL - "eipalloc-".len()).contains(&digits.len()) && digits.bytes().all(is_digit)
}

/// The label that the value of a tag becomes: in lower case, and every run of what cannot
/// stand in the name of a host (RFC 952, RFC 1123 section 2.1) one hyphen. A value that
/// ends in the origin counts without it. None if nothing is left.
fn label(value: &str, origin: &Key) -> Option<String> {
    let value = value.to_ascii_lowercase();
    let value = value.strip_suffix('.').unwrap_or(&value);
    let zone = origin.to_string();
    let zone = zone.trim_end_matches('.');
    let below = value.strip_suffix(zone).and_then(|rest| rest.strip_suffix('.'));
    let value = below.unwrap_or(value);
    // What is a label stays one: two hyphens may be an international name's.
    if is_label(value) && value.len() <= MAX_LABEL {
        return Some(value.to_owned());
    }
    let mut label = String::new();
    // A tag has 256 characters at most (EC2 User Guide), a file may have more.
    for c in value.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => label.push(c),
            _ if label.is_empty() || label.ends_with('-') => {}
            _ => label.push('-'),
        }
    }
    Some(cut(&label, MAX_LABEL)).filter(|label| !label.is_empty())
}

fn is_label(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.is_empty() && text.bytes().all(is_fit) && !text.starts_with('-') && !text.ends_with('-')
}

/// The first of an ASCII text, without a hyphen at the end.
fn cut(text: &str, most: usize) -> String {
    text.get(..most).unwrap_or(text).trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn origin() -> Key {
        Key::parse("example.com", None).unwrap()
    }

    #[test]
    fn a_tag_becomes_a_label() {
        let long = "a".repeat(300);
        for (value, wanted) in [
            ("db", Some("db")),
            ("DB Primary", Some("db-primary")),
            ("web_1 / blue", Some("web-1-blue")),
            ("-x-", Some("x")),
            ("a--b", Some("a--b")),
            ("a -- b", Some("a-b")),
            ("xn--bcher-kva", Some("xn--bcher-kva")),
            ("db.example.com", Some("db")),
            ("DB.Example.COM.", Some("db")),
            ("db.eu.example.com", Some("db-eu")),
            ("example.com", Some("example-com")),
            ("Zürich", Some("z-rich")),
            ("\"]\n[[view]]\nname=\"evil", Some("view-name-evil")),
            ("*", None),
            ("\u{1f600}", None),
            ("   ", None),
            (&long, Some(&long[..MAX_LABEL])),
        ] {
            assert_eq!(label(value, &origin()).as_deref(), wanted, "{value:?}");
        }
        let cut_at_a_hyphen = format!("{} b", "a".repeat(62));
        assert_eq!(label(&cut_at_a_hyphen, &origin()), Some("a".repeat(62)));
    }

    #[test]
    fn one_name_is_one_address() {
        let one = |last: u8, name: Option<&str>| Address {
            tags: name.map(|name| ("Name", name)).into_iter().collect(),
            ..Address::unassociated(Ipv4Addr::new(75, 101, 137, last))
        };
        let edge = |id: &str| crate::source::testing::edge(id);
        let all = [
            one(1, Some("Web")),
            one(2, Some("web")),
            one(3, Some("web-2")),
            one(4, Some(" WEB ")),
            one(5, None),
            one(6, Some("ns1")),
            one(7, Some("*")),
            edge("eipalloc-0a1b2c3d4e5f"),
            edge("eipalloc-XYZ"),
        ];
        let named = named(all.iter(), &origin());
        let why = |one: &Named| one.left_out.as_ref().map(ToString::to_string).unwrap_or_default();
        let told: Vec<_> = named.iter().map(|one| (one.label.clone(), why(one))).collect();
        let taken = "75.101.137.1 has this name, and one name is one address";
        let wanted = [
            ("web", ""),
            ("web-3", taken),
            ("web-2", ""),
            ("web-4", taken),
            ("eip-75-101-137-5", "it has no tag Name"),
            ("ns1-2", "ns1 is the zone's nameserver, which is this server"),
            ("eip-75-101-137-7", "nothing in its tag Name can stand in a name"),
            ("eipalloc-0a1b2c3d4e5f", "it has no tag Name"),
            ("eipalloc-xyz", "its allocation id is none that a name can be bound to"),
        ];
        assert_eq!(told, wanted.map(|(label, why)| (label.to_owned(), why.to_owned())));
    }
}
