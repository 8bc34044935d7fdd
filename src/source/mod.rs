//! Where addresses come from, and how losses are taken.
//!
//! * [`json`]: what `aws ec2 describe-addresses` prints.

pub mod json;
#[cfg(test)]
pub(crate) mod testing;
