//! What stands, whatever is touched or fails.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::start::nothing;
use super::*;
use crate::compile::Input;
use crate::config::Source;
use crate::host::log::Queue;
use crate::snapshot::{Freshness, Snapshot};
use crate::source::Waiters;
use crate::source::allocation::Allocation;
use crate::source::error::{PollError, SourceError};
use crate::source::health;
use crate::source::inventory::{Address, Addresses, Entries};
use crate::testing;

const ZONE: &str = "[names]\ndb = \"198.51.100.1\"\nweb = \"198.51.100.2\"\n";

/// A configuration with one EC2 source; `more` are lines of it.
fn ec2(name: &str, more: &str) -> Arc<Config> {
    let sources =
        format!("[[source]]\nname = \"{name}\"\ntype = \"ec2\"\nregion = \"us-east-1\"\n{more}\n");
    sources_of(&sources)
}

fn sources_of(sources: &str) -> Arc<Config> {
    let before = testing::SERVER.find("[[source]]").unwrap();
    let view = testing::SERVER.find("[[view]]").unwrap();
    let server = format!("{}{sources}{}", &testing::SERVER[..before], &testing::SERVER[view..]);
    Arc::new(testing::config(&[("server.toml", server.as_str()), ("example.com.toml", ZONE)]))
}

fn start(config: &Arc<Config>, state: State) -> Start {
    Start {
        config: Arc::clone(config),
        at_hand: nothing(config),
        state,
        addresses: vec![],
        forwarder: None,
        history: Arc::default(),
        clock: Clock::start(),
    }
}

fn writer(config: &Arc<Config>, state: State) -> Writer {
    Writer::new(start(config, state)).unwrap().0
}

fn addresses(all: &[(u8, u8)]) -> Vec<Arc<Address>> {
    let one = |(public, private): &(u8, u8)| {
        let (public, private) =
            (Ipv4Addr::new(198, 51, 100, *public), Ipv4Addr::new(10, 0, 0, *private));
        let entry = testing::entry(public, Some(private));
        Arc::new(Address {
            association_id: Some(format!("eipassoc-{private}")),
            ..Address::clone(&entry.address)
        })
    };
    all.iter().map(one).collect()
}

fn delivery(writer: &Writer, answer: Option<&[(u8, u8)]>) -> Delivery {
    let refused =
        || SourceError::from(PollError::Throttled { code: "RequestLimitExceeded".into() });
    let at = writer.clock.now();
    Delivery {
        source: 0,
        at,
        took: Duration::ZERO,
        region: Some("us-east-1".into()),
        health: match answer {
            Some(_) => Health::Healthy,
            None => Health::Stalled { since: at, why: refused().to_string() },
        },
        answer: answer
            .map(|all| Addresses::from(addresses(all)).into())
            .ok_or_else(|| Arc::new(refused())),
        accept_losses: false,
        waiters: Waiters::default(),
    }
}

fn deliver(writer: &mut Writer, answer: Option<&[(u8, u8)]>) {
    let delivery = delivery(writer, answer);
    writer.take(0, &delivery).unwrap();
}

fn reload(writer: &mut Writer, config: Arc<Config>) {
    let at_hand = nothing(&config);
    let next = Next { config, at_hand, addresses: vec![], forwarder: None };
    let prepared = writer.prepare(next).unwrap();
    writer.commit(prepared);
}

/// The private addresses that are answered, by the last octets of the Elastic IPs.
fn answered(writer: &Writer) -> Vec<(u8, Option<u8>)> {
    let current = writer.store().full();
    let entries =
        current.snapshot.inventory.sources.first().and_then(|source| source.entries.clone());
    let last = |ip: Ipv4Addr| ip.octets()[3];
    let entry = |entry: &crate::source::inventory::Entry| {
        (last(entry.address.public_ip), entry.address.private_ip.map(last))
    };
    entries.iter().flat_map(|all: &Arc<Entries>| all.values().map(entry)).collect()
}

const BOTH: &[(u8, u8)] = &[(1, 1), (2, 2)];

