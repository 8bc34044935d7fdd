//! Reads `[discover]`: which tag gives the zone names, and how they are answered.

use super::names::{self, Context, SEVERAL};
use super::readers::{text, truth, ttl};
use super::table::Table;
use super::target::MAX_TAG_KEY;
use super::value::Value;
use super::{Discover, server};

/// The section of a zone's file.
pub(super) fn read(mut t: Table<'_>, zone: &Context<'_>) -> Option<Discover> {
    let place = t.place();
    let consequence = "nothing says which tag has the names";
    let tag = t.require("tag", consequence, "\"dns-name\"", tag);
    let source = t.take("source", |v| names::source(v, zone.server));
    let ipv6 = t.get("ipv6").and_then(|v| Some((truth(&v)?, v)));
    let sets = t.take("sets", truth).unwrap_or(false);
    let apex_and_wildcards = t.take("apex_and_wildcards", truth).unwrap_or(false);
    let ttl = t.take("ttl", ttl);
    let hold = t.take("hold", server::hold);
    let answer = t.get("answer");
    let no_cname = sets.then_some(("`sets = true`", SEVERAL));
    let modes = names::modes(answer.as_ref(), no_cname, zone);
    t.finish();
    let (tag, modes) = (tag?, modes?);
    let ipv6 = ipv6.filter(|(ipv6, _)| *ipv6).map(|(_, v)| names::without_addresses(&v, &modes));
    let ipv6 = ipv6.is_some();
    Some(Discover { tag, source, modes, ttl, hold, ipv6, sets, apex_and_wildcards, place })
}

/// A tag's key: 1 to 128 characters (EC2 User Guide, "Tag restrictions").
fn tag(v: &Value<'_>) -> Option<String> {
    let key = text(MAX_TAG_KEY * 4, "dns-name")(v)?;
    let length = key.chars().count();
    if length > MAX_TAG_KEY {
        v.error(
            format!("{} has {length} characters, and a tag's key at most {MAX_TAG_KEY}", v.name()),
            "write the key of the tag, as in `tag = \"dns-name\"`",
        );
        return None;
    }
    Some(key)
}
