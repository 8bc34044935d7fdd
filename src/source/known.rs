//! What a source said before, used again where it says the same.
//!
//! Of thousands of addresses an answer seldom changes more than one. Those it
//! leaves as they were stay the same pieces of memory, so that whoever compares
//! two answers compares two pointers.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::inventory::{Address, Addresses};

/// The answer before, while the next one is read.
pub struct Known<'k> {
    all: &'k [Arc<Address>],
    /// The number of the one expected next: answers keep their order.
    next: usize,
    places: OnceCell<HashMap<Ipv4Addr, usize>>,
}

impl<'k> Known<'k> {
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
    pub fn share(&mut self, said: Address) -> Arc<Address> {
        match self.place(said.public_ip).and_then(|at| Some((at, self.all.get(at)?))) {
            Some((at, known)) => {
                self.next = at + 1;
                if **known == said { Arc::clone(known) } else { said.into() }
            }
            None => said.into(),
        }
    }

    fn place(&self, public_ip: Ipv4Addr) -> Option<usize> {
        if self.all.get(self.next).is_some_and(|known| known.public_ip == public_ip) {
            return Some(self.next);
        }
        let places = self.places.get_or_init(|| {
            let places = self.all.iter().enumerate();
            places.map(|(at, known)| (known.public_ip, at)).collect()
        });
        places.get(&public_ip).copied()
    }
}

/// All of an answer, sharing with the one `before` what is in both.
pub fn shared(before: &[Arc<Address>], said: Vec<Address>) -> Addresses {
    let mut known = Known::new(before);
    said.into_iter().map(|address| known.share(address)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::addresses;
    use super::*;

    proptest! {
        /// Whatever was said before, in whatever order: it is what was said,
        /// and the same memory where it is equal.
        #[test]
        fn what_is_equal_is_shared(
            before in addresses().prop_shuffle(),
            said in addresses(),
            kept in any::<u8>(),
        ) {
            let before: Vec<Arc<Address>> = before.into_iter().map(Arc::new).collect();
            let again = before.iter().enumerate().filter(|(at, _)| kept >> at & 1 == 1);
            let mut all: Vec<Address> = again.map(|(_, known)| Address::clone(known)).collect();
            all.extend(said.into_iter().filter(|new| {
                before.iter().all(|known| known.public_ip != new.public_ip)
            }));
            let now = shared(&before, all.clone());
            prop_assert!(now.iter().map(|address| &**address).eq(&all));
            for address in &now[..] {
                let known = before.iter().find(|known| known.public_ip == address.public_ip);
                prop_assert!(known.is_none_or(|known| Arc::ptr_eq(known, address)));
            }
        }
    }
}
