//! Splits DescribeAddresses' answer into its items, one for each address, without reading
//! what they say.
//!
//! An item is known again by a digest of its octets, its tags in order of their keys: neither
//! the order of items nor that of tags is promised. Only a part of XML is understood, the one
//! that EC2 writes: elements without attributes, no comments, no CDATA, nothing nested but tags,
//! only characters that XML allows. In that part an item says the same wherever it stands, and
//! the SDK's reader finds no error that would end its reading early. Everything else is left to
//! that reader.

use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip128::{Hasher128, SipHasher13};

/// What an answer begins with, and what it ends with. EC2 writes the first, others the second.
const DECLARATIONS: [&[u8]; 2] =
    [b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>", b"<?xml version=\"1.0\" encoding=\"utf-8\"?>"];
const ROOT: &[u8] = b"<DescribeAddressesResponse";
pub(super) const ROOT_END: &[u8] = b"</DescribeAddressesResponse>";

const SET: &[u8] = b"<addressesSet>";
const SET_END: &[u8] = b"</addressesSet>";
const NO_SET: &[u8] = b"<addressesSet/>";

const ITEM: &[u8] = b"<item>";
const ITEM_END: &[u8] = b"</item>";

const TAGS: &[u8] = b"<tagSet>";
const TAGS_END: &[u8] = b"</tagSet>";
const NO_TAGS: &[u8] = b"<tagSet/>";

/// Does an answer go on to its end? XML that stops before says nothing of what is missing.
pub(super) fn is_whole(body: &[u8]) -> bool {
    body.trim_ascii_end().ends_with(ROOT_END)
}

/// The answer with just these items, for the SDK's reader.
pub(super) fn answer_of(items: &[&[u8]]) -> Vec<u8> {
    let mut answer = [ROOT, b">", SET].concat();
    items.iter().for_each(|item| answer.extend_from_slice(item));
    answer.extend_from_slice(SET_END);
    answer.extend_from_slice(ROOT_END);
    answer
}

/// What an item is known by. Two that differ have the same with a probability of 2^-128, and
/// nobody outside knows the key.
pub(super) type Digest = u128;

/// Makes digests, with a key of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digests(SipHasher13);

impl Default for Digests {
    fn default() -> Self {
        let random = || RandomState::new().build_hasher().finish();
        Self(SipHasher13::new_with_keys(random(), random()))
    }
}

impl Digests {
    /// Of one item. Where a part ends is in it, too.
    fn of(self, before: &[u8], tags: &[Tag<'_>], after: &[u8]) -> Digest {
        let mut hasher = self.0;
        let mut write = |part: &[u8]| {
            hasher.write_usize(part.len());
            hasher.write(part);
        };
        write(before);
        tags.iter().for_each(|tag| write(tag.octets));
        write(after);
        hasher.finish128().as_u128()
    }
}

/// One item of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item<'b> {
    pub(super) octets: &'b [u8],
    pub(super) digest: Digest,
}

/// The items of the last answer, in its order, which most answers keep: what is there again need
/// not be taken apart again. As large as the answer, without what stands between its items.
#[derive(Debug, Default)]
pub(super) struct Before {
    octets: Vec<u8>,
    /// Where each ends, and its digest.
    items: Vec<(usize, Digest)>,
}

impl Before {
    pub(super) fn of(items: &[Item<'_>]) -> Self {
        let mut before = Self::default();
        for item in items {
            before.octets.extend_from_slice(item.octets);
            before.items.push((before.octets.len(), item.digest));
        }
        before
    }

    fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let begins = std::iter::once(0).chain(self.items.iter().map(|(end, _)| *end));
        begins.zip(&self.items).filter_map(|(begin, (end, digest))| {
            Some(Item { octets: self.octets.get(begin..*end)?, digest: *digest })
        })
    }
}

/// A whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    items: usize,
    digests: Digest,
}

impl Sum {
    /// Of these items, in whatever order. As the key of their digests is not known outside,
    /// nobody can choose other ones with the same sum.
    pub(super) fn of(items: &[Item<'_>]) -> Self {
        let digests = items.iter().fold(0, |sum: Digest, item| sum.wrapping_add(item.digest));
        Self { items: items.len(), digests }
    }
}

/// The items of a whole answer, in its order; none if it is not understood. `before` has digests
/// of the same key.
pub(super) fn split<'b>(
    body: &'b [u8],
    digests: Digests,
    before: &Before,
) -> Option<Vec<Item<'b>>> {
    // EC2 writes UTF-8, and the SDK reads nothing else.
    std::str::from_utf8(body).ok()?;
    let mut reader = Reader { rest: body };
    reader.root()?;
    reader.leaves_before(SET)?;
    let (mut items, mut expected) = (Vec::new(), before.items());
    if !reader.eat(NO_SET) {
        reader.expect(SET)?;
        while !reader.ends_with(SET_END) {
            let rest = reader.rest;
            items.push(match expected.next() {
                Some(known) if reader.eat(known.octets) => {
                    Item { octets: reader.since(rest)?, digest: known.digest }
                }
                _ => reader.item(digests)?,
            });
        }
    }
    reader.leaves_before(ROOT_END)?;
    reader.expect(ROOT_END)?;
    reader.space();
    reader.rest.is_empty().then_some(items)
}

/// A tag of an address.
#[derive(Debug, Clone, Copy)]
struct Tag<'b> {
    key: &'b [u8],
    octets: &'b [u8],
}

