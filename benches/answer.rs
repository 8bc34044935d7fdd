//! What an answer costs without the sockets: nanoseconds, on each path. A batch is
//! read ahead, as by a UDP worker.
//!
//! `cargo bench --bench answer [-- together|fast|ordinary COUNT]`; with a path
//! and a count it answers just that, for callgrind to count instructions.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use eipdns::answer::{Ahead, AheadBuffer, Asker, Transport, answer, ordinary};
use eipdns::cli::offline::Offline;
use eipdns::config::{self, Overrides};
use eipdns::snapshot::Snapshot;
use eipdns::source::once;

/// Names in the zone, and answers in a measurement.
const NAMES: usize = 2_000;
const COUNT: usize = 2_000_000;

const SERVER: &str = "[listen]\ndns = [\"127.0.0.1:0\"]\n\
    [[view]]\nname = \"all\"\nclients = [\"127.0.0.0/8\"]\nanswer = \"private\"\n";

/// Requests of a batch.
const BATCH: usize = 32;

type Answer = fn(&Snapshot, &Asker, &[&[u8]], &mut AheadBuffer, &mut Vec<u8>);

/// The ways to an answer, by name.
const PATHS: [(&str, Answer); 3] = [
    ("together", |snapshot, asker, requests, buffer, reply| {
        let Some(ahead) = Ahead::read(snapshot, asker, requests.iter().copied(), buffer) else {
            return;
        };
        for (nth, request) in requests.iter().enumerate() {
            black_box(ahead.answer(nth, asker, request, &mut (), reply));
        }
    }),
    ("fast", |snapshot, asker, requests, _, reply| {
        for request in requests {
            black_box(answer(snapshot, asker, Transport::Udp, request, &mut (), reply));
        }
    }),
    ("ordinary", |snapshot, asker, requests, _, reply| {
        for request in requests {
            black_box(ordinary(snapshot, asker, Transport::Udp, request, &mut (), reply));
        }
    }),
];

fn main() -> ExitCode {
    let directory = std::env::temp_dir().join(format!("eipdns-bench-{}", std::process::id()));
    let written = write(&directory);
    let loaded = written
        .map_err(|e| e.to_string())
        .and_then(|()| config::load(&directory, &Overrides::default()).map_err(|e| e.to_string()));
    // Nothing can be done about what stays in the temporary directory.
    drop(std::fs::remove_dir_all(&directory));
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let snapshot = Offline::new(&config, once::inventory(&config)).current.snapshot;
    let requests: Vec<Vec<u8>> = (0..NAMES).map(request).collect();
    let arguments: Vec<String> = std::env::args().collect();
    let count = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(COUNT);
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let one = PATHS.iter().any(|(name, _)| named(name));
    for (name, path) in PATHS {
        if one && !named(name) {
            continue;
        }
        let started = Instant::now();
        run(&snapshot, &requests, path, count);
        let each = started.elapsed().as_nanos() / count as u128;
        println!("{name}: {each} ns an answer, {count} answers");
    }
    ExitCode::SUCCESS
}

fn run(snapshot: &Snapshot, requests: &[Vec<u8>], path: Answer, count: usize) {
    let asker = Asker {
        client: SocketAddr::from(([127, 0, 0, 1], 4711)),
        local: SocketAddr::from(([127, 0, 0, 1], 53)),
    };
    let (mut buffer, mut reply) = (AheadBuffer::default(), Vec::with_capacity(2048));
    for first in (0..count).step_by(BATCH) {
        // Not in order, as in life: a stride that shares no factor with the count.
        let some: [&[u8]; BATCH] =
            std::array::from_fn(|nth| &requests[(first + nth) * 997 % requests.len()][..]);
        let some = &some[..BATCH.min(count - first)];
        path(snapshot, &asker, black_box(some), &mut buffer, &mut reply);
    }
}

fn write(directory: &Path) -> std::io::Result<()> {
    let mut names = String::from("[names]\n");
    for n in 0..NAMES {
        // Writing to a String cannot fail.
        let _ = writeln!(names, "h{n} = {{ address = \"10.0.{}.{}\" }}", n / 256, n % 256);
    }
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join("server.toml"), SERVER)?;
    std::fs::write(directory.join("bench.test.toml"), names)
}

/// A question for A; every tenth for a name that is not there.
fn request(n: usize) -> Vec<u8> {
    let label = if n % 10 == 9 { format!("x{n:08x}") } else { format!("h{n}") };
    let mut octets = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, label.len() as u8];
    octets.extend_from_slice(label.as_bytes());
    octets.extend_from_slice(b"\x05bench\x04test\0\x00\x01\x00\x01");
    octets
}
