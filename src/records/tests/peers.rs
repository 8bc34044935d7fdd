//! Other servers read what we read, and accept what we write.
//!
//! BIND's raw format holds wire octets, so the comparison with it does not
//! rest on any printing or on our own reader. A peer that is not installed is
//! passed over aloud, except in CI.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use hickory_proto::rr::RecordType;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::random::record;
use super::*;
use crate::records::data::{typed, wire};
use crate::records::{layout, read};

const ORIGIN: &str = "example.com";
/// How many random records are shown to each peer.
const RANDOM: usize = 2000;

/// Owner, type, TTL and octets.
type Row = (Vec<u8>, u16, u32, Vec<u8>);

/// Runs a peer's tool; none, said aloud, when it is not installed.
///
/// It runs in the sample's directory, where BIND looks for included files.
fn run(tool: &str, arguments: &[&OsStr]) -> Option<Output> {
    // Where Debian keeps servers' tools, beyond a user's path.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut command = Command::new(tool);
    command.args(arguments).env("PATH", path).current_dir(samples());
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{tool}: {error}");
            eprintln!("NOT COMPARED: {tool} cannot be run: {error}");
            None
        }
    }
}

fn samples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("tests/records")
}

fn said(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat()
}

/// The rows of a master file as BIND reads it.
fn bind_reads(zone: &Path) -> Option<BTreeSet<Row>> {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("raw");
    let mut arguments: Vec<&OsStr> = vec!["-F".as_ref(), "raw".as_ref()];
    // No opinions on names and glue: the records are what is compared.
    for check in ["-i", "-k", "-n", "-m", "-M", "-r", "-S", "-T", "-W"] {
        arguments.push(check.as_ref());
        arguments.push(if check == "-i" { "none" } else { "ignore" }.as_ref());
    }
    arguments.extend(["-o".as_ref(), raw.as_os_str(), ORIGIN.as_ref(), zone.as_os_str()]);
    let output = run("named-compilezone", &arguments)?;
    assert!(output.status.success(), "{}", said(&output));
    Some(raw_rows(&fs::read(raw).unwrap()))
}

/// Decodes BIND's raw format: a header, then RRsets.
fn raw_rows(raw: &[u8]) -> BTreeSet<Row> {
    const HEADER: usize = 24;
    let mut rest = &raw[HEADER..];
    let mut take = |len: usize| {
        let (taken, tail) = rest.split_at(len);
        rest = tail;
        (taken.to_vec(), tail.len())
    };
    let number = |octets: &[u8]| octets.iter().fold(0, |n, &o| n << 8 | usize::from(o));
    let mut rows = BTreeSet::new();
    let mut left = raw.len() - HEADER;
    while left > 0 {
        let set = take(4 + 2 + 2 + 2 + 4 + 4 + 2).0;
        let (rtype, ttl) = (number(&set[6..8]), number(&set[10..14]));
        let owner = take(number(&set[18..20])).0.to_ascii_lowercase();
        for _ in 0..number(&set[14..18]) {
            let len = number(&take(2).0);
            let (data, tail) = take(len);
            left = tail;
            rows.insert((owner.clone(), rtype as u16, ttl as u32, data));
        }
    }
    rows
}

fn rows(file: &MasterFile) -> BTreeSet<Row> {
    let row = |r: &StaticRecord| {
        (r.owner.octets().to_vec(), r.rtype.into(), r.ttl, wire(&r.data).unwrap())
    };
    file.records.iter().map(row).collect()
}

fn read_file(path: &Path) -> MasterFile {
    let mut problems = Problems::default();
    let mut open = |path: &Path| std::fs::read(path);
    let file = read(path, &key(ORIGIN), DEFAULT_TTL, &mut open, &mut problems);
    let problems: Vec<_> = problems.sorted().iter().map(ToString::to_string).collect();
    assert_eq!(problems, [""; 0]);
    file
}

fn lined(rows: BTreeSet<Row>) -> BTreeSet<String> {
    let line = |(owner, rtype, ttl, octets): Row| {
        write_record(&Key::from_folded(&owner), ttl, &typed(rtype, &octets)).unwrap()
    };
    rows.into_iter().map(line).collect()
}

#[track_caller]
fn assert_same(ours: BTreeSet<Row>, theirs: BTreeSet<Row>) {
    let (ours, theirs) = (lined(ours), lined(theirs));
    let only_ours: Vec<_> = ours.difference(&theirs).collect();
    let only_theirs: Vec<_> = theirs.difference(&ours).collect();
    assert!(
        only_ours.is_empty() && only_theirs.is_empty(),
        "only ours: {only_ours:#?}\nonly theirs: {only_theirs:#?}"
    );
}

fn sample() -> MasterFile {
    read_file(&samples().join("every-type.zone"))
}

#[test]
fn bind_reads_the_same_from_the_sample() {
    let file = sample();
    for layout in layout::all() {
        let there = file.records.iter().any(|r| u16::from(r.rtype) == layout.code);
        assert!(there, "the sample has no {}", layout.name);
    }
    if let Some(theirs) = bind_reads(&samples().join("every-type.zone")) {
        assert_same(rows(&file), theirs);
    }
}

#[test]
fn peers_read_the_same_from_what_is_written() {
    accepted(&sample(), &["kzonecheck", "nsd-checkzone", "ldns-read-zone"]);
    // ldns 1.8 does not read every CSYNC and `alpn`.
    accepted(&random_file(), &["kzonecheck", "nsd-checkzone"]);
}

/// Does BIND read the records of `file`, written, as they are, and do `tools`
/// accept them?
fn accepted(file: &MasterFile, tools: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("written.zone");
    fs::write(&path, lines(file).join("\n") + "\n").unwrap();
    assert_eq!(rows(&read_file(&path)), rows(file));
    if let Some(theirs) = bind_reads(&path) {
        assert_same(rows(file), theirs);
    }
    for tool in tools {
        let arguments: &[&OsStr] = match *tool {
            "kzonecheck" => &["-o".as_ref(), ORIGIN.as_ref(), path.as_ref()],
            "nsd-checkzone" => &[ORIGIN.as_ref(), path.as_ref()],
            _ => &[path.as_ref()],
        };
        if let Some(output) = run(tool, arguments) {
            assert!(output.status.success(), "{tool}: {}", said(&output));
        }
    }
}

/// The sample's apex, then random records of every type, each of an owner of its own.
fn random_file() -> MasterFile {
    let mut file = sample();
    let apex = key(ORIGIN);
    let primary = apex.child(b"ns1").unwrap();
    file.records.retain(|r| r.owner == apex || r.owner == primary);
    let spot = file.records[0].spot;
    let mut runner = TestRunner::deterministic();
    let strategy = record();
    for n in 0..RANDOM {
        let (code, octets) = strategy.new_tree(&mut runner).unwrap().current();
        let rtype = RecordType::from(code);
        if rtype != RecordType::SOA {
            let owner = apex.child(format!("r{n}").as_bytes()).unwrap();
            let data = typed(code, &octets);
            file.records.push(StaticRecord { owner, rtype, ttl: 60, data, spot });
        }
    }
    file
}
