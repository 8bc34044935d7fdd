//! The real SDK against a scripted server on this host.

mod interfaces;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::Region;
use aws_smithy_http_client::proxy::ProxyConfig;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::credentials::{Keeper, KeptCredentials, Keys, Owner};
use super::http_client::{Http, is_near};
use super::session::behaviour;
use super::trouble::ASSUME;
use super::*;
use eipdns::config::Ec2Source;
use eipdns::source::error::Class;
use eipdns::source::identity::{EdgeIp, Identity};
use eipdns::source::inventory::Address;
use eipdns::source::lookup::Resolver;
use eipdns::source::usable::LeftOut;

/// Short enough for a test, long enough for a busy machine.
const BRIEF: Limits = Limits {
    connect: Duration::from_secs(5),
    hedge: Duration::from_millis(300),
    whole: Duration::from_millis(1500),
};

/// Nothing here is slow unless it is meant to be.
const PATIENT: Limits = Limits {
    connect: Duration::from_secs(5),
    hedge: Duration::from_secs(20),
    whole: Duration::from_secs(20),
};

enum Reply {
    Send(String),
    /// These octets, then the end of the connection.
    Raw(Vec<u8>),
    Hang,
    Reset,
}

/// A request as it came.
#[derive(Debug, Clone)]
struct Request {
    connection: usize,
    head: String,
    body: String,
}

struct Server {
    at: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers the nth request with `reply(n)`.
    async fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, reply) = (Arc::clone(&requests), Arc::new(reply));
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(converse(connection, stream, Arc::clone(&seen), Arc::clone(&reply)));
            }
        });
        Self { at, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://{}", self.at)
    }
}

async fn converse(
    connection: usize,
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Request>>>,
    reply: Arc<impl Fn(usize) -> Reply>,
) {
    while let Some((head, body)) = request(&mut stream).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(Request { connection, head, body });
            seen.len() - 1
        };
        match reply(number) {
            Reply::Send(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Reply::Raw(octets) => {
                let _ = stream.write_all(&octets).await;
                return;
            }
            Reply::Hang => std::future::pending().await,
            Reply::Reset => {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut octets = Vec::new();
    let end = loop {
        if let Some(at) = octets.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut octets).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let head = String::from_utf8(octets[..end].to_vec()).unwrap();
    let length = head
        .lines()
        .filter_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        })
        .next()
        .unwrap_or(0);
    while octets.len() < end + length {
        if stream.read_buf(&mut octets).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    Some((head, String::from_utf8(octets[end..].to_vec()).unwrap()))
}

fn http(status: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Send(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

/// As EC2 writes it.
fn xml(set: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DescribeAddressesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n    \
         <requestId>59dbff89</requestId>\n    {set}\n</DescribeAddressesResponse>"
    )
}

const ONE: &str = "<addressesSet><item>\
    <publicIp>75.101.137.243</publicIp><allocationId>eipalloc-01</allocationId>\
    <domain>vpc</domain><instanceId>i-0aa</instanceId>\
    <associationId>eipassoc-01</associationId>\
    <networkInterfaceId>eni-01</networkInterfaceId>\
    <networkInterfaceOwnerId>111122223333</networkInterfaceOwnerId>\
    <privateIpAddress>10.0.1.5</privateIpAddress>\
    <tagSet><item><key>Role</key><value>db</value></item>\
    <item><key>Spare</key><value/></item></tagSet></item></addressesSet>";

fn fault(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
         <Message>Because.</Message></Error></Errors><RequestID>ea966190</RequestID></Response>"
    )
}

fn settings(endpoint_url: String) -> Ec2Source {
    Ec2Source {
        poll: Duration::from_secs(2),
        endpoint_url: Some(endpoint_url),
        profile: None,
        role_arn: None,
        external_id: None,
        account: None,
        filters: BTreeMap::new(),
    }
}

fn keys() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "test"))
}

