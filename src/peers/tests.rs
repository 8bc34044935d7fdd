//! Peers that do what a test says, over real connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::client::{Call, CallError, Method, exchange};
use super::hints::{self, Mailbox, Which, is_news};
use crate::source::clock::Clock;
use crate::source::error::PollError;
use crate::source::poll::{Describe, Described, Poller};
use crate::source::testing::address;
use crate::source::usable::LeftOut;
use crate::source::{self, Setup};
use crate::status::board::peers::{Peer, Peers, Token};

/// Only ever reached if something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than what is said at once takes.
const SOON: Duration = Duration::from_secs(20);

struct Scripted {
    listener: TcpListener,
    at: SocketAddr,
}

impl Scripted {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        Self { listener, at }
    }

    /// The next request: its head, and the connection to answer on.
    async fn asked(&self) -> (String, TcpStream) {
        let reading = async {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            (String::from_utf8(head).unwrap(), stream)
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("a request")
    }

    /// The next request is answered so.
    async fn answers(&self, answer: &str) -> String {
        let (head, mut stream) = self.asked().await;
        // Whoever asked may have gone at what came first.
        let _ = stream.write_all(answer.as_bytes()).await;
        head
    }
}

const GONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

async fn told(at: SocketAddr, most: usize, time: Duration) -> Result<Vec<u8>, CallError> {
    let token = Token::new("s3cret");
    exchange(&Call { at, method: Method::GET, path: "/x", token: &token, most }, time).await
}

#[tokio::test]
async fn a_whole_answer_is_read() {
    let peer = Scripted::new().await;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more",
    ] {
        let (said, head) = tokio::join!(told(peer.at, 5, SOON), peer.answers(answer));
        assert_eq!(said.unwrap(), b"hello", "{answer}");
        let head = head.to_lowercase();
        assert!(head.starts_with("get /x http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {}\r\n", peer.at)), "{head}");
        assert!(head.contains("authorization: bearer s3cret\r\n"), "{head}");
    }
}

/// Nothing of what a peer can say is more than an error.
#[tokio::test]
async fn a_hostile_peer_is_an_error() {
    let peer = Scripted::new().await;
    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(70_000));
    let chunks = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
        "1\r\nx\r\n".repeat(9_000)
    );
    let header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(70_000));
    let headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1_000));
    for (answer, wanted) in [
        (long.as_str(), "its answer has more than 1000 octets"),
        (&chunks, "its answer has more than 1000 octets"),
        (&header, "what it says is no answer over HTTP"),
        (&headers, "what it says is no answer over HTTP"),
        ("", "what it says is no answer over HTTP"),
        ("\x16\x03\x01\x02\x00\x01", "what it says is no answer over HTTP"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "what it says is no answer over HTTP"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut", "what it says is no answer over HTTP"),
        ("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", "it refuses our token (status 401)"),
        ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "it answers with status 404"),
        (
            "HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
            "it answers with status 302",
        ),
    ] {
        let (said, _) = tokio::join!(told(peer.at, 1000, SOON), peer.answers(answer));
        let said = said.unwrap_err().to_string();
        assert!(said.starts_with(wanted), "{said}: {:.60}", answer);
    }
    // One octet now and then, for ever: the time is for all of it.
    let drip = async {
        let (_, mut stream) = peer.asked().await;
        while stream.write_all(b"H").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        said = told(peer.at, 1000, Duration::from_millis(50)) => {
            let said = said.unwrap_err().to_string();
            assert!(said.starts_with("no whole answer within 50ms") || said.contains("HTTP"), "{said}");
        }
        () = drip => {}
    }
    let at = peer.at;
    drop(peer);
    let said = told(at, 1000, SOON).await.unwrap_err();
    assert!(matches!(said, CallError::Connect(_)), "{said}");
}

struct Telling {
    to: Scripted,
    peer: Arc<Peer>,
    mailbox: Arc<Mailbox>,
    task: tokio::task::JoinHandle<()>,
}

/// Tells a peer at that address for as long as the task runs.
fn tell(at: SocketAddr) -> (Arc<Peer>, Arc<Mailbox>, tokio::task::JoinHandle<()>) {
    let (peer, peers) = (Arc::new(Peer::new(at)), Peers::default());
    peers.configure(Some(Token::new("s3cret")), vec![Arc::clone(&peer)]);
    let mailbox = Arc::<Mailbox>::default();
    let (to, box_) = (Arc::clone(&peer), Arc::clone(&mailbox));
    let task = tokio::spawn(async move { hints::tell(&to, &peers, &box_).await });
    (peer, mailbox, task)
}

impl Telling {
    async fn new() -> Self {
        let to = Scripted::new().await;
        let (peer, mailbox, task) = tell(to.at);
        Self { to, peer, mailbox, task }
    }

    fn hint(&self, source: &str) {
        self.mailbox.put(&Which::Named(source.into()));
    }
}

