//! What became of requests, counted: each answer moves exactly one number.
//!
//! A UDP worker writes to numbers of its own, alone on their cache lines; they are
//! added up when they are shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::ResponseCode;

use crate::answer::{Path, Transport};
use crate::host::histogram::Histogram;
use crate::snapshot::Snapshot;

/// The response codes that are told apart.
pub(crate) const RCODES: [(ResponseCode, &str); 8] = [
    (ResponseCode::NoError, "NOERROR"),
    (ResponseCode::FormErr, "FORMERR"),
    (ResponseCode::ServFail, "SERVFAIL"),
    (ResponseCode::NXDomain, "NXDOMAIN"),
    (ResponseCode::NotImp, "NOTIMP"),
    (ResponseCode::Refused, "REFUSED"),
    (ResponseCode::YXDomain, "YXDOMAIN"),
    (ResponseCode::BADVERS, "BADVERS"),
];

/// Where the others are counted.
const OTHER: usize = RCODES.len();

/// The label of answers to clients in no view.
pub(crate) const NO_VIEW: &str = "";

/// The numbers of one worker for one view.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    /// By transport, path and response code.
    answers: [[[AtomicU64; RCODES.len() + 1]; Path::ALL.len()]; Transport::ALL.len()],
    /// Of those: stale ones.
    stale: [AtomicU64; Path::ALL.len()],
}

impl Counts {
    #[inline]
    fn count(&self, transport: Transport, path: Path, rcode: ResponseCode, shared: bool) {
        let rcode = RCODES.iter().position(|(r, _)| *r == rcode).unwrap_or(OTHER);
        let count = &self.answers[transport as usize][path as usize][rcode];
        // Relaxed: a count orders nothing. Where nobody else writes, there is no
        // need to lock a cache line for it.
        if shared {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }
}

/// Paths whose failures are shown from the start, as 0: Prometheus sees no growth
/// in a series that was not there before.
const FAILS: [Path; 4] = [Path::Zone, Path::Ec2, Path::Forwarded, Path::Cached];

/// Paths whose answers can be stale.
const STALES: [Path; 3] = [Path::Zone, Path::Ec2, Path::Cached];

/// One line of the totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Total {
    /// The view's name; [`NO_VIEW`] for none.
    pub view: String,
    /// How it came.
    pub transport: Transport,
    /// Where the answer was from.
    pub path: Path,
    /// Its response code.
    pub rcode: &'static str,
    /// How many.
    pub count: u64,
}

/// All counts of the process. They never go back, whatever a reload does.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    views: Mutex<BTreeMap<String, Vec<Arc<Counts>>>>,
    shared: Mutex<BTreeMap<String, Arc<Counts>>>,
    panics: AtomicU64,
    /// Of answers for which an upstream was asked.
    waited: Histogram,
}

impl Counters {
    /// Counts an answer that ended in a panic; says whether it is the first.
    pub(crate) fn panicked(&self) -> bool {
        self.panics.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Answers that ended in a panic.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// How long answers took for which an upstream was asked, from taking up the
    /// request to having the answer.
    pub(crate) fn waited(&self) -> &Histogram {
        &self.waited
    }

    /// These views are shown from now on, whether or not anybody has asked in
    /// them.
    pub(crate) fn show<'v>(&self, names: impl Iterator<Item = &'v str>) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if !views.contains_key(name) {
                views.insert(name.to_owned(), Vec::new());
            }
        }
    }

    /// Stale answers, by view and path.
    pub(crate) fn stale(&self) -> Vec<(String, Path, u64)> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(view, blocks): (&String, &Vec<Arc<Counts>>)| {
            let count = |path: Path| {
                blocks.iter().map(|b| b.stale[path as usize].load(Ordering::Relaxed)).sum()
            };
            STALES.map(|path| (view.clone(), path, count(path)))
        };
        views.iter().filter(|(view, _)| *view != NO_VIEW).flat_map(of).collect()
    }

    /// Every number that is not zero, in order of view, and those of failures.
    pub(crate) fn totals(&self) -> Vec<Total> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (view, blocks) in views.iter() {
            for transport in Transport::ALL {
                for path in Path::ALL {
                    for at in 0..=OTHER {
                        let of = |b: &Arc<Counts>| {
                            b.answers[transport as usize][path as usize][at].load(Ordering::Relaxed)
                        };
                        let count: u64 = blocks.iter().map(of).sum();
                        let rcode = RCODES.get(at).map_or("OTHER", |(_, name)| name);
                        let fails = view != NO_VIEW && rcode == "SERVFAIL" && FAILS.contains(&path);
                        if count > 0 || fails {
                            all.push(Total { view: view.clone(), transport, path, rcode, count });
                        }
                    }
                }
            }
        }
        all
    }

    /// Numbers for one more worker: those of one that has ended, else new.
    fn own(&self, view: &str) -> Arc<Counts> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = views.entry(view.to_owned()).or_default();
        if let Some(free) = blocks.iter().find(|b| Arc::strong_count(b) == 1) {
            return Arc::clone(free);
        }
        let new = Arc::<Counts>::default();
        blocks.push(Arc::clone(&new));
        new
    }

    /// The numbers that all connections share, and the answers that come later.
    fn shared(&self, view: &str) -> Arc<Counts> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.get(view) {
            return Arc::clone(known);
        }
        let new = self.own(view);
        shared.insert(view.to_owned(), Arc::clone(&new));
        new
    }
}

