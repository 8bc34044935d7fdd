//! Durations, counted in buckets. Reading them does not delay who counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in nanoseconds, with how Prometheus writes them in seconds: from
/// a batch that is in the caches to an upstream that is given up.
pub(crate) const BOUNDS: [(u64, &str); 17] = [
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5.0"),
];

/// Durations, counted.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Of those up to each bound and above the one before; the last: above all.
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// All together, in nanoseconds: enough for 584 years.
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|(bound, _)| *bound < nanos);
        if let Some(count) = self.counts.get(at) {
            // Relaxed: a count orders nothing.
            count.fetch_add(1, Ordering::Relaxed);
            self.nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// All of it at about one moment.
    pub(crate) fn read(&self) -> Reading {
        let mut reading = Reading::default();
        for (into, from) in reading.counts.iter_mut().zip(&self.counts) {
            *into = from.load(Ordering::Relaxed);
        }
        reading.nanos = self.nanos.load(Ordering::Relaxed);
        reading
    }
}

/// What a [`Histogram`] held, or several together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    counts: [u64; BOUNDS.len() + 1],
    nanos: u64,
}

impl Reading {
    /// Adds what another one held.
    pub(crate) fn add(&mut self, other: &Self) {
        for (into, from) in self.counts.iter_mut().zip(other.counts) {
            *into += from;
        }
        self.nanos += other.nanos;
    }

    /// For each bound how many took so long at most; the last one is all, `+Inf`.
    pub(crate) fn up_to(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        let mut sum = 0;
        bounds.zip(self.counts).map(move |(bound, count)| {
            sum += count;
            (bound, sum)
        })
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all took together, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_up_to_its_bound_and_all_above() {
        let all = Histogram::default();
        for nanos in [0, 25_000, 25_001, 400_000_000, 60_000_000_000] {
            all.record(Duration::from_nanos(nanos));
        }
        let mut reading = all.read();
        let up_to = |reading: &Reading, wanted: &str| {
            reading.up_to().find(|(bound, _)| *bound == wanted).unwrap().1
        };
        assert_eq!(up_to(&reading, "0.000025"), 2, "the bound itself is in it");
        assert_eq!(up_to(&reading, "0.00005"), 3);
        assert_eq!((up_to(&reading, "0.25"), up_to(&reading, "0.5")), (3, 4));
        assert_eq!((up_to(&reading, "5.0"), up_to(&reading, "+Inf")), (4, 5));
        assert_eq!((reading.count(), reading.seconds()), (5, 60.400_050_001));
        reading.add(&all.read());
        assert_eq!((reading.count(), up_to(&reading, "0.5")), (10, 8));
    }

    #[test]
    fn bounds_rise_and_are_written_as_they_are() {
        assert!(BOUNDS.is_sorted_by(|(a, _), (b, _)| a < b));
        for (nanos, text) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!((seconds * 1e9).round() as u64, nanos, "{text}");
        }
    }
}
