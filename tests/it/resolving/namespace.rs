//! A host of its own: a network namespace with port 53, and a mount namespace
//! with a resolv.conf.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::authority::daemon::{Daemon, free_port, unbound_by};
use crate::harness::{Dir, PROGRAM, Server};
use crate::peers;

/// Lives until it is dropped.
pub(crate) struct Namespace {
    /// Ends when its input does, even if this process is killed.
    holder: Child,
    nsenter: PathBuf,
    dir: TempDir,
}

impl Namespace {
    /// A host with these addresses ("10.0.0.1/32") besides 127/8; none without the right to
    /// make one, loudly.
    pub(crate) fn new(addresses: &[&str]) -> Option<Self> {
        let unshare = peers::need("unshare")?;
        let nsenter = peers::need("nsenter")?;
        peers::need("ip")?;
        let dir = tempfile::tempdir().unwrap();
        let resolv_conf = dir.path().join("resolv.conf");
        fs::write(&resolv_conf, "").unwrap();
        // glibc asks for A at all only where an address is not loopback.
        let script = "set -e\nip link set lo up\nmount --bind \"$0\" /etc/resolv.conf\n\
                      for a; do ip addr add \"$a\" dev lo; done\necho ready\nexec cat";
        let mut holder = Command::new(unshare)
            .args(["--net", "--mount", "sh", "-c", script])
            .arg(resolv_conf)
            .args(addresses)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let namespace = Self { holder, nsenter, dir };
        if said != "ready\n" {
            peers::missing("network and mount namespaces: not permitted here; run as root");
            return None;
        }
        Some(namespace)
    }

    /// What stands in its /etc/resolv.conf from now on.
    pub(crate) fn resolv_conf(&self, text: &str) {
        // In place: the mount is of this very file.
        fs::write(self.dir.path().join("resolv.conf"), text).unwrap();
    }

    /// A program on this host.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(&self.nsenter);
        command.args(["--target", &self.holder.id().to_string(), "--net", "--mount", "--"]);
        command.arg(program.as_ref());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> Output {
        self.command(program).args(args).output().unwrap()
    }

    /// Its output, if it succeeds.
    pub(crate) fn said(&self, program: impl AsRef<Path>, args: &[&str]) -> Option<String> {
        let out = self.run(program, args);
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
    }

    /// A server on this host, at `listen`.
    pub(crate) fn server(&self, dir: &Dir, listen: &str) -> Server {
        Server::start_command(|command| {
            *command = self.command(PROGRAM);
            command.args(["serve", "--listen-dns", listen, "--config"]).arg(dir.path());
            command.env("EIPDNS_LOG", "debug").env("EIPDNS_STATE", dir.path().join(".state"));
            command.stderr(Stdio::piped()).stdout(Stdio::null());
        })
    }

    /// An unbound on this host with more configuration.
    pub(crate) fn unbound(&self, more: &str) -> Option<Daemon> {
        unbound_by(|program| self.command(program), free_port(), more)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // What runs in it is somebody else's to end.
        let _ = self.holder.wait();
    }
}
