//! `init`: from an account's addresses to the first answer.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::moto::Moto;
use super::scripted::{Address, Ec2, Fault, public};
use super::{bare, with_keys};
use crate::harness::{PROGRAM, Server};
use crate::{peers, readme};

/// Runs the program in a directory of its own, with `url` as STS.
fn run(dir: &Path, url: &str, keys: fn(&mut Command), args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    keys(&mut command);
    command.env("AWS_ENDPOINT_URL_STS", url).env_remove("EIPDNS_CONFIG");
    command.current_dir(dir).args(args).output().unwrap()
}

fn init(dir: &Path, url: &str, more: &[&str]) -> Output {
    let args = ["init", "--region", "us-east-1", "--zone", "example.com", "--endpoint-url", url];
    run(dir, url, with_keys, &[&args[..], more].concat())
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"))
}

/// What stands in a directory.
fn files(dir: &Path) -> Vec<String> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut all: Vec<_> = all.map(|name| name.into_string().unwrap()).collect();
    all.sort();
    all
}

/// A tag's value as it stands in XML.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for c in value.chars() {
        match c {
            '<' | '>' | '&' | '"' | '\n' | '\r' => out += &format!("&#{};", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

/// From an empty directory: the README's `init`, `check --aws`, `serve`, and the first
/// answer.
#[test]
fn four_commands_to_the_first_answer() {
    let (Some(moto), Some(dig)) = (Moto::start(), peers::need("dig")) else { return };
    let block = readme::blocks("sh").into_iter().find(|block| block.starts_with("eipdns init"));
    let block = block.expect("the README has the commands");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let commands: Vec<Vec<String>> = block.lines().map(words).collect();
    let [init, check, serve, answer] = &commands[..] else { panic!("{block}") };
    let account = moto.in_region("us-east-1");
    let interface = account.interface("172.31.5.1");
    account.associate(&account.allocate("75.101.137.1", "Name", "DB"), &interface);
    account.allocate("75.101.137.2", "Role", "db");
    let dir = tempfile::tempdir().unwrap();
    let url = moto.url();
    let run = |words: &[String], more: &[&str]| {
        let args = words[1..].iter().map(String::as_str).chain(more.iter().copied());
        let out = run(dir.path(), &url, with_keys, &args.collect::<Vec<_>>());
        println!("$ {}\n{}", words.join(" "), text(&out.stdout));
        assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), ""), "{out:?}");
        text(&out.stdout).to_owned()
    };

    let told = run(init, &["--endpoint-url", &url]);
    for part in [
        "wrote zones/example.com.toml and zones/server.toml\n",
        "1 names of 2 addresses in us-east-1, account 123456789012\n",
        "  db.example.com. = 75.101.137.1, Name \"DB\"\n",
        "  75.101.137.2: it has no tag Name\n",
        &format!("next:\n  {}\n  {}\n", check.join(" "), serve.join(" ")),
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert_eq!(files(&dir.path().join("zones")), ["example.com.toml", "server.toml"]);
    let server = fs::read_to_string(dir.path().join("zones/server.toml")).unwrap();
    assert!(server.contains("\naccount = \"123456789012\""), "{server}");
    run(&["eipdns".into(), "check".into()], &[]);
    run(check, &[]);

    let mut server = Server::start_bare(Command::new(PROGRAM), |command| {
        with_keys(command);
        command.args(&serve[1..]).current_dir(dir.path()).env("AWS_ENDPOINT_URL_STS", &url);
        command.env("EIPDNS_LISTEN_DNS", "127.0.0.1:0").env("EIPDNS_LISTEN_HTTP", "127.0.0.1:0");
    });
    server.wait_for("first answers");
    let port = server.dns.port().to_string();
    let args = answer[1..].iter().map(|word| if word == "5300" { &port } else { word });
    let asked = Command::new(dig).args(args).output().unwrap();
    println!("$ {}\n{}", answer.join(" "), text(&asked.stdout));
    assert_eq!(text(&asked.stdout).trim_end(), "db.example.com.\t\t5\tIN\tA\t172.31.5.1");
}

