//! An EC2 that says and does what a test wants: addresses with every field of
//! the service model, network interfaces, STS's AssumeRole and GetCallerIdentity, and faults.

use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use socket2::SockRef;

use super::enis::Interfaces;
use super::web::{Request, response};
use crate::harness::PATIENCE;
use crate::peers;

/// Between two octets of a slow drip: slower than any deadline allows.
const DRIP: Duration = Duration::from_millis(100);

/// Octets of an answer without end, so that a test of it ends.
const MOST: usize = 4 << 30;

/// Each answer has a number of its own.
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// The fields of an address in DescribeAddresses' answer, tags apart
/// (botocore, ec2/2016-11-15/service-2.json, shape `Address`).
const FIELDS: [&str; 15] = [
    "allocationId",
    "associationId",
    "carrierIp",
    "customerOwnedIp",
    "customerOwnedIpv4Pool",
    "domain",
    "instanceId",
    "networkBorderGroup",
    "networkInterfaceId",
    "networkInterfaceOwnerId",
    "privateIpAddress",
    "publicIp",
    "publicIpv4Pool",
    "serviceManaged",
    "subnetId",
];

/// One address, by its fields' names in XML.
#[derive(Clone, Default)]
pub(super) struct Address {
    fields: Vec<(&'static str, String)>,
    tags: Vec<(String, String)>,
}

impl Address {
    /// As EC2 shows one that is allocated and no more.
    pub(super) fn new(public: &str) -> Self {
        Self::default()
            .with("publicIp", public)
            .with("allocationId", &format!("eipalloc-{}", hex(public)))
            .with("domain", "vpc")
            .with("publicIpv4Pool", "amazon")
            .with("networkBorderGroup", "us-east-1")
    }

    /// Sets a field.
    pub(super) fn with(mut self, field: &'static str, value: &str) -> Self {
        assert!(FIELDS.contains(&field), "EC2 has no {field}");
        self = self.without(field);
        self.fields.push((field, value.into()));
        self
    }

    pub(super) fn without(mut self, field: &str) -> Self {
        self.fields.retain(|(name, _)| *name != field);
        self
    }

    pub(super) fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Without tags of this key.
    pub(super) fn untagged(mut self, key: &str) -> Self {
        self.tags.retain(|(known, _)| known != key);
        self
    }

    /// With a private address of an interface of an instance.
    pub(super) fn at(self, private: &str, association: &str) -> Self {
        self.with("privateIpAddress", private)
            .with("associationId", association)
            .with("networkInterfaceId", &format!("eni-{}", hex(private)))
            .with("networkInterfaceOwnerId", "123456789012")
            .with("instanceId", &format!("i-{}", hex(private)))
    }

    fn loose(self) -> Self {
        self.without("privateIpAddress")
            .without("associationId")
            .without("networkInterfaceId")
            .without("networkInterfaceOwnerId")
            .without("instanceId")
    }

    /// Where it is.
    pub(super) fn private(&self) -> Option<String> {
        let mut fields = self.fields.iter();
        fields.find(|(name, _)| *name == "privateIpAddress").map(|(_, value)| value.clone())
    }

    fn is(&self, public: &str) -> bool {
        self.fields.iter().any(|(name, value)| *name == "publicIp" && value == public)
    }

