//! DescribeAddresses through the AWS SDK. The only place that knows the SDK;
//! `credentials` keeps what calls are signed with.
//!
//! The SDK retries nothing and waits for nothing here: one call has one
//! deadline, a second try on a connection of its own when the first is slow,
//! and every way to fail becomes a [`PollError`]. Its HTTP client finds hosts
//! through [`Resolver`], for EC2, STS and whatever else it asks.

mod credentials;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{io, iter};

use aws_config::SdkConfig;
use aws_config::imds::client::error::ImdsError;
use aws_config::meta::ProviderChainError;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{
    AppName, BehaviorVersion, ConfigBag, HttpClient, IdentityCache, Intercept, Region,
    RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_ec2::error::{BoxError, ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::describe_addresses::DescribeAddressesOutput;
use aws_sdk_ec2::types::Filter;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use credentials::Keeper;
use http_body_util::{LengthLimitError, Limited};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::error::PollError;
use super::lookup::{LookupError, Resolver};
use super::poll::{Describe, Described};
use super::usable::{Gather, Item};
use crate::config::Ec2Source;
use crate::host::aside::{Aside, Cause, Place};
use crate::inventory::Address;
use crate::text::{BRIEF, brief};

/// The action that is needed, as IAM names it.
const DESCRIBE: &str = "ec2:DescribeAddresses";

/// The action that `role_arn` needs.
const ASSUME: &str = "sts:AssumeRole";

/// How long the SDK may take to find its region and set itself up.
const SET_UP: Duration = Duration::from_secs(5);

/// The longest answer that is read, in octets: of EC2, STS and whoever gives
/// credentials. As much as an address file may have, some 100,000 addresses;
/// a network brings a gigabyte and more in the time of a call.
const MAX_ANSWER: usize = 64 << 20;

/// As much is shown of what each of the SDK's providers says.
const MAX_ATTEMPT: usize = 100;

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

/// A good call takes some 20 to 100 ms within a region. DESIGN.md promises a
/// move within poll and three seconds.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(1),
    hedge: Duration::from_secs(1),
    whole: Duration::from_secs(3),
};

/// One account and region of EC2.
#[derive(Debug)]
pub struct Ec2 {
    settings: Ec2Source,
    region: Option<String>,
    resolver: Resolver,
    /// None until the SDK has found region and credentials providers.
    caller: Option<Caller>,
}

impl Ec2 {
    /// A source that is set up at the first call. Without `region` the SDK's
    /// chain decides.
    pub fn new(settings: &Ec2Source, region: Option<&str>, resolver: Resolver) -> Self {
        Self {
            settings: settings.clone(),
            region: region.map(str::to_owned),
            resolver,
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
        // The SDK reads its files where it stands: one on a disk that hangs must
        // not take a thread that answers and publishes with it.
        let mut loading = Aside::new(Place::read(Path::new("the AWS configuration")), SET_UP);
        let runtime = Handle::current();
        let begun = loading.begin(Cause::Told, move || runtime.block_on(loader.load()));
        let sdk = match begun {
            Ok(()) => loading.next().await,
            Err(error) => Err(error),
        };
        let sdk = sdk.map_err(|error| PollError::Other {
            what: format!("reading the AWS configuration files {error}"),
        })?;
        let provider = match &self.settings.role_arn {
            None => sdk.credentials_provider(),
            Some(role) => {
                let mut assume =
                    AssumeRoleProvider::builder(role).session_name("eipdns").configure(&sdk);
                if let Some(id) = &self.settings.external_id {
                    assume = assume.external_id(id);
                }
                Some(SharedCredentialsProvider::new(assume.build().await))
            }
        };
        let provider = provider
            .ok_or_else(|| PollError::NoCredentials { cause: "the SDK has no provider".into() })?;
        Caller::new(&sdk, provider, &self.settings, [main, http(true)], LIMITS)
    }
}

impl Describe for Ec2 {
    async fn describe(&mut self) -> Result<Described, PollError> {
        let caller = match self.caller.take() {
            Some(caller) => caller,
            None => self.set_up().await?,
        };
        self.caller.insert(caller).describe().await
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
    filters: Option<Vec<Filter>>,
    limits: Limits,
}

impl Caller {
    /// `http` is what keeps its connections, and what does not.
    fn new(
        sdk: &SdkConfig,
        provider: SharedCredentialsProvider,
        settings: &Ec2Source,
        http: [SharedHttpClient; 2],
        limits: Limits,
    ) -> Result<Self, PollError> {
        let region = sdk.region().ok_or(PollError::NoRegion)?.to_string();
        let keeper = Keeper::new(provider);
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
        Ok(Self { region, main, fresh, keeper, filters, limits })
    }

    async fn describe(&mut self) -> Result<Described, PollError> {
        self.keeper.provide().await?;
        let mut failed = None;
        let outcome = match timeout(self.limits.whole, self.hedged(&mut failed)).await {
            Ok(outcome) => outcome,
            // What is known of one try says more than that the other is late.
            Err(_) => Err(failed.unwrap_or(PollError::Timeout { after: self.limits.whole })),
        };
        if let Err(PollError::Refused { .. }) = outcome {
            self.keeper.kept.forget();
        }
        outcome
    }

    /// One call, and a second one beside it when it is slow: the first good
    /// answer counts. Connections die in silence, and a packet lost costs a
    /// second.
    async fn hedged(&self, failed: &mut Option<PollError>) -> Result<Described, PollError> {
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
            Ok(described) => Ok(described),
            Err(error) => {
                *failed = Some(error);
                if first_left { first.await } else { second.await }
            }
        }
    }

    async fn call(&self, client: &Client) -> Result<Described, PollError> {
        let call = client.describe_addresses().set_filters(self.filters.clone());
        described(call.send().await.map_err(|e| of_call(DESCRIBE, &e))?)
    }
}

/// What an answer says, if it is one.
fn described(answer: DescribeAddressesOutput) -> Result<Described, PollError> {
    let Some(items) = answer.addresses else {
        return Err(not_whole("it has no addressesSet"));
    };
    let mut gather = Gather::<Address>::new();
    for item in items {
        let item = Item {
            public_ip: some(item.public_ip),
            carrier_ip: some(item.carrier_ip),
            customer_owned_ip: some(item.customer_owned_ip),
            allocation_id: some(item.allocation_id),
            association_id: some(item.association_id),
            instance_id: some(item.instance_id),
            network_interface_id: some(item.network_interface_id),
            network_interface_owner_id: some(item.network_interface_owner_id),
            private_ip: some(item.private_ip_address),
            service_managed: item.service_managed.map(|by| by.as_str().to_owned()),
            tags: tags(item.tags.unwrap_or_default()),
        };
        match item.judge() {
            Ok(Ok(address)) => gather.take(address),
            Ok(Err(why)) => gather.leave_out(why),
            Err(fault) => return Err(not_whole(&format!("an address in it: {fault}"))),
        }
    }
    let (all, left_out) = gather.finish();
    Ok(Described { addresses: all.collect(), left_out })
}

fn tags(tags: Vec<aws_sdk_ec2::types::Tag>) -> BTreeMap<String, String> {
    let pair = |tag: aws_sdk_ec2::types::Tag| Some((some(tag.key)?, tag.value.unwrap_or_default()));
    tags.into_iter().filter_map(pair).collect()
}

/// An empty string is none.
fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn not_whole(what: &str) -> PollError {
    PollError::NotWhole { what: brief(what, BRIEF) }
}

fn other(error: &(dyn Error + 'static)) -> PollError {
    PollError::Other { what: told(error) }
}

/// Refuses XML that stops before its end: the SDK's reader takes what it has
/// by then for the whole.
#[derive(Debug)]
struct WholeXml;

/// What [`WholeXml`] has found.
#[derive(Debug, thiserror::Error)]
#[error("the XML ends too early")]
struct CutShort;

impl Intercept for WholeXml {
    fn name(&self) -> &'static str {
        "whole-xml"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // None: it could not be read, which is an error already.
        let Some(body) = response.body().bytes() else { return Ok(()) };
        // The body of an error is read for its code only.
        let whole = !response.status().is_success()
            || body.trim_ascii_end().ends_with(b"</DescribeAddressesResponse>");
        if whole { Ok(()) } else { Err(CutShort.into()) }
    }
}

/// The SDK's HTTP client, made of its own parts with our resolver and the
/// proxy of the environment.
#[derive(Debug)]
struct Http {
    dns: Dns,
    proxy: ProxyConfig,
    /// No connection is used twice.
    fresh: bool,
    made: Mutex<Vec<(HttpConnectorSettings, SharedHttpConnector)>>,
}

impl Http {
    fn new(resolver: Resolver, proxy: ProxyConfig, fresh: bool) -> Self {
        Self { dns: Dns(resolver), proxy, fresh, made: Mutex::default() }
    }

    fn share(self) -> SharedHttpClient {
        SharedHttpClient::new(self)
    }

    fn make(&self, settings: &HttpConnectorSettings) -> SharedHttpConnector {
        let connector = |proxy: &ProxyConfig| {
            let mut builder = Connector::builder()
                .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
                .connector_settings(settings.clone())
                .proxy_config(proxy.clone());
            if self.fresh {
                builder = builder.pool_max_idle_per_host(0);
            }
            builder.build_with_resolver(self.dns.clone())
        };
        let direct = connector(&ProxyConfig::disabled());
        SharedHttpConnector::new(Routed { direct, proxied: connector(&self.proxy) })
    }
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let key = |s: &HttpConnectorSettings| (s.connect_timeout(), s.read_timeout());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = made.iter().find(|(s, _)| key(s) == key(settings)) {
            return connector.clone();
        }
        let connector = self.make(settings);
        made.push((settings.clone(), connector.clone()));
        connector
    }
}

/// Sends what stays on this host or link past any proxy: the metadata
/// services of EC2 and ECS are there, and answer nobody else.
#[derive(Debug)]
struct Routed {
    direct: Connector,
    proxied: Connector,
}

impl HttpConnector for Routed {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let near = is_near(request.uri());
        let answer = if near { self.direct.call(request) } else { self.proxied.call(request) };
        let bounded = |body| SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER));
        HttpConnectorFuture::new(async move { Ok(answer.await?.map(bounded)) })
    }
}

