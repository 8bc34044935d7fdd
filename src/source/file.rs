//! The `file` source: a JSON file that is read again whenever it changes.
//!
//! What is in the file is the truth at once; but a file that cannot be read
//! or understood says nothing, and the last good contents stand. Nor does one
//! of which reading does not end: a disk or a file server may hang in any call.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::SourceError;
use super::json::{Listing, ParseError};
use super::usable::Said;
use super::watch::Watch;
use super::{Answer, Ended, Handle, Pending, Post, Setup};
use crate::host::aside::{self, Aside, AsideError, Cause, Place};
use crate::host::background;
use crate::host::files;

/// The largest file taken, in octets: some 100,000 addresses with tags.
/// More is not a list of addresses.
const MAX_FILE: u64 = 64 << 20;

/// How long reading may take before the source is stalled: as long as a call of
/// EC2 may.
pub(super) const WITHIN: Duration = Duration::from_secs(3);

/// A file that is read again and again and stays as it is, is told so often:
/// its age is that of the last good look.
const STILL: Duration = Duration::from_secs(1);

/// How long a file may be bad before that is told. A writer that truncates
/// first, or removes before it renames, shows nothing or half for a moment.
const SETTLE: Duration = Duration::from_millis(200);

/// How soon a bad file is looked at again within [`SETTLE`].
const AGAIN: Duration = Duration::from_millis(20);

/// Why a file gives no addresses.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Reading it does not end.
    #[error("reading {} {cause}", path.display())]
    Hangs {
        /// The file.
        path: PathBuf,
        /// What is known.
        cause: AsideError,
    },
    /// It is too large to be meant.
    #[error("{} has more than {MAX_FILE} octets; is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its contents are not a list of addresses.
    #[error("{}: {cause}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        cause: ParseError,
    },
}

/// Reads the addresses in a file, once, in a few seconds at most.
///
/// # Errors
/// When the file cannot be read in time or is not what
/// `aws ec2 describe-addresses` prints.
pub(crate) fn read(path: &Path) -> Result<Said, FileError> {
    let reading = path.to_owned();
    let octets = aside::within(&Place::read(path), WITHIN, move || contents(&reading))
        .unwrap_or_else(|cause| Err(FileError::Hangs { path: path.to_owned(), cause }))?;
    listing(path, octets, None).map(|listing| listing.said().clone())
}

fn contents(path: &Path) -> Result<Vec<u8>, FileError> {
    files::read(path, MAX_FILE).map_err(|cause| match cause.kind() {
        io::ErrorKind::FileTooLarge => FileError::TooLarge { path: path.to_owned() },
        _ => FileError::Read { path: path.to_owned(), cause },
    })
}

/// What `text` says; `known` itself if it is the same text.
fn listing(
    path: &Path,
    text: Vec<u8>,
    known: Option<&Arc<Listing>>,
) -> Result<Arc<Listing>, FileError> {
    if let Some(known) = known.filter(|known| *known.text() == *text) {
        return Ok(Arc::clone(known));
    }
    Listing::read(text, known.map_or(&Listing::default(), |known| known))
        .map(Arc::new)
        .map_err(|cause| FileError::Parse { path: path.to_owned(), cause })
}

/// How the octets of a file are had.
type Contents = Arc<dyn Fn(&Path) -> Result<Vec<u8>, FileError> + Send + Sync>;

/// One source of type `file`, ready to [`run`](Self::run).
pub(crate) struct FileSource {
    path: PathBuf,
    region: Option<String>,
    post: Post,
    contents: Contents,
    reading: Aside<Result<Vec<u8>, FileError>>,
    /// When the newest reading began.
    began: Instant,
    judge: Judge,
    pending: Pending,
    /// When an unchanged file was last told.
    told: Option<Instant>,
    /// When to look again at a file that is bad for the moment.
    again: Option<Instant>,
}

impl FileSource {
    /// A source that will deliver what is in `path`.
    pub(crate) fn new(setup: Setup, region: Option<String>, path: PathBuf) -> (Self, Handle) {
        let (post, handle) = Post::new(setup);
        let source = Self {
            reading: Aside::new(Place::read(&path), WITHIN),
            path,
            region,
            post,
            contents: Arc::new(contents),
            began: Instant::now(),
            judge: Judge::default(),
            pending: Pending::default(),
            told: None,
            again: None,
        };
        (source, handle)
    }

    /// Delivers the file's addresses at once, after each change and after each
    /// look now and then, until nobody takes them or nobody can ask any longer.
    pub(crate) async fn run(mut self) -> Ended {
        let mut watch = Watch::new(&self.path);
        loop {
            let read = tokio::select! {
                cause = watch.changed() => self.read(cause).await,
                () = sleep_until(self.again) => self.read(Cause::Told).await,
                ask = self.post.asked() => match ask {
                    Ok(ask) => {
                        self.pending.add(ask);
                        self.read(Cause::Told).await
                    }
                    Err(ended) => return ended,
                },
                // One that was given up ends after all.
                late = self.reading.next() => Some(late),
            };
            if let Some(read) = read
                && let Err(ended) = self.take(read).await
            {
                return ended;
            }
        }
    }

