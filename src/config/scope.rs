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
    Guard,
    State,
    Serve,
    Zone,
    Names,
    Name,
    /// A table whose keys the user chooses.
    Free,
}

impl Scope {
    /// As it is called in messages.
    pub fn label(self) -> &'static str {
        match self {
            Scope::Server => "server.toml",
            Scope::Listen => "[listen]",
            Scope::Aws => "[aws]",
            Scope::Source => "[[source]]",
            Scope::View => "[[view]]",
            Scope::Guard => "[guard]",
            Scope::State => "[state]",
            Scope::Serve => "[serve]",
            Scope::Zone => "a zone file",
            Scope::Names => "[names]",
            Scope::Name => "a name",
            Scope::Free => "this table",
        }
    }

    /// What to do about a key that is like none of the known ones.
    pub fn unknown_key_remedy(self, known: &[&str]) -> String {
        let mut known: Vec<_> = known.iter().map(|k| tick(k)).collect();
        known.sort();
        let known = format!("the keys here are {}", known.join(", "));
        match self {
            Scope::Zone => format!("names go below `[names]`; {known}"),
            _ => known,
        }
    }
}

/// When a promised key is refused.
enum Refused {
    /// Whatever its value.
    Always,
    /// When it is `true`; `false` is what this version does.
    WhenTrue,
}

/// Keys of the contract whose feature is not built yet. To build one, remove
/// its line here and read the key where its neighbours are read.
const PENDING: &[(Scope, &str, Refused)] = &[
    (Scope::Server, "forward", Refused::Always),
    (Scope::Listen, "trust_ecs_from", Refused::Always),
    (Scope::View, "forward", Refused::WhenTrue),
    (Scope::View, "rewrite", Refused::WhenTrue),
    (Scope::View, "ec2_names", Refused::WhenTrue),
    (Scope::Name, "ipv6", Refused::WhenTrue),
];

/// Does this build have `type = "ec2"`?
pub(super) const HAS_EC2: bool = cfg!(feature = "ec2");

/// The promised keys of a scope.
pub(super) fn pending_keys(scope: Scope) -> impl Iterator<Item = &'static str> {
    PENDING.iter().filter(move |(s, _, _)| *s == scope).map(|(_, key, _)| *key)
}

/// Deals with `key` if it is a promised one: true then.
pub(super) fn settle_pending(scope: Scope, key: &str, value: &Value<'_>) -> bool {
    let Some((_, key, refused)) = PENDING.iter().find(|(s, k, _)| *s == scope && *k == key) else {
        return false;
    };
    let label = scope.label();
    match (refused, value.as_bool()) {
        (Refused::Always, _) => value.at_key().error(
            format!("`{key}` in {label} is not in this version of eipdns"),
            "remove it".to_owned(),
        ),
        (Refused::WhenTrue, Some(true)) => value.at_key().error(
            format!("`{key} = true` in {label} is not in this version of eipdns"),
            "remove it or set it to false".to_owned(),
        ),
        (Refused::WhenTrue, Some(false)) => {}
        (Refused::WhenTrue, None) => {
            value.wrong("true or false", &format!("write `{key} = false`"))
        }
    }
    true
}
