//! The credentials of a source, renewed beside its calls.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::task::JoinSet;

use super::files;
use super::trouble::{of_credentials, other};
use eipdns::host::often::Often;
use eipdns::source::error::PollError;

/// How long credentials may take. The SDK asks the metadata service four times,
/// with pauses of up to one, two and four seconds between; what comes of that
/// says more than that it takes long. No call waits for it while there are good
/// ones.
const CREDENTIALS: Duration = Duration::from_secs(10);

/// How long before their end credentials are renewed: time for some tries. The
/// metadata service has new ones five minutes before the end of the old (EC2
/// user guide, "Retrieve security credentials from instance metadata").
const RENEW_BEFORE: Duration = Duration::from_secs(240);

/// The least time between two renewals, of which the first has failed or brought
/// what ends soon; and how long those are used that have no end: a profile's
/// keys may be replaced.
const RENEW_AGAIN: Duration = Duration::from_secs(20);
const ENDLESS: Duration = Duration::from_secs(15 * 60);

/// Whose credentials they are.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    /// Tells the source from others: attempts that hang are counted for each.
    pub(super) key: PathBuf,
    /// Who gives them, as people call it.
    pub(super) asked: &'static str,
}

/// Keeps credentials while they are good. Different from the SDK's own cache
/// it renews them beside calls, in time of its own, and names what goes wrong.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) provider: SharedCredentialsProvider,
    pub(super) kept: KeptCredentials,
    /// The renewal that is under way, if one is. It ends with the keeper.
    pub(super) renewal: JoinSet<Result<(), PollError>>,
    /// How long one may take.
    pub(super) within: Duration,
    of: Owner,
    /// Keys of a profile may fail to be read for days.
    pub(super) failing: Arc<Often>,
}

impl Keeper {
    pub(super) fn new(provider: SharedCredentialsProvider, of: Owner) -> Self {
        let (kept, failing) = Default::default();
        Self { provider, kept, renewal: JoinSet::new(), within: CREDENTIALS, of, failing }
    }

    /// Gives the next call good credentials. It waits only if there are none, at
    /// most for [`CREDENTIALS`]; if it is time for new ones, getting them begins.
    pub(super) async fn provide(&mut self) -> Result<(), PollError> {
        // One that has failed beside calls has told the log.
        while self.renewal.try_join_next().is_some() {}
        let standing = self.kept.standing(SystemTime::now());
        if standing != Standing::Good && self.renewal.is_empty() {
            let asked = ask(self.provider.clone(), self.of.clone(), self.within);
            self.renewal.spawn(renew(asked, self.kept.clone(), Arc::clone(&self.failing)));
        }
        if standing != Standing::None {
            return Ok(());
        }
        match self.renewal.join_next().await {
            Some(Ok(outcome)) => outcome,
            // It has panicked: nothing else ends it.
            Some(Err(error)) => Err(other(&error)),
            None => Err(PollError::NoCredentials { cause: "nobody has asked for them".into() }),
        }
    }
}

/// Keeps new credentials, or says what is wrong with getting them. A failure is no
/// error yet while the old ones are good.
async fn renew(
    asked: impl Future<Output = Result<Credentials, PollError>>,
    kept: KeptCredentials,
    failing: Arc<Often>,
) -> Result<(), PollError> {
    let now = SystemTime::now;
    let error = match asked.await {
        Ok(credentials) => match kept.keep(credentials, now()) {
            Given::New => return Ok(()),
            // Good for another while, or for a call that the service may take still.
            Given::Again(end) => {
                if kept.use_on(now()) {
                    warn_of(&PollError::Ends { at: end }, &failing);
                }
                return Ok(());
            }
        },
        Err(error) => error,
    };
    if kept.use_on(now()) {
        warn_of(&error, &failing);
    }
    Err(error)
}

fn warn_of(error: &PollError, failing: &Often) {
    if let Some(left_out) = failing.may(Instant::now()) {
        tracing::warn!(%error, left_out, "credentials are not renewed yet; the old ones are still good");
    }
}

