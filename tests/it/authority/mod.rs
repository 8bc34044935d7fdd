//! A full authority: what NSD, Knot and BIND agree on for a zone, eipdns
//! answers too.

mod agree;
mod dice;
mod front;
mod load;
mod rfc8906;
mod said;
mod world;
mod written;
mod zonemaster;

use crate::fixtures::daemon;
use crate::harness::Dir;

/// A configuration directory with these zones, from master files.
fn zone_directory(zones: daemon::Zones<'_>) -> Dir {
    let dir = Dir::new("");
    for (origin, text) in zones {
        let name = origin.trim_end_matches('.');
        dir.write(&format!("{name}.zone"), text);
        dir.write(&format!("{name}.toml"), &format!("records = \"{name}.zone\"\n"));
    }
    dir
}
