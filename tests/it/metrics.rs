//! `/metrics`: names and labels are those of the README, and what reads them finds
//! nothing wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, SystemTime};

use hickory_proto::rr::RecordType;

use crate::fixtures::promtool::{Scrape, lint, promtool};
use crate::fixtures::upstream::{self, Upstream};
use crate::harness::{Dir, Server, http_get, root};
use crate::replicas::with_peers;

/// What a metric is: its type and its labels.
type Kind = (String, BTreeSet<String>);

/// The table of the README.
fn documented() -> BTreeMap<String, Kind> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let words = |cell: &str| -> BTreeSet<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = words(cells[1]).pop_first().unwrap();
        assert!(cells.len() == 6 && cells[4].len() > 3, "four cells, none empty: {line}");
        (name, (cells[2].to_owned(), words(cells[3])))
    };
    let rows = text.lines().filter(|l| l.starts_with("| `eipdns_") || l.starts_with("| `process_"));
    let all: Vec<_> = rows.map(row).collect();
    let count = all.len();
    let all: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(all.len(), count, "none stands twice");
    all
}

/// What is printed, in plain text.
fn printed(text: &str) -> BTreeMap<String, Kind> {
    let mut all: BTreeMap<String, Kind> = BTreeMap::new();
    let mut family = None;
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap();
            let before = all.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            assert_eq!(before, None, "{name} twice");
            family = Some(name.to_owned());
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = family.as_ref().unwrap();
            assert!(name.starts_with(family), "{line} stands below {family}");
            let labels = labels.split("=\"").filter_map(|part| part.rsplit(['"', ',']).next());
            let of = &mut all.get_mut(family).unwrap().1;
            of.extend(
                labels.filter(|l| !l.is_empty() && *l != "}" && *l != "le").map(str::to_owned),
            );
        }
    }
    all
}

fn get(server: &Server, accept: &str) -> (String, String) {
    let answer = http_get(&server.http(), "/metrics", accept);
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), text.to_owned())
}

/// A server of which everything can be had that there is.
fn everything() -> (Upstream, Dir, Server) {
    let upstream = Upstream::start(|asked| upstream::everything(asked).into());
    let dir = Dir::forwarding(&[upstream.at], "");
    dir.http();
    // Nobody listens there.
    with_peers(&dir, &[([127, 0, 0, 1], 9).into()]);
    let mut server = Server::start(dir.path());
    server.wait_for("source delivers");
    server.ask("db.example.com.", RecordType::A);
    server.ask("www.test.", RecordType::A);
    // That one is counted for the next.
    get(&server, "");
    (upstream, dir, server)
}

#[test]
fn the_readme_lists_what_is_printed_and_nothing_else() {
    let (_upstream, _dir, server) = everything();
    let (documented, printed) = (documented(), printed(&get(&server, "").1));
    let only = |these: &BTreeMap<String, Kind>, those: &BTreeMap<String, Kind>| {
        these
            .iter()
            .filter(|(k, v)| those.get(*k) != Some(v))
            .map(|one| format!("{one:?}"))
            .collect()
    };
    let missing: Vec<String> = only(&printed, &documented);
    let wrong: Vec<String> = only(&documented, &printed);
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "printed, and not so in the README:\n{}\nin the README, and not so printed:\n{}",
        missing.join("\n"),
        wrong.join("\n")
    );
}

#[test]
fn plain_text_is_what_prometheus_wants_where_nothing_is_negotiated() {
    let Some(promtool) = promtool() else { return };
    let (_upstream, _dir, server) = everything();
    let (head, text) = get(&server, "");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert_eq!(lint(&promtool, &text), (String::new(), Some(0)));
    // The lint is none that finds everything good.
    let (told, code) = lint(&promtool, &text.replace("eipdns_moves_total", "eipdns_moves"));
    assert!(told.contains("eipdns_moves") && code != Some(0), "{told}");

    let dir = Dir::new("");
    dir.http();
    let server = Server::start(dir.path());
    assert_eq!(lint(&promtool, &get(&server, "").1), (String::new(), Some(0)), "without anything");
}

#[test]
fn openmetrics_is_for_who_asks_for_it() {
    let (_upstream, _dir, server) = everything();
    // As Prometheus 2.42 asks.
    let accept = "Accept: application/openmetrics-text;version=1.0.0,\
                  application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let (head, open) = get(&server, accept);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1, "{open}");
    let (_, plain) = get(&server, "");
    let heads = |text: &str| -> Vec<String> {
        text.lines().filter(|l| l.starts_with("# TYPE ")).map(str::to_owned).collect()
    };
    let expected: Vec<_> =
        heads(&plain).iter().map(|l| l.replace("_total counter", " counter")).collect();
    assert_eq!(heads(&open), expected);
    let series = |text: &str| -> BTreeSet<String> {
        let samples = text.lines().filter(|l| !l.starts_with('#'));
        samples.map(|l| l.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(series(&open), series(&plain));
}

#[test]
fn the_process_is_described_as_the_system_has_it() {
    let (_upstream, _dir, server) = everything();
    let scrape = Scrape::of(&server.http());
    let value = |name: &str| scrape.value(name, "");
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let age = now - value("process_start_time_seconds");
    assert!((-2.0..Duration::from_secs(600).as_secs_f64()).contains(&age), "{age}");
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_open_fds") > 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let ec2 = if cfg!(feature = "ec2") { "true" } else { "false" };
    assert_eq!(scrape.value("eipdns_build_info", &format!("{version},ec2=\"{ec2}\"")), 1.0);
    let waited = value("eipdns_forwarded_duration_seconds_count");
    assert!(waited >= 1.0 && value("eipdns_forwarded_duration_seconds_sum") > 0.0);
}
