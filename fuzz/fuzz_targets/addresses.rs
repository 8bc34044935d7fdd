//! JSON to addresses, and whatever is accepted to answers.

#![no_main]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use std::time::SystemTime;

use eipdns::cli::offline::Offline;
use eipdns::config::{self, Config, Overrides};
use eipdns::source::accept::{Accepted, accept_file};
use eipdns::source::inventory::{Health, Inventory, SourceInventory};
use eipdns::source::json::{Listing, ParseError};
use libfuzzer_sys::fuzz_target;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    config::load(&zones, &Overrides::default()).unwrap_or_else(|e| panic!("{e}")).config
});

/// The seed, too: what is fuzzed has some of its items, and others.
static OTHER: LazyLock<Listing> = LazyLock::new(|| {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones/addresses.json");
    let text = std::fs::read(&sample).unwrap_or_else(|e| panic!("{}: {e}", sample.display()));
    Listing::read(&text, &Listing::default()).unwrap_or_else(|e| panic!("{e}"))
});

fn read(data: &[u8], before: &Listing) -> Result<Listing, ParseError> {
    Listing::read(data, before)
}

fuzz_target!(|data: &[u8]| {
    let Ok(listing) = read(data, &Listing::default()) else { return };
    let (said, addresses) = (listing.said(), &listing.said().addresses);
    let different: BTreeSet<_> = addresses.iter().map(|address| address.allocation()).collect();
    assert_eq!(different.len(), addresses.len(), "an address stands twice");

    // A file that is still being written is no answer.
    let whole = data.trim_ascii_end();
    assert!(read(&whole[..whole.len() - 1], &listing).is_err(), "cut short, yet taken");

    // Whatever was read before, the text says the same.
    for before in [&*OTHER, &listing] {
        let again = read(data, before).expect("it could be read before");
        assert_eq!(again.said(), said);
    }

    let now = SystemTime::now();
    let accepted = accept_file(&Accepted::default(), said, now);
    assert_eq!(accepted.entries.len(), addresses.len());
    let inventory = Inventory::from(vec![SourceInventory {
        name: "sample".into(),
        region: Some("us-east-1".into()),
        entries: Some(accepted.entries),
        interfaces: Default::default(),
        health: Health::Healthy,
        delivered_at: Some(now),
    }]);
    let offline = Offline::new(&CONFIG, inventory);
    assert_eq!(offline.current.snapshot.views.len(), CONFIG.server.views.len());
});
