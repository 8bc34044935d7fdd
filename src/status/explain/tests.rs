use super::*;
use crate::config::Config;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::inventory::Inventory;
use crate::testing;

fn explained(config: &Config, inventory: &Inventory, name: &str) -> Explanation {
    let input = Input {
        config,
        epoch: 1,
        inventory,
        addresses: &[],
        now: testing::noon(),
        drift: Drift::NONE,
    };
    let snapshot = testing::snapshot(config, inventory);
    let name = Key::parse(name, None).unwrap();
    explain(&input, &snapshot.into(), Who::View(0), &name, RecordType::A)
}

fn config(server: &str, target: &str) -> Config {
    let zone = format!("[names]\ndb = {target}\n");
    testing::config(&[("server.toml", server), ("example.com.toml", &zone)])
}

#[test]
fn what_a_file_says_moves_no_cursor_and_makes_no_line() {
    let evil = "i-\u{1b}[2J\nanswered     10.0.0.66";
    let ip = Ipv4Addr::new(198, 51, 100, 1);
    let mut inventory = testing::inventory(&[(ip, Some(Ipv4Addr::new(10, 0, 0, 1)))]);
    let entries = inventory.sources[0].entries.as_mut().unwrap();
    let entry = std::sync::Arc::make_mut(entries).get_mut(&Allocation::from(ip)).unwrap();
    let address = std::sync::Arc::make_mut(&mut entry.address);
    address.instance_id = Some(evil.into());
    address.network_interface_id = Some(evil.into());
    let config = config(testing::SERVER, "\"198.51.100.1\"");
    let mut all = explained(&config, &inventory, "db.example.com");
    // As from a server that is not to be trusted.
    all.answer += "\u{1b}]0;title\u{7}\n";
    let told = all.to_string();
    assert!(told.contains(r"i-\u001b[2J\nanswered"), "{told}");
    assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
    let answered = told.lines().filter(|line| line.starts_with("answered")).count();
    assert_eq!(answered, 1, "{told}");
}

/// A missing `view` is not "refused", and no missing address is "-".
#[test]
fn an_explanation_is_read_whole_or_not_at_all() {
    let ip = Ipv4Addr::new(198, 51, 100, 1);
    let inventory = testing::inventory(&[(ip, Some(Ipv4Addr::new(10, 0, 0, 1)))]);
    let config = config(testing::SERVER, "\"198.51.100.1\"");
    let all = serde_json::to_value(explained(&config, &inventory, "db.example.com")).unwrap();
    let read = serde_json::from_value::<Explanation>(all.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), all);
    for (path, less) in testing::without_each_key(&all) {
        assert!(serde_json::from_value::<Explanation>(less).is_err(), "{path}");
    }
}

#[test]
fn a_question_for_others_is_told_in_the_words_of_dns() {
    let server =
        testing::SERVER.replacen("answer = \"private\"", "answer = \"private\"\nforward = true", 1)
            + "\n[[forward]]\nupstreams = [\"192.0.2.53\"]\n";
    let config = config(&server, "\"198.51.100.1\"");
    let all = explained(&config, &testing::inventory(&[]), "www.example.net");
    assert_eq!(all.status, ELSEWHERE);
    let told = all.to_string();
    assert!(told.contains("upstreams are asked for www.example.net. IN A"), "{told}");
}
