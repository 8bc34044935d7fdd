//! Stub resolvers with nobody but us in their resolv.conf: glibc and musl.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::fixtures::daemon::{Daemon, free_port};
use crate::fixtures::namespace::Namespace;
use crate::harness::{Dir, ELASTIC, Server, root};
use crate::peers;

const OLD: &str = "10.0.1.5";
const NEW: &str = "10.0.2.7";
const FOREIGN: &str = "192.0.2.80";

const ZONE: &str = r#"
records = "records.zone"

[names]
db = "75.101.137.243"
web = { elastic_ip = "75.101.137.243", answer = "cname" }
"#;

const RECORDS: &str = "$TTL 5\nalias CNAME www.foreign.test.\nmoved DNAME foreign.test.\n\
                       short CNAME web\n";

/// Names, and whether they move.
const NAMES: [(&str, bool); 8] = [
    ("db.example.com", true),
    ("web.example.com", true),
    ("short.example.com", true),
    ("ec2-75-101-137-243.compute-1.amazonaws.com", true),
    ("to-us.foreign.test", true),
    ("alias.example.com", false),
    ("www.moved.example.com", false),
    ("www.foreign.test", false),
];

/// A host with eipdns on port 53, a resolver behind it, and a web server.
struct Host {
    namespace: Namespace,
    dir: Dir,
    server: Server,
    _upstream: Daemon,
}

impl Host {
    fn new() -> Option<Self> {
        // Both families, so that A and AAAA are asked for.
        let namespace =
            Namespace::new(&["10.0.1.5/32", "10.0.2.7/32", "192.0.2.80/32", "fd00::1/128"])?;
        let upstream = namespace.unbound(&format!(
            "server:\n local-zone: \".\" static\n local-zone: \"foreign.test.\" static\n \
             local-data: \"foreign.test. 60 IN SOA ns.foreign.test. host.test. 1 2 3 4 5\"\n \
             local-data: \"www.foreign.test. 60 IN A {FOREIGN}\"\n \
             local-data: \"to-us.foreign.test. 60 IN CNAME db.example.com.\"\n"
        ))?;
        let dir = Dir::forwarding(&[upstream.at], "");
        dir.addresses(&[(ELASTIC, Some(OLD))]);
        dir.write("example.com.toml", ZONE);
        dir.write("records.zone", RECORDS);
        let server = namespace.server(&dir, "127.0.0.1:53");
        namespace.resolv_conf("nameserver 127.0.0.1\n");
        Some(Self { namespace, dir, server, _upstream: upstream })
    }

    /// Moves the Elastic IP; returns when that began. What is asked from then on is
    /// answered with the new address.
    fn moves(&mut self) -> Instant {
        let begun = Instant::now();
        self.server.moves(&self.dir, NEW);
        begun
    }
}

/// A name's addresses.
fn expected(moves: bool, private: &str) -> &str {
    if moves { private } else { FOREIGN }
}

/// One of glibc's ways to ask: a program and its arguments up to the name. An
/// address is the first word of each line it prints.
struct Way {
    program: PathBuf,
    args: Vec<&'static str>,
}

impl Way {
    fn all() -> Option<Vec<Self>> {
        let getent = peers::need("getent")?;
        let script = "import socket, sys\n\
                      for a in socket.getaddrinfo(sys.argv[1], 80): print(a[4][0])";
        Some(vec![
            Self { program: getent.clone(), args: vec!["ahosts"] },
            Self { program: getent.clone(), args: vec!["ahostsv4"] },
            Self { program: getent, args: vec!["hosts"] },
            Self { program: peers::need("python3")?, args: vec!["-c", script] },
        ])
    }

