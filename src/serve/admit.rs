//! Who may have a connection for DNS: clients of some view, and, within a few places
//! of their own, all others.
//!
//! A client in no view is answered REFUSED, which takes a moment. It gets one of
//! [`strangers`] places beside those of the other clients, and little time; so
//! however many there are, none takes a place from a client of a view.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::places::{self, AtOwnLimit, Pool};

pub(super) use super::places::Refusal;

/// Places for clients in no view, at most: enough for a misconfigured subnet to be
/// told what is wrong, and few beside those of the others.
const MAX_STRANGERS: usize = 64;

/// For so many places of clients in views there is one for those in none.
const CLIENTS_PER_STRANGER: usize = 16;

/// Connections of one client in no view. A stub resolver has one or two.
const PER_STRANGER: usize = 8;

/// How long a connection of a client in no view may be silent or slow. It sends what
/// it wants to ask at once.
const STRANGER_IDLE: Duration = Duration::from_secs(2);

/// How many places there are for those in no view, beside `clients` for the
/// others.
pub(crate) const fn strangers(clients: usize) -> usize {
    match clients / CLIENTS_PER_STRANGER {
        0 => 1,
        some if some < MAX_STRANGERS => some,
        _ => MAX_STRANGERS,
    }
}

/// How many clients there are places for, where they and those in no view may
/// have so many `sockets` together. At least one.
pub(crate) fn clients_within(sockets: usize) -> usize {
    let fits = |clients: &usize| clients + strangers(*clients) <= sockets;
    // A little less than fits, and then what does.
    let few = sockets.saturating_sub(MAX_STRANGERS.min(sockets / CLIENTS_PER_STRANGER + 1));
    (few..).take_while(fits).last().unwrap_or(few).max(1)
}

/// The limits of `[listen]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections of clients in views, in all.
    pub clients: usize,
    /// Connections of one client.
    pub per_client: usize,
    /// How long a connection may be silent or slow.
    pub idle: Duration,
}

/// The places of all listeners.
#[derive(Debug)]
pub(crate) struct Gate {
    clients: Arc<Pool>,
    strangers: Arc<Pool>,
    /// Milliseconds; apart from the limits because every connection reads it.
    idle: AtomicU64,
}

/// One connection's place, and how much time it has. It is free again when this
/// is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    gate: Arc<Gate>,
    place: places::Permit,
    /// Is it of a client in some view?
    is_known: bool,
}

impl Gate {
    /// All places free.
    pub(crate) fn new(limits: &Limits) -> Self {
        let pool = |(places, each)| Pool::new(places, each, AtOwnLimit::Refuse);
        let (clients, strangers) = both(limits);
        Self {
            clients: pool(clients),
            strangers: pool(strangers),
            idle: AtomicU64::new(milliseconds(limits.idle)),
        }
    }

    /// New limits.
    pub(crate) fn set(&self, limits: &Limits) {
        let (clients, strangers) = both(limits);
        self.clients.set(clients.0, clients.1);
        self.strangers.set(strangers.0, strangers.1);
        self.idle.store(milliseconds(limits.idle), Ordering::Relaxed);
    }

    /// A place for a connection of `ip`, which `is_known` when some view is for
    /// it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        ip: IpAddr,
        is_known: bool,
    ) -> Result<Admission, Refusal> {
        let pool = if is_known { &self.clients } else { &self.strangers };
        let place = pool.admit(ip.into())?;
        Ok(Admission { gate: Arc::clone(self), place, is_known })
    }

    /// Ends one connection to have its descriptor back, of a client in no view
    /// if there is one.
    pub(crate) fn evict(&self) -> bool {
        self.strangers.evict() || self.clients.evict()
    }

    /// Waits until most connections that lost their place have ended. Cancel
    /// safe.
    pub(crate) async fn settled(&self) {
        self.strangers.settled().await;
        self.clients.settled().await;
    }
}

