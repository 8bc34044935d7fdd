//! One question, several upstreams: the first good answer wins.
//!
//! A try that stays without a reply is not given up when the next one starts:
//! a resolver that works on a slow name answers both. It is when the one after
//! that starts, so that a flight has two sockets at most.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use tokio::time;

use super::message::Message;
use super::network::Network;
use super::question::Question;
use super::upstream::{Failure, PATIENCE, Upstream, now};
use crate::snapshot::Remark;

/// A question is asked for so long: glibc gives up after 5 s, and is to hear
/// from us before.
pub const DEADLINE: Duration = Duration::from_secs(4);

/// After so long without a reply the next try starts, at another upstream if
/// there is one.
pub const TRY: Duration = Duration::from_secs(1);

/// EDE 0, other: for what is our own doing (RFC 8914 section 4.1).
const EDE_OTHER: u16 = 0;
/// EDE 22, no reachable authority (RFC 8914 section 4.23).
const EDE_NO_REACHABLE: u16 = 22;
/// EDE 23, network error (RFC 8914 section 4.24).
const EDE_NETWORK: u16 = 23;

/// Why no upstream had an answer.
pub(crate) struct Failed<'u> {
    troubles: Vec<(&'u Upstream, Failure)>,
}

/// An upstream within one fetch.
struct Candidate<'u> {
    upstream: &'u Upstream,
    tries: u32,
    /// It has said no: asking again would bring the same.
    out: bool,
}

/// What to do next.
enum Next<'u> {
    Try(usize, &'u Upstream, Duration),
    Busy,
    Nothing,
}

/// Asks `upstreams`, each as often as time allows, until one answers.
pub(crate) async fn fetch<'u>(
    network: &dyn Network,
    upstreams: impl Iterator<Item = &'u Upstream>,
    question: &Question<'_>,
) -> Result<Message, Failed<'u>> {
    let deadline = now() + DEADLINE;
    let mut candidates: Vec<_> =
        upstreams.map(|upstream| Candidate { upstream, tries: 0, out: false }).collect();
    let mut failed = Failed { troubles: Vec::new() };
    let mut race = FuturesUnordered::new();
    let mut latest: Option<&Upstream> = None;
    let mut next_try = deadline;
    let mut due = true;
    loop {
        let untried_only = !due && !race.is_empty();
        match next(&candidates, untried_only, now(), deadline) {
            Next::Try(index, upstream, wait) => {
                if let Some(candidate) = candidates.get_mut(index) {
                    candidate.tries += 1;
                }
                latest = Some(upstream);
                next_try = (now() + wait + TRY).min(deadline);
                race.push(async move {
                    time::sleep(wait).await;
                    (index, time::timeout(TRY * 2, upstream.ask(network, question)).await)
                });
            }
            Next::Busy if race.is_empty() => {
                let busy = candidates.iter().filter(|c| !c.out);
                failed.troubles.extend(busy.map(|c| (c.upstream, Failure::Busy)));
                return Err(failed);
            }
            Next::Nothing if race.is_empty() => return Err(failed),
            Next::Busy | Next::Nothing if due => next_try = (now() + TRY).min(deadline),
            Next::Busy | Next::Nothing => {}
        }
        tokio::select! {
            biased;
            Some((index, asked)) = race.next() => match asked {
                Ok(Ok(message)) => return Ok(message),
                // A newer try is on its way.
                Err(_) => due = false,
                Ok(Err(failure)) => {
                    due = false;
                    if let Some(candidate) = candidates.get_mut(index) {
                        candidate.out = true;
                        failed.troubles.push((candidate.upstream, failure));
                    }
                }
            },
            () = time::sleep_until(next_try.into()) => {
                due = true;
                if let Some(upstream) = latest.take() {
                    upstream.lost(now());
                }
                if now() >= deadline {
                    let silent = candidates.iter().filter(|c| c.tries > 0 && !c.out);
                    failed.troubles.extend(silent.map(|c| (c.upstream, Failure::Silent)));
                    return Err(failed);
                }
            }
        }
    }
}

/// Picks the upstream to try next, and pays for it.
fn next<'u>(
    candidates: &[Candidate<'u>],
    untried_only: bool,
    now: Instant,
    deadline: Instant,
) -> Next<'u> {
    let mut order: Vec<_> = candidates
        .iter()
        .enumerate()
        .filter(|(_, c)| !c.out && (c.tries == 0 || !untried_only))
        .collect();
    // One that is down counts as tried once more: first those that are up,
    // then those not tried yet, then the fastest. Sorting keeps the order of
    // the configuration where nothing else decides.
    order
        .sort_by_key(|(_, c)| (c.tries + u32::from(c.upstream.is_down()), c.upstream.round_trip()));
    let free = order.iter().find(|(_, c)| c.upstream.wait(now).is_zero());
    let Some(&(index, Candidate { upstream, .. })) =
        free.or_else(|| order.iter().min_by_key(|(_, c)| c.upstream.wait(now)))
    else {
        return Next::Nothing;
    };
    let patience = PATIENCE.min(deadline.saturating_duration_since(now));
    match upstream.pay(1, now, patience) {
        Ok(wait) => {
            candidates.iter().for_each(|c| {
                if !std::ptr::eq(c.upstream, *upstream) {
                    c.upstream.passed_over();
                }
            });
            Next::Try(index, upstream, wait)
        }
        Err(_) => Next::Busy,
    }
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
            troubles if troubles.iter().any(|(_, failure)| failure.is_ours()) => EDE_OTHER,
            troubles if troubles.iter().all(|(_, failure)| is_out_of_reach(failure)) => {
                EDE_NO_REACHABLE
            }
            _ => EDE_NETWORK,
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
