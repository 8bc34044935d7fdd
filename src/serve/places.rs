//! Places for connections: how many there are, how many one client may have,
//! and who gives up its place to a newcomer.
//!
//! At the limit the newcomer gets a place of whoever has most of them: that of
//! the connection that was idle longest. If all of those are at work, it gets one
//! nevertheless, but of another client only if that one has at least two more.
//! So neither idle connections nor busy ones of a few clients keep anybody out,
//! and a client with few connections loses none to one with many. An exchange is
//! short, and a client that finds its connection closed simply opens another
//! (RFC 7766 section 6.2.4, RFC 9112 section 9.5).
//!
//! What is bounded are descriptors, and a connection has its own until its task
//! has ended. Those whose place was given away are counted until then, and
//! whoever accepts waits when there are too many: see [`Pool::settled`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::host::client::Client;

/// Connections whose place was given away and whose task has not ended yet. A
/// task ends as soon as it is its turn.
pub(crate) const MAX_LEAVING: usize = 16;

/// Connections looked at to find an idle one for a newcomer: a few dozen
/// microseconds, and any mark found on the way is taken off, so that the next
/// newcomer finds more.
const MAX_LOOKS: usize = 64;

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

/// A number of places.
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
    seat: Arc<Seat>,
}

#[derive(Debug)]
struct Seat {
    client: Client,
    /// Its key in [`Held::seats`]; changes under the lock only.
    turn: AtomicU64,
    /// Was there activity since it was last looked at?
    active: AtomicBool,
    /// Is a request being worked on, so that closing would lose the answer?
    busy: AtomicBool,
    evicted: Notify,
}

#[derive(Debug)]
struct Book {
    places: usize,
    per_client: usize,
    taken: usize,
    leaving: usize,
    clients: HashMap<Client, Held>,
    /// Who has most comes first; of equals, whose oldest turn is longest ago.
    by_share: BTreeSet<Share>,
    /// The next number for whatever was looked at or renewed.
    turn: u64,
}

/// What one client has.
#[derive(Debug, Default)]
struct Held {
    /// By when each was admitted, renewed or looked at: the longest ago first.
    seats: BTreeMap<u64, Arc<Seat>>,
}

/// How many a client has, the turn of its first, and who it is.
type Share = (Reverse<usize>, u64, Client);

impl Held {
    fn share(&self, client: Client) -> Share {
        let first = self.seats.keys().next().copied().unwrap_or_default();
        (Reverse(self.seats.len()), first, client)
    }
}

impl Pool {
    /// So many places, and so many for each client; all free.
    pub(crate) fn new(places: usize, per_client: usize, at_own_limit: AtOwnLimit) -> Arc<Self> {
        let book = Book {
            places,
            per_client,
            taken: 0,
            leaving: 0,
            clients: HashMap::new(),
            by_share: BTreeSet::new(),
            turn: 0,
        };
        Arc::new(Self { book: Mutex::new(book), at_own_limit, settled: Notify::new() })
    }

    /// New limits. Whoever is one too many in all ends now, for its descriptor
    /// may be somebody else's; a client with more than it may have keeps them.
    pub(crate) fn set(&self, places: usize, per_client: usize) {
        let mut book = self.book();
        book.places = places;
        book.per_client = per_client;
        while book.taken > book.places && book.evict_for(None) {}
    }

    /// A place for a connection of `client`.
    pub(crate) fn admit(self: &Arc<Self>, client: Client) -> Result<Permit, Refusal> {
        let mut book = self.book();
        while book.count(client) >= book.per_client {
            if self.at_own_limit == AtOwnLimit::Refuse || !book.evict_one_of(client) {
                return Err(Refusal::Client);
            }
        }
        if book.taken >= book.places && !book.evict_for(Some(client)) {
            return Err(Refusal::Full);
        }
        let seat = book.seat(client);
        Ok(Permit { pool: Arc::clone(self), seat })
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
        self.seat.active.store(true, Ordering::Relaxed);
    }

    /// The connection is idle from now on: of its client's it is the last to go.
    pub(crate) fn renew(&self) {
        self.seat.busy.store(false, Ordering::Relaxed);
        self.pool.book().look_later(&self.seat);
    }

    /// A request is being worked on: idle connections go first.
    pub(crate) fn work(&self) {
        self.seat.busy.store(true, Ordering::Relaxed);
    }

    /// Waits until the place is given to somebody else.
    pub(crate) async fn evicted(&self) {
        self.seat.evicted.notified().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut book = self.pool.book();
        if !book.leave(&self.seat) {
            book.leaving -= 1;
            if book.leaving < MAX_LEAVING {
                self.pool.settled.notify_waiters();
            }
        }
    }
}

