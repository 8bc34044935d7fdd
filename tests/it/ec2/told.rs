//! What is said of a failure: by us, once, in a few words.

use super::scripted::{Ec2, Fault};
use super::{bare, configure, refresh, source, with_keys};
use crate::harness::{Dir, Server};

const ROLE: &str = "role_arn = \"arn:aws:iam::111122223333:role/dns\"";

fn with_role(ec2: &Ec2) -> Dir {
    configure(&source("east", &ec2.url(), "1h", ROLE), "", "n1 = \"75.101.137.1\"")
}

/// Starts with a role that STS does not give.
fn refused(dir: &Dir, ec2: &Ec2, log: &str) -> Server {
    ec2.fault(Fault::NoRole);
    Server::start_with(dir.path(), |command| {
        with_keys(command);
        command.env("AWS_ENDPOINT_URL_STS", ec2.url()).env("EIPDNS_LOG", log);
    })
}

/// The SDK tells of each try, in 600 characters and more.
#[test]
fn a_role_that_is_not_given_is_told_once() {
    let ec2 = Ec2::with(1);
    let dir = with_role(&ec2);
    let mut server = refused(&dir, &ec2, "debug");
    let stalled = server.wait("a stall", |l| l["fields"]["class"] == "unauthorised");
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("allow sts:AssumeRole to the role or user in use"), "{error}");
    assert!(error.ends_with('…') && !error.contains('\n') && error.len() < 500, "{error}");
    for _ in 0..3 {
        assert_eq!(refresh(&server, false), [error], "asked again");
    }
    assert_eq!(server.status()["sources"][0]["why"], error);
    let lines = server.lines();
    let denied: Vec<_> = lines.iter().filter(|l| l.to_string().contains("AccessDenied")).collect();
    assert_eq!(denied.len(), 1, "{denied:#?}");
}

#[test]
fn the_sdk_is_heard_by_its_name() {
    let ec2 = Ec2::with(1);
    let dir = with_role(&ec2);
    let mut server = refused(&dir, &ec2, "info,aws_config=warn");
    server.wait_for("STS refused to grant assume role");
}

/// That there is nothing to ask STS with is no trouble of the network.
#[test]
fn a_role_without_credentials_to_ask_for_it() {
    let ec2 = Ec2::with(1);
    let dir = with_role(&ec2);
    let mut server = Server::start_with(dir.path(), |command| {
        bare(command);
        command.env("HOME", dir.path()).env("AWS_ENDPOINT_URL_STS", ec2.url());
    });
    let stalled = server.wait("a stall", |l| l["fields"]["class"].is_string());
    assert_eq!(stalled["fields"]["class"], "credentials", "{stalled}");
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("give the instance a role"), "{error}");
    assert!(error.contains("Environment: ") && error.contains("Ec2InstanceMetadata: "), "{error}");
    assert!(!error.contains('\n') && error.len() < 700, "{error}");
}
