//! Addresses without a public one: carrier addresses, and customer-owned ones.

use super::*;
use crate::dns::ede;
use crate::snapshot::Resolved;
use crate::source::discover::{Answered, Remembered, Rules};

const ID: &str = "eipalloc-000000e1";
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// In the views "vpc" and "peered" (private), "outside" (cname) and "office" (public).
fn config() -> Config {
    let server = testing::SERVER.to_owned() + &testing::view("office", "198.18.0.0/16", "public");
    let zone = format!(
        "[discover]\ntag = \"dns-name\"\n[names]\nid = \"{ID}\"\nset = {{ tag = {{ Role = \"db\" }} }}\n"
    );
    testing::config(&[("server.toml", &server), ("example.com.toml", &zone)])
}

/// The carrier address with its private one, and others.
fn inventory(config: &Config, private: Option<[u8; 4]>, others: &[Entry]) -> Inventory {
    let mut inventory = testing::inventory(&[]);
    let edge = testing::edge_entry(ID, private.map(Into::into));
    let all = others.iter().cloned().chain([edge]).map(|e| (e.address.allocation(), e));
    inventory.sources[0].entries = Some(Arc::new(all.collect()));
    inventory.discover(&Rules::of(config), None, &Remembered::new(), noon());
    inventory
}

fn tagged(mut entry: Entry, value: &str) -> Entry {
    Arc::make_mut(&mut entry.address).tags = [("dns-name", value)].into();
    entry
}

/// An Elastic IP.
fn elastic() -> Entry {
    testing::entry(PUBLIC, Some(Ipv4Addr::new(10, 0, 0, 1)))
}

fn resolved(snapshot: &Snapshot, name: &str) -> Vec<Arc<Resolved>> {
    let key = Key::parse(&format!("{name}.example.com"), None).unwrap();
    let of = |view: &crate::snapshot::ViewTable| {
        let zone = view.zones.values().next().unwrap();
        Arc::clone(zone.resolved.get(key.octets()).unwrap())
    };
    snapshot.views.iter().map(of).collect()
}

/// What the name stands for in the four views. Whoever gets no address is told why.
fn stands_for(snapshot: &Snapshot, name: &str) -> [String; 4] {
    let all = resolved(snapshot, name);
    for one in &all {
        let remark = one.basis.as_ref().and_then(|basis| basis.remark.as_ref());
        if let Data::Nothing(why) = &one.data {
            assert_eq!(remark.map(|r| (r.code, &r.text)), Some((ede::OTHER, why)), "{name}");
        }
    }
    let all: Vec<_> = all.iter().map(|one| one.data.to_string()).collect();
    all.try_into().unwrap()
}

#[test]
fn by_its_id_it_is_its_private_address_and_never_the_other_one() {
    let config = config();
    let none = format!("no address ({ID} has no public address)");
    let unreached =
        none.replace("address)", "address, and this view does not reach its private one)");
    let loose = format!("no address ({ID} is not associated)");
    for (private, expected) in [
        (Some([10, 0, 0, 7]), ["10.0.0.7", "10.0.0.7", &none, &none]),
        (Some([10, 7, 0, 7]), ["10.7.0.7", &unreached, &none, &none]),
        (None, [&loose, &loose, &none, &none]),
    ] {
        let mut inventory = inventory(&config, private, &[]);
        assert_eq!(stands_for(&testing::snapshot(&config, &inventory), "id"), expected);
        // It waits for no region, as an EC2 name does.
        inventory.sources[0].region = None;
        assert_eq!(stands_for(&testing::snapshot(&config, &inventory), "id"), expected);
    }
    let mut silent = inventory(&config, None, &[]);
    silent.sources[0].entries = None;
    assert_eq!(stands_for(&testing::snapshot(&config, &silent), "id"), ["not ready"; 4]);
}

#[test]
fn it_has_no_public_ec2_name() {
    let server = testing::SERVER.to_owned()
        + &testing::view("home", "198.19.0.0/16", "private")
        + "forward = true\nec2_names = true\n";
    let config = testing::config(&[("server.toml", &server), ("example.com.toml", "[names]\n")]);
    let inventory = inventory(&config, Some([10, 0, 0, 7]), &[elastic()]);
    let snapshot = testing::snapshot(&config, &inventory);
    let is_there = |name: &str| {
        let name = Key::parse(name, None).unwrap();
        snapshot.views.iter().any(|view| view.authority_of(name.octets()).is_some())
    };
    assert!(is_there("ec2-198-51-100-1.compute-1.amazonaws.com"));
    assert!(!is_there("ec2-155-146-10-111.compute-1.amazonaws.com"));
}

