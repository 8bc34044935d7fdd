//! What a name that is laid into a zone stands for in a view.

use std::net::IpAddr;
use std::sync::Arc;

use super::Basis;
use crate::dns::name::Key;

/// What a name is answered with in one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What the records are made from.
    pub data: Data,
    /// Their TTL, in seconds.
    pub ttl: u32,
    /// On what that rests; none for fixed addresses and pins. Most names have
    /// the same, and share it.
    pub basis: Option<Arc<Basis>>,
}

/// What a binding is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The name does not exist in this view (`answer = "none"`).
    Absent,
    /// A and AAAA records, in order, without duplicates.
    Addresses(Box<[IpAddr]>),
    /// A CNAME.
    Cname(Key),
    /// No address: NODATA. The text says why and stands in a TXT record, so
    /// that the name exists in transfers too.
    Nothing(Arc<str>),
    /// A source that may know has not delivered yet.
    NotReady,
}
