//! Whole files in, records and problems out.

mod bad;
mod good;
mod limits;
mod peers;
mod random;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::{MasterFile, Source, StaticRecord, read_text, write_record};
use crate::diag::Problems;
use crate::dns::name::Key;

/// TTL of records that have none, in these tests.
const DEFAULT_TTL: u32 = 5;

fn key(text: &str) -> Key {
    Key::parse(text, None).unwrap()
}

/// Reads `text` as `zone`, a file of zone `origin`, beside `includes`.
fn read_all(text: &[u8], origin: &Key, includes: &[(&str, &str)]) -> (MasterFile, Vec<String>) {
    let mut files: HashMap<&Path, &[u8]> =
        includes.iter().map(|(name, text)| (Path::new(*name), text.as_bytes())).collect();
    files.insert(Path::new("zone"), text);
    let mut load = |path: &Path| {
        let text = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Source { identity: path.to_owned(), text: text.to_vec() })
    };
    let mut problems = Problems::default();
    let file = read_text(Path::new("zone"), origin, DEFAULT_TTL, &mut load, &mut problems);
    (file, problems.sorted().iter().map(ToString::to_string).collect())
}

/// Each record as a line.
fn lines(file: &MasterFile) -> Vec<String> {
    file.records.iter().map(|r| write_record(&r.owner, r.ttl, &r.data).unwrap()).collect()
}