impl Book {
    fn count(&self, client: Client) -> usize {
        self.clients.get(&client).map_or(0, |held| held.seats.len())
    }

    fn seat(&mut self, client: Client) -> Arc<Seat> {
        let turn = self.next_turn();
        let seat = Arc::new(Seat {
            client,
            turn: turn.into(),
            active: false.into(),
            busy: false.into(),
            evicted: Notify::new(),
        });
        let mine = Arc::clone(&seat);
        self.change(client, |held| drop(held.seats.insert(turn, mine)));
        self.taken += 1;
        seat
    }

    /// Frees the place if it is still this seat's.
    fn leave(&mut self, seat: &Arc<Seat>) -> bool {
        let mut left = false;
        self.change(seat.client, |held| {
            let turn = seat.turn.load(Ordering::Relaxed);
            if held.seats.get(&turn).is_some_and(|taken| Arc::ptr_eq(taken, seat)) {
                left = held.seats.remove(&turn).is_some();
            }
        });
        self.taken -= usize::from(left);
        left
    }

    /// Frees a place for `newcomer`; false if there is none to be freed.
    fn evict_for(&mut self, newcomer: Option<Client>) -> bool {
        if let Some(idle) = self.idle_one(|book| Some(book.most()?.1)) {
            return self.evict(&idle);
        }
        // All that were looked at are at work.
        let Some((most, whose)) = self.most() else { return false };
        let gives = match newcomer.map(|newcomer| (newcomer, self.count(newcomer))) {
            Some((newcomer, has)) if has > 0 && most <= has + 1 => newcomer,
            _ => whose,
        };
        self.oldest_of(gives).is_some_and(|seat| self.evict(&seat))
    }

    /// Frees a place that `client` itself has, if one of its own is idle.
    fn evict_one_of(&mut self, client: Client) -> bool {
        self.idle_one(|_| Some(client)).is_some_and(|idle| self.evict(&idle))
    }

    /// An idle connection of `whose`, looking at each once and not at too many.
    fn idle_one(&mut self, whose: impl Fn(&Self) -> Option<Client>) -> Option<Arc<Seat>> {
        let began = self.turn;
        for _ in 0..MAX_LOOKS {
            let seat = self.oldest_of(whose(self)?)?;
            if seat.turn.load(Ordering::Relaxed) > began {
                break;
            }
            if seat.is_idle() {
                return Some(seat);
            }
            self.look_later(&seat);
        }
        None
    }

    fn evict(&mut self, seat: &Arc<Seat>) -> bool {
        let left = self.leave(seat);
        if left {
            self.leaving += 1;
            seat.evicted.notify_one();
        }
        left
    }

    /// Who has most places, and how many.
    fn most(&self) -> Option<(usize, Client)> {
        self.by_share.first().map(|(Reverse(most), _, client)| (*most, *client))
    }

    fn oldest_of(&self, client: Client) -> Option<Arc<Seat>> {
        self.clients.get(&client)?.seats.values().next().cloned()
    }

    /// Puts a seat behind all others of its client.
    fn look_later(&mut self, seat: &Arc<Seat>) {
        let turn = self.next_turn();
        self.change(seat.client, |held| {
            let old = seat.turn.load(Ordering::Relaxed);
            // Not if its place was given away.
            if held.seats.get(&old).is_some_and(|taken| Arc::ptr_eq(taken, seat)) {
                held.seats.remove(&old);
                held.seats.insert(turn, Arc::clone(seat));
                seat.turn.store(turn, Ordering::Relaxed);
            }
        });
    }

    /// Changes what a client has, and keeps the order of shares.
    fn change(&mut self, client: Client, change: impl FnOnce(&mut Held)) {
        let held = self.clients.entry(client).or_default();
        self.by_share.remove(&held.share(client));
        change(held);
        if held.seats.is_empty() {
            self.clients.remove(&client);
        } else {
            self.by_share.insert(held.share(client));
        }
    }

    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

impl Seat {
    /// Neither at work, nor active since it was last looked at.
    fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Relaxed) && !self.active.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use std::task::{Context, Waker};

    use proptest::prelude::*;

    use super::*;

    fn pool(places: usize, per_client: usize) -> Arc<Pool> {
        Pool::new(places, per_client, AtOwnLimit::Refuse)
    }

