//! What a reload changes in each view: names that are answered otherwise, and how much of
//! each zone. For whoever asked for the reload.
//!
//! [`changes`](super::changes) says what becomes of names that somebody may have been
//! answered, for the log and the history. Here names that are new are told as well.

use std::sync::Arc;

use hickory_proto::rr::RecordType;

use super::difference;
use crate::dns::name::Key;
use crate::host::background::breathing;
use crate::snapshot::{Data, Node, Resolved, Snapshot, ViewTable, ZoneTable};

/// A bound name that is answered otherwise than before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NameChange {
    /// The name.
    pub name: Key,
    /// The views in which it is.
    pub views: Vec<Arc<str>>,
    /// What was answered; none: there was no such name.
    pub old: Option<String>,
    /// What is answered; none: there is no such name.
    pub new: Option<String>,
}

/// A zone that a view sees otherwise than before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ZoneChange {
    /// Its origin.
    pub origin: Key,
    /// The view.
    pub view: Arc<str>,
    /// The serial before; none: the view did not have the zone.
    pub old: Option<u32>,
    /// The serial; none: the view has it no longer.
    pub new: Option<u32>,
    /// RRsets that are not what they were, the SOA apart: all of them where the zone has come
    /// or gone.
    pub rrsets: usize,
}

/// The bound names that are answered otherwise, in order of name: at most `most` of them,
/// and how many more there are. PTR records follow their names, and are none.
pub(crate) fn names(old: &Snapshot, new: &Snapshot, most: usize) -> (Vec<NameChange>, usize) {
    let mut all = Vec::new();
    for (nth, views) in views(old, new).into_iter().enumerate() {
        for (_, was, is) in zones(&views) {
            differing(nth, was, is, &mut all);
        }
    }
    // A name may have gone from one zone and come in another.
    all.sort_by_key(|one| (one.name, one.view));
    let names: Vec<Arc<str>> = views(old, new).iter().map(Views::name).collect();
    let (mut first, mut more) = (Vec::new(), 0);
    for same in breathing(all.chunk_by(|a, b| a.name == b.name)) {
        let Some(name) = same.first().map(|one| one.name) else { continue };
        for (old, new, views) in grouped(same) {
            if first.len() >= most {
                more += 1;
                continue;
            }
            first.push(NameChange {
                name: name.clone(),
                views: views.iter().filter_map(|nth| names.get(*nth).cloned()).collect(),
                old: old.map(Data::to_string),
                new: new.map(Data::to_string),
            });
        }
    }
    (first, more)
}

/// The zones that a view sees otherwise, in order of origin: at most `most` of them, and how
/// many more there are.
pub(crate) fn zones_of_views(
    old: &Snapshot,
    new: &Snapshot,
    most: usize,
) -> (Vec<ZoneChange>, usize) {
    let all = views(old, new);
    let mut differ = Vec::new();
    for views in &all {
        let zones = zones(views).into_iter().filter(|(_, was, is)| !is_same(*was, *is));
        differ.extend(zones.map(|(origin, was, is)| (origin, views.name(), was, is)));
    }
    // Of one zone, the views stay in their order.
    differ.sort_by_key(|(origin, ..)| *origin);
    let more = differ.len().saturating_sub(most);
    let first = differ.into_iter().take(most).map(|(origin, view, was, is)| ZoneChange {
        origin: origin.clone(),
        view,
        old: was.map(|table| table.serial),
        new: is.map(|table| table.serial),
        rrsets: rrsets(was, is),
    });
    (first.collect(), more)
}

/// A view before and after, one of which there may not be.
struct Views<'s> {
    old: Option<&'s ViewTable>,
    new: Option<&'s ViewTable>,
}

impl Views<'_> {
    fn name(&self) -> Arc<str> {
        self.new.or(self.old).map_or_else(|| "".into(), |view| Arc::clone(&view.name))
    }
}

/// Every view of both snapshots: those of now, in their order, then those that have gone.
fn views<'s>(old: &'s Snapshot, new: &'s Snapshot) -> Vec<Views<'s>> {
    let named =
        |all: &'s Snapshot, view: &ViewTable| all.views.iter().find(|v| v.name == view.name);
    let now = new.views.iter().map(|view| Views { old: named(old, view), new: Some(view) });
    let gone = old.views.iter().filter(|view| named(new, view).is_none());
    now.chain(gone.map(|view| Views { old: Some(view), new: None })).collect()
}

/// A zone before and after.
type Tables<'s> = (&'s Key, Option<&'s Arc<ZoneTable>>, Option<&'s Arc<ZoneTable>>);

/// Every zone that the view had or has, in no order.
fn zones<'s>(views: &Views<'s>) -> Vec<Tables<'s>> {
    let of = |view: Option<&'s ViewTable>, origin: &Key| view?.zones.get(origin.octets());
    let now = views.new.iter().flat_map(|view| view.zones.iter());
    let now = now.map(|(origin, table)| (origin, of(views.old, origin), Some(table)));
    let before = views.old.iter().flat_map(|view| view.zones.iter());
    let gone = before.filter(|(origin, _)| of(views.new, origin).is_none());
    now.chain(gone.map(|(origin, table)| (origin, Some(table), None))).collect()
}

