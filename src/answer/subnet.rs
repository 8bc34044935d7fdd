//! EDNS Client Subnet (RFC 7871): on whose behalf a trusted forwarder asks.

use std::net::IpAddr;

use hickory_proto::rr::rdata::opt::ClientSubnet;
use ipnet::IpNet;

use super::Asker;
use crate::config::ViewId;
use crate::snapshot::Selector;

/// Whose view decides, and what of the subnet goes into the answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Its view.
    pub view: Option<ViewId>,
    /// The option of the answer, when a trusted forwarder asked with one.
    pub option: Option<Vec<u8>>,
    /// The subnet that decided, when it was not the address of who asks.
    pub subnet: Option<IpNet>,
}

/// The view of whoever asks: of the subnet that a trusted forwarder names, or
/// of the address the query came from. A subnet of length 0 says that the
/// forwarder keeps it to itself: it is answered as the forwarder.
pub(crate) fn choose(selector: &Selector, asker: &Asker, subnet: Option<&ClientSubnet>) -> Chosen {
    let own = || asker.view(selector);
    let Some(subnet) = subnet.filter(|_| selector.trusts(asker.client.ip())) else {
        return Chosen { view: own(), ..Chosen::default() };
    };
    let (address, length) = (subnet.addr(), subnet.source_prefix());
    let net = match IpNet::new(address, length) {
        Ok(net) if length > 0 => net.trunc(),
        _ => {
            let option = Some(option(address, 0, 0));
            return Chosen { view: own(), option, subnet: None };
        }
    };
    let (view, scope) = selector.select_net(net, asker.local);
    Chosen { view, option: Some(option(net.addr(), length, scope)), subnet: Some(net) }
}

/// The option's data (RFC 7871 section 6): family, source and scope prefix
/// length, and as many octets of the address as the source has.
fn option(address: IpAddr, source: u8, scope: u8) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(ip) => (1u16, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut data = family.to_be_bytes().to_vec();
    data.extend_from_slice(&[source, scope]);
    data.extend(octets.iter().take(usize::from(source.div_ceil(8))));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector() -> Selector {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let mut s = Selector::default();
        s.insert(&[net("10.0.0.0/8"), net("fc00::/7")], &[], 0);
        s.insert(&[net("10.1.0.0/16"), net("192.0.2.0/24")], &[], 1);
        s.trust(&[net("10.0.0.53/32")]);
        s
    }

    fn ask(client: &str, subnet: &str) -> Chosen {
        let (address, length) = subnet.split_once('/').unwrap();
        let subnet = ClientSubnet::new(address.parse().unwrap(), length.parse().unwrap(), 0);
        let asker = Asker {
            client: format!("{client}:99").parse().unwrap(),
            local: "10.0.0.1:53".parse().unwrap(),
        };
        choose(&selector(), &asker, Some(&subnet))
    }

    #[test]
    fn a_trusted_forwarder_asks_for_its_client() {
        // (subnet, view, scope): the scope is the shortest prefix in which all
        // clients see the same.
        for (subnet, view, scope) in [
            ("10.1.2.0/24", Some(1), 16),
            ("10.2.3.0/24", Some(0), 15),
            ("10.128.0.0/24", Some(0), 9),
            ("192.0.2.0/24", Some(1), 24),
            ("198.51.100.0/24", None, 6),
            ("fc00:1::/56", Some(0), 7),
        ] {
            let chosen = ask("10.0.0.53", subnet);
            assert_eq!(chosen.view, view, "{subnet}");
            assert_eq!(chosen.option.unwrap()[3], scope, "{subnet}");
        }
        // A prefix as long as a view's or shorter: never more than is known.
        let chosen = ask("10.0.0.53", "10.0.0.0/8");
        assert_eq!(chosen.view, Some(0));
        assert_eq!(chosen.option.unwrap()[..4], [0, 1, 8, 16]);
    }

    #[test]
    fn the_option_is_as_it_came() {
        let chosen = ask("10.0.0.53", "10.1.130.0/17");
        assert_eq!(chosen.option.unwrap(), [0, 1, 17, 16, 10, 1, 128]);
        let chosen = ask("10.0.0.53", "0.0.0.0/0");
        assert_eq!(chosen, Chosen { view: Some(0), option: Some(vec![0, 1, 0, 0]), subnet: None });
    }

    #[test]
    fn others_are_not_believed() {
        assert_eq!(ask("10.0.0.54", "10.1.2.0/24"), Chosen { view: Some(0), ..Chosen::default() });
        assert_eq!(ask("198.51.100.1", "10.1.2.0/24"), Chosen::default());
    }
}
