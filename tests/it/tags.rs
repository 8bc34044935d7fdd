//! Names from tags, out of an address file: they come, go and move with it, what is
//! wrong with one harms no other, and every surface says so.

use std::time::Instant;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::fixtures::daemon;
use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, Server, eipdns, http_body, query, udp, view};

/// A zone's file that has names from tags and no others.
const DISCOVER: &str = "negative_ttl = 5\n[discover]\ntag = \"dns-name\"\n";

/// The problem's line in the log.
const NO_NAME: &str = "a tag gives no name, or not everywhere";

/// An address by its number: 10.0.x.y, what its tag says, and the tag.
fn entry(n: u32, tag: &str, value: &str) -> Value {
    let (high, low) = (n >> 8, n & 255);
    json!({
        "PublicIp": public(n),
        "AllocationId": format!("eipalloc-{n:08}"),
        "AssociationId": format!("eipassoc-{n:08}"),
        "PrivateIpAddress": format!("10.0.{high}.{low}"),
        "Tags": [{ "Key": tag, "Value": value }],
    })
}

fn public(n: u32) -> String {
    format!("75.101.{}.{}", n >> 8, n & 255)
}

/// An address file: numbers, and what the tag `dns-name` says.
fn tagged<V: AsRef<str>>(all: &[(u32, V)]) -> String {
    let all: Vec<_> = all.iter().map(|(n, value)| entry(*n, "dns-name", value.as_ref())).collect();
    json!({ "Addresses": all }).to_string()
}

/// A directory with HTTP, these tags and this file of the zone example.com.
fn dir_with(zone: &str, all: &[(u32, &str)]) -> Dir {
    let dir = Dir::new("");
    dir.http();
    dir.replace("addresses.json", &tagged(all));
    dir.write("example.com.toml", zone);
    dir
}

fn code(server: &Server, name: &str) -> ResponseCode {
    server.ask(name, RecordType::A).metadata.response_code
}

fn a(server: &Server, name: &str) -> Vec<String> {
    let mut all = server.data(&format!("{name}.example.com."), RecordType::A);
    all.sort_unstable();
    all
}

/// How often the log has said that a tag gives no name.
fn told(server: &Server) -> usize {
    let is_it = |line: &&Value| {
        line["fields"]["message"].as_str().is_some_and(|message| message.starts_with(NO_NAME))
    };
    server.lines().iter().filter(is_it).count()
}

fn problems(server: &Server) -> Vec<Value> {
    server.status()["sources"][0]["tag_problems"].as_array().unwrap().clone()
}

/// The events of names, the newest first.
fn history(server: &Server) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&http_body(&server.http(), "/api/history")).unwrap();
    all.into_iter().filter(|event| event["name"].is_string()).collect()
}

/// What a command prints, of both kinds.
fn printed(server: &Server, dir: &Dir, args: &[&str]) -> String {
    let out = server.command(dir, args);
    String::from_utf8([out.stdout, out.stderr].concat()).unwrap()
}

