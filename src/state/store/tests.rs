use std::os::unix::fs::PermissionsExt;

use super::super::ZoneSerial;
use super::super::format::tests::{sealed, small};
use super::*;
use crate::config::{Ec2Source, SourceKind};
use crate::diag::Place;

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
    state.serials.zones.insert("example.net".into(), ZoneSerial { serial, digest: "aa".into() });
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
    assert_eq!(names(&directory), [LOCK_FILE, FILE]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join(FILE))), (0o700, 0o600));
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
    let octets = || fs::read(dir.path().join(FILE)).unwrap();
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
    let old = fs::read(dir.path().join(FILE)).unwrap();
    store.save(&delivered(2, 1), at(1), Drift::NONE).unwrap();
    store.save(&delivered(2, 50), at(50), Drift::NONE).unwrap();
    drop(store);
    assert_eq!(found(dir.path()), Some(delivered(2, 50)));
    // As if the state had not reached the disk: the ages are not its own.
    fs::write(dir.path().join(FILE), old).unwrap();
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
fn the_plug_may_be_pulled_after_any_step() {
    use Step::{Create, Rename, Sync, SyncDirectory, Write};
    for (step, kept) in [(Create, 1), (Write, 1), (Sync, 1), (Rename, 2), (SyncDirectory, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        store.save(&state(1), at(0), Drift::NONE).unwrap();
        let mut seen = Vec::new();
        let error = store
            .replace(&state(2), at(1), Drift::NONE, &mut |done| {
                seen.push(done);
                if done == step { Err(io::Error::other("unplugged")) } else { Ok(()) }
            })
            .unwrap_err();
        assert!(matches!(&error, StateError::Write { step: failed, .. } if *failed == step));
        assert_eq!(seen.last(), Some(&step));
        drop(store);
        assert_eq!(found(dir.path()), Some(state(kept)), "after {step:?}");
        // And life goes on.
        let mut store = open(dir.path());
        store.save(&state(3), at(2), Drift::NONE).unwrap();
        drop(store);
        assert_eq!(found(dir.path()), Some(state(3)));
        assert_eq!(names(dir.path()), [LOCK_FILE, FILE]);
    }
}

/// The state with this serial, seen in one view only.
fn in_views(serial: u32) -> State {
    let mut state = state(serial);
    let of = |serial, digest: &str| ZoneSerial { serial, digest: digest.into() };
    let views = [("vpc".to_owned(), of(serial, "bb")), ("outside".to_owned(), of(1, "cc"))];
    state.serials.views.insert("example.net".into(), views.into());
    state
}

#[test]
fn the_serials_of_views_are_written_first_and_in_a_file_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save(&in_views(1), at(0), Drift::NONE).unwrap();
    assert_eq!(names(dir.path()), [LOCK_FILE, SERIALS_FILE, FILE]);
    // What reads the state alone finds it as it would have written it itself.
    let octets = fs::read(dir.path().join(FILE)).unwrap();
    assert_eq!(format::parse(&octets).unwrap().0, state(1));
    let mode = fs::metadata(dir.path().join(SERIALS_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // When no serial has moved, they are not written again.
    fs::remove_file(dir.path().join(SERIALS_FILE)).unwrap();
    let mut other = in_views(1);
    other.sources.get_mut("east").unwrap().region = Some("us-west-2".into());
    assert_eq!(store.save(&other, at(1), Drift::NONE).unwrap(), Saved::Written);
    assert_eq!(names(dir.path()), [LOCK_FILE, FILE]);
    assert_eq!(store.save(&in_views(2), at(2), Drift::NONE).unwrap(), Saved::Written);
    drop(store);
    assert_eq!(found(dir.path()), Some(in_views(2)));
    // Without them, or with what is none, there is the rest.
    for octets in [&b""[..], b"{}\n"] {
        fs::write(dir.path().join(SERIALS_FILE), octets).unwrap();
        assert_eq!(found(dir.path()), Some(state(2)));
    }
}

#[test]
fn the_plug_may_be_pulled_between_the_serials_and_the_state() {
    // Five steps for each of the two files.
    for step in 1..=10 {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        store.save(&in_views(1), at(0), Drift::NONE).unwrap();
        let mut left = step;
        store
            .replace(&in_views(2), at(1), Drift::NONE, &mut |_| {
                left -= 1;
                if left == 0 { Err(io::Error::other("unplugged")) } else { Ok(()) }
            })
            .unwrap_err();
        drop(store);
        let mut expected = if step < 9 { in_views(1) } else { in_views(2) };
        if step >= 4 {
            expected.serials.views = in_views(2).serials.views;
        }
        assert_eq!(found(dir.path()), Some(expected), "after step {step}");
        let mut store = open(dir.path());
        store.save(&in_views(3), at(2), Drift::NONE).unwrap();
        drop(store);
        assert_eq!(found(dir.path()), Some(in_views(3)));
        assert_eq!(names(dir.path()), [LOCK_FILE, SERIALS_FILE, FILE]);
    }
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
fn damage_is_set_aside_and_a_new_file_written() {
    let dir = tempfile::tempdir().unwrap();
    type Damage = fn(&mut Vec<u8>);
    const NEWER: &str = r#"{"format": "eipdns state", "version": 2}"#;
    const FOREIGN: &str = r#"{"format": "other state", "version": 1}"#;
    let cases: [(&str, Damage); 5] = [
        ("damaged", |octets| octets[7] ^= 1),
        ("damaged", |octets| octets.truncate(100)),
        ("damaged", Vec::clear),
        ("newer", |octets| *octets = sealed(NEWER)),
        ("foreign", |octets| *octets = sealed(FOREIGN)),
    ];
    for (name, damage) in cases {
        let mut store = open(dir.path());
        store.save(&state(1), at(0), Drift::NONE).unwrap();
        let path = dir.path().join(FILE);
        let mut octets = fs::read(&path).unwrap();
        damage(&mut octets);
        fs::write(&path, &octets).unwrap();
        drop(store);

        let mut store = open(dir.path());
        let error = store.load(&[]).unwrap_err();
        let StateError::Unusable { kept: Aside::Kept(kept), .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(fs::read(kept).unwrap(), octets);
        assert!(kept.display().to_string().contains(name), "{error}");
        assert!(error.to_string().contains(&kept.display().to_string()));
        assert!(store.load(&[]).unwrap().is_none());
        store.save(&state(2), at(1), Drift::NONE).unwrap();
        drop(store);
        assert_eq!(found(dir.path()), Some(state(2)));
        // Names of files set aside are unique per millisecond.
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn few_files_are_kept_aside_and_the_newest_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut last = None;
    for round in 0..KEEP_ASIDE + 3 {
        fs::write(dir.path().join(FILE), round.to_string()).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        let why = if round % 2 == 0 { "panicked" } else { "damaged" };
        let Aside::Kept(path) = store.set_aside(why) else { panic!() };
        last = Some(path);
    }
    let aside: Vec<_> =
        names(dir.path()).into_iter().filter(|n| n.starts_with("state.json.")).collect();
    assert_eq!(aside.len(), KEEP_ASIDE);
    assert_eq!(fs::read_to_string(last.unwrap()).unwrap(), (KEEP_ASIDE + 2).to_string());
    assert!(matches!(store.set_aside("panicked"), Aside::Failed(_)));
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
    assert_eq!(fs::read(copy).unwrap(), fs::read(dir.path().join(FILE)).unwrap());
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
    let (directory, file) = (dir.path(), dir.path().join(FILE));
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
    // The file.
    chmod(&file, 0o666).unwrap();
    let error = open(directory).load(&[]).unwrap_err().to_string();
    assert!(error.contains("everybody may write to it; `chmod o-w`"), "{error}");
    assert!(error.contains("state.json.unread-"), "{error}");
    assert!(!file.exists(), "set aside");
    // Somebody else's, where the test may make it so.
    write();
    if rustix::process::geteuid().is_root() {
        chown(&file, Some(12345), None).unwrap();
        let error = open(directory).load(&[]).unwrap_err().to_string();
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
    let file = dir.path().join(FILE);
    let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(made.success());
    let error = open(dir.path()).load(&[]).unwrap_err().to_string();
    assert!(error.contains("it is not a regular file"), "{error}");
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    let error = open(dir.path()).load(&[]).unwrap_err().to_string();
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
fn a_failing_disk_leaves_the_old_file_and_no_litter() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save(&state(1), at(0), Drift::NONE).unwrap();
    // Something that rename cannot replace.
    let path = dir.path().join(FILE);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = store.save(&state(2), at(1), Drift::NONE).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("cannot replace ") && said.contains("answers go on"), "{said}");
    assert_eq!(names(dir.path()), [LOCK_FILE, FILE]);
    // A full disk.
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join(FILE.to_owned() + NEW)).unwrap();
    let error = store.save(&state(2), at(20), Drift::NONE).unwrap_err();
    assert!(matches!(&error, StateError::Write { step: Step::Write, .. }), "{error}");
    assert_eq!(store.save(&state(2), at(40), Drift::NONE).unwrap(), Saved::Written);
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
