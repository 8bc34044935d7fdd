//! `full.json` is a status in which everything is set, `quiet.json` one in which
//! nothing is that may be left unset; the `.txt` beside each is how it is shown.

use serde_json::Value;

use super::*;
use crate::testing::{paths, without_each_key};

const FULL: (&str, &str) = (include_str!("full.json"), include_str!("full.txt"));
const QUIET: (&str, &str) = (include_str!("quiet.json"), include_str!("quiet.txt"));

#[test]
fn what_the_server_writes_is_read_back_equal() {
    for (json, _) in [FULL, QUIET] {
        let status: Status = serde_json::from_str(json).unwrap();
        let written = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&written).unwrap(), status);
        // No key has another name, and none is missing or new.
        let (written, expected): (Value, Value) =
            (serde_json::from_str(&written).unwrap(), serde_json::from_str(json).unwrap());
        assert_eq!(written, expected);
    }
    let full: Value = serde_json::from_str(FULL.0).unwrap();
    for path in paths(&full) {
        let value = full.pointer(&path).unwrap();
        assert!(!value.is_null() && value.as_array().is_none_or(|a| !a.is_empty()), "{path}");
    }
}

#[test]
fn a_missing_key_is_an_error_that_names_it() {
    let all = without_each_key(&serde_json::from_str(FULL.0).unwrap());
    assert!(all.len() > 80, "{}", all.len());
    for (path, less) in all {
        let error = serde_json::from_value::<Status>(less).expect_err(&path).to_string();
        let key = path.rsplit('/').next().unwrap();
        assert_eq!(error, format!("missing field `{key}`"), "{path}");
    }
}

#[test]
fn a_key_that_is_not_known_is_ignored() {
    let full: Status = serde_json::from_str(FULL.0).unwrap();
    let json: Value = serde_json::from_str(FULL.0).unwrap();
    for path in std::iter::once(String::new()).chain(paths(&json)) {
        let mut more = json.clone();
        let Some(object) = more.pointer_mut(&path).unwrap().as_object_mut() else { continue };
        object.insert("of_a_later_version".into(), Value::Bool(true));
        assert_eq!(serde_json::from_value::<Status>(more).unwrap(), full, "{path}");
    }
}

#[test]
fn a_status_is_shown_line_by_line() {
    for (json, text) in [FULL, QUIET] {
        let status: Status = serde_json::from_str(json).unwrap();
        assert_eq!(status.to_string(), text);
    }
}

/// The server may not be one, and file names, regions and errors are others' words.
#[test]
fn no_text_of_a_server_moves_a_cursor_or_makes_a_line() {
    let full: Value = serde_json::from_str(FULL.0).unwrap();
    let (mut evil, mut put) = (full.clone(), 0);
    for path in paths(&full) {
        let Some(text) = full.pointer(&path).and_then(Value::as_str) else { continue };
        let mut tried = evil.clone();
        *tried.pointer_mut(&path).unwrap() = format!("{text}\u{1b}[2J\n\u{202e}").into();
        // An address is none any longer.
        if serde_json::from_value::<Status>(tried.clone()).is_ok() {
            (evil, put) = (tried, put + 1);
        }
    }
    assert!(put > 20, "{put}");
    let told = serde_json::from_value::<Status>(evil).unwrap().to_string();
    assert_eq!(told.lines().count(), FULL.1.lines().count(), "{told}");
    assert!(told.contains(r"eipdns 0.1.0\u001b[2J\n\u202e up"), "{told}");
    assert!(told.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{told:?}");
}
