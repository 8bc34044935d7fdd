use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::mpsc;

use super::following::{AGAIN, contents, octets};
use super::judge::Judge;
use super::*;
use crate::host::aside::{Aside, Place};
use crate::source::Accept;
use crate::source::clock::Clock;
use crate::source::inventory::Health;
use crate::source::{Delivery, Gone};

const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than a reading takes that does not hang.
const SOON: Duration = Duration::from_millis(500);

fn listing(last: u8) -> String {
    format!("{{\"Addresses\": [{{\"PublicIp\": \"75.101.137.{last}\"}}]}}")
}

fn last_octet(answer: &Answer) -> Option<u8> {
    answer.as_ref().ok()?.addresses.first().and_then(|a| a.public_ip()).map(|ip| ip.octets()[3])
}

struct Running {
    handle: Handle,
    deliveries: mpsc::Receiver<Delivery>,
    task: tokio::task::JoinHandle<Ended>,
}

fn start(path: &Path) -> Running {
    start_with(path, |_| {})
}

fn start_with(path: &Path, change: impl FnOnce(&mut FileSource)) -> Running {
    let (deliver, deliveries) = mpsc::channel(16);
    let (mut source, handle) = FileSource::new(
        Setup::new(0, "sample", Clock::start(), deliver),
        Some("us-east-1".into()),
        path.to_owned(),
    );
    change(&mut source);
    Running { handle, deliveries, task: tokio::spawn(source.run()) }
}

impl Running {
    async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(PATIENCE, self.deliveries.recv());
        next.await.expect("nothing was delivered").expect("the source has ended")
    }
}

#[tokio::test]
async fn edits_of_every_kind_are_delivered_and_half_of_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("addresses.json");
    fs::write(&path, listing(1)).unwrap();
    let mut source = start(&path);
    let first = source.next().await;
    assert_eq!(last_octet(&first.answer), Some(1));
    assert_eq!(first.health, Health::Healthy);
    assert_eq!(first.region.as_deref(), Some("us-east-1"));

    // Truncate and write, with a pause in the middle that is shorter than
    // the time allowed.
    fs::write(&path, "").unwrap();
    tokio::time::sleep(AGAIN).await;
    fs::write(&path, listing(2)).unwrap();
    let second = source.next().await;
    assert_eq!((last_octet(&second.answer), second.health), (Some(2), Health::Healthy));

    let new = dir.path().join("new.json");
    fs::write(&new, listing(3)).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(last_octet(&source.next().await.answer), Some(3));

    fs::write(dir.path().join("four.json"), listing(4)).unwrap();
    symlink("four.json", &new).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(last_octet(&source.next().await.answer), Some(4));

    fs::write(dir.path().join("four.json"), listing(5)).unwrap();
    assert_eq!(last_octet(&source.next().await.answer), Some(5));
    assert_eq!(source.handle.stats().read().failed_in_all(), 0);
}

#[tokio::test]
async fn a_bad_file_stalls_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/addresses.json");
    let mut source = start(&path);
    let none = source.next().await;
    let said = none.answer.unwrap_err().to_string();
    assert!(said.starts_with("cannot read ") && said.contains("No such file"), "{said}");
    let Health::Stalled { since, .. } = none.health else { panic!("{:?}", none.health) };

    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, listing(1)).unwrap();
    let good = source.next().await;
    assert_eq!((last_octet(&good.answer), good.health), (Some(1), Health::Healthy));
    assert!(good.at >= since);

    fs::write(&path, "{\"Addresses\": [").unwrap();
    let half = source.next().await;
    let Health::Stalled { why, .. } = half.health else { panic!("{:?}", half.health) };
    assert!(why.ends_with("the JSON ends too early; is it still being written?"), "{why}");

    // The same contents as before the trouble count as news.
    fs::write(&path, listing(1)).unwrap();
    let healed = source.next().await;
    assert_eq!((last_octet(&healed.answer), healed.health), (Some(1), Health::Healthy));

    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    assert!(matches!(source.next().await.health, Health::Stalled { .. }));
}

#[tokio::test]
async fn a_refresh_is_answered_once_published() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("addresses.json");
    fs::write(&path, listing(1)).unwrap();
    let mut source = start(&path);
    source.next().await.published(None);

    let handle = source.handle.clone();
    let asked = tokio::spawn(async move { handle.refresh(Some(&Accept::new())).await });
    let delivery = source.next().await;
    assert!(delivery.accept_losses);
    assert!(!asked.is_finished());
    delivery.published(None);
    assert!(asked.await.unwrap().unwrap().failed.is_none());

    // Not published: the server goes down.
    let handle = source.handle.clone();
    let asked = tokio::spawn(async move { handle.refresh(None).await });
    drop(source.next().await);
    assert_eq!(asked.await.unwrap().unwrap_err(), Gone);

    drop(source.handle);
    assert_eq!(source.task.await.unwrap(), Ended::NoHandle);
}

/// Readings that hang while it is closed.
#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
    }
}

