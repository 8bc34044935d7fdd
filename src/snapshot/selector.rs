//! Which client is in which view.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::config::ViewId;
use crate::snapshot::prefixes::Prefixes;

/// Finds the view of a client.
#[derive(Debug, Default)]
pub struct Selector {
    /// Views bound to listen addresses, looked at first. Port 0: any port.
    local: HashMap<SocketAddr, Prefixes<ViewId>>,
    /// All other views.
    anywhere: Prefixes<ViewId>,
    /// Forwarders that are believed on whose behalf they ask.
    trusted: Vec<IpNet>,
}

impl Selector {
    /// Adds a view's prefixes; `listen` empty: for queries at any address.
    pub fn insert(&mut self, clients: &[IpNet], listen: &[SocketAddr], view: ViewId) {
        for net in clients {
            if listen.is_empty() {
                self.anywhere.insert(*net, view);
            }
            for at in listen {
                self.local.entry(*at).or_default().insert(*net, view);
            }
        }
    }

    /// Adds forwarders whose EDNS Client Subnet chooses the view.
    pub fn trust(&mut self, nets: &[IpNet]) {
        self.trusted.extend_from_slice(nets);
    }

    /// Is `client` believed on whose behalf it asks?
    pub fn trusts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.trusted.iter().any(|net| net.contains(&client))
    }

    /// Are there forwarders that are believed?
    pub fn has_trusted(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// The view of the clients in `net` asking at `local`, and the length of
    /// the shortest prefix around its address in which all see the same (the
    /// scope of RFC 7871 section 7.2.1).
    pub fn select_net(&self, net: IpNet, local: SocketAddr) -> (Option<ViewId>, u8) {
        let ip = local.ip().to_canonical();
        let here = [SocketAddr::new(ip, local.port()), SocketAddr::new(ip, 0)];
        let tables: Vec<&Prefixes<ViewId>> =
            here.iter().filter_map(|at| self.local.get(at)).chain([&self.anywhere]).collect();
        let found = tables.iter().find_map(|table| table.find_net(net));
        let (least, view) = match found {
            Some((length, view)) => (length, Some(view)),
            None => (0, None),
        };
        let is_one = |length: &u8| {
            let around = IpNet::new(net.addr(), *length).map(|net| net.trunc());
            around.is_ok_and(|around| {
                tables.iter().all(|table| table.within(around).all(|found| Some(found) == view))
            })
        };
        let scope = (least..=net.max_prefix_len()).find(is_one);
        (view, scope.unwrap_or(net.max_prefix_len()))
    }

    /// The view of `client` asking at `local`: views for that address first,
    /// then the others; in each the longest matching prefix wins.
    #[inline]
    pub fn select(&self, client: IpAddr, local: SocketAddr) -> Option<ViewId> {
        let client = client.to_canonical();
        if !self.local.is_empty() {
            let ip = local.ip().to_canonical();
            let here = [SocketAddr::new(ip, local.port()), SocketAddr::new(ip, 0)];
            let found = here.iter().find_map(|at| self.local.get(at)?.find(client));
            if found.is_some() {
                return found;
            }
        }
        self.anywhere.find(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(all: &[&str]) -> Vec<IpNet> {
        all.iter().map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn longest_prefix_wins_and_listen_comes_first() {
        let mut s = Selector::default();
        s.insert(&nets(&["10.0.0.0/8", "fc00::/7"]), &[], 0);
        s.insert(&nets(&["10.1.0.0/16"]), &[], 1);
        s.insert(&nets(&["10.0.0.0/8"]), &["127.0.0.2:0".parse().unwrap()], 2);
        let any = "127.0.0.1:53".parse().unwrap();
        let second = "127.0.0.2:5300".parse().unwrap();
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert_eq!(s.select(ip("10.1.2.3"), any), Some(1));
        assert_eq!(s.select(ip("10.2.2.3"), any), Some(0));
        assert_eq!(s.select(ip("::ffff:10.1.2.3"), any), Some(1));
        assert_eq!(s.select(ip("fd00::1"), any), Some(0));
        assert_eq!(s.select(ip("10.1.2.3"), second), Some(2));
        assert_eq!(s.select(ip("fd00::1"), second), Some(0));
        assert_eq!(s.select(ip("192.0.2.1"), second), None);
    }
}