    /// In answer number `nth`: each has another order of tags.
    fn xml(&self, nth: usize) -> String {
        let mut xml = String::from("<item>");
        for (name, value) in &self.fields {
            xml += &format!("<{name}>{value}</{name}>");
        }
        if !self.tags.is_empty() {
            xml += "<tagSet>";
            for (key, value) in rotated(&self.tags, nth) {
                xml += &format!("<item><key>{key}</key><value>{value}</value></item>");
            }
            xml += "</tagSet>";
        }
        xml + "</item>"
    }
}

/// In an order that is another one for the next number.
fn rotated<T>(all: &[T], nth: usize) -> impl Iterator<Item = &T> {
    let (before, after) = all.split_at(nth.checked_rem(all.len()).unwrap_or_default());
    after.iter().chain(before)
}

/// An address as the digits of an id.
fn hex(ip: &str) -> String {
    format!("{:017x}", u32::from(ip.parse::<Ipv4Addr>().unwrap()))
}

/// What is wrong with EC2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Nobody listens.
    Refused,
    /// RST instead of an answer.
    Reset,
    /// The request is read and that is all.
    Stall,
    /// One octet of a good answer after the other.
    Drip,
    /// 503 RequestLimitExceeded
    Throttled,
    /// 503 Unavailable
    Unavailable,
    /// 502 and a page of some proxy.
    BadGateway,
    /// 401 AuthFailure
    AuthFailure,
    /// 403 UnauthorizedOperation
    Unauthorised,
    /// 400 RequestExpired
    Expired,
    /// A good answer, cut within an address, framed as if it were whole.
    CutInItem,
    /// The same, cut between two addresses.
    CutBetweenItems,
    /// The framing says there is more than comes.
    CutShort,
    /// DescribeRegions' answer.
    OtherCall,
    /// An address without `publicIp`.
    Nameless,
    /// 200 and no body.
    NoBody,
    /// 200 and the login page of some proxy.
    Html,
    /// 200 and octets.
    Garbage,
    /// No HTTP.
    NotHttp,
    /// XML without end.
    Endless,
    /// A good answer without addresses.
    EmptySet,
    /// A good answer with every second address.
    HalfSet,
    /// STS gives no role, with a long message.
    NoRole,
}

/// ARN, external id and session name, as they were escaped.
pub(super) type Assumed = (String, Option<String>, Option<String>);

struct State {
    fault: Fault,
    addresses: Vec<Address>,
    /// Each answer takes this long.
    slow: Duration,
    /// Access keys of calls to EC2, in order; each is there before its answer.
    calls: Vec<String>,
    /// When each came.
    called_at: Vec<SystemTime>,
    /// Good answers are left, then it throttles.
    good: Option<usize>,
    /// What roles were assumed, as it came.
    assumed: Vec<Assumed>,
    /// Of which account every key is, and the keys that were asked about.
    account: String,
    identified: Vec<String>,
    interfaces: Interfaces,
    connections: Vec<TcpStream>,
    associations: u32,
    ended: bool,
}

struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

/// A running stand-in.
pub(super) struct Ec2(Arc<Shared>);

