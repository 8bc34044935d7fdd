//! What DNS itself defines.
//!
//! * [`ede`]: Extended DNS Errors.
//! * [`name`]: names as folded wire octets, the key of every table.
//! * [`ec2_name`]: public names of EC2.
//! * [`wire`]: constants of messages.

pub mod ec2_name;
pub mod ede;
pub mod name;
pub mod wire;