fn both() -> Vec<(u8, Option<u8>)> {
    vec![(1, Some(1)), (2, Some(2))]
}

/// Something else may be done at the very moment at which a stalled source becomes too
/// old: that is due until it is published.
#[test]
fn what_has_become_too_old_is_due_until_it_is_published() {
    let max_stale = "[serve]\nmax_stale = \"10s\"\n";
    let config = sources_of(&format!(
        "[[source]]\nname = \"east\"\ntype = \"ec2\"\nregion = \"us-east-1\"\n{max_stale}"
    ));
    let mut writer = writer(&config, State::default());
    let is_too_old = |writer: &Writer| {
        let current = writer.store().full();
        matches!(current.snapshot.sources[0].freshness, Freshness::TooOld(_))
    };
    let now = writer.clock.now();
    let good = Delivery { at: now - Duration::from_secs(9), ..delivery(&writer, Some(BOTH)) };
    writer.take(0, &good).unwrap();
    assert_eq!(writer.due().too_old, None);
    deliver(&mut writer, None);
    // Real time is what it is about: nobody looks for a second.
    while writer.clock.now() <= now + Duration::from_millis(1_010) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let due = writer.due().too_old;
    assert!(due.is_some_and(|at| at <= writer.clock.now()) || is_too_old(&writer), "{due:?}");
    writer.tick();
    assert!(is_too_old(&writer));
    assert_eq!(writer.due().too_old, None);
}

#[test]
fn what_a_swap_replaced_is_freed_without_another_swap() {
    let mut writer = writer(&ec2("east", ""), State::default());
    let first = Arc::downgrade(&writer.store().full());
    deliver(&mut writer, Some(&[(1, 1)]));
    assert_eq!(writer.free_retired(true), 0);
    assert!(first.upgrade().is_none());
}

