//! The order in which packets leave for an upstream that has a `max_rate`: a fair
//! queue of clients. Pure; the clock is passed in.
//!
//! While there are tokens, no packet waits. While there are none, each client has a
//! queue, and the clients take turns (deficit round robin, Shreedhar and Varghese,
//! SIGCOMM 1995): each turn is worth one packet, and a question that needs several
//! saves turns up. So a client with one question waits for one packet of each other
//! client that waits, however many questions those have.
//!
//! * A question that several clients wait for is in the queue of each, and leaves
//!   with the first whose turn comes: a client that joins a question of one with a
//!   long queue does not wait in that queue.
//! * Within a queue, a question that has already cost packets goes first: newer
//!   questions do not delay its answer over TCP.
//! * A queue is no longer than what its client could have sent within [`PATIENCE`]
//!   if it were alone. What is beyond that is turned away at once.
//! * What we send on our own account (probes, checks) counts as one more client.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::forward::pace::Pace;
use crate::host::client::Client;

/// A packet that has to wait for longer is not sent: with a queue that long the
/// answer comes too late for most who wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Whose turn a packet takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    /// A client that waits for the answer.
    Client(Client),
    /// Nobody waits: we want to know.
    Ourselves,
}

/// How far a question has come; what has come further goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// A reply made one more exchange necessary.
    Further,
    /// A try.
    First,
}

/// The queue is full, or the packet has waited for longer than [`PATIENCE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// Who waits for tokens; `T` is what tells one that it may leave.
///
/// Outside can make it as large as there are flights and clients that wait for
/// them, both of which are bounded.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    pace: Pace,
    /// The number of the next place, or turn.
    next: u64,
    waiting: HashMap<u64, Waiting<T>>,
    lines: HashMap<Payer, Line>,
    /// The lines by the order of their turns.
    round: BTreeMap<u64, Payer>,
    /// Packets of all who wait.
    packets: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    packets: u32,
    stage: Stage,
    payers: Vec<Payer>,
    ticket: T,
}

/// Those who wait for one payer's turn; never empty.
#[derive(Debug)]
struct Line {
    /// Its place in the round.
    turn: u64,
    /// Turns saved up.
    credit: u32,
    places: BTreeSet<(Stage, u64)>,
    /// Packets of all in it.
    packets: u32,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<T> {
    /// This one leaves now; its tokens are taken.
    Go(T),
    /// Nobody before this.
    At(Instant),
    /// Nobody waits.
    Nobody,
}

impl<T> Turns<T> {
    /// At most `limit` packets in any second.
    pub(crate) fn new(limit: NonZeroU32) -> Self {
        Self {
            pace: Pace::new(limit),
            next: 0,
            waiting: HashMap::new(),
            lines: HashMap::new(),
            round: BTreeMap::new(),
            packets: 0,
        }
    }

    /// May packets leave at once? If so, their tokens are taken.
    pub(crate) fn at_once(&mut self, packets: u32, now: Instant) -> bool {
        self.round.is_empty() && self.pace.take(packets, now).is_ok()
    }

    /// Puts packets that leave together into the lines of `payers` that have
    /// room for them; its number is for [`join`](Self::join) and
    /// [`leave`](Self::leave).
    ///
    /// # Errors
    /// No line has room.
    pub(crate) fn line_up(
        &mut self,
        payers: impl IntoIterator<Item = Payer>,
        packets: u32,
        stage: Stage,
        ticket: T,
    ) -> Result<u64, Busy> {
        let number = self.number();
        self.waiting.insert(number, Waiting { packets, stage, payers: Vec::new(), ticket });
        self.packets += u64::from(packets);
        for payer in payers {
            self.join(number, payer);
        }
        match self.waiting.get(&number) {
            Some(waiting) if !waiting.payers.is_empty() => Ok(number),
            _ => {
                self.leave(number);
                Err(Busy)
            }
        }
    }

    /// One more payer for something that waits, if its line has room.
    pub(crate) fn join(&mut self, number: u64, payer: Payer) {
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        let most = self.pace.within(PATIENCE);
        let line = self.lines.get(&payer);
        if waiting.stage == Stage::First && line.is_some_and(|line| line.packets >= most) {
            return;
        }
        let line = self.lines.entry(payer).or_insert_with(|| {
            let turn = self.next;
            self.next += 1;
            self.round.insert(turn, payer);
            Line { turn, credit: 0, places: BTreeSet::new(), packets: 0 }
        });
        if line.places.insert((waiting.stage, number)) {
            line.packets += waiting.packets;
            waiting.payers.push(payer);
        }
    }

    /// Takes something out of all lines; nothing happens if it has left.
    pub(crate) fn leave(&mut self, number: u64) {
        self.take_out(number);
    }

    /// Who leaves at `now`. To be called until it is nobody, and again at the
    /// instant it says.
    pub(crate) fn next(&mut self, now: Instant) -> Turn<T> {
        loop {
            let Some((&turn, &payer)) = self.round.first_key_value() else { return Turn::Nobody };
            let Some((line, number, packets)) = self.head(payer) else {
                self.round.remove(&turn);
                self.lines.remove(&payer);
                continue;
            };
            if line.credit < packets {
                line.credit += 1;
            }
            if line.credit >= packets {
                if let Err(wait) = self.pace.take(packets, now) {
                    return Turn::At(now + wait);
                }
                if let Some(line) = self.lines.get_mut(&payer) {
                    line.credit -= packets;
                }
                self.end_turn(payer);
                match self.take_out(number) {
                    Some(ticket) => return Turn::Go(ticket),
                    None => continue,
                }
            }
            self.end_turn(payer);
        }
    }

    /// About how long something new of `payer` would wait; for a choice
    /// between upstreams.
    pub(crate) fn expected(&self, payer: Payer, now: Instant) -> Duration {
        // Of each line as many as stand before it in its own, and no more than
        // there are.
        let own = self.lines.get(&payer).map_or(0, |line| u64::from(line.packets));
        let lines = self.lines.len() as u64;
        let before = (own + 1).saturating_mul(lines).min(self.packets);
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        self.pace.wait(1, now) + self.pace.interval().saturating_mul(before)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The first in a payer's line, and how many packets it is.
    fn head(&mut self, payer: Payer) -> Option<(&mut Line, u64, u32)> {
        let line = self.lines.get_mut(&payer)?;
        let (_, number) = *line.places.first()?;
        let packets = self.waiting.get(&number)?.packets;
        Some((line, number, packets))
    }

    fn end_turn(&mut self, payer: Payer) {
        let turn = self.number();
        if let Some(line) = self.lines.get_mut(&payer) {
            self.round.remove(&line.turn);
            line.turn = turn;
            self.round.insert(turn, payer);
        }
    }

    fn take_out(&mut self, number: u64) -> Option<T> {
        let Waiting { packets, stage, payers, ticket } = self.waiting.remove(&number)?;
        self.packets -= u64::from(packets);
        for payer in payers {
            let Some(line) = self.lines.get_mut(&payer) else { continue };
            if line.places.remove(&(stage, number)) {
                line.packets -= packets;
            }
            if line.places.is_empty() {
                self.round.remove(&line.turn);
                self.lines.remove(&payer);
            }
        }
        Some(ticket)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}
