//! Public EC2 names: `ec2-75-101-137-243.compute-1.amazonaws.com`
//! (Amazon VPC user guide, "DNS attributes for your VPC").

use std::net::Ipv4Addr;

use crate::name::{self, Key};

/// What follows `ec2-a-b-c-d.` in a region; none when `region` is no name.
pub fn suffix_of_region(region: &str) -> Option<Key> {
    let text = match region {
        "us-east-1" => "compute-1.amazonaws.com".to_string(),
        cn if cn.starts_with("cn-") => format!("{cn}.compute.amazonaws.com.cn"),
        other => format!("{other}.compute.amazonaws.com"),
    };
    Key::parse(&text, None).ok()
}

/// The public EC2 name of an Elastic IP; none when the suffix is too long.
pub fn public_name(ip: Ipv4Addr, suffix: &Key) -> Option<Key> {
    let [a, b, c, d] = ip.octets();
    suffix.child(format!("ec2-{a}-{b}-{c}-{d}").as_bytes())
}

/// The address in a public EC2 name with this suffix, both folded wire form.
pub fn address_of(name: &[u8], suffix: &Key) -> Option<Ipv4Addr> {
    if name::parent(name)? != suffix.octets() {
        return None;
    }
    let label = name.get(1..1 + usize::from(*name.first()?))?;
    let digits = std::str::from_utf8(label).ok()?.strip_prefix("ec2-")?;
    let ip: Ipv4Addr = digits.replace('-', ".").parse().ok()?;
    // `ec2-1-2.3-4` reads as an address too, but is not the address's name.
    (public_name(ip, suffix)?.octets() == name).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_region() {
        let ip = Ipv4Addr::new(75, 101, 137, 243);
        for (region, expected) in [
            ("us-east-1", "ec2-75-101-137-243.compute-1.amazonaws.com."),
            ("eu-west-1", "ec2-75-101-137-243.eu-west-1.compute.amazonaws.com."),
            ("us-gov-west-1", "ec2-75-101-137-243.us-gov-west-1.compute.amazonaws.com."),
            ("cn-north-1", "ec2-75-101-137-243.cn-north-1.compute.amazonaws.com.cn."),
        ] {
            let suffix = suffix_of_region(region).unwrap();
            let name = public_name(ip, &suffix).unwrap();
            assert_eq!(name.to_string(), expected);
            assert_eq!(address_of(name.octets(), &suffix), Some(ip));
        }
    }

    #[test]
    fn only_the_exact_form_is_read_back() {
        let suffix = suffix_of_region("us-east-1").unwrap();
        for not in
            ["ec2-75-101-137", "ec2-075-101-137-243", "ec2-1.2-3-4", "x-1-2-3-4", "a.ec2-1-2-3-4"]
        {
            let name = Key::parse(not, Some(&suffix)).unwrap();
            assert_eq!(address_of(name.octets(), &suffix), None, "{not}");
        }
    }
}
