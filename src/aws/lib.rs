//! DescribeAddresses through the AWS SDK, in a crate of its own: nothing else knows
//! the SDK. `account` knows whose credentials they are, `answer` reads what comes back, and only what is new of it; `credentials` keeps what
//! calls are signed with, `files` bounds what the SDK reads of them, `http_client` connects,
//! `trouble` names what goes wrong.
//!
//! The SDK retries nothing and waits for nothing here: one call has one
//! deadline, a second try on a connection of its own when the first is slow,
//! and every way to fail becomes a [`PollError`]. Its HTTP client finds hosts
//! through [`Resolver`], for EC2, STS and whatever else it asks.

mod account;
mod answer;
mod credentials;
mod files;
mod http_client;
#[cfg(test)]
mod tests;
mod trouble;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{
    AppName, BehaviorVersion, IdentityCache, Region, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_ec2::types::Filter;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use account::Account;
use answer::{Answer, Memory, WholeXml};
use credentials::{Keeper, Owner};
use eipdns::config::Ec2Source;
use eipdns::source::ec2::{Calls, Of};
use eipdns::source::error::PollError;
use eipdns::source::lookup::Resolver;
use eipdns::source::poll::{Describe, Described};
use http_client::Http;
use trouble::{of_call, other};

/// The action that is needed, as IAM names it.
const DESCRIBE: &str = "ec2:DescribeAddresses";

/// How long the SDK may take to find its region and set itself up.
const SET_UP: Duration = Duration::from_secs(5);

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// To resolve, connect and shake hands.
    connect: Duration,
    /// Until a second try starts beside the first.
    hedge: Duration,
    /// In all.
    whole: Duration,
}

/// A good call takes some 20 to 100 ms within a region. README.md promises a
/// move within poll and three seconds.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(1),
    hedge: Duration::from_secs(1),
    whole: Duration::from_secs(3),
};

/// What calls EC2, for [`install`](eipdns::source::ec2::install).
pub const CALLS: Calls = Calls { addresses: |of| Box::new(Ec2::new(of)), interfaces };

/// One account and region of EC2.
#[derive(Debug)]
struct Ec2 {
    /// The source's.
    name: String,
    settings: Ec2Source,
    region: Option<String>,
    resolver: Resolver,
    /// None until the SDK has found region and credentials providers.
    caller: Option<Caller>,
}

impl Ec2 {
    fn new(of: &Of<'_>) -> Self {
        Self {
            name: of.name.to_owned(),
            settings: of.settings.clone(),
            region: of.region.map(str::to_owned),
            resolver: of.resolver.clone(),
            caller: None,
        }
    }

    async fn set_up(&self) -> Result<Caller, PollError> {
        let http = |fresh| Http::new(self.resolver.clone(), ProxyConfig::from_env(), fresh).share();
        let main = http(false);
        let mut loader = aws_config::defaults(behaviour())
            .http_client(main.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(LIMITS))
            .app_name(AppName::new("eipdns").map_err(|e| other(&e))?);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.settings.profile {
            loader = loader.profile_name(profile);
        }
        let sdk = self.load(loader).await?;
        let provider = match &self.settings.role_arn {
            None => sdk.credentials_provider(),
            Some(role) => {
                let session = session_name(&self.name);
                let mut assume =
                    AssumeRoleProvider::builder(role).session_name(session).configure(&sdk);
                if let Some(id) = &self.settings.external_id {
                    assume = assume.external_id(id);
                }
                Some(SharedCredentialsProvider::new(assume.build().await))
            }
        };
        let provider = provider
            .ok_or_else(|| PollError::NoCredentials { cause: "the SDK has no provider".into() })?;
        let asked = match self.settings.role_arn {
            Some(_) => "STS, or whoever gives the credentials to ask it with,",
            None => "their provider",
        };
        let keeper = Keeper::new(provider, Owner { key: self.key(), asked });
        let account = self.settings.account.as_ref();
        let account = account.map(|a| Account::new(a, &sdk, main.clone(), LIMITS.whole));
        let caller = Caller::new(&sdk, keeper, &self.settings, [main, http(true)], LIMITS)?;
        Ok(Caller { account, ..caller })
    }

    /// Finds region and providers, and reads the CA certificates, which the SDK would do
    /// at its first connection.
    async fn load(&self, loader: ConfigLoader) -> Result<SdkConfig, PollError> {
        let loading = async move {
            read_roots();
            loader.load().await
        };
        let place = Path::new("the AWS configuration").join(self.key());
        files::beside(&place, SET_UP, loading).await?.ok_or_else(|| PollError::Other {
            what: format!(
                "the region is not found within {}: set `region` in the source, or AWS_REGION",
                humantime::format_duration(SET_UP)
            ),
        })
    }

    /// What tells this source from others, before a reload and after.
    fn key(&self) -> PathBuf {
        let Ec2Source { profile, role_arn, account, filters, .. } = &self.settings;
        format!("{:?}", (&self.region, profile, role_arn, account, filters)).into()
    }
}

/// What CloudTrail shows calls under: at most 64 characters (STS API reference,
/// "AssumeRole"), which the names of sources may have.
fn session_name(source: &str) -> String {
    "eipdns-".chars().chain(source.chars()).take(64).collect()
}

