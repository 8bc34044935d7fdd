//! How many bound names have an answer.

use std::sync::{Arc, Mutex, PoisonError};

use crate::dns::name::Key;
use crate::dns::reverse::address_of;
use crate::snapshot::{Data, Snapshot, ViewTable};
use crate::status::report::{CrowdedAddress, ViewNames};

/// As many addresses with too many names are shown.
const MAX_CROWDED: usize = 100;

/// As many names that have no PTR record are shown of each.
const MAX_LEFT_OUT: usize = 5;

impl ViewNames {
    /// Counts them.
    fn of(view: &ViewTable) -> Self {
        let mut all = Self {
            view: view.name.to_string(),
            names: 0,
            without_address: 0,
            not_ready: 0,
            pointers: view.reverse.pointers.len(),
            crowded: crowded(view),
        };
        for resolved in view.zones.values().flat_map(|zone| zone.resolved.values()) {
            let is_name = !matches!(resolved.data, Data::Absent | Data::Pointers(_));
            all.names += usize::from(is_name);
            all.without_address += usize::from(matches!(resolved.data, Data::Nothing(_)));
            all.not_ready += usize::from(resolved.data == Data::NotReady);
        }
        all
    }
}

/// The first of the addresses with more names than have a PTR record.
fn crowded(view: &ViewTable) -> Vec<CrowdedAddress> {
    let of = |owner: &Key| {
        let pointer = view.reverse.pointers.get(owner.octets())?;
        let left_out = pointer.left_out().iter().take(MAX_LEFT_OUT);
        Some(CrowdedAddress {
            address: address_of(owner.octets())?,
            names: pointer.names.len(),
            left_out: left_out.map(|one| one.name.to_string()).collect(),
        })
    };
    view.reverse.crowded.iter().take(MAX_CROWDED).filter_map(of).collect()
}

/// The names of the snapshot that was looked at last: they are counted once for
/// each snapshot, however often somebody looks.
#[derive(Debug, Default)]
pub(crate) struct NamesSeen(Mutex<(u64, Arc<[ViewNames]>)>);

impl NamesSeen {
    /// Of each view, in the order of the configuration.
    pub(crate) fn of(&self, snapshot: &Snapshot) -> Arc<[ViewNames]> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The first snapshot is number 1.
        if seen.0 != snapshot.generation {
            *seen = (snapshot.generation, snapshot.views.iter().map(ViewNames::of).collect());
        }
        Arc::clone(&seen.1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::testing;

    #[test]
    fn each_view_has_its_own() {
        let zone = "[names]\nfixed = { address = \"10.0.0.9\" }\nup = \"198.51.100.1\"\n\
                    loose = \"198.51.100.2\"\ngone = \"198.51.100.3\"\n";
        let config =
            testing::config(&[("server.toml", testing::SERVER), ("example.com.toml", zone)]);
        let ip = |last| Ipv4Addr::new(198, 51, 100, last);
        let private = Some(Ipv4Addr::new(10, 0, 0, 1));
        let known = testing::inventory(&[(ip(1), private), (ip(2), None)]);
        let counted = |all: &[ViewNames], at: usize| {
            (all[at].names, all[at].without_address, all[at].not_ready)
        };
        let mut snapshot = testing::snapshot(&config, &known);
        let seen = NamesSeen::default();
        let all = seen.of(&snapshot);
        assert_eq!(all[0].view, "vpc");
        assert_eq!(counted(&all, 0), (4, 2, 0), "private: one has nobody, one is nowhere");
        assert_eq!(counted(&all, 2), (4, 1, 0), "cname: an address with nobody has a public name");

        let mut silent = known;
        silent.sources[0].entries = None;
        snapshot = testing::snapshot(&config, &silent);
        snapshot.generation = 2;
        assert_eq!(counted(&seen.of(&snapshot), 0), (4, 0, 3));
    }

    #[test]
    fn addresses_with_too_many_names_are_shown() {
        let server = format!("{}[[reverse]]\nnetworks = [\"10.0.0.0/8\"]\n", testing::SERVER);
        let names: String =
            (0..30).map(|n| format!("h{n:02} = {{ address = \"10.0.0.1\" }}\n")).collect();
        let zone = format!("[names]\ndb = {{ address = \"10.0.0.2\" }}\n{names}");
        let reverse = "[names]\nx = { address = \"192.0.2.1\" }\n";
        let config = testing::config(&[
            ("server.toml", &server),
            ("example.com.toml", &zone),
            ("10.in-addr.arpa.toml", reverse),
        ]);
        let all = NamesSeen::default().of(&testing::snapshot(&config, &testing::inventory(&[])));
        assert_eq!((all[0].names, all[0].pointers), (32, 2), "PTR records are no bound names");
        let [one] = &all[0].crowded[..] else { panic!("{all:?}") };
        assert_eq!((one.address, one.names), ("10.0.0.1".parse().unwrap(), 30));
        assert_eq!(one.left_out.len(), MAX_LEFT_OUT);
        assert_eq!(one.left_out[0], "h16.example.com.");
        assert!(all[2].crowded.is_empty() && all[2].pointers == 0);
    }
}
