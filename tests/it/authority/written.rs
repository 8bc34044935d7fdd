//! `dump` writes what other servers accept, and what was loaded.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::dice::Dice;
use super::{world, zone_directory};
use crate::harness::{eipdns, root};
use crate::peers;

/// How many random zones are written.
const ZONES: usize = 12;
/// named-checkzone and named-compilezone without opinions on names: the
/// records are what is looked at.
const NO_OPINION: &[&str] = &[
    "-i", "none", "-k", "ignore", "-n", "ignore", "-m", "ignore", "-M", "ignore", "-r", "ignore",
    "-S", "ignore", "-T", "ignore",
];

/// The records of a master file as BIND reads them, one line each.
fn as_bind_reads(origin: &str, file: &Path) -> Option<BTreeSet<String>> {
    let program = peers::need("named-checkzone")?.with_file_name("named-compilezone");
    let out = Command::new(program)
        .args(NO_OPINION)
        .args(["-q", "-s", "full", "-o", "-", origin])
        .arg(file)
        .current_dir(file.parent().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{origin}: {text}{}", String::from_utf8_lossy(&out.stderr));
    // We keep no case of owners (RFC 4343 section 4.1 asks for none).
    let words = |line: &str| {
        let (owner, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest: Vec<_> = rest.split_whitespace().collect();
        format!("{} {}", owner.to_lowercase(), rest.join(" "))
    };
    Some(text.lines().filter(|line| !line.starts_with(';')).map(words).collect())
}

fn accepted(tool: &str, arguments: &[&str], file: &Path) {
    let Some(program) = peers::need(tool) else { return };
    let out = Command::new(program).args(arguments).arg(file).output().unwrap();
    let told = [out.stdout, out.stderr].concat();
    assert!(
        out.status.success(),
        "{tool} {arguments:?}: {}\n{}",
        String::from_utf8_lossy(&told),
        fs::read_to_string(file).unwrap()
    );
}

#[test]
fn dump_is_accepted_and_equal_to_what_was_loaded() {
    Dice::seeds().into_iter().for_each(written);
}

fn written(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut zones: Vec<(String, String)> =
        world::zones(&mut dice, ZONES).into_iter().map(|z| (z.origin, z.text)).collect();
    let samples = root().join("tests/records");
    let sample = fs::read_to_string(samples.join("every-type.zone")).unwrap();
    zones.push(("example.com.".into(), sample));
    let all: Vec<(&str, &str)> = zones.iter().map(|(o, t)| (&**o, &**t)).collect();
    let dir = zone_directory(&all);
    for entry in fs::read_dir(&samples).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let config = dir.path().to_str().unwrap();
    let mut records = 0;
    for (origin, _) in &zones {
        let out = eipdns(&["dump", "--offline", "--config", config, origin]);
        assert!(out.status.success(), "{origin}: {}", String::from_utf8_lossy(&out.stderr));
        let name = origin.trim_end_matches('.');
        let dumped = dir.path().join(format!("{name}.dumped"));
        fs::write(&dumped, &out.stdout).unwrap();
        accepted("nsd-checkzone", &[origin], &dumped);
        accepted("kzonecheck", &["-o", origin], &dumped);
        accepted("named-checkzone", &[NO_OPINION, &[origin]].concat(), &dumped);
        let loaded = dir.path().join(format!("{name}.zone"));
        let (Some(before), Some(after)) =
            (as_bind_reads(origin, &loaded), as_bind_reads(origin, &dumped))
        else {
            continue;
        };
        let lost: Vec<_> = before.difference(&after).collect();
        let gained: Vec<_> = after.difference(&before).collect();
        assert!(
            lost.is_empty() && gained.is_empty(),
            "seed {seed}, {origin}: {lost:#?} became {gained:#?}"
        );
        records += before.len();
    }
    println!("seed {seed}: {} zones with {records} records written and read again", zones.len());
}
