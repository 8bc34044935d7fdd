//! Names from tags against EC2: coming, moving, held, let go; and that no question in
//! between sees a name without its address, or two.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::moto::{Account, Moto};
use super::scripted::{Address, Ec2, Fault, public};
use super::{STALE, answer, asked, command, configure, refresh, settled, source, start, with_keys};
use crate::fixtures::waiting::eventually;
use crate::harness::{Dir, PATIENCE, Server};

const KEY: &str = "dns-name";

/// Between two questions of one who watches a move.
const MILLISECOND: Duration = Duration::from_millis(1);

/// As [`configure`], with names from tags and no others.
fn discovering(sources: &str, guard: &str) -> Dir {
    let dir = configure(sources, guard, "");
    let zone = format!("negative_ttl = 5\n[discover]\ntag = \"{KEY}\"\n");
    dir.write("example.com.toml", &zone);
    dir
}

fn fqdn(name: &str) -> String {
    format!("{name}.example.com.")
}

/// The code and what a client acts on.
fn of(server: &Server, name: &str) -> (String, Vec<u16>) {
    asked(server.dns, &fqdn(name))
}

fn at(n: u8) -> Address {
    Address::new(&public(n)).at(&format!("10.0.0.{n}"), &format!("eipassoc-{n}"))
}

/// Addresses 1 to `n`, of which each has the name of its number: n1, n2 and so on.
fn numbered(n: u8) -> Ec2 {
    Ec2::start((1..=n).map(|n| at(n).tag(KEY, &format!("n{n}"))).collect())
}

fn retag(ec2: &Ec2, n: u8, value: &str) {
    ec2.change(&public(n), |address| address.untagged(KEY).tag(KEY, value));
}

fn untag(ec2: &Ec2, n: u8) {
    ec2.change(&public(n), |address| address.untagged(KEY));
}

