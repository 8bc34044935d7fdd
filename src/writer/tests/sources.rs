//! What stands while sources change, fail or fall silent.

use super::*;

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
    at_hand.sources[0].health =
        Health::Stalled { since, class: Class::Other, why: "cannot read".into() };
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
    let other = Health::Stalled { since, class: Class::Other, why: "another cause".into() };
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
    let Health::Stalled { since, why, .. } = &writer.inventory().sources[0].health else {
        panic!()
    };
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
