//! What is told of changes and losses.

use super::*;
use crate::source::testing::with_id;

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
    let with = |address: Arc<Address>| Arc::new(with_id(id, &address));
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
    assert!(entries.values().all(|e| e.address.allocation_id() == Some("eipalloc-1")));
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
fn a_loss_without_an_elastic_ip_is_told_by_the_allocation() {
    const ID: &str = "eipalloc-000000e1";
    let config = Arc::new(testing::config(&[
        ("server.toml", &testing::SERVER.replace("file\"\npath = \"addresses.json\"", "ec2\"")),
        ("example.com.toml", &format!("[names]\nedge = \"{ID}\"\n")),
    ]));
    let mut writer = writer(&config, State::default());
    let of = |writer: &Writer, private: u8| {
        let entry = testing::edge_entry(ID, Some(Ipv4Addr::new(10, 0, 0, private)));
        let all: Addresses = [entry.address].into();
        Delivery { answer: Ok(all.into()), ..delivery(writer, Some(&[])) }
    };
    for private in [1, 2] {
        let delivery = of(&writer, private);
        writer.take(0, &delivery).unwrap();
    }
    let lost = delivery(&writer, Some(&[]));
    writer.take(0, &lost).unwrap();
    let [none, moved, held] = &history(&writer)[..] else { panic!("{:?}", history(&writer)) };
    // Who is answered CNAMEs has none from the first.
    assert_eq!((&none["event"], &none["views"][0]), (&"no_address".into(), &"outside".into()));
    assert_eq!((&moved["event"], &moved["new"]), (&"moved".into(), &"10.0.0.2".into()));
    assert_eq!((&held["event"], &held["standing"]), (&"held".into(), &"missing".into()));
    assert_eq!(held["names"], serde_json::json!(["edge.example.com."]));
    for of in [&moved["addresses"][0], held] {
        assert_eq!((&of["elastic_ip"], &of["allocation"]), (&ID.into(), &ID.into()));
        assert_eq!(of["carrier_ip"], "155.146.10.111");
    }
}
