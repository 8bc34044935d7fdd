//! What the README says, done.

use std::fs;
use std::process::Command;

use hickory_proto::rr::RecordType;

use crate::harness::{Dir, PROGRAM, Server, eipdns, root};
use crate::peers;

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The code blocks of a language.
pub(crate) fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap().to_string()).collect()
}

/// The Rust that the README and the crate ask for is what the locked crates need.
#[test]
fn the_locked_crates_build_with_the_rust_that_is_named() {
    let metadata = Command::new("cargo")
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .arg("--all-features")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let version = |text: &str| -> Vec<u32> {
        let mut parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
        parts.resize(3, 0);
        parts
    };
    let packages = metadata["packages"].as_array().unwrap();
    let needs = |package: &serde_json::Value| package["rust_version"].as_str().map(str::to_owned);
    let ours = packages.iter().find(|p| p["name"] == "eipdns").and_then(needs).unwrap();
    let others = packages.iter().filter(|p| p["name"] != "eipdns").filter_map(needs);
    let most = others.max_by_key(|text| version(text)).unwrap();
    assert!(version(&ours) >= version(&most), "Cargo.toml says {ours}, the lock file needs {most}");
    let said = format!("Rust {ours} or later");
    assert!(readme().contains(&said), "the README does not say {said:?}");
}

/// The first command, as a new user runs it: no arguments, in a directory that
/// has `zones/`.
#[test]
fn the_first_command_serves_the_shipped_zones() {
    let Some(dig) = peers::need("dig") else { return };
    assert!(blocks("sh").iter().any(|b| b == "cargo run --release"));
    let dir = tempfile::tempdir().unwrap();
    let zones = dir.path().join("zones");
    fs::create_dir(&zones).unwrap();
    for entry in fs::read_dir(root().join("zones")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), zones.join(entry.file_name())).unwrap();
    }
    let mut server = Server::start_bare(Command::new(PROGRAM), |command| {
        command.current_dir(dir.path());
        command.env("EIPDNS_LISTEN_DNS", "127.0.0.1:0").env("EIPDNS_LISTEN_HTTP", "127.0.0.1:0");
    });
    let shown = blocks("console").into_iter().find(|b| b.contains("db.example.com")).unwrap();
    let (command, expected) = shown.split_once('\n').unwrap();
    assert_eq!(command, "$ dig @127.0.0.1 -p 5300 +noall +answer db.example.com");
    let asked = Command::new(dig)
        .args(["@127.0.0.1", "-p", &server.dns.port().to_string()])
        .args(["+noall", "+answer", "db.example.com"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(asked.stdout).unwrap().trim_end(), expected);

    // "Now be EC2".
    let addresses = zones.join("addresses.json");
    let text = fs::read_to_string(&addresses).unwrap();
    assert!(text.contains("10.0.1.5"));
    fs::write(&addresses, text.replace("10.0.1.5", "10.0.1.9")).unwrap();
    server.wait_for("moved");
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.9"]);
    // Its state goes where the README says, beside the configuration.
    assert!(server.stop().success());
    assert!(dir.path().join(".eipdns/state.json").exists());
}

/// Each block that begins with the name of a file is that file.
#[test]
fn the_recipe_is_a_good_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = 0;
    for block in blocks("toml") {
        let first = block.lines().next().unwrap();
        let Some(name) = first.strip_prefix("# /etc/eipdns/") else { continue };
        fs::write(dir.path().join(name), &block).unwrap();
        files += 1;
    }
    assert!(files >= 2, "the recipe is where it was");
    if !cfg!(feature = "ec2") {
        return;
    }
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

/// The master file is one, and stands beside the names of the recipe.
#[test]
fn the_records_are_read() {
    let dir = Dir::new("");
    let [file] = &blocks("zone")[..] else { panic!("one master file") };
    dir.write("db.example.com.zone", file);
    let zone = "records = \"db.example.com.zone\"\n[names]\nprimary = \"75.101.137.243\"\n";
    dir.write("db.example.com.toml", zone);
    let out = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
}

/// Every command that is named exists, with every flag that is named.
#[test]
fn commands_and_flags_exist() {
    let text = readme();
    let table: Vec<_> = text.lines().filter(|l| l.starts_with("| `eipdns")).collect();
    assert!(table.len() >= 6, "the table of commands is where it was");
    for line in table {
        let spelt = line.split('`').nth(1).unwrap();
        let command = spelt.split_whitespace().nth(1).unwrap_or("serve").trim_end_matches(',');
        let help = Command::new(PROGRAM).args([command, "--help"]).output().unwrap();
        assert!(help.status.success(), "{command}");
        let help = String::from_utf8(help.stdout).unwrap();
        let flags = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        for flag in flags.filter(|w| w.starts_with("--") && w.len() > 2) {
            assert!(help.contains(flag), "{command} has no {flag}:\n{help}");
        }
    }
}
