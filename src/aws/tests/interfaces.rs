//! DescribeNetworkInterfaces.

use std::fmt::Write as _;

use aws_credential_types::Credentials;

use super::super::account::Account;
use super::super::interfaces::{self, Deadlines};
use super::*;
use eipdns::source::interfaces::{DescribeInterfaces, Described, Interface, InterfaceId};

const LONG: Deadlines = Deadlines { page: Duration::from_secs(20), whole: Duration::from_secs(20) };

fn asking(url: String, deadlines: Deadlines) -> interfaces::Caller {
    asking_with(session(url), deadlines)
}

fn asking_with(session: Session, deadlines: Deadlines) -> interfaces::Caller {
    let http = client(&ProxyConfig::disabled(), false);
    interfaces::Caller::new(session, http, PATIENT, deadlines)
}

fn ids(all: &[&str]) -> Vec<InterfaceId> {
    all.iter().map(|id| InterfaceId::from(*id)).collect()
}

/// As EC2 writes it, one address with the mark of a primary one.
fn eni(id: &str, addresses: &[&str], primary: Option<&str>) -> String {
    let mut item = format!(
        "<item><networkInterfaceId>{id}</networkInterfaceId><status>in-use</status>\
         <privateIpAddress>10.0.0.1</privateIpAddress><tagSet/><ipv6AddressesSet>"
    );
    for ip in addresses {
        let is_primary = primary == Some(ip);
        write!(
            item,
            "<item><ipv6Address>{ip}</ipv6Address><isPrimaryIpv6>{is_primary}</isPrimaryIpv6></item>"
        )
        .unwrap();
    }
    item + "</ipv6AddressesSet></item>"
}

/// A page; `next` is the token of the one after it.
fn page(items: &[String], next: Option<&str>) -> String {
    let next = next.map_or_else(String::new, |token| format!("<nextToken>{token}</nextToken>"));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DescribeNetworkInterfacesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n    \
         <requestId>59dbff89</requestId>\n    <networkInterfaceSet>{}</networkInterfaceSet>{next}\n\
         </DescribeNetworkInterfacesResponse>",
        items.concat()
    )
}

fn interface(id: &str, addresses: &[&str], primary: Option<&str>) -> Interface {
    let ip = |text: &str| text.parse().unwrap();
    Interface {
        id: id.into(),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        primary: primary.map(ip),
    }
}

/// What a server that answers so is heard to say of these.
async fn heard(
    asked: &[&str],
    reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> Result<Described, PollError> {
    let server = Server::start(reply).await;
    asking(server.url(), LONG).describe(&ids(asked)).await
}

#[tokio::test]
async fn an_answer_becomes_interfaces_and_the_request_is_by_filter() {
    let both = ["2001:db8::7", "2001:0db8::0008"];
    let items = [
        eni("eni-2", &both, Some(both[1])),
        eni("eni-1", &[], None),
        // Nobody has asked for it.
        eni("eni-9", &["2001:db8::9"], None),
        "<item><networkInterfaceId>eni-3</networkInterfaceId></item>".to_owned(),
    ];
    let body = page(&items, None);
    let server = Server::start(move |_| http("200 OK", &body)).await;
    let mut caller = asking(server.url(), LONG);
    let said = caller.describe(&ids(&["eni-1", "eni-2", "eni-3", "eni-4"])).await.unwrap();
    assert_eq!(
        said.interfaces,
        [
            interface("eni-1", &[], None),
            interface("eni-2", &both, Some(both[1])),
            interface("eni-3", &[], None),
        ]
    );
    assert_eq!((said.left_out.count, caller.requests), (0, 1));
    assert_eq!(
        server.requests()[0].body,
        "Action=DescribeNetworkInterfaces&Version=2016-11-15&MaxResults=1000\
         &Filter.1.Name=network-interface-id&Filter.1.Value.1=eni-1&Filter.1.Value.2=eni-2\
         &Filter.1.Value.3=eni-3&Filter.1.Value.4=eni-4"
    );
}

#[tokio::test]
async fn every_page_is_read() {
    let pages = [
        page(&[eni("eni-1", &["2001:db8::1"], None)], Some("a/b=")),
        // A page may be empty and not the last one.
        page(&[], Some("c")),
        page(&[eni("eni-2", &["2001:db8::2"], None)], Some("")),
    ];
    let server = Server::start(move |n| http("200 OK", &pages[n])).await;
    let mut caller = asking(server.url(), LONG);
    let said = caller.describe(&ids(&["eni-1", "eni-2"])).await.unwrap();
    assert_eq!(said.interfaces.len(), 2);
    assert_eq!(caller.requests, 3, "one for each page");
    let tokens: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.body.split("NextToken=").nth(1).map(|t| t[..1].to_owned()))
        .collect();
    assert_eq!(tokens, [None, Some("a".to_owned()), Some("c".to_owned())]);
}

