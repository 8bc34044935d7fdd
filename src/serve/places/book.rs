//! Who has which place, and who is the next to lose one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::host::client::Client;

/// Connections looked at to find an idle one for a newcomer: a few dozen
/// microseconds, and any mark found on the way is taken off, so that the next
/// newcomer finds more.
const MAX_LOOKS: usize = 64;

/// The places of a [`Pool`](super::Pool), by client.
#[derive(Debug)]
pub(super) struct Book {
    /// How many places there are.
    pub limit: usize,
    /// How many of them a client may have.
    pub per_client: usize,
    pub taken: usize,
    /// Connections that lost their place and have not ended yet.
    pub leaving: usize,
    clients: HashMap<Client, ClientPlaces>,
    /// Who has most comes first; of equals, whose oldest turn is longest ago.
    by_rank: BTreeSet<Rank>,
    /// The next number for whatever was looked at or renewed.
    turn: u64,
}

/// What one client has.
#[derive(Debug, Default)]
struct ClientPlaces {
    /// By when each was admitted, renewed or looked at: the longest ago first.
    places: BTreeMap<u64, Arc<Place>>,
}

/// How many a client has, the turn of its first, and who it is.
type Rank = (Reverse<usize>, u64, Client);

impl ClientPlaces {
    fn rank(&self, client: Client) -> Rank {
        let first = self.places.keys().next().copied().unwrap_or_default();
        (Reverse(self.places.len()), first, client)
    }
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Place {
    client: Client,
    /// Its key in [`ClientPlaces::places`]; changes under the lock only.
    turn: AtomicU64,
    /// Was there activity since it was last looked at?
    active: AtomicBool,
    /// Is a request being worked on, so that closing would lose the answer?
    busy: AtomicBool,
    /// Told when the place is given to somebody else.
    evicted: Notify,
}

impl Book {
    pub(super) fn new(limit: usize, per_client: usize) -> Self {
        Self {
            limit,
            per_client,
            taken: 0,
            leaving: 0,
            clients: HashMap::new(),
            by_rank: BTreeSet::new(),
            turn: 0,
        }
    }

    /// How many places a client has.
    pub(super) fn count(&self, client: Client) -> usize {
        self.clients.get(&client).map_or(0, |held| held.places.len())
    }

    /// Gives `client` one more place.
    pub(super) fn add(&mut self, client: Client) -> Arc<Place> {
        let turn = self.next_turn();
        let place = Arc::new(Place {
            client,
            turn: turn.into(),
            active: false.into(),
            busy: false.into(),
            evicted: Notify::new(),
        });
        let mine = Arc::clone(&place);
        self.change(client, |held| drop(held.places.insert(turn, mine)));
        self.taken += 1;
        place
    }

    /// Frees a place; false if it was given to somebody else before.
    pub(super) fn leave(&mut self, place: &Arc<Place>) -> bool {
        let mut left = false;
        self.change(place.client, |held| {
            let turn = place.turn.load(Ordering::Relaxed);
            if held.places.get(&turn).is_some_and(|taken| Arc::ptr_eq(taken, place)) {
                left = held.places.remove(&turn).is_some();
            }
        });
        self.taken -= usize::from(left);
        left
    }

    /// Frees a place for `newcomer`; false if there is none to be freed.
    pub(super) fn evict_for(&mut self, newcomer: Option<Client>) -> bool {
        if let Some(idle) = self.idle_one(|book| Some(book.most()?.1)) {
            return self.evict(&idle);
        }
        // All that were looked at are at work.
        let Some((most, whose)) = self.most() else { return false };
        let gives = match newcomer.map(|newcomer| (newcomer, self.count(newcomer))) {
            Some((newcomer, has)) if has > 0 && most <= has + 1 => newcomer,
            _ => whose,
        };
        self.oldest_of(gives).is_some_and(|place| self.evict(&place))
    }

    /// Frees a place that `client` itself has, if one of its own is idle.
    pub(super) fn evict_one_of(&mut self, client: Client) -> bool {
        self.idle_one(|_| Some(client)).is_some_and(|idle| self.evict(&idle))
    }

    /// An idle connection of `whose`, looking at each once and not at too many.
    fn idle_one(&mut self, whose: impl Fn(&Self) -> Option<Client>) -> Option<Arc<Place>> {
        let began = self.turn;
        for _ in 0..MAX_LOOKS {
            let place = self.oldest_of(whose(self)?)?;
            if place.turn.load(Ordering::Relaxed) > began {
                break;
            }
            if place.is_idle() {
                return Some(place);
            }
            self.look_later(&place);
        }
        None
    }

    fn evict(&mut self, place: &Arc<Place>) -> bool {
        let left = self.leave(place);
        if left {
            self.leaving += 1;
            place.evict();
        }
        left
    }

    /// Who has most places, and how many.
    fn most(&self) -> Option<(usize, Client)> {
        self.by_rank.first().map(|(Reverse(most), _, client)| (*most, *client))
    }

    fn oldest_of(&self, client: Client) -> Option<Arc<Place>> {
        self.clients.get(&client)?.places.values().next().cloned()
    }

    /// Puts a place behind all others of its client.
    pub(super) fn look_later(&mut self, place: &Arc<Place>) {
        let turn = self.next_turn();
        self.change(place.client, |held| {
            let old = place.turn.load(Ordering::Relaxed);
            // Not if its place was given away.
            if held.places.get(&old).is_some_and(|taken| Arc::ptr_eq(taken, place)) {
                held.places.remove(&old);
                held.places.insert(turn, Arc::clone(place));
                place.turn.store(turn, Ordering::Relaxed);
            }
        });
    }

    /// Changes what a client has, and keeps the order of ranks.
    fn change(&mut self, client: Client, change: impl FnOnce(&mut ClientPlaces)) {
        let held = self.clients.entry(client).or_default();
        self.by_rank.remove(&held.rank(client));
        change(held);
        if held.places.is_empty() {
            self.clients.remove(&client);
        } else {
            self.by_rank.insert(held.rank(client));
        }
    }

    /// Do counts and ranks agree with the places?
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        let taken: usize = self.clients.values().map(|held| held.places.len()).sum();
        self.taken == taken
            && self.by_rank.len() == self.clients.len()
            && self
                .clients
                .iter()
                .all(|(c, held)| !held.places.is_empty() && self.by_rank.contains(&held.rank(*c)))
    }

    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

impl Place {
    /// There was activity.
    pub(super) fn touch(&self) {
        self.active.store(true, Ordering::Relaxed);
    }

    /// Is a request being worked on?
    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Waits until the place is given to somebody else.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Tells whoever waits for that, now or next.
    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Neither at work, nor active since it was last looked at.
    fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Relaxed) && !self.active.swap(false, Ordering::Relaxed)
    }
}
