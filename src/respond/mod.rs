//! What stands behind every socket: for each request one load of what is current,
//! one answer, one count, and a net for panics. A batch shares the load, and the time.
//! Where an upstream has to be asked first, the request is answered anew once that
//! answer is there, from a fresh load.

pub(crate) mod counters;

use std::cell::OnceCell;
use std::future::ready;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use hickory_proto::op::ResponseCode;
use tokio::time::timeout_at;
use tracing::error;

use crate::answer::reply::write_header;
use crate::answer::request::Head;
use crate::answer::{Ahead, AheadBuffer, Asker, Elsewhere, Outcome, Transport, answer, ordinary};
use crate::forward::{self, Asked, DEADLINE, Forwarder, Hit, OwnedQuestion, Ticket};
use crate::respond::counters::{Counters, Tally};
use crate::serve::{Action, RequestBatch, Respond};
use crate::store::{Current, Store};

/// Questions to upstreams for one answer: the client's own, and then one for each
/// CNAME that leads from our names to others.
const MAX_ASKED: usize = 8;

/// How long a client waits beyond [`DEADLINE`]: a question that no upstream answers
/// ends then, with what each of them did, and that is to reach the client.
const REASONS: Duration = Duration::from_millis(250);

/// Answers from a store. Each worker and connection has a clone.
#[derive(Clone)]
pub(crate) struct Responder {
    store: Store,
    tally: Tally,
    /// For answers that come later: those of all workers are made by one task.
    later_tally: Tally,
    ahead: AheadBuffer,
    /// Use no prebuilt answers: tests compare the two ways.
    ordinary: bool,
}

impl Responder {
    /// Answers from `store` and counts in `counters`; with `ordinary` without
    /// prebuilt answers.
    pub(crate) fn new(store: Store, counters: Arc<Counters>, ordinary: bool) -> Self {
        let tally = Tally::shared(counters);
        Self { store, later_tally: tally.clone(), tally, ahead: AheadBuffer::default(), ordinary }
    }

    /// SERVFAIL for the one packet; said once, counted each time.
    fn panicked(&self, request: &[u8], reply: &mut Vec<u8>) -> Step {
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
                write_header(head, ResponseCode::ServFail, reply);
                Step::Send
            }
            None => Step::Drop,
        }
    }

    /// Answers with what is at hand and what was fetched so far. If that does not
    /// do, the first question that is open has been sent on its way.
    fn step(
        &mut self,
        basis: &Basis<'_>,
        asker: &Asker,
        how: &How<'_, '_>,
        request: &[u8],
        fetched: &mut Vec<(OwnedQuestion, Hit)>,
        reply: &mut Vec<u8>,
    ) -> Step {
        let transport = how.transport();
        let Current { snapshot, forwarder } = basis.current;
        loop {
            let client = asker.client.ip();
            let mut outside = Outside { basis, client, fetched };
            let mut open = None;
            // Counted inside: whatever is returned from there is copied.
            let answered = catch_unwind(AssertUnwindSafe(|| {
                let outcome = match how {
                    How::Ahead(ahead, nth) => {
                        ahead.answer(*nth, asker, request, &mut outside, reply)
                    }
                    How::Alone(_) if self.ordinary => {
                        ordinary(snapshot, asker, transport, request, &mut outside, reply)
                    }
                    How::Alone(_) => {
                        answer(snapshot, asker, transport, request, &mut outside, reply)
                    }
                };
                match outcome {
                    Outcome::Reply { rcode, view, path, stale } => {
                        self.tally.count(snapshot, view, transport, path, rcode);
                        if stale.0 {
                            self.tally.count_stale(view, path);
                        }
                        return true;
                    }
                    Outcome::Ask(question) => {
                        let asked = match outside.fetched.len() < MAX_ASKED {
                            true => ask(forwarder.as_ref(), &question, client, basis.now()),
                            false => Asked::Now(forward::failure(
                                &question.borrow(),
                                "too many aliases between our names and others",
                            )),
                        };
                        open = Some((question, asked));
                    }
                    Outcome::Drop => {}
                }
                false
            }));
            match (answered, open) {
                (Ok(true), _) => return Step::Send,
                (Ok(false), None) => return Step::Drop,
                (Ok(false), Some((question, Asked::Now(hit)))) => fetched.push((question, hit)),
                (Ok(false), Some((question, Asked::Later(ticket)))) => {
                    return Step::Wait(question, ticket);
                }
                (Err(_), _) => return self.panicked(request, reply),
            }
        }
    }

    /// Answers one request.
    #[inline]
    fn respond_from(
        &mut self,
        basis: &Basis<'_>,
        asker: &Asker,
        how: &How<'_, '_>,
        request: &[u8],
        reply: &mut Vec<u8>,
    ) -> Action {
        let mut fetched = Vec::new();
        match self.step(basis, asker, how, request, &mut fetched, reply) {
            Step::Send => Action::Send,
            Step::Drop => Action::Drop,
            Step::Wait(question, ticket) => {
                self.later_tally.turn_to(&basis.current.snapshot);
                let later = Self { tally: self.later_tally.clone(), ..self.clone() };
                let request = request.to_vec();
                let (asker, transport) = (*asker, how.transport());
                let wait = later.wait(asker, transport, request, fetched, (question, ticket));
                Action::Later(Box::pin(stream::once(wait).filter_map(ready)))
            }
        }
    }

    /// Answers once a question that is under way has its answer.
    async fn wait(
        mut self,
        asker: Asker,
        transport: Transport,
        request: Vec<u8>,
        mut fetched: Vec<(OwnedQuestion, Hit)>,
        (mut question, mut ticket): (OwnedQuestion, Ticket),
    ) -> Option<Vec<u8>> {
        // However many questions it takes, stub resolvers wait for five seconds.
        let began = Instant::now();
        let until = (began + DEADLINE + REASONS).into();
        let mut reply = Vec::new();
        loop {
            let hit = timeout_at(until, ticket).await;
            let hit = hit.unwrap_or_else(|_| {
                forward::failure(&question.borrow(), "aliases lead on, but time is up")
            });
            fetched.push((question, hit));
            let step = {
                let current = self.store.load();
                let how = How::Alone(transport);
                self.step(&Basis::of(&current), &asker, &how, &request, &mut fetched, &mut reply)
            };
            match step {
                Step::Send => {
                    self.tally.counters().waited().record(began.elapsed());
                    return Some(reply);
                }
                Step::Drop => return None,
                Step::Wait(next, its_ticket) => (question, ticket) = (next, its_ticket),
            }
        }
    }
}

