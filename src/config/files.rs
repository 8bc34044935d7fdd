//! The files of a configuration: opened here and nowhere else, and noted, so
//! that whoever watches for changes watches and compares just what was read.

use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::host::background::{self, PIECE};
use crate::host::files;
use crate::records;

/// The largest file of the directory, in octets: ten times what 100,000 names
/// take.
const MAX_FILE: u64 = 128 << 20;

/// All files together have at most so many octets: two of the largest master
/// files. More is another directory than the one that was meant.
const MAX_ALL: u64 = 1 << 30;

/// A directory has at most so many files of a configuration: more zones than
/// anybody has.
const MAX_FILES: usize = 100_000;

/// So many entries of the directory are looked at, whatever they are.
const MAX_ENTRIES: usize = 1_000_000;

/// What a reading looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Every file, also those that are not there or cannot be read: first those
    /// of the directory, in order of name, then master files as they were read.
    pub files: Vec<PathBuf>,
    /// How many of them are the directory's own.
    own: usize,
    /// A digest of all that was read, and of what was not: equal for equal
    /// names and contents.
    pub digest: u128,
}

impl Seen {
    /// What the digest would be if the same files were read now.
    pub fn digest_now(&self, directory: &Path, progress: &Progress) -> u128 {
        let mut files = Files::new(progress);
        for path in files.list(directory).unwrap_or_default() {
            // What does not come is part of the digest.
            drop(files.zone(&path));
        }
        for path in self.files.get(self.own..).unwrap_or_default() {
            drop(files.master(path));
        }
        files.seen().digest
    }
}

/// The file that is being read, for whoever finds that it takes too long.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Mutex<PathBuf>>);

impl Progress {
    /// Reading `directory` has begun.
    pub fn at(directory: &Path) -> Self {
        Self(Arc::new(Mutex::new(directory.to_owned())))
    }

    /// The last file that was begun.
    pub fn file(&self) -> PathBuf {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin(&self, path: &Path) {
        path.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Reads files and notes what it reads.
pub(super) struct Files {
    seen: Seen,
    hasher: SipHasher24,
    octets: u64,
    progress: Progress,
}

impl Files {
    pub(super) fn new(progress: &Progress) -> Self {
        let (seen, hasher) = (Seen::default(), SipHasher24::new());
        Self { seen, hasher, octets: 0, progress: progress.clone() }
    }

    /// The paths of every `*.toml` of the directory, in order of name.
    pub(super) fn list(&mut self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.progress.begin(dir);
        let paths = list(dir);
        if let Err(error) = &paths {
            self.note(dir, Err(error));
        }
        paths
    }

    /// All octets of a file of the directory.
    pub(super) fn zone(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.seen.own += 1;
        self.read(path, MAX_FILE)
    }

    /// All octets of a master file, or of one it includes.
    pub(super) fn master(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path, records::MAX_FILE as u64)
    }

    /// What was read.
    pub(super) fn seen(self) -> Seen {
        Seen { digest: self.hasher.finish128().as_u128(), ..self.seen }
    }

    fn read(&mut self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.progress.begin(path);
        self.seen.files.push(path.to_owned());
        let octets = files::read(path, limit).and_then(|octets| {
            self.octets += octets.len() as u64;
            if self.octets <= MAX_ALL { Ok(octets) } else { Err(too_many("octets", MAX_ALL)) }
        });
        self.note(path, octets.as_deref());
        octets
    }

    fn note(&mut self, path: &Path, found: Result<&[u8], &io::Error>) {
        let hasher = &mut self.hasher;
        let name = path.as_os_str().as_encoded_bytes();
        let why = found.err().map(|error| format!("{:?} {error}", error.kind()));
        let octets = found.unwrap_or_else(|_| why.as_deref().unwrap_or_default().as_bytes());
        // Lengths keep neighbours apart.
        hasher.write_usize(name.len());
        hasher.write(name);
        hasher.write_u8(found.is_ok().into());
        hasher.write_usize(octets.len());
        for piece in octets.chunks(PIECE) {
            hasher.write(piece);
            background::breathe();
        }
    }
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for (nth, entry) in fs::read_dir(dir)?.enumerate() {
        let name = entry?.file_name();
        let octets = name.as_encoded_bytes();
        if octets.ends_with(b".toml") && !octets.starts_with(b".") {
            paths.push(dir.join(name));
        }
        if nth >= MAX_ENTRIES {
            return Err(too_many("entries", MAX_ENTRIES as u64));
        }
        if paths.len() > MAX_FILES {
            return Err(too_many("files", MAX_FILES as u64));
        }
    }
    paths.sort();
    Ok(paths)
}

fn too_many(what: &str, most: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("the configuration has more than {most} {what}"),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn seen(dir: &Path, masters: &[&Path]) -> Seen {
        let mut files = Files::new(&Progress::at(Path::new("/etc/eipdns")));
        for path in files.list(dir).unwrap_or_default() {
            drop(files.zone(&path));
        }
        for path in masters {
            drop(files.master(path));
        }
        files.seen()
    }

    #[test]
    fn digests_follow_names_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (a, master) = (at("a.toml"), at("a.zone"));
        let mut all = BTreeSet::new();
        let mut changed = |what: &str| {
            let seen = seen(dir.path(), &[&master]);
            assert!(all.insert(seen.digest), "{what}");
            assert_eq!(
                seen.digest_now(dir.path(), &Progress::at(Path::new("/etc/eipdns"))),
                seen.digest,
                "{what}"
            );
            seen
        };
        changed("nothing");
        fs::write(&a, "1").unwrap();
        changed("a file");
        fs::write(at("b.toml"), "").unwrap();
        changed("an empty file");
        fs::write(&master, "").unwrap();
        changed("a master file");
        fs::write(&master, "2").unwrap();
        let before = changed("its contents");
        assert_eq!(before.files, [a.clone(), at("b.toml"), master.clone()]);
        fs::rename(at("b.toml"), at("c.toml")).unwrap();
        changed("a name");
        fs::remove_file(at("c.toml")).unwrap();
        fs::remove_file(&master).unwrap();
        fs::create_dir(&master).unwrap();
        let last = changed("something that is no file");
        let now =
            |seen: &Seen| seen.digest_now(dir.path(), &Progress::at(Path::new("/etc/eipdns")));
        assert_ne!(now(&before), before.digest);

        // What is not of the configuration, or only touched, changes nothing.
        fs::write(at(".b.toml"), "").unwrap();
        fs::write(at("b.toml.swp"), "").unwrap();
        let file = fs::File::options().append(true).open(&a).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(now(&last), last.digest);
        fs::write(at("b.toml"), "").unwrap();
        assert_ne!(now(&last), last.digest);
        fs::remove_dir_all(dir.path()).unwrap();
        changed("no directory");
    }

    #[test]
    fn what_is_read_is_told_and_bounded() {
        let progress = Progress::at(Path::new("/etc/eipdns"));
        let mut files = Files::new(&progress);
        assert_eq!(progress.file(), Path::new("/etc/eipdns"));
        files.master(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(progress.file(), Path::new("/dev/zero"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "12345").unwrap();
        files.octets = MAX_ALL - 5;
        files.zone(&path).unwrap();
        let said = files.zone(&path).unwrap_err().to_string();
        assert_eq!(said, "the configuration has more than 1073741824 octets");
    }
}
