//! Whatever an account has, the files are a good configuration.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::config::Target;
use crate::source::identity::{EdgeIp, Identity};
use crate::source::inventory::Address;

const ZONE: &str = "example.com";

/// The configuration that is written for these addresses.
fn written(addresses: &[Address]) -> (Config, Vec<Named>, String) {
    let origin = Key::parse(ZONE, None).unwrap();
    let named = labels::named(addresses, &origin);
    let principal = Principal { account: "123456789012".into(), arn: "arn:aws:iam::1:a".into() };
    let ground = Ground { region: "us-east-1", endpoint: None, principal: Some(&principal) };
    let (server, zone) = (texts::server(ground), texts::zone(ZONE, "us-east-1", &named));
    let files = [("example.com.toml", zone.as_str()), (SERVER, server.as_str())];
    match config::load_texts(Path::new("zones"), &files, &ours()) {
        Ok((config, _)) => (config, named, zone),
        Err(problems) => panic!("{problems:#?}\n{zone}"),
    }
}

/// What the names of the zone are bound to.
fn targets(config: &Config) -> Vec<String> {
    let all = config.zones[0].names.iter().map(|binding| &binding.target);
    let one = |target: &Target| match target {
        Target::ElasticIp(_) | Target::Allocation(_) => target.to_string(),
        other => panic!("{other:?}"),
    };
    all.map(one).collect()
}

fn values() -> impl Strategy<Value = String> {
    const SOME: &[&str] = &[
        "db",
        "DB",
        "web",
        "web-2",
        "ns1",
        "NS1.example.com",
        "*",
        "@",
        "example.com",
        "names",
        "true",
        "a.b",
        "-",
        "--",
        "xn--bcher-kva",
        "\"\n[[view]]\nname = \"x\"",
        "a\u{0}b",
        "\u{2028}",
        "\\",
        "'''",
        "\"\"\"",
        "# = [",
        "\r",
        "\u{1b}[2J",
        "Ünïcödé",
        "123",
    ];
    prop_oneof![
        3 => proptest::sample::select(SOME).prop_map(str::to_owned),
        1 => "[a-c -]{0,4}",
        1 => "\\PC{0,300}",
        1 => vec(any::<char>(), 0..300).prop_map(String::from_iter),
    ]
}

fn addresses() -> impl Strategy<Value = Vec<Address>> {
    let public = (1..=200u8, option::of(values())).prop_map(|(last, id)| {
        let public_ip = [75, 101, 137, last].into();
        Identity::Public { public_ip, allocation_id: id }
    });
    let carrier = EdgeIp::Carrier([155, 146, 10, 111].into());
    let edge = "eipalloc-[0-9A-Fa-f]{1,12}"
        .prop_map(move |id| Identity::Edge { allocation_id: id.into(), edge_ip: carrier });
    let one = (prop_oneof![4 => public, 1 => edge], option::weighted(0.9, values()));
    vec(one, 0..24).prop_map(|all| {
        let mut seen = BTreeSet::new();
        let all = all.into_iter().filter(|(identity, _)| seen.insert(identity.allocation()));
        let address = |(identity, name): (Identity, Option<String>)| Address {
            tags: name.map(|name| ("Name", name)).into_iter().collect(),
            ..Address::unassociated(identity)
        };
        all.map(address).collect()
    })
}

proptest! {
    #[test]
    fn whatever_tags_say_each_address_is_bound_at_most_once(all in addresses()) {
        let (config, named, text) = written(&all);
        let bound = targets(&config);
        let wanted = named.iter().filter(|one| one.left_out.is_none());
        let wanted: BTreeSet<String> = wanted.map(|one| one.target.clone()).collect();
        prop_assert_eq!(bound.len(), wanted.len(), "{}", text);
        prop_assert_eq!(bound.into_iter().collect::<BTreeSet<_>>(), wanted);
        prop_assert_eq!(named.len(), all.len(), "each address is in the file");

        // Every proposal is one: without the `#` it is a name like all others.
        let proposals = named.iter().filter(|one| one.left_out.is_some());
        let proposals = proposals.filter(|one| one.left_out != Some(labels::Why::BadId));
        let proposals: Vec<_> = proposals.map(|one| one.label.as_str()).collect();
        let uncommented = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if proposals.iter().any(|label| {
                rest.split(' ').next() == Some(*label) && rest.contains(" = \"") && rest.contains("\"  ")
            }) => rest.to_owned(),
            _ => line.to_owned(),
        };
        let (head, rest) = text.split_once("[names]\n").unwrap();
        let rest: Vec<_> = rest.lines().map(uncommented).collect();
        let text = format!("{head}[names]\n{}\n", rest.join("\n"));
        let principal = Principal { account: "1".repeat(12), arn: String::new() };
        let ground = Ground { region: "us-east-1", endpoint: None, principal: Some(&principal) };
        let server = texts::server(ground);
        let files = [("example.com.toml", text.as_str()), (SERVER, server.as_str())];
        let loaded = config::load_texts(Path::new("zones"), &files, &ours());
        let (config, _) = loaded.map_err(|all| TestCaseError::fail(format!("{all:#?}\n{text}")))?;
        prop_assert_eq!(config.zones[0].names.len(), named.iter().filter(|one| {
            one.left_out != Some(labels::Why::BadId)
        }).count(), "{}", text);
    }
}

/// It is a start also where the account has nothing, and says nothing of itself.
#[test]
fn an_account_without_addresses_has_a_start() {
    let (config, _, text) = written(&[]);
    assert!(config.zones[0].names.is_empty() && text.contains("None yet"), "{text}");
    let ground =
        Ground { region: "eu-west-1", endpoint: Some("http://127.0.0.1:1/\\"), principal: None };
    let server = texts::server(ground);
    let (config, warnings) =
        config::load_texts(Path::new("zones"), &[(SERVER, &server)], &ours()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let SourceKind::Ec2(ec2) = &config.server.sources[0].kind else { panic!("a source of EC2") };
    assert_eq!(ec2.endpoint_url.as_deref(), Some("http://127.0.0.1:1/\\"));
    assert_eq!((ec2.account.as_ref(), ec2.profile.as_ref()), (None, None));
}

/// The views and addresses to listen at are those of the shipped configuration.
#[test]
fn a_start_is_like_what_is_shipped() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("zones");
    let shipped = config::load(&shipped, &ours()).unwrap().config;
    let (ours, ..) = written(&[]);
    let plain = |config: &Config| {
        let place = crate::diag::Place::file(Path::new("server.toml"));
        let views = config.server.views.iter().cloned();
        views.map(|view| config::View { place: place.clone(), ..view }).collect::<Vec<_>>()
    };
    assert_eq!(plain(&ours), plain(&shipped));
    assert_eq!(ours.server.listen, shipped.server.listen);
}

#[test]
fn a_zone_must_be_the_name_of_a_file() {
    for good in ["example.com", "Example.COM.", "internal", "_x.example"] {
        let zone = zone(good).unwrap();
        assert_eq!(zone.text, good.trim_end_matches('.').to_ascii_lowercase());
    }
    let long = ["a".repeat(60).as_str(); 4].join(".");
    for bad in [".", "", "a..b", "../etc/passwd", "a/b", "*.example.com", "SERVER", "é.com", &long]
    {
        assert_eq!(zone(bad).err(), Some(Exit::Usage), "{bad}");
    }
}

#[test]
fn what_is_to_be_typed_is_quoted() {
    for (text, typed) in [("zones", "zones"), ("my zones", "'my zones'"), ("a'b", r"'a'\''b'")] {
        assert_eq!(word(text), typed);
    }
}
