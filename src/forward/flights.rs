//! Questions on their way, each once, and who waits for which.
//!
//! Equal questions share one flight. Three things are scarce and bounded, each
//! with fair [`shares`](super::shares): flights (sockets, packets), waiting
//! clients (memory), and flights that nobody waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::hit::Hit;
use super::line::Askers;
use super::question::OwnedQuestion;
use super::shares::Shares;
use crate::host::client::Client;

/// Questions of one client under way to upstreams when nobody else asks; twice
/// as many in all. Each has one socket, or two from its second try on; at 50 ms
/// an answer this many are 20,000 questions a second, and with a dead upstream
/// 250.
pub const MAX_FLIGHTS: usize = 1_024;

/// Questions of one client that wait for answers when nobody else asks; twice
/// as many in all. Equal questions share a flight, and a name that everybody
/// asks for at once must not be refused to most.
pub const MAX_WAITING: usize = 16_384;

/// Flights that nobody waits for, stale answers being renewed, of those that
/// one client asked for when nobody else does; twice as many in all.
pub const MAX_REFRESHES: usize = 64;

/// Sockets of one flight: of a try, and of the next one beside it.
const SOCKETS: usize = 2;

/// Sockets for [`MAX_FLIGHTS`] and [`MAX_REFRESHES`], which fair shares may
/// exceed twofold.
pub const MAX_SOCKETS: usize = 2 * SOCKETS * (MAX_FLIGHTS + MAX_REFRESHES);

/// The limit of flights where there are so many sockets, [`MAX_FLIGHTS`] at
/// most.
pub fn flights_within(sockets: usize) -> usize {
    (sockets / (2 * SOCKETS)).clamp(1, MAX_FLIGHTS)
}

/// The questions in flight.
#[derive(Clone)]
pub(crate) struct Flights(Arc<Mutex<Book>>);

struct Book {
    flights: HashMap<OwnedQuestion, Flight>,
    starters: Shares,
    waiting: Shares,
    refreshes: Shares,
    shed: Shed,
}

struct Flight {
    /// The client whose question began it.
    starter: Client,
    /// It began without anybody waiting for it.
    is_refresh: bool,
    /// Clients that wait for it: its starter, and those that joined.
    askers: watch::Sender<Vec<Client>>,
    waiters: Vec<oneshot::Sender<Hit>>,
}

/// What becomes of a client's question.
pub(crate) enum Boarding {
    /// It waits for a flight that is under way.
    Joined(Seat),
    /// It waits for a new flight, which is to be started.
    Started(Seat, Landing),
    /// There is no place for it.
    Full,
    /// The answer has come since the caller looked.
    Answered(Hit),
}

/// What becomes of a flight that nobody waits for.
pub(crate) enum Refresh {
    /// It is to be started.
    Started(Landing),
    /// There is one for this question.
    UnderWay,
    /// There is no place for it.
    Full,
}

/// A place among those who wait; given back when dropped.
pub(crate) struct Seat {
    pub(crate) hit: oneshot::Receiver<Hit>,
    client: Client,
    flights: Flights,
}

/// A flight, as the task that carries it out holds it. When this is dropped, the
/// flight has ended, so that no client waits for ever.
pub(crate) struct Landing {
    pub(crate) question: OwnedQuestion,
    /// The clients that wait for it.
    pub(crate) askers: Askers,
    flights: Flights,
    in_the_air: bool,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Questions on their way to upstreams.
    pub outstanding: u64,
    /// Clients waiting for answers.
    pub waiting: u64,
    /// What was turned away since the start, because its client had its share.
    pub shed: Shed,
    /// Questions that ended in a panic since the start.
    pub panics: u64,
}

/// What had no place, by what there was no place for. Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shed {
    /// Questions for which no flight could begin.
    pub flights: u64,
    /// Questions that could not wait with others.
    pub waiting: u64,
    /// Stale answers that were given, and not renewed.
    pub refreshes: u64,
}

impl Shed {
    /// Questions that were not answered as they should have been.
    pub fn questions(&self) -> u64 {
        self.flights + self.waiting
    }
}

impl Flights {
    /// With places for so many flights of one client alone; see
    /// [`MAX_FLIGHTS`].
    pub(crate) fn new(flights: usize) -> Self {
        Self(Arc::new(Mutex::new(Book {
            flights: HashMap::new(),
            starters: Shares::new(flights),
            waiting: Shares::new(MAX_WAITING),
            refreshes: Shares::new(MAX_REFRESHES),
            shed: Shed::default(),
        })))
    }

    /// Another limit of flights; those under way stay so.
    pub(crate) fn limit(&self, flights: usize) {
        self.book().starters.limit(flights);
    }

