//! What DNS itself defines.
//!
//! * [`ede`]: Extended DNS Errors.
//! * [`name`]: names as folded wire octets, the key of every table, and names as
//!   they stand in messages.
//! * [`ec2_name`]: public names of EC2.
//! * [`opt`]: the OPT record of EDNS.
//! * [`query`]: a query of ours, and which replies are for it.
//! * [`reverse`]: names of addresses, for PTR records.
//! * [`serial`]: the order of serial numbers.
//! * [`wire`]: offsets and constants of a message.

pub(crate) mod ec2_name;
pub(crate) mod ede;
pub mod name;
pub(crate) mod opt;
pub(crate) mod query;
pub(crate) mod reverse;
pub(crate) mod serial;
pub mod wire;
