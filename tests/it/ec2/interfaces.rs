//! What sources say of network interfaces and their IPv6 addresses, asked once as the commands do.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;
use std::sync::Arc;

use eipdns::config::{Overrides, load};
use eipdns::source::interfaces::{Told, Wanted};
use eipdns::source::{ec2, once};
use serde_json::{Value, json};

use super::moto::Moto;
use super::scripted::{Ec2, Fault};
use super::{configure, source, with_keys};
use crate::harness::Dir;

/// Where [`child`] finds its configuration, and what it asks for: a list for each source.
const DIRECTORY: &str = "EIPDNS_TEST_DIRECTORY";
const WANTED: &str = "EIPDNS_TEST_WANTED";

/// The program of the tests below, with an environment of its own for the SDK; does nothing in an
/// ordinary run. Says what it is told.
#[test]
fn child() {
    let (Ok(directory), Ok(wanted)) = (env::var(DIRECTORY), env::var(WANTED)) else { return };
    ec2::install(eipdns_aws::CALLS);
    let overrides = Overrides { ec2: true, ..Overrides::default() };
    let config = load(directory.as_ref(), &overrides).unwrap_or_else(|e| panic!("{e}")).config;
    let wanted: Vec<BTreeSet<Arc<str>>> = serde_json::from_str::<Vec<Vec<String>>>(&wanted)
        .unwrap()
        .into_iter()
        .map(|ids| ids.into_iter().map(Into::into).collect())
        .collect();
    let wanted: Vec<Wanted> = wanted.into_iter().map(Arc::new).collect();
    for Told { source, asked, answer, .. } in once::interfaces(&config, &wanted) {
        let (mut said, mut failed) = (Value::Null, Value::Null);
        match answer {
            Ok(all) => {
                let shown = |i: &eipdns::source::interfaces::Interface| {
                    (i.id.to_string(), json!({ "has": i.addresses, "primary": i.primary }))
                };
                said = all.iter().map(shown).collect();
            }
            Err(error) => failed = error.to_string().into(),
        }
        let asked = asked.len();
        let told = json!({ "source": source, "asked": asked, "said": said, "failed": failed });
        println!("\ntold: {told}");
    }
}

/// Asks every source of `dir` once for what is wanted of each.
fn ask(dir: &Dir, wanted: &[&[&str]], change: impl FnOnce(&mut Command)) -> Vec<Value> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "ec2::interfaces::child", "--nocapture"]);
    with_keys(&mut command);
    command.env(DIRECTORY, dir.path()).env(WANTED, json!(wanted).to_string());
    change(&mut command);
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    let told = text.lines().filter_map(|line| line.strip_prefix("told: "));
    told.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn nothing(_: &mut Command) {}

/// What `told` says of an interface.
fn said(told: &Value, id: &str) -> (Vec<String>, Option<String>) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let of = &told["said"][id];
    let has = of["has"].as_array().unwrap_or_else(|| panic!("{id} in {told}"));
    (has.iter().filter_map(text).collect(), text(&of["primary"]))
}

#[test]
fn every_page_of_every_part_is_read() {
    let ec2 = Ec2::with(0);
    let ids: Vec<String> = (100..550).map(|n| format!("eni-{n:05}")).collect();
    ec2.interfaces(|all| {
        for (n, id) in (100..).zip(&ids) {
            let [ip, other] = [format!("2001:db8::{n:x}"), format!("2001:db8:1::{n:x}")];
            all.set(id, &[&ip, &other], Some(&other));
        }
        all.paged(30);
    });
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "");
    let wanted: Vec<&str> = ids.iter().map(String::as_str).chain(["eni-99999"]).collect();
    let [told] = &ask(&dir, &[&wanted], nothing)[..] else { panic!("one source") };
    assert_eq!((&told["source"], &told["asked"]), (&json!(0), &json!(451)));
    assert_eq!(told["said"].as_object().unwrap().len(), 450, "one does not exist");
    let has = ["2001:db8::1ff", "2001:db8:1::1ff"].map(str::to_owned);
    assert_eq!(said(told, "eni-00511"), (has.to_vec(), Some(has[1].clone())));
    // 200, 200 and 51 of them, on pages of 30.
    let asked: Vec<_> = ec2.interfaces(|all| all.calls().iter().map(Vec::len).collect());
    assert_eq!(asked, [[200; 7].as_slice(), &[200; 7], &[51; 2]].concat());
    assert_eq!(ec2.calls(), 0, "nobody has asked for addresses");
}

