//! One question, several upstreams: the first good answer wins.
//!
//! A try that stays without a reply is not given up when the next one starts:
//! a resolver that works on a slow name answers both. It is when the one after
//! that starts, so that a flight has two sockets at most.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use hickory_proto::op::ResponseCode;
use tokio::time;

use super::line::{Askers, Place};
use super::message::Message;
use super::network::Network;
use super::question::Question;
use super::turns::{Busy, PATIENCE, Stage};
use super::upstream::{Failure, Upstream, now};
use crate::dns::ede::{self, Remark};

/// The longest that a question is asked: glibc gives up after 5 s, and is to get an
/// answer before that.
pub const DEADLINE: Duration = Duration::from_secs(4);

/// After so long without a reply the next try starts, at another upstream if
/// there is one.
pub const TRY: Duration = Duration::from_secs(1);

/// Why no upstream had an answer.
pub(crate) struct Failed<'u> {
    troubles: Vec<(&'u Upstream, Failure)>,
}

/// An upstream within one fetch.
struct Candidate<'u> {
    upstream: &'u Upstream,
    tries: u32,
    /// When the last try began.
    began: Option<Instant>,
    /// It has answered with an error: asking again would bring the same.
    out: bool,
}

/// Which upstreams may be tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Those not tried yet: a try is under way.
    Untried,
    /// Any: nothing is under way, or it has had its time.
    Any,
}

/// What happens to a fetch.
enum Event {
    /// A try ended; with nothing if it had no reply for two tries' time.
    Tried(usize, Option<Result<Message, Failure>>),
    /// The turn of the packet that waits has come, or it has waited too long.
    Turn(usize, Result<(), Busy>),
    /// It is time for another try, or too late for any.
    Time,
}

type Try<'f> = BoxFuture<'f, (usize, Option<Result<Message, Failure>>)>;

/// One question under way.
struct Fetch<'f, 'u> {
    network: &'f dyn Network,
    question: &'f Question<'f>,
    askers: &'f Askers,
    candidates: Vec<Candidate<'u>>,
    race: FuturesUnordered<Try<'f>>,
    /// Who waits for a turn, and with whom.
    line: OptionFuture<BoxFuture<'f, (usize, Result<(), Busy>)>>,
    in_line: Option<usize>,
    failed: Failed<'u>,
    next_try: Instant,
    deadline: Instant,
}

/// Asks `upstreams`, each as often as time allows, until one answers. Packets
/// leave in the turn of one of `askers`.
pub(crate) async fn fetch<'u>(
    network: &dyn Network,
    upstreams: impl Iterator<Item = &'u Upstream>,
    question: &Question<'_>,
    askers: &Askers,
) -> Result<Message, Failed<'u>> {
    let candidate = |upstream| Candidate { upstream, tries: 0, began: None, out: false };
    let deadline = now() + DEADLINE;
    let fetch = Fetch {
        network,
        question,
        askers,
        candidates: upstreams.map(candidate).collect(),
        race: FuturesUnordered::new(),
        line: OptionFuture::default(),
        in_line: None,
        failed: Failed { troubles: Vec::new() },
        next_try: deadline,
        deadline,
    };
    fetch.run().await
}

