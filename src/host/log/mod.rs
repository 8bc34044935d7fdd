//! The log: lines wait in a queue of bounded size, and a thread of its own
//! writes them to stderr.
//!
//! Whoever logs waits for nobody: stderr may be a pipe that nobody reads for
//! now or ever, a terminal that is stopped, or a file on a full disk. What has
//! no room is dropped, what cannot be written is lost; both are counted, and the
//! log says so as soon as it can.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::often::Often;

/// Lines that wait, and octets of theirs, at most: minutes of an ordinary log,
/// some seconds at debug.
const MAX_LINES: usize = 10_000;
const MAX_OCTETS: usize = 1 << 20;

/// The longest line; what is longer is cut. Less than the whole room, so that
/// each fits at some time.
const MAX_LINE: usize = MAX_OCTETS / 4;

/// How long to wait where a descriptor neither takes octets nor blocks
/// (O_NONBLOCK is set for all who share it).
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// How long the end of the process waits for lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A line that takes longer to be written says that nobody reads.
const SLOW: Duration = Duration::from_secs(5);

/// Losses older than this are no trouble any more.
const LATELY: Duration = Duration::from_secs(10 * 60);

/// The log of this process.
pub(crate) static STDERR: Queue = Queue::new();

/// Starts to write the log of this process, until the guard is dropped.
///
/// # Errors
/// There is no thread to be had.
pub(crate) fn start() -> io::Result<FlushGuard> {
    let write = || STDERR.write_to(&mut io::stderr());
    thread::Builder::new().name("log".into()).spawn(write)?;
    Ok(FlushGuard(()))
}

/// Waits for the last lines to be written when it is dropped, a second at most.
#[derive(Debug)]
pub(crate) struct FlushGuard(());

impl Drop for FlushGuard {
    fn drop(&mut self) {
        STDERR.end(LAST_LINES);
    }
}

/// Lines on their way.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    /// There is a line, or there will be none.
    more: Condvar,
    /// All are written.
    empty: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Box<[u8]>>,
    /// Of all that waits, and of the line that is being written.
    octets: usize,
    /// Since when a line is being written.
    writing: Option<Instant>,
    /// Lines are dropped: it was full and is not half empty yet. One gap that
    /// is said is better than one after each line.
    full: bool,
    ended: bool,
    dropped: Losses,
    unwritten: Losses,
    /// Why the last line could not be written.
    error: Option<io::Error>,
}

/// Lines that were lost.
#[derive(Debug)]
struct Losses {
    all: u64,
    /// Those the log has not told of.
    untold: u64,
    last: Option<Instant>,
}

/// What the log tells of itself.
#[derive(Debug)]
enum Notice {
    Dropped { lines: u64 },
    Unwritten { lines: u64, error: String },
}

/// How the log does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Lines that wait to be written.
    pub waiting: usize,
    /// Lines dropped since the start because there was no room.
    pub dropped: u64,
    /// Lines lost since the start because writing failed.
    pub write_errors: u64,
    /// What is wrong with it now or was lately.
    #[serde(deserialize_with = "Option::deserialize")]
    pub trouble: Option<String>,
}

