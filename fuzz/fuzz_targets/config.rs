//! TOML to a configuration, and whatever is accepted to answers.
//!
//! The input is `example.com.toml`, or `server.toml`, a NUL, `example.com.toml`.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use eipdns::cli::offline::Offline;
use eipdns::config::{self, Overrides};
use eipdns::diag::Severity;
use eipdns::source::inventory::{Health, Inventory, SourceInventory};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("addresses.json"), include_str!("../zones/addresses.json"))
        .expect("a file in it");
    dir
});

const SERVER: &[u8] = include_bytes!("../zones/server.toml");

fuzz_target!(|data: &[u8]| {
    let (server, zone) = match data.iter().position(|&octet| octet == 0) {
        Some(nul) => (&data[..nul], &data[nul + 1..]),
        None => (SERVER, data),
    };
    let dir = DIR.path();
    fs::write(dir.join("server.toml"), server).expect("server.toml");
    fs::write(dir.join("example.com.toml"), zone).expect("example.com.toml");

    let config = match config::load(dir, &Overrides::default()) {
        Ok(loaded) => loaded.config,
        Err(invalid) => {
            let problems = invalid.problems;
            assert!(problems.iter().any(|p| p.severity == Severity::Error), "refused for nothing");
            for problem in problems {
                assert!(problem.place.file.starts_with(dir), "elsewhere: {problem}");
                assert!(!problem.what.is_empty() && !problem.remedy.is_empty(), "{problem}");
            }
            return;
        }
    };
    for zone in &config.zones {
        for binding in &zone.names {
            assert!(binding.name.is_under(&zone.origin), "{} is elsewhere", binding.name);
            assert_eq!(binding.modes.len(), config.server.views.len());
        }
    }
    let starting = |source: &config::Source| SourceInventory {
        name: source.name.clone(),
        region: source.region.clone(),
        entries: None,
        interfaces: Default::default(),
        health: Health::Starting,
        delivered_at: None,
    };
    let inventory = Inventory::from(config.server.sources.iter().map(starting).collect::<Vec<_>>());
    let offline = Offline::new(&config, inventory);
    assert_eq!(offline.current.snapshot.views.len(), config.server.views.len());
});
