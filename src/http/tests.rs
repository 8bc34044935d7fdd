//! Real connections to a server with answers of the tests' own, and short times.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use super::connection::Times;
use super::server::{Acceptor, Places};
use super::{Shared, api, guard};
use crate::host::pulse::Pulse;
use crate::serve::Stats;
use crate::serve::stats::HttpTotals;
use crate::snapshot::Snapshot;
use crate::source::clock::Clock;
use crate::status::board::{Board, Facts, Reloads};
use crate::status::reloaded::Asks;
use crate::store::Store;
use crate::testing;

/// Only ever reached if something is broken.
const TOO_LONG: Duration = Duration::from_secs(30);

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

const PATIENT: Times = Times { head: NEVER, idle: NEVER, answer: NEVER };

/// More than the kernel buffers for a connection.
const LARGE: usize = 64 << 20;

struct Running {
    address: SocketAddr,
    stats: Arc<Stats>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// `/wait` is being worked on, and may be answered.
    asked: Arc<Notify>,
    answer: Arc<Notify>,
}

/// `limit` answers of `/large` and `/wait` at once.
fn router(asked: Arc<Notify>, answer: Arc<Notify>, limit: usize) -> Router {
    let wait = |State((asked, answer)): State<(Arc<Notify>, Arc<Notify>)>| async move {
        asked.notify_one();
        answer.notified().await;
        "waited"
    };
    Router::new()
        .route("/large", get(|| async { "x".repeat(LARGE) }))
        .route("/wait", get(wait))
        .route("/post", post(|body: String| async move { body }))
        .route_layer(from_fn_with_state(Arc::new(Semaphore::new(limit)), guard::limited))
        .route_layer(from_fn(guard::with_body))
        .route("/", get(|| async { "here" }))
        .with_state((asked, answer))
}

