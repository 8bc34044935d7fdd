//! File descriptors: how many this process may have, and who may take how many.
//!
//! Each socket and each open file is one. A process that has none left can read
//! no address file, write no state, and accept nobody. So there is a budget:
//! what the server cannot do without comes first (the reserve), and what clients
//! and upstreams may take is what is left. Whoever opens a socket on behalf of
//! one of those has a place for it first, so the limit is never reached.
//!
//! The soft limit is for programs that use select(2), which this one does not:
//! [`raise`] lifts it to the hard one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// The most that is asked for. A container's hard limit may be a billion, of which
/// nothing here has a use.
const MOST: usize = 1 << 20;

/// Event loop, signals, and the state directory with its lock and the file being
/// written.
const PROCESS: usize = 16;

/// What is open for a moment: the configuration when it is read, the host's
/// resolvers and addresses, and what a reload opens before it closes the old.
const OCCASIONAL: usize = 32;

/// A file of a source: three for its file events, one for the file, and as many for
/// a second look that begins while a disk does not answer the first.
const FILE_SOURCE: usize = 8;

/// An EC2 source: two calls at once, connections kept from those before, the
/// credentials' own calls, the metadata service, lookups of their names. Interfaces are asked for
/// with one call at a time, and with as many others.
const EC2_SOURCE: usize = 28;

/// A peer: a hint and a question to it at once.
const PEER: usize = 2;

/// The least that each of those who share the rest gets, even if that is more
/// than there is: with less it would not work at all.
const LEAST: usize = 8;

/// Raises the soft limit to the hard one, if it is lower, and says how many
/// descriptors this process may have.
pub fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let number = |limit: Option<u64>| limit.map_or(MOST, |n| usize::try_from(n).unwrap_or(MOST));
    let (soft, wanted) = (number(current), number(maximum).min(MOST));
    if wanted <= soft {
        return soft;
    }
    // Always allowed up to the hard limit; some containers forbid the call.
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted as u64), maximum }) {
        Ok(()) => wanted,
        Err(_) => soft,
    }
}

/// How many descriptors this process has open.
///
/// # Errors
/// There is no /proc.
pub fn open() -> io::Result<usize> {
    const OURS: &str = "/proc/self/fd";
    // Linux 6.2 and later say it in the directory's size.
    let told = usize::try_from(fs::metadata(OURS)?.len()).unwrap_or(0);
    if told > 0 {
        return Ok(told);
    }
    // Reading the directory takes one itself.
    Ok(fs::read_dir(OURS)?.count().saturating_sub(1))
}

/// What a configuration needs and wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Open when the process began, standard streams included: whoever started
    /// it may have left it more than those.
    pub inherited: usize,
    /// Sockets to listen at: UDP and TCP, one for each worker and address.
    pub listeners: usize,
    /// Files of sources.
    pub files: usize,
    /// EC2 sources.
    pub ec2_sources: usize,
    /// Other replicas.
    pub peers: usize,
    /// Connections that lost their place to others and have not ended yet.
    pub leaving: usize,
    /// Connections of DNS clients over TCP, as configured.
    pub tcp: usize,
    /// Connections to the HTTP side; 0 when it is off.
    pub http: usize,
    /// Sockets of questions to upstreams; 0 when no view forwards.
    pub upstreams: usize,
}

/// Who may have how many descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budget {
    /// The process's limit.
    pub limit: usize,
    /// What all who share the rest would need to have what they want.
    pub wanted: usize,
    /// For sources, state, sockets to listen at, and all else of the server.
    pub reserve: usize,
    /// Connections of DNS clients over TCP.
    pub tcp: usize,
    /// Connections to the HTTP side.
    pub http: usize,
    /// Sockets of questions to upstreams.
    pub upstreams: usize,
}

impl Budget {
    /// Divides `limit`: first what cannot be done without; of the rest nobody
    /// gets more than it wants, and nobody less than somebody else unless it
    /// wants no more.
    pub fn divide(limit: usize, demand: &Demand) -> Self {
        let reserve = demand.inherited
            + PROCESS
            + OCCASIONAL
            // A reload opens the new ones before it closes the old ones.
            + 2 * demand.listeners
            + FILE_SOURCE * demand.files
            + EC2_SOURCE * demand.ec2_sources
            + PEER * demand.peers
            + demand.leaving;
        let mut left = limit.saturating_sub(reserve);
        let mut shares = [0; 3];
        let wants = [demand.tcp, demand.http, demand.upstreams];
        let mut order = [0, 1, 2];
        // Who wants least first: what it leaves is for the others.
        order.sort_by_key(|at| wants.get(*at));
        for (nth, at) in order.into_iter().enumerate() {
            let (Some(share), Some(want)) = (shares.get_mut(at), wants.get(at)) else { continue };
            let fair = left / (order.len() - nth);
            *share = (*want).min(fair.max(LEAST));
            left = left.saturating_sub(*share);
        }
        let [tcp, http, upstreams] = shares;
        let wanted = reserve + wants.iter().sum::<usize>();
        Self { limit, wanted, reserve, tcp, http, upstreams }
    }

    /// Does everybody get what it wants?
    pub fn is_enough(&self) -> bool {
        self.limit >= self.wanted
    }

    /// With what is open now.
    pub fn status(&self) -> Status {
        Status { open: open().ok(), budget: *self, enough: self.is_enough() }
    }
}

