use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;

const NAME: &str = "ec2.us-east-1.amazonaws.com";

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
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
