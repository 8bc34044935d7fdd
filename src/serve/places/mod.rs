//! Places for connections: how many there are, how many one client may have,
//! and which connection is closed for a new one.
//!
//! At the limit a new connection gets a place of the client that has most: that of
//! its connection that was idle longest. If none of those is idle, it gets one
//! nevertheless, but of another client only if that one has at least two more.
//! So neither idle connections nor busy ones of a few clients keep anybody out,
//! and a client with few connections loses none to one with many. An exchange is
//! short, and a client that finds its connection closed opens another
//! (RFC 7766 section 6.2.4, RFC 9112 section 9.5).
//!
//! What is bounded are descriptors, and a connection has its own until its task has
//! ended. Connections that lost their place are counted until then, and no further
//! one is accepted while there are too many of them: see [`Pool::settled`].

mod book;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use self::book::{Book, Place};
use crate::host::client::Client;

/// Connections whose place was given away and whose task has not ended yet. A
/// task ends as soon as it is its turn.
pub(crate) const MAX_LEAVING: usize = 16;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The client has as many as it may.
    Client,
    /// All places are taken, and none can be taken from anybody.
    Full,
}

/// What a client at its own limit gets for a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtOwnLimit {
    /// Nothing.
    Refuse,
    /// The place of its connection that was idle longest.
    Replace,
}

/// A number of places, and who has them.
#[derive(Debug)]
pub(crate) struct Pool {
    book: Mutex<Book>,
    at_own_limit: AtOwnLimit,
    /// Told when few enough are leaving again.
    settled: Notify,
}

/// One connection's place. It is free again when the permit is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    pool: Arc<Pool>,
    place: Arc<Place>,
}

impl Pool {
    /// So many places, and so many for each client; all free.
    pub(crate) fn new(places: usize, per_client: usize, at_own_limit: AtOwnLimit) -> Arc<Self> {
        let book = Mutex::new(Book::new(places, per_client));
        Arc::new(Self { book, at_own_limit, settled: Notify::new() })
    }

    /// New limits. Connections beyond the limit in all end now, because their
    /// descriptors may be needed elsewhere; a client with more than its own limit
    /// keeps them.
    pub(crate) fn set(&self, places: usize, per_client: usize) {
        let mut book = self.book();
        book.limit = places;
        book.per_client = per_client;
        while book.taken > book.limit && book.evict_for(None) {}
    }

    /// A place for a connection of `client`.
    pub(crate) fn admit(self: &Arc<Self>, client: Client) -> Result<Permit, Refusal> {
        let mut book = self.book();
        while book.count(client) >= book.per_client {
            if self.at_own_limit == AtOwnLimit::Refuse || !book.evict_one_of(client) {
                return Err(Refusal::Client);
            }
        }
        if book.taken >= book.limit && !book.evict_for(Some(client)) {
            return Err(Refusal::Full);
        }
        let place = book.add(client);
        Ok(Permit { pool: Arc::clone(self), place })
    }

    /// Ends one connection, to have its descriptor back; false if there is none.
    pub(crate) fn evict(&self) -> bool {
        self.book().evict_for(None)
    }

    /// Places taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.book().taken
    }

    /// Waits until few enough connections have lost their place and not ended
    /// yet. Cancel safe.
    pub(crate) async fn settled(&self) {
        loop {
            let mut told = pin!(self.settled.notified());
            told.as_mut().enable();
            if self.book().leaving < MAX_LEAVING {
                return;
            }
            told.await;
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The connection did something. Takes no lock: the connection is passed
    /// over when an idle one is looked for the next time.
    pub(crate) fn touch(&self) {
        self.place.touch();
    }

    /// The connection is idle from now on: of its client's it is the last to be
    /// closed.
    pub(crate) fn renew(&self) {
        self.place.set_busy(false);
        self.pool.book().look_later(&self.place);
    }

    /// A request is being worked on: idle connections are closed first.
    pub(crate) fn work(&self) {
        self.place.set_busy(true);
    }

    /// Waits until the place is given to somebody else.
    pub(crate) async fn evicted(&self) {
        self.place.evicted().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut book = self.pool.book();
        if !book.leave(&self.place) {
            book.leaving -= 1;
            if book.leaving < MAX_LEAVING {
                self.pool.settled.notify_waiters();
            }
        }
    }
}
