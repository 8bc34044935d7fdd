//! Moves and reloads: what an editor, a rename or a symlink swap does to the
//! answers, and that a bad file does nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use serde_json::{Value, json};

use crate::fixtures::daemon::free_port_of;
use crate::fixtures::waiting::eventually;
use crate::harness::{
    DB, Dir, ELASTIC, PATIENCE, Server, describe, http_get, query, try_udp, udp, view,
};

/// Waits until it is published, and sees that it is answered.
fn moved_to(server: &mut Server, private: &str) {
    server.wait_for_move("new", private);
    assert_eq!(server.data("db.example.com.", RecordType::A), [private]);
}

#[test]
fn every_way_to_write_the_file() {
    let dir = Dir::with_db("");
    let mut server = Server::start(dir.path());
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.5"]);

    dir.replace("addresses.json", &describe(&[(ELASTIC, Some("10.0.1.6"))]));
    moved_to(&mut server, "10.0.1.6");
    // Truncate and write, in place.
    dir.write("addresses.json", &describe(&[(ELASTIC, Some("10.0.1.7"))]));
    moved_to(&mut server, "10.0.1.7");
    // Slowly, as a copy over a network does: what is half there is no answer.
    let text = describe(&[(ELASTIC, Some("10.0.1.8"))]);
    let path = dir.path().join("addresses.json");
    fs::write(&path, "").unwrap();
    for part in 1..=4 {
        fs::write(&path, &text[..text.len() * part / 4]).unwrap();
        let now = server.data("db.example.com.", RecordType::A);
        assert!(now == ["10.0.1.7"] || (part == 4 && now == ["10.0.1.8"]), "{now:?}");
    }
    moved_to(&mut server, "10.0.1.8");
    // Gone and back.
    fs::remove_file(&path).unwrap();
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.8"]);
    fs::write(&path, describe(&[(ELASTIC, Some("10.0.1.9"))])).unwrap();
    moved_to(&mut server, "10.0.1.9");
}

/// Kubernetes mounts a ConfigMap as links through `..data`, which is swapped.
#[test]
fn a_farm_of_symbolic_links() {
    let dir = Dir::with_db("");
    let addresses = dir.path().join("addresses.json");
    fs::remove_file(&addresses).unwrap();
    let version = |n: u32| {
        let name = format!("..v{n}");
        fs::create_dir(dir.path().join(&name)).unwrap();
        let text = describe(&[(ELASTIC, Some(&format!("10.0.1.{n}")))]);
        fs::write(dir.path().join(&name).join("addresses.json"), text).unwrap();
        symlink(&name, dir.path().join("..data_tmp")).unwrap();
        fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    };
    version(1);
    symlink("..data/addresses.json", &addresses).unwrap();
    let mut server = Server::start(dir.path());
    assert_eq!(server.data("db.example.com.", RecordType::A), ["10.0.1.1"]);
    for n in 2..=4 {
        version(n);
        fs::remove_dir_all(dir.path().join(format!("..v{}", n - 1))).unwrap();
        moved_to(&mut server, &format!("10.0.1.{n}"));
    }
}

#[test]
fn an_equal_file_changes_nothing() {
    let dir = Dir::with_db("");
    let mut server = Server::start(dir.path());
    let serial = server.data("example.com.", RecordType::SOA);
    let same = fs::read_to_string(dir.path().join("addresses.json")).unwrap();
    dir.replace("addresses.json", &same);
    dir.replace("addresses.json", &format!("{same}\n"));
    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    moved_to(&mut server, "10.0.1.6");
    let moves = server.lines().iter().filter(|l| l["fields"]["message"] == "moved").count();
    assert_eq!(moves, 1);
    assert_ne!(server.data("example.com.", RecordType::SOA), serial, "content moved");
}

