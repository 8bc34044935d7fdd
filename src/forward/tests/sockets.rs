//! Real sockets: what a stranger, or a bad upstream, sends to them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::AbortHandle;

use super::{ADDITIONAL, Draft, SAME, asks_a, name};
use crate::config::{ForwardConfig, Rule};
use crate::dns::name::Key;
use crate::forward::counters::Counter;
use crate::forward::flights::flights_within;
use crate::forward::network::{Network, NetworkError, Sockets, Via};
use crate::forward::{Forwarder, Hit, MAX_FLIGHTS, MAX_SOCKETS, UpstreamStatus};
use crate::host::descriptors::Share;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Source address and ID of a query.
type Seen = (SocketAddr, [u8; 2]);
/// A datagram that goes back, and whether from the right address.
type Datagram = (bool, Vec<u8>);
type Udp = Box<dyn Fn(&[u8]) -> Datagram + Send>;
type Tcp = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// An upstream that does over UDP and TCP what it was told to.
struct Bad {
    address: SocketAddr,
    /// Queries over UDP.
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Bad {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Bad {
    /// `udp` says which datagrams go back, and `tcp` which octets do before the connection is closed.
    async fn start(
        udp: impl Fn(&[u8]) -> Vec<Datagram> + Send + 'static,
        tcp: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let (listener, socket) = loop {
            let listener = TcpListener::bind((HOME, 0)).await.unwrap();
            // The same port may be taken for UDP: try another.
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let address = socket.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let datagrams = tokio::spawn(async move {
            let stranger = UdpSocket::bind((HOME, 0)).await.unwrap();
            let mut query = [0; 1500];
            loop {
                let (len, from) = socket.recv_from(&mut query).await.unwrap();
                noted.lock().unwrap().push((from, [query[0], query[1]]));
                for (right, reply) in udp(&query[..len]) {
                    let from_here = if right { &socket } else { &stranger };
                    from_here.send_to(&reply, from).await.unwrap();
                }
            }
        });
        let streams = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                talk(stream, &tcp).await;
            }
        });
        Self { address, seen, tasks: [datagrams.abort_handle(), streams.abort_handle()] }
    }

    /// What comes of one question to this upstream alone.
    async fn asked(&self) -> (Hit, UpstreamStatus) {
        let forwarder = forwarder(&[self.address]);
        let hit = forwarder.answer(&asks_a(&name("db.example.")), CLIENT).await;
        (hit, forwarder.upstreams().remove(0))
    }
}

async fn talk(mut stream: TcpStream, tcp: &impl Fn(&[u8]) -> Vec<u8>) {
    let length = stream.read_u16().await.unwrap();
    let mut query = vec![0; length.into()];
    stream.read_exact(&mut query).await.unwrap();
    // The other side may be gone already: no concern of ours.
    let _ = stream.write_all(&tcp(&query)).await;
}

fn forwarder(upstreams: &[SocketAddr]) -> Forwarder {
    let rule = Rule { names: vec![Key::root()], upstreams: upstreams.to_vec(), max_rate: None };
    let (forwarder, driver) =
        Forwarder::new(&ForwardConfig { rules: vec![rule] }, &Share::default()).unwrap();
    tokio::spawn(driver.run());
    forwarder
}

fn good(query: &[u8]) -> Vec<u8> {
    Draft::to_query(query).a(300, [192, 0, 2, 1]).0
}

/// An answer that an attacker would like to see accepted.
fn evil(query: &[u8]) -> Vec<u8> {
    Draft::to_query(query).a(300, [203, 0, 113, 66]).0
}

