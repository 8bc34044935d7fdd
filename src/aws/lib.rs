//! DescribeAddresses through the AWS SDK, in a crate of its own: nothing else knows
//! the SDK. `credentials` keeps what calls are signed with, `files` bounds what the SDK
//! reads of them, `trouble` names what goes wrong.
//!
//! The SDK retries nothing and waits for nothing here: one call has one
//! deadline, a second try on a connection of its own when the first is slow,
//! and every way to fail becomes a [`PollError`]. Its HTTP client finds hosts
//! through [`Resolver`], for EC2, STS and whatever else it asks.

mod credentials;
mod files;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{ConfigLoader, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{
    AppName, BehaviorVersion, ConfigBag, HttpClient, IdentityCache, Intercept, Region,
    RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_ec2::error::BoxError;
use aws_sdk_ec2::operation::describe_addresses::DescribeAddressesOutput;
use aws_sdk_ec2::types::Filter;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use credentials::{Keeper, Owner};
use futures_util::future::BoxFuture;
use http_body_util::Limited;
use tokio::time::{sleep, timeout};
use trouble::{Asking, not_whole, of_call, other};

use eipdns::config::Ec2Source;
use eipdns::source::error::PollError;
use eipdns::source::inventory::Address;
use eipdns::source::lookup::{LookupError, Resolver};
use eipdns::source::poll::{Describe, Described};
use eipdns::source::usable::{Gather, Item};

/// The action that is needed, as IAM names it.
const DESCRIBE: &str = "ec2:DescribeAddresses";

/// How long the SDK may take to find its region and set itself up.
const SET_UP: Duration = Duration::from_secs(5);

/// The longest answer that is read, in octets: of EC2, STS and whoever gives
/// credentials. As much as an address file may have, some 100,000 addresses;
/// a network brings a gigabyte and more in the time of a call.
const MAX_ANSWER: usize = 64 << 20;

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

/// What calls EC2 for one source, for [`install`](eipdns::source::ec2::install). Set up
/// at its first call.
pub fn caller(settings: &Ec2Source, region: Option<&str>, resolver: Resolver) -> Box<dyn Describe> {
    Box::new(Ec2::new(settings, region, resolver))
}

/// One account and region of EC2.
#[derive(Debug)]
struct Ec2 {
    settings: Ec2Source,
    region: Option<String>,
    resolver: Resolver,
    /// None until the SDK has found region and credentials providers.
    caller: Option<Caller>,
}

impl Ec2 {
    fn new(settings: &Ec2Source, region: Option<&str>, resolver: Resolver) -> Self {
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
        let sdk = self.load(loader).await?;
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
        let asked = match self.settings.role_arn {
            Some(_) => "STS, or whoever gives the credentials to ask it with,",
            None => "their provider",
        };
        let keeper = Keeper::new(provider, Owner { key: self.key(), asked });
        Caller::new(&sdk, keeper, &self.settings, [main, http(true)], LIMITS)
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
        let Ec2Source { profile, role_arn, filters, .. } = &self.settings;
        format!("{:?}", (&self.region, profile, role_arn, filters)).into()
    }
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
        match outcome {
            Err(PollError::Refused { code, message }) => {
                let ended = self.keeper.kept.ended(SystemTime::now());
                self.keeper.kept.forget();
                Err(match ended {
                    Some(at) => PollError::Ended { at, code },
                    None => PollError::Refused { code, message },
                })
            }
            outcome => outcome,
        }
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
    let mut gather = Gather::<Address>::default();
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
        let (near, host) = (is_near(request.uri()), host(request.uri()).to_owned());
        let answer = if near { self.direct.call(request) } else { self.proxied.call(request) };
        let bounded = |body| SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER));
        HttpConnectorFuture::new(async move {
            match answer.await {
                Ok(answer) => Ok(answer.map(bounded)),
                Err(error) => Err(Asking::name(host, error)),
            }
        })
    }
}

/// The host of `uri`, an IPv6 address without its brackets.
fn host(uri: &str) -> &str {
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => authority.split(':').next(),
    };
    host.unwrap_or_default()
}

/// Is the host of `uri` written as an address of this host or link?
fn is_near(uri: &str) -> bool {
    let host = host(uri);
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
