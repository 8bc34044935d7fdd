//! The process itself: gone, restarted, stopped within, unheard, broken.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::{NAME, forwarding, one_name, scrape, scrape_until, well};
use crate::fixtures::fuse::Fuse;
use crate::fixtures::promtool::{Scrape, fires, one_after_the_other, promtool, while_it_lasts};
use crate::fixtures::waiting::until;
use crate::harness::{Dir, ELASTIC, PROGRAM, Server, describe, http_get, tcp};
use crate::peers;

/// A server that does what servers do: answers over UDP and TCP, moves a name,
/// reloads, stops.
#[test]
fn none_fires_where_all_is_well_and_one_does_when_it_is_gone() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    let mut server = Server::start(dir.path());
    let before = well(&server);
    for _ in 0..200 {
        assert_eq!(server.data(NAME, RecordType::A), ["10.0.1.5"]);
    }
    tcp(server.dns, &crate::harness::query(NAME, RecordType::A).to_vec().unwrap());
    server.moves(&dir, "10.0.1.6");
    server.reload();
    let after = scrape(&server);
    let timed = "eipdns_udp_batch_duration_seconds_count";
    assert!(after.value(timed, "") > before.value(timed, ""), "some batches were timed");
    fires(&promtool, &while_it_lasts(&before, &after), &[]);

    let http = server.http();
    assert!(server.stop().success());
    assert!(TcpStream::connect(&http).is_err(), "so Prometheus finds it");
    let gone = one_after_the_other(&[after, Scrape::failed(), Scrape::failed(), Scrape::failed()]);
    fires(&promtool, &gone, &["EipdnsDown"]);
}

#[test]
fn a_server_that_is_started_again_and_again() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    let once = |_| {
        let server = Server::start(dir.path());
        let scrape = well(&server);
        assert!(server.stop().success());
        scrape
    };
    let all: Vec<Scrape> = (0..4).map(once).collect();
    fires(&promtool, &one_after_the_other(&all), &["EipdnsRestartsOften"]);
    fires(&promtool, &one_after_the_other(&all[..2]), &[]);
}

/// Stops one thread of another process, by ptrace(2), until its stdin ends.
const STOP_A_THREAD: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
libc.ptrace.restype = ctypes.c_long
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
thread = int(sys.argv[1])
if libc.ptrace(SEIZE, thread, 0, 0) != 0 or libc.ptrace(INTERRUPT, thread, 0, 0) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, WALL)
print('stopped', flush=True)
sys.stdin.read()
";

/// The loop that publishes runs on the first thread: all others go on.
#[test]
fn a_loop_that_publishes_no_longer() {
    let (Some(promtool), Some(python)) = (promtool(), peers::need("python3")) else { return };
    let dir = one_name("");
    let mut server = Server::start(dir.path());
    let before = well(&server);
    let mut stopping = Command::new(python)
        .args(["-c", STOP_A_THREAD, &server.pid().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(stopping.stdout.take().unwrap()).read_line(&mut said).unwrap();
    if said != "stopped\n" {
        let out = stopping.wait_with_output().unwrap();
        peers::missing(&format!("ptrace: {}", String::from_utf8_lossy(&out.stderr)));
        return;
    }
    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    let after = scrape_until(&server, "it is told", |scrape| {
        scrape.value("eipdns_publish_loop_turned_seconds", "") > 10.0
            && scrape.value("eipdns_deliveries_waiting", "") > 0.0
    });
    assert!(http_get(&server.http(), "/livez", "").starts_with("HTTP/1.0 503"));
    assert_eq!(server.data(NAME, RecordType::A), ["10.0.1.5"], "answers stand");
    fires(&promtool, &while_it_lasts(&before, &after), &["EipdnsNotPublishing"]);
    drop(stopping.stdin.take());
    stopping.wait().unwrap();
    server.wait_for_move("new", "10.0.1.6");
}

#[test]
fn a_log_that_nobody_reads_any_longer() {
    let Some(promtool) = promtool() else { return };
    let dir = one_name("");
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--log-json", "--config"])
        .arg(dir.path())
        .env("EIPDNS_STATE", dir.path().join(".state"))
        .env("EIPDNS_LOG", "info")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let field = |line: &Value, name: &str| line["fields"][name].as_str().unwrap().to_owned();
    let mut http = None;
    loop {
        let line: Value = serde_json::from_str(&log.next().unwrap().unwrap()).unwrap();
        match line["fields"]["message"].as_str() {
            Some("listening for HTTP") => http = Some(field(&line, "address")),
            Some("source delivers") if http.is_some() => break,
            _ => {}
        }
    }
    let http = http.unwrap();
    let before = Scrape::of(&http);
    drop(log);
    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    let after = until("lines that could not be written", || {
        let now = Scrape::of(&http);
        if now.value("eipdns_log_write_errors_total", "") > 0.0 { Ok(now) } else { Err(now) }
    });
    child.kill().unwrap();
    child.wait().unwrap();
    fires(&promtool, &while_it_lasts(&before, &after), &["EipdnsLogLinesLost"]);
}

/// The one condition that nothing outside is known to bring about: where it is,
/// it is mended. So the number is raised here, on the metrics of a real run.
#[test]
fn a_panic_that_was_counted() {
    let Some(promtool) = promtool() else { return };
    let dir = forwarding("127.0.0.1:9".parse().unwrap());
    let server = Server::start(dir.path());
    let before = well(&server);
    for counter in ["eipdns_panics_total", "eipdns_forward_panics_total"] {
        let after = before.with_one_more(counter);
        fires(&promtool, &while_it_lasts(&before, &after), &["EipdnsPanicked"]);
    }
}

#[test]
fn a_file_server_that_hangs() {
    let Some(promtool) = promtool() else { return };
    let text = describe(&[(ELASTIC, Some("10.0.1.5"))]);
    let Some(fuse) = Fuse::new(&[("addresses.json", &text)]) else { return };
    let dir: Dir = one_name("");
    std::fs::remove_file(dir.path().join("addresses.json")).unwrap();
    let link = dir.path().join("addresses.json");
    std::os::unix::fs::symlink(fuse.path("addresses.json"), link).unwrap();
    let mut server = Server::start(dir.path());
    let before = well(&server);
    fuse.hang();
    server.wait_for("source stalled; its last good answer stands");
    let after = scrape_until(&server, "it is told", |scrape| {
        scrape.value("eipdns_source_healthy", "source=\"sample\"") == 0.0
            && scrape.value("eipdns_file_readings_hanging", "") > 0.0
    });
    let expected = ["EipdnsFileReadingsHang", "EipdnsSourceStalled"];
    fires(&promtool, &while_it_lasts(&before, &after), &expected);
}