/// With so many places: an eighth of them, at least one, for this host.
fn start(places: usize, times: Times) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (asked, answer) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let all = Places::default();
    all.set(places);
    let stats = Arc::<Stats>::default();
    let (stop, stopped) = watch::channel(false);
    let router = router(Arc::clone(&asked), Arc::clone(&answer), 2);
    let acceptor = Acceptor::new(listener, router, all.clone(), Arc::clone(&stats), times, stopped);
    let task = tokio::spawn(acceptor.run());
    Running { address, stats, stop, task, asked, answer }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TOO_LONG)).unwrap();
        stream
    }

    fn totals(&self) -> HttpTotals {
        self.stats.http()
    }

    fn eventually(&self, what: &str, check: impl Fn(&HttpTotals) -> bool) {
        let start = Instant::now();
        while !check(&self.totals()) {
            assert!(start.elapsed() < TOO_LONG, "never: {what}: {:?}", self.totals());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn send(mut stream: &TcpStream, octets: &str) {
    stream.write_all(octets.as_bytes()).unwrap();
}

/// Asks for a path, and reads the answer if its body is `body`.
fn asked(stream: &TcpStream, path: &str, body: &str) {
    send(stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let answer = until(stream, body);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Reads as far as this text.
fn until(mut stream: &TcpStream, end: &str) -> String {
    let mut said = Vec::new();
    while !said.ends_with(end.as_bytes()) {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        said.push(octet[0]);
    }
    String::from_utf8(said).unwrap()
}

/// The connection has ended, with nothing said before.
fn has_ended(mut stream: &TcpStream) {
    match stream.read(&mut [0; 1]) {
        Ok(count) => assert_eq!(count, 0, "something was said"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_come_is_not_waited_for() {
    let times = Times { head: Duration::from_millis(300), ..PATIENT };
    let server = start(64, times);
    let (silent, half) = (server.connect(), server.connect());
    send(&half, "GET / HTTP/1.1\r\nHost: local");
    // One octet after the other is no request either.
    let trickle = server.connect();
    let start = Instant::now();
    let mut head = "GET / HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat(b'x'));
    while (&trickle).write_all(&[head.next().unwrap()]).is_ok() {
        assert!(start.elapsed() < TOO_LONG);
        std::thread::sleep(Duration::from_millis(10));
    }
    has_ended(&silent);
    has_ended(&half);
    server.eventually("counted", |totals| totals.slow == 3);
    // The same after an answer: time begins anew with the next request.
    let kept = server.connect();
    asked(&kept, "/", "here");
    send(&kept, "GET /");
    has_ended(&kept);
    server.eventually("counted", |totals| totals.slow == 4 && totals.open() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_between_requests_has_an_end() {
    // How often it is looked at goes by the shortest time.
    let (head, idle) = (Duration::from_millis(100), Duration::from_millis(200));
    let server = start(64, Times { head, idle, answer: NEVER });
    let kept = server.connect();
    for _ in 0..3 {
        asked(&kept, "/", "here");
    }
    has_ended(&kept);
    server.eventually("counted", |totals| totals.idle == 1 && totals.open() == 0);
    assert_eq!(server.totals().requests[0], (200, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_taken_is_given_up() {
    let short = Duration::from_millis(300);
    let server = start(64, Times { head: short, answer: short, ..PATIENT });
    let stuck = server.connect();
    send(&stuck, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    server.eventually("counted", |totals| totals.slow == 1 && totals.open() == 0);
    // Who takes it has it, whole.
    let server = start(64, PATIENT);
    let reader = server.connect();
    send(&reader, "GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut all = Vec::new();
    (&reader).read_to_end(&mut all).unwrap();
    assert!(all.len() > LARGE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_idle_makes_room_and_work_does_not() {
    // Four places for this host.
    let server = start(32, PATIENT);
    let busy = server.connect();
    send(&busy, "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
    server.asked.notified().await;
    let idle: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in [&idle[0], &idle[1], &idle[2], &idle[0]] {
        asked(stream, "/", "here");
    }
    let mut newcomers = Vec::new();
    for longest in [&idle[1], &idle[2], &idle[0]] {
        newcomers.push(server.connect());
        has_ended(longest);
    }
    // Those that never ask make room for each other too.
    newcomers.push(server.connect());
    has_ended(&newcomers[0]);
    asked(&newcomers[3], "/", "here");
    server.answer.notify_one();
    assert!(until(&busy, "waited").starts_with("HTTP/1.1 200 "));
    assert_eq!(server.totals().refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_are_worked_on_and_no_more() {
    let server = start(64, PATIENT);
    // Their answers are on the way, and nobody takes them.
    let stuck: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for stream in &stuck {
        send(stream, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(until(stream, "\r\n").starts_with("HTTP/1.1 200 "));
    }
    let other = server.connect();
    send(&other, "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = until(&other, "\"}");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    // What takes no place is answered all the same.
    asked(&other, "/", "here");
    drop(stuck);
    server.eventually("their places are free", |totals| totals.open() == 1);
    send(&other, "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
    server.asked.notified().await;
    server.answer.notify_one();
    assert!(until(&other, "waited").starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_read_whole_or_not_at_all() {
    let server = start(64, PATIENT);
    let stream = server.connect();
    let post = |length: usize| {
        format!("POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
    };
    send(&stream, &post(4));
    send(&stream, "body");
    assert!(until(&stream, "body").starts_with("HTTP/1.1 200 "));
    send(&stream, &post(1 << 20));
    assert!(until(&stream, "\"}").starts_with("HTTP/1.1 413 "));
    // Without a length: seen while it comes.
    let stream = server.connect();
    send(&stream, "POST /post HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for _ in 0..5 {
        send(&stream, &chunk);
    }
    assert!(until(&stream, "\"}").starts_with("HTTP/1.1 413 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_what_is_under_way_and_nothing_else() {
    let server = start(64, PATIENT);
    let (silent, kept, busy) = (server.connect(), server.connect(), server.connect());
    asked(&kept, "/", "here");
    send(&busy, "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n");
    server.asked.notified().await;
    server.stop.send_replace(true);
    has_ended(&silent);
    has_ended(&kept);
    assert!(!server.task.is_finished());
    server.answer.notify_one();
    assert!(until(&busy, "waited").starts_with("HTTP/1.1 200 "));
    has_ended(&busy);
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).is_err());
}

/// Whoever holds what, an operator on this host and Prometheus elsewhere get in.
#[test]
fn nobody_keeps_all_others_out() {
    let places = Places::default();
    let from = |a: u8, b: u8| places.admit([10, 0, a, b].into());
    let mut held: Vec<_> = (0..100).map(|_| from(0, 1).unwrap()).collect();
    assert_eq!(places.taken(), (0, 32), "one client elsewhere has so many");
    held.extend((0..1000u32).map(|nth| from(1, (nth % 250) as u8).unwrap()));
    assert_eq!(places.taken(), (0, 224));
    let _prometheus = from(2, 1).unwrap();
    held.extend((0..1100).map(|_| places.admit([127, 0, 0, 1].into()).unwrap()));
    assert_eq!(places.taken(), (32, 224));
    let _operator = places.admit("::1".parse().unwrap()).unwrap();
    places.set(16);
    let _next = (places.admit([127, 0, 0, 9].into()).unwrap(), from(2, 2).unwrap());
    assert_eq!(places.taken(), (2, 14));
}

/// Everything that a handler sees, of a server that answers `db.example.com`.
fn shared() -> Shared {
    let server = testing::SERVER;
    let zone = "[names]\ndb = { address = \"10.0.0.9\" }\n";
    let config = testing::config(&[("server.toml", server), ("example.com.toml", zone)]);
    let inventory = testing::inventory(&[]);
    let snapshot = testing::snapshot(&config, &inventory);
    let clock = Clock::start();
    let known = Facts {
        generation: snapshot.generation,
        rules: Arc::default(),
        config: Arc::new(config),
        inventory,
        losses: vec![Default::default()],
        handles: vec![None],
        interfaces: vec![None],
        listening: Vec::new(),
        moves: 0,
        built_in: Duration::ZERO,
        published_at: clock.now(),
        loops: Vec::new(),
        reloads: Reloads::none(clock.now()),
        state_trouble: None,
        publish_trouble: None,
        budget: Default::default(),
        upstream_sockets: Default::default(),
    };
    let board = Board {
        store: Store::new(snapshot),
        counters: Arc::default(),
        sockets: Arc::default(),
        known: watch::channel(Arc::new(known)).1,
        history: Arc::default(),
        started: clock.now(),
        clock,
        pulse: Pulse::start(),
        deliveries: mpsc::channel(1).0,
        asks: Asks::channel().0,
        readiness: Default::default(),
        names: Arc::default(),
        peers: Default::default(),
    };
    let places = || Arc::new(Semaphore::new(1));
    let (dumps, verdicts, explanations, reloads) = (places(), places(), places(), places());
    // Whoever has stopped would never answer.
    let (told_to_stop, stop) = watch::channel(false);
    std::mem::forget(told_to_stop);
    let address = ([127, 0, 0, 1], 1).into();
    Shared { board, address, token: None, dumps, verdicts, explanations, reloads, stop }
}

/// Between the swap and its facts: who asks gets those that belong to the answers.
#[tokio::test]
async fn what_is_told_is_no_older_than_the_answers() {
    let mut board = shared().board;
    let before = board.known.borrow().clone();
    let (tell, known) = watch::channel(Arc::clone(&before));
    board.known = known;
    let generation = before.generation + 1;
    board.store.publish(Arc::new(Snapshot { generation, ..Snapshot::empty() }.into()));
    let moves = async {
        board.catch_up().await;
        board.status().moves
    };
    let told = async {
        tell.send_replace(Arc::new(Facts { generation, moves: 7, ..Facts::clone(&before) }));
    };
    assert_eq!(tokio::join!(moves, told).0, 7);

    // If they never come, the old ones are told.
    tell.send_replace(before);
    board.catch_up().await;
    assert_eq!(board.status().moves, 0);
}

/// Threads that serve DNS over TCP make none of it, and what makes it has few places.
#[tokio::test]
async fn what_takes_time_has_places_of_its_own() {
    let shared = Arc::new(shared());
    let explain = || {
        let asked: Query<api::ExplainQuery> =
            Query::try_from_uri(&Uri::from_static("/?name=db.example.com")).unwrap();
        api::explanation(State(Arc::clone(&shared)), asked)
    };
    assert_eq!(explain().await.status(), StatusCode::OK);
    let place = shared.explanations.acquire().await.unwrap();
    assert_eq!(explain().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(place);
    assert_eq!(explain().await.status(), StatusCode::OK);
}
