//! Chance with a seed, so that a difference found can be found again.

use std::env;

/// The seed of every run that is not told others.
const SEED: &str = "4";

/// SplitMix64: small, and good enough to choose among cases.
pub(super) struct Dice(u64);

impl Dice {
    /// The seeds of `EIPDNS_SEEDS`, as "1,2,3", or the fixed one; a test runs once
    /// with each, and says which it is.
    pub(super) fn seeds() -> Vec<u64> {
        let given = env::var("EIPDNS_SEEDS").unwrap_or_else(|_| SEED.to_owned());
        given.split(',').map(|one| one.trim().parse().expect("EIPDNS_SEEDS are numbers")).collect()
    }

    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