/// A name in one view, before and after.
#[derive(Clone, Copy)]
struct Differs<'s> {
    name: &'s Key,
    view: usize,
    old: Option<&'s Data>,
    new: Option<&'s Data>,
}

/// Adds the bound names that differ between two tables.
fn differing<'s>(
    view: usize,
    was: Option<&'s Arc<ZoneTable>>,
    is: Option<&'s Arc<ZoneTable>>,
    all: &mut Vec<Differs<'s>>,
) {
    if let (Some(was), Some(is)) = (was, is)
        && Arc::ptr_eq(was, is)
    {
        return;
    }
    let of = |table: Option<&'s Arc<ZoneTable>>, name: &Key| {
        answered(table?.resolved.get(name.octets())?)
    };
    for (name, before) in breathing(was.iter().flat_map(|table| table.resolved.iter())) {
        let (old, new) = (answered(before), of(is, name));
        if old != new {
            all.push(Differs { name, view, old, new });
        }
    }
    for (name, now) in breathing(is.iter().flat_map(|table| table.resolved.iter())) {
        let new = answered(now);
        let known = was.is_some_and(|was| was.resolved.contains(name.octets()));
        if !known && new.is_some() {
            all.push(Differs { name, view, old: None, new });
        }
    }
}

/// What a name is answered with, where it is one and there is such a name.
fn answered(resolved: &Resolved) -> Option<&Data> {
    Some(&resolved.data).filter(|data| !matches!(data, Data::Absent | Data::Pointers(_)))
}

/// What was and is answered, and the views in which that is so.
type Group<'s> = (Option<&'s Data>, Option<&'s Data>, Vec<usize>);

/// The changes of one name, in order of view: the same change in several views is one.
fn grouped<'s>(same: &[Differs<'s>]) -> Vec<Group<'s>> {
    let mut all: Vec<Group<'s>> = Vec::new();
    for of_view in same.chunk_by(|a, b| a.view == b.view) {
        let old = of_view.iter().find_map(|one| one.old);
        let new = of_view.iter().find_map(|one| one.new);
        let Some(view) = of_view.first().filter(|_| old != new).map(|one| one.view) else {
            continue;
        };
        match all.iter_mut().find(|(was, is, _)| (*was, *is) == (old, new)) {
            Some((.., views)) => views.push(view),
            None => all.push((old, new, vec![view])),
        }
    }
    all
}

/// Have two tables one serial and one content?
fn is_same(was: Option<&Arc<ZoneTable>>, is: Option<&Arc<ZoneTable>>) -> bool {
    let (Some(was), Some(is)) = (was, is) else { return was.is_none() && is.is_none() };
    let of = |table: &ZoneTable| (table.serial, table.digest, table.apex.digest);
    Arc::ptr_eq(was, is) || of(was) == of(is)
}