#[test]
fn nothing_is_overwritten() {
    let ec2 = Ec2::with(1);
    for existing in ["server.toml", "example.com.toml"] {
        let dir = tempfile::tempdir().unwrap();
        let zones = dir.path().join("zones");
        fs::create_dir(&zones).unwrap();
        fs::write(zones.join(existing), "mine\n").unwrap();
        let before = ec2.calls();
        let out = init(dir.path(), &ec2.url(), &[]);
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        let told = text(&out.stderr);
        assert!(told.contains(&format!("zones/{existing} exists")), "{told}");
        assert_eq!((ec2.calls(), text(&out.stdout)), (before, ""), "nobody was asked");
        // A dry run says so, too, and shows what there would be.
        let out = init(dir.path(), &ec2.url(), &["--dry-run"]);
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        assert!(text(&out.stdout).contains("==> zones/server.toml <=="), "{out:?}");
        assert!(text(&out.stderr).contains("exists"), "{out:?}");
        assert_eq!(files(&zones), [existing]);
        assert_eq!(fs::read_to_string(zones.join(existing)).unwrap(), "mine\n");
    }
}

#[test]
fn a_zone_that_does_not_fit_is_said() {
    let ec2 = Ec2::with(1);
    let dir = tempfile::tempdir().unwrap();
    let zones = dir.path().join("zones");
    fs::create_dir(&zones).unwrap();
    fs::write(zones.join("corp.test.toml"), "views = [\"office\"]\n").unwrap();
    let out = init(dir.path(), &ec2.url(), &[]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let told = text(&out.stderr);
    assert!(told.contains("with the other files of the directory"), "{told}");
    let all = [text(&out.stdout), told].concat();
    assert!(all.contains("corp.test.toml:1"), "{all}");
    assert_eq!(files(&zones), ["corp.test.toml", "example.com.toml", "server.toml"]);
}

#[test]
fn a_dry_run_writes_nothing() {
    let ec2 = Ec2::start(vec![Address::new(&public(1)).tag("Name", "db")]);
    let dir = tempfile::tempdir().unwrap();
    let out = init(dir.path(), &ec2.url(), &["--dry-run"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(files(dir.path()), [""; 0]);
    let shown = text(&out.stdout).to_owned();
    let out = init(dir.path(), &ec2.url(), &["--dry-run", "--json", "--directory", "else where"]);
    let report = json(&out);
    assert_eq!(report["written"], false, "{report}");
    assert_eq!(report["names"][0]["name"], "db.example.com.", "{report}");
    assert_eq!(report["next"][1], "eipdns serve --config 'else where'", "{report}");
    assert_eq!(files(dir.path()), [""; 0]);
    // What is shown is what is written.
    let out = init(dir.path(), &ec2.url(), &[]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    for (nth, name) in ["zones/example.com.toml", "zones/server.toml"].into_iter().enumerate() {
        let written = fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(shown.contains(&format!("==> {name} <==\n{written}")), "{shown}");
        assert_eq!(report["files"][nth]["text"], *written);
    }
}

/// Before anything is written.
#[test]
fn what_is_wrong_is_said() {
    let ec2 = Ec2::with(1);
    let dir = tempfile::tempdir().unwrap();
    let url = ec2.url();
    let fails = |out: Output, code: i32, parts: &[&str]| {
        let told = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{out:?}");
        for part in parts {
            assert!(told.contains(part), "{part:?} is not in\n{told}");
        }
        assert_eq!((text(&out.stdout), files(dir.path())), ("", vec![]));
    };
    let with = |region: &str, zone: &str| {
        let args = ["init", "--region", region, "--zone", zone, "--endpoint-url", &url];
        run(dir.path(), &url, with_keys, &args)
    };
    fails(with("us-east-1a", "example.com"), 64, &["is an availability zone", "us-east-1"]);
    fails(with("us-east-1", "../x"), 64, &["--zone: \"../x\""]);
    assert_eq!(ec2.calls(), 0);

    let args = ["init", "--region", "us-east-1", "--zone", "example.com", "--endpoint-url", &url];
    let out = run(dir.path(), &url, bare, &args);
    let policy = "\"Action\": \"ec2:DescribeAddresses\"";
    fails(out, 1, &["no credentials", "`aws configure`", "--profile NAME", "role", policy]);
    ec2.fault(Fault::Unauthorised);
    let denied = "allow ec2:DescribeAddresses to the role";
    fails(init(dir.path(), &url, &[]), 1, &[denied, policy]);
    ec2.fault(Fault::Refused);
    fails(init(dir.path(), &url, &[]), 69, &["EC2 in us-east-1 says nothing", "127."]);
}

/// An account is pinned only if STS has said which it is.
#[test]
fn without_sts_no_account_is_pinned() {
    let (ec2, sts) = (Ec2::with(1), Ec2::with(0));
    sts.fault(Fault::Unavailable);
    let dir = tempfile::tempdir().unwrap();
    let args = ["init", "--region", "us-east-1", "--zone", "z", "--endpoint-url", &ec2.url()];
    let out = run(dir.path(), &sts.url(), with_keys, &args);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(text(&out.stderr).contains("`account` is not pinned"), "{out:?}");
    let server = fs::read_to_string(dir.path().join("zones/server.toml")).unwrap();
    assert!(server.contains("\n# account ="), "{server}");
    // It has no names: that is a start, too.
    let out = run(dir.path(), &sts.url(), bare, &["check"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

/// Tags say anything. Each address is bound once, and no tag writes a line of its own.
#[test]
fn no_tag_says_what_stands_in_the_files() {
    let long = "x".repeat(300);
    let tags = [
        "db",
        "DB",
        "</value><key>",
        "a\nmail = \"75.101.137.9\"",
        "\"\n[[view]]\nname = \"evil\"\nclients = [\"0.0.0.0/0\"]",
        "'''\r\n\"\"\"",
        &long,
        "Ünïcödé \u{202e}x",
        "*",
        "@",
        "ns1",
        "db.example.com",
        " ",
    ];
    let all = (1u8..).zip(tags);
    let all = all.map(|(n, tag)| Address::new(&public(n)).tag("Name", &escaped(tag)));
    let ec2 = Ec2::start(all.collect());
    let dir = tempfile::tempdir().unwrap();
    let out = init(dir.path(), &ec2.url(), &[]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let told = text(&out.stdout);
    assert!(!told.contains('\u{202e}') && !told.contains("\nmail ="), "{told}");
    let zone = fs::read_to_string(dir.path().join("zones/example.com.toml")).unwrap();
    let bound: toml::Table = toml::from_str(&zone).unwrap();
    let names = bound["names"].as_table().unwrap();
    let wanted = [
        ("db", 1),
        ("value-key", 3),
        ("a-mail-75-101-137-9", 4),
        ("view-name-evil-clients-0-0-0-0-0", 5),
        (&long[..63], 7),
        ("n-c-d-x", 8),
    ];
    let wanted = wanted.map(|(name, n)| (name.to_owned(), toml::Value::from(public(n))));
    assert_eq!(*names, wanted.into_iter().collect(), "{zone}");
    let out = run(dir.path(), &ec2.url(), with_keys, &["check", "--aws", "--json"]);
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), ""), "{out:?}");
    assert_eq!(json(&out)["names"].as_array().unwrap().len(), names.len());
}

/// A profile is the operator's: the server's is not known.
#[test]
fn a_profile_is_used_and_not_written() {
    let ec2 = Ec2::with(1);
    let dir = tempfile::tempdir().unwrap();
    let keys = "[ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = secret\n";
    fs::write(dir.path().join("credentials"), keys).unwrap();
    let mut command = Command::new(PROGRAM);
    bare(&mut command);
    command.env("AWS_SHARED_CREDENTIALS_FILE", dir.path().join("credentials"));
    command.env("AWS_ENDPOINT_URL_STS", ec2.url()).env_remove("EIPDNS_CONFIG");
    command.current_dir(dir.path()).args(["init", "--region", "us-east-1", "--zone", "z"]);
    let out = command.args(["--profile", "ops", "--endpoint-url", &ec2.url()]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    ec2.wait_for_key("the profile's", |key| key == "AKIAOPS");
    let told = text(&out.stdout);
    for part in [
        "profile \"ops\" is yours and is not written",
        "  eipdns check --aws --profile ops\n",
        "  AWS_PROFILE=ops eipdns serve\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let server = fs::read_to_string(dir.path().join("zones/server.toml")).unwrap();
    assert!(!server.contains("ops") && !server.contains("\nprofile"), "{server}");
    let dns = Server::start_bare(Command::new(PROGRAM), |command| {
        with_keys(command);
        command.arg("serve").current_dir(dir.path()).env("AWS_ENDPOINT_URL_STS", ec2.url());
        command.env("EIPDNS_LISTEN_DNS", "127.0.0.1:0").env("EIPDNS_LISTEN_HTTP", "127.0.0.1:0");
    });
    assert!(!dns.data("z.", RecordType::SOA).is_empty(), "a zone without names is served");
}