/// Has the SDK read the CA certificates, as it does once for the process.
fn read_roots() {
    let nobody = Http::new(Resolver::new(Vec::new()), ProxyConfig::disabled(), false);
    drop(nobody.make(&HttpConnectorSettings::default()));
}

impl Describe for Ec2 {
    fn describe(&mut self) -> BoxFuture<'_, Result<Described, PollError>> {
        Box::pin(async move {
            let caller = match self.caller.take() {
                Some(caller) => caller,
                None => self.set_up().await?,
            };
            self.caller.insert(caller).describe().await
        })
    }

    fn requests(&self) -> u64 {
        self.caller.as_ref().map_or(0, |caller| caller.requests.load(Ordering::Relaxed))
    }

    fn region(&self) -> Option<String> {
        self.caller.as_ref().map(|caller| caller.region.clone()).or_else(|| self.region.clone())
    }
}

fn behaviour() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

fn timeouts(limits: Limits) -> TimeoutConfig {
    // What is above a connection has deadlines of ours.
    TimeoutConfig::builder().connect_timeout(limits.connect).build()
}

/// Ready to call.
#[derive(Debug)]
struct Caller {
    region: String,
    main: Client,
    /// Has a new connection for each call.
    fresh: Client,
    keeper: Keeper,
    /// None: any account is right.
    account: Option<Account>,
    memory: Memory,
    /// Sent so far.
    requests: AtomicU64,
    filters: Option<Vec<Filter>>,
    limits: Limits,
}

impl Caller {
    /// `http` is what keeps its connections, and what does not.
    fn new(
        sdk: &SdkConfig,
        keeper: Keeper,
        settings: &Ec2Source,
        http: [SharedHttpClient; 2],
        limits: Limits,
    ) -> Result<Self, PollError> {
        let region = sdk.region().ok_or(PollError::NoRegion)?.to_string();
        let client = |http| {
            let config = aws_sdk_ec2::config::Builder::from(sdk)
                .http_client(http)
                .retry_config(RetryConfig::disabled())
                .timeout_config(timeouts(limits))
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                // The keeper is the cache.
                .identity_cache(IdentityCache::no_cache())
                .credentials_provider(keeper.kept.clone())
                .interceptor(WholeXml);
            Client::from_conf(match &settings.endpoint_url {
                Some(url) => config.endpoint_url(url).build(),
                None => config.build(),
            })
        };
        let [main, fresh] = http.map(client);
        let filters = settings.filters.iter().map(|(name, values)| {
            Filter::builder().name(name).set_values(Some(values.clone())).build()
        });
        let filters = Some(filters.collect()).filter(|f: &Vec<_>| !f.is_empty());
        let (memory, requests) = Default::default();
        let account = None;
        Ok(Self { region, main, fresh, keeper, account, memory, requests, filters, limits })
    }

    async fn describe(&mut self) -> Result<Described, PollError> {
        self.keeper.provide().await?;
        // Beside the call.
        if let (Some(account), Some(keys)) = (&mut self.account, self.keeper.kept.current()) {
            account.look(&keys);
        }
        let mut failed = None;
        let outcome = match timeout(self.limits.whole, self.hedged(&mut failed)).await {
            Ok(outcome) => outcome,
            // What is known of one try says more than that the other is late.
            Err(_) => Err(failed.unwrap_or(Failed {
                error: PollError::Timeout { after: self.limits.whole },
                signed_with: None,
            })),
        };
        match outcome {
            Ok((answer, signed_with)) => {
                if let Some(account) = &mut self.account {
                    account.verify(signed_with.as_ref()).await?;
                }
                Ok(self.memory.take(answer))
            }
            Err(Failed { error, signed_with }) => {
                Err(self.keeper.kept.judge(signed_with.as_ref(), error))
            }
        }
    }

    /// One call, and a second one beside it when it is slow: the first good
    /// answer counts. Connections die in silence, and a packet lost costs a
    /// second.
    async fn hedged(&self, failed: &mut Option<Failed>) -> Result<Signed, Failed> {
        let mut first = pin!(self.call(&self.main));
        tokio::select! {
            // The connect timeout may be the same second.
            biased;
            () = sleep(self.limits.hedge) => {}
            outcome = &mut first => return outcome,
        }
        let mut second = pin!(self.call(&self.fresh));
        let (outcome, first_left) = tokio::select! {
            outcome = &mut first => (outcome, false),
            outcome = &mut second => (outcome, true),
        };
        match outcome {
            Ok(answer) => Ok(answer),
            Err(error) => {
                *failed = Some(error);
                if first_left { first.await } else { second.await }
            }
        }
    }

    async fn call(&self, client: &Client) -> Result<Signed, Failed> {
        let signed_with = self.keeper.kept.current();
        self.requests.fetch_add(1, Ordering::Relaxed);
        let reading = self.memory.reading();
        let call = client.describe_addresses().set_filters(self.filters.clone());
        let read = call.customize().interceptor(reading.clone()).send().await;
        let answer = read.map_err(|error| of_call(DESCRIBE, &error));
        let answer = answer.and_then(|read| reading.finish(read));
        match answer {
            Ok(answer) => Ok((answer, signed_with)),
            Err(error) => Err(Failed { error, signed_with }),
        }
    }
}

/// An answer, and the credentials that it was asked for with.
type Signed = (Answer, Option<Credentials>);

/// A call that has failed.
#[derive(Debug)]
struct Failed {
    error: PollError,
    signed_with: Option<Credentials>,
}
