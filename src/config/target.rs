//! Reads what a name is bound to: an Elastic IP, an allocation, tags, addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::Target;
use super::addresses::ip;
use super::readers::set;
use super::scope::Scope;
use super::value::{At, Value};
use super::words::quote;

/// The keys that say what a name is bound to, of which it has one.
pub(super) const KEYS: [&str; 4] = ["elastic_ip", "allocation_id", "tag", "address"];

/// Far more than EC2's ids have; bounds what is repeated in answers and logs.
const MAX_ID: usize = 64;

/// Tag restrictions (EC2 User Guide): characters of a key and of a value.
pub(super) const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;

/// The value of one of [`KEYS`].
pub(super) fn read(v: &Value<'_>) -> Option<Target> {
    match v.key() {
        "elastic_ip" => elastic_ip(v),
        "allocation_id" => allocation(v),
        "tag" => tags(v),
        _ => fixed(v),
    }
}

/// The short form: an Elastic IP or an allocation. `zone_keys` stand above
/// `[names]` and are easily written below it.
pub(super) fn short(v: &Value<'_>, zone_keys: &[&str]) -> Option<Target> {
    let text = v.as_str().unwrap_or_default();
    if text.starts_with(PREFIX) {
        return allocation(v);
    }
    if text.parse::<IpAddr>().is_ok() {
        return elastic_ip(v);
    }
    let remedy = if zone_keys.contains(&v.key()) {
        format!("move {} above `[names]` if the zone's key is meant", v.name())
    } else {
        "write `\"75.101.137.243\"`, `\"eipalloc-0a1b2c3d\"` or `{ address = \"10.0.0.53\" }`"
            .into()
    };
    v.wrong("an Elastic IP, an allocation id or a table", &remedy);
    None
}

fn elastic_ip(v: &Value<'_>) -> Option<Target> {
    let written = || v.written("\"75.101.137.243\"");
    let Some(text) = v.as_str() else {
        v.wrong("an Elastic IP in quotes", &written());
        return None;
    };
    let fixed = || format!("for a fixed address write `{{ address = {} }}`", quote(text));
    match text.parse() {
        Ok(IpAddr::V4(ip)) if !never_elastic(ip) => {
            if ip.is_private() {
                v.warn(
                    format!(
                        "{ip} is a private address, which no Elastic IP is; a customer-owned address is bound by its `allocation_id`"
                    ),
                    fixed(),
                );
            }
            return Some(Target::ElasticIp(ip));
        }
        Ok(IpAddr::V4(ip)) => v.error(format!("{ip} cannot be an Elastic IP"), fixed()),
        Ok(IpAddr::V6(ip)) => {
            v.error(format!("{ip} cannot be an Elastic IP: those are IPv4"), fixed());
        }
        Err(_) if text.starts_with(PREFIX) => v.error(
            format!("{} is an allocation id, not an Elastic IP", quote(text)),
            format!("write `allocation_id = {}`", quote(text)),
        ),
        Err(_) => v.error(format!("{} is not an Elastic IP", quote(text)), written()),
    }
    None
}

/// Addresses that no Elastic IP can be, customer-owned pools included.
fn never_elastic(ip: Ipv4Addr) -> bool {
    ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_unspecified()
        || ip.is_broadcast()
}

/// What allocation ids begin with.
const PREFIX: &str = "eipalloc-";

/// The prefix and at least eight hexadecimal digits (EC2 User Guide, "Resource
/// IDs"); EC2 compares ids octet by octet.
fn allocation(v: &Value<'_>) -> Option<Target> {
    let Some(text) = v.as_str() else {
        v.wrong("an allocation id in quotes", &v.written("\"eipalloc-0a1b2c3d\""));
        return None;
    };
    let digits = text.strip_prefix(PREFIX).unwrap_or_default();
    let hex = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let upper = digits.bytes().any(|b| b.is_ascii_uppercase());
    if hex && !upper && text.len() <= MAX_ID {
        return Some(Target::Allocation(text.to_owned()));
    }
    let remedy = match text.parse::<Ipv4Addr>() {
        Ok(ip) => format!("write `elastic_ip = \"{ip}\"`"),
        Err(_) if hex && upper => format!("write {}", quote(&text.to_lowercase())),
        Err(_) => "copy it from `aws ec2 describe-addresses`, as in \"eipalloc-0a1b2c3d\"".into(),
    };
    v.error(format!("{} is not an allocation id", quote(text)), remedy);
    None
}

fn tags(v: &Value<'_>) -> Option<Target> {
    let example = "write `tag = { Role = \"db\" }`";
    let entries = v.table(Scope::Free, example)?.entries();
    if entries.is_empty() {
        v.error("`tag` is empty, so it would match every address", example);
        return None;
    }
    // All are looked at, so that all mistakes are found.
    let tags: Vec<_> = entries.iter().map(|(key, v)| tag(key, v)).collect();
    tags.into_iter().collect::<Option<BTreeMap<_, _>>>().map(Target::Tags)
}

fn tag(key: &At<&str>, v: &Value<'_>) -> Option<(String, String)> {
    let key = key.value;
    let Some(value) = v.as_str() else {
        v.wrong("the tag's value in quotes", "write `tag = { Role = \"db\" }`");
        return None;
    };
    let control = key.contains(char::is_control) || value.contains(char::is_control);
    let chars = key.chars().count();
    if control || chars == 0 || chars > MAX_TAG_KEY || value.chars().count() > MAX_TAG_VALUE {
        v.at_key().error(
            format!("no address has the tag {} = {}", quote(key), quote(value)),
            format!(
                "EC2 takes keys of 1 to {MAX_TAG_KEY} printable characters and values of at most {MAX_TAG_VALUE}"
            ),
        );
        return None;
    }
    Some((key.to_owned(), value.to_owned()))
}

fn fixed(v: &Value<'_>) -> Option<Target> {
    if v.as_list().is_none() {
        return ip(v).map(|one| Target::Fixed(vec![one]));
    }
    set("IP addresses", "\"10.0.0.53\"", ip)(v).map(Target::Fixed)
}
