//! What a tag says, and what stands at the names it gives already.

use super::*;

/// Names and problems that one tag gives.
fn given(files: &[(&str, &str)], value: &str) -> (Vec<String>, Vec<(Kind, String)>) {
    let mut world = World::new(files);
    world.says(0, EAST, &[good(1, value)]);
    let names = world.known.names.keys().map(ToString::to_string).collect();
    (names, world.problems())
}

/// What a value gives in zones of which one has leave for the origin and wildcards, one
/// lies below another, and one discovers another tag.
#[test]
fn each_word_is_a_name_somewhere_or_a_problem() {
    let files = [
        ("one.test.toml", "[discover]\ntag = \"dns-name\"\n"),
        ("kid.one.test.toml", "[names]\n"),
        ("own.one.test.toml", "[discover]\ntag = \"other\"\n"),
        ("all.test.toml", "[discover]\ntag = \"dns-name\"\napex_and_wildcards = true\n"),
    ];
    let long = "x".repeat(64);
    let deep = vec!["y".repeat(61); 4].join(".");
    let (bad, outside, shadowed) = (Kind::BadName, Kind::Outside, Kind::Shadowed);
    type Case<'c> = (&'c str, &'c [&'c str], &'c [(Kind, &'c str)]);
    let cases: [Case<'_>; 24] = [
        ("db", &["db.all.test.", "db.one.test."], &[]),
        ("DB", &["db.all.test.", "db.one.test."], &[]),
        ("db db,DB/db", &["db.all.test.", "db.one.test."], &[]),
        ("db.one.test", &["db.one.test."], &[]),
        ("db.ONE.test.", &["db.one.test."], &[]),
        ("a.b", &["a.b.all.test.", "a.b.one.test."], &[]),
        ("db.elsewhere.test.", &[], &[(outside, "db.elsewhere.test.")]),
        ("db.elsewhere", &["db.elsewhere.all.test.", "db.elsewhere.one.test."], &[]),
        ("db.kid.one.test", &[], &[(outside, "db.kid.one.test.")]),
        ("db.own.one.test.", &[], &[(outside, "db.own.one.test.")]),
        ("db.kid", &["db.kid.all.test."], &[(shadowed, "db.kid.one.test.")]),
        ("@", &["all.test."], &[(shadowed, "one.test.")]),
        ("*", &["*.all.test."], &[(shadowed, "*.one.test.")]),
        ("_any.sh", &["*.sh.all.test."], &[(shadowed, "*.sh.one.test.")]),
        ("_any.one.test", &[], &[(shadowed, "*.one.test.")]),
        ("all.test", &["all.test."], &[]),
        ("ns1", &[], &[(shadowed, "ns1.all.test."), (shadowed, "ns1.one.test.")]),
        ("...", &[], &[(bad, "...")]),
        (".", &[], &[(bad, ".")]),
        ("a\u{7}b", &[], &[(bad, "a\\u{7}b")]),
        ("\u{1f600} ok", &["ok.all.test.", "ok.one.test."], &[(bad, "\u{1f600}")]),
        ("a..b a..b", &[], &[(bad, "a..b")]),
        (&long, &[], &[(bad, &long)]),
        ("", &[], &[]),
    ];
    for (value, names, problems) in cases {
        let (found, wrong) = given(&files, value);
        assert_eq!(found, names, "{value}");
        let wrong: Vec<_> = wrong.iter().map(|(kind, name)| (*kind, name.as_str())).collect();
        assert_eq!(wrong, problems, "{value}");
    }
    // It fits by itself, and not with a zone.
    let (found, wrong) = given(&files, &deep);
    assert_eq!((found.len(), wrong.len()), (0, 1), "{wrong:?}");
    assert!(wrong.iter().all(|(kind, _)| *kind == bad));
}

