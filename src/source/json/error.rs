//! Why a text is not what a command prints.

use serde_json::error::Category;

use super::reply::Form;
use crate::source::usable::ItemFault;

/// Why a text is not what a command prints. Lines and columns count from 1;
/// column 0 is the start of the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No octet in it but white space.
    #[error("it is empty; put the output of `aws ec2 {}` there", form.command())]
    Empty {
        /// What it should be.
        form: Form,
    },
    /// It stops in the middle.
    #[error("line {line}, column {column}: the JSON ends too early; is it still being written?")]
    Truncated {
        /// Last line.
        line: usize,
        /// Its last column.
        column: usize,
    },
    /// Not JSON.
    #[error("line {line}, column {column}: not JSON: {what}")]
    Syntax {
        /// Where reading stopped.
        line: usize,
        /// Where reading stopped.
        column: usize,
        /// What the JSON reader says.
        what: String,
    },
    /// JSON, but not that of the command.
    #[error(
        "line {line}, column {column}: {what}; expected the form that `aws ec2 {}` prints",
        form.command()
    )]
    Shape {
        /// What it should be.
        form: Form,
        /// Where the value ends.
        line: usize,
        /// Where the value ends.
        column: usize,
        /// What the JSON reader says.
        what: String,
    },
    /// An object without the list.
    #[error(
        "there is no \"{key}\" key; an account without {what} has \"{key}\": []",
        key = form.key(),
        what = form.items()
    )]
    NoList {
        /// What it should be.
        form: Form,
    },
    /// One of the items may be any of them.
    #[error("the {} that ends at line {line}, column {column}: {fault}", form.item())]
    Item {
        /// What the text is.
        form: Form,
        /// Where its object ends.
        line: usize,
        /// Where its object ends.
        column: usize,
        /// What is wrong with it.
        fault: ItemFault,
    },
}

pub(super) fn from_json(
    form: Form,
    error: &serde_json::Error,
    (line, column): (usize, usize),
) -> ParseError {
    // serde_json says the place at the end of its text; ours comes first.
    let what = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = what.strip_suffix(&place).unwrap_or(&what).to_owned();
    match error.classify() {
        Category::Eof => ParseError::Truncated { line, column },
        Category::Data => ParseError::Shape { form, line, column, what },
        Category::Syntax | Category::Io => ParseError::Syntax { line, column, what },
    }
}
