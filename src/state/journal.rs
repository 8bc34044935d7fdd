//! The history on disk: a file of lines to which each event is added, and the
//! one before it.
//!
//! A line that is not whole was being written when the process or the machine
//! died: it is cut off. A file with anything else in it that is no event is
//! kept aside once, and what is good of it goes on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{StateError, Step};
use super::trust;
use crate::host::background::{PIECE, breathe, breathing};

/// Where events are added.
const FILE: &str = "history.jsonl";
/// Where they were added before: as much as the history shows is always there.
const OLD_FILE: &str = "history.old.jsonl";
/// Added to the name of a file that is damaged. There is one of each.
const DAMAGED: &str = ".damaged";
/// Until a file is whole.
const NEW: &str = ".new";

/// So many octets of events a history has at most, whatever is in them.
pub(crate) const MAX_OCTETS: usize = 4 << 20;

/// When the file is this large, the next one begins.
const MAX_FILE: u64 = MAX_OCTETS as u64;

/// What is larger was not written by us: one batch may be as large as all of
/// the history, with its line ends.
const MAX_READ: u64 = 4 * MAX_FILE;

/// Adds to the history of a directory.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    /// Octets of the file that are whole lines; none: not looked at yet.
    whole: Option<u64>,
}

/// What the last process left.
#[derive(Debug, Default)]
pub struct Past {
    /// Events, the oldest first.
    pub events: Vec<Arc<str>>,
    /// What was wrong, to be told.
    pub damaged: Vec<Damaged>,
}

/// A file of the history that is damaged.
#[derive(Debug, thiserror::Error)]
#[error("the history in {} is damaged: {what}; {kept}, and its good events are shown", path.display())]
pub struct Damaged {
    path: PathBuf,
    what: String,
    kept: String,
}

impl Journal {
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), whole: None }
    }

    /// Reads all of it.
    pub(super) fn read(&mut self) -> Past {
        let mut past = Past::default();
        for name in [OLD_FILE, FILE] {
            let path = self.directory.join(name);
            match trust::read_at_most(&path, MAX_READ) {
                Ok(octets) => {
                    let (events, what) = parse(&octets);
                    if let Some(what) = what {
                        past.damaged.push(mend(path, what, &events));
                    }
                    past.events.extend(events);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(error) => past.damaged.push(mend(path, error.to_string(), &[])),
            }
        }
        past
    }

    /// Adds `events`, and waits until they are on the disk.
    ///
    /// # Errors
    /// What the disk says. Nothing was added then, or will be overwritten.
    pub(super) fn add(&mut self, events: &[Arc<str>]) -> Result<(), StateError> {
        let path = self.directory.join(FILE);
        let failed = |step, cause| StateError::Write { step, path: path.clone(), cause };
        let size = events.iter().map(|line| line.len() + 1).sum();
        let mut octets = Vec::with_capacity(size);
        for line in breathing(events) {
            octets.extend_from_slice(line.as_bytes());
            octets.push(b'\n');
        }
        let mut file = open(&path).map_err(|cause| failed(Step::Create, cause))?;
        let mut whole = self.whole(&file, &path).map_err(|cause| failed(Step::Create, cause))?;
        if whole > 0 && whole + octets.len() as u64 > MAX_FILE {
            fs::rename(&path, self.directory.join(OLD_FILE))
                .and_then(|()| open(&path))
                .map(|new| (file, whole) = (new, 0))
                .map_err(|cause| failed(Step::Rename, cause))?;
        }
        self.whole = None;
        // Cuts off what is no whole line, be it from before or from a write
        // that has failed.
        file.set_len(whole).map_err(|cause| failed(Step::Write, cause))?;
        let mut at = whole;
        for piece in octets.chunks(PIECE) {
            breathe();
            file.write_all_at(piece, at).map_err(|cause| failed(Step::Write, cause))?;
            at += piece.len() as u64;
        }
        breathe();
        file.sync_data().map_err(|cause| failed(Step::Sync, cause))?;
        self.whole = Some(at);
        Ok(())
    }

    /// How much of the file is whole lines.
    fn whole(&self, file: &File, path: &Path) -> io::Result<u64> {
        let len = file.metadata()?.len();
        match self.whole {
            Some(whole) if whole <= len => Ok(whole),
            _ => {
                let octets = trust::read_at_most(path, MAX_READ)?;
                Ok(octets.iter().rposition(|o| *o == b'\n').map_or(0, |at| at as u64 + 1))
            }
        }
    }
}

/// The file to add to, if it may be believed.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Not to wait for a pipe's other end.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    trust::check(&about).map_err(io::Error::other)?;
    Ok(file)
}

/// The events in a file, and what is wrong with it.
fn parse(octets: &[u8]) -> (Vec<Arc<str>>, Option<String>) {
    let (mut events, mut wrong) = (Vec::new(), None);
    let whole = octets.iter().rposition(|o| *o == b'\n').map_or(&[][..], |at| &octets[..at]);
    let lines = whole.split(|o| *o == b'\n').filter(|_| !whole.is_empty());
    for (at, line) in breathing(lines.enumerate()) {
        match std::str::from_utf8(line) {
            Ok(line) if is_event(line) => events.push(line.into()),
            _ => drop(wrong.get_or_insert_with(|| format!("line {} is no event", at + 1))),
        }
    }
    (events, wrong)
}

