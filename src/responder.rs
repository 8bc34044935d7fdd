//! What stands behind every socket: one load of the snapshot, one answer, one
//! count, and a net for panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use tracing::error;

use crate::answer::message::Head;
use crate::answer::{Asker, Outcome, Transport, answer, ordinary};
use crate::counters::{Counters, Tally};
use crate::serve::{Action, Respond};
use crate::store::Store;

/// Answers from a store. Each worker and connection has a clone.
#[derive(Clone)]
pub struct Responder {
    store: Store,
    tally: Tally,
    /// Use nothing prebuilt: to compare.
    ordinary: bool,
}

impl Responder {
    /// Answers from `store` and counts in `counters`; with `ordinary` without
    /// anything prebuilt.
    pub fn new(store: Store, counters: Arc<Counters>, ordinary: bool) -> Self {
        Self { store, tally: Tally::shared(counters), ordinary }
    }

    /// SERVFAIL for the one packet; said once, counted each time.
    fn panicked(&self, request: &[u8], reply: &mut Vec<u8>) -> Action {
        if self.tally.counters().panicked() {
            error!(
                request = %hex(request),
                "answering a packet failed; it got SERVFAIL. This is a bug: report it with \
                 these octets. More of them are counted, not logged"
            );
        }
        reply.clear();
        match Head::read(request) {
            Some(head) => {
                head.write_bare(ResponseCode::ServFail, reply);
                Action::Send
            }
            None => Action::Drop,
        }
    }
}

impl Respond for Responder {
    fn worker(&self) -> Self {
        Self { store: self.store.clone(), tally: self.tally.alone(), ordinary: self.ordinary }
    }

    fn respond(
        &mut self,
        asker: &Asker,
        transport: Transport,
        request: &[u8],
        reply: &mut Vec<u8>,
    ) -> Action {
        let snapshot = self.store.load();
        let answered = || match self.ordinary {
            false => answer(&snapshot, asker, transport, request, reply),
            true => ordinary(&snapshot, asker, transport, request, reply),
        };
        match catch_unwind(AssertUnwindSafe(answered)) {
            Ok(Outcome::Reply { rcode, view, path }) => {
                self.tally.count(&snapshot, view, transport, path, rcode);
                Action::Send
            }
            Ok(Outcome::Drop) => Action::Drop,
            Err(_) => self.panicked(request, reply),
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|o| format!("{o:02x}")).collect()
}
