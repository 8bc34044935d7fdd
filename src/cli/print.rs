//! What commands print. A reader that has gone ends a command, quietly; text
//! from outside moves no cursor.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use super::Exit;
use crate::host::text::{lines, one_line};

/// Prints the answer, or a part of it, on stdout; says how the command ends:
/// as `exit` says, or not well if the answer could not be printed.
pub(super) fn answer(text: &str, exit: Exit) -> Exit {
    let mut out = io::stdout().lock();
    let printed = out.write_all(lines(text).as_bytes()).and_then(|()| out.flush());
    unprinted(printed, exit)
}

/// How a command ends that printed its answer with this result.
pub(super) fn unprinted(printed: io::Result<()>, exit: Exit) -> Exit {
    let Err(error) = printed else { return exit };
    if error.kind() != ErrorKind::BrokenPipe {
        complain(&format_args!("cannot write the answer: {error}"));
    }
    // A command that has found something bad has said so by its code.
    if exit == Exit::Ok { Exit::Unread } else { exit }
}

/// Says on stderr what went wrong.
pub(super) fn complain(what: &impl Display) {
    line(&format_args!("eipdns: {what}"));
}

/// A line on stderr. The exit code says the same to whoever reads none.
pub(super) fn line(what: &impl Display) {
    let text = format!("{}\n", one_line(&what.to_string()));
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
