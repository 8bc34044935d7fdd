//! Reading the configuration anew: on a signal, or when a file has changed.
//!
//! All of it beside the loop that publishes, which waits for no disk: what is
//! to be done is [`Settle`]'s to say, and is done [aside](crate::host::aside).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Options;
use super::settle::{Due, Found, Settle, Settled};
use super::surroundings::Surroundings;
use crate::config::{self, Config, Invalid, Loaded, Loss, Overrides, Progress, Seen};
use crate::diag::Problem;
use crate::host::aside::{Aside, AsideError, Cause, Place};
use crate::host::timer::sleep_until;
use crate::source::watch::Watch;
use crate::status::reloaded::{Asked, Reloaded};

/// The least time between two looks without a reason, as a multiple of how long a
/// look takes.
const REST: u32 = 20;

/// And the longest.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The least time between the beginnings of two readings for who asks over HTTP: on loopback
/// anybody may, and while answers are built a move waits.
const SPACING: Duration = Duration::from_millis(500);

/// Reading the configuration anew, one reading at a time and beside the loop:
/// neither a large directory nor a disk that hangs may hold a move back.
pub(super) struct Reload {
    directory: PathBuf,
    overrides: Overrides,
    /// What a reading is compared with.
    in_use: Arc<Config>,
    watch: Option<Watch>,
    settle: Settle<Reading>,
    /// Who asked since the reading under way began; the next one is for them.
    waiting: Vec<Asked>,
    /// That was passed on.
    is_asked: bool,
    /// It is not passed on before.
    not_before: Instant,
    /// Who asked before it began, and hears what it comes to.
    answered: Vec<Asked>,
    work: Aside<Done>,
    /// Of the newest work that was begun.
    progress: Progress,
    /// Why it is looked at.
    cause: Cause,
    /// No look that nothing calls for is made before.
    rest_until: Instant,
    /// That it hangs was said, and nothing has ended since.
    said_hangs: bool,
}

/// A configuration to turn to, and what was found around it.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) loaded: Loaded,
    pub(super) surroundings: Surroundings,
    /// What would be lost with it.
    pub(super) losses: Vec<Loss>,
}

/// What was read.
type Reading = Result<Read, Invalid>;

/// What work brings.
enum Done {
    Read { found: Box<Found<Reading>>, asked: bool, began: Instant },
    Compared { digest: u128, began: Instant },
}

impl Reload {
    pub(super) fn new(options: &Options, in_use: &Arc<Config>) -> Self {
        let Options { directory, overrides, seen, .. } = options.clone();
        let seen = Arc::new(seen);
        let mut watch = options.watch.then(|| Watch::entries(&directory, ".toml"));
        if let Some(watch) = &mut watch {
            watch.set_files(files(&seen));
        }
        Self {
            work: Aside::new(Place::read(&directory), config::WITHIN),
            progress: Progress::at(&directory),
            directory,
            overrides,
            in_use: Arc::clone(in_use),
            watch,
            settle: Settle::new(seen),
            waiting: Vec::new(),
            is_asked: false,
            not_before: Instant::now(),
            answered: Vec::new(),
            cause: Cause::Told,
            rest_until: Instant::now(),
            said_hangs: false,
        }
    }

    /// Starts reading what is there, to be taken as it is; when a reading is
    /// under way, another one follows it.
    pub(super) fn ask(&mut self) {
        self.settle.ask();
    }

    /// The same for somebody who waits for what it comes to, and may give up.
    pub(super) fn ask_for(&mut self, asked: Asked) {
        // So there are no more of them than there are places to ask.
        self.waiting.retain(|asked| !asked.is_given_up());
        self.waiting.push(asked);
    }

    /// When a reading is asked for on behalf of those who wait; none: nobody does, or it is.
    fn asked_at(&self) -> Option<Instant> {
        (!self.waiting.is_empty() && !self.is_asked).then_some(self.not_before)
    }

    /// What [`event`](Self::event) gave was dealt with, and this is in use.
    pub(super) fn dealt(&mut self, in_use: &Arc<Config>, reloaded: Reloaded) {
        self.in_use = Arc::clone(in_use);
        let reloaded = Arc::new(reloaded);
        self.answered.drain(..).for_each(|asked| asked.answer(&reloaded));
    }

