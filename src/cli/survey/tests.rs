//! What is said of a configuration, given what was heard.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::source::ec2::Principal;
use crate::source::error::PollError;
use crate::source::inventory::Health;
use crate::testing;

const ZONE: &str = r#"
[names]
db = "198.51.100.1"
alias = "198.51.100.1"
far = "198.51.100.2"
idle = "198.51.100.3"
gone = "198.51.100.9"
pool = { tag = { Role = "db" } }
hidden = { elastic_ip = "198.51.100.1", answer = { vpc = "private", peered = "none", outside = "none" } }
fixed = { address = "10.0.0.53" }
"#;

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, last)
}

fn addresses() -> Inventory {
    testing::inventory(&[
        (ip(1), Some([10, 0, 0, 1].into())),
        (ip(2), Some([10, 77, 0, 2].into())),
        (ip(3), None),
    ])
}

fn config(zone: &str) -> Config {
    testing::config(&[("server.toml", testing::SERVER), ("example.com.toml", zone)])
}

fn survey(config: &Config, inventory: Inventory, asked: &[Option<Asked>]) -> Survey {
    Survey::of(config, &Offline::new(config, inventory), asked)
}

/// The answers of a name: views and what they get, with the warning.
fn answers<'s>(survey: &'s Survey, name: &str) -> Vec<(String, &'s str, &'s str)> {
    let of_name = |one: &&NameOf| one.name == format!("{name}.example.com.");
    let one = survey.names.iter().find(of_name).unwrap_or_else(|| panic!("{name}"));
    let all = one.answers.iter();
    all.map(|one| (one.views.join(" "), &*one.answer, one.warning.as_deref().unwrap_or("")))
        .collect()
}

#[test]
fn every_name_is_looked_up_in_every_view() {
    let config = config(ZONE);
    let survey = survey(&config, addresses(), &[None]);
    let text = survey.to_string();
    let cname = "CNAME ec2-198-51-100-1.compute-1.amazonaws.com.";
    assert_eq!(
        answers(&survey, "db"),
        [("vpc peered".into(), "10.0.0.1", ""), ("outside".into(), cname, "")]
    );
    assert_eq!(
        answers(&survey, "far"),
        [
            ("vpc".into(), "10.77.0.2", ""),
            (
                "peered".into(),
                "198.51.100.2",
                "`reaches` does not have 10.77.0.2: the public address is answered"
            ),
            ("outside".into(), "CNAME ec2-198-51-100-2.compute-1.amazonaws.com.", ""),
        ]
    );
    let nothing = ("vpc peered".into(), "no address (NODATA)", "198.51.100.3 is not associated");
    assert_eq!(answers(&survey, "idle")[0], nothing);
    assert_eq!(
        answers(&survey, "hidden"),
        [("vpc".into(), "10.0.0.1", ""), ("peered outside".into(), "no such name (NXDOMAIN)", "")]
    );
    assert!(!survey.ok);
    let [missing] = &survey.missing[..] else { panic!("{:?}", survey.missing) };
    for part in ["gone.example.com.", "example.com.toml:7", "198.51.100.9 is in no source"] {
        assert!(missing.contains(part), "{part} is not in {missing}");
    }
    let shared: Vec<_> = survey.shared.iter().map(|one| (&*one.elastic_ip, &one.names)).collect();
    let names = ["db", "alias", "hidden"].map(|name| format!("{name}.example.com."));
    assert_eq!(shared, [("198.51.100.1", &names.to_vec())], "who is in a set shares nothing");
    assert!(!text.contains("fixed.example.com."), "{text}");
    for line in [
        "  db.example.com. = 198.51.100.1 (",
        "    198.51.100.1 eipalloc-c6336401 of source sample: at 10.0.0.1",
        "    vpc, peered  10.0.0.1",
        "    198.51.100.3 eipalloc-c6336403 of source sample: NOT ASSOCIATED",
        "    NOT FOUND",
        "  198.51.100.1: db.example.com., alias.example.com., hidden.example.com.",
        "6 of 7 names found, 1 missing, 4 warnings, 0 problems with tags",
    ] {
        assert!(text.lines().any(|told| told.starts_with(line)), "{line:?} begins none of\n{text}");
    }
}