/// The history, the oldest first.
fn history(writer: &Writer) -> Vec<serde_json::Value> {
    let lines = writer.history.after(0).lines;
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_first_answers_are_no_move() {
    let mut writer = writer(&ec2("east", ""), State::default());
    deliver(&mut writer, Some(BOTH));
    assert_eq!((writer.moves(), history(&writer)), (0, vec![]));
    // Those who see the alias see no difference.
    deliver(&mut writer, Some(&[(1, 7), (2, 2)]));
    assert_eq!(writer.moves(), 1);
    let all = history(&writer);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((&all[0]["event"], &all[0]["name"]), (&"moved".into(), &"db.example.com.".into()));
    let address = &all[0]["addresses"][0];
    assert_eq!(address["elastic_ip"], "198.51.100.1");
    assert_eq!(address["allocation"], "eipalloc-c6336401");
    assert_eq!(address["old"]["association"], "eipassoc-10.0.0.1");
    assert_eq!(address["new"]["association"], "eipassoc-10.0.0.7");

    // A name that has no address from the first is none either.
    let mut writer = self::writer(&ec2("east", ""), State::default());
    deliver(&mut writer, Some(&[(1, 1)]));
    assert_eq!(writer.moves(), 0);
    let all = history(&writer);
    assert!(!all.is_empty());
    for event in all {
        assert_eq!(
            (&event["event"], &event["name"]),
            (&"no_address".into(), &"web.example.com.".into())
        );
    }
}

#[test]
fn a_name_that_two_views_see_otherwise_has_moved_once() {
    let mut writer = writer(&ec2("east", ""), State::default());
    deliver(&mut writer, Some(BOTH));
    // Beyond what "peered" reaches, which is answered the Elastic IP from now on.
    let far = |address: Arc<Address>| {
        let third = address.private_ip.unwrap().octets()[3];
        Arc::new(Address {
            private_ip: Some(Ipv4Addr::new(10, 1, 0, third)),
            ..Address::clone(&address)
        })
    };
    let all: Addresses = addresses(&[(1, 7), (2, 8)]).into_iter().map(far).collect();
    let moved = Delivery { answer: Ok(all.into()), ..delivery(&writer, Some(BOTH)) };
    writer.take(0, &moved).unwrap();
    let all = history(&writer);
    assert_eq!(all.iter().filter(|event| event["event"] == "moved").count(), 4, "{all:?}");
    assert_eq!(writer.moves(), 2);
}

#[test]
fn a_loss_is_noted_with_its_names_from_its_beginning_to_its_end() {
    let mut writer = writer(&ec2("east", ""), State::default());
    deliver(&mut writer, Some(BOTH));
    let events = |writer: &Writer, from: usize| -> Vec<String> {
        let all = history(writer);
        let about = |event: &serde_json::Value| {
            let kind = event["event"].as_str().unwrap().to_owned();
            match event["elastic_ip"].as_str() {
                Some(ip) => format!("{kind} {ip} {} {}", event["names"], event["accepted"]),
                None => format!("{kind} {}", event["name"]),
            }
        };
        all[from..].iter().map(about).collect()
    };
    let web = "198.51.100.2 [\"web.example.com.\"]";
    deliver(&mut writer, Some(&[(1, 1)]));
    assert_eq!(events(&writer, 0), [format!("held {web} false")]);
    let held = &history(&writer)[0];
    assert_eq!(held["standing"], "missing");
    assert_eq!(held["allocation"], "eipalloc-c6336402");
    assert_eq!(held["old"]["association"], "eipassoc-10.0.0.2");
    assert!(held["until"].is_string());
    // The same again is no news.
    deliver(&mut writer, Some(&[(1, 1)]));
    assert_eq!(history(&writer).len(), 1);
    deliver(&mut writer, Some(BOTH));
    assert_eq!(events(&writer, 1), [format!("back {web} false")]);
    deliver(&mut writer, Some(&[(1, 1)]));
    let delivery = Delivery { accept_losses: true, ..delivery(&writer, Some(&[(1, 1)])) };
    writer.take(0, &delivery).unwrap();
    let all = events(&writer, 3);
    assert_eq!(all.last().unwrap(), &format!("let_go {web} true"));
    let names = &all[..all.len() - 1];
    assert!(!names.is_empty(), "{all:?}");
    assert!(names.iter().all(|name| name == "no_address \"web.example.com.\""), "{all:?}");
    let gone = &history(&writer)[3];
    assert_eq!(gone["addresses"][0]["old"]["association"], "eipassoc-10.0.0.2");
    assert_eq!(gone["addresses"][0]["new"], serde_json::Value::Null);
}

/// The delivery of both, each with an allocation id, or none.
fn allocated(writer: &Writer, both: &[(u8, u8)], id: Option<&str>) -> Delivery {
    let with = |address: Arc<Address>| {
        Arc::new(Address { allocation_id: id.map(Into::into), ..Address::clone(&address) })
    };
    let all: Addresses = addresses(both).into_iter().map(with).collect();
    Delivery { answer: Ok(all.into()), ..delivery(writer, Some(both)) }
}

#[test]
fn an_id_that_comes_is_told_to_nobody_and_changes_no_answer() {
    let mut writer = writer(&ec2("east", ""), State::default());
    let without = allocated(&writer, BOTH, None);
    writer.take(0, &without).unwrap();
    let serials = writer.serials.clone();
    let with = allocated(&writer, BOTH, Some("eipalloc-1"));
    writer.take(0, &with).unwrap();
    assert_eq!((history(&writer), writer.moves(), answered(&writer)), (vec![], 0, both()));
    assert_eq!((&writer.serials, writer.losses()), (&serials, vec![Losses::default()]));
    let entries = writer.inventory().sources[0].entries.clone().unwrap();
    assert!(entries.values().all(|e| e.address.allocation_id.as_deref() == Some("eipalloc-1")));
}

#[test]
fn an_address_that_was_recovered_is_back_under_its_new_id() {
    let mut writer = writer(&ec2("east", ""), State::default());
    let before = allocated(&writer, BOTH, Some("eipalloc-1"));
    writer.take(0, &before).unwrap();
    let missing = allocated(&writer, &[], None);
    writer.take(0, &missing).unwrap();
    assert_eq!(answered(&writer), both());
    let recovered = allocated(&writer, &[(1, 7), (2, 8)], Some("eipalloc-2"));
    writer.take(0, &recovered).unwrap();
    assert_eq!(answered(&writer), [(1, Some(7)), (2, Some(8))]);
    assert_eq!(writer.losses(), [Losses::default()]);
    let back: Vec<_> = history(&writer).into_iter().filter(|e| e["event"] == "back").collect();
    assert_eq!(back.len(), 2);
    assert!(back.iter().all(|event| event["allocation"] == "eipalloc-2"), "{back:?}");
}

#[test]
fn a_name_bound_to_the_id_before_is_not_told_to_be_back() {
    let zone = "[names]\ndb = \"198.51.100.1\"\nold = \"eipalloc-0000000a\"\n";
    let mut writer = writer(&with_zone(zone), State::default());
    let before = allocated(&writer, &[(1, 1)], Some("eipalloc-0000000a"));
    writer.take(0, &before).unwrap();
    let missing = allocated(&writer, &[], None);
    writer.take(0, &missing).unwrap();
    let held = history(&writer).pop().unwrap();
    assert_eq!(held["names"], serde_json::json!(["db.example.com.", "old.example.com."]));
    let recovered = allocated(&writer, &[(1, 1)], Some("eipalloc-0000000b"));
    writer.take(0, &recovered).unwrap();
    let back = history(&writer).into_iter().find(|event| event["event"] == "back").unwrap();
    assert_eq!(back["names"], serde_json::json!(["db.example.com."]));
}

/// A configuration with the source of [`ec2`] and these names.
fn with_zone(zone: &str) -> Arc<Config> {
    let mut config = Config::clone(&ec2("east", ""));
    config.zones =
        testing::config(&[("server.toml", testing::SERVER), ("example.com.toml", zone)]).zones;
    Arc::new(config)
}

#[test]
fn what_a_reload_changes_about_answers_is_told() {
    let mut writer = writer(&with_zone(ZONE), State::default());
    deliver(&mut writer, Some(BOTH));
    let told = |writer: &Writer| -> Vec<String> {
        let about = |event: &serde_json::Value| {
            let word = |key: &str| event[key].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {}", word("event"), word("name"), word("new"), word("cause"))
        };
        history(writer).iter().map(about).collect()
    };
    // The same names, and one more, which nobody was answered.
    reload(&mut writer, with_zone(&format!("{ZONE}new = \"198.51.100.1\"\n")));
    assert_eq!(told(&writer), [""; 0]);
    let pinned = "db = { elastic_ip = \"198.51.100.1\", pin = \"10.0.9.9\" }\n";
    reload(&mut writer, with_zone(&format!("[names]\n{pinned}web = \"198.51.100.2\"\n")));
    let all = told(&writer);
    assert!(all.contains(&"moved db.example.com. 10.0.9.9 reload".to_owned()), "{all:?}");
    assert!(all.contains(&"no_address new.example.com. gone reload".to_owned()), "{all:?}");
    assert!(all.iter().all(|one| !one.contains("web.")), "{all:?}");
    let (before, moves) = (all.len(), writer.moves());
    // While it is pinned its Elastic IP moves: no answer does.
    deliver(&mut writer, Some(&[(1, 7), (2, 2)]));
    let holding = history(&writer).pop().unwrap();
    assert_eq!((history(&writer).len(), writer.moves()), (before + 1, moves));
    assert_eq!(holding["event"], "associated", "{holding}");
    assert_eq!(holding["elastic_ip"], "198.51.100.1");
    assert_eq!(holding["old"]["association"], "eipassoc-10.0.0.1");
    assert_eq!(holding["new"]["association"], "eipassoc-10.0.0.7");
    assert_eq!(holding["names"], serde_json::json!(["db.example.com."]));
    // A zone that is gone: its names are, and not more of them than are told.
    let mut without = Config::clone(&with_zone(ZONE));
    without.zones.clear();
    reload(&mut writer, Arc::new(without));
    let last = told(&writer).pop().unwrap();
    assert_eq!(last, "no_address web.example.com. gone reload");
}

/// A set of more addresses than a change shows: those beyond are told of all the same.
#[test]
fn what_a_changed_set_does_not_show_is_not_told_as_unchanged() {
    let zone = "[names]\nall = { tag = { Role = \"db\" }, answer = \"private\" }\n";
    let mut writer = writer(&with_zone(zone), State::default());
    let first: Vec<(u8, u8)> = (1..=100).map(|n| (n, n)).collect();
    let moved: Vec<(u8, u8)> = (1..=100).map(|n| (n, 100 + n)).collect();
    deliver(&mut writer, Some(&first));
    deliver(&mut writer, Some(&moved));
    let all = history(&writer);
    let kinds: Vec<_> = all.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == "moved"), "{kinds:?}");
    for event in &all {
        let shown = event["addresses"].as_array().unwrap().len();
        assert!(shown < 100, "{shown} are shown");
        assert_eq!(event["addresses_in_all"], 100);
    }
}

