//! The directory: locked, written, read; `versions` looks at the two versions.

mod versions;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::super::ZoneSerial;
use super::super::format::tests::{sealed, small};
use super::aside::KEEP_ASIDE;
use super::*;
use crate::config::{Ec2Source, SourceKind};
use crate::diag::Place;
use crate::dns::serial::is_later;
use crate::source::successor;

/// Opens a store that is free. A process that another test has just forked has
/// all our descriptors, locks with them, until it executes its program.
fn open(directory: &Path) -> Store {
    for _ in 0..1_000 {
        match Store::open(directory) {
            Err(OpenError::InUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays in use", directory.display());
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_340_000 + seconds)
}

fn source(name: &str, region: &str) -> Source {
    Source {
        name: name.to_owned(),
        kind: SourceKind::Ec2(Ec2Source {
            poll: Duration::from_secs(2),
            endpoint_url: None,
            profile: None,
            role_arn: None,
            external_id: None,
            account: None,
            filters: BTreeMap::new(),
        }),
        region: Some(region.to_owned()),
        public_suffix: None,
        ttl: 5,
        place: Place::file(Path::new("server.toml")),
    }
}

/// The small state, of the source `east`, with a serial of its own.
fn state(serial: u32) -> State {
    let mut state = small();
    Arc::make_mut(&mut state.serials)
        .zones
        .insert("example.net".into(), ZoneSerial { serial, digest: "aa".into() });
    let east = state.sources.get_mut("east").unwrap();
    east.of = successor::fingerprint(&source("east", "us-east-1"));
    state
}

fn found(directory: &Path) -> Option<State> {
    let mut store = open(directory);
    assert!(store.trouble().is_none());
    store.load(&[source("east", "us-east-1")]).unwrap().map(|loaded| {
        assert!(loaded.mismatched.is_empty() && loaded.carried.is_empty());
        loaded.state
    })
}

/// What is in a directory once state was saved.
const ALL: [&str; 3] = [LOCK_FILE, SECOND, FIRST];

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_saved_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("a/b");
    assert_eq!(found(&directory), None);
    let mut store = open(&directory);
    assert_eq!(store.save(&state(1), at(0), Drift::NONE).unwrap(), Saved::Written);
    drop(store);
    assert_eq!(found(&directory), Some(state(1)));
    assert_eq!(names(&directory), ALL);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let modes = (mode(&directory), mode(&directory.join(FIRST)));
    assert_eq!(modes, (0o700, 0o600));
    assert_eq!(mode(&directory.join(SECOND)), 0o600);
}

/// The state with this serial, and its source heard of at this second.
fn delivered(serial: u32, seconds: u64) -> State {
    let mut state = state(serial);
    state.sources.get_mut("east").unwrap().delivered_at = at(seconds);
    state
}

#[test]
fn it_is_written_when_it_says_something_new() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let octets = || [FIRST, SECOND].map(|name| fs::read(dir.path().join(name)).unwrap());
    let save = |store: &mut Store, state: &State, seconds| {
        store.save(state, at(seconds), Drift::NONE).unwrap()
    };
    assert_eq!(save(&mut store, &delivered(1, 0), 0), Saved::Written);
    assert_eq!(save(&mut store, &delivered(2, 3), 3), Saved::Written);
    let written = octets();
    // Times alone: a few octets each second, for as long as it takes.
    assert_eq!(save(&mut store, &delivered(2, 4), 4), Saved::Touched);
    assert_eq!(store.save(&delivered(2, 5), at(4), Drift::NONE).unwrap(), Saved::Unchanged);
    assert_eq!(save(&mut store, &delivered(2, 5), 5), Saved::Touched);
    assert_eq!(save(&mut store, &delivered(2, 5), 6300), Saved::Unchanged);
    assert_eq!(save(&mut store, &delivered(2, 6301), 6301), Saved::Touched);
    assert!(octets() == written, "the addresses are not written again");
    // A restart finds them, and writes nothing again either.
    drop(store);
    assert_eq!(found(dir.path()), Some(delivered(2, 6301)));
    let mut store = open(dir.path());
    let loaded = store.load(&[source("east", "us-east-1")]).unwrap().unwrap();
    assert_eq!(loaded.written, at(3));
    assert_eq!(save(&mut store, &loaded.state, 6400), Saved::Unchanged);
    // The first touch after a while is waited for, the next ones are not.
    assert_eq!(save(&mut store, &delivered(2, 6401), 6401), Saved::Touched);
    assert_eq!(store.written.as_ref().unwrap().synced, at(6401));
    assert_eq!(save(&mut store, &delivered(2, 6402), 6402), Saved::Touched);
    assert_eq!(store.written.as_ref().unwrap().synced, at(6401));
}

