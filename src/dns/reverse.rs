//! Names of addresses: `7.0.0.10.in-addr.arpa` (RFC 1035 section 3.5), and one label for each
//! four bits below `ip6.arpa` (RFC 3596 section 2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::name::{Key, labels, suffixes};

const ARPA: &[u8] = b"\x04arpa\0";
const IN_ADDR: &[u8] = b"\x07in-addr\x04arpa\0";
const IP6: &[u8] = b"\x03ip6\x04arpa\0";

/// Labels of an IPv4 address.
const V4_LABELS: usize = 4;
/// Labels of an IPv6 address.
const V6_LABELS: usize = 32;

/// The name at which the PTR records of an address stand.
pub(crate) fn owner(ip: IpAddr) -> Key {
    let mut octets = Vec::with_capacity(2 * V6_LABELS + IP6.len());
    match ip {
        IpAddr::V4(ip) => {
            for octet in ip.octets().iter().rev() {
                let text = octet.to_string();
                octets.push(text.len() as u8);
                octets.extend_from_slice(text.as_bytes());
            }
            octets.extend_from_slice(IN_ADDR);
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
            for nibble in nibbles.rev() {
                let digit = char::from_digit(nibble.into(), 16).unwrap_or_default();
                octets.extend_from_slice(&[1, digit as u8]);
            }
            octets.extend_from_slice(IP6);
        }
    }
    Key::from_folded(&octets)
}

/// The address whose PTR records stand at a folded wire name.
pub(crate) fn address_of(name: &[u8]) -> Option<IpAddr> {
    let (owner, ip) = owner_in(name)?;
    (owner.len() == name.len()).then_some(ip)
}

/// The name of an address that a folded wire name is or lies below, and that address. For
/// other names it costs a comparison of their last octets.
pub(crate) fn owner_in(name: &[u8]) -> Option<(&[u8], IpAddr)> {
    let (root, count) = match name {
        _ if name.ends_with(IN_ADDR) => (IN_ADDR, V4_LABELS),
        _ if name.ends_with(IP6) => (IP6, V6_LABELS),
        _ => return None,
    };
    let above = suffixes(name).position(|suffix| suffix == root)?;
    let owner = suffixes(name).nth(above.checked_sub(count)?)?;
    Some((owner, prefix_of(owner, root)?.addr()))
}

/// The addresses whose PTR records would all stand at a name or below it. None for a name that
/// is in no reverse space, and for one below the name of an address.
pub(crate) fn space(name: &Key) -> Vec<IpNet> {
    let octets = name.octets();
    if octets.len() == 1 || octets == ARPA {
        return vec![Ipv4Net::default().into(), Ipv6Net::default().into()];
    }
    [IN_ADDR, IP6].into_iter().filter_map(|root| prefix_of(octets, root)).collect()
}

/// What the labels between a name and the `root` it lies below stand for.
fn prefix_of(name: &[u8], root: &[u8]) -> Option<IpNet> {
    let count = suffixes(name).position(|suffix| suffix == root)?;
    let own: Vec<&[u8]> = labels(name).take(count).collect();
    let from_root = own.into_iter().rev().enumerate();
    if root == IN_ADDR {
        let mut octets = [0u8; V4_LABELS];
        for (at, label) in from_root {
            *octets.get_mut(at)? = decimal(label)?;
        }
        let bits = 8 * u8::try_from(count).ok()?;
        return Some(Ipv4Net::new(Ipv4Addr::from(octets), bits).ok()?.into());
    }
    let mut octets = [0u8; V6_LABELS / 2];
    for (at, label) in from_root {
        let nibble = nibble(label)?;
        *octets.get_mut(at / 2)? |= if at % 2 == 0 { nibble << 4 } else { nibble };
    }
    let bits = 4 * u8::try_from(count).ok()?;
    Some(Ipv6Net::new(Ipv6Addr::from(octets), bits).ok()?.into())
}

/// An octet as it stands in these names: without leading zeros.
fn decimal(label: &[u8]) -> Option<u8> {
    let is_plain = label.iter().all(u8::is_ascii_digit)
        && (label == b"0" || label.first().is_some_and(|first| *first != b'0'));
    std::str::from_utf8(label).ok().filter(|_| is_plain)?.parse().ok()
}

fn nibble(label: &[u8]) -> Option<u8> {
    match label {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        [letter @ b'a'..=b'f'] => Some(letter - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text, None).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from)
        ]
    }

    proptest! {
        #[test]
        fn is_read_back(ip in address(), below in "([a-z]{1,5}\\.){0,3}") {
            let owner = owner(ip);
            prop_assert_eq!(address_of(owner.octets()), Some(ip));
            prop_assert_eq!(space(&owner), vec![IpNet::from(ip)]);
            let name = key(&format!("{below}{owner}"));
            prop_assert_eq!(owner_in(name.octets()), Some((owner.octets(), ip)));
            prop_assert_eq!(address_of(name.octets()).is_some(), below.is_empty());
            // hickory agrees.
            prop_assert_eq!(Key::from_name(&hickory_proto::rr::Name::from(ip)), owner);
        }

        /// Just the addresses of a name's space have their names at or below it.
        #[test]
        fn a_space_is_what_lies_below(ip in address(), other in address(), above in 0usize..40) {
            let all = owner(ip);
            let suffix = suffixes(all.octets()).nth(above).map(Key::from_folded);
            let Some(name) = suffix else { return Ok(()) };
            let space = space(&name);
            for ip in [ip, other] {
                let is_below = owner(ip).is_under(&name);
                prop_assert_eq!(space.iter().any(|net| net.contains(&ip)), is_below, "{} {}", ip, name);
            }
        }
    }

    #[test]
    fn names_of_addresses() {
        assert_eq!(owner(ip("10.0.0.7")), key("7.0.0.10.in-addr.arpa"));
        let zeros = "0.".repeat(29);
        assert_eq!(owner(ip("fd00::5")), key(&format!("5.{zeros}d.f.ip6.arpa")));
        assert_eq!(space(&key("10.in-addr.arpa")), ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(space(&key("d.f.ip6.arpa")), ["fd00::/8".parse().unwrap()]);
    }

    #[test]
    fn other_names_are_of_no_address() {
        for other in [
            "10.in-addr.arpa",
            "0.0.10.in-addr.arpa",
            "07.0.0.10.in-addr.arpa",
            "256.0.0.10.in-addr.arpa",
            "+7.0.0.10.in-addr.arpa",
            "x.0.0.10.in-addr.arpa",
            "7.0.0.10.in-addr.arpa.example.com",
            "7.0.0.10.ip6.arpa",
            "0-25.2.0.192.in-addr.arpa",
            "7.0.0.10\\007in-addr.arpa",
            ".",
        ] {
            assert_eq!(address_of(key(other).octets()), None, "{other}");
        }
        for other in ["example.com", "x.10.in-addr.arpa", "x.7.0.0.10.in-addr.arpa", "addr.arpa"] {
            assert!(space(&key(other)).is_empty(), "{other}");
        }
    }
}
