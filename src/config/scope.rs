//! The parts of a configuration, and the keys that are promised but not built.

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
    Peers,
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
            Scope::Peers => "[peers]",
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
