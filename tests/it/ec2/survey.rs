//! `check --aws`: what AWS says of a configuration.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::moto::Moto;
use super::scripted::{Address, Ec2, Fault, public};
use super::{bare, configure, source, with_keys};
use crate::harness::{Dir, PROGRAM, view};

/// `eipdns check`, with `url` as STS.
fn check(dir: &Dir, url: &str, change: impl FnOnce(&mut Command), args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    with_keys(&mut command);
    command.env("AWS_ENDPOINT_URL_STS", url);
    change(&mut command);
    command.arg("check").arg("--config").arg(dir.path()).args(args).output().unwrap()
}

fn asked(dir: &Dir, url: &str) -> Output {
    check(dir, url, |_| {}, &["--aws"])
}

/// What `--json` says, and the code.
fn told(dir: &Dir, url: &str, change: impl FnOnce(&mut Command)) -> (Value, Option<i32>) {
    let out = check(dir, url, change, &["--aws", "--json"]);
    let told = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    (told, out.status.code())
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn has(out: &Output, code: i32, parts: &[&str]) {
    let told = format!("{}{}", text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{told}");
    for part in parts {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}

#[test]
fn two_regions_and_two_accounts() {
    let Some(moto) = Moto::start() else { return };
    let (url, role) = (moto.url(), "arn:aws:iam::111122223333:role/dns");
    let (east, west) = (moto.in_region("us-east-1"), moto.in_region("us-west-2"));
    let partner = moto.of_role("us-east-1", role);
    let all = [(&east, "75.101.137.1"), (&west, "75.101.137.2"), (&partner, "75.101.137.3")];
    for (account, ip) in all {
        let interface = account.interface("172.31.5.1");
        account.associate(&account.allocate(ip, "Role", "db"), &interface);
    }
    let sources = [
        source("east", &url, "1s", "account = \"123456789012\""),
        source("west", &url, "1s", "").replace("us-east-1", "us-west-2"),
        source("partner", &url, "1s", &format!("role_arn = \"{role}\"\nexternal_id = \"x-1\"")),
        source("again", &url, "2s", ""),
    ]
    .concat();
    let names = "one = \"75.101.137.1\"\ntwo = \"75.101.137.2\"\nthree = \"75.101.137.3\"\n\
                 not-there = { elastic_ip = \"75.101.137.2\", source = \"partner\" }";
    let far = format!("{}reaches = [\"10.0.0.0/8\"]\n", view("far", "192.0.2.0/24", "private"));
    let dir = configure(&sources, &far, names);
    let (said, code) = told(&dir, &url, |_| {});
    assert_eq!(code, Some(1), "{said:#}");
    let all = said["sources"].as_array().unwrap();
    let told: Vec<_> = all
        .iter()
        .map(|one| json!([one["name"], one["region"], one["caller"]["account"], one["addresses"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["east", "us-east-1", "123456789012", 1]),
            json!(["west", "us-west-2", "123456789012", 1]),
            json!(["partner", "us-east-1", "111122223333", 1]),
            json!(["again", "us-east-1", "123456789012", 1]),
        ]
    );
    let arn = all[2]["caller"]["arn"].as_str().unwrap();
    assert_eq!(arn, "arn:aws:sts::111122223333:assumed-role/dns/eipdns-partner");
    let budgets = said["budgets"].as_array().unwrap();
    let told: Vec<_> = budgets.iter().map(|one| json!([one["account"], one["sources"]])).collect();
    assert_eq!(
        told,
        [
            json!(["123456789012", ["east", "again"]]),
            json!(["123456789012", ["west"]]),
            json!(["111122223333", ["partner"]]),
        ]
    );
    let found: Vec<_> = said["names"].as_array().unwrap().iter().map(|one| &one["found"]).collect();
    assert_eq!(found, [true, true, true, false]);
    assert_eq!(said["missing"].as_array().unwrap().len(), 1, "{said:#}");

    has(
        &asked(&dir, &url),
        1,
        &[
            "ok: 1 zones, 4 names, 2 views, 4 sources\n",
            "  account      123456789012 (as configured)\n",
            "  account      111122223333 (not pinned: write account = \"111122223333\")\n",
            "  role         arn:aws:iam::111122223333:role/dns\n",
            "  addresses    1, 1 of them associated\n",
            &format!(
                "  account 123456789012 in us-east-1 at {url}: east, again\n    1.6 a second of 20"
            ),
            "\n    vpc          172.31.5.1\n    far          75.101.137.1\n",
            "WARNING: `reaches` does not have 172.31.5.1: the public address is answered",
            "not-there.example.com. (",
            "3 of 4 names found, 1 missing",
        ],
    );
}

/// moto looks at no external id.
#[test]
fn a_role_is_assumed_as_the_source_does() {
    let ec2 = Ec2::with(1);
    let more = "role_arn = \"arn:aws:iam::111122223333:role/dns\"\nexternal_id = \"x-1\"";
    let dir = configure(&source("east", &ec2.url(), "1s", more), "", "n1 = \"75.101.137.1\"");
    has(&asked(&dir, &ec2.url()), 0, &["1 of 1 names found, 0 missing, 0 warnings"]);
    let assumed = ec2.assumed();
    assert!(!assumed.is_empty());
    for (arn, external_id, session) in assumed {
        assert!(arn.ends_with("role%2Fdns"), "{arn}");
        assert_eq!(external_id.as_deref(), Some("x-1"));
        assert_eq!(session.as_deref(), Some("eipdns-east"));
    }
    // And who the role is was asked with its keys.
    assert!(ec2.identified().iter().all(|key| key == "ASIADNS"), "{:?}", ec2.identified());
    ec2.fault(Fault::NoRole);
    has(
        &asked(&dir, &ec2.url()),
        1,
        &[
            "STS, asked for `role_arn`: not allowed (AccessDenied)",
            "  sts:AssumeRole on arn:aws:iam::111122223333:role/dns, for the default credentials\n",
            "\"Resource\": \"arn:aws:iam::111122223333:role/dns\"",
        ],
    );
}

/// Each action is denied by itself, by moto's own policies.
/// Whether it is allowed is asked although no name stands on an interface yet; and a name that
/// has no AAAA record although it wants one is warned of.
#[test]
fn what_names_with_ipv6_lack_is_said() {
    let ec2 = Ec2::start(vec![
        Address::new(&public(1)),
        Address::new(&public(2)).at("10.0.0.2", "eipassoc-2").with("networkInterfaceId", "eni-2"),
    ]);
    let names = |n: u8| format!("db = {{ elastic_ip = \"{}\", ipv6 = true }}", public(n));
    let unassociated = configure(&source("east", &ec2.url(), "1s", ""), "", &names(1));
    ec2.interfaces(|all| all.fault(Fault::Unauthorised));
    let action = "ec2:DescribeNetworkInterfaces";
    has(&asked(&unassociated, &ec2.url()), 1, &["NO IPV6", "missing permissions", action]);
    ec2.interfaces(|all| all.fault(Fault::None));
    let standing = configure(&source("east", &ec2.url(), "1s", ""), "", &names(2));
    let not_shown = "no AAAA: the IPv6 address of eni-2 is not known yet";
    has(&asked(&standing, &ec2.url()), 0, &[not_shown]);
    ec2.interfaces(|all| all.set("eni-2", &[], None));
    has(&asked(&standing, &ec2.url()), 0, &["no AAAA: eni-2 has no IPv6 address"]);
    ec2.interfaces(|all| all.set("eni-2", &["2001:db8::2"], None));
    has(&asked(&standing, &ec2.url()), 0, &["10.0.0.2 2001:db8::2", "0 warnings"]);
}

#[test]
fn each_missing_permission_has_its_name() {
    let Some(moto) = Moto::start() else { return };
    let url = moto.url();
    let east = moto.in_region("us-east-1");
    east.associate(&east.allocate("75.101.137.1", "Role", "db"), &east.interface("172.31.5.1"));
    moto.aws(&["iam", "create-user", "--user-name", "ops"]);
    let key = moto.aws(&["iam", "create-access-key", "--user-name", "ops"]);
    let key = |name: &str| key["AccessKey"][name].as_str().unwrap().to_owned();
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/ops"},"Action":"sts:AssumeRole"}]}"#;
    moto.aws(&["iam", "create-role", "--role-name", "dns", "--assume-role-policy-document", trust]);
    let role = "arn:aws:iam::123456789012:role/dns";
    let allow = |whose: [&str; 3], action: &str, resource: &str| {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}]}}"#
        );
        let [put, flag, name] = whose;
        let document = ["--policy-name", action.rsplit(':').next().unwrap(), "--policy-document"];
        moto.aws(&[&["iam", put, flag, name][..], &document, &[&policy]].concat());
    };
    let plain = configure(&source("east", &url, "1s", ""), "", "n1 = \"75.101.137.1\"");
    let assuming = source("east", &url, "1s", &format!("role_arn = \"{role}\""));
    let assuming = configure(&assuming, "", "n1 = \"75.101.137.1\"");
    let missing = |dir: &Dir| {
        moto.authorise(true);
        let (said, code) = told(dir, &url, |command| {
            command.env("AWS_ACCESS_KEY_ID", key("AccessKeyId"));
            command.env("AWS_SECRET_ACCESS_KEY", key("SecretAccessKey"));
        });
        moto.authorise(false);
        let caller = said["sources"][0]["caller"]["arn"].as_str().unwrap_or("-").to_owned();
        (said["missing_permissions"].clone(), caller, code)
    };
    let permission = |action: &str, resource: &str, to: &str| json!([{ "action": action, "resource": resource, "to": to }]);
    let who = "arn:aws:iam::123456789012:user/ops";

    let describe = permission("ec2:DescribeAddresses", "*", who);
    assert_eq!(missing(&plain), (describe, who.to_owned(), Some(1)));
    // moto refuses this in the form of EC2's errors, which are none of STS: the scripted
    // STS says that `sts:AssumeRole` is missing.
    assert_eq!(missing(&assuming), (json!([]), "-".to_owned(), Some(1)));
    allow(["put-user-policy", "--user-name", "ops"], "sts:AssumeRole", role);
    let assumed = "arn:aws:sts::123456789012:assumed-role/dns/eipdns-east";
    let by_role = permission("ec2:DescribeAddresses", "*", &format!("role {role}"));
    assert_eq!(missing(&assuming), (by_role, assumed.to_owned(), Some(1)));
    allow(["put-role-policy", "--role-name", "dns"], "ec2:DescribeAddresses", "*");
    assert_eq!(missing(&assuming), (json!([]), assumed.to_owned(), Some(0)));
    allow(["put-user-policy", "--user-name", "ops"], "ec2:DescribeAddresses", "*");
    assert_eq!(missing(&plain), (json!([]), who.to_owned(), Some(0)));
}

