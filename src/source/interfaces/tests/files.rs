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

    fn missing(&self) -> Missing {
        self.handle.stats().read().missing
    }

    /// The last number of the one address that is told.
    async fn last(&mut self, asked: &Wanted) -> u16 {
        let told = self.told().await;
        assert_eq!((told.source, &told.asked), (3, asked));
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
    let told = follows.told().await;
    assert_eq!((told.asked, told.answer.unwrap()), (wanted([]), vec![]), "nothing is wanted");
    follows.handle.want(&wanted([1]));
    assert_eq!(follows.last(&wanted([1])).await, 1);
    fs::write(&path, "{").unwrap();
    fs::write(&path, listing(2)).unwrap();
    assert_eq!(follows.last(&wanted([1])).await, 2);
    assert_eq!(follows.handle.stats().read().failed_in_all(), 0);
    let new = dir.path().join("new.json");
    fs::write(&new, listing(3)).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(follows.last(&wanted([1])).await, 3);
    // Whoever wants others may not know what stands there.
    follows.handle.want(&wanted([2]));
    let told = follows.told().await;
    assert_eq!((told.asked, told.answer.unwrap()), (wanted([2]), vec![]));
    assert_eq!(follows.missing(), Missing { count: 1, first: vec![id(2).to_string()] });
    follows.handle.want(&wanted([1, 2]));
    assert_eq!(follows.last(&wanted([1])).await, 3);
    // One less is no reason to tell of anything.
    follows.handle.want(&wanted([1]));
    follows.handle.want(&wanted([1, 5]));
    let told = follows.told().await;
    assert_eq!((told.asked, told.answer.unwrap()), (wanted([5]), vec![]));
    assert_eq!(follows.missing(), Missing { count: 1, first: vec![id(5).to_string()] });
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
    assert_eq!(follows.last(&wanted([1])).await, 1);
    fs::write(&path, "{\"Addresses\": []}").unwrap();
    let error = follows.told().await.answer.unwrap_err();
    assert_eq!(error.class(), Class::NotWhole);
    assert!(error.to_string().contains("there is no \"NetworkInterfaces\" key"), "{error}");
    // Nothing is told of it again while it is bad.
    follows.handle.want(&wanted([1, 2]));
    fs::write(&path, listing(1)).unwrap();
    assert_eq!(follows.last(&wanted([1, 2])).await, 1);
    let totals = follows.handle.stats().read();
    assert!(totals.failing.is_none() && totals.failed(Class::NotWhole) > 0, "{totals:?}");
}

/// The writer looks at each interface that it is told of.
#[tokio::test]
async fn of_a_large_file_only_what_is_wanted_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("interfaces.json");
    let large = |last: u8| {
        let items: Vec<_> = (0..20_000)
            .map(|n| {
                let bad = if n == 3 { "fe80::" } else { "2001:db8::" };
                format!(
                    "{{\"NetworkInterfaceId\": \"{}\", \"Ipv6Addresses\": \
                     [{{\"Ipv6Address\": \"{bad}{last}\"}}]}}",
                    id(n)
                )
            })
            .collect();
        format!("{{\"NetworkInterfaces\": [{}]}}", items.join(","))
    };
    fs::write(&path, large(1)).unwrap();
    let mut follows = Follows::start(&path);
    assert_eq!(follows.told().await.answer.unwrap(), vec![]);
    let all = wanted([2, 3, 7, 30_000]);
    follows.handle.want(&all);
    let ids = |told: Told| told.answer.unwrap().into_iter().map(|i| i.id).collect::<Vec<_>>();
    assert_eq!(ids(follows.told().await), [id(2), id(7)]);
    // What cannot be used is in the file.
    assert_eq!(follows.missing(), Missing { count: 1, first: vec![id(30_000).to_string()] });
    let new = dir.path().join("new.json");
    fs::write(&new, large(2)).unwrap();
    fs::rename(&new, &path).unwrap();
    let told = follows.told().await;
    assert_eq!(told.asked, all);
    assert_eq!(ids(told), [id(2), id(7)]);
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