/// Asks a provider, which may read files where it stands, as that of a web identity's
/// token does.
async fn ask(
    provider: SharedCredentialsProvider,
    of: Owner,
    within: Duration,
) -> Result<Credentials, PollError> {
    let asked = async move { provider.provide_credentials().await };
    match files::beside(&Path::new("AWS credentials").join(of.key), within, asked).await? {
        Some(outcome) => outcome.map_err(|error| of_credentials(&error)),
        None => Err(PollError::Unanswered { asked: of.asked, after: within }),
    }
}

/// What a provider has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    New,
    /// Those that it gave before, which end then and are due to be renewed. The
    /// SDK's provider of the metadata service gives its last ones when that fails,
    /// and does not say so.
    Again(SystemTime),
}

/// Can a call be made?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There are no credentials, or they have ended.
    None,
    /// They are good, and it is time for new ones.
    Due,
    Good,
}

/// The credentials. A clone has the same; the SDK asks one for each call.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptCredentials(pub(super) Arc<Mutex<Option<Keys>>>);

#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) credentials: Credentials,
    /// When to get new ones.
    pub(super) renew_at: SystemTime,
}

impl Keys {
    fn are_good(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|end| now < end)
    }
}

impl KeptCredentials {
    pub(super) fn keys(&self) -> MutexGuard<'_, Option<Keys>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self, now: SystemTime) -> Standing {
        match &*self.keys() {
            Some(keys) if !keys.are_good(now) => Standing::None,
            Some(keys) if now < keys.renew_at => Standing::Good,
            Some(_) => Standing::Due,
            None => Standing::None,
        }
    }

    fn keep(&self, credentials: Credentials, now: SystemTime) -> Given {
        let renew_at = match credentials.expiry() {
            Some(expiry) => {
                expiry.checked_sub(RENEW_BEFORE).filter(|at| *at > now).unwrap_or(now + RENEW_AGAIN)
            }
            None => now + ENDLESS,
        };
        let mut keys = self.keys();
        let is_same = |keys: &Keys| {
            let (old, new) = (&keys.credentials, &credentials);
            old.access_key_id() == new.access_key_id() && old.expiry() == new.expiry()
        };
        let given = match credentials.expiry() {
            Some(end) if keys.as_ref().is_some_and(is_same) => Given::Again(end),
            _ => Given::New,
        };
        *keys = Some(Keys { credentials, renew_at });
        given
    }

    /// Uses the old ones for another while; false if they are not good.
    fn use_on(&self, now: SystemTime) -> bool {
        let mut keys = self.keys();
        let Some(keys) = keys.as_mut().filter(|keys| keys.are_good(now)) else { return false };
        keys.renew_at = now + RENEW_AGAIN;
        true
    }

    /// Those that a call is signed with now.
    pub(super) fn current(&self) -> Option<Credentials> {
        self.keys().as_ref().map(|keys| keys.credentials.clone())
    }

    /// What a failure is of a call that was signed with `used`. If the service does not take
    /// those, the next call waits for new ones; if it has them already, because they were
    /// renewed beside the call, it uses them.
    pub(super) fn judge(&self, used: Option<&Credentials>, error: PollError) -> PollError {
        let PollError::Refused { code, message } = error else { return error };
        self.forget(used);
        let ended = used.and_then(Credentials::expiry).filter(|end| *end <= SystemTime::now());
        match ended {
            Some(at) => PollError::Ended { at, code },
            None => PollError::Refused { code, message },
        }
    }

    fn forget(&self, used: Option<&Credentials>) {
        let mut keys = self.keys();
        let key_of = |credentials: &Credentials| credentials.access_key_id().to_owned();
        if keys.as_ref().map(|keys| key_of(&keys.credentials)) == used.map(key_of) {
            *keys = None;
        }
    }
}

impl ProvideCredentials for KeptCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let keys = self.current().ok_or_else(CredentialsError::not_loaded_no_source);
        future::ProvideCredentials::ready(keys)
    }
}