/// Whatever ends or prolongs a hold, what was said of its end is set right.
#[test]
fn a_hold_that_ends_at_another_time_is_told() {
    let zone: String =
        (1..=4).map(|n| format!("n{n} = \"198.51.100.{n}\"\n")).collect::<Vec<_>>().concat();
    let mut writer = writer(&with_zone(&format!("[names]\n{zone}")), State::default());
    deliver(&mut writer, Some(&[(1, 1), (2, 2), (3, 3), (4, 4)]));
    let untils = |writer: &Writer, ip: &str| -> Vec<String> {
        let all = history(writer);
        let of_it = all.iter().filter(|e| e["event"] == "held" && e["elastic_ip"] == ip);
        of_it.map(|event| event["until"].as_str().unwrap().to_owned()).collect()
    };
    deliver(&mut writer, Some(&[(2, 2), (3, 3), (4, 4)]));
    assert_eq!(untils(&writer, "198.51.100.1").len(), 1);
    // Three of four are a mass loss, which holds for longer.
    deliver(&mut writer, Some(&[(4, 4)]));
    let longer = untils(&writer, "198.51.100.1");
    assert!(longer.len() == 2 && longer[1] > longer[0], "{longer:?}");
    // And it is over.
    deliver(&mut writer, Some(&[(2, 2), (3, 3), (4, 4)]));
    let again = untils(&writer, "198.51.100.1");
    assert_eq!((again.len(), &again[2]), (3, &again[0]), "{again:?}");
}