/// Is the host of `uri` written as an address of this host or link?
fn is_near(uri: &str) -> bool {
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    match host.parse() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_link_local(),
        // fd00:ec2::/32 is link-local in all but name.
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.segments()[..2] == [0xfd00, 0x0ec2],
        Err(_) => host == "localhost",
    }
}

/// [`Resolver`] as the SDK wants it.
#[derive(Debug, Clone)]
struct Dns(Resolver);

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {host}: {cause}")]
struct Unresolved {
    host: String,
    cause: LookupError,
}

impl ResolveDns for Dns {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let unresolved = |cause| Unresolved { host: name.to_owned(), cause };
            self.0.lookup(name).await.map_err(unresolved).map_err(ResolveDnsError::new)
        })
    }
}

/// Names what went wrong with a call, for an operator.
fn of_call<E>(action: &str, error: &SdkError<E, HttpResponse>) -> PollError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let (status, said) = (context.raw().status().as_u16(), context.err());
            // The reader of answers fails as if the service had said so.
            if context.raw().status().is_success() {
                return PollError::NotWhole { what: told(said) };
            }
            let message = said.message().unwrap_or("nothing more");
            PollError::of_service(action, status, said.code(), message)
        }
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(error) => of_connection(error),
            None => PollError::Other { what: told(error) },
        },
        _ if find::<LengthLimitError>(error).is_some() => {
            not_whole(&format!("it has more than {} MiB", MAX_ANSWER >> 20))
        }
        SdkError::ResponseError(_) if find::<CutShort>(error).is_some() => {
            not_whole(&CutShort.to_string())
        }
        SdkError::ResponseError(_) => PollError::NotWhole { what: told(error) },
        _ => PollError::Other { what: told(error) },
    }
}