    /// Puts `client` on the flight for `question`, or on a new one. `landed`
    /// looks for an answer that came since the caller looked: a flight fills
    /// the cache before it leaves the book.
    pub(crate) fn board(
        &self,
        question: OwnedQuestion,
        client: Client,
        landed: impl FnOnce() -> Option<Hit>,
    ) -> Boarding {
        let mut guard = self.book();
        let book = &mut *guard;
        let under_way = book.flights.contains_key(&question);
        if !under_way && let Some(hit) = landed() {
            return Boarding::Answered(hit);
        }
        if !book.waiting.enter(client) {
            book.shed.waiting += 1;
            return Boarding::Full;
        }
        if !under_way && !book.starters.enter(client) {
            book.waiting.leave(client);
            book.shed.flights += 1;
            return Boarding::Full;
        }
        let (sender, hit) = oneshot::channel();
        let seat = Seat { hit, client, flights: self.clone() };
        if let Some(flight) = book.flights.get_mut(&question) {
            flight.waiters.push(sender);
            flight.joined_by(client);
            return Boarding::Joined(seat);
        }
        let waiters = vec![sender];
        Boarding::Started(seat, self.start(book, question, client, false, waiters))
    }

    /// Begins a flight that nobody waits for, because of a question of
    /// `client`.
    pub(crate) fn refresh(&self, question: OwnedQuestion, client: Client) -> Refresh {
        let mut guard = self.book();
        let book = &mut *guard;
        if book.flights.contains_key(&question) {
            return Refresh::UnderWay;
        }
        if !book.refreshes.enter(client) {
            book.shed.refreshes += 1;
            return Refresh::Full;
        }
        Refresh::Started(self.start(book, question, client, true, Vec::new()))
    }

    fn start(
        &self,
        book: &mut Book,
        question: OwnedQuestion,
        starter: Client,
        is_refresh: bool,
        waiters: Vec<oneshot::Sender<Hit>>,
    ) -> Landing {
        let (askers, all) = watch::channel(vec![starter]);
        book.flights.insert(question.clone(), Flight { starter, is_refresh, askers, waiters });
        let askers = Askers::clients(all);
        Landing { question, askers, flights: self.clone(), in_the_air: true }
    }

    /// How much is under way.
    pub(crate) fn load(&self) -> Load {
        let book = self.book();
        Load {
            outstanding: book.flights.len() as u64,
            waiting: book.waiting.total() as u64,
            shed: book.shed,
            panics: 0,
        }
    }

    /// Is there one for this question?
    #[cfg(all(test, feature = "virtual-clock"))]
    pub(crate) fn is_under_way(&self, question: &OwnedQuestion) -> bool {
        self.book().flights.contains_key(question)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// One more client waits, or the same once more. A client that comes and goes
    /// over TCP could make the list longer than there are places to wait.
    fn joined_by(&self, client: Client) {
        self.askers.send_if_modified(|all| {
            let new = all.len() < MAX_WAITING && all.last() != Some(&client);
            if new {
                all.push(client);
            }
            new
        });
    }
}

impl Landing {
    /// Gives all who wait so far their answer, and says how many that were;
    /// the flight goes on.
    pub(crate) fn tell(&self, hit: &Hit) -> u64 {
        let mut book = self.flights.book();
        let flight = book.flights.get_mut(&self.question);
        let waiters = flight.map(|flight| std::mem::take(&mut flight.waiters));
        drop(book);
        tell(waiters.unwrap_or_default(), hit)
    }

    /// Ends the flight with an answer, which must be in the cache by now if it
    /// may be kept, and says how many waited for it.
    pub(crate) fn land(mut self, hit: &Hit) -> u64 {
        tell(self.leave(), hit)
    }

    fn leave(&mut self) -> Vec<oneshot::Sender<Hit>> {
        // Once only: the same question may be under way again by now.
        if !std::mem::take(&mut self.in_the_air) {
            return Vec::new();
        }
        let mut book = self.flights.book();
        let Some(flight) = book.flights.remove(&self.question) else { return Vec::new() };
        match flight.is_refresh {
            true => book.refreshes.leave(flight.starter),
            false => book.starters.leave(flight.starter),
        }
        flight.waiters
    }
}

fn tell(waiters: Vec<oneshot::Sender<Hit>>, hit: &Hit) -> u64 {
    let count = waiters.len();
    for waiter in waiters {
        // Who does not wait any more has no use for it.
        let _ = waiter.send(hit.clone());
    }
    count as u64
}

impl Drop for Landing {
    fn drop(&mut self) {
        // Whoever still waits sees its sender go.
        drop(self.leave());
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.flights.book().waiting.leave(self.client);
    }
}