#[test]
fn what_a_source_said_stands_until_its_successor_has_delivered() {
    let cases = [
        ("another pace", "east", "poll = \"9s\""),
        ("another TTL", "east", "ttl = 9"),
        ("another endpoint", "east", "endpoint_url = \"http://127.0.0.1:1\""),
        ("another role", "east", "role_arn = \"arn:aws:iam::111122223333:role/dns\""),
        ("filters", "east", "filters = { \"tag:Role\" = \"db\" }"),
        ("another name", "main", ""),
    ];
    for (what, name, more) in cases {
        let mut writer = writer(&ec2("east", ""), State::default());
        deliver(&mut writer, Some(BOTH));
        deliver(&mut writer, None);
        let stalled = writer.inventory().sources[0].health.clone();
        assert!(matches!(stalled, Health::Stalled { .. }));

        reload(&mut writer, ec2(name, more));
        assert_eq!(answered(&writer), both(), "{what}");
        assert_eq!(writer.inventory().sources[0].health, stalled, "{what}");
        let current = writer.store().full();
        assert!(matches!(current.snapshot.sources[0].freshness, Freshness::Stale(_)), "{what}");
        // The successor fails as well, and the server is restarted.
        deliver(&mut writer, None);
        assert_eq!(answered(&writer), both(), "{what}");
        let mut writer = self::writer(&ec2(name, more), writer.state());
        assert_eq!(answered(&writer), both(), "{what}");
        deliver(&mut writer, None);
        assert_eq!(answered(&writer), both(), "{what}");
    }
}

