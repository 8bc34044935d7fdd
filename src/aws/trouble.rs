//! What goes wrong with the SDK, named for an operator: with whom, why, and what
//! to do.

use std::env;
use std::error::Error;
use std::{io, iter};

use aws_config::imds::client::error::ImdsError;
use aws_config::meta::ProviderChainError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use http_body_util::LengthLimitError;
use rustls::CertificateError;

use super::answer::{CutShort, Malformed};
use super::http_client::{MAX_ANSWER, Unresolved};
use eipdns::host::text::{BRIEF, brief};
use eipdns::source::error::PollError;

/// The action that `role_arn` needs.
pub(super) const ASSUME: &str = "sts:AssumeRole";

/// As much is shown of what each of the SDK's providers says.
const MAX_ATTEMPT: usize = 100;

/// What the variable is called that names the file of the CA certificates which are
/// trusted instead of the system's.
const CA_FILE: &str = "SSL_CERT_FILE";

/// A connection's error, with the host that it is about: no error of the SDK's
/// HTTP client says that.
#[derive(Debug, thiserror::Error)]
#[error("asking {host}")]
pub(super) struct Asking {
    host: String,
    source: ConnectorError,
}

impl Asking {
    /// The same error, of the same kind.
    pub(super) fn name(host: String, source: ConnectorError) -> ConnectorError {
        let (is_timeout, is_user, is_io) = (source.is_timeout(), source.is_user(), source.is_io());
        let kind = source.as_other();
        let connection = source.connection_metadata().cloned();
        let named = Box::new(Self { host, source });
        let named = match () {
            () if is_timeout => ConnectorError::timeout(named),
            () if is_user => ConnectorError::user(named),
            () if is_io => ConnectorError::io(named),
            () => ConnectorError::other(named, kind),
        };
        match connection {
            Some(connection) => named.with_connection(connection),
            None => named,
        }
    }
}

/// Names what went wrong with a call, for an operator.
pub(super) fn of_call<E>(action: &str, error: &SdkError<E, HttpResponse>) -> PollError
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
        SdkError::ResponseError(_) if find::<Malformed>(error).is_some() => {
            not_whole(&Malformed.to_string())
        }
        SdkError::ResponseError(_) => PollError::NotWhole { what: told(error) },
        _ => PollError::Other { what: told(error) },
    }
}

fn of_connection(error: &ConnectorError) -> PollError {
    if let Some(Unresolved { host, cause }) = find::<Unresolved>(error) {
        return PollError::Dns { host: host.clone(), cause: cause.to_string() };
    }
    let (host, error) = match find::<Asking>(error) {
        Some(asking) => (asking.host.clone(), &asking.source),
        None => ("the service".to_owned(), error),
    };
    match find::<rustls::Error>(error) {
        Some(tls) => PollError::Tls { host, cause: of_tls(tls) },
        // The first one says no more than "io error".
        None => PollError::Connect { host, cause: told(error.source().unwrap_or(error)) },
    }
}

/// What is wrong with a handshake, and what to do.
fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => unknown_issuer(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for other names; check `endpoint_url`, `[aws] resolvers` and any \
              proxy"
            .into(),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired, or this host's clock is wrong".into(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet, or this host's clock is wrong".into(),
        other => format!(
            "{}; check `endpoint_url`, any proxy and this host's clock",
            brief(&other.to_string(), BRIEF)
        ),
    }
}

/// The SDK reads the CA certificates once for the process.
fn unknown_issuer() -> String {
    let (of, remedy) = match env::var(CA_FILE) {
        Ok(file) => (
            format!("in {file} ({CA_FILE})"),
            "add its CA's certificate there, or unset the variable to trust the system's".into(),
        ),
        Err(_) => (
            "of this host".to_owned(),
            format!(
                "install them (ca-certificates), add its CA's, or name a file with it in {CA_FILE}"
            ),
        ),
    };
    format!(
        "no CA certificate {of} vouches for its certificate; {remedy}, and restart; if none is \
         missing, a proxy opens TLS"
    )
}

/// Names what went wrong with credentials.
pub(super) fn of_credentials(error: &CredentialsError) -> PollError {
    if let Some(sts) = find::<SdkError<AssumeRoleError, HttpResponse>>(error) {
        return match find::<CredentialsError>(sts) {
            // STS was not asked: there are none to ask it with.
            Some(base) => of_credentials(base),
            None => PollError::Sts(Box::new(of_call(ASSUME, sts))),
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

pub(super) fn not_whole(what: &str) -> PollError {
    PollError::NotWhole { what: brief(what, BRIEF) }
}

pub(super) fn other(error: &(dyn Error + 'static)) -> PollError {
    PollError::Other { what: told(error) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_in_plain_words() {
        use CertificateError::{Expired, NotValidForName, NotValidYet, Revoked, UnknownIssuer};
        for (error, parts) in [
            (UnknownIssuer, ["vouches for its certificate", CA_FILE, "restart"]),
            (NotValidForName, ["is for other names", "`endpoint_url`", "proxy"]),
            (Expired, ["has expired", "clock", ""]),
            (NotValidYet, ["is not valid yet", "clock", ""]),
            (Revoked, ["Revoked", "proxy", "clock"]),
        ] {
            let text = of_tls(&error.clone().into());
            for part in parts {
                assert!(text.contains(part), "{error:?}: {part} is not in {text}");
            }
        }
    }

    #[test]
    fn a_named_error_is_of_the_same_kind() {
        let kinds = |error: &ConnectorError| {
            (error.is_timeout(), error.is_user(), error.is_io(), error.is_other())
        };
        let of: [fn(Box<dyn Error + Send + Sync>) -> ConnectorError; 4] =
            [ConnectorError::timeout, ConnectorError::user, ConnectorError::io, |source| {
                ConnectorError::other(source, None)
            }];
        for make in of {
            let named = Asking::name("sts.test".into(), make("cut".into()));
            assert_eq!(kinds(&named), kinds(&make("cut".into())));
            let PollError::Connect { host, cause } = of_connection(&named) else { panic!() };
            assert_eq!((host.as_str(), cause.as_str()), ("sts.test", "cut"));
        }
    }
}
