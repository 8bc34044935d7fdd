//! Domain names as the tables want them: folded wire octets.
//!
//! Every table of a snapshot is keyed by a [`Key`]: the wire form of a name
//! (RFC 1035 section 3.1) with ASCII letters in lower case (RFC 4343). Length
//! octets are at most 63 and so never look like letters: folding a whole wire
//! name in place is safe. A suffix of a key is a slice of it, so walking from
//! a name to the root allocates nothing.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use domain::base::name::{self, UncertainName};
use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// The longest wire form of a name, root label included (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 255;
/// Labels of the longest name, without the root: each has two octets at least.
pub(crate) const MAX_LABELS: usize = (MAX_NAME - 1) / 2;

/// A fully qualified, folded name in wire form.
///
/// Cloning is a reference count. Ordering is by octets: stable, not canonical.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<[u8]>);

/// Why a text is not a domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the presentation form of a name (RFC 1035 section 5.1).
    #[error("{0}")]
    Syntax(String),
    /// Longer than 255 octets once the origin is appended.
    #[error("longer than 255 octets")]
    TooLong,
}

impl Key {
    /// The root.
    pub fn root() -> Self {
        Self(Arc::from([0u8].as_slice()))
    }

    /// Reads a name in presentation form, with escapes; a name without a final
    /// dot is relative to `origin` (to the root when there is none), `@` is the
    /// origin itself.
    pub fn parse(text: &str, origin: Option<&Key>) -> Result<Self, NameError> {
        if text == "@"
            && let Some(origin) = origin
        {
            return Ok(origin.clone());
        }
        if text == "." {
            return Ok(Self::root());
        }
        if text.is_empty() {
            return Err(NameError::Syntax("empty name".into()));
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(NameError::Syntax(format!(
                "{odd:?} must be written as \\DDD, and an international name in its xn-- form"
            )));
        }
        let name: UncertainName<Vec<u8>> =
            text.parse().map_err(|e: name::FromStrError| NameError::Syntax(e.to_string()))?;
        let mut octets = name.as_slice().to_vec();
        if name.is_relative() {
            octets.extend_from_slice(origin.map_or(&[0], |o| o.octets()));
        }
        if octets.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        octets.make_ascii_lowercase();
        Ok(Self(octets.into()))
    }

    /// Takes over octets that are already a valid, folded wire name.
    ///
    /// Callers walk the labels first; see [`wire_len`].
    pub fn from_folded(octets: &[u8]) -> Self {
        debug_assert_eq!(wire_len(octets), Some(octets.len()));
        Self(octets.into())
    }

    /// The key of a hickory name.
    pub fn from_name(name: &Name) -> Self {
        // hickory holds no name that is longer than it may be, so this fits.
        folded(name, &mut [0; MAX_NAME]).map_or_else(Self::root, |octets| Self(octets.into()))
    }

    /// The same name for hickory, in lower case.
    pub fn to_name(&self) -> Name {
        let mut decoder = BinDecoder::new(&self.0);
        // A key is a valid wire name by construction, so this reads.
        Name::read(&mut decoder).unwrap_or_else(|_| Name::root())
    }

    /// The wire octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Is this name `ancestor` or below it?
    pub fn is_under(&self, ancestor: &Key) -> bool {
        is_under(&self.0, ancestor.octets())
    }

    /// The name one label up; none for the root.
    pub fn parent(&self) -> Option<Key> {
        parent(&self.0).map(|octets| Self(octets.into()))
    }

    /// Is the leftmost label `*` (RFC 4592 section 2.1.1)?
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// `label` in front of this name; none when that would be too long.
    pub fn child(&self, label: &[u8]) -> Option<Key> {
        if label.is_empty() || label.len() > 63 || self.0.len() + label.len() + 1 > MAX_NAME {
            return None;
        }
        let mut octets = Vec::with_capacity(self.0.len() + label.len() + 1);
        octets.push(label.len() as u8);
        octets.extend_from_slice(label);
        octets.extend_from_slice(&self.0);
        octets.make_ascii_lowercase();
        Some(Self(octets.into()))
    }

