//! The longest of many prefixes that an address is in.
//!
//! People list a handful of prefixes, of a few lengths. One search per length,
//! the longest first, is a fraction of what walking a trie costs; it is done
//! for every query.

use std::net::IpAddr;

use ipnet::IpNet;

/// Values by prefix.
#[derive(Debug, Clone)]
pub(crate) struct Prefixes<T> {
    v4: Lengths<T>,
    v6: Lengths<T>,
}

/// Each length once, the longest first, with its prefixes in order. Addresses
/// are left-aligned, so that both families are handled alike.
type Lengths<T> = Vec<(u8, Vec<(u128, T)>)>;

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }
}

impl<T: Copy> Prefixes<T> {
    /// Sets the value of a prefix.
    pub(crate) fn insert(&mut self, net: IpNet, value: T) {
        let lengths = match net {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        let at = lengths.partition_point(|(length, _)| *length > net.prefix_len());
        if lengths.get(at).is_none_or(|(length, _)| *length != net.prefix_len()) {
            lengths.insert(at, (net.prefix_len(), Vec::new()));
        }
        let Some((length, nets)) = lengths.get_mut(at) else { return };
        let prefix = bits(net.addr()) & mask(*length);
        nets.retain(|(known, _)| *known != prefix);
        nets.insert(nets.partition_point(|(known, _)| *known < prefix), (prefix, value));
    }

    /// The value of the longest prefix that `ip` is in.
    #[inline]
    pub(crate) fn find(&self, ip: IpAddr) -> Option<T> {
        search(self.of(ip), bits(ip)).map(|(_, value)| value)
    }

    /// Length and value of the longest prefix that has all of `net`.
    pub(crate) fn find_net(&self, net: IpNet) -> Option<(u8, T)> {
        let lengths = self.of(net.addr());
        let from = lengths.partition_point(|(length, _)| *length > net.prefix_len());
        search(lengths.get(from..).unwrap_or_default(), bits(net.addr()))
    }

    /// The values of all prefixes within `net`, itself included.
    pub(crate) fn within(&self, net: IpNet) -> impl Iterator<Item = T> {
        let lengths = self.of(net.addr());
        let until = lengths.partition_point(|(length, _)| *length >= net.prefix_len());
        let mask = mask(net.prefix_len());
        let nets = lengths.iter().take(until).flat_map(|(_, nets)| nets);
        nets.filter(move |(prefix, _)| (prefix ^ bits(net.addr())) & mask == 0).map(|(_, v)| *v)
    }

    fn of(&self, ip: IpAddr) -> &[(u8, Vec<(u128, T)>)] {
        if ip.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

fn search<T: Copy>(lengths: &[(u8, Vec<(u128, T)>)], ip: u128) -> Option<(u8, T)> {
    lengths.iter().find_map(|(length, nets)| {
        let prefix = ip & mask(*length);
        let at = nets.binary_search_by_key(&prefix, |(prefix, _)| *prefix).ok()?;
        nets.get(at).map(|(_, value)| (*length, *value))
    })
}

/// An address, left-aligned.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The bits of a prefix of this length.
fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Few bits, so that prefixes meet.
    fn net() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u8>(), 0u8..=8)
            .prop_map(|(ip, len)| IpNet::new(IpAddr::from([ip, 0, 0, 0]), len).unwrap());
        let v6 = (any::<u8>(), 120u8..=128).prop_map(|(ip, len)| {
            IpNet::new(IpAddr::from(u128::from(ip).to_be_bytes()), len).unwrap()
        });
        prop_oneof![2 => v4, 1 => v6]
    }

    proptest! {
        /// As looking at every prefix says.
        #[test]
        fn the_longest_wins(nets in vec(net(), 0..20), asked in net()) {
            let mut prefixes = Prefixes::default();
            let mut plain: Vec<(IpNet, usize)> = Vec::new();
            for (value, net) in nets.iter().enumerate() {
                prefixes.insert(*net, value);
                plain.retain(|(known, _)| *known != net.trunc());
                plain.push((net.trunc(), value));
            }
            plain.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
            let longest = |asked: IpNet| plain.iter().find(|(net, _)| net.contains(&asked));
            let of_one = longest(IpNet::from(asked.addr()));
            prop_assert_eq!(prefixes.find(asked.addr()), of_one.map(|(_, value)| *value));
            let of_all = longest(asked.trunc()).map(|(net, value)| (net.prefix_len(), *value));
            prop_assert_eq!(prefixes.find_net(asked), of_all);
            let mut within: Vec<usize> = prefixes.within(asked).collect();
            let all = plain.iter().filter(|(net, _)| asked.trunc().contains(net));
            let mut expected: Vec<usize> = all.map(|(_, value)| *value).collect();
            within.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(within, expected);
        }
    }
}