    /// The addresses of a name, each once; none when there is no such name.
    fn ask(&self, namespace: &Namespace, name: &str) -> Vec<String> {
        let said = namespace.said(&self.program, &[&self.args[..], &[name]].concat());
        let said = said.unwrap_or_default();
        let mut all: Vec<_> =
            said.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

#[track_caller]
fn glibc_sees(host: &Host, ways: &[Way], private: &str) {
    for (name, moves) in NAMES {
        for way in ways {
            let got = way.ask(&host.namespace, name);
            assert_eq!(got, [expected(moves, private)], "{:?} {name}", way.args);
        }
    }
}

#[test]
fn glibc_sees_every_kind_of_name_and_its_move() {
    let (Some(mut host), Some(ways)) = (Host::new(), Way::all()) else { return };
    let Some(curl) = peers::need("curl") else { return };
    let web = {
        let mut command = host.namespace.command(&ways[3].program);
        command.args(["-u", "-m", "http.server", "80", "--directory"]);
        let dir = tempfile::tempdir().unwrap();
        command.arg(dir.path());
        Daemon::start(command, free_port(), dir, "Serving HTTP")
    };
    let fetch = |host: &Host, name: &str| {
        let url = format!("http://{name}/");
        let args = ["-s", "-f", "-o", "/dev/null", "-w", "%{remote_ip}", "--max-time", "20", &url];
        host.namespace.said(&curl, &args)
    };
    glibc_sees(&host, &ways, OLD);
    for (name, moves) in NAMES {
        assert_eq!(fetch(&host, name).as_deref(), Some(expected(moves, OLD)), "curl {name}");
    }
    assert_eq!(ways[0].ask(&host.namespace, "none.example.com"), [""; 0]);
    assert_eq!(ways[0].ask(&host.namespace, "none.foreign.test"), [""; 0]);

    let begun = host.moves();
    assert_eq!(ways[0].ask(&host.namespace, NAMES[0].0), [NEW]);
    let took = begun.elapsed();
    println!("glibc: {took:.1?} from the change in the file to the new address");
    glibc_sees(&host, &ways, NEW);
    for (name, moves) in NAMES {
        assert_eq!(fetch(&host, name).as_deref(), Some(expected(moves, NEW)), "curl {name}");
    }
    drop(web);
}

/// Every option of resolv.conf that changes what is sent.
#[test]
fn glibc_with_options() {
    let (Some(mut host), Some(ways)) = (Host::new(), Way::all()) else { return };
    let options =
        ["edns0", "single-request", "single-request-reopen", "use-vc", "edns0 trust-ad use-vc"];
    let check = |host: &Host, private: &str| {
        for option in options {
            let text = format!("nameserver 127.0.0.1\noptions {option}\n");
            host.namespace.resolv_conf(&text);
            glibc_sees(host, &ways[..1], private);
        }
        // Each search name is denied by us or by the upstream before the next.
        let search = "nameserver 127.0.0.1\nsearch foreign.test example.com\noptions ndots:4\n";
        host.namespace.resolv_conf(search);
        glibc_sees(host, &ways[..1], private);
        for (name, address) in [("db", private), ("web", private), ("www", FOREIGN)] {
            assert_eq!(ways[0].ask(&host.namespace, name), [address], "{name} by search");
        }
    };
    check(&host, OLD);
    host.moves();
    check(&host, NEW);
}

/// The small program, compiled against musl.
fn musl() -> Option<(PathBuf, tempfile::TempDir)> {
    let compiler = peers::need("musl-gcc")?;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("getaddrinfo");
    let mut command = Command::new(compiler);
    command.args(["-static", "-o"]).arg(&program);
    command.arg(root().join("tests/it/resolving/getaddrinfo.c"));
    assert!(command.status().unwrap().success());
    Some((program, dir))
}

#[test]
fn musl_sees_every_kind_of_name_and_its_move() {
    let (Some(mut host), Some((program, _dir))) = (Host::new(), musl()) else { return };
    let names = NAMES.map(|(name, _)| name);
    let lines = |private| {
        let line = |(name, moves)| format!("{name} {}\n", expected(moves, private));
        NAMES.map(line).concat()
    };
    let ask = |host: &Host, names: &[&str]| host.namespace.said(&program, names).unwrap();
    assert_eq!(ask(&host, &names), lines(OLD));
    let begun = host.moves();
    assert_eq!(ask(&host, &names), lines(NEW));
    let took = begun.elapsed();
    println!("musl: {took:.1?} from the change in the file to the new addresses");

    let search = "nameserver 127.0.0.1\nsearch foreign.test example.com\noptions ndots:4\n";
    host.namespace.resolv_conf(search);
    let short = format!("db {NEW}\nweb {NEW}\nwww {FOREIGN}\n");
    assert_eq!(ask(&host, &["db", "web", "www"]), short);
    assert_eq!(ask(&host, &names), lines(NEW));
}

/// What P5 is for: the same names where nothing is forwarded.
#[test]
fn without_forwarding_a_stub_sees_no_address_behind_an_alias() {
    let Some(namespace) = Namespace::new(&["10.0.1.5/32"]) else { return };
    let (Some(ways), Some((program, _dir))) = (Way::all(), musl()) else { return };
    let dir = Dir::new("");
    dir.write("example.com.toml", ZONE);
    dir.write("records.zone", RECORDS);
    let server = namespace.server(&dir, "127.0.0.1:53");
    namespace.resolv_conf("nameserver 127.0.0.1\n");
    assert_eq!(ways[0].ask(&namespace, "db.example.com"), [OLD]);
    assert_eq!(ways[0].ask(&namespace, "web.example.com"), [""; 0]);
    // EAI_NODATA, or EAI_NONAME from musl before 1.2.4.
    let said = namespace.said(&program, &["db.example.com", "web.example.com"]).unwrap();
    let failed = |error| format!("db.example.com {OLD}\nweb.example.com error {error}\n");
    assert!(said == failed(-5) || said == failed(-2), "{said}");
    drop(server);
}
