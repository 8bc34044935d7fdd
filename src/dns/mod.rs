//! What DNS itself defines.
//!
//! * [`ede`]: Extended DNS Errors.
//! * [`name`]: names as folded wire octets, the key of every table.
//! * [`ec2_name`]: public names of EC2.
//! * [`wire`]: constants of messages.

pub(crate) mod ec2_name;
pub(crate) mod ede;
pub mod name;
pub mod wire;