    /// How this name is written below `origin`: `@`, a relative name, or the
    /// whole name with a final dot when it is elsewhere.
    pub fn relative_to(&self, origin: &Key) -> String {
        if self == origin {
            return "@".into();
        }
        if !self.is_under(origin) || origin.octets().len() == 1 {
            return self.to_string();
        }
        let whole = self.to_string();
        let tail = origin.to_string();
        whole[..whole.len() - tail.len() - 1].to_string()
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Key {
    /// Presentation form with a final dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() == 1 {
            return f.write_str(".");
        }
        match name::Name::from_slice(&self.0) {
            Ok(name) => write!(f, "{name}."),
            Err(_) => f.write_str("?."),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A piece of a name as it stands in a message (RFC 1035 section 4.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A label of so many octets, behind one for its length.
    Label(usize),
    /// The root label, one octet: the name ends here.
    Root,
    /// A compression pointer, two octets: the name goes on elsewhere.
    Pointer,
}

impl Piece {
    /// The piece that begins at `at`; none where there is nothing, or a label
    /// of a type that nobody uses (RFC 6891 section 5).
    #[inline]
    pub(crate) fn at(octets: &[u8], at: usize) -> Option<Self> {
        match *octets.get(at)? {
            0 => Some(Self::Root),
            len @ 1..=63 => Some(Self::Label(len.into())),
            192.. => Some(Self::Pointer),
            _ => None,
        }
    }
}

/// The last piece of a name that may be compressed, where the name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Where it begins.
    pub at: usize,
    /// Is it a pointer, or else the root?
    pub is_pointer: bool,
}

impl End {
    /// Walks over the labels of the name at `at`. How long the name is, and
    /// where a pointer leads, is not looked at.
    #[inline]
    pub(crate) fn of(message: &[u8], mut at: usize) -> Option<Self> {
        loop {
            match Piece::at(message, at)? {
                Piece::Label(len) => at += len + 1,
                last => return Some(Self { at, is_pointer: last == Piece::Pointer }),
            }
        }
    }

    /// Where what follows the name begins; perhaps beyond the message's end.
    #[inline]
    pub(crate) fn behind(self) -> usize {
        self.at + if self.is_pointer { 2 } else { 1 }
    }
}

/// The length of the uncompressed wire name that `octets` begins with; none
/// when it runs out, holds a pointer or is longer than 255 octets.
#[inline]
pub fn wire_len(octets: &[u8]) -> Option<usize> {
    wire_len_within(octets, MAX_LABELS)
}

/// Likewise, of names of at most `labels` labels, the root not counted.
#[inline]
pub(crate) fn wire_len_within(octets: &[u8], labels: usize) -> Option<usize> {
    let mut at = 0;
    for _ in 0..=labels {
        match Piece::at(octets, at)? {
            Piece::Label(len) => at += len + 1,
            Piece::Root => return (at < MAX_NAME).then_some(at + 1),
            Piece::Pointer => return None,
        }
    }
    None
}

/// The folded wire octets of a hickory name, written into `octets`.
#[inline]
pub(crate) fn folded<'o>(name: &Name, octets: &'o mut [u8; MAX_NAME]) -> Option<&'o [u8]> {
    let mut at = 0;
    for label in name.iter() {
        let end = at + 1 + label.len();
        *octets.get_mut(at)? = label.len() as u8;
        octets.get_mut(at + 1..end)?.copy_from_slice(label);
        at = end;
    }
    *octets.get_mut(at)? = 0;
    let octets = octets.get_mut(..=at)?;
    octets.make_ascii_lowercase();
    Some(octets)
}

/// The wire name one label up; none for the root.
#[inline]
pub fn parent(octets: &[u8]) -> Option<&[u8]> {
    match octets.first() {
        Some(&len) if len > 0 => octets.get(len as usize + 1..),
        _ => None,
    }
}

/// Is wire name `octets` equal to `ancestor` or below it? Both folded.
pub fn is_under(octets: &[u8], ancestor: &[u8]) -> bool {
    suffixes(octets).any(|s| s == ancestor)
}

/// The name itself, its parent, and so on to the root.
#[inline]
pub fn suffixes(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(octets), |o| parent(o))
}

