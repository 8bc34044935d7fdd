//! `/metrics`: everything that is counted, for Prometheus.
//!
//! Names and labels are a contract: the README lists all of them, and a test
//! holds a running server to that list.
//!
//! * `page`: the text formats.
//! * `serving`: questions, sockets and what they cost; `sources`, `forwarding`,
//!   `publishing`, `peers`: the parts of the server; `process`: the process and its log.

mod forwarding;
mod page;
mod peers;
mod process;
mod publishing;
mod serving;
mod sources;

use std::time::SystemTime;

use crate::source::clock::elapsed;
use crate::status::board::Board;
pub(crate) use page::Format;
use page::Page;

/// The whole exposition.
pub(crate) fn render(board: &Board, format: Format) -> String {
    let known = board.known.borrow().clone();
    let mut page = Page::new(format);
    process::write(&mut page, board, &known);
    serving::write(&mut page, board, &known);
    sources::write(&mut page, board, &known);
    forwarding::write(&mut page, board, &known);
    publishing::write(&mut page, board, &known);
    peers::write(&mut page, board);
    page.end()
}

/// A time of the process as Unix time, as the wall clock has it now.
fn unix(board: &Board, at: SystemTime) -> f64 {
    elapsed(SystemTime::UNIX_EPOCH, board.clock.drift().shown(at)).as_secs_f64()
}