    /// Reads the file, at most for [`WITHIN`]. None: an earlier reading hangs,
    /// and that is known.
    async fn read(&mut self, cause: Cause) -> Option<Read> {
        self.again = None;
        while let Some(ask) = self.post.ask_at_hand() {
            self.pending.add(ask);
        }
        // Whoever asks is answered.
        let cause = if self.pending.asked { Cause::Told } else { cause };
        self.began = Instant::now();
        let (path, contents) = (self.path.clone(), Arc::clone(&self.contents));
        match self.reading.begin(cause, move || contents(&path)) {
            Ok(()) => Some(self.reading.next().await),
            Err(AsideError::NotYet) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Judges what was read, and tells if it is to be told.
    async fn take(&mut self, read: Read) -> Result<(), Ended> {
        let path = self.path.clone();
        let known = self.judge.known().cloned();
        let seen = match read {
            Ok(Ok(octets)) => understand(path, octets, known).await,
            Ok(Err(error)) => Err(error),
            Err(cause) => Err(FileError::Hangs { path, cause }),
        };
        let (now, took) = (Instant::now(), self.began.elapsed());
        let (answer, tell) = match self.judge.judge(seen, now) {
            Verdict::Again => {
                self.again = Some(now + AGAIN);
                return Ok(());
            }
            Verdict::Same(answer) => {
                let long_ago = self.told.is_none_or(|told| now - told >= STILL);
                let still = answer.is_ok() && long_ago;
                (answer, still || self.pending.asked)
            }
            Verdict::New(answer) => (answer, true),
        };
        if !tell {
            self.post.note(took, &answer);
            return Ok(());
        }
        self.told = Some(now);
        let asked = std::mem::take(&mut self.pending);
        self.post.deliver(took, self.region.clone(), answer, asked).await
    }
}

/// What a reading brought.
type Read = Result<Result<Vec<u8>, FileError>, AsideError>;

/// Until `at`; without one, for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Understands where the time that megabytes take holds up no answer.
async fn understand(
    path: PathBuf,
    octets: Vec<u8>,
    known: Option<Arc<Listing>>,
) -> Result<Arc<Listing>, FileError> {
    let of = path.clone();
    // As long as the process lives, it can only have panicked.
    background::run(move || listing(&of, octets, known.as_ref())).await.unwrap_or_else(|_| {
        let cause = io::Error::other("reading it failed. This is a bug: report it with the file");
        Err(FileError::Read { path, cause })
    })
}

/// What a look at the file means.
enum Verdict {
    /// Bad, but perhaps only for a moment: look again soon.
    Again,
    /// As it was when last told.
    Same(Answer),
    /// To be told.
    New(Answer),
}

/// Compares what is seen with what was told.
#[derive(Default)]
struct Judge {
    told: Option<Result<Arc<Listing>, Arc<SourceError>>>,
    bad_since: Option<Instant>,
}

impl Judge {
    /// What was told last, if it is good.
    fn known(&self) -> Option<&Arc<Listing>> {
        self.told.as_ref()?.as_ref().ok()
    }

    fn judge(&mut self, seen: Result<Arc<Listing>, FileError>, now: Instant) -> Verdict {
        match (seen, &self.told) {
            (Ok(seen), told) => {
                self.bad_since = None;
                let answer = Ok(seen.said().clone());
                if matches!(told, Some(Ok(told)) if Arc::ptr_eq(told, &seen)) {
                    return Verdict::Same(answer);
                }
                self.told = Some(Ok(seen));
                Verdict::New(answer)
            }
            (Err(error), _)
                if *self.bad_since.get_or_insert(now) + SETTLE > now
                    // That has taken its time already.
                    && !matches!(error, FileError::Hangs { .. }) =>
            {
                Verdict::Again
            }
            (Err(error), Some(Err(told))) if told.to_string() == error.to_string() => {
                Verdict::Same(Err(Arc::clone(told)))
            }
            (Err(error), _) => {
                let error = Arc::new(SourceError::from(error));
                self.told = Some(Err(Arc::clone(&error)));
                Verdict::New(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::{Condvar, Mutex};

    use tokio::sync::mpsc;

    use super::super::clock::Clock;
    use super::super::{Delivery, Gone};
    use super::*;
    use crate::source::inventory::Health;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Longer than a reading takes that does not hang.
    const SOON: Duration = Duration::from_millis(500);

    fn listing(last: u8) -> String {
        format!("{{\"Addresses\": [{{\"PublicIp\": \"75.101.137.{last}\"}}]}}")
    }

    fn last_octet(answer: &Answer) -> Option<u8> {
        answer.as_ref().ok()?.addresses.first().map(|a| a.public_ip.octets()[3])
    }

    struct Running {
        handle: Handle,
        deliveries: mpsc::Receiver<Delivery>,
        task: tokio::task::JoinHandle<Ended>,
    }

    fn start(path: &Path) -> Running {
        start_with(path, |_| {})
    }

    fn start_with(path: &Path, change: impl FnOnce(&mut FileSource)) -> Running {
        let (deliver, deliveries) = mpsc::channel(16);
        let (mut source, handle) = FileSource::new(
            Setup::new(0, "sample", Clock::start(), deliver),
            Some("us-east-1".into()),
            path.to_owned(),
        );
        change(&mut source);
        Running { handle, deliveries, task: tokio::spawn(source.run()) }
    }

    impl Running {
        async fn next(&mut self) -> Delivery {
            let next = tokio::time::timeout(PATIENCE, self.deliveries.recv());
            next.await.expect("nothing was delivered").expect("the source has ended")
        }
    }

    #[tokio::test]
    async fn edits_of_every_kind_are_delivered_and_half_of_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        fs::write(&path, listing(1)).unwrap();
        let mut source = start(&path);
        let first = source.next().await;
        assert_eq!(last_octet(&first.answer), Some(1));
        assert_eq!(first.health, Health::Healthy);
        assert_eq!(first.region.as_deref(), Some("us-east-1"));

        // Truncate and write, with a pause in the middle that is shorter than
        // the time allowed.
        fs::write(&path, "").unwrap();
        tokio::time::sleep(AGAIN).await;
        fs::write(&path, listing(2)).unwrap();
        let second = source.next().await;
        assert_eq!((last_octet(&second.answer), second.health), (Some(2), Health::Healthy));

        let new = dir.path().join("new.json");
        fs::write(&new, listing(3)).unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(last_octet(&source.next().await.answer), Some(3));

        fs::write(dir.path().join("four.json"), listing(4)).unwrap();
        symlink("four.json", &new).unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(last_octet(&source.next().await.answer), Some(4));

        fs::write(dir.path().join("four.json"), listing(5)).unwrap();
        assert_eq!(last_octet(&source.next().await.answer), Some(5));
        assert_eq!(source.handle.stats().read().failed_in_all(), 0);
    }

    #[tokio::test]
    async fn a_bad_file_stalls_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/addresses.json");
        let mut source = start(&path);
        let none = source.next().await;
        let said = none.answer.unwrap_err().to_string();
        assert!(said.starts_with("cannot read ") && said.contains("No such file"), "{said}");
        let Health::Stalled { since, .. } = none.health else { panic!("{:?}", none.health) };

        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, listing(1)).unwrap();
        let good = source.next().await;
        assert_eq!((last_octet(&good.answer), good.health), (Some(1), Health::Healthy));
        assert!(good.at >= since);

        fs::write(&path, "{\"Addresses\": [").unwrap();
        let half = source.next().await;
        let Health::Stalled { why, .. } = half.health else { panic!("{:?}", half.health) };
        assert!(why.ends_with("the JSON ends too early; is it still being written?"), "{why}");

        // The same contents as before the trouble count as news.
        fs::write(&path, listing(1)).unwrap();
        let healed = source.next().await;
        assert_eq!((last_octet(&healed.answer), healed.health), (Some(1), Health::Healthy));

        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert!(matches!(source.next().await.health, Health::Stalled { .. }));
    }

    #[tokio::test]
    async fn a_refresh_is_answered_once_published() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        fs::write(&path, listing(1)).unwrap();
        let mut source = start(&path);
        source.next().await.published(None);

        let handle = source.handle.clone();
        let asked = tokio::spawn(async move { handle.refresh(true).await });
        let delivery = source.next().await;
        assert!(delivery.accept_losses);
        assert!(!asked.is_finished());
        delivery.published(None);
        assert!(asked.await.unwrap().unwrap().failed.is_none());

        // Not published: the server goes down.
        let handle = source.handle.clone();
        let asked = tokio::spawn(async move { handle.refresh(false).await });
        drop(source.next().await);
        assert_eq!(asked.await.unwrap().unwrap_err(), Gone);

        drop(source.handle);
        assert_eq!(source.task.await.unwrap(), Ended::NoHandle);
    }

    /// Readings that hang while it is closed.
    #[derive(Default)]
    struct Gate {
        closed: Mutex<bool>,
        opened: Condvar,
    }

    impl Gate {
        fn set(&self, closed: bool) {
            *self.closed.lock().unwrap() = closed;
            self.opened.notify_all();
        }

        fn pass(&self) {
            let closed = self.closed.lock().unwrap();
            drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
        }
    }

    /// A source whose readings of links hang at the gate.
    fn start_at(gate: &Arc<Gate>, path: &Path) -> Running {
        let gate = Arc::clone(gate);
        start_with(path, |source| {
            source.reading = Aside::new(Place::read(&source.path), SOON);
            source.contents = Arc::new(move |path| {
                if path.is_symlink() {
                    gate.pass();
                }
                contents(path)
            });
        })
    }

    #[tokio::test]
    async fn a_reading_that_hangs_stalls_the_source_and_another_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        fs::write(dir.path().join("far.json"), listing(1)).unwrap();
        symlink("far.json", &path).unwrap();
        let gate = Arc::new(Gate::default());
        let mut source = start_at(&gate, &path);
        let first = source.next().await;
        assert_eq!((last_octet(&first.answer), first.health), (Some(1), Health::Healthy));

        gate.set(true);
        let handle = source.handle.clone();
        let asked = tokio::spawn(async move { handle.refresh(false).await });
        let hangs = source.next().await;
        let Health::Stalled { why, since } = &hangs.health else { panic!("{:?}", hangs.health) };
        assert_eq!(
            *why,
            format!(
                "reading {} does not end: nothing for 500ms; mend its disk, mount or file server, \
                 or put another file there",
                path.display()
            )
        );
        assert!(*since > first.at);
        let stats = source.handle.stats().read();
        assert_eq!(stats.failed(crate::source::error::Class::Timeout), 1, "{stats:?}");
        hangs.published(None);
        assert!(asked.await.unwrap().unwrap().failed.is_some());

        // A good one in its place is read although the other reading hangs.
        let new = dir.path().join("new.json");
        fs::write(&new, listing(2)).unwrap();
        fs::rename(&new, &path).unwrap();
        let good = source.next().await;
        assert_eq!((last_octet(&good.answer), good.health), (Some(2), Health::Healthy));
        // And what the other one brings in the end is older than that.
        gate.set(false);
        let handle = source.handle.clone();
        let asked = tokio::spawn(async move { handle.refresh(false).await });
        assert_eq!(last_octet(&source.next().await.answer), Some(2));
        drop(asked);
    }

    #[tokio::test]
    async fn a_reading_that_ends_late_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        fs::write(dir.path().join("far.json"), listing(1)).unwrap();
        symlink("far.json", &path).unwrap();
        let gate = Arc::new(Gate::default());
        gate.set(true);
        let mut source = start_at(&gate, &path);
        assert!(matches!(source.next().await.health, Health::Stalled { .. }));
        gate.set(false);
        let late = source.next().await;
        assert_eq!((last_octet(&late.answer), late.health), (Some(1), Health::Healthy));
    }

