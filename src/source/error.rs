//! Why a source did not deliver, named for an operator.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::file::FileError;
use crate::host::text::{BRIEF, brief};

/// Why a source did not deliver. The text says what, why and what to do; the
/// source's name and what stands meanwhile are said by whoever logs it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A source of type `file`.
    #[error("{}", shown(.0))]
    File(#[from] FileError),
    /// A source of type `ec2`.
    #[error("{}", shown(.0))]
    Poll(#[from] PollError),
}

/// The longest text of an error: ours, and what somebody else says in it.
const MAX_SHOWN: usize = 2 * BRIEF;

/// The longest error code that is shown; those of AWS are some 20 characters.
const MAX_CODE: usize = 100;

fn shown(error: &impl fmt::Display) -> String {
    brief(&error.to_string(), MAX_SHOWN)
}

impl SourceError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            SourceError::File(FileError::Read { .. } | FileError::TooLarge { .. }) => Class::File,
            SourceError::File(FileError::Hangs { .. }) => Class::Timeout,
            SourceError::File(FileError::Parse { .. }) => Class::NotWhole,
            SourceError::Poll(error) => error.class(),
        }
    }
}

/// Kinds of trouble: the label of metrics, and what a change of is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Too many calls for EC2's taste.
    Throttled,
    /// An IAM action is missing.
    Unauthorised,
    /// None, expired or refused.
    Credentials,
    /// The instance metadata service does not give any.
    Imds,
    /// No region is configured or found.
    Region,
    /// The endpoint's name does not resolve.
    Dns,
    /// No connection, or one that was cut.
    Connect,
    /// The handshake failed.
    Tls,
    /// No answer in time.
    Timeout,
    /// A 5xx of the service.
    Server,
    /// An answer that is not whole or not what was asked for.
    NotWhole,
    /// The file of a `file` source cannot be read.
    File,
    /// None of the above.
    Other,
}

impl Class {
    /// Every class, in the order of the enum.
    pub const ALL: [Class; 13] = [
        Class::Throttled,
        Class::Unauthorised,
        Class::Credentials,
        Class::Imds,
        Class::Region,
        Class::Dns,
        Class::Connect,
        Class::Tls,
        Class::Timeout,
        Class::Server,
        Class::NotWhole,
        Class::File,
        Class::Other,
    ];