impl Ec2 {
    /// Listens on an address of its own, so that nobody takes the port while
    /// it refuses connections.
    pub(super) fn start(addresses: Vec<Address>) -> Self {
        static HOST: AtomicU8 = AtomicU8::new(1);
        let host = HOST.fetch_add(1, Ordering::Relaxed);
        let process = (std::process::id() % 250) as u8;
        let listener = TcpListener::bind((IpAddr::V4([127, 77, process, host].into()), 0)).unwrap();
        let shared = Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            state: Mutex::new(State {
                fault: Fault::None,
                addresses,
                slow: Duration::ZERO,
                calls: Vec::new(),
                called_at: Vec::new(),
                good: None,
                assumed: Vec::new(),
                account: "123456789012".into(),
                identified: Vec::new(),
                interfaces: Interfaces::default(),
                connections: Vec::new(),
                associations: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let accepts = Arc::clone(&shared);
        std::thread::spawn(move || accepts.accept(listener));
        Self(shared)
    }

    /// With `n` addresses, 75.101.137.1 to `n`, at 10.0.0.1 to `n`.
    pub(super) fn with(n: u8) -> Self {
        let one = |n| Address::new(&public(n)).at(&format!("10.0.0.{n}"), &format!("eipassoc-{n}"));
        Self::start((1..=n).map(one).collect())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// From now on.
    pub(super) fn fault(&self, fault: Fault) {
        let connections = {
            let mut state = self.0.lock();
            (state.fault, state.good) = (fault, None);
            if fault == Fault::Refused { std::mem::take(&mut state.connections) } else { vec![] }
        };
        self.0.changed.notify_all();
        for connection in connections {
            // One that the client has closed is closed.
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Connecting also wakes the acceptor, which then closes its socket.
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.0.address).is_ok() == (fault == Fault::Refused) {
            assert!(Instant::now() < deadline, "the stand-in does not get to {fault:?}");
            std::thread::yield_now();
        }
    }

    /// Every key is of this account.
    pub(super) fn account(&self, account: &str) {
        self.0.lock().account = account.into();
    }

    /// Keys that STS was asked about, in order.
    pub(super) fn identified(&self) -> Vec<String> {
        self.0.lock().identified.clone()
    }

    /// What is said of interfaces, with its own faults.
    pub(super) fn interfaces<T>(&self, look: impl FnOnce(&mut Interfaces) -> T) -> T {
        look(&mut self.0.lock().interfaces)
    }

    /// Well for one call, and throttling again from the next one on.
    pub(super) fn well_once(&self) {
        let mut state = self.0.lock();
        (state.fault, state.good) = (Fault::None, Some(1));
    }

    /// Each answer takes this long.
    pub(super) fn slow(&self, by: Duration) {
        self.0.lock().slow = by;
    }

    pub(super) fn set(&self, addresses: Vec<Address>) {
        self.0.lock().addresses = addresses;
    }

    pub(super) fn addresses(&self) -> Vec<Address> {
        self.0.lock().addresses.clone()
    }

    /// Changes one address.
    pub(super) fn change(&self, public: &str, change: impl FnOnce(Address) -> Address) {
        let mut state = self.0.lock();
        let all = &mut state.addresses;
        let one = all.iter_mut().find(|a| a.is(public)).expect("an address that is there");
        *one = change(std::mem::take(one));
    }

    /// `aws ec2 associate-address`; gives the new association.
    pub(super) fn associate(&self, public: &str, private: &str) -> String {
        let number = {
            let mut state = self.0.lock();
            state.associations += 1;
            state.associations
        };
        let id = format!("eipassoc-{:017x}", 0x1000 + number);
        self.change(public, |address| address.at(private, &id));
        id
    }

    pub(super) fn disassociate(&self, public: &str) {
        self.change(public, Address::loose);
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.0.lock().calls.len()
    }

    /// When call number `nth` came, from 0 on.
    pub(super) fn called_at(&self, nth: usize) -> SystemTime {
        self.0.lock().called_at[nth]
    }

    /// Waits for a call whose access key is `matching`.
    pub(super) fn wait_for_key(&self, what: &str, matching: impl Fn(&str) -> bool) {
        self.0.wait(what, |state| state.calls.iter().any(|key| matching(key)));
    }

    /// Waits until there were this many calls.
    pub(super) fn wait_for_calls(&self, at_least: usize) {
        self.0.wait("calls", |state| state.calls.len() >= at_least);
    }

    /// Roles that were assumed.
    pub(super) fn assumed(&self) -> Vec<Assumed> {
        self.0.lock().assumed.clone()
    }
}

impl Drop for Ec2 {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        for connection in state.connections.drain(..) {
            // Closed already is as good.
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        self.0.changed.notify_all();
        drop(TcpStream::connect(self.0.address));
    }
}

/// The Elastic IP number `n`.
pub(super) fn public(n: u8) -> String {
    format!("75.101.137.{n}")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed elsewhere is told by its own message.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait(&self, what: &str, until: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while !until(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what}; calls so far: {:?}", state.calls);
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            let connection = match &listener {
                Some(listener) => listener.accept().map(|(connection, _)| connection),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            let mut state = self.lock();
            if state.ended {
                return;
            }
            if state.fault == Fault::Refused {
                drop(listener.take());
                while state.fault == Fault::Refused && !state.ended {
                    state = self.changed.wait(state).unwrap();
                }
                if state.ended {
                    return;
                }
                listener = Some(TcpListener::bind(self.address).unwrap());
                continue;
            }
            let Ok(connection) = connection else { continue };
            connection.set_nodelay(true).unwrap();
            state.connections.push(connection.try_clone().unwrap());
            drop(state);
            let serves = Arc::clone(&self);
            // It ends with the connection, however that ends.
            std::thread::spawn(move || {
                let peer = connection.peer_addr();
                let _ = serves.serve(connection);
                serves.forget(peer);
            });
        }
    }

    /// Lets go of a connection, which closes it.
    fn forget(&self, peer: io::Result<SocketAddr>) {
        let is_it = |c: &TcpStream| match (c.peer_addr(), &peer) {
            (Ok(its), Ok(peer)) => its == *peer,
            // One without a peer is of no use to anybody.
            _ => true,
        };
        self.lock().connections.retain(|c| !is_it(c));
    }

    /// One request after the other on one connection.
    fn serve(&self, connection: TcpStream) -> io::Result<()> {
        let mut to = connection.try_clone()?;
        let mut from = BufReader::new(connection);
        while let Some(request) = Request::read(&mut from)? {
            if request.parameter("Action") == Some("AssumeRole") {
                to.write_all(&self.assume(&request))?;
                continue;
            }
            if request.parameter("Action") == Some("GetCallerIdentity") {
                to.write_all(&self.identify(&request))?;
                continue;
            }
            if request.parameter("Action") == Some("DescribeNetworkInterfaces") {
                let reply = self.lock().interfaces.reply(&request);
                self.changed.notify_all();
                to.write_all(&reply)?;
                continue;
            }
            let (fault, addresses, slow) = {
                let mut state = self.lock();
                state.calls.push(request.access_key().to_owned());
                state.called_at.push(SystemTime::now());
                match &mut state.good {
                    Some(0) => state.fault = Fault::Throttled,
                    Some(left) => *left -= 1,
                    None => {}
                }
                (state.fault, state.addresses.clone(), state.slow)
            };
            self.changed.notify_all();
            if !slow.is_zero() {
                std::thread::sleep(slow);
            }
            let known = request.parameter("Action") == Some("DescribeAddresses")
                && request.parameter("Version") == Some("2016-11-15")
                && !request.access_key().is_empty();
            if !known {
                to.write_all(&error("400 Bad Request", "InvalidAction"))?;
                continue;
            }
            match fault {
                Fault::Refused => return Ok(()),
                Fault::Reset => return SockRef::from(&to).set_linger(Some(Duration::ZERO)),
                Fault::Stall => drop(from.read_to_end(&mut Vec::new())?),
                Fault::Drip => {
                    for octet in ok("text/xml;charset=UTF-8", &describe(&addresses)) {
                        to.write_all(&[octet])?;
                        std::thread::sleep(DRIP);
                    }
                }
                Fault::Endless => {
                    let some: String = addresses.iter().map(|a| a.xml(0)).collect();
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n";
                    to.write_all(head.as_bytes())?;
                    let whole = describe(&addresses);
                    let begin = whole.find("<item>").expect("an address");
                    to.write_all(&whole.as_bytes()[..begin])?;
                    let piece = some.repeat(200);
                    // Until it is hung up on, or no one believes it any more.
                    for _ in 0..MOST / piece.len() {
                        to.write_all(piece.as_bytes())?;
                    }
                    return to.shutdown(Shutdown::Both);
                }
                Fault::CutShort => {
                    let whole = ok("text/xml;charset=UTF-8", &describe(&addresses));
                    to.write_all(&whole[..whole.len() - 40])?;
                    return to.shutdown(Shutdown::Both);
                }
                Fault::NotHttp => {
                    to.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n")?;
                    return to.shutdown(Shutdown::Both);
                }
                _ => to.write_all(&self.reply(fault, &addresses))?,
            }
        }
        Ok(())
    }

    /// What is whole, at least as HTTP.
    fn reply(&self, fault: Fault, addresses: &[Address]) -> Vec<u8> {
        let xml = |body: &str| ok("text/xml;charset=UTF-8", body);
        let page = "<!DOCTYPE html>\n<html><body>Please log in</body></html>\n";
        match fault {
            Fault::Throttled => error("503 Service Unavailable", "RequestLimitExceeded"),
            Fault::Unavailable => error("503 Service Unavailable", "Unavailable"),
            Fault::BadGateway => response("502 Bad Gateway", "text/html", "", page),
            Fault::AuthFailure => error("401 Unauthorized", "AuthFailure"),
            Fault::Unauthorised => error("403 Forbidden", "UnauthorizedOperation"),
            Fault::Expired => error("400 Bad Request", "RequestExpired"),
            Fault::CutInItem => {
                let whole = describe(addresses);
                let within = whole.rfind("<domain>").expect("an address") + 3;
                xml(&whole[..within])
            }
            Fault::CutBetweenItems => {
                let whole = describe(addresses);
                let between = whole.find("</item>").expect("an address") + "</item>".len();
                xml(&whole[..between])
            }
            Fault::OtherCall => xml(&envelope(
                "DescribeRegions",
                "<regionInfo><item><regionName>us-east-1</regionName></item></regionInfo>",
            )),
            Fault::Nameless => {
                let mut all = addresses.to_vec();
                if let Some(first) = all.first_mut() {
                    *first = std::mem::take(first).without("publicIp");
                }
                xml(&describe(&all))
            }
            Fault::NoBody => xml(""),
            Fault::Html => ok("text/html", page),
            Fault::Garbage => xml("\u{1}\u{2}\u{3}<\u{fffd}\u{fffd}>>&;\u{0}\u{7f}"),
            Fault::EmptySet => xml(&describe(&[])),
            Fault::HalfSet => {
                let half: Vec<_> = addresses.iter().step_by(2).cloned().collect();
                xml(&describe(&half))
            }
            _ => xml(&describe(addresses)),
        }
    }

    /// Whose key it is (STS API reference, "GetCallerIdentity").
    fn identify(&self, request: &Request) -> Vec<u8> {
        let mut state = self.lock();
        state.identified.push(request.access_key().to_owned());
        if state.fault != Fault::None {
            return error("503 Service Unavailable", "ServiceUnavailable");
        }
        let account = &state.account;
        let body = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/dns</Arn>\
             <UserId>AIDA</UserId><Account>{account}</Account></GetCallerIdentityResult>\
             <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\
             </GetCallerIdentityResponse>"
        );
        ok("text/xml", &body)
    }

    /// Credentials that say which role they are of (STS API reference,
    /// "AssumeRole").
    fn assume(&self, request: &Request) -> Vec<u8> {
        if self.lock().fault == Fault::NoRole {
            // STS API reference, "Common Error Types".
            let why = "You may not do this.\n".repeat(100);
            let body = format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
                 <Type>Sender</Type><Code>AccessDenied</Code><Message>{why}</Message></Error>\
                 <RequestId>1</RequestId></ErrorResponse>"
            );
            return response("403 Forbidden", "text/xml", "", &body);
        }
        let arn = request.parameter("RoleArn").unwrap_or_default().to_owned();
        let parameter = |name| request.parameter(name).map(str::to_owned);
        let (external_id, session) = (parameter("ExternalId"), parameter("RoleSessionName"));
        let role = arn.rsplit("%2F").next().unwrap_or_default().to_uppercase();
        self.lock().assumed.push((arn, external_id, session));
        let body = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleResult><Credentials><AccessKeyId>ASIA{role}</AccessKeyId>\
             <SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
             <AssumedRoleUser><AssumedRoleId>AROA:eipdns</AssumedRoleId>\
             <Arn>arn:aws:sts::111122223333:assumed-role/x/eipdns</Arn></AssumedRoleUser>\
             </AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\
             </AssumeRoleResponse>"
        );
        ok("text/xml", &body)
    }
}

