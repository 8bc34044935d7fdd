//! Readers of single values: lists, durations, TTLs, texts, names.
//!
//! Each takes a [`Value`] and returns what it means, or reports why it means
//! nothing and returns none.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Mode;
use super::value::{At, Value};
use super::words::{one_of, quote, tick};
use crate::dns::name::Key;

/// RFC 2181 section 8: a TTL is 31 bits.
pub(super) const MAX_TTL: u32 = 0x7fff_ffff;

/// One character-string of TXT RDATA (RFC 1035 section 3.3).
pub(super) const MAX_CHARACTER_STRING: usize = 255;

/// Names of views and sources are labels in logs and metrics.
const MAX_WORD: usize = 63;

/// Adds the place of what `read` reads.
pub(super) fn at<T>(
    read: impl Fn(&Value<'_>) -> Option<T>,
) -> impl Fn(&Value<'_>) -> Option<At<T>> {
    move |v| Some(At { place: v.place(), value: read(v)? })
}

/// A list, not empty, of what `read` reads.
pub(super) fn list<T>(
    takes: &str,
    example: &str,
    read: impl Fn(&Value<'_>) -> Option<T>,
) -> impl Fn(&Value<'_>) -> Option<Vec<T>> {
    move |v| {
        let written = v.written(&format!("[{example}]"));
        let Some(all) = v.as_list() else {
            v.wrong(&format!("a list of {takes}"), &written);
            return None;
        };
        if all.is_empty() {
            v.error(format!("{} is an empty list", v.name()), written);
            return None;
        }
        // All are looked at, so that all mistakes are found.
        let read: Vec<_> = all.iter().map(&read).collect();
        read.into_iter().collect()
    }
}

/// A list as `list` reads it, with an error for each entry that is there twice.
pub(super) fn set<T: Ord>(
    takes: &str,
    example: &str,
    read: impl Fn(&Value<'_>) -> Option<T>,
) -> impl Fn(&Value<'_>) -> Option<Vec<T>> {
    let read = list(takes, example, read);
    move |v| {
        let all = read(v)?;
        let mut seen = BTreeSet::new();
        for (entry, value) in all.iter().zip(v.as_list().unwrap_or_default()) {
            if !seen.insert(entry) {
                let text = quote(value.as_str().unwrap_or_default());
                value.error(format!("{text} is in {} twice", v.name()), "keep one of the two");
            }
        }
        Some(all)
    }
}

/// A duration within bounds, as text with a unit.
pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
    example: &str,
) -> impl Fn(&Value<'_>) -> Option<Duration> {
    move |v| {
        let key = v.key();
        let written = v.written(&format!("\"{example}\""));
        let Some(text) = v.as_str() else {
            let remedy = match v.as_int() {
                Some(n) if n >= 0 => format!("write `{key} = \"{n}s\"` if seconds are meant"),
                _ => written,
            };
            v.wrong("a duration: text with a unit", &remedy);
            return None;
        };
        let Ok(found) = humantime::parse_duration(text) else {
            let remedy = format!("{written}: numbers with ms, s, m or h");
            v.error(format!("{} in `{key}` is not a duration", quote(text)), remedy);
            return None;
        };
        if !bounds.contains(&found) {
            let (least, most) = (shown(*bounds.start()), shown(*bounds.end()));
            let hint = if text.contains('M') { " (M is months, m is minutes)" } else { "" };
            v.error(
                format!("{} in `{key}` is out of bounds{hint}", quote(text)),
                format!("choose {least} to {most}"),
            );
            return None;
        }
        Some(found)
    }
}

fn shown(duration: Duration) -> impl Display {
    humantime::format_duration(duration)
}

/// A TTL: whole seconds.
pub(super) fn ttl(v: &Value<'_>) -> Option<u32> {
    let Some(n) = v.as_int() else {
        let meant = v.as_str().and_then(|text| humantime::parse_duration(text).ok());
        let seconds = meant.filter(|d| d.subsec_nanos() == 0).map_or(5, |d| d.as_secs());
        v.wrong("whole seconds without quotes", &v.written(&seconds.to_string()));
        return None;
    };
    let ttl = u32::try_from(n).ok().filter(|n| *n <= MAX_TTL);
    if ttl.is_none() {
        v.error(
            format!(
                "{} is {n}, but a TTL is 0 to {MAX_TTL} seconds (RFC 2181 section 8)",
                v.name()
            ),
            v.written("5"),
        );
    }
    ttl
}

/// A truth value.
pub(super) fn truth(v: &Value<'_>) -> Option<bool> {
    let found = v.as_bool();
    if found.is_none() {
        v.wrong("true or false", &v.written("true"));
    }
    found
}

/// A whole number within bounds.
pub(super) fn count(bounds: RangeInclusive<usize>) -> impl Fn(&Value<'_>) -> Option<usize> {
    move |v| {
        let found = v.as_int().and_then(|n| usize::try_from(n).ok());
        let found = found.filter(|n| bounds.contains(n));
        if found.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            let takes = format!("a whole number from {least} to {most}");
            v.wrong(&takes, "choose a number within that, without quotes");
        }
        found
    }
}

/// Text of 1 to `most` octets. `example` is without quotes.
pub(super) fn text(most: usize, example: &str) -> impl Fn(&Value<'_>) -> Option<String> {
    move |v| {
        let written = v.written(&format!("\"{example}\""));
        let Some(text) = v.as_str() else {
            v.wrong("text in quotes", &written);
            return None;
        };
        let name = v.name();
        if text.is_empty() || text.len() > most {
            let what = match text.len() {
                0 => format!("{name} is empty"),
                len => format!("{name} has {len} octets, but at most {most} fit"),
            };
            v.error(what, written);
            return None;
        }
        // What is said here is said again in logs, answers and metrics.
        if text.contains(char::is_control) {
            v.error(format!("{name} has control characters"), "remove them");
            return None;
        }
        Some(text.to_owned())
    }
}

/// A path, relative to `base` unless it is absolute.
pub(super) fn path(base: &Path, example: &str) -> impl Fn(&Value<'_>) -> Option<PathBuf> {
    /// Linux's PATH_MAX, less the final NUL.
    const LONGEST: usize = 4095;
    let read = text(LONGEST, example);
    move |v| Some(base.join(read(v)?))
}

/// The name of a view or source: it is shown in logs, metrics and answers.
pub(super) fn word(example: &str) -> impl Fn(&Value<'_>) -> Option<String> {
    let read = text(MAX_WORD, example);
    move |v| {
        let word = read(v)?;
        let odd = word.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_.".contains(*c));
        if let Some(odd) = odd {
            v.error(
                format!("{} has the character {}", v.name(), quote(&odd.to_string())),
                "use letters, digits, `-`, `_` and `.` only",
            );
            return None;
        }
        Some(word)
    }
}

/// A mode of answering.
pub(super) fn mode(v: &Value<'_>) -> Option<Mode> {
    let takes = "\"private\", \"cname\" or \"public\"";
    let Some(text) = v.as_str() else {
        v.wrong(takes, &v.written("\"private\""));
        return None;
    };
    let modes = [Mode::Private, Mode::Cname, Mode::Public];
    let found = modes.into_iter().find(|m| m.as_str() == text);
    if found.is_none() {
        v.wrong(takes, &one_of(text, modes.map(Mode::as_str)));
    }
    found
}

/// A domain name; relative to `origin` without a final dot.
pub(super) fn name(origin: Option<&Key>) -> impl Fn(&Value<'_>) -> Option<Key> {
    move |v| {
        let Some(text) = v.as_str() else {
            v.wrong("a domain name in quotes", &v.written("\"example.com\""));
            return None;
        };
        name_of(v, text, origin)
    }
}

/// The domain name that `text`, found at `v`, is.
pub(super) fn name_of(v: &Value<'_>, text: &str, origin: Option<&Key>) -> Option<Key> {
    match Key::parse(text, origin) {
        Ok(key) => {
            warn_doubled(v, text, &key, origin);
            Some(key)
        }
        Err(e) => {
            v.error(
                format!("{} is not a domain name: {e}", quote(text)),
                "write labels of at most 63 characters with dots between them, as in \"db.example.com\"",
            );
            None
        }
    }
}

/// The classic slip: the whole name without its final dot.
fn warn_doubled(v: &Value<'_>, text: &str, key: &Key, origin: Option<&Key>) {
    let Some(origin) = origin else { return };
    let Ok(whole) = Key::parse(text, None) else { return };
    if whole.is_under(origin) && !text.ends_with('.') && origin.parent().is_some() {
        v.warn(
            format!("{} has no final dot, so it means {}", quote(text), tick(&key.to_string())),
            format!("write \"{text}.\", or \"{}\" for short", whole.relative_to(origin)),
        );
    }
}