#[test]
fn ages_make_no_other_addresses_young() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save(&delivered(1, 0), at(0), Drift::NONE).unwrap();
    let old = [FIRST, SECOND].map(|name| (name, fs::read(dir.path().join(name)).unwrap()));
    store.save(&delivered(2, 1), at(1), Drift::NONE).unwrap();
    store.save(&delivered(2, 50), at(50), Drift::NONE).unwrap();
    drop(store);
    assert_eq!(found(dir.path()), Some(delivered(2, 50)));
    // As if the state had not reached the disk: the ages are not its own.
    old.iter().for_each(|(name, octets)| fs::write(dir.path().join(name), octets).unwrap());
    assert_eq!(found(dir.path()), Some(delivered(1, 0)));
}

#[test]
fn ages_that_a_power_cut_has_emptied_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save(&delivered(1, 0), at(0), Drift::NONE).unwrap();
    store.save(&delivered(1, 9), at(9), Drift::NONE).unwrap();
    drop(store);
    fs::write(dir.path().join(AGES_FILE), "").unwrap();
    assert_eq!(found(dir.path()), Some(delivered(1, 0)));
}

#[test]
fn after_a_step_of_the_wall_clock_all_times_are_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save(&delivered(1, 0), at(0), Drift::NONE).unwrap();
    let hour = Duration::from_secs(3600);
    let drift = Drift::by(hour);
    assert_eq!(store.save(&delivered(1, 1), at(1), drift).unwrap(), Saved::Written);
    assert_eq!(store.save(&delivered(1, 2), at(2), drift).unwrap(), Saved::Touched);
    drop(store);
    let found = found(dir.path()).unwrap();
    assert_eq!(found.sources["east"].delivered_at, at(2) + hour);
    let since =
        |state: &State| state.sources["east"].accepted.entries.values().next().unwrap().since;
    assert_eq!(since(&found), since(&state(1)) + hour);
}

#[test]
fn a_second_process_is_refused_and_told_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = Store::open(dir.path()).unwrap_err().to_string();
    let said = format!("another eipdns (process {}) uses the state in ", std::process::id());
    assert!(error.starts_with(&said), "{error}");
    drop(first);
    open(dir.path());
}

#[test]
fn few_files_are_kept_aside_and_the_newest_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut last = None;
    for round in 0..KEEP_ASIDE + 3 {
        fs::write(dir.path().join(FIRST), round.to_string()).unwrap();
        fs::write(dir.path().join(SECOND), round.to_string()).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        let why = if round % 2 == 0 { "panicked" } else { "damaged" };
        let Aside::Kept(path) = store.set_aside(why) else { panic!() };
        last = Some(path);
    }
    for start in ["state.json.", "state-2.json."] {
        let aside = names(dir.path()).into_iter().filter(|name| name.starts_with(start));
        assert_eq!(aside.count(), KEEP_ASIDE);
    }
    assert_eq!(fs::read_to_string(last.unwrap()).unwrap(), (KEEP_ASIDE + 2).to_string());
    assert!(matches!(store.set_aside("panicked"), Aside::Failed(_)));
    fs::write(dir.path().join(FIRST), "").unwrap();
    assert!(matches!(store.set_aside("panicked"), Aside::Kept(_)));
}

