//! Whose account the credentials of a source are of (`source.account`).
//!
//! Credentials may carry it. Those of which nothing says it are shown to STS, once for each
//! access key and beside the calls to EC2. The first answer of all waits for what it says,
//! and that of a new key for a second at most.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::config::{IdentityCache, SharedHttpClient};
use aws_sdk_sts::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::trouble::of_call;
use eipdns::host::often::Often;
use eipdns::source::ec2::Principal;
use eipdns::source::error::PollError;

/// The action that is needed; it is never denied by what a role lacks (IAM user guide,
/// "GetCallerIdentity").
pub(super) const IDENTIFY: &str = "sts:GetCallerIdentity";

/// The least time between two questions about one key, of which the first had no answer.
const ASK_AGAIN: Duration = Duration::from_secs(20);

/// How long an answer waits for what STS says of a new key, where the key before was of the
/// account. Both are asked at the same time, so that this is seldom reached.
const NEW_KEY: Duration = Duration::from_secs(1);

/// Verifies that credentials are of the account that is configured.
#[derive(Debug)]
pub(super) struct Account {
    wanted: String,
    sdk: SdkConfig,
    http: SharedHttpClient,
    known: Arc<Mutex<Known>>,
    /// The question that is under way, if one is. It ends with this.
    asking: JoinSet<()>,
    within: Duration,
}

/// What is known of the credentials.
#[derive(Debug, Default)]
struct Known {
    /// The last question.
    last: Option<Asked>,
    /// Was any key of this provider of the account? Then one of which STS says nothing,
    /// because it is out of reach, is too.
    verified: bool,
    /// STS may be out of reach for days.
    failing: Often,
}

/// A question to STS about an access key.
#[derive(Debug)]
struct Asked {
    key: String,
    at: Instant,
    /// The account, once it is told.
    said: Option<Result<String, PollError>>,
}

/// May an answer be taken that was signed with a key?
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is of the account.
    Yes,
    /// STS has been asked. Another key of this provider was of the account.
    Asked,
    /// Nobody has said so yet.
    Wait,
    No(PollError),
}

impl Account {
    pub(super) fn new(
        wanted: &str,
        sdk: &SdkConfig,
        http: SharedHttpClient,
        within: Duration,
    ) -> Self {
        let (known, asking) = Default::default();
        Self { wanted: wanted.to_owned(), sdk: sdk.clone(), http, known, asking, within }
    }

    /// Begins to find out whose credentials these are, if nobody knows.
    pub(super) fn look(&mut self, credentials: &Credentials) {
        while self.asking.try_join_next().is_some() {}
        let key = credentials.access_key_id().to_owned();
        if let Some(is) = credentials.account_id() {
            self.known().told(&key, Ok(is.as_str().to_owned()), &self.wanted);
            return;
        }
        if !self.asking.is_empty() || !self.known().is_due(&key, Instant::now()) {
            return;
        }
        self.known().last = Some(Asked { key: key.clone(), at: Instant::now(), said: None });
        let client = client(&self.sdk, self.http.clone(), credentials);
        let known = Arc::clone(&self.known);
        let (within, wanted) = (self.within, self.wanted.clone());
        self.asking.spawn(async move {
            let said = identify(&client, within).await.map(|principal| principal.account);
            lock(&known).told(&key, said, &wanted);
        });
    }