#[tokio::test]
async fn pages_without_end_are_no_answer() {
    let error = heard(&["eni-1"], |n| http("200 OK", &page(&[], Some(["a", "b"][n % 2]))));
    let error = error.await.unwrap_err();
    assert_eq!(error.class(), Class::NotWhole);
    assert!(error.to_string().contains("its NextToken comes again"), "{error}");
    let server = Server::start(|n| http("200 OK", &page(&[], Some(&n.to_string())))).await;
    let mut caller = asking(server.url(), LONG);
    let error = caller.describe(&ids(&["eni-1"])).await.unwrap_err();
    assert_eq!(error.class(), Class::NotWhole);
    assert!(error.to_string().contains("it has more than 20 pages"), "{error}");
    assert_eq!((server.requests().len(), caller.requests), (20, 20));
}

#[tokio::test]
async fn what_is_not_whole_is_no_answer() {
    let whole = page(&[eni("eni-1", &["2001:db8::1"], None)], None);
    let cases = [
        ("cut in an item", whole[..whole.find("<status>").unwrap()].to_owned()),
        ("cut after an item", whole[..whole.find("</networkInterfaceSet>").unwrap()].to_owned()),
        ("cut in the last tag", whole[..whole.len() - 1].to_owned()),
        ("nothing", String::new()),
        ("no set", whole.replace("networkInterfaceSet", "set")),
        ("another call", whole.replace("DescribeNetworkInterfaces", "DescribeAddresses")),
        ("HTML", "<html><body>Welcome</body></html>".to_owned()),
        ("a character that XML has not", whole.replace("in-use", "in\u{1}use")),
        ("an end too many", whole.replace("<tagSet/>", "</item>")),
        ("no id", whole.replace("networkInterfaceId", "id")),
        ("an empty id", whole.replace("eni-1", "")),
    ];
    for (name, body) in cases {
        let error = heard(&["eni-1"], move |_| http("200 OK", &body)).await.unwrap_err();
        assert_eq!(error.class(), Class::NotWhole, "{name}: {error}");
    }
    // A later page that is cut takes the first one with it.
    let pages = [
        whole.replace("</networkInterfaceSet>", "</networkInterfaceSet><nextToken>a</nextToken>"),
        whole[..300].to_owned(),
    ];
    let error = heard(&["eni-1"], move |n| http("200 OK", &pages[n])).await.unwrap_err();
    assert_eq!(error.class(), Class::NotWhole, "{error}");
}

#[tokio::test]
async fn an_interface_with_an_address_that_is_none_is_left_out_alone() {
    let items = [
        eni("eni-1", &["2001:db8::1", "2001:db8::g"], None),
        eni("eni-2", &["2001:db8::2"], None),
        eni("eni-3", &[""], None),
        eni("eni-4", &["fe80::4"], None),
    ];
    let body = page(&items, None);
    let all = ["eni-1", "eni-2", "eni-3", "eni-4"];
    let said = heard(&all, move |_| http("200 OK", &body)).await.unwrap();
    assert_eq!(said.interfaces, [interface("eni-2", &["2001:db8::2"], None)]);
    assert_eq!(said.left_out.count, 3);
    let why = said.left_out.first[0].to_string();
    assert!(why.starts_with("eni-1 has \"Ipv6Address\": \"2001:db8::g\""), "{why}");
}

