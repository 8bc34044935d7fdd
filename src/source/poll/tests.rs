use std::future::Future;
use std::net::Ipv4Addr;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::source::clock::Clock;
use crate::source::error::Class;
use crate::source::inventory::Health;
use crate::source::testing::address;
use crate::source::{Accept, Ask, Delivery, Gone, Refreshed};

const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

type Reply = Result<Described, PollError>;

/// Each call is handed to the test, which answers it.
struct Script {
    calls: mpsc::Sender<oneshot::Sender<Reply>>,
    requests: u64,
}

impl Describe for Script {
    fn describe(&mut self) -> BoxFuture<'_, Reply> {
        let (answer, said) = oneshot::channel();
        self.requests += 2;
        Box::pin(async move {
            self.calls.send(answer).await.unwrap();
            said.await.unwrap()
        })
    }

    /// Each call is slow.
    fn requests(&self) -> u64 {
        self.requests
    }

    fn region(&self) -> Option<String> {
        Some("us-east-1".into())
    }
}

struct Running {
    handle: Handle,
    calls: mpsc::Receiver<oneshot::Sender<Reply>>,
    deliveries: mpsc::Receiver<Delivery>,
    task: tokio::task::JoinHandle<Ended>,
}

async fn soon<T>(future: impl Future<Output = Option<T>>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time").expect("still running")
}

impl Running {
    fn start(poll: Duration) -> Self {
        let (calls_in, calls) = mpsc::channel(1);
        let (deliver, deliveries) = mpsc::channel(4);
        let script = Script { calls: calls_in, requests: 0 };
        let setup = Setup::new(3, "east", Clock::start(), deliver);
        let (poller, handle) = Poller::new(setup, poll, Box::new(script));
        Self { handle, calls, deliveries, task: tokio::spawn(poller.run()) }
    }

    async fn call(&mut self) -> oneshot::Sender<Reply> {
        soon(self.calls.recv()).await
    }

    async fn delivery(&mut self) -> Delivery {
        soon(self.deliveries.recv()).await
    }

    /// Somebody asks; returns when the request is on its way.
    async fn ask(&self, accept: Option<&Accept>) -> oneshot::Receiver<Refreshed> {
        let (reply, done) = oneshot::channel();
        let ask = Ask::Refresh { accept: accept.map(Accept::ticket), reply };
        self.handle.asks.send(ask).await.unwrap();
        done
    }
}

fn one(last: u8) -> Reply {
    let addresses = vec![address(Ipv4Addr::new(75, 101, 137, last)).into()];
    Ok(Described::New { addresses, left_out: LeftOut::default() })
}

fn server_error() -> PollError {
    PollError::Server { status: 503, code: "Unavailable".into() }
}

#[tokio::test]
async fn a_request_waits_for_a_call_that_began_after_it_and_shares_it() {
    let mut east = Running::start(NEVER);
    let first = east.call().await;
    let accept = Accept::new();
    let (a, b) = (east.ask(None).await, east.ask(Some(&accept)).await);
    first.send(one(1)).unwrap();
    let delivery = east.delivery().await;
    assert_eq!((delivery.source, delivery.region.as_deref()), (3, Some("us-east-1")));
    assert!(delivery.waiters.0.is_empty() && !delivery.accept_losses);
    delivery.published(None);

    let second = east.call().await;
    let c = east.ask(None).await;
    second.send(one(2)).unwrap();
    let delivery = east.delivery().await;
    assert_eq!((delivery.waiters.0.len(), delivery.accept_losses), (2, true));
    delivery.published(None);
    assert!(a.await.unwrap().failed.is_none());
    assert!(b.await.unwrap().failed.is_none());

    let third = east.call().await;
    third.send(Err(server_error())).unwrap();
    let delivery = east.delivery().await;
    assert_eq!((delivery.waiters.0.len(), delivery.accept_losses), (1, false));
    delivery.published(None);
    assert_eq!(c.await.unwrap().failed.unwrap().to_string(), server_error().to_string());
    // Nobody else has asked: no further call until the next poll.
    assert!(east.calls.try_recv().is_err());
}

