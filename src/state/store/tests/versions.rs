//! Two versions of one state: up, down, and cut off in between.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::read::Found;
use super::*;
use crate::dns::serial::is_later;
use crate::source::allocation::Allocation;
use crate::source::inventory::Standing;
use crate::state::format::seal::{SEAL, unseal};

/// Every step of writing both files: five for each.
const STEPS: usize = 10;
/// From this one on version 2 has its place.
const SECOND_IS_NEW: usize = 4;
/// From this one on version 1 has.
const FIRST_IS_NEW: usize = 9;

/// The state with this serial, seen in one view only.
fn in_views(serial: u32) -> State {
    let mut state = state(serial);
    let of = |serial, digest: &str| ZoneSerial { serial, digest: digest.into() };
    let views = [("vpc".to_owned(), of(serial, "bb")), ("outside".to_owned(), of(1, "cc"))];
    Arc::make_mut(&mut state.serials).views.insert("example.net".into(), views.into());
    state
}

/// What an older eipdns has of it.
fn of_first(mut state: State) -> State {
    Arc::make_mut(&mut state.serials).views.clear();
    state
}

fn saved(directory: &Path, state: &State, seconds: u64) {
    let mut store = open(directory);
    drop(store.load(&[source("east", "us-east-1")]));
    store.save(state, at(seconds), Drift::NONE).unwrap();
}

/// Saves until the plug is pulled after so many steps.
fn cut_off(directory: &Path, state: &State, seconds: u64, steps: usize) {
    let mut store = open(directory);
    drop(store.load(&[source("east", "us-east-1")]));
    let mut left = steps;
    let unplugged = store.replace(state, at(seconds), Drift::NONE, &mut |_| {
        left -= 1;
        if left == 0 { Err(io::Error::other("unplugged")) } else { Ok(()) }
    });
    unplugged.and_then(|(_, first)| first.unwrap()).unwrap_err();
}

/// What an older eipdns finds.
fn found_by_older(directory: &Path) -> Option<State> {
    let octets = fs::read(directory.join(FIRST)).ok()?;
    Some(version_1::parse(&octets).unwrap().0)
}

/// An older eipdns writes a state.
fn saved_by_older(directory: &Path, state: &State, seconds: u64) {
    let octets = version_1::render(state, at(seconds), Drift::NONE).unwrap();
    fs::write(directory.join(FIRST), octets).unwrap();
}

#[test]
fn the_plug_may_be_pulled_after_any_step() {
    for step in 1..=STEPS {
        let dir = tempfile::tempdir().unwrap();
        saved(dir.path(), &in_views(1), 0);
        cut_off(dir.path(), &in_views(2), 1, step);
        let expected = in_views(if step < SECOND_IS_NEW { 1 } else { 2 });
        assert_eq!(found(dir.path()), Some(expected), "after step {step}");
        let older = of_first(in_views(if step < FIRST_IS_NEW { 1 } else { 2 }));
        assert_eq!(found_by_older(dir.path()), Some(older.clone()), "after step {step}");
        // What it has found is written to both, even if nothing is new.
        let found = found(dir.path()).unwrap();
        saved(dir.path(), &found, 2);
        assert_eq!(found_by_older(dir.path()), Some(of_first(found)), "after step {step}");
        // An older one runs before that.
        cut_off(dir.path(), &in_views(3), 3, step);
        saved_by_older(dir.path(), &state(7), 0);
        assert_eq!(super::found(dir.path()).unwrap().serials.zones, state(7).serials.zones);
        // And life goes on.
        saved(dir.path(), &in_views(8), 4);
        assert_eq!(super::found(dir.path()), Some(in_views(8)));
        assert_eq!(names(dir.path()), ALL);
    }
}

#[test]
fn what_an_older_eipdns_wrote_since_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    saved(dir.path(), &in_views(5), 1_000);
    let load = || open(dir.path()).load(&[source("east", "us-east-1")]).unwrap().unwrap();
    assert!(!load().by_older);
    // Whatever the clock said then.
    for seconds in [0, 1_000, 2_000] {
        let mut newer = state(6);
        let east = newer.sources.get_mut("east").unwrap();
        Arc::make_mut(&mut east.accepted.entries)
            .remove(&Allocation::from(Ipv4Addr::new(75, 101, 137, 243)));
        saved_by_older(dir.path(), &newer, seconds);
        let loaded = load();
        assert!(loaded.by_older && loaded.unused.is_empty());
        assert_eq!((loaded.state, loaded.written), (newer.clone(), at(seconds)));
        // Once this one has written, it is both.
        saved(dir.path(), &newer, 3_000);
        assert!(!load().by_older);
        assert_eq!(load().state, newer);
        saved(dir.path(), &in_views(5), 4_000);
    }
    // A source that it has heard nothing of is as it was.
    let nothing = State { sources: BTreeMap::new(), ..state(6) };
    saved_by_older(dir.path(), &nothing, 5_000);
    assert_eq!((load().by_older, load().state), (true, state(6)));
    saved(dir.path(), &in_views(5), 6_000);
    // Ages alone, as an older one writes them while nothing else changes.
    let seal = seal_of(&fs::read(dir.path().join(FIRST)).unwrap()).unwrap().to_owned();
    let mut heard = in_views(5);
    heard.sources.get_mut("east").unwrap().delivered_at = at(9_000);
    let octets = ages::render(&heard, &seal, Drift::NONE).unwrap();
    fs::write(dir.path().join(AGES_FILE), octets).unwrap();
    let loaded = load();
    assert!(!loaded.by_older);
    assert_eq!(loaded.state, heard);
}

