//! What the names of each zone stand for, before any table is made.
//!
//! Tables are made, and brought up to date, from nothing else. Who has more names to
//! lay into a zone than those in its file adds them to its [`Names`].

use std::borrow::Cow;
use std::sync::Arc;

use super::touched::Touched;
use super::{Index, Input};
use crate::config::{Binding, Discover, Mode, Target, View, ViewId, Zone, tag_words};
use crate::dns::name::{self, Key};
use crate::host::background::breathing;
use crate::snapshot::{Basis, Data, Resolved};
use crate::source::allocation::Allocation;
use crate::source::discover::{Discovered, Named};

/// The names laid into a zone, and what they stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Are these all of them? Else names that are not here stand for what they stood
    /// for in the snapshot before.
    pub all: bool,
    /// Are, or may, names be laid into this zone? Then its serials are given here,
    /// also when there are none: no serial goes back.
    pub laid: bool,
    /// Each once, in any order.
    pub names: Vec<NameNow>,
    /// On what it rests that a name is not there, where tags may give names.
    pub denial: Option<Arc<Basis>>,
    /// The views in which PTR records may be laid into the zone, and on what it rests that
    /// there is none.
    pub points: Option<(Vec<ViewId>, Arc<Basis>)>,
}

/// What a name stands for now. It has no place, and is left out, where the zone's
/// records have an address or a CNAME at it, or a delegation or DNAME above it.
#[derive(Debug, Clone)]
pub(crate) struct NameNow {
    /// The name, in the zone.
    pub name: Key,
    /// For each of the zone's views, in their order, what it stands for; none: it is
    /// not there, or not any longer.
    pub views: Box<[Option<Arc<Resolved>>]>,
}

/// Those that `[names]` of the zone's file has. With `touched` only those that may
/// stand for something else than before; `index` must know all that those need.
pub(crate) fn configured<'i>(
    input: &Input<'i>,
    zone: &Zone,
    index: &Index<'i>,
    touched: Option<&Touched<'_>>,
) -> Names {
    let is_touched = |binding: &&Binding| touched.is_none_or(|t| t.touches(binding));
    let now = |binding: &Binding| NameNow {
        name: binding.name.clone(),
        views: in_views(input, zone, index, binding),
    };
    Names {
        all: touched.is_none(),
        laid: !zone.names.is_empty(),
        names: breathing(&zone.names).filter(is_touched).map(now).collect(),
        denial: None,
        points: None,
    }
}

impl Names {
    /// Adds those that tags give the `nth` zone of the configuration: `given`, or, with
    /// `touched`, those of them that may stand for something else than before.
    pub(crate) fn discover<'i>(
        &mut self,
        input: &Input<'i>,
        nth: usize,
        index: &Index<'i>,
        touched: Option<&Touched<'_>>,
    ) {
        let Some(zone) = input.config.zones.get(nth) else { return };
        let Some(discover) = &zone.discover else { return };
        self.laid = true;
        self.denial = Some(index.denial(discover.source).into());
        let names = &input.inventory.discovered.names;
        let of_zone = |named: &&'i Arc<Named>| named.zone == nth;
        match touched {
            None => {
                let all = names.iter().filter(|(_, named)| named.zone == nth);
                let now =
                    |(name, named)| discovered(input, zone, discover, index, name, Some(named));
                self.names.extend(breathing(all).map(now));
            }
            Some(touched) => {
                let is_here =
                    |name: &&&Key| zone_of(input, name) == Some(nth) && bound(zone, name).is_none();
                let some = touched.names().iter().filter(is_here);
                let now = |name: &&Key| {
                    let named = names.get(*name).filter(of_zone);
                    discovered(input, zone, discover, index, name, named)
                };
                self.names.extend(breathing(some).map(now));
            }
        }
    }
}

/// The zone of the configuration that a name lies in: the longest.
fn zone_of(input: &Input<'_>, name: &Key) -> Option<usize> {
    let zones = &input.config.zones;
    let at = |suffix: &[u8]| zones.binary_search_by(|zone| zone.origin.octets().cmp(suffix)).ok();
    name::suffixes(name.octets()).find_map(at)
}

