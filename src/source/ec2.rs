//! Who calls EC2. The calls are a crate of their own, `aws/`, above this one: the two
//! compile side by side, and no build without EC2 needs the AWS SDK.

use std::sync::OnceLock;

use super::lookup::Resolver;
use super::poll::Describe;
use crate::config::Ec2Source;

/// Makes what calls EC2 for one source: its name, its settings, its region (without one
/// the SDK's chain decides), and how hosts are found.
pub type Caller = fn(&str, &Ec2Source, Option<&str>, Resolver) -> Box<dyn Describe>;

static CALLER: OnceLock<Caller> = OnceLock::new();

/// From now on this program has EC2 sources. Before the first configuration is read;
/// of several the first counts.
pub fn install(caller: Caller) {
    let _ = CALLER.set(caller);
}

/// None in a program without EC2: the configuration refuses its sources.
pub(crate) fn caller() -> Option<Caller> {
    CALLER.get().copied()
}
