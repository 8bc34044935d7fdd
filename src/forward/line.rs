//! Waits until a packet may leave for an upstream with a `max_rate`; in which order,
//! [`turns`](super::turns) decides.

use std::time::Instant;

use tokio::sync::{oneshot, watch};
use tokio::time;

use super::turns::{Busy, PATIENCE, Payer, Stage, Turn};
use super::upstream::{Upstream, now};
use crate::host::client::Client;

/// The clients that a question is asked for; more may join while it is under
/// way.
#[derive(Clone)]
pub(crate) struct Askers {
    /// None when it is asked on our own account.
    clients: Option<watch::Receiver<Vec<Client>>>,
    /// So many of them were looked at.
    seen: usize,
}

impl Askers {
    /// Clients, the first of whom is there.
    pub(crate) fn clients(clients: watch::Receiver<Vec<Client>>) -> Self {
        Self { clients: Some(clients), seen: 0 }
    }

    /// Nobody waits for the answer.
    pub(crate) fn ourselves() -> Self {
        Self { clients: None, seen: 0 }
    }

    /// The first one.
    pub(crate) fn first(&self) -> Payer {
        let first = self.clients.as_ref().and_then(|all| all.borrow().first().copied());
        first.map_or(Payer::Ourselves, Payer::Client)
    }

    /// Those who were not looked at yet.
    fn unseen(&mut self) -> Vec<Payer> {
        let Some(clients) = &mut self.clients else { return vec![Payer::Ourselves] };
        let all = clients.borrow_and_update();
        let new = all.get(self.seen..).unwrap_or_default();
        self.seen = all.len();
        new.iter().copied().map(Payer::Client).collect()
    }

    /// Waits until one more joins.
    async fn more(&mut self) {
        let more = match &mut self.clients {
            Some(clients) => clients.changed().await.is_ok(),
            None => false,
        };
        if !more {
            std::future::pending().await
        }
    }
}

/// Where packets stand that are to leave.
pub(crate) enum Place<'u> {
    /// They may leave now; that is paid for.
    Free,
    /// In line.
    InLine(Standing<'u>),
}

/// A place in the line of an upstream; given up when dropped.
pub(crate) struct Standing<'u> {
    upstream: &'u Upstream,
    number: u64,
    turn: oneshot::Receiver<()>,
    askers: Askers,
}

impl Standing<'_> {
    /// Waits for the turn, at most until then.
    pub(crate) async fn turn(mut self, until: Instant) -> Result<(), Busy> {
        loop {
            tokio::select! {
                biased;
                turn = &mut self.turn => return turn.map_err(|_| Busy),
                () = self.askers.more() => {
                    let new = self.askers.unseen();
                    if let Some(turns) = &mut self.upstream.state().turns {
                        new.into_iter().for_each(|payer| turns.join(self.number, payer));
                    }
                }
                () = time::sleep_until(until.into()) => {
                    self.upstream.counters.throttled.add(1);
                    return Err(Busy);
                }
            }
        }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if let Some(turns) = &mut self.upstream.state().turns {
            turns.leave(self.number);
        }
    }
}

impl Upstream {
    /// Pays for packets that leave together, or lines up for that.
    ///
    /// # Errors
    /// There is no place in the line.
    pub(crate) fn line_up(
        &self,
        askers: &Askers,
        packets: u32,
        stage: Stage,
        now: Instant,
    ) -> Result<Place<'_>, Busy> {
        let mut state = self.state();
        let Some(turns) = &mut state.turns else { return Ok(Place::Free) };
        if turns.at_once(packets, now) {
            return Ok(Place::Free);
        }
        let (ticket, turn) = oneshot::channel();
        let mut askers = askers.clone();
        let first = turns.is_empty();
        match turns.line_up(askers.unseen(), packets, stage, ticket) {
            Ok(number) => {
                if first {
                    self.lined_up.notify_one();
                }
                Ok(Place::InLine(Standing { upstream: self, number, turn, askers }))
            }
            Err(Busy) => {
                self.counters.throttled.add(1);
                Err(Busy)
            }
        }
    }

    /// Waits until packets may leave together, at most for [`PATIENCE`].
    ///
    /// # Errors
    /// It would take longer.
    pub(crate) async fn turn(
        &self,
        askers: &Askers,
        packets: u32,
        stage: Stage,
    ) -> Result<(), Busy> {
        let now = now();
        match self.line_up(askers, packets, stage, now)? {
            Place::Free => Ok(()),
            Place::InLine(standing) => standing.turn(now + PATIENCE).await,
        }
    }

    /// Lets those go whose turn it is; for as long as it is polled.
    pub(crate) async fn serve_turns(&self) {
        loop {
            match self.grant(now()) {
                Some(next) => time::sleep_until(next.into()).await,
                None => self.lined_up.notified().await,
            }
        }
    }

    /// Lets those go whose turn has come, and says when the next one's comes;
    /// none when nobody waits.
    fn grant(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        let turns = state.turns.as_mut()?;
        loop {
            match turns.next(now) {
                // Who is not there any more has left the line, or will at once.
                Turn::Go(ticket) => drop(ticket.send(())),
                Turn::At(next) => return Some(next),
                Turn::Nobody => return None,
            }
        }
    }
}