/// What a request, or a batch of them, is answered from.
struct Basis<'c> {
    current: &'c Current,
    now: OnceCell<Instant>,
}

impl<'c> Basis<'c> {
    fn of(current: &'c Current) -> Self {
        Self { current, now: OnceCell::new() }
    }

    /// The time, the same for all of a batch. The clock is read when somebody first
    /// wants to know: answers of our own zones cost no look at it.
    fn now(&self) -> Instant {
        *self.now.get_or_init(Instant::now)
    }
}

/// How a request is to be answered.
enum How<'s, 'r> {
    /// By itself; it came over this.
    Alone(Transport),
    /// As the one of this number in a batch that was read ahead.
    Ahead(&'r Ahead<'s, 'r>, usize),
}

impl How<'_, '_> {
    fn transport(&self) -> Transport {
        match self {
            How::Alone(transport) => *transport,
            How::Ahead(..) => Transport::Udp,
        }
    }
}

/// How far an answer has come.
enum Step {
    /// It is in the reply.
    Send,
    /// There is none.
    Drop,
    /// This question has to be answered first.
    Wait(OwnedQuestion, Ticket),
}

fn ask(
    forwarder: Option<&Forwarder>,
    question: &OwnedQuestion,
    client: IpAddr,
    now: Instant,
) -> Asked {
    match forwarder {
        Some(forwarder) => forwarder.ask(&question.borrow(), client, now),
        None => Asked::Now(forward::failure(&question.borrow(), "there is nobody to ask")),
    }
}

/// The forwarder's cache, and what was fetched for the one request.
struct Outside<'a> {
    basis: &'a Basis<'a>,
    /// Who asks.
    client: IpAddr,
    fetched: &'a [(OwnedQuestion, Hit)],
}

