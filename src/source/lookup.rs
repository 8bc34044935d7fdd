//! Finds the addresses of EC2's endpoints: a DNS client of a few questions,
//! pinned to resolvers that are not us.
//!
//! The host's own resolution would do, but where eipdns serves its host (the
//! usual case in a VPC whose DHCP options name it) every call to EC2 would
//! come round to us, and a restart with EC2 needed would never find it.
//!
//! As the host does: `localhost`, then the hosts file, then DNS. Otherwise
//! than the host: names are absolute, search lists are not used, and the last
//! addresses found are used on while no resolver answers.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::dns::name::Key;
use crate::dns::query::Outgoing;
use crate::dns::wire::{IN, MAX_UDP};
use crate::host::aside::{Aside, Cause, Place};
use crate::host::files;
use crate::host::often::Often;

/// The VPC's resolver, at every instance (VPC user guide, "DNS attributes").
const VPC_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253));

/// Where systemd-resolved answers, and forwards to servers that may be us.
const RESOLVED_STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

/// How long one resolver has for its answer. A call to EC2 gives name and
/// connection a second together.
const TRY: Duration = Duration::from_millis(300);

/// How often all resolvers are asked.
const ROUNDS: usize = 2;

/// How long to wait for IPv6 addresses once there are IPv4 ones.
const GRACE: Duration = Duration::from_millis(30);

/// How long the disk has for the hosts file: a part of the second that a call
/// to EC2 gives name and connection together.
const HOSTS: Duration = Duration::from_millis(200);

/// The largest /etc/hosts that is read, in octets: more is no list of hosts.
const MAX_HOSTS: u64 = 1 << 20;

/// Bounds on how long an answer is used without asking again.
const LEAST_TTL: Duration = Duration::from_secs(5);
const MOST_TTL: Duration = Duration::from_secs(300);

/// The resolvers to ask: those configured; else those of `resolv_conf`
/// (resolv.conf(5)) that are not us; else the VPC's.
///
/// `listen` is where we answer and `local` what addresses this host has.
/// `behind_stub` is the resolv.conf of systemd-resolved's own servers
/// (`/run/systemd/resolve/resolv.conf`), which take its stub's place.
pub(crate) fn resolvers(
    configured: &[IpAddr],
    resolv_conf: &str,
    behind_stub: &str,
    listen: &[SocketAddr],
    local: &[IpAddr],
) -> Vec<SocketAddr> {
    let is_us = |server: &IpAddr| {
        let is_here = server.is_loopback() || local.contains(server);
        listen
            .iter()
            .any(|l| l.port() == 53 && (l.ip() == *server || l.ip().is_unspecified() && is_here))
    };
    let mut found = configured.to_vec();
    if found.is_empty() {
        found = nameservers(resolv_conf);
        if found.contains(&RESOLVED_STUB) {
            let real = nameservers(behind_stub);
            if !real.is_empty() {
                found = real;
            }
        }
        found.retain(|server| !is_us(server));
    }
    if found.is_empty() {
        found.push(VPC_RESOLVER);
    }
    found.into_iter().map(|server| SocketAddr::new(server, 53)).collect()
}

/// The addresses after `nameserver`; those with a zone index (`fe80::1%eth0`)
/// are left out.
fn nameservers(resolv_conf: &str) -> Vec<IpAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next().filter(|word| *word == "nameserver")?;
            words.next()?.parse().ok()
        })
        .collect()
}

/// Why a name has no address. Names of servers tell where to look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    /// It cannot be asked for.
    #[error("it is not a domain name")]
    NotAName,
    /// There is nobody to ask.
    #[error("there is no resolver to ask")]
    NoResolver,
    /// There is no such name.
    #[error("{server} says there is no such name")]
    NoSuchName {
        /// The resolver.
        server: SocketAddr,
    },
    /// There is one, without addresses.
    #[error("{server} says the name has no address")]
    NoAddress {
        /// The resolver.
        server: SocketAddr,
    },
    /// The last resolver asked could not answer.
    #[error("{server} answers {code}")]
    Refused {
        /// The resolver.
        server: SocketAddr,
        /// The response code.
        code: ResponseCode,
    },
    /// The last resolver asked did not answer.
    #[error("no answer from {server}")]
    NoAnswer {
        /// The resolver.
        server: SocketAddr,
    },
    /// The last resolver asked could not be reached.
    #[error("cannot ask {server}: {cause}")]
    Unreachable {
        /// The resolver.
        server: SocketAddr,
        /// What the system says.
        cause: String,
    },
}