#[test]
fn another_account_is_said() {
    let ec2 = Ec2::with(1);
    let wanted = "account = \"111122223333\"";
    let dir = configure(&source("east", &ec2.url(), "1s", wanted), "", "n1 = \"75.101.137.1\"");
    has(
        &asked(&dir, &ec2.url()),
        1,
        &[
            "  account      123456789012 (NOT 111122223333, which is configured)\n",
            "the credentials are of account 123456789012, and `account` says 111122223333",
            "    NOT KNOWN: a source says nothing\n",
        ],
    );
}

#[test]
fn without_credentials_there_is_a_way_on() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "1s", ""), "", "n1 = \"75.101.137.1\"");
    let out = check(&dir, &ec2.url(), bare, &["--aws"]);
    has(
        &out,
        1,
        &[
            "  FAILED       credentials: no credentials",
            "`aws configure`",
            "--profile NAME",
            "on an instance: attach a role",
            "a policy that allows what is needed, for the default credentials\n",
            "      \"Action\": \"ec2:DescribeAddresses\",\n",
        ],
    );
    assert!(text(&out.stderr).starts_with("eipdns: source east ("), "{out:?}");
    assert_eq!(ec2.calls(), 0);
}

#[test]
fn who_is_out_of_reach_is_said() {
    let (ec2, sts) = (Ec2::with(1), Ec2::with(0));
    let one = source("east", &ec2.url(), "1s", "");
    let dir = configure(&one, "", "n1 = \"75.101.137.1\"");
    // Whose credentials they are is not all that counts.
    sts.fault(Fault::Unavailable);
    has(
        &asked(&dir, &sts.url()),
        0,
        &[
            "  caller       NOT KNOWN: the service answers 503 (no code)\n",
            "the account of the default credentials in us-east-1",
        ],
    );
    ec2.fault(Fault::Refused);
    has(&asked(&dir, &sts.url()), 69, &["  FAILED       connect: ", "source east ("]);
    // One of two that is within reach is another case.
    let other = Ec2::with(1);
    let two = format!("{one}{}", source("west", &other.url(), "1s", ""));
    let dir = configure(&two, "", "n1 = \"75.101.137.1\"");
    has(&asked(&dir, &sts.url()), 1, &["  FAILED       connect: ", "1 of 1 names found"]);
}

