//! The `file` source: a JSON file that is read again whenever it changes.
//!
//! What is in the file is the truth at once; but a file that cannot be read
//! or understood says nothing, and the last good contents stand.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::SourceError;
use super::json::{Listing, ParseError};
use super::watch::Watch;
use super::{Answer, Ended, Handle, Pending, Post, Setup};
use crate::background::{self, PIECE};
use crate::inventory::Addresses;

/// The largest file taken, in octets: some 100,000 addresses with tags.
/// More is not a list of addresses.
const MAX_FILE: u64 = 64 << 20;

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

/// Reads the addresses in a file, once.
///
/// # Errors
/// When the file cannot be read or is not what `aws ec2 describe-addresses`
/// prints.
pub fn read(path: &Path) -> Result<Addresses, FileError> {
    look(path, None).map(|listing| Arc::clone(listing.addresses()))
}

/// What is in the file; `known` itself if it is the same text.
fn look(path: &Path, known: Option<&Arc<Listing>>) -> Result<Arc<Listing>, FileError> {
    let text = contents(path)?;
    if let Some(known) = known.filter(|known| *known.text() == *text) {
        return Ok(Arc::clone(known));
    }
    Listing::read(text, known.map_or(&Listing::default(), |known| known))
        .map(Arc::new)
        .map_err(|cause| FileError::Parse { path: path.to_owned(), cause })
}

fn contents(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |cause| FileError::Read { path: path.to_owned(), cause };
    // Opening a pipe would wait for its writer.
    let about = std::fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mut octets = Vec::with_capacity(about.len().min(MAX_FILE) as usize + 1);
    let mut file = File::open(path).map_err(failed)?;
    while file.by_ref().take(PIECE as u64).read_to_end(&mut octets).map_err(failed)? > 0 {
        if octets.len() as u64 > MAX_FILE {
            return Err(FileError::TooLarge { path: path.to_owned() });
        }
        background::breathe();
    }
    Ok(octets)
}

/// One source of type `file`, ready to [`run`](Self::run).
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    region: Option<String>,
    post: Post,
}

impl FileSource {
    /// A source that will deliver what is in `path`.
    pub fn new(setup: Setup, region: Option<String>, path: PathBuf) -> (Self, Handle) {
        let (post, handle) = Post::new(setup);
        (Self { path, region, post }, handle)
    }

    /// Delivers the file's addresses at once and after each change, until
    /// nobody takes them or nobody can ask any longer.
    pub async fn run(mut self) -> Ended {
        let mut watch = Watch::new(vec![self.path.clone()]);
        let mut judge = Judge::default();
        let mut pending = Pending::default();
        let mut again: Option<Instant> = None;
        loop {
            tokio::select! {
                () = watch.changed() => {}
                () = sleep_until(again) => {}
                ask = self.post.asked() => match ask {
                    Ok(ask) => pending.add(ask),
                    Err(ended) => return ended,
                }
            }
            while let Some(ask) = self.post.ask_at_hand() {
                pending.add(ask);
            }
            let began = Instant::now();
            let seen = look_aside(self.path.clone(), judge.known().cloned()).await;
            let took = began.elapsed();
            again = None;
            let (answer, tell) = match judge.judge(seen, Instant::now()) {
                Verdict::Again => {
                    again = Some(Instant::now() + AGAIN);
                    continue;
                }
                Verdict::Same(answer) => (answer, pending.asked),
                Verdict::New(answer) => (answer, true),
            };
            if !tell {
                self.post.note(took, &answer);
                continue;
            }
            let asked = std::mem::take(&mut pending);
            if let Err(ended) = self.post.deliver(took, self.region.clone(), answer, asked).await {
                return ended;
            }
        }
    }
}

/// Until `at`; without one, for ever.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Looks where neither waiting for a disk nor the time that megabytes take
/// holds up an answer.
async fn look_aside(path: PathBuf, known: Option<Arc<Listing>>) -> Result<Arc<Listing>, FileError> {
    let looking = path.clone();
    // As long as the process lives, it can only have panicked.
    background::run(move || look(&looking, known.as_ref())).await.unwrap_or_else(|_| {
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
                let answer = Ok(Arc::clone(seen.addresses()));
                if matches!(told, Some(Ok(told)) if Arc::ptr_eq(told, &seen)) {
                    return Verdict::Same(answer);
                }
                self.told = Some(Ok(seen));
                Verdict::New(answer)
            }
            (Err(_), _) if *self.bad_since.get_or_insert(now) + SETTLE > now => Verdict::Again,
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

    use tokio::sync::mpsc;

    use super::super::clock::Clock;
    use super::super::{Delivery, Gone};
    use super::*;
    use crate::inventory::Health;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn listing(last: u8) -> String {
        format!("{{\"Addresses\": [{{\"PublicIp\": \"75.101.137.{last}\"}}]}}")
    }

    fn last_octet(answer: &Answer) -> Option<u8> {
        answer.as_ref().ok()?.first().map(|a| a.public_ip.octets()[3])
    }

    struct Running {
        handle: Handle,
        deliveries: mpsc::Receiver<Delivery>,
        task: tokio::task::JoinHandle<Ended>,
    }

    fn start(path: &Path) -> Running {
        let (deliver, deliveries) = mpsc::channel(16);
        let (source, handle) = FileSource::new(
            Setup::new(0, "sample", Clock::start(), deliver),
            Some("us-east-1".into()),
            path.to_owned(),
        );
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

    #[test]
    fn what_a_look_means() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut judge = Judge::default();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut look = |octets: &str, ms| {
            fs::write(&path, octets).unwrap();
            judge.judge(super::look(&path, judge.known()), at(ms))
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
        assert_eq!(read(&path).unwrap()[0].public_ip.octets()[3], 7);
    }
}