impl LookupError {
    /// Would another resolver say the same?
    fn is_final(&self) -> bool {
        matches!(self, LookupError::NoSuchName { .. } | LookupError::NoAddress { .. })
    }
}

/// Looks names up. A clone shares what was found.
#[derive(Debug, Clone)]
pub(crate) struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: Mutex<Arc<[SocketAddr]>>,
    hosts: PathBuf,
    /// The server that answered last is asked first.
    first: AtomicUsize,
    found: Mutex<HashMap<String, Found>>,
    failing: Often,
}

#[derive(Debug, Clone)]
struct Found {
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Resolver {
    /// Asks `servers`, in turn.
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self::with_hosts(servers, PathBuf::from("/etc/hosts"))
    }

    fn with_hosts(servers: Vec<SocketAddr>, hosts: PathBuf) -> Self {
        let (first, found, failing) = Default::default();
        let servers = Mutex::new(servers.into());
        Self(Arc::new(Inner { servers, hosts, first, found, failing }))
    }

    /// Asks `servers` from the next lookup on, and forgets what others said.
    /// All clones do.
    pub(crate) fn set(&self, servers: &[SocketAddr]) {
        let mut now = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if **now == *servers {
            return;
        }
        *now = servers.into();
        drop(now);
        self.found().clear();
    }

