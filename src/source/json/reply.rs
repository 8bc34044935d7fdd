//! A reply of the EC2 API as the CLI prints it: an object with one list of items. And where in it
//! something is wrong.

use std::fmt;

use serde::Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::error::{ParseError, from_json};
use super::item::Object;
use crate::host::background;
use crate::source::usable::ItemFault;

/// UTF-8 byte order mark: some editors write one.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Of which command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `describe-addresses`
    Addresses,
    /// `describe-network-interfaces`
    Interfaces,
}

impl Form {
    pub(super) fn command(self) -> &'static str {
        match self {
            Form::Addresses => "describe-addresses",
            Form::Interfaces => "describe-network-interfaces",
        }
    }

    /// The key of the list.
    pub(super) fn key(self) -> &'static str {
        match self {
            Form::Addresses => "Addresses",
            Form::Interfaces => "NetworkInterfaces",
        }
    }

    /// What is in it.
    pub(super) fn items(self) -> &'static str {
        match self {
            Form::Addresses => "addresses",
            Form::Interfaces => "network interfaces",
        }
    }

    pub(super) fn item(self) -> &'static str {
        match self {
            Form::Addresses => "address",
            Form::Interfaces => "network interface",
        }
    }
}

/// Where an item stands: it ends after so many octets of the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'t> {
    form: Form,
    text: &'t [u8],
    start: usize,
    end: usize,
}

impl<'t> Place<'t> {
    fn of(item: &str, form: Form, text: &'t [u8]) -> Self {
        let start = item.as_ptr().addr() - text.as_ptr().addr();
        Self { form, text, start, end: start + item.len() }
    }

    /// What is wrong with the item there.
    pub(super) fn fault(self, fault: ItemFault) -> ParseError {
        let (line, column) = line_and_column(self.text, self.end);
        ParseError::Item { form: self.form, line, column, fault }
    }
}

/// Takes the text of an item. It is JSON, and nothing else is known of it.
pub(super) trait Take: FnMut(&str, Place<'_>) -> Result<(), ParseError> {}

impl<F: FnMut(&str, Place<'_>) -> Result<(), ParseError>> Take for F {}

/// Hands every item of `text` to `take`.
///
/// # Errors
/// It is no whole reply of this form, or `take` says that it is not.
pub(super) fn read(form: Form, text: &[u8], take: impl Take) -> Result<(), ParseError> {
    let json = text.strip_prefix(BOM).unwrap_or(text);
    if json.trim_ascii().is_empty() {
        return Err(ParseError::Empty { form });
    }
    let mut reader = Reader { form, text, take, fault: None };
    let mut json = serde_json::Deserializer::from_slice(json);
    let found = WholeReply(&mut reader).deserialize(&mut json);
    match (found.and_then(|found| json.end().map(|()| found)), reader.fault.take()) {
        (Ok(true), _) => Ok(()),
        (Ok(false), _) => Err(ParseError::NoList { form }),
        (Err(_), Some(fault)) => Err(fault),
        (Err(error), None) => Err(from_json(form, &error, (error.line(), error.column()))),
    }
}

/// An item as it is printed.
///
/// # Errors
/// It has another form.
pub(super) fn printed<T: DeserializeOwned>(item: &str, place: Place<'_>) -> Result<T, ParseError> {
    serde_json::from_str::<Object<T>>(item).map(|Object(item)| item).map_err(|error| {
        let lines = item.split_inclusive('\n').take(error.line().saturating_sub(1));
        let behind = lines.map(str::len).sum::<usize>() + error.column();
        from_json(place.form, &error, line_and_column(place.text, place.start + behind))
    })
}

/// Line and column of the last of the first `count` octets.
fn line_and_column(text: &[u8], count: usize) -> (usize, usize) {
    let text = text.get(..count).unwrap_or(text);
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let lines = text.iter().filter(|octet| **octet == b'\n').count();
    (lines + 1, text.rsplit(|octet| *octet == b'\n').next().map_or(0, <[u8]>::len))
}

/// Takes one item after the other.
struct Reader<'t, T> {
    form: Form,
    text: &'t [u8],
    take: T,
    /// What is wrong with the last item: an error of serde carries only text.
    fault: Option<ParseError>,
}

/// The whole reply: did it have a list of items?
struct WholeReply<'a, 't, T>(&'a mut Reader<'t, T>);

impl<'de, T: Take> DeserializeSeed<'de> for WholeReply<'_, '_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, T: Take> Visitor<'de> for WholeReply<'_, '_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with \"{}\"", self.0.form.key())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<bool, M::Error> {
        let wanted = self.0.form.key();
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != wanted {
                map.next_value::<IgnoredAny>()?;
            } else if found {
                return Err(M::Error::custom(format_args!("\"{wanted}\" stands twice")));
            } else {
                map.next_value_seed(Items(self.0))?;
                found = true;
            }
        }
        Ok(found)
    }
}

/// The list of items.
struct Items<'a, 't, T>(&'a mut Reader<'t, T>);

impl<'de, T: Take> DeserializeSeed<'de> for Items<'_, '_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, T: Take> Visitor<'de> for Items<'_, '_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.0.form.items())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        let Reader { form, text, take, fault } = self.0;
        while let Some(item) = seq.next_element::<&RawValue>()? {
            background::breathe();
            if let Err(wrong) = take(item.get(), Place::of(item.get(), *form, text)) {
                let error = S::Error::custom(&wrong);
                *fault = Some(wrong);
                return Err(error);
            }
        }
        Ok(())
    }
}
