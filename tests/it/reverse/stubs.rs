//! getnameinfo() of glibc and musl, with nobody but us in resolv.conf.

use std::process::Command;

use super::REVERSE;
use crate::fixtures::daemon::Daemon;
use crate::fixtures::namespace::Namespace;
use crate::harness::{Dir, ELASTIC, PRIVATE, Server, root};
use crate::peers;

const NEW: &str = "10.0.2.7";
const V6: &str = "fd00::7";
const FOREIGN: &str = "10.9.9.9";

struct Host {
    namespace: Namespace,
    dir: Dir,
    server: Server,
    _upstream: Daemon,
}

impl Host {
    fn new() -> Option<Self> {
        let namespace = Namespace::new(&["10.0.1.5/32", "fd00::1/128"])?;
        let upstream = namespace.unbound(
            "server:\n local-zone: \".\" static\n local-zone: \"10.in-addr.arpa.\" static\n \
             local-data: \"9.9.9.10.in-addr.arpa. 60 IN PTR ip-10-9-9-9.ec2.internal.\"\n",
        )?;
        let dir = Dir::forwarding(&[upstream.at], REVERSE);
        dir.addresses(&[(ELASTIC, Some(PRIVATE))]);
        dir.write(
            "example.com.toml",
            "[names]\ndb = \"75.101.137.243\"\nsix = { address = \"fd00::7\" }\n",
        );
        let server = namespace.server(&dir, "127.0.0.1:53");
        namespace.resolv_conf("nameserver 127.0.0.1\n");
        Some(Self { namespace, dir, server, _upstream: upstream })
    }
}

/// What is said of each of four addresses, before a move and after it.
fn expected(moved: bool) -> String {
    let at = |is: bool, ip: &str| format!("{ip} {}\n", if is { "db.example.com" } else { "error" });
    let rest = format!("{V6} six.example.com\n{FOREIGN} ip-10-9-9-9.ec2.internal\n");
    at(!moved, PRIVATE) + &at(moved, NEW) + &rest
}

#[track_caller]
fn follows_a_move(host: &mut Host, ask: impl Fn(&Host) -> String) {
    assert_eq!(ask(host), expected(false));
    host.server.moves(&host.dir, NEW);
    assert_eq!(ask(host), expected(true));
}

#[test]
fn getnameinfo_of_glibc() {
    let Some(python) = peers::need("python3") else { return };
    let Some(mut host) = Host::new() else { return };
    let script = "import socket, sys\n\
                  for a in sys.argv[1:]:\n\
                  \x20 try: print(a, socket.getnameinfo((a, 0), socket.NI_NAMEREQD)[0])\n\
                  \x20 except OSError: print(a, 'error')";
    follows_a_move(&mut host, |host| {
        host.namespace.said(&python, &["-c", script, PRIVATE, NEW, V6, FOREIGN]).unwrap()
    });
}

#[test]
fn getnameinfo_of_musl() {
    let Some(compiler) = peers::need("musl-gcc") else { return };
    let Some(mut host) = Host::new() else { return };
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("getnameinfo");
    let mut command = Command::new(compiler);
    command.args(["-static", "-o"]).arg(&program);
    command.arg(root().join("tests/it/reverse/getnameinfo.c"));
    assert!(command.status().unwrap().success());
    follows_a_move(&mut host, |host| {
        host.namespace.said(&program, &[PRIVATE, NEW, V6, FOREIGN]).unwrap()
    });
}