fn discovered<'i>(
    input: &Input<'i>,
    zone: &Zone,
    discover: &Discover,
    index: &Index<'i>,
    name: &Key,
    named: Option<&'i Arc<Named>>,
) -> NameNow {
    let Some(named) = named else {
        return NameNow { name: name.clone(), views: vec![None; zone.views.len()].into() };
    };
    let binding = binding_of(zone, discover, name, named);
    let views = each_view(input, zone, &binding, |view, mode| {
        index.resolve_named(named, &binding, discover.sets, view, mode)
    });
    NameNow { name: name.clone(), views }
}

/// What a name of the zone is bound to, whoever says so: its file, or a tag.
pub(crate) fn binding<'z>(
    zone: &'z Zone,
    discovered: &Discovered,
    name: &Key,
) -> Option<Cow<'z, Binding>> {
    if let Some(binding) = bound(zone, name) {
        let held = discovered.held_set(name).map(|named| Cow::Owned(held_set(binding, named)));
        return Some(held.unwrap_or(Cow::Borrowed(binding)));
    }
    let (discover, named) = (zone.discover.as_ref()?, discovered.names.get(name)?);
    Some(Cow::Owned(binding_of(zone, discover, name, named)))
}

/// What `[names]` binds the name to.
fn bound<'z>(zone: &'z Zone, name: &Key) -> Option<&'z Binding> {
    let at = zone.names.binary_search_by(|binding| binding.name.cmp(name)).ok()?;
    zone.names.get(at)
}

/// A set of which no address has the tags any longer: those that had them.
fn held_set(binding: &Binding, named: &Named) -> Binding {
    let Target::Tags(tags) = &binding.target else { return binding.clone() };
    Binding { target: members(tag_words(tags), named), ..binding.clone() }
}

/// What stands for a name by its tag.
fn members(tag: String, named: &Named) -> Target {
    let (mut addresses, mut allocations) = (Vec::new(), Vec::new());
    for member in &named.members {
        match member.entry.address.allocation() {
            Allocation::PublicIp(ip) => addresses.push(ip),
            Allocation::Id(id) => allocations.push(id),
        }
    }
    Target::Discovered { tag, addresses, allocations }
}

/// What a tag has given, as if the zone's file said so.
fn binding_of(zone: &Zone, discover: &Discover, name: &Key, named: &Named) -> Binding {
    // A CNAME stands beside nothing else, and the origin has SOA and NS.
    let mode = |mode: &Option<Mode>| match mode {
        Some(Mode::Cname) if *name == zone.origin => Some(Mode::Public),
        mode => *mode,
    };
    Binding {
        name: name.clone(),
        target: members(discover.tag.clone(), named),
        modes: discover.modes.iter().map(mode).collect(),
        ttl: discover.ttl,
        hold: discover.hold,
        source: Some(named.source()),
        pin: None,
        ipv6: discover.ipv6,
        ptr: true,
        place: discover.place.clone(),
    }
}

/// What a binding stands for in each of the zone's views.
fn in_views<'i>(
    input: &Input<'i>,
    zone: &Zone,
    index: &Index<'i>,
    binding: &Binding,
) -> Box<[Option<Arc<Resolved>>]> {
    match input.inventory.discovered.held_set(&binding.name) {
        None => each_view(input, zone, binding, |view, mode| index.resolve(binding, view, mode)),
        Some(named) => {
            let binding = held_set(binding, named);
            each_view(input, zone, &binding, |view, mode| {
                index.resolve_named(named, &binding, true, view, mode)
            })
        }
    }
}