/// Of a source of its own.
fn keeping(provider: SharedCredentialsProvider) -> Keeper {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let key = LAST.fetch_add(1, Ordering::SeqCst).to_string().into();
    Keeper::new(provider, Owner { key, asked: "their provider" })
}

fn session(endpoint_url: String) -> Session {
    let sdk =
        SdkConfig::builder().behavior_version(behaviour()).region(Region::new("us-east-1")).build();
    Session::new(sdk, keeping(keys()), Some(endpoint_url)).unwrap()
}

fn client(proxy: &ProxyConfig, fresh: bool) -> SharedHttpClient {
    Http::new(Resolver::new(vec![]), proxy.clone(), fresh).share()
}

fn caller_with(settings: Ec2Source, proxy: &ProxyConfig, limits: Limits) -> Caller {
    let filters = asked(&settings).filters();
    let http = [client(proxy, false), client(proxy, true)];
    Caller::new(session(settings.endpoint_url.unwrap()), filters, http, limits)
}

/// The source with these settings.
fn asked(settings: &Ec2Source) -> Asked {
    let resolver = &Resolver::new(vec![]);
    let of = Of { name: "east", settings, region: Some("us-east-1"), resolver };
    Asked::new(&of, DESCRIBE)
}

fn caller(url: String, limits: Limits) -> Caller {
    caller_with(settings(url), &ProxyConfig::disabled(), limits)
}