/// The zone's serial as a client at this address of ours sees it.
fn serial_for(server: &Server, client: [u8; 4]) -> u32 {
    let socket = UdpSocket::bind(SocketAddr::from((client, 0))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = query("example.com.", RecordType::SOA).to_vec().unwrap();
    socket.send_to(&request, server.dns).unwrap();
    let mut reply = [0; 512];
    let size = socket.recv(&mut reply).unwrap();
    let reply = Message::from_vec(&reply[..size]).unwrap();
    match &reply.answers[0].data {
        RData::SOA(soa) => soa.serial,
        other => panic!("{other}"),
    }
}

#[test]
fn a_view_that_does_not_change_keeps_its_serial_and_so_does_a_restart() {
    const OUTSIDE: [u8; 4] = [127, 9, 0, 1];
    let dir = Dir::with_db(&view("outside", "127.9.0.0/16", "cname"));
    let mut server = Server::start(dir.path());
    let (inside, outside) = (serial_for(&server, [127, 0, 0, 1]), serial_for(&server, OUTSIDE));
    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    moved_to(&mut server, "10.0.1.6");
    let moved = serial_for(&server, [127, 0, 0, 1]);
    assert!(moved > inside, "{moved} after {inside}");
    assert_eq!(serial_for(&server, OUTSIDE), outside, "a CNAME stands for whoever holds it");
    assert!(server.stop().success());
    // The state is as the version before reads it: the highest for all views.
    let state = fs::read_to_string(dir.path().join(".state/state.json")).unwrap();
    let state = serde_json::Deserializer::from_str(&state).into_iter::<Value>().next();
    assert_eq!(state.unwrap().unwrap()["serials"]["example.com."]["serial"], moved);
    let server = Server::start(dir.path());
    assert_eq!(serial_for(&server, [127, 0, 0, 1]), moved);
    assert_eq!(serial_for(&server, OUTSIDE), outside);
}

#[test]
fn sighup_reads_anew_and_a_bad_directory_changes_nothing() {
    let dir = Dir::with_db("");
    let mut server = Server::start(dir.path());

    dir.write(
        "example.com.toml",
        "[names]\ndb = \"75.101.137.243\"\nnew = { address = \"10.0.0.9\" }\n",
    );
    assert_eq!(
        server.ask("new.example.com.", RecordType::A).metadata.response_code,
        ResponseCode::NXDomain
    );
    server.reload();
    assert_eq!(server.data("new.example.com.", RecordType::A), ["10.0.0.9"]);

    dir.write("example.com.toml", "[names]\ndb = \"75.101.137\"\n");
    server.signal("HUP");
    let line = server.wait("problem", |l| l["level"] == "ERROR");
    let told = line.to_string();
    assert!(told.contains("example.com.toml:2") && told.contains("75.101.137"), "{told}");
    server.wait_for("configuration not reloaded; the one in use stands");
    assert_eq!(server.data("new.example.com.", RecordType::A), ["10.0.0.9"]);

    // A zone that is gone is gone, another one is there.
    fs::remove_file(dir.path().join("example.com.toml")).unwrap();
    dir.write("example.net.toml", DB);
    server.reload();
    assert_eq!(server.data("db.example.net.", RecordType::A), ["10.0.1.5"]);
    assert_eq!(
        server.ask("db.example.com.", RecordType::A).metadata.response_code,
        ResponseCode::Refused
    );
    assert!(server.stop().success());
}

#[test]
fn a_reload_moves_listen_addresses_and_keeps_the_others() {
    let dir = Dir::with_db("");
    let config = dir.read("server.toml");
    let kept = free_port_of("127.0.0.3");
    let with = |list: &str| config.replace("\"127.0.0.1:0\"", list);
    dir.write("server.toml", &with(&format!("\"{kept}\"")));
    let mut server = Server::start(dir.path());
    let added = SocketAddr::new([127, 0, 0, 4].into(), kept.port());
    dir.write("server.toml", &with(&format!("\"{kept}\", \"{added}\"")));
    server.reload();
    let ask = query("db.example.com.", RecordType::A).to_vec().unwrap();
    assert_eq!(udp(added, &ask), udp(kept, &ask));
    // An address that cannot be had: nothing changes.
    let taken = TcpListener::bind("127.0.0.5:0").unwrap();
    dir.write("server.toml", &with(&format!("\"{}\"", taken.local_addr().unwrap())));
    server.refuses_to_reload();
    assert_eq!(udp(added, &ask), udp(kept, &ask));
    // One that is no longer wanted is closed, the other one stays.
    dir.write("server.toml", &with(&format!("\"{kept}\"")));
    server.reload();
    assert!(!udp(kept, &ask).is_empty());
}

/// The files are not what is served: status says so, and why, until they are.
#[test]
fn a_refused_reload_is_said_by_the_status() {
    let dir = Dir::with_db("");
    dir.http();
    let mut server = Server::start(dir.path());
    let said = |server: &Server| server.shown_status(&dir);
    assert!(!said(&server).contains("NOT RELOADED"), "{}", said(&server));
    dir.write("example.com.toml", "[names]\ndb = \"75.101.137\"\nweb = \"no address\"\n");
    server.refuses_to_reload();
    let told = said(&server);
    let line = told.lines().find(|l| l.starts_with("CONFIGURATION NOT RELOADED")).expect(&told);
    assert!(line.contains("example.com.toml:2") && line.contains("1 more error"), "{line}");
    dir.write("example.com.toml", DB);
    server.reload();
    assert!(!said(&server).contains("NOT RELOADED"), "{}", said(&server));
}

/// For a question that came while its socket was closed.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_millis(20);

/// A view that is asked at an address of its own, which comes and goes by a
/// reload. Thousands of names make compiling take a while.
#[test]
fn nobody_at_an_address_of_its_own_gets_the_answers_of_another_view() {
    let dir = Dir::new("");
    let many: String = (0..20_000)
        .map(|n| format!("h{n} = {{ address = \"10.2.{}.{}\" }}\n", n >> 8, n & 255))
        .collect();
    dir.write("example.com.toml", &format!("{DB}{many}"));
    let config = dir.read("server.toml");
    let (all, own) = (free_port_of("127.0.0.6"), free_port_of("127.0.0.7"));
    let one = config.replace("\"127.0.0.1:0\"", &format!("\"{all}\""));
    let two = config.replace("\"127.0.0.1:0\"", &format!("\"{all}\", \"{own}\""))
        + &view("own", "127.0.0.0/8", "public")
        + &format!("listen = [\"{own}\"]\n");
    dir.write("server.toml", &one);
    let mut server = Server::start(dir.path());
    let ask = query("db.example.com.", RecordType::A).to_vec().unwrap();
    for _ in 0..3 {
        // Asked all the time: each answer there is the view's own.
        let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // Where nobody listens, the system says so at once.
                    answers.extend(try_udp(own, &ask, BEFORE_ASKING_AGAIN));
                    answered.store(answers.len(), Ordering::Relaxed);
                }
                answers
            });
            dir.write("server.toml", &two);
            server.reload();
            eventually("an answer of that view", || answered.load(Ordering::Relaxed) > 0);
            dir.write("server.toml", &one);
            server.reload();
            stop.store(true, Ordering::Relaxed);
            for answer in asks.join().unwrap() {
                let message = Message::from_vec(&answer).unwrap();
                let all: Vec<_> = message.answers.iter().map(|r| r.data.to_string()).collect();
                assert_eq!(all, [ELASTIC], "{message}");
            }
        });
    }
}

