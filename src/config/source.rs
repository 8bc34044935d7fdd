//! Reads `[[source]]`: where addresses come from.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::readers::{self, duration, list, text, ttl, word};
use super::scope::Scope;
use super::server::Context;
use super::table::Table;
use super::value::{At, Value};
use super::words::{nearest, one_of, quote};
use super::{Ec2Source, Source, SourceKind};
use crate::dns::ec2_name;
use crate::dns::name::Key;

/// Faster only meets EC2's throttling; slower than a day is no polling.
const POLL: RangeInclusive<Duration> =
    Duration::from_millis(500)..=Duration::from_secs(24 * 60 * 60);
const POLL_DEFAULT: Duration = Duration::from_secs(1);
const TTL_DEFAULT: u32 = 5;

/// ARNs (AWS General Reference) and every other id we pass on are shorter.
const MAX_TEXT: usize = 2048;

/// Keys that only an `ec2` source has.
const EC2_KEYS: &[&str] =
    &["poll", "endpoint_url", "profile", "role_arn", "external_id", "account", "filters"];

/// Keys that only a `file` source has.
const FILE_KEYS: &[&str] = &["path", "interfaces"];

/// Filters of DescribeAddresses (EC2 API reference); and `tag:<key>`.
const FILTERS: &[&str] = &[
    "allocation-id",
    "association-id",
    "domain",
    "instance-id",
    "network-border-group",
    "network-interface-id",
    "network-interface-owner-id",
    "private-ip-address",
    "public-ip",
    "tag-key",
];

/// The regions of all partitions (AWS General Reference, "EC2 service
/// endpoints"), as of November 2026. Any other may be newer.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// Every source, and whether the names of all are known.
pub(super) fn read_all(root: &mut Table<'_>, context: &Context<'_>) -> (Vec<Source>, bool) {
    let blocks = root.blocks("source", Scope::Source);
    let mut complete = true;
    let mut sources: Vec<Source> = vec![];
    for mut block in blocks {
        let why = "logs, metrics and names could not refer to it";
        let name = block.get("name");
        let Some(source) = read(&mut block, why, context) else {
            complete = false;
            block.finish();
            continue;
        };
        if let Some(first) = sources.iter().find(|s| s.name == source.name)
            && let Some(name) = name
        {
            name.error(
                format!("a source named \"{}\" is already at {}", source.name, first.place),
                "give one of them another name",
            );
        }
        block.finish();
        sources.push(source);
    }
    (sources, complete)
}

fn read(t: &mut Table<'_>, why: &str, context: &Context<'_>) -> Option<Source> {
    let name = t.require("name", why, "\"main\"", word("main"));
    let region = t.take("region", region);
    let public_suffix = t.take("public_suffix", suffix);
    let ttl = t.take("ttl", ttl).unwrap_or(TTL_DEFAULT);
    let kind = t
        .require("type", "nothing says where its addresses come from", "\"ec2\"", |v| {
            kind(v, context)
        })
        .and_then(|kind| match kind {
            Kind::File => file(t, context),
            Kind::Ec2 => Some(SourceKind::Ec2(ec2(t))),
        });
    if kind.is_none() {
        // Known all the same: one mistake is enough.
        for key in FILE_KEYS.iter().chain(EC2_KEYS) {
            t.get(key);
        }
    }
    // A name without a usable kind is still a name that others may refer to.
    let kind = kind.unwrap_or(SourceKind::Ec2(Ec2Source {
        poll: POLL_DEFAULT,
        endpoint_url: None,
        profile: None,
        role_arn: None,
        external_id: None,
        account: None,
        filters: BTreeMap::new(),
    }));
    Some(Source { name: name?, kind, region, public_suffix, ttl, place: t.place() })
}

enum Kind {
    File,
    Ec2,
}

fn kind(v: &Value<'_>, context: &Context<'_>) -> Option<Kind> {
    match v.as_str() {
        Some("file") => Some(Kind::File),
        Some("ec2") => {
            if !context.overrides.ec2 {
                v.error(
                    "`type = \"ec2\"` is not in this version of eipdns: it was built without the cargo feature `ec2`",
                    "build it with default features, or use `type = \"file\"`",
                );
            }
            Some(Kind::Ec2)
        }
        text => {
            let known = ["file", "ec2"];
            v.wrong("\"file\" or \"ec2\"", &one_of(text.unwrap_or_default(), known));
            None
        }
    }
}

fn file(t: &mut Table<'_>, context: &Context<'_>) -> Option<SourceKind> {
    for key in EC2_KEYS {
        if let Some(value) = t.get(key) {
            value.at_key().error(
                format!("`{key}` means nothing to a source of `type = \"file\"`"),
                "remove it, or set `type = \"ec2\"`",
            );
        }
    }
    let interfaces = t.take("interfaces", readers::path(context.dir, "interfaces.json"));
    let path = readers::path(context.dir, "addresses.json");
    let why = "nothing names the file that holds what `aws ec2 describe-addresses` prints";
    let path = t.require("path", why, "\"addresses.json\"", path)?;
    Some(SourceKind::File { path, interfaces })
}