/// A budget and what is used of it at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Open now; none if the system does not say.
    #[serde(deserialize_with = "Option::deserialize")]
    pub open: Option<usize>,
    /// How many there may be, and for whom.
    #[serde(flatten)]
    pub budget: Budget,
    /// Does everybody get what it wants?
    pub enough: bool,
}

/// A number of descriptors for one purpose, and how many of them are taken. A
/// clone is the same share.
#[derive(Debug, Clone)]
pub struct Share(Arc<Taking>);

#[derive(Debug)]
struct Taking {
    most: AtomicUsize,
    taken: AtomicUsize,
    refused: AtomicU64,
}

/// One descriptor's worth of a [`Share`]; given back when dropped.
#[derive(Debug)]
pub struct Taken(Share);

impl Default for Share {
    /// As good as without a limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Share {
    /// So many.
    pub fn new(most: usize) -> Self {
        let (taken, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Taking { most: most.into(), taken, refused }))
    }

    /// Another number; what is taken stays so.
    pub fn set(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
    }

    /// Takes one; none when all are taken, which is counted.
    pub fn take(&self) -> Option<Taken> {
        let most = self.most();
        let one_more = |taken: usize| (taken < most).then(|| taken + 1);
        // Relaxed: nothing else depends on the number.
        match self.0.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Some(Taken(self.clone())),
            Err(_) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// How many there are.
    pub fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// How often there was none left, since the start.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use proptest::prelude::*;

    use super::*;

    const USUAL: Demand = Demand {
        inherited: 3,
        listeners: 3,
        files: 1,
        ec2_sources: 2,
        peers: 0,
        leaving: 64,
        tcp: 4160,
        http: 256,
        upstreams: 4352,
    };

    #[test]
    fn with_many_everybody_has_what_it_wants() {
        let budget = Budget::divide(524_288, &USUAL);
        assert!(budget.is_enough());
        assert_eq!((budget.tcp, budget.http, budget.upstreams), (4160, 256, 4352));
        assert_eq!(budget.reserve, 3 + 16 + 32 + 6 + 8 + 56 + 64);
        assert_eq!(budget.wanted, budget.reserve + 4160 + 256 + 4352);
        assert!(Budget::divide(budget.wanted, &USUAL).is_enough());
        assert!(!Budget::divide(budget.wanted - 1, &USUAL).is_enough());
    }

    #[test]
    fn with_few_the_reserve_comes_first_and_the_rest_is_shared() {
        let budget = Budget::divide(1024, &USUAL);
        assert!(!budget.is_enough());
        assert_eq!((budget.reserve, budget.http, budget.tcp), (185, 256, 291));
        assert_eq!(budget.reserve + budget.tcp + budget.http + budget.upstreams, 1024);
        // What one does not want is for the others.
        let alone = Demand { http: 0, upstreams: 0, ..USUAL };
        let budget = Budget::divide(1024, &alone);
        assert_eq!((budget.tcp, budget.http, budget.upstreams), (839, 0, 0));
        let modest = Demand { tcp: 34, ..USUAL };
        let budget = Budget::divide(1024, &modest);
        assert_eq!((budget.tcp, budget.http, budget.upstreams), (34, 256, 549));
    }

    #[test]
    fn with_too_few_everybody_has_a_handful() {
        let budget = Budget::divide(64, &USUAL);
        assert_eq!((budget.tcp, budget.http, budget.upstreams), (LEAST, LEAST, LEAST));
        assert!(!budget.is_enough());
    }

    proptest! {
        #[test]
        fn never_more_than_there_is_and_never_less_than_is_fair(
            limit in 400usize..10_000, tcp in 0usize..6000, http in 0usize..600,
            upstreams in 0usize..6000,
        ) {
            let demand = Demand { tcp, http, upstreams, ..USUAL };
            let budget = Budget::divide(limit, &demand);
            let shared = budget.tcp + budget.http + budget.upstreams;
            prop_assert!(budget.reserve + shared <= limit);
            let all = [(budget.tcp, tcp), (budget.http, http), (budget.upstreams, upstreams)];
            let most = all.iter().map(|(got, _)| *got).max().unwrap();
            for (got, wanted) in all {
                prop_assert!(got <= wanted);
                prop_assert!(got == wanted || got + 2 >= most);
            }
            prop_assert_eq!(budget.is_enough(), all.iter().all(|(got, wanted)| got == wanted));
        }
    }

    #[test]
    fn a_share_is_never_taken_more_often_than_it_has() {
        let share = Share::new(2);
        let (first, _second) = (share.take().unwrap(), share.take().unwrap());
        assert!(share.take().is_none());
        assert_eq!((share.taken(), share.refused()), (2, 1));
        drop(first);
        let _third = share.clone().take().unwrap();
        share.set(1);
        assert!(share.take().is_none());
        assert_eq!((share.most(), share.taken(), share.refused()), (1, 2, 2));
    }

    #[test]
    fn what_is_open_is_counted() {
        // Other tests open and close meanwhile: many, and then fewer.
        let before = open().unwrap();
        let many: Vec<_> = (0..500).map(|_| File::open("/dev/null").unwrap()).collect();
        let with = open().unwrap();
        assert!(with >= before.saturating_sub(200) + 500, "{before}, then {with}");
        drop(many);
    }

    #[test]
    fn the_limit_is_the_systems_own() {
        let limit = raise();
        let said = fs::read_to_string("/proc/self/limits").unwrap();
        let line = said.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(line.split_whitespace().nth(3).unwrap().parse::<usize>().unwrap(), limit);
        assert_eq!(raise(), limit);
    }
}