#[test]
fn a_filter_is_a_loss_and_another_account_is_not() {
    let after = |more: &str| {
        let mut writer = writer(&ec2("east", ""), State::default());
        deliver(&mut writer, Some(BOTH));
        reload(&mut writer, ec2("east", more));
        deliver(&mut writer, Some(&[(1, 7)]));
        (answered(&writer), writer.losses()[0].held.len())
    };
    // A move is never delayed, and what is missing is held.
    assert_eq!(after("filters = { \"tag:Role\" = \"db\" }"), (vec![(1, Some(7)), (2, Some(2))], 1));
    assert_eq!(after("role_arn = \"arn:aws:iam::111122223333:role/dns\""), (vec![(1, Some(7))], 0));
}

#[test]
fn a_region_is_replaced_as_a_whole_once_the_new_one_has_delivered() {
    let east = ec2("east", "");
    let mut writer = writer(&east, State::default());
    deliver(&mut writer, Some(BOTH));
    let west = sources_of("[[source]]\nname = \"east\"\ntype = \"ec2\"\nregion = \"us-west-2\"\n");
    reload(&mut writer, Arc::clone(&west));
    assert_eq!(answered(&writer), both());
    // On disk it is still what the old region said.
    assert_eq!(writer.state().sources["east"].of["region"], "us-east-1");
    let mut writer = self::writer(&west, writer.state());
    assert_eq!(answered(&writer), both());
    let delivery = Delivery { region: Some("us-west-2".into()), ..delivery(&writer, Some(&[])) };
    writer.take(0, &delivery).unwrap();
    assert_eq!(answered(&writer), []);
    assert_eq!(writer.state().sources["east"].of["region"], "us-west-2");
}

#[test]
fn a_source_that_is_gone_takes_its_addresses_with_it() {
    let mut writer = writer(&ec2("east", ""), State::default());
    deliver(&mut writer, Some(BOTH));
    reload(&mut writer, sources_of(""));
    assert_eq!(answered(&writer), []);
    assert!(writer.state().sources.is_empty());
}

#[test]
fn another_file_that_is_broken_takes_no_answer_away() {
    let file = |path: &str| {
        sources_of(&format!(
            "[[source]]\nname = \"a\"\ntype = \"file\"\nregion = \"us-east-1\"\npath = \"{path}\"\n"
        ))
    };
    let mut writer = writer(&file("one.json"), State::default());
    deliver(&mut writer, Some(BOTH));
    let config = file("two.json");
    let mut at_hand = nothing(&config);
    let since = writer.clock.now();
    at_hand.sources[0].health = Health::Stalled { since, why: "cannot read".into() };
    let broken = |config: &Arc<Config>| Next {
        config: Arc::clone(config),
        at_hand: at_hand.clone(),
        addresses: vec![],
        forwarder: None,
    };
    let prepared = writer.prepare(broken(&config)).unwrap();
    assert_eq!(prepared.predecessors, [Some(0)]);
    writer.commit(prepared);
    assert_eq!(answered(&writer), both());
    assert_eq!(writer.inventory().sources[0].health, at_hand.sources[0].health);
    // Of the same file its own task knows better.
    deliver(&mut writer, Some(BOTH));
    let prepared = writer.prepare(broken(&config)).unwrap();
    writer.commit(prepared);
    assert_eq!(writer.inventory().sources[0].health, Health::Healthy);
    // One that can be read is the truth at once.
    let third = file("three.json");
    let mut at_hand = nothing(&third);
    let ip = Ipv4Addr::new(198, 51, 100, 9);
    let entries: Entries = [(Allocation::from(ip), testing::entry(ip, None))].into_iter().collect();
    at_hand.sources[0].entries = Some(Arc::new(entries));
    let next = Next { config: third, at_hand, addresses: vec![], forwarder: None };
    let prepared = writer.prepare(next).unwrap();
    writer.commit(prepared);
    assert_eq!(answered(&writer), [(9, None)]);
}