/// Views that are answered the same share it.
fn each_view(
    input: &Input<'_>,
    zone: &Zone,
    binding: &Binding,
    resolve: impl Fn(&View, Option<Mode>) -> (Data, Option<Arc<Basis>>),
) -> Box<[Option<Arc<Resolved>>]> {
    let ttl = binding.ttl.unwrap_or(zone.ttl);
    let mut views: Vec<Option<Arc<Resolved>>> = Vec::with_capacity(zone.views.len());
    for id in &zone.views {
        let resolved = input.config.server.views.get(*id).map(|view| {
            let mode = binding.modes.get(*id).copied().flatten();
            let (data, basis) = resolve(view, mode);
            let is = Resolved { data, ttl, basis };
            let known = views.iter().flatten().find(|known| ***known == is);
            known.cloned().unwrap_or_else(|| is.into())
        });
        views.push(resolved);
    }
    views.into()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::{IpAddr, Ipv4Addr};

    use hickory_proto::rr::RecordType;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::compile::changes::{Kind, changes};
    use crate::compile::tests::{all_words, answers, question};
    use crate::compile::{Ground, Serials};
    use crate::config::Config;
    use crate::dns::ede::Remark;
    use crate::snapshot::{Basis, Data, RrSet, Snapshot, ViewTable, ZoneTable};
    use crate::source::clock::Drift;
    use crate::source::inventory::Inventory;
    use crate::testing;

    /// Beside what is laid into the zone: a delegation with glue, a DNAME, an address, a
    /// wildcard, and names for which others are empty non-terminals.
    const RECORDS: &str = "@ MX 10 a\n\
        cut NS ns.cut\nns.cut A 10.8.8.1\n\
        dn DNAME elsewhere.test.\n\
        m MX 10 b\nm TXT \"beside\"\n\
        still A 10.8.8.8\n\
        t.u.v TXT \"t\"\n\
        *.s TXT \"star\"\n";

    /// Names that come, go and move.
    const NAMES: [&str; 23] = [
        "@", "a", "b", "m", "*", "*.w", "w", "x.y.z", "y.z", "q.x.y.z", "u.v", "t.u.v", "still",
        "cut", "k.cut", "ns.cut", "dn", "k.dn", "*.s", "q.s", "ns1", "c.*.e", "own",
    ];
    /// More names, to be asked for.
    const ASKED: [&str; 8] = ["q", "q.w", "z", "q.y.z", "v", "e", "*.e", "q.e"];
    const TYPES: [RecordType; 5] =
        [RecordType::A, RecordType::TXT, RecordType::MX, RecordType::CNAME, RecordType::NS];
    const VIEWS: usize = 3;

    fn key(name: &str) -> Key {
        Key::parse(name, Some(&Key::parse("example.com", None).unwrap())).unwrap()
    }

    fn config() -> Config {
        testing::config(&[
            ("server.toml", testing::SERVER),
            ("example.com.toml", "records = \"one.zone\"\n[names]\nown = \"198.51.100.1\"\n"),
            ("one.zone", RECORDS),
        ])
    }

    fn inventory(private: u8) -> Inventory {
        let own = Ipv4Addr::new(198, 51, 100, 1);
        testing::inventory(&[(own, Some(Ipv4Addr::new(10, 0, 0, private)))])
    }

    fn resolved() -> impl Strategy<Value = Arc<Resolved>> {
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let data = prop_oneof![
            4 => (0u8..4).prop_map(move |n| Data::Addresses(address(n).into())),
            1 => Just(Data::Addresses(vec![address(1), "fd00::1".parse().unwrap()].into())),
            2 => Just(Data::Cname(Key::parse("ec2-x.test", None).unwrap())),
            1 => Just(Data::Nothing("nobody has it".into())),
            1 => Just(Data::NotReady),
            1 => Just(Data::Absent),
        ];
        (data, 1u32..3, any::<bool>()).prop_map(|(data, ttl, held)| {
            let not_ready = data == Data::NotReady;
            let remark = held.then(|| Remark { code: 3, text: "held".into() });
            let basis = Basis { sources: vec![0], not_ready, remark, without_ipv6: None };
            let basis = (data != Data::Absent && (held || not_ready)).then(|| basis.into());
            Resolved { data, ttl, basis }.into()
        })
    }

    /// What a name is in each view.
    type InViews = [Option<Arc<Resolved>>; VIEWS];

    fn in_views() -> impl Strategy<Value = InViews> {
        let one = || prop::option::weighted(0.6, resolved());
        prop_oneof![one().prop_map(|one| [one.clone(), one.clone(), one]), [one(), one(), one()],]
    }

    /// One delivery.
    #[derive(Debug, Clone)]
    struct Step {
        names: BTreeMap<usize, InViews>,
        /// Where the bound name's address is.
        private: u8,
        /// Are all names given, rather than those that are other than before?
        all: bool,
    }

    fn step() -> impl Strategy<Value = Step> {
        // `own` is bound in the file.
        (btree_map(0..NAMES.len() - 1, in_views(), 0..6), 0u8..2, prop::bool::weighted(0.2))
            .prop_map(|(names, private, all)| Step { names, private, all })
    }

    fn now(name: usize, views: &InViews) -> NameNow {
        NameNow { name: key(NAMES[name]), views: Box::new(views.clone()) }
    }

    fn input<'a>(config: &'a Config, inventory: &'a Inventory) -> Input<'a> {
        let (epoch, now, drift) = (1, testing::noon(), Drift::NONE);
        Input { config, epoch, inventory, addresses: &[], now, drift }
    }

    /// All names at once, with nothing before.
    fn whole(
        input: &Input<'_>,
        known: &BTreeMap<usize, InViews>,
        serials: &mut Serials,
    ) -> Snapshot {
        let ground = Ground::of(input, None);
        let index = ground.index();
        let mut names = configured(input, &input.config.zones[0], &index, None);
        names.names.extend(known.iter().map(|(name, views)| now(*name, views)));
        ground.snapshot(&index, &[names], serials)
    }

    /// What a step brings, after another snapshot.
    fn patched(
        input: &Input<'_>,
        known: &BTreeMap<usize, InViews>,
        step: &Step,
        serials: &mut Serials,
        previous: &Snapshot,
    ) -> Snapshot {
        let ground = Ground::of(input, Some(previous));
        let (some, every) = (ground.index(), Index::new(input));
        let (touched, index) = match step.all {
            true => (None, &every),
            false => (ground.touched.as_ref(), &some),
        };
        assert!(step.all || touched.is_some());
        let mut names = configured(input, &input.config.zones[0], index, touched);
        let more = if step.all { known } else { &step.names };
        names.names.extend(more.iter().map(|(name, views)| now(*name, views)));
        ground.snapshot(&some, &[names], serials)
    }

    fn zone(view: &ViewTable) -> &Arc<ZoneTable> {
        view.zones.values().next().unwrap()
    }

    /// RRsets by owner and type, less the SOA.
    type Sets = BTreeMap<(String, RecordType), BTreeSet<String>>;

    fn words(owner: &Key, set: &RrSet) -> BTreeSet<String> {
        set.records(&owner.to_name()).map(|record| record.to_string()).collect()
    }

    fn sets(zone: &ZoneTable) -> Sets {
        let nodes = zone.nodes.values().chain([&zone.apex]);
        let all = nodes.flat_map(|node| node.rrsets.iter().map(move |set| (node, set)));
        all.filter(|(_, set)| set.rtype != RecordType::SOA)
            .map(|(node, set)| ((node.key.to_string(), set.rtype), words(&node.key, set)))
            .collect()
    }

    /// `sets` with all that lies between a serial and now.
    fn brought_up(mut sets: Sets, from: u32, now: &ZoneTable) -> Sets {
        let mut serial = from;
        for one in now.differences.since(from).unwrap() {
            let of = |soa: &hickory_proto::rr::Record| match &soa.data {
                hickory_proto::rr::RData::SOA(soa) => soa.serial,
                other => panic!("{other}"),
            };
            assert_eq!(of(&one.from), serial);
            for changed in &one.changed {
                let at = (changed.owner.to_string(), changed.rtype);
                let [old, new] = [&changed.old, &changed.new]
                    .map(|set| set.as_ref().map(|set| words(&changed.owner, set)));
                assert_ne!(old, new, "{at:?}");
                assert_eq!(sets.remove(&at), old, "{at:?}");
                sets.extend(new.map(|new| (at, new)));
            }
            serial = of(&one.to);
        }
        assert_eq!(serial, now.serial);
        sets
    }

    fn questions() -> Vec<Vec<u8>> {
        let names = NAMES.iter().chain(&ASKED).map(|name| key(name).to_string());
        names.flat_map(|name| TYPES.map(|rtype| question(&name, rtype))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever comes, goes and moves, one by one or all together: the tables are
        /// those that are made from all of it at once, and so are the answers; and what is
        /// kept of each change leads from any table before to the last.
        #[test]
        fn coming_and_going_is_as_being_there_from_the_first(
            first in btree_map(0..NAMES.len() - 1, in_views(), 0..NAMES.len()),
            steps in vec(step(), 1..10),
        ) {
            let (config, questions) = (config(), questions());
            let (mut known, mut serials) = (first, Serials::default());
            let mut inventory = inventory(1);
            let mut previous = whole(&input(&config, &inventory), &known, &mut serials);
            let mut history: Vec<Vec<(u32, Sets)>> = vec![Vec::new(); VIEWS];
            for step in steps {
                for (all, view) in history.iter_mut().zip(&previous.views) {
                    let zone = zone(view);
                    if all.last().is_none_or(|(serial, _)| *serial != zone.serial) {
                        all.push((zone.serial, sets(zone)));
                    }
                }
                known.extend(step.names.clone());
                inventory = self::inventory(step.private);
                let input = input(&config, &inventory);
                let mut fresh_serials = serials.clone();
                let fresh = whole(&input, &known, &mut fresh_serials);
                let next = patched(&input, &known, &step, &mut serials, &previous);
                prop_assert_eq!(&serials, &fresh_serials);
                prop_assert_eq!(all_words(&next), all_words(&fresh));
                prop_assert!(answers(&next, &questions) == answers(&fresh, &questions), "octets differ");
                for ((all, is), was) in history.iter().zip(&next.views).zip(&previous.views) {
                    let (is, was) = (zone(is), zone(was));
                    if is.serial == was.serial {
                        prop_assert_eq!(is.differences.len(), was.differences.len());
                        prop_assert_eq!(sets(is), sets(was));
                        continue;
                    }
                    for (serial, before) in all {
                        prop_assert_eq!(&brought_up(before.clone(), *serial, is), &sets(is));
                    }
                }
                changes(&config, &previous, &next);
                previous = next;
            }
        }
    }

    fn at(n: u8) -> InViews {
        let data = Data::Addresses(IpAddr::from([10, 0, 0, n]).into());
        [0; VIEWS].map(|_| Some(Resolved { data: data.clone(), ttl: 5, basis: None }.into()))
    }

    /// A first snapshot, and one with a step more.
    fn stepped(first: &[(&str, InViews)], then: &[(&str, InViews)]) -> [Snapshot; 2] {
        let (config, inventory) = (config(), inventory(1));
        let nth = |name: &str| NAMES.iter().position(|known| *known == name).unwrap();
        let all = |names: &[(&str, InViews)]| -> BTreeMap<usize, InViews> {
            names.iter().map(|(name, views)| (nth(name), views.clone())).collect()
        };
        let (input, mut serials) = (input(&config, &inventory), Serials::default());
        let before = whole(&input, &all(first), &mut serials);
        let step = Step { names: all(then), private: 1, all: false };
        let after = patched(&input, &all(then), &step, &mut serials, &before);
        [before, after]
    }

    fn is_there(snapshot: &Snapshot, name: &str) -> bool {
        zone(&snapshot.views[0]).nodes.get(key(name).octets()).is_some()
    }

    #[test]
    fn empty_non_terminals_come_and_go_with_what_is_below_them() {
        let [before, after] = stepped(&[], &[("q.x.y.z", at(1))]);
        for name in ["z", "y.z", "x.y.z", "q.x.y.z"] {
            assert!(!is_there(&before, name) && is_there(&after, name), "{name}");
        }
        let gone = || [const { None }; VIEWS];
        let both = [("q.x.y.z", at(1)), ("y.z", at(2))];
        let [_, after] = stepped(&both, &[("q.x.y.z", gone())]);
        assert!(is_there(&after, "y.z") && is_there(&after, "z") && !is_there(&after, "x.y.z"));
        let [_, after] = stepped(&both, &[("y.z", gone())]);
        assert!(is_there(&after, "y.z") && is_there(&after, "q.x.y.z"));
        let [_, after] = stepped(&both, &[("y.z", gone()), ("q.x.y.z", gone())]);
        assert!(["z", "y.z", "x.y.z"].iter().all(|name| !is_there(&after, name)));
        // One that records need stays.
        let [_, after] = stepped(&[("u.v", at(1))], &[("u.v", gone())]);
        assert!(is_there(&after, "u.v") && is_there(&after, "v") && is_there(&after, "t.u.v"));
    }

    #[test]
    fn a_name_has_no_place_where_records_are_in_its_way() {
        let laid = |snapshot: &Snapshot, name: &str| {
            zone(&snapshot.views[0]).resolved.contains(key(name).octets())
        };
        let all: Vec<_> = NAMES[..NAMES.len() - 1].iter().map(|name| (*name, at(1))).collect();
        let [_, after] = stepped(&[], &all);
        // `ns1` has our own addresses, if we have any.
        let left_out = ["still", "cut", "k.cut", "ns.cut", "k.dn"];
        for name in NAMES {
            assert_eq!(laid(&after, name), !left_out.contains(&name), "{name}");
        }
        let cname = Data::Cname(Key::parse("ec2-x.test", None).unwrap());
        let cname = Arc::new(Resolved { data: cname, ttl: 5, basis: None });
        let alias = || [0; VIEWS].map(|_| Some(Arc::clone(&cname)));
        // A CNAME stands alone; what had an address there before has none any longer.
        let [_, after] = stepped(&[("m", at(1)), ("a", at(1))], &[("m", alias()), ("a", alias())]);
        assert!(!laid(&after, "m") && laid(&after, "a"));
    }

    #[test]
    fn a_name_that_goes_is_a_change_and_one_that_comes_is_none() {
        let gone = || [const { None }; VIEWS];
        let steps = stepped(&[("a", at(1))], &[("a", gone()), ("b", at(2))]);
        let all = changes(&config(), &steps[0], &steps[1]).names;
        let told: Vec<_> =
            all.iter().map(|c| (c.kind, c.name.as_str(), c.old.as_str(), c.new.as_str())).collect();
        assert_eq!(told, [(Kind::NoAddress, "a.example.com.", "10.0.0.1", "gone")]);
        assert_eq!(all[0].views, ["vpc", "peered", "outside"]);
    }

    #[test]
    fn a_name_more_or_less_shares_all_that_it_does_not_touch() {
        let (config, inventory) = (config(), inventory(1));
        let (input, mut serials) = (input(&config, &inventory), Serials::default());
        let many = |n: usize| NameNow { name: key(&format!("h{n}.deep")), views: Box::new(at(1)) };
        let ground = Ground::of(&input, None);
        let mut names = configured(&input, &config.zones[0], &ground.index(), None);
        names.names.extend((0..10_000).map(many));
        let before = ground.snapshot(&ground.index(), &[names], &mut serials);
        let step = |name: NameNow| {
            let ground = Ground::of(&input, Some(&before));
            let touched = ground.touched.as_ref();
            let mut names = configured(&input, &config.zones[0], &ground.index(), touched);
            names.names.push(name);
            ground.snapshot(&ground.index(), &[names], &mut serials.clone())
        };
        let gone = |n: usize| NameNow { views: Box::new([const { None }; VIEWS]), ..many(n) };
        let of = |snapshot: &Snapshot| Arc::clone(zone(&snapshot.views[0]));
        for (after, count) in [(step(many(10_000)), 1), (step(gone(17)), 1)] {
            let (was, is) = (of(&before), of(&after));
            let (shared, all) = is.nodes.shared(&was.nodes);
            assert!(shared + 1 >= all && all > 100, "{shared} of {all} sheets are shared");
            let copied = is.resolved.unshared(&was.resolved).count();
            assert!(copied < 400, "{copied} names are copied");
            assert!(is.children.unshared(&was.children).count() < 10);
            let last = is.differences.since(was.serial).unwrap();
            assert_eq!((last.len(), last[0].changed.len()), (1, count));
            assert!(Arc::ptr_eq(&is, zone(&after.views[1])), "these see the same");
        }
    }
}