#[test]
fn serials_do_not_go_back_with_an_older_eipdns() {
    let dir = tempfile::tempdir().unwrap();
    saved(dir.path(), &in_views(5), 0);
    // Version 1 did not get to the disk; an older one goes on from what was before.
    cut_off(dir.path(), &in_views(9), 1, SECOND_IS_NEW);
    saved_by_older(dir.path(), &state(6), 2);
    let found = found(dir.path()).unwrap();
    let zone = &found.serials.zones["example.net"];
    assert_eq!(zone.serial, 9);
    assert_ne!(zone.digest, state(6).serials.zones["example.net"].digest, "of other contents");
    // A zone that the older one did not have.
    let mut less = state(6);
    Arc::make_mut(&mut less.serials).zones.clear();
    saved_by_older(dir.path(), &less, 3);
    assert_eq!(super::found(dir.path()).unwrap().serials, in_views(9).serials);
}

/// Files as the eipdns before this one wrote them, killed while it held a mass loss:
/// addresses of EC2 and of a file, held, let go and superseded.
fn before(directory: &Path) -> [(&'static str, &'static [u8]); 3] {
    let all = [
        (FIRST, &include_bytes!("before/state.json")[..]),
        (SERIALS_FILE, include_bytes!("before/serials.json")),
        (AGES_FILE, include_bytes!("before/ages.json")),
    ];
    for (name, octets) in all {
        fs::write(directory.join(name), octets).unwrap();
    }
    all
}

fn read_now(directory: &Path) -> Found {
    let Reading { found, unusable } = read(directory).unwrap();
    assert!(unusable.is_empty(), "{unusable:?}");
    found.unwrap()
}

#[test]
fn the_state_of_the_eipdns_before_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let [(_, first), ..] = before(dir.path());
    let Found { state, written, by, .. } = read_now(dir.path());
    assert_eq!(by, By::First);
    let shown = |at| humantime::format_rfc3339_millis(at).to_string();
    let json: serde_json::Value = serde_json::from_slice(unseal(first).unwrap()).unwrap();
    assert_eq!(json["written"], shown(written));
    let (east, lab) = (&state.sources["east"], &state.sources["lab"]);
    assert_eq!((east.of["type"].as_str(), lab.of["type"].as_str()), ("ec2", "file"));
    // Heard of later than the state was written.
    assert!(east.delivered_at > written);
    let entries = &east.accepted.entries;
    assert_eq!((entries.len(), lab.accepted.entries.len()), (6, 2));
    let held = entries.values().filter(|entry| !entry.is_live()).collect::<Vec<_>>();
    assert!(matches!(held[..], [entry] if matches!(entry.standing, Standing::Missing { .. })));
    let texts = |all: &mut dyn Iterator<Item = &Allocation>| -> Vec<_> {
        all.map(ToString::to_string).collect()
    };
    let of_json = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let east_json = &json["sources"]["east"];
    let released = texts(&mut east.accepted.released.iter());
    assert_eq!((released.len(), &released), (3, &of_json(&east_json["released"])));
    let superseded: Vec<_> = east.accepted.superseded.keys().cloned().collect();
    assert_eq!(superseded.len(), 1);
    assert!(east_json["superseded"][superseded[0].to_string()].is_object());
    let lab_ids: Vec<_> =
        lab.accepted.entries.values().map(|e| e.address.allocation_id()).collect();
    assert_eq!(lab_ids, [None, Some("eipalloc-0lab8")]);
    // Of each view, and the highest of them.
    let views = &state.serials.views["example.com."];
    assert!(is_later(views["outside"].serial, views["vpc"].serial));
    assert_eq!(views["vpc"].serial, state.serials.zones["example.com."].serial);
}

#[test]
fn what_the_eipdns_before_reads_is_written_as_it_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let [(_, first), ..] = before(dir.path());
    let Found { state, written, .. } = read_now(dir.path());
    // Without what `ages.json` adds to it.
    let mut as_written = version_1::parse(first).unwrap().0;
    as_written.serials.clone_from(&state.serials);
    let mut store = open(dir.path());
    assert_eq!(store.save(&as_written, written, Drift::NONE).unwrap(), Saved::Written);
    drop(store);
    let octets = fs::read(dir.path().join(FIRST)).unwrap();
    assert_eq!(str::from_utf8(&octets), str::from_utf8(first));
    // Without the serials of views, which would be old by the next change.
    assert_eq!(names(dir.path()), [AGES_FILE, LOCK_FILE, SECOND, FIRST]);
    // This one goes on from version 2, and the ages belong to that as well.
    let again = read_now(dir.path());
    assert_eq!((again.by, again.state, again.written), (By::Both, state, written));
}