/// A region that is not configured comes from the environment; and entries of an answer
/// that contradict each other are none.
#[test]
fn a_region_may_be_the_environments() {
    let one = |private: &str| Address::new(&public(1)).at(private, "eipassoc-1");
    let ec2 = Ec2::start(vec![one("10.0.0.1"), one("10.0.0.2")]);
    let east = source("east", &ec2.url(), "1s", "").replace("region = \"us-east-1\"\n", "");
    let dir = configure(&east, "", "n1 = \"75.101.137.1\"");
    has(&check(&dir, &ec2.url(), |_| {}, &["--aws"]), 1, &["  FAILED       region: no region"]);
    let west = |command: &mut Command| {
        command.env("AWS_REGION", "us-west-2");
    };
    has(
        &check(&dir, &ec2.url(), west, &["--aws"]),
        1,
        &[
            "  region       us-west-2 (from the SDK's chain",
            "  LEFT OUT     75.101.137.1 stands in it more than once, with different contents",
            "    NOT FOUND",
        ],
    );
}

#[test]
fn names_from_tags_are_shown_with_their_problems() {
    let at = |n: u8, tag: &str| {
        let one = Address::new(&public(n)).at(&format!("10.0.0.{n}"), &format!("eipassoc-{n}"));
        one.tag("dns-name", tag)
    };
    let tags = ["db, mail", "db", "bad..name", "x.elsewhere.net.", "static", "&#10;evil&#27;[2J"];
    let ec2 = Ec2::start((1u8..).zip(tags).map(|(n, tag)| at(n, tag)).collect());
    let dir = configure(&source("east", &ec2.url(), "1s", ""), "", "");
    let zone = "[discover]\ntag = \"dns-name\"\n[names]\nstatic = { address = \"10.0.0.53\" }\n";
    dir.write("example.com.toml", zone);
    let (said, code) = told(&dir, &ec2.url(), |_| {});
    assert_eq!(code, Some(0), "{said:#}");
    let names: Vec<_> = said["names"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["db.example.com.", "mail.example.com."]);
    let problems = said["tag_problems"].as_array().unwrap();
    let mut kinds: Vec<_> = problems.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["bad_name", "bad_name", "outside", "second_address", "shadowed"]);
    assert_eq!(said["shared"], json!([{ "elastic_ip": public(1), "names": names }]));
    let out = asked(&dir, &ec2.url());
    has(
        &out,
        0,
        &[
            "\nnames from tags in example.com.\n  db.example.com. = 75.101.137.1 (tag dns-name) (",
            "\naddresses with several names\n  75.101.137.1: db.example.com., mail.example.com.\n",
            "\ntags that give no name, or not everywhere\n",
            "5 problems with tags\n",
        ],
    );
    assert!(!text(&out.stdout).contains('\u{1b}'), "{out:?}");
}

