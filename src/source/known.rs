//! What a source said before, used again where it says the same.
//!
//! Of thousands of addresses an answer seldom changes more than one. Those it
//! leaves as they were stay the same pieces of memory, so that whoever compares
//! two answers compares two pointers.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::source::allocation::Allocation;
use crate::source::inventory::{Address, Addresses};

/// The answer before, while the next one is read.
pub struct KnownAddresses<'k> {
    all: &'k [Arc<Address>],
    /// The number of the one expected next: answers keep their order.
    next: usize,
    places: OnceCell<HashMap<Allocation, usize>>,
}

impl<'k> KnownAddresses<'k> {
    /// Nothing of the next answer was read yet.
    pub fn new(all: &'k [Arc<Address>]) -> Self {
        Self { all, next: 0, places: OnceCell::new() }
    }

    /// The number of the address that is probably said next.
    pub fn next(&self) -> usize {
        self.next
    }

    /// That one, because it is said again.
    pub fn again(&mut self) -> Option<Arc<Address>> {
        let known = self.all.get(self.next)?;
        self.next += 1;
        Some(Arc::clone(known))
    }

    /// `said`, or the equal one of before.
    pub fn share(&mut self, said: Arc<Address>) -> Arc<Address> {
        match self.place(&said.allocation()).and_then(|at| Some((at, self.all.get(at)?))) {
            Some((at, known)) => {
                self.next = at + 1;
                // The same memory is equal without a look at it.
                if *known == said { Arc::clone(known) } else { said }
            }
            None => said,
        }
    }

    fn place(&self, allocation: &Allocation) -> Option<usize> {
        if self.all.get(self.next).is_some_and(|known| known.allocation() == *allocation) {
            return Some(self.next);
        }
        let places = self.places.get_or_init(|| {
            let places = self.all.iter().enumerate();
            places.map(|(at, known)| (known.allocation(), at)).collect()
        });
        places.get(allocation).copied()
    }
}

/// All of an answer, sharing with the one `before` what is in both.
pub fn shared(before: &[Arc<Address>], said: Vec<impl Into<Arc<Address>>>) -> Addresses {
    let mut known = KnownAddresses::new(before);
    said.into_iter().map(|address| known.share(address.into())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::addresses;
    use super::*;

    fn before_and_now() -> impl Strategy<Value = (Vec<Address>, Vec<Address>)> {
        let of_one = proptest::collection::vec(0..4, 8);
        let now =
            (addresses().prop_shuffle(), addresses(), of_one).prop_map(|(before, new, what)| {
                let known: Vec<_> = before.iter().map(Address::allocation).collect();
                let again = before.iter().zip(&what).filter(|(_, what)| **what > 0);
                let again = again.map(|(known, what)| match what {
                    1 => Address { instance_id: Some("i-another".into()), ..known.clone() },
                    _ => known.clone(),
                });
                let new = new.into_iter().filter(|new| !known.contains(&new.allocation()));
                let all: Vec<Address> = again.chain(new).collect();
                (before, all)
            });
        now.prop_flat_map(|(before, all)| (Just(before), Just(all).prop_shuffle()))
    }

    proptest! {
        /// Whatever was said before, in whatever order, now said again, said
        /// otherwise, or not said: it is what is said, and the same memory
        /// exactly where it is equal.
        #[test]
        fn what_is_equal_is_shared((before, all) in before_and_now()) {
            let before: Vec<Arc<Address>> = before.into_iter().map(Arc::new).collect();
            let now = shared(&before, all.clone());
            prop_assert!(now.iter().map(|address| &**address).eq(&all));
            for address in &now[..] {
                let equal = before.iter().any(|known| known == address);
                let same = before.iter().any(|known| Arc::ptr_eq(known, address));
                prop_assert_eq!(equal, same);
            }
        }
    }
}
