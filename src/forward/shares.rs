//! Fair shares of a bounded resource. Pure.
//!
//! A client may take a place while it has no more places than are free ("dynamic
//! thresholds", Choudhury and Hahne, IEEE/ACM ToN 6(2), 1998); the limit is twice what
//! one client alone may have. The more is taken, the less each client gets, in the end
//! all the same, and something is left for the next one: of `n` clients that want all
//! they can get each has 2/(n + 1) of the limit, and a newcomer has half of that at
//! once.
//!
//! Nothing is taken away from a client: one that has more than is free gets no more
//! until that has changed.

use std::collections::HashMap;

use crate::host::client::Client;

/// Places, and who has how many of them.
#[derive(Debug)]
pub(crate) struct Shares {
    limit: usize,
    total: usize,
    of: HashMap<Client, usize>,
}

impl Shares {
    /// `limit` places for one client alone, and twice as many in all.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, total: 0, of: HashMap::new() }
    }

    /// Another number of places; nothing is taken away from anybody.
    pub(crate) fn limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes a place for `client`; false when there is none for it.
    #[must_use]
    pub(crate) fn enter(&mut self, client: Client) -> bool {
        let has = self.of.get(&client).copied().unwrap_or(0);
        if has >= self.free() {
            return false;
        }
        self.of.insert(client, has + 1);
        self.total += 1;
        true
    }

    /// Gives a place of `client` back.
    pub(crate) fn leave(&mut self, client: Client) {
        if let Some(has) = self.of.get_mut(&client) {
            self.total -= 1;
            *has -= 1;
            if *has == 0 {
                self.of.remove(&client);
            }
        }
    }

    fn free(&self) -> usize {
        (self.limit * 2).saturating_sub(self.total)
    }

    /// Places taken.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn client(last: u8) -> Client {
        IpAddr::from([10, 0, 0, last]).into()
    }

    #[test]
    fn one_client_alone_may_have_all() {
        let mut shares = Shares::new(100);
        assert!((0..100).all(|_| shares.enter(client(1))));
        assert!(!shares.enter(client(1)));
        shares.leave(client(1));
        assert!(shares.enter(client(1)));
    }

    /// Takes all that a client can get, and says how much it has got.
    fn take_all(shares: &mut Shares, who: u8) -> usize {
        (0..).take_while(|_| shares.enter(client(who))).count()
    }

    #[test]
    fn the_others_get_theirs_when_one_has_all() {
        let mut shares = Shares::new(100);
        assert_eq!(take_all(&mut shares, 1), 100);
        assert_eq!(take_all(&mut shares, 2), 50);
        assert!(!shares.enter(client(1)));
        // The first shrinks, and both come near to two thirds.
        (0..50).for_each(|_| shares.leave(client(1)));
        while shares.enter(client(1)) | shares.enter(client(2)) {}
        assert_eq!((shares.of[&client(1)], shares.of[&client(2)]), (67, 67));
    }

    /// One after the other takes what it can: what is left has halved each time.
    #[test]
    fn there_is_something_left_for_the_next() {
        let mut shares = Shares::new(1_024);
        for (who, got) in [(1, 1_024), (2, 512), (3, 256), (4, 128), (5, 64), (6, 32)] {
            assert_eq!(take_all(&mut shares, who), got);
        }
    }

    proptest! {
        #[test]
        fn stays_within_bounds_and_counts_right(
            steps in prop::collection::vec((any::<bool>(), 0u8..40), 0..2_000),
        ) {
            let mut shares = Shares::new(16);
            let mut held: HashMap<u8, usize> = HashMap::new();
            for (enter, who) in steps {
                let has = held.entry(who).or_default();
                if enter {
                    let free = shares.free();
                    let entered = shares.enter(client(who));
                    prop_assert_eq!(entered, *has < free, "has {}, free {}", has, free);
                    *has += usize::from(entered);
                } else if *has > 0 {
                    *has -= 1;
                    shares.leave(client(who));
                }
                prop_assert_eq!(shares.total(), held.values().sum::<usize>());
                prop_assert!(shares.total() <= 32);
                prop_assert!(held.values().all(|has| *has <= 16));
            }
            prop_assert!(shares.of.values().all(|has| *has > 0));
        }
    }
}