#[test]
fn state_is_carried_on_under_new_settings_and_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut all = state(1);
    let east = all.sources["east"].clone();
    for (name, region) in [("west", "us-west-2"), ("north", "eu-north-1"), ("old", "eu-west-1")] {
        let mut state = east.clone();
        state.of = successor::fingerprint(&source(name, region));
        state.region = Some(region.to_owned());
        all.sources.insert(name.into(), state);
    }
    store.save(&all, at(0), Drift::NONE).unwrap();

    let mut moved = source("west", "us-west-1");
    if let SourceKind::Ec2(ec2) = &mut moved.kind {
        ec2.role_arn = Some("arn:aws:iam::111122223333:role/dns".into());
        ec2.poll = Duration::from_secs(9);
    }
    let sources = [source("east", "us-east-1"), moved, source("new", "eu-west-1")];
    let loaded = store.load(&sources).unwrap().unwrap();
    let known = |name: &str| &loaded.state.sources[name];
    assert_eq!(known("east"), &all.sources["east"]);
    // With the settings of who said it: the successor is yet to speak.
    assert_eq!(known("west"), &all.sources["west"]);
    assert_eq!(known("new"), &all.sources["old"]);
    assert_eq!(loaded.state.serials, all.serials);
    let carried: Vec<_> = loaded.carried.iter().map(ToString::to_string).collect();
    assert_eq!(
        carried,
        [
            "source west is not as it was when its state was written: its `region` was \
             \"us-west-2\" and is \"us-west-1\", its `role_arn` was not set and is \
             \"arn:aws:iam::111122223333:role/dns\"; what was known then is answered until it has \
             delivered",
            "source new is not as it was when its state was written: its `name` was \"old\"; what \
             was known then is answered until it has delivered"
        ]
    );
    let said: Vec<_> = loaded.mismatched.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("the state of source north is not used: no source carries it on"),
        "{said:?}"
    );
    let Aside::Kept(copy) = &loaded.mismatched[0].kept else { panic!("{said:?}") };
    assert_eq!(fs::read(copy).unwrap(), fs::read(dir.path().join(SECOND)).unwrap());
    // Looking at it changes nothing and says the same.
    let before = names(dir.path());
    let seen = peek(dir.path(), &sources).unwrap().unwrap();
    assert_eq!((seen.state, seen.carried), (loaded.state, loaded.carried));
    assert!(matches!(seen.mismatched[0].kept, Aside::Left));
    assert_eq!(names(dir.path()), before);
}

#[test]
fn what_others_may_write_is_not_believed() {
    use std::os::unix::fs::chown;
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let dir = tempfile::tempdir().unwrap();
    let (directory, file) = (dir.path(), dir.path().join(FIRST));
    let write = || {
        let mut store = open(directory);
        store.save(&state(1), at(0), Drift::NONE).unwrap();
    };
    write();
    // The directory.
    chmod(directory, 0o777).unwrap();
    let mut store = open(directory);
    let said = store.trouble().unwrap().to_string();
    assert!(said.contains("everybody may write to it") && said.contains("chmod o-w"), "{said}");
    assert!(store.load(&[]).unwrap().is_none());
    assert!(matches!(
        store.save(&state(2), at(1), Drift::NONE),
        Err(StateError::Untrusted { why: trust::Untrusted::Everybody, .. })
    ));
    // It heals while we run.
    chmod(directory, 0o700).unwrap();
    assert_eq!(store.save(&state(2), at(20), Drift::NONE).unwrap(), Saved::Written);
    drop(store);
    // A group is odd, and said.
    chmod(directory, 0o770).unwrap();
    let store = open(directory);
    assert!(store.trouble().is_none());
    assert_eq!(store.group_writes(), [directory]);
    drop(store);
    chmod(directory, 0o700).unwrap();
    // The files: one stands in for the other.
    chmod(&file, 0o666).unwrap();
    let loaded = open(directory).load(&[]).unwrap().unwrap();
    let said = loaded.unused[0].to_string();
    assert!(said.contains("everybody may write to it; `chmod o-w`"), "{said}");
    assert!(said.contains("state.json.unread-") && said.contains("state-2.json says is used"));
    assert!(!file.exists(), "set aside");
    chmod(&directory.join(SECOND), 0o666).unwrap();
    let error = open(directory).load(&[]).unwrap_err()[0].to_string();
    assert!(error.contains("state-2.json.unread-"), "{error}");
    assert!(error.ends_with("names wait for their sources"), "{error}");
    // Somebody else's, where the test may make it so.
    write();
    if rustix::process::geteuid().is_root() {
        for file in [FIRST, SECOND] {
            chown(directory.join(file), Some(12345), None).unwrap();
        }
        let error = open(directory).load(&[]).unwrap_err()[0].to_string();
        assert!(error.contains("it belongs to user 12345"), "{error}");
        chown(directory, Some(12345), None).unwrap();
        assert!(matches!(
            open(directory).trouble(),
            Some(StateError::Untrusted { why: trust::Untrusted::Owner { .. }, .. })
        ));
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FIRST);
    let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    let error = open(dir.path()).load(&[]).unwrap_err()[0].to_string();
    assert!(error.contains("it is not a regular file"), "{error}");
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    let error = open(dir.path()).load(&[]).unwrap_err()[0].to_string();
    assert!(error.contains("it is not a regular file"), "{error}");
    let made = std::process::Command::new("mkfifo").arg(dir.path().join(AGES_FILE)).status();
    assert!(made.unwrap().success());
    let mut store = open(dir.path());
    assert_eq!(store.save(&state(1), at(0), Drift::NONE).unwrap(), Saved::Written);
    drop(store);
    assert_eq!(found(dir.path()), Some(state(1)));
}