/// What the status says of the source at `nth`: the names that are held.
fn held(server: &Server, nth: usize) -> BTreeSet<String> {
    let status = server.status();
    let all = status["sources"][nth]["held_names"].as_array().unwrap();
    all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn polled(server: &Server) {
    assert!(refresh(server, false).is_empty());
}

fn accept(server: &Server, dir: &Dir) {
    let out = command(server, dir.path(), &["refresh", "--accept"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

/// Tags of these allocations are no more, by one call.
fn delete_tags(account: &Account<'_>, allocations: &[String]) {
    let ids: Vec<_> =
        (1..).zip(allocations).map(|(n, id)| (format!("ResourceId.{n}"), id)).collect();
    let mut all: Vec<_> = ids.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
    all.push(("Tag.1.Key", KEY));
    account.call("DeleteTags", &all);
}

fn create_tag(account: &Account<'_>, allocation: &str, value: &str) {
    let all = [("ResourceId.1", allocation), ("Tag.1.Key", KEY), ("Tag.1.Value", value)];
    account.call("CreateTags", &all);
}

/// Of each place so many addresses.
const MANY: usize = 100;
/// Of these so many are associated.
const ASSOCIATED: usize = 8;

/// `MANY` addresses named after `letter` and their number, 75.101.`third`.0 and up; the
/// first are associated, at 172.31.`third`.10 and up.
fn fill(account: &Account<'_>, letter: char, third: u8) -> Vec<String> {
    let one = |n: usize| {
        let public = format!("75.101.{third}.{}", n + 1);
        let allocation = account.allocate(&public, KEY, &format!("{letter}{n}"));
        if n < ASSOCIATED {
            let interface = account.interface(&format!("172.31.{}.{}", third, n + 10));
            account.associate(&allocation, &interface);
        }
        allocation
    };
    (0..MANY).map(one).collect()
}

#[test]
fn two_regions_and_two_accounts_with_hundreds_of_addresses() {
    let Some(moto) = Moto::start() else { return };
    let role = "arn:aws:iam::111122223333:role/dns";
    let (here, there) = (moto.in_region("us-east-1"), moto.in_region("eu-west-1"));
    let other = moto.of_role("us-east-1", role);
    let begun = Instant::now();
    let ours = fill(&here, 'h', 1);
    let far = fill(&there, 't', 2);
    let theirs = fill(&other, 'o', 3);
    println!("{} addresses in moto: {:?}", 3 * MANY, begun.elapsed());
    let endpoint = moto.url();
    let mut sources = source("here", &endpoint, "1h", "");
    sources += &source("there", &endpoint, "1h", "").replace("us-east-1", "eu-west-1");
    sources += &source("other", &endpoint, "1h", &format!("role_arn = \"{role}\""));
    let dir = discovering(&sources, "");
    let server = Server::start_with(dir.path(), |command| {
        with_keys(command);
        command.env("AWS_ENDPOINT_URL_STS", &endpoint);
    });
    polled(&server);
    for (letter, third) in [('h', 1), ('t', 2), ('o', 3)] {
        for n in 0..MANY {
            let expected = match n < ASSOCIATED {
                true => answer(&format!("172.31.{third}.{}", n + 10)),
                false => "NoError".into(),
            };
            assert_eq!(of(&server, &format!("{letter}{n}")).0, expected, "{letter}{n}");
        }
    }
    for (nth, source) in server.status()["sources"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&source["names"], &source["addresses"]), (&MANY.into(), &MANY.into()), "{nth}");
    }

    // One name in two accounts: whose it was has it. And a tag that moves.
    create_tag(&here, &ours[0], "h0+same");
    polled(&server);
    create_tag(&other, &theirs[0], "o0+same");
    polled(&server);
    assert_eq!(of(&server, "same").0, answer("172.31.1.10"));
    let problem = &server.status()["sources"][2]["tag_problems"][0];
    assert_eq!(
        (&problem["kind"], &problem["name"]),
        (&"second_address".into(), &"same.example.com.".into()),
        "{problem}"
    );
    create_tag(&here, &ours[0], "h0");
    polled(&server);
    assert_eq!(of(&server, "same").0, answer("172.31.3.10"), "the other account has it now");
    create_tag(&here, &ours[2], "h2+h1");
    create_tag(&here, &ours[1], "x");
    polled(&server);
    assert_eq!(of(&server, "h1"), (answer("172.31.1.12"), vec![]));

    // Tagged before it is associated: the old one is answered until it is.
    create_tag(&here, &ours[MANY - 1], "h3");
    delete_tags(&here, &ours[3..4]);
    polled(&server);
    assert_eq!(of(&server, "h3").0, answer("172.31.1.13"));
    let interface = here.interface("172.31.1.200");
    here.associate(&ours[MANY - 1], &interface);
    polled(&server);
    assert_eq!(of(&server, "h3"), (answer("172.31.1.200"), vec![]));

    // One by one, each is held.
    for n in 4..6 {
        delete_tags(&here, &ours[n..=n]);
        polled(&server);
        assert_eq!(
            of(&server, &format!("h{n}")),
            (answer(&format!("172.31.1.{}", n + 10)), vec![STALE])
        );
    }
    let gone = held(&server, 0);
    for n in 4..6 {
        assert!(gone.contains(&fqdn(&format!("h{n}"))), "{gone:?}");
    }
    create_tag(&here, &ours[4], "h4");
    polled(&server);
    assert_eq!(of(&server, "h4"), (answer("172.31.1.14"), vec![]), "back");

    // All at once: kept, until an operator says so.
    delete_tags(&there, &far);
    polled(&server);
    assert_eq!(server.status()["sources"][1]["names_mass_loss"], true);
    assert_eq!(held(&server, 1).len(), MANY);
    for n in 0..ASSOCIATED {
        assert_eq!(
            of(&server, &format!("t{n}")),
            (answer(&format!("172.31.2.{}", n + 10)), vec![STALE])
        );
    }
    let shown = command(&server, dir.path(), &["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("MASS LOSS OF NAMES"), "{shown}");
    // A gain meanwhile waits for nobody.
    create_tag(&there, &far[0], "fresh");
    polled(&server);
    assert_eq!(of(&server, "fresh").0, answer("172.31.2.10"));
    accept(&server, &dir);
    for n in 0..MANY {
        assert_eq!(of(&server, &format!("t{n}")).0, "NXDomain", "t{n}");
    }
    assert_eq!(server.status()["sources"][1]["names_mass_loss"], false);
    assert_eq!((held(&server, 1).len(), held(&server, 0).len()), (0, 0));
    assert_eq!(of(&server, "h0"), (answer("172.31.1.10"), vec![]));
}

#[test]
fn tags_by_the_aws_cli_are_names() {
    let Some(moto) = Moto::start() else { return };
    let east = moto.in_region("us-east-1");
    let allocation = east.allocate("75.101.137.243", KEY, "db");
    east.associate(&allocation, &east.interface("172.31.5.1"));
    let dir = discovering(&source("east", &moto.url(), "1s", ""), "[guard]\nhold = \"2s\"");
    let mut server = settled(&dir);
    assert_eq!(of(&server, "db").0, answer("172.31.5.1"));
    let tag = format!("Key={KEY},Value=db web");
    moto.aws(&["ec2", "create-tags", "--resources", &allocation, "--tags", &tag]);
    server.wait("web", |l| l["fields"]["name"] == "web.example.com.");
    assert_eq!(of(&server, "web").0, answer("172.31.5.1"));
    let tag = format!("Key={KEY}");
    moto.aws(&["ec2", "delete-tags", "--resources", &allocation, "--tags", &tag]);
    // Two are no mass loss: three is the least.
    server.wait_for("no tag gives a name any longer; it is kept");
    server.wait_for("a name that no tag gives is let go");
    eventually("both gone", || {
        of(&server, "db").0 == "NXDomain" && of(&server, "web").0 == "NXDomain"
    });
    // Released as well, which the guard of addresses does not keep.
    let addresses = moto.aws(&["ec2", "describe-addresses"]);
    let association = addresses["Addresses"][0]["AssociationId"].as_str().unwrap();
    east.call("DisassociateAddress", &[("AssociationId", association)]);
    east.call("ReleaseAddress", &[("AllocationId", &allocation)]);
    polled(&server);
    assert_eq!(server.status()["sources"][0]["names"], 0);
}

/// While it is held it follows its allocation, and the end of its hold needs no poll.
#[test]
fn a_held_name_follows_its_allocation() {
    let ec2 = numbered(4);
    let dir = discovering(&source("east", &ec2.url(), "1h", ""), "[guard]\nhold = \"3s\"");
    let mut server = settled(&dir);
    untag(&ec2, 1);
    polled(&server);
    assert_eq!(of(&server, "n1"), (answer("10.0.0.1"), vec![STALE]));
    assert_eq!(held(&server, 0), BTreeSet::from([fqdn("n1")]));
    assert_eq!(server.metric("eipdns_source_held_names{source=\"east\"}"), 1.0);
    ec2.associate(&public(1), "10.0.9.1");
    polled(&server);
    assert_eq!(of(&server, "n1"), (answer("10.0.9.1"), vec![STALE]));
    server.wait("the hold's end", |l| {
        l["fields"]["message"] == "a name that no tag gives is let go"
            && l["fields"]["name"] == "n1.example.com."
    });
    eventually("the name's end", || of(&server, "n1").0 == "NXDomain");
    let answer = super::web::get(super::http(&server), "/api/history").1;
    let history: Vec<Value> = serde_json::from_str(&answer).unwrap();
    for event in ["name_held", "name_let_go"] {
        let is_it = |e: &&Value| e["event"] == event && e["name"] == "n1.example.com.";
        let found = history.iter().find(is_it).unwrap_or_else(|| panic!("{event}: {history:#?}"));
        assert_eq!((&found["tag"], &found["source"]), (&KEY.into(), &"east".into()));
    }
}

/// The address is released with its tag: held where it was last, by name and by address.
#[test]
fn a_released_address_keeps_its_name_for_the_hold() {
    let ec2 = numbered(4);
    let dir = discovering(&source("east", &ec2.url(), "1h", ""), "");
    let server = settled(&dir);
    let all = ec2.addresses();
    ec2.set(all[1..].to_vec());
    polled(&server);
    assert_eq!(of(&server, "n1"), (answer("10.0.0.1"), vec![STALE]));
    // Another takes it over at once.
    retag(&ec2, 2, "n2 n1");
    polled(&server);
    assert_eq!(of(&server, "n1"), (answer("10.0.0.2"), vec![]));
    accept(&server, &dir);
    assert_eq!(of(&server, "n1"), (answer("10.0.0.2"), vec![]));
    ec2.set(all[2..].to_vec());
    polled(&server);
    for name in ["n1", "n2"] {
        assert_eq!(of(&server, name), (answer("10.0.0.2"), vec![STALE]), "{name}");
    }
    accept(&server, &dir);
    for name in ["n1", "n2"] {
        assert_eq!(of(&server, name).0, "NXDomain", "{name}");
    }
    assert_eq!(of(&server, "n3"), (answer("10.0.0.3"), vec![]));
}

/// Killed while a name is held, and started with EC2 down.
#[test]
fn a_held_name_outlives_its_process() {
    let ec2 = numbered(4);
    let dir = discovering(&source("east", &ec2.url(), "1h", ""), "");
    let mut server = settled(&dir);
    untag(&ec2, 1);
    ec2.associate(&public(1), "10.0.9.1");
    polled(&server);
    dir.wait_for_state("10.0.9.1");
    eventually("the held name on disk", || {
        std::fs::read_to_string(dir.path().join(".state/state-2.json"))
            .is_ok_and(|text| text.contains("n1.example.com."))
    });
    server.signal("KILL");
    server.ended();
    ec2.fault(Fault::Refused);
    let mut server = start(&dir);
    assert_eq!(of(&server, "n1").0, answer("10.0.9.1"));
    assert_eq!(of(&server, "n2").0, answer("10.0.0.2"));
    server.wait_for_stall();
    assert_eq!(of(&server, "n1").0, answer("10.0.9.1"));
    assert_eq!(held(&server, 0), BTreeSet::from([fqdn("n1")]));
    ec2.fault(Fault::None);
    polled(&server);
    assert_eq!(of(&server, "n1"), (answer("10.0.9.1"), vec![STALE]), "EC2 says it is gone: held");
    accept(&server, &dir);
    assert_eq!(of(&server, "n1").0, "NXDomain");
    assert_eq!(of(&server, "n2"), (answer("10.0.0.2"), vec![]));
}

/// Asks each millisecond while `moves` is done; gives the different answers in order, and
/// how long after the later call the last of them came.
fn watched(
    server: &Server,
    name: &str,
    moves: impl FnOnce() -> Instant,
) -> (Vec<String>, Duration) {
    let stop = AtomicBool::new(false);
    let name = fqdn(name);
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| {
            let mut seen: Vec<(String, Instant)> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (answer, _) = asked(server.dns, &name);
                if seen.last().is_none_or(|(last, _)| *last != answer) {
                    seen.push((answer, Instant::now()));
                }
                std::thread::sleep(MILLISECOND);
            }
            seen
        });
        let later = moves();
        stop.store(true, Ordering::Relaxed);
        let seen = asks.join().expect("every question was answered");
        let took = seen.last().unwrap().1.saturating_duration_since(later);
        (seen.into_iter().map(|(answer, _)| answer).collect(), took)
    })
}

