//! The tasks, with scripted answers of EC2.

mod files;
#[cfg(feature = "virtual-clock")]
mod timing;

use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::asker::Asker;
use super::post::{Handle, Setup};
use super::stats::Missing;
use super::usable::Unusable;
use super::*;
use crate::source::Ended;
use crate::source::clock::Clock;
use crate::source::error::Class;

const PATIENCE: Duration = Duration::from_secs(60);

type Reply = Result<Described, PollError>;

/// A call that waits for the test's answer.
struct Call {
    ids: Vec<InterfaceId>,
    answer: oneshot::Sender<Reply>,
}

impl Call {
    /// Each interface has one address.
    fn well(self) {
        let interfaces = self.ids.iter().map(interface).collect();
        self.reply(Ok(Described { interfaces, ..Described::default() }));
    }

    fn fails(self, error: PollError) {
        self.reply(Err(error));
    }

    fn reply(self, reply: Reply) {
        self.answer.send(reply).expect("the task waits for it");
    }
}

/// Each call is handed to the test, which answers it.
struct Script {
    calls: mpsc::Sender<Call>,
    requests: u64,
}

impl DescribeInterfaces for Script {
    fn describe<'c>(&'c mut self, ids: &'c [InterfaceId]) -> BoxFuture<'c, Reply> {
        let (answer, said) = oneshot::channel();
        self.requests += 2;
        Box::pin(async move {
            self.calls.send(Call { ids: ids.to_vec(), answer }).await.unwrap();
            said.await.unwrap()
        })
    }

    /// Each answer has two pages.
    fn requests(&self) -> u64 {
        self.requests
    }
}

struct Running {
    handle: Handle,
    calls: mpsc::Receiver<Call>,
    told: mpsc::Receiver<Told>,
    task: JoinHandle<Ended>,
}

async fn soon<T>(future: impl Future<Output = Option<T>>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time").expect("still running")
}

impl Running {
    fn start() -> Self {
        let (calls_in, calls) = mpsc::channel(1);
        let (tell, told) = mpsc::channel(4);
        let setup = Setup::new(3, "east", Clock::start(), tell);
        let (asker, handle) = Asker::new(setup, Box::new(Script { calls: calls_in, requests: 0 }));
        Self { handle, calls, told, task: tokio::spawn(asker.run()) }
    }

    fn want(&self, numbers: impl IntoIterator<Item = usize>) {
        self.handle.want(&wanted(numbers));
    }

    async fn call(&mut self) -> Call {
        soon(self.calls.recv()).await
    }

    async fn told(&mut self) -> Told {
        soon(self.told.recv()).await
    }

    /// Answers the next call well; gives for how many interfaces it was.
    async fn well(&mut self) -> usize {
        let call = self.call().await;
        let asked = call.ids.len();
        call.well();
        let told = self.told().await;
        assert_eq!(told.asked.len(), asked);
        assert_eq!(told.answer.unwrap().len(), asked);
        asked
    }
}

fn id(number: usize) -> InterfaceId {
    format!("eni-{number:04}").into()
}

fn wanted(numbers: impl IntoIterator<Item = usize>) -> Wanted {
    numbers.into_iter().map(id).collect::<BTreeSet<_>>().into()
}

fn interface(id: &InterfaceId) -> Interface {
    let addresses = vec!["2001:db8::1".parse().unwrap()];
    Interface { id: Arc::clone(id), addresses, primary: None }
}

fn throttled() -> PollError {
    PollError::Throttled { code: "RequestLimitExceeded".into() }
}

fn not_whole() -> PollError {
    PollError::NotWhole { what: "the XML ends too early".into() }
}

#[tokio::test]
async fn what_is_wanted_is_asked_for_at_once_and_told() {
    let mut east = Running::start();
    east.want([1, 2]);
    let call = east.call().await;
    assert_eq!(call.ids, [id(1), id(2)]);
    // One of them is not in the answer, and not known to be anything.
    let interfaces = vec![interface(&id(1))];
    call.reply(Ok(Described { interfaces: interfaces.clone(), ..Described::default() }));
    let told = east.told().await;
    assert_eq!((told.source, told.asked), (3, wanted([1, 2])));
    assert_eq!(told.answer.unwrap(), interfaces);
    let totals = east.handle.stats().read();
    assert_eq!((totals.requests, totals.rounds, totals.failed_in_all()), (2, 1, 0));
    assert_eq!((totals.last_good, totals.failing), (Some(told.at), None));
    assert_eq!(totals.missing, Missing { count: 1, first: vec![id(2).to_string()] });

    // Only what is new is asked for, and bursts together: one call is under way at a time.
    east.want([1, 3]);
    let call = east.call().await;
    assert_eq!(call.ids, [id(3)]);
    for last in 4..20 {
        east.want(1..=last);
    }
    // The same again says nothing.
    east.want(1..20);
    call.well();
    assert_eq!(east.told().await.asked, wanted([3]));
    let call = east.call().await;
    assert_eq!(call.ids.len(), 17, "2 was not wanted meanwhile");
    call.well();
    east.told().await;
    assert!(east.calls.try_recv().is_err());
    assert_eq!(east.handle.stats().read().missing, Missing::default());
}