async fn described(
    reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> Result<Described, PollError> {
    let server = Server::start(reply).await;
    caller(server.url(), PATIENT).describe().await
}

async fn said(
    reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> Result<Vec<Address>, PollError> {
    described(reply).await.map(|described| new(described).0)
}

/// What an answer says that is not equal to one before.
fn new(described: Described) -> (Vec<Address>, LeftOut) {
    let Described::New { addresses, left_out } = described else { panic!("equal to nothing") };
    (addresses.iter().map(|address| (**address).clone()).collect(), left_out)
}

#[tokio::test]
async fn an_answer_becomes_addresses() {
    let full = said(|_| http("200 OK", &xml(ONE))).await.unwrap();
    assert_eq!(
        full,
        [Address {
            identity: Identity::Public {
                public_ip: Ipv4Addr::new(75, 101, 137, 243),
                allocation_id: Some("eipalloc-01".into()),
            },
            association_id: Some("eipassoc-01".into()),
            instance_id: Some("i-0aa".into()),
            network_interface_id: Some("eni-01".into()),
            network_interface_owner_id: Some("111122223333".into()),
            private_ip: Some(Ipv4Addr::new(10, 0, 1, 5)),
            service_managed: None,
            tags: [("Role", "db"), ("Spare", "")].into(),
        }]
    );
    let sparse = "<addressesSet><item><publicIp>75.101.137.244</publicIp><instanceId/>\
        <networkInterfaceId></networkInterfaceId><serviceManaged>nlb</serviceManaged></item>\
        <item><carrierIp>155.146.0.1</carrierIp><domain>vpc</domain></item></addressesSet>";
    let sparse = said(move |_| http("200 OK", &xml(sparse))).await.unwrap();
    let managed = Some("nlb".to_owned());
    let ip = Ipv4Addr::new(75, 101, 137, 244);
    assert_eq!(sparse, [Address { service_managed: managed, ..Address::unassociated(ip) }]);
    assert_eq!(said(|_| http("200 OK", &xml("<addressesSet/>"))).await, Ok(vec![]));
}

#[tokio::test]
async fn what_cannot_be_used_is_left_out_and_the_rest_is_taken() {
    let item = |fields: &str| format!("<item>{fields}<domain>vpc</domain></item>");
    let of = |public: u8, private: &str| {
        item(&format!(
            "<publicIp>75.101.137.{public}</publicIp><privateIpAddress>{private}</privateIpAddress>"
        ))
    };
    let items = [
        of(1, "10.0.0.1"),
        item("<carrierIp>155.146.0.1</carrierIp><allocationId>eipalloc-0c</allocationId>"),
        item("<publicIp/><customerOwnedIp>192.0.2.7</customerOwnedIp>"),
        item("<carrierIp>155.146.0</carrierIp><allocationId>eipalloc-0d</allocationId>"),
        of(2, "10.0.0.2"),
        of(1, "10.0.0.1"),
        of(2, "10.0.0.3"),
        of(3, "127.0.0.1"),
    ];
    let set = format!("<addressesSet>{}</addressesSet>", items.concat());
    let (addresses, left_out) = new(described(move |_| http("200 OK", &xml(&set))).await.unwrap());
    let all: Vec<_> = addresses.iter().map(|a| a.allocation().to_string()).collect();
    assert_eq!(all, ["75.101.137.1", "eipalloc-0c"]);
    let carrier = EdgeIp::Carrier(Ipv4Addr::new(155, 146, 0, 1));
    assert_eq!(addresses[1].identity.edge_ip(), Some(carrier));
    let unknown = ["75.101.137.2", "75.101.137.3", "eipalloc-0d"].map(|one| one.parse().unwrap());
    assert_eq!(left_out.unknown, unknown.into());
    assert_eq!(left_out.count, 4);
}

#[tokio::test]
async fn what_is_not_whole_is_no_answer() {
    let whole = xml(ONE);
    let cases = [
        ("cut in an item", whole[..whole.find("<privateIp").unwrap()].to_owned()),
        ("cut after the set", whole[..whole.find("\n</Desc").unwrap()].to_owned()),
        ("cut in the last tag", whole[..whole.len() - 1].to_owned()),
        ("nothing", String::new()),
        ("no set", xml("")),
        ("another call", whole.replace("DescribeAddresses", "DescribeInstances")),
        ("HTML", "<html><body>Welcome to the airport Wi-Fi</body></html>".to_owned()),
        ("JSON", "{\"Addresses\": []}".to_owned()),
        ("garbage", "\0\u{1}\u{2}".to_owned()),
        ("a character that XML has not", whole.replace("<value>db", "<value>\u{1}db")),
        ("an end too many", whole.replace("<value/>", "<value/></item>")),
        ("an end too few", whole.replace("</privateIpAddress>", "")),
        ("no address", xml("<addressesSet><item><domain>vpc</domain></item></addressesSet>")),
        ("bad address", xml(&ONE.replace("75.101.137.243", "75.101.137.2433"))),
        ("bad private address", xml(&ONE.replace("10.0.1.5", "::1"))),
    ];
    for (name, body) in cases {
        let error = said(move |_| http("200 OK", &body)).await.unwrap_err();
        assert_eq!(error.class(), Class::NotWhole, "{name}: {error}");
    }
    // Fewer octets than announced.
    let error =
        said(|_| Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n<?xml".to_vec()));
    let error = error.await.unwrap_err();
    assert_eq!(error.class(), Class::NotWhole, "{error}");
}

/// Whatever comes between, an answer is compared with the last good one of its caller.
#[tokio::test]
async fn an_answer_that_is_equal_to_the_last_one_is_said_to_be() {
    let again = |request: &str| xml(ONE).replace("59dbff89", request);
    let other_order = "<tagSet><item><key>Spare</key><value/></item>\
        <item><key>Role</key><value>db</value></item></tagSet>";
    let tags = &ONE[ONE.find("<tagSet>").unwrap()..ONE.find("</item></addressesSet>").unwrap()];
    let replies = [
        ("200 OK", xml(ONE), Ok("new")),
        ("200 OK", again("00000001"), Ok("equal")),
        ("200 OK", again("00000002").replace(tags, other_order), Ok("equal")),
        ("503 Service Unavailable", fault("RequestLimitExceeded"), Err(Class::Throttled)),
        // Equal as far as it goes.
        ("200 OK", again("3")[..again("3").len() - 1].to_owned(), Err(Class::NotWhole)),
        ("200 OK", again("4").replace("</addressesSet>", ""), Err(Class::NotWhole)),
        ("200 OK", again("4").replace("<addressesSet>", "<addressesSet><!-- -->"), Ok("new")),
        ("500 Internal Server Error", again("5"), Err(Class::Server)),
        ("200 OK", again("6"), Ok("new")),
        ("200 OK", again("7"), Ok("equal")),
        ("200 OK", again("8").replace("<value>db", "<value>web"), Ok("new")),
        ("200 OK", xml("<addressesSet/>"), Ok("new")),
        ("200 OK", xml("<addressesSet></addressesSet>"), Ok("equal")),
        ("200 OK", again("9"), Ok("new")),
    ];
    let said = replies.clone().map(|(status, body, _)| (status, body));
    let count = said.len();
    let server = Server::start(move |n| http(said[n % count].0, &said[n % count].1)).await;
    let mut first = caller(server.url(), PATIENT);
    for (n, (_, body, expected)) in replies.iter().enumerate() {
        let found = match first.describe().await {
            Ok(Described::Equal) => Ok("equal"),
            Ok(Described::New { .. }) => Ok("new"),
            Err(error) => Err(error.class()),
        };
        assert_eq!(found, *expected, "answer {n}: {body}");
    }
    // What one caller has heard is nothing to another.
    assert_eq!(new(caller(server.url(), PATIENT).describe().await.unwrap()).0.len(), 1);
}

#[tokio::test]
async fn trouble_has_a_name() {
    let cases = [
        ("503 Service Unavailable", fault("RequestLimitExceeded"), Class::Throttled),
        ("403 Forbidden", fault("UnauthorizedOperation"), Class::Unauthorised),
        ("401 Unauthorized", fault("AuthFailure"), Class::Credentials),
        ("400 Bad Request", fault("RequestExpired"), Class::Credentials),
        ("503 Service Unavailable", fault("Unavailable"), Class::Server),
        ("500 Internal Server Error", fault("InternalError"), Class::Server),
        ("502 Bad Gateway", "<html>Bad Gateway</html>".to_owned(), Class::Server),
        ("403 Forbidden", "<html>Forbidden</html>".to_owned(), Class::NotWhole),
        ("400 Bad Request", fault("InvalidParameterValue"), Class::Other),
    ];
    for (status, body, class) in cases {
        let server = Server::start(move |_| http(status, &body)).await;
        let error = caller(server.url(), PATIENT).describe().await.unwrap_err();
        assert_eq!(error.class(), class, "{status}: {error}");
        assert_eq!(server.requests().len(), 1, "the SDK must not retry");
    }
    let denied = said(|_| http("403 Forbidden", &fault("UnauthorizedOperation"))).await;
    assert_eq!(
        denied.unwrap_err().to_string(),
        "not allowed (UnauthorizedOperation): allow ec2:DescribeAddresses \
         to the role or user in use; it says: Because."
    );
}

#[tokio::test]
async fn trouble_on_the_way_has_a_name() {
    let class = |error: PollError| (error.class(), error.to_string());
    for reply in [|| Reply::Reset, || Reply::Raw(vec![])] {
        let (found, error) = class(said(move |_| reply()).await.unwrap_err());
        assert_eq!(found, Class::Connect, "{error}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = caller(format!("http://{nobody}"), PATIENT).describe().await;
    let (found, error) = class(refused.unwrap_err());
    assert_eq!(found, Class::Connect);
    let expected = "no connection to 127.0.0.1: client error (Connect)";
    assert!(error.starts_with(expected) && error.contains("Connection refused"), "{error}");

    let (found, error) =
        class(said(|_| Reply::Raw(b"SSH-2.0-OpenSSH_9\r\n".to_vec())).await.unwrap_err());
    assert!(matches!(found, Class::Connect | Class::NotWhole), "{error}");

    // TLS to a server that has none.
    let server = Server::start(|_| Reply::Hang).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let tls = caller(format!("https://{at}"), PATIENT).describe().await;
    let (found, error) = class(tls.unwrap_err());
    assert_eq!(found, Class::Tls, "{error}");
    assert!(error.starts_with("TLS with 127.0.0.1: "), "{error}");
    drop(server);

    let unknown = caller("http://ec2.test:80".into(), PATIENT).describe().await;
    assert_eq!(
        unknown,
        Err(PollError::Dns {
            host: "ec2.test".into(),
            cause: "there is no resolver to ask".into()
        })
    );
}

#[tokio::test]
async fn the_first_of_two_tries_that_is_good_counts() {
    // The first connection is dead; the second try has one of its own.
    let server =
        Server::start(|n| if n == 0 { Reply::Hang } else { http("200 OK", &xml(ONE)) }).await;
    let mut caller = caller(server.url(), BRIEF);
    assert_eq!(new(caller.describe().await.unwrap()).0.len(), 1);
    assert_eq!(caller.describe().await.unwrap(), Described::Equal);
    let on: Vec<usize> = server.requests().iter().map(|r| r.connection).collect();
    assert_eq!(on, [0, 1, 2], "the dead connection is not used again, nor is the hedge's");
    assert_eq!(caller.requests.load(Ordering::Relaxed), 3, "each try is a request");

    // The second fails: the first one's answer is waited for.
    let server = Server::start(|n| match n {
        0 => Reply::Hang,
        _ => http("503 Unavailable", &fault("Unavailable")),
    })
    .await;
    let error = caller_late(server.url()).await;
    assert_eq!(error.class(), Class::Server, "what is known says more than that it is late");

    let server = Server::start(|_| Reply::Hang).await;
    assert_eq!(caller_late(server.url()).await, PollError::Timeout { after: BRIEF.whole });
    assert_eq!(server.requests().len(), 2);
}

async fn caller_late(url: String) -> PollError {
    caller(url, BRIEF).describe().await.unwrap_err()
}

#[tokio::test]
async fn connections_are_kept_and_requests_are_as_configured() {
    let server = Server::start(|_| http("200 OK", &xml(ONE))).await;
    let mut settings = settings(server.url());
    settings.filters.insert("tag:Role".into(), vec!["db".into(), "web".into()]);
    let mut caller = caller_with(settings, &ProxyConfig::disabled(), PATIENT);
    for _ in 0..3 {
        caller.describe().await.unwrap();
    }
    let requests = server.requests();
    assert!(requests.iter().all(|r| r.connection == 0));
    assert_eq!(
        requests[0].body,
        "Action=DescribeAddresses&Version=2016-11-15\
         &Filter.1.Name=tag%3ARole&Filter.1.Value.1=db&Filter.1.Value.2=web"
    );
    assert!(requests[0].head.contains("/us-east-1/ec2/aws4_request"));
}

#[tokio::test]
async fn a_proxy_is_used_but_not_for_what_is_near() {
    let proxy = Server::start(|_| http("200 OK", &xml(ONE))).await;
    let through = ProxyConfig::http(proxy.url()).unwrap();
    let far = settings("http://ec2.us-east-1.amazonaws.test".into());
    caller_with(far, &through, PATIENT).describe().await.unwrap();
    let head = proxy.requests()[0].head.clone();
    assert!(head.starts_with("POST http://ec2.us-east-1.amazonaws.test/ HTTP/1.1\r\n"), "{head}");

    let near = Server::start(|_| http("200 OK", &xml(ONE))).await;
    caller_with(settings(near.url()), &through, PATIENT).describe().await.unwrap();
    assert_eq!((proxy.requests().len(), near.requests().len()), (1, 1));
}

#[test]
fn near_is_what_an_address_says() {
    for uri in [
        "http://169.254.169.254/latest/api/token",
        "http://169.254.170.2:80/v2/credentials",
        "http://127.0.0.1:5555",
        "http://localhost:5555/?a=b",
        "http://[fd00:ec2::254]/latest",
        "http://[::1]:80/",
    ] {
        assert!(is_near(uri), "{uri}");
    }
    for uri in [
        "https://ec2.us-east-1.amazonaws.com/",
        "http://10.0.0.1/",
        "http://[2001:db8::1]/",
        "http://127.0.0.1.example/",
        "",
    ] {
        assert!(!is_near(uri), "{uri}");
    }
}

/// Credentials that end in `seconds`, counting how often they are fetched.
fn ending(seconds: i64, fetched: &Arc<AtomicUsize>) -> SharedCredentialsProvider {
    let fetched = Arc::clone(fetched);
    SharedCredentialsProvider::new(provide_credentials_fn(move || {
        let number = fetched.fetch_add(1, Ordering::SeqCst);
        let now = SystemTime::now();
        let expiry = match u64::try_from(seconds) {
            Ok(ahead) => now + Duration::from_secs(ahead),
            Err(_) => now - Duration::from_secs(seconds.unsigned_abs()),
        };
        let keys = Credentials::new(format!("key{number}"), "secret", None, Some(expiry), "test");
        async move { if number < 1 { Ok(keys) } else { Err(CredentialsError::not_loaded("no more")) } }
    }))
}

fn key(keeper: &Keeper) -> Option<String> {
    keeper.kept.keys().as_ref().map(|keys| keys.credentials.access_key_id().to_owned())
}

#[tokio::test]
async fn credentials_are_kept_while_they_are_good() {
    let fetched = Arc::new(AtomicUsize::new(0));
    let mut keeper = keeping(ending(3600, &fetched));
    for _ in 0..3 {
        keeper.provide().await.unwrap();
    }
    assert_eq!((key(&keeper).as_deref(), fetched.load(Ordering::SeqCst)), (Some("key0"), 1));
    *keeper.kept.keys() = None;
    let error = keeper.provide().await.unwrap_err();
    assert_eq!(error.class(), Class::Credentials);

    // About to end: a renewal that fails does not stop calls, nor is it
    // tried before each of them.
    let fetched = Arc::new(AtomicUsize::new(0));
    let mut keeper = keeping(ending(200, &fetched));
    for _ in 0..4 {
        keeper.provide().await.unwrap();
    }
    assert_eq!(fetched.load(Ordering::SeqCst), 1, "what was just fetched is not fetched again");
    keeper.kept.keys().as_mut().unwrap().renew_at = SystemTime::now();
    for _ in 0..4 {
        keeper.provide().await.unwrap();
        while let Some(renewed) = keeper.renewal.join_next().await {
            assert_eq!(renewed.unwrap().unwrap_err().class(), Class::Credentials);
        }
    }
    assert_eq!((key(&keeper).as_deref(), fetched.load(Ordering::SeqCst)), (Some("key0"), 2));

    // At an end.
    let fetched = Arc::new(AtomicUsize::new(0));
    let mut keeper = keeping(ending(-1, &fetched));
    keeper.provide().await.unwrap();
    assert_eq!(keeper.provide().await.unwrap_err().class(), Class::Credentials);
}

/// Gives keys once, good for an hour, and hangs when asked again.
fn once(asked: &Arc<AtomicUsize>) -> SharedCredentialsProvider {
    let asked = Arc::clone(asked);
    SharedCredentialsProvider::new(provide_credentials_fn(move || {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let end = SystemTime::now() + Duration::from_secs(3600);
        let keys = Credentials::new("key", "secret", None, Some(end), "test");
        async move {
            if number > 0 {
                std::future::pending::<()>().await;
            }
            Ok(keys)
        }
    }))
}

#[tokio::test]
async fn a_renewal_that_hangs_delays_no_call() {
    let server = Server::start(|_| http("200 OK", &xml(ONE))).await;
    let mut caller = caller(server.url(), PATIENT);
    let asked = Arc::new(AtomicUsize::new(0));
    caller.session.keeper.provider = once(&asked);
    caller.describe().await.unwrap();
    // Time for new ones.
    caller.session.keeper.kept.keys().as_mut().unwrap().renew_at = SystemTime::now();
    for n in 1..5 {
        caller.describe().await.unwrap();
        assert_eq!(caller.session.keeper.renewal.len(), 1, "it hangs, and there is one of it");
        assert_eq!(server.requests().len(), n + 1);
    }
    // On a thread of its own.
    timeout(Duration::from_secs(20), async {
        while asked.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("new ones are asked for");
    // What hangs ends with the source.
    let hangs = Arc::downgrade(&caller.session.keeper.kept.0);
    drop(caller);
    timeout(Duration::from_secs(20), async {
        while hangs.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the renewal has ended");
}

#[tokio::test]
async fn a_renewal_that_hangs_ends_and_is_tried_again_later() {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut keeper = keeping(once(&asked));
    keeper.provide().await.unwrap();
    keeper.within = Duration::from_millis(10);
    let due = || SystemTime::now() - Duration::from_secs(1);
    keeper.kept.keys().as_mut().unwrap().renew_at = due();
    keeper.provide().await.unwrap();
    let ended = keeper.renewal.join_next().await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().class(), Class::Credentials);
    // The old ones are used on; later it is time again.
    keeper.provide().await.unwrap();
    assert_eq!((keeper.renewal.len(), asked.load(Ordering::SeqCst)), (0, 2));
    keeper.kept.keys().as_mut().unwrap().renew_at = due();
    keeper.provide().await.unwrap();
    // Their end comes while it hangs: the call waits for it, and no longer.
    let ended = Credentials::new("key", "secret", None, Some(due()), "test");
    keeper.kept.keys().as_mut().unwrap().credentials = ended;
    let error = keeper.provide().await.unwrap_err().to_string();
    assert!(error.contains("their provider does not answer within 10ms"), "{error}");
}

/// As the SDK's provider of the metadata service does when that fails: the last ones
/// again, without a word. The service may take them still, and is asked.
#[tokio::test]
async fn credentials_that_are_given_again_are_said_to_have_ended() {
    for code in ["RequestExpired", "AuthFailure"] {
        let server = Server::start(move |_| http("400 Bad Request", &fault(code))).await;
        let mut caller = caller(server.url(), PATIENT);
        let end = SystemTime::now() - Duration::from_secs(5);
        let last = Credentials::new("key", "secret", None, Some(end), "test");
        caller.session.keeper.provider = SharedCredentialsProvider::new(last);
        for _ in 0..2 {
            let error = caller.describe().await.unwrap_err();
            assert_eq!(error, PollError::Ended { at: end, code: code.into() });
            assert_eq!(error.class(), Class::Credentials);
        }
        assert_eq!(server.requests().len(), 2);
    }
    let server = Server::start(|_| http("200 OK", &xml(ONE))).await;
    let mut caller = caller(server.url(), PATIENT);
    let end = SystemTime::now() + Duration::from_secs(100);
    let last = Credentials::new("key", "secret", None, Some(end), "test");
    caller.session.keeper.provider = SharedCredentialsProvider::new(last);
    caller.describe().await.unwrap();
    assert!(caller.session.keeper.failing.may(Instant::now()).is_some(), "the first ones are new");
    caller.session.keeper.failing = Arc::default();
    caller.session.keeper.kept.keys().as_mut().unwrap().renew_at = SystemTime::now();
    caller.describe().await.unwrap();
    caller.session.keeper.renewal.join_next().await.unwrap().unwrap().unwrap();
    assert!(caller.session.keeper.failing.may(Instant::now()).is_none(), "it was logged just now");
}

/// A file that hangs holds the thread that reads it: that one is not the runtime's,
/// of which there is one here.
#[tokio::test]
async fn a_provider_whose_file_hangs_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    let made = std::process::Command::new("mkfifo").arg(&token).status().unwrap();
    assert!(made.success());
    let reads = token.clone();
    let mut keeper = keeping(SharedCredentialsProvider::new(provide_credentials_fn(move || {
        // As the SDK reads the token of a web identity.
        let token = std::fs::read_to_string(&reads).unwrap();
        async move { Ok(Credentials::new(token, "secret", None, None, "test")) }
    })));
    keeper.within = Duration::from_millis(10);
    let error = keeper.provide().await.unwrap_err();
    assert_eq!(error.class(), Class::Credentials);
    assert!(
        error
            .to_string()
            .contains("the AWS SDK's files (profiles, tokens, CA certificates) does not end"),
        "{error}"
    );
    // Somebody writes, for whoever still reads and for the next.
    keeper.within = Duration::from_secs(20);
    let writes = std::thread::spawn(move || {
        while std::fs::write(&token, "key").is_ok() {
            std::thread::yield_now();
        }
    });
    keeper.provide().await.unwrap();
    assert!(key(&keeper).is_some());
    drop((dir, writes));
}

#[tokio::test]
async fn refused_credentials_are_fetched_anew() {
    let server = Server::start(|_| http("401 Unauthorized", &fault("AuthFailure"))).await;
    let mut caller = caller(server.url(), PATIENT);
    caller.describe().await.unwrap_err();
    assert!(caller.session.keeper.kept.keys().is_none());
    caller.describe().await.unwrap_err();
    assert_eq!(server.requests().len(), 2);
}

/// New ones came while a call was under way that was signed with the old ones.
#[tokio::test]
async fn renewed_credentials_are_not_forgotten_with_the_refused_ones() {
    let kept = Arc::new(Mutex::new(None::<KeptCredentials>));
    let renews = Arc::clone(&kept);
    let server = Server::start(move |n| {
        if n > 0 {
            return http("200 OK", &xml(ONE));
        }
        let credentials = Credentials::new("renewed", "test", None, None, "test");
        let renew_at = SystemTime::now() + Duration::from_secs(60);
        let kept = renews.lock().unwrap().clone().unwrap();
        *kept.keys() = Some(Keys { credentials, renew_at });
        http("401 Unauthorized", &fault("AuthFailure"))
    })
    .await;
    let mut caller = caller(server.url(), PATIENT);
    *kept.lock().unwrap() = Some(caller.session.keeper.kept.clone());
    assert_eq!(caller.describe().await.unwrap_err().class(), Class::Credentials);
    caller.describe().await.unwrap();
    let signed_with = |n: usize, key: &str| {
        assert!(server.requests()[n].head.contains(&format!("Credential={key}/")), "{n}");
    };
    signed_with(0, "test");
    signed_with(1, "renewed");
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_named() {
    let denied = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
        <Type>Sender</Type><Code>AccessDenied</Code><Message>No.</Message></Error></ErrorResponse>";
    let server = Server::start(move |_| http("403 Forbidden", denied)).await;
    let sdk = aws_config::defaults(behaviour())
        .region(Region::new("us-east-1"))
        .endpoint_url(server.url())
        .retry_config(RetryConfig::disabled())
        .http_client(Http::new(Resolver::new(vec![]), ProxyConfig::disabled(), false).share())
        .credentials_provider(keys())
        .load()
        .await;
    let role = "arn:aws:iam::111122223333:role/dns";
    let assume = AssumeRoleProvider::builder(role).session_name("eipdns").configure(&sdk).build();
    let mut keeper = keeping(SharedCredentialsProvider::new(assume.await));
    assert_eq!(
        keeper.provide().await,
        Err(PollError::Sts(Box::new(PollError::Unauthorised {
            action: ASSUME.into(),
            code: "AccessDenied".into(),
            message: "No.".into()
        })))
    );
    assert!(server.requests()[0].body.starts_with("Action=AssumeRole&"));
}
