//! `full.json` is a verdict in which everything is set, `quiet.json` one in which nothing has
//! changed, `refused.json` one that is refused; the `.txt` beside each is how it is shown.

use serde_json::Value;

use super::*;
use crate::testing::{paths, without_each_key};

const FULL: (&str, &str) = (include_str!("full.json"), include_str!("full.txt"));
const QUIET: (&str, &str) = (include_str!("quiet.json"), include_str!("quiet.txt"));
const REFUSED: (&str, &str) = (include_str!("refused.json"), include_str!("refused.txt"));

#[test]
fn what_the_server_writes_is_read_back_equal() {
    for (json, text) in [FULL, QUIET, REFUSED] {
        let verdict: Verdict = serde_json::from_str(json).unwrap();
        let written: Value = serde_json::to_value(&verdict).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(json).unwrap());
        let problems = verdict.problems.first.iter().map(|problem| format!("{problem}\n"));
        assert_eq!(format!("{verdict}{}", problems.collect::<String>()), text);
    }
}

#[test]
fn a_missing_key_is_an_error_that_names_it() {
    let all = without_each_key(&serde_json::from_str(FULL.0).unwrap());
    assert!(all.len() > 50, "{}", all.len());
    for (path, less) in all {
        let error = serde_json::from_value::<Verdict>(less).expect_err(&path).to_string();
        let key = path.rsplit('/').next().unwrap();
        assert_eq!(error, format!("missing field `{key}`"), "{path}");
    }
}

#[test]
fn nothing_has_changed_is_said_only_where_nothing_has() {
    let quiet: Value = serde_json::from_str::<Value>(QUIET.0).unwrap()["taken"].clone();
    let full: Value = serde_json::from_str::<Value>(FULL.0).unwrap()["taken"].clone();
    let judged = |json: &Value| {
        serde_json::from_value::<TakenReport>(json.clone()).unwrap().judged().changed
    };
    assert!(!judged(&quiet));
    // What needs a restart has not changed anything.
    for (key, value) in full.as_object().unwrap() {
        let mut one = quiet.clone();
        one[key] = value.clone();
        let is_change = !matches!(key.as_str(), "generation" | "changed" | "needs_restart");
        assert_eq!(judged(&one), is_change, "{key}");
    }
}

#[test]
fn no_text_of_a_server_moves_a_cursor_or_makes_a_line() {
    let full: Value = serde_json::from_str(FULL.0).unwrap();
    let (mut evil, mut put) = (full.clone(), 0);
    for path in paths(&full) {
        let Some(text) = full.pointer(&path).and_then(Value::as_str) else { continue };
        let mut tried = evil.clone();
        *tried.pointer_mut(&path).unwrap() = format!("{text}\u{1b}[2J\n\u{202e}").into();
        // An address is none any longer.
        if serde_json::from_value::<Verdict>(tried.clone()).is_ok() {
            (evil, put) = (tried, put + 1);
        }
    }
    assert!(put > 20, "{put}");
    let verdict = serde_json::from_value::<Verdict>(evil).unwrap();
    let problems = verdict.problems.first.iter().map(|problem| format!("{problem}\n"));
    let told = format!("{verdict}{}", problems.collect::<String>());
    assert_eq!(told.lines().count(), FULL.1.lines().count(), "{told}");
    assert!(told.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{told:?}");
}

#[test]
fn of_many_a_terminal_shows_the_first() {
    let mut verdict: Verdict = serde_json::from_str(QUIET.0).unwrap();
    let named = |nth: u32| format!("z{nth:03}.example.");
    if let Some(taken) = &mut verdict.taken {
        taken.zones.added = First::of((0..120).map(named), 100);
        taken.zones.removed = First { first: vec![named(0)], more: 3 };
    }
    let told = verdict.to_string();
    assert!(told.contains("zone z049.example.: new\nzone: 70 more, see --json\n"), "{told}");
    assert!(told.contains("zone z000.example.: gone\nzone: 3 more\n"), "{told}");
}