#[test]
fn names_come_go_and_move_with_the_file() {
    let dir = dir_with(DISCOVER, &[(1, "db,web"), (2, "log")]);
    let mut server = Server::start(dir.path());
    for (name, expected) in [("db", "10.0.0.1"), ("web", "10.0.0.1"), ("log", "10.0.0.2")] {
        assert_eq!(a(&server, name), [expected], "{name}");
    }
    assert_eq!(code(&server, "new.example.com."), ResponseCode::NXDomain);
    let serial = server.data("example.com.", RecordType::SOA);

    // Comes.
    dir.replace("addresses.json", &tagged(&[(1, "db web"), (2, "log"), (3, "new/a.b")]));
    let line = server.wait_for("a tag gives a name");
    assert!(
        line["fields"]["name"].as_str().is_some_and(|n| n.ends_with(".example.com.")),
        "{line}"
    );
    assert_eq!(
        (a(&server, "new"), a(&server, "a.b")),
        (vec!["10.0.0.3".into()], vec!["10.0.0.3".into()])
    );
    assert_ne!(server.data("example.com.", RecordType::SOA), serial);
    assert_eq!(code(&server, "b.example.com."), ResponseCode::NoError, "an empty non-terminal");

    // Moves, and another goes at once: a file is the truth.
    dir.replace("addresses.json", &tagged(&[(1, "web"), (2, "log db"), (3, "a.b")]));
    let line = server.wait_for_move("new", "10.0.0.2");
    assert_eq!(
        (&line["fields"]["name"], &line["fields"]["old"]),
        (&"db.example.com.".into(), &"10.0.0.1".into())
    );
    assert_eq!(a(&server, "db"), ["10.0.0.2"]);
    assert_eq!(a(&server, "web"), ["10.0.0.1"]);
    assert_eq!(code(&server, "new.example.com."), ResponseCode::NXDomain);

    let events: Vec<_> =
        history(&server).iter().map(|e| (e["event"].clone(), e["name"].clone())).collect();
    for (event, name) in
        [("named", "new"), ("named", "a.b"), ("moved", "db"), ("no_address", "new")]
    {
        let is_it = (json!(event), json!(format!("{name}.example.com.")));
        assert!(events.contains(&is_it), "{is_it:?} is not in {events:?}");
    }
    // What counts is told right after the answers.
    eventually("four names", || server.metric("eipdns_source_names{source=\"sample\"}") == 4.0);
    assert_eq!(server.metric("eipdns_source_held_names{source=\"sample\"}"), 0.0);
    let shown = printed(&server, &dir, &["explain", "db.example.com"]);
    for part in ["dns-name", "75.101.0.2", "10.0.0.2"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    let dump = printed(&server, &dir, &["dump", "example.com"]);
    let from = "db.example.com.: tag dns-name of 75.101.0.2 (eipalloc-00000002)";
    assert!(dump.contains(from), "{dump}");
    let transfer = server.ask("example.com.", RecordType::AXFR).metadata.response_code;
    assert_ne!(transfer, ResponseCode::NoError, "nobody may");
}

/// A value, what kind of problem it is, and how its name is shown.
fn bad_values() -> Vec<(String, &'static str, String)> {
    let same = |value: &str, kind| (value.to_owned(), kind, value.to_owned());
    let below =
        |value: &str, kind, name: &str| (value.to_owned(), kind, format!("{name}.example.com."));
    let long = "l".repeat(64);
    let whole = "w".repeat(256);
    vec![
        (whole.clone(), "bad_name", format!("{}…", &whole[..64])),
        ("c\u{1}d".into(), "bad_name", "c\\u{1}d".into()),
        same("e😀", "bad_name"),
        same(&long, "bad_name"),
        same("...", "bad_name"),
        same(".", "bad_name"),
        same("a..b", "bad_name"),
        same("a*b", "bad_name"),
        same("a.*", "bad_name"),
        same("<script>", "bad_name"),
        same("&amp;", "bad_name"),
        same("db.elsewhere.org.", "outside"),
        ("db.other.test".into(), "outside", "db.other.test.".into()),
        ("@".into(), "shadowed", "example.com.".into()),
        ("example.com".into(), "shadowed", "example.com.".into()),
        below("*", "shadowed", "*"),
        below("_any.x", "shadowed", "*.x"),
        below("ns1", "shadowed", "ns1"),
        below("fixed", "shadowed", "fixed"),
        below("ok1", "second_address", "ok1"),
    ]
}

/// Each harms no other name, also none of the same tag, and is told once.
#[test]
fn a_bad_value_harms_no_other_name_and_is_told_once() {
    let zone = format!("{DISCOVER}[names]\nfixed = {{ address = \"10.9.9.9\" }}\n");
    let dir = dir_with(&zone, &[(1, "ok1")]);
    dir.write("other.test.toml", "negative_ttl = 5\n[names]\nx = { address = \"10.8.8.8\" }\n");
    let mut server = Server::start(dir.path());
    assert_eq!(told(&server), 0);
    let bad = bad_values();
    let mut all: Vec<(u32, String)> = vec![(1, "ok1".into())];
    for (n, (value, kind, name)) in (2..).zip(&bad) {
        // The longest fills its tag, the others have a good name beside.
        let good = format!("ok{n}");
        let beside =
            if value.chars().count() < 200 { format!("{value} {good}") } else { value.clone() };
        all.push((n, beside.clone()));
        dir.replace("addresses.json", &tagged(&all));
        let line = server.wait_for_start(NO_NAME);
        let fields = &line["fields"];
        assert_eq!((&fields["kind"], &fields["name"]), (&json!(kind), &json!(name)), "{line}");
        assert_eq!(line["level"], "WARN");
        eventually("the good name beside it", || {
            beside == *value || a(&server, &good) == [format!("10.0.0.{n}")]
        });
        assert_eq!(a(&server, "ok1"), ["10.0.0.1"], "{value}");
        assert_eq!(a(&server, "fixed"), ["10.9.9.9"], "{value}");
    }
    assert_eq!(told(&server), bad.len());
    eventually("all in the status", || problems(&server).len() == bad.len());
    assert_eq!(server.data("ns1.example.com.", RecordType::A), ["127.0.0.1"], "our own");

    let seen = problems(&server);
    assert_eq!(seen.len(), bad.len(), "{seen:#?}");
    for (n, (_, kind, name)) in (2..).zip(&bad) {
        let is_it =
            |p: &Value| p["kind"] == *kind && p["name"] == *name && p["elastic_ip"] == public(n);
        assert!(seen.iter().any(is_it), "{kind} {name} is not in {seen:#?}");
    }
    for kind in ["bad_name", "outside", "shadowed", "second_address", "too_many"] {
        let count = bad.iter().filter(|(_, of, _)| *of == kind).count() as f64;
        let sample = format!("eipdns_source_tag_problems{{source=\"sample\",kind=\"{kind}\"}}");
        assert_eq!(server.metric(&sample), count, "{kind}");
    }
    let shown = server.shown_status(&dir);
    assert!(shown.contains("TAG (shadowed): ns1.example.com. at 75.101.0."), "{shown}");
    assert!(!shown.contains('\u{1}'), "{shown:?}");
    let shown = printed(&server, &dir, &["explain", "fixed.example.com"]);
    assert!(shown.contains("[names] has it"), "{shown}");
    let check = eipdns(&["check", "--config", dir.path().to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    let check = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    assert!(check.contains("has the name ns1.example.com. in a tag"), "{check}");
    assert!(!check.contains('\u{1}'), "{check:?}");

    // Deliveries in which something else changes, an equal one, and a reload say nothing
    // again.
    all.push((100, "more".into()));
    dir.replace("addresses.json", &tagged(&all));
    server.wait("the name that came", |l| l["fields"]["name"] == "more.example.com.");
    dir.replace("addresses.json", &format!("{}\n", tagged(&all)));
    server.reload();
    all[0].1 = "ok1 later".into();
    dir.replace("addresses.json", &tagged(&all));
    server.wait("the name that came", |l| l["fields"]["name"] == "later.example.com.");
    assert_eq!(told(&server), bad.len());
    assert_eq!(problems(&server), seen);

    // Mended, nothing is left.
    dir.replace("addresses.json", &tagged(&[(1, "ok1"), (2, "ok2")]));
    eventually("no problem", || problems(&server).is_empty());
    assert_eq!(a(&server, "ok2"), ["10.0.0.2"]);
}

#[test]
fn fifty_names_in_one_tag_are_fifty_names() {
    let names: Vec<_> = (0..50).map(|n| format!("n{n:02}")).collect();
    let dir = dir_with(DISCOVER, &[(1, &names.join(" ")), (2, &names.join(","))]);
    let server = Server::start(dir.path());
    for name in &names {
        assert_eq!(a(&server, name), ["10.0.0.1"], "{name}");
    }
    let sample = "eipdns_source_tag_problems{source=\"sample\",kind=\"second_address\"}";
    assert_eq!(server.metric(sample), 50.0);
    // The first goes: the other has them all, in one step.
    dir.replace("addresses.json", &tagged(&[(2, names.join("/"))]));
    eventually("the move", || a(&server, &names[49]) == ["10.0.0.2"]);
    for name in &names {
        assert_eq!(a(&server, name), ["10.0.0.2"], "{name}");
    }
    eventually("no problem", || server.metric(sample) == 0.0);
}

/// 10,000 is the most: the rest is told in short, and comes when there is room.
#[test]
fn twenty_thousand_names_are_ten_thousand_and_a_problem() {
    let all = |from: u32| -> Vec<(u32, String)> {
        (from..20_000).map(|n| (n, format!("n{n}"))).collect()
    };
    let dir = dir_with(DISCOVER, &[(0, "n0")]);
    dir.replace("addresses.json", &tagged(&all(0)));
    let begun = Instant::now();
    let server = Server::start(dir.path());
    println!("20,000 names, from start to answer: {:?}", begun.elapsed());
    assert_eq!(server.metric("eipdns_source_names{source=\"sample\"}"), 10_000.0);
    assert_eq!(a(&server, "n0"), ["10.0.0.0"]);
    assert_eq!(code(&server, "n19999.example.com."), ResponseCode::NXDomain);
    let said = told(&server);
    assert!((1..=20).contains(&said), "{said} lines");
    let more = |line: &&Value| {
        line["fields"]["message"].as_str().is_some_and(|m| m.starts_with("and more tags give no"))
    };
    assert_eq!(server.lines().iter().filter(more).count(), 1);
    let seen = problems(&server);
    assert!(!seen.is_empty() && seen.iter().all(|p| p["kind"] == "too_many"), "{seen:?}");
    // A name that is there is not given up for one that is not.
    dir.replace("addresses.json", &tagged(&all(10_000)));
    eventually("room for the rest", || a(&server, "n19999") == ["10.0.78.31"]);
    assert_eq!(code(&server, "n0.example.com."), ResponseCode::NXDomain);
    eventually("no problem", || problems(&server).is_empty());
    assert_eq!(server.metric("eipdns_source_names{source=\"sample\"}"), 10_000.0);
}

/// With leave, the origin and wildcards come from tags, and questions below and beside
/// them are answered as NSD answers a zone that has the same.
#[test]
fn what_is_there_and_what_not_is_as_nsd_says_of_an_equal_zone() {
    const ZONE: &str = "$ORIGIN example.com.\n$TTL 5\n\
        @ SOA ns1.example.com. hostmaster.example.com. 1 3600 600 604800 5\n\
        @ NS ns1\n@ A 10.0.0.1\nns1 A 127.0.0.1\n\
        *.w A 10.0.0.2\nx.w A 10.0.0.3\na.deep.name A 10.0.0.3\n";
    let zone = format!("{DISCOVER}apex_and_wildcards = true\n");
    let dir = dir_with(&zone, &[(1, "@"), (2, "_any.w"), (3, "x.w a.deep.name")]);
    let server = Server::start(dir.path());
    assert_eq!(problems(&server), [] as [Value; 0]);
    let Some(nsd) = daemon::nsd(&[("example.com.", ZONE)]) else { return };
    for name in [
        "example.com.",
        "w.example.com.",
        "any.w.example.com.",
        "b.any.w.example.com.",
        "x.w.example.com.",
        "below.x.w.example.com.",
        "*.w.example.com.",
        "deep.name.example.com.",
        "name.example.com.",
        "a.deep.name.example.com.",
        "b.deep.name.example.com.",
        "nobody.example.com.",
    ] {
        for rtype in [RecordType::A, RecordType::TXT, RecordType::AAAA] {
            let said = |at| {
                let reply = udp(at, &query(name, rtype).to_vec().unwrap());
                let reply = hickory_proto::op::Message::from_vec(&reply).unwrap();
                let data: Vec<_> = reply.answers.iter().map(|r| r.to_string()).collect();
                let soa = reply.authorities.iter().any(|r| r.record_type() == RecordType::SOA);
                (reply.metadata.response_code, reply.metadata.authoritative, data, soa)
            };
            let (ours, theirs) = (said(server.dns), said(nsd.at));
            assert_eq!((ours.0, ours.1, ours.3), (theirs.0, theirs.1, theirs.3), "{name} {rtype}");
            if rtype == RecordType::A {
                assert_eq!(ours.2.len(), theirs.2.len(), "{name}: {ours:?} {theirs:?}");
                let address = |all: &[String]| -> Vec<String> {
                    all.iter().map(|r| r.rsplit(' ').next().unwrap().to_owned()).collect()
                };
                assert_eq!(address(&ours.2), address(&theirs.2), "{name}");
            }
        }
    }
}

/// What stands in one view's records is in the way in that view alone.
#[test]
fn records_of_one_view_are_in_the_way_there_alone() {
    let dir = Dir::new(&(view("office", "127.9.0.0/16", "public")));
    dir.http();
    dir.write(
        "vpc.zone",
        "$TTL 5\n@ SOA ns1 h 1 3600 600 604800 5\n@ NS ns1\nns1 A 127.0.0.1\ndb A 10.7.7.7\n\
         sub NS ns.elsewhere.org.\n",
    );
    dir.write(
        "office.zone",
        "$TTL 5\n@ SOA ns1 h 1 3600 600 604800 5\n@ NS ns1\nns1 A 127.0.0.1\n",
    );
    dir.write(
        "example.com.toml",
        &format!("records = {{ vpc = \"vpc.zone\", office = \"office.zone\" }}\n{DISCOVER}"),
    );
    dir.replace("addresses.json", &tagged(&[(1, "db web x.sub")]));
    let server = Server::start(dir.path());
    let of_office = |name: &str| {
        let socket = std::net::UdpSocket::bind("127.9.0.1:0").unwrap();
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        socket.send_to(&query(name, RecordType::A).to_vec().unwrap(), server.dns).unwrap();
        let mut reply = [0; 1232];
        let size = socket.recv(&mut reply).unwrap();
        let reply = hickory_proto::op::Message::from_vec(&reply[..size]).unwrap();
        reply.answers.iter().map(|r| r.data.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(a(&server, "db"), ["10.7.7.7"]);
    assert_eq!(a(&server, "web"), ["10.0.0.1"]);
    assert_eq!(a(&server, "x.sub"), [""; 0], "the delegation");
    for name in ["db", "web", "x.sub"] {
        assert_eq!(of_office(&format!("{name}.example.com.")), ["75.101.0.1"], "{name}");
    }
    let seen = problems(&server);
    assert_eq!(seen.len(), 2, "{seen:#?}");
    for (problem, name) in seen.iter().zip(["db", "x.sub"]) {
        assert_eq!(problem["name"], format!("{name}.example.com."));
        let why = problem["why"].as_str().unwrap();
        assert!(why.starts_with("in view vpc: "), "{why}");
    }
}

#[test]
fn sets_answer_all_addresses_of_one_source() {
    let dir = dir_with(&format!("{DISCOVER}sets = true\n"), &[(1, "db"), (2, "db"), (3, "web")]);
    let server = Server::start(dir.path());
    assert_eq!(a(&server, "db"), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(problems(&server), [] as [Value; 0]);
    dir.replace("addresses.json", &tagged(&[(2, "db"), (3, "web db")]));
    eventually("the new set", || a(&server, "db") == ["10.0.0.2", "10.0.0.3"]);
    // Without `sets` one of those that had it keeps it.
    dir.write("example.com.toml", DISCOVER);
    let mut server = server;
    server.reload();
    assert_eq!(a(&server, "db"), ["10.0.0.2"]);
    assert_eq!(problems(&server).len(), 1);
}

/// A file that is being written may have lost it: only an operator takes it out.
#[test]
fn an_edit_that_takes_discover_out_is_refused_until_an_operator_reloads() {
    let names = "negative_ttl = 5\n[names]\nx = { address = \"10.8.8.8\" }\n";
    let dir = dir_with(&format!("{names}[discover]\ntag = \"dns-name\"\n"), &[(1, "db")]);
    let mut server = Server::start_with(dir.path(), |command| {
        command.arg("--watch");
    });
    dir.replace("example.com.toml", names);
    let gone = "`[discover]` of zone example.com. is gone, with all names that tags give";
    server.wait("a loss", |l| l["level"] == "ERROR" && l.to_string().contains(gone));
    server.wait_for("configuration not reloaded; the one in use stands");
    assert_eq!(a(&server, "db"), ["10.0.0.1"]);
    eventually("it in the status", || server.shown_status(&dir).contains(gone));
    let refused = |line: &&Value| {
        line["fields"]["message"] == "configuration not reloaded; the one in use stands"
    };
    assert_eq!(server.lines().iter().filter(refused).count(), 1);
    server.reload();
    assert_eq!(code(&server, "db.example.com."), ResponseCode::NXDomain);
    assert_eq!(a(&server, "x"), ["10.8.8.8"]);
}

#[test]
fn another_tag_is_other_names_at_once() {
    let dir = dir_with(DISCOVER, &[]);
    let all = [entry(1, "dns-name", "db both"), entry(2, "name", "web both")];
    dir.replace("addresses.json", &json!({ "Addresses": all }).to_string());
    let mut server = Server::start(dir.path());
    assert_eq!(a(&server, "db"), ["10.0.0.1"]);
    assert_eq!(code(&server, "web.example.com."), ResponseCode::NXDomain);
    dir.write("example.com.toml", &DISCOVER.replace("dns-name", "name"));
    server.reload();
    assert_eq!(code(&server, "db.example.com."), ResponseCode::NXDomain);
    assert_eq!(
        (a(&server, "web"), a(&server, "both")),
        (vec!["10.0.0.2".into()], vec!["10.0.0.2".into()])
    );
    assert_eq!(server.metric("eipdns_source_held_names{source=\"sample\"}"), 0.0);
}