/// Sets a damaged file aside and leaves its good events in its place.
fn mend(path: PathBuf, what: String, good: &[Arc<str>]) -> Damaged {
    let beside = |more| {
        let mut name = path.clone().into_os_string();
        name.push(more);
        PathBuf::from(name)
    };
    let (damaged, new) = (beside(DAMAGED), beside(NEW));
    let text: String = good.iter().flat_map(|line| [&**line, "\n"]).collect();
    if let Err(error) = fs::rename(&path, &damaged) {
        return Damaged { path, what, kept: format!("it could not be set aside ({error})") };
    }
    // Fails on a disk that is full or broken: the next event says so.
    let _ = open(&new)
        .and_then(|file| file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0)))
        .and_then(|()| fs::rename(&new, &path));
    let kept = format!("it is kept as {}", damaged.display());
    Damaged { path, what, kept }
}

/// Is this a line that a history may have?
pub(crate) fn is_event(line: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Least {
        at: String,
        event: String,
    }
    serde_json::from_str::<Least>(line).is_ok_and(|l| !l.at.is_empty() && !l.event.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(nth: usize) -> Arc<str> {
        format!("{{\"at\":\"2026-11-28T03:00:00.000Z\",\"event\":\"moved\",\"nth\":{nth}}}").into()
    }

    fn events(of: std::ops::Range<usize>) -> Vec<Arc<str>> {
        of.map(event).collect()
    }

    fn read(directory: &Path) -> (Vec<Arc<str>>, usize) {
        let past = Journal::of(directory).read();
        (past.events, past.damaged.len())
    }

    #[test]
    fn what_was_added_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::of(dir.path());
        assert_eq!(read(dir.path()), (vec![], 0));
        journal.add(&events(0..2)).unwrap();
        journal.add(&events(2..3)).unwrap();
        assert_eq!(read(dir.path()), (events(0..3), 0));
        // Another process goes on with it.
        let mut journal = Journal::of(dir.path());
        journal.read();
        journal.add(&events(3..4)).unwrap();
        assert_eq!(read(dir.path()), (events(0..4), 0));
    }

    #[test]
    fn a_line_that_is_not_whole_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        Journal::of(dir.path()).add(&events(0..2)).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 1..=event(1).len() {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(read(dir.path()), (events(0..1), 0), "cut by {cut}");
            Journal::of(dir.path()).add(&events(7..8)).unwrap();
            assert_eq!(read(dir.path()), (vec![event(0), event(7)], 0), "cut by {cut}");
        }
        // Somebody has cut it while it was in use.
        let mut journal = Journal::of(dir.path());
        journal.add(&events(0..2)).unwrap();
        fs::write(&path, "").unwrap();
        journal.add(&events(2..3)).unwrap();
        assert_eq!(read(dir.path()), (events(2..3), 0));
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_what_is_good_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for bad in [&b"\n"[..], b"{}\n", b"\xff\xfe\n", b"\0\0\0\n"] {
            let text = [event(0).as_bytes(), b"\n", bad, event(1).as_bytes(), b"\n"].concat();
            fs::write(&path, &text).unwrap();
            let past = Journal::of(dir.path()).read();
            assert_eq!(past.events, events(0..2), "{bad:?}");
            let told = past.damaged[0].to_string();
            assert!(told.contains("line 2") && told.contains("history.jsonl.damaged"), "{told}");
            assert_eq!(fs::read(dir.path().join("history.jsonl.damaged")).unwrap(), text);
            assert_eq!(read(dir.path()), (events(0..2), 0), "mended");
        }
        // Neither a file of somebody else's nor one without end is read.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(read(dir.path()), (vec![], 1));
        assert_eq!(read(dir.path()), (vec![], 0));
        File::create(&path).unwrap().set_len(MAX_READ + 1).unwrap();
        assert_eq!(read(dir.path()), (vec![], 1));
    }

    #[test]
    fn two_files_have_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::of(dir.path());
        let batch = 10_000;
        for nth in 0..12 {
            journal.add(&events(nth * batch..(nth + 1) * batch)).unwrap();
            for name in [FILE, OLD_FILE] {
                let size = fs::metadata(dir.path().join(name)).map_or(0, |about| about.len());
                assert!(size <= MAX_FILE, "{name} has {size} octets");
            }
        }
        let (all, damaged) = read(dir.path());
        assert_eq!((all.last(), damaged), (Some(&event(12 * batch - 1)), 0));
        assert!(dir.path().join(OLD_FILE).exists());
        assert!(all.len() > MAX_FILE as usize / event(12 * batch).len(), "{}", all.len());
    }

    #[test]
    fn a_disk_that_fails_loses_nothing_once_it_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut journal = Journal::of(dir.path());
        journal.add(&events(0..1)).unwrap();
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        fs::create_dir(&path).unwrap();
        journal.add(&events(1..2)).unwrap_err();
        fs::remove_dir(&path).unwrap();
        fs::rename(dir.path().join("elsewhere"), &path).unwrap();
        journal.add(&events(1..2)).unwrap();
        assert_eq!(read(dir.path()), (events(0..2), 0));
    }

    #[test]
    fn what_is_no_event() {
        for bad in ["", "{}", "[]", "null", "{\"at\":\"x\"}", "{\"at\":1,\"event\":\"moved\"}", "{"]
        {
            assert!(!is_event(bad), "{bad}");
        }
        assert!(is_event("{\"at\":\"2026\",\"event\":\"of a later version\",\"more\":1}"));
    }
}
