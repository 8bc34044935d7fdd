//! Files that include without end, or are too large; and how fast and how
//! small a large file is.

use super::*;
use crate::records::{MAX_DEPTH, MAX_FILE, MAX_FILES};

/// Reads `0`, each file being what `text` makes of its number.
fn read_numbered(mut text: impl FnMut(usize) -> Vec<u8>) -> (MasterFile, Vec<String>) {
    let mut load = |path: &Path| {
        let number = path.to_str().and_then(|p| p.parse().ok()).unwrap();
        Ok(Source { identity: path.to_owned(), text: text(number) })
    };
    let mut problems = Problems::default();
    let file =
        read_text(Path::new("0"), &key("example.com"), DEFAULT_TTL, &mut load, &mut problems);
    (file, problems.sorted().iter().map(ToString::to_string).collect())
}

#[test]
fn a_chain_of_files_ends() {
    let link = |n: usize| format!("a{n} A 10.0.0.1\n$INCLUDE {}\n", n + 1).into_bytes();
    let (file, problems) = read_numbered(link);
    assert_eq!(file.records.len(), MAX_DEPTH);
    assert_eq!(
        problems,
        ["15:2:10: error: more than 16 files include one another; include fewer levels of files"]
    );
}

#[test]
fn files_that_include_each_other_twice_end() {
    let mut loaded = 0;
    let (_, problems) = read_numbered(|n| {
        loaded += 1;
        format!("$INCLUDE {0}\n$INCLUDE {0}\n", n + 1).into_bytes()
    });
    assert_eq!(loaded, MAX_FILES);
    assert!(problems.iter().any(|p| p.contains("more than 100 errors")), "{problems:?}");
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let (_, problems) = read_numbered(|_| vec![0; MAX_FILE + 1]);
    assert_eq!(problems, ["0: error: longer than 536870912 octets; split it"]);
}

#[test]
fn what_is_no_file_is_not_read() {
    let mut problems = Problems::default();
    let mut open = |path: &Path| crate::host::files::read(path, MAX_FILE as u64);
    crate::records::read(Path::new("/dev/null"), &key("example.com"), 5, &mut open, &mut problems);
    let problems: Vec<_> = problems.sorted().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["/dev/null: error: cannot read `/dev/null`: it is not a regular file; \
          correct the path or the permissions"]
    );
}
