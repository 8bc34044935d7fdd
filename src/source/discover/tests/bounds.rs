//! What there is too much of is left out, and comes back once there is room.

use super::*;

fn address_of(n: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n).into()
}

fn tagged(n: u32, value: &str) -> Entry {
    let like = good(1, value);
    let address = Address { identity: address_of(n).into(), ..(*like.address).clone() };
    Entry { address: address.into(), ..like }
}

/// Names `from` to `to`, many to an address.
fn many(from: usize, to: usize) -> Vec<Entry> {
    let names: Vec<String> = (from..to).map(|n| format!("n{n:05}")).collect();
    let of = |(nth, some): (usize, &[String])| {
        tagged(10_000 + u32::try_from(nth + from).unwrap(), &some.join(" "))
    };
    names.chunks(40).enumerate().map(of).collect()
}

fn kinds(world: &World, kind: Kind) -> usize {
    world.known.problems().filter(|problem| problem.kind == kind).count()
}

#[test]
fn a_zone_has_so_many_names_and_those_that_are_there_stay() {
    let mut world = World::new(&ZONES[..1]);
    let mut all = many(1, MAX_NAMES + 1);
    world.says(0, EAST, &all);
    assert_eq!((world.known.names.len(), world.problems().len()), (MAX_NAMES, 0));
    // Those that come are first in order.
    let more = |all: &[Entry]| [all, &[tagged(1, "a b"), tagged(2, "c")]].concat();
    world.says(1, EAST, &more(&all));
    assert_eq!((world.known.names.len(), kinds(&world, Kind::TooMany)), (MAX_NAMES, 3));
    world.says(2, WEST, &[good(9, "d")]);
    assert_eq!(world.has("a.one.test"), "nobody");
    assert!(world.has(&format!("n{MAX_NAMES:05}.one.test")).starts_with("east"));
    // A reload keeps those that are there as well.
    world.again(3, &world.known.memories());
    assert_eq!((world.known.names.len(), kinds(&world, Kind::TooMany)), (MAX_NAMES, 4));
    assert_eq!(world.has("a.one.test"), "nobody");
    // There is room once the hold of others is over, though no address is other than before.
    all[0] = tagged(10_001, "");
    world.says(10, EAST, &more(&all));
    assert_eq!(world.has("a.one.test"), "nobody");
    world.says(40, EAST, &more(&all));
    assert!(world.has("a.one.test") != "nobody" && world.has("d.one.test") == "west9");
    assert_eq!((world.known.names.len(), kinds(&world, Kind::TooMany)), (MAX_NAMES - 36, 0));
}

#[test]
fn so_many_addresses_of_one_name_are_looked_at_and_who_has_it_is_one() {
    let mut world = World::new(&ZONES);
    let holder = tagged(9_000, "db");
    let crowd: Vec<Entry> = (0..MAX_CLAIMS as u32 + 500).map(|n| tagged(n, "db")).collect();
    world.says(0, EAST, std::slice::from_ref(&holder));
    let [name, set] = [DB, POOL].map(|name| Key::parse(name, None).unwrap());
    let has = |world: &World, name: &Key| -> Vec<Ipv4Addr> {
        let members = world.known.names[name].members.iter();
        members.map(|member| member.entry.address.public_ip().unwrap()).collect()
    };
    let all = [&crowd[..], std::slice::from_ref(&holder)].concat();
    for seconds in 1..4 {
        world.says(seconds, EAST, &all);
        world.says(seconds, WEST, &[good(seconds as u8, "x")]);
        assert_eq!(has(&world, &name), [address_of(9_000)]);
        assert_eq!(has(&world, &set).len(), MAX_CLAIMS);
        assert!(world.known.names[&name].others.len() <= MAX_CLAIMS);
    }
    // What was left out has the name once the others have not.
    world.says(20, EAST, &all[MAX_CLAIMS..]);
    assert_eq!(has(&world, &set).len(), 501);
    world.says(21, EAST, &crowd[MAX_CLAIMS..]);
    assert_eq!(has(&world, &name), [address_of(MAX_CLAIMS as u32)]);
}

#[test]
fn so_many_problems_are_shown_and_others_once_there_is_room() {
    let mut world = World::new(&ZONES[..1]);
    let words: Vec<String> = (0..40).map(|n| format!("{n}..b")).collect();
    let bad: Vec<Entry> = (0..100).map(|n| tagged(n, &words.join("/"))).collect();
    world.says(0, EAST, &bad);
    assert_eq!(world.known.problems().count(), MAX_PROBLEMS);
    let few: Vec<Entry> = [&bad[80..], &[tagged(200, "a..b ok")]].concat();
    world.says(1, EAST, &few);
    assert_eq!((world.known.problems().count(), world.has("ok.one.test")), (801, "east200".into()));
}
