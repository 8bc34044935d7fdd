//! Who calls EC2. The calls are a crate of their own, `aws/`, above this one: the two
//! compile side by side, and no build without EC2 needs the AWS SDK.

use std::sync::OnceLock;

use futures_util::future::BoxFuture;

use super::error::PollError;
use super::interfaces::DescribeInterfaces;
use super::lookup::Resolver;
use super::poll::Describe;
use crate::config::Ec2Source;

/// The source that is called for.
#[derive(Debug, Clone, Copy)]
pub struct Of<'s> {
    /// Its name.
    pub name: &'s str,
    /// Its settings.
    pub settings: &'s Ec2Source,
    /// Its region; without one the SDK's chain decides.
    pub region: Option<&'s str>,
    /// How hosts are found.
    pub resolver: &'s Resolver,
}

/// What is called, each for one source and set up at its first call.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// DescribeAddresses.
    pub addresses: fn(&Of<'_>) -> Box<dyn Describe>,
    /// DescribeNetworkInterfaces.
    pub interfaces: fn(&Of<'_>) -> Box<dyn DescribeInterfaces>,
    /// GetCallerIdentity: who the credentials are. One call, with its own deadline.
    pub principal: fn(&Of<'_>) -> BoxFuture<'static, Result<Principal, PollError>>,
}

/// Who credentials are, as AWS sees it (STS API reference, "GetCallerIdentity").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account, 12 digits.
    pub account: String,
    /// Of the user or of the assumed role.
    pub arn: String,
}

static CALLS: OnceLock<Calls> = OnceLock::new();

/// From now on this program has EC2 sources. Before the first configuration is read;
/// of several the first counts.
pub fn install(calls: Calls) {
    let _ = CALLS.set(calls);
}

/// None in a program without EC2: the configuration refuses its sources.
pub(crate) fn calls() -> Option<Calls> {
    CALLS.get().copied()
}