/// Places in all and of each, of clients and of those in no view.
fn both(limits: &Limits) -> ((usize, usize), (usize, usize)) {
    let each = limits.per_client.min(PER_STRANGER);
    ((limits.clients, limits.per_client), (strangers(limits.clients), each))
}

impl Admission {
    /// The connection did something: it had a whole request, or took octets.
    pub(crate) fn touch(&self) {
        self.place.touch();
    }

    /// Waits until the place is given to somebody else.
    pub(crate) async fn evicted(&self) {
        self.place.evicted().await;
    }

    /// Is it of a client in some view?
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// How long the connection may be silent or slow, as of now.
    pub(crate) fn idle(&self) -> Duration {
        let idle = Duration::from_millis(self.gate.idle.load(Ordering::Relaxed));
        if self.is_known { idle } else { idle.min(STRANGER_IDLE) }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    fn gate(clients: usize, per_client: usize) -> Arc<Gate> {
        Arc::new(Gate::new(&Limits { clients, per_client, idle: IDLE }))
    }

    fn ip(nth: usize) -> IpAddr {
        let [.., a, b] = nth.to_be_bytes();
        [10, 0, a, b].into()
    }

    fn gone(admission: &Admission) -> bool {
        pin!(admission.evicted()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn those_in_no_view_take_no_place_from_clients() {
        let gate = gate(4096, 256);
        let clients: Vec<_> = (0..4096).map(|nth| gate.admit(ip(nth), true).unwrap()).collect();
        // 1,500 of them, at 20 addresses.
        let mut refused = 0;
        let mut crowd = Vec::new();
        for nth in 0..1500 {
            match gate.admit([192, 0, 2, (nth % 20) as u8].into(), false) {
                Ok(admission) => crowd.push(admission),
                Err(refusal) => {
                    assert_eq!(refusal, Refusal::Client);
                    refused += 1;
                }
            }
        }
        assert!(clients.iter().all(|client| !gone(client)));
        assert_eq!(gate.clients.taken(), 4096);
        assert_eq!(gate.strangers.taken(), MAX_STRANGERS);
        assert_eq!(crowd.len() + refused, 1500);
        // Another one that is in no view takes its place from one of them.
        let left = crowd.iter().filter(|one| !gone(one)).count();
        let _one_more = gate.admit([192, 0, 2, 77].into(), false).unwrap();
        assert_eq!(crowd.iter().filter(|one| gone(one)).count(), 1);
        assert_eq!(left, MAX_STRANGERS);
    }

    #[test]
    fn they_have_little_time_and_go_first() {
        let gate = gate(10, 10);
        let client = gate.admit(ip(1), true).unwrap();
        let stranger = gate.admit(ip(2), false).unwrap();
        assert_eq!((client.idle(), stranger.idle()), (IDLE, STRANGER_IDLE));
        let second = Duration::from_secs(1);
        gate.set(&Limits { clients: 10, per_client: 10, idle: second });
        assert_eq!((client.idle(), stranger.idle()), (second, second));
        assert!(gate.evict() && gone(&stranger) && !gone(&client));
        assert!(gate.evict() && gone(&client));
        assert!(!gate.evict());
    }

    #[test]
    fn their_places_are_few_beside_those_of_clients() {
        for (clients, places) in [(1, 1), (15, 1), (32, 2), (1024, 64), (4096, 64), (1_000_000, 64)]
        {
            assert_eq!(strangers(clients), places, "{clients}");
        }
        for sockets in (2..2000).chain([4160, 100_000]) {
            let clients = clients_within(sockets);
            assert!(clients >= 1 && clients + strangers(clients) <= sockets, "{sockets}");
            assert!(clients + 1 + strangers(clients + 1) > sockets, "{sockets}");
        }
        for clients in [1, 15, 16, 100, 1023, 1024, 4096, 1_000_000] {
            assert_eq!(clients_within(clients + strangers(clients)), clients);
        }
    }
}
