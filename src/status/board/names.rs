//! How many bound names have an answer.

use std::sync::{Arc, Mutex, PoisonError};

use crate::snapshot::{Data, Snapshot, ViewTable};
use crate::status::report::ViewNames;

impl ViewNames {
    /// Counts them.
    fn of(view: &ViewTable) -> Self {
        let mut all =
            Self { view: view.name.to_string(), names: 0, without_address: 0, not_ready: 0 };
        for resolved in view.zones.values().flat_map(|zone| zone.resolved.values()) {
            let is_name = !matches!(resolved.data, Data::Absent | Data::Pointers(_));
            all.names += usize::from(is_name);
            all.without_address += usize::from(matches!(resolved.data, Data::Nothing(_)));
            all.not_ready += usize::from(resolved.data == Data::NotReady);
        }
        all
    }
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
}