/// One worker's hold on its numbers.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    all: Arc<Counters>,
    /// Are the numbers shared with others?
    shared: bool,
    /// Of which configuration the views are.
    epoch: u64,
    views: Vec<Arc<Counts>>,
    nobody: Arc<Counts>,
}

impl Tally {
    /// For connections, which share theirs.
    pub(crate) fn shared(all: Arc<Counters>) -> Self {
        let nobody = all.shared(NO_VIEW);
        Self { all, shared: true, epoch: 0, views: Vec::new(), nobody }
    }

    /// For one worker alone.
    pub(crate) fn alone(&self) -> Self {
        let nobody = self.all.own(NO_VIEW);
        Self { all: Arc::clone(&self.all), shared: false, epoch: 0, views: Vec::new(), nobody }
    }

    /// All counts of the process.
    pub(crate) fn counters(&self) -> &Counters {
        &self.all
    }

    /// Counts one answer made from `snapshot`.
    #[inline]
    pub(crate) fn count(
        &mut self,
        snapshot: &Snapshot,
        view: Option<usize>,
        transport: Transport,
        path: Path,
        rcode: ResponseCode,
    ) {
        self.turn_to(snapshot);
        let counts = view.and_then(|v| self.views.get(v)).unwrap_or(&self.nobody);
        counts.count(transport, path, rcode, self.shared);
    }

    /// Counts that the answer just [counted](Self::count) was stale.
    #[cold]
    pub(crate) fn count_stale(&mut self, view: Option<usize>, path: Path) {
        let counts = view.and_then(|v| self.views.get(v)).unwrap_or(&self.nobody);
        // Seldom enough for a locked addition.
        counts.stale[path as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Gets the numbers for the views of `snapshot`, unless it has them.
    pub(crate) fn turn_to(&mut self, snapshot: &Snapshot) {
        if self.epoch != snapshot.epoch {
            let fetch = |name: &str| match self.shared {
                true => self.all.shared(name),
                false => self.all.own(name),
            };
            self.views = snapshot.views.iter().map(|v| fetch(&v.name)).collect();
            self.epoch = snapshot.epoch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn workers_add_up_and_reloads_lose_nothing() {
        let config = testing::config(&[("server.toml", testing::SERVER)]);
        let mut snapshot = testing::snapshot(&config, &testing::inventory(&[]));
        let counters = Arc::<Counters>::default();
        assert_eq!((counters.totals(), counters.stale()), (vec![], vec![]));
        counters.show(["vpc"].into_iter());
        let zeros = counters.totals();
        assert_eq!(
            (zeros.len(), counters.stale().len()),
            (Transport::ALL.len() * FAILS.len(), STALES.len())
        );
        assert!(zeros.iter().all(|t| t.view == "vpc" && t.rcode == "SERVFAIL" && t.count == 0));
        let tcp = Tally::shared(Arc::clone(&counters));
        let mut workers = [tcp.alone(), tcp.alone(), tcp.clone()];
        for epoch in 1..4 {
            snapshot.epoch = epoch;
            for worker in &mut workers {
                let (t, p, r) = (Transport::Udp, Path::Zone, ResponseCode::NoError);
                worker.count(&snapshot, Some(0), t, p, r);
                worker.count(&snapshot, None, t, Path::Refused, ResponseCode::Refused);
            }
        }
        let mut totals = counters.totals();
        assert_eq!(
            totals.extract_if(.., |t| t.rcode == "SERVFAIL" && t.count == 0).count(),
            snapshot.views.len() * Transport::ALL.len() * FAILS.len(),
            "failures are shown before there is one"
        );
        assert_eq!(totals.len(), 2, "{totals:?}");
        assert!(totals.iter().all(|t| t.count == 9));
        assert_eq!((totals[0].view.as_str(), totals[0].rcode), ("", "REFUSED"));
        assert_eq!((totals[1].view.as_str(), totals[1].rcode), ("vpc", "NOERROR"));
    }
}
