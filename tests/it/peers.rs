//! Peers: the programs our answers are compared with, and where they are.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where an ordinary user's PATH does not look and daemons live.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Peers that `tests/run` installs beside the build, and the variables that
/// say where.
const BY_VARIABLE: [(&str, &str); 2] = [("moto_server", "EIPDNS_MOTO"), ("aws", "EIPDNS_AWS")];

/// The path of `tool`, or none, loudly: the test then returns early.
///
/// With `CI=true` or `EIPDNS_REQUIRE_PEERS=1` (`tests/run` sets it) a missing
/// peer fails the test instead.
pub(crate) fn need(tool: &str) -> Option<PathBuf> {
    let variable = BY_VARIABLE.iter().find(|(name, _)| *name == tool).map(|(_, variable)| variable);
    let given = variable.and_then(env::var_os).map(PathBuf::from);
    let found = find(tool, given, &env::var_os("PATH").unwrap_or_default());
    if found.is_none() {
        missing(&format!("peer `{tool}` is not installed; `./tests/run --install` installs it"));
    }
    found
}

/// Says that something a test needs is not here; fails where nothing may be
/// missing.
pub(crate) fn missing(what: &str) {
    assert!(!required(env::var_os), "{what}");
    // Not `eprintln!`: the harness swallows that when a test passes.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "SKIPPED {test}: {what}").expect("stderr can be written");
}

/// A path that was given must be right; otherwise PATH and the sbin directories.
fn find(tool: &str, given: Option<PathBuf>, path: &OsStr) -> Option<PathBuf> {
    if let Some(given) = given {
        return is_program(&given).then_some(given);
    }
    let directories = env::split_paths(path).chain(SBIN.map(PathBuf::from));
    directories.map(|directory| directory.join(tool)).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn required<V: AsRef<OsStr>>(variable: impl Fn(&'static str) -> Option<V>) -> bool {
    ["CI", "EIPDNS_REQUIRE_PEERS"].into_iter().any(|name| {
        variable(name).is_some_and(|value| {
            let value = value.as_ref();
            !value.is_empty() && value != "0" && value != "false"
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::rooms;

    #[test]
    fn finds_programs_and_nothing_else() {
        let room = tempfile::tempdir().unwrap();
        let program = room.path().join("peer");
        fs::write(&program, "").unwrap();
        let path = room.path().as_os_str();

        fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(find("peer", None, path), None);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("peer", None, path), Some(program.clone()));
        assert_eq!(find("peer", Some(program.clone()), OsStr::new("")), Some(program));
        assert_eq!(find("peer", Some(room.path().join("other")), path), None);
        assert_eq!(find("other", None, path), None);
    }

    #[test]
    fn a_peer_that_is_there_needs_no_variable() {
        const SHELL: &str = "sh"; // every system has one
        assert!(need(SHELL).is_some_and(|path| path.ends_with(SHELL) && is_program(&path)));
    }

    #[test]
    fn a_ci_requires_every_peer() {
        let with = |name: &'static str, value: &'static str| {
            required(move |asked| (asked == name).then_some(value))
        };
        assert!(with("CI", "true"));
        assert!(with("CI", "1"));
        assert!(with("EIPDNS_REQUIRE_PEERS", "1"));
        assert!(!with("CI", "false"));
        assert!(!with("CI", ""));
        assert!(!with("EIPDNS_REQUIRE_PEERS", "0"));
        assert!(!with("HOME", "1"));
    }

    /// A peer that a test needs and `tests/run` does not know is one that
    /// nobody installs.
    #[test]
    fn tests_run_knows_every_peer() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let run = fs::read_to_string(root.join("tests/run")).unwrap();
        let known = |tool: &str| {
            BY_VARIABLE.iter().any(|(name, _)| *name == tool)
                || run.lines().any(|line| line.split_whitespace().next() == Some(tool))
        };
        assert!(
            known("named") && !known("no-such-peer"),
            "the table of tests/run is not where it was"
        );

        let call = concat!("need", "(\"");
        rooms::walk(&root.join("tests/it"), &mut |file, text| {
            for rest in text.split(call).skip(1) {
                let tool = rest.split('"').next().unwrap();
                assert!(known(tool), "tests/it/{file}: `{tool}` is not in tests/run");
            }
        });
    }
}