    /// One word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Throttled => "throttled",
            Class::Unauthorised => "unauthorised",
            Class::Credentials => "credentials",
            Class::Imds => "imds",
            Class::Region => "region",
            Class::Dns => "dns",
            Class::Connect => "connect",
            Class::Tls => "tls",
            Class::Timeout => "timeout",
            Class::Server => "5xx",
            Class::NotWhole => "not-whole",
            Class::File => "file",
            Class::Other => "other",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a call to EC2 gave no answer. No type of the SDK appears here: the
/// poll loop and its tests know nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// RequestLimitExceeded and its like (EC2 developer guide, "Request
    /// throttling": per account and region).
    #[error(
        "throttled ({code}); polling slows down by itself, \
         but a longer `poll` or fewer servers on this account would end it"
    )]
    Throttled {
        /// The error code.
        code: String,
    },
    /// The credentials are good but may not do this.
    #[error("not allowed ({code}): allow {action} to the role or user in use; it says: {message}")]
    Unauthorised {
        /// The IAM action that is missing.
        action: String,
        /// The error code.
        code: String,
        /// What the service says.
        message: String,
    },
    /// The service does not accept the credentials.
    #[error(
        "credentials refused ({code}): renew them, or set this host's clock; it says: {message}"
    )]
    Refused {
        /// The error code.
        code: String,
        /// What the service says.
        message: String,
    },
    /// The service does not accept them for they have ended. The SDK gives the last
    /// ones of the metadata service for as long as that has none.
    #[error(
        "the credentials ended at {} ({code}) and what gives them has no new ones: check the \
         instance's role and its metadata service, renew them, or set this host's clock",
        humantime::format_rfc3339_seconds(*at)
    )]
    Ended {
        /// When they ended.
        at: SystemTime,
        /// The error code.
        code: String,
    },
    /// What gives them still gives the ones that are to be renewed.
    #[error(
        "the credentials end at {} and what gives them has no new ones: check the instance's role \
         and its metadata service, or renew them",
        humantime::format_rfc3339_seconds(*at)
    )]
    Ends {
        /// When they end.
        at: SystemTime,
    },
    /// A file that the SDK would read is none that it may.
    #[error("the AWS SDK is not let read {} ({of}): {why}", path.display())]
    SdkFile {
        /// The file.
        path: PathBuf,
        /// What names it.
        of: String,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// Reading what the SDK reads does not end.
    #[error("reading the AWS SDK's files (profiles, tokens, CA certificates) {why}")]
    SdkFiles {
        /// Goes on from that, and says what to do.
        why: String,
    },
    /// Who gives them says nothing.
    #[error(
        "no credentials: {asked} does not answer within {}; check routes, security groups, VPC \
         endpoints and the instance metadata service",
        humantime::format_duration(*after)
    )]
    Unanswered {
        /// Who was asked, as people call it.
        asked: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// No provider of the chain has any.
    #[error(
        "no credentials: give the instance a role, or set `profile`, AWS_PROFILE \
         or AWS_ACCESS_KEY_ID; {cause}"
    )]
    NoCredentials {
        /// What the SDK says.
        cause: String,
    },
    /// The instance has a metadata service that fails, or is out of reach.
    #[error(
        "the instance metadata service gives no credentials: check the instance's role, and in a \
         container that the hop limit is 2; elsewhere than on EC2 set `profile`, AWS_PROFILE or \
         AWS_ACCESS_KEY_ID; {cause}"
    )]
    Imds {
        /// What the SDK says.
        cause: String,
    },
    /// Neither configured nor in the SDK's chain.
    #[error(
        "no region: set `region` in the source, or AWS_REGION; \
         the instance metadata service tells of none either"
    )]
    NoRegion,
    /// The endpoint's name does not resolve.
    #[error("cannot resolve {host}: {cause}; check `[aws] resolvers`")]
    Dns {
        /// The name.
        host: String,
        /// What went wrong.
        cause: String,
    },
    /// No connection, or one that was cut.
    #[error(
        "no connection to {host}: {cause}; check routes, security groups, the service's VPC \
         endpoint and `endpoint_url` (of STS: AWS_ENDPOINT_URL_STS)"
    )]
    Connect {
        /// Whom it was to.
        host: String,
        /// What went wrong.
        cause: String,
    },
    /// The handshake failed.
    #[error("TLS with {host}: {cause}")]
    Tls {
        /// With whom.
        host: String,
        /// What went wrong, and what to do.
        cause: String,
    },
    /// Not EC2 fails but who gives the credentials to ask it with.
    #[error("STS, asked for `role_arn`: {0}")]
    Sts(Box<PollError>),
    /// They are good, but not of the account that is configured.
    #[error(
        "the credentials are of account {is}, and `account` says {wanted}: nothing that they are \
         told is taken; correct `profile` or `role_arn`, or `account`"
    )]
    OtherAccount {
        /// Of which they are.
        is: String,
        /// Of which they must be.
        wanted: String,
    },
    /// Nobody says of which account they are.
    #[error("whether the credentials are of account {wanted} is not known yet: STS: {of}")]
    Unverified {
        /// Of which they must be.
        wanted: String,
        /// What is wrong with asking.
        of: Box<PollError>,
    },
    /// No answer in time.
    #[error("no answer within {}", humantime::format_duration(*after))]
    Timeout {
        /// The time allowed.
        after: Duration,
    },
    /// The service is in trouble.
    #[error("the service answers {status} ({code})")]
    Server {
        /// HTTP status.
        status: u16,
        /// The error code, if there is one.
        code: String,
    },
    /// Something came back that is no answer to our question.
    #[error("the answer is not whole: {what}; check `endpoint_url` and any proxy")]
    NotWhole {
        /// What is wrong with it.
        what: String,
    },
    /// None of the above.
    #[error("{what}")]
    Other {
        /// What the SDK says.
        what: String,
    },
}

