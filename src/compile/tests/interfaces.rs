//! AAAA records from the interfaces that addresses stand on.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::*;

const NAMES_FILE: &str = "[discover]\ntag = \"dns-name\"\nipv6 = true\n[names]\n\
    db = { elastic_ip = \"198.51.100.1\", ipv6 = true, answer = { vpc = \"private\", \
           peered = \"private\", outside = \"public\" } }\n\
    plain = \"198.51.100.1\"\n\
    alias = { elastic_ip = \"198.51.100.1\", ipv6 = true }\n";

fn ipv6(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2600, 0x1f18, 0, 0, 0, 0, 0, n)
}

fn interface(id: &str, addresses: &[u16], primary: Option<u16>) -> Interface {
    let addresses = addresses.iter().map(|n| ipv6(*n)).collect();
    Interface { id: id.into(), addresses, primary: primary.map(ipv6) }
}

/// The first Elastic IP, on an interface.
fn on(id: &str, private: u8) -> Inventory {
    let mut inventory = testing::inventory(&[]);
    let mut entry = testing::entry(ip(1), Some(Ipv4Addr::new(10, 0, 0, private)));
    let address = Arc::make_mut(&mut entry.address);
    address.network_interface_id = Some(id.into());
    address.tags.insert("dns-name", "web");
    inventory.sources[0].entries = Some(Arc::new(Entries::unit(ip(1).into(), entry)));
    inventory
}

fn config() -> Config {
    let server = testing::SERVER.replace("reaches = [", "reaches = [\"2600:1f18::/126\", ");
    assert_ne!(server, testing::SERVER);
    testing::config(&[("server.toml", &server), ("example.com.toml", NAMES_FILE)])
}

/// The addresses of a name in a view, and what is said about them.
fn asked(snapshot: &Snapshot, view: &str, name: &str, rtype: RecordType) -> (Vec<IpAddr>, String) {
    let view = snapshot.views.iter().position(|table| &*table.name == view).unwrap();
    let question = question(&format!("{name}.example.com."), rtype);
    let mut reply = Vec::new();
    answer_in_view(snapshot, view, &question, &mut (), &mut reply);
    let message = Message::from_vec(&reply).unwrap();
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    let all = message.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    let edns = message.edns.unwrap();
    let text = edns.options().as_ref().iter().find_map(|(code, option)| match option {
        EdnsOption::Unknown(_, octets) if u16::from(*code) == 15 => {
            Some(String::from_utf8(octets[2..].to_vec()).unwrap())
        }
        _ => None,
    });
    (all, text.unwrap_or_default())
}

fn compiled(config: &Config, inventory: &mut Inventory, before: Option<&Snapshot>) -> Snapshot {
    use crate::source::discover::{Remembered, Rules};
    inventory.discover(&Rules::of(config), None, &Remembered::new(), noon());
    testing::after(config, inventory, &mut Serials::default(), before)
}

#[test]
fn a_move_to_an_interface_that_is_not_known_never_answers_the_old_one() {
    let config = config();
    let mut before = on("eni-a", 1);
    before.sources[0].interfaces.hear(&[interface("eni-a", &[1, 2], None)]);
    let was = compiled(&config, &mut before, None);
    let plain = (vec![Ipv4Addr::new(10, 0, 0, 1).into()], String::new());
    let aaaa = |n| (vec![IpAddr::from(ipv6(n))], String::new());
    let none = (vec![], String::new());
    for name in ["db", "web", "alias"] {
        assert_eq!(asked(&was, "vpc", name, RecordType::A), plain);
        assert_eq!(asked(&was, "vpc", name, RecordType::AAAA), aaaa(1));
    }
    assert_eq!(asked(&was, "vpc", "plain", RecordType::AAAA), none, "it does not want them");
    assert_eq!(asked(&was, "outside", "db", RecordType::AAAA), aaaa(1), "in mode public too");
    let alias = asked(&was, "outside", "alias", RecordType::AAAA);
    assert_eq!(alias, none, "a CNAME stands alone");

    let mut moved = on("eni-b", 2);
    moved.sources[0].interfaces = before.sources[0].interfaces.clone();
    let now = compiled(&config, &mut moved, Some(&was));
    let plain = (vec![Ipv4Addr::new(10, 0, 0, 2).into()], String::new());
    let why = "the IPv6 address of eni-b is not known yet".to_owned();
    for name in ["db", "web", "alias"] {
        assert_eq!(asked(&now, "vpc", name, RecordType::A), plain);
        assert_eq!(asked(&now, "vpc", name, RecordType::AAAA), (vec![], why.clone()));
    }
    let mut known = moved.clone();
    known.sources[0].interfaces.hear(&[interface("eni-b", &[3], None)]);
    let then = compiled(&config, &mut known, Some(&now));
    assert_eq!(asked(&then, "vpc", "web", RecordType::AAAA), aaaa(3));
    assert_eq!(all_words(&then), all_words(&compiled(&config, &mut known, None)));
    let told: Vec<_> = changes(&config, &now, &then)
        .names
        .into_iter()
        .map(|change| (change.kind, change.name, change.old, change.new))
        .collect();
    let change = |name: &str, ipv4: &str| {
        let (name, now) = (format!("{name}.example.com."), format!("{ipv4} {}", ipv6(3)));
        (crate::compile::changes::Kind::Ipv6, name, ipv4.to_owned(), now)
    };
    let expected = [
        change("db", "10.0.0.2"),
        change("db", "198.51.100.1"),
        change("web", "10.0.0.2"),
        change("alias", "10.0.0.2"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn without_an_address_aaaa_is_no_data_and_says_why() {
    let config = config();
    let mut inventory = on("eni-a", 1);
    inventory.sources[0].interfaces.hear(&[interface("eni-a", &[], None)]);
    let none = compiled(&config, &mut inventory, None);
    let why = "eni-a has no IPv6 address".to_owned();
    assert_eq!(asked(&none, "vpc", "db", RecordType::AAAA), (vec![], why));
    let a = asked(&none, "vpc", "db", RecordType::A);
    assert_eq!(a, (vec![Ipv4Addr::new(10, 0, 0, 1).into()], String::new()), "A has no remark");
    // A view is told nothing of what it does not reach.
    inventory.sources[0].interfaces.hear(&[interface("eni-a", &[9], None)]);
    let far = compiled(&config, &mut inventory, Some(&none));
    let why = "this view does not reach the IPv6 address of eni-a".to_owned();
    assert_eq!(asked(&far, "peered", "db", RecordType::AAAA), (vec![], why));
    assert_eq!(asked(&far, "vpc", "db", RecordType::AAAA).0, [ipv6(9)]);
}

#[test]
fn the_address_of_an_interface_stays_while_it_is_there() {
    let mut inventory = on("eni-a", 1);
    let known = &mut inventory.sources[0].interfaces;
    for (all, primary, chosen) in [
        (&[5, 3][..], None, Some(3)),
        (&[5, 3, 1], None, Some(3)),
        (&[5, 1], None, Some(1)),
        (&[5, 1], Some(5), Some(5)),
        (&[5, 1], None, Some(5)),
        (&[], None, None),
        (&[2], None, Some(2)),
    ] {
        known.hear(&[interface("eni-a", all, primary)]);
        assert_eq!(known.get("eni-a"), Some(chosen.map(ipv6)), "{all:?}");
    }
    known.hear(&[]);
    assert_eq!(known.get("eni-a"), Some(Some(ipv6(2))), "an answer without it says nothing");
}