#[test]
fn trouble_is_named_and_nothing_wanted_asks_nobody() {
    let ec2 = Ec2::with(0);
    ec2.interfaces(|all| all.set("eni-1", &["2001:db8::1"], None));
    let dir = configure(&source("east", &ec2.url(), "1h", ""), "", "");
    assert!(ask(&dir, &[&[]], nothing).is_empty());
    assert_eq!(ec2.interfaces(|all| all.calls().len()), 0);
    for (fault, part) in [
        (Fault::Unauthorised, "allow ec2:DescribeNetworkInterfaces to the role or user in use"),
        (Fault::Throttled, "throttled (RequestLimitExceeded)"),
        (Fault::CutInItem, "the answer is not whole"),
    ] {
        ec2.interfaces(|all| all.fault(fault));
        let [told] = &ask(&dir, &[&["eni-1"]], nothing)[..] else { panic!("one source") };
        let failed = told["failed"].as_str().unwrap_or_else(|| panic!("{told}"));
        assert!(failed.contains(part), "{failed}");
        assert_eq!(told["asked"], 1);
    }
}

/// Two accounts and two regions have interfaces of their own, and one that says so is asked by no
/// other account.
#[test]
fn moto_tells_of_its_interfaces() {
    let Some(moto) = Moto::start() else { return };
    let endpoint = moto.url();
    let role = "arn:aws:iam::111122223333:role/dns";
    let accounts =
        [moto.in_region("us-east-1"), moto.in_region("eu-west-1"), moto.of_role("us-east-1", role)];
    let ids: Vec<String> = accounts
        .iter()
        .enumerate()
        .map(|(n, account)| {
            let eni = account.interface("172.31.5.1");
            if n > 0 {
                let ip = format!("2001%3Adb8%3A%3A{n}");
                let assigned = [("NetworkInterfaceId", eni.as_str()), ("Ipv6Addresses.1", &ip)];
                account.call("AssignIpv6Addresses", &assigned);
            }
            eni
        })
        .collect();
    let of = |name: &str, more: &str| source(name, &endpoint, "1h", more);
    let assumes = format!("role_arn = \"{role}\"\n");
    let west = of("west", "").replace("us-east-1", "eu-west-1");
    let wrong = of("wrong", &format!("{assumes}account = \"444455556666\"\n"));
    let sources = [of("east", ""), west, of("partner", &assumes), wrong].concat();
    let dir = configure(&sources, "", "");
    // Each is asked for all of them.
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    let sts = |command: &mut Command| {
        command.env("AWS_ENDPOINT_URL_STS", &endpoint);
    };
    let mut told = ask(&dir, &[&all, &all, &all, &all], sts);
    told.sort_by_key(|told| told["source"].as_u64());
    for (n, told) in told.iter().take(3).enumerate() {
        assert_eq!(told["said"].as_object().map(|all| all.len()), Some(1), "{told}");
        let expected: Vec<_> = (n > 0).then(|| format!("2001:db8::{n}")).into_iter().collect();
        // moto says of none that it is the primary one.
        assert_eq!(said(told, &ids[n]), (expected, None));
    }
    let refused = told[3]["failed"].as_str().unwrap_or_else(|| panic!("{:?}", told[3]));
    assert!(
        refused.contains("of account 111122223333, and `account` says 444455556666"),
        "{refused}"
    );
}

#[test]
fn a_file_is_read_as_the_cli_prints_it() {
    let Some(moto) = Moto::start() else { return };
    let account = moto.in_region("us-east-1");
    let eni = account.interface("172.31.5.1");
    let assigned = [("NetworkInterfaceId", eni.as_str()), ("Ipv6Addresses.1", "2001%3Adb8%3A%3A9")];
    account.call("AssignIpv6Addresses", &assigned);
    let printed = moto.aws(&["ec2", "describe-network-interfaces"]);
    let of = "[[source]]\nname = \"a\"\ntype = \"file\"\npath = \"addresses.json\"\n\
              interfaces = \"interfaces.json\"\n";
    let dir = configure(of, "", "");
    dir.write("addresses.json", "{\"Addresses\": []}");
    dir.write("interfaces.json", &printed.to_string());
    let [told] = &ask(&dir, &[&[&eni]], nothing)[..] else { panic!("one source") };
    assert_eq!(told["asked"], 1, "what is wanted");
    assert_eq!(said(told, &eni), (vec!["2001:db8::9".into()], None));
    dir.write("interfaces.json", &printed.to_string()[1..]);
    let [told] = &ask(&dir, &[&[&eni]], nothing)[..] else { panic!("one source") };
    assert!(told["failed"].as_str().unwrap().contains("interfaces.json"), "{told}");
}