/// The labels of a wire name from the left, without their length octets and
/// without the root.
pub(crate) fn labels(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    suffixes(octets).map_while(|suffix| match Piece::at(suffix, 0)? {
        Piece::Label(len) => suffix.get(1..=len),
        Piece::Root | Piece::Pointer => None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Octets that are names, compressed or not, or nearly so: offset 12 and
    /// more is where they stand in a message.
    pub(crate) fn octets() -> impl Strategy<Value = Vec<u8>> {
        let label =
            |most| vec(any::<u8>(), 1..most).prop_map(|l| [&[l.len() as u8], &l[..]].concat());
        let pieces = move |long| {
            let piece = prop_oneof![
                30 => label(if long { 64 } else { 3 }),
                4 => Just(vec![0]),
                2 => (12u8..80).prop_map(|to| vec![0xc0, to]),
                1 => vec(any::<u8>(), 1..3),
            ];
            vec(piece, 0..140).prop_map(|pieces| pieces.concat())
        };
        // Names of few long labels, of many short ones, and with an end.
        (any::<bool>().prop_flat_map(pieces), any::<bool>()).prop_map(|(mut octets, ends)| {
            octets.extend(ends.then_some(0));
            octets
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Who walks over a name ends where hickory ends that reads it.
        #[test]
        fn walkers_agree_with_hickory(octets in octets()) {
            let message = [&[0; 12], &octets[..]].concat();
            let mut decoder = BinDecoder::new(&message).clone(12);
            let theirs = Name::read(&mut decoder).ok().map(|name| (name, decoder.index() - 12));

            let end = End::of(&octets, 0);
            if let Some((_, len)) = &theirs {
                prop_assert_eq!(end.map(End::behind), Some(*len));
            }
            let whole = end.filter(|end| !end.is_pointer).and(theirs);
            prop_assert_eq!(wire_len(&octets), whole.as_ref().map(|(_, len)| *len));

            let Some((name, len)) = whole else { return Ok(()) };
            let wire = &octets[..len];
            prop_assert!(labels(wire).eq(name.iter()));
            prop_assert_eq!(suffixes(wire).count(), name.iter().count() + 1);
            prop_assert_eq!(Key::from_name(&name), Key::from_folded(&wire.to_ascii_lowercase()));
            let count = name.iter().count();
            prop_assert_eq!(wire_len_within(&octets, count), Some(len));
            let fewer = count.checked_sub(1).and_then(|fewer| wire_len_within(&octets, fewer));
            prop_assert_eq!(fewer, None);
        }
    }

    #[test]
    fn the_longest_names_fit() {
        let many = [b"\x01a".repeat(MAX_LABELS), vec![0]].concat();
        assert_eq!(wire_len(&many), Some(MAX_NAME));
        let long = [b"\x01a".repeat(MAX_LABELS), b"\x01a\0".to_vec()].concat();
        assert_eq!(wire_len(&long), None);
        let label = [&[63][..], &[b'x'; 63]].concat();
        let of =
            |last: u8| [&label.repeat(3), &[last][..], &vec![b'x'; last.into()], &[0]].concat();
        assert_eq!((wire_len(&of(61)), wire_len(&of(62))), (Some(MAX_NAME), None));
    }

    #[test]
    fn pieces_are_told_apart() {
        for (octet, piece) in [
            (0, Some(Piece::Root)),
            (1, Some(Piece::Label(1))),
            (63, Some(Piece::Label(63))),
            (64, None),
            (191, None),
            (192, Some(Piece::Pointer)),
            (255, Some(Piece::Pointer)),
        ] {
            assert_eq!(Piece::at(&[octet], 0), piece, "{octet}");
        }
        assert_eq!(Piece::at(&[], 0), None);
    }

    fn key(text: &str) -> Key {
        Key::parse(text, None).unwrap()
    }

    #[test]
    fn folds_and_prints() {
        assert_eq!(key("DB.Example.COM.").to_string(), "db.example.com.");
        assert_eq!(key(".").to_string(), ".");
        assert_eq!(key(r"a\.b.c.").to_string(), r"a\.b.c.");
        assert_eq!(key(r"\065b.").to_string(), "ab.");
    }

    #[test]
    fn relative_names_take_the_origin() {
        let origin = key("example.com.");
        assert_eq!(Key::parse("db", Some(&origin)).unwrap(), key("db.example.com"));
        assert_eq!(Key::parse("@", Some(&origin)).unwrap(), origin);
        assert_eq!(key("*.shard.example.com").relative_to(&origin), "*.shard");
        assert_eq!(origin.relative_to(&origin), "@");
        assert_eq!(key("a.org").relative_to(&origin), "a.org.");
    }

    #[test]
    fn refuses_what_is_no_name() {
        for bad in ["", "a..b", "é.com", "a b", &"x".repeat(64), ".a"] {
            assert!(Key::parse(bad, None).is_err(), "{bad:?}");
        }
        let long = format!("{0}.{0}.{0}.{0}.", "x".repeat(63));
        assert_eq!(Key::parse(&long, None), Err(NameError::Syntax("long domain name".into())));
        let fits = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "x".repeat(55));
        assert_eq!(Key::parse(&fits, Some(&key("example.com"))), Err(NameError::TooLong));
    }

    #[test]
    fn suffixes_end_at_the_root() {
        let k = key("a.b.c");
        let all: Vec<_> = suffixes(k.octets()).map(|s| Key::from_folded(s).to_string()).collect();
        assert_eq!(all, ["a.b.c.", "b.c.", "c.", "."]);
        assert!(k.is_under(&key("c")));
        assert!(!key("xb.c").is_under(&key("b.c")));
    }

    #[test]
    fn survives_hickory() {
        let k = key(r"a\.b.\000\255.example.com");
        assert_eq!(Key::from_name(&k.to_name()), k);
    }

    #[test]
    fn wire_len_rejects_pointers_and_overruns() {
        assert_eq!(wire_len(b"\x01a\x00rest"), Some(3));
        assert_eq!(wire_len(b"\xc0\x0c"), None);
        assert_eq!(wire_len(b"\x05ab"), None);
        assert_eq!(wire_len(&[1u8; 300]), None);
    }
}