impl Elsewhere for Outside<'_> {
    fn answer(&mut self, question: &forward::Question<'_>) -> Option<Hit> {
        let fetched = self.fetched.iter().find(|(known, _)| known.borrow() == *question);
        match fetched {
            Some((_, hit)) => Some(hit.clone()),
            None => {
                let forwarder = self.basis.current.forwarder.as_ref()?;
                forwarder.cached(question, self.client, self.basis.now())
            }
        }
    }

    fn is_probe(&self, name: &[u8]) -> bool {
        let forwarder = self.basis.current.forwarder.as_ref();
        forwarder.is_some_and(|forwarder| forwarder.is_probe(name))
    }
}

impl Respond for Responder {
    fn worker(&self) -> Self {
        Self { tally: self.tally.alone(), ..self.clone() }
    }

    fn is_known(&self, asker: &Asker) -> bool {
        let current = self.store.load();
        let selector = &current.snapshot.selector;
        asker.view(selector).is_some() || selector.trusts(asker.client.ip())
    }

    fn respond(
        &mut self,
        asker: &Asker,
        transport: Transport,
        request: &[u8],
        reply: &mut Vec<u8>,
    ) -> Action {
        let current = self.store.load();
        self.respond_from(&Basis::of(&current), asker, &How::Alone(transport), request, reply)
    }

    fn respond_to_batch(&mut self, requests: &mut impl RequestBatch) {
        let current = self.store.load();
        let basis = Basis::of(&current);
        let mut buffer = std::mem::take(&mut self.ahead);
        let ahead = match self.ordinary {
            true => None,
            // A panic here costs only the reading ahead: each answer has its own net.
            false => requests.ahead().and_then(|(first, all)| {
                let read = || Ahead::read(&current.snapshot, &first, all, &mut buffer);
                catch_unwind(AssertUnwindSafe(read)).ok()?
            }),
        };
        requests.each(|nth, asker, request, reply| {
            let how = match &ahead {
                Some(ahead) => How::Ahead(ahead, nth),
                None => How::Alone(Transport::Udp),
            };
            self.respond_from(&basis, asker, &how, request, reply)
        });
        self.ahead = buffer;
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|o| format!("{o:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// "vpc" forwards; "inside" is only for who asks at 127.0.0.2.
    fn server() -> String {
        let listen = "[\"127.0.0.1:53\", \"127.0.0.2:53\"]\ntrust_ecs_from = [\"198.51.100.53\"]";
        testing::HEAD.replace("[\"127.0.0.1:0\"]", listen)
            + &testing::view("vpc", "10.0.0.0/8", "private")
            + "forward = true\n"
            + &testing::view("inside", "192.0.2.0/24", "private")
            + "listen = [\"127.0.0.2:53\"]\n"
    }

    fn responder() -> Responder {
        let files = [("server.toml", &*server()), ("example.com.toml", "[names]\n")];
        let snapshot = testing::snapshot(&testing::config(&files), &testing::inventory(&[]));
        Responder::new(Store::new(snapshot), Arc::default(), false)
    }

    fn asker(client: &str, local: &str) -> Asker {
        Asker { client: format!("{client}:1024").parse().unwrap(), local: local.parse().unwrap() }
    }

    #[test]
    fn who_is_in_a_view_is_known_and_so_is_a_trusted_forwarder() {
        let responder = responder();
        for (client, local, known) in [
            ("10.1.2.3", "127.0.0.1:53", true),
            ("192.0.2.1", "127.0.0.1:53", false),
            ("192.0.2.1", "127.0.0.2:53", true),
            ("198.51.100.53", "127.0.0.1:53", true),
            ("198.51.100.54", "127.0.0.2:53", false),
        ] {
            assert_eq!(responder.is_known(&asker(client, local)), known, "{client} at {local}");
        }
    }

    /// No upstream is asked for a client in no view.
    #[test]
    fn strangers_are_refused_at_once() {
        let mut responder = responder();
        // RD, one question: www.example.net. A
        let request = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03net\0\0\x01\0\x01";
        let mut ask = |client: &str, transport| {
            let mut reply = Vec::new();
            let asker = asker(client, "127.0.0.1:53");
            match responder.respond(&asker, transport, request, &mut reply) {
                Action::Send => Some(reply[3] & 0xF),
                Action::Later(_) | Action::Drop => None,
            }
        };
        for transport in Transport::ALL {
            assert_eq!(ask("192.0.2.1", transport), Some(5), "REFUSED");
            // Nobody to ask: but it would be asked.
            assert_eq!(ask("10.1.2.3", transport), Some(2), "SERVFAIL");
        }
    }
}