/// A source whose readings of links hang at the gate.
fn start_at(gate: &Arc<Gate>, path: &Path) -> Running {
    let gate = Arc::clone(gate);
    start_with(path, |source| {
        source.file.reading = Aside::new(Place::read(&source.file.path), SOON);
        source.file.octets = Arc::new(move |path| {
            if path.is_symlink() {
                gate.pass();
            }
            octets(path)
        });
    })
}

#[tokio::test]
async fn a_reading_that_hangs_stalls_the_source_and_another_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("addresses.json");
    fs::write(dir.path().join("far.json"), listing(1)).unwrap();
    symlink("far.json", &path).unwrap();
    let gate = Arc::new(Gate::default());
    let mut source = start_at(&gate, &path);
    let first = source.next().await;
    assert_eq!((last_octet(&first.answer), first.health), (Some(1), Health::Healthy));

    gate.set(true);
    let handle = source.handle.clone();
    let asked = tokio::spawn(async move { handle.refresh(None).await });
    let hangs = source.next().await;
    let Health::Stalled { why, since, .. } = &hangs.health else { panic!("{:?}", hangs.health) };
    assert_eq!(
        *why,
        format!(
            "reading {} does not end: nothing for 500ms; mend its disk, mount or file server, \
             or put another file there",
            path.display()
        )
    );
    assert!(*since > first.at);
    let stats = source.handle.stats().read();
    assert_eq!(stats.failed(crate::source::error::Class::Timeout), 1, "{stats:?}");
    hangs.published(None);
    assert!(asked.await.unwrap().unwrap().failed.is_some());

    // A good one in its place is read although the other reading hangs.
    let new = dir.path().join("new.json");
    fs::write(&new, listing(2)).unwrap();
    fs::rename(&new, &path).unwrap();
    let good = source.next().await;
    assert_eq!((last_octet(&good.answer), good.health), (Some(2), Health::Healthy));
    // And what the other one brings in the end is older than that.
    gate.set(false);
    let handle = source.handle.clone();
    let asked = tokio::spawn(async move { handle.refresh(None).await });
    assert_eq!(last_octet(&source.next().await.answer), Some(2));
    drop(asked);
}

#[tokio::test]
async fn a_reading_that_ends_late_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("addresses.json");
    fs::write(dir.path().join("far.json"), listing(1)).unwrap();
    symlink("far.json", &path).unwrap();
    let gate = Arc::new(Gate::default());
    gate.set(true);
    let mut source = start_at(&gate, &path);
    assert!(matches!(source.next().await.health, Health::Stalled { .. }));
    gate.set(false);
    let late = source.next().await;
    assert_eq!((last_octet(&late.answer), late.health), (Some(1), Health::Healthy));
}

#[tokio::test]
async fn a_file_that_stays_as_it_is_does_not_grow_old() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("addresses.json");
    fs::write(&path, listing(1)).unwrap();
    let mut source = start(&path);
    let first = source.next().await;
    let second = source.next().await;
    assert!(second.at >= first.at + STILL);
    let (Ok(first), Ok(second)) = (first.answer, second.answer) else { panic!("both good") };
    assert!(
        Arc::ptr_eq(&first.addresses, &second.addresses),
        "the same memory: nothing to be compared"
    );
    assert_eq!(source.handle.stats().read().failed_in_all(), 0);
}

#[test]
fn what_a_look_means() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut judge = Judge::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    let mut look = |octets: &str, ms| {
        judge.judge(contents::<Listing>(&path, octets.as_bytes(), judge.known()), at(ms))
    };
    let new = |v: Option<Look<_>>| matches!(v, Some(Look::New(Ok(_))));
    let same = |v: Option<Look<_>>| matches!(v, Some(Look::Same(Ok(_))));
    let again = |v: Option<Look<Listing>>| v.is_none();
    let (one, two) = (listing(1), listing(2));
    assert!(new(look(&one, 0)));
    assert!(same(look(&one, 1)));
    // Bad for a moment: nothing is told, then or later.
    assert!(again(look("", 2)));
    assert!(same(look(&one, 3)));
    // Bad for longer: told once; the clock starts with the first bad look.
    assert!(again(look("", 500)));
    assert!(again(look("{", 699)));
    assert!(matches!(look("{", 700), Some(Look::New(Err(_)))));
    assert!(matches!(look("{", 800), Some(Look::Same(Err(_)))));
    assert!(matches!(look("[", 900), Some(Look::New(Err(_)))));
    // What was told before it was bad is news.
    assert!(new(look(&one, 901)));
    assert!(new(look(&two, 902)));
    assert!(same(look(&two, 903)));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let said = read(dir.path()).unwrap_err().to_string();
    assert!(said.ends_with("it is not a regular file"), "{said}");
    let path = dir.path().join("a.json");
    fs::write(&path, listing(7)).unwrap();
    assert_eq!(read(&path).unwrap().addresses[0].public_ip().unwrap().octets()[3], 7);
}
