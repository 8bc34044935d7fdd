use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::source::allocation::Allocation;
use crate::source::clock::Drift;
use crate::source::inventory::{Inventory, Standing};
use crate::testing;

const IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OLD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NEW: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Beside the fixture's views: one of public addresses, and one that answers EC2
/// names at home.
fn more() -> String {
    testing::view("office", "198.18.0.0/16", "public")
        + &testing::view("home", "198.19.0.0/16", "cname")
        + "forward = true\nec2_names = true\n"
}

fn config(zone: &str) -> Config {
    let server = testing::SERVER.to_owned() + &more();
    testing::config(&[("server.toml", &server), ("example.com.toml", zone)])
}

fn zone() -> Config {
    config("[names]\ndb = \"198.51.100.1\"\nweb = { address = \"192.0.2.80\" }\n")
}

fn held_by(private: Ipv4Addr) -> Inventory {
    testing::inventory(&[(IP, Some(private))])
}

fn judged(config: &Config, inventory: &Inventory, wish: &str, view: Option<&str>) -> Judged {
    let input = Input {
        config,
        epoch: 1,
        inventory,
        addresses: &[],
        now: testing::noon(),
        drift: Drift::NONE,
    };
    let snapshot = testing::snapshot(config, inventory);
    let view =
        view.map(|view| snapshot.views.iter().position(|v| *v.name == *view).expect("a view"));
    judge(&input, &snapshot, &wish.parse().unwrap(), view)
}

#[test]
fn what_is_kept_of_a_lost_address_is_not_waited_for_in_vain() {
    let config = zone();
    let mut lost = held_by(OLD);
    let since = testing::noon();
    let entries = Arc::make_mut(lost.sources[0].entries.as_mut().unwrap());
    entries.get_mut(&Allocation::from(IP)).unwrap().standing = Standing::Unassociated { since };
    for wish in ["db.example.com=10.0.0.1", "db.example.com=eipassoc-0a000001"] {
        let before = judged(&config, &held_by(OLD), wish, None);
        assert_eq!(before.verdict, Verdict::Answered, "{wish}: {before}");
        assert_eq!(before.sources, ["sample"]);
        let after = judged(&config, &lost, wish, None);
        assert_eq!(after.verdict, Verdict::Otherwise, "{wish}");
        assert!(after.to_string().contains("198.51.100.1 is unassociated and HELD"), "{after}");
    }
    // Nothing is kept of what EC2 has no word in.
    let fixed = judged(&config, &lost, "web.example.com=192.0.2.80", None);
    assert_eq!((fixed.verdict, fixed.sources), (Verdict::Answered, vec![]));
}

#[test]
fn all_views_that_a_move_changes_must_say_so() {
    let config = zone();
    let before = judged(&config, &held_by(OLD), "db.example.com=10.0.0.2", None);
    assert_eq!(before.verdict, Verdict::Otherwise);
    let views: Vec<_> = before.views.iter().map(|v| v.view.as_str()).collect();
    assert_eq!(views, ["vpc", "peered", "outside", "home"], "the public one never changes");
    assert!(before.to_string().contains("vpc: 10.0.0.1"), "{before}");
    let after = judged(&config, &held_by(NEW), "db.example.com=10.0.0.2", None);
    assert_eq!(after.verdict, Verdict::Answered, "{after}");
    // What a CNAME leads to is looked at, at home and elsewhere.
    let cname = "ec2-198-51-100-1.compute-1.amazonaws.com. (10.0.0.2)";
    assert!(after.views.iter().filter(|v| v.answered == cname).count() == 2, "{after}");
}

#[test]
fn one_private_view_that_lags_behind_is_enough_for_no() {
    // Pinned where the view reaches it.
    let config = config("[names]\ndb = { elastic_ip = \"198.51.100.1\", pin = \"10.0.0.2\" }\n");
    let judged = judged(&config, &held_by(OLD), "db.example.com=10.0.0.2", None);
    let so: Vec<_> = judged.views.iter().map(|v| (v.view.as_str(), v.is_so)).collect();
    assert!(so.contains(&("vpc", true)), "{so:?}");
    let all = so.iter().all(|(_, is_so)| *is_so);
    assert_eq!(judged.verdict == Verdict::Answered, all, "{judged}");
}

#[test]
fn an_elastic_ip_of_ours_is_no_answer_to_wait_for() {
    let config = zone();
    let refused = judged(&config, &held_by(OLD), "db.example.com=198.51.100.1", None);
    assert_eq!(refused.verdict, Verdict::OwnElasticIp { view: "vpc".into() });
    let remedy = refused.to_string();
    assert!(remedy.contains("--view") && remedy.contains("private address"), "{remedy}");
    // A view that is named decides alone.
    let office = judged(&config, &held_by(OLD), "db.example.com=198.51.100.1", Some("office"));
    assert_eq!(office.verdict, Verdict::Answered);
    let vpc = judged(&config, &held_by(OLD), "db.example.com=198.51.100.1", Some("vpc"));
    assert_eq!(vpc.verdict, Verdict::Otherwise);
    // An address that is none of ours may yet come.
    let other = judged(&config, &held_by(OLD), "db.example.com=198.51.100.9", None);
    assert_eq!(other.verdict, Verdict::Otherwise);
    let fixed = judged(&config, &held_by(OLD), "web.example.com=192.0.2.80", None);
    assert_eq!(fixed.verdict, Verdict::Answered);
}