/// By two calls in either order, both within one poll or with polls between: no denial, no
/// empty answer, never two addresses. How long it took after the later call is printed.
#[test]
fn a_tag_moved_by_two_calls_in_either_order_has_no_gap() {
    let ec2 = Ec2::start((1..=5).map(at).collect());
    retag(&ec2, 1, "db");
    let dir = discovering(&source("east", &ec2.url(), "1s", ""), "");
    let server = settled(&dir);
    for (nth, (is_create_first, polls)) in (1..).zip([(true, 2), (false, 2), (true, 0), (false, 0)])
    {
        let (old, new) = (nth, nth + 1);
        let expected = answer(&format!("10.0.0.{new}"));
        let (seen, took) = watched(&server, "db", || {
            let create = || retag(&ec2, new, "db");
            let delete = || untag(&ec2, old);
            let calls = ec2.calls();
            if is_create_first {
                create()
            } else {
                delete()
            }
            ec2.wait_for_calls(calls + polls);
            if is_create_first {
                delete()
            } else {
                create()
            }
            let later = Instant::now();
            eventually("the new address", || asked(server.dns, &fqdn("db")).0 == expected);
            // What follows changes nothing.
            let calls = ec2.calls();
            ec2.wait_for_calls(calls + 1);
            polled(&server);
            later
        });
        let order = if is_create_first { "create, delete" } else { "delete, create" };
        println!("{order}, {polls} polls between: {took:?} after the later call at a poll of 1 s");
        assert_eq!(seen, [answer(&format!("10.0.0.{old}")), expected], "{order}");
    }
    assert_eq!(held(&server, 0), BTreeSet::new());
}