#[test]
fn a_directory_that_cannot_be_had_is_said_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("state");
    fs::write(&in_the_way, "").unwrap();
    let mut store = Store::open(&in_the_way).unwrap();
    let said = store.trouble().unwrap().to_string();
    assert!(said.contains("is of no use") && said.contains("[state] directory"), "{said}");
    let error = store.save(&state(1), at(0), Drift::NONE).unwrap_err();
    assert!(matches!(error, StateError::Directory { .. }), "{error}");
    assert_eq!(store.save(&state(1), at(9), Drift::NONE).unwrap(), Saved::Later);
    fs::remove_file(&in_the_way).unwrap();
    assert_eq!(store.save(&state(1), at(10), Drift::NONE).unwrap(), Saved::Written);
    assert!(matches!(Store::open(&in_the_way), Err(OpenError::InUse { .. })));
}

#[test]
fn a_failing_disk_leaves_the_old_files_and_no_litter() {
    for name in [SECOND, FIRST] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        store.save(&state(1), at(0), Drift::NONE).unwrap();
        // Something that rename cannot replace.
        let path = dir.path().join(name);
        let before = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = store.save(&state(2), at(1), Drift::NONE).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("cannot replace ") && said.contains(name), "{said}");
        assert_eq!(names(dir.path()), ALL);
        // A full disk.
        fs::remove_dir(&path).unwrap();
        fs::write(&path, before).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join(name.to_owned() + NEW)).unwrap();
        let error = match store.save(&state(3), at(20), Drift::NONE).unwrap_err() {
            StateError::OfOlder(error) if name == FIRST => *error,
            error => error,
        };
        assert!(matches!(&error, StateError::Write { step: Step::Write, .. }), "{error}");
        assert_eq!(names(dir.path()), ALL);
        drop(store);
        let kept = if name == SECOND { 1 } else { 3 };
        assert_eq!(found(dir.path()), Some(state(kept)), "{name}");
        let mut store = open(dir.path());
        assert_eq!(store.save(&state(4), at(40), Drift::NONE).unwrap(), Saved::Written);
    }
}

#[test]
fn version_1_that_cannot_be_written_delays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let first = || version_1::parse(&fs::read(dir.path().join(FIRST)).unwrap()).unwrap().0;
    let believed = || read(dir.path()).unwrap().found.unwrap().state;
    store.save(&delivered(1, 0), at(0), Drift::NONE).unwrap();
    let in_the_way = dir.path().join(FIRST.to_owned() + NEW);
    fs::create_dir(&in_the_way).unwrap();
    let error = store.save(&delivered(2, 1), at(1), Drift::NONE).unwrap_err();
    assert!(matches!(error, StateError::OfOlder(_)), "{error}");
    for serial in 3..6 {
        let news = delivered(serial, serial.into());
        let saved = store.save(&news, at(serial.into()), Drift::NONE).unwrap();
        assert_eq!((saved, believed()), (Saved::WithoutOlder, news));
    }
    // Ages go on, and that version 1 is missing is not forgotten.
    assert_eq!(store.save(&delivered(5, 6), at(6), Drift::NONE).unwrap(), Saved::WithoutOlder);
    assert_eq!(store.save(&delivered(5, 6), at(7), Drift::NONE).unwrap(), Saved::Later);
    assert_eq!((believed(), first()), (delivered(5, 6), delivered(1, 0)));
    // Nothing is new, and it is tried again.
    store.save(&delivered(5, 6), at(11), Drift::NONE).unwrap_err();
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(store.save(&delivered(5, 6), at(20), Drift::NONE).unwrap(), Saved::Later);
    assert_eq!(store.save(&delivered(5, 6), at(21), Drift::NONE).unwrap(), Saved::Written);
    assert_eq!((believed(), first()), (delivered(5, 6), delivered(5, 6)));
    assert_eq!(store.save(&delivered(5, 6), at(22), Drift::NONE).unwrap(), Saved::Unchanged);
}

#[test]
fn what_was_out_of_reach_at_the_start_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).save(&state(1), at(0), Drift::NONE).unwrap();
    let mut store = Store::out_of_reach(dir.path(), io::Error::other("a test"));
    let mut west = state(0);
    let of_east = west.sources.remove("east").unwrap();
    west.sources.insert("west".into(), SourceState { delivered_at: at(2_000), ..of_east });
    for moment in [2_010, 2_020] {
        store.save(&west, at(moment), Drift::NONE).unwrap();
        let reading = read(dir.path()).unwrap();
        let there = reading.found.unwrap().state;
        assert_eq!(there.sources["east"], state(1).sources["east"], "it has not answered");
        assert_eq!(there.sources["west"], west.sources["west"]);
        assert!(!is_later(there.serials.zones["example.net"].serial, 1));
    }
    // It has.
    let mut both = west;
    let of_east =
        SourceState { delivered_at: at(2_025), ..state(1).sources.remove("east").unwrap() };
    both.sources.insert("east".into(), of_east.clone());
    store.save(&both, at(2_030), Drift::NONE).unwrap();
    assert_eq!(read(dir.path()).unwrap().found.unwrap().state.sources["east"], of_east);
}