#[tokio::test]
async fn a_request_cuts_poll_and_backoff_short() {
    let mut east = Running::start(NEVER);
    let throttled = PollError::Throttled { code: "RequestLimitExceeded".into() };
    east.call().await.send(Err(throttled)).unwrap();
    east.delivery().await.published(None);
    for n in 0..3 {
        let asked = east.ask(None).await;
        east.call().await.send(one(n)).unwrap();
        east.delivery().await.published(None);
        asked.await.unwrap();
    }
    east.handle.look();
    east.call().await.send(one(9)).unwrap();
    assert!(east.delivery().await.waiters.0.is_empty());
}

/// Whoever hinted knows: what the hinted call shows is told to nobody.
#[tokio::test]
async fn a_hint_has_it_called_and_marks_what_that_shows() {
    let mut east = Running::start(NEVER);
    east.call().await.send(one(1)).unwrap();
    assert!(!east.delivery().await.hinted);
    assert!(east.handle.hint());
    east.call().await.send(one(2)).unwrap();
    assert!(east.delivery().await.hinted);
    east.handle.look();
    let third = east.call().await;
    // One that comes during a call is about the next.
    assert!(east.handle.hint());
    third.send(one(3)).unwrap();
    assert!(!east.delivery().await.hinted);
    east.call().await.send(one(3)).unwrap();
    assert!(east.delivery().await.hinted);
    let asked = east.ask(None).await;
    east.call().await.send(one(3)).unwrap();
    let delivery = east.delivery().await;
    assert!(!delivery.hinted, "the mark does not stay");
    delivery.published(None);
    asked.await.unwrap();
}

/// EC2 asks for fewer calls, and a hint is no operator.
#[test]
fn a_hint_is_a_look_for_the_pace() {
    let mut pending = Pending::default();
    pending.add(Ask::Hint);
    assert_eq!(pending.by(), crate::source::By::Look);
    let (reply, _done) = oneshot::channel();
    pending.add(Ask::Refresh { accept: None, reply });
    assert_eq!(pending.by(), crate::source::By::Refresh);
}

#[tokio::test]
async fn it_goes_on_by_itself_and_tells_health_and_counts() {
    let mut east = Running::start(Duration::from_millis(1));
    east.call().await.send(one(1)).unwrap();
    let delivery = east.delivery().await;
    assert_eq!(delivery.health, Health::Healthy);
    let first = delivery.answer.unwrap().addresses;
    assert_eq!(first.len(), 1);
    east.call().await.send(Err(server_error())).unwrap();
    let stalled = east.delivery().await;
    let Health::Stalled { since, why, .. } = stalled.health else { panic!("{stalled:?}") };
    assert_eq!((since, why), (stalled.at, server_error().to_string()));
    east.call().await.send(Err(server_error())).unwrap();
    let Health::Stalled { since: still, .. } = east.delivery().await.health else { panic!() };
    assert_eq!(still, since);
    east.call().await.send(one(1)).unwrap();
    let healed = east.delivery().await;
    assert_eq!(healed.health, Health::Healthy);
    let again = healed.answer.unwrap().addresses;
    assert!(Arc::ptr_eq(&first[0], &again[0]), "an address that is as before was copied");
    let totals = east.handle.stats().read();
    assert_eq!((totals.polls, totals.failed(Class::Server), totals.failed_in_all()), (4, 2, 2));
    assert_eq!(totals.requests, 8);
    assert!(totals.last_good.is_some_and(|at| at >= since));
}

