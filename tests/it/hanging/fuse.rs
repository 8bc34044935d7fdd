//! A file system that hangs when told to, as a hard NFS mount does whose server
//! is gone: one directory of files, served over /dev/fuse by this process.
//! Layouts are those of Linux' include/uapi/linux/fuse.h, protocol 7.31.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::PATIENCE;
use crate::peers;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const ENOENT: i32 = 2;
const EINTR: i32 = 4;
const ENOSYS: i32 = 38;

/// Lives until it is dropped.
pub(crate) struct Fuse {
    umount: PathBuf,
    dir: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    device: File,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    hang: Mutex<Hang>,
    held: Condvar,
}

#[derive(Default)]
struct Hang {
    hangs: bool,
    held: Vec<Request>,
}

#[derive(Clone)]
struct Request {
    opcode: u32,
    unique: u64,
    node: u64,
    body: Vec<u8>,
}

impl Fuse {
    /// With these files; none without the right to mount, loudly.
    pub(crate) fn new(files: &[(&str, &str)]) -> Option<Self> {
        let (mount, umount) = (peers::need("mount")?, peers::need("umount")?);
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let Ok(device) = device else {
            peers::missing("/dev/fuse: not there, or not permitted; run as root");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new(mount)
            .args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0", "hanging"])
            .arg(dir.path())
            .stdin(device.try_clone().unwrap())
            .output()
            .unwrap();
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
            peers::missing(&format!("a FUSE mount: run as root ({})", why.trim()));
            return None;
        }
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        let shared = Arc::new(Shared {
            device,
            files: Mutex::new(files.collect()),
            hang: Mutex::default(),
            held: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        // Ends with the mount.
        std::thread::spawn(move || serving.serve());
        Some(Self { umount, dir, shared })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.shared.files.lock().unwrap().insert(name.into(), text.into());
    }

    /// Answers nothing from now on.
    pub(crate) fn hang(&self) {
        self.shared.hang.lock().unwrap().hangs = true;
    }

    /// Waits until somebody waits for an answer.
    pub(crate) fn wait_until_somebody_hangs(&self) {
        let hang = self.shared.hang.lock().unwrap();
        let (_hang, timeout) = self
            .shared
            .held
            .wait_timeout_while(hang, PATIENCE, |hang| hang.held.is_empty())
            .unwrap();
        assert!(!timeout.timed_out(), "nobody reads");
    }

    /// Answers all there was, and what comes.
    pub(crate) fn go_on(&self) {
        let mut hang = self.shared.hang.lock().unwrap();
        hang.hangs = false;
        for request in std::mem::take(&mut hang.held) {
            self.shared.answer(&request);
        }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.go_on();
        let done = Command::new(&self.umount).arg("-l").arg(self.dir.path()).status();
        assert!(done.unwrap().success() || std::thread::panicking());
    }
}

impl Shared {
    fn serve(&self) {
        let mut buffer = vec![0; 1 << 20];
        // An error says that it is unmounted.
        while let Ok(len) = (&self.device).read(&mut buffer) {
            let (head, body) = buffer[..len].split_at(40);
            let request = Request {
                opcode: u32::from_ne_bytes(head[4..8].try_into().unwrap()),
                unique: u64::from_ne_bytes(head[8..16].try_into().unwrap()),
                node: u64::from_ne_bytes(head[16..24].try_into().unwrap()),
                body: body.to_vec(),
            };
            let mut hang = self.hang.lock().unwrap();
            match request.opcode {
                FORGET | BATCH_FORGET => {}
                // Who waits is being killed: a hard mount lets it go, too.
                INTERRUPT => {
                    let which = u64::from_ne_bytes(request.body[..8].try_into().unwrap());
                    if hang.held.iter().any(|held| held.unique == which) {
                        hang.held.retain(|held| held.unique != which);
                        self.reply(which, -EINTR, &[]);
                    }
                }
                LOOKUP | GETATTR | OPEN | OPENDIR | READ | READDIR if hang.hangs => {
                    hang.held.push(request);
                    self.held.notify_all();
                }
                _ => self.answer(&request),
            }
        }
    }

    fn answer(&self, request: &Request) {
        match self.answered(request) {
            Ok(body) => self.reply(request.unique, 0, &body),
            Err(errno) => self.reply(request.unique, -errno, &[]),
        }
    }

    fn reply(&self, unique: u64, error: i32, body: &[u8]) {
        let mut reply = Vec::new();
        reply.extend(u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(unique.to_ne_bytes());
        reply.extend(body);
        // Who asked may be gone.
        let _ = (&self.device).write_all(&reply);
    }

    fn answered(&self, request: &Request) -> Result<Vec<u8>, i32> {
        let files = self.files.lock().unwrap();
        // The root has number 1, files those from 2 on in order of name.
        let file = |node: u64| {
            let nth = node.checked_sub(2).and_then(|nth| usize::try_from(nth).ok());
            nth.and_then(|nth| files.values().nth(nth)).ok_or(ENOENT)
        };
        match request.opcode {
            INIT => Ok(words(&[7, 31, 1 << 16, 0, 0, 1 << 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            LOOKUP => {
                let name = request.body.strip_suffix(b"\0").unwrap_or(&request.body);
                let at = files.keys().position(|known| known.as_bytes() == name).ok_or(ENOENT)?;
                let node = at as u64 + 2;
                let entry = [node, 0, 0, 0, 0].map(u64::to_ne_bytes).concat();
                Ok([entry, attributes(node, file(node).ok())].concat())
            }
            GETATTR if request.node == 1 => Ok([vec![0; 16], attributes(1, None)].concat()),
            GETATTR => {
                let attributes = attributes(request.node, Some(file(request.node)?));
                Ok([vec![0; 16], attributes].concat())
            }
            // A handle, and FOPEN_DIRECT_IO: each read comes here.
            OPEN | OPENDIR => Ok(words(&[0, 0, 1, 0])),
            READ => {
                let offset = u64::from_ne_bytes(request.body[8..16].try_into().unwrap());
                let size = u32::from_ne_bytes(request.body[16..20].try_into().unwrap());
                let rest = file(request.node)?.get(offset as usize..).unwrap_or_default();
                Ok(rest[..rest.len().min(size as usize)].to_vec())
            }
            // Nobody lists it.
            READDIR | RELEASE | RELEASEDIR | FLUSH => Ok(Vec::new()),
            _ => Err(ENOSYS),
        }
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct fuse_attr`; of the directory for none.
fn attributes(node: u64, file: Option<&Vec<u8>>) -> Vec<u8> {
    let size = file.map_or(0, Vec::len) as u64;
    let mode = if file.is_some() { 0o100_644 } else { 0o40_755 };
    let times = [node, size, 0, 0, 0, 0].map(u64::to_ne_bytes).concat();
    [times, words(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])].concat()
}

/// It does what the tests below build upon.
#[test]
fn it_serves_hangs_and_goes_on() {
    let Some(fuse) = Fuse::new(&[("a", "one"), ("b", "two")]) else { return };
    let read = |path: &Path| std::fs::read_to_string(path);
    assert_eq!(read(&fuse.path("b")).unwrap(), "two");
    assert!(read(&fuse.path("c")).is_err());
    fuse.write("a", "three");
    assert_eq!(read(&fuse.path("a")).unwrap(), "three");
    fuse.hang();
    let path = fuse.path("a");
    let reading = std::thread::spawn(move || std::fs::read_to_string(path));
    fuse.wait_until_somebody_hangs();
    std::thread::sleep(Duration::from_millis(10));
    assert!(!reading.is_finished());
    fuse.go_on();
    assert_eq!(reading.join().unwrap().unwrap(), "three");
}