#[test]
fn in_a_set_it_is_where_its_private_address_is() {
    let config = config();
    let both = inventory(&config, Some([10, 7, 0, 7]), &[elastic()]);
    let expected = ["10.0.0.1 10.7.0.7", "10.0.0.1", "198.51.100.1", "198.51.100.1"];
    assert_eq!(stands_for(&testing::snapshot(&config, &both), "set"), expected);
    let alone = inventory(&config, Some([10, 7, 0, 7]), &[]);
    let none = "no address (no address that has tag Role=db has a public one)".to_owned();
    let unreached = none.replace("one)", "one, and this view reaches no private one of them)");
    let expected = ["10.7.0.7", &unreached, &none, &none];
    assert_eq!(stands_for(&testing::snapshot(&config, &alone), "set"), expected);
    let loose = inventory(&config, None, &[]);
    let expected = ["no address (no address that has tag Role=db is associated)"; 4];
    assert_eq!(stands_for(&testing::snapshot(&config, &loose), "set"), expected);
}

#[test]
fn a_set_of_it_alone_is_held() {
    let server = testing::SERVER.replace("file\"\npath = \"addresses.json\"", "ec2\"");
    let zone = "[names]\nset = { tag = { Role = \"db\" } }\n";
    let config = testing::config(&[("server.toml", &server), ("example.com.toml", zone)]);
    let mut inventory = inventory(&config, Some([10, 0, 0, 7]), &[]);
    let entries = Arc::make_mut(inventory.sources[0].entries.as_mut().unwrap());
    let entry = entries.get_mut(&Allocation::Id(ID.into())).unwrap();
    Arc::make_mut(&mut entry.address).tags = Default::default();
    let answered = Answered { source: 0, accept_losses: false };
    let later = noon() + Duration::from_secs(1);
    inventory.discover(&Rules::of(&config), Some(answered), &Remembered::new(), later);
    let all = resolved(&testing::snapshot(&config, &inventory), "set");
    let all: Vec<_> = all.iter().map(|one| one.data.to_string()).collect();
    let none = format!("no address (no address that has {ID} (tag Role=db) has a public one)");
    assert_eq!(all, ["10.0.0.7", "10.0.0.7", &none]);
}

#[test]
fn a_tag_gives_it_a_name_and_public_addresses_come_first() {
    let config = config();
    let edge =
        |value| tagged(testing::edge_entry("eipalloc-000000e2", Some([10, 0, 0, 8].into())), value);
    let alone = inventory(&config, None, &[edge("web")]);
    let none = "no address (eipalloc-000000e2 (tag dns-name) has no public address)";
    let expected = ["10.0.0.8", "10.0.0.8", none, none];
    assert_eq!(stands_for(&testing::snapshot(&config, &alone), "web"), expected);
    // Both are seen for the first time.
    let both = [tagged(elastic(), "web"), edge("web")];
    let first = inventory(&config, None, &both);
    let snapshot = testing::snapshot(&config, &first);
    assert_eq!(stands_for(&snapshot, "web")[0], "10.0.0.1");
    let problem = first.discovered.problems().next().unwrap();
    assert_eq!(problem.claim.allocation.to_string(), "eipalloc-000000e2");
    // Whoever has it keeps it.
    let mut later = inventory(&config, None, &both);
    later.discovered = alone.discovered;
    later.discover(&Rules::of(&config), None, &Remembered::new(), noon());
    assert_eq!(stands_for(&testing::snapshot(&config, &later), "web")[0], "10.0.0.8");
    assert!(later.discovered.problems().next().unwrap().why.contains("eipalloc-000000e2"));
}

#[test]
fn what_is_kept_of_it_and_its_moves_are_told_by_its_id() {
    let config = config();
    let before = inventory(&config, Some([10, 0, 0, 7]), &[]);
    let mut serials = Serials::default();
    let old = testing::after(&config, &before, &mut serials, None);
    let mut kept = before.clone();
    let entries = Arc::make_mut(kept.sources[0].entries.as_mut().unwrap());
    let allocation = Allocation::Id(ID.into());
    entries.get_mut(&allocation).unwrap().standing = Standing::Missing { since: noon() };
    let snapshot = testing::after(&config, &kept, &mut serials, Some(&old));
    let [vpc, ..] = &resolved(&snapshot, "id")[..] else { panic!("no view") };
    assert_eq!(vpc.data.to_string(), "10.0.0.7");
    let remark = vpc.basis.as_ref().unwrap().remark.as_ref().unwrap();
    assert_eq!(remark.code, ede::STALE);
    assert!(remark.text.starts_with(&format!("{ID} missing since ")), "{}", remark.text);

    let after = inventory(&config, Some([10, 0, 0, 9]), &[]);
    let new = testing::after(&config, &after, &mut serials, Some(&old));
    let all = changes(&config, &old, &new);
    assert_eq!(all.addresses, [allocation].into());
    let change = all.names.iter().find(|change| change.name == "id.example.com.").unwrap();
    assert_eq!((&*change.old, &*change.new), ("10.0.0.7", "10.0.0.9"));
    assert_eq!(change.views, ["vpc", "peered"]);
    let json = serde_json::to_value(&change.addresses).unwrap();
    assert_eq!(json[0]["elastic_ip"], ID);
    assert_eq!(
        (&json[0]["allocation"], &json[0]["carrier_ip"]),
        (&ID.into(), &"155.146.10.111".into())
    );
    assert_eq!(json[0]["new"]["private"], "10.0.0.9");
}
