//! What has happened: moves, losses, and who accepted them, for whoever looks into it
//! later. The part of the process before comes from the state directory.
//!
//! An event is a line of JSON, made once: the history keeps it, the disk gets
//! it as it is, and `/api/history` hands it on. No event says who asks DNS questions.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::compile::changes::{Association, Change, Kind};
use crate::host::background::breathing;
use crate::source::identity::EdgeIp;
use crate::state::journal::MAX_OCTETS;

/// How many events are kept: a swap of a thousand names in some views, and the
/// weeks of an ordinary system before it.
pub const MAX_EVENTS: usize = 5_000;

/// The same request to accept losses, from the same client and with nothing that
/// has happened in between, is one event in so long: a loop of them must not push the moves out.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

/// What has happened to a name, an address or a source.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What<'e> {
    /// A name is answered otherwise.
    Moved(&'e Change),
    /// A name has no address.
    NoAddress(&'e Change),
    /// A tag has given a name that was not there.
    Named(&'e Change),
    /// The IPv6 addresses of a name have come, gone or changed, and nothing else.
    Ipv6(&'e Change),
    /// No tag gives a name any longer; it is kept.
    NameHeld(&'e NameLoss),
    /// A tag gives it again.
    NameBack(&'e NameLoss),
    /// It is gone: its hold has ended, or an operator took the loss as it is.
    NameLetGo(&'e NameLoss),
    /// More than half of the names that a source's tags gave are gone.
    NamesMassLoss(&'e Mass),
    /// That is over.
    NamesMassLossOver(&'e Mass),
    /// A bound address is lost; its last state is kept.
    Held(&'e Loss),
    /// It is there again.
    Back(&'e Loss),
    /// It is lost for good: its hold has ended, or an operator took the loss as
    /// it is.
    LetGo(&'e Loss),
    /// A bound address is held otherwise, and no record of its names says so: the same private
    /// address, or views that are answered its public name or itself.
    Associated(&'e Holding),
    /// More than half of a source's bound addresses are lost.
    MassLoss(&'e Mass),
    /// That is over.
    MassLossOver(&'e Mass),
    /// Somebody asked to take losses as they are.
    AcceptAsked(&'e AcceptAsked),
    /// The process has started. Without a `stopping` before it, the last one was
    /// killed, or its history could not be written.
    Started(&'e Started),
    /// The process was told to stop.
    Stopping,
}

impl<'e> What<'e> {
    /// What a name's change is.
    pub fn of(change: &'e Change) -> Self {
        match change.kind {
            Kind::Moved => What::Moved(change),
            Kind::NoAddress => What::NoAddress(change),
            Kind::Named => What::Named(change),
            Kind::Ipv6 => What::Ipv6(change),
        }
    }
}

/// A lost address of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The source's name.
    pub source: String,
    /// The Elastic IP, or the allocation of an address that has none.
    pub elastic_ip: String,
    /// `eipalloc-…`
    pub allocation: Option<String>,
    /// What it has in place of a public address.
    #[serde(flatten)]
    pub edge_ip: Option<EdgeIp>,
    /// Who held it: what is kept.
    pub old: Option<Association>,
    /// Who holds it now.
    pub new: Option<Association>,
    /// `unassociated` or `missing`; how it was lost.
    pub standing: &'static str,
    /// Until when it is kept at least, RFC 3339; none: for ever, or it is over.
    pub until: Option<String>,
    /// Did an operator take the loss as it is?
    pub accepted: bool,
    /// The first of the names bound to it.
    pub names: Vec<String>,
    /// How many there are in all.
    pub names_in_all: usize,
}

/// A name that no tag gives any longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NameLoss {
    /// The name.
    pub name: String,
    /// The name of the source whose tag gave it.
    pub source: String,
    /// The tag's key.
    pub tag: String,
    /// The addresses that it stands or stood for, the first few of them.
    pub elastic_ips: Vec<String>,
    /// Until when it is kept at least, RFC 3339; none: for ever, or it is over.
    pub until: Option<String>,
    /// Did an operator take the loss as it is?
    pub accepted: bool,
}

/// A bound address that another association holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// The source's name.
    pub source: String,
    /// The Elastic IP, or the allocation of an address that has none.
    pub elastic_ip: String,
    /// `eipalloc-…`
    pub allocation: Option<String>,
    /// What it has in place of a public address.
    #[serde(flatten)]
    pub edge_ip: Option<EdgeIp>,
    /// Who held it.
    pub old: Option<Association>,
    /// Who holds it now.
    pub new: Option<Association>,
    /// The first of the names bound to it.
    pub names: Vec<String>,
    /// How many there are in all.
    pub names_in_all: usize,
}

/// A mass loss of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mass {
    /// The source's name.
    pub source: String,
    /// Bound addresses, or names from tags, that are lost.
    pub lost: usize,
}

/// A request to accept losses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AcceptAsked {
    /// Where the HTTP request came from.
    pub client: IpAddr,
    /// The sources that were asked.
    pub sources: Vec<String>,
}

/// A start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Started {
    /// Of the program.
    pub version: &'static str,
    /// Addresses that the state of the last run says are held.
    pub held: usize,
}

/// One event, as it is shown and kept.
#[derive(Serialize)]
struct Event<'e> {
    at: &'e str,
    generation: u64,
    #[serde(flatten)]
    what: What<'e>,
}

/// The last events.
#[derive(Debug, Default)]
pub struct History(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    all: VecDeque<Arc<str>>,
    octets: usize,
    /// Since the start, and those found then.
    added: u64,
    /// The last one, when it came, and how many events there were with it.
    asked: Option<(AcceptAsked, Instant, u64)>,
}

/// Events that came after some point.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct After {
    /// The events, in order.
    pub lines: Vec<Arc<str>>,
    /// How many have come since that have gone again.
    pub missed: u64,
    /// Where the next ones begin.
    pub next: u64,
}

impl History {
    /// With what the last process left, in order.
    pub fn with(found: Vec<Arc<str>>) -> Self {
        let history = Self::default();
        found.into_iter().for_each(|line| history.lines().push(line));
        history
    }

    /// Adds what came with one snapshot, published when the wall clock said
    /// `at`.
    pub fn add(&self, at: SystemTime, generation: u64, events: &[What<'_>]) {
        let at = humantime::format_rfc3339_millis(at).to_string();
        let last = &events[events.len().saturating_sub(MAX_EVENTS)..];
        for what in breathing(last) {
            let event = Event { at: &at, generation, what: *what };
            // Strings, numbers and addresses: it does not fail.
            let Ok(line) = serde_json::to_string(&event) else { continue };
            self.lines().push(line.into());
        }
    }

    /// Somebody asked to take losses as they are. False: the very same was
    /// said a moment ago.
    pub fn add_asked(&self, at: SystemTime, generation: u64, asked: &AcceptAsked) -> bool {
        let now = Instant::now();
        let mut lines = self.lines();
        let is_again = lines.asked.as_ref().is_some_and(|(last, then, added)| {
            last == asked
                && *added == lines.added
                && now.saturating_duration_since(*then) < ASKED_AGAIN
        });
        if is_again {
            return false;
        }
        lines.asked = Some((asked.clone(), now, lines.added + 1));
        drop(lines);
        self.add(at, generation, &[What::AcceptAsked(asked)]);
        true
    }

    /// All of it as a JSON array, the newest first.
    pub fn newest_first(&self) -> String {
        let all: Vec<_> = self.lines().all.iter().rev().cloned().collect();
        format!("[{}]", all.join(","))
    }

    /// Where the next events begin.
    pub fn end(&self) -> u64 {
        self.lines().added
    }

    /// The events since `begin`, an earlier [`end`](Self::end) or
    /// [`next`](After::next).
    pub fn after(&self, begin: u64) -> After {
        let lines = self.lines();
        let first = lines.added - lines.all.len() as u64;
        let skipped = begin.saturating_sub(first) as usize;
        After {
            lines: lines.all.iter().skip(skipped).cloned().collect(),
            missed: first.saturating_sub(begin),
            next: lines.added,
        }
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, line: Arc<str>) {
        self.octets += line.len();
        self.all.push_back(line);
        self.added += 1;
        while self.all.len() > MAX_EVENTS || (self.octets > MAX_OCTETS && self.all.len() > 1) {
            let Some(gone) = self.all.pop_front() else { return };
            self.octets -= gone.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::state::journal::is_event;

    fn asked(last: u8) -> AcceptAsked {
        AcceptAsked { client: [10, 0, 0, last].into(), sources: vec!["east".into()] }
    }

    #[test]
    fn an_event_is_one_flat_line_and_the_newest_is_first() {
        let history = History::default();
        let mass = Mass { source: "a\n\u{1b}\"b".into(), lost: 7 };
        history.add(SystemTime::UNIX_EPOCH, 2, &[What::MassLoss(&mass)]);
        assert!(history.add_asked(SystemTime::UNIX_EPOCH, 3, &asked(7)));
        let all: Vec<Value> = serde_json::from_str(&history.newest_first()).unwrap();
        let expected = serde_json::json!([
            { "at": "1970-01-01T00:00:00.000Z", "generation": 3, "event": "accept_asked",
              "client": "10.0.0.7", "sources": ["east"] },
            { "at": "1970-01-01T00:00:00.000Z", "generation": 2, "event": "mass_loss",
              "source": "a\n\u{1b}\"b", "lost": 7 },
        ]);
        assert_eq!(Value::from(all), expected);
        for line in history.after(0).lines {
            assert!(is_event(&line) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn the_same_request_again_and_again_is_one_event() {
        let history = History::default();
        let ask = |last| history.add_asked(SystemTime::UNIX_EPOCH, 1, &asked(last));
        assert!(ask(1) && !ask(1) && !ask(1));
        assert!(ask(2) && ask(1));
        assert_eq!(history.end(), 3);
        // Something has happened since, which this may have brought about.
        let mass = Mass { source: "east".into(), lost: 7 };
        history.add(SystemTime::UNIX_EPOCH, 1, &[What::MassLoss(&mass)]);
        assert!(ask(1) && !ask(1));
    }

    #[test]
    fn it_has_an_end_in_number_and_size() {
        let history = History::default();
        let mass = Mass { source: "east".into(), lost: 1 };
        let many = vec![What::MassLoss(&mass); MAX_EVENTS + 3];
        history.add(SystemTime::UNIX_EPOCH, 1, &many);
        assert_eq!(history.after(0).lines.len(), MAX_EVENTS);
        history.add(SystemTime::UNIX_EPOCH, 2, &many[..4]);
        let after = history.after(MAX_EVENTS as u64 + 1);
        assert_eq!((after.lines.len(), after.missed), (3, 0));
        let after = history.after(1);
        assert_eq!((after.lines.len(), after.missed), (MAX_EVENTS, 3));
        assert_eq!(history.after(after.next), After { next: after.next, ..After::default() });

        let large = Mass { source: "x".repeat(MAX_OCTETS / 2), lost: 1 };
        for _ in 0..3 {
            history.add(SystemTime::UNIX_EPOCH, 3, &[What::MassLoss(&large)]);
        }
        assert_eq!(history.after(0).lines.len(), 1, "two are more than it may have");
    }
}
