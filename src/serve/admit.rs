//! Who may have a TCP connection: limits in all and for each client.
//!
//! A client at its own limit is refused. At the total limit the newcomer gets
//! the place of a connection that does nothing: an exchange over TCP is short,
//! and a client that finds its idle connection closed simply opens another
//! (RFC 7766 section 6.2.4). Waiting in the backlog instead would let a few
//! hosts that hold connections open keep everybody else out.
//!
//! Which one goes is found with a clock hand: it passes over the places, takes
//! the mark from those that were active since its last visit, and stops at the
//! first without one. A step is paid for by the activity that set the mark, so
//! a flood of connections costs no search of all places each time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The limits of `[listen]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub clients: usize,
    /// Connections of one client.
    pub per_client: usize,
    /// How long a connection may be silent or slow.
    pub idle: Duration,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client has as many as it may.
    Client,
    /// All places are taken, and each was active within one turn of the hand.
    Full,
}

/// Counts the connections of all listeners together.
#[derive(Debug)]
pub struct Gate {
    places: Mutex<Places>,
    /// Milliseconds; apart from the limits because every connection reads it.
    idle: AtomicU64,
}

/// One connection's place. It is free again when the permit is dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    index: usize,
    seat: Arc<Seat>,
}

/// Whom the limit for each client counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client(IpAddr);

impl Client {
    /// An IPv4 address, or the /64 of an IPv6 address: the least a host can be
    /// given (RFC 7421), so more addresses of it prove no more clients.
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(ip) => Self(Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64)).into()),
            ip => Self(ip),
        }
    }
}

#[derive(Debug)]
struct Seat {
    client: Client,
    /// Was there activity since the hand last came by?
    active: AtomicBool,
    evicted: Notify,
}

#[derive(Debug)]
struct Places {
    clients: usize,
    per_client: usize,
    seats: Vec<Option<Arc<Seat>>>,
    /// Indexes of `seats` without one.
    free: Vec<usize>,
    hand: usize,
    by_client: HashMap<Client, usize>,
}

impl Gate {
    /// All places free.
    pub fn new(limits: &Limits) -> Self {
        let places = Places {
            clients: limits.clients,
            per_client: limits.per_client,
            seats: Vec::new(),
            free: Vec::new(),
            hand: 0,
            by_client: HashMap::new(),
        };
        Self { places: Mutex::new(places), idle: AtomicU64::new(milliseconds(limits.idle)) }
    }

    /// New limits; those who are in may stay.
    pub fn set(&self, limits: &Limits) {
        let mut places = self.places();
        places.clients = limits.clients;
        places.per_client = limits.per_client;
        self.idle.store(milliseconds(limits.idle), Ordering::Relaxed);
    }

    /// A place for a connection of `ip`.
    pub fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Permit, Refusal> {
        let client = Client::of(ip);
        let mut places = self.places();
        if places.by_client.get(&client).is_some_and(|count| *count >= places.per_client) {
            return Err(Refusal::Client);
        }
        // More than one if the limit was lowered.
        while places.taken() >= places.clients {
            if !places.evict() {
                return Err(Refusal::Full);
            }
        }
        // Marked, so that it has one turn of the hand to send its request.
        let seat = Seat { client, active: AtomicBool::new(true), evicted: Notify::new() };
        let seat = Arc::new(seat);
        let index = places.seat(Arc::clone(&seat));
        Ok(Permit { gate: Arc::clone(self), index, seat })
    }

    /// Ends one inactive connection, to have its descriptor back.
    pub fn evict(&self) -> bool {
        self.places().evict()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The connection did something: took a whole request, or was rid of octets.
    pub fn touch(&self) {
        self.seat.active.store(true, Ordering::Relaxed);
    }

    /// Waits until the place is given to somebody else.
    pub async fn evicted(&self) {
        self.seat.evicted.notified().await;
    }

    /// How long the connection may be silent or slow, as of now.
    pub fn idle(&self) -> Duration {
        Duration::from_millis(self.gate.idle.load(Ordering::Relaxed))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.places().leave(self.index, &self.seat);
    }
}

impl Places {
    fn taken(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    fn seat(&mut self, seat: Arc<Seat>) -> usize {
        *self.by_client.entry(seat.client).or_default() += 1;
        let index = self.free.pop().unwrap_or(self.seats.len());
        match self.seats.get_mut(index) {
            Some(place) => *place = Some(seat),
            None => self.seats.push(Some(seat)),
        }
        index
    }

    /// Frees the place at `index` if it is still `seat`'s.
    fn leave(&mut self, index: usize, seat: &Arc<Seat>) {
        let Some(place) = self.seats.get_mut(index) else { return };
        if place.as_ref().is_none_or(|taken| !Arc::ptr_eq(taken, seat)) {
            return;
        }
        *place = None;
        self.free.push(index);
        if let Some(count) = self.by_client.get_mut(&seat.client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&seat.client);
            }
        }
    }