#[test]
fn another_cause_of_the_same_trouble_is_shown_and_publishes_nothing() {
    let mut writer = writer(&ec2("east", ""), State::default());
    deliver(&mut writer, Some(BOTH));
    deliver(&mut writer, None);
    let generation = writer.store().full().snapshot.generation;
    let Health::Stalled { since, .. } = writer.inventory().sources[0].health else { panic!() };
    let other = Health::Stalled { since, why: "another cause".into() };
    let delivery = Delivery { health: other.clone(), ..delivery(&writer, None) };
    writer.take(0, &delivery).unwrap();
    assert_eq!(writer.inventory().sources[0].health, other);
    assert_eq!(writer.store().full().snapshot.generation, generation);
}

/// A task that hangs tells nobody: its last word was that all is well.
#[test]
fn a_source_that_is_not_heard_of_counts_as_stalled_until_it_delivers() {
    let config = ec2("east", "poll = \"2s\"");
    let mut writer = writer(&config, State::default());
    deliver(&mut writer, Some(BOTH));
    let serial = |writer: &Writer| {
        let current = writer.store().full();
        current.snapshot.views[0].zones.values().next().unwrap().serial
    };
    let (now, before) = (writer.clock.now(), serial(&writer));
    let longest = health::longest_silence(&config.server.sources[0].kind);
    let fresh = |writer: &Writer| writer.store().full().snapshot.sources[0].freshness.clone();
    assert!(!writer.judge_silent(&[Some(now)]) && !writer.judge_silent(&[None]));
    assert_eq!(fresh(&writer), Freshness::Fresh);

    let long_ago = now - longest - Duration::from_secs(1);
    assert!(writer.judge_silent(&[Some(long_ago)]));
    let Health::Stalled { since, why } = &writer.inventory().sources[0].health else { panic!() };
    assert_eq!(*since, long_ago);
    assert!(why.contains("nothing was heard of it"), "{why}");
    assert!(matches!(fresh(&writer), Freshness::Stale(_)), "EDE 3");
    assert_eq!(answered(&writer), both());
    assert_eq!(serial(&writer), before, "no zone has changed");
    let generation = writer.store().full().snapshot.generation;
    assert!(!writer.judge_silent(&[Some(long_ago)]), "it is known");
    assert_eq!(writer.store().full().snapshot.generation, generation);

    deliver(&mut writer, Some(BOTH));
    assert_eq!(writer.inventory().sources[0].health, Health::Healthy);
    assert_eq!(fresh(&writer), Freshness::Fresh);

    // One that never said anything, without state: its names are SERVFAIL, and it
    // is said why.
    let mut writer = self::writer(&config, State::default());
    assert!(writer.judge_silent(&[Some(long_ago)]));
    assert!(matches!(writer.inventory().sources[0].health, Health::Stalled { .. }));
    assert_eq!(answered(&writer), []);
}

#[test]
fn an_equal_source_keeps_its_name_and_place() {
    let source = |config: &Config| -> Source { config.server.sources[0].clone() };
    let (a, b) = (source(&ec2("east", "")), source(&ec2("east", "poll = \"9s\"\nttl = 7")));
    assert!(a.is_asked_as(&b));
    assert!(!a.is_asked_as(&source(&ec2("main", ""))));
    assert!(!a.is_asked_as(&source(&ec2("east", "profile = \"x\""))));
}

/// Set while [`fragile`] is to panic about an inventory with addresses.
static BROKEN: AtomicBool = AtomicBool::new(false);

fn fragile(input: &Input<'_>, serials: &mut Serials, before: Option<&Snapshot>) -> Snapshot {
    let knows = input.inventory.sources.iter().any(|source| source.entries.is_some());
    assert!(!(knows && BROKEN.load(Ordering::SeqCst)), "a test of what a panic does");
    compile(input, serials, before)
}

