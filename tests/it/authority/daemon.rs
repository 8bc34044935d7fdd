//! Other name servers, each in a directory and on a port of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use tempfile::TempDir;

use crate::harness::PATIENCE;
use crate::peers;

/// A running server of somebody else's.
pub(crate) struct Daemon {
    child: Child,
    /// Where it answers.
    pub(crate) at: SocketAddr,
    /// Its configuration and files.
    _dir: TempDir,
}

impl Daemon {
    /// Starts `command` and waits until a line of its output holds `ready`.
    pub(crate) fn start(mut command: Command, at: SocketAddr, dir: TempDir, ready: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (lines, told) = mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // Nobody listens once it is ready; it must be able to go on.
                    let _ = lines.send(line);
                }
            });
        }
        drop(lines);
        let daemon = Self { child, at, _dir: dir };
        let deadline = Instant::now() + PATIENCE;
        let mut log = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match told.recv_timeout(left) {
                Ok(line) if line.contains(ready) => return daemon,
                Ok(line) => log += &(line + "\n"),
                Err(_) => panic!("{command:?} is not ready:\n{log}"),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // NSD ends its children only when asked.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// A port of `127.0.0.1` that is free for both transports.
pub(crate) fn free_port() -> SocketAddr {
    (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
            let at = udp.local_addr().ok()?;
            TcpListener::bind(at).ok().map(|_| at)
        })
        .expect("a free port")
}

/// Zones: origin and master file.
pub(crate) type Zones<'a> = &'a [(&'a str, &'a str)];

fn write_zones(dir: &Path, zones: Zones<'_>) {
    for (origin, text) in zones {
        fs::write(dir.join(format!("{origin}zone")), text).unwrap();
    }
}

/// NSD, of `zones`; none when it is not installed.
pub(crate) fn nsd(zones: Zones<'_>) -> Option<Daemon> {
    nsd_at(free_port(), zones)
}

/// The same at an address that was chosen.
pub(crate) fn nsd_at(at: SocketAddr, zones: Zones<'_>) -> Option<Daemon> {
    let program = peers::need("nsd")?;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    write_zones(dir.path(), zones);
    let mut text = format!(
        "server:\n ip-address: {}@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n \
         database: \"\"\n zonesdir: \"{path}\"\n pidfile: \"{path}/pid\"\n \
         xfrdfile: \"{path}/xfrd\"\n zonelistfile: \"{path}/list\"\n xfrdir: \"{path}\"\n \
         rrl-ratelimit: 0\n do-ip6: no\n verbosity: 1\nremote-control:\n control-enable: no\n",
        at.ip(),
        at.port()
    );
    for (origin, _) in zones {
        text += &format!("zone:\n name: \"{origin}\"\n zonefile: \"{origin}zone\"\n");
    }
    let config = dir.path().join("nsd.conf");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-d").arg("-c").arg(config);
    Some(Daemon::start(command, at, dir, "nsd started"))
}

/// Knot.
pub(crate) fn knot(zones: Zones<'_>) -> Option<Daemon> {
    let program = peers::need("knotd")?;
    let (dir, at) = (tempfile::tempdir().unwrap(), free_port());
    let path = dir.path().display();
    write_zones(dir.path(), zones);
    let mut text = format!(
        "server:\n  rundir: \"{path}\"\n  listen: {}@{}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: info\ndatabase:\n  \
         storage: \"{path}\"\ntemplate:\n  - id: default\n    storage: \"{path}\"\n    \
         semantic-checks: off\n    journal-content: none\nzone:\n",
        at.ip(),
        at.port()
    );
    for (origin, _) in zones {
        text += &format!("  - domain: {origin}\n    file: \"{origin}zone\"\n");
    }
    let config = dir.path().join("knot.conf");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    Some(Daemon::start(command, at, dir, "server started"))
}

/// BIND with zones of its own.
pub(crate) fn bind(zones: Zones<'_>) -> Option<Daemon> {
    let mut more = String::new();
    for (origin, _) in zones {
        let checks = "check-names ignore; check-mx ignore; check-mx-cname ignore; \
                      check-srv-cname ignore; check-sibling no; check-integrity no;";
        more +=
            &format!("zone \"{origin}\" {{ type primary; file \"{origin}zone\"; {checks} }};\n");
    }
    bind_with(zones, "recursion no; minimal-responses no-auth;", &more)
}

/// BIND with these options and statements.
pub(crate) fn bind_with(zones: Zones<'_>, options: &str, statements: &str) -> Option<Daemon> {
    let options = format!("dnssec-validation no; {options}");
    bind_by(|program| Command::new(program), free_port(), zones, &options, statements)
}

/// The same, started by `run` at an address that was chosen.
pub(crate) fn bind_by(
    run: impl FnOnce(&Path) -> Command,
    at: SocketAddr,
    zones: Zones<'_>,
    options: &str,
    statements: &str,
) -> Option<Daemon> {
    let program = peers::need("named")?;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    write_zones(dir.path(), zones);
    let text = format!(
        "options {{ directory \"{path}\"; pid-file \"{path}/pid\"; \
         session-keyfile \"{path}/key\"; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }}; \
         empty-zones-enable no; notify no; {options} }};\n\
         controls {{ }};\n{statements}",
        at.port(),
        at.ip()
    );
    let config = dir.path().join("named.conf");
    fs::write(&config, text).unwrap();
    let mut command = run(&program);
    command.args(["-g", "-n", "1", "-c"]).arg(config);
    Some(Daemon::start(command, at, dir, "all zones loaded"))
}

/// unbound with more configuration, which may add to its `server:`.
pub(crate) fn unbound(more: &str) -> Option<Daemon> {
    unbound_by(|program| Command::new(program), free_port(), more)
}

/// The same, started by `run` at an address that was chosen.
pub(crate) fn unbound_by(
    run: impl FnOnce(&Path) -> Command,
    at: SocketAddr,
    more: &str,
) -> Option<Daemon> {
    let program = peers::need("unbound")?;
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "server:\n directory: \"{0}\"\n pidfile: \"{0}/pid\"\n chroot: \"\"\n username: \"\"\n \
         interface: {1}@{2}\n do-daemonize: no\n use-syslog: no\n num-threads: 1\n \
         do-ip6: no\n do-not-query-localhost: no\n local-zone: \"test.\" nodefault\n\
         remote-control:\n control-enable: no\n{more}",
        dir.path().display(),
        at.ip(),
        at.port()
    );
    let config = dir.path().join("unbound.conf");
    fs::write(&config, text).unwrap();
    let mut command = run(&program);
    command.arg("-d").arg("-c").arg(config);
    Some(Daemon::start(command, at, dir, "start of service"))
}

/// dnsmasq with more arguments.
pub(crate) fn dnsmasq(more: &[String]) -> Option<Daemon> {
    let program = peers::need("dnsmasq")?;
    let (dir, at) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new(program);
    command
        .args(["-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"])
        .args(["--log-facility=-", "--user="])
        .arg(format!("--listen-address={}", at.ip()))
        .arg(format!("--port={}", at.port()))
        .arg(format!("--pid-file={}", dir.path().join("pid").display()))
        .args(more);
    Some(Daemon::start(command, at, dir, "started"))
}
