//! One value of a file: what it is, where it stands, how it complains.
//!
//! Readers (see `readers`) are functions from a [`Value`] to an `Option`: none
//! means that the problem has been reported.

use std::ops::Range;

use super::scope::Scope;
use super::table::Table;
use super::toml::{DeValue, File, KeyAndValue};
use super::words::{quote, shorten, tick};
use crate::diag::Place;

/// Something read, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub place: Place,
    pub value: T,
}

/// A value, where it stands, and the key it belongs to.
#[derive(Clone)]
pub(super) struct Value<'f> {
    file: &'f File<'f>,
    name: &'f str,
    key: Range<usize>,
    span: Range<usize>,
    tree: &'f DeValue<'f>,
    /// An entry of the list that belongs to the key, not the whole of it.
    part: bool,
}

impl<'f> Value<'f> {
    /// The value of an entry.
    pub(super) fn of(file: &'f File<'f>, (key, value): KeyAndValue<'f>) -> Self {
        let (name, tree) = (key.get_ref().as_ref(), value.get_ref());
        Self { file, name, key: key.span(), span: value.span(), tree, part: false }
    }

    /// The key as it is.
    pub(super) fn key(&self) -> &'f str {
        self.name
    }

    /// The key, in backticks.
    pub(super) fn name(&self) -> String {
        tick(self.name)
    }

    /// Where the value stands.
    pub(super) fn place(&self) -> Place {
        self.file.place(self.span.start)
    }

    /// The same value, complaining at its key.
    pub(super) fn at_key(&self) -> Value<'f> {
        Value { span: self.key.clone(), ..self.clone() }
    }

    /// An error here.
    pub(super) fn error(&self, what: impl Into<String>, remedy: impl Into<String>) {
        if let Some(place) = self.file.trusted(self.span.start) {
            self.file.error(place, what, remedy);
        }
    }

    /// A warning here.
    pub(super) fn warn(&self, what: impl Into<String>, remedy: impl Into<String>) {
        if let Some(place) = self.file.trusted(self.span.start) {
            self.file.warn(place, what, remedy);
        }
    }

    /// An error: of the wrong type. `takes` completes "`key` takes …".
    pub(super) fn wrong(&self, takes: &str, remedy: &str) {
        self.error(format!("{} takes {takes}, not {}", self.name(), self.shown()), remedy);
    }

    /// How `example` is written here: after the key, or as one of its list.
    pub(super) fn written(&self, example: &str) -> String {
        let bare = self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        match self.part {
            true => format!("write for example {example}"),
            false if bare => format!("write for example `{} = {example}`", self.name),
            false => format!("write for example `{} = {example}`", quote(self.name)),
        }
    }

    /// The text, if it is one.
    pub(super) fn as_str(&self) -> Option<&'f str> {
        match self.tree {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one that fits.
    pub(super) fn as_int(&self) -> Option<i64> {
        match self.tree {
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub(super) fn as_bool(&self) -> Option<bool> {
        self.tree.as_bool()
    }

    /// The entries of a list, if it is one.
    pub(super) fn as_list(&self) -> Option<Vec<Value<'f>>> {
        match self.tree {
            DeValue::Array(all) => Some(
                all.iter()
                    .map(|v| Value {
                        span: v.span(),
                        tree: v.get_ref(),
                        part: true,
                        ..self.clone()
                    })
                    .collect(),
            ),
            _ => None,
        }
    }

    /// Is it a table?
    pub(super) fn is_table(&self) -> bool {
        self.tree.is_table()
    }

    /// The table, or an error with this remedy.
    pub(super) fn table(&self, scope: Scope, remedy: &str) -> Option<Table<'f>> {
        match self.tree {
            DeValue::Table(map) => Some(Table::new(self.file, scope, self.place(), Some(map))),
            _ => {
                self.wrong("a table", remedy);
                None
            }
        }
    }

    /// What the user wrote as the key of `inner`, a dotted one: `a.b` in
    /// `a.b = 1`; none when the key was not written with dots.
    pub(super) fn dotted_with(&self, inner: &Value<'f>) -> Option<&'f str> {
        let between = self.file.source(self.key.end..inner.key.start);
        let written = self.file.source_from(self.key.start);
        let end = written.find(['=', ']', '\n']).unwrap_or(written.len());
        (between.trim() == ".").then(|| written.get(..end).unwrap_or_default().trim())
    }

    /// What it is, for messages.
    pub(super) fn shown(&self) -> String {
        match self.tree {
            DeValue::String(text) => format!("the text {}", quote(text)),
            DeValue::Integer(n) => format!("the number {}", shorten(&n.to_string())),
            DeValue::Float(n) => format!("the number {}", shorten(&n.to_string())),
            DeValue::Boolean(b) => b.to_string(),
            DeValue::Datetime(_) => "a date or time".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }
}
