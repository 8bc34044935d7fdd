//! Two replicas behind glibc's and musl's stub resolvers: one after the other is restarted, and
//! one of them is killed or hangs. No lookup fails; how long the longest took is printed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixtures::namespace::Namespace;
use crate::harness::{Dir, Server, root};
use crate::peers;

/// Where the two listen.
const LISTEN: [&str; 2] = ["127.0.0.1:53", "127.0.0.2:53"];

/// As the README has it, and each lookup begins with another server.
const RESOLV_CONF: &str = "nameserver 127.0.0.1\nnameserver 127.0.0.2\n\
                           options timeout:1 attempts:2 rotate\n";

/// How long one is gone that does not come back.
const GONE: Duration = Duration::from_secs(3);

/// The small program, compiled against each C library: its name and where it is.
fn programs(dir: &Path) -> Option<[(&'static str, PathBuf); 2]> {
    let compilers = [("glibc", peers::need("cc")?), ("musl", peers::need("musl-gcc")?)];
    Some(compilers.map(|(libc, compiler)| {
        let program = dir.join(libc);
        let mut command = Command::new(compiler);
        command.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&program);
        command.arg(root().join("tests/it/resolving/lookups.c"));
        assert!(command.status().unwrap().success());
        (libc, program)
    }))
}

/// A program that looks the name up until it is told to stop.
struct Lookups {
    libc: &'static str,
    child: Child,
    begun: Instant,
}

impl Lookups {
    fn start(namespace: &Namespace, libc: &'static str, program: &Path) -> Self {
        let mut command = namespace.command(program);
        command.arg("db.example.com").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        Self { libc, child, begun: Instant::now() }
    }

    /// Lookups in all, those in vain, and how long the longest took.
    fn stop(mut self) -> (&'static str, u64, u64, Duration, Duration) {
        drop(self.child.stdin.take());
        let took = self.begun.elapsed();
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(self.child.wait().unwrap().success());
        let numbers: Vec<u64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [count, failed, longest] = numbers[..] else { panic!("{line:?}") };
        (self.libc, count, failed, Duration::from_micros(longest), took)
    }
}

/// Two servers, both with the name, and a resolv.conf that has both.
struct Pair {
    namespace: Namespace,
    dirs: [Dir; 2],
    servers: [Option<Server>; 2],
}

impl Pair {
    fn new() -> Option<Self> {
        // glibc asks for A at all only where an address is not loopback.
        let namespace = Namespace::new(&["10.0.1.5/32"])?;
        namespace.resolv_conf(RESOLV_CONF);
        let dirs = [Dir::with_db(""), Dir::with_db("")];
        let mut pair = Self { namespace, dirs, servers: [None, None] };
        (0..2).for_each(|nth| pair.start(nth));
        Some(pair)
    }

    fn start(&mut self, nth: usize) {
        self.servers[nth] = Some(self.namespace.server(&self.dirs[nth], LISTEN[nth]));
    }

    /// What stubs see of `what` happens meanwhile.
    fn while_it_happens(
        &mut self,
        title: &str,
        programs: &[(&'static str, PathBuf); 2],
        what: impl FnOnce(&mut Self),
    ) {
        let all = programs.each_ref();
        let all = all.map(|(libc, program)| Lookups::start(&self.namespace, libc, program));
        what(self);
        for (libc, count, failed, longest, took) in all.map(Lookups::stop) {
            let rate = count as f64 / took.as_secs_f64();
            println!(
                "{title}: {libc} looked {count} times up ({rate:.0} a second), {failed} in vain, \
                 longest {longest:.1?}"
            );
            assert!(count > 0, "the load was no load");
            assert_eq!(failed, 0, "{title}: {libc}");
        }
    }
}

#[test]
fn one_replica_covers_for_the_other() {
    let programs_dir = tempfile::tempdir().unwrap();
    let Some(programs) = programs(programs_dir.path()) else { return };
    let Some(mut pair) = Pair::new() else { return };
    pair.while_it_happens("both serve", &programs, |_| std::thread::sleep(GONE));
    pair.while_it_happens("restarted one after the other", &programs, |pair| {
        for nth in [0, 1] {
            assert!(pair.servers[nth].take().unwrap().stop().success());
            pair.start(nth);
        }
    });
    pair.while_it_happens("one killed", &programs, |pair| {
        let mut killed = pair.servers[0].take().unwrap();
        killed.signal("KILL");
        assert!(!killed.ended().success());
        std::thread::sleep(GONE);
    });
    pair.start(0);
    pair.while_it_happens("one that hangs", &programs, |pair| {
        let hangs = pair.servers[1].as_ref().unwrap();
        hangs.signal("STOP");
        std::thread::sleep(GONE);
        hangs.signal("CONT");
    });
}