#[test]
fn what_others_could_have_written_is_set_aside_once_they_cannot() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).save(&state(1), at(0), Drift::NONE).unwrap();
    let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let mut store = open(dir.path());
    assert!(store.load(&[source("east", "us-east-1")]).unwrap().is_none());
    store.save(&State::default(), at(10), Drift::NONE).unwrap_err();
    mode(0o700);
    store.save(&State::default(), at(30), Drift::NONE).unwrap();
    drop(store);
    assert_eq!(found(dir.path()), Some(State::default()));
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let aside = names.filter(|name| name.to_str().unwrap().contains(".untrusted-")).count();
    assert_eq!(aside, 2, "both versions");
}

#[test]
fn what_may_be_half_written_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save(&state(1), at(0), Drift::NONE).unwrap();
    // Version 2 is new, version 1 is not.
    let full = dir.path().join(FIRST.to_owned() + NEW);
    std::os::unix::fs::symlink("/dev/full", full).unwrap();
    store.save(&state(2), at(1), Drift::NONE).unwrap_err();
    // As it was before.
    assert_eq!(store.save(&state(1), at(20), Drift::NONE).unwrap(), Saved::Written);
    assert_eq!(store.save(&state(1), at(40), Drift::NONE).unwrap(), Saved::Unchanged);
    drop(store);
    assert_eq!(found(dir.path()), Some(state(1)));
}

#[test]
fn freshness_needs_a_clock_that_agrees() {
    let mut east = state(1).sources["east"].clone();
    east.delivered_at = at(0);
    assert!(east.is_fresh(at(0)) && east.is_fresh(at(299)));
    assert!(!east.is_fresh(at(300)));
    assert!(!east.is_fresh(at(0) - Duration::from_secs(1)));
}

#[test]
fn a_history_that_cannot_be_written_delays_no_state() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let events = [Arc::from("{\"at\":\"2026-11-28T03:00:00Z\",\"event\":\"moved\"}")];
    fs::create_dir(dir.path().join("history.jsonl")).unwrap();
    store.add_history(&events, at(0)).unwrap_err();
    assert_eq!(store.add_history(&events, at(1)).unwrap(), Saved::Later);
    assert_eq!(store.save(&state(1), at(1), Drift::NONE).unwrap(), Saved::Written);
    fs::remove_dir(dir.path().join("history.jsonl")).unwrap();
    assert_eq!(store.add_history(&events, at(11)).unwrap(), Saved::Written);
    assert_eq!(store.add_history(&[], at(12)).unwrap(), Saved::Unchanged);
    drop(store);
    assert_eq!(open(dir.path()).history().events, events);
    // Where others could have written it, it is not read.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(open(dir.path()).history().events.is_empty());
}

#[test]
fn ages_that_cannot_be_written_hold_back_no_news() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save(&delivered(1, 0), at(0), Drift::NONE).unwrap();
    fs::create_dir(dir.path().join(AGES_FILE)).unwrap();
    store.save(&delivered(1, 5), at(5), Drift::NONE).unwrap_err();
    assert_eq!(store.save(&delivered(1, 6), at(6), Drift::NONE).unwrap(), Saved::Later);
    assert_eq!(store.save(&delivered(2, 7), at(7), Drift::NONE).unwrap(), Saved::Written);
    drop(store);
    assert_eq!(found(dir.path()), Some(delivered(2, 7)));
}

#[test]
fn a_directory_that_changes_under_our_feet_is_looked_at_again() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("state");
    let mut store = open(&directory);
    store.save(&delivered(1, 0), at(0), Drift::NONE).unwrap();
    // Open to everybody since.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        store.save(&delivered(2, 1), at(1), Drift::NONE),
        Err(StateError::Untrusted { .. })
    ));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(store.save(&delivered(2, 20), at(20), Drift::NONE).unwrap(), Saved::Written);
    // Removed and made again: it is ours, locked and whole again at the next news.
    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    assert_eq!(store.save(&delivered(3, 30), at(30), Drift::NONE).unwrap(), Saved::Written);
    assert!(matches!(Store::open(&directory), Err(OpenError::InUse { .. })));
}
