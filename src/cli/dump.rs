//! `eipdns dump`

use std::fmt::Write;

use clap::Args;

use super::{Common, Exit, print};
use crate::name::Key;
use crate::offline::{self, Offline};
use crate::records::record_line;
use crate::snapshot::{Snapshot, ZoneTable};

/// Prints a zone as a master file (RFC 1035 section 5) that named-checkzone
/// accepts. Reads the configuration and the sources itself.
#[derive(Debug, Args)]
pub(super) struct Dump {
    #[command(flatten)]
    common: Common,
    /// As this view sees it [default: the only view that has the zone]
    #[arg(long)]
    view: Option<String>,
    /// The zone's origin
    zone: String,
}

impl Dump {
    pub(super) fn run(self) -> Exit {
        let loaded = match self.common.load() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let origin = match Key::parse(&self.zone, None) {
            Ok(origin) => origin,
            Err(error) => {
                print::complain(&format_args!("{:?} is no zone name: {error}", self.zone));
                return Exit::Usage;
            }
        };
        let offline = Offline::new(&loaded.config, offline::inventory(&loaded.config));
        match self.table(&offline.snapshot, &origin) {
            Ok(table) => print::answer(&text(table), Exit::Ok),
            Err(why) => {
                print::complain(&why);
                Exit::No
            }
        }
    }

    fn table<'s>(&self, snapshot: &'s Snapshot, origin: &Key) -> Result<&'s ZoneTable, NoTable> {
        let views = snapshot.views.iter();
        if let Some(wanted) = &self.view
            && !snapshot.views.iter().any(|v| *v.name == **wanted)
        {
            let known = views.map(|v| v.name.to_string()).collect::<Vec<_>>().join(", ");
            return Err(NoTable::View { wanted: wanted.clone(), known });
        }
        let mut found: Vec<_> = views
            .filter(|v| self.view.as_ref().is_none_or(|wanted| *v.name == **wanted))
            .filter_map(|v| Some((v.name.to_string(), v.zones.get(origin.octets())?)))
            .collect();
        let same = found.windows(2).all(|w| std::sync::Arc::ptr_eq(w[0].1, w[1].1));
        match found.pop() {
            None => Err(NoTable::Zone { origin: origin.clone() }),
            Some((_, table)) if same => Ok(table),
            Some((last, _)) => {
                let mut views: Vec<_> = found.into_iter().map(|(name, _)| name).collect();
                views.push(last);
                Err(NoTable::Several { origin: origin.clone(), views: views.join(", ") })
            }
        }
    }
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
enum NoTable {
    #[error("there is no view {wanted:?}; the views are {known}")]
    View { wanted: String, known: String },
    #[error("no zone {origin} in this configuration (or not in that view)")]
    Zone { origin: Key },
    #[error("{origin} differs between the views {views}: choose one with --view")]
    Several { origin: Key, views: String },
}

/// The zone as a master file: the SOA first, then names in canonical order
/// (RFC 4034 section 6.1).
fn text(table: &ZoneTable) -> String {
    let mut nodes: Vec<_> = table.nodes.values().collect();
    nodes.sort_by_cached_key(|node| canonical(&node.key));
    let mut out = String::new();
    for node in std::iter::once(&table.apex).chain(nodes) {
        for record in node.rrsets.iter().flat_map(|set| set.records.iter()) {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{}", record_line(record));
        }
    }
    out
}

/// Labels from the root down: what canonical order compares.
fn canonical(key: &Key) -> Vec<Vec<u8>> {
    let mut labels: Vec<Vec<u8>> = crate::name::suffixes(key.octets())
        .filter_map(|s| s.get(1..1 + usize::from(*s.first()?)).map(<[u8]>::to_vec))
        .collect();
    labels.reverse();
    labels
}