    /// Frees the next place whose connection was inactive for a turn of the
    /// hand; false if there is none.
    fn evict(&mut self) -> bool {
        // Twice round: once to take the marks, once to find one without.
        for _ in 0..2 * self.seats.len() {
            let index = self.hand;
            self.hand = (index + 1) % self.seats.len();
            let Some(Some(seat)) = self.seats.get(index) else { continue };
            if !seat.active.swap(false, Ordering::Relaxed) {
                let seat = Arc::clone(seat);
                self.leave(index, &seat);
                seat.evicted.notify_one();
                return true;
            }
        }
        false
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(clients: usize, per_client: usize) -> Arc<Gate> {
        Arc::new(Gate::new(&Limits { clients, per_client, idle: Duration::from_secs(10) }))
    }

    fn admit(gate: &Arc<Gate>, ip: &str) -> Result<Permit, Refusal> {
        gate.admit(ip.parse().unwrap())
    }

    /// Has the place been given away?
    fn gone(permit: &Permit) -> bool {
        use std::pin::pin;
        use std::task::{Context, Waker};
        pin!(permit.evicted()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_client_has_its_own_limit() {
        let gate = gate(10, 2);
        let first = admit(&gate, "10.0.0.1").unwrap();
        let _second = admit(&gate, "::ffff:10.0.0.1").unwrap();
        assert_eq!(admit(&gate, "10.0.0.1").unwrap_err(), Refusal::Client);
        let _other = admit(&gate, "10.0.0.2").unwrap();
        drop(first);
        let _again = admit(&gate, "10.0.0.1").unwrap();
        assert_eq!(admit(&gate, "10.0.0.1").unwrap_err(), Refusal::Client);
    }

    #[test]
    fn ipv6_counts_by_64() {
        let gate = gate(10, 1);
        let _first = admit(&gate, "2001:db8:0:1::1").unwrap();
        assert_eq!(admit(&gate, "2001:db8:0:1:ffff:ffff:ffff:ffff").unwrap_err(), Refusal::Client);
        let _other = admit(&gate, "2001:db8:0:2::1").unwrap();
    }

    #[test]
    fn the_inactive_one_makes_place() {
        let gate = gate(3, 3);
        let permits: Vec<_> = (0..3).map(|_| admit(&gate, "10.0.0.1").unwrap()).collect();
        // All are marked by their admission: the first without a mark after a
        // whole turn is the first.
        let newcomer = admit(&gate, "10.0.0.2").unwrap();
        assert_eq!(permits.iter().map(gone).collect::<Vec<_>>(), [true, false, false]);
        // The hand is now at the second, which shows activity; the third not.
        permits[1].touch();
        let _another = admit(&gate, "10.0.0.3").unwrap();
        assert_eq!(permits.iter().map(gone).collect::<Vec<_>>(), [false, false, true]);
        assert!(!gone(&newcomer));
        // Those that are gone do not give up the places of their successors.
        drop(permits);
        assert_eq!(gate.places().taken(), 2);
        assert_eq!(gate.places().by_client.len(), 2);
    }

    #[test]
    fn lower_limits_hold_from_the_next_connection_on() {
        let gate = gate(4, 4);
        let old: Vec<_> = (0..4).map(|_| admit(&gate, "10.0.0.1").unwrap()).collect();
        gate.set(&Limits { clients: 2, per_client: 1, idle: Duration::from_millis(1500) });
        assert_eq!(old[0].idle(), Duration::from_millis(1500));
        assert_eq!(admit(&gate, "10.0.0.1").unwrap_err(), Refusal::Client);
        let _new = admit(&gate, "10.0.0.2").unwrap();
        assert_eq!(old.iter().filter(|permit| gone(permit)).count(), 3);
        assert_eq!(gate.places().taken(), 2);
    }

    #[test]
    fn nothing_to_evict_is_said() {
        assert!(!gate(1, 1).evict());
        assert_eq!(admit(&gate(0, 1), "10.0.0.1").unwrap_err(), Refusal::Full);
    }
}
