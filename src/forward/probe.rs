//! Loops: do our own questions come back to us?
//!
//! An upstream at one of our own addresses is seen in the configuration. A
//! longer way round is not: so each upstream is asked once for a name that
//! nobody else knows, below the name it is asked for anyway, and whoever
//! serves looks out for it. CoreDNS's `loop` does the same.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future;
use tokio::time;

use super::forwarder::Forwarder;
use super::line::Askers;
use super::question::OwnedQuestion;
use super::turns::Stage;
use super::upstream::Upstream;
use crate::dns::name::Key;

/// A probe that takes longer than this to come back is missed: a loop that
/// slow cannot do much harm.
pub const PROBE_WAIT: Duration = Duration::from_secs(2);

/// The label that says, in somebody's log, what the odd name is about.
const LABEL: &[u8] = b"eipdns-loop";

/// Names that are out and must not come back.
#[derive(Default)]
pub(super) struct Probes {
    /// How many: all that a query costs when there are none.
    live: AtomicUsize,
    /// And whether each was seen.
    names: Mutex<HashMap<Key, bool>>,
}

/// A question for a name came back through an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looped {
    /// The name of the `[[forward]]`.
    pub name: Key,
    /// Its upstream.
    pub upstream: SocketAddr,
}

impl Forwarder {
    /// Asks each upstream for a name that must not come back here, and says
    /// which of them did. Takes up to [`PROBE_WAIT`]; serve meanwhile, and see
    /// [`is_probe`](Self::is_probe).
    pub async fn probe_loops(&self) -> Vec<Looped> {
        let probes = self.shared.pairs().map(|(name, upstream)| self.probe(name, upstream));
        future::join_all(probes).await.into_iter().flatten().collect()
    }

    /// Is this one of our own probes coming back? Notes it. Whoever serves asks
    /// before forwarding, and answers REFUSED instead: so the loop ends here.
    /// `name` is in lower case.
    pub fn is_probe(&self, name: &[u8]) -> bool {
        let probes = &self.shared.probes;
        if probes.live.load(Relaxed) == 0 {
            return false;
        }
        match probes.names().get_mut(name) {
            Some(seen) => {
                *seen = true;
                true
            }
            None => false,
        }
    }

    async fn probe(&self, below: &Key, upstream: &Upstream) -> Option<Looped> {
        let name = random_name(below)?;
        let probe = self.shared.probes.start(name.clone());
        upstream.turn(&Askers::ourselves(), 1, Stage::First).await.ok()?;
        let question = OwnedQuestion::hinfo(name);
        let (network, question) = (&*self.shared.network, question.borrow());
        // Whatever it answers, all that counts is whether we were asked.
        let _ =
            time::timeout(PROBE_WAIT, upstream.ask(network, &question, &Askers::ourselves())).await;
        let looped = Looped { name: below.clone(), upstream: upstream.address };
        probe.came_back().then_some(looped)
    }
}

impl Probes {
    fn start(&self, name: Key) -> Probe<'_> {
        self.names().insert(name.clone(), false);
        self.live.fetch_add(1, Relaxed);
        Probe { probes: self, name }
    }

    fn names(&self) -> MutexGuard<'_, HashMap<Key, bool>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that is out.
struct Probe<'p> {
    probes: &'p Probes,
    name: Key,
}

impl Probe<'_> {
    fn came_back(&self) -> bool {
        self.probes.names().get(&self.name) == Some(&true)
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.probes.names().remove(&self.name);
        self.probes.live.fetch_sub(1, Relaxed);
    }
}

/// Two random labels: none when there is no room below the name, or no
/// randomness.
fn random_name(below: &Key) -> Option<Key> {
    let label = || getrandom::u64().ok().map(|number| format!("{number:016x}"));
    below.child(LABEL)?.child(label()?.as_bytes())?.child(label()?.as_bytes())
}