#[test]
fn a_profile_takes_the_place_of_those_that_are_configured() {
    let ec2 = Ec2::with(1);
    let more = "profile = \"server\"";
    let dir = configure(&source("east", &ec2.url(), "1s", more), "", "n1 = \"75.101.137.1\"");
    let keys = dir.path().join("credentials");
    fs::write(&keys, "[ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = s\n").unwrap();
    let ours = |command: &mut Command| {
        bare(command);
        command.env("AWS_SHARED_CREDENTIALS_FILE", &keys);
    };
    has(&check(&dir, &ec2.url(), ours, &["--aws"]), 1, &["  profile      server\n"]);
    has(
        &check(&dir, &ec2.url(), ours, &["--aws", "--profile", "ops"]),
        0,
        &["  profile      ops, instead of server, which is configured (--profile)\n"],
    );
    ec2.wait_for_key("the profile's", |key| key == "AKIAOPS");
}

/// A bad configuration ends as ever, and nobody is asked.
#[test]
fn errors_come_first() {
    let ec2 = Ec2::with(1);
    let dir = configure(&source("east", &ec2.url(), "1s", ""), "", "n1 = \"none\"");
    let out = asked(&dir, &ec2.url());
    has(&out, 78, &["example.com.toml:2"]);
    assert_eq!((ec2.calls(), ec2.identified().len(), text(&out.stdout)), (0, 0, ""));
    for flags in [&["--profile", "ops"][..], &["--json"]] {
        assert_eq!(check(&dir, &ec2.url(), |_| {}, flags).status.code(), Some(64));
    }
}
