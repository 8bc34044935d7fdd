//! zonemaster, offline: a root and a top-level domain in one NSD, our zone
//! below them at two addresses.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;

use crate::fixtures::daemon;
use crate::harness::{Dir, Server};
use crate::peers;

/// zonemaster asks at port 53 only.
const ROOT: &str = "127.0.60.50";
const OURS: [&str; 2] = ["127.0.60.51", "127.0.60.52"];

#[test]
fn zonemaster_finds_no_error() {
    let Some(program) = peers::need("zonemaster-cli") else { return };
    if let Err(error) = UdpSocket::bind((ROOT, 53)) {
        peers::missing(&format!("{ROOT}:53: {error}; run as root"));
        return;
    }
    let soa = "300 SOA a.root-servers.test. hostmaster.test. 1 14400 3600 604800 300";
    let root = format!(
        ". {soa}\n. 300 NS a.root-servers.test.\na.root-servers.test. 300 A {ROOT}\n\
         test. 300 NS a.root-servers.test.\n"
    );
    let test = format!(
        "test. {soa}\ntest. 300 NS a.root-servers.test.\na.root-servers.test. 300 A {ROOT}\n\
         eip.test. 300 NS ns1.eip.test.\neip.test. 300 NS ns2.eip.test.\n\
         ns1.eip.test. 300 A {}\nns2.eip.test. 300 A {}\n",
        OURS[0], OURS[1]
    );
    let zones = [(".", &*root), ("test.", &*test)];
    let Some(_nsd) = daemon::nsd_at(format!("{ROOT}:53").parse().unwrap(), &zones) else { return };
    let dir = Dir::new("");
    dir.write(
        "eip.test.toml",
        &format!(
            "ttl = 300\nnegative_ttl = 300\nnameservers = [\"ns1\", \"ns2\"]\n\
             records = \"eip.test.zone\"\n[names]\ndb = \"75.101.137.243\"\n\
             ns1 = {{ address = \"{}\" }}\nns2 = {{ address = \"{}\" }}\n",
            OURS[0], OURS[1]
        ),
    );
    dir.write("eip.test.zone", "@ 300 MX 10 mail\nmail 300 A 10.0.0.25\nwww 300 CNAME db\n");
    let _server = Server::start_with(dir.path(), |command| {
        command.env("EIPDNS_LISTEN_DNS", OURS.map(|ip| format!("{ip}:53")).join(","));
    });
    let hints = dir.path().join("hints");
    fs::write(
        &hints,
        format!(". 3600 NS a.root-servers.test.\na.root-servers.test. 3600 A {ROOT}\n"),
    )
    .unwrap();
    let mut command = Command::new(program);
    command.args(["--no-ipv6", "--level", "INFO", "--show-testcase", "--no-progress", "--hints"]);
    command.arg(&hints);
    // Not Address (these are loopback addresses) and not Connectivity (it asks
    // the Internet for the numbers of their networks).
    for test in ["Basic", "Syntax", "Zone", "Nameserver", "Delegation", "Consistency", "DNSSEC"] {
        command.args(["--test", test]);
    }
    let out = command.arg("eip.test").output().unwrap();
    let told = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    println!("{told}");
    assert!(told.contains("INFO"), "it did not run: {told}");
    let wrong: Vec<&str> = told
        .lines()
        .filter(|line| ["WARNING", "ERROR", "CRITICAL"].iter().any(|level| line.contains(level)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
