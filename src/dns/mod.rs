//! What DNS itself defines: names.
//!
//! * [`name`]: names as folded wire octets, the key of every table.
//! * [`ec2_name`]: public names of EC2.

pub mod ec2_name;
pub mod name;