fn truncated(query: &[u8]) -> Vec<Datagram> {
    vec![(true, Draft::to_query(query).flags(2, 0).0)]
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

fn no_tcp(_: &[u8]) -> Vec<u8> {
    Vec::new()
}

fn is_good(hit: &Hit) -> bool {
    hit.message().addresses().eq([Ipv4Addr::new(192, 0, 2, 1)])
}

#[tokio::test]
async fn wrong_replies_are_passed_over() {
    let changed = |at: usize, by: u8| {
        move |query: &[u8]| {
            let mut reply = evil(query);
            reply[at] ^= by;
            (true, reply)
        }
    };
    let wrong: Vec<(Udp, u64)> = vec![
        (Box::new(changed(0, 1)), 1),                        // ID
        (Box::new(changed(1, 0x80)), 1),                     // ID
        (Box::new(changed(2, 0x80)), 1),                     // no response
        (Box::new(changed(14, 1)), 1),                       // name
        (Box::new(changed(25, 1)), 1),                       // type
        (Box::new(changed(27, 2)), 1),                       // class
        (Box::new(|query| (true, query[..11].to_vec())), 1), // no header
        (Box::new(|_| (true, Vec::new())), 1),               // nothing
        (Box::new(|_| (true, b"garbage, garbage, garbage".to_vec())), 1),
        (Box::new(|query| (false, evil(query))), 0), // the wrong source
    ];
    for (nth, (wrong, strays)) in wrong.into_iter().enumerate() {
        let udp = move |query: &[u8]| vec![wrong(query), (true, good(query))];
        let (hit, status) = Bad::start(udp, no_tcp).await.asked().await;
        assert!(is_good(&hit), "{nth}");
        assert_eq!((status.sent, status.strays), (1, strays), "{nth}");
    }
}

#[tokio::test]
async fn another_case_is_the_same_question() {
    let udp = |query: &[u8]| {
        let mut reply = good(query);
        reply[13..15].make_ascii_uppercase();
        vec![(true, reply)]
    };
    let (hit, _) = Bad::start(udp, no_tcp).await.asked().await;
    assert!(is_good(&hit));
    assert_eq!(hit.message().records().next().unwrap().owner.octets(), name("db.example."));
}

#[tokio::test]
async fn a_flood_of_guesses_leads_to_tcp() {
    let udp = |query: &[u8]| {
        let mut reply = evil(query);
        (0..64)
            .map(|_| {
                reply[0] = reply[0].wrapping_add(1);
                (true, reply.clone())
            })
            .collect()
    };
    let (hit, status) = Bad::start(udp, |query| framed(&good(query))).await.asked().await;
    assert!(is_good(&hit));
    assert_eq!((status.sent, status.strays), (2, 32));
}

#[tokio::test]
async fn tcp_carries_64_kib() {
    let tcp = |query: &[u8]| {
        let start = Draft::to_query(query);
        let room = usize::from(u16::MAX) - start.0.len();
        // 256 octets each, and one that fills up to the last octet.
        let full = (0..room / 256 - 1).fold(start, |draft, i| {
            draft.record(ADDITIONAL, SAME, 16, 300, &[&[243][..], &[i as u8; 243]].concat())
        });
        let rest = usize::from(u16::MAX) - full.0.len() - 12;
        let data: Vec<u8> = [&vec![0; rest - 255 - 1][..], &[255], &[b'x'; 255]].concat();
        let full = full.record(ADDITIONAL, SAME, 65_280, 300, &data);
        assert_eq!(full.0.len(), 65_535);
        framed(&full.0)
    };
    let (hit, status) = Bad::start(truncated, tcp).await.asked().await;
    assert_eq!(hit.message().records().count(), 255);
    assert_eq!((status.sent, status.answers), (2, 1));
}

#[tokio::test]
async fn a_bad_tcp_stream_moves_on() {
    let streams: Vec<Tcp> = vec![
        Box::new(no_tcp),
        Box::new(|query| framed(&good(query))[..1].to_vec()),
        Box::new(|query| framed(&good(query))[..40].to_vec()),
        Box::new(|query| {
            let mut reply = framed(&evil(query));
            reply[2] ^= 1;
            reply
        }),
        Box::new(|_| vec![0, 0]),
        Box::new(|_| [&[0xff; 2][..], &[0xff; 65_535]].concat()),
    ];
    for (nth, stream) in streams.into_iter().enumerate() {
        let bad = Bad::start(truncated, stream).await;
        let second = Bad::start(|query| vec![(true, good(query))], no_tcp).await;
        let forwarder = forwarder(&[bad.address, second.address]);
        let hit = forwarder.answer(&asks_a(&name("db.example.")), CLIENT).await;
        assert!(is_good(&hit), "{nth}");
        let status = &forwarder.upstreams()[0];
        assert_eq!((status.sent, status.errors, status.answers), (2, 1, 0), "{nth}");
    }
}

#[tokio::test]
async fn a_closed_port_is_noticed_at_once() {
    // Bound and let go: nobody is there.
    let gone = UdpSocket::bind((HOME, 0)).await.unwrap().local_addr().unwrap();
    let second = Bad::start(|query| vec![(true, good(query))], no_tcp).await;
    let forwarder = forwarder(&[gone, second.address]);
    assert!(is_good(&forwarder.answer(&asks_a(&name("db.example.")), CLIENT).await));
    let status = &forwarder.upstreams()[0];
    assert_eq!((status.sent, status.errors, status.timeouts), (1, 1, 0));
}

#[tokio::test]
async fn a_failure_of_the_network_is_told() {
    let gone = UdpSocket::bind((HOME, 0)).await.unwrap().local_addr().unwrap();
    let hit = forwarder(&[gone]).answer(&asks_a(&name("db.example.")), CLIENT).await;
    assert_eq!(hit.rcode(), ResponseCode::ServFail);
    let remark = &hit.message().remarks()[0];
    assert_eq!(remark.code, 22);
    assert!(remark.text.contains(&format!("{gone}: Connection refused")), "{}", remark.text);
}

#[tokio::test]
async fn ports_and_ids_are_new_for_each_query() {
    let upstream = Bad::start(|query| vec![(true, good(query))], no_tcp).await;
    let forwarder = forwarder(&[upstream.address]);
    for nth in 0..200 {
        let text = name(&format!("host{nth}.example."));
        assert!(is_good(&forwarder.answer(&asks_a(&text), CLIENT).await));
    }
    let seen = upstream.seen.lock().unwrap();
    assert_eq!(seen.len(), 200);
    // Of 28,232 ports and 65,536 IDs a few may come twice; more than 20 of 200
    // would take a worse source than a coin.
    let ports: HashSet<_> = seen.iter().map(|(from, _)| from.port()).collect();
    let ids: HashSet<_> = seen.iter().map(|(_, id)| id).collect();
    assert!(ports.len() > 180, "{} ports", ports.len());
    assert!(ids.len() > 180, "{} IDs", ids.len());
    let gaps = |numbers: Vec<u16>| {
        let gap = |pair: &[u16]| pair[1].wrapping_sub(pair[0]);
        numbers.windows(2).map(gap).collect::<HashSet<_>>().len()
    };
    assert!(gaps(seen.iter().map(|(from, _)| from.port()).collect()) > 100, "no sequence");
    assert!(gaps(seen.iter().map(|(_, id)| u16::from_be_bytes(*id)).collect()) > 100);
}

#[tokio::test]
async fn no_socket_is_opened_beyond_those_it_may_have() {
    let silent = Bad::start(|_| Vec::new(), no_tcp).await;
    let share = Share::new(1);
    let network = Sockets(share.clone());
    let query = asks_a(&name("db.example.")).outgoing(true).unwrap();
    let strays = Counter::default();
    let exchange = || network.exchange(silent.address, Via::Udp, &query, &strays);
    let mut first = exchange();
    assert!((&mut first).now_or_never().is_none(), "it waits for its reply");
    let error = exchange().await.unwrap_err();
    assert_eq!(error.to_string(), "no socket: all 1 that forwarding may have are in use");
    assert!(matches!(error, NetworkError::NoSocket(_)), "no fault of the upstream");
    assert_eq!((share.taken(), share.refused()), (1, 1));
    drop(first);
    assert!(exchange().now_or_never().is_none());
    assert_eq!((share.taken(), share.refused()), (0, 1));
}

#[test]
fn flights_follow_the_sockets() {
    // Twice as many flights as the limit says, each with two sockets.
    for (sockets, flights) in
        [(0, 1), (40, 10), (320, 80), (MAX_SOCKETS, MAX_FLIGHTS), (usize::MAX, MAX_FLIGHTS)]
    {
        assert_eq!(flights_within(sockets), flights, "{sockets}");
    }
}