    /// Waits for a configuration that is to be taken, or for why one that was
    /// read, or could not be, is not. Cancel safe.
    pub(super) async fn event(&mut self) -> Result<Read, Invalid> {
        loop {
            while let Some(due) = self.settle.take_due() {
                if let Err(error) = self.begin(due)
                    && let Some(invalid) = self.hangs(&error)
                {
                    return Err(invalid);
                }
            }
            let asked_at = self.asked_at();
            let done = tokio::select! {
                cause = changed(&mut self.watch) => {
                    self.look(cause);
                    continue;
                }
                () = sleep_until(asked_at) => {
                    self.is_asked = true;
                    self.ask();
                    continue;
                }
                () = sleep_until(self.settle.wakes()) => {
                    self.settle.wake();
                    continue;
                }
                done = self.work.next() => done,
            };
            let read = match done {
                Ok(done) => self.done(done),
                Err(error) => self.hangs(&error).map(Err),
            };
            if let Some(read) = read {
                return read;
            }
        }
    }

    fn look(&mut self, cause: Cause) {
        let now = Instant::now();
        if cause == Cause::Told || now >= self.rest_until {
            self.cause = cause;
            self.settle.look(now);
        }
    }

    fn begin(&mut self, due: Due) -> Result<(), AsideError> {
        let began = Instant::now();
        let (directory, progress) = (self.directory.clone(), Progress::at(&self.directory));
        let telling = progress.clone();
        match due {
            Due::Compare => {
                let seen = Arc::clone(self.settle.seen());
                self.work.begin(self.cause, move || Done::Compared {
                    digest: seen.digest_now(&directory, &telling),
                    began,
                })?;
            }
            Due::Read { asked } => {
                if asked {
                    self.begin_for_who_asked();
                }
                let (overrides, in_use) = (self.overrides.clone(), Arc::clone(&self.in_use));
                self.work.begin(Cause::Told, move || {
                    let loaded = config::load_telling(&directory, &overrides, &telling);
                    let reading = loaded.map(|loaded| {
                        let losses = config::losses(&in_use, &loaded.config);
                        let surroundings = Surroundings::of(&loaded.config);
                        Read { loaded, surroundings, losses }
                    });
                    Done::Read { found: Box::new(found(reading)), asked, began }
                })?;
            }
        }
        self.progress = progress;
        Ok(())
    }

    /// A reading begins that is for all who asked by now.
    fn begin_for_who_asked(&mut self) {
        if let Some(first) = self.waiting.first() {
            let (client, asked) = (first.client, self.waiting.len());
            info!(%client, asked, "asked to read the configuration again (reload)");
            self.not_before = Instant::now() + SPACING;
        }
        self.is_asked = false;
        self.answered.append(&mut self.waiting);
    }

    /// Takes in what work has brought.
    fn done(&mut self, done: Done) -> Option<Result<Read, Invalid>> {
        let now = Instant::now();
        self.said_hangs = false;
        let outcome = match done {
            Done::Compared { digest, began } => {
                let rest = (now - began).saturating_mul(REST);
                self.rest_until = now + rest.min(LONGEST_REST);
                self.settle.compared(digest, now)
            }
            Done::Read { found, asked, began } => {
                if let Some(watch) = &mut self.watch {
                    watch.set_files(files(&found.seen));
                }
                self.settle.was_read(*found, asked, began, now)
            }
        };
        match outcome? {
            Settled::Take(reading) => return Some(reading),
            Settled::Refuse(reading) => return Some(self.refused(reading)),
            Settled::Waits => self.say_waits(),
            Settled::Restless => warn!(
                directory = %self.directory.display(),
                "configuration files change all the time: they are read once they rest, or on SIGHUP"
            ),
        }
        None
    }

    /// Why what would lose something is not taken.
    fn refused(&self, reading: Reading) -> Result<Read, Invalid> {
        let Read { loaded: Loaded { mut warnings, seen, .. }, losses, .. } = reading?;
        warnings.extend(self.problems(&losses));
        Err(Invalid { problems: warnings, seen })
    }

