//! JSON to addresses, and whatever is accepted to answers.

#![no_main]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use std::time::SystemTime;

use eipdns::config::{self, Config, Overrides};
use eipdns::inventory::{Health, Inventory, SourceInventory};
use eipdns::offline::Offline;
use eipdns::source::accept::{Accepted, accept_file};
use eipdns::source::json;
use libfuzzer_sys::fuzz_target;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    config::load(&zones, &Overrides::default()).unwrap_or_else(|e| panic!("{e}")).config
});

fuzz_target!(|data: &[u8]| {
    let Ok(addresses) = json::parse(data) else { return };
    let different: BTreeSet<_> = addresses.iter().map(|address| address.public_ip).collect();
    assert_eq!(different.len(), addresses.len(), "an address stands twice");

    // A file that is still being written is no answer.
    let whole = data.trim_ascii_end();
    assert!(json::parse(&whole[..whole.len() - 1]).is_err(), "cut short, yet taken");

    let now = SystemTime::now();
    let accepted = accept_file(&Accepted::default(), &addresses, now);
    assert_eq!(accepted.entries.len(), addresses.len());
    let inventory = Inventory {
        sources: vec![SourceInventory {
            name: "sample".into(),
            region: Some("us-east-1".into()),
            entries: Some(accepted.entries),
            health: Health::Healthy,
            delivered_at: Some(now),
        }],
    };
    let offline = Offline::new(&CONFIG, inventory);
    assert_eq!(offline.snapshot.views.len(), CONFIG.server.views.len());
});