#[test]
fn names_from_tags_are_looked_up_too() {
    let zone = "[discover]\ntag = \"Role\"\n[names]\nweb = \"198.51.100.2\"\n";
    let config = config(zone);
    let mut inventory = addresses();
    let rules = crate::source::discover::Rules::of(&config);
    inventory.discover(&rules, None, &Default::default(), testing::noon());
    let survey = survey(&config, inventory, &[None]);
    // All three have the tag Role=db: the first of those that are associated has the name.
    assert_eq!(answers(&survey, "db")[0], ("vpc peered".into(), "10.0.0.1", ""));
    assert!(survey.ok, "a problem with a tag is not something that is missing");
    let [problem] = &survey.tag_problems[..] else { panic!("{:?}", survey.tag_problems) };
    assert_eq!((&*problem.source, &*problem.problem.name), ("sample", "db.example.com."));
    let text = survey.to_string();
    for part in [
        "\nnames from tags in example.com.\n  db.example.com. = 198.51.100.1 (tag Role) (",
        "\ntags that give no name, or not everywhere\n  198.51.100.2 of source sample has",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

/// Where a source says nothing, nobody knows whether a name's address is there.
#[test]
fn what_is_not_known_is_not_missing() {
    let server = format!(
        "{}{}{}",
        testing::HEAD,
        "[[source]]\nname = \"east\"\ntype = \"ec2\"\nregion = \"us-east-1\"\n",
        testing::view("vpc", "10.0.0.0/8", "private")
    );
    let zone = "[names]\ndb = \"198.51.100.9\"\nweb = { elastic_ip = \"198.51.100.9\", source = \"sample\" }\n";
    let config = testing::config(&[("server.toml", &server), ("example.com.toml", zone)]);
    let mut inventory = addresses();
    let error =
        PollError::of_service("ec2:DescribeAddresses", 403, Some("UnauthorizedOperation"), "No.");
    let mut silent = inventory.sources[0].clone();
    (silent.name, silent.entries) = ("east".into(), None);
    silent.health =
        Health::Stalled { since: testing::noon(), class: error.class(), why: error.to_string() };
    inventory.sources.push(silent);
    let principal = Ok(Principal {
        account: "123456789012".into(),
        arn: "arn:aws:iam::123456789012:user/ops".into(),
    });
    let asked =
        Asked { failed: Some(error), left_out: Default::default(), principal, interfaces: None };
    let survey = survey(&config, inventory, &[None, Some(asked)]);
    assert_eq!(survey.names[0].found, None);
    assert_eq!(
        answers(&survey, "db"),
        [("vpc".into(), "SERVFAIL", "a source that may have the address says nothing")]
    );
    assert_eq!(survey.names[1].found, Some(false), "the other source cannot have it");
    assert_eq!(survey.missing.len(), 2, "{:?}", survey.missing);
    assert!(
        survey.missing[0].contains("source east") && survey.missing[0].contains("server.toml:")
    );
    let text = survey.to_string();
    for line in [
        "  FAILED       unauthorised: not allowed (UnauthorizedOperation)",
        "  caller       arn:aws:iam::123456789012:user/ops",
        "  account      123456789012 (not pinned: write account = \"123456789012\")",
        "  region       us-east-1 (configured)",
        "  ec2:DescribeAddresses on *, for arn:aws:iam::123456789012:user/ops",
        "        \"Action\": \"ec2:DescribeAddresses\",",
        "    NOT KNOWN: a source says nothing",
    ] {
        assert!(text.lines().any(|told| told.starts_with(line)), "{line:?} begins none of\n{text}");
    }
}

#[test]
fn sources_of_one_account_and_region_count_together() {
    let one = |name: &str, region: &str, more: &str| {
        format!("[[source]]\nname = \"{name}\"\ntype = \"ec2\"\nregion = \"{region}\"\n{more}\n")
    };
    let server = [
        "[listen]\ndns = [\"127.0.0.1:0\"]\n".to_owned(),
        one("a", "us-east-1", ""),
        one("b", "us-east-1", "profile = \"b\"\npoll = \"500ms\""),
        one("c", "eu-west-1", ""),
        one("d", "us-east-1", "profile = \"d\""),
        testing::view("vpc", "10.0.0.0/8", "private"),
    ]
    .concat();
    let config = testing::config(&[("server.toml", &server), ("example.com.toml", "[names]\n")]);
    let source = |name: &str, region: &str| {
        let mut source = addresses().sources.remove(0);
        (source.name, source.region) = (name.into(), Some(region.into()));
        source
    };
    let inventory: Inventory = vec![
        source("a", "us-east-1"),
        source("b", "us-east-1"),
        source("c", "eu-west-1"),
        source("d", "us-east-1"),
    ]
    .into();
    let asked = |account: Option<&str>| {
        let down = PollError::Timeout { after: Duration::from_secs(3) };
        let principal =
            account.map(|account| Principal { account: account.into(), arn: "arn".into() });
        Some(Asked {
            failed: None,
            left_out: Default::default(),
            principal: principal.ok_or(down),
            interfaces: None,
        })
    };
    let ours = Some("123456789012");
    let survey = survey(&config, inventory, &[asked(ours), asked(ours), asked(ours), asked(None)]);
    let told: Vec<_> = survey
        .budgets
        .iter()
        .map(|one| (one.sources.join(" "), (one.per_second * 10.0).round(), one.replicas))
        .collect();
    // In [0.85, 1.0] x poll: 1.08 a second and 2.16.
    assert_eq!(told, [("a b".into(), 32.0, 6), ("c".into(), 11.0, 18), ("d".into(), 11.0, 18)]);
    assert_eq!(survey.budgets[2].credentials.as_deref(), Some("profile d"));
    let text = survey.to_string();
    let together = "  account 123456789012 in us-east-1: a, b\n    3.2 a second of 20 (16 %, ";
    assert!(text.contains(together), "{text}");
    assert!(text.contains("  caller       NOT KNOWN: no answer within 3s"), "{text}");
}