#[test]
fn a_bad_word_harms_no_other() {
    let words: Vec<String> = (0..48).map(|n| format!("n{n}")).collect();
    let value = format!("{} a..b {} @", words[..24].join("/"), words[24..].join(" , "));
    let (names, problems) = given(&ZONES[..1], &value);
    assert_eq!(names.len(), 48);
    assert_eq!(problems, [(Kind::BadName, "a..b".into()), (Kind::Shadowed, "one.test.".into())]);
    // 256 characters are the most that EC2 lets a tag have.
    let (names, problems) = given(&ZONES[..1], &"a ".repeat(128));
    assert_eq!((names, problems), (vec!["a.one.test.".to_owned()], vec![]));
}

#[test]
fn what_stands_at_a_name_wins() {
    let records = "@ MX 10 m\nm A 10.0.0.1\nalias CNAME m\ntext TXT \"t\"\n\
        cut NS ns.cut\nns.cut A 10.0.0.2\ndn DNAME elsewhere.test.\n";
    let zone = "records = \"one.zone\"\n[names]\nown = \"198.51.100.9\"\n[discover]\n\
        tag = \"dns-name\"\nanswer = \"private\"\n";
    let files = [("one.test.toml", zone), ("one.zone", records)];
    for name in ["own", "ns1", "m", "alias", "cut", "x.cut", "ns.cut", "dn", "x.dn"] {
        let (names, problems) = given(&files, name);
        let expected = (Kind::Shadowed, format!("{name}.one.test."));
        assert_eq!((names, problems), (vec![], vec![expected]), "{name}");
    }
    for name in ["text", "below.m", "below.own", "x.text"] {
        let (names, problems) = given(&files, name);
        assert_eq!((names, problems), (vec![format!("{name}.one.test.")], vec![]), "{name}");
    }
    // A CNAME stands alone: where it would be one, it has no place.
    let cname = zone.replace("answer = \"private\"\n", "");
    let files = [("one.test.toml", cname.as_str()), ("one.zone", records)];
    let (names, problems) = given(&files, "text");
    assert_eq!(names, ["text.one.test."]);
    assert_eq!(problems, [(Kind::Shadowed, "text.one.test.".into())], "in the view outside");
}

#[test]
fn records_of_one_view_are_in_the_way_there() {
    let zone = "records = { vpc = \"one.zone\" }\n[discover]\ntag = \"dns-name\"\n";
    let files = [("one.test.toml", zone), ("one.zone", "m A 10.0.0.1\n")];
    let mut world = World::new(&files);
    world.says(0, EAST, &[good(1, "m")]);
    assert_eq!(world.has("m.one.test"), "east1");
    let why: Vec<_> = world.known.problems().map(|p| p.why.to_string()).collect();
    assert_eq!(why.len(), 1);
    assert!(why[0].contains("in view vpc"), "{why:?}");
}

#[test]
fn a_zone_that_names_a_source_has_names_of_that_alone() {
    let files = [("one.test.toml", "[discover]\ntag = \"dns-name\"\nsource = \"west\"\n")];
    let mut world = World::new(&files);
    world.says(0, EAST, &[good(1, "db")]);
    assert_eq!((world.has(DB), world.problems()), ("nobody".into(), vec![]));
    world.says(0, WEST, &[good(2, "db")]);
    assert_eq!((world.has(DB), world.problems()), ("west2".into(), vec![]));
}

/// Names that several zones have, each with a tag of its own.
#[test]
fn each_tag_is_that_of_its_zones() {
    let files = [
        ("one.test.toml", "[discover]\ntag = \"dns-name\"\n"),
        ("two.test.toml", "[discover]\ntag = \"Name\"\n"),
    ];
    let mut world = World::new(&files);
    let mut both = (*good(1, "db").address).clone();
    both.tags.insert("Name", "web");
    world.says(0, EAST, &[Entry { address: both.into(), ..good(1, "") }]);
    assert_eq!(
        (world.has("db.one.test"), world.has("web.two.test")),
        ("east1".into(), "east1".into())
    );
    assert_eq!(world.known.names.len(), 2);
}