#[test]
fn a_view_that_does_not_reach_the_address_is_not_waited_for() {
    // "peered" reaches 10.0/16 only and is answered the Elastic IP.
    let far = Ipv4Addr::new(10, 9, 0, 1);
    let judged = judged(&zone(), &held_by(far), "db.example.com=10.9.0.1", None);
    assert_eq!(judged.verdict, Verdict::Answered, "{judged}");
    assert!(judged.views.iter().all(|v| v.view != "peered"), "{judged}");
}

#[test]
fn a_view_of_ec2_names_is_not_waited_for_where_there_can_be_none() {
    let config = config("[names]\ndb = \"eipalloc-000000e1\"\n");
    let at = |private| {
        let mut inventory = testing::inventory(&[]);
        let entry = testing::edge_entry("eipalloc-000000e1", Some(private));
        let all = std::iter::once((entry.address.allocation(), entry));
        inventory.sources[0].entries = Some(Arc::new(all.collect()));
        inventory
    };
    for (inventory, verdict) in [(at(NEW), Verdict::Answered), (at(OLD), Verdict::Otherwise)] {
        let judged = judged(&config, &inventory, "db.example.com=10.0.0.2", None);
        assert_eq!(judged.verdict, verdict, "{judged}");
        let views: Vec<_> = judged.views.iter().map(|v| v.view.as_str()).collect();
        assert_eq!(views, ["vpc", "peered"]);
    }
    // Who asks for one is told why.
    let outside = judged(&config, &at(NEW), "db.example.com=10.0.0.2", Some("outside"));
    assert_eq!(outside.verdict, Verdict::Otherwise);
    assert!(outside.to_string().contains("eipalloc-000000e1 has no public address"), "{outside}");
}

#[test]
fn public_views_are_waited_for_where_there_is_no_other() {
    let config = config("[names]\ndb = { elastic_ip = \"198.51.100.1\", answer = \"public\" }\n");
    let judged = judged(&config, &held_by(OLD), "db.example.com=198.51.100.1", None);
    assert_eq!(judged.verdict, Verdict::Answered, "{judged}");
    assert_eq!(judged.views.len(), 5, "{judged}");
}

#[test]
fn associations() {
    let config = zone();
    let old = format!("db.example.com=eipassoc-{:08x}", u32::from(OLD));
    let new = format!("db.example.com=eipassoc-{:08x}", u32::from(NEW));
    assert_eq!(judged(&config, &held_by(OLD), &old, None).verdict, Verdict::Answered);
    assert_eq!(judged(&config, &held_by(OLD), &new, None).verdict, Verdict::Otherwise);
    assert_eq!(judged(&config, &held_by(NEW), &new, Some("office")).verdict, Verdict::Answered);
    // Nothing is known: that is SERVFAIL, and no answer.
    let mut silent = held_by(OLD);
    silent.sources[0].entries = None;
    let judged = judged(&config, &silent, &old, None);
    assert_eq!(judged.verdict, Verdict::Otherwise);
    assert!(judged.views.iter().all(|v| v.answered == "SERVFAIL"), "{judged}");
}

#[test]
fn a_name_that_is_bound_nowhere_is_told_with_the_near_one() {
    let config = zone();
    let near = |wish: &str| match judged(&config, &held_by(OLD), wish, None).verdict {
        Verdict::NotBound { near } => near,
        other => panic!("{other:?}"),
    };
    assert_eq!(near("bd.example.com=10.0.0.2").as_deref(), Some("db.example.com."));
    assert_eq!(near("db=10.0.0.2").as_deref(), Some("db.example.com."), "without its zone");
    assert_eq!(near("db.example.con=10.0.0.2").as_deref(), Some("db.example.com."));
    assert_eq!(near("nothing.like.it.example.org=10.0.0.2"), None);
}

#[test]
fn wishes_are_read() {
    let wish: Wish = "db.example.com=10.0.0.1".parse().unwrap();
    assert_eq!(wish.to_string(), "db.example.com.=10.0.0.1");
    assert_eq!(wish.to_string().parse::<Wish>().unwrap(), wish);
    for bad in ["db.example.com", "db.example.com=", "a..b=10.0.0.1", "db=i-0a", "=10.0.0.1"] {
        assert!(bad.parse::<Wish>().is_err(), "{bad}");
    }
}
