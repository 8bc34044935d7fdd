use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Condvar, Mutex};

use super::*;

/// Longer than any event takes, shorter than a test may hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// A watch that has looked once. Its slow look is beyond any patience:
/// only events count.
async fn ready(path: &Path) -> Watch {
    let mut watch = Watch::new(path);
    watch.rescan = PATIENCE * 10;
    watch.changed().await;
    assert_eq!(watch.polling(), None);
    watch
}

/// Looks after each event until `seen` is true.
async fn until(watch: &mut Watch, mut seen: impl FnMut() -> bool) {
    let look = async {
        while !seen() {
            watch.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("the change was never told");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn writes_renames_and_removals_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    let mut watch = ready(&path).await;
    fs::write(&path, "1").unwrap();
    until(&mut watch, || read(&path) == "1").await;
    let other = dir.path().join(".a.json.swp");
    fs::write(&other, "2").unwrap();
    fs::rename(&other, &path).unwrap();
    until(&mut watch, || read(&path) == "2").await;
    fs::remove_file(&path).unwrap();
    until(&mut watch, || !path.exists()).await;
}

#[tokio::test]
async fn neither_looking_nor_a_neighbour_is_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, "1").unwrap();
    let mut watch = ready(&path).await;
    let other = dir.path().join(".a.json.swp");
    for _ in 0..10 {
        read(&path);
        fs::read_dir(dir.path()).unwrap().for_each(drop);
        fs::write(&other, "2").unwrap();
    }
    // Events come in order: the first one told is that of the rename.
    let first = async {
        watch.changed().await;
        read(&path)
    };
    let (first, ()) = tokio::join!(tokio::time::timeout(PATIENCE, first), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        fs::rename(&other, &path).unwrap();
    });
    assert_eq!(first.expect("the rename was never told"), "2");
}

#[tokio::test]
async fn a_directory_on_the_way_may_be_renamed_behind_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for version in ["v1", "v2"] {
        fs::create_dir_all(at(version).join("data")).unwrap();
        fs::write(at(version).join("data/a.json"), version).unwrap();
    }
    symlink("v1", at("current")).unwrap();
    let path = at("current/data/a.json");
    let mut watch = ready(&path).await;
    fs::rename(at("v1"), at("old")).unwrap();
    fs::rename(at("v2"), at("v1")).unwrap();
    until(&mut watch, || read(&path) == "v2").await;
}

#[tokio::test]
async fn a_config_map_swap_is_told_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let swap = |version: &str, text: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("a.json"), text).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    swap("..1", "1");
    symlink("..data/a.json", at("a.json")).unwrap();
    let path = at("a.json");
    let mut watch = ready(&path).await;
    let mut before: Option<String> = Some("..1".into());
    for version in ["..2", "..3", "..4"] {
        swap(version, version);
        until(&mut watch, || read(&path) == version).await;
        // As the kubelet does: the old version goes afterwards.
        if let Some(old) = before.replace(version.into()) {
            fs::remove_dir_all(at(&old)).unwrap();
        }
    }
    // And in place, behind both links.
    fs::write(at("..4").join("a.json"), "5").unwrap();
    until(&mut watch, || read(&path) == "5").await;
}

#[tokio::test]
async fn directories_on_the_way_may_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x/y/a.json");
    let mut watch = ready(&path).await;
    for round in ["1", "2", "3"] {
        fs::create_dir_all(dir.path().join("x/y")).unwrap();
        fs::write(&path, round).unwrap();
        until(&mut watch, || read(&path) == round).await;
        fs::remove_dir_all(dir.path().join("x")).unwrap();
        until(&mut watch, || !path.exists()).await;
    }
    fs::create_dir_all(dir.path().join("new/y")).unwrap();
    fs::write(dir.path().join("new/y/a.json"), "moved").unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("x")).unwrap();
    until(&mut watch, || read(&path) == "moved").await;
}