    fn problems<'l>(&self, losses: &'l [Loss]) -> impl Iterator<Item = Problem> + use<'_, 'l> {
        losses.iter().take(MAX_LOGGED).map(|loss| loss.problem(&self.directory))
    }

    fn say_waits(&self) {
        let found = self.settle.found().and_then(|reading| reading.as_ref().ok());
        let losses = found.map_or(&[][..], |read| &read.losses);
        for problem in self.problems(losses) {
            info!(
                file = %problem.place, what = %problem.what,
                "configuration changed: what would be gone may yet come back, waiting until its files rest"
            );
        }
    }

    /// Reading does not end: said to who asked, and else once.
    fn hangs(&mut self, cause: &AsideError) -> Option<Invalid> {
        let asked = self.settle.failed(Instant::now());
        // Known.
        let again = std::mem::replace(&mut self.said_hangs, true);
        (asked || !again).then(|| Invalid::hangs(&self.progress, cause))
    }
}

/// How many losses are logged.
const MAX_LOGGED: usize = 20;

fn found(reading: Reading) -> Found<Reading> {
    let (seen, loses) = match &reading {
        Ok(Read { loaded, losses, .. }) => (&loaded.seen, !losses.is_empty()),
        // Refused anyhow.
        Err(invalid) => (&invalid.seen, false),
    };
    Found { seen: Arc::new(seen.clone()), loses, read: reading }
}

/// The files to watch, each once.
fn files(seen: &Seen) -> Vec<PathBuf> {
    let mut files = seen.files.clone();
    files.sort();
    files.dedup();
    files
}