/// `/api/history`, the newest first, without starts and stops.
fn history(server: &Server) -> Vec<Value> {
    let mut all = whole_history(server);
    all.retain(|event| event["event"] != "started" && event["event"] != "stopping");
    all
}

/// All of `/api/history`, the newest first.
fn whole_history(server: &Server) -> Vec<Value> {
    let answer = http_get(&server.http(), "/api/history", "");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && head.contains("application/json"), "{head}");
    serde_json::from_str(body).unwrap()
}

fn said(server: &Server, message: &str) -> Vec<Value> {
    let mut lines = server.lines();
    lines.retain(|line| line["fields"]["message"] == message);
    lines
}

#[test]
fn what_has_happened_is_known_after_a_restart() {
    let dir = Dir::new("");
    dir.http();
    dir.write("example.com.toml", DB);
    let mut server = Server::start(dir.path());
    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    let line = server.wait_for_move("new", "10.0.1.6");
    for (field, word) in [
        ("elastic_ip", ELASTIC),
        ("allocation", "eipalloc-75101137243"),
        ("old_association", "eipassoc-10015"),
        ("new_association", "eipassoc-10016"),
        ("old_instance", "i-1"),
        ("new_instance", "i-1"),
    ] {
        assert_eq!(line["fields"][field], word, "{line}");
    }
    // What nobody associates is no move, and no piece of information.
    dir.addresses(&[(ELASTIC, None)]);
    let line = server.wait_for("no address");
    assert_eq!((&line["level"], &line["fields"]["old"]), (&"WARN".into(), &"10.0.1.6".into()));
    assert_eq!(line["fields"]["old_association"], "eipassoc-10016");
    assert_eq!(line["fields"]["new_association"], "-");
    let before = history(&server);
    let events: Vec<_> = before.iter().map(|event| &event["event"]).collect();
    assert_eq!(events, ["no_address", "moved"]);
    assert!(server.stop().success());

    // A line that was not finished, as after a power cut, is none.
    let file = dir.path().join(".state/history.jsonl");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, [&whole, &b"{\"at\":\"20"[..]].concat()).unwrap();
    let server = Server::start(dir.path());
    assert_eq!(history(&server), before);
    let all = whole_history(&server);
    let events: Vec<_> = all.iter().map(|event| &event["event"]).collect();
    assert_eq!(events, ["started", "stopping", "no_address", "moved", "started"]);
    assert!(server.stop().success());

    // A damaged file is set aside, and what is good of it goes on.
    fs::write(&file, [&b"\0\0\0\n"[..], &whole].concat()).unwrap();
    let mut server = Server::start(dir.path());
    server.wait("damaged", |line| {
        let told = line["fields"]["message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && told.contains("is damaged") && told.contains("history.jsonl")
    });
    assert_eq!(history(&server), before);
    server.moves(&dir, "10.0.1.7");
    assert!(server.stop().success());
    let server = Server::start(dir.path());
    let after = history(&server);
    assert_eq!((&after[1..], &after[0]["new"]), (&before[..], &"10.0.1.7".into()));
}

