//! What a name that is laid into a zone stands for in a view.

use std::net::IpAddr;
use std::ops::Deref;
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
    Addresses(IpSet),
    /// A CNAME.
    Cname(Key),
    /// PTR records: the names of an address.
    Pointers(Box<[Key]>),
    /// No address: NODATA. The text says why and stands in a TXT record, so
    /// that the name exists in transfers too.
    Nothing(Arc<str>),
    /// A source that may know has not delivered yet.
    NotReady,
}

/// Addresses of a name. Most have one, for which nothing is allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpSet(Ips);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ips {
    One(IpAddr),
    Some(Box<[IpAddr]>),
}

impl Deref for IpSet {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        match &self.0 {
            Ips::One(one) => std::slice::from_ref(one),
            Ips::Some(all) => all,
        }
    }
}

impl From<Vec<IpAddr>> for IpSet {
    fn from(all: Vec<IpAddr>) -> Self {
        Self(match all[..] {
            [one] => Ips::One(one),
            _ => Ips::Some(all.into()),
        })
    }
}

impl From<IpAddr> for IpSet {
    fn from(one: IpAddr) -> Self {
        Self(Ips::One(one))
    }
}
