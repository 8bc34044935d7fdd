//! TOML with places: every mistake of a file is found, none ends the reading.
//!
//! A [`File`] is one parsed text. Its [`Table`]s hand out keys one by one and
//! know, when they are [finished](Table::finish), which ones nobody asked for.
//! Whatever stands in for a missing value is never used, because a
//! configuration with an error is refused.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ::toml::Spanned;
use ::toml::de::DeString;
pub(super) use ::toml::de::{DeTable, DeValue};

use super::scope::Scope;
use super::syntax;
use super::table::Table;
use crate::diag::{Place, Problems};

/// A key and its value, with spans.
pub(super) type KeyAndValue<'f> = (&'f Spanned<DeString<'f>>, &'f Spanned<DeValue<'f>>);

/// One TOML file and what is wrong with it.
pub(super) struct File<'t> {
    path: Arc<Path>,
    text: &'t str,
    /// Offset of each line's first octet.
    lines: Vec<usize>,
    /// Lines with a syntax error: what they seem to say is not trusted.
    broken: BTreeSet<usize>,
    /// From this offset on the structure is lost.
    lost: usize,
    tree: DeTable<'t>,
    problems: RefCell<Problems>,
}

impl<'t> File<'t> {
    /// Parses `text`; `path` is how the file is called in messages.
    pub(super) fn parse(path: &Path, text: &'t str) -> Self {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let (errors, lost) = syntax::explain(text, &errors);
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let tree = tree.into_inner();
        let mut file = Self {
            path: path.into(),
            text,
            lines: std::iter::once(0).chain(starts).collect(),
            broken: BTreeSet::new(),
            lost: around(&tree, lost).unwrap_or(lost),
            tree,
            problems: RefCell::default(),
        };
        for error in errors {
            let place = file.place(error.at);
            if file.broken.insert(place.line) {
                file.problems.get_mut().error(place, error.what, error.remedy);
            }
        }
        file
    }

    /// The keys outside any section.
    pub(super) fn root(&self, scope: Scope) -> Table<'_> {
        Table::new(self, scope, Place::file(&self.path), Some(&self.tree))
    }

    /// Are there syntax errors, so that keys may be missing from the tree?
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// What was wrong.
    pub(super) fn into_problems(self) -> Problems {
        self.problems.into_inner()
    }

    /// Line and column of an offset.
    pub(super) fn place(&self, at: usize) -> Place {
        let at = at.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..at).map_or(at - start, |s| s.chars().count());
        Place { file: Arc::clone(&self.path), line, column: before + 1 }
    }

    /// The place of an offset, unless what stands there is only a guess of
    /// the parser.
    pub(super) fn trusted(&self, at: usize) -> Option<Place> {
        let place = self.place(at);
        (at < self.lost && !self.broken.contains(&place.line)).then_some(place)
    }

    /// Collects an error.
    pub(super) fn error(&self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.borrow_mut().error(place, what, remedy);
    }

    /// Collects a warning.
    pub(super) fn warn(&self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.borrow_mut().warn(place, what, remedy);
    }

    /// The source between two offsets.
    pub(super) fn source(&self, span: Range<usize>) -> &'t str {
        self.text.get(span).unwrap_or_default()
    }

    /// The source from an offset on.
    pub(super) fn source_from(&self, at: usize) -> &'t str {
        self.text.get(at..).unwrap_or_default()
    }
}

/// Where the key begins whose list or inline table reaches over `at`.
fn around(table: &DeTable<'_>, at: usize) -> Option<usize> {
    table.iter().find_map(|(key, value)| match value.get_ref() {
        DeValue::Array(_) | DeValue::Table(_)
            if (value.span().start..=value.span().end).contains(&at) =>
        {
            Some(key.span().start)
        }
        DeValue::Table(inner) => around(inner, at),
        DeValue::Array(all) => all.iter().find_map(|v| around(v.get_ref().as_table()?, at)),
        _ => None,
    })
}
