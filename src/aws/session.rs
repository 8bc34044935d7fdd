//! What every call of EC2 for one source needs: its region, its credentials, whose they are, and
//! clients.

use std::path::{Path, PathBuf};
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

use super::account::{Account, client, identify};
use super::answer::WholeXml;
use super::credentials::{Keeper, Owner};
use super::http_client::Http;
use super::trouble::other;
use super::{LIMITS, Limits, files};
use eipdns::config::Ec2Source;
use eipdns::source::ec2::{Of, Principal};
use eipdns::source::error::PollError;
use eipdns::source::lookup::Resolver;

/// How long the SDK may take to find its region and set itself up.
const SET_UP: Duration = Duration::from_secs(5);

/// The source that is asked, and what for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The source's.
    name: String,
    settings: Ec2Source,
    region: Option<String>,
    resolver: Resolver,
    /// As IAM names it.
    action: &'static str,
}

impl Asked {
    pub(super) fn new(of: &Of<'_>, action: &'static str) -> Self {
        Self {
            name: of.name.to_owned(),
            settings: of.settings.clone(),
            region: of.region.map(str::to_owned),
            resolver: of.resolver.clone(),
            action,
        }
    }

    /// The region that is configured.
    pub(super) fn region(&self) -> Option<String> {
        self.region.clone()
    }

    /// The filters that are configured.
    pub(super) fn filters(&self) -> Vec<Filter> {
        let filter = |(name, values): (&String, &Vec<String>)| {
            Filter::builder().name(name).set_values(Some(values.clone())).build()
        };
        self.settings.filters.iter().map(filter).collect()
    }

    /// An HTTP client. With `fresh` no connection is used twice.
    pub(super) fn http(&self, fresh: bool) -> SharedHttpClient {
        Http::new(self.resolver.clone(), ProxyConfig::from_env(), fresh).share()
    }

    /// Finds region and credentials providers.
    ///
    /// # Errors
    /// There is no region or no provider, or the SDK's files cannot be read.
    pub(super) async fn open(&self, http: &SharedHttpClient) -> Result<Session, PollError> {
        let mut loader = aws_config::defaults(behaviour())
            .http_client(http.clone())
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
        let account = account.map(|a| Account::new(a, &sdk, http.clone(), LIMITS.whole));
        let session = Session::new(sdk, keeper, self.settings.endpoint_url.clone())?;
        Ok(Session { account, ..session })
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

    /// What tells this source and call from others, before a reload and after: attempts that hang
    /// are counted for each, so that those of one call leave the other its own.
    pub(super) fn key(&self) -> PathBuf {
        let Ec2Source { profile, role_arn, account, filters, .. } = &self.settings;
        format!("{:?}", (self.action, &self.region, profile, role_arn, account, filters)).into()
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

pub(super) fn behaviour() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

fn timeouts(limits: Limits) -> TimeoutConfig {
    // What is above a connection has deadlines of ours.
    TimeoutConfig::builder().connect_timeout(limits.connect).build()
}

/// What calls are sent and signed with.
#[derive(Debug)]
pub(super) struct Session {
    sdk: SdkConfig,
    endpoint_url: Option<String>,
    pub(super) region: String,
    pub(super) keeper: Keeper,
    /// None: any account is right.
    pub(super) account: Option<Account>,
}

/// An answer, and the credentials that it was asked for with.
pub(super) type Signed<T> = (T, Option<Credentials>);

/// A call that has failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: PollError,
    pub(super) signed_with: Option<Credentials>,
}

impl Session {
    /// Of any account.
    pub(super) fn new(
        sdk: SdkConfig,
        keeper: Keeper,
        endpoint_url: Option<String>,
    ) -> Result<Self, PollError> {
        let region = sdk.region().ok_or(PollError::NoRegion)?.to_string();
        Ok(Self { sdk, endpoint_url, region, keeper, account: None })
    }

    /// A client of EC2 that takes answers which are `whole`.
    pub(super) fn client(&self, http: SharedHttpClient, whole: WholeXml, limits: Limits) -> Client {
        let config = aws_sdk_ec2::config::Builder::from(&self.sdk)
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(limits))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // The keeper is the cache.
            .identity_cache(IdentityCache::no_cache())
            .credentials_provider(self.keeper.kept.clone())
            .interceptor(whole);
        Client::from_conf(match &self.endpoint_url {
            Some(url) => config.endpoint_url(url).build(),
            None => config.build(),
        })
    }

    /// Gives the next call good credentials, and begins to find out whose they are.
    pub(super) async fn provide(&mut self) -> Result<(), PollError> {
        self.keeper.provide().await?;
        // Beside the call.
        if let (Some(account), Some(keys)) = (&mut self.account, self.keeper.kept.current()) {
            account.look(&keys);
        }
        Ok(())
    }

    /// Whose credentials the calls are signed with, as STS has it.
    ///
    /// # Errors
    /// There are none, or STS does not say within the time.
    pub(super) async fn identify(
        &self,
        http: SharedHttpClient,
        within: Duration,
    ) -> Result<Principal, PollError> {
        let keys = self.signs_with();
        let keys =
            keys.ok_or_else(|| PollError::NoCredentials { cause: "none are left".into() })?;
        identify(&client(&self.sdk, http, &keys), within).await
    }

    /// Those that a call is signed with now.
    pub(super) fn signs_with(&self) -> Option<Credentials> {
        self.keeper.kept.current()
    }

    /// The answer, if it may be taken.
    ///
    /// # Errors
    /// It was asked for with credentials of another account, or the call has failed.
    pub(super) async fn judge<T>(
        &mut self,
        outcome: Result<Signed<T>, Failed>,
    ) -> Result<T, PollError> {
        match outcome {
            Ok((answer, signed_with)) => {
                if let Some(account) = &mut self.account {
                    account.verify(signed_with.as_ref()).await?;
                }
                Ok(answer)
            }
            Err(Failed { error, signed_with }) => {
                Err(self.keeper.kept.judge(signed_with.as_ref(), error))
            }
        }
    }
}