/// How many rounds: each is a move, a change of tags, and a release.
const ROUNDS: u8 = 40;

/// How long each takes.
const ROUND: Duration = Duration::from_millis(100);

/// Asks three names that one address has, the first of them twice, until told to stop;
/// gives what was a mixture or was lost.
fn hammer(server: &Server, names: [&str; 3], stop: &AtomicBool, judged: &AtomicU64) -> Vec<String> {
    let names = names.map(fqdn);
    let mut wrong = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let [first, second, third, again] =
            [0, 1, 2, 0].map(|nth: usize| asked(server.dns, &names[nth]).0);
        for answer in [&first, &second, &third] {
            // One address and no more.
            if !answer.starts_with("NoError 5 A 10.") || answer.matches(" A ").count() != 1 {
                wrong.push(format!("lost: {answer}"));
            }
        }
        // Otherwise a swap came between.
        if first == again {
            if second != first || third != first {
                wrong.push(format!("a mixture: {first}, {second}, {third}"));
            }
            judged.fetch_add(1, Ordering::Relaxed);
        }
    }
    wrong
}

/// Ten moves, tag changes and releases a second, and an operator who refreshes all the time.
#[test]
fn no_reader_sees_a_mixture_and_nothing_is_lost() {
    let ec2 = Ec2::start((1..=6).map(at).collect());
    retag(&ec2, 1, "a b c");
    let dir = discovering(&source("east", &ec2.url(), "1h", ""), "");
    let server = settled(&dir);
    let (stop, judged, seen) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let (server, stop, judged, seen) = (&server, &stop, &judged, &seen);
        let readers = [["a", "b", "c"], ["c", "a", "b"]]
            .map(|names| scope.spawn(move || hammer(server, names, stop, judged)));
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                polled(server);
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        (0..ROUNDS).for_each(|round| changes(&ec2, round, begun));
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    });
    let (judged, seen) = (judged.into_inner(), seen.into_inner());
    println!("{ROUNDS} rounds in {:?}, {seen} answers, {judged} triples judged", begun.elapsed());
    assert!(judged > u64::from(ROUNDS) && seen > 1, "the load was no load");
    assert!(wrong.is_empty(), "{} wrong, such as {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    // The last word counts.
    polled(&server);
    let last = ec2.addresses()[usize::from(ROUNDS % 5)].private().unwrap();
    assert_eq!(of(&server, "a").0, answer(&last));
}

