//! The parts of a configuration, and the keys that are promised but not built.

use super::value::Value;
use super::words::tick;

/// A part of the configuration that has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Server,
    Listen,
    Aws,
    Source,
    View,
    Forward,
    Reverse,
    Guard,
    State,
    Serve,
    Zone,
    Names,
    Name,
    Discover,
    /// A table whose keys the user chooses.
    Free,
}

impl Scope {
    /// As it is called in messages.
    pub(super) fn label(self) -> &'static str {
        match self {
            Scope::Server => "server.toml",
            Scope::Listen => "[listen]",
            Scope::Aws => "[aws]",
            Scope::Source => "[[source]]",
            Scope::View => "[[view]]",
            Scope::Forward => "[[forward]]",
            Scope::Reverse => "[[reverse]]",
            Scope::Guard => "[guard]",
            Scope::State => "[state]",
            Scope::Serve => "[serve]",
            Scope::Zone => "a zone file",
            Scope::Names => "[names]",
            Scope::Name => "a name",
            Scope::Discover => "[discover]",
            Scope::Free => "this table",
        }
    }

    /// What to do about a key that is like none of the known ones.
    pub(super) fn unknown_key_remedy(self, known: &[&str]) -> String {
        let mut known: Vec<_> = known.iter().map(|k| tick(k)).collect();
        known.sort();
        let known = format!("the keys here are {}", known.join(", "));
        match self {
            Scope::Zone => format!("names go below `[names]`; {known}"),
            _ => known,
        }
    }
}

/// Keys of the contract whose feature is not built yet: `true` is refused,
/// `false` is what this version does. To build one, remove its line here and
/// read the key where its neighbours are read.
const PENDING: &[(Scope, &str)] = &[(Scope::Name, "ipv6"), (Scope::Discover, "ipv6")];

/// The promised keys of a scope.
pub(super) fn pending_keys(scope: Scope) -> impl Iterator<Item = &'static str> {
    PENDING.iter().filter(move |(s, _)| *s == scope).map(|(_, key)| *key)
}

/// Deals with `key` if it is a promised one: true then.
pub(super) fn settle_pending(scope: Scope, key: &str, value: &Value<'_>) -> bool {
    if !PENDING.contains(&(scope, key)) {
        return false;
    }
    match value.as_bool() {
        Some(true) => value.at_key().error(
            format!("`{key} = true` in {} is not in this version of eipdns", scope.label()),
            "remove it or set it to false".to_owned(),
        ),
        Some(false) => {}
        None => value.wrong("true or false", &format!("write `{key} = false`")),
    }
    true
}