    /// The addresses of `name`, IPv4 first.
    ///
    /// # Errors
    /// When it has none, or none is known and no resolver answers.
    pub(crate) async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let listed = in_hosts(&self.hosts().await, &name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let known = self.found().get(&name).cloned();
        if let Some(found) = &known
            && found.until > Instant::now()
        {
            return Ok(found.addresses.clone());
        }
        match (self.ask_all(&name).await, known) {
            (Ok(found), _) => {
                self.found().insert(name, found.clone());
                Ok(found.addresses)
            }
            (Err(error), Some(old)) => {
                if let Some(left_out) = self.0.failing.may(Instant::now().into_std()) {
                    tracing::debug!(
                        name, %error, left_out,
                        "the addresses found before are used on"
                    );
                }
                Ok(old.addresses)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn found(&self) -> MutexGuard<'_, HashMap<String, Found>> {
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hosts file; one that cannot be read in time names nobody.
    async fn hosts(&self) -> String {
        let path = self.0.hosts.clone();
        let mut reading = Aside::new(Place::read(&path), HOSTS);
        let octets = match reading.begin(Cause::Told, move || files::read(&path, MAX_HOSTS)) {
            Ok(()) => reading.next().await,
            Err(error) => Err(error),
        };
        let octets = octets.ok().and_then(Result::ok).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    async fn ask_all(&self, name: &str) -> Result<Found, LookupError> {
        let name = Name::from_ascii(name).map_err(|_| LookupError::NotAName)?;
        let name = Key::from_name(&name);
        let servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let start = self.0.first.load(Ordering::Relaxed);
        let mut last = LookupError::NoResolver;
        for (at, server) in
            servers.iter().enumerate().cycle().skip(start).take(ROUNDS * servers.len())
        {
            match ask(*server, &name).await {
                Err(error) if !error.is_final() => last = error,
                outcome => {
                    self.0.first.store(at, Ordering::Relaxed);
                    return outcome;
                }
            }
        }
        Err(last)
    }
}

/// The addresses that a hosts(5) file gives to `name`, IPv4 first.
fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = hosts
        .lines()
        .filter_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// Asks one resolver for both kinds of address at once.
async fn ask(server: SocketAddr, name: &Key) -> Result<Found, LookupError> {
    let failed = |e: io::Error| LookupError::Unreachable { server, cause: e.to_string() };
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A socket for each question: its port is as hard to guess as the id.
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let asked = |rtype| Pending::new(name, rtype).map_err(|error| failed(error.into()));
    let mut both = [asked(RecordType::A)?, asked(RecordType::AAAA)?];
    for pending in &both {
        socket.send(pending.query.octets()).await.map_err(failed)?;
    }
    let mut deadline = Instant::now() + TRY;
    let mut buffer = [0; MAX_UDP];
    while both.iter().any(|pending| pending.reply.is_none()) {
        let received = match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Err(_) => break,
            Ok(received) => received.map_err(failed)?,
        };
        let octets = buffer.get(..received).unwrap_or_default();
        if let Some(pending) = both.iter_mut().find(|one| one.query.is_answered_by(octets)) {
            pending.take(octets);
        }
        if matches!(&both[0].reply, Some(Ok(found)) if !found.is_empty()) {
            deadline = deadline.min(Instant::now() + GRACE);
        }
    }
    conclude(server, both)
}

/// A query and what came back.
struct Pending {
    query: Outgoing,
    /// Addresses with their TTLs, or a response code.
    reply: Option<Result<Vec<(IpAddr, u32)>, ResponseCode>>,
}

impl Pending {
    fn new(name: &Key, rtype: RecordType) -> Result<Self, getrandom::Error> {
        let [rtype, class] = [rtype.into(), IN].map(u16::to_be_bytes);
        let question = [name.octets(), &rtype, &class].concat();
        Ok(Self { query: Outgoing::new(&question, 0, Some(false))?, reply: None })
    }

    /// Takes a reply to this query, unless it cannot be read. The addresses in
    /// a truncated one are as good as any.
    fn take(&mut self, octets: &[u8]) {
        let Ok(message) = Message::from_vec(octets) else { return };
        self.reply = Some(match message.metadata.response_code {
            ResponseCode::NoError => Ok(message
                .answers
                .iter()
                .filter_map(|record| match &record.data {
                    RData::A(a) => Some((a.0.into(), record.ttl)),
                    RData::AAAA(aaaa) => Some((aaaa.0.into(), record.ttl)),
                    _ => None,
                })
                .collect()),
            code => Err(code),
        });
    }
}

fn conclude(server: SocketAddr, both: [Pending; 2]) -> Result<Found, LookupError> {
    let replies = both.map(|pending| pending.reply);
    let addresses: Vec<(IpAddr, u32)> =
        replies.iter().flatten().flatten().flatten().copied().collect();
    if let Some(ttl) = addresses.iter().map(|(_, ttl)| *ttl).min() {
        let ttl = Duration::from_secs(ttl.into()).clamp(LEAST_TTL, MOST_TTL);
        let addresses = addresses.into_iter().map(|(address, _)| address).collect();
        return Ok(Found { addresses, until: Instant::now() + ttl });
    }
    match replies {
        [Some(Err(ResponseCode::NXDomain)), _] | [_, Some(Err(ResponseCode::NXDomain))] => {
            Err(LookupError::NoSuchName { server })
        }
        [Some(Err(code)), _] | [_, Some(Err(code))] => Err(LookupError::Refused { server, code }),
        [None, _] | [_, None] => Err(LookupError::NoAnswer { server }),
        [Some(Ok(_)), Some(Ok(_))] => Err(LookupError::NoAddress { server }),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, AAAA, CNAME};

    use super::*;

    const NAME: &str = "ec2.us-east-1.amazonaws.com";

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn it_is_never_us_that_is_asked() {
        let listen: Vec<SocketAddr> =
            ["10.0.0.53:53", "127.0.0.1:53", "[::1]:5300"].map(|a| a.parse().unwrap()).into();
        let any = ["0.0.0.0:53".parse().unwrap()];
        let local = ips(&["10.0.0.53", "10.0.0.99"]);
        let asked = |configured: &[&str], conf: &str, stub: &str, listen: &[SocketAddr]| {
            resolvers(&ips(configured), conf, stub, listen, &local)
                .into_iter()
                .map(|server| server.to_string())
                .collect::<Vec<_>>()
        };
        let conf = "# made by dhclient\nsearch ec2.internal\nnameserver 10.0.0.53\n\
                    nameserver 10.0.0.2\nnameserver fe80::1%eth0\noptions edns0\n";
        assert_eq!(asked(&[], conf, "", &listen), ["10.0.0.2:53"]);
        assert_eq!(asked(&[], conf, "", &[]), ["10.0.0.53:53", "10.0.0.2:53"]);
        assert_eq!(asked(&[], "nameserver 10.0.0.99", "", &listen), ["10.0.0.99:53"]);
        assert_eq!(asked(&[], "nameserver 10.0.0.99", "", &any), ["169.254.169.253:53"]);
        assert_eq!(asked(&[], "nameserver 127.0.0.9", "", &any), ["169.254.169.253:53"]);
        assert_eq!(asked(&[], "nameserver ::1", "", &listen), ["[::1]:53"], "at port 5300 only");
        assert_eq!(asked(&[], "", "", &listen), ["169.254.169.253:53"]);
        assert_eq!(asked(&["10.9.9.9"], conf, "", &listen), ["10.9.9.9:53"]);
        // systemd-resolved, which was told of us by DHCP.
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad";
        assert_eq!(asked(&[], stub, conf, &listen), ["10.0.0.2:53"]);
        assert_eq!(asked(&[], stub, "", &listen), ["127.0.0.53:53"]);
    }

    #[test]
    fn hosts_files() {
        let hosts = "127.0.0.1 localhost\n::9 Moto moto.test # not: other\n\
                     10.0.0.9\tmoto\nnonsense moto\n#1.2.3.4 moto\n";
        assert_eq!(in_hosts(hosts, "moto"), ips(&["10.0.0.9", "::9"]));
        assert_eq!(in_hosts(hosts, "moto.test"), ips(&["::9"]));
        assert_eq!(in_hosts(hosts, "other"), ips(&[]));
    }

    /// A resolver that answers each question with what `reply` makes of it,
    /// and counts them.
    async fn server(
        reply: impl Fn(&Message, Message) -> Vec<Message> + Send + 'static,
    ) -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                assert!(query.metadata.recursion_desired);
                let mut empty = Message::response(query.metadata.id, OpCode::Query);
                empty.add_queries(query.queries.clone());
                for message in reply(&query, empty) {
                    socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        (at, count)
    }

    /// Answers A with `address`, AAAA with nothing.
    fn v4(address: [u8; 4]) -> impl Fn(&Message, Message) -> Vec<Message> {
        move |query, mut reply| {
            let name = query.queries[0].name().clone();
            if query.queries[0].query_type() == RecordType::A {
                reply.add_answer(Record::from_rdata(name, 60, RData::A(A(address.into()))));
            }
            vec![reply]
        }
    }

    fn code(code: ResponseCode) -> impl Fn(&Message, Message) -> Vec<Message> {
        move |_, mut reply| {
            reply.metadata.response_code = code;
            vec![reply]
        }
    }

    fn nobody() -> SocketAddr {
        // Bound and dropped: nobody listens there.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    }

    fn resolver(servers: &[SocketAddr]) -> Resolver {
        Resolver::with_hosts(servers.to_vec(), "/nonexistent".into())
    }

    #[tokio::test]
    async fn both_kinds_through_an_alias() {
        let (at, _) = server(|query, mut reply| {
            let name = query.queries[0].name().clone();
            let alias = Name::from_ascii("alias.example.").unwrap();
            let cname = RData::CNAME(CNAME(alias.clone()));
            reply.add_answer(Record::from_rdata(name, 60, cname));
            reply.add_answer(match query.queries[0].query_type() {
                RecordType::A => Record::from_rdata(alias, 60, RData::A(A::new(192, 0, 2, 1))),
                _ => {
                    let address = "2001:db8::1".parse().unwrap();
                    Record::from_rdata(alias, 60, RData::AAAA(AAAA(address)))
                }
            });
            vec![reply]
        })
        .await;
        let found = resolver(&[at]).lookup("EC2.us-east-1.amazonaws.com.").await.unwrap();
        assert_eq!(found, ips(&["192.0.2.1", "2001:db8::1"]));
    }

    #[tokio::test]
    async fn what_is_found_is_kept_and_used_when_nobody_answers() {
        let (at, count) = server(v4([192, 0, 2, 1])).await;
        let resolver = resolver(&[at]);
        assert_eq!(resolver.lookup(NAME).await.unwrap(), ips(&["192.0.2.1"]));
        assert_eq!(resolver.lookup(NAME).await.unwrap(), ips(&["192.0.2.1"]));
        assert_eq!(count.load(Ordering::SeqCst), 2, "one question of each kind");
        // Long past its time, with nobody there any more.
        let gone = self::resolver(&[nobody()]);
        gone.found().clone_from(&resolver.found());
        gone.found().get_mut(NAME).unwrap().until = Instant::now();
        assert_eq!(gone.lookup(NAME).await.unwrap(), ips(&["192.0.2.1"]));
        let error = gone.lookup("sts.amazonaws.com").await.unwrap_err();
        assert!(matches!(error, LookupError::Unreachable { .. }), "{error}");
    }

    #[tokio::test]
    async fn other_resolvers_are_asked_at_once_by_all_clones() {
        let (old, _) = server(v4([192, 0, 2, 1])).await;
        let (new, asked) = server(v4([192, 0, 2, 2])).await;
        let resolver = resolver(&[old]);
        let clone = resolver.clone();
        assert_eq!(clone.lookup(NAME).await.unwrap(), ips(&["192.0.2.1"]));
        resolver.set(&[new]);
        assert_eq!(clone.lookup(NAME).await.unwrap(), ips(&["192.0.2.2"]));
        // The same again: what was found stands.
        resolver.set(&[new]);
        assert_eq!(clone.lookup(NAME).await.unwrap(), ips(&["192.0.2.2"]));
        assert_eq!(asked.load(Ordering::SeqCst), 2, "one question of each kind");
    }

    #[tokio::test]
    async fn the_next_resolver_is_asked_and_then_first() {
        let (bad, asked_bad) = server(code(ResponseCode::ServFail)).await;
        let (good, _) = server(v4([192, 0, 2, 1])).await;
        let resolver = resolver(&[nobody(), bad, good]);
        assert_eq!(resolver.lookup(NAME).await.unwrap(), ips(&["192.0.2.1"]));
        let before = asked_bad.load(Ordering::SeqCst);
        resolver.lookup("sts.amazonaws.com").await.unwrap();
        assert_eq!(asked_bad.load(Ordering::SeqCst), before);
    }

    #[tokio::test]
    async fn errors_name_the_resolver() {
        let (at, count) = server(code(ResponseCode::NXDomain)).await;
        let error = resolver(&[at, nobody()]).lookup(NAME).await.unwrap_err();
        assert_eq!(error, LookupError::NoSuchName { server: at });
        assert_eq!(count.load(Ordering::SeqCst), 2, "nobody else is asked then");

        let (at, _) = server(|_, reply| vec![reply]).await;
        let error = resolver(&[at]).lookup(NAME).await.unwrap_err();
        assert_eq!(error, LookupError::NoAddress { server: at });

        let (at, count) = server(code(ResponseCode::Refused)).await;
        let error = resolver(&[at]).lookup(NAME).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{at} answers Query Refused"));
        assert_eq!(count.load(Ordering::SeqCst), 2 * ROUNDS);

        let (at, _) = server(|_, _| vec![]).await;
        let error = resolver(&[at]).lookup(NAME).await.unwrap_err();
        assert_eq!(error, LookupError::NoAnswer { server: at });

        assert_eq!(resolver(&[]).lookup(NAME).await.unwrap_err(), LookupError::NoResolver);
        let long = "x".repeat(64);
        assert_eq!(resolver(&[at]).lookup(&long).await.unwrap_err(), LookupError::NotAName);
    }

    #[tokio::test]
    async fn only_replies_to_our_question_count() {
        let (at, _) = server(|query, reply| {
            let mut all = Vec::new();
            let mut lie = |id: u16, name: &str, mtype| {
                let name = Name::from_ascii(name).unwrap();
                let mut message = Message::new(id, mtype, OpCode::Query);
                message.add_query(Query::query(name.clone(), query.queries[0].query_type()));
                message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(6, 6, 6, 6))));
                all.push(message);
            };
            let id = query.metadata.id;
            let asked = format!("{NAME}.");
            lie(id.wrapping_add(1), &asked, MessageType::Response);
            lie(id, "other.example.", MessageType::Response);
            lie(id, &asked, MessageType::Query);
            all.extend(v4([192, 0, 2, 1])(query, reply));
            all
        })
        .await;
        assert_eq!(resolver(&[at]).lookup(NAME).await.unwrap(), ips(&["192.0.2.1"]));
    }

    /// Some that cannot read a query send back no question (RFC 5452 section
    /// 9.1 has none to compare): the next resolver is asked at once.
    #[tokio::test]
    async fn an_error_without_a_question_is_one() {
        let (at, _) = server(|_, mut reply| {
            reply.queries.clear();
            reply.metadata.response_code = ResponseCode::FormErr;
            vec![reply]
        })
        .await;
        let error = resolver(&[at]).lookup(NAME).await.unwrap_err();
        assert_eq!(error, LookupError::Refused { server: at, code: ResponseCode::FormErr });
    }

    #[tokio::test]
    async fn a_resolver_that_ignores_one_kind_costs_little() {
        let (at, _) = server(|query, reply| match query.queries[0].query_type() {
            RecordType::A => v4([192, 0, 2, 1])(query, reply),
            _ => vec![],
        })
        .await;
        assert_eq!(resolver(&[at]).lookup(NAME).await.unwrap(), ips(&["192.0.2.1"]));
    }

    #[tokio::test]
    async fn some_names_need_no_resolver() {
        let none = resolver(&[]);
        assert_eq!(none.lookup("localhost").await.unwrap(), ips(&["127.0.0.1", "::1"]));
        assert_eq!(none.lookup("ec2.localhost").await.unwrap(), ips(&["127.0.0.1", "::1"]));
        assert_eq!(none.lookup("192.0.2.7").await.unwrap(), ips(&["192.0.2.7"]));
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, "10.0.0.9 moto\n").unwrap();
        let listed = Resolver::with_hosts(vec![], hosts);
        assert_eq!(listed.lookup("MOTO").await.unwrap(), ips(&["10.0.0.9"]));
        // What has no end is not read.
        let endless = Resolver::with_hosts(vec![], "/dev/zero".into());
        assert!(endless.lookup("MOTO").await.is_err());
    }
}