fn of_connection(error: &ConnectorError) -> PollError {
    if let Some(Unresolved { host, cause }) = find::<Unresolved>(error) {
        PollError::Dns { host: host.clone(), cause: cause.to_string() }
    } else if let Some(tls) = find::<rustls::Error>(error) {
        PollError::Tls { cause: brief(&tls.to_string(), BRIEF) }
    } else {
        PollError::Connect { cause: told(error) }
    }
}

/// Names what went wrong with credentials.
fn of_credentials(error: &CredentialsError) -> PollError {
    if let Some(sts) = find::<SdkError<AssumeRoleError, HttpResponse>>(error) {
        return match find::<CredentialsError>(sts) {
            // STS was not asked: there are none to ask it with.
            Some(base) => of_credentials(base),
            None => of_call(ASSUME, sts),
        };
    }
    if let Some(imds) = find::<ImdsError>(error) {
        return PollError::Imds { cause: told(imds) };
    }
    let Some(chain) = find::<ProviderChainError<CredentialsError>>(error) else {
        return match find::<ConnectorError>(error) {
            Some(connector) => of_connection(connector),
            None => PollError::NoCredentials { cause: told(error) },
        };
    };
    // The last provider is the metadata service. That it does not answer is
    // one thing, that it has nothing to give another.
    match chain.attempts().last().filter(|a| find::<ConnectorError>(a.error()).is_some()) {
        Some(imds) => PollError::Imds { cause: behind(imds.error()) },
        None => PollError::NoCredentials {
            cause: chain
                .attempts()
                .iter()
                .map(|attempt| {
                    let why = brief(&behind(attempt.error()), MAX_ATTEMPT);
                    format!("{}: {why}", attempt.name())
                })
                .collect::<Vec<_>>()
                .join("; "),
        },
    }
}

/// `error` and what is behind it, in order.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // Its `source` is already the one behind what it holds.
        Some(io) => io.get_ref().map(|held| held as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// The first error of a type among the causes.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// What is behind a provider's error, which itself says nothing but that.
fn behind(error: &CredentialsError) -> String {
    told(error.source().unwrap_or(error))
}

/// The causes as one text that is not too long, without what says the same
/// again.
fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error).map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    brief(&text, BRIEF)
}