impl<'f, 'u: 'f> Fetch<'f, 'u> {
    async fn run(mut self) -> Result<Message, Failed<'u>> {
        let mut wanted = Some(Wanted::Any);
        loop {
            if let Some(wanted) = wanted
                && !self.start(wanted)
            {
                return Err(self.failed);
            }
            let event = self.event().await;
            wanted = match event {
                Event::Tried(index, Some(Ok(message))) => {
                    self.answered(index);
                    return Ok(message);
                }
                Event::Tried(index, Some(Err(failure))) => {
                    self.refused(index, failure);
                    Some(self.wanted())
                }
                // A newer try is on its way, or could not start.
                Event::Tried(_, None) => Some(self.wanted()),
                Event::Turn(index, Ok(())) => {
                    self.launch(index);
                    None
                }
                Event::Turn(index, Err(Busy)) if self.race.is_empty() => {
                    self.busy(&[index]);
                    return Err(self.failed);
                }
                Event::Turn(_, Err(Busy)) => {
                    self.wait_a_try();
                    None
                }
                Event::Time if now() >= self.deadline => {
                    self.silent();
                    return Err(self.failed);
                }
                Event::Time => Some(Wanted::Any),
            };
        }
    }

    async fn event(&mut self) -> Event {
        tokio::select! {
            biased;
            Some((index, tried)) = self.race.next() => Event::Tried(index, tried),
            Some((index, turn)) = &mut self.line => {
                self.leave_line();
                Event::Turn(index, turn)
            }
            () = time::sleep_until(self.next_try.into()) => Event::Time,
        }
    }

    fn wanted(&self) -> Wanted {
        if self.race.is_empty() { Wanted::Any } else { Wanted::Untried }
    }

    /// Starts a try, or lines up for one; false when there is nobody to ask
    /// and nothing to wait for.
    fn start(&mut self, wanted: Wanted) -> bool {
        if self.in_line.is_some() {
            return true;
        }
        let (now, mut busy) = (now(), Vec::new());
        let until = self.deadline.min(now + PATIENCE);
        for index in self.order(wanted, now) {
            let Some(upstream) = self.candidates.get(index).map(|c| c.upstream) else { continue };
            // That one has no place is no reason to ask one that is down.
            if !busy.is_empty() && upstream.is_down() {
                continue;
            }
            match upstream.line_up(self.askers, 1, Stage::First, now) {
                Ok(Place::Free) => {
                    self.launch(index);
                    return true;
                }
                Ok(Place::InLine(standing)) => {
                    let turn = standing.turn(until).map(move |turn| (index, turn));
                    self.line = Some(turn.boxed()).into();
                    self.in_line = Some(index);
                    // The line has an end of its own.
                    self.next_try = self.deadline;
                    return true;
                }
                Err(Busy) => busy.push(index),
            }
        }
        if self.race.is_empty() {
            self.busy(&busy);
            return false;
        }
        if wanted == Wanted::Any {
            self.wait_a_try();
        }
        true
    }

    /// Whom to ask, best first: those that are up, then those not tried yet,
    /// then those that nothing speaks against, then by when they may be asked,
    /// then the fastest. Sorting keeps the order of the configuration where
    /// nothing else decides.
    fn order(&self, wanted: Wanted, now: Instant) -> Vec<usize> {
        let payer = self.askers.first();
        let mut order: Vec<_> = self
            .candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| !c.out && (c.tries == 0 || wanted == Wanted::Any))
            .map(|(index, Candidate { upstream, tries, .. })| {
                // One that is down counts as tried once more.
                let tries = tries + u32::from(upstream.is_down());
                let wait = upstream.expected_wait(payer, now);
                ((tries, upstream.is_suspect(), wait, upstream.round_trip()), index)
            })
            .collect();
        order.sort_by_key(|(key, _)| *key);
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// Sends a try whose packet is paid for.
    fn launch(&mut self, index: usize) {
        let began = now();
        for (nth, candidate) in self.candidates.iter_mut().enumerate() {
            if nth != index {
                candidate.upstream.passed_over();
                continue;
            }
            candidate.tries += 1;
            candidate.began = Some(began);
            let (network, question, askers) = (self.network, self.question, self.askers);
            let upstream = candidate.upstream;
            let tried =
                async move { (index, try_one(upstream, network, question, askers, began).await) };
            self.race.push(tried.boxed());
        }
        self.next_try = self.deadline.min(began + TRY);
    }

    fn leave_line(&mut self) {
        self.line = OptionFuture::default();
        self.in_line = None;
    }

    fn wait_a_try(&mut self) {
        self.next_try = self.deadline.min(now() + TRY);
    }

    /// One has answered. It is faster than those that were silent for a try's
    /// time; if all are silent it is the name that is slow.
    fn answered(&self, index: usize) {
        let now = now();
        for (nth, candidate) in self.candidates.iter().enumerate() {
            let silent = candidate.began.is_some_and(|began| now >= began + TRY);
            if nth != index && silent && !candidate.out {
                candidate.upstream.outdone();
            }
        }
    }

    fn refused(&mut self, index: usize, failure: Failure) {
        if self.in_line == Some(index) {
            self.leave_line();
        }
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.out = true;
            self.failed.troubles.push((candidate.upstream, failure));
        }
    }

    fn busy(&mut self, busy: &[usize]) {
        let busy = busy.iter().filter_map(|index| self.candidates.get(*index));
        self.failed.troubles.extend(busy.map(|c| (c.upstream, Failure::Busy)));
    }

    fn silent(&mut self) {
        let silent = self.candidates.iter().filter(|c| c.tries > 0 && !c.out);
        self.failed.troubles.extend(silent.map(|c| (c.upstream, Failure::Silent)));
    }
}

/// Asks one upstream; none if it is silent for two tries' time.
async fn try_one(
    upstream: &Upstream,
    network: &dyn Network,
    question: &Question<'_>,
    askers: &Askers,
    began: Instant,
) -> Option<Result<Message, Failure>> {
    let mut asked = pin!(upstream.ask(network, question, askers));
    if let Ok(asked) = time::timeout_at((began + TRY).into(), asked.as_mut()).await {
        return Some(asked);
    }
    upstream.lost(began, now());
    time::timeout(TRY, asked).await.ok()
}

impl Failed<'_> {
    /// May it be remembered: is it about the question and the upstreams, and
    /// not about us?
    pub(crate) fn is_lasting(&self) -> bool {
        !self.troubles.iter().any(|(_, failure)| failure.is_ours())
    }

    /// SERVFAIL, whatever the upstreams called it: a stub goes on to its next
    /// server for that, and musl waits in vain after a REFUSED. With it who
    /// said what, and the upstreams' own reasons.
    pub(crate) fn message(&self, question: &Question<'_>) -> Message {
        let code = match &self.troubles[..] {
            troubles if troubles.iter().any(|(_, failure)| failure.is_ours()) => ede::OTHER,
            troubles if troubles.iter().all(|(_, failure)| is_out_of_reach(failure)) => {
                ede::NO_REACHABLE
            }
            _ => ede::NETWORK,
        };
        let said: Vec<_> = self
            .troubles
            .iter()
            .map(|(upstream, failure)| format!("{upstream}: {failure}"))
            .collect();
        let mut remarks = vec![Remark { code, text: said.join("; ").into() }];
        for (_, failure) in &self.troubles {
            if let Failure::Said { remarks: theirs, .. } = failure {
                remarks.extend(theirs.iter().cloned());
            }
        }
        Message::bare(question, ResponseCode::ServFail, remarks)
    }
}

/// RFC 8914 section 4.23: not reached, or refused.
fn is_out_of_reach(failure: &Failure) -> bool {
    match failure {
        Failure::Silent | Failure::Network(_) => true,
        Failure::Said { rcode, .. } => *rcode == ResponseCode::Refused,
        _ => false,
    }
}