/// One test, as they share what breaks: the answers before stand, it shows,
/// it is tried again, and state that makes it panic is of no use.
#[test]
fn a_panic_while_building_changes_nothing_and_is_tried_again() {
    let config = ec2("east", "");
    let made = |state| Writer::with(start(&config, state), fragile);
    let (mut writer, _) = made(State::default()).unwrap();
    deliver(&mut writer, Some(BOTH));
    let good = writer.state();
    let (generation, published) =
        (writer.store().full().snapshot.generation, writer.published_at());

    BROKEN.store(true, Ordering::SeqCst);
    let moved = delivery(&writer, Some(&[(1, 9), (2, 2)]));
    let said = writer.take(0, &moved).unwrap_err().to_string();
    assert!(said.contains("(a test of what a panic does)"), "{said}");
    assert_eq!(writer.trouble().unwrap().to_string(), said);
    assert_eq!(answered(&writer), both());
    assert_eq!(
        (writer.store().full().snapshot.generation, writer.published_at()),
        (generation, published)
    );
    assert_eq!(writer.state().sources, good.sources, "a restart finds what could be answered");
    // A configuration whose answers cannot be built is refused.
    let other = ec2("main", "ttl = 9");
    let next = Next { at_hand: nothing(&other), config: other, addresses: vec![], forwarder: None };
    assert!(writer.prepare(next).is_err());
    assert_eq!(writer.config().server.sources[0].name, "east");

    // The next delivery, equal to the one that failed, is tried again.
    BROKEN.store(false, Ordering::SeqCst);
    writer.take(0, &moved).unwrap();
    assert_eq!(answered(&writer), [(1, Some(9)), (2, Some(2))]);
    assert_eq!(writer.trouble(), None);

    // So is one that is as before the trouble.
    BROKEN.store(true, Ordering::SeqCst);
    let again = delivery(&writer, Some(&[(1, 8), (2, 2)]));
    writer.take(0, &again).unwrap_err();
    BROKEN.store(false, Ordering::SeqCst);
    writer.take(0, &moved).unwrap();
    assert_eq!(writer.trouble(), None);

    // At the start: without the state, and without ever answering nothing.
    let state = writer.state();
    BROKEN.store(true, Ordering::SeqCst);
    let (started, of_no_use) = made(state.clone()).unwrap();
    assert!(of_no_use.is_some() && started.trouble().is_none());
    assert_eq!((answered(&started), started.store().full().snapshot.views.len()), (vec![], 3));
    BROKEN.store(false, Ordering::SeqCst);
    let (started, of_no_use) = made(state).unwrap();
    assert!(of_no_use.is_none());
    assert_eq!(answered(&started), [(1, Some(9)), (2, Some(2))]);

    // State that has waited long enough: it goes on waiting, and is in nobody's way.
    let mut old = writer.state();
    for source in old.sources.values_mut() {
        source.delivered_at -= Duration::from_secs(3_600);
    }
    let (mut started, _) = made(old.clone()).unwrap();
    BROKEN.store(true, Ordering::SeqCst);
    started.serve_waiting_state();
    BROKEN.store(false, Ordering::SeqCst);
    assert!(started.inventory().sources[0].entries.is_none(), "all else can be compiled");
    assert_eq!(started.state().sources, old.sources);

    // Served or not, it is said once that it is.
    let queue: &'static Queue = Box::leak(Box::default());
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || queue).finish();
    tracing::subscriber::with_default(log, || {
        for broken in [true, true, true, false, false] {
            BROKEN.store(broken, Ordering::SeqCst);
            let failing = delivery(&started, None);
            assert_eq!(started.take(0, &failing).is_err(), broken);
        }
    });
    assert!(started.inventory().sources[0].entries.is_some());
    let mut said = Vec::new();
    queue.end(Duration::ZERO);
    queue.write_to(&mut said);
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.matches("no word from the source").count(), 1, "{said}");
    assert!(said.contains("addresses=2"), "{said}");
}
