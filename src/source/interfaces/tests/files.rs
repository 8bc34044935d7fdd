//! The interfaces of a file source.

use std::fs;
use std::path::Path;

use super::super::file::FileInterfaces;
use super::*;
use crate::source::interfaces::file::read;

fn listing(last: u8) -> String {
    format!(
        "{{\"NetworkInterfaces\": [{{\"NetworkInterfaceId\": \"eni-0001\", \
         \"Ipv6Addresses\": [{{\"Ipv6Address\": \"2001:db8::{last}\"}}]}}]}}"
    )
}

struct Follows {
    handle: Handle,
    told: mpsc::Receiver<Told>,
    task: JoinHandle<Ended>,
}

impl Follows {
    fn start(path: &Path) -> Self {
        let (tell, told) = mpsc::channel(16);
        let (task, handle) = FileInterfaces::new(Setup::new(3, "a", Clock::start(), tell), path);
        Self { handle, told, task: tokio::spawn(task.run()) }
    }

    async fn told(&mut self) -> Told {
        soon(self.told.recv()).await
    }

    /// The last number of the one address that is told.
    async fn last(&mut self) -> u16 {
        let told = self.told().await;
        assert_eq!((told.source, told.asked), (3, None), "a change tells of all there are");
        let [interface] = &told.answer.unwrap()[..] else { panic!("one interface") };
        interface.addresses[0].segments()[7]
    }
}

#[tokio::test]
async fn a_file_is_told_whenever_it_changes_and_half_of_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("interfaces.json");
    fs::write(&path, listing(1)).unwrap();
    let mut follows = Follows::start(&path);
    assert_eq!(follows.last().await, 1);
    fs::write(&path, "{").unwrap();
    fs::write(&path, listing(2)).unwrap();
    assert_eq!(follows.last().await, 2);
    assert_eq!(follows.handle.stats().read().failed_in_all(), 0);
    let new = dir.path().join("new.json");
    fs::write(&new, listing(3)).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(follows.last().await, 3);
    // Whoever wants others may not know what stands there.
    follows.handle.want(&wanted([1, 2]));
    let told = follows.told().await;
    assert_eq!(told.asked, Some(wanted([1, 2])));
    assert_eq!(told.answer.unwrap()[0].addresses[0].segments()[7], 3);
    // One less is no reason to tell of anything.
    follows.handle.want(&wanted([1]));
    follows.handle.want(&wanted([1, 5]));
    let told = follows.told().await;
    assert_eq!((told.asked, told.answer.unwrap()), (Some(wanted([5])), vec![]));
    drop(follows.handle);
    assert_eq!(follows.task.await.unwrap(), Ended::NoHandle);
}

#[tokio::test]
async fn a_file_that_is_missing_or_bad_fails_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("interfaces.json");
    let mut follows = Follows::start(&path);
    let missing = follows.told().await;
    let error = missing.answer.unwrap_err();
    assert_eq!(error.class(), Class::File, "{error}");
    let failing = follows.handle.stats().read().failing.unwrap();
    assert_eq!(failing.since, missing.at);
    follows.handle.want(&wanted([1]));
    fs::write(&path, listing(1)).unwrap();
    assert_eq!(follows.last().await, 1);
    fs::write(&path, "{\"Addresses\": []}").unwrap();
    let error = follows.told().await.answer.unwrap_err();
    assert_eq!(error.class(), Class::NotWhole);
    assert!(error.to_string().contains("there is no \"NetworkInterfaces\" key"), "{error}");
    // Nothing is told of it again while it is bad.
    follows.handle.want(&wanted([1, 2]));
    fs::write(&path, listing(1)).unwrap();
    assert_eq!(follows.last().await, 1);
    let totals = follows.handle.stats().read();
    assert!(totals.failing.is_none() && totals.failed(Class::NotWhole) > 0, "{totals:?}");
}

#[test]
fn a_file_is_read_once_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("interfaces.json");
    let error = read(&path).unwrap_err().to_string();
    assert!(error.contains("cannot read "), "{error}");
    fs::write(&path, listing(7)).unwrap();
    assert_eq!(read(&path).unwrap().interfaces[0].addresses[0].segments()[7], 7);
}