impl Queue {
    /// An empty one.
    pub const fn new() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            octets: 0,
            writing: None,
            full: false,
            ended: false,
            dropped: Losses::none(),
            unwritten: Losses::none(),
            error: None,
        };
        Self { state: Mutex::new(state), more: Condvar::new(), empty: Condvar::new() }
    }

    /// Adds a line, which has its line end, or drops it. Waits for nobody.
    pub fn add(&self, line: &[u8]) {
        let line = cut(line);
        let mut state = self.state();
        let octets = state.octets + line.len();
        state.full |= octets > MAX_OCTETS || state.waiting.len() >= MAX_LINES;
        if state.full {
            return state.dropped.add(Instant::now());
        }
        state.octets = octets;
        state.waiting.push_back(line);
        self.more.notify_one();
    }

    /// Writes lines to `sink` as they come, until there will be none. Whatever
    /// `sink` does, it goes on with the next one.
    pub fn write_to(&self, sink: &mut impl Write) {
        let mut pause = || thread::sleep(TRY_AGAIN);
        let failing = Often::new();
        // Ends a line that an error has cut off.
        let mut end: &[u8] = b"";
        while let Some(line) = self.next() {
            let mut rest = &*line;
            let result = write_whole(sink, &mut end, &mut pause)
                .and_then(|()| write_whole(sink, &mut rest, &mut pause));
            if result.is_err() && rest.len() < line.len() {
                end = b"\n";
            }
            for notice in self.written(&line, result, &failing).into_iter().flatten() {
                notice.tell();
            }
        }
    }

    /// No lines come any more: waits for the last ones, at most so long.
    pub(crate) fn end(&self, within: Duration) {
        let mut state = self.state();
        state.ended = true;
        self.more.notify_one();
        let left = |state: &mut State| !state.waiting.is_empty() || state.writing.is_some();
        let waited = self.empty.wait_timeout_while(state, within, left);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// How it does at `now`.
    pub fn status(&self, now: Instant) -> Status {
        let state = self.state();
        Status {
            waiting: state.waiting(),
            dropped: state.dropped.all,
            write_errors: state.unwritten.all,
            trouble: state.trouble(now),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a line to write; none when there will be none.
    fn next(&self) -> Option<Box<[u8]>> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.ended;
        let state = self.more.wait_while(self.state(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let line = state.waiting.pop_front()?;
        state.writing = Some(Instant::now());
        Some(line)
    }

    /// A line has been written, or has not. What the log has to say of that
    /// comes before all lines that are added from now on but a few.
    fn written(&self, line: &[u8], result: io::Result<()>, failing: &Often) -> [Option<Notice>; 2] {
        let mut state = self.state();
        let now = Instant::now();
        state.octets -= line.len();
        state.writing = None;
        let unwritten = match result {
            Ok(()) => state.writes_again(failing, now),
            Err(error) => {
                state.unwritten.add(now);
                state.error = Some(error);
                None
            }
        };
        let dropped = state.reopen();
        if state.waiting.is_empty() {
            self.empty.notify_all();
        }
        [unwritten, dropped]
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

/// One line each time: what formats lines writes each in one piece.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.waiting.len() + usize::from(self.writing.is_some())
    }

    /// Ends a gap when half of the room is free.
    fn reopen(&mut self) -> Option<Notice> {
        let half = self.waiting.len() <= MAX_LINES / 2 && self.octets <= MAX_OCTETS / 2;
        if !self.full || !half {
            return None;
        }
        self.full = false;
        Some(Notice::Dropped { lines: std::mem::take(&mut self.dropped.untold) })
    }

    /// Writing works. Where it works now and then, that is not said each time.
    fn writes_again(&mut self, failing: &Often, now: Instant) -> Option<Notice> {
        let error = self.error.as_ref().filter(|_| self.unwritten.untold > 0)?.to_string();
        failing.may(now)?;
        Some(Notice::Unwritten { lines: std::mem::take(&mut self.unwritten.untold), error })
    }

    fn trouble(&self, now: Instant) -> Option<String> {
        let mut all = Vec::new();
        if let Some(stuck) = self.writing.map(|since| now.saturating_duration_since(since))
            && stuck >= SLOW
        {
            let (seconds, waiting) = (stuck.as_secs(), self.waiting());
            all.push(format!(
                "what reads stderr takes nothing for {seconds} s, {waiting} lines wait"
            ));
        }
        if let Some(ago) = self.dropped.lately(now) {
            let lines = self.dropped.all;
            all.push(format!(
                "{lines} lines dropped, the last {ago} s ago: stderr is read too slowly"
            ));
        }
        if let (Some(ago), Some(error)) = (self.unwritten.lately(now), &self.error) {
            let lines = self.unwritten.all;
            all.push(format!("{lines} lines not written, the last {ago} s ago: {error}"));
        }
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl Losses {
    const fn none() -> Self {
        Self { all: 0, untold: 0, last: None }
    }

    fn add(&mut self, now: Instant) {
        self.all += 1;
        self.untold += 1;
        self.last = Some(now);
    }

    /// How many seconds ago the last one was.
    fn lately(&self, now: Instant) -> Option<u64> {
        let ago = now.saturating_duration_since(self.last?);
        (ago < LATELY).then_some(ago.as_secs())
    }
}

impl Notice {
    fn tell(self) {
        match self {
            Notice::Dropped { lines } => tracing::warn!(
                lines,
                "log lines were dropped here: what reads stderr took them too slowly"
            ),
            Notice::Unwritten { lines, error } => {
                tracing::warn!(lines, error, "log lines could not be written to stderr");
            }
        }
    }
}

/// At most [`MAX_LINE`] octets of a line.
fn cut(line: &[u8]) -> Box<[u8]> {
    const MORE: &[u8] = "…\n".as_bytes();
    match line.get(..MAX_LINE - MORE.len()) {
        Some(begin) if line.len() > MAX_LINE => [begin, MORE].concat().into(),
        _ => line.into(),
    }
}

/// Writes all of it and leaves what could not be written. Where nothing is
/// taken for now it pauses.
fn write_whole(
    sink: &mut impl Write,
    octets: &mut &[u8],
    pause: &mut impl FnMut(),
) -> io::Result<()> {
    while !octets.is_empty() {
        match sink.write(octets) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => *octets = octets.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
