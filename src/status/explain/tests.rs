use super::*;
use crate::config::Config;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::inventory::Inventory;
use crate::testing;

fn explained(config: &Config, inventory: &Inventory, name: &str) -> Explanation {
    explained_as(config, inventory, name, RecordType::A)
}

fn explained_as(
    config: &Config,
    inventory: &Inventory,
    name: &str,
    rtype: RecordType,
) -> Explanation {
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
    explain(&input, &snapshot.into(), Who::View(0), &name, rtype)
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

/// What the name stands for is not what is answered when another type is asked for.
#[test]
fn a_type_that_the_name_has_not_is_not_answered() {
    let ip = Ipv4Addr::new(198, 51, 100, 1);
    let inventory = testing::inventory(&[(ip, Some(Ipv4Addr::new(10, 0, 0, 1)))]);
    let config = config(testing::SERVER, "\"198.51.100.1\"");
    let row = |rtype| {
        let told = explained_as(&config, &inventory, "db.example.com", rtype).to_string();
        told.lines().find(|line| line.starts_with("answered")).unwrap_or_default().to_owned()
    };
    assert_eq!(row(RecordType::A), "answered     10.0.0.1");
    let nothing = "answered     nothing of type AAAA (NODATA): the name stands for 10.0.0.1";
    assert_eq!(row(RecordType::AAAA), nothing);
}

#[test]
fn an_address_that_nothing_holds_is_said_to_be_so() {
    let ip = Ipv4Addr::new(198, 51, 100, 1);
    let config = config(testing::SERVER, "\"198.51.100.1\"");
    for (private, standing) in [
        (Some(Ipv4Addr::new(10, 0, 0, 1)), "live"),
        (None, "live: allocated, not associated with anything"),
    ] {
        let all = explained(&config, &testing::inventory(&[(ip, private)]), "db.example.com");
        assert_eq!(all.addresses[0].standing, standing);
    }
}

#[test]
fn a_name_that_does_not_exist_may_be_a_slip_of_one_that_does() {
    let zone = "records = \"zone\"\n[names]\ndb = \"198.51.100.1\"\n";
    let config = testing::config(&[
        ("server.toml", testing::SERVER),
        ("example.com.toml", zone),
        ("zone", "mail1 60 IN A 10.0.0.9\nmail2 60 IN A 10.0.0.9\n"),
    ]);
    let inventory = testing::inventory(&[]);
    let row = |name| {
        let told = explained(&config, &inventory, name).to_string();
        told.lines().find(|line| line.starts_with("did you mean")).map(str::to_owned)
    };
    let near = |names: &str| Some(format!("did you mean {names}"));
    assert_eq!(row("bd.example.com"), near("db.example.com."));
    assert_eq!(row("mail3.example.com"), near("mail1.example.com. mail2.example.com."));
    // Without its zone, or with a slip in that: no zone of ours.
    assert_eq!(row("db"), near("db.example.com."));
    assert_eq!(row("db.exmaple.com"), near("db.example.com."));
    assert_eq!(row("db.example.com"), None, "it exists");
    assert_eq!(row("something-else.example.com"), None);
}

#[test]
fn an_address_without_a_public_one_is_said_to_be_so() {
    let mut inventory = testing::inventory(&[]);
    let entry = testing::edge_entry("eipalloc-000000e1", Some(Ipv4Addr::new(10, 0, 0, 7)));
    let all = std::iter::once((entry.address.allocation(), entry));
    inventory.sources[0].entries = Some(std::sync::Arc::new(all.collect()));
    let server = testing::SERVER.replacen("answer = \"private\"", "answer = \"cname\"", 1);
    for (server, answered) in [
        (testing::SERVER, "10.0.0.7"),
        (
            &server,
            "nothing of type A (NODATA): the name stands for no address (eipalloc-000000e1 has no \
             public address)",
        ),
    ] {
        let config = config(server, "\"eipalloc-000000e1\"");
        let all = explained(&config, &inventory, "db.example.com");
        let json = serde_json::to_value(&all).unwrap();
        let address = &json["addresses"][0];
        assert_eq!(address["elastic_ip"], "eipalloc-000000e1");
        assert_eq!(address["carrier_ip"], "155.146.10.111");
        let read = serde_json::from_value::<Explanation>(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), json);
        let told = all.to_string();
        for row in [
            "elastic ip   none: carrier address 155.146.10.111, no public address and no EC2 name",
            "  allocation eipalloc-000000e1",
            &format!("answered     {answered}"),
        ] {
            assert!(told.lines().any(|line| line == row), "{row} is not in\n{told}");
        }
    }
}

/// Of an address: which names have it, what decides, and what is answered.
#[test]
fn the_name_of_an_address_is_explained_by_the_names_that_have_it() {
    let ip = Ipv4Addr::new(198, 51, 100, 1);
    let inventory = testing::inventory(&[(ip, Some(Ipv4Addr::new(10, 0, 0, 1)))]);
    let server = format!("{}[[reverse]]\nnetworks = [\"10.0.0.0/8\"]\n", testing::SERVER);
    let names = "[names]\ndb = \"198.51.100.1\"\nold = { address = \"10.0.0.2\" }\n\
                 web = { address = \"10.0.0.1\" }\n";
    let with = |zone: &[(&str, &str)]| {
        let mut files = vec![("server.toml", server.as_str()), ("example.com.toml", names)];
        files.extend_from_slice(zone);
        testing::config(&files)
    };
    let told = |config: &Config, name: &str| {
        let shown = explained_as(config, &inventory, name, RecordType::PTR).to_string();
        let is_row = |line: &&str| {
            ["zone", "binding", "  allocation", "answered", "reverse"]
                .iter()
                .any(|label| line.starts_with(label))
        };
        shown.lines().filter(is_row).map(str::to_owned).collect::<Vec<_>>()
    };
    let (alone, zone) = (
        with(&[]),
        with(&[
            ("10.in-addr.arpa.toml", "records = \"r\"\n"),
            ("r", "2.0.0 PTR of-records.example.org.\n"),
        ]),
    );
    let has = "reverse      10.0.0.1 is the address of db.example.com. web.example.com.";
    for (config, origin) in [(&alone, "1.0.0.10.in-addr.arpa."), (&zone, "10.in-addr.arpa.")] {
        let rows = told(config, "1.0.0.10.in-addr.arpa");
        assert!(rows[0].starts_with(&format!("zone         {origin} serial ")), "{rows:?}");
        assert!(rows[1].starts_with("binding      db.example.com. = 198.51.100.1 "), "{rows:?}");
        assert_eq!(rows[2], "  allocation eipalloc-c6336401");
        assert_eq!(rows[3], "answered     db.example.com. web.example.com.");
        assert_eq!(rows[4], has);
    }
    let rows = told(&zone, "2.0.0.10.in-addr.arpa");
    let wins = "reverse      what zone 10.in-addr.arpa. has at or above that name wins over these";
    assert!(rows.contains(&wins.to_owned()), "{rows:?}");
    let rows = told(&alone, "3.0.0.10.in-addr.arpa");
    assert!(rows.contains(&"reverse      no name of ours has 10.0.0.3 in this view".to_owned()));
    let rows = told(&alone, "3.0.0.11.in-addr.arpa");
    assert!(
        rows.contains(&"reverse      no `[[reverse]]` of this view covers 11.0.0.3".to_owned())
    );
}