impl PollError {
    /// What a service says in an error of its own. `action` is what was asked
    /// for, as IAM names it; codes are those of EC2's ("Error codes", API
    /// reference) and STS's common errors.
    pub fn of_service(action: &str, status: u16, code: Option<&str>, message: &str) -> Self {
        // EC2 adds some 1,000 characters that only `sts
        // decode-authorization-message` reads.
        let message = brief(message, BRIEF);
        let Some(code) = code.map(|code| brief(code, MAX_CODE)) else {
            return match status {
                500.. => PollError::Server { status, code: "no code".into() },
                429 => PollError::Throttled { code: "HTTP 429".into() },
                _ => PollError::NotWhole { what: format!("HTTP {status} without an error code") },
            };
        };
        match code.as_str() {
            "RequestLimitExceeded"
            | "EC2ThrottledException"
            | "SlowDown"
            | "TooManyRequests"
            | "TooManyRequestsException"
            | "BandwidthLimitExceeded" => PollError::Throttled { code },
            throttled if throttled.starts_with("Throttl") => PollError::Throttled { code },
            "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
                PollError::Unauthorised { action: action.to_owned(), code, message }
            }
            "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "NotAuthorized"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => PollError::Refused { code, message },
            _ if status >= 500 => PollError::Server { status, code },
            _ => PollError::Other { what: format!("{action} fails with {code}: {message}") },
        }
    }

    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            PollError::Throttled { .. } => Class::Throttled,
            PollError::Unauthorised { .. } => Class::Unauthorised,
            PollError::Refused { .. }
            | PollError::Ended { .. }
            | PollError::Ends { .. }
            | PollError::SdkFile { .. }
            | PollError::SdkFiles { .. }
            | PollError::Unanswered { .. }
            | PollError::OtherAccount { .. }
            | PollError::NoCredentials { .. } => Class::Credentials,
            PollError::Imds { .. } => Class::Imds,
            PollError::Sts(of) | PollError::Unverified { of, .. } => of.class(),
            PollError::NoRegion => Class::Region,
            PollError::Dns { .. } => Class::Dns,
            PollError::Connect { .. } => Class::Connect,
            PollError::Tls { .. } => Class::Tls,
            PollError::Timeout { .. } => Class::Timeout,
            PollError::Server { .. } => Class::Server,
            PollError::NotWhole { .. } => Class::NotWhole,
            PollError::Other { .. } => Class::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_services_say() {
        let of =
            |status, code| PollError::of_service("ec2:DescribeAddresses", status, code, "Well.");
        let cases = [
            (503, Some("RequestLimitExceeded"), Class::Throttled),
            (400, Some("Throttling"), Class::Throttled),
            (400, Some("ThrottlingException"), Class::Throttled),
            (429, None, Class::Throttled),
            (403, Some("UnauthorizedOperation"), Class::Unauthorised),
            (403, Some("AccessDenied"), Class::Unauthorised),
            (401, Some("AuthFailure"), Class::Credentials),
            (400, Some("RequestExpired"), Class::Credentials),
            (403, Some("ExpiredToken"), Class::Credentials),
            (503, Some("Unavailable"), Class::Server),
            (500, Some("InternalError"), Class::Server),
            (502, None, Class::Server),
            (403, None, Class::NotWhole),
            (200, None, Class::NotWhole),
            (400, Some("InvalidParameterValue"), Class::Other),
        ];
        for (status, code, class) in cases {
            assert_eq!(of(status, code).class(), class, "{status} {code:?}");
        }
        let long = "encoded ".repeat(200);
        let error = PollError::of_service("a", 403, Some("UnauthorizedOperation"), &long);
        assert!(error.to_string().ends_with("encoded enco…"), "{error}");
        let error = PollError::of_service("a", 400, Some(&long), "Well.\nWell.");
        assert!(error.to_string().ends_with("enco…: Well. Well."), "{error}");
        assert_eq!(
            of(403, Some("UnauthorizedOperation")).to_string(),
            "not allowed (UnauthorizedOperation): allow ec2:DescribeAddresses \
             to the role or user in use; it says: Well."
        );
    }

    #[test]
    fn classes_stand_in_order_and_have_names_of_their_own() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
        let names: std::collections::BTreeSet<_> = Class::ALL.map(Class::as_str).into();
        assert_eq!(names.len(), Class::ALL.len());
    }
}