#[test]
fn the_first_answers_are_no_move() {
    let dir = Dir::new("");
    dir.http();
    dir.write("example.com.toml", DB);
    fs::remove_file(dir.path().join("addresses.json")).unwrap();
    let mut server = Server::start(dir.path());
    dir.addresses(&[(ELASTIC, Some("10.0.1.5"))]);
    let line = server.wait_for("first answers");
    assert_eq!(line["fields"]["names"], 1);
    assert_eq!((said(&server, "moved"), history(&server)), (vec![], vec![]));
    dir.addresses(&[(ELASTIC, Some("10.0.1.6"))]);
    moved_to(&mut server, "10.0.1.6");
    assert_eq!(history(&server).len(), 1);
}

#[test]
fn of_many_names_the_log_tells_in_short_and_the_history_has_all() {
    let dir = Dir::new("");
    dir.http();
    let names: String = (0..200).map(|n| format!("n{n:03} = \"75.101.137.243\"\n")).collect();
    dir.write("example.com.toml", &format!("[names]\n{names}web = \"75.101.137.244\"\n"));
    let both = |db, web| dir.addresses(&[(ELASTIC, db), ("75.101.137.244", Some(web))]);
    both(Some("10.0.1.5"), "10.0.1.1");
    let mut server = Server::start(dir.path());
    both(Some("10.0.1.6"), "10.0.1.2");
    let line = server.wait_for("names moved");
    let fields = &line["fields"];
    assert_eq!((&fields["names"], &fields["elastic_ip"]), (&200.into(), &ELASTIC.into()));
    assert_eq!(fields["first"], "n000.example.com.,n001.example.com.,n002.example.com.");
    assert_eq!((&fields["old"], &fields["new"]), (&"10.0.1.5".into(), &"10.0.1.6".into()));
    let line = server.wait_for("names moved");
    assert_eq!(line["fields"]["names"], 1);
    assert_eq!(said(&server, "moved"), [] as [Value; 0]);
    assert_eq!(history(&server).len(), 201);
    both(None, "10.0.1.2");
    let line = server.wait_for("names without address");
    assert_eq!((&line["level"], &line["fields"]["names"]), (&"WARN".into(), &200.into()));
    assert_eq!(history(&server).len(), 401);
}

