//! What an address is known by from one answer to the next.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The allocation of an address, by which inventory, [`accept`](super::accept) and
/// state keep it: its public address where it has one, else its id.
///
/// EC2 has no two allocations of one public address at a time, so that address names
/// one as exactly as the id does. It comes first because
///
/// * files and state of an older eipdns may lack the id: when that comes, it is the
///   same entry, and nothing is lost or has moved;
/// * an Elastic IP that was released and recovered has a new id: what is live takes
///   the place of what is held, at once;
/// * most names are bound to the address, and find it without a second index.
///
/// Carrier addresses (Wavelength) and customer-owned ones (Outposts) have no public
/// address, and always an id (EC2 API reference, `Address`). One that a file says
/// without it is left out ([`usable`](super::usable)).
///
/// As text, in the state and for people, it is the address or the id. In order:
/// addresses first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Allocation {
    /// `PublicIp`: an Elastic IP.
    PublicIp(Ipv4Addr),
    /// `AllocationId`, of an address without a public one.
    Id(Arc<str>),
}

impl From<Ipv4Addr> for Allocation {
    fn from(public_ip: Ipv4Addr) -> Self {
        Allocation::PublicIp(public_ip)
    }
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allocation::PublicIp(ip) => ip.fmt(f),
            Allocation::Id(id) => id.fmt(f),
        }
    }
}

impl FromStr for Allocation {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Allocation::Id(text.into()), Allocation::PublicIp))
    }
}

impl Serialize for Allocation {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Allocation {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(|never: Infallible| match never {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text_it_is_the_address_or_the_id() {
        let ip = Allocation::from(Ipv4Addr::new(75, 101, 137, 243));
        let id = Allocation::Id("eipalloc-0a1b".into());
        assert!(ip < id && Allocation::from(Ipv4Addr::new(9, 0, 0, 1)) < ip);
        for (allocation, text) in [(ip, "75.101.137.243"), (id, "eipalloc-0a1b")] {
            assert_eq!(allocation.to_string(), text);
            assert_eq!(text.parse(), Ok(allocation.clone()));
            let json = serde_json::to_string(&allocation).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Allocation>(&json).unwrap(), allocation);
        }
    }
}