pub(super) fn ok(content_type: &str, body: &str) -> Vec<u8> {
    response("200 OK", content_type, "", body)
}

pub(super) fn envelope(call: &str, inside: &str) -> String {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <{call}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>3be1508e-c444-4fef-89cc-{id:012x}</requestId>{inside}</{call}Response>"
    )
}

/// Nobody promises the order of items, nor that of tags: each answer has another one.
fn describe(addresses: &[Address]) -> String {
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let items: String = rotated(addresses, nth).map(|address| address.xml(nth)).collect();
    envelope("DescribeAddresses", &format!("<addressesSet>{items}</addressesSet>"))
}

/// EC2's form of an error (EC2 developer guide, "Troubleshooting API request
/// errors").
pub(super) fn error(status: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
         <Code>{code}</Code><Message>This is {code}.</Message></Error></Errors>\
         <RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>"
    );
    response(status, "text/xml;charset=UTF-8", "", &body)
}

/// The model that the AWS CLI and every SDK are made from. None when moto is not installed, loudly.
pub(super) fn service_model() -> Option<Value> {
    let moto = peers::need("moto_server")?;
    // Its interpreter has botocore: moto is written with it.
    let script = "import gzip, os, botocore\n\
        d = os.path.join(os.path.dirname(botocore.__file__), 'data/ec2/2016-11-15')\n\
        p = os.path.join(d, 'service-2.json')\n\
        print((open(p) if os.path.exists(p) else gzip.open(p + '.gz', 'rt')).read())";
    let beside = moto.with_file_name("python");
    let python = if beside.exists() { beside } else { "python3".into() };
    let out = std::process::Command::new(python).args(["-c", script]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(serde_json::from_slice(&out.stdout).unwrap())
}

/// What a member of a shape is called in XML.
pub(super) fn location(model: &Value, shape: &str, member: &str) -> String {
    let found = &model["shapes"][shape]["members"][member]["locationName"];
    found.as_str().unwrap_or_else(|| panic!("{shape}.{member}")).to_owned()
}

#[test]
fn fields_are_those_of_the_service_model() {
    let Some(model) = service_model() else { return };
    let location = |shape: &str, member: &str| location(&model, shape, member);
    let members = model["shapes"]["Address"]["members"].as_object().unwrap();
    let mut known: Vec<String> = members.keys().map(|m| location("Address", m)).collect();
    known.sort_unstable();
    let mut ours: Vec<&str> = FIELDS.into_iter().chain(["tagSet"]).collect();
    ours.sort_unstable();
    assert_eq!(ours, known);

    let mut address = Address::new("75.101.137.243").tag("Role", "db");
    for field in FIELDS {
        address = address.with(field, "x");
    }
    let xml = describe(&[address]);
    for field in FIELDS {
        assert!(xml.contains(&format!("<{field}>x</{field}>")), "{field} in {xml}");
    }
    let [set, item] = [
        location("DescribeAddressesResult", "Addresses"),
        model["shapes"]["AddressList"]["member"]["locationName"].as_str().unwrap().into(),
    ];
    let [tags, key, value] =
        [location("Address", "Tags"), location("Tag", "Key"), location("Tag", "Value")];
    assert!(xml.contains(&format!("<{set}><{item}><")), "{xml}");
    let tag = format!("<{tags}><{item}><{key}>Role</{key}><{value}>db</{value}></{item}></{tags}>");
    assert!(xml.contains(&tag), "{xml}");
    let call = &model["operations"]["DescribeAddresses"];
    assert_eq!(call["http"], serde_json::json!({ "method": "POST", "requestUri": "/" }));
    assert_eq!(model["metadata"]["apiVersion"], "2016-11-15");
    let space = model["metadata"]["xmlNamespace"].as_str().unwrap();
    assert!(xml.contains(space), "{space} in {xml}");
}