    #[tokio::test]
    async fn a_file_that_stays_as_it_is_does_not_grow_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        fs::write(&path, listing(1)).unwrap();
        let mut source = start(&path);
        let first = source.next().await;
        let second = source.next().await;
        assert!(second.at >= first.at + STILL);
        let (Ok(first), Ok(second)) = (first.answer, second.answer) else { panic!("both good") };
        assert!(
            Arc::ptr_eq(&first.addresses, &second.addresses),
            "the same memory: nothing to be compared"
        );
        assert_eq!(source.handle.stats().read().failed_in_all(), 0);
    }

    #[test]
    fn what_a_look_means() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut judge = Judge::default();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut look = |octets: &str, ms| {
            judge.judge(super::listing(&path, octets.into(), judge.known()), at(ms))
        };
        let new = |v: Verdict| matches!(v, Verdict::New(Ok(_)));
        let same = |v: Verdict| matches!(v, Verdict::Same(Ok(_)));
        let again = |v: Verdict| matches!(v, Verdict::Again);
        let (one, two) = (listing(1), listing(2));
        assert!(new(look(&one, 0)));
        assert!(same(look(&one, 1)));
        // Bad for a moment: nothing is told, then or later.
        assert!(again(look("", 2)));
        assert!(same(look(&one, 3)));
        // Bad for longer: told once; the clock starts with the first bad look.
        assert!(again(look("", 500)));
        assert!(again(look("{", 699)));
        assert!(matches!(look("{", 700), Verdict::New(Err(_))));
        assert!(matches!(look("{", 800), Verdict::Same(Err(_))));
        assert!(matches!(look("[", 900), Verdict::New(Err(_))));
        // What was told before it was bad is news.
        assert!(new(look(&one, 901)));
        assert!(new(look(&two, 902)));
        assert!(same(look(&two, 903)));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let said = read(dir.path()).unwrap_err().to_string();
        assert!(said.ends_with("it is not a regular file"), "{said}");
        let path = dir.path().join("a.json");
        fs::write(&path, listing(7)).unwrap();
        assert_eq!(read(&path).unwrap().addresses[0].public_ip.octets()[3], 7);
    }
}