#[tokio::test]
async fn one_hint_is_under_way_and_the_last_is_not_lost() {
    let telling = Telling::new().await;
    telling.hint("east");
    let (head, mut stream) = telling.to.asked().await;
    assert!(head.starts_with("POST /api/hint?source=east HTTP/1.1\r\n"), "{head}");
    // All of these come while that one is under way: one hint.
    (0..1_000).for_each(|n| telling.hint(["east", "west"][n % 2]));
    stream.write_all(GONE.as_bytes()).await.unwrap();
    let head = telling.to.answers(GONE).await;
    assert!(head.starts_with("POST /api/hint HTTP/1.1\r\n"), "of several sources: {head}");
    // Had there been another, it would come before this.
    telling.hint("west");
    let head = telling.to.answers("HTTP/1.1 500 No\r\n\r\n").await;
    assert!(head.starts_with("POST /api/hint?source=west HTTP/1.1\r\n"), "{head}");
    telling.hint("north");
    telling.to.answers(GONE).await;
    telling.hint("last");
    let (_, _stream) = telling.to.asked().await;
    assert_eq!(telling.peer.hints(), (4, 1), "one was not taken");
    telling.task.abort();
}

/// EC2, which says what the test has it say.
struct Ec2(watch::Receiver<u8>);

impl Describe for Ec2 {
    fn describe(&mut self) -> BoxFuture<'_, Result<Described, PollError>> {
        let ip = Ipv4Addr::new(75, 101, 137, *self.0.borrow());
        let (addresses, left_out) = (vec![address(ip).into()], LeftOut::default());
        Box::pin(async move { Ok(Described::New { addresses, left_out }) })
    }

    fn requests(&self) -> u64 {
        0
    }

    fn region(&self) -> Option<String> {
        None
    }
}

struct Replica {
    source: source::Handle,
    hints: Arc<AtomicUsize>,
    /// Each delivery: what it shows, and whether a hint had it made.
    seen: mpsc::UnboundedReceiver<(Ipv4Addr, bool)>,
}

/// Replicas that poll next to never, each with all others as its peers.
async fn replicas(count: usize, ec2: &watch::Receiver<u8>) -> Vec<Replica> {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(Scripted::new().await);
    }
    let at: Vec<_> = listeners.iter().map(|one| one.at).collect();
    let mut all = Vec::new();
    for (nth, listener) in listeners.into_iter().enumerate() {
        let (deliver, mut deliveries) = mpsc::channel(4);
        let setup = Setup::new(0, "east", Clock::start(), deliver);
        let (poller, source) =
            Poller::new(setup, Duration::from_secs(3600), Box::new(Ec2(ec2.clone())));
        tokio::spawn(poller.run());
        let (received, handle) = (Arc::<AtomicUsize>::default(), source.clone());
        let counted = Arc::clone(&received);
        tokio::spawn(async move {
            loop {
                listener.answers(GONE).await;
                counted.fetch_add(1, Ordering::Relaxed);
                handle.hint();
            }
        });
        let others = at.iter().enumerate().filter(|(other, _)| *other != nth);
        let others: Vec<_> = others.map(|(_, at)| tell(*at)).collect();
        let (tell_seen, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut before = None;
            while let Some(delivery) = deliveries.recv().await {
                let said = delivery.answer.as_ref().unwrap();
                let now = said.addresses[0].public_ip();
                if is_news(before.as_ref(), now.as_ref(), delivery.hinted) {
                    for (_, mailbox, _) in &others {
                        mailbox.put(&Which::Named("east".into()));
                    }
                }
                before = now;
                let _ = tell_seen.send((now.unwrap(), delivery.hinted));
                delivery.published(None);
            }
        });
        all.push(Replica { source, hints: received, seen });
    }
    all
}

/// However many there are, and whoever sees it: a change is told once to each of the others.
#[tokio::test]
async fn nothing_echoes_and_nothing_grows() {
    let (moves, ec2) = watch::channel(1);
    let mut all = replicas(3, &ec2).await;
    for one in &mut all {
        assert!(!one.seen.recv().await.unwrap().1, "the first call is nobody's hint");
    }
    let mut wanted = [0; 3];
    for turn in 0..6_u8 {
        let first = usize::from(turn) % 3;
        moves.send_replace(turn + 2);
        all[first].source.look();
        for (nth, one) in all.iter_mut().enumerate() {
            let seen = tokio::time::timeout(PATIENCE, one.seen.recv()).await.unwrap();
            let now = Ipv4Addr::new(75, 101, 137, turn + 2);
            assert_eq!(seen, Some((now, nth != first)), "replica {nth} in turn {turn}");
            wanted[nth] += usize::from(nth != first);
        }
        let counts: Vec<_> = all.iter().map(|one| one.hints.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, wanted, "turn {turn}");
    }
    // What is asked for and shows nothing new is told to nobody either.
    all[0].source.look();
    assert!(!all[0].seen.recv().await.unwrap().1);
    let counts: Vec<_> = all.iter().map(|one| one.hints.load(Ordering::Relaxed)).collect();
    assert_eq!(counts, wanted);
}
