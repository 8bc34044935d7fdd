//! Which address it is, as DescribeAddresses tells of it.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::allocation::Allocation;

/// What is the same for as long as an address is allocated (EC2 API reference, `Address`).
/// In the state its fields stand among the others of the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Identity {
    /// An Elastic IP.
    Public {
        /// `PublicIp`
        public_ip: Ipv4Addr,
        /// `eipalloc-…`. EC2 always gives one, files may lack it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allocation_id: Option<String>,
    },
    /// An address without a public one, in a Wavelength zone or on an Outpost.
    Edge {
        /// `eipalloc-…`
        #[serde(with = "shared_text")]
        allocation_id: Arc<str>,
        /// What it has in place of a public address.
        #[serde(flatten)]
        edge_ip: EdgeIp,
    },
}

/// What an address in a network at the edge has in place of a public address. It is shown to
/// people, and never answered: only that network knows the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EdgeIp {
    /// `CarrierIp`: of a telecommunication carrier (Wavelength).
    #[serde(rename = "carrier_ip")]
    Carrier(Ipv4Addr),
    /// `CustomerOwnedIp`: of the customer's own network (Outposts).
    #[serde(rename = "customer_owned_ip")]
    CustomerOwned(Ipv4Addr),
}

impl From<Ipv4Addr> for Identity {
    /// An Elastic IP of which the allocation's id is not known.
    fn from(public_ip: Ipv4Addr) -> Self {
        Identity::Public { public_ip, allocation_id: None }
    }
}

impl Identity {
    /// What it is known by from one answer to the next.
    pub fn allocation(&self) -> Allocation {
        match self {
            Identity::Public { public_ip, .. } => Allocation::PublicIp(*public_ip),
            Identity::Edge { allocation_id, .. } => Allocation::Id(Arc::clone(allocation_id)),
        }
    }

    /// The Elastic IP, if it is one.
    pub fn public_ip(&self) -> Option<Ipv4Addr> {
        match self {
            Identity::Public { public_ip, .. } => Some(*public_ip),
            Identity::Edge { .. } => None,
        }
    }

    /// `eipalloc-…`; none: a file lacks it.
    pub fn allocation_id(&self) -> Option<&str> {
        match self {
            Identity::Public { allocation_id, .. } => allocation_id.as_deref(),
            Identity::Edge { allocation_id, .. } => Some(allocation_id),
        }
    }

    /// What it has in place of a public address.
    pub fn edge_ip(&self) -> Option<EdgeIp> {
        match self {
            Identity::Public { .. } => None,
            Identity::Edge { edge_ip, .. } => Some(*edge_ip),
        }
    }
}

impl fmt::Display for EdgeIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EdgeIp::Carrier(ip) => write!(f, "carrier address {ip}"),
            EdgeIp::CustomerOwned(ip) => write!(f, "customer-owned address {ip}"),
        }
    }
}

/// A text that is shared in memory, as any other on disk.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_by_its_public_address_or_else_by_its_allocation() {
        let ip = Ipv4Addr::new(75, 101, 137, 243);
        let public = Identity::Public { public_ip: ip, allocation_id: Some("eipalloc-01".into()) };
        assert_eq!(public.allocation(), Allocation::from(ip));
        assert_eq!((public.public_ip(), public.edge_ip()), (Some(ip), None));
        assert_eq!(Identity::from(ip).allocation_id(), None);
        let carrier = EdgeIp::Carrier(Ipv4Addr::new(155, 146, 10, 111));
        let edge = Identity::Edge { allocation_id: "eipalloc-0c".into(), edge_ip: carrier };
        assert_eq!(edge.allocation(), Allocation::Id("eipalloc-0c".into()));
        assert_eq!((edge.public_ip(), edge.edge_ip()), (None, Some(carrier)));
        assert_eq!(edge.allocation_id(), Some("eipalloc-0c"));
        assert_eq!(carrier.to_string(), "carrier address 155.146.10.111");
        let owned = EdgeIp::CustomerOwned(Ipv4Addr::new(192, 0, 2, 7));
        let owned = Identity::Edge { allocation_id: "eipalloc-0d".into(), edge_ip: owned };
        for (identity, json) in [
            (public, r#"{"public_ip":"75.101.137.243","allocation_id":"eipalloc-01"}"#),
            (ip.into(), r#"{"public_ip":"75.101.137.243"}"#),
            (edge, r#"{"allocation_id":"eipalloc-0c","carrier_ip":"155.146.10.111"}"#),
            (owned, r#"{"allocation_id":"eipalloc-0d","customer_owned_ip":"192.0.2.7"}"#),
        ] {
            assert_eq!(serde_json::to_string(&identity).unwrap(), json);
            assert_eq!(serde_json::from_str::<Identity>(json).unwrap(), identity);
        }
        for neither in [r#"{"allocation_id":"eipalloc-0c"}"#, r#"{"carrier_ip":"155.146.10.111"}"#]
        {
            serde_json::from_str::<Identity>(neither).unwrap_err();
        }
    }
}