    /// May an answer be taken that was signed with these? Waits for what STS says; not
    /// longer than [`NEW_KEY`] if a key before was of the account.
    ///
    /// # Errors
    /// They are of another account, or nobody says of which.
    pub(super) async fn verify(&mut self, used: Option<&Credentials>) -> Result<(), PollError> {
        let Some(used) = used else { return Ok(()) };
        loop {
            let verdict = self.known().verdict(used.access_key_id(), &self.wanted);
            match verdict {
                Verdict::Yes => return Ok(()),
                Verdict::No(error) => return Err(error),
                Verdict::Asked if self.asking.is_empty() => return Ok(()),
                Verdict::Asked => {
                    if timeout(NEW_KEY, self.asking.join_next()).await.is_err() {
                        return Ok(());
                    }
                }
                Verdict::Wait if self.asking.is_empty() => {
                    let of = Box::new(PollError::Timeout { after: self.within });
                    return Err(PollError::Unverified { wanted: self.wanted.clone(), of });
                }
                Verdict::Wait => drop(self.asking.join_next().await),
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks STS with these credentials.
pub(super) fn client(sdk: &SdkConfig, http: SharedHttpClient, credentials: &Credentials) -> Client {
    let config = aws_sdk_sts::config::Builder::from(sdk)
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .identity_cache(IdentityCache::no_cache())
        .credentials_provider(SharedCredentialsProvider::new(credentials.clone()));
    Client::from_conf(config.build())
}

/// Who asks.
pub(super) async fn identify(client: &Client, within: Duration) -> Result<Principal, PollError> {
    let asked = timeout(within, client.get_caller_identity().send()).await;
    let said = asked.map_err(|_| PollError::Timeout { after: within })?;
    let identity = said.map_err(|error| of_call(IDENTIFY, &error))?;
    let account = identity.account().filter(|account| !account.is_empty()).map(str::to_owned);
    let account =
        account.ok_or_else(|| PollError::NotWhole { what: "STS names no account".into() })?;
    Ok(Principal { account, arn: identity.arn().unwrap_or_default().to_owned() })
}

impl Known {
    /// Must somebody be asked about the key?
    fn is_due(&self, key: &str, now: Instant) -> bool {
        let Some(asked) = self.last.as_ref().filter(|asked| asked.key == key) else { return true };
        let is_told = matches!(asked.said, Some(Ok(_)));
        // Nothing is answered until it is known: each poll asks again, at its own pace.
        !is_told && (!self.verified || now.duration_since(asked.at) >= ASK_AGAIN)
    }

    fn told(&mut self, key: &str, said: Result<String, PollError>, wanted: &str) {
        match &said {
            Ok(is) => self.verified = is == wanted,
            Err(error) if self.verified => {
                if let Some(left_out) = self.failing.may(std::time::Instant::now()) {
                    tracing::warn!(
                        %error,
                        account = wanted,
                        left_out,
                        "STS does not say of which account new credentials are; they are believed, \
                         as those before were of it"
                    );
                }
            }
            Err(_) => {}
        }
        self.last = Some(Asked { key: key.to_owned(), at: Instant::now(), said: Some(said) });
    }

    fn verdict(&self, key: &str, wanted: &str) -> Verdict {
        let asked = self.last.as_ref().filter(|asked| asked.key == key);
        match asked.and_then(|asked| asked.said.as_ref()) {
            Some(Ok(is)) if is == wanted => Verdict::Yes,
            Some(Ok(is)) => {
                let (is, wanted) = (is.clone(), wanted.to_owned());
                Verdict::No(PollError::OtherAccount { is, wanted })
            }
            Some(Err(_)) if self.verified => Verdict::Yes,
            None if self.verified => Verdict::Asked,
            Some(Err(error)) => {
                let of = Box::new(error.clone());
                Verdict::No(PollError::Unverified { wanted: wanted.to_owned(), of })
            }
            None => Verdict::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "111122223333";

    fn down() -> Result<String, PollError> {
        Err(PollError::Timeout { after: ASK_AGAIN })
    }

    #[test]
    fn a_key_counts_once_sts_has_said_so() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert!(known.is_due("A", now));
        assert_eq!(known.verdict("A", OURS), Verdict::Wait);
        known.told("A", down(), OURS);
        assert!(matches!(known.verdict("A", OURS), Verdict::No(PollError::Unverified { .. })));
        assert!(known.is_due("A", now), "nothing is answered until then");
        known.told("A", Ok(OURS.into()), OURS);
        assert_eq!((known.verdict("A", OURS), known.is_due("A", now)), (Verdict::Yes, false));
        known.told("A", Ok("444455556666".into()), OURS);
        let other = PollError::OtherAccount { is: "444455556666".into(), wanted: OURS.into() };
        assert_eq!(known.verdict("A", OURS), Verdict::No(other));
        // It has been said: another key is another question.
        assert_eq!((known.is_due("A", now), known.verdict("B", OURS)), (false, Verdict::Wait));
    }

    #[test]
    fn a_new_key_is_believed_until_sts_says_otherwise() {
        let mut known = Known::default();
        known.told("A", Ok(OURS.into()), OURS);
        assert!(known.is_due("B", Instant::now()));
        assert_eq!(known.verdict("B", OURS), Verdict::Asked);
        known.told("B", down(), OURS);
        let later = Instant::now() + ASK_AGAIN;
        assert_eq!((known.is_due("B", Instant::now()), known.is_due("B", later)), (false, true));
        assert_eq!(known.verdict("B", OURS), Verdict::Yes);
        known.told("B", Ok("444455556666".into()), OURS);
        assert!(matches!(known.verdict("B", OURS), Verdict::No(PollError::OtherAccount { .. })));
        // And nothing is believed after that.
        assert_eq!(known.verdict("C", OURS), Verdict::Wait);
    }
}
