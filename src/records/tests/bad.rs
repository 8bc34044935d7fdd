//! `tests/bad-records/`: broken files, each beside the problems it has.
//!
//! `EIPDNS_BLESS=1 cargo test bad_files` writes them anew.

use std::fs;
use std::path::PathBuf;

use super::*;

/// Fewer would mean that some are not found.
const LEAST: usize = 40;

#[test]
fn bad_files_have_the_problems_expected() {
    let directory =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/bad-records");
    let bless = std::env::var_os("EIPDNS_BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "zone"))
        .collect();
    cases.sort();
    assert!(cases.len() >= LEAST, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let name = Path::new(case.file_name().unwrap());
        // Paths in messages are those named to the reader: short ones here.
        let mut load = |path: &Path| {
            let path = directory.join(path);
            Ok(Source { text: fs::read(&path)?, identity: path.canonicalize()? })
        };
        let mut problems = Problems::default();
        read_text(name, &key("example.com"), DEFAULT_TTL, &mut load, &mut problems);
        let found: String = problems.sorted().iter().map(|p| format!("{p}\n")).collect();
        assert!(!found.is_empty(), "{} has no problem", name.display());
        let expected = case.with_extension("expected");
        if bless {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", name.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
