//! `account`: an answer counts only if the credentials are of the account that is configured.

use std::fs;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::moto::Moto;
use super::scripted::{Ec2, Fault, public};
use super::{STALE, answer, asked, configure, refresh, source, with_keys};
use crate::fixtures::waiting::eventually;
use crate::harness::Server;

const NAME: &str = "n1.example.com.";
const BOUND: &str = "n1 = \"75.101.137.1\"";

fn role(account: &str) -> String {
    format!("role_arn = \"arn:aws:iam::{account}:role/dns\"\n")
}

#[test]
fn what_another_account_says_is_refused() {
    let Some(moto) = Moto::start() else { return };
    let endpoint = moto.url();
    // The same Elastic IP in three accounts, of which nobody would know.
    let of = |account: &str| moto.of_role("us-east-1", &format!("arn:aws:iam::{account}:role/dns"));
    let accounts = [moto.in_region("us-east-1"), of("111122223333"), of("444455556666")];
    for (account, private) in accounts.iter().zip(["172.31.5.1", "172.31.5.2", "172.31.5.3"]) {
        let interface = account.interface(private);
        account.associate(&account.allocate("75.101.137.1", "Role", "db"), &interface);
    }
    let wanted = "account = \"111122223333\"\n";
    let of_source = |more: &str| source("east", &endpoint, "1s", &format!("{wanted}{more}"));
    let dir = configure(&of_source(""), "", BOUND);
    let mut server = Server::start_with(dir.path(), |command| {
        with_keys(command);
        command.env("AWS_ENDPOINT_URL_STS", &endpoint);
    });

    // Nothing was known before.
    let stalled = server.wait_for_stall();
    assert_eq!(stalled["fields"]["class"], "credentials", "{stalled}");
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("of account 123456789012, and `account` says 111122223333"), "{error}");
    assert_eq!(server.ask(NAME, RecordType::A).metadata.response_code, ResponseCode::ServFail);

    let server_toml = fs::read_to_string(dir.path().join("server.toml")).unwrap();
    let with = |role: &str| {
        dir.write("server.toml", &server_toml.replace(wanted, &format!("{wanted}{role}")));
    };
    with(&role("111122223333"));
    server.reload();
    server.wait_for("source delivers");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAME), (answer("172.31.5.2"), vec![]));

    // By a slip: the answer of before stands.
    with(&role("444455556666"));
    server.reload();
    let stalled = server.wait_for_stall();
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("of account 444455556666, and"), "{error}");
    eventually("it is stale", || asked(server.dns, NAME) == (answer("172.31.5.2"), vec![STALE]));
}

/// STS is asked once for each key, and only the first answer of all waits for it.
#[test]
fn a_key_is_shown_to_sts_once() {
    let (ec2, sts) = (Ec2::with(1), Ec2::with(0));
    sts.fault(Fault::Unavailable);
    let account = "account = \"123456789012\"";
    let dir = configure(&source("east", &ec2.url(), "1h", account), "", BOUND);
    let start = || {
        Server::start_with(dir.path(), |command| {
            with_keys(command);
            command.env("AWS_ENDPOINT_URL_STS", sts.url());
        })
    };
    let mut server = start();
    let stalled = server.wait_for_stall();
    assert_eq!(stalled["fields"]["class"], "5xx", "{stalled}");
    let error = stalled["fields"]["error"].as_str().unwrap();
    assert!(error.contains("of account 123456789012 is not known yet: STS"), "{error}");
    assert_eq!(server.ask(NAME, RecordType::A).metadata.response_code, ResponseCode::ServFail);

    sts.fault(Fault::None);
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAME), (answer("10.0.0.1"), vec![]));
    let times = sts.identified().len();
    // What is known of a key is no matter of STS any longer.
    sts.fault(Fault::Refused);
    ec2.associate(&public(1), "10.0.9.1");
    assert!(refresh(&server, false).is_empty());
    assert_eq!(asked(server.dns, NAME), (answer("10.0.9.1"), vec![]));
    assert_eq!(sts.identified().len(), times, "once is enough");
    assert!(server.stop().success());

    // A restart knows nothing of the key: the answers of the state stand until STS does.
    let mut server = start();
    server.wait_for_stall();
    eventually("it is stale", || asked(server.dns, NAME) == (answer("10.0.9.1"), vec![STALE]));
    sts.account("999999999999");
    sts.fault(Fault::None);
    let failed = refresh(&server, false);
    assert!(failed.iter().any(|error| error.contains("of account 999999999999")), "{failed:?}");
    assert_eq!(asked(server.dns, NAME), (answer("10.0.9.1"), vec![STALE]));
}