/// An answer that is equal to the last one is a good answer like any other.
#[tokio::test]
async fn an_equal_answer_delivers_the_last_one() {
    let mut east = Running::start(NEVER);
    let equal = || Ok(Described::Equal);
    // Equal to nothing: no answer at all, rather than one without addresses.
    let asked = east.ask(Some(&Accept::new())).await;
    east.call().await.send(equal()).unwrap();
    let delivery = east.delivery().await;
    let error = delivery.answer.as_ref().unwrap_err();
    assert_eq!((error.class(), delivery.accept_losses), (Class::NotWhole, false));
    delivery.published(None);
    assert!(asked.await.unwrap().failed.is_some());

    let mut asked = Vec::new();
    let mut said = Vec::new();
    // What failed in between is no answer, and changes nothing about the last one.
    for reply in [one(1), equal(), Err(server_error()), equal(), one(2), equal()] {
        let is_good = reply.is_ok();
        let accept = Accept::new();
        asked.push(east.ask(Some(&accept)).await);
        east.call().await.send(reply).unwrap();
        let delivery = east.delivery().await;
        assert_eq!(delivery.accept_losses, is_good, "an operator accepts what an answer shows");
        assert_eq!(delivery.health == Health::Healthy, is_good);
        said.extend(delivery.answer.as_ref().ok().cloned().map(|said| (said, delivery.at)));
        delivery.published(None);
    }
    for asked in asked {
        asked.await.unwrap();
    }
    let same = |a: usize, b: usize| {
        let (a, b): (&Said, &Said) = (&said[a].0, &said[b].0);
        Arc::ptr_eq(&a.addresses, &b.addresses) && Arc::ptr_eq(&a.left_out, &b.left_out)
    };
    assert!(same(0, 1) && same(1, 2) && same(3, 4) && !same(2, 3));
    let totals = east.handle.stats().read();
    assert_eq!((totals.unchanged, totals.polls, totals.failed_in_all()), (3, 7, 2));
    assert_eq!(totals.last_good, Some(said[4].1), "its age begins anew");
}

#[tokio::test]
async fn it_ends_when_one_side_is_gone() {
    let mut east = Running::start(NEVER);
    let call = east.call().await;
    let asked = east.ask(None).await;
    drop(east.handle);
    let ended = tokio::time::timeout(PATIENCE, east.task).await.unwrap();
    assert_eq!(ended.unwrap(), Ended::NoHandle);
    asked.await.unwrap_err();
    assert!(call.is_closed(), "a call under way is dropped");

    let mut east = Running::start(NEVER);
    east.deliveries.close();
    east.call().await.send(one(1)).unwrap();
    assert_eq!(east.task.await.unwrap(), Ended::NoWriter);
    assert_eq!(east.handle.refresh(None).await.unwrap_err(), Gone);
}

#[tokio::test]
async fn throttling_is_told_to_whoever_carries_on() {
    let mut east = Running::start(NEVER);
    assert_eq!(east.handle.throttled(), None);
    let throttled = PollError::Throttled { code: "RequestLimitExceeded".into() };
    for (said, is_throttled) in
        [(Err(throttled), true), (Err(server_error()), true), (one(1), false)]
    {
        let asked = east.ask(None).await;
        east.call().await.send(said).unwrap();
        let delivery = east.delivery().await;
        assert_eq!(east.handle.throttled().is_some(), is_throttled);
        delivery.published(None);
        drop(asked);
    }
}

/// Whoever was told that no call ended may have lost nothing by it.
#[tokio::test]
async fn a_refresh_that_is_given_up_accepts_nothing_afterwards() {
    let mut east = Running::start(NEVER);
    let first = east.call().await;
    let accept = Accept::new();
    let given_up = Box::pin(east.handle.refresh(Some(&accept)));
    assert!(tokio::time::timeout(Duration::ZERO, given_up).await.is_err());
    drop(accept);
    first.send(one(1)).unwrap();
    east.delivery().await.published(None);
    east.call().await.send(one(2)).unwrap();
    let delivery = east.delivery().await;
    assert_eq!((delivery.waiters.0.len(), delivery.accept_losses), (1, false));
    delivery.published(None);
    // Of two who share a call, the one who still waits is enough.
    let [withdrawn, waits] = [Accept::new(), Accept::new()];
    let _both = (east.ask(Some(&waits)).await, east.ask(Some(&withdrawn)).await);
    assert!(withdrawn.withdraw());
    east.call().await.send(one(3)).unwrap();
    assert!(east.delivery().await.accept_losses);
    assert!(!waits.withdraw(), "it is too late for that");
}