async fn changed(watch: &mut Option<Watch>) -> Cause {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::sync::mpsc;

    use super::*;
    use crate::status::reloaded::{Ask, Asks, MAX_ASKS, Outcome};
    use crate::testing::SERVER;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn names(last: u8) -> String {
        format!("[names]\nwww = {{ address = \"10.0.2.{last}\" }}\n")
    }

    fn start(directory: &std::path::Path, watch: bool) -> Reload {
        let overrides = Overrides::default();
        let Loaded { config, seen, .. } = config::load(directory, &overrides).unwrap();
        let directory = directory.to_owned();
        let options = Options { directory, overrides, seen, watch, ordinary_path: false };
        Reload::new(&options, &Arc::new(config))
    }

    /// What a reading has come to, in short.
    fn wrong() -> Reloaded {
        let (problems, outcome) = (Vec::new(), Outcome::Wrong);
        Reloaded { at: String::new(), problems, outcome, verdict: Default::default() }
    }

    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("server.toml"), SERVER).unwrap();
        fs::write(dir.path().join("example.com.toml"), names(1)).unwrap();
        dir
    }

    /// The loop that publishes waits for much else: whatever comes first drops
    /// what waits for the configuration.
    #[tokio::test]
    async fn waiting_may_be_cancelled_all_the_time() {
        let dir = directory();
        let mut reload = start(dir.path(), true);
        let deadline = Instant::now() + PATIENCE;
        for last in [2, 3] {
            fs::write(dir.path().join("example.com.toml"), names(last)).unwrap();
            let loaded = loop {
                let event = tokio::time::timeout(Duration::from_micros(100), reload.event());
                if let Ok(event) = event.await {
                    break event.unwrap().loaded;
                }
                assert!(Instant::now() < deadline, "the change is never seen: {:?}", reload.settle);
            };
            let target = loaded.config.zones[0].names[0].target.to_string();
            assert_eq!(target, format!("10.0.2.{last}"));
            reload.dealt(&Arc::new(loaded.config), wrong());
        }
    }

    #[tokio::test]
    async fn what_was_in_use_says_what_is_lost() {
        let dir = directory();
        let mut reload = start(dir.path(), true);
        let file = dir.path().join("example.com.toml");
        fs::write(&file, "").unwrap();
        let refused = tokio::time::timeout(PATIENCE, reload.event()).await.unwrap().unwrap_err();
        let told: Vec<_> = refused.problems.iter().map(|problem| &problem.what).collect();
        assert!(told[1].starts_with("[names] of zone example.com. had names"), "{told:?}");
        // An operator means it.
        reload.ask();
        let loaded = tokio::time::timeout(PATIENCE, reload.event()).await.unwrap().unwrap().loaded;
        reload.dealt(&Arc::new(loaded.config), wrong());
        fs::write(&file, "ttl = 7\n").unwrap();
        let loaded = tokio::time::timeout(PATIENCE, reload.event()).await.unwrap().unwrap().loaded;
        assert_eq!(loaded.config.zones[0].ttl, 7);
    }

    /// What is asked for while nothing can be read is answered with what hangs.
    #[tokio::test]
    async fn what_hangs_is_told_once_and_to_whoever_asks() {
        let dir = directory();
        let mut reload = start(dir.path(), false);
        let late = || AsideError::Late(config::WITHIN);
        let told = reload.hangs(&late()).unwrap().to_string();
        let expected =
            format!("{}: error: reading it does not end: nothing for 30s", dir.path().display());
        assert!(told.starts_with(&expected), "{told}");
        assert!(reload.hangs(&late()).is_none());
        reload.ask();
        assert!(reload.hangs(&late()).is_some());
        reload.ask();
        assert!(tokio::time::timeout(PATIENCE, reload.event()).await.unwrap().is_ok());
        assert!(reload.hangs(&late()).is_some(), "since then something has ended");
    }

    /// Asks, and has it heard.
    fn asked(reload: &mut Reload, (asks, asked): &mut (Asks, mpsc::Receiver<Asked>)) -> Ask {
        let ask = asks.ask([127, 0, 0, 1].into()).unwrap();
        reload.ask_for(asked.try_recv().unwrap());
        ask
    }

    /// Waits for the next event, and tells it with this as the time.
    async fn deals(reload: &mut Reload, at: &str) {
        let event = tokio::time::timeout(PATIENCE, reload.event()).await.unwrap();
        let in_use = Arc::new(event.unwrap().loaded.config);
        reload.dealt(&in_use, Reloaded { at: at.into(), ..wrong() });
    }

    /// Whoever asks gets the verdict of a reading that began afterwards, all the same one.
    #[tokio::test]
    async fn a_verdict_is_that_of_the_reading_that_began_after_the_ask() {
        let (dir, mut channel) = (directory(), Asks::channel());
        let mut reload = start(dir.path(), false);
        let heard =
            |ask: &mut Ask| ask.reloaded.try_recv().map(|reloaded| reloaded.at.clone()).ok();
        let (mut first, mut second) =
            (asked(&mut reload, &mut channel), asked(&mut reload, &mut channel));
        // It begins, and does not end so soon.
        let begins = tokio::time::timeout(Duration::ZERO, reload.event()).await;
        assert!(begins.is_err() && reload.waiting.is_empty(), "{:?}", reload.settle);
        // One who asked and gave up, one who asks by a signal, and one more.
        drop(asked(&mut reload, &mut channel));
        reload.ask();
        let mut third = asked(&mut reload, &mut channel);
        deals(&mut reload, "one").await;
        assert_eq!(heard(&mut first).as_deref(), Some("one"));
        assert_eq!(heard(&mut second).as_deref(), Some("one"));
        assert_eq!(heard(&mut third), None);
        deals(&mut reload, "two").await;
        assert_eq!(heard(&mut third).as_deref(), Some("two"));
        // Nothing is left to be done.
        assert!(reload.settle.take_due().is_none() && reload.answered.is_empty());
    }

    /// Whoever gives up withdraws nothing, and takes no place from others.
    #[tokio::test]
    async fn who_gives_up_withdraws_nothing_and_is_forgotten() {
        let (dir, mut channel) = (directory(), Asks::channel());
        let mut reload = start(dir.path(), false);
        for _ in 0..3 * MAX_ASKS {
            drop(asked(&mut reload, &mut channel));
        }
        assert_eq!(reload.waiting.len(), 1, "the last one");
        deals(&mut reload, "one").await;
        assert!(reload.answered.is_empty() && reload.settle.take_due().is_none());
    }

    /// What hangs is the verdict, too.
    #[tokio::test]
    async fn who_asks_for_what_hangs_hears_it() {
        let (dir, mut channel) = (directory(), Asks::channel());
        let mut reload = start(dir.path(), false);
        let late = || AsideError::Late(config::WITHIN);
        let mut ask = asked(&mut reload, &mut channel);
        assert!(tokio::time::timeout(Duration::ZERO, reload.event()).await.is_err());
        let invalid = reload.hangs(&late()).unwrap();
        let in_use = Arc::clone(&reload.in_use);
        reload.dealt(&in_use, Reloaded { problems: invalid.problems, ..wrong() });
        let reloaded = ask.reloaded.try_recv().unwrap();
        let verdict = reloaded.verdict();
        assert!(!verdict.accepted && verdict.taken.is_none());
        let told = verdict.problems.first[0].to_string();
        assert!(told.contains("error: reading it does not end: nothing for 30s"), "{told}");
    }
}