/// Puts tags in order of their keys: those with one key keep theirs, since the last one counts.
/// With an entity, two keys may be the same and not look it: those tags stay as they are.
fn sort(tags: &mut [Tag<'_>]) {
    if tags.iter().all(|tag| !tag.key.contains(&b'&')) {
        tags.sort_by_key(|tag| tag.key);
    }
}

/// Reads on in an answer; none: it is not understood.
#[derive(Debug)]
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// Steps over `what`, if it comes next.
    fn eat(&mut self, what: &[u8]) -> bool {
        match self.rest.strip_prefix(what) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, what: &[u8]) -> Option<()> {
        self.eat(what).then_some(())
    }

    /// Steps over `what`, if it comes next but for white space.
    fn ends_with(&mut self, what: &[u8]) -> bool {
        self.space();
        self.eat(what)
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// What was read since `rest` was what was left.
    fn since(&self, rest: &'b [u8]) -> Option<&'b [u8]> {
        rest.get(..rest.len().checked_sub(self.rest.len())?)
    }

    /// Up to the end of the root element's start tag.
    fn root(&mut self) -> Option<()> {
        if DECLARATIONS.iter().any(|declaration| self.eat(declaration)) {
            self.space();
        }
        self.expect(ROOT)?;
        if self.eat(b" xmlns=\"") {
            let in_url = |c: &u8| c.is_ascii_alphanumeric() || b":/.-_".contains(c);
            self.take_while(in_url);
            self.expect(b"\"")?;
        }
        self.expect(b">")
    }

    fn take_while(&mut self, is_of: impl Fn(&u8) -> bool) -> &'b [u8] {
        let end = self.rest.iter().position(|c| !is_of(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Elements with text, up to the addresses or the end. Of two sets of addresses the
    /// SDK's reader takes the last.
    fn leaves_before(&mut self, end: &[u8]) -> Option<()> {
        loop {
            self.space();
            if self.rest.starts_with(end) || self.rest.starts_with(NO_SET) {
                return Some(());
            }
            let (name, _) = self.leaf()?;
            (name != b"addressesSet").then_some(())?;
        }
    }

    /// An element without elements in it: its name and its text.
    fn leaf(&mut self) -> Option<(&'b [u8], &'b [u8])> {
        self.expect(b"<")?;
        let name = self.take_while(u8::is_ascii_alphanumeric);
        if !name.first()?.is_ascii_alphabetic() {
            return None;
        }
        if self.eat(b"/>") {
            return Some((name, b""));
        }
        self.expect(b">")?;
        let text = self.text()?;
        self.expect(b"</")?;
        self.expect(name)?;
        self.expect(b">")?;
        Some((name, text))
    }

    /// Text up to the next tag.
    fn text(&mut self) -> Option<&'b [u8]> {
        let before = self.rest;
        loop {
            self.take_while(|c| CLASSES[usize::from(*c)] == Class::Text);
            match CLASSES[usize::from(*self.rest.first()?)] {
                Class::Tag => return self.since(before),
                Class::Forbidden => return None,
                // U+FFFE and U+FFFF are no characters of XML.
                _ if matches!(self.rest, [_, 0xBF, 0xBE | 0xBF, ..]) => return None,
                _ => self.rest = self.rest.get(1..)?,
            }
        }
    }

    /// An address.
    fn item(&mut self, digests: Digests) -> Option<Item<'b>> {
        let all = self.rest;
        self.expect(ITEM)?;
        let (mut tags, mut before, mut after) = (None, None, all);
        while !self.ends_with(ITEM_END) {
            if self.eat(NO_TAGS) {
                tags.replace(Vec::new()).is_none().then_some(())?;
            } else if self.eat(TAGS) {
                before = self.since(all);
                tags.replace(self.tags()?).is_none().then_some(())?;
                after = self.rest;
            } else {
                self.leaf()?;
            }
        }
        let octets = self.since(all)?;
        let digest = match (before, tags) {
            (Some(before), Some(tags)) => digests.of(before, &tags, self.since(after)?),
            _ => digests.of(octets, &[], b""),
        };
        Some(Item { octets, digest })
    }

    /// An address's tags, sorted, and their end.
    fn tags(&mut self) -> Option<Vec<Tag<'b>>> {
        let mut tags = Vec::new();
        while !self.ends_with(TAGS_END) {
            tags.push(self.tag()?);
        }
        sort(&mut tags);
        Some(tags)
    }

    fn tag(&mut self) -> Option<Tag<'b>> {
        let all = self.rest;
        self.expect(ITEM)?;
        let mut key = None;
        while !self.ends_with(ITEM_END) {
            let (name, text) = self.leaf()?;
            if name == b"key" {
                key.replace(text).is_none().then_some(())?;
            }
        }
        Some(Tag { key: key?, octets: self.since(all)? })
    }
}

/// What an octet can be in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Text,
    /// The text ends here.
    Tag,
    /// No character of XML, or one that EC2 writes as an entity.
    Forbidden,
    /// The first octet of characters that are none of XML, and of others.
    Perhaps,
}

/// XML 1.0 section 2.2.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Text; 256];
    let mut control = 0;
    while control < 0x20 {
        classes[control] = Class::Forbidden;
        control += 1;
    }
    classes[b'\t' as usize] = Class::Text;
    classes[b'\n' as usize] = Class::Text;
    classes[b'\r' as usize] = Class::Text;
    classes[b'<' as usize] = Class::Tag;
    classes[b'>' as usize] = Class::Forbidden;
    classes[0xEF] = Class::Perhaps;
    classes
};
