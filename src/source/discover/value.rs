//! The names in a tag's value.

use crate::dns::name::Key;

/// In place of `*`, which tags that other AWS services read do not allow.
const ANY: &str = "_any";

/// A name as a tag has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'v> {
    /// `@`: the origin.
    Apex,
    /// Anything else.
    Name(&'v str),
}

/// Why a word is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// An empty label.
    #[error("it has an empty label")]
    EmptyLabel,
    /// A label of more than 63 octets (RFC 1035 section 2.3.4).
    #[error("it has a label of {0} characters, and 63 is the most")]
    LongLabel(usize),
    /// A character that no label of a host has.
    #[error("it has the character {0:?}; labels have letters, digits, `-` and `_`")]
    Character(char),
    /// A star that is not the whole first label (RFC 4592 section 2.1.1).
    #[error("only a whole first label is a wildcard: `*.…` or `_any.…`")]
    Star,
    /// More than 255 octets with its zone (RFC 1035 section 2.3.4).
    #[error("it is longer than 255 octets with its zone")]
    TooLong,
}

/// The words of a value: separated by blanks, commas or `/`.
pub fn words(value: &str) -> impl Iterator<Item = Word<'_>> {
    let is_between = |c: char| c.is_ascii_whitespace() || c == ',' || c == '/';
    let words = value.split(is_between).filter(|word| !word.is_empty());
    words.map(|word| if word == "@" { Word::Apex } else { Word::Name(word) })
}

/// The name that a word is: below the root if it ends in a dot, else below `origin`.
///
/// # Errors
/// It is none.
pub fn name(word: &str, origin: &Key) -> Result<Key, NotAName> {
    let (word, origin) = match word.strip_suffix('.') {
        Some(whole) => (whole, &Key::root()),
        None => (word, origin),
    };
    let mut text = String::with_capacity(word.len());
    for (nth, label) in word.split('.').enumerate() {
        check(nth, label)?;
        if nth > 0 {
            text.push('.');
        }
        text.push_str(if nth == 0 && label.eq_ignore_ascii_case(ANY) { "*" } else { label });
    }
    // All else was looked at.
    Key::parse(&text, Some(origin)).map_err(|_| NotAName::TooLong)
}

fn check(nth: usize, label: &str) -> Result<(), NotAName> {
    let is_usual = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    match label {
        "" => Err(NotAName::EmptyLabel),
        "*" if nth == 0 => Ok(()),
        label => match label.chars().find(|c| !is_usual(c)) {
            Some('*') => Err(NotAName::Star),
            Some(odd) => Err(NotAName::Character(odd)),
            None if label.len() > 63 => Err(NotAName::LongLabel(label.len())),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone() -> Key {
        Key::parse("example.com", None).unwrap()
    }

    #[test]
    fn words_stand_between_blanks_commas_and_slashes() {
        let all: Vec<_> = words(" db,web/@  a.b.\tc,,/ ").collect();
        let name = Word::Name;
        assert_eq!(all, [name("db"), name("web"), Word::Apex, name("a.b."), name("c")]);
        assert_eq!(words(" ,/ ").count(), 0);
        assert_eq!(words("").count(), 0);
    }

    #[test]
    fn a_word_is_a_name_or_says_why_not() {
        let long = "x".repeat(64);
        let deep = vec!["x".repeat(60); 5].join(".");
        for (word, expected) in [
            ("db", Ok("db.example.com.")),
            ("DB.East", Ok("db.east.example.com.")),
            ("db.example.net.", Ok("db.example.net.")),
            ("*", Ok("*.example.com.")),
            ("_any", Ok("*.example.com.")),
            ("_ANY.shard", Ok("*.shard.example.com.")),
            ("a._any", Ok("a._any.example.com.")),
            ("_dmarc-x", Ok("_dmarc-x.example.com.")),
            (".", Err(NotAName::EmptyLabel)),
            ("...", Err(NotAName::EmptyLabel)),
            ("a..b", Err(NotAName::EmptyLabel)),
            (".a", Err(NotAName::EmptyLabel)),
            ("a.*", Err(NotAName::Star)),
            ("a*", Err(NotAName::Star)),
            ("b\u{1f600}", Err(NotAName::Character('\u{1f600}'))),
            ("a\u{7}", Err(NotAName::Character('\u{7}'))),
            ("a\\046b", Err(NotAName::Character('\\'))),
            ("a@b", Err(NotAName::Character('@'))),
            (&long, Err(NotAName::LongLabel(64))),
            (&deep, Err(NotAName::TooLong)),
        ] {
            let found = name(word, &zone()).map(|name| name.to_string());
            assert_eq!(found, expected.map(str::to_owned), "{word}");
        }
    }

    proptest! {
        /// Whatever a tag says: each word is a name in its zone, or an error; and what is
        /// a name is the same name however its letters are written.
        #[test]
        fn every_value_is_read(value in "\\PC{0,256}|[a-z0-9*_.@/, -]{0,256}") {
            for word in words(&value) {
                let Word::Name(word) = word else { continue };
                let Ok(found) = name(word, &zone()) else { continue };
                prop_assert!(word.ends_with('.') || found.is_under(&zone()));
                prop_assert_eq!(name(&word.to_ascii_uppercase(), &zone()), Ok(found));
            }
        }
    }
}