fn ec2(t: &mut Table<'_>) -> Ec2Source {
    for key in FILE_KEYS {
        if let Some(value) = t.get(key) {
            value.at_key().error(
                format!("`{key}` means nothing to a source of `type = \"ec2\"`"),
                "remove it, or set `type = \"file\"`",
            );
        }
    }
    let role_arn = t.take("role_arn", role_arn);
    let external_id = t.get("external_id");
    if let Some(external_id) = &external_id
        && t.get("role_arn").is_none()
    {
        external_id.at_key().error(
            "`external_id` without `role_arn` is sent to nobody",
            "add the `role_arn` it belongs to, or remove it",
        );
    }
    Ec2Source {
        poll: t.take("poll", duration(POLL, "1s")).unwrap_or(POLL_DEFAULT),
        endpoint_url: t.take("endpoint_url", endpoint_url),
        profile: t.take("profile", text(MAX_TEXT, "default")),
        role_arn,
        external_id: external_id.and_then(|v| text(MAX_TEXT, "an-id")(&v)),
        account: t.take("account", account),
        filters: t.take("filters", filters).unwrap_or_default(),
    }
}

/// An account's number: 12 digits (IAM user guide, "AWS account identifiers").
fn account(v: &Value<'_>) -> Option<String> {
    // As a number it would lose the zeros that it may begin with.
    let text = text(64, "111122223333")(v)?;
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(text);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let remedy = match digits.len() {
        12 => format!("write {}", quote(&digits)),
        _ => "copy it from `aws sts get-caller-identity`, as in \"111122223333\"".into(),
    };
    v.error(format!("{} is no account: that is 12 digits", quote(&text)), remedy);
    None
}

/// A region's name: `us-east-1`, `us-gov-west-1`, `eusc-de-east-1`.
fn region(v: &Value<'_>) -> Option<String> {
    let text = text(64, "us-east-1")(v)?;
    let labels: Vec<_> = text.split('-').collect();
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let last = labels.last().copied().unwrap_or_default();
    let number = last.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let numbered = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if plain && numbered && labels.len() >= 3 && !labels.iter().any(|l| l.is_empty()) {
        if number == last {
            if !REGIONS.contains(&text.as_str()) {
                let remedy = match nearest(&text, REGIONS.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "leave it if the region is newer than this version".into(),
                };
                let what = format!(
                    "eipdns knows no region {}: there may be no EC2 at that name",
                    quote(&text)
                );
                v.warn(what, remedy);
            }
            return Some(text);
        }
        v.error(
            format!("{} is an availability zone, not a region", quote(&text)),
            format!("write \"{}\"", text.strip_suffix(last).unwrap_or(&text).to_owned() + number),
        );
    } else {
        v.error(
            format!("{} in `region` is not a region of AWS", quote(&text)),
            "write it as the AWS CLI does, as in `region = \"us-east-1\"`",
        );
    }
    None
}

/// A suffix below which every EC2 name fits into 255 octets.
fn suffix(v: &Value<'_>) -> Option<Key> {
    let suffix = readers::name(None)(v)?;
    if ec2_name::ec2_name(Ipv4Addr::BROADCAST, &suffix).is_none() {
        v.error(
            "`public_suffix` is so long that `ec2-255-255-255-255.` does not fit before it",
            "remove it: the suffix of the source's region is used then",
        );
        return None;
    }
    Some(suffix)
}

fn endpoint_url(v: &Value<'_>) -> Option<String> {
    let url = text(MAX_TEXT, "https://ec2.us-east-1.amazonaws.com")(v)?;
    let host = url.strip_prefix("https://").or(url.strip_prefix("http://"));
    let odd = url.chars().any(|c| !c.is_ascii_graphic());
    if odd || host.is_none_or(|h| h.is_empty() || h.starts_with(['/', ':', '?', '#'])) {
        v.error(
            format!("{} in `endpoint_url` is not a URL of http or https", quote(&url)),
            "write for example \"https://ec2.us-east-1.amazonaws.com\", or remove it",
        );
        return None;
    }
    Some(url)
}

fn role_arn(v: &Value<'_>) -> Option<String> {
    let arn = text(MAX_TEXT, "arn:aws:iam::111122223333:role/eipdns")(v)?;
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let fits = match parts.as_slice() {
        ["arn", partition, "iam", "", account, role] => {
            partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|b| b.is_ascii_digit())
                && role.strip_prefix("role/").is_some_and(|name| !name.is_empty())
        }
        _ => false,
    };
    if !fits {
        v.error(
            format!("{} in `role_arn` is not the ARN of a role", quote(&arn)),
            "write for example \"arn:aws:iam::111122223333:role/eipdns\"",
        );
        return None;
    }
    Some(arn)
}

fn filters(v: &Value<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let example = "write `filters = { \"tag:Role\" = \"db\" }`";
    let table = v.table(Scope::Free, example)?;
    let mut filters = BTreeMap::new();
    for (At { value: filter, .. }, v) in table.entries() {
        let known = FILTERS.contains(&filter)
            || filter.strip_prefix("tag:").is_some_and(|key| !key.is_empty());
        if !known {
            let remedy = match nearest(filter, FILTERS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "see the filters of DescribeAddresses in the EC2 API reference".into(),
            };
            let what = format!("EC2 has no filter {} that eipdns knows of", quote(filter));
            v.at_key().warn(what, remedy);
        }
        let one = |v: &Value<'_>| text(MAX_TEXT, "db")(v);
        let all = match v.as_str() {
            Some(_) => one(&v).map(|one| vec![one]),
            None => list("texts", "\"db\"", one)(&v),
        };
        filters.insert(filter.to_owned(), all.unwrap_or_default());
    }
    Some(filters)
}
