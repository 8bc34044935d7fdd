//! Questions on their way, each once, and who waits for which.
//!
//! Equal questions share one flight. Two things are scarce and bounded, each
//! with fair shares when full: flights (sockets, packets) and waiting clients
//! (memory).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::hit::Hit;
use super::question::OwnedQuestion;
use super::shares::{Client, Shares};

/// Questions under way to upstreams. Each has one socket, or two from its
/// second try on; at 50 ms an answer this many are 20,000 questions a second,
/// and with a dead upstream 250.
pub const MAX_FLIGHTS: usize = 1_024;

/// Clients waiting for an answer. Equal questions share a flight, and a name
/// that everybody asks for at once must not be refused to most.
pub const MAX_WAITING: usize = 16_384;

/// Flights that nobody waits for: stale answers being renewed.
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

/// The book of flights.
#[derive(Clone)]
pub(crate) struct Flights(Arc<Mutex<Book>>);

struct Book {
    flights: HashMap<OwnedQuestion, Flight>,
    starters: Shares,
    waiting: Shares,
    refreshes: usize,
    shed: u64,
}

struct Flight {
    /// Whose flight it is; none for a refresh.
    starter: Option<Client>,
    waiters: Vec<oneshot::Sender<Hit>>,
}

/// What became of a client that wants to come along.
pub(crate) enum Boarding {
    /// It waits with the others.
    Joined(Seat),
    /// It waits, and the flight is to be started.
    Started(Seat, Landing),
    /// There is no place for it.
    Full,
    /// The answer has come in between.
    Answered(Hit),
}

/// A place among those who wait; given back when dropped.
pub(crate) struct Seat {
    pub(crate) hit: oneshot::Receiver<Hit>,
    client: Client,
    flights: Flights,
}

/// The end of a flight, to be held by who flies it: however that ends, the
/// flight leaves the book and nobody waits for ever.
pub(crate) struct Landing {
    pub(crate) question: OwnedQuestion,
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
    /// Clients turned away since the start.
    pub shed: u64,
    /// Questions that ended in a panic since the start.
    pub panics: u64,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Book {
            flights: HashMap::new(),
            starters: Shares::new(MAX_FLIGHTS),
            waiting: Shares::new(MAX_WAITING),
            refreshes: 0,
            shed: 0,
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
            book.shed += 1;
            return Boarding::Full;
        }
        if !under_way && !book.starters.enter(client) {
            book.waiting.leave(client);
            book.shed += 1;
            return Boarding::Full;
        }
        let (sender, hit) = oneshot::channel();
        let seat = Seat { hit, client, flights: self.clone() };
        let flight = book.flights.entry(question.clone());
        let flight = flight.or_insert(Flight { starter: Some(client), waiters: Vec::new() });
        flight.waiters.push(sender);
        match under_way {
            true => Boarding::Joined(seat),
            false => Boarding::Started(seat, self.landing(question)),
        }
    }

    /// Begins a flight that nobody waits for; none when there is one already
    /// or there are too many.
    pub(crate) fn refresh(&self, question: OwnedQuestion) -> Option<Landing> {
        let mut book = self.book();
        if book.refreshes >= MAX_REFRESHES || book.flights.contains_key(&question) {
            return None;
        }
        book.refreshes += 1;
        book.flights.insert(question.clone(), Flight { starter: None, waiters: Vec::new() });
        Some(self.landing(question))
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

    fn landing(&self, question: OwnedQuestion) -> Landing {
        Landing { question, flights: self.clone(), in_the_air: true }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        match flight.starter {
            Some(client) => book.starters.leave(client),
            None => book.refreshes -= 1,
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
