//! Why a text is not a list of addresses.

use serde_json::error::Category;

use crate::source::usable::ItemFault;

/// Why a text is not a list of addresses. Lines and columns count from 1;
/// column 0 is the start of the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No octet in it but white space.
    #[error("it is empty; put the output of `aws ec2 describe-addresses` there")]
    Empty,
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
    /// JSON, but not that of `describe-addresses`.
    #[error(
        "line {line}, column {column}: {what}; \
         expected the form that `aws ec2 describe-addresses` prints"
    )]
    Shape {
        /// Where the value ends.
        line: usize,
        /// Where the value ends.
        column: usize,
        /// What the JSON reader says.
        what: String,
    },
    /// An object without `Addresses`.
    #[error("there is no \"Addresses\" key; an account without addresses has \"Addresses\": []")]
    NoAddresses,
    /// One of the addresses is unusable.
    #[error("the address that ends at line {line}, column {column}: {fault}")]
    Item {
        /// Where its object ends.
        line: usize,
        /// Where its object ends.
        column: usize,
        /// What is wrong with it.
        fault: ItemFault,
    },
}

pub(super) fn from_json(error: &serde_json::Error, line: usize, column: usize) -> ParseError {
    // serde_json says the place at the end of its text; ours comes first.
    let what = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = what.strip_suffix(&place).unwrap_or(&what).to_owned();
    match error.classify() {
        Category::Eof => ParseError::Truncated { line, column },
        Category::Data => ParseError::Shape { line, column, what },
        Category::Syntax | Category::Io => ParseError::Syntax { line, column, what },
    }
}