/// One round: its changes are spread over its time.
fn changes(ec2: &Ec2, round: u8, begun: Instant) {
    let at = |fifth: u32| {
        let due = begun + ROUND * u32::from(round) + ROUND / 5 * fifth;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    };
    // A ring of five; the sixth comes and goes.
    let (old, new) = (round % 5 + 1, (round + 1) % 5 + 1);
    at(0);
    ec2.associate(&public(old), &format!("10.1.{round}.1"));
    at(1);
    match round % 3 {
        0 => {
            retag(ec2, new, "a b c");
            untag(ec2, old);
        }
        1 => {
            retag(ec2, new, "c,b,a");
            at(2);
            untag(ec2, old);
        }
        _ => {
            untag(ec2, old);
            at(2);
            retag(ec2, new, "b/a/c");
        }
    }
    // Released, and allocated anew.
    let mut all = ec2.addresses();
    let released = all.pop().unwrap();
    at(3);
    ec2.set(all.clone());
    at(4);
    all.push(released);
    ec2.set(all);
}

/// One of four sources answers nothing: how old the others get is printed; they stay healthy
/// and their names move.
#[test]
fn one_broken_source_among_four_is_no_matter_to_the_others() {
    let all: Vec<Ec2> = (0..4u8)
        .map(|s| {
            let addresses = (1..=2).map(|n| {
                let public = public(s * 10 + n);
                let place = format!("10.0.{s}.{n}");
                Address::new(&public).at(&place, &format!("eipassoc-{s}{n}"))
            });
            Ec2::start(addresses.collect())
        })
        .collect();
    for (s, ec2) in (0..).zip(&all) {
        retag(ec2, s * 10 + 1, &format!("n{s}"));
    }
    let names = ["s0", "s1", "s2", "s3"];
    let sources: String =
        names.iter().zip(&all).map(|(name, ec2)| source(name, &ec2.url(), "1s", "")).collect();
    let dir = discovering(&sources, "");
    let mut server = start(&dir);
    polled(&server);
    for s in 0..4 {
        assert_eq!(of(&server, &format!("n{s}")).0, answer(&format!("10.0.{s}.1")));
    }
    all[0].fault(Fault::Stall);
    server.wait_for_stall();
    let mut oldest = [0f64; 4];
    let mut look = |server: &Server| {
        let status = server.status();
        for (nth, age) in oldest.iter_mut().enumerate() {
            let source = &status["sources"][nth];
            *age = age.max(source["age"].as_f64().expect("an age"));
            assert_eq!(source["health"] == "healthy", nth != 0, "{source}");
        }
    };
    // By association, then by tag, while the first says nothing.
    for (s, ec2) in (0..).zip(&all).skip(1) {
        ec2.associate(&public(s * 10 + 1), &format!("10.9.{s}.1"));
        server.wait_for_move("new", &format!("10.9.{s}.1"));
        look(&server);
        retag(ec2, s * 10 + 2, &format!("n{s}"));
        untag(ec2, s * 10 + 1);
        server.wait_for_move("new", &format!("10.0.{s}.2"));
        look(&server);
        let data = server.data(&fqdn(&format!("n{s}")), RecordType::A);
        assert_eq!(data, [format!("10.0.{s}.2")]);
    }
    let deadline = Instant::now() + PATIENCE;
    let calls = all[3].calls();
    while all[3].calls() < calls + 3 {
        assert!(Instant::now() < deadline, "the fourth is polled");
        look(&server);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(of(&server, "n0").0, answer("10.0.0.1"), "its last word");
    println!("oldest answers with one of four broken, at a poll of 1 s: {oldest:?} s");
}