#[test]
fn what_is_damaged_is_set_aside_and_the_other_one_used() {
    type Damage = fn(&mut Vec<u8>);
    const NEWER: &str = r#"{"format": "eipdns state", "version": 3}"#;
    const FOREIGN: &str = r#"{"format": "other state", "version": 2}"#;
    let cases: [(&str, Damage); 6] = [
        ("damaged", |octets| octets[7] ^= 1),
        ("damaged", |octets| octets.truncate(100)),
        ("damaged", Vec::clear),
        ("damaged", |octets| octets.truncate(octets.len() - SEAL)),
        ("newer", |octets| *octets = sealed(NEWER)),
        ("foreign", |octets| *octets = sealed(FOREIGN)),
    ];
    for (why, damage) in cases {
        for of in [&[SECOND][..], &[FIRST], &[SECOND, FIRST]] {
            let dir = tempfile::tempdir().unwrap();
            saved(dir.path(), &in_views(1), 0);
            let mut damaged = Vec::new();
            for name in of {
                let mut octets = fs::read(dir.path().join(name)).unwrap();
                damage(&mut octets);
                fs::write(dir.path().join(name), &octets).unwrap();
                damaged.push(octets);
            }
            let mut store = open(dir.path());
            let (state, errors) = match store.load(&[source("east", "us-east-1")]) {
                Ok(loaded) => {
                    let loaded = loaded.unwrap();
                    (Some(loaded.state), loaded.unused)
                }
                Err(errors) => (None, errors),
            };
            let expected = match of {
                [SECOND] => Some(of_first(in_views(1))),
                [FIRST] => Some(in_views(1)),
                _ => None,
            };
            assert_eq!(state, expected, "{why} {of:?}");
            assert_eq!(errors.len(), of.len());
            for (error, (name, octets)) in errors.iter().zip(of.iter().zip(damaged)) {
                let StateError::Unusable { kept: Aside::Kept(kept), .. } = error else {
                    panic!("{error:?}")
                };
                assert_eq!(fs::read(kept).unwrap(), octets);
                let told = error.to_string();
                assert!(told.contains(&format!("{name}.{why}-")), "{told}");
                let then = match of {
                    [SECOND] => "what state.json says is used",
                    [FIRST] => "what state-2.json says is used",
                    _ => "names wait for their sources",
                };
                assert!(told.ends_with(then), "{told}");
            }
            // Both are written with the next save, whatever it says.
            let next = state.unwrap_or_else(|| in_views(2));
            assert_eq!(store.save(&next, at(1), Drift::NONE).unwrap(), Saved::Written);
            drop(store);
            assert_eq!(found(dir.path()), Some(next.clone()));
            assert_eq!(found_by_older(dir.path()), Some(of_first(next)));
        }
    }
}

/// One process.
#[derive(Debug, Clone)]
enum Run {
    /// This eipdns, which saves once.
    Saves,
    /// This one, which is cut off after so many steps.
    IsCutOff(usize),
    /// An older one, which saves once. Its clock is behind.
    Older,
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let run = prop_oneof![
        2 => Just(Run::Saves),
        3 => (1..=STEPS).prop_map(Run::IsCutOff),
        2 => Just(Run::Older),
    ];
    proptest::collection::vec(run, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whoever runs when: the last state that got to the disk is the one that is
    /// found, and no serial is lower than one that was found.
    #[test]
    fn any_order_of_versions(runs in runs()) {
        let dir = tempfile::tempdir().unwrap();
        let mut last: Option<State> = None;
        let mut highest = 0;
        for (nth, run) in runs.iter().enumerate() {
            let nth = nth as u64;
            // Each goes on from what it finds.
            let serial = |found: Option<State>| {
                found.map_or(1, |found| found.serials.zones["example.net"].serial + 1)
            };
            let here = || found(dir.path());
            match run {
                Run::Saves | Run::IsCutOff(_) => {
                    let mut next = in_views(serial(here()));
                    next.sources.get_mut("east").unwrap().delivered_at = at(nth);
                    match run {
                        Run::IsCutOff(steps) => cut_off(dir.path(), &next, 1_000 + nth, *steps),
                        _ => saved(dir.path(), &next, 1_000 + nth),
                    }
                    if !matches!(run, Run::IsCutOff(steps) if *steps < SECOND_IS_NEW) {
                        last = Some(next);
                    }
                }
                Run::Older => {
                    let mut next = state(serial(found_by_older(dir.path())));
                    next.sources.get_mut("east").unwrap().delivered_at = at(nth);
                    saved_by_older(dir.path(), &next, 1_000 - nth);
                    last = Some(next);
                }
            }
            let found = here();
            let sources = |state: &Option<State>| state.as_ref().map(|s| s.sources.clone());
            prop_assert_eq!(sources(&found), sources(&last));
            if let Some(found) = found {
                let serial = found.serials.zones["example.net"].serial;
                prop_assert!(serial >= highest, "{serial} after {highest}");
                highest = serial;
            }
        }
    }
}