#[tokio::test]
async fn a_directory_stands_for_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let zones = dir.path().join("zones");
    fs::create_dir(&zones).unwrap();
    let mut watch = Watch::entries(&zones, ".toml");
    watch.rescan = PATIENCE * 10;
    watch.changed().await;
    // The second and third are told only if the directory that took the
    // place of the first is watched in turn.
    for round in ["1", "2", "3"] {
        let file = zones.join("example.com.toml");
        fs::write(&file, round).unwrap();
        tokio::time::timeout(PATIENCE, watch.changed()).await.expect("no event");
        fs::rename(&zones, dir.path().join(round)).unwrap();
        fs::create_dir(&zones).unwrap();
        drain(&mut watch).await;
    }
}

/// Looks until all events so far are told.
async fn drain(watch: &mut Watch) {
    while tokio::time::timeout(Duration::from_millis(100), watch.changed()).await.is_ok() {}
}

#[tokio::test]
async fn without_events_the_contents_are_polled_until_they_are_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    let mut watch = Watch::new(&path);
    watch.rescan = PATIENCE * 10;
    watch.make = |_, _| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
    watch.changed().await;
    assert_eq!(watch.polling().as_deref(), Some("OS file watch limit reached."));
    fs::write(&path, "1").unwrap();
    until(&mut watch, || read(&path) == "1").await;
    assert!(watch.polling().is_some());
    watch.make = watcher;
    watch.changed().await;
    assert_eq!(watch.polling(), None);
    fs::write(&path, "2").unwrap();
    until(&mut watch, || read(&path) == "2").await;
}

#[tokio::test]
async fn a_walk_that_hangs_holds_nothing_up() {
    static HANGS: Mutex<bool> = Mutex::new(true);
    static GOES_ON: Condvar = Condvar::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    let mut watch = Watch::new(&path);
    watch.rescan = PATIENCE * 10;
    watch.walking = Aside::new(Place::watch(&path), Duration::from_millis(500));
    watch.make = |tell, ways| {
        drop(GOES_ON.wait_while(HANGS.lock().unwrap(), |hangs| *hangs).unwrap());
        watcher(tell, ways)
    };
    // Time to look all the same, and each second.
    assert_eq!(watch.changed().await, Cause::Told);
    assert!(watch.polling().unwrap().starts_with("does not end: nothing for 500ms"), "{watch:?}");
    assert_eq!(watch.changed().await, Cause::Time);
    assert_eq!(watch.polling().as_deref(), Some("does not end: an earlier attempt hangs"));
    // Something else to watch is a reason for another attempt, which ends.
    watch.make = watcher;
    watch.set_files(vec![dir.path().join("b.json")]);
    assert_eq!(watch.changed().await, Cause::Told);
    assert_eq!(watch.polling(), None);
    fs::write(dir.path().join("b.json"), "1").unwrap();
    assert_eq!(watch.changed().await, Cause::Told);
    *HANGS.lock().unwrap() = false;
    GOES_ON.notify_all();
}

#[tokio::test]
async fn other_files_are_watched_though_a_walk_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut watch = Watch::new(&dir.path().join("a.json"));
    watch.rescan = PATIENCE * 10;
    // Cancelled while it walks.
    assert!(futures_util::FutureExt::now_or_never(watch.changed()).is_none());
    watch.set_files(vec![dir.path().join("b.json")]);
    watch.changed().await;
    fs::write(dir.path().join("b.json"), "1").unwrap();
    let told = tokio::time::timeout(PATIENCE, watch.changed());
    assert_eq!(told.await.expect("no event"), Cause::Told);
}

#[tokio::test]
async fn a_slow_look_comes_without_any_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut watch = ready(&dir.path().join("a.json")).await;
    watch.rescan = Duration::from_millis(1);
    watch.due = Some(Cause::Time);
    for _ in 0..3 {
        tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap();
    }
}