#[test]
fn who_accepts_losses_is_in_the_log_and_the_history() {
    let dir = Dir::new("");
    dir.http();
    dir.write("example.com.toml", DB);
    let mut server = Server::start(dir.path());
    let http = server.http();
    let post = |path: &str| {
        let mut stream = TcpStream::connect(&http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "POST {path} HTTP/1.0\r\nHost: {http}\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    };
    post("/api/refresh");
    assert_eq!(history(&server), [] as [Value; 0]);
    post("/api/refresh?accept=true");
    let line = server.wait("who asked", |line| line["fields"]["client"] == "127.0.0.1");
    assert_eq!((&line["level"], &line["fields"]["sources"]), (&"WARN".into(), &"sample".into()));
    let all = history(&server);
    assert_eq!(
        (&all[0]["event"], &all[0]["client"]),
        (&"accept_asked".into(), &"127.0.0.1".into())
    );
    assert_eq!(all[0]["sources"], json!(["sample"]));
    // In a loop it is said once a minute.
    post("/api/refresh?accept=true");
    assert_eq!(history(&server), all);
    assert!(server.stop().success());
    let server = Server::start(dir.path());
    assert_eq!(history(&server), all);
}

#[test]
fn watch_reloads_without_a_signal() {
    let dir = Dir::with_db("");
    let mut server = Server::start_with(dir.path(), |c| {
        c.arg("--watch");
    });
    dir.replace("example.com.toml", "[names]\nother = { address = \"10.0.0.7\" }\n");
    server.wait_for("configuration reloaded");
    assert_eq!(server.data("other.example.com.", RecordType::A), ["10.0.0.7"]);
}

#[test]
fn sigterm_and_sigint_end_well() {
    for signal in ["TERM", "INT"] {
        let dir = Dir::with_db("");
        let mut server = Server::start(dir.path());
        server.signal(signal);
        assert!(server.ended().success(), "SIG{signal}");
    }
}

/// How soon is printed, and not judged: 20 ms on an idle machine.
#[test]
fn each_edit_is_answered() {
    let dir = Dir::with_db("");
    let server = Server::start(dir.path());
    let ask = query("db.example.com.", RecordType::A).to_vec().unwrap();
    let mut worst = Duration::ZERO;
    for n in 0..20 {
        let private = format!("10.0.2.{n}");
        dir.addresses(&[(ELASTIC, Some(&private))]);
        let edited = Instant::now();
        while !udp(server.dns, &ask)[address_of(&ask)..].starts_with(&[10, 0, 2, n]) {
            assert!(edited.elapsed() < PATIENCE, "the edit is never answered");
        }
        worst = worst.max(edited.elapsed());
    }
    println!("edit to new answer, worst of 20: {worst:?}");
}

/// Where the address stands in an answer with one A record: behind the
/// question, a pointer, type, class, TTL and length.
fn address_of(query: &[u8]) -> usize {
    let opt = 11;
    query.len() - opt + 12
}
