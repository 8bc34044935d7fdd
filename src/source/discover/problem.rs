//! What of tags gives no name, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Claim;
use crate::host::text::brief;

/// As many characters of a word in a tag are shown.
const MAX_WORD: usize = 64;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is no domain name.
    BadName,
    /// It lies in no zone that discovers this tag.
    Outside,
    /// `[names]`, a nameserver or records have the name.
    Shadowed,
    /// Another address has it.
    SecondAddress,
    /// There are too many.
    TooMany,
}

impl Kind {
    /// All of them, in the order of metrics.
    pub const ALL: [Kind; 5] =
        [Kind::BadName, Kind::Outside, Kind::Shadowed, Kind::SecondAddress, Kind::TooMany];

    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::BadName => "bad_name",
            Kind::Outside => "outside",
            Kind::Shadowed => "shadowed",
            Kind::SecondAddress => "second_address",
            Kind::TooMany => "too_many",
        }
    }
}

/// One word of one address' tag that gives no name, or not everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What is wrong.
    pub kind: Kind,
    /// The address.
    pub claim: Claim,
    /// The name, or the word that is none.
    pub name: Box<str>,
    /// Why it is none, for people.
    pub why: Box<str>,
}

impl Problem {
    pub(super) fn new(kind: Kind, claim: Claim, name: &str, why: impl fmt::Display) -> Self {
        let shown: String = name.chars().flat_map(char::escape_debug).collect();
        Self { kind, claim, name: brief(&shown, MAX_WORD).into(), why: why.to_string().into() }
    }
}