    fn client(last: u8) -> Client {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn admit(pool: &Arc<Pool>, last: u8) -> Permit {
        pool.admit(client(last)).unwrap()
    }

    fn ready<T>(future: impl Future<Output = T>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Has the place been given away?
    fn gone(permit: &Permit) -> bool {
        let gone = ready(permit.evicted());
        if gone {
            // The permit is there once for whoever waits: put it back.
            permit.seat.evicted.notify_one();
        }
        gone
    }

    fn all_gone(permits: &[Permit]) -> Vec<bool> {
        permits.iter().map(gone).collect()
    }

    #[test]
    fn a_client_has_its_own_limit() {
        let pool = pool(10, 2);
        let first = admit(&pool, 1);
        let _second = pool.admit("::ffff:10.0.0.1".parse::<IpAddr>().unwrap().into()).unwrap();
        assert_eq!(pool.admit(client(1)).unwrap_err(), Refusal::Client);
        let _other = admit(&pool, 2);
        drop(first);
        let _again = admit(&pool, 1);
        assert_eq!(pool.admit(client(1)).unwrap_err(), Refusal::Client);
    }

    #[test]
    fn where_own_ones_are_replaced_it_is_the_longest_idle_that_goes() {
        let pool = Pool::new(10, 3, AtOwnLimit::Replace);
        let permits: Vec<_> = (0..3).map(|_| admit(&pool, 1)).collect();
        permits[0].renew();
        permits[1].work();
        let fourth = admit(&pool, 1);
        assert_eq!(all_gone(&permits), [false, false, true]);
        let fifth = admit(&pool, 1);
        assert_eq!(all_gone(&permits), [true, false, true]);
        // Those that are left are all at work.
        [&fourth, &fifth].into_iter().for_each(Permit::work);
        assert_eq!(pool.admit(client(1)).unwrap_err(), Refusal::Client);
        let _other = admit(&pool, 2);
        assert_eq!(pool.taken(), 4);
    }

    #[test]
    fn the_idle_one_of_who_has_most_makes_place() {
        let pool = pool(4, 4);
        let few = admit(&pool, 1);
        let most: Vec<_> = (0..3).map(|_| admit(&pool, 2)).collect();
        most[0].touch();
        let _third = admit(&pool, 3);
        assert!(!gone(&few), "it was idle for longer, but it has only one");
        assert_eq!(all_gone(&most), [false, true, false]);
        let _fourth = admit(&pool, 4);
        assert!(!gone(&few));
        assert_eq!(all_gone(&most), [false, true, true]);
        // Each has one now, the mark of the last look is off: the longest idle.
        let _fifth = admit(&pool, 5);
        assert!(gone(&few));
        assert_eq!(pool.taken(), 4);
    }

    /// Who keeps all its connections at work keeps nobody out, and gets nothing
    /// at the cost of who has less.
    #[test]
    fn at_work_or_not_who_has_most_gives() {
        let pool = pool(8, 8);
        let heavy: Vec<_> = (0..7).map(|_| admit(&pool, 1)).collect();
        let light = admit(&pool, 2);
        let at_work = || heavy.iter().chain([&light]).for_each(Permit::touch);
        at_work();
        let mut newcomers = Vec::new();
        for last in 3..6 {
            newcomers.push(admit(&pool, last));
            at_work();
            newcomers.iter().for_each(Permit::touch);
        }
        assert_eq!(all_gone(&heavy).iter().filter(|gone| **gone).count(), 3);
        assert!(!gone(&light) && newcomers.iter().all(|newcomer| !gone(newcomer)));
        // It has four still. Another one is at the cost of its own.
        let own = admit(&pool, 1);
        assert_eq!(all_gone(&heavy).iter().filter(|gone| **gone).count(), 4);
        // The light one may grow until both have about as many.
        newcomers.push(admit(&pool, 2));
        at_work();
        newcomers.iter().chain([&own]).for_each(Permit::touch);
        newcomers.push(admit(&pool, 2));
        assert!(gone(&light), "its own");
        let count = |last| pool.book().count(client(last));
        assert_eq!((count(1), count(2)), (3, 2));
    }

    #[test]
    fn everybody_at_work_with_one_each_still_lets_a_newcomer_in() {
        let pool = pool(3, 1);
        let all: Vec<_> = (1..4).map(|last| admit(&pool, last)).collect();
        all.iter().for_each(Permit::work);
        let newcomer = admit(&pool, 4);
        assert_eq!(all_gone(&all).iter().filter(|gone| **gone).count(), 1);
        assert!(!gone(&newcomer));
    }

    #[test]
    fn lower_limits_hold_at_once() {
        let pool = pool(4, 4);
        let old: Vec<_> = (0..4).map(|_| admit(&pool, 1)).collect();
        pool.set(2, 1);
        assert_eq!((pool.taken(), pool.book().leaving), (2, 2));
        assert_eq!(pool.admit(client(1)).unwrap_err(), Refusal::Client);
        let _new = admit(&pool, 2);
        assert_eq!(all_gone(&old).iter().filter(|gone| **gone).count(), 3);
        assert_eq!(pool.taken(), 2);
    }

    #[test]
    fn nothing_to_evict_is_said() {
        assert!(!pool(1, 1).evict());
        assert_eq!(pool(0, 1).admit(client(1)).unwrap_err(), Refusal::Full);
    }

    /// A descriptor is taken until its connection has ended, whoever has the
    /// place by then.
    #[test]
    fn who_accepts_waits_for_those_that_are_leaving() {
        let pool = pool(MAX_LEAVING, MAX_LEAVING);
        let old: Vec<_> = (0..MAX_LEAVING).map(|_| admit(&pool, 1)).collect();
        let mut new: Vec<_> = (1..MAX_LEAVING).map(|nth| admit(&pool, nth as u8 + 1)).collect();
        assert!(ready(pool.settled()));
        new.push(admit(&pool, 99));
        let mut settled = pin!(pool.settled());
        let mut context = Context::from_waker(Waker::noop());
        assert!(settled.as_mut().poll(&mut context).is_pending());
        let (first, rest) = old.split_first().unwrap();
        assert!(gone(first) && rest.iter().all(gone));
        drop(old);
        assert!(settled.as_mut().poll(&mut context).is_ready());
        assert_eq!((pool.taken(), pool.book().leaving), (MAX_LEAVING, 0));
    }

    /// What a connection, or somebody who accepts, may do.
    #[derive(Debug, Clone)]
    enum Step {
        Admit(u8),
        Drop(usize),
        Touch(usize),
        Work(usize),
        Renew(usize),
        Set(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let any_one = 0usize..32;
        prop_oneof![
            6 => (0u8..6).prop_map(Step::Admit),
            2 => any_one.clone().prop_map(Step::Drop),
            2 => any_one.clone().prop_map(Step::Touch),
            2 => any_one.clone().prop_map(Step::Work),
            2 => any_one.prop_map(Step::Renew),
            1 => (0usize..12, 1usize..8).prop_map(|(places, each)| Step::Set(places, each)),
        ]
    }

    proptest! {
        /// Counts are right, limits hold, and nobody who has little loses it to
        /// somebody who has more.
        #[test]
        fn counts_and_limits_hold(steps in prop::collection::vec(step(), 0..400)) {
            let pool = pool(8, 4);
            let mut permits: Vec<Permit> = Vec::new();
            for step in steps {
                let nth = |at: usize, all: &[Permit]| at % all.len().max(1);
                match step {
                    Step::Admit(last) => {
                        let before: Vec<_> =
                            (0..6).map(|last| pool.book().count(client(last))).collect();
                        let Ok(permit) = pool.admit(client(last)) else { continue };
                        permits.push(permit);
                        let places = pool.book().places;
                        prop_assert!(pool.taken() <= places);
                        let most = before.iter().max().unwrap();
                        for other in (0..6).filter(|other| *other != last) {
                            let had = before[usize::from(other)];
                            let lost = had > pool.book().count(client(other));
                            prop_assert!(!lost || had == *most);
                        }
                    }
                    Step::Drop(at) if !permits.is_empty() => {
                        drop(permits.swap_remove(nth(at, &permits)));
                    }
                    Step::Touch(at) => permits.get(nth(at, &permits)).into_iter().for_each(Permit::touch),
                    Step::Work(at) => permits.get(nth(at, &permits)).into_iter().for_each(Permit::work),
                    Step::Renew(at) => permits.get(nth(at, &permits)).into_iter().for_each(Permit::renew),
                    Step::Set(places, each) => pool.set(places, each),
                    Step::Drop(_) => {}
                }
                let book = pool.book();
                let seats: usize = book.clients.values().map(|held| held.seats.len()).sum();
                prop_assert_eq!(book.taken, seats);
                prop_assert_eq!(book.taken + book.leaving, permits.len());
                prop_assert_eq!(book.by_share.len(), book.clients.len());
                prop_assert!(book.clients.iter().all(|(c, h)| book.by_share.contains(&h.share(*c))));
            }
            drop(permits);
            let book = pool.book();
            prop_assert!(book.taken == 0 && book.leaving == 0 && book.clients.is_empty());
        }
    }
}
