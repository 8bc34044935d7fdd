//! Peers that do what a test says, over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::client::{Call, CallError, Method, exchange};
use super::{Handle, Teller, Which};
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
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Telling {
    async fn new() -> Self {
        let to = Scripted::new().await;
        let (peer, peers) = (Arc::new(Peer::new(to.at)), Peers::default());
        peers.configure(Some(Token::new("s3cret")), vec![Arc::clone(&peer)]);
        let (teller, handle) = Teller::new(Arc::clone(&peer), peers);
        Self { to, peer, handle, task: tokio::spawn(teller.run()) }
    }

    fn hint(&self, source: &str) {
        self.handle.hint(&Which::Named(source.into()));
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