#[tokio::test]
async fn many_are_asked_for_in_parts_and_a_failing_part_takes_none_of_the_others() {
    let mut east = Running::start();
    east.want(0..450);
    let first = east.call().await;
    assert_eq!(first.ids.len(), MAX_IDS);
    first.well();
    let told = east.told().await;
    assert_eq!((told.asked, told.answer.unwrap().len()), (wanted(0..200), 200), "at once");
    let good_at = east.handle.stats().read().last_good;
    assert_eq!(good_at, Some(told.at));
    let second = east.call().await;
    assert_eq!(second.ids, (200..400).map(id).collect::<Vec<_>>());
    second.fails(not_whole());
    let failed = east.told().await;
    assert_eq!(failed.asked, wanted(200..400));
    assert_eq!(failed.answer.unwrap_err().class(), Class::NotWhole);
    let third = east.call().await;
    assert_eq!(third.ids.len(), 50);
    third.well();
    assert_eq!(east.told().await.answer.unwrap().len(), 50);
    let totals = east.handle.stats().read();
    assert_eq!((totals.rounds, totals.failed(Class::NotWhole), totals.requests), (3, 1, 6));
    assert_eq!(totals.last_good, good_at, "not all is good");
    let failing = totals.failing.unwrap();
    assert_eq!((failing.since, failing.class), (failed.at, Class::NotWhole));
    assert!(failing.why.contains("the XML ends too early"), "{failing:?}");

    // Those of which nothing was said are asked for again, and no others.
    assert_eq!(east.well().await, 200);
    let totals = east.handle.stats().read();
    assert_eq!((totals.failing, totals.rounds), (None, 4));
    // All that are wanted were asked for: what is known of others is not needed any longer.
    let told = east.told().await;
    assert_eq!((told.asked, told.answer.unwrap()), (wanted(0..450), vec![]));
}

#[tokio::test]
async fn trouble_that_is_that_of_every_call_ends_the_round() {
    let mut east = Running::start();
    east.want(0..450);
    assert_eq!(east.well().await, 200);
    east.call().await.fails(throttled());
    let told = east.told().await;
    assert_eq!(told.asked, wanted(200..400));
    assert_eq!(told.answer.unwrap_err().class(), Class::Throttled);
    assert!(east.handle.throttled().is_some());
    assert!(east.calls.try_recv().is_err());
}

#[tokio::test]
async fn a_new_interface_waits_for_the_call_under_way_and_no_other() {
    let mut east = Running::start();
    east.want(0..4000);
    let call = east.call().await;
    east.want((0..4000).chain([9000]));
    call.well();
    assert_eq!(east.told().await.answer.unwrap().len(), MAX_IDS);
    let call = east.call().await;
    assert!(call.ids.contains(&id(9000)), "{:?}", call.ids);
    call.well();
    assert!(east.told().await.answer.unwrap().contains(&interface(&id(9000))));
}

#[tokio::test]
async fn what_cannot_be_used_is_shown() {
    let mut east = Running::start();
    east.want([1, 2]);
    let call = east.call().await;
    let why = Unusable::BadAddress { id: "eni-0002".into(), text: "x".into() };
    let left_out = LeftOut { count: 1, first: vec![why.clone()] };
    let (interfaces, unusable) = (vec![interface(&id(1))], vec![id(2)]);
    call.reply(Ok(Described { interfaces, unusable, left_out: left_out.clone() }));
    east.told().await;
    let totals = east.handle.stats().read();
    assert_eq!((totals.left_out, totals.missing), (left_out.clone(), Missing::default()));
    // What another call says takes nothing of that back.
    east.want([1, 2, 3]);
    east.well().await;
    assert_eq!(east.handle.stats().read().left_out, left_out);
}

/// Nobody would ask again, and what failed for somebody would be shown for ever.
#[tokio::test]
async fn once_nothing_is_wanted_nothing_fails() {
    let mut east = Running::start();
    east.want(0..200);
    east.call().await.fails(not_whole());
    east.told().await.answer.unwrap_err();
    assert!(east.handle.stats().read().failing.is_some());
    east.want([]);
    while east.handle.stats().read().failing.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(east.calls.try_recv().is_err());
    assert_eq!(east.handle.stats().read().failed_in_all(), 1, "it is counted");
}

#[tokio::test]
async fn it_ends_when_one_side_is_gone() {
    let mut east = Running::start();
    east.want([1]);
    let call = east.call().await;
    drop(east.handle);
    assert_eq!(east.task.await.unwrap(), Ended::NoHandle);
    assert!(call.answer.is_closed(), "a call under way is dropped");

    let east = Running::start();
    drop(east.handle);
    assert_eq!(east.task.await.unwrap(), Ended::NoHandle, "nothing was ever wanted");

    let mut east = Running::start();
    east.told.close();
    east.want([1]);
    east.call().await.well();
    assert_eq!(east.task.await.unwrap(), Ended::NoWriter);
}

#[test]
fn an_address_stays_while_the_interface_has_it() {
    let ip = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    let eni = |addresses: &[u16], primary: Option<u16>| Interface {
        id: id(1),
        addresses: addresses.iter().copied().map(ip).collect(),
        primary: primary.map(ip),
    };
    let mut chosen = Chosen::default();
    assert_eq!(chosen.get("eni-0001"), None);
    for (addresses, primary, expected) in [
        (&[7, 5, 9][..], None, Some(5)),
        (&[3, 5], None, Some(5)),
        (&[3, 5, 8], Some(8), Some(8)),
        (&[3, 8], None, Some(8)),
        (&[3, 4], None, Some(3)),
        (&[], None, None),
        (&[10, 2], None, Some(2)),
    ] {
        chosen.hear(&[eni(addresses, primary)]);
        assert_eq!(chosen.get("eni-0001"), Some(expected.map(ip)), "{addresses:?}");
        // An answer without it says nothing of it.
        chosen.hear(&[]);
        assert_eq!(chosen.get("eni-0001"), Some(expected.map(ip)));
    }
}
