//! The SDK's HTTP client: finds hosts through our [`Resolver`], keeps to the proxy of
//! the environment, and reads no more than an answer may have.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use aws_sdk_ec2::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

use super::trouble::Asking;
use eipdns::source::lookup::{LookupError, Resolver};

/// The longest answer that is read, in octets: of EC2, STS and whoever gives
/// credentials. As much as an address file may have, some 100,000 addresses;
/// a network brings a gigabyte and more in the time of a call.
pub(super) const MAX_ANSWER: usize = 64 << 20;

/// The SDK's HTTP client, made of its own parts with our resolver and the
/// proxy of the environment.
#[derive(Debug)]
pub(super) struct Http {
    dns: Dns,
    proxy: ProxyConfig,
    /// No connection is used twice.
    fresh: bool,
    made: Mutex<Vec<(HttpConnectorSettings, SharedHttpConnector)>>,
}

impl Http {
    pub(super) fn new(resolver: Resolver, proxy: ProxyConfig, fresh: bool) -> Self {
        Self { dns: Dns(resolver), proxy, fresh, made: Mutex::default() }
    }

    pub(super) fn share(self) -> SharedHttpClient {
        SharedHttpClient::new(self)
    }

    pub(super) fn make(&self, settings: &HttpConnectorSettings) -> SharedHttpConnector {
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
pub(super) fn host(uri: &str) -> &str {
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => authority.split(':').next(),
    };
    host.unwrap_or_default()
}

/// Is the host of `uri` written as an address of this host or link?
pub(super) fn is_near(uri: &str) -> bool {
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
pub(super) struct Unresolved {
    pub(super) host: String,
    pub(super) cause: LookupError,
}

impl ResolveDns for Dns {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let unresolved = |cause| Unresolved { host: name.to_owned(), cause };
            self.0.lookup(name).await.map_err(unresolved).map_err(ResolveDnsError::new)
        })
    }
}