fn rrsets(was: Option<&Arc<ZoneTable>>, is: Option<&Arc<ZoneTable>>) -> usize {
    let all = |table: &ZoneTable| {
        let of = |node: &Node| node.rrsets.iter().filter(|s| s.rtype != RecordType::SOA).count();
        of(&table.apex) + breathing(table.nodes.values()).map(|node| of(node)).sum::<usize>()
    };
    match (was, is) {
        (Some(was), Some(is)) => match is.differences.since(was.serial) {
            Some([only]) => only.changed.len(),
            // Too large to be kept, or the file's serial has gone back.
            _ => difference::between(was, is).len(),
        },
        (was, is) => was.or(is).map_or(0, |table| all(table)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::compile::Serials;
    use crate::testing::{self, SERVER};

    const DB: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    /// Two snapshots, of one configuration and then of another.
    fn turned(old: &[(&str, &str)], new: &[(&str, &str)]) -> (Snapshot, Snapshot) {
        let inventory = testing::inventory(&[(DB, Some([10, 0, 0, 5].into()))]);
        let mut serials = Serials::default();
        let with = |files: &[(&str, &str)]| {
            let has_server = files.iter().any(|(name, _)| *name == "server.toml");
            let server = (!has_server).then_some(("server.toml", SERVER));
            testing::config(&files.iter().copied().chain(server).collect::<Vec<_>>())
        };
        let before = testing::after(&with(old), &inventory, &mut serials, None);
        let mut after = testing::after(&with(new), &inventory, &mut serials, Some(&before));
        after.epoch += 1;
        (before, after)
    }

    fn shown((first, more): (Vec<NameChange>, usize)) -> (Vec<String>, usize) {
        let line = |one: &NameChange| {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            let (old, new) = (or_none(&one.old), or_none(&one.new));
            format!("{} {old} -> {new} in {}", one.name, one.views.join(","))
        };
        (first.iter().map(line).collect(), more)
    }

    fn zones_shown((first, more): (Vec<ZoneChange>, usize)) -> (Vec<String>, usize) {
        let line = |one: &ZoneChange| {
            let step = match (one.old, one.new) {
                (None, Some(_)) => "new",
                (Some(_), None) => "gone",
                (Some(old), Some(new)) if new == old + 1 => "next",
                _ => "another",
            };
            format!("{} {} {step} {}", one.origin, one.view, one.rrsets)
        };
        (first.iter().map(line).collect(), more)
    }

    #[test]
    fn names_that_come_go_and_change_are_told_by_view() {
        let old = "[names]\ndb = \"198.51.100.1\"\nold = { address = \"10.0.0.1\" }\n\
                   www = { address = \"10.0.0.2\" }\nsame = { address = \"10.0.0.3\" }\n";
        let new = "[names]\ndb = { address = \"10.0.0.9\" }\nnew = { address = \"10.0.0.1\" }\n\
                   www = { address = \"10.0.0.2\", answer = { outside = \"none\" } }\n\
                   same = { address = \"10.0.0.3\" }\n";
        let (before, after) = turned(&[("example.com.toml", old)], &[("example.com.toml", new)]);
        let cname = "ec2-198-51-100-1.compute-1.amazonaws.com.";
        let expected = [
            "db.example.com. 10.0.0.5 -> 10.0.0.9 in vpc,peered".to_owned(),
            format!("db.example.com. {cname} -> 10.0.0.9 in outside"),
            "new.example.com. - -> 10.0.0.1 in vpc,peered,outside".to_owned(),
            "old.example.com. 10.0.0.1 -> - in vpc,peered,outside".to_owned(),
            "www.example.com. 10.0.0.2 -> - in outside".to_owned(),
        ];
        assert_eq!(shown(names(&before, &after, 9)), (expected.to_vec(), 0));
        assert_eq!(shown(names(&before, &after, 2)), (expected[..2].to_vec(), 3));
        assert_eq!(shown(names(&after, &after, 9)), (vec![], 0));
        let zones = zones_shown(zones_of_views(&before, &after, 9));
        let expected = [
            "example.com. vpc next 3".to_owned(),
            "example.com. peered next 3".to_owned(),
            "example.com. outside next 5".to_owned(),
        ];
        assert_eq!(zones, (expected.to_vec(), 0));
        let (first, more) = zones_of_views(&before, &after, 1);
        assert_eq!((first.len(), more), (1, 2));
    }

    #[test]
    fn zones_and_views_that_come_and_go_have_all_their_names() {
        let zone = "[names]\nwww = { address = \"10.0.0.2\" }\n";
        let server = SERVER.replace("\"peered\"", "\"other\"");
        let (before, after) = turned(
            &[("example.com.toml", zone)],
            &[("example.net.toml", zone), ("server.toml", &server)],
        );
        let expected = [
            "www.example.com. 10.0.0.2 -> - in vpc,outside,peered",
            "www.example.net. - -> 10.0.0.2 in vpc,other,outside",
        ];
        assert_eq!(shown(names(&before, &after, 9)), (expected.map(str::to_owned).to_vec(), 0));
        // NS and the address of the zone's own nameserver stand beside the name.
        let expected = [
            "example.com. vpc gone 3",
            "example.com. outside gone 3",
            "example.com. peered gone 3",
            "example.net. vpc new 3",
            "example.net. other new 3",
            "example.net. outside new 3",
        ];
        let zones = zones_shown(zones_of_views(&before, &after, 9));
        assert_eq!(zones, (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn a_name_that_goes_into_another_zone_is_the_same_name() {
        let old = "[names]\n\"www.sub\" = { address = \"10.0.0.2\" }\n\
                   \"db.sub\" = { address = \"10.0.0.3\" }\n";
        let sub = "[names]\nwww = { address = \"10.0.0.2\" }\ndb = { address = \"10.0.0.4\" }\n";
        let (before, after) = turned(
            &[("example.com.toml", old)],
            &[("example.com.toml", ""), ("sub.example.com.toml", sub)],
        );
        let expected = "db.sub.example.com. 10.0.0.3 -> 10.0.0.4 in vpc,peered,outside";
        assert_eq!(shown(names(&before, &after, 9)), (vec![expected.to_owned()], 0));
    }

    #[test]
    fn a_ttl_alone_is_no_other_answer_and_another_content() {
        let zone = |ttl: u32| format!("ttl = {ttl}\n[names]\nwww = {{ address = \"10.0.0.2\" }}\n");
        let (before, after) =
            turned(&[("example.com.toml", &zone(5))], &[("example.com.toml", &zone(7))]);
        assert_eq!(shown(names(&before, &after, 9)), (vec![], 0));
        let (zones, _) = zones_shown(zones_of_views(&before, &after, 9));
        assert_eq!(zones.len(), 3);
        assert!(zones[0].starts_with("example.com. vpc next "), "{zones:?}");
    }
}