#[tokio::test]
async fn trouble_has_a_name() {
    for (status, code, class) in [
        ("503 Service Unavailable", "RequestLimitExceeded", Class::Throttled),
        ("401 Unauthorized", "AuthFailure", Class::Credentials),
        ("503 Service Unavailable", "Unavailable", Class::Server),
        ("400 Bad Request", "InvalidParameterValue", Class::Other),
    ] {
        let server = Server::start(move |_| http(status, &fault(code))).await;
        let error = asking(server.url(), LONG).describe(&ids(&["eni-1"])).await.unwrap_err();
        assert_eq!(error.class(), class, "{status}: {error}");
        assert_eq!(server.requests().len(), 1, "the SDK must not retry");
    }
    let denied = heard(&["eni-1"], |_| http("403 Forbidden", &fault("UnauthorizedOperation")));
    assert_eq!(
        denied.await.unwrap_err().to_string(),
        "not allowed (UnauthorizedOperation): allow ec2:DescribeNetworkInterfaces \
         to the role or user in use; it says: Because."
    );
}

#[tokio::test]
async fn a_page_has_a_deadline_and_all_of_them_have_one() {
    let brief = Duration::from_millis(300);
    let server = Server::start(|n| match n {
        0 => http("200 OK", &page(&[], Some("a"))),
        _ => Reply::Hang,
    })
    .await;
    for (deadlines, after) in
        [(Deadlines { page: brief, ..LONG }, brief), (Deadlines { whole: brief, ..LONG }, brief)]
    {
        let error = asking(server.url(), deadlines).describe(&ids(&["eni-1"])).await.unwrap_err();
        assert_eq!(error, PollError::Timeout { after });
    }
}

/// Refused credentials are fetched anew, and what other credentials are told is refused.
#[tokio::test]
async fn credentials_are_those_of_the_account() {
    let body = page(&[eni("eni-1", &["2001:db8::1"], None)], None);
    let server = Server::start(move |_| http("200 OK", &body)).await;
    let sdk = SdkConfig::builder().behavior_version(behaviour()).build();
    let of = |account: &str| {
        let credentials = Credentials::builder()
            .access_key_id("test")
            .secret_access_key("test")
            .account_id(account)
            .provider_name("test");
        let mut session = session(server.url());
        session.keeper.provider = SharedCredentialsProvider::new(credentials.build());
        let http = client(&ProxyConfig::disabled(), false);
        session.account = Some(Account::new("111122223333", &sdk, http, PATIENT.whole));
        asking_with(session, LONG)
    };
    assert_eq!(of("111122223333").describe(&ids(&["eni-1"])).await.unwrap().interfaces.len(), 1);
    let error = of("444455556666").describe(&ids(&["eni-1"])).await.unwrap_err();
    let (is, wanted) = ("444455556666".into(), "111122223333".into());
    assert_eq!(error, PollError::OtherAccount { is, wanted });
}

/// Attempts of one call that hang take none from the other.
#[test]
fn each_call_has_a_key_of_its_own() {
    let settings = settings("http://127.0.0.1:1".into());
    let resolver = &Resolver::new(vec![]);
    let of = Of { name: "east", settings: &settings, region: Some("us-east-1"), resolver };
    let keys = ["ec2:DescribeAddresses", "ec2:DescribeNetworkInterfaces"]
        .map(|action| Asked::new(&of, action).key());
    assert_ne!(keys[0], keys[1]);
    assert_eq!(interfaces::Interfaces::new(&of).requests(), 0);
}
