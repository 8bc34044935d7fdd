//! Public EC2 names: `ec2-75-101-137-243.compute-1.amazonaws.com`.
//!
//! Source: Amazon VPC User Guide, "DNS attributes for your VPC".

use std::net::Ipv4Addr;

use crate::dns::name::{Key, parent};

/// What follows `ec2-a-b-c-d.` in the public names of a region.
///
/// The partition of China has its own top level; us-east-1 is older than the
/// scheme all others follow.
pub(crate) fn public_suffix_of(region: &str) -> String {
    match region {
        "us-east-1" => "compute-1.amazonaws.com".to_owned(),
        _ if region.starts_with("cn-") => format!("{region}.compute.amazonaws.com.cn"),
        _ => format!("{region}.compute.amazonaws.com"),
    }
}

/// The public name of an Elastic IP; none when `suffix` leaves no room for it
/// within 255 octets, which the configuration refuses.
pub(crate) fn ec2_name(ip: Ipv4Addr, suffix: &Key) -> Option<Key> {
    let [a, b, c, d] = ip.octets();
    suffix.child(format!("ec2-{a}-{b}-{c}-{d}").as_bytes())
}

/// Does a folded wire name begin as public EC2 names do? Costs nothing, so
/// that other names need not be looked for among them.
pub(crate) fn is_like_one(name: &[u8]) -> bool {
    name.get(1..5) == Some(b"ec2-")
}

/// The address that a folded wire name of the form `ec2-a-b-c-d.<suffix>`
/// speaks of, and that suffix. Only the name that [`ec2_name`] gives for the
/// address is one: leading zeros, for one, are not.
pub(crate) fn parse_ec2_name(name: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let suffix = parent(name)?;
    let label = name.get(1..name.len() - suffix.len())?;
    let text = std::str::from_utf8(label.strip_prefix(b"ec2-")?).ok()?;
    let mut octets = [0; 4];
    let mut parts = text.split('-');
    for octet in &mut octets {
        let part = parts.next()?;
        let plain =
            part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
        *octet = part.parse().ok().filter(|_| plain)?;
    }
    parts.next().is_none().then_some((octets.into(), suffix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text, None).unwrap()
    }

    #[test]
    fn suffixes_by_region() {
        for (region, suffix) in [
            ("us-east-1", "compute-1.amazonaws.com"),
            ("us-east-2", "us-east-2.compute.amazonaws.com"),
            ("us-gov-west-1", "us-gov-west-1.compute.amazonaws.com"),
            ("cn-north-1", "cn-north-1.compute.amazonaws.com.cn"),
        ] {
            assert_eq!(public_suffix_of(region), suffix);
        }
    }

    #[test]
    fn names_an_address() {
        let name = ec2_name(Ipv4Addr::new(75, 101, 137, 243), &key("compute-1.amazonaws.com"));
        assert_eq!(name.unwrap(), key("ec2-75-101-137-243.compute-1.amazonaws.com"));
    }

    #[test]
    fn a_suffix_without_room_has_no_names() {
        let long = key(&format!("{0}.{0}.{0}.{1}", "x".repeat(63), "y".repeat(50)));
        assert_eq!(ec2_name(Ipv4Addr::BROADCAST, &long), None);
    }

    #[test]
    fn other_names_speak_of_no_address() {
        assert_eq!(parse_ec2_name(Key::root().octets()), None);
        for other in [
            "com",
            "ec2.compute-1.amazonaws.com",
            "ec2-1-2-3.example",
            "ec2-1-2-3-4-5.example",
            "ec2-1-2-3-256.example",
            "ec2-01-2-3-4.example",
            "ec2-1-2-3-+4.example",
            "ec2-1-2--4.example",
            "ip-1-2-3-4.example",
        ] {
            assert_eq!(parse_ec2_name(key(other).octets()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn is_read_back(octets: [u8; 4], suffix in "[a-z]{1,9}(\\.[a-z]{1,9}){0,3}") {
            let (ip, suffix) = (Ipv4Addr::from(octets), key(&suffix));
            let name = ec2_name(ip, &suffix).unwrap();
            prop_assert_eq!(parse_ec2_name(name.octets()), Some((ip, suffix.octets())));
        }
    }
}
